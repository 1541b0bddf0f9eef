package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"portrule.example/lab/compare/relay"
)

// SlopeOptions say how round trips are counted.
type SlopeOptions struct {
	// Relays are on the links, Links those that are measured.
	Relays *relay.Links
	Links  []string
	// Delays are put on one link after the other. None of them is 0: a relay that delays
	// waits for timers, whose lateness is to be the same at every point of the line.
	Delays []time.Duration
	// Precision is the standard error of each slope that is enough. Rounds is the fewest
	// and MaxRounds the greatest number of slopes whose median is taken, whatever the
	// precision.
	Precision         float64
	Rounds, MaxRounds int
	Seed              uint64
	// Progress is told that round rounds are done.
	Progress func(rounds int)
}

// DefaultDelays are larger than what a busy machine adds by itself, and too small for any
// program's timeouts.
var DefaultDelays = []time.Duration{5 * time.Millisecond, 15 * time.Millisecond, 30 * time.Millisecond}

// Slope is how often a request crosses a link and comes back, on its critical path: by
// how much longer it takes, divided by how much longer each crossing takes. Requests that
// cross it side by side count once; what nobody waits for does not count.
type Slope struct {
	Impl, Link string
	// Median is that of the slopes of N rounds, Low and High its 95% interval, StdErr its
	// standard error. R2 is the part of the variance of the medians at each delay that the
	// line explains; of a link that is not used there is nothing to explain.
	Median, Low, High, StdErr, R2 float64
	N                             int
}

// RoundTrips counts the round trips of one request of a case over each link. The delays,
// the links and the subjects take turns in a new order in each round, and each round
// gives a slope of its own, so that whatever slows the machine down for longer than a
// round changes none of them. The requests before have opened the connections: those of
// TCP and TLS are not counted.
//
// A body above 256 KiB needs HTTP/2's flow control to go on, which are round trips of
// their own.
func RoundTrips(ctx context.Context, o SlopeOptions, c Case, sessions []*Session) ([]Slope, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make([]Requests, len(sessions))
	for i, session := range sessions {
		var err error
		if requests[i], err = c.New(ctx, session, 0); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", session.key(), err)
		}
	}
	random := rand.New(rand.NewPCG(o.Seed, 1))
	s := &slopes{
		o: o, requests: requests,
		taken:  make([][][][]float64, len(sessions)),
		slopes: make([][][]float64, len(sessions)),
	}
	for i := range sessions {
		s.taken[i], s.slopes[i] = make([][][]float64, len(o.Links)), make([][]float64, len(o.Links))
		for l := range o.Links {
			s.taken[i][l] = make([][]float64, len(o.Delays))
		}
	}
	// the first round is the warm-up
	for round := 0; round <= o.Rounds || round <= o.MaxRounds && !s.precise(); round++ {
		if err := s.round(ctx, random, round == 0); err != nil {
			return nil, err
		}
		o.Progress(round)
	}
	var all []Slope
	for i, session := range sessions {
		for l, link := range o.Links {
			slope, ok := s.slope(i, l)
			if !ok {
				return nil, fmt.Errorf("%d rounds are too few for the interval of a slope", len(s.slopes[i][l]))
			}
			slope.Impl, slope.Link = session.key(), link
			all = append(all, slope)
		}
	}
	return all, nil
}

// slopes are the slopes of the rounds so far.
type slopes struct {
	o        SlopeOptions
	requests []Requests
	// sent is the number of requests to each subject.
	sent int
	// taken are latencies in ns by subject, link and delay; slopes those of the rounds by
	// subject and link.
	taken  [][][][]float64
	slopes [][][]float64
}

func (s *slopes) round(ctx context.Context, random *rand.Rand, warmUp bool) (err error) {
	each := len(s.o.Links) * len(s.o.Delays)
	for _, r := range s.requests {
		if err := r.stock(ctx, s.sent, s.sent+each); err != nil {
			return err
		}
	}
	for _, l := range random.Perm(len(s.o.Links)) {
		link, latencies := s.o.Links[l], make([][]float64, len(s.requests))
		for i := range latencies {
			latencies[i] = make([]float64, len(s.o.Delays))
		}
		for _, d := range random.Perm(len(s.o.Delays)) {
			if err := s.o.Relays.Delay(link, s.o.Delays[d]); err != nil {
				return err
			}
			for _, i := range random.Perm(len(s.requests)) {
				taken, err := s.requests[i].Send(ctx, s.sent)
				if err != nil {
					return fmt.Errorf("with %s on %s: %w", s.o.Delays[d], link, err)
				}
				latencies[i][d] = float64(taken)
			}
			s.sent++
		}
		if err := s.o.Relays.Delay(link, 0); err != nil {
			return err
		}
		if warmUp {
			continue
		}
		for i := range latencies {
			slope, _ := fit(nanoseconds(s.o.Delays), latencies[i])
			s.slopes[i][l] = append(s.slopes[i][l], slope)
			for d, taken := range latencies[i] {
				s.taken[i][l][d] = append(s.taken[i][l][d], taken)
			}
		}
	}
	return nil
}

// precise is whether the standard error of every slope is as small as asked.
func (s *slopes) precise() bool {
	for i := range s.slopes {
		for l := range s.slopes[i] {
			if slope, ok := s.slope(i, l); !ok || slope.StdErr > s.o.Precision {
				return false
			}
		}
	}
	return true
}

// slope is that of a subject and a link, and false if the rounds are too few.
func (s *slopes) slope(i, l int) (Slope, bool) {
	summary, ok := summarize(slices.Clone(s.slopes[i][l]))
	if !ok {
		return Slope{}, false
	}
	medians := make([]float64, len(s.o.Delays))
	for d := range medians {
		medians[d] = median(s.taken[i][l][d])
	}
	_, r2 := fit(nanoseconds(s.o.Delays), medians)
	const reach = 2 * 1.96 // of a 95% interval, in standard errors
	return Slope{
		Median: summary.Center, Low: summary.Lo, High: summary.Hi,
		StdErr: (summary.Hi - summary.Lo) / reach, R2: r2, N: len(s.slopes[i][l]),
	}, true
}

// fit returns the slope of the line through the points by least squares, and the part of
// the variance of y that it explains.
func fit(x, y []float64) (slope, r2 float64) {
	var meanX, meanY float64
	for i := range x {
		meanX += x[i] / float64(len(x))
		meanY += y[i] / float64(len(x))
	}
	var xx, xy, yy float64
	for i := range x {
		xx += (x[i] - meanX) * (x[i] - meanX)
		xy += (x[i] - meanX) * (y[i] - meanY)
		yy += (y[i] - meanY) * (y[i] - meanY)
	}
	if xx == 0 || yy == 0 {
		return 0, 0
	}
	return xy / xx, math.Min(1, xy*xy/(xx*yy))
}
