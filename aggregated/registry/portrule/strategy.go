package portrule

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

var (
	_ rest.RESTCreateStrategy  = strategy{}
	_ rest.RESTUpdateStrategy  = strategy{}
	_ rest.RESTDeleteStrategy  = strategy{}
	_ rest.ResetFieldsStrategy = strategy{}

	_ rest.RESTUpdateStrategy  = statusStrategy{}
	_ rest.ResetFieldsStrategy = statusStrategy{}
)

// strategy decides what a write to a PortRule may change. Where it had a choice
// it follows what a CustomResourceDefinition does. It sees the hub, whatever
// version the request speaks.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	group string
}

func (strategy) NamespaceScoped() bool { return true }

// PrepareForCreate drops the status, which belongs to the status subresource, and
// says who the creator is (R6), whatever the request or a webhook says.
func (strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	rule := obj.(*v2.PortRule)
	rule.Status = v2.PortRuleStatus{}
	rule.Generation = 1
	user, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		delete(rule.Annotations, api.RequestedBy)
		return
	}
	metav1.SetMetaDataAnnotation(&rule.ObjectMeta, api.RequestedBy, user.GetName())
}

// PrepareForUpdate keeps the status and the creator (R6), and moves the generation
// when the spec changes.
func (strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	rule, oldRule := obj.(*v2.PortRule), old.(*v2.PortRule)
	rule.Status = oldRule.Status
	if by, ok := oldRule.Annotations[api.RequestedBy]; ok {
		metav1.SetMetaDataAnnotation(&rule.ObjectMeta, api.RequestedBy, by)
	} else {
		delete(rule.Annotations, api.RequestedBy)
	}
	rule.Generation = oldRule.Generation
	if !apiequality.Semantic.DeepEqual(rule.Spec, oldRule.Spec) {
		rule.Generation++
	}
}

func (strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return inRequestVersion(ctx, v2.Validate(obj.(*v2.PortRule)))
}

// ValidateUpdate ratchets, as a CRD does: what was wrong before does not hold up a
// change of anything else.
func (strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	rule, oldRule := obj.(*v2.PortRule), old.(*v2.PortRule)
	errs := v2.Ratchet(v2.Validate(rule), v2.Validate(oldRule))
	return inRequestVersion(ctx, append(errs, v2.ValidateUpdate(rule, oldRule)...))
}

// inRequestVersion gives errors about the hub the field names of the version that
// the request speaks.
func inRequestVersion(ctx context.Context, errs field.ErrorList) field.ErrorList {
	if info, ok := genericapirequest.RequestInfoFrom(ctx); ok && info.APIVersion == v1.Version {
		return v1.Translate(errs)
	}
	return errs
}

func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate: a PUT of a name that does not exist is NotFound.
func (strategy) AllowCreateOnUpdate() bool { return false }

// AllowUnconditionalUpdate: a PUT must say which resourceVersion it replaces.
func (strategy) AllowUnconditionalUpdate() bool { return false }

// GetResetFields names what PrepareForCreate and PrepareForUpdate reset, so that
// server-side apply gives nobody ownership of it.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.resetFields(fieldpath.MakePathOrDie("status"), fieldpath.MakePathOrDie("metadata", "annotations", api.RequestedBy))
}

// statusStrategy decides what a write to the status subresource may change: the
// status, and with it who manages which of its fields.
type statusStrategy struct{ strategy }

func (statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	rule, oldRule := obj.(*v2.PortRule), old.(*v2.PortRule)
	managed := rule.ManagedFields
	rule.Spec = oldRule.Spec
	oldRule.ObjectMeta.DeepCopyInto(&rule.ObjectMeta)
	rule.ManagedFields = managed
}

// ValidateUpdate looks at the status alone, and ratchets.
func (statusStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	return inRequestVersion(ctx, v2.Ratchet(v2.ValidateStatus(obj.(*v2.PortRule)), v2.ValidateStatus(old.(*v2.PortRule))))
}

func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.resetFields(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata"))
}

func (s strategy) resetFields(paths ...fieldpath.Path) map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.group + "/" + v1.Version): fieldpath.NewSet(paths...),
		fieldpath.APIVersion(s.group + "/" + v2.Version): fieldpath.NewSet(paths...),
	}
}
