// Package v1 holds PortRule as it was first published: a firewall port that a
// number of nodes should open towards an endpoint.
//
// The types exist once and belong to no group. Each implementation registers
// them under the group that it serves:
//
//	scheme := runtime.NewScheme()
//	err := v1.AddToScheme(scheme, v1.Group)    // the aggregated server's group
//	err = v1.AddToScheme(scheme, v1.CRDGroup)  // the CRD's group, in a scheme of its own
//
// What the fields accept is said twice: by the markers below, from which
// controller-gen makes the schema of the CRD, and by [Validate], which the
// aggregated server's strategy calls. The cases in api/testdata hold both to
// the same answers. Read types.go first, then validation.go.
//
// +kubebuilder:object:generate=true
// +groupName=crd.firewalld.fedoraproject.org
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=org.fedoraproject.firewalld.v1
package v1
