package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage/names"
)

// strategy decides what a write may do.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

// NamespaceScoped: a Zone is in a namespace.
func (strategy) NamespaceScoped() bool { return true }

// PrepareForCreate would drop what the user may not set.
func (strategy) PrepareForCreate(context.Context, runtime.Object) {}

// PrepareForUpdate would keep what the user may not change.
func (strategy) PrepareForUpdate(_ context.Context, _, _ runtime.Object) {}

// Validate says what is wrong with a new Zone.
func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return validate(obj.(*Zone))
}

// ValidateUpdate says what is wrong with a changed one.
func (strategy) ValidateUpdate(_ context.Context, obj, _ runtime.Object) field.ErrorList {
	return validate(obj.(*Zone))
}

// WarningsOnCreate has none.
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

// WarningsOnUpdate has none.
func (strategy) WarningsOnUpdate(_ context.Context, _, _ runtime.Object) []string { return nil }

// Canonicalize would give what can be said in several ways one form.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate: a PUT of a name that is not there is 404.
func (strategy) AllowCreateOnUpdate() bool { return false }

// AllowUnconditionalUpdate: a PUT must say which resourceVersion it replaces.
func (strategy) AllowUnconditionalUpdate() bool { return false }

// maximum is how long the name of an interface can be: Linux's IFNAMSIZ, less one.
const maximum = 15

func validate(zone *Zone) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if !slices.Contains(Targets, zone.Spec.Target) {
		errs = append(errs, field.NotSupported(path.Child("target"), zone.Spec.Target, Targets))
	}
	for i, name := range zone.Spec.Interfaces {
		if name == "" || len(name) > maximum {
			errs = append(errs, field.Invalid(path.Child("interfaces").Index(i), name, fmt.Sprintf("must have 1 to %d characters", maximum)))
		}
	}
	return errs
}

// newStore returns the storage of zones.
func newStore(_ string, scheme *runtime.Scheme, etcd generic.RESTOptionsGetter) (*genericregistry.Store, error) {
	s := strategy{scheme, names.SimpleNameGenerator}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &Zone{} },
		NewListFunc:               func() runtime.Object { return &ZoneList{} },
		DefaultQualifiedResource:  schema.GroupResource{Resource: Resource},
		SingularQualifiedResource: schema.GroupResource{Resource: Singular},
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		TableConvertor:            columns{},
	}
	return store, store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: etcd})
}

// columns are what kubectl get shows.
type columns struct{}

// ConvertToTable makes a row of each Zone.
func (columns) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	rows, err := table.MetaToTableRow(obj, func(obj runtime.Object, _ metav1.Object, name, age string) ([]any, error) {
		spec := obj.(*Zone).Spec
		return []any{name, spec.Target, strings.Join(spec.Interfaces, ","), age}, nil
	})
	return &metav1.Table{Rows: rows, ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name"},
		{Name: "Target", Type: "string"},
		{Name: "Interfaces", Type: "string"},
		{Name: "Age", Type: "string"},
	}}, err
}
