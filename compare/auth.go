package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/relay"
	"portrule.example/lab/compare/testbed"
)

// The groups of the servers of the suite auth, beside the aggregated server's own and
// [bench.NameFreeGroup].
const (
	uncachedGroup = "uncached." + api.Group
	shortGroup    = "short-ttl." + api.Group
	unsharedGroup = "unshared." + api.Group
)

// uncached are the flags of a server whose caches of reviews keep nothing: each request
// is like the first one.
var uncached = []string{
	"--authentication-token-webhook-cache-ttl=0s",
	"--authorization-webhook-cache-authorized-ttl=0s",
	"--authorization-webhook-cache-unauthorized-ttl=0s",
}

// errOwnServer says that the suite auth cannot be run.
var errOwnServer = errors.New("it counts on servers of its own, and the cluster has one for " + api.Group + " already: remove it")

// The round trips of the suite auth: what is enough to tell integers apart.
const (
	slopePrecision  = 0.04
	leastSlopes     = 6
	mostSlopes      = 10
	quickMostSlopes = 8
)

// runAuth runs the suite auth: round trips and reviews on one testbed, times on another.
func runAuth(ctx context.Context, flags benchFlags, result *bench.Result, show *progress.Progress) ([]bench.Samples, error) {
	err := authSlopes(ctx, flags, result, show)
	if errors.Is(err, errOwnServer) && len(flags.suites) == 0 {
		// nobody has asked for it by name
		result.Warnings = append(result.Warnings, "the suite auth was not run: "+err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	samples, err := authLatencies(ctx, flags, result, show)
	if err == nil && flags.cluster.kind == cluster.KindEmbedded && !flags.quick {
		err = authRouting(ctx, result, show)
	}
	measurements, comparisons, warnings := bench.Summarize(samples, "", nil)
	result.Measurements = append(result.Measurements, measurements...)
	result.Comparisons = append(result.Comparisons, comparisons...)
	result.Warnings = append(result.Warnings, warnings...)
	return samples, err
}

// authSlopes counts the round trips and the reviews of the cells of the suite auth, on a
// testbed of its own whose links have relays: they would be in the way of what else is
// measured.
func authSlopes(ctx context.Context, flags benchFlags, result *bench.Result, show *progress.Progress) (err error) {
	links := &relay.Links{}
	setup := testbed.Alike(testbed.CRDSetup{})
	setup.Links, setup.GuardLater, setup.Outside = links, true, true
	options := cluster.EmbeddedOptions{Etcd: func(address string) (string, error) { return links.Through(relay.Etcd, "127.0.0.1", address) }}
	show.Step("auth: a control plane with relays on its links, to count round trips")
	bed, stop, err := startBed(ctx, flags.provider(options, show.Step), setup, show.Step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	describeTestbed(&result.Environment, bed)
	addWarnings(result, bed)
	if bed.Server() == nil {
		return errOwnServer
	}

	cells, citations := bench.AuthCells(flags.quick)
	a, err := newAuthBed(ctx, bed, cells)
	if err != nil {
		return err
	}
	suite := bench.AuthSuite(cells)
	total := len(cells)
	done := 0
	// the webhooks come last: once they are there, every create calls them
	for _, guarded := range []bool{false, true} {
		if guarded && slices.ContainsFunc(cells, func(c bench.Cell) bool { return c.Impl == bench.Webhooks }) {
			if err := bed.Guard(ctx); err != nil {
				return err
			}
		}
		for _, c := range suite.Cases {
			c.Impls = slices.DeleteFunc(slices.Clone(c.Impls), func(name string) bool { return (c.Cells[name].Impl == bench.Webhooks) != guarded })
			sessions := c.Of(a.sessions)
			if len(sessions) == 0 {
				continue
			}
			if err := a.count(ctx, c, sessions, flags, result, func(part float64) {
				show.Update(int(1000*(float64(done)+part*float64(len(sessions)))/float64(total)), 1000, "auth: round trips of "+c.Name)
			}); err != nil {
				return fmt.Errorf("auth/%s: %w", c.Name, err)
			}
			done += len(sessions)
		}
	}
	show.Finish()
	if flags.cluster.kind != cluster.KindEmbedded {
		result.Warnings = append(result.Warnings, "auth: the round trips to etcd are the aggregated server's alone: there is no relay between the cluster's kube-apiserver and its etcd")
	}
	result.Citations = citations
	result.Warnings = append(result.Warnings, bench.Disagreements(result.Measurements)...)
	return nil
}

// authLatencies times the cells of the suite auth, without anything on the links, and adds
// what happens when a cache expires and as the work grows.
func authLatencies(ctx context.Context, flags benchFlags, result *bench.Result, show *progress.Progress) (_ []bench.Samples, err error) {
	setup := testbed.Alike(testbed.CRDSetup{})
	setup.GuardLater, setup.Outside = true, true
	show.Step("auth: a control plane without relays, to measure times")
	bed, stop, err := startBed(ctx, flags.provider(cluster.EmbeddedOptions{}, show.Step), setup, show.Step)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	cells, _ := bench.AuthCells(flags.quick)
	a, err := newAuthBed(ctx, bed, cells)
	if err != nil {
		return nil, err
	}
	plan := flags.plan
	plan.Windows, plan.Budget, plan.MinRounds = 0, authBudget, authRounds
	if flags.quick {
		plan.Budget, plan.MinRounds = quickAuthBudget, quickAuthRounds
	}
	var all []bench.Samples
	for _, guarded := range []bool{false, true} {
		chosen := slices.DeleteFunc(slices.Clone(cells), func(c bench.Cell) bool { return (c.Impl == bench.Webhooks) != guarded })
		if len(chosen) == 0 {
			continue
		}
		if guarded {
			if err := a.growUnlessQuick(ctx, flags, result, show); err != nil {
				return all, err
			}
			if err := bed.Guard(ctx); err != nil {
				return all, err
			}
			plan.Budget = time.Duration(float64(plan.Budget) * float64(len(chosen)) / float64(len(cells)))
		}
		samples, err := bench.Run(ctx, bench.Options{
			Plan: plan, Suites: []bench.Suite{bench.AuthSuite(chosen)}, Sessions: a.sessions,
			Progress: func(p bench.Progress) { show.Update(int(1000*p.Done), 1000, p.What) },
		})
		show.Finish()
		all = append(all, samples...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// sharedRequests is the number of requests that two replicas share.
const sharedRequests = 1000

// authRouting measures two replicas of the server without and with
// --enable-aggregator-routing.
func authRouting(ctx context.Context, result *bench.Result, show *progress.Progress) error {
	for _, routing := range []bool{false, true} {
		cell := bench.Cell{Case: "routing", Impl: bench.Aggregated, Path: bench.ViaAPIServer, Credential: bench.ByCertificate, Cache: bench.Warm}
		if routing {
			cell.Impl = bench.Routed
		}
		show.Step("auth: two replicas of " + cell.Impl)
		measurements, err := shareOf(ctx, cell, routing)
		if err != nil {
			return fmt.Errorf("auth/routing: %w", err)
		}
		result.Measurements = append(result.Measurements, measurements...)
	}
	return nil
}

// shareOf measures the two replicas on a testbed of their own.
func shareOf(ctx context.Context, cell bench.Cell, routing bool) (_ []bench.Measurement, err error) {
	bed, stop, err := startBed(ctx, embedded(cluster.EmbeddedOptions{AggregatorRouting: routing}), testbed.Alike(testbed.CRDSetup{}), func(string) {})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-replica")
	if err != nil {
		return nil, err
	}
	if routing {
		if err := bed.Join(ctx, replica); err != nil {
			return nil, err
		}
	}
	a, err := newAuthBed(ctx, bed, []bench.Cell{cell})
	if err != nil {
		return nil, err
	}
	return cell.Share(ctx, a.sessions[0], sharedRequests, func(ctx context.Context) (map[string]float64, error) {
		first, err := bed.Served(ctx, bed.Server())
		if err != nil {
			return nil, err
		}
		second, err := bed.Served(ctx, replica)
		return map[string]float64{"portrule-apiserver": first, "portrule-apiserver-replica": second}, err
	})
}

// How long the cells of the suite auth are timed together, and the fewest rounds of each
// request.
const (
	authBudget, authRounds           = 70 * time.Second, 300
	quickAuthBudget, quickAuthRounds = 14 * time.Second, 40
)

// reviewTTL is how long the aggregated server keeps reviews unless it is told otherwise.
const reviewTTL = 10 * time.Second

// shortTTL is how long the server does that shows how reviews grow: what is expected of
// one TTL holds for another, and ten seconds are long to wait for.
const shortTTL = time.Second

// The growth is measured with users whom the front proxy vouches for.
var growthCell = bench.Cell{Case: "growth", Impl: bench.Aggregated, Path: bench.Direct, Credential: bench.ByFrontProxy, Cache: bench.Warm}

// growthUsers is the greatest number of them.
const growthUsers = 4

// growUnlessQuick is grow in a full run.
func (a *authBed) growUnlessQuick(ctx context.Context, flags benchFlags, result *bench.Result, show *progress.Progress) error {
	if !flags.quick {
		return a.grow(ctx, flags, result, show)
	}
	for _, name := range []string{"herd", "growth", "routing"} {
		result.NotRun = append(result.NotRun, bench.NotRun{Suite: bench.Auth.Name, Case: name, Why: "it waits for caches to expire, or takes more control planes: leave out --quick"})
	}
	return nil
}

// grow measures the herd at the moment of expiry, and reviews as users x names grows.
func (a *authBed) grow(ctx context.Context, flags benchFlags, result *bench.Result, show *progress.Progress) error {
	times, window := 3, 5*time.Second
	points := []bench.Growth{
		{Users: 1, Names: 1, Rate: 100}, {Users: 2, Names: 5, Rate: 100}, {Users: 4, Names: 25, Rate: 100}, {Users: 4, Names: 250, Rate: 100},
		{Users: 4, Names: 250, Rate: 200}, {Users: 4, Names: 250, Rate: 400},
	}
	parts := float64(1 + len(points))
	part := 0.0
	step := func(what string) {
		show.Update(int(1000*part/parts), 1000, "auth: "+what)
		part++
	}
	for group, flag := range map[string]string{
		unsharedGroup: "--authorization-shared-reviews=false",
		shortGroup:    "--authorization-webhook-cache-authorized-ttl=" + shortTTL.String(),
	} {
		label, _, _ := strings.Cut(group, ".")
		peer, err := a.bed.ServePeer(ctx, "portrule-apiserver-"+label, group, flag)
		if err != nil {
			return err
		}
		a.servers[group] = peer.Server
	}
	// those who are to use the new groups need a role anew
	users, err := a.users(ctx, growthCell, growthUsers)
	if err != nil {
		return err
	}
	step(fmt.Sprintf("%d clients when the cache has expired", bench.HerdClients))
	var sessions []*bench.Session
	herdCells := []bench.Cell{
		{Case: "herd", Impl: bench.Unshared, Path: bench.Direct, Credential: bench.ByFrontProxy, Cache: bench.Warm},
		{Case: "herd", Impl: bench.Aggregated, Path: bench.Direct, Credential: bench.ByFrontProxy, Cache: bench.Warm},
		{Case: "herd", Impl: bench.Aggregated, Path: bench.ViaAPIServer, Credential: bench.ByCertificate, Cache: bench.Warm},
		{Case: "herd", Impl: bench.Aggregated, Path: bench.Direct, Credential: bench.ByToken, Cache: bench.Warm},
	}
	for _, cell := range herdCells {
		own, err := a.sessionsOf(cell)
		if cell.Impl == bench.Unshared {
			own, err = a.users(ctx, cell, 1)
		}
		if err != nil {
			return err
		}
		sessions = append(sessions, own...)
	}
	herds, err := bench.Herd(ctx, sessions, reviewTTL, times, func(ctx context.Context, s *bench.Session) (bench.Reviews, error) {
		return a.reviews(ctx, herdCells[slices.Index(sessions, s)])
	})
	if err != nil {
		return err
	}
	for i, cell := range herdCells {
		result.Measurements = append(result.Measurements,
			cell.HerdMeasurement("subjectaccessreviews", herds[i], func(r bench.Reviews) float64 { return r.ServerAccess }),
			cell.HerdMeasurement("tokenreviews", herds[i], func(r bench.Reviews) float64 { return r.ServerTokens }))
	}
	for _, point := range points {
		point.TTL = shortTTL
		step(fmt.Sprintf("%g requests a second by %d users for %d names", point.Rate, point.Users, point.Names))
		grown, err := bench.Grow(ctx, point, users, window, flags.plan.Seed, func(ctx context.Context) (bench.Reviews, error) { return a.reviews(ctx, growthCell) })
		if err != nil {
			return err
		}
		result.Measurements = append(result.Measurements, grown.Measurements(growthCell)...)
	}
	show.Finish()
	return nil
}

// authBed are the servers, users and sessions of the suite auth on a testbed.
type authBed struct {
	bed      *testbed.Testbed
	sessions []*bench.Session
	servers  map[string]*testbed.Server
	places   *bench.Places
}

// newAuthBed starts what the cells need beside the testbed's own servers.
func newAuthBed(ctx context.Context, bed *testbed.Testbed, cells []bench.Cell) (*authBed, error) {
	a := &authBed{bed: bed, servers: map[string]*testbed.Server{api.Group: bed.Server()}}
	for _, peer := range []struct {
		name, group string
		flags       []string
	}{
		{"portrule-apiserver-uncached", uncachedGroup, uncached},
		{"portrule-apiserver-name-free", bench.NameFreeGroup, []string{"--authorization-name-free-reviews"}},
	} {
		if !slices.ContainsFunc(cells, func(cell bench.Cell) bool { return a.group(cell) == peer.group }) {
			continue // nobody asks it
		}
		served, err := bed.ServePeer(ctx, peer.name, peer.group, peer.flags...)
		if err != nil {
			return nil, err
		}
		a.servers[peer.group] = served.Server
	}
	suffix := utilrand.String(5)
	namespace, listNamespace := "portrule-auth-"+suffix, "portrule-auth-list-"+suffix
	if err := bed.Namespaces(ctx, namespace, listNamespace); err != nil {
		return nil, err
	}
	certificate, _, err := bed.User(ctx, "bench", namespace, listNamespace)
	if err != nil {
		return nil, err
	}
	token, err := bed.TokenUser(ctx, "bench-token", namespace, listNamespace)
	if err != nil {
		return nil, err
	}
	anonymous, err := bed.Anonymous(ctx, namespace, listNamespace)
	if err != nil {
		return nil, err
	}
	a.places = &bench.Places{
		Namespace: namespace, ListNamespace: listNamespace, Group: a.group, Target: bed.Target(),
		Config: func(cell bench.Cell) (*rest.Config, error) {
			config := map[string]*rest.Config{bench.ByCertificate: certificate, bench.ByToken: token, bench.ByNothing: anonymous}[cell.Credential]
			server := a.servers[a.group(cell)]
			switch {
			case cell.Credential == bench.ByFrontProxy:
				return bed.FrontProxy(server, "bench")
			case cell.Path == bench.Direct:
				return server.Config(config), nil
			}
			return config, nil
		},
	}
	a.sessions, err = bench.AuthSessions(cells, a.places)
	return a, err
}

// sessionsOf returns sessions for further cells.
func (a *authBed) sessionsOf(cells ...bench.Cell) ([]*bench.Session, error) {
	return bench.AuthSessions(cells, a.places)
}

// users returns the sessions of several users of a cell, whom the front proxy vouches for.
func (a *authBed) users(ctx context.Context, cell bench.Cell, n int) ([]*bench.Session, error) {
	var users []*bench.Session
	for i := range n {
		name := fmt.Sprintf("bench-%d", i)
		if err := a.bed.Grant(ctx, name, a.places.Namespace); err != nil {
			return nil, err
		}
		places := *a.places
		places.Config = func(cell bench.Cell) (*rest.Config, error) { return a.bed.FrontProxy(a.servers[a.group(cell)], name) }
		sessions, err := bench.AuthSessions([]bench.Cell{cell}, &places)
		if err != nil {
			return nil, err
		}
		users = append(users, sessions...)
	}
	return users, nil
}

// group is the group of the server that answers a cell.
func (a *authBed) group(cell bench.Cell) string {
	switch {
	case cell.Impl == bench.CRD || cell.Impl == bench.Webhooks:
		return api.CRDGroup
	case cell.Impl == bench.NameFree:
		return bench.NameFreeGroup
	case cell.Impl == bench.Unshared:
		return unsharedGroup
	case cell.Case == "growth":
		return shortGroup
	case cell.Uncached():
		return uncachedGroup
	}
	return api.Group
}

// count adds the round trips and the reviews of a case to the result.
func (a *authBed) count(ctx context.Context, c bench.Case, sessions []*bench.Session, flags benchFlags, result *bench.Result, progress func(part float64)) error {
	progress(0)
	for _, session := range sessions {
		measurements, warning, err := bench.CountReviews(ctx, c, session, flags.cluster.kind != cluster.KindEmbedded, a.reviews)
		if err != nil {
			return fmt.Errorf("count the reviews of %s: %w", c.Cells[session.Name], err)
		}
		result.Measurements = append(result.Measurements, measurements...)
		if warning != "" {
			result.Warnings = append(result.Warnings, warning)
		}
	}
	most := mostSlopes
	if flags.quick {
		most = quickMostSlopes
	}
	slopes, err := bench.RoundTrips(ctx, bench.SlopeOptions{
		Relays: a.bed.Links(), Links: a.bed.Links().Crossed(), Delays: bench.DefaultDelays,
		Precision: slopePrecision, Rounds: leastSlopes, MaxRounds: most, Seed: flags.plan.Seed,
		Progress: func(rounds int) { progress(float64(rounds) / float64(most)) },
	}, c, sessions)
	if err != nil {
		return err
	}
	for _, slope := range slopes {
		result.Measurements = append(result.Measurements, c.Cells[slope.Impl].SlopeMeasurement(slope))
	}
	return nil
}

// reviews returns those that have been counted so far: by the server that answers a cell,
// and by the kube-apiserver.
func (a *authBed) reviews(ctx context.Context, cell bench.Cell) (bench.Reviews, error) {
	answered, err := a.bed.Answered(ctx)
	if err != nil {
		return bench.Reviews{}, err
	}
	reviews := bench.Reviews{KubeTokens: answered.Tokens, KubeAccess: answered.Access}
	if server := a.servers[a.group(cell)]; server != nil {
		sent, err := a.bed.Sent(ctx, server)
		if err != nil {
			return bench.Reviews{}, err
		}
		reviews.ServerTokens, reviews.ServerAccess = sent.Tokens, sent.Access
	}
	return reviews, nil
}
