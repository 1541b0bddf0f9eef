package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
)

// The ways to validate, beside [CRD] (its schema, with CEL), [Webhooks] and [Aggregated]
// (its strategy, and an admission plugin).
const (
	// WithoutCEL is a CRD whose schema has no rules in CEL.
	WithoutCEL = CRD + "+without-cel"
	// Policies is a CRD that admission policies guard.
	Policies = CRD + "+policies"
	// Unique is the aggregated server with R4.
	Unique = Aggregated + "+unique-endpoints"
)

// The requests of v1, which is not the version that is stored.
const (
	CRDV1        = CRD + "+v1"
	AggregatedV1 = Aggregated + "+v1"
	// Uncached is the aggregated server with --watch-cache=false: each list comes from etcd.
	Uncached   = Aggregated + "+no-watch-cache"
	UncachedV1 = Uncached + "+v1"
)

// versioned is how an implementation is called whose requests are of v1.
func versioned(impl string) (base string, isV1 bool) { return strings.CutSuffix(impl, "+"+v1.Version) }

// Validation puts the same writes to each way to validate, and measures the conversion
// between versions.
var Validation = Suite{
	Name:  "validation",
	About: "the same accepted and refused writes through each way to validate, and what conversion between versions costs",
	Impls: []string{WithoutCEL, CRD, Policies, Webhooks, Aggregated, Unique, CRDV1, AggregatedV1, Uncached, UncachedV1},
	Cases: []Case{
		{
			Name: "accepted", About: "POST of a valid rule; the webhook states R4 by a consistent list, which waits until the watch cache knows that it has missed nothing, up to 100 ms where others write too", Loaded: true,
			Impls: []string{WithoutCEL, CRD, Policies, Webhooks, Aggregated, Unique},
			Pairs: [][2]string{{Aggregated, CRD}, {WithoutCEL, CRD}, {Policies, CRD}, {Webhooks, CRD}, {Unique, Webhooks}, {Unique, Aggregated}},
			New:   newCreate,
		},
		refusals[0].measured([]string{WithoutCEL, CRD, Policies, Webhooks, Aggregated}, [2]string{Aggregated, CRD}, [2]string{WithoutCEL, CRD}, [2]string{Webhooks, CRD}),
		refusals[1].measured([]string{CRD, Policies, Webhooks, Aggregated}, [2]string{Aggregated, CRD}, [2]string{Webhooks, CRD}),
		refusals[2].measured([]string{CRD, Policies, Webhooks, Aggregated}, [2]string{Aggregated, CRD}, [2]string{Webhooks, CRD}),
		refusals[3].measured([]string{Webhooks, Unique}, [2]string{Unique, Webhooks}),
		refusals[4].measured([]string{Policies, Webhooks, Aggregated}, [2]string{Aggregated, Policies}, [2]string{Aggregated, Webhooks}, [2]string{Webhooks, Policies}),
		{
			Name: "convert-create", About: "POST in v1, and in v2, which is stored", Loaded: true,
			Impls: converted, Pairs: conversions, New: newCreateOf("convert"),
		},
		{
			Name: "convert-get", About: "GET of one object in v1, and in v2",
			Impls: converted, Pairs: conversions, New: newGet,
		},
	},
	Others: []Case{
		{Name: "convert-list-cached", About: "GET of a collection in v1 and in v2, as clients do: from the watch cache"},
		{Name: "convert-list-etcd", About: "GET of a collection in v1 and in v2 as it was before the watch cache began, which has to come from etcd"},
		{Name: "messages", About: "what each way to validate says to a write that breaks a rule of the contract"},
	},
}

var (
	converted   = []string{CRD, CRDV1, Aggregated, AggregatedV1}
	conversions = [][2]string{{AggregatedV1, CRDV1}, {CRDV1, CRD}, {AggregatedV1, Aggregated}}
)

// ConversionLists are the cases whose collections have n objects, which [FillLists] has
// made. The quick ones answer from the watch cache; those of the other have to convert each
// object.
func ConversionLists() []Case {
	return []Case{
		{Name: "convert-list-cached", Impls: converted, Pairs: conversions, New: newFilledList(false)},
		{
			Name: "convert-list-etcd", Impls: []string{CRD, CRDV1, Uncached, UncachedV1},
			Pairs: [][2]string{{UncachedV1, CRDV1}, {CRDV1, CRD}, {UncachedV1, Uncached}}, New: newFilledList(true),
		},
	}
}

// ValidationSessions returns the sessions of a suite, whose implementations have the given
// groups. ports is a namespace that allows the ports 1 to 79 alone.
func ValidationSessions(config *rest.Config, groups map[string]string, namespace, listNamespace, ports string) ([]*Session, error) {
	var sessions []*Session
	for _, impl := range Validation.Impls {
		base, isV1 := versioned(impl)
		group, served := groups[base]
		if !served {
			continue
		}
		subject := portRule(impl, group)
		if isV1 {
			subject.Version.Version = v1.Version
		}
		session, err := NewSession(config, subject, namespace, listNamespace)
		if err != nil {
			return nil, err
		}
		session.ports, session.prefix = ports, "v2-"
		if isV1 {
			session.prefix = "v1-" // both versions are of the same objects
		}
		sessions = append(sessions, session)
	}
	return sessions, nil
}

// FillLists makes the collections that [ConversionLists] ask for have n objects, and remembers
// as of which version they have.
func FillLists(ctx context.Context, sessions []*Session, n int) error {
	sessions = slices.DeleteFunc(slices.Clone(sessions), func(s *Session) bool {
		return !slices.ContainsFunc(ConversionLists(), func(c Case) bool { return slices.Contains(c.Impls, s.key()) })
	})
	for _, s := range sessions {
		if _, isV1 := versioned(s.Subject.Impl); !isV1 {
			if err := s.fill(ctx, n); err != nil {
				return err
			}
		}
	}
	for _, s := range sessions {
		_, body, err := timed(ctx, s.request("GET", s.ListNamespace, "").Param("limit", "1"))
		if err != nil {
			return err
		}
		if s.filledAt, err = resourceVersion(body); err != nil {
			return err
		}
		s.filled = n
		if err := s.catchUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// etcdTimeout bounds the wait for the kube-apiserver to begin new watch caches.
const etcdTimeout = 2 * time.Minute

// AwaitEtcdList waits until a list of v1 from the CRD, as of FillLists, converts what it
// reads: it then comes from etcd. count is as in [CountCalls].
func AwaitEtcdList(ctx context.Context, sessions []*Session, count func(context.Context) (admission, conversion float64, err error)) error {
	at := slices.IndexFunc(sessions, func(s *Session) bool { return s.Subject.Impl == CRDV1 })
	if at < 0 {
		return nil
	}
	s := sessions[at]
	for deadline := time.Now().Add(etcdTimeout); ; {
		_, before, err := count(ctx)
		if err != nil {
			return err
		}
		request := s.request("GET", s.ListNamespace, "").Param("resourceVersion", s.filledAt).Param("resourceVersionMatch", "Exact").Param("limit", "1")
		if err := request.Do(ctx).Error(); err != nil {
			return err
		}
		_, after, err := count(ctx)
		switch {
		case err != nil:
			return err
		case after > before:
			return s.catchUp(ctx)
		case time.Now().After(deadline):
			return fmt.Errorf("the kube-apiserver still answers a list of the past from its watch cache after %s", etcdTimeout)
		}
		if !sleepUntil(ctx, time.Now().Add(lookInterval)) {
			return ctx.Err()
		}
	}
}

// newFilledList lists what FillLists has made, as of then if exact.
func newFilledList(exact bool) func(context.Context, *Session, int) (Requests, error) {
	return func(_ context.Context, s *Session, _ int) (Requests, error) {
		return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
			request := s.request("GET", s.ListNamespace, "")
			if exact {
				request = request.Param("resourceVersion", s.filledAt).Param("resourceVersionMatch", "Exact")
			}
			return s.countList(ctx, request, s.filled)
		}}, nil
	}
}

// refusal is a write that breaks a rule of the contract.
type refusal struct {
	name, rule, about string
	// edit breaks the rule in a valid spec. own is a name that no other client has.
	edit func(spec, endpoint map[string]any, own string)
	// update is whether it is a PUT to an object that is there, taken whether an object
	// with the same endpoint comes first, ports whether it is in the namespace that allows few
	// ports.
	update, taken, ports bool
}

var refusals = []refusal{
	{
		name: "wrong-port", rule: "R1", about: "a POST with the port 70000",
		edit: func(_, endpoint map[string]any, _ string) { endpoint["port"] = 70000 },
	},
	{
		name: "temporary-and-permanent", rule: "R2", about: "a POST with timeoutSeconds and permanent",
		edit: func(spec, _ map[string]any, _ string) { spec["permanent"] = true },
	},
	{
		name: "moved-endpoint", rule: "R3", about: "a PUT with another host", update: true,
		edit: func(_, endpoint map[string]any, _ string) { endpoint["host"] = "elsewhere.example.com" },
	},
	{
		name: "taken-endpoint", rule: "R4", about: "a POST with the endpoint of another rule", taken: true,
		edit: func(_, endpoint map[string]any, own string) { endpoint["host"] = own + ".example.com" },
	},
	{
		name: "forbidden-port", rule: "R5", about: "a POST with a port that the namespace does not allow", ports: true,
		edit: func(_, _ map[string]any, _ string) {},
	},
}

// measured is the case that times the refusal.
func (r refusal) measured(impls []string, pairs ...[2]string) Case {
	return Case{
		Name: r.name, About: r.about + " (" + r.rule + "), which is refused", Loaded: r.rule == "R1",
		Impls: impls, Pairs: pairs, New: r.requests,
	}
}

// namespace is where the write is made.
func (r refusal) namespace(s *Session) string {
	if r.ports {
		return s.ports
	}
	return s.Namespace
}

// object is a rule that breaks the contract's.
func (r refusal) object(s *Session, own, name, resourceVersion string) ([]byte, error) {
	var object struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(s.Subject.object(name, 0, resourceVersion), &object); err != nil {
		return nil, err
	}
	r.edit(object.Spec, object.Spec["endpoint"].(map[string]any), own)
	return json.Marshal(object)
}

// write returns the refused write, once what it needs is there.
func (r refusal) write(ctx context.Context, s *Session, client int) (func(i int) (*rest.Request, error), error) {
	own := s.named(r.name, client)
	switch {
	case r.update:
		body, err := s.create(ctx, s.Namespace, own, 0)
		if err != nil {
			return nil, err
		}
		version, err := resourceVersion(body)
		if err != nil {
			return nil, err
		}
		return func(int) (*rest.Request, error) {
			object, err := r.object(s, own, own, version)
			return s.request("PUT", s.Namespace, own).Body(object), err
		}, nil
	case r.taken:
		object, err := r.object(s, own, own+"-first", "")
		if err != nil {
			return nil, err
		}
		if err := s.request("POST", s.Namespace, "").Body(object).Do(ctx).Error(); err != nil {
			return nil, err
		}
	}
	return func(i int) (*rest.Request, error) {
		object, err := r.object(s, own, fmt.Sprintf("%s-%06d", own, i), "")
		return s.request("POST", r.namespace(s), "").Body(object), err
	}, nil
}

// requests are those of the case: each of them must be refused.
func (r refusal) requests(ctx context.Context, s *Session, client int) (Requests, error) {
	write, err := r.write(ctx, s, client)
	return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
		request, err := write(i)
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		result := request.Do(ctx)
		taken := time.Since(begin)
		var code int
		if result.StatusCode(&code); code != http.StatusUnprocessableEntity && code != http.StatusForbidden {
			return 0, fmt.Errorf("%s was not refused: the answer is %d (%w)", r.about, code, cmp.Or(result.Error(), errAccepted))
		}
		return taken, nil
	}}, err
}

var errAccepted = errors.New("accepted")

// judging is the number of the client that asks for messages.
const judging = 98

// Messages puts a write that breaks each rule of the contract to a session, and says what
// came of it. What is accepted cannot be said by that way to validate.
func Messages(ctx context.Context, s *Session) ([]Observation, error) {
	var all []Observation
	add := func(rule, about, seen string) {
		all = append(all, Observation{Suite: Validation.Name, Case: "messages", What: rule + ": " + about, Impl: s.Subject.Impl, Seen: seen})
	}
	for _, r := range refusals {
		write, err := r.write(ctx, s, judging)
		if err != nil {
			return nil, err
		}
		request, err := write(0)
		if err != nil {
			return nil, err
		}
		err = request.Do(ctx).Error()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		add(r.rule, r.about, message(err))
	}
	name := s.named("forged", judging)
	var object map[string]any
	if err := json.Unmarshal(s.Subject.object(name, 0, ""), &object); err != nil {
		return nil, err
	}
	object["metadata"] = map[string]any{"name": name, "annotations": map[string]any{api.RequestedBy: "mallory"}}
	body, err := s.request("POST", s.Namespace, "").Body(encode(object)).Do(ctx).Raw()
	seen := message(err)
	if err == nil {
		var created metav1.PartialObjectMetadata
		if err := json.Unmarshal(body, &created); err != nil {
			return nil, err
		}
		if by := created.Annotations[api.RequestedBy]; by != "mallory" {
			seen = "accepted, and the annotation names the caller"
		}
	}
	add("R6", "a POST that names somebody else in the annotation requested-by", seen)
	return all, nil
}

// message says what the answer to a write was: its code, the fields that it names, and its
// words.
func message(err error) string {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return "accepted: it cannot say this"
	case !errors.As(err, &status):
		return "no answer: " + err.Error()
	}
	answer := status.Status()
	var fields, words []string
	if answer.Details != nil {
		for _, cause := range answer.Details.Causes {
			if cause.Field != "" {
				fields = append(fields, cause.Field)
			}
			words = append(words, cause.Message)
		}
	}
	where := "names no field"
	if len(fields) > 0 {
		where = "names " + strings.Join(fields, ", ")
	}
	return fmt.Sprintf("%d %s, %s: %s", answer.Code, answer.Reason, where, cmp.Or(strings.Join(words, "; "), answer.Message))
}

// catchUp waits until the watch cache of v1 has every object, converted: a list that is to be
// consistent waits for that, and converts nothing itself. A limit and no selector would let
// it come from etcd while the cache begins.
func (s *Session) catchUp(ctx context.Context) error {
	for deadline := time.Now().Add(etcdTimeout); ; {
		err := s.client.Get().AbsPath("/apis", s.Subject.Version.Group, v1.Version, "namespaces", s.ListNamespace, api.Resource).
			Param("fieldSelector", "metadata.name=nothing").MaxRetries(0).Do(ctx).Error()
		if !apierrors.IsTooManyRequests(err) || time.Now().After(deadline) {
			return err
		}
		if !sleepUntil(ctx, time.Now().Add(lookInterval)) {
			return ctx.Err()
		}
	}
}

// CountCalls counts the calls of admission and of conversion webhooks that each of n requests
// of a case causes, by session, those included that come after the answer. count returns the
// calls so far. Nobody else may call webhooks meanwhile.
func CountCalls(ctx context.Context, suite string, c Case, sessions []*Session, n int, count func(context.Context) (admission, conversion float64, err error)) ([]Measurement, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sessions = c.Of(sessions)
	requests := make([]Requests, len(sessions))
	for i, s := range sessions {
		var err error
		if requests[i], err = c.New(ctx, s, counting); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", s.key(), err)
		}
		if err := requests[i].stock(ctx, 0, n); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", s.key(), err)
		}
	}
	var all []Measurement
	for i, s := range sessions {
		before, err := caughtUp(ctx, s, count)
		if err != nil {
			return nil, err
		}
		for k := range n {
			if _, err := requests[i].Send(ctx, k); err != nil {
				return nil, fmt.Errorf("%s: %w", s.key(), err)
			}
		}
		after, err := caughtUp(ctx, s, count)
		if err != nil {
			return nil, err
		}
		for m, metric := range []string{"webhook-calls", "conversions"} {
			each := (after[m] - before[m]) / float64(n)
			all = append(all, Measurement{
				Suite: suite, Case: c.Name, Impl: s.Subject.Impl, Path: ViaAPIServer, Metric: metric, Unit: "1", N: n, Median: each, Low: each, High: each,
			})
		}
	}
	return all, nil
}

// caughtUp returns the calls of webhooks once those have been made that the session's requests
// have caused.
func caughtUp(ctx context.Context, s *Session, count func(context.Context) (admission, conversion float64, err error)) (calls [2]float64, err error) {
	if err := s.catchUp(ctx); err != nil {
		return calls, err
	}
	calls[0], calls[1], err = count(ctx)
	return calls, err
}
