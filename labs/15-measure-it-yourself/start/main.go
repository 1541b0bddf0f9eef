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

// requests is how many are sent to each.
const requests = 40

// measure reads the rules of the CRD, then those of the server, and compares the means.
func measure(ctx context.Context, h *harness.Harness) ([]bench.Comparison, error) {
	means := map[string]float64{}
	for _, s := range h.Sessions {
		var all time.Duration
		for i := range requests {
			taken, err := h.Get(ctx, s, harness.Name(i%objects))
			if err != nil {
				return nil, err
			}
			all += taken
		}
		means[s.Subject.Impl] = float64(all) / requests
	}
	return []bench.Comparison{{
		Impl: bench.Aggregated, To: bench.CRD, Metric: "latency", N: requests,
		Ratio: means[bench.Aggregated] / means[bench.CRD],
	}}, nil
}
