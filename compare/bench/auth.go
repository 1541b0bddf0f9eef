package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"portrule.example/lab/compare/relay"
)

// Auth counts and times what authentication and authorization cost a request: which
// credential, by which way, in which state of the caches. Its cells are in [AuthCells].
var Auth = Suite{
	Name:  "auth",
	About: "round trips and reviews of authentication and authorization",
	Cases: []Case{
		{Name: "get", About: "GET of the same object each time", New: newGet},
		{Name: "get-new", About: "GET of another existing object each time, each read once", New: newGetNew},
		{Name: "list", About: fmt.Sprintf("GET of a collection of %d objects", shortList), New: newShortList},
		{Name: "create", About: "POST of a new object", New: newCreate},
		{Name: "watch-open", About: "GET with watch=true, until the stream is open", New: newWatchOpen},
		{Name: "status-update", About: "PUT of the subresource status with one number changed", New: newStatusUpdate},
		{Name: "probe", About: "GET of the subresource probe, which dials a port of the server's host once", New: newProbe},
	},
	Others: []Case{
		{Name: "routing", About: "GET of the same object each time, with two replicas of the server and with --enable-aggregator-routing: how long it takes, and how many requests a second each replica answers"},
		{Name: "herd", About: fmt.Sprintf("GET of one object by %d clients at the moment when the server's cache has expired: how many reviews that causes", HerdClients)},
		{Name: "growth", About: "GET of objects by several users: reviews a second as users x names grows"},
	},
}

// The paths of a request.
const (
	ViaAPIServer = "kube-apiserver"
	Direct       = "direct"
)

// The credentials that a request may come with.
const (
	ByCertificate = "client-certificate"
	ByToken       = "service-account-token"
	ByFrontProxy  = "front-proxy-headers"
	ByNothing     = "anonymous"
)

// The states of the caches of an aggregated server. Cold is that of a server whose caches
// keep nothing, so that every request is the first one.
const (
	Warm = "warm"
	Cold = "cold"
)

// Webhooks is the implementation of [AuthCells] that is the CRD with webhooks.
const Webhooks = CRD + "+webhooks"

// Unshared is the aggregated server with --authorization-shared-reviews=false: each
// request that finds nothing in the cache asks for itself, as the stock library does.
const Unshared = "aggregated+unshared-reviews"

// Routed is the aggregated server behind a kube-apiserver with --enable-aggregator-routing.
const Routed = "aggregated+aggregator-routing"

// Cell is one place of the matrix of the suite auth: which request comes to which
// implementation, by which way, with which credential, in which state of the caches.
type Cell struct {
	Case       string `json:"case"`
	Impl       string `json:"impl"`
	Path       string `json:"path"`
	Credential string `json:"credential"`
	// Cache is empty for the CRD: it has no caches of reviews.
	Cache string `json:"cache,omitempty"`
}

// String names the cell.
func (c Cell) String() string {
	parts := []string{c.Impl, c.Path, c.Credential}
	if c.Cache != "" {
		parts = append(parts, c.Cache)
	}
	return c.Case + " (" + strings.Join(parts, ", ") + ")"
}

// session is the name of the session that measures the cell.
func (c Cell) session() string {
	parts := []string{c.Impl, c.Path, c.Credential}
	if c.Uncached() {
		parts = append(parts, "without caches")
	}
	return strings.Join(parts, ", ")
}

// Uncached is whether the cell takes a server whose caches keep nothing. A new name is cold
// on any, but for the token of who asks for it directly.
func (c Cell) Uncached() bool {
	return c.Cache == Cold && (c.Case != "get-new" || c.Credential == ByToken && c.Path == Direct)
}

// Citation says that a cell cannot differ from one that was measured, and why.
type Citation struct {
	Suite string `json:"suite"`
	Cell
	Cites Cell   `json:"cites"`
	Why   string `json:"why"`
}

// authRequests are the requests of the matrix, in the order of the report.
func authRequests() []string {
	var names []string
	for _, c := range Auth.Cases {
		names = append(names, c.Name)
	}
	return names
}

// AuthCells returns the matrix: the cells that are measured, and those that cite one. A
// quick run measures the cells that tell most, and cites nothing.
func AuthCells(quick bool) (measured []Cell, citations []Citation) {
	if quick {
		return []Cell{
			{"get", CRD, ViaAPIServer, ByCertificate, ""},
			{"create", CRD, ViaAPIServer, ByCertificate, ""},
			{"create", Webhooks, ViaAPIServer, ByCertificate, ""},
			{"get", Aggregated, ViaAPIServer, ByCertificate, Warm},
			{"get-new", Aggregated, ViaAPIServer, ByCertificate, Cold},
			{"get-new", NameFree, ViaAPIServer, ByCertificate, Warm},
			{"list", Aggregated, ViaAPIServer, ByCertificate, Cold},
			{"create", Aggregated, ViaAPIServer, ByCertificate, Warm},
			{"get", Aggregated, Direct, ByCertificate, Warm},
			{"get", Aggregated, Direct, ByCertificate, Cold},
			{"get", Aggregated, Direct, ByToken, Warm},
			{"get", Aggregated, Direct, ByToken, Cold},
		}, nil
	}
	for _, request := range authRequests() {
		for _, impl := range []string{CRD, Webhooks, Aggregated, NameFree} {
			for _, path := range []string{ViaAPIServer, Direct} {
				for _, credential := range []string{ByCertificate, ByToken, ByFrontProxy, ByNothing} {
					for _, cache := range []string{Warm, Cold} {
						cell := Cell{request, impl, path, credential, cache}
						if !cell.exists() {
							continue
						}
						cites, why := cell.cites()
						if cites == (Cell{}) {
							measured = append(measured, cell.normal())
							continue
						}
						// what it cites may cite another one in turn
						for next, more := cites.cites(); next != (Cell{}); next, more = cites.cites() {
							cites, why = next, why+"; "+more
						}
						citations = append(citations, Citation{Suite: Auth.Name, Cell: cell.normal(), Cites: cites.normal(), Why: why})
					}
				}
			}
		}
	}
	return measured, citations
}

// crd is whether the CRD answers.
func (c Cell) crd() bool { return c.Impl == CRD || c.Impl == Webhooks }

// exists is whether there is such a cell. The CRD has no state of caches: it is listed
// once, as warm.
func (c Cell) exists() bool {
	switch {
	case c.crd() && (c.Path == Direct || c.Cache == Cold || c.Case == "probe"):
		return false
	case c.Impl == Webhooks && c.Case != "create":
		return false // webhooks are not called for what reads
	case c.Path == ViaAPIServer && c.Credential == ByFrontProxy:
		return false // the kube-apiserver is the front proxy
	}
	return true
}

func (c Cell) normal() Cell {
	if c.crd() {
		c.Cache = ""
	}
	return c
}

// cites returns the cell that this one cannot differ from and why, and an empty cell if it
// is one that is measured.
func (c Cell) cites() (Cell, string) {
	other := c
	switch {
	case c.crd() && c.Credential != ByCertificate && (c.Impl != CRD || c.Case != "get"):
		other.Credential = ByCertificate
		return other, "the kube-apiserver authenticates and authorizes by itself, whatever is asked: GET was measured with each credential"
	case c.crd():
		return Cell{}, ""
	case c.Impl == NameFree && c.Case == "get-new" && c.Cache == Warm && c.Credential == ByCertificate:
		return Cell{}, ""
	case c.Impl == NameFree && c.Case == "get-new" && c.Cache == Warm:
		other.Credential = ByCertificate
		if c.Path == Direct {
			other.Case, other.Credential = "get", c.Credential
			other.Impl = Aggregated
			return other, "a review that leaves the name out is found in the cache for a new name as for an old one"
		}
		return other, "the kube-apiserver hands every user on by request headers"
	case c.Impl == NameFree:
		other.Impl = Aggregated
		return other, "leaving the name out of a review changes what is found in the cache, not the review"
	case c.Case == "get-new" && c.Cache == Warm:
		other.Cache = Cold
		if c.Credential == ByToken && c.Path == Direct {
			return Cell{}, "" // the token is in the cache, the review of the name is not
		}
		return other, "a review of a new name is never in the cache"
	case c.Path == ViaAPIServer && c.Case == "get" && c.Credential != ByNothing:
		return Cell{}, ""
	case c.Path == ViaAPIServer && c.Credential != ByCertificate && (c.Case != "get" || c.Cache != Warm):
		other.Credential = ByCertificate
		return other, "the kube-apiserver hands every user on by request headers"
	case c.Path == Direct && c.Credential != ByCertificate && c.Case != "get":
		other.Case = "get"
		if c.Credential != ByToken {
			other.Case, other.Credential = c.Case, ByCertificate
			return other, "neither credential is looked up: GET was measured with each"
		}
		return other, "what a token and its user cost does not depend on what is asked; to etcd it is as with a client certificate"
	}
	return Cell{}, ""
}

// Remedy is what an operator can do about the cost of authentication and authorization:
// two cells that differ in nothing else.
type Remedy struct {
	What          string
	With, Without Cell
}

// Remedies are those whose effect the suite auth shows.
var Remedies = []Remedy{
	{
		"caches of reviews (their TTL: 10 s, not 0)",
		Cell{"get", Aggregated, ViaAPIServer, ByCertificate, Warm}, Cell{"get", Aggregated, ViaAPIServer, ByCertificate, Cold},
	}, {
		"the name-free authorizer, for a new name",
		Cell{"get-new", NameFree, ViaAPIServer, ByCertificate, Warm}, Cell{"get-new", Aggregated, ViaAPIServer, ByCertificate, Cold},
	}, {
		"direct access, not through the kube-apiserver",
		Cell{"get", Aggregated, Direct, ByCertificate, Warm}, Cell{"get", Aggregated, ViaAPIServer, ByCertificate, Warm},
	}, {
		"a client certificate in place of a token, directly, the first time",
		Cell{"get", Aggregated, Direct, ByCertificate, Cold}, Cell{"get", Aggregated, Direct, ByToken, Cold},
	}, {
		"a client certificate in place of a token, directly, again",
		Cell{"get", Aggregated, Direct, ByCertificate, Warm}, Cell{"get", Aggregated, Direct, ByToken, Warm},
	},
}

// shortList is the number of objects that the suite auth lists: their bytes fit into what
// HTTP/2 sends without being told to go on.
const shortList = 20

func newShortList(ctx context.Context, s *Session, _ int) (Requests, error) {
	list := Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		return s.countList(ctx, s.request("GET", s.ListNamespace, ""), shortList)
	}}
	return list, s.fill(ctx, shortList)
}

// newWatchOpen opens watches that have nothing to say, and ends each at once.
func newWatchOpen(_ context.Context, s *Session, _ int) (Requests, error) {
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		request := s.request("GET", s.Namespace, "").
			Param("watch", "true").
			Param("fieldSelector", "metadata.name=nothing").
			Param("resourceVersion", "0")
		begin := time.Now()
		stream, err := request.Stream(ctx)
		if err != nil {
			return 0, err
		}
		taken := time.Since(begin)
		return taken, stream.Close()
	}}, nil
}

func newStatusUpdate(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.named("status", client)
	body, err := s.create(ctx, s.Namespace, name, 0)
	return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
		var object map[string]any
		if err := json.Unmarshal(body, &object); err != nil {
			return 0, err
		}
		object["status"] = map[string]any{"replicas": i % 100}
		request := s.request("PUT", s.Namespace, name).SubResource("status").Body(encode(object))
		var elapsed time.Duration
		elapsed, body, err = timed(ctx, request)
		return elapsed, err
	}}, err
}

func newProbe(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.named("probe", client)
	if err := s.createProbed(ctx, name); err != nil {
		return Requests{}, err
	}
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		elapsed, body, err := timed(ctx, s.request("GET", s.Namespace, name).SubResource("probe").Param("count", "1"))
		if err == nil && !strings.Contains(string(body), `"connected"`) {
			err = fmt.Errorf("the probe says %s", body)
		}
		return elapsed, err
	}}, nil
}

// Places are where the cells of the suite auth are measured.
type Places struct {
	// Namespaces in which every user may do everything, the second for lists.
	Namespace, ListNamespace string
	// Config returns the client configuration by which the requests of a cell come.
	Config func(Cell) (*rest.Config, error)
	// Group is the group that a cell's server has: that of a server whose caches keep
	// nothing, for a cold cell that is not cold by itself.
	Group func(Cell) string
	// Target is what a probe dials.
	Target netip.AddrPort

	// sessions is the number of sessions so far, so that each has names of its own.
	sessions int
}

// AuthSessions returns the sessions of the cells, each with a connection of its own.
func AuthSessions(cells []Cell, places *Places) ([]*Session, error) {
	var sessions []*Session
	for _, cell := range cells {
		if slices.ContainsFunc(sessions, func(s *Session) bool { return s.Name == cell.session() }) {
			continue
		}
		config, err := places.Config(cell)
		if err != nil {
			return nil, err
		}
		// client-go shares connections among those who have the same certificate, or none
		config = rest.CopyConfig(config)
		config.Dial = (&net.Dialer{}).DialContext
		subject := portRule(cell.Impl, places.Group(cell))
		session, err := NewSession(config, subject, places.Namespace, places.ListNamespace)
		if err != nil {
			return nil, err
		}
		session.Name, session.Target, session.prefix = cell.session(), places.Target, fmt.Sprintf("s%02d-", places.sessions)
		places.sessions++
		sessions = append(sessions, session)
	}
	return sessions, nil
}

// AuthSuite is the suite auth for the cells that are measured: each of its cases has the
// sessions of its cells, which are compared with the CRD's. Anonymous requests are a case of
// their own, because they disturb the others: an aggregated server ends the connection on
// which one has come, and the kube-apiserver has but one for all users.
func AuthSuite(cells []Cell) Suite {
	suite := Auth
	suite.Cases = nil
	for _, c := range Auth.Cases {
		for _, anonymous := range []bool{false, true} {
			if c := c.among(cells, anonymous); len(c.Impls) > 0 {
				suite.Cases = append(suite.Cases, c)
			}
		}
	}
	return suite
}

// among is the case with those of the cells that are its own, and anonymous or not.
func (c Case) among(cells []Cell, anonymous bool) Case {
	c.Cells = map[string]Cell{}
	floor := Cell{c.Name, CRD, ViaAPIServer, ByCertificate, ""}
	if anonymous {
		floor.Credential = ByNothing
	}
	for _, cell := range cells {
		if cell.Case == c.Name && (cell.Credential == ByNothing) == anonymous {
			c.Impls, c.Cells[cell.session()] = append(c.Impls, cell.session()), cell
		}
	}
	for _, name := range c.Impls {
		if slices.Contains(c.Impls, floor.session()) && name != floor.session() {
			c.Pairs = append(c.Pairs, [2]string{name, floor.session()})
		}
	}
	for _, remedy := range Remedies {
		with, without := remedy.With.session(), remedy.Without.session()
		if remedy.With.Case == c.Name && slices.Contains(c.Impls, with) && slices.Contains(c.Impls, without) {
			c.Pairs = append(c.Pairs, [2]string{with, without})
		}
	}
	return c
}

// Of returns those of sessions that a case is measured with.
func (c Case) Of(sessions []*Session) []*Session {
	return slices.DeleteFunc(slices.Clone(sessions), func(s *Session) bool { return !slices.Contains(c.Impls, s.key()) })
}

// Reviews are how many reviews have been asked for: as the aggregated server has counted
// those that it sent, and as the kube-apiserver has counted those that it got.
type Reviews struct {
	ServerTokens, ServerAccess float64
	KubeTokens, KubeAccess     float64
}

func (r Reviews) minus(other Reviews) Reviews {
	return Reviews{r.ServerTokens - other.ServerTokens, r.ServerAccess - other.ServerAccess, r.KubeTokens - other.KubeTokens, r.KubeAccess - other.KubeAccess}
}

// reviewRequests is the number of requests whose reviews are counted: they take much less
// time than the caches keep what they have.
const reviewRequests = 20

// CountReviews counts the TokenReviews and SubjectAccessReviews that a request of a cell
// causes. count returns those so far. The server's count is the result, and the
// kube-apiserver must agree with it; where it does not, the warning says so. In a cluster in
// which others ask for reviews too, it may have counted more.
func CountReviews(ctx context.Context, c Case, s *Session, others bool, count func(context.Context, Cell) (Reviews, error)) ([]Measurement, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cell := c.Cells[s.key()]
	requests, err := c.New(ctx, s, counting)
	if err != nil {
		return nil, "", err
	}
	const warmUp = 2
	seen := Reviews{ServerTokens: math.Inf(1)}
	for attempt := range reviewAttempts {
		first := attempt * (warmUp + reviewRequests)
		if err := requests.stock(ctx, first, first+warmUp+reviewRequests); err != nil {
			return nil, "", err
		}
		for i := range warmUp {
			if _, err := requests.Send(ctx, first+i); err != nil {
				return nil, "", err
			}
		}
		before, err := count(ctx, cell)
		if err != nil {
			return nil, "", err
		}
		for i := range reviewRequests {
			if _, err := requests.Send(ctx, first+warmUp+i); err != nil {
				return nil, "", err
			}
		}
		after, err := count(ctx, cell)
		if err != nil {
			return nil, "", err
		}
		// of those in which somebody else has asked too, the one with the fewest
		if counted := after.minus(before); counted.agree() || counted.ServerTokens+counted.ServerAccess < seen.ServerTokens+seen.ServerAccess {
			seen = counted
		}
		if seen.agree() {
			break
		}
	}
	warning := ""
	if !seen.agree() && (seen.KubeTokens < seen.ServerTokens || seen.KubeAccess < seen.ServerAccess || !others) {
		warning = fmt.Sprintf("auth/%s: of %d requests the server counts %g TokenReviews and %g SubjectAccessReviews, the kube-apiserver %g and %g",
			cell, reviewRequests, seen.ServerTokens, seen.ServerAccess, seen.KubeTokens, seen.KubeAccess)
	}
	var measurements []Measurement
	for _, m := range []struct {
		metric string
		value  float64
	}{{"tokenreviews", seen.ServerTokens}, {"subjectaccessreviews", seen.ServerAccess}} {
		each := m.value / reviewRequests
		measurements = append(measurements, cell.measurement(m.metric, reviewRequests, each, each, each))
	}
	return measurements, warning, nil
}

// reviewAttempts is how often the reviews are counted until both sides agree: the
// kube-apiserver polls the servers' discovery and OpenAPI too, as a user whom they ask for
// reviews of.
const reviewAttempts = 4

// agree is whether both sides have counted the same. There is no server that would send
// reviews for the CRD: those that the kube-apiserver has answered then are somebody else's.
func (r Reviews) agree() bool {
	return r.ServerTokens == r.KubeTokens && r.ServerAccess == r.KubeAccess
}

// counting is the number of the client that counts reviews: the others have objects of
// their own.
const counting = 99

func (c Cell) measurement(metric string, n int, median, low, high float64) Measurement {
	return Measurement{
		Suite: Auth.Name, Case: c.Case, Impl: c.Impl, Path: c.Path, Credential: c.Credential, Cache: c.Cache,
		Metric: metric, Unit: "1", N: n, Median: median, Low: low, High: high,
	}
}

// SlopeMeasurement is a slope as a measurement.
func (c Cell) SlopeMeasurement(s Slope) Measurement {
	m := c.measurement("round-trips", s.N, s.Median, s.Low, s.High)
	m.Link, m.StdErr, m.R2 = s.Link, &s.StdErr, &s.R2
	return m
}

// Share measures how many of n requests for one object each replica of a server answers.
// served returns what they have answered so far, by the names of the replicas.
func (c Cell) Share(ctx context.Context, s *Session, n int, served func(context.Context) (map[string]float64, error)) ([]Measurement, error) {
	requests, err := newGet(ctx, s, 0)
	if err != nil {
		return nil, err
	}
	before, err := served(ctx)
	if err != nil {
		return nil, err
	}
	var latencies []float64
	begin := time.Now()
	for i := range n {
		taken, err := requests.Send(ctx, i)
		if err != nil {
			return nil, err
		}
		latencies = append(latencies, float64(taken))
	}
	took := time.Since(begin).Seconds()
	after, err := served(ctx)
	if err != nil {
		return nil, err
	}
	latency, ok := summarize(latencies)
	if !ok {
		return nil, fmt.Errorf("%d requests are too few for an interval", n)
	}
	m := c.measurement("latency", n, latency.Center, latency.Lo, latency.Hi)
	m.Unit, m.Load = "ns", sharedLoad
	all := []Measurement{m}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		rate := (after[name] - before[name]) / took
		m := c.measurement("throughput", 1, rate, rate, rate)
		m.Unit, m.Load, m.Process = "1/s", sharedLoad, name
		all = append(all, m)
	}
	return all, nil
}

// sharedLoad is the load under which replicas share requests.
const sharedLoad = "two replicas"

// slopeTolerance is how far a slope may be from what is counted.
const slopeTolerance = 0.15

// Disagreements compares the round trips from the servers to the kube-apiserver with the
// reviews that were counted, cell by cell: each review is one round trip that the request
// waits for.
func Disagreements(measurements []Measurement) []string {
	reviews, trips := map[Cell]float64{}, map[Cell]float64{}
	var cells []Cell
	for _, m := range measurements {
		if m.Suite != Auth.Name {
			continue
		}
		cell := Cell{m.Case, m.Impl, m.Path, m.Credential, m.Cache}
		switch m.Metric {
		case "tokenreviews", "subjectaccessreviews":
			reviews[cell] += m.Median
		case "round-trips":
			if m.Link == relay.Reviews {
				cells = append(cells, cell)
				trips[cell] = m.Median
			}
		}
	}
	var warnings []string
	for _, cell := range cells {
		if counted, ok := reviews[cell]; ok && math.Abs(trips[cell]-counted) > slopeTolerance {
			warnings = append(warnings, fmt.Sprintf("auth/%s: %.2f round trips from the server to the kube-apiserver by the slope, %.2f reviews by the counters", cell, trips[cell], counted))
		}
	}
	return warnings
}
