package bench_test

import (
	"fmt"

	"portrule.example/lab/compare/bench"
)

// In the second half of the rounds the machine is four times as slow. The medians with
// their intervals cannot tell the implementations apart; the ratios, which are made round
// by round, can.
func ExampleCompare() {
	values := map[string][]float64{ // milliseconds
		bench.CRD:        {2.0, 2.0, 2.0, 2.0, 8.0, 8.0, 8.0, 8.0},
		bench.Aggregated: {2.8, 3.0, 3.2, 3.0, 12.8, 12.0, 11.2, 12.0},
	}
	medians, ratio, err := bench.Compare("verbs", "get", "latency", "ms", bench.Aggregated, bench.CRD, values)
	if err != nil {
		panic(err)
	}
	for _, m := range medians {
		fmt.Printf("%s: %.1f [%.1f, %.1f]\n", m.Impl, m.Median, m.Low, m.High)
	}
	fmt.Printf("%.2fx [%.2f, %.2f], %s\n", ratio.Ratio, ratio.Low, ratio.High, ratio.Verdict)
	// Output:
	// crd: 5.0 [2.0, 8.0]
	// aggregated: 7.2 [2.8, 12.0]
	// 1.50x [1.40, 1.60], slower
}

// A curve is called by the simplest growth that explains its points, and is continued to
// ten times its greatest size.
func ExampleFits() {
	var points []bench.Measurement
	for _, size := range []float64{100, 1000, 10000} {
		median := 1e6 + 2000*size // 1 ms, and 2 µs for each object
		points = append(points, bench.Measurement{
			Suite: "scale", Case: "list", Impl: bench.CRD, Metric: "latency", Unit: "ns",
			Axis: bench.Objects, Size: size, Median: median, Low: 0.95 * median, High: 1.05 * median,
		})
	}
	for _, fit := range bench.Fits("scale", points) {
		fmt.Printf("%s: %.0f ns for each further one of the %s\n", fit.Growth, fit.PerUnit, fit.Axis)
		fmt.Printf("%.0f would take %.0f ms\n", fit.Projection.Size, fit.Projection.Value/1e6)
	}
	// Output:
	// linear: 2000 ns for each further one of the objects
	// 100000 would take 201 ms
}
