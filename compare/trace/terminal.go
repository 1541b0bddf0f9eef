package trace

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The least and the greatest width that a drawing for a terminal has, in columns.
const minWidth, maxWidth = 80, 160

// TerminalOptions say what the terminal is like.
type TerminalOptions struct {
	// Width is that of the terminal in columns, 0 if it is not known.
	Width int
	// Color is whether each program has a colour of its own.
	Color bool
}

// The marks of which bars are made.
const (
	markWork  = "█"
	markWait  = "░"
	markShort = "▏" // for less than half a column
)

// ansi are the colours of the programs on a terminal.
var ansi = map[string]string{
	ProgramAPIServer: "34", ProgramServer: "33", ProgramController: "32", programEtcd: "35",
}

// Terminal draws the waterfall as text.
func (w *Waterfall) Terminal(out io.Writer, options TerminalOptions) error {
	width := min(max(options.Width, minWidth), maxWidth)
	rows, left := w.rows()
	total := w.total()
	const durationWidth = 9 // as in " 1234 ms"
	programWidth, whatWidth := 0, 0
	for _, r := range rows {
		programWidth = max(programWidth, utf8.RuneCountInString(r.program))
		if len(r.names) == 1 {
			whatWidth = max(whatWidth, r.depth+utf8.RuneCountInString(r.names[0]))
		}
	}
	// bars get a quarter at least
	whatWidth = min(whatWidth, width*3/4-programWidth-1-durationWidth-1)
	barWidth := width - programWidth - 1 - whatWidth - 1 - durationWidth
	t := &terminal{Writer: bufio.NewWriter(out), color: options.Color, bar: barWidth, total: total}

	for _, line := range wrap(w.Title, width, "") {
		fmt.Fprintln(t, t.paint("1", line))
	}
	for _, line := range wrap(w.Subtitle, width, "") {
		fmt.Fprintln(t, line)
	}
	fmt.Fprintf(t, "%s works   %s waits for another program\n\n", markWork, markWait)
	fmt.Fprintln(t, strings.TrimRight(strings.Repeat(" ", programWidth+1+whatWidth+1)+t.axis(), " "))
	program := ""
	for _, r := range rows {
		name := r.program
		if name == program {
			name = ""
		}
		program = r.program
		indent := min(r.depth, whatWidth/2)
		what := strings.Repeat(" ", indent) + r.what(whatWidth-indent)
		fmt.Fprintf(t, "%s %s %s %s\n", t.paint(ansi[r.program], pad(name, programWidth)), pad(what, whatWidth),
			t.paint(ansi[r.colour()], t.drawBar(r)), fmt.Sprintf("%*s", durationWidth-1, milliseconds(r.took)))
	}
	fmt.Fprintln(t)
	for _, sentence := range append(w.Waits(), remainder(left)) {
		for _, line := range wrap(sentence, width, "  ") {
			fmt.Fprintln(t, line)
		}
	}
	return t.Flush()
}

// colour is the program whose colour the bar has.
func (r row) colour() string {
	if r.node != nil && r.node.Role == RoleEtcd {
		return programEtcd
	}
	return r.program
}

// terminal is what is being drawn on.
type terminal struct {
	*bufio.Writer
	color bool
	// bar is the width of bars in columns, total what they stand for.
	bar   int
	total time.Duration
}

// paint gives text a colour.
func (t *terminal) paint(code, text string) string {
	if !t.color || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// axis is the line with the times.
func (t *terminal) axis() string {
	line := []rune(strings.Repeat(" ", t.bar+3))
	marks := ticks(t.total, t.bar/5)
	for i, mark := range marks {
		text := fmt.Sprintf("%g", float64(mark)/float64(time.Millisecond))
		if i == len(marks)-1 {
			text += " ms"
		}
		at := int(int64(mark) * int64(t.bar) / int64(t.total))
		if at+len(text) <= len(line) {
			copy(line[at:], []rune(text))
		}
	}
	return string(line)
}

// drawBar draws the bar of a row, t.bar columns wide.
func (t *terminal) drawBar(r row) string {
	var bar strings.Builder
	column := float64(t.total) / float64(t.bar)
	drawn := false
	for i := range t.bar {
		cell := interval{time.Duration(float64(i) * column), time.Duration(float64(i+1) * column)}
		covered, waiting := overlap(cell, interval{r.start, r.end}), time.Duration(0)
		for _, wait := range r.waits {
			waiting += overlap(cell, wait)
		}
		mark := " "
		switch {
		case covered*2 >= cell.end-cell.start && waiting*2 >= covered:
			mark = markWait
		case covered*2 >= cell.end-cell.start:
			mark = markWork
		case !drawn && r.start < cell.end && r.end <= cell.end+(cell.end-cell.start)/2:
			mark = markShort // all that there is of it
		}
		drawn = drawn || mark != " "
		bar.WriteString(mark)
	}
	return bar.String()
}

// overlap is how much two intervals have in common.
func overlap(a, b interval) time.Duration {
	return max(0, min(a.end, b.end)-max(a.start, b.start))
}

// fit cuts text to a width.
func fit(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return string([]rune(text)[:width-1]) + "…"
}

// pad fills text up to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// wrap breaks text into lines, of which all but the first begin with indent.
func wrap(text string, width int, indent string) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	if line == "" {
		return lines
	}
	return append(lines, line)
}
