// Package bench measures the same requests against each implementation of
// PortRule.
//
// A [Suite] is a set of cases. A [Case] says which requests are sent to a [Subject].
// [Run] measures each case in up to three ways:
//
//   - rounds, for latency: one client, one request at a time. In each round every
//     subject has one turn, in an order that is shuffled anew, so that whatever slows
//     the machine down meets all of them alike. What is compared are the requests of
//     the same round. There are as many rounds as the interval asked for takes, within
//     the time there is.
//   - windows of a closed loop, for throughput and for what a request costs the
//     processes: several clients, each of which sends its next request when it has
//     the answer to the last.
//   - windows of an open loop, for tails: requests that arrive on a schedule, whether
//     the earlier ones have been answered or not.
//
// [RoundTrips] is the fourth: how often a request crosses a link, as the slope of its
// latency over a delay that is put on the link.
//
// rounds.go, window.go and slope.go take the samples, statistics.go has the
// arithmetic, fit.go the curves through what has grown, result.go is what comes out,
// diff.go what two results have to say about each other, noise.go looks at the machine.
// The suites are in files of their names: verbs.go, validation.go, subresources.go,
// openapi.go, scale.go, auth.go, peers.go.
//
// Read bench.go first, then verbs.go, the plainest suite, and result.go.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// Suite is a named set of cases.
type Suite struct {
	Name string
	// About is one sentence for the help.
	About string
	// Optional is whether the suite runs only if it is asked for.
	Optional bool
	// Impls are the implementations that take part, in the order of the columns.
	Impls []string
	// Pairs are the comparisons that are made, each of the first to the second. The
	// first pair is the one that the table shows.
	Pairs [][2]string
	Cases []Case
	// Others are cases that are not measured by [Run]: they have a name and a meaning.
	Others []Case
}

// Suites are all that exist.
var Suites = []Suite{Verbs, Validation, Subresources, OpenAPI, Scale, Auth, Peers}

// Case is one thing that is measured.
type Case struct {
	Name string
	// About is one sentence for the report.
	About string
	// Cache is the state of the aggregated server's authorization cache that the
	// case arranges for: warm, cold, or empty if the case does not say.
	Cache string
	// Slow is whether a quick run leaves the case out.
	Slow bool
	// Loaded is whether the case is measured in windows too.
	Loaded bool
	// Impls and Pairs replace those of the suite, unless they are nil. Cells say what the
	// implementations stand for, where that is more than their names.
	Impls []string
	Pairs [][2]string
	Cells map[string]Cell
	// New returns the requests of one of the clients of a subject, which are counted
	// from 0. What it starts ends with ctx.
	New func(ctx context.Context, s *Session, client int) (Requests, error)
}

// Requests are what one client sends, one after the other.
type Requests struct {
	// Stock makes what the requests from up to to, without to, need: it is not measured.
	// It is nil if they need nothing.
	Stock func(ctx context.Context, from, to int) error
	// Send sends the i-th request, counted from 0. The time that it returns covers the
	// request alone: from before it is sent until the last byte of the answer.
	Send func(ctx context.Context, i int) (time.Duration, error)
}

func (r Requests) stock(ctx context.Context, from, to int) error {
	if r.Stock == nil {
		return nil
	}
	return r.Stock(ctx, from, to)
}

// Plan says how much is measured.
type Plan struct {
	// Rounds is the exact number of rounds of each case; 0 means as many as Precision
	// takes, but MinRounds at least, and no more than Budget leaves time for.
	Rounds    int
	MinRounds int
	// WarmUp is the fewest rounds of the warm-up; 0 means [warmUpLeast].
	WarmUp int
	// Precision is how far the interval of each ratio may reach from it, as a part of it.
	Precision float64
	// Budget bounds the time of the rounds of all cases together. A case that needs less
	// than its share leaves the rest to those after it, and has its fewest rounds whatever
	// is left. Windows take their own time.
	Budget time.Duration
	// Windows is the number of windows of each loaded case, subject and loop, Window about
	// how long one is, Clients the clients of the closed loop. Loaded are the names of the
	// loaded cases that have windows; nil means all.
	Loaded  []string
	Windows int
	Window  time.Duration
	Clients int
	// Rate is the requests a second of the open loop; 0 means that there is none.
	Rate float64
	// WindowsOnly leaves the rounds out.
	WindowsOnly bool
	// Seed is of the order of turns and of the arrivals of the open loop.
	Seed uint64
}

// Options say what is measured, and where.
type Options struct {
	Plan
	Suites []Suite
	// Sessions are the subjects, each with a client. A suite uses those of its
	// implementations that are there.
	Sessions []*Session
	// Credential is how the sessions' user is authenticated.
	Credential cluster.Credential
	// Usage returns what the processes have used so far; nil if that cannot be known.
	Usage func(ctx context.Context) (map[string]process.Usage, error)
	// Axis and Size say which point of a curve is measured: see [Measurement].
	Axis Axis
	Size float64
	// Progress is told what is being done and what part of the whole is done.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	// Done is the part that is done, 0 to 1.
	Done float64
	What string
}

// Samples are what a case gave.
type Samples struct {
	Suite string
	Case  Case
	// Impls and Pairs are those of the case, or of its suite.
	Impls []string
	Pairs [][2]string
	// Impl has the latencies by implementation, the i-th of each from the same round.
	Impl map[string][]time.Duration
	// Axis and Size say which point of a curve they are: see [Measurement].
	Axis Axis
	Size float64
	// WarmUp is the number of rounds before the latencies were steady.
	WarmUp int
	// Windows are the windows by loop and implementation, the i-th of each from the
	// same round.
	Windows map[Loop]map[string][]Window
}

// Steady are the latencies of an implementation after the warm-up.
func (s Samples) Steady(impl string) []time.Duration {
	all := s.Impl[impl]
	return all[min(s.WarmUp, len(all)):]
}

// Loops are those that the case was measured in, in a fixed order.
func (s Samples) Loops() []Loop {
	return slices.SortedFunc(maps.Keys(s.Windows), func(a, b Loop) int {
		return cmp.Or(cmp.Compare(a.Rate, b.Rate), cmp.Compare(a.Clients, b.Clients))
	})
}

// Run takes the samples. It returns those of complete rounds even if there is an
// error, so that an interrupted run leaves what it has.
func Run(ctx context.Context, o Options) ([]Samples, error) {
	r := &run{Options: o, random: rand.New(rand.NewPCG(o.Seed, 0))}
	for _, suite := range o.Suites {
		r.cases += len(suite.Cases)
	}
	var all []Samples
	for _, suite := range o.Suites {
		for _, c := range suite.Cases {
			r.what = suite.Name + ": " + c.Name
			if c.Impls == nil {
				c.Impls, c.Pairs = suite.Impls, suite.Pairs
			}
			samples := Samples{
				Suite: suite.Name, Case: c, Impls: c.Impls, Pairs: c.Pairs,
				Axis: o.Axis, Size: o.Size,
				Impl: map[string][]time.Duration{}, Windows: map[Loop]map[string][]Window{},
			}
			err := r.measure(ctx, &samples)
			all = append(all, samples)
			if ctx.Err() != nil {
				// the error says how the interruption broke a request
				return all, fmt.Errorf("%s: interrupted: %w", r.what, ctx.Err())
			}
			if err != nil {
				return all, fmt.Errorf("%s: %w", r.what, err)
			}
			r.done++
		}
	}
	return all, nil
}

// run is a run that goes on.
type run struct {
	Options
	random *rand.Rand
	// spent is the part of the budget that is used up.
	spent time.Duration
	// cases is the number of all cases, done of those that are done.
	cases, done int
	// what is being done.
	what string
	// idle is what the processes use in a second in which nothing is asked of them, once
	// it has been measured.
	idle map[string]process.Usage
}

// progress tells that part of the present case is done, 0 to 1.
func (r *run) progress(part float64, what string) {
	r.Progress(Progress{Done: (float64(r.done) + part) / float64(r.cases), What: what})
}

// share is the part of the budget that the present case may use.
func (r *run) share() time.Duration {
	return max(0, r.Budget-r.spent) / time.Duration(r.cases-r.done)
}

// roundsPart is about the part of a case's time that its rounds take if it has windows too.
const roundsPart = 0.4

// measure takes all samples of a case.
func (r *run) measure(ctx context.Context, samples *Samples) error {
	// ends what the requests' makers have started
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	sessions := samples.Case.Of(r.Sessions)
	loops := r.Loops(samples.Case)
	part := 1.0
	switch {
	case r.WindowsOnly:
		part = 0
	case len(loops) > 0:
		part = roundsPart
	}
	if part > 0 {
		began := time.Now()
		err := r.rounds(ctx, samples, sessions, r.share(), func(done float64) {
			r.progress(part*done, r.what)
		})
		r.spent += time.Since(began)
		if err != nil {
			return err
		}
	}
	for i, loop := range loops {
		err := r.windows(ctx, samples, sessions, loop, func(done float64) {
			r.progress(part+(1-part)*(float64(i)+done)/float64(len(loops)), r.what+", "+loop.String())
		})
		if err != nil {
			return fmt.Errorf("%s: %w", loop, err)
		}
	}
	return nil
}

// turns is the order of n turns in the next round.
func (r *run) turns(n int) []int { return r.random.Perm(n) }
