package report_test

import (
	"fmt"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/report"
)

// How a page of the documentation asks a run for its figures. [report.Read] reads the
// result of a real one.
func ExampleFigure() {
	result := &bench.Result{
		Measurements: []bench.Measurement{{
			Suite: "verbs", Case: "get", Impl: bench.CRD, Metric: "latency", Unit: "ns", Median: 2.62e6, Low: 2.54e6, High: 2.7e6,
		}},
		Comparisons: []bench.Comparison{{
			Suite: "verbs", Case: "get", Impl: bench.Aggregated, To: bench.CRD, Metric: "latency", Ratio: 1.62, Low: 1.58, High: 1.66,
		}},
	}
	for _, question := range []string{"crd latency", "crd latency interval", "aggregated/crd latency interval", "crd latency p99"} {
		answer, err := report.Figure(result, "verbs/get "+question)
		if err != nil {
			answer = err.Error()
		}
		fmt.Printf("%s: %s\n", question, answer)
	}
	// Output:
	// crd latency: 2.62 ms
	// crd latency interval: 2.62 ms [2.54 ms, 2.7 ms]
	// aggregated/crd latency interval: 1.62x [1.58, 1.66]
	// crd latency p99: its samples do not carry p99
}
