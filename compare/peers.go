package compare

import (
	"context"
	"fmt"
	"slices"
	"time"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/testbed"
)

// peerRounds is how often the servers of the suite peers are started; a quick run
// starts them as often as an interval takes.
const peerRounds, quickPeerRounds = 20, 8

// startPeers starts the aggregated server and sample-apiserver in turn, and measures
// how long each takes until the aggregation layer calls it available, and how much
// memory it has then. Both are started as a group's only server, on an etcd that holds
// none of its objects.
func startPeers(ctx context.Context, bed *testbed.Testbed, quick bool, progress func(done, total int, what string)) ([]bench.Measurement, []bench.Comparison, []string, error) {
	rounds := peerRounds
	if quick {
		rounds = quickPeerRounds
	}
	start := map[string]func() (*testbed.Peer, error){
		bench.Sample: func() (*testbed.Peer, error) { return bed.ServeSample(ctx) },
		bench.Aggregated: func() (*testbed.Peer, error) {
			return bed.ServePeer(ctx, "portrule-apiserver-peer", "peer."+api.Group, "--unique-endpoints=false")
		},
	}
	turns := []string{bench.Sample, bench.Aggregated}
	seconds, memory := map[string][]float64{}, map[string][]float64{}
	for round := range rounds {
		for _, impl := range turns {
			progress(round, rounds, "peers: start "+impl)
			begin := time.Now()
			peer, err := start[impl]()
			if err != nil {
				return nil, nil, nil, err
			}
			taken := time.Since(begin)
			bytes, err := peer.Memory()
			if err != nil {
				return nil, nil, nil, err
			}
			if err := peer.Remove(ctx); err != nil {
				return nil, nil, nil, err
			}
			seconds[impl] = append(seconds[impl], float64(taken))
			memory[impl] = append(memory[impl], float64(bytes))
		}
		slices.Reverse(turns)
	}
	var measurements []bench.Measurement
	var comparisons []bench.Comparison
	var warnings []string
	for _, metric := range []struct {
		name, metric, unit string
		values             map[string][]float64
	}{{"start", "latency", "ns", seconds}, {"memory", "memory", "B", memory}} {
		m, c, err := bench.Compare(bench.Peers.Name, metric.name, metric.metric, metric.unit, bench.Aggregated, bench.Sample, metric.values)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("peers/%s: %v: left out", metric.name, err))
			continue
		}
		measurements, comparisons = append(measurements, m...), append(comparisons, c)
	}
	return measurements, comparisons, warnings, nil
}
