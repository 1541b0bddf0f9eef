package trace

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The measures of an SVG drawing, in pixels at its natural size.
const (
	svgWidth      = 1000
	svgMargin     = 16
	svgLabels     = 366 // where the bars begin
	svgBars       = 544 // how wide they are at most
	svgRow        = 24
	svgLine       = 18 // of text
	svgIndent     = 10
	svgCharacters = 130 // in a line of text across the drawing

	// what a character takes in a wide font, and what a bold one takes of that
	svgCharacter, svgBold = 7.2, 1.1
)

// svgStyle is legible on light and on dark ground, and says so itself. Everything in it is
// below .waterfall, so that a page may hold the drawing.
const svgStyle = `.waterfall{--ground:#fff;--text:#1f2937;--muted:#5b6472;--grid:#e3e6ea;--stripe:#f6f7f9;--client:#6b7280;--kube-apiserver:#2563eb;--portrule-apiserver:#c2410c;--portrule-controller:#15803d;--etcd:#7e22ce;--other:#0f766e;font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
@media (prefers-color-scheme:dark){.waterfall{--ground:#14171c;--text:#e5e7eb;--muted:#a3abb8;--grid:#2b313a;--stripe:#1a1e25;--client:#9ca3af;--kube-apiserver:#60a5fa;--portrule-apiserver:#fb923c;--portrule-controller:#4ade80;--etcd:#c084fc;--other:#2dd4bf}}
.waterfall text{fill:var(--text)}.waterfall .title{font-size:17px;font-weight:600}.waterfall .muted{fill:var(--muted);font-size:12px}.waterfall .program{font-weight:600}.waterfall .took{text-anchor:end}.waterfall .tick{fill:var(--muted);font-size:11px;text-anchor:middle}
.waterfall .ground{fill:var(--ground)}.waterfall .stripe{fill:var(--stripe)}.waterfall .grid{stroke:var(--grid);stroke-width:1}.waterfall .waits{opacity:.3}.waterfall g:hover>.stripe{fill:var(--grid)}
`

// svgPrograms are those that have a colour of their own.
var svgPrograms = []string{ProgramClient, ProgramAPIServer, ProgramServer, ProgramController, programEtcd}

// SVG draws the waterfall as one SVG element, which stands by itself or in a page. The same
// waterfall always gives the same bytes.
func (w *Waterfall) SVG(out io.Writer) error {
	rows, left := w.rows()
	total := w.total()
	var sentences []string
	for _, sentence := range append(w.Waits(), remainder(left)) {
		sentences = append(sentences, wrap(sentence, svgCharacters, "\u2003")...)
	}
	subtitle := wrap(w.Subtitle, svgCharacters, "")
	legend := svgMargin + 26 + svgLine*len(subtitle) + 12
	axis := legend + 34
	top := axis + 8
	bottom := top + svgRow*len(rows)
	height := bottom + 30 + svgLine*len(sentences)

	d := &drawing{Writer: bufio.NewWriter(out), total: total}
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="waterfall" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", svgWidth, height, svgWidth, height)
	d.printf("<title>%s</title>\n<desc>%s</desc>\n<style>%s</style>\n", escape(w.Title), escape(strings.Join(w.Waits(), " ")), svgStyle)
	d.printf(`<rect class="ground" width="%d" height="%d"/>`+"\n", svgWidth, height)
	d.text(svgMargin, svgMargin+14, "title", w.Title)
	for i, line := range subtitle {
		d.text(svgMargin, svgMargin+14+svgLine*(i+1), "muted", line)
	}
	d.legend(legend, rows)

	for i, r := range rows {
		d.row(top+svgRow*i, r, i%2 == 1)
	}
	marks := ticks(total, 10)
	for i, mark := range marks {
		x := d.x(mark)
		label := fmt.Sprintf("%g", float64(mark)/float64(time.Millisecond))
		if i == len(marks)-1 {
			label += " ms"
		}
		d.printf(`<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="tick" x="%.1f" y="%d">%s</text>`+"\n", x, axis+4, x, bottom, x, axis, label)
	}
	for i, r := range rows {
		d.bar(top+svgRow*i, r)
	}
	for i, sentence := range sentences {
		d.text(svgMargin, bottom+28+svgLine*i, "", sentence)
	}
	d.printf("</svg>\n")
	return d.Flush()
}

// drawing is what is being drawn on.
type drawing struct {
	*bufio.Writer
	total time.Duration
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(d, format, args...) }

func (d *drawing) text(x, y int, class, text string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	d.printf(`<text%s x="%d" y="%d">%s</text>`+"\n", class, x, y, escape(text))
}

// x is where a time is.
func (d *drawing) x(at time.Duration) float64 {
	return svgLabels + float64(at)/float64(d.total)*svgBars
}

// legend says which colour is whose.
func (d *drawing) legend(y int, rows []row) {
	x := svgMargin
	for _, program := range svgPrograms {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.colour() == program }) {
			continue
		}
		d.printf(`<rect x="%d" y="%d" width="12" height="12" rx="2" fill="%s"/>`, x, y-10, fill(program))
		d.text(x+18, y, "", program)
		x += 18 + 7*len(program) + 24
	}
	d.printf(`<rect class="waits" x="%d" y="%d" width="12" height="12" rx="2" fill="%s"/>`, x, y-10, fill(ProgramAPIServer))
	d.text(x+18, y, "", "pale: waits for another program")
}

// fill is the colour of a program.
func fill(program string) string {
	if !slices.Contains(svgPrograms, program) {
		program = "other"
	}
	return "var(--" + program + ")"
}

// row draws what is left and right of a bar.
func (d *drawing) row(y int, r row, striped bool) {
	class := "ground"
	if striped {
		class = "stripe"
	}
	d.printf("<g>")
	d.printf(`<rect class="%s" y="%d" width="%d" height="%d"/><title>%s</title>`, class, y, svgWidth, svgRow, escape(r.tooltip()))
	x := svgMargin + min(svgIndent*r.depth, svgLabels/2)
	room := float64(svgLabels-8-x) / svgCharacter
	if r.node != nil && r.node.Role == RoleRequest {
		what := r.what(int(room - svgBold*float64(utf8.RuneCountInString(r.program)) - 1))
		d.printf(`<text x="%d" y="%d"><tspan class="program" fill="%s" style="fill:%s">%s</tspan> %s</text>`, x, y+16, fill(r.program), fill(r.program), escape(r.program), escape(what))
	} else {
		d.printf(`<text x="%d" y="%d">%s</text>`, x, y+16, escape(r.what(int(room))))
	}
	d.printf(`<text class="took" x="%d" y="%d">%s</text></g>`+"\n", svgWidth-svgMargin, y+16, escape(milliseconds(r.took)))
}

// bar draws the bar of a row: pale where its program waits for another one.
func (d *drawing) bar(y int, r row) {
	d.printf(`<g fill="%s"><title>%s</title>`, fill(r.colour()), escape(r.tooltip()))
	at, waits := r.start, r.waits
	if r.colour() == programEtcd {
		waits = nil // it is etcd's bar
	}
	for _, wait := range append(slices.Clone(waits), interval{r.end, r.end}) {
		if wait.start > at {
			d.piece(y, at, wait.start, "")
		}
		if wait.end > wait.start {
			d.piece(y, wait.start, wait.end, ` class="waits"`)
		}
		at = max(at, wait.end)
	}
	d.printf("</g>\n")
}

// piece draws a part of a bar, a pixel wide at least.
func (d *drawing) piece(y int, start, end time.Duration, class string) {
	x := d.x(start)
	d.printf(`<rect%s x="%.1f" y="%d" width="%.1f" height="%d"/>`, class, x, y+6, max(1.5, d.x(end)-x), svgRow-12)
}

// tooltip says more about a row than fits into it.
func (r row) tooltip() string {
	text := fmt.Sprintf("%s: %s\nfrom %s on, %s long", r.program, strings.Join(r.names, ", "), milliseconds(r.start), milliseconds(r.took))
	if r.node == nil {
		return text
	}
	text += "\nspan: " + r.node.Name
	if r.node.Role == RoleFilter {
		text += ", until the next step begins"
	}
	for _, name := range []string{"url.full", "http.response.status_code", "key", "webhook"} {
		if value := r.node.Attributes[name]; value != "" {
			text += "\n" + name + ": " + value
		}
	}
	return text
}

// escape makes text fit for XML.
func escape(text string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // a Builder takes everything
	return escaped.String()
}
