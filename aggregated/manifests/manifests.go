// Package manifests holds what a cluster must be told to serve PortRule from the
// aggregated API server, in the order in which it should be applied:
//
//   - rbac.yaml: the server's service account and the least that it must be
//     allowed to do;
//   - apiservices.yaml: which group and versions the aggregation layer hands on.
//
// An installer completes the APIServices by spec.caBundle and by the Service that
// leads to the server, both of which differ from cluster to cluster.
package manifests

import _ "embed"

var (
	// RBAC is rbac.yaml.
	//go:embed rbac.yaml
	RBAC []byte
	// APIServices is apiservices.yaml.
	//go:embed apiservices.yaml
	APIServices []byte
)

// The names in the manifests.
const (
	// Namespace is where the server's service account and Service are.
	Namespace = "portrule-system"
	// Name is the name of the service account and of the Service.
	Name = "portrule-apiserver"
)
