package report

import (
	"bytes"
	"testing"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/relay"
)

// The tables of the suite auth: cells, remedies, replicas, herds and growth, of a run that
// has measured a few of each.
func TestAuthTables(t *testing.T) {
	warm := bench.Cell{Case: "get", Impl: bench.Aggregated, Path: bench.ViaAPIServer, Credential: bench.ByCertificate, Cache: bench.Warm}
	cold, crd, herd, growth, routing := warm, warm, warm, warm, warm
	cold.Cache, crd.Impl, crd.Cache = bench.Cold, bench.CRD, ""
	herd.Case, growth.Case, routing.Case = "herd", "growth", "routing"
	result := &bench.Result{Citations: []bench.Citation{{Suite: bench.Auth.Name, Cell: herd, Cites: warm, Why: "a test"}}}
	add := func(cell bench.Cell, m bench.Measurement) {
		m.Suite, m.Case, m.Impl, m.Path, m.Credential, m.Cache = bench.Auth.Name, cell.Case, cell.Impl, cell.Path, cell.Credential, cell.Cache
		result.Measurements = append(result.Measurements, m)
	}
	for _, c := range []struct {
		cell    bench.Cell
		reviews float64
		ms      float64
	}{{crd, 0, 2.5}, {warm, 0, 4}, {cold, 1, 6}} {
		add(c.cell, bench.Measurement{Metric: "tokenreviews", Unit: "1", N: 20})
		add(c.cell, bench.Measurement{Metric: "subjectaccessreviews", Unit: "1", N: 20, Median: c.reviews})
		result.Measurements = append(result.Measurements, c.cell.SlopeMeasurement(bench.Slope{Link: relay.Reviews, Median: c.reviews - 0.004, StdErr: 0.01, N: 9}))
		add(c.cell, bench.Measurement{Metric: "latency", Unit: "ns", N: 300, Median: c.ms * 1e6, Low: c.ms * 0.99e6, High: c.ms * 1.01e6})
	}
	compared := func(of, to bench.Cell, ms float64, verdict bench.Verdict) bench.Comparison {
		return bench.Comparison{
			Suite: bench.Auth.Name, Case: of.Case, Impl: of.Impl, To: to.Impl, Metric: "latency", N: 300, Verdict: verdict,
			Path: of.Path, Credential: of.Credential, Cache: of.Cache, ToPath: to.Path, ToCredential: to.Credential, ToCache: to.Cache,
			Difference: &bench.Interval{Value: ms * 1e6, Low: (ms - 0.1) * 1e6, High: (ms + 0.1) * 1e6},
		}
	}
	result.Comparisons = []bench.Comparison{compared(warm, crd, 1.5, bench.Slower), compared(cold, crd, 3.5, bench.Slower), compared(warm, cold, -2, bench.Faster)}
	add(herd, bench.Measurement{Metric: "subjectaccessreviews", Unit: "1/herd", Load: "64 clients at once", N: 3, Median: 12, Low: 9, High: 50})
	add(herd, bench.Measurement{Metric: "tokenreviews", Unit: "1/herd", Load: "64 clients at once", N: 3})
	result.Measurements = append(result.Measurements, bench.Grown{
		Growth: bench.Growth{Users: 4, Names: 25, Rate: 100, TTL: 1e9}, Reviews: 53.2, Requests: 103.4, Latencies: []float64{3e6, 4e6, 5e6, 6e6, 7e6, 8e6},
	}.Measurements(growth)...)
	for _, impl := range []string{bench.Aggregated, bench.Routed} {
		routing.Impl = impl
		add(routing, bench.Measurement{Metric: "latency", Unit: "ns", Load: "two replicas", N: 1000, Median: 3e6})
		add(routing, bench.Measurement{Metric: "throughput", Unit: "1/s", Load: "two replicas", Process: "portrule-apiserver", N: 1, Median: 150})
		add(routing, bench.Measurement{Metric: "throughput", Unit: "1/s", Load: "two replicas", Process: "portrule-apiserver-replica", N: 1, Median: 149})
	}
	var out bytes.Buffer
	if err := Table(&out, result); err != nil {
		t.Fatal(err)
	}
	golden(t, "auth.txt", out.Bytes())
}
