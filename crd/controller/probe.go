package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"portrule.example/lab/api"
	"portrule.example/lab/api/probe"
	v2 "portrule.example/lab/api/v2"
)

// ProbeRequest is the annotation by which a user asks for a probe, what a CRD has in
// place of the subresource portrules/probe: its value is any text that the user makes up.
// The answer is the condition [ConditionProbed], whose message begins with that text.
const ProbeRequest = api.Group + "/probe"

// ConditionProbed is the type of the condition that answers a [ProbeRequest]. It is true
// if the endpoint accepted a connection; the reason is the result of the attempt, such as
// Connected or Timeout.
const ConditionProbed = "Probed"

// proberName is the field manager of the answers: the conditions of one are not the
// other's.
const proberName = Name + "-probe"

// maxRequest bounds what is repeated of a request.
const maxRequest = 64

// AddProber makes mgr answer requests for probes of the PortRules of a group. The manager's
// scheme must have v2 under it. The controller dials from where it runs, within the same
// rules as the server does: whoever may write a rule chooses what is dialled.
func AddProber(mgr manager.Manager, group string, rules probe.Rules) error {
	gvk := schema.GroupVersionKind{Group: group, Version: v2.Version, Kind: api.Kind}
	if !mgr.GetScheme().Recognizes(gvk) {
		return errors.New("the manager's scheme has no " + gvk.String() + ": make it with NewScheme")
	}
	err := builder.ControllerManagedBy(mgr).
		Named("portrule-probe").
		For(&v2.PortRule{}, builder.WithPredicates(predicate.AnnotationChangedPredicate{})).
		Complete(&prober{client: mgr.GetClient(), gvk: gvk, prober: &probe.Prober{Rules: rules}})
	if err != nil {
		return fmt.Errorf("set up the prober of %s: %w", gvk.GroupKind(), err)
	}
	return nil
}

// prober answers one PortRule's request.
type prober struct {
	client client.Client
	gvk    schema.GroupVersionKind
	prober *probe.Prober
}

// Reconcile dials the endpoint of a rule once, if that was asked for and not answered yet.
func (p *prober) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	rule := &v2.PortRule{}
	if err := p.client.Get(ctx, request.NamespacedName, rule); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	asked := rule.Annotations[ProbeRequest]
	if asked == "" || !rule.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	if len(asked) > maxRequest {
		asked = strings.ToValidUTF8(asked[:maxRequest], "")
	}
	if answer := meta.FindStatusCondition(rule.Status.Conditions, ConditionProbed); answer != nil && strings.HasPrefix(answer.Message, asked+": ") {
		return reconcile.Result{}, nil
	}
	answer, err := p.dial(ctx, rule)
	if err != nil {
		return reconcile.Result{}, err
	}
	answer.Message = abbreviate(asked + ": " + answer.Message)
	return reconcile.Result{}, p.answer(ctx, rule, answer)
}

// dial makes one attempt. An error is one of the controller's own: to be tried again.
func (p *prober) dial(ctx context.Context, rule *v2.PortRule) (metav1.Condition, error) {
	condition := metav1.Condition{
		Type: ConditionProbed, Status: metav1.ConditionFalse,
		ObservedGeneration: rule.Generation, LastTransitionTime: metav1.Now(),
	}
	target := probe.Target{Host: rule.Spec.Endpoint.Host, Port: uint16(rule.Spec.Endpoint.Port)}
	err := p.prober.Run(ctx, target, probe.NewPlan(nil, nil, nil), func(attempt probe.Attempt) error {
		condition.Reason = strings.ToUpper(attempt.Result[:1]) + attempt.Result[1:]
		condition.Message = fmt.Sprintf("%s after %.6f s", attempt.Result, attempt.Seconds)
		if attempt.Result == probe.Connected {
			condition.Status = metav1.ConditionTrue
		}
		if attempt.Error != "" {
			condition.Message += ": " + attempt.Error
		}
		return nil
	})
	return condition, err
}

// answer sets the condition.
func (p *prober) answer(ctx context.Context, rule *v2.PortRule, answer metav1.Condition) error {
	condition, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&answer)
	if err != nil {
		return fmt.Errorf("write the condition: %w", err)
	}
	config := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": rule.Namespace, "name": rule.Name, "uid": string(rule.UID)},
		"status":   map[string]any{"conditions": []any{condition}},
	}}
	config.SetGroupVersionKind(p.gvk)
	err = p.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(config), client.FieldOwner(proberName), client.ForceOwnership)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("apply the status: %w", err)
	}
	return nil
}
