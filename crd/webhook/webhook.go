// Package webhook is what the CRD says by webhook: the conversion between its
// versions, and the rules of the contract that its schema cannot state or that a
// webhook may state in its place.
//
// [Install] puts the handlers on a controller-runtime webhook server; the
// functions in configurations.go say to a cluster when to call them. A run chooses
// by [Options] which of them there are, so that the cost of each can be measured
// alone:
//
//   - [PathConvert] converts between v1 and v2, always.
//   - [PathMutate] fills in defaults and says who made the rule (R6).
//   - [PathValidate] checks R1 to R3 with the Go code of the contract, R4 by
//     listing, R5 by reading the namespace.
//   - [PathReserve] reserves the endpoint of a new rule in a Lease (R4).
//
// R4 by listing is check-then-act: two rules that are made at the same time do not
// see each other, and both are let in. The reservation closes that gap and opens
// smaller ones: read reservation.go.
package webhook

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// The paths that the handlers are served at.
const (
	PathConvert  = "/convert"
	PathValidate = "/validate"
	PathMutate   = "/mutate"
	PathReserve  = "/reserve"
)

// Options says which webhooks there are besides the conversion.
type Options struct {
	// Group that the CRD is served under, such as [api.CRDGroup].
	Group string
	// Validating checks R1 to R5. Together with Mutating it also refuses an
	// annotation [api.RequestedBy] that a webhook which ran later has changed.
	Validating bool
	// Mutating fills in defaults and sets the annotation [api.RequestedBy] (R6).
	Mutating bool
	// Reservation reserves the endpoint of each new rule (R4).
	Reservation bool
}

// Install registers the handlers on server.
//
// The scheme must know v1 and v2 of [Options.Group]; the scheme of reader must
// know v2, and those of reader and writer the built-in kinds.
//
// The reader must ask the API server and not a cache (a manager's GetAPIReader):
// what is checked against the past is not checked. It gets and lists PortRules,
// gets Namespaces, and for the reservation gets Leases. It selects PortRules by the
// fields spec.endpoint.host and spec.endpoint.port, so the CRD must have them
// selectable.
//
// The writer creates, updates and deletes Leases. It may be nil without
// [Options.Reservation].
func Install(server webhook.Server, scheme *runtime.Scheme, reader client.Reader, writer client.Writer, options Options) error {
	if options.Group == "" {
		return errors.New("install webhooks: no group is given")
	}
	if options.Reservation && writer == nil {
		return errors.New("install webhooks: the reservation needs a client that writes Leases")
	}
	convert, err := newConverter(scheme, options.Group)
	if err != nil {
		return err
	}
	server.Register(PathConvert, convert)

	k := kind{group: options.Group, decoder: admission.NewDecoder(scheme)}
	if options.Validating {
		v := &validator{kind: k, reader: reader, requestedBy: options.Mutating}
		server.Register(PathValidate, serveAdmission(v.handle))
	}
	if options.Mutating {
		m := &mutator{kind: k}
		server.Register(PathMutate, serveAdmission(m.handle))
	}
	if options.Reservation {
		r := &reserver{kind: k, reader: reader, writer: writer}
		server.Register(PathReserve, serveAdmission(r.handle))
	}
	return nil
}

// kind is PortRule under one group: how it is decoded, and how it is refused.
type kind struct {
	group   string
	decoder admission.Decoder
}

// decode reads an object of a review. The API server has pruned unknown fields and
// refused duplicate ones; fields that a newer one has added to the metadata are
// let through.
func (k kind) decode(raw runtime.RawExtension) (*v2.PortRule, error) {
	rule := &v2.PortRule{}
	if err := k.decoder.DecodeRaw(raw, rule); err != nil {
		return nil, fmt.Errorf("decode the object as %s: %w", k.hub(), err)
	}
	// The decoder takes what names no kind for what was asked for.
	if got := rule.GroupVersionKind(); got != k.hub() {
		return nil, fmt.Errorf("the object is a %q: want %q", got, k.hub())
	}
	v2.Default(rule)
	return rule, nil
}

// hub is the version that reviews are to carry.
func (k kind) hub() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.group, Version: v2.Version, Kind: api.Kind}
}

func (k kind) resource() schema.GroupResource {
	return schema.GroupResource{Group: k.group, Resource: api.Resource}
}

// invalid is the answer to a rule that breaks the contract. It speaks of the
// fields of the version that the client used.
func (k kind) invalid(req admission.Request, name string, errs field.ErrorList) admission.Response {
	if req.RequestKind != nil && req.RequestKind.Version == v1.Version {
		errs = v1.Translate(errs)
		for _, err := range errs {
			if err.Field == endpointPath.String() {
				err.Field = "spec" // v1 has the endpoint's fields there
			}
		}
	}
	return refused(apierrors.NewInvalid(schema.GroupKind{Group: k.group, Kind: api.Kind}, name, errs))
}

var endpointPath = field.NewPath("spec", "endpoint")

// refused is an answer that carries the whole status, so that the client sees its
// code, its reason and the fields that are to blame.
func refused(err *apierrors.StatusError) admission.Response {
	response := admission.ValidationResponse(false, "")
	*response.Result = err.ErrStatus
	return response
}
