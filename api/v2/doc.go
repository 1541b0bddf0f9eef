// Package v2 holds PortRule, a firewall port that a number of nodes should open
// towards an endpoint. It is the hub: objects are stored as v2, and other versions
// convert to it and from it.
//
// The types exist once and belong to no group. Each implementation registers
// them under the group that it serves:
//
//	scheme := runtime.NewScheme()
//	err := v2.AddToScheme(scheme, api.Group)    // the aggregated server's group
//	err = v2.AddToScheme(scheme, api.CRDGroup)  // the CRD's group, in a scheme of its own
//
// What the fields accept is said twice: by the markers below, from which
// controller-gen makes the schema of the CRD, and by [Validate] and
// [ValidateUpdate], which the aggregated server's strategy calls, and the CRD's
// webhook. The cases in api/testdata hold them to the same answers. Read types.go
// first, then validation.go.
//
// +kubebuilder:object:generate=true
// +groupName=crd.firewalld.fedoraproject.org
// +k8s:openapi-gen=true
// +k8s:protobuf-gen=package
// +k8s:openapi-model-package=org.fedoraproject.firewalld.v2
package v2
