// This program measures how much longer a GET takes of the aggregated server than of the
// CRD, when four rules are read in turn and the server need not ask any more.
package main

import (
	"context"
	"time"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/labs/15-measure-it-yourself/harness"
)

func main() { harness.Main(measure) }

// objects is how many rules are read in turn.
const objects = 4

// rounds is how many are measured, after warmUp that are not.
const rounds, warmUp = 40, objects

// measure sends one request to each in every round, and compares the means.
func measure(ctx context.Context, h *harness.Harness) ([]bench.Comparison, error) {
	all := map[string]time.Duration{}
	for i := range warmUp + rounds {
		for _, s := range h.Sessions {
			taken, err := h.Get(ctx, s, harness.Name(i%objects))
			if err != nil {
				return nil, err
			}
			if i >= warmUp {
				all[s.Subject.Impl] += taken
			}
		}
	}
	return []bench.Comparison{{
		Impl: bench.Aggregated, To: bench.CRD, Metric: "latency", N: rounds,
		Ratio: float64(all[bench.Aggregated]) / float64(all[bench.CRD]),
	}}, nil
}
