package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// What tells a reservation from other Leases.
const (
	// ReservationLabel is on every reservation. Its value is [api.Resource].
	ReservationLabel = api.Group + "/reservation"
	// EndpointAnnotation holds the endpoint that is reserved, as
	// [v2.Endpoint.String] spells it.
	EndpointAnnotation = api.Group + "/endpoint"
)

// TakeoverAge is how old a reservation must be before it can be taken over from an
// owner that is not there. A creation that is slow looks like one that has failed,
// so it must be longer than any creation lasts after its webhooks were called: the
// API server's request timeout (--request-timeout, 60 s by default; raise this with
// it) and a margin of 30 s for a write that etcd commits after the API server gave
// up, and for clocks that differ between replicas of the webhook.
const TakeoverAge = 90 * time.Second

// reserver makes R4 hold under concurrent creations, as far as a webhook can: a
// rule is let in only after a Lease was created in its namespace whose name is a
// hash of the endpoint, and etcd creates one name once. The Lease's holder is the
// name of the rule: of two rules with one name at most one is stored, so the name
// says enough.
//
// It is no transaction with the creation of the rule, so reservations leak:
//
//   - The creation fails after the Lease was made: another validating webhook (they
//     are called in parallel), the quota, or the storage refused it, the call took
//     longer than timeoutSeconds, or the process died. The endpoint stays reserved.
//     The same rule can be made again at once; a rule of another name is refused
//     until the reservation is as old as [TakeoverAge].
//   - A rule with finalizers outlives its DELETE, so its reservation is left alone.
//     The webhook is not called when the last finalizer goes: the Lease stays until
//     it is taken over, which its age allows at once in most cases.
//   - The DELETE was let through while the webhook did not answer.
//
// [Leaked] finds them. An owner reference, by which the garbage collector would
// remove them, is no remedy: it would remove the Lease of a rule that is not stored
// yet as well.
//
// And it has gaps, through which two rules with one endpoint come in:
//
//   - The DELETE removes the Lease before the deletion is certain. If a webhook or
//     a precondition refuses it afterwards, the rule lives on without reservation;
//     if not, there is a moment in which a successor can be stored before the rule
//     is gone.
//   - Rules that were there before the webhook have no reservation.
//   - Whoever may write Leases in the namespace can remove a reservation or forge one.
//
// [Options.Validating] beside it closes the first two for all but that moment: its
// list sees the rules that are stored.
type reserver struct {
	kind
	reader client.Reader
	writer client.Writer
}

func (r *reserver) handle(ctx context.Context, req admission.Request) admission.Response {
	switch {
	case req.SubResource != "":
		return admission.Allowed("")
	case req.Operation == admissionv1.Create:
		return r.handleCreate(ctx, req)
	case req.Operation == admissionv1.Delete:
		return r.handleDelete(ctx, req)
	}
	return admission.Allowed("")
}

func (r *reserver) handleCreate(ctx context.Context, req admission.Request) admission.Response {
	rule, err := r.decode(req.Object)
	if err != nil {
		return refused(apierrors.NewBadRequest(err.Error()))
	}
	// What will be refused elsewhere must not reserve an endpoint, which may also
	// have a second spelling.
	if errs := v2.Validate(rule); len(errs) > 0 {
		return r.invalid(req, rule.Name, errs)
	}
	wanted := newReservation(req.Namespace, rule)
	dryRun := isDryRun(req)
	if !dryRun {
		err := r.writer.Create(ctx, wanted.DeepCopy())
		if err == nil {
			return admission.Allowed("")
		}
		if !apierrors.IsAlreadyExists(err) {
			return refused(apierrors.NewInternalError(fmt.Errorf("reserve %s: %w", rule.Spec.Endpoint, err)))
		}
	}
	var lease coordinationv1.Lease
	if err := r.reader.Get(ctx, client.ObjectKeyFromObject(wanted), &lease); apierrors.IsNotFound(err) {
		if dryRun {
			return admission.Allowed("")
		}
		return refused(r.conflict(rule, "was released just now: try again", 1))
	} else if err != nil {
		return refused(apierrors.NewInternalError(fmt.Errorf("read who has reserved %s: %w", rule.Spec.Endpoint, err)))
	}
	return r.takeOver(ctx, req, rule, &lease, wanted)
}

// takeOver gives the reservation in lease to rule, as wanted says, if its owner is
// gone for certain.
func (r *reserver) takeOver(ctx context.Context, req admission.Request, rule *v2.PortRule, lease, wanted *coordinationv1.Lease) admission.Response {
	owner, err := r.owner(ctx, lease)
	if err != nil {
		return refused(apierrors.NewInternalError(fmt.Errorf("read who holds %s: %w", rule.Spec.Endpoint, err)))
	}
	name := holderOf(lease)
	switch {
	case owner != nil && name == rule.Name:
		// The API server would say so, unless the owner were deleted until then: its
		// successor would be stored and its reservation removed.
		return refused(apierrors.NewAlreadyExists(r.resource(), rule.Name))
	case owner != nil:
		return r.invalid(req, rule.Name, field.ErrorList{duplicate(rule, owner)})
	case name != rule.Name:
		if left := TakeoverAge - age(lease); left > 0 {
			seconds := int(left.Seconds()) + 1
			return refused(r.conflict(rule, fmt.Sprintf("is reserved for %s %q, which is being created or was refused: try again in %d s",
				api.Kind, name, seconds), seconds))
		}
	}
	if isDryRun(req) {
		return admission.Allowed("")
	}
	// The resource version makes sure that one of several takes it over.
	lease.Labels, lease.Annotations, lease.Spec = wanted.Labels, wanted.Annotations, wanted.Spec
	if err := r.writer.Update(ctx, lease); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return refused(r.conflict(rule, "changed hands just now: try again", 1))
	} else if err != nil {
		return refused(apierrors.NewInternalError(fmt.Errorf("take over the reservation of %s: %w", rule.Spec.Endpoint, err)))
	}
	return admission.Allowed("")
}

// owner returns the rule that a reservation is for, or nil if it is not stored.
func (r *reserver) owner(ctx context.Context, lease *coordinationv1.Lease) (*v2.PortRule, error) {
	name := holderOf(lease)
	if name == "" {
		return nil, nil
	}
	rule := &v2.PortRule{}
	if err := r.reader.Get(ctx, client.ObjectKey{Namespace: lease.Namespace, Name: name}, rule); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !holds(rule, lease) {
		return nil, nil // a later rule of that name
	}
	return rule, nil
}

// conflict is the answer to a creation that may succeed later.
func (r *reserver) conflict(rule *v2.PortRule, what string, retryAfterSeconds int) *apierrors.StatusError {
	err := apierrors.NewConflict(r.resource(), rule.Name, fmt.Errorf("endpoint %s %s", rule.Spec.Endpoint, what))
	err.ErrStatus.Details.RetryAfterSeconds = int32(retryAfterSeconds)
	return err
}

// handleDelete releases the reservation of a rule. It refuses nothing: a
// reservation that is left is taken over in time, and a rule that could not be
// deleted would be worse.
func (r *reserver) handleDelete(ctx context.Context, req admission.Request) admission.Response {
	if isDryRun(req) {
		return admission.Allowed("")
	}
	rule, err := r.decode(req.OldObject)
	if err != nil {
		return admission.Allowed("").WithWarnings(fmt.Sprintf("the endpoint stays reserved: %v", err))
	}
	if outlivesDelete(rule, req) {
		return admission.Allowed("")
	}
	if err := r.release(ctx, newReservation(req.Namespace, rule), rule); err != nil {
		return admission.Allowed("").WithWarnings(fmt.Sprintf("endpoint %s stays reserved: %v", rule.Spec.Endpoint, err))
	}
	return admission.Allowed("")
}

// outlivesDelete is whether the rule remains after the request, for its finalizers
// or for one that the request's propagation policy adds.
func outlivesDelete(rule *v2.PortRule, req admission.Request) bool {
	if len(rule.Finalizers) > 0 {
		return true
	}
	var options metav1.DeleteOptions
	if err := json.Unmarshal(req.Options.Raw, &options); err != nil {
		return false // no options
	}
	policy := options.PropagationPolicy
	return policy != nil && *policy != metav1.DeletePropagationBackground
}

// release removes the reservation if it is the rule's.
func (r *reserver) release(ctx context.Context, reservation *coordinationv1.Lease, rule *v2.PortRule) error {
	var lease coordinationv1.Lease
	if err := r.reader.Get(ctx, client.ObjectKeyFromObject(reservation), &lease); err != nil {
		return client.IgnoreNotFound(err)
	}
	if holderOf(&lease) != rule.Name {
		return nil
	}
	err := r.writer.Delete(ctx, &lease, client.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion})
	if apierrors.IsConflict(err) {
		return nil // somebody has taken it over
	}
	return client.IgnoreNotFound(err)
}

// Leaked returns the reservations of a namespace, or of all if it is empty, whose
// rule is not stored. A creation that is under way looks the same: what is still
// leaked when it is older than [TakeoverAge] is so for certain. The reader must not
// be a cache, and must know the rules' v2.
func Leaked(ctx context.Context, reader client.Reader, namespace string) ([]coordinationv1.Lease, error) {
	// The leases come first: a rule that is stored meanwhile is then seen.
	var leases coordinationv1.LeaseList
	if err := reader.List(ctx, &leases, client.InNamespace(namespace), client.MatchingLabels{ReservationLabel: api.Resource}); err != nil {
		return nil, fmt.Errorf("list the reservations: %w", err)
	}
	var rules v2.PortRuleList
	if err := reader.List(ctx, &rules, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list the rules: %w", err)
	}
	stored := make(map[client.ObjectKey]*v2.PortRule, len(rules.Items))
	for i := range rules.Items {
		stored[client.ObjectKeyFromObject(&rules.Items[i])] = &rules.Items[i]
	}
	var leaked []coordinationv1.Lease
	for i := range leases.Items {
		lease := &leases.Items[i]
		rule := stored[client.ObjectKey{Namespace: lease.Namespace, Name: holderOf(lease)}]
		if rule == nil || !holds(rule, lease) {
			leaked = append(leaked, *lease)
		}
	}
	return leaked, nil
}

// newReservation is the Lease by which a rule reserves its endpoint.
func newReservation(namespace string, rule *v2.PortRule) *coordinationv1.Lease {
	endpoint := rule.Spec.Endpoint.String()
	sum := sha256.Sum256([]byte(endpoint))
	now, seconds := metav1.NowMicro(), int32(TakeoverAge.Seconds())
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			// An endpoint has characters that a name must not have. 128 bits of the hash
			// do not collide by chance.
			Name:        "portrule-" + hex.EncodeToString(sum[:16]),
			Labels:      map[string]string{ReservationLabel: api.Resource},
			Annotations: map[string]string{EndpointAnnotation: endpoint},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       &rule.Name,
			AcquireTime:          &now,
			LeaseDurationSeconds: &seconds,
		},
	}
}

// holderOf is the name of the rule that a reservation is for, empty if somebody
// has removed it.
func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// holds is whether the rule has the endpoint of the reservation.
func holds(rule *v2.PortRule, lease *coordinationv1.Lease) bool {
	endpoint := *rule
	v2.Default(&endpoint)
	return endpoint.Spec.Endpoint.String() == lease.Annotations[EndpointAnnotation]
}

// age is how long ago the reservation was made or taken over.
func age(lease *coordinationv1.Lease) time.Duration {
	if lease.Spec.AcquireTime == nil {
		return time.Since(lease.CreationTimestamp.Time)
	}
	return time.Since(lease.Spec.AcquireTime.Time)
}

func isDryRun(req admission.Request) bool {
	return req.DryRun != nil && *req.DryRun
}
