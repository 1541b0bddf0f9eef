package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"portrule.example/lab/compare/bench"
)

// curve is what all measurements of a plot of growth have in common.
type curve struct {
	suite, name, metric, unit, load string
	axis                            bench.Axis
}

// strand is one line of such a plot: an implementation, or a process of one.
type strand struct{ impl, process string }

func (s strand) String() string {
	if s.process == "" || s.process == bench.AllProcesses {
		return s.impl
	}
	return s.impl + ", " + s.process
}

// growth is a curve with its points and what was fitted to them.
type growth struct {
	curve
	strands []strand
	points  map[strand][]bench.Measurement
	fits    map[strand]bench.Fit
	sizes   []float64
}

// growths are the curves of a result, in the order in which they were measured.
func growths(result *bench.Result) []*growth {
	var all []*growth
	byCurve := map[curve]*growth{}
	for _, m := range result.Measurements {
		if m.Axis == "" {
			continue
		}
		key := curve{m.Suite, m.Case, m.Metric, m.Unit, m.Load, m.Axis}
		if m.Axis == bench.Clients {
			key.load = "" // it names the clients
		}
		g := byCurve[key]
		if g == nil {
			g = &growth{curve: key, points: map[strand][]bench.Measurement{}, fits: map[strand]bench.Fit{}}
			byCurve[key], all = g, append(all, g)
		}
		s := strand{m.Impl, m.Process}
		g.strands, g.sizes = appendNew(g.strands, s), appendNew(g.sizes, m.Size)
		g.points[s] = append(g.points[s], m)
	}
	for _, g := range all {
		slices.Sort(g.sizes)
		for _, points := range g.points {
			slices.SortFunc(points, func(a, b bench.Measurement) int { return cmp.Compare(a.Size, b.Size) })
		}
		for _, f := range result.Fits {
			if f.Suite == g.suite && f.Case == g.name && f.Metric == g.metric && f.Axis == g.axis {
				for _, s := range g.strands {
					if s.impl == f.Impl && s.process == f.Process {
						g.fits[s] = f
					}
				}
			}
		}
	}
	return all
}

// title names a curve: "list: latency as objects grow".
func (c curve) title() string {
	what := map[string]string{"throughput": "requests a second", "cpu": "CPU time"}[c.metric]
	if what == "" {
		what = c.metric
	}
	if c.load != "" {
		what += " (" + c.load + ")"
	}
	return fmt.Sprintf("%s: %s by %s", c.name, what, c.axis)
}

// growthTables have a row for each size and a column for each line of a curve.
func growthTables(result *bench.Result) []table {
	var all []table
	for _, g := range growths(result) {
		t := table{suite: g.suite, title: g.suite + "/" + g.title(), header: []string{string(g.axis)}}
		for _, s := range g.strands {
			t.header = append(t.header, s.String())
		}
		pair, comparing := g.pair(result)
		if comparing {
			t.header = append(t.header, pair[0]+" / "+pair[1], "verdict")
		}
		for _, size := range g.sizes {
			row := []string{count(size)}
			for _, s := range g.strands {
				text := "-"
				if notRun(result, g.suite, g.name, s.impl) {
					text = "not run"
				}
				for _, m := range g.points[s] {
					if m.Size == size {
						text = cell(m)
					}
				}
				row = append(row, text)
			}
			if comparing {
				ratio, verdict := "-", "-"
				for _, c := range result.Comparisons {
					if g.holds(c) && c.Size == size && pair == [2]string{c.Impl, c.To} {
						ratio, verdict = times(ratioOf(c)), string(c.Verdict)
					}
				}
				row = append(row, ratio, verdict)
			}
			t.rows = append(t.rows, row)
		}
		all = append(all, t)
	}
	return all
}

// holds is whether a comparison is of two points of the curve.
func (c curve) holds(of bench.Comparison) bool {
	return of.Suite == c.suite && of.Case == c.name && of.Metric == c.metric && of.Axis == c.axis && (of.Load == c.load || c.axis == bench.Clients)
}

// pair is the first that is compared along a curve.
func (c curve) pair(result *bench.Result) (pair [2]string, ok bool) {
	at := slices.IndexFunc(result.Comparisons, c.holds)
	if at < 0 {
		return pair, false
	}
	return [2]string{result.Comparisons[at].Impl, result.Comparisons[at].To}, true
}

// fitTables have a row for each curve that was fitted, a table for each suite.
func fitTables(result *bench.Result) []table {
	var all []table
	for _, f := range result.Fits {
		at := slices.IndexFunc(all, func(t table) bool { return t.suite == f.Suite })
		if at < 0 {
			at = len(all)
			all = append(all, table{
				suite: f.Suite, title: f.Suite + ": the curves",
				about: "The simplest curve that explains the points: constant, linear, or a power. " +
					"R² is how much of what was seen it explains. " +
					"A projection is what the curve says of ten times the greatest size, which nobody has measured: it holds if nothing new happens on the way.",
				header: []string{"case", "of", "growth", "curve", "R²", "measured", "breaks", "projection"},
			})
		}
		all[at].rows = append(all[at].rows, []string{
			f.Case + ", " + f.Metric, strand{f.Impl, f.Process}.String(), string(f.Growth), formula(f), fmt.Sprintf("%.3f", f.R2),
			count(f.From) + " to " + count(f.To) + " " + string(f.Axis), breaks(f), projected(f),
		})
	}
	return all
}

// formula prints a fit: "2.1 ms + 3.4 µs x objects".
func formula(f bench.Fit) string {
	if f.Growth == bench.Constant {
		return brief(f.Fixed, f.Unit)
	}
	axis := string(f.Axis)
	if power(f) {
		axis += "^" + digits(f.Exponent)
	}
	sign := " + "
	if f.PerUnit < 0 {
		sign = " - "
	}
	return brief(f.Fixed, f.Unit) + sign + brief(math.Abs(f.PerUnit), f.Unit) + " x " + axis
}

// power is whether the curve of a fit is a power of the size.
func power(f bench.Fit) bool {
	return (f.Growth == bench.Worse || f.Growth == bench.Better) && f.Exponent != 0
}

// at is what the curve of a fit says of a size.
func at(f bench.Fit, size float64) float64 {
	switch {
	case f.Growth == bench.Constant:
		return f.Fixed
	case power(f):
		return f.Fixed + f.PerUnit*math.Pow(size, f.Exponent)
	}
	return f.Fixed + f.PerUnit*size
}

func breaks(f bench.Fit) string {
	if f.Breaks == nil {
		return "-"
	}
	text := "from " + count(*f.Breaks) + " on"
	if f.Why != "" {
		text += ": " + f.Why
	}
	return text
}

func projected(f bench.Fit) string {
	p := f.Projection
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s at %s %s", brief(p.Value, f.Unit), interval(p.Low, p.High, f.Unit), count(p.Size), f.Axis)
}
