// Package v1 holds PortRule as it was first published, misspelling included: a
// firewall port that a number of nodes should open towards an endpoint.
//
// It is a spoke: package v2 is the hub, in which objects are stored and every rule
// is stated. conversion.go leads there and back without loss; defaulting and
// validation go the same way.
//
// +kubebuilder:object:generate=true
// +groupName=crd.firewalld.fedoraproject.org
// +k8s:openapi-gen=true
// +k8s:protobuf-gen=package
// +k8s:openapi-model-package=org.fedoraproject.firewalld.v1
package v1
