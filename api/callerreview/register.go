package callerreview

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v2 "portrule.example/lab/api/v2"
)

// Resource is the name of the resource in paths and in RBAC rules.
const Resource = "callerreviews"

// AddToScheme registers CallerReview under group/v2.
func AddToScheme(scheme *runtime.Scheme, group string) error {
	scheme.AddKnownTypes(schema.GroupVersion{Group: group, Version: v2.Version}, &CallerReview{})
	return nil
}
