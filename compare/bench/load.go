package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// HerdClients is the number of clients that ask at the moment of expiry.
const HerdClients = 64

// Herd lets many clients of each session ask for one object at once, whenever what the
// caches of the servers had of it has expired, and returns how many reviews each time has
// caused, by session. ttl is how long the caches keep what they have.
func Herd(ctx context.Context, sessions []*Session, ttl time.Duration, times int, count func(context.Context, *Session) (Reviews, error)) ([][]Reviews, error) {
	all := make([][]Reviews, len(sessions))
	ask := func(ctx context.Context, s *Session) error {
		return s.request("GET", s.Namespace, s.named("herd", 0)).Do(ctx).Error()
	}
	for _, s := range sessions {
		if _, err := s.create(ctx, s.Namespace, s.named("herd", 0), 0); err != nil {
			return nil, err
		}
	}
	for range times {
		for _, s := range sessions {
			if err := ask(ctx, s); err != nil {
				return nil, err
			}
		}
		if !sleepUntil(ctx, time.Now().Add(ttl+ttl/20)) {
			return nil, ctx.Err()
		}
		for i, s := range sessions {
			before, err := count(ctx, s)
			if err != nil {
				return nil, err
			}
			herd, herdCtx := errgroup.WithContext(ctx)
			start := make(chan struct{})
			for range HerdClients {
				herd.Go(func() error {
					<-start
					return ask(herdCtx, s)
				})
			}
			close(start)
			if err := herd.Wait(); err != nil {
				return nil, err
			}
			after, err := count(ctx, s)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], after.minus(before))
		}
	}
	return all, nil
}

// HerdMeasurement is how many reviews of a kind each herd of a cell has caused.
func (c Cell) HerdMeasurement(metric string, reviews []Reviews, of func(Reviews) float64) Measurement {
	values := make([]float64, len(reviews))
	for i, r := range reviews {
		values[i] = of(r)
	}
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	m := c.measurement(metric, len(values), median(values), low, high)
	m.Unit, m.Load = "1/herd", fmt.Sprintf("%d clients at once", HerdClients)
	return m
}

// Growth is one point of how the cost of authorization grows: so many users that ask for
// so many objects, a request at random times, Rate a second on the average.
type Growth struct {
	Users, Names int
	Rate         float64
	// TTL is how long the server's cache keeps a review.
	TTL time.Duration
}

// Model is how many reviews a second are expected. Each of the Users x Names pairs is
// asked about r = Rate/(Users x Names) times a second. After a review it is in the cache
// for TTL, and the next request after that causes another one, 1/r later on the average:
// a review in TTL + 1/r seconds for each pair.
func (g Growth) Model() float64 {
	pairs := float64(g.Users * g.Names)
	return pairs / (g.TTL.Seconds() + pairs/g.Rate)
}

// Grown is what was measured of a [Growth].
type Grown struct {
	Growth
	// Reviews is the number of reviews a second, Requests that of requests.
	Reviews, Requests float64
	// Latencies are in ns.
	Latencies []float64
}

// growthClients bounds the requests that are under way.
const growthClients = 256

// Grow measures a point of growth for window, after the cache has had its time to fill.
// The sessions are the users'.
func Grow(ctx context.Context, g Growth, users []*Session, window time.Duration, seed uint64, count func(context.Context) (Reviews, error)) (Grown, error) {
	grown := Grown{Growth: g}
	first := users[0]
	name := first.numbered(fmt.Sprintf("growth-%d-%g", g.Names, g.Rate), 0)
	if err := first.createMany(ctx, first.Namespace, g.Names, name); err != nil {
		return grown, err
	}
	random := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	var latencies []float64
	send := func(duration time.Duration) (time.Duration, error) {
		work, workCtx := errgroup.WithContext(ctx)
		work.SetLimit(growthClients)
		begin, at := time.Now(), time.Duration(0)
		for {
			at += time.Duration(random.ExpFloat64() / g.Rate * float64(time.Second))
			if at > duration || !sleepUntil(workCtx, begin.Add(at)) {
				break
			}
			user, name := users[random.IntN(g.Users)], name(random.IntN(g.Names))
			work.Go(func() error {
				taken, _, err := timed(workCtx, user.request("GET", user.Namespace, name))
				mu.Lock()
				defer mu.Unlock()
				latencies = append(latencies, float64(taken))
				return err
			})
		}
		err := work.Wait()
		return time.Since(begin), err
	}
	if _, err := send(g.TTL + g.TTL/2); err != nil {
		return grown, err
	}
	latencies = nil
	before, err := count(ctx)
	if err != nil {
		return grown, err
	}
	took, err := send(window)
	if err != nil {
		return grown, err
	}
	after, err := count(ctx)
	if err != nil {
		return grown, err
	}
	grown.Reviews = after.minus(before).ServerAccess / took.Seconds()
	grown.Requests = float64(len(latencies)) / took.Seconds()
	grown.Latencies = latencies
	return grown, nil
}

// Measurements are a point of growth as measurements.
func (g Grown) Measurements(cell Cell) []Measurement {
	load := fmt.Sprintf("open, %g/s, %d users x %d names, ttl %s", g.Rate, g.Users, g.Names, g.TTL)
	reviews := cell.measurement("subjectaccessreviews", 1, g.Reviews, g.Reviews, g.Reviews)
	model := g.Model()
	reviews.Unit, reviews.Load, reviews.Model = "1/s", load, &model
	requests := cell.measurement("throughput", 1, g.Requests, g.Requests, g.Requests)
	requests.Unit, requests.Load = "1/s", load
	all := []Measurement{reviews, requests}
	if latency, ok := summarize(g.Latencies); ok {
		m := cell.measurement("latency", len(g.Latencies), latency.Center, latency.Lo, latency.Hi)
		m.Unit, m.Load = "ns", load
		m.Quantiles = quantilesOf(len(g.Latencies), func(order int) float64 { return g.Latencies[order-1] })
		all = append(all, m)
	}
	return all
}
