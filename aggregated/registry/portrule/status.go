package portrule

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v2 "portrule.example/lab/api/v2"
)

// StatusREST serves the subresource portrules/status.
type StatusREST struct {
	store *genericregistry.Store
}

var (
	_ rest.Patcher             = &StatusREST{}
	_ rest.TableConvertor      = &StatusREST{}
	_ rest.ResetFieldsStrategy = &StatusREST{}
)

// NewStatusREST returns the status of the rules in r.
func NewStatusREST(r *REST) *StatusREST {
	store := *r.Store
	s := statusStrategy{r.CreateStrategy.(strategy)}
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	return &StatusREST{&store}
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
