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
			m, ok := measurement(samples.Suite, samples.Case.Name, "latency", "ns", impl+variants[impl], nanoseconds(taken))
			if !ok {
				warnings = append(warnings, fmt.Sprintf("%s/%s/%s: %d samples are too few for an interval: left out",
					samples.Suite, samples.Case.Name, impl, len(taken)))
				continue
			}
			m.Credential = string(credential)
			if impl != CRD && impl != Native {
				m.Cache = samples.Case.Cache
			}
			measurements = append(measurements, m)
		}
		for _, pair := range samples.Pairs {
			c, ok := comparison(samples.Suite, samples.Case.Name, "latency", pair[0]+variants[pair[0]], pair[1]+variants[pair[1]],
				nanoseconds(samples.Impl[pair[0]]), nanoseconds(samples.Impl[pair[1]]))
			if !ok {
				continue // its measurements have been warned of
			}
			comparisons = append(comparisons, c)
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
		m, ok := measurement(suite, name, metric, unit, impl, values[impl])
		if !ok {
			return nil, Comparison{}, fmt.Errorf("%d samples are too few for an interval", len(values[impl]))
		}
		measurements = append(measurements, m)
	}
	c, ok := comparison(suite, name, metric, impl, to, values[impl], values[to])
	if !ok {
		return nil, Comparison{}, fmt.Errorf("%d and %d samples are too few pairs for an interval", len(values[impl]), len(values[to]))
	}
	return measurements, c, nil
}

// measurement is the distribution of values, and false if they are too few for an
// interval.
func measurement(suite, name, metric, unit, impl string, values []float64) (Measurement, bool) {
	median, ok := summarize(slices.Clone(values))
	return Measurement{
		Suite: suite, Case: name, Impl: impl, Path: "kube-apiserver", Metric: metric, Unit: unit,
		N: len(values), Median: median.Center, Low: median.Lo, High: median.Hi,
	}, ok
}

// comparison divides the values of the same round, and is false if they are too few
// for an interval.
func comparison(suite, name, metric, impl, to string, of, by []float64) (Comparison, bool) {
	ratios := make([]float64, min(len(of), len(by)))
	for i := range ratios {
		ratios[i] = of[i] / by[i]
	}
	ratio, ok := summarize(ratios)
	return Comparison{
		Suite: suite, Case: name, Impl: impl, To: to, Metric: metric,
		Ratio: ratio.Center, Low: ratio.Lo, High: ratio.Hi, N: len(ratios), Verdict: verdict(metric, ratio.Lo, ratio.Hi),
	}, ok
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
