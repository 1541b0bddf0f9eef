package portrule

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// ScaleREST serves the subresource portrules/scale: spec.replicas and what becomes
// of it in the shape of autoscaling/v1 Scale, which kubectl scale and autoscalers
// know how to write without knowing PortRule.
type ScaleREST struct {
	store *genericregistry.Store
	group string
}

var (
	_ rest.Patcher                  = &ScaleREST{}
	_ rest.GroupVersionKindProvider = &ScaleREST{}
	_ rest.TableConvertor           = &ScaleREST{}
)

// NewScaleREST returns the scale of the rules in r.
func NewScaleREST(r *REST) *ScaleREST { return &ScaleREST{r.Store, r.group} }

// GroupVersionKind says that a Scale is a Scale in every version of PortRule.
func (*ScaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New returns an empty Scale.
func (*ScaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the store belongs to [REST].
func (*ScaleREST) Destroy() {}

// Get returns the Scale of a PortRule.
func (r *ScaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj), nil
}

// Update writes spec.replicas of an existing PortRule, by its strategy.
func (r *ScaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	validate rest.ValidateObjectFunc, validateUpdate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	// admission sees the Scale that was sent, as it does for other kinds
	obj, _, err := r.store.Update(ctx, name, scaleUpdate{info, r.group},
		func(ctx context.Context, obj runtime.Object) error { return validate(ctx, scaleOf(obj)) },
		func(ctx context.Context, obj, old runtime.Object) error {
			return validateUpdate(ctx, scaleOf(obj), scaleOf(old))
		}, false, options)
	if err != nil {
		return nil, false, err
	}
	return scaleOf(obj), false, nil
}

// scaleOf is the view of a rule that a Scale gives.
func scaleOf(obj runtime.Object) *autoscalingv1.Scale {
	rule := obj.(*v2.PortRule)
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              rule.Name,
			Namespace:         rule.Namespace,
			UID:               rule.UID,
			ResourceVersion:   rule.ResourceVersion,
			CreationTimestamp: rule.CreationTimestamp,
		},
		Status: autoscalingv1.ScaleStatus{Replicas: rule.Status.Replicas, Selector: rule.Status.Selector},
	}
	if rule.Spec.Replicas != nil {
		scale.Spec.Replicas = *rule.Spec.Replicas
	}
	return scale
}

// scaleUpdate makes an update of a Scale one of its rule.
type scaleUpdate struct {
	rest.UpdatedObjectInfo
	group string
}

// replicasPaths says where each version has what is spec.replicas of a Scale, so
// that whoever scales owns that field of the rule, and is told of conflicts.
func replicasPaths(group string) managedfields.ResourcePathMappings {
	return managedfields.ResourcePathMappings{
		group + "/" + v1.Version: fieldpath.MakePathOrDie("spec", "replicas"),
		group + "/" + v2.Version: fieldpath.MakePathOrDie("spec", "replicas"),
	}
}

func (u scaleUpdate) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	rule := old.DeepCopyObject().(*v2.PortRule)
	version := schema.GroupVersion{Group: u.group, Version: v2.Version}
	if info, ok := genericapirequest.RequestInfoFrom(ctx); ok && info.APIVersion == v1.Version {
		version.Version = v1.Version // whoever scales owns the field in the version that they speak
	}
	owners := managedfields.NewScaleHandler(rule.ManagedFields, version, replicasPaths(u.group))
	oldScale := scaleOf(rule)
	var err error
	if oldScale.ManagedFields, err = owners.ToSubresource(); err != nil {
		return nil, err
	}
	obj, err := u.UpdatedObjectInfo.UpdatedObject(ctx, oldScale)
	if err != nil {
		return nil, err
	}
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the scale of a PortRule is a Scale, not a %T", obj))
	}
	rule.Spec.Replicas = &scale.Spec.Replicas
	if scale.ResourceVersion != "" {
		rule.ResourceVersion = scale.ResourceVersion
	}
	if rule.ManagedFields, err = owners.ToParent(scale.ManagedFields); err != nil {
		return nil, err
	}
	return rule, nil
}

// scaleColumns are those that a CRD with a scale subresource has.
var scaleColumns = []metav1.TableColumnDefinition{
	nameColumn,
	{Name: "Desired", Type: "integer", Description: "Number of desired replicas"},
	{Name: "Available", Type: "integer", Description: "Number of actual replicas"},
	ageColumn,
}

// ConvertToTable renders the row of kubectl get --subresource=scale.
func (*ScaleREST) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return newTable(obj, options, scaleColumns, func(obj runtime.Object, name, age string) []any {
		scale := obj.(*autoscalingv1.Scale)
		return []any{name, int64(scale.Spec.Replicas), int64(scale.Status.Replicas), age}
	})
}
