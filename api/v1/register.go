package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Version is the version that the types of this package are served as.
const Version = "v1"

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
