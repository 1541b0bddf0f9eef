package report

import (
	"fmt"
	"html"
	"html/template"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
)

// figureWidth is that of every drawing: it fits on a phone without being made smaller, and
// several stand side by side on a wide screen.
const figureWidth = 352

// characterWidth is about what a character takes in the font of a drawing.
const characterWidth = 6.3

// svg is a drawing that is being made. Its colours are the page's: s0 to s7 are classes
// that set the colour of what is in them, p0 to p7 the patterns of areas.
type svg struct{ strings.Builder }

func (d *svg) printf(format string, args ...any) { fmt.Fprintf(&d.Builder, format, args...) }

// text writes text. The class says how it is aligned: start, middle or end.
func (d *svg) text(class string, x, y float64, text string) {
	d.printf(`<text class="%s" x="%.1f" y="%.1f">%s</text>`, class, x, y, html.EscapeString(text))
}

func (d *svg) line(class string, x1, y1, x2, y2 float64) {
	d.printf(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

// open begins a group of a style, with what is told about it where somebody points at it.
func (d *svg) open(style int, tooltip string) {
	d.printf(`<g class="s%d">`, style%styles)
	if tooltip != "" {
		d.printf("<title>%s</title>", html.EscapeString(tooltip))
	}
}

func (d *svg) close() { d.printf("</g>") }

// figure ends the drawing. The description says in words what it shows.
func (d *svg) figure(kind, caption, description string, height float64) figure {
	return figure{Kind: kind, Caption: caption, SVG: template.HTML(fmt.Sprintf( //nolint:gosec // all text in it is escaped
		`<svg data-plot="%s" role="img" aria-label="%s" viewBox="0 0 %d %.0f" width="%d" height="%.0f"><desc>%s</desc>%s</svg>`,
		html.EscapeString(kind), html.EscapeString(caption), figureWidth, height, figureWidth, height, html.EscapeString(description), d.String()))}
}

// styles is the number of styles: each has a colour, a dash, a marker and a pattern.
const styles = 8

// dashes are those of lines, by style.
var dashes = [styles]string{"", "7 3", "2 3", "9 3 2 3", "12 4", "1 4", "6 3 2 3 2 3", "14 3"}

// markers are the paths of markers around 0,0, by style.
var markers = [styles]string{
	"M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0", "M-3.2 -3.2h6.4v6.4h-6.4z", "M0 -4l4 7h-8z", "M0 -4.4l4.4 4.4l-4.4 4.4l-4.4 -4.4z",
	"M-4 -2l2 -2l2 2l2 -2l2 2l-2 2l2 2l-2 2l-2 -2l-2 2l-2 -2l2 -2z", "M-1.3 -4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z", "M0 4l4 -7h-8z", "M-4 -2h8v4h-8z",
}

func (d *svg) marker(style int, x, y float64, hollow bool) {
	class := "marker"
	if hollow {
		class = "marker hollow"
	}
	d.printf(`<path class="%s" transform="translate(%.1f %.1f)" d="%s"/>`, class, x, y, markers[style%styles])
}

// path draws a line through points.
func (d *svg) path(class string, style int, points [][2]float64) {
	if len(points) < 2 {
		return
	}
	var where strings.Builder
	for i, p := range points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&where, "%s%.1f %.1f", command, p[0], p[1])
	}
	d.printf(`<path class="%s" d="%s"`, class, where.String())
	if dash := dashes[style%styles]; dash != "" && class == "curve" {
		d.printf(` stroke-dasharray="%s"`, dash)
	}
	d.printf("/>")
}

// bar draws an area with the pattern of a style.
func (d *svg) bar(style int, x, y, width, height float64) {
	d.printf(`<rect class="bar" fill="url(#p%d)" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, style%styles, x, y, max(width, 0), height)
}

// swatch draws an entry of a legend.
func (m mark) swatch() template.HTML {
	var d svg
	d.printf(`<svg class="swatch s%d" aria-hidden="true" viewBox="0 0 32 14" width="32" height="14">`, m.Style%styles)
	if m.Bar {
		d.bar(m.Style, 1, 1, 30, 12)
	} else {
		d.path("curve", m.Style, [][2]float64{{0, 7}, {32, 7}})
		d.marker(m.Style, 16, 7, false)
	}
	d.printf("</svg>")
	return template.HTML(d.String()) //nolint:gosec // it holds no text
}

// known are the implementations and processes that have a style of their own.
var known = []string{bench.CRD, bench.Aggregated, bench.NameFree, bench.Native, bench.Sample}

// styled gives each name a style: implementations that are known their own, and variants of
// them too, if those are not there.
func styled(names []string, known []string) map[string]int {
	style, taken := map[string]int{}, map[int]bool{}
	give := func(name string, at int) {
		if _, has := style[name]; !has && at >= 0 && !taken[at] {
			style[name], taken[at] = at, true
		}
	}
	for _, name := range names {
		give(name, slices.Index(known, name))
	}
	for _, name := range names {
		give(name, slices.Index(known, base(name)))
	}
	for i, name := range names {
		for offset := range styles {
			give(name, (len(known)+offset)%styles)
		}
		if _, has := style[name]; !has {
			style[name] = i % styles // more names than styles
		}
	}
	return style
}

// legendOf lists names with their styles.
func legendOf(names []string, style map[string]int, bar bool) []mark {
	var legend []mark
	for _, name := range names {
		legend = append(legend, mark{style[name], name, bar})
	}
	return legend
}
