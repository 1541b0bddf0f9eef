package report

import (
	"strings"
	"testing"

	"portrule.example/lab/compare/bench"
)

func TestFigure(t *testing.T) {
	result := full()
	result.Measurements = append(result.Measurements,
		bench.Measurement{Suite: "asked", Case: "get", Impl: "crd", Path: bench.ViaAPIServer, Credential: bench.ByCertificate, Metric: "latency", Unit: "ns", Median: 2.5e6, Low: 2.4e6, High: 2.6e6, Quantiles: []bench.Quantile{{Q: 0.99, Value: 9e6, Low: 8e6, High: 1e7}}},
		bench.Measurement{Suite: "asked", Case: "get", Impl: "crd", Path: "direct", Credential: bench.ByCertificate, Metric: "latency", Unit: "ns", Median: 1e6},
		bench.Measurement{Suite: "asked", Case: "get", Impl: "crd", Path: bench.ViaAPIServer, Load: "open, 400/s", Metric: "latency", Unit: "ns", Median: 7e6},
		bench.Measurement{Suite: "asked", Case: "get", Impl: "crd", Path: bench.ViaAPIServer, Link: "to-etcd", Metric: "round-trips", Unit: "1", Median: -0.0031, Low: -0.012, High: 1.0749},
		bench.Measurement{Suite: "asked", Case: "list", Impl: "crd", Axis: bench.Objects, Size: 100, Metric: "latency", Unit: "ns", Median: 3e6},
		bench.Measurement{Suite: "asked", Case: "list", Impl: "crd", Axis: bench.Objects, Size: 1000, Metric: "latency", Unit: "ns", Median: 4e6},
	)
	result.Comparisons = append(result.Comparisons, bench.Comparison{Suite: "asked", Case: "get", Impl: "aggregated", To: "crd", Metric: "latency", Ratio: 1.5, Low: 1.4, High: 1.6})
	result.Fits = append(result.Fits,
		bench.Fit{Suite: "asked", Case: "list", Impl: "crd", Metric: "latency", Unit: "ns", Growth: bench.Linear, Fixed: 1e6, PerUnit: 45_700, Projection: &bench.Projection{Size: 1e5, Interval: bench.Interval{Value: 4.57e9, Low: 4e9, High: 5e9}}},
		bench.Fit{Suite: "asked", Case: "both", Impl: "crd", Metric: "latency", Unit: "ns", Axis: bench.Objects, Growth: bench.Linear, PerUnit: 1e3},
		bench.Fit{Suite: "asked", Case: "both", Impl: "crd", Metric: "latency", Unit: "ns", Axis: bench.Clients, Growth: bench.Linear, PerUnit: 2e3},
		bench.Fit{Suite: "asked", Case: "worse", Impl: "crd", Metric: "latency", Unit: "ns", Growth: bench.Worse, PerUnit: 10, Exponent: 2})
	result.Observations = append(result.Observations, bench.Observation{Suite: "asked", Case: "outage", Impl: "aggregated", What: "it is gone: at all", Seen: "after 3 s, FailedDiscoveryCheck"})

	for question, want := range map[string]string{
		"asked/get crd latency":                                 "2.5 ms",
		"asked/get crd latency interval":                        "2.5 ms [2.4 ms, 2.6 ms]",
		"asked/get crd latency p99":                             "9 ms",
		"asked/get crd latency path=direct":                     "1 ms",
		"asked/get crd latency load=400/s":                      "7 ms",
		"asked/get aggregated/crd latency":                      "1.50x",
		"asked/get crd round-trips link=to-etcd interval":       "0.00 [-0.01, 1.07]",
		"asked/get aggregated/crd latency interval":             "1.50x [1.40, 1.60]",
		"asked/list crd latency size=1000":                      "4 ms",
		"asked/list crd latency fit.perUnit":                    "45.7 µs",
		"asked/list crd latency fit.projection":                 "4.57 s",
		"asked/list crd latency fit.at=1000000":                 "45.7 s",
		"asked/list crd latency fit.within=60s":                 "1,300,000",
		"asked/list crd latency fit.rate":                       "22,000/s",
		"asked/worse crd latency fit.at=1000":                   "10 ms",
		"asked/both crd latency axis=clients fit.perUnit":       "2 µs",
		"asked/outage aggregated seen: it is gone: at all":      "after 3 s",
		"validation/accepted crd+webhooks webhook-calls":        "1",
		"validation/convert-create crd+v1/crd latency interval": "1.80x [1.70, 1.90]",
	} {
		if got, err := Figure(result, question); err != nil || got != want {
			t.Errorf("%q: got %q and the error %v, want %q", question, got, err, want)
		}
	}
	for question, want := range map[string]string{
		"":                                    "does not begin with suite/case",
		"asked":                               "does not begin with suite/case",
		"asked/get crd latency fast":          `there is no "fast"`,
		"asked/get crd latency speed=1":       `there is no "speed=1"`,
		"asked/get crd latency p50":           "do not carry p50",
		"asked/get crd latency px":            "no percentile",
		"asked/get crd latency model":         "no formula",
		"asked/put crd latency":               "no such figure",
		"asked/get crd latency cache=warm":    "no such figure",
		"asked/list crd latency":              "2 such figures: say which of",
		"asked/get crd/native latency":        "no such figure",
		"asked/worse crd latency fit.perUnit": "only what is linear",
		"asked/worse crd latency fit.at=x":    "no size",
		"asked/both crd latency fit.perUnit":  "2 such figures: say which of",
		"asked/worse crd latency fit.rate":    "only what is linear",
		"asked/list crd latency fit.within=1": "missing unit",
		"asked/list crd latency fit.all":      `there is no "fit.all"`,
		"asked/outage crd seen: smoke":        "has seen nothing of the kind",
	} {
		if got, err := Figure(result, question); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q and the error %v, want one that says %q", question, got, err, want)
		}
	}
}
