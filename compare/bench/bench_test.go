package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portrule.example/lab/compare/process"
)

// logged makes a case whose latencies are the request's number in ms, and notes who had
// which turn.
func logged(turns *[]string, fail func(impl string, i int) error) Case {
	return Case{Name: "case", New: func(_ context.Context, s *Session, _ int) (Requests, error) {
		return Requests{Send: func(_ context.Context, i int) (time.Duration, error) {
			*turns = append(*turns, s.Subject.Impl)
			return time.Duration(i) * time.Millisecond, fail(s.Subject.Impl, i)
		}}, nil
	}}
}

func sessions() []*Session {
	var sessions []*Session
	for _, subject := range Subjects() {
		sessions = append(sessions, &Session{Subject: subject})
	}
	return sessions
}

func noProgress(Progress) {}

var three = []string{CRD, Aggregated, Native}

func TestRunInterleaves(t *testing.T) {
	order := func(seed uint64) []string {
		var turns []string
		last := 0.0
		samples, err := Run(t.Context(), Options{
			Plan:     Plan{Rounds: 10, Seed: seed},
			Suites:   []Suite{{Name: "suite", Impls: three, Cases: []Case{logged(&turns, func(string, int) error { return nil })}}},
			Sessions: sessions(),
			Progress: func(p Progress) {
				if p.Done < last || p.Done > 1 {
					t.Errorf("progress went from %v to %v", last, p.Done)
				}
				last = p.Done
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, impl := range three {
			if got := len(samples[0].Impl[impl]); got != 10+warmUpLeast {
				t.Errorf("%s has %d samples, want 10 and those of the warm-up", impl, got)
			}
			if got := samples[0].Impl[impl][3]; got != 3*time.Millisecond {
				t.Errorf("the sample of round 3 is %s", got)
			}
		}
		return turns
	}
	turns := order(1)
	kinds := map[string]bool{}
	for round := 0; round < len(turns); round += 3 {
		took := slices.Clone(turns[round : round+3])
		kinds[strings.Join(took, " ")] = true
		slices.Sort(took)
		if want := "aggregated crd native"; strings.Join(took, " ") != want {
			t.Errorf("the turns of round %d are %q, want one of each", round/3, took)
		}
	}
	if len(kinds) < 2 {
		t.Errorf("the order is the same in all rounds: %v", kinds)
	}
	if again := order(1); !slices.Equal(again, turns) {
		t.Error("the same seed gives another order")
	}
	if other := order(2); slices.Equal(other, turns) {
		t.Error("another seed gives the same order")
	}
}

// What was measured before an error is kept, in whole rounds.
func TestRunKeepsCompleteRounds(t *testing.T) {
	broken := errors.New("the server is gone")
	var turns []string
	samples, err := Run(t.Context(), Options{
		Plan: Plan{Rounds: 10},
		Suites: []Suite{{Name: "suite", Impls: three, Cases: []Case{logged(&turns, func(impl string, i int) error {
			if impl == Aggregated && i == 4 {
				return broken
			}
			return nil
		})}}},
		Sessions: sessions(), Progress: noProgress,
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "suite: case: aggregated") {
		t.Errorf("got the error %v, want one that says where %v happened", err, broken)
	}
	for _, impl := range three {
		if got := len(samples[0].Impl[impl]); got != 4 {
			t.Errorf("%s has %d samples, want the 4 of rounds 0 to 3", impl, got)
		}
	}
}

// A case stops when the intervals are as narrow as asked, and not before its least number
// of rounds; it goes on while they are not, until the time is over.
func TestRoundsUntilPrecise(t *testing.T) {
	run := func(plan Plan, latency func(impl string, i int) time.Duration) int {
		t.Helper()
		plan.Seed = 1
		c := Case{Name: "case", New: func(_ context.Context, s *Session, _ int) (Requests, error) {
			return Requests{Send: func(_ context.Context, i int) (time.Duration, error) { return latency(s.Subject.Impl, i), nil }}, nil
		}}
		samples, err := Run(t.Context(), Options{
			Plan: plan, Sessions: sessions(), Progress: noProgress,
			Suites: []Suite{{Name: "suite", Impls: three, Pairs: [][2]string{{Aggregated, CRD}}, Cases: []Case{c}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(samples[0].Impl[CRD])
	}
	random := rand.New(rand.NewPCG(1, 1))
	steady := func(string, int) time.Duration { return time.Millisecond }
	noisy := func(string, int) time.Duration { return time.Duration(1e6 * (1 + random.ExpFloat64())) }
	if got := run(Plan{MinRounds: 100, Precision: 0.03, Budget: time.Hour}, steady); got < 100 || got > 100+2*block {
		t.Errorf("%d rounds of what is steady, want about the 100 that there must be", got)
	}
	few := run(Plan{MinRounds: 20, Precision: 0.2, Budget: time.Hour}, noisy)
	many := run(Plan{MinRounds: 20, Precision: 0.05, Budget: time.Hour}, noisy)
	if few >= many {
		t.Errorf("%d rounds for a precision of 20%%, %d for one of 5%%", few, many)
	}
	if got := run(Plan{MinRounds: 20, Precision: 1e-9, Budget: time.Hour}, noisy); got < maxRounds {
		t.Errorf("%d rounds for a precision that cannot be had, want the most", got)
	}
	if got := run(Plan{MinRounds: 1000, Precision: 0.05, Budget: 0}, noisy); got > 4*block {
		t.Errorf("%d rounds without any time, want the fewest", got)
	}
}

// Every request is stocked before it is sent, once, and in time.
func TestStock(t *testing.T) {
	var mu sync.Mutex
	stocked := map[string]int{}
	c := Case{Name: "case", Loaded: true, New: func(_ context.Context, s *Session, client int) (Requests, error) {
		key := func(i int) string { return fmt.Sprintf("%s-%d-%d", s.Subject.Impl, client, i) }
		return Requests{
			Stock: func(_ context.Context, from, to int) error {
				mu.Lock()
				defer mu.Unlock()
				for i := from; i < to; i++ {
					stocked[key(i)]++
				}
				return nil
			},
			Send: func(_ context.Context, i int) (time.Duration, error) {
				mu.Lock()
				defer mu.Unlock()
				if stocked[key(i)] != 1 {
					return 0, fmt.Errorf("%s was stocked %d times", key(i), stocked[key(i)])
				}
				stocked[key(i)] = -1 // and is sent once
				return time.Millisecond, nil
			},
		}, nil
	}}
	samples, err := Run(t.Context(), Options{
		Plan:   Plan{Rounds: 30, Windows: 3, Window: 20 * time.Millisecond, Clients: 4, Rate: 5000},
		Suites: []Suite{{Name: "suite", Impls: three, Cases: []Case{c}}}, Sessions: sessions(), Progress: noProgress,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, loop := range []Loop{{Clients: 4}, {Rate: 5000}} {
		for _, impl := range three {
			if got := len(samples[0].Windows[loop][impl]); got != 3 {
				t.Errorf("%s has %d windows (%s), want 3", impl, got, loop)
			}
		}
	}
}

func TestClosedLoop(t *testing.T) {
	var sent [4]atomic.Int64
	var under, most atomic.Int64
	clients := make([]Requests, len(sent))
	for c := range clients {
		clients[c] = Requests{Send: func(_ context.Context, i int) (time.Duration, error) {
			if n := under.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer under.Add(-1)
			if want := int64(100) + sent[c].Load(); int64(i) != want {
				return 0, fmt.Errorf("client %d sends request %d, want %d", c, i, want)
			}
			sent[c].Add(1)
			return time.Duration(c+1) * time.Millisecond, nil
		}}
	}
	w, err := closed(t.Context(), clients, 100, 25)
	if err != nil {
		t.Fatal(err)
	}
	if w.Requests != 100 || w.Sent.TotalCount() != 100 || w.Intended != nil || w.Dropped != 0 {
		t.Errorf("%d requests, %d latencies, %d dropped, want 100, 100 and none", w.Requests, w.Sent.TotalCount(), w.Dropped)
	}
	if most.Load() > 4 {
		t.Errorf("%d requests were under way at once, of 4 clients", most.Load())
	}
	if got := w.Sent.Mean(); math.Abs(got-2.5e6) > 5e4 {
		t.Errorf("the mean latency is %v ns, want 2.5 ms", got)
	}
	broken := errors.New("broken")
	clients[2].Send = func(context.Context, int) (time.Duration, error) { return 0, broken }
	if _, err := closed(t.Context(), clients[2:3], 0, 1); !errors.Is(err, broken) {
		t.Errorf("got the error %v, want %v", err, broken)
	}
}

// Requests whose client still waits are dropped and counted: the schedule does not wait
// for a server that has stopped.
func TestOpenLoopDrops(t *testing.T) {
	release := make(chan struct{})
	const clients, each = 4, 5
	all := make([]Requests, clients)
	for c := range all {
		all[c] = Requests{Send: func(_ context.Context, _ int) (time.Duration, error) {
			<-release
			return time.Millisecond, nil
		}}
	}
	r := &run{random: rand.New(rand.NewPCG(1, 1))}
	type outcome struct {
		w   Window
		err error
	}
	done := make(chan outcome)
	// the schedule takes 20 µs, and goes on while nothing is answered
	go func() { w, err := r.open(t.Context(), 1e6, all, 0, each); done <- outcome{w, err} }()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	if o.w.Requests+o.w.Dropped != clients*each {
		t.Errorf("%d requests and %d dropped, want %d together", o.w.Requests, o.w.Dropped, clients*each)
	}
	if o.w.Requests < clients {
		t.Errorf("%d requests were sent, want one of each client at least", o.w.Requests)
	}
	if o.w.Intended.TotalCount() != int64(o.w.Requests) {
		t.Errorf("%d latencies from the intended start, of %d requests", o.w.Intended.TotalCount(), o.w.Requests)
	}
}

// A latency from the intended start is never less than one from the actual send.
func TestOpenLoopClocks(t *testing.T) {
	r := &run{random: rand.New(rand.NewPCG(1, 1))}
	clients := []Requests{{Send: func(context.Context, int) (time.Duration, error) { return time.Millisecond, nil }}}
	w, err := r.open(t.Context(), 2000, clients, 0, 40)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{0, 50, 99, 100} {
		if sent, intended := w.Sent.ValueAtQuantile(q), w.Intended.ValueAtQuantile(q); intended < sent {
			t.Errorf("quantile %v: %d ns from the intended start, %d from the send", q, intended, sent)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.open(ctx, 1, clients, 0, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("got the error %v of an interrupted loop", err)
	}
}

func TestUsed(t *testing.T) {
	r := &run{idle: map[string]process.Usage{"etcd": {CPU: 100 * time.Millisecond}}}
	before := map[string]process.Usage{"etcd": {CPU: time.Second, Memory: 1}, "server": {CPU: time.Second}}
	after := map[string]process.Usage{"etcd": {CPU: 2 * time.Second, Memory: 7}, "server": {CPU: time.Second}}
	used := r.used(before, after, 2*time.Second)
	if got, want := used["etcd"], (process.Usage{CPU: 800 * time.Millisecond, Memory: 7}); got != want {
		t.Errorf("etcd used %+v, want %+v: a second without twice 100 ms of idling", got, want)
	}
	if got := used["server"].CPU; got != 0 {
		t.Errorf("the server used %s, want nothing", got)
	}
	w := Window{Requests: 100, Usage: map[string]process.Usage{"etcd": used["etcd"], process.Self: {CPU: time.Hour}}}
	if got := w.CPU(); got != 8000 {
		t.Errorf("a thousand requests cost %v ms, want 8000 without the client", got)
	}
}

func TestLoopsOfACase(t *testing.T) {
	r := &run{Options: Options{Plan: Plan{Windows: 1, Clients: 8, Rate: 100}}}
	if got := r.Loops(Case{Loaded: true}); !slices.Equal(got, []Loop{{Clients: 8}, {Rate: 100}}) {
		t.Errorf("loops %v", got)
	}
	if got := r.Loops(Case{}); got != nil {
		t.Errorf("a case that is not loaded has the loops %v", got)
	}
	r.Loaded = []string{"create"}
	if got := r.Loops(Case{Name: "get", Loaded: true}); got != nil {
		t.Errorf("a case that is not among the loaded ones has the loops %v", got)
	}
	r.Clients, r.Loaded = 0, nil
	if got := r.Loops(Case{Loaded: true}); !slices.Equal(got, []Loop{{Rate: 100}}) {
		t.Errorf("without clients the loops are %v", got)
	}
}

// Every subject's objects have one size whatever their number, and say that number.
func TestObjectSize(t *testing.T) {
	for _, subject := range Subjects() {
		size := len(subject.object("name", 0, ""))
		for _, n := range []int{1, 9, 99999, math.MaxInt32} {
			if got := len(subject.object("name", n, "")); got != size {
				t.Errorf("%s: object %d has %d bytes, object 0 has %d", subject.Impl, n, got, size)
			}
		}
	}
}

// Windows take their own time: a case whose windows are many leaves those after it their
// share.
func TestBudgetIsOfRounds(t *testing.T) {
	r := &run{Options: Options{Plan: Plan{Budget: time.Minute}}, cases: 4}
	for _, c := range []struct {
		done  int
		spent time.Duration
		want  time.Duration
	}{
		{0, 0, 15 * time.Second},
		{1, 15 * time.Second, 15 * time.Second},
		{2, 20 * time.Second, 20 * time.Second},
		{3, 2 * time.Minute, 0},
	} {
		if r.done, r.spent = c.done, c.spent; r.share() != c.want {
			t.Errorf("after %d cases and %s: the share is %s, want %s", c.done, c.spent, r.share(), c.want)
		}
	}
}
