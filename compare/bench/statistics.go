package bench

import (
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/perf/benchmath"

	"portrule.example/lab/compare/cluster"
)

// confidence of every interval.
const confidence = 0.95

// Summarize computes the measurements and comparisons of samples. A case with too
// few samples for a 95% interval gives a warning in their place. variants are
// what the names of implementations are followed by, such as "+policies".
func Summarize(all []Samples, credential cluster.Credential, variants map[string]string) (measurements []Measurement, comparisons []Comparison, warnings []string) {
	for _, samples := range all {
		for _, impl := range samples.Impls {
			taken := samples.Impl[impl]
			if len(taken) == 0 {
				continue // the run ended before: its own warning
			}
			median, ok := summarize(nanoseconds(taken))
			if !ok {
				warnings = append(warnings, fmt.Sprintf("%s/%s/%s: %d samples are too few for an interval: left out",
					samples.Suite, samples.Case.Name, impl, len(taken)))
				continue
			}
			m := Measurement{
				Suite: samples.Suite, Case: samples.Case.Name, Impl: impl + variants[impl],
				Path: "kube-apiserver", Credential: string(credential),
				Metric: "latency", Unit: "ns",
				N: len(taken), Median: median.Center, Low: median.Lo, High: median.Hi,
			}
			if impl != CRD && impl != Native {
				m.Cache = samples.Case.Cache
			}
			measurements = append(measurements, m)
		}
		for _, pair := range samples.Pairs {
			ratios := ratios(samples.Impl[pair[0]], samples.Impl[pair[1]])
			ratio, ok := summarize(ratios)
			if !ok {
				continue // its measurements have been warned of
			}
			comparisons = append(comparisons, Comparison{
				Suite: samples.Suite, Case: samples.Case.Name,
				Impl: pair[0] + variants[pair[0]], To: pair[1] + variants[pair[1]], Metric: "latency",
				Ratio: ratio.Center, Low: ratio.Lo, High: ratio.Hi, N: len(ratios), Verdict: verdict("latency", ratio.Lo, ratio.Hi),
			})
		}
	}
	return measurements, comparisons, warnings
}

// Compare computes the measurements and the comparison of values that were not taken
// by [Run], the i-th of impl and of to in the same round. It returns an error if they
// are too few for an interval.
func Compare(suite, name, metric, unit, impl, to string, values map[string][]float64) ([]Measurement, Comparison, error) {
	var measurements []Measurement
	for _, impl := range []string{to, impl} {
		median, ok := summarize(slices.Clone(values[impl]))
		if !ok {
			return nil, Comparison{}, fmt.Errorf("%d samples are too few for an interval", len(values[impl]))
		}
		measurements = append(measurements, Measurement{
			Suite: suite, Case: name, Impl: impl, Path: "kube-apiserver", Metric: metric, Unit: unit,
			N: len(values[impl]), Median: median.Center, Low: median.Lo, High: median.Hi,
		})
	}
	ratios := make([]float64, min(len(values[impl]), len(values[to])))
	for i := range ratios {
		ratios[i] = values[impl][i] / values[to][i]
	}
	ratio, ok := summarize(ratios)
	if !ok {
		return nil, Comparison{}, fmt.Errorf("%d pairs are too few for an interval", len(ratios))
	}
	return measurements, Comparison{
		Suite: suite, Case: name, Impl: impl, To: to, Metric: metric,
		Ratio: ratio.Center, Low: ratio.Lo, High: ratio.Hi, N: len(ratios), Verdict: verdict(metric, ratio.Lo, ratio.Hi),
	}, nil
}

// summarize returns the median and its interval, which assumes nothing about the
// distribution, and false if there are too few values for one.
func summarize(values []float64) (benchmath.Summary, bool) {
	if len(values) == 0 {
		return benchmath.Summary{}, false
	}
	// NewSample sorts what it is given
	summary := benchmath.AssumeNothing.Summary(benchmath.NewSample(values, &benchmath.DefaultThresholds), confidence)
	return summary, !math.IsInf(summary.Lo, 0) && !math.IsInf(summary.Hi, 0)
}

// ratios divides the samples of the same round.
func ratios(of, to []time.Duration) []float64 {
	values := make([]float64, min(len(of), len(to)))
	for i := range values {
		values[i] = float64(of[i]) / float64(to[i])
	}
	return values
}

// verdict reads an interval of a ratio of latencies, or of memory.
func verdict(metric string, low, high float64) Verdict {
	switch {
	case high < 1 && metric == "memory":
		return Smaller
	case low > 1 && metric == "memory":
		return Larger
	case high < 1:
		return Faster
	case low > 1:
		return Slower
	}
	return NoDifference
}

func nanoseconds(durations []time.Duration) []float64 {
	values := make([]float64, len(durations))
	for i, d := range durations {
		values[i] = float64(d)
	}
	return values
}
