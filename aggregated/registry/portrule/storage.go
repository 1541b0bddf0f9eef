// Package portrule keeps PortRules in etcd for the aggregated server.
//
// strategy.go says what a write may change and what it must satisfy, storage.go
// connects it to the generic store, table.go renders rows for kubectl get.
package portrule

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// REST serves the resource portrules.
type REST struct {
	*genericregistry.Store
}

var (
	_ rest.StandardStorage    = &REST{}
	_ rest.ShortNamesProvider = &REST{}
	_ rest.CategoriesProvider = &REST{}
)

// ShortNames are what kubectl users may type instead of portrules.
func (*REST) ShortNames() []string { return []string{"pr"} }

// Categories are the names under which kubectl get lists several resources.
func (*REST) Categories() []string { return []string{"firewalld"} }

// StatusREST serves the subresource portrules/status.
type StatusREST struct {
	store *genericregistry.Store
}

var (
	_ rest.Patcher              = &StatusREST{}
	_ rest.TableConvertor       = &StatusREST{}
	_ rest.ResetFieldsStrategy  = &StatusREST{}
	_ rest.StorageWithReadiness = &REST{}
)

// NewStorage returns the storage of portrules and of portrules/status, which
// share one store. scheme has the hub registered.
func NewStorage(scheme *runtime.Scheme, getter generic.RESTOptionsGetter) (*REST, *StatusREST, error) {
	s := strategy{ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &v2.PortRule{} },
		NewListFunc:               func() runtime.Object { return &v2.PortRuleList{} },
		DefaultQualifiedResource:  schema.GroupResource{Group: api.Group, Resource: api.Resource},
		SingularQualifiedResource: schema.GroupResource{Group: api.Group, Resource: "portrule"},
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		ResetFieldsStrategy:       s,
		TableConvertor:            tableConvertor{},
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter}); err != nil {
		return nil, nil, err
	}
	statusStore := *store
	statusStore.UpdateStrategy = statusStrategy{s}
	statusStore.ResetFieldsStrategy = statusStrategy{s}
	return &REST{store}, &StatusREST{&statusStore}, nil
}

// New returns an empty PortRule.
func (r *StatusREST) New() runtime.Object { return &v2.PortRule{} }

// Destroy does nothing: the store belongs to [REST].
func (r *StatusREST) Destroy() {}

// Get returns the whole object: kubectl get --subresource=status prints it.
func (r *StatusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Update changes the status of an existing object. It never creates one.
func (r *StatusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, create, update, false, options)
}

// GetResetFields names what a write to the status does not change.
func (r *StatusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable renders rows for kubectl get --subresource=status.
func (r *StatusREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}
