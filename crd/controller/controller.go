// Package controller holds portrule-controller: it renders each PortRule as an
// nftables script into a ConfigMap, and says in the rule's status what became of it.
//
// It is the nearest that a CustomResourceDefinition comes to a subresource that
// computes its answer on read. It speaks v2 and runs against either implementation,
// which differ to it in the name of the group alone:
//
//	scheme, err := controller.NewScheme(api.CRDGroup)
//	mgr, err := manager.New(config, manager.Options{
//		Scheme: scheme,
//		Cache:  cache.Options{ByObject: controller.CachedObjects()},
//	})
//	err = controller.Add(mgr, controller.Options{Group: api.CRDGroup})
//
// A PortRule called web has the ConfigMap web-nftables, with the script under the
// key rules.nft. The rule is its controller by ownerReference, and that is all that
// removal takes: the garbage collector deletes the ConfigMap after the rule, so the
// rule needs no finalizer and can be deleted while no controller runs. A ConfigMap of
// that name that belongs to anybody else is left alone and the rule is not Ready. The
// two groups use the same names: of two rules with one name in one namespace, the
// second to come is not Ready.
//
// The lab has no nodes to open ports on. Where a node agent would count the nodes
// that have loaded the script, the controller takes the ConfigMap for the deed:
// status.replicas is spec.replicas as soon as the ConfigMap is there, and 0 without.
//
// The status is true of the generation in observedGeneration, and its one condition,
// Ready, has the reasons that this package names. Everything is written by
// server-side apply, and only if it differs from what is there: at rest the
// controller writes nothing.
//
// The controller has to be allowed: get, list and watch of portrules, patch of
// portrules/status; get, list, watch, create and patch of configmaps; create and
// patch of events in events.k8s.io.
//
// [AddProber] answers users who ask for a probe of a rule's endpoint: what a CRD can do
// in place of the subresource that the aggregated server has.
//
// Read reconcile.go next, then probe.go.
package controller

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// Name is the controller's field manager, the reporter of its events and the value
// of the label app.kubernetes.io/managed-by on its ConfigMaps.
const Name = "portrule-controller"

// Options says what the controller works on.
type Options struct {
	// Group is the group whose PortRules are reconciled. It is required, and the
	// manager's scheme must have v2 under it, as NewScheme's has.
	Group string
	// MaxConcurrentReconciles is how many rules are worked on at a time. 0 means
	// what the manager says, which is 1 unless it was told otherwise.
	MaxConcurrentReconciles int
}

// NewScheme returns a scheme with Kubernetes' own types and with PortRule v2 under
// group.
func NewScheme(group string) (*runtime.Scheme, error) {
	if group == "" {
		return nil, errNoGroup
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the types of Kubernetes: %w", err)
	}
	if err := v2.AddToScheme(scheme, group); err != nil {
		return nil, fmt.Errorf("register PortRule under %s: %w", group, err)
	}
	return scheme, nil
}

var errNoGroup = fmt.Errorf("the controller needs a group: %s or %s", api.CRDGroup, api.Group)

// CachedObjects is for the manager's cache.Options.ByObject: of all ConfigMaps in
// the cluster, the manager then keeps those of the controller alone in memory. The
// controller is right without it too.
func CachedObjects() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.ConfigMap{}: {Label: labels.SelectorFromSet(labels.Set{managedByLabel: Name})},
	}
}

// Add makes mgr run the controller. Where one process has several managers, all
// but one need Controller.SkipNameValidation: controller-runtime wants the names of
// controllers to be unique for the sake of its metrics.
func Add(mgr manager.Manager, o Options) error {
	if o.Group == "" {
		return errNoGroup
	}
	gvk := schema.GroupVersionKind{Group: o.Group, Version: v2.Version, Kind: api.Kind}
	if !mgr.GetScheme().Recognizes(gvk) {
		return errors.New("the manager's scheme has no " + gvk.String() + ": make it with NewScheme")
	}
	r := &reconciler{
		client: mgr.GetClient(),
		live:   mgr.GetAPIReader(),
		events: mgr.GetEventRecorder(Name),
		gvk:    gvk,
	}
	err := builder.ControllerManagedBy(mgr).
		Named("portrule").
		// what the controller itself writes, the status, does not move the generation
		For(&v2.PortRule{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.ConfigMap{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.MaxConcurrentReconciles}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the controller of %s: %w", gvk.GroupKind(), err)
	}
	return nil
}
