package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The groups under which PortRule is served. One APIService exists per group
// and version, so two implementations in one cluster need two groups.
const (
	// Group is served by the aggregated API server.
	Group = "firewalld.fedoraproject.org"
	// CRDGroup is served by the CustomResourceDefinition.
	CRDGroup = "crd.firewalld.fedoraproject.org"
)

// Version is the version that the types of this package are served as.
const Version = "v1"

// Resource is the plural name of PortRule in URLs and in RBAC rules.
const Resource = "portrules"

// AddToScheme registers the types under group/v1, with their defaulting.
//
// A scheme takes one group only: the encoder finds an object's group by its Go
// type, and with two groups for one type it could not choose.
func AddToScheme(scheme *runtime.Scheme, group string) error {
	gv := schema.GroupVersion{Group: group, Version: Version}
	scheme.AddKnownTypes(gv, &PortRule{}, &PortRuleList{})
	metav1.AddToGroupVersion(scheme, gv)
	return RegisterDefaults(scheme)
}
