package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The measures of a plot of lines, in pixels.
const (
	plotHeight                                  = 232
	plotLeft, plotRight, plotTop, plotBottom    = 56, 334, 12, 190
	plotTickGap, plotTickHeight, plotTickLength = 46, 26, 4
)

// series is a line of a plot.
type series struct {
	name   string
	style  int
	points []dot
	// every is how many points share a marker.
	every int
	// fit is drawn thin beside the points, beyond is what it says of a size that was not
	// measured, and broken where it ceases to hold.
	fit    func(x float64) float64
	beyond *dot
	broken *float64
}

// dot is a point with the ends of its interval, which are 0 if it has none.
type dot struct {
	x, y, low, high float64
	// label says it in words.
	label string
}

// lineplot is a plot of lines.
type lineplot struct {
	kind, caption string
	xTitle        string
	x, y          scale
	// xTicks are set by the caller where the round values are not those of x.
	xTicks         []float64
	xLabel, yLabel func(v float64) string
	series         []series
}

// fit sets the scales so that they hold all that is drawn. The values of a linear scale
// begin at 0.
func (p *lineplot) fit() {
	p.x.low, p.x.high, p.y.low, p.y.high = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range p.series {
		dots := s.points
		if s.beyond != nil {
			dots = append(dots[:len(dots):len(dots)], *s.beyond)
		}
		for _, d := range dots {
			p.x.low, p.x.high = min(p.x.low, d.x), max(p.x.high, d.x)
			p.y.high = max(p.y.high, d.y, d.high)
			p.y.low = min(p.y.low, d.y)
			if d.low > 0 {
				p.y.low = min(p.y.low, d.low)
			}
		}
	}
	if p.y.bend == linear {
		p.y.low = min(0, p.y.low)
	}
	p.x.from, p.x.to, p.y.from, p.y.to = plotLeft, plotRight, plotBottom, plotTop
	p.x, p.y = p.x.grown(0), p.y.grown(0.05)
}

func (p *lineplot) figure() figure {
	d := &svg{}
	for _, v := range p.y.ticks(plotTickHeight) {
		y := p.y.at(v)
		d.line("grid", plotLeft, y, plotRight, y)
		d.text("tick end", plotLeft-6, y+4, p.yLabel(v))
	}
	ticks := p.xTicks
	if ticks == nil {
		ticks = p.x.ticks(plotTickGap)
	}
	for _, v := range ticks {
		x := p.x.at(v)
		d.line("grid", x, plotTop, x, plotBottom+plotTickLength)
		d.text("tick middle", x, plotBottom+17, p.xLabel(v))
	}
	d.line("axis", plotLeft, plotBottom, plotRight, plotBottom)
	d.text("tick middle", (plotLeft+plotRight)/2, plotBottom+35, p.xTitle)
	var told []string
	for _, s := range p.series {
		d.open(s.style, s.name)
		p.draw(d, s)
		d.close()
		var labels []string
		for i, point := range s.points {
			if i%max(1, s.every) == 0 || i == len(s.points)-1 {
				labels = append(labels, point.label)
			}
		}
		told = append(told, s.name+": "+strings.Join(labels, "; "))
	}
	return d.figure(p.kind, p.caption, strings.Join(told, ". ")+".", plotHeight)
}

// draw draws one line.
func (p *lineplot) draw(d *svg, s series) {
	var where [][2]float64
	for _, point := range s.points {
		where = append(where, [2]float64{p.x.at(point.x), p.y.at(point.y)})
	}
	d.path("curve", s.style, where)
	if s.fit != nil {
		p.drawFit(d, s)
	}
	for i, point := range s.points {
		if i%max(1, s.every) != 0 && i != len(s.points)-1 {
			continue
		}
		p.drawDot(d, s, point, false)
	}
	if s.beyond != nil {
		p.drawDot(d, s, *s.beyond, true)
	}
	if s.broken != nil {
		x := p.x.at(*s.broken)
		d.line("broken", x, plotTop, x, plotBottom)
		anchor := "start"
		if x > (plotLeft+plotRight)/2 {
			anchor = "end"
		}
		offset := map[string]float64{"start": 4, "end": -4}[anchor]
		name, _, _ := strings.Cut(s.name, ",") // there is room for the implementation alone
		d.text("label "+anchor, x+offset, plotTop+10+13*float64(s.style%3), fmt.Sprintf("%s breaks at %s", name, p.xLabel(*s.broken)))
	}
}

// drawFit draws the curve that was fitted, from the first size to the last that it is about.
func (p *lineplot) drawFit(d *svg, s series) {
	const steps = 48
	first, last := s.points[0].x, s.points[len(s.points)-1].x
	if s.beyond != nil {
		last = s.beyond.x
	}
	axis := scale{low: first, high: last, from: 0, to: 1, bend: p.x.bend}
	var where [][2]float64
	for i := range steps + 1 {
		part := float64(i) / steps
		x := first + part*(last-first)
		if axis.bend == logarithmic {
			x = first * math.Pow(last/first, part)
		}
		if y := s.fit(x); y >= p.y.low && y <= p.y.high {
			where = append(where, [2]float64{p.x.at(x), p.y.at(y)})
		}
	}
	d.path("fit", s.style, where)
}

func (p *lineplot) drawDot(d *svg, s series, point dot, hollow bool) {
	x := p.x.at(point.x)
	d.printf("<g><title>%s</title>", html.EscapeString(s.name+": "+point.label))
	if point.high != 0 || point.low != 0 {
		low := point.low
		if p.y.bend == logarithmic && low <= 0 {
			low = p.y.low
		}
		d.line("error", x, p.y.at(low), x, p.y.at(point.high))
		d.line("error", x-3, p.y.at(low), x+3, p.y.at(low))
		d.line("error", x-3, p.y.at(point.high), x+3, p.y.at(point.high))
	}
	d.marker(s.style, x, p.y.at(point.y), hollow)
	d.close()
}
