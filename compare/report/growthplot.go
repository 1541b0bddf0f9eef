package report

import (
	"fmt"
	"slices"

	"portrule.example/lab/compare/bench"
)

// growthPart draws the curves of a suite: small multiples, a line for each implementation.
func growthPart(result *bench.Result, suite string) part {
	p := part{table: table{
		title: "How it grows",
		about: "Each marker is a median, the bar through it its 95% interval. The thin line is the simplest curve that explains the points. " +
			"A hollow marker is what that curve says of ten times the greatest size, with its 95% interval: nobody has measured it. " +
			"A dashed upright line is where the points leave the curve, or requests fail.",
	}, OnlyHTML: true}
	var all []*growth
	var names []string
	for _, g := range growths(result) {
		if g.suite != suite {
			continue
		}
		all = append(all, g)
		for _, s := range g.strands {
			names = appendNew(names, s.String())
		}
	}
	style := styled(names, known)
	p.Legend = legendOf(names, style, false)
	for _, g := range all {
		p.Figures = append(p.Figures, g.plot(style).figure())
	}
	if slices.ContainsFunc(all, func(g *growth) bool { x, _ := g.bends(); return x == logarithmic }) {
		p.about += " Axes whose steps are tenfold are logarithmic: there a straight line that rises one step for each step to the right is linear growth."
	}
	return p
}

// tenfold is from how much growth on an axis is logarithmic.
const tenfold = 100

// span is the least and the greatest size, projections included.
func (g *growth) span() (least, most float64) {
	least, most = g.sizes[0], g.sizes[len(g.sizes)-1]
	for _, f := range g.fits {
		if f.Projection != nil {
			most = max(most, f.Projection.Size)
		}
	}
	return least, most
}

// bends says whether the axes of a curve are logarithmic: both are where the sizes span two
// decades, but for values that a logarithm cannot show.
func (g *growth) bends() (x, y bend) {
	least, most := g.span()
	if least <= 0 || most/least < tenfold {
		return linear, linear
	}
	for _, points := range g.points {
		for _, m := range points {
			if m.Median <= 0 {
				return logarithmic, linear
			}
		}
	}
	return logarithmic, logarithmic
}

// plot is the drawing of a curve.
func (g *growth) plot(style map[string]int) *lineplot {
	plot := &lineplot{
		kind: "growth", caption: g.title(), xTitle: string(g.axis),
		xLabel: short, yLabel: func(v float64) string { return brief(v, g.unit) },
	}
	plot.x.bend, plot.y.bend = g.bends()
	for _, strand := range g.strands {
		s := series{name: strand.String(), style: style[strand.String()]}
		for _, m := range g.points[strand] {
			s.points = append(s.points, dot{m.Size, m.Median, m.Low, m.High,
				fmt.Sprintf("%s %s at %s %s", brief(m.Median, m.Unit), interval(m.Low, m.High, m.Unit), count(m.Size), g.axis)})
		}
		if f, ok := g.fits[strand]; ok {
			s.fit, s.broken = func(x float64) float64 { return at(f, x) }, f.Breaks
			if b := f.Projection; b != nil && (plot.y.bend != logarithmic || b.Value > 0) {
				s.beyond = &dot{b.Size, b.Value, b.Low, b.High, "projected: " + projected(f)}
			}
		}
		plot.series = append(plot.series, s)
	}
	plot.x.whole = true
	plot.fit()
	if g.unit == "B" {
		plot.y.unit = 1e3
		if plot.y.high >= 1<<20 {
			plot.y.unit = 1 << 20
		}
	}
	return plot
}

// short prints a size as an axis has room for it: 100k.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return digits(v/1e6) + "M"
	case v >= 1e4:
		return digits(v/1e3) + "k"
	}
	return digits(v)
}
