package webhook

import (
	"context"
	"fmt"
	"strconv"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// validator checks R1 to R5.
type validator struct {
	kind
	reader client.Reader
	// requestedBy is whether the annotation of R6 is guarded.
	requestedBy bool
}

func (v *validator) handle(ctx context.Context, req admission.Request) admission.Response {
	create := req.Operation == admissionv1.Create
	if req.SubResource != "" || !create && req.Operation != admissionv1.Update {
		return admission.Allowed("")
	}
	rule, err := v.decode(req.Object)
	if err != nil {
		return refused(apierrors.NewBadRequest(err.Error()))
	}
	errs := v2.Validate(rule)
	if create {
		errs = append(errs, v.guardCreate(rule, req.UserInfo.Username)...)
		// What follows asks the API server, and takes the endpoint for a valid one.
		if len(errs) == 0 {
			if errs, err = v.checkCreate(ctx, req.Namespace, rule); err != nil {
				return refused(apierrors.NewInternalError(err))
			}
		}
	} else {
		old, err := v.decode(req.OldObject)
		if err != nil {
			return refused(apierrors.NewBadRequest(fmt.Sprintf("the old object: %v", err)))
		}
		errs = append(v2.Ratchet(errs, v2.Validate(old)), v2.ValidateUpdate(rule, old)...)
		errs = append(errs, v.guardUpdate(rule, old)...)
	}
	if len(errs) > 0 {
		return v.invalid(req, rule.Name, errs)
	}
	return admission.Allowed("")
}

// checkCreate checks what only the cluster knows: the namespace's policy (R5) and,
// if the port is allowed, the other rules (R4).
func (v *validator) checkCreate(ctx context.Context, namespace string, rule *v2.PortRule) (field.ErrorList, error) {
	if errs, err := v.checkPort(ctx, namespace, rule); err != nil || len(errs) > 0 {
		return errs, err
	}
	other, err := v.holder(ctx, namespace, rule)
	if err != nil || other == nil {
		return nil, err
	}
	return field.ErrorList{duplicate(rule, other)}, nil
}

// duplicate says that other has the endpoint of rule already.
func duplicate(rule, other *v2.PortRule) *field.Error {
	err := field.Duplicate(endpointPath, rule.Spec.Endpoint.String())
	err.Detail = fmt.Sprintf("held by %s %q", api.Kind, other.Name)
	if other.DeletionTimestamp != nil {
		err.Detail += ", which is being deleted: try again once it is gone"
	}
	return err
}

// checkPort is R5: the namespace's annotation says which ports are allowed.
func (v *validator) checkPort(ctx context.Context, namespace string, rule *v2.PortRule) (field.ErrorList, error) {
	var ns corev1.Namespace
	if err := v.reader.Get(ctx, client.ObjectKey{Name: namespace}, &ns); err != nil {
		return nil, fmt.Errorf("read which ports namespace %q allows: %w", namespace, err)
	}
	return v2.ValidateAllowedPort(rule, &ns), nil
}

// holder is R4: it returns another rule of the namespace with the same endpoint, or
// nil. It is check-then-act: a rule that is being created at the same time is not
// there yet.
//
// It is not cheap either: the API server answers the list from its watch cache once
// that has caught up with etcd, of which it asks every 100 ms. Where other kinds are
// written at the same time, about every second create waits for that (its metric
// apiserver_watch_cache_read_wait_seconds).
//
// A rule that is being deleted holds its endpoint until it is gone: its finalizers
// may still have to close the port. A rule of the same name is not another one:
// that the name is taken is for the API server to say.
func (v *validator) holder(ctx context.Context, namespace string, rule *v2.PortRule) (*v2.PortRule, error) {
	endpoint := rule.Spec.Endpoint
	var rules v2.PortRuleList
	if err := v.reader.List(ctx, &rules, client.InNamespace(namespace), client.MatchingFields{
		fieldHost: endpoint.Host,
		fieldPort: strconv.Itoa(int(endpoint.Port)),
	}); err != nil {
		return nil, fmt.Errorf("list the rules of namespace %q: %w", namespace, err)
	}
	for i := range rules.Items {
		other := &rules.Items[i]
		v2.Default(other)
		if other.Name != rule.Name && other.Spec.Endpoint.String() == endpoint.String() {
			return other, nil
		}
	}
	return nil, nil
}

// The selectable fields of v2 by which rules are found.
const (
	fieldHost = "spec.endpoint.host"
	fieldPort = "spec.endpoint.port"
)

var requestedByPath = field.NewPath("metadata", "annotations").Key(api.RequestedBy)

// guardCreate refuses an annotation of R6 that names somebody else. The mutating
// webhook has set it, but another one may have run after it.
func (v *validator) guardCreate(rule *v2.PortRule, user string) field.ErrorList {
	if by, ok := rule.Annotations[api.RequestedBy]; v.requestedBy && ok && by != user {
		return field.ErrorList{field.Forbidden(requestedByPath, "holds the name of the user who created the rule, and nobody else's")}
	}
	return nil
}

// guardUpdate refuses a change of the annotation of R6.
func (v *validator) guardUpdate(rule, old *v2.PortRule) field.ErrorList {
	by, ok := rule.Annotations[api.RequestedBy]
	oldBy, oldOK := old.Annotations[api.RequestedBy]
	if v.requestedBy && (by != oldBy || ok != oldOK) {
		return field.ErrorList{field.Forbidden(requestedByPath, "holds the name of the user who created the rule, and cannot be changed")}
	}
	return nil
}
