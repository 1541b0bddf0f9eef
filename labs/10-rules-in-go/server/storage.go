package server

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/util/dryrun"

	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/labs/11-subresource/server"
)

// storage serves portrules. A write goes through the strategy, then through admission, and
// then it is written: the order in which the store of k8s.io/apiserver has it.
type storage struct {
	*server.Memory
	strategy
}

var (
	_ rest.Creater = &storage{}
	_ rest.Patcher = &storage{}
)

func newStorage(o server.Options, validator Validator) *storage {
	return &storage{server.NewMemory(o.Group), strategy{o.Scheme, names.SimpleNameGenerator, validator}}
}

// NamespaceScoped is true.
func (s *storage) NamespaceScoped() bool { return s.strategy.NamespaceScoped() }

// Create keeps a new rule.
func (s *storage) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	rule := obj.(*v2.PortRule)
	rest.FillObjectMetaSystemFields(rule)
	if rule.Name == "" && rule.GenerateName != "" {
		rule.Name = s.GenerateName(rule.GenerateName)
	}
	if err := rest.BeforeCreate(s.strategy, ctx, rule); err != nil {
		return nil, err
	}
	if err := admit(ctx, rule.DeepCopyObject()); err != nil {
		return nil, err
	}
	if dryrun.IsDryRun(options.DryRun) {
		return rule, nil
	}
	return s.Insert(ctx, rule)
}

// Update replaces a rule. It makes none, so it has no use for the admission of that.
func (s *storage) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	_ rest.ValidateObjectFunc, admit rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	old, err := s.Rule(ctx, name)
	if err != nil {
		return nil, false, err
	}
	obj, err := info.UpdatedObject(ctx, old.DeepCopyObject())
	if err != nil {
		return nil, false, err
	}
	if err := rest.BeforeUpdate(s.strategy, ctx, obj, old); err != nil {
		return nil, false, err
	}
	if err := admit(ctx, obj.DeepCopyObject(), old); err != nil {
		return nil, false, err
	}
	if dryrun.IsDryRun(options.DryRun) {
		return obj, false, nil
	}
	rule, err := s.Replace(ctx, obj.(*v2.PortRule))
	return rule, false, err
}

// strategy is the learner's validation, and what else a strategy must have.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	Validator
}

var (
	_ rest.RESTCreateStrategy = strategy{}
	_ rest.RESTUpdateStrategy = strategy{}
)

// NamespaceScoped is true.
func (strategy) NamespaceScoped() bool { return true }

// PrepareForCreate drops the status: nobody sets it here.
func (strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	rule := obj.(*v2.PortRule)
	rule.Status, rule.Generation = v2.PortRuleStatus{}, 1
}

// PrepareForUpdate drops the status too.
func (strategy) PrepareForUpdate(_ context.Context, obj, _ runtime.Object) {
	obj.(*v2.PortRule).Status = v2.PortRuleStatus{}
}

// WarningsOnCreate has none.
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

// WarningsOnUpdate has none.
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// Canonicalize does nothing: each rule has one spelling.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate is false: a PUT of a name that does not exist is 404.
func (strategy) AllowCreateOnUpdate() bool { return false }

// AllowUnconditionalUpdate is false: a PUT must say which version it replaces.
func (strategy) AllowUnconditionalUpdate() bool { return false }
