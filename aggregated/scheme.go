package aggregated

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"portrule.example/lab/aggregated/registry/portrule"
	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

var (
	// scheme knows the served versions and the hub, to which every request is
	// converted before it reaches a strategy.
	scheme = runtime.NewScheme()
	// served knows the served versions alone: the OpenAPI documents are made from
	// it, so that the hub never shows.
	served = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

// storageVersion is the version that objects are encoded as in etcd.
var storageVersion = schema.GroupVersion{Group: api.Group, Version: v2.Version}

func init() {
	for _, s := range []*runtime.Scheme{served, scheme} {
		utilruntime.Must(v1.AddToScheme(s, api.Group))
		utilruntime.Must(v2.AddToScheme(s, api.Group))
		utilruntime.Must(callerreview.AddToScheme(s, api.Group))
		utilruntime.Must(portrule.AddProbeOptions(s))
		utilruntime.Must(autoscalingv1.AddToScheme(s))
	}
	utilruntime.Must(v1.RegisterConversions(scheme))
	utilruntime.Must(scheme.SetVersionPriority(storageVersion, schema.GroupVersion{Group: api.Group, Version: v1.Version}))

	// The hub is v2 itself, registered a second time as the internal version:
	// converting between the two is a change of apiVersion.
	hub := schema.GroupVersion{Group: api.Group, Version: runtime.APIVersionInternal}
	scheme.AddKnownTypes(hub, &v2.PortRule{}, &v2.PortRuleList{}, &callerreview.CallerReview{})
	// The same goes for the kind of the scale subresource.
	scheme.AddKnownTypes(schema.GroupVersion{Group: autoscalingv1.GroupName, Version: runtime.APIVersionInternal}, &autoscalingv1.Scale{})
	utilruntime.Must(portrule.AddFieldLabels(scheme))

	// What every API server answers with, whatever its groups: the options of
	// requests as v1 of the core group, and the unversioned types of errors and
	// discovery.
	core := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, core)
	scheme.AddUnversionedTypes(core,
		&metav1.Status{},
		&metav1.APIVersions{},
		&metav1.APIGroupList{},
		&metav1.APIGroup{},
		&metav1.APIResourceList{},
	)
}
