// Package portrule serves PortRules and their subresources from etcd.
//
// [NewStorage] makes [REST], the resource, which is the generic store of
// k8s.io/apiserver with a strategy. Each subresource is made of it, and has a file and
// a type of its own: [StatusREST] (status.go), [ScaleREST] (scale.go), [NFTablesREST]
// (nftables.go), [ProbeREST] (probe.go).
//
// Objects are those of the hub, api/v2, whatever version the request speaks: the server
// has converted before, and errors get the field names of the request's version on their
// way out.
//
// Read strategy.go first: it says what a write may change and what it must satisfy.
// storage.go connects it to the generic store and to the reservations that keep
// endpoints unique, selectors.go says by which fields lists are narrowed down, table.go
// renders rows for kubectl get, deadline.go says what is answered without etcd.
package portrule

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/util/dryrun"

	"portrule.example/lab/aggregated/registry/reservation"
	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// REST serves the resource portrules.
type REST struct {
	*genericregistry.Store
	group string
	// reservations keeps endpoints unique (R4). It is nil where they need not be.
	reservations *reservation.Storage
}

var (
	_ rest.StandardStorage      = &REST{}
	_ rest.ShortNamesProvider   = &REST{}
	_ rest.CategoriesProvider   = &REST{}
	_ rest.StorageWithReadiness = &REST{}
)

// Options say how PortRules are stored.
type Options struct {
	// Group is the API group that is served.
	Group string
	// Scheme has the hub registered.
	Scheme *runtime.Scheme
	// Getter says where etcd is.
	Getter generic.RESTOptionsGetter
	// UniqueEndpoints is R4: in one namespace no two PortRules share an endpoint.
	UniqueEndpoints bool
}

// NewStorage returns the storage of portrules, which the subresources share, and
// the reservations of R4, nil without UniqueEndpoints. Their Start must be called.
func NewStorage(o Options) (*REST, *reservation.Storage, error) {
	s := strategy{ObjectTyper: o.Scheme, NameGenerator: names.SimpleNameGenerator, group: o.Group}
	resource := schema.GroupResource{Group: o.Group, Resource: api.Resource}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &v2.PortRule{} },
		NewListFunc:               func() runtime.Object { return &v2.PortRuleList{} },
		PredicateFunc:             predicate,
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: o.Group, Resource: "portrule"},
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		ResetFieldsStrategy:       s,
		TableConvertor:            tableConvertor{},
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: o.Getter, AttrFunc: attributes, Indexers: indexers}); err != nil {
		return nil, nil, err
	}
	if !o.UniqueEndpoints {
		store.Storage.Storage = punctual{store.Storage.Storage}
		return &REST{Store: store, group: o.Group}, nil, nil
	}
	options, err := o.Getter.GetRESTOptions(resource, &v2.PortRule{})
	if err != nil {
		return nil, nil, err
	}
	reservations, err := reservation.New(o.Group, store.Storage.Storage, options.StorageConfig)
	if err != nil {
		return nil, nil, err
	}
	store.Storage.Storage = punctual{reservations}
	destroy := store.DestroyFunc
	store.DestroyFunc = func() {
		destroy()
		reservations.Destroy()
	}
	return &REST{Store: store, group: o.Group, reservations: reservations}, reservations, nil
}

// ShortNames are what kubectl users may type instead of portrules.
func (*REST) ShortNames() []string { return []string{"pr"} }

// Categories are the names under which kubectl get lists several resources.
func (*REST) Categories() []string { return []string{"firewalld"} }

// Create creates a PortRule.
func (r *REST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	created, err := r.Store.Create(ctx, obj, r.checkDryRun(validate, options.DryRun), options)
	return created, r.explain(ctx, obj.(*v2.PortRule).Name, err)
}

// Update changes a PortRule. Server-side apply creates by it too.
func (r *REST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	validate rest.ValidateObjectFunc, validateUpdate rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	updated, created, err := r.Store.Update(ctx, name, info, r.checkDryRun(validate, options.DryRun), validateUpdate, forceAllowCreate, options)
	return updated, created, r.explain(ctx, name, err)
}

// checkDryRun adds to the validation of a creation that is a dry run what only the
// write would find out: whether the endpoint is another rule's.
func (r *REST) checkDryRun(validate rest.ValidateObjectFunc, options []string) rest.ValidateObjectFunc {
	if r.reservations == nil || !dryrun.IsDryRun(options) {
		return validate
	}
	return func(ctx context.Context, obj runtime.Object) error {
		if validate != nil {
			if err := validate(ctx, obj); err != nil {
				return err
			}
		}
		rule := obj.(*v2.PortRule)
		key, err := r.KeyFunc(ctx, rule.Name)
		if err != nil {
			return err
		}
		return r.reservations.Check(ctx, key, rule)
	}
}

// explain turns a [reservation.HeldError] into the Status that clients know, in the
// field names of the version that the request speaks.
func (r *REST) explain(ctx context.Context, name string, err error) error {
	held := (*reservation.HeldError)(nil)
	if !errors.As(err, &held) {
		return err
	}
	if held.Pending {
		conflict := apierrors.NewConflict(r.DefaultQualifiedResource, name, errors.New("endpoint "+held.Endpoint.String()+" is "+held.Error()))
		conflict.ErrStatus.Details.RetryAfterSeconds = int32(held.RetryAfterSeconds())
		return conflict
	}
	duplicate := field.Duplicate(field.NewPath("spec", "endpoint"), held.Endpoint.String())
	duplicate.Detail = held.Error()
	return apierrors.NewInvalid(schema.GroupKind{Group: r.group, Kind: api.Kind}, name, inRequestVersion(ctx, field.ErrorList{duplicate}))
}
