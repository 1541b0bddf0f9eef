package bench

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"portrule.example/lab/compare/process"
)

// Loop is how the requests of a window come. It is a closed loop of so many clients, or
// an open loop of so many requests a second.
type Loop struct {
	Clients int
	Rate    float64
}

// String is how the loop is called in results.
func (l Loop) String() string {
	if l.Rate > 0 {
		return fmt.Sprintf("open, %g/s", l.Rate)
	}
	return fmt.Sprintf("closed, %d clients", l.Clients)
}

// Loops are those in which a case is measured.
func (p Plan) Loops(c Case) []Loop {
	if !c.Loaded || p.Windows == 0 || p.Loaded != nil && !slices.Contains(p.Loaded, c.Name) {
		return nil
	}
	var loops []Loop
	if p.Clients > 0 {
		loops = append(loops, Loop{Clients: p.Clients})
	}
	if p.Rate > 0 {
		loops = append(loops, Loop{Rate: p.Rate})
	}
	return loops
}

// Window is what the requests of one subject gave in one window.
type Window struct {
	// Requests is the number of requests that were answered, Elapsed the time from the
	// first until the last answer.
	Requests int
	Elapsed  time.Duration
	// Sent are the latencies from the moment when a request was sent, in ns. Intended
	// are those from the moment when it was to be sent by the schedule of an open loop:
	// what a user waits whose request had to queue. It is nil in a closed loop.
	Sent, Intended *hdrhistogram.Histogram
	// InFlight is the mean number of requests under way, as the loop has counted them.
	InFlight float64
	// Late requests were sent more than a millisecond after they were to be, Dropped ones
	// not at all: [openClients] others were under way.
	Late, Dropped int
	// Usage is what the processes used, what they use when nothing is asked of them taken
	// off. It is nil if that cannot be known.
	Usage map[string]process.Usage
}

// Throughput is in requests a second.
func (w Window) Throughput() float64 { return float64(w.Requests) / w.Elapsed.Seconds() }

// Little is the mean number of requests under way by Little's law: throughput times
// mean latency. If it is not InFlight, the loop has spent time of its own.
func (w Window) Little() float64 {
	return w.Throughput() * w.Sent.Mean() / float64(time.Second)
}

// CPU is the CPU time of all processes but the client, in ms for a thousand requests.
func (w Window) CPU() float64 {
	sum := time.Duration(0)
	for name, usage := range w.Usage {
		if name != process.Self {
			sum += usage.CPU
		}
	}
	return perThousand(sum, w.Requests)
}

// Memory is that of all processes but the client, in bytes.
func (w Window) Memory() float64 {
	sum := uint64(0)
	for name, usage := range w.Usage {
		if name != process.Self {
			sum += usage.Memory
		}
	}
	return float64(sum)
}

// The latencies that a histogram holds, with 3 significant digits.
const longest = int64(time.Minute)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1000, longest, 3) }

// The requests of a client in a window: as many as take about the time of a window, but
// two at least, and no more than it is worth to stock for all clients together. Those of
// the warm-up tell how many that is.
const (
	fewestEach  = 2
	warmUpEach  = 4
	mostStocked = 192
)

// openClients is the number of clients of an open loop, and so of its requests that may
// be under way.
const openClients = 64

// lateAfter is how long after its time a request may be sent without being called late:
// the resolution of timers.
const lateAfter = time.Millisecond

// windows measures a case in a loop. Each round has a window of each subject.
func (r *run) windows(ctx context.Context, samples *Samples, sessions []*Session, loop Loop, done func(part float64)) error {
	done(0)
	clients := loop.Clients
	if loop.Rate > 0 {
		clients = openClients
	}
	if err := r.measureIdle(ctx); err != nil {
		return err
	}
	all := map[string][]Window{}
	samples.Windows[loop] = all
	requests := make([][]Requests, len(sessions))
	sent := make([]int, len(sessions)) // by each client
	for i, session := range sessions {
		requests[i] = make([]Requests, clients)
		for c := range requests[i] {
			var err error
			// client 0 has sent the requests of the rounds
			if requests[i][c], err = samples.Case.New(ctx, session, c+1+r.clientsBefore(loop)); err != nil {
				return fmt.Errorf("prepare %s: %w", session.key(), err)
			}
		}
	}
	each := warmUpEach
	// one round more, whose windows warm the clients up and say how many requests a window
	// takes
	for round := range r.Windows + 1 {
		taken := make([]Window, len(sessions))
		for _, i := range r.turns(len(sessions)) {
			impl := sessions[i].key()
			work, workCtx := errgroup.WithContext(ctx)
			work.SetLimit(8)
			for _, client := range requests[i] {
				work.Go(func() error { return client.stock(workCtx, sent[i], sent[i]+each) })
			}
			if err := work.Wait(); err != nil {
				return fmt.Errorf("prepare %s: %w", impl, err)
			}
			before, err := r.usage(ctx)
			if err != nil {
				return err
			}
			begin := time.Now()
			if loop.Rate > 0 {
				taken[i], err = r.open(ctx, loop.Rate, requests[i], sent[i], each)
			} else {
				taken[i], err = closed(ctx, requests[i], sent[i], each)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", impl, err)
			}
			after, err := r.usage(ctx)
			if err != nil {
				return err
			}
			taken[i].Usage = r.used(before, after, time.Since(begin))
			sent[i] += each
		}
		if round == 0 {
			each = r.requestsEach(loop, taken, requests[0][0].Stock != nil)
		} else {
			for i, session := range sessions {
				all[session.key()] = append(all[session.key()], taken[i])
			}
		}
		done(float64(round+1) / float64(r.Windows+1))
	}
	return nil
}

// clientsBefore is the number of clients that the loops before have had.
func (r *run) clientsBefore(loop Loop) int {
	if loop.Rate > 0 {
		return r.Clients
	}
	return 0
}

// requestsEach is the number of requests that each client may send in a window, the same
// for all subjects: as many as the slowest of them answers in the time of one, as the
// windows of the warm-up tell.
func (r *run) requestsEach(loop Loop, warmUp []Window, stocked bool) int {
	if loop.Rate > 0 {
		return max(1, int(math.Round(loop.Rate*r.Window.Seconds()/openClients)))
	}
	slowest := math.Inf(1)
	for _, window := range warmUp {
		slowest = min(slowest, window.Throughput())
	}
	total := int(slowest * r.Window.Seconds())
	if stocked {
		total = min(total, mostStocked)
	}
	return max(fewestEach, total/loop.Clients)
}

// inFlight counts the requests under way, and the time that they are.
type inFlight struct {
	mu    sync.Mutex
	n     int
	since time.Time
	area  time.Duration
}

func (f *inFlight) add(n int) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if !f.since.IsZero() {
		f.area += time.Duration(f.n) * now.Sub(f.since)
	}
	f.since, f.n = now, f.n+n
	return now
}

// closed lets each client send its requests from first on, one after the other.
func closed(ctx context.Context, clients []Requests, first, each int) (Window, error) {
	window := Window{Requests: each * len(clients), Sent: newHistogram()}
	var mu sync.Mutex // of the histogram
	var flying inFlight
	work, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for _, client := range clients {
		work.Go(func() error {
			own := newHistogram()
			for i := range each {
				flying.add(1)
				taken, err := client.Send(ctx, first+i)
				flying.add(-1)
				if err != nil {
					return err
				}
				record(own, taken)
			}
			mu.Lock()
			defer mu.Unlock()
			window.Sent.Merge(own)
			return nil
		})
	}
	err := work.Wait()
	window.Elapsed = time.Since(begin)
	window.InFlight = float64(flying.area) / float64(window.Elapsed)
	return window, err
}

// open sends requests at random times, which are drawn beforehand: independent
// arrivals, rate a second on the average. The clients take turns; a request whose
// client still waits for the answer to its last one is dropped.
func (r *run) open(ctx context.Context, rate float64, clients []Requests, first, each int) (Window, error) {
	window := Window{Sent: newHistogram(), Intended: newHistogram()}
	schedule := make([]time.Duration, each*len(clients))
	at := time.Duration(0)
	for i := range schedule {
		at += time.Duration(r.random.ExpFloat64() / rate * float64(time.Second))
		schedule[i] = at
	}
	waiting := make([]atomic.Bool, len(clients))
	var mu sync.Mutex // of the window
	var flying inFlight
	work, sending := errgroup.WithContext(ctx)
	dropped, begin := 0, time.Now()
	for k, at := range schedule {
		intended, c := begin.Add(at), k%len(clients)
		if !sleepUntil(sending, intended) {
			break
		}
		if !waiting[c].CompareAndSwap(false, true) {
			dropped++
			continue
		}
		work.Go(func() error {
			sent := flying.add(1)
			taken, err := clients[c].Send(sending, first+k/len(clients))
			flying.add(-1)
			waiting[c].Store(false)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			window.Requests++
			record(window.Sent, taken)
			wait := max(0, sent.Sub(intended))
			record(window.Intended, wait+taken)
			if wait > lateAfter {
				window.Late++
			}
			return nil
		})
	}
	err := work.Wait()
	window.Elapsed, window.Dropped = time.Since(begin), dropped
	window.InFlight = float64(flying.area) / float64(window.Elapsed)
	if err == nil {
		err = ctx.Err()
	}
	return window, err
}

// sleepUntil is false if ctx ended before.
func sleepUntil(ctx context.Context, when time.Time) bool {
	timer := time.NewTimer(time.Until(when))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// record records a latency; one beyond the histogram's range counts as its end.
func record(h *hdrhistogram.Histogram, latency time.Duration) {
	_ = h.RecordValue(min(int64(latency), longest)) // an error is about the range
}

// usage returns what the processes have used so far.
func (r *run) usage(ctx context.Context) (map[string]process.Usage, error) {
	if r.Usage == nil {
		return nil, nil
	}
	usage, err := r.Usage(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the CPU time of the processes: %w", err)
	}
	return usage, nil
}

// idleTime is how long the idle processes are watched.
const idleTime = 2 * time.Second

// measureIdle finds out what the processes use when nothing is asked of them.
func (r *run) measureIdle(ctx context.Context) error {
	if r.Usage == nil || r.idle != nil {
		return nil
	}
	before, err := r.usage(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if !sleepUntil(ctx, begin.Add(idleTime)) {
		return ctx.Err()
	}
	after, err := r.usage(ctx)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	r.idle = map[string]process.Usage{}
	for name := range after {
		r.idle[name] = process.Usage{CPU: time.Duration(float64(after[name].CPU-before[name].CPU) / took.Seconds())}
	}
	return nil
}

// used is what was used between two moments, without what is used when idle.
func (r *run) used(before, after map[string]process.Usage, took time.Duration) map[string]process.Usage {
	if after == nil {
		return nil
	}
	used := maps.Clone(after)
	for name, usage := range used {
		usage.CPU -= before[name].CPU + time.Duration(float64(r.idle[name].CPU)*took.Seconds())
		usage.CPU = max(0, usage.CPU)
		used[name] = usage
	}
	return used
}
