package report

import (
	"fmt"
	"math"

	"portrule.example/lab/compare/bench"
)

// percentileMarks are the percentiles that the axis names, and that a line has a marker at.
var percentileMarks = []float64{0.5, 0.9, 0.99, 0.999, 0.9999}

// percentilePart draws the whole distribution of each case of a suite: small multiples, a
// line for each implementation.
func percentilePart(result *bench.Result, suite string) part {
	p := part{table: table{
		title: "The whole distribution",
		about: "At 90% of the axis below, nine of ten requests took no longer than the line is high. " +
			"The axis gives each further tenth of the slowest requests as much room as the nine before (it is logarithmic in 1/(1-p)). " +
			"A line ends where there are too few requests to go on. A line that is lower everywhere is faster at every percentile; where lines cross, it depends on the percentile.",
	}, OnlyHTML: true}
	var cases, impls []string
	lines := map[string][]bench.Measurement{}
	for _, m := range result.Measurements {
		if m.Suite == suite && len(m.Curve) > 1 && m.Load == "" && m.Axis == "" {
			cases, impls = appendNew(cases, m.Case), appendNew(impls, m.Impl)
			lines[m.Case] = append(lines[m.Case], m)
		}
	}
	style := styled(impls, known)
	p.Legend = legendOf(impls, style, false)
	for _, name := range cases {
		plot := &lineplot{
			kind: "percentiles", caption: name, xTitle: "percentile of the requests",
			xLabel: func(v float64) string { return digitsOfPercent(1 - 1/v) },
			yLabel: func(v float64) string { return brief(v, "ns") },
		}
		plot.x.bend = logarithmic
		for _, m := range lines[name] {
			s := series{name: m.Impl, style: style[m.Impl], every: 4}
			for _, c := range m.Curve {
				s.points = append(s.points, dot{x: 1 / (1 - c.P), y: c.Value, label: fmt.Sprintf("%s within %s", digitsOfPercent(c.P), brief(c.Value, m.Unit))})
			}
			plot.series = append(plot.series, s)
		}
		plot.fit()
		for _, mark := range percentileMarks {
			if v := 1 / (1 - mark); v <= plot.x.high {
				plot.xTicks = append(plot.xTicks, v)
			}
		}
		if lowest := lowestOf(plot); lowest > 0 && plot.y.high/lowest > 30 {
			plot.y.bend, plot.y.low = logarithmic, lowest
		}
		p.Figures = append(p.Figures, plot.figure())
	}
	return p
}

func lowestOf(p *lineplot) float64 {
	lowest := math.Inf(1)
	for _, s := range p.series {
		for _, d := range s.points {
			lowest = min(lowest, d.y)
		}
	}
	return lowest
}

// digitsOfPercent prints a part as a percentage, with no more digits than it needs.
func digitsOfPercent(part float64) string {
	switch {
	case part >= 0.999:
		return fmt.Sprintf("%.4g%%", 100*part)
	case part >= 0.99:
		return fmt.Sprintf("%.3g%%", 100*part)
	}
	return fmt.Sprintf("%.2g%%", 100*part)
}
