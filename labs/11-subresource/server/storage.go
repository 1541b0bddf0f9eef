package server

import (
	"context"
	"errors"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// Memory serves portrules from memory: create, get, list and delete.
type Memory struct {
	rest.TableConvertor
	group schema.GroupResource

	mu  sync.Mutex
	all map[types.NamespacedName]*v2.PortRule
	// version is that of the last write.
	version int
}

var (
	_ Rules                     = &Memory{}
	_ rest.Storage              = &Memory{}
	_ rest.Scoper               = &Memory{}
	_ rest.SingularNameProvider = &Memory{}
	_ rest.Getter               = &Memory{}
	_ rest.Lister               = &Memory{}
	_ rest.Creater              = &Memory{}
	_ rest.GracefulDeleter      = &Memory{}
)

// NewMemory returns one that holds nothing.
func NewMemory(group string) *Memory {
	resource := schema.GroupResource{Group: group, Resource: api.Resource}
	return &Memory{TableConvertor: rest.NewDefaultTableConvertor(resource), group: resource, all: map[types.NamespacedName]*v2.PortRule{}}
}

// New returns an empty PortRule.
func (*Memory) New() runtime.Object { return &v2.PortRule{} }

// NewList returns an empty list.
func (*Memory) NewList() runtime.Object { return &v2.PortRuleList{} }

// Destroy does nothing.
func (*Memory) Destroy() {}

// NamespaceScoped is true.
func (*Memory) NamespaceScoped() bool { return true }

// GetSingularName returns the name that kubectl takes for one of them.
func (*Memory) GetSingularName() string { return "portrule" }

func key(ctx context.Context, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: genericapirequest.NamespaceValue(ctx), Name: name}
}

// Rule returns a copy of a rule.
func (r *Memory) Rule(ctx context.Context, name string) (*v2.PortRule, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rule, ok := r.all[key(ctx, name)]
	if !ok {
		return nil, apierrors.NewNotFound(r.group, name)
	}
	return rule.DeepCopy(), nil
}

// Get returns a rule.
func (r *Memory) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return r.Rule(ctx, name)
}

// List returns the rules of a namespace, or of all of them.
func (r *Memory) List(ctx context.Context, _ *metainternalversion.ListOptions) (runtime.Object, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := &v2.PortRuleList{}
	for name, rule := range r.all {
		if namespace := genericapirequest.NamespaceValue(ctx); namespace == "" || namespace == name.Namespace {
			list.Items = append(list.Items, *rule.DeepCopy())
		}
	}
	return list, nil
}

// Create keeps a rule that satisfies the contract.
func (r *Memory) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	rule := obj.(*v2.PortRule).DeepCopy()
	if errs := v2.Validate(rule); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: r.group.Group, Kind: api.Kind}, rule.Name, errs)
	}
	rule.Namespace, rule.UID, rule.CreationTimestamp = genericapirequest.NamespaceValue(ctx), uuid.NewUUID(), metav1.Now()
	return r.Insert(ctx, rule)
}

// Insert keeps a new rule as it is.
func (r *Memory) Insert(ctx context.Context, rule *v2.PortRule) (*v2.PortRule, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[key(ctx, rule.Name)]; ok {
		return nil, apierrors.NewAlreadyExists(r.group, rule.Name)
	}
	return r.keep(ctx, rule), nil
}

// Replace keeps a rule in place of the one of its name, unless that is another version
// than the rule says.
func (r *Memory) Replace(ctx context.Context, rule *v2.PortRule) (*v2.PortRule, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.all[key(ctx, rule.Name)]
	if !ok {
		return nil, apierrors.NewNotFound(r.group, rule.Name)
	}
	if rule.ResourceVersion != old.ResourceVersion {
		return nil, apierrors.NewConflict(r.group, rule.Name, errors.New("it has been changed: read it again"))
	}
	return r.keep(ctx, rule), nil
}

func (r *Memory) keep(ctx context.Context, rule *v2.PortRule) *v2.PortRule {
	rule = rule.DeepCopy()
	r.version++
	rule.ResourceVersion = strconv.Itoa(r.version)
	r.all[key(ctx, rule.Name)] = rule
	return rule.DeepCopy()
}

// Delete removes a rule.
func (r *Memory) Delete(ctx context.Context, name string, _ rest.ValidateObjectFunc, _ *metav1.DeleteOptions) (runtime.Object, bool, error) {
	rule, err := r.Rule(ctx, name)
	if err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, key(ctx, name))
	return rule, true, nil
}
