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

// measure has the engine send one request to each in every round.
func measure(ctx context.Context, h *harness.Harness) ([]bench.Comparison, error) {
	plan := bench.Plan{Rounds: 40, WarmUp: 2 * objects}
	return h.Run(ctx, plan, bench.Suite{
		Name:  "mine",
		Impls: []string{bench.CRD, bench.Aggregated},
		Pairs: [][2]string{{bench.CRD, bench.Aggregated}},
		Cases: []bench.Case{{
			Name:  "get-in-turn",
			About: "GET of four objects in turn, each of which has been read before",
			Cache: bench.Warm,
			New: func(_ context.Context, s *bench.Session, _ int) (bench.Requests, error) {
				return bench.Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
					return h.Get(ctx, s, harness.Name(i%objects))
				}}, nil
			},
		}},
	})
}
