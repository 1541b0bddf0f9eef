package api

// The groups under which PortRule is served. One APIService exists per group
// and version, so two implementations in one cluster need two groups.
const (
	// Group is served by the aggregated API server.
	Group = "firewalld.fedoraproject.org"
	// CRDGroup is served by the CustomResourceDefinition.
	CRDGroup = "crd.firewalld.fedoraproject.org"
)

// Kind is the kind, and Resource its plural name in URLs and in RBAC rules.
const (
	Kind     = "PortRule"
	Resource = "portrules"
)

// The annotations of the contract. They are the same for both groups.
const (
	// AllowedPorts on a namespace says which ports its PortRules may have, as
	// [ParsePorts] reads them. Absent means all.
	AllowedPorts = "firewalld.fedoraproject.org/allowed-ports"
	// RequestedBy on a PortRule holds the name of the user who created it. The
	// implementation sets it; nobody can.
	RequestedBy = "firewalld.fedoraproject.org/requested-by"
)
