package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"portrule.example/lab/compare/bench"
)

// The measures of a plot of differences, in pixels.
const (
	stripLeft, stripRight         = 8, figureWidth - 8
	stripHead, stripLine          = 18, 15 // the axis, a line of text
	stripBox, stripGap, stripFoot = 12, 13, 24
	stripEdge                     = 20 // half of a label
)

// differencePart draws how much more or less time each case takes than the one that it is
// compared with: a row for each, a drawing for each pair, all on one scale.
func differencePart(result *bench.Result, suite string) part {
	p := part{table: table{
		title: "Differences, request by request",
		about: "Each request was compared with the other implementation's request of the same round: right of the line at 0 it took longer, left of it less time. " +
			"Dot and thick bar are the median of the differences and its 95% interval; the box holds the middle half of them, the thin line nine of ten. " +
			"The verdict goes by the ratio, and counts how many comparisons were made.",
	}, OnlyHTML: true}
	var facets []string
	rows := map[string][]bench.Comparison{}
	for _, c := range result.Comparisons {
		if c.Suite != suite || c.Metric != "latency" || c.Load != "" || c.Axis != "" || c.Difference == nil {
			continue
		}
		name := facetOf(c)
		facets = appendNew(facets, name)
		rows[name] = append(rows[name], c)
	}
	if len(facets) == 0 {
		return p
	}
	if first := headlines(result)[suite]; suite != bench.Auth.Name {
		headline := first[0] + " compared with " + first[1]
		slices.SortStableFunc(facets, func(a, b string) int {
			switch {
			case a == headline && b != headline:
				return -1
			case b == headline && a != headline:
				return 1
			}
			return 0
		})
	}
	axis := differenceScale(rows)
	if axis.bend == symmetric {
		p.about += fmt.Sprintf(" The scale is even up to about %s from 0, and logarithmic beyond.", brief(axis.near, "ns"))
	}
	var impls []string
	for _, name := range facets {
		for _, c := range rows[name] {
			impls = appendNew(impls, c.Impl)
		}
	}
	style := styled(impls, known)
	for _, name := range facets {
		p.Figures = append(p.Figures, differenceFigure(name, rows[name], axis, style))
	}
	return p
}

// facetOf is the drawing that a comparison belongs to: that of its pair, or in the suite
// auth, whose pairs are many, that of its case.
func facetOf(c bench.Comparison) string {
	if c.Path != "" {
		return c.Case
	}
	return c.Impl + " compared with " + c.To
}

// rowName is what a row of such a drawing is called.
func rowName(c bench.Comparison) string {
	if c.Path == "" {
		return c.Case
	}
	of := cellName(c.Impl, c.Path, c.Credential, c.Cache)
	if c.To == bench.CRD && c.Impl != bench.CRD {
		return of
	}
	return of + ", compared with " + cellName(c.To, c.ToPath, c.ToCredential, c.ToCache)
}

func cellName(impl, path, by, cache string) string {
	parts := []string{target(bench.Cell{Impl: impl, Path: path}), credential(by)}
	if cache != "" {
		parts = append(parts, cache)
	}
	return strings.Join(parts, ", ")
}

// differenceScale holds all differences. It is symmetric if the greatest is much more than
// what is usual.
func differenceScale(rows map[string][]bench.Comparison) scale {
	axis := scale{from: stripLeft, to: stripRight}
	var usual []float64
	for _, facet := range rows {
		for _, c := range facet {
			for _, v := range append([]float64{c.Difference.Low, c.Difference.High}, c.Spread...) {
				axis.low, axis.high = min(axis.low, v), max(axis.high, v)
			}
			usual = append(usual, math.Abs(c.Difference.Value))
		}
	}
	slices.SortFunc(usual, cmp.Compare)
	middle := niceStep(usual[len(usual)/2])
	if middle > 0 && max(axis.high, -axis.low) > 8*middle {
		axis.bend, axis.near = symmetric, middle
	}
	// room for what is said at the other side of 0
	axis.low, axis.high = min(axis.low, -axis.high/8), max(axis.high, -axis.low/8)
	return axis.grown(0.03)
}

// differenceFigure draws the rows of one pair.
func differenceFigure(name string, rows []bench.Comparison, axis scale, style map[string]int) figure {
	d := &svg{}
	var told []string
	type row struct {
		label []string
		bench.Comparison
	}
	var all []row
	height := float64(stripHead)
	for _, c := range rows {
		lines := wrapped(rowName(c), (stripRight-stripLeft)/characterWidth-float64(utf8.RuneCountInString(judged(c))))
		if len(lines) > 1 {
			lines = wrapped(rowName(c), (stripRight-stripLeft)/characterWidth)
			lines = append(lines, "")
		}
		all = append(all, row{lines, c})
		height += float64(len(lines))*stripLine + stripBox + stripGap
	}
	bottom := height
	for _, v := range axis.ticks(48) {
		x := axis.at(v)
		class := "grid"
		if v == 0 {
			class = "zero"
		}
		d.line(class, x, stripHead-4, x, bottom)
		if x < stripEdge || x > figureWidth-stripEdge {
			continue // its label would be cut off
		}
		for _, y := range []float64{stripHead - 8, bottom + 14} {
			d.text("tick middle", x, y, signed(v))
		}
	}
	y := float64(stripHead)
	for i, r := range all {
		if i > 0 {
			d.line("rule", 0, y+2, figureWidth, y+2)
		}
		y += stripLine
		for i, line := range r.label {
			if i > 0 {
				y += stripLine
			}
			d.text("label start", stripLeft, y, line)
		}
		d.text("label end "+verdictClass(string(r.Verdict)), stripRight, y, judged(r.Comparison))
		told = append(told, rowName(r.Comparison)+": "+explained(r.Comparison))
		differenceStrip(d, r.Comparison, axis, style[r.Impl], y+stripBox/2+4)
		y += stripBox + stripGap
	}
	return d.figure("differences", name, strings.Join(told, ". ")+".", bottom+stripFoot)
}

// differenceStrip draws box, lines and dot of a row.
func differenceStrip(d *svg, c bench.Comparison, axis scale, style int, y float64) {
	d.open(style, rowName(c)+": "+explained(c))
	if len(c.Spread) == 5 {
		d.line("whisker", axis.at(c.Spread[0]), y, axis.at(c.Spread[4]), y)
		d.bar(style, axis.at(c.Spread[1]), y-stripBox/2, axis.at(c.Spread[3])-axis.at(c.Spread[1]), stripBox)
	}
	d.line("span", axis.at(c.Difference.Low), y, axis.at(c.Difference.High), y)
	d.marker(style, axis.at(c.Difference.Value), y, false)
	d.close()
}

// judged is the verdict of a difference and its median.
func judged(c bench.Comparison) string {
	return verdictSymbol(string(c.Verdict)) + " " + string(c.Verdict) + ", " + signed(c.Difference.Value)
}

// explained says a row in words.
func explained(c bench.Comparison) string {
	text := fmt.Sprintf("%s [%s, %s], %s, of %d pairs", signed(c.Difference.Value), signed(c.Difference.Low), signed(c.Difference.High), c.Verdict, c.N)
	if len(c.Spread) == 5 {
		text += fmt.Sprintf("; half of them from %s to %s, nine of ten from %s to %s", signed(c.Spread[1]), signed(c.Spread[3]), signed(c.Spread[0]), signed(c.Spread[4]))
	}
	return text
}

// signed prints a difference of latencies with its sign.
func signed(v float64) string {
	if v > 0 {
		return "+" + brief(v, "ns")
	}
	return strings.Replace(brief(v, "ns"), "-", "−", 1)
}

// wrapped breaks text into lines of so many characters at most.
func wrapped(text string, width float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && float64(utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word)) > width {
			lines = append(lines, line)
			line = word
			continue
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
