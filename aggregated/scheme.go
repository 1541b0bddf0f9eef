package aggregated

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"portrule.example/lab/aggregated/registry/portrule"
	"portrule.example/lab/api/callerreview"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// types are the Go types of the API, registered under a group.
type types struct {
	// storageVersion is the version that objects are encoded as in etcd.
	storageVersion schema.GroupVersion
	// hub is the version to which every request is converted before it reaches a
	// strategy.
	hub schema.GroupVersion
	// scheme knows the served versions and the hub.
	scheme *runtime.Scheme
	// served knows the served versions alone: the OpenAPI documents are made from it,
	// so that the hub never shows.
	served *runtime.Scheme
	codecs serializer.CodecFactory
}

// register registers the types under group.
func register(group string) *types {
	t := &types{
		storageVersion: schema.GroupVersion{Group: group, Version: v2.Version},
		hub:            schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal},
		scheme:         runtime.NewScheme(),
		served:         runtime.NewScheme(),
	}
	for _, s := range []*runtime.Scheme{t.served, t.scheme} {
		utilruntime.Must(v1.AddToScheme(s, group))
		utilruntime.Must(v2.AddToScheme(s, group))
		utilruntime.Must(callerreview.AddToScheme(s, group))
		utilruntime.Must(portrule.AddProbeOptions(s, group))
		utilruntime.Must(autoscalingv1.AddToScheme(s))
	}
	utilruntime.Must(v1.RegisterConversions(t.scheme))
	utilruntime.Must(t.scheme.SetVersionPriority(t.storageVersion, schema.GroupVersion{Group: group, Version: v1.Version}))

	// The hub is v2 itself, registered a second time as the internal version:
	// converting between the two is a change of apiVersion.
	t.scheme.AddKnownTypes(t.hub, &v2.PortRule{}, &v2.PortRuleList{}, &callerreview.CallerReview{})
	// The same goes for the kind of the scale subresource.
	t.scheme.AddKnownTypes(schema.GroupVersion{Group: autoscalingv1.GroupName, Version: runtime.APIVersionInternal}, &autoscalingv1.Scale{})
	utilruntime.Must(portrule.AddFieldLabels(t.scheme, group))

	// What every API server answers with, whatever its groups: the options of
	// requests as v1 of the core group, and the unversioned types of errors and
	// discovery.
	core := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(t.scheme, core)
	t.scheme.AddUnversionedTypes(core,
		&metav1.Status{},
		&metav1.APIVersions{},
		&metav1.APIGroupList{},
		&metav1.APIGroup{},
		&metav1.APIResourceList{},
	)
	t.codecs = serializer.NewCodecFactory(t.scheme)
	return t
}
