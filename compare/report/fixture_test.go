package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
)

// full is a result that has something of everything that a run may leave. What is not in
// run is made up.
func full() *bench.Result {
	result, _ := run(nil)
	add := func(m bench.Measurement) { result.Measurements = append(result.Measurements, m) }
	measured := func(suite, name, impl, metric, unit string, median float64) bench.Measurement {
		return bench.Measurement{
			Suite: suite, Case: name, Impl: impl, Path: bench.ViaAPIServer, Metric: metric, Unit: unit,
			N: 12, Median: median, Low: 0.95 * median, High: 1.06 * median,
		}
	}
	compared := func(suite, name, impl, to string, ratio, scatter float64, verdict bench.Verdict) {
		d := (ratio - 1) * 3e6
		result.Comparisons = append(result.Comparisons, bench.Comparison{
			Suite: suite, Case: name, Impl: impl, To: to, Metric: "latency", Ratio: ratio, Low: ratio - scatter, High: ratio + scatter, N: 60, Verdict: verdict,
			Difference: &bench.Interval{Value: d, Low: d - 1e5, High: d + 1e5}, Spread: []float64{d - 2e6, d - 5e5, d, d + 6e5, d + 4e6},
		})
	}

	countedCells(add, result)
	for i, impl := range []string{"crd+without-cel", "crd", "crd+policies", "crd+webhooks", "aggregated", "aggregated+unique-endpoints"} {
		add(measured("validation", "accepted", impl, "latency", "ns", float64(3+i)*1e6))
		add(measured("validation", "accepted", impl, "webhook-calls", "1", float64(i%2)))
	}
	for i, impl := range []string{"crd", "crd+v1", "aggregated", "aggregated+v1"} {
		add(measured("validation", "convert-create", impl, "latency", "ns", float64(3+i)*1e6))
		add(measured("validation", "convert-create", impl, "conversions", "1", float64(i%2)))
	}
	for i, impl := range []string{"crd+policies", "crd+webhooks", "aggregated"} {
		add(measured("validation", "forbidden-port", impl, "latency", "ns", float64(3+i)*1e6))
	}
	compared("validation", "accepted", "aggregated", "crd", 1.1, 0.03, bench.Slower)
	compared("validation", "accepted", "crd+webhooks", "crd", 1.4, 0.05, bench.Slower)
	compared("validation", "forbidden-port", "aggregated", "crd+webhooks", 0.7, 0.05, bench.Faster)
	compared("validation", "convert-create", "crd+v1", "crd", 1.8, 0.1, bench.Slower)
	compared("validation", "convert-create", "aggregated+v1", "aggregated", 1.01, 0.04, bench.NoDifference)
	for _, impl := range []string{"crd", "crd+policies", "aggregated"} {
		result.Observations = append(result.Observations, bench.Observation{
			Suite: "validation", Case: "messages", What: "R1: a POST with the port 70000", Impl: impl,
			Seen: `422 Invalid: spec.endpoint.port: Invalid value: 70000: must be between 1 and 65535, inclusive, says <` + impl + `> at https://example.com/a/very/long/path/that/has/no/place/to/break/apis/firewalld.fedoraproject.org/v2`,
		})
	}
	result.Observations = append(result.Observations, bench.Observation{Suite: "openapi", Case: "outage", What: "kubectl get", Impl: "aggregated", Seen: "503 | *not* _available_"})
	for _, impl := range []string{"crd", "aggregated"} {
		slow := map[string]float64{"crd": 1, "aggregated": 2.4}[impl]
		add(measured("openapi", "create-discovery", impl, "latency", "ns", slow*4e8))
		add(measured("openapi", "create-explain", impl, "latency", "ns", slow*6.2e9))
		add(measured("openapi", "document-openapi-v3", impl, "document-size", "B", slow*21_500))
		cost := measured("openapi", "create-cost", impl, "cpu", "ms", slow*120)
		cost.Process = "kube-apiserver"
		add(cost)
	}
	compared("openapi", "create-explain", "aggregated", "crd", 2.4, 0.2, bench.Slower)
	add(measured("subresources", "scale-get", "crd", "latency", "ns", 2.5e6))
	add(measured("subresources", "scale-get", "aggregated", "latency", "ns", 3.5e6))
	add(measured("subresources", "probe", "aggregated", "latency", "ns", 5e6))
	compared("subresources", "scale-get", "aggregated", "crd", 1.4, 0.1, bench.Slower)
	result.NotRun = []bench.NotRun{
		{Suite: "subresources", Case: "probe", Impl: "crd", Why: "the controller of the CRD is a process of this host"},
		{Suite: "peers", Why: "bin/sample-apiserver is not built"},
	}
	scaled(result, measured)
	result.Warnings = append(result.Warnings, "the run did not finish: scale: replicas: interrupted: context canceled")
	return result
}

// countedCells adds what the suite auth counts of a read.
func countedCells(add func(bench.Measurement), result *bench.Result) {
	again := bench.Cell{Case: "get", Impl: bench.Aggregated, Path: bench.ViaAPIServer, Credential: bench.ByCertificate, Cache: bench.Warm}
	crd, first := again, again
	crd.Impl, crd.Cache = bench.CRD, ""
	first.Case, first.Cache = "get-new", bench.Cold
	for _, c := range []struct {
		cell    bench.Cell
		trips   float64
		reviews float64
	}{{crd, 0.01, 0}, {again, 1.02, 0}, {first, 1.03, 1}} {
		m := bench.Measurement{
			Suite: bench.Auth.Name, Case: c.cell.Case, Impl: c.cell.Impl, Path: c.cell.Path, Credential: c.cell.Credential, Cache: c.cell.Cache,
			Metric: "round-trips", Unit: "1", Link: "apiserver-server", N: 9, Median: c.trips, Low: c.trips - 0.03, High: c.trips + 0.03,
		}
		stderr := 0.01
		m.StdErr = &stderr
		add(m)
		m.Link, m.StdErr, m.N = "", nil, 20
		m.Metric, m.Median, m.Low, m.High = "tokenreviews", 0, 0, 0
		add(m)
		m.Metric, m.Median, m.Low, m.High = "subjectaccessreviews", c.reviews, c.reviews, c.reviews
		add(m)
	}
	result.Comparisons = append(result.Comparisons, bench.Comparison{
		Suite: bench.Auth.Name, Case: "get", Impl: bench.Aggregated, To: bench.CRD, Metric: "latency",
		Path: again.Path, Credential: again.Credential, Cache: again.Cache, ToPath: crd.Path, ToCredential: crd.Credential,
		Ratio: 1.4, Low: 1.35, High: 1.45, N: 200, Verdict: bench.Slower, Difference: &bench.Interval{Value: 1.1e6, Low: 1e6, High: 1.2e6},
	})
}

// scaled adds curves and their fits: of lists, of memory, of clients and of replicas.
func scaled(result *bench.Result, measured func(suite, name, impl, metric, unit string, median float64) bench.Measurement) {
	point := func(m bench.Measurement, axis bench.Axis, size float64) {
		m.Axis, m.Size = axis, size
		result.Measurements = append(result.Measurements, m)
	}
	for _, impl := range []string{"crd", "aggregated"} {
		each := map[string]float64{"crd": 3400, "aggregated": 2100}[impl]
		for _, size := range []float64{100, 1000, 5000, 20000} {
			point(measured("scale", "list", impl, "latency", "ns", 2.1e6+each*size), bench.Objects, size)
			m := measured("scale", "heap", impl, "memory", "B", 6e7+1.5*each*size)
			m.Process = map[string]string{"crd": "kube-apiserver", "aggregated": "portrule-apiserver"}[impl]
			point(m, bench.Objects, size)
		}
		fit := bench.Fit{
			Suite: "scale", Case: "list", Impl: impl, Metric: "latency", Unit: "ns", Axis: bench.Objects, N: 4, From: 100, To: 20000,
			Growth: bench.Linear, Fixed: 2.1e6, PerUnit: each, Exponent: 1, R2: 0.998,
			Projection: &bench.Projection{Size: 200000, Interval: bench.Interval{Value: 2.1e6 + each*200000, Low: each * 180000, High: each * 230000}},
		}
		result.Fits = append(result.Fits, fit)
		fit.Case, fit.Metric, fit.Unit, fit.Fixed, fit.PerUnit, fit.Projection = "heap", "memory", "B", 6e7, 1.5*each, nil
		fit.Process = map[string]string{"crd": "kube-apiserver", "aggregated": "portrule-apiserver"}[impl]
		result.Fits = append(result.Fits, fit)
		for _, clients := range []float64{1, 4, 16, 64} {
			m := measured("scale", "clients", impl, "throughput", "1/s", 1000*(1-math.Exp(-clients/8)))
			m.Load = fmt.Sprintf("closed, %g clients", clients)
			point(m, bench.Clients, clients)
		}
		broken := 16.0
		result.Fits = append(result.Fits, bench.Fit{
			Suite: "scale", Case: "clients", Impl: impl, Metric: "throughput", Unit: "1/s", Axis: bench.Clients, N: 4, From: 1, To: 64,
			Growth: bench.Better, Fixed: 0, PerUnit: 300, Exponent: 0.4, R2: 0.91, Breaks: &broken, Why: "the points leave the curve",
		})
	}
	for i, size := range []float64{100, 1000, 5000, 20000} {
		result.Comparisons = append(result.Comparisons, bench.Comparison{
			Suite: "scale", Case: "list", Impl: bench.Aggregated, To: bench.CRD, Metric: "latency", Axis: bench.Objects, Size: size,
			Ratio: 1 - float64(i)/10, Low: 0.95 - float64(i)/10, High: 1.05 - float64(i)/10, N: 12, Verdict: []bench.Verdict{bench.NoDifference, bench.Faster}[min(i, 1)],
		})
	}
	for _, replicas := range []float64{1, 2, 3} {
		point(measured("scale", "replicas", "aggregated", "throughput", "1/s", 500*replicas), bench.Replicas, replicas)
	}
}

// matrixOfTests is a small parity matrix.
func matrixOfTests() *parityMatrix {
	result, _ := run(nil)
	return &parityMatrix{
		Schema: contract.Schema, Environment: result.Environment, Warnings: []string{"a warning of the parity run"},
		Cases: []contract.Entry{
			{ID: "schema/required", Area: "schema", Ask: "a rule with an empty spec is created", Verdict: contract.Differs, CRD: "422 Invalid: <nil>: Invalid value: null", Aggregated: "422 Invalid: spec.endpoint.host: Required value", Reason: "the schema misses the endpoint as a whole"},
			{ID: "schema/port", Area: "schema", Ask: "a rule with the port 0 is created", Verdict: contract.Same, CRD: "422 Invalid", Aggregated: "422 Invalid"},
			{ID: "subresource/probe", Area: "subresource", Ask: "the endpoint is dialled", Verdict: contract.AggregatedOnly, CRD: "404 NotFound", Aggregated: "200"},
			{ID: "subresource/status", Area: "subresource", Ask: "a status is written", Verdict: contract.Same, CRD: "200", Aggregated: "200"},
			{ID: "kind/audit", Area: "kind", Ask: "who wrote is in the audit log", Verdict: contract.NotRun, Reason: "the cluster has no audit log"},
			{ID: "kind/label", Area: "kind", Ask: "a label is a text", Verdict: contract.Unexpected, CRD: "422", Aggregated: "200"},
		},
		Duplicates: []contract.Duplicates{{Impl: "crd+webhooks", Attempts: 100, Clients: 8, Admitted: 90, Share: 0.9, Low: 0.83, High: 0.945}},
	}
}

// fullDirectory is a directory of a run with all that a report can show.
func fullDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(matrixOfTests())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		MatrixFile:           data,
		"trace-get-new.svg":  read(t, filepath.Join("..", "trace", "testdata", "get-new-name.svg")),
		"trace-no-image.svg": []byte("<html>no drawing</html>"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(dir, full(), nil); err != nil {
		t.Fatal(fmt.Errorf("write a full run: %w", err))
	}
	return dir
}
