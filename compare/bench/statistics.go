package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/aclements/go-moremath/stats"
	"golang.org/x/perf/benchmath"

	"portrule.example/lab/compare/cluster"
)

// confidence of every interval.
const confidence = 0.95

// quantiles are those that a latency is given with, if there are samples enough.
var quantiles = []float64{0.9, 0.99, 0.999}

// AllProcesses is the name of the sum of the processes but the client's own.
const AllProcesses = "all"

// littleTolerance is how far the requests under way may be from what Little's law says.
const littleTolerance = 0.1

// Summarize computes the measurements and comparisons of samples. A case with too
// few samples for a 95% interval gives a warning in their place. variants are
// what the names of implementations are followed by, such as "+policies".
func Summarize(all []Samples, credential cluster.Credential, variants map[string]string) (measurements []Measurement, comparisons []Comparison, warnings []string) {
	s := summary{credential: credential, variants: variants}
	for _, samples := range all {
		s.rounds(samples)
		for _, loop := range samples.Loops() {
			s.windows(samples, loop, samples.Windows[loop])
		}
	}
	s.judge()
	for _, c := range s.compared {
		comparisons = append(comparisons, c.Comparison)
	}
	return s.measurements, comparisons, s.warnings
}

// summary collects what samples come to.
type summary struct {
	credential   cluster.Credential
	variants     map[string]string
	measurements []Measurement
	compared     []compared
	warnings     []string
}

// compared is a comparison and the ratios that it is made of.
type compared struct {
	Comparison
	ratios []float64
}

// rounds adds the latencies of one request at a time.
func (s *summary) rounds(samples Samples) {
	for _, impl := range samples.Impls {
		taken := nanoseconds(samples.Steady(impl))
		if len(samples.Impl[impl]) == 0 {
			continue // the run ended before: its own warning
		}
		m, ok := s.measurement(samples, impl, "latency", "ns", taken)
		if !ok {
			s.warnings = append(s.warnings, fmt.Sprintf("%s/%s/%s: %d samples are too few for an interval: left out",
				samples.Suite, samples.Case.Name, impl, len(taken)))
			continue
		}
		slices.Sort(taken)
		m.Quantiles = quantilesOf(len(taken), func(order int) float64 { return taken[order-1] })
		m.Curve = curveOf(taken)
		if samples.WarmUp > 0 {
			before := samples.Impl[impl][:samples.WarmUp]
			m.WarmUp = &WarmUp{N: len(before), Median: median(nanoseconds(before))}
		}
		s.measurements = append(s.measurements, m)
	}
	s.compare(samples, "latency", "", func(impl string) []float64 { return nanoseconds(samples.Steady(impl)) })
}

// windows adds what the windows of a loop have come to.
func (s *summary) windows(samples Samples, loop Loop, taken map[string][]Window) {
	values := func(of func(Window) float64) func(impl string) []float64 {
		return func(impl string) []float64 {
			var values []float64
			for _, window := range taken[impl] {
				values = append(values, of(window))
			}
			return values
		}
	}
	throughput := values(Window.Throughput)
	for _, impl := range samples.Impls {
		windows := taken[impl]
		if len(windows) == 0 {
			continue
		}
		m, ok := s.measurement(samples, impl, "throughput", "1/s", throughput(impl))
		if !ok {
			s.warnings = append(s.warnings, fmt.Sprintf("%s/%s/%s, %s: %d windows are too few for an interval: left out",
				samples.Suite, samples.Case.Name, impl, loop, len(windows)))
			continue
		}
		m.Load, m.Flow = loop.String(), flow(windows)
		if math.Abs(m.Flow.InFlight-m.Flow.Little) > littleTolerance*m.Flow.InFlight {
			s.warnings = append(s.warnings, fmt.Sprintf("%s/%s/%s, %s: %.1f requests were under way, and by Little's law %.1f: the harness has taken time of its own",
				samples.Suite, samples.Case.Name, impl, loop, m.Flow.InFlight, m.Flow.Little))
		}
		s.measurements = append(s.measurements, m)
		s.tails(samples, impl, loop, windows)
		s.usage(samples, impl, loop, windows)
	}
	if loop.Rate == 0 {
		// the schedule sets that of an open loop
		s.compare(samples, "throughput", loop.String(), throughput)
	}
	s.compare(samples, "cpu", loop.String(), values(Window.CPU))
}

// tails adds the latencies of a loop. The samples of a window are not independent of
// each other, so that the interval of a quantile is that of the windows' own.
func (s *summary) tails(samples Samples, impl string, loop Loop, windows []Window) {
	for _, clock := range []struct {
		name string
		of   func(Window) *hdrhistogram.Histogram
	}{
		{"sent", func(w Window) *hdrhistogram.Histogram { return w.Sent }},
		{"intended", func(w Window) *hdrhistogram.Histogram { return w.Intended }},
	} {
		merged, medians := newHistogram(), []float64(nil)
		for _, window := range windows {
			if h := clock.of(window); h != nil && h.TotalCount() > 0 {
				merged.Merge(h)
				medians = append(medians, float64(h.ValueAtQuantile(50)))
			}
		}
		m, ok := s.measurement(samples, impl, "latency", "ns", medians)
		if !ok {
			continue
		}
		m.Load, m.N = loop.String(), int(merged.TotalCount())
		if loop.Rate > 0 {
			m.Clock = clock.name
		}
		for _, q := range quantiles {
			if _, _, ok := orders(m.N, q); !ok {
				continue
			}
			var values []float64
			for _, window := range windows {
				if h := clock.of(window); h != nil && h.TotalCount() > 0 {
					values = append(values, float64(h.ValueAtQuantile(100*q)))
				}
			}
			whole := float64(merged.ValueAtQuantile(100 * q))
			if between, ok := summarize(values); ok {
				m.Quantiles = append(m.Quantiles, Quantile{Q: q, Value: whole, Low: min(whole, between.Lo), High: max(whole, between.Hi)})
			}
		}
		s.measurements = append(s.measurements, m)
	}
}

// usage adds what the requests of a loop cost each process, and all but the client.
func (s *summary) usage(samples Samples, impl string, loop Loop, windows []Window) {
	if windows[0].Usage == nil {
		return
	}
	add := func(name, metric, unit string, of func(Window) float64) {
		var values []float64
		for _, window := range windows {
			values = append(values, of(window))
		}
		if m, ok := s.measurement(samples, impl, metric, unit, values); ok {
			m.Load, m.Process = loop.String(), name
			s.measurements = append(s.measurements, m)
		}
	}
	add(AllProcesses, "cpu", "ms/1000", Window.CPU)
	add(AllProcesses, "memory", "B", Window.Memory)
	for _, name := range slices.Sorted(maps.Keys(windows[0].Usage)) {
		add(name, "cpu", "ms/1000", func(w Window) float64 { return perThousand(w.Usage[name].CPU, w.Requests) })
		add(name, "memory", "B", func(w Window) float64 { return float64(w.Usage[name].Memory) })
	}
}

// perThousand is the CPU time of n requests in ms for a thousand.
func perThousand(cpu time.Duration, n int) float64 {
	return cpu.Seconds() * 1e3 / float64(max(1, n)) * 1e3
}

func flow(windows []Window) *Flow {
	var f Flow
	for _, w := range windows {
		f.Requests += w.Requests
		f.Seconds += w.Elapsed.Seconds()
		f.InFlight += w.InFlight * w.Elapsed.Seconds()
		f.Little += w.Little() * w.Elapsed.Seconds()
		f.Late += w.Late
		f.Dropped += w.Dropped
	}
	f.InFlight /= f.Seconds
	f.Little /= f.Seconds
	return &f
}

// measurement is the distribution of values, and false if they are too few for an
// interval.
func (s *summary) measurement(samples Samples, impl, metric, unit string, values []float64) (Measurement, bool) {
	cell := s.cell(samples, impl)
	m, ok := measurement(samples.Suite, samples.Case.Name, metric, unit, cell.Impl, values)
	m.Path, m.Credential, m.Cache = cell.Path, cell.Credential, cell.Cache
	m.Axis, m.Size = samples.Axis, samples.Size
	return m, ok
}

// cell is what an implementation of samples stands for.
func (s *summary) cell(samples Samples, impl string) Cell {
	if cell, ok := samples.Case.Cells[impl]; ok {
		return cell
	}
	cell := Cell{samples.Case.Name, impl + s.variants[impl], ViaAPIServer, string(s.credential), samples.Case.Cache}
	if impl == CRD || impl == Native {
		cell.Cache = ""
	}
	return cell
}

// compare adds the suite's comparisons, without verdicts.
func (s *summary) compare(samples Samples, metric, load string, values func(impl string) []float64) {
	for _, pair := range samples.Pairs {
		of, to := s.cell(samples, pair[0]), s.cell(samples, pair[1])
		c := compare(samples.Suite, samples.Case.Name, metric, of.Impl, to.Impl, values(pair[0]), values(pair[1]))
		if c.N == 0 {
			continue // its measurements have been warned of
		}
		c.Load, c.Axis, c.Size = load, samples.Axis, samples.Size
		if samples.Case.Cells != nil {
			c.Path, c.Credential, c.Cache = of.Path, of.Credential, of.Cache
			c.ToPath, c.ToCredential, c.ToCache = to.Path, to.Credential, to.Cache
		}
		s.compared = append(s.compared, c)
	}
}

// judge gives the comparisons of each metric of each suite their verdicts.
func (s *summary) judge() {
	family := func(c compared) string { return c.Suite + "\x00" + c.Metric }
	size, few := map[string]int{}, 0
	for _, c := range s.compared {
		size[family(c)]++
	}
	for i, c := range s.compared {
		at := 1 - (1-confidence)/float64(size[family(c)])
		summary, ok := summarizeAt(slices.Clone(c.ratios), at)
		s.compared[i].Verdict = verdict(c.Metric, summary.Lo, summary.Hi)
		if !ok && (c.Low > 1 || c.High < 1) {
			few++
			s.compared[i].Verdict = TooFew
		}
	}
	if few > 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("%d comparisons have an interval that leaves 1 out, and too few samples for a verdict: take more", few))
	}
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
	c := compare(suite, name, metric, impl, to, values[impl], values[to])
	if c.N == 0 {
		return nil, Comparison{}, fmt.Errorf("%d and %d samples are too few pairs for an interval", len(values[impl]), len(values[to]))
	}
	c.Verdict = verdict(metric, c.Low, c.High)
	return measurements, c.Comparison, nil
}

func measurement(suite, name, metric, unit, impl string, values []float64) (Measurement, bool) {
	median, ok := summarize(slices.Clone(values))
	return Measurement{
		Suite: suite, Case: name, Impl: impl, Path: "kube-apiserver", Metric: metric, Unit: unit,
		N: len(values), Median: median.Center, Low: median.Lo, High: median.Hi,
	}, ok
}

// compare divides the values of the same round. N is 0 if they are too few for an
// interval.
func compare(suite, name, metric, impl, to string, of, by []float64) compared {
	c := compared{Comparison: Comparison{Suite: suite, Case: name, Impl: impl, To: to, Metric: metric}, ratios: ratios(of, by)}
	if ratio, ok := summarize(slices.Clone(c.ratios)); ok {
		c.Ratio, c.Low, c.High, c.N = ratio.Center, ratio.Lo, ratio.Hi, len(c.ratios)
		var differences []float64
		for i := range min(len(of), len(by)) {
			differences = append(differences, of[i]-by[i])
		}
		if difference, ok := summarize(differences); ok {
			c.Difference = &Interval{difference.Center, difference.Lo, difference.Hi}
		}
		if metric == "latency" && len(differences) >= fewestSpread {
			for _, q := range []float64{0.05, 0.25, 0.5, 0.75, 0.95} {
				c.Spread = append(c.Spread, quantileOf(differences, q))
			}
		}
	}
	return c
}

// ratios divides values pair by pair. A pair whose divisor is 0 has none.
func ratios(of, by []float64) []float64 {
	var ratios []float64
	for i := range min(len(of), len(by)) {
		if by[i] != 0 {
			ratios = append(ratios, of[i]/by[i])
		}
	}
	return ratios
}

// summarize returns the median and its 95% interval, which assumes nothing about the
// distribution, and false if there are too few values for one. It sorts the values.
func summarize(values []float64) (benchmath.Summary, bool) {
	return summarizeAt(values, confidence)
}

func summarizeAt(values []float64, confidence float64) (benchmath.Summary, bool) {
	if len(values) == 0 {
		return benchmath.Summary{}, false
	}
	// NewSample sorts what it is given
	summary := benchmath.AssumeNothing.Summary(benchmath.NewSample(values, &benchmath.DefaultThresholds), confidence)
	return summary, !math.IsInf(summary.Lo, 0) && !math.IsInf(summary.Hi, 0)
}

// quantilesOf returns the quantiles that n samples can carry: those whose 95% interval
// ends within the samples. at gives the sample of an order, from 1 to n.
func quantilesOf(n int, at func(order int) float64) []Quantile {
	var carried []Quantile
	for _, q := range quantiles {
		if low, high, ok := orders(n, q); ok {
			carried = append(carried, Quantile{Q: q, Value: at(int(math.Ceil(q * float64(n)))), Low: at(low), High: at(high)})
		}
	}
	return carried
}

// curveOf returns eight points for each tenfold of 1/(1-p), as far as the samples, which are
// sorted, tell the percentiles apart.
func curveOf(sorted []float64) []Percentile {
	var curve []Percentile
	for k := 0; ; k++ {
		p := 1 - math.Pow(10, -float64(k)/8)
		at := int(math.Ceil(p * float64(len(sorted))))
		if at >= len(sorted) {
			return curve
		}
		curve = append(curve, Percentile{P: p, Value: sorted[max(1, at)-1]})
	}
}

// fewestSpread is the number of samples that a 5th percentile takes.
const fewestSpread = 20

// orders returns which of n samples, counted from the smallest, bound a quantile with 95%
// confidence, and false if no two of them do: it takes 29 samples for the 90th percentile,
// 299 for the 99th, 2995 for the 99.9th. The number of samples below a quantile has a
// binomial distribution, whatever that of the samples.
func orders(n int, q float64) (low, high int, ok bool) {
	below := stats.BinomialDist{N: n, P: q}
	// both ends leave out the same, unless there are too few samples above
	high = 1 + sort.Search(n, func(k int) bool { return below.CDF(float64(k)) >= 1-(1-confidence)/2 })
	high = min(high, n)
	rest := below.CDF(float64(high-1)) - confidence
	if n == 0 || rest < 0 {
		return 0, 0, false
	}
	low = sort.Search(n, func(k int) bool { return below.CDF(float64(k)) > rest })
	return low, high, low >= 1
}

// verdict reads an interval of a ratio.
func verdict(metric string, low, high float64) Verdict {
	less, more := Faster, Slower
	switch metric {
	case "memory", "cpu":
		less, more = Smaller, Larger
	case "throughput":
		less, more = Slower, Faster
	}
	switch {
	case high < 1:
		return less
	case low > 1:
		return more
	}
	return NoDifference
}

// median returns the median of values, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func nanoseconds(durations []time.Duration) []float64 {
	values := make([]float64, len(durations))
	for i, d := range durations {
		values[i] = float64(d)
	}
	return values
}

// quantileOf returns a quantile of values, 0 of none.
func quantileOf(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(1, int(math.Ceil(q*float64(len(sorted)))))-1]
}
