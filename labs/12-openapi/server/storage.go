package server

import (
	"context"
	"errors"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// sets serves portsets from memory, with all verbs but watch.
type sets struct {
	rest.TableConvertor
	group schema.GroupResource

	mu      sync.Mutex
	all     map[types.NamespacedName]*PortSet
	version int
}

var (
	_ rest.Storage              = &sets{}
	_ rest.Scoper               = &sets{}
	_ rest.SingularNameProvider = &sets{}
	_ rest.Lister               = &sets{}
	_ rest.Creater              = &sets{}
	_ rest.Patcher              = &sets{}
	_ rest.GracefulDeleter      = &sets{}
)

var errModified = errors.New("the object has been modified; read it again and apply your changes to that")

func newSets(group string) *sets {
	resource := schema.GroupResource{Group: group, Resource: Resource}
	return &sets{TableConvertor: rest.NewDefaultTableConvertor(resource), group: resource, all: map[types.NamespacedName]*PortSet{}}
}

// New returns an empty PortSet.
func (*sets) New() runtime.Object { return &PortSet{} }

// NewList returns an empty list.
func (*sets) NewList() runtime.Object { return &PortSetList{} }

// Destroy does nothing.
func (*sets) Destroy() {}

// NamespaceScoped is true.
func (*sets) NamespaceScoped() bool { return true }

// GetSingularName returns the name that kubectl takes for one of them.
func (*sets) GetSingularName() string { return "portset" }

func key(ctx context.Context, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: genericapirequest.NamespaceValue(ctx), Name: name}
}

// Get returns a set.
func (s *sets) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, ok := s.all[key(ctx, name)]
	if !ok {
		return nil, apierrors.NewNotFound(s.group, name)
	}
	return set.DeepCopy(), nil
}

// List returns the sets of a namespace, or of all of them.
func (s *sets) List(ctx context.Context, _ *metainternalversion.ListOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &PortSetList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	for name, set := range s.all {
		if namespace := genericapirequest.NamespaceValue(ctx); namespace == "" || namespace == name.Namespace {
			list.Items = append(list.Items, *set.DeepCopy())
		}
	}
	return list, nil
}

// validate is all that is asked of a set. What a description says is not asked by anybody.
func (s *sets) validate(set *PortSet) error {
	errs := validation.ValidateObjectMeta(&set.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	for i, port := range set.Spec.Ports {
		if port.Port < 1 || port.Port > 65535 {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ports").Index(i).Child("port"), port.Port, "must be between 1 and 65535"))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: s.group.Group, Kind: Kind}, set.Name, errs)
	}
	return nil
}

// store keeps a set, unless it is a dry run. The caller has the lock.
func (s *sets) store(set *PortSet, dry []string) runtime.Object {
	s.version++
	set.ResourceVersion = strconv.Itoa(s.version)
	if !dryrun.IsDryRun(dry) {
		s.all[types.NamespacedName{Namespace: set.Namespace, Name: set.Name}] = set
	}
	return set.DeepCopy()
}

// begin is what a set has from its first day on.
func begin(ctx context.Context, set *PortSet) {
	set.Namespace, set.UID, set.CreationTimestamp = genericapirequest.NamespaceValue(ctx), uuid.NewUUID(), metav1.Now()
}

// Create keeps a new set.
func (s *sets) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	set := obj.(*PortSet).DeepCopy()
	begin(ctx, set)
	if err := s.validate(set); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.all[key(ctx, set.Name)]; ok {
		return nil, apierrors.NewAlreadyExists(s.group, set.Name)
	}
	return s.store(set, options.DryRun), nil
}

// Update keeps what has become of a set, or of nothing where that may be.
func (s *sets) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc, _ rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.all[key(ctx, name)]
	switch {
	case !exists && !forceAllowCreate:
		return nil, false, apierrors.NewNotFound(s.group, name)
	case !exists:
		old = &PortSet{}
	}
	obj, err := info.UpdatedObject(ctx, old.DeepCopy())
	if err != nil {
		return nil, false, err
	}
	set := obj.(*PortSet).DeepCopy()
	if set.ResourceVersion != "" && set.ResourceVersion != old.ResourceVersion {
		return nil, false, apierrors.NewConflict(s.group, name, errModified)
	}
	if exists {
		set.Namespace, set.UID, set.CreationTimestamp = old.Namespace, old.UID, old.CreationTimestamp
	} else {
		begin(ctx, set)
	}
	if err := s.validate(set); err != nil {
		return nil, false, err
	}
	return s.store(set, options.DryRun), !exists, nil
}

// Delete removes a set.
func (s *sets) Delete(ctx context.Context, name string, _ rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	set, err := s.Get(ctx, name, nil)
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !dryrun.IsDryRun(options.DryRun) {
		delete(s.all, key(ctx, name))
	}
	return set, true, nil
}
