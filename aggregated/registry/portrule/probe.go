package portrule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/api/probe"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// ProbeOptions are the query parameters of GET portrules/<name>/probe.
type ProbeOptions struct {
	metav1.TypeMeta `json:",inline"`

	// Count is how often the endpoint is dialled, 1 to 30, 1 if absent.
	Count *int64 `json:"count,omitempty"`
	// IntervalSeconds is the pause between two attempts, 0 (the shortest there is) to
	// 10, 1 if absent.
	IntervalSeconds *int64 `json:"intervalSeconds,omitempty"`
	// TimeoutSeconds is how long an attempt may take, 1 to 10, 3 if absent.
	TimeoutSeconds *int64 `json:"timeoutSeconds,omitempty"`
}

// SwaggerDoc tells OpenAPI what the parameters mean.
func (ProbeOptions) SwaggerDoc() map[string]string {
	return map[string]string{
		"count":           "how often the endpoint is dialled, 1 to 30, 1 if absent",
		"intervalSeconds": "the pause in seconds between two attempts, 0 (the shortest there is) to 10, 1 if absent",
		"timeoutSeconds":  "how many seconds an attempt may take, 1 to 10, 3 if absent",
	}
}

// DeepCopyObject returns a copy. The numbers are never written to.
func (o *ProbeOptions) DeepCopyObject() runtime.Object {
	c := *o
	return &c
}

// AddProbeOptions registers ProbeOptions in every served version, and how they are
// read from a query.
func AddProbeOptions(scheme *runtime.Scheme, group string) error {
	for _, version := range []string{v1.Version, v2.Version} {
		scheme.AddKnownTypes(schema.GroupVersion{Group: group, Version: version}, &ProbeOptions{})
	}
	return scheme.AddConversionFunc((*url.Values)(nil), (*ProbeOptions)(nil), func(in, out any, _ conversion.Scope) error {
		query, options := *in.(*url.Values), out.(*ProbeOptions)
		for name, field := range map[string]**int64{
			"count": &options.Count, "intervalSeconds": &options.IntervalSeconds, "timeoutSeconds": &options.TimeoutSeconds,
		} {
			if !query.Has(name) {
				continue
			}
			number, err := strconv.ParseInt(query.Get(name), 10, 64)
			if err != nil {
				return fmt.Errorf("the query parameter %s=%q is not a whole number", name, query.Get(name))
			}
			*field = &number
		}
		return nil
	})
}

// ProbeREST serves the subresource portrules/probe: the server dials the endpoint
// and writes one line of JSON, a [probe.Attempt], for each attempt as it ends.
type ProbeREST struct {
	rules  *REST
	prober *probe.Prober
}

var (
	_ rest.Connecter       = &ProbeREST{}
	_ rest.StorageMetadata = &ProbeREST{}
)

// NewProbeREST returns the probe of the rules in r.
func NewProbeREST(r *REST, prober *probe.Prober) *ProbeREST { return &ProbeREST{r, prober} }

// New returns an empty PortRule: it is the kind that the subresource belongs to.
func (*ProbeREST) New() runtime.Object { return &v2.PortRule{} }

// Destroy does nothing: there is nothing to destroy.
func (*ProbeREST) Destroy() {}

const jsonLines = "application/jsonl"

// ProducesMIMETypes tells OpenAPI.
func (*ProbeREST) ProducesMIMETypes(string) []string { return []string{jsonLines} }

// ProducesObject tells OpenAPI.
func (*ProbeREST) ProducesObject(string) any { return "" }

// ConnectMethods are the methods of HTTP that it takes.
func (*ProbeREST) ConnectMethods() []string { return []string{http.MethodGet} }

// NewConnectOptions returns what the query is read into.
func (*ProbeREST) NewConnectOptions() (options runtime.Object, subpath bool, subpathKey string) {
	return &ProbeOptions{}, false, ""
}

// Connect returns a handler that probes. What can be refused is refused here, with a
// Status: afterwards the answer has begun.
func (r *ProbeREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	obj, err := r.rules.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	endpoint := obj.(*v2.PortRule).Spec.Endpoint
	if endpoint.Protocol != v2.ProtocolTCP {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s cannot be probed: only tcp tells whether somebody listens", endpoint))
	}
	o := options.(*ProbeOptions)
	plan := probe.NewPlan(o.Count, o.IntervalSeconds, o.TimeoutSeconds)
	if errs := plan.Validate(); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: r.rules.group, Kind: "ProbeOptions"}, name, errs)
	}
	target := probe.Target{Host: endpoint.Host, Port: uint16(endpoint.Port)}
	refused := (*probe.RefusedError)(nil)
	if err := r.prober.Check(ctx, target); errors.As(err, &refused) {
		return nil, apierrors.NewForbidden(schema.GroupResource{Group: r.rules.group, Resource: api.Resource + "/probe"}, name, err)
	} else if err != nil {
		return nil, apierrors.NewInternalError(err)
	}

	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		begun := false
		lines := json.NewEncoder(w)
		err := r.prober.Run(req.Context(), target, plan, func(attempt probe.Attempt) error {
			if !begun {
				w.Header().Set("Content-Type", jsonLines)
				w.WriteHeader(http.StatusOK)
				begun = true
			}
			if err := lines.Encode(attempt); err != nil {
				return err
			}
			return http.NewResponseController(w).Flush()
		})
		if errors.Is(err, probe.ErrBusy) {
			err = apierrors.NewTooManyRequests(err.Error(), 5)
		}
		if err != nil && !begun {
			responder.Error(err)
		}
		// after that the client knows by the missing lines
	}), nil
}
