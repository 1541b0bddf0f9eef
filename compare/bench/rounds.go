package bench

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"
)

// block is the number of rounds after which it is asked whether they are enough, and
// for which the requests are stocked.
const block = 20

// maxRounds bounds the rounds of a case whose precision is never reached, so that the
// stock of a long run does not fill the cluster.
const maxRounds = 5000

// rounds measures the latency of a case until it is known as precisely as asked, or
// budget is over. done is told which part is done.
func (r *run) rounds(ctx context.Context, samples *Samples, sessions []*Session, budget time.Duration, done func(part float64)) error {
	done(0)
	deadline := time.Now().Add(budget)
	requests := make([]Requests, len(sessions))
	for i, session := range sessions {
		var err error
		if requests[i], err = samples.Case.New(ctx, session, 0); err != nil {
			return fmt.Errorf("prepare %s: %w", session.key(), err)
		}
	}
	begin := time.Now()
	for round := 0; !r.enough(samples, round, deadline); {
		to := round + block
		if r.Rounds > 0 {
			to = min(to, r.Rounds+r.warmUp())
		}
		for i := range requests {
			if err := requests[i].stock(ctx, round, to); err != nil {
				return fmt.Errorf("prepare %s: %w", sessions[i].key(), err)
			}
		}
		for ; round < to; round++ {
			taken := make([]time.Duration, len(sessions))
			for _, i := range r.turns(len(sessions)) {
				var err error
				if taken[i], err = requests[i].Send(ctx, round); err != nil {
					samples.WarmUp = steady(samples, r.warmUp())
					return fmt.Errorf("%s: %w", sessions[i].key(), err)
				}
			}
			for i, session := range sessions {
				impl := session.key()
				samples.Impl[impl] = append(samples.Impl[impl], taken[i])
			}
			done(r.part(round, begin, deadline))
		}
		samples.WarmUp = steady(samples, r.warmUp())
	}
	return nil
}

// part estimates which part of a case's rounds is done.
func (r *run) part(round int, begin, deadline time.Time) float64 {
	if r.Rounds > 0 {
		return float64(round+1) / float64(r.Rounds+r.warmUp())
	}
	return min(1, float64(time.Since(begin))/float64(max(1, deadline.Sub(begin))))
}

// enough is whether the rounds so far are.
func (r *run) enough(samples *Samples, rounds int, deadline time.Time) bool {
	if r.Rounds > 0 {
		return rounds >= r.Rounds+r.warmUp()
	}
	over := !time.Now().Before(deadline)
	switch steady := rounds - samples.WarmUp; {
	case steady < fewestRounds:
		return false
	case over || rounds >= maxRounds:
		return true
	case steady < r.MinRounds:
		return false
	}
	for _, pair := range samples.Pairs {
		ratio, ok := summarize(ratios(nanoseconds(samples.Steady(pair[0])), nanoseconds(samples.Steady(pair[1]))))
		if ok && math.Max(ratio.Hi-ratio.Center, ratio.Center-ratio.Lo) > r.Precision*ratio.Center {
			return false
		}
	}
	return true
}

// fewestRounds is the number of rounds that every case has after its warm-up: enough
// for verdicts on a hundred comparisons together.
const fewestRounds = 15

// warmUpLeast is the number of rounds that are always taken for the warm-up: the first
// requests open connections and fill caches.
const warmUpLeast = 5

// warmUp is that number in this run.
func (p Plan) warmUp() int { return cmp.Or(p.WarmUp, warmUpLeast) }

// steady returns the number of rounds after which the latencies are steady: that number
// for which the mean of what remains is known best (MSER, the marginal standard error
// rule, on the medians of 5 rounds each; White, Simulation 69(6), 1997). It is half of
// the rounds at most: more would say that they are not steady yet.
func steady(samples *Samples, least int) int {
	var series []float64
	n := math.MaxInt
	for _, taken := range samples.Impl {
		n = min(n, len(taken))
	}
	if n == math.MaxInt {
		return 0
	}
	for round := range n {
		sum := 0.0
		for _, taken := range samples.Impl {
			sum += math.Log(float64(max(1, taken[round])))
		}
		series = append(series, sum/float64(len(samples.Impl)))
	}
	return max(min(least, n), mser(series))
}

// mser is the truncation point of a series by the rule above.
func mser(series []float64) int {
	const batch = 5
	var medians []float64
	for i := 0; i+batch <= len(series); i += batch {
		medians = append(medians, median(series[i:i+batch]))
	}
	best, at := math.Inf(1), 0
	sum, squares := 0.0, 0.0
	for i := len(medians) - 1; i >= 0; i-- {
		sum += medians[i]
		squares += medians[i] * medians[i]
		n := float64(len(medians) - i)
		if i > len(medians)/2 || n < 2 {
			continue
		}
		if score := (squares - sum*sum/n) / (n * n); score <= best {
			best, at = score, i
		}
	}
	return at * batch
}
