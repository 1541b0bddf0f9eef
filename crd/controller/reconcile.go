package controller

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"portrule.example/lab/api/nftables"
	v2 "portrule.example/lab/api/v2"
)

// ConditionReady is the type of the condition that says whether the rule is in
// force. The reasons below are its reasons and those of the events.
const ConditionReady = "Ready"

const (
	// ReasonRendered is the reason of Ready being true: the ConfigMap has the script
	// of observedGeneration.
	ReasonRendered = "Rendered"
	// ReasonNameTooLong means that the ConfigMap's name would be longer than 253
	// characters. The rule has to be made anew under a shorter name.
	ReasonNameTooLong = "NameTooLong"
	// ReasonConfigMapTaken means that the ConfigMap belongs to somebody else.
	ReasonConfigMapTaken = "ConfigMapTaken"
	// ReasonInvalidRule means that the rule cannot be rendered. What an earlier
	// generation of it rendered stays.
	ReasonInvalidRule = "InvalidRule"
	// ReasonConfigMapRefused means that the API server does not let the controller
	// write the ConfigMap: a quota, a policy, or a right that it lacks.
	ReasonConfigMapRefused = "ConfigMapRefused"
)

const (
	// takenInterval is the time between two looks at a ConfigMap that is somebody
	// else's. Nothing tells the controller when it goes away, for it watches its own.
	takenInterval = time.Minute
	// staleDelay is how long to wait for the cache to have what the API server has.
	staleDelay = 200 * time.Millisecond
	// maxMessage bounds a condition's message by what the note of an event may have.
	maxMessage = 1024
)

// reconciler makes one PortRule's ConfigMap and status what they should be.
type reconciler struct {
	client client.Client
	// live reads past the cache, which may be without the ConfigMaps of others.
	live   client.Reader
	events events.EventRecorder
	gvk    schema.GroupVersionKind
}

// outcome is what became of a rule.
type outcome struct {
	reason, message string
	// carried is whether there is a ConfigMap of the rule, be it of an earlier
	// generation.
	carried bool
	// again is when to look again, 0 for not before something changes.
	again time.Duration
}

// Reconcile does what is to be done for one rule. It is safe to call it at any time
// and any number of times.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	rule := &v2.PortRule{}
	if err := r.client.Get(ctx, request.NamespacedName, rule); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read the PortRule: %w", err)
	}
	if !rule.DeletionTimestamp.IsZero() {
		// in a foreground deletion the ConfigMap goes first: let it go
		return reconcile.Result{}, nil
	}
	v2.Default(rule)

	result, err := r.render(ctx, rule)
	switch {
	case apierrors.IsConflict(err):
		// the cache is behind
		return reconcile.Result{RequeueAfter: staleDelay}, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// all of it goes away
		return reconcile.Result{}, nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		// somebody has to do something about it, so say it where they look; and
		// return the error too, for then controller-runtime tries ever more rarely
		result.reason, result.message = ReasonConfigMapRefused, err.Error()
	case err != nil:
		return reconcile.Result{}, err
	}

	switch statusErr := r.report(ctx, rule, result); {
	case apierrors.IsConflict(statusErr):
		return reconcile.Result{RequeueAfter: staleDelay}, nil
	case client.IgnoreNotFound(statusErr) != nil:
		return reconcile.Result{}, statusErr
	case err != nil:
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: result.again}, nil
}

// render makes the ConfigMap of the rule hold its script.
func (r *reconciler) render(ctx context.Context, rule *v2.PortRule) (outcome, error) {
	name := configMapName(rule)
	if len(name) > maxNameLength {
		return outcome{
			reason:  ReasonNameTooLong,
			message: fmt.Sprintf("the name of the rule's ConfigMap, %s, has %d characters, and %d are allowed: make the rule anew under a shorter name", name, len(name), maxNameLength),
		}, nil
	}
	existing, err := r.configMap(ctx, client.ObjectKey{Namespace: rule.Namespace, Name: name})
	if err != nil {
		return outcome{}, err
	}
	if existing != nil && !r.owns(rule, existing) {
		return outcome{
			reason:  ReasonConfigMapTaken,
			message: fmt.Sprintf("the ConfigMap %s is not this rule's: delete or rename it, or make the rule anew under another name", name),
			again:   takenInterval,
		}, nil
	}
	result := outcome{carried: existing != nil}

	script, err := nftables.Render(rule)
	if err != nil {
		result.reason, result.message = ReasonInvalidRule, err.Error()
		return result, nil //nolint:nilerr // the status says it, and trying again would not help
	}
	result.reason, result.message = ReasonRendered, "the ConfigMap "+name+" has the rule's script"
	if existing != nil && r.upToDate(existing, rule, script) {
		return result, nil
	}
	config := r.applyConfiguration(rule, script)
	if existing != nil {
		// what was looked at is what is changed
		config.WithResourceVersion(existing.ResourceVersion)
	} else {
		// An apply cannot ask that there be no object yet. But the API server ignores
		// the resource version when it creates and compares it when it changes, and
		// no object has this one, the version of an empty etcd: so a ConfigMap that
		// has come since the look is a conflict instead of being taken over.
		config.WithResourceVersion("1")
	}
	if err := r.client.Apply(ctx, config, client.FieldOwner(Name), client.ForceOwnership); err != nil {
		return result, fmt.Errorf("apply the ConfigMap %s: %w", name, err)
	}
	result.carried = true
	r.events.Eventf(rule, nil, corev1.EventTypeNormal, ReasonRendered, "Render", "wrote the rule's script to the ConfigMap %s", name)
	return result, nil
}

// configMap returns nil if there is none.
func (r *reconciler) configMap(ctx context.Context, key client.ObjectKey) (*corev1.ConfigMap, error) {
	found := &corev1.ConfigMap{}
	err := r.client.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		err = r.live.Get(ctx, key, found)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the ConfigMap %s: %w", key.Name, err)
	}
	return found, nil
}

// report makes the rule's status say result, and reports a change for the worse as
// an event.
func (r *reconciler) report(ctx context.Context, rule *v2.PortRule, result outcome) error {
	status := rule.Status.DeepCopy()
	status.ObservedGeneration = rule.Generation
	status.Selector = selector(rule)
	status.Replicas = 0
	if result.carried {
		status.Replicas = *rule.Spec.Replicas
	}
	ready := metav1.Condition{
		Type:               ConditionReady,
		Status:             metav1.ConditionFalse,
		ObservedGeneration: rule.Generation,
		Reason:             result.reason,
		Message:            abbreviate(result.message),
	}
	if result.reason == ReasonRendered {
		ready.Status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&status.Conditions, ready)
	if equality.Semantic.DeepEqual(*status, rule.Status) {
		return nil
	}

	current := meta.FindStatusCondition(status.Conditions, ConditionReady)
	condition, err := runtime.DefaultUnstructuredConverter.ToUnstructured(current)
	if err != nil {
		return fmt.Errorf("write the condition: %w", err)
	}
	config := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{
			"namespace": rule.Namespace,
			"name":      rule.Name,
			// with an older status the time of the last transition would be wrong
			"resourceVersion": rule.ResourceVersion,
		},
		"status": map[string]any{
			"observedGeneration": status.ObservedGeneration,
			"replicas":           int64(status.Replicas),
			"selector":           status.Selector,
			// of the conditions this one alone is the controller's
			"conditions": []any{condition},
		},
	}}
	config.SetGroupVersionKind(r.gvk)
	err = r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(config), client.FieldOwner(Name), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply the status: %w", err)
	}

	before := meta.FindStatusCondition(rule.Status.Conditions, ConditionReady)
	news := before == nil || before.Status != ready.Status || before.Reason != ready.Reason || before.Message != ready.Message
	if ready.Status == metav1.ConditionFalse && news {
		r.events.Eventf(rule, nil, corev1.EventTypeWarning, ready.Reason, "Render", "%s", ready.Message)
	}
	return nil
}

// abbreviate cuts a message to maxMessage bytes.
func abbreviate(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const ellipsis = "..."
	return strings.ToValidUTF8(message[:maxMessage-len(ellipsis)], "") + ellipsis
}
