package labs

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// width is what every terminal has.
const width = 80

// terminal is where text goes: with bold type and colours if it is a terminal, plain
// ASCII otherwise, and where NO_COLOR or TERM=dumb ask for it.
type terminal struct {
	io.Writer
	fancy bool
}

func newTerminal(w io.Writer) *terminal {
	file, ok := w.(*os.File)
	return &terminal{Writer: w, fancy: ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (t *terminal) printf(format string, args ...any) { fmt.Fprintf(t, format, args...) }

func (t *terminal) style(code, text string) string {
	if !t.fancy {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// styles are what style adds to a text, and nobody sees.
var styles = regexp.MustCompile("\x1b\\[[0-9;]*m")

func (t *terminal) bold(text string) string { return t.style("1", text) }

// tick and cross begin a line about something that is right or wrong.
func (t *terminal) tick() string {
	if !t.fancy {
		return "ok  "
	}
	return t.style("32", "✓") + " "
}

func (t *terminal) cross() string {
	if !t.fancy {
		return "NO  "
	}
	return t.style("31", "✗") + " "
}

// mark is a sign for the stage of a lab.
func (t *terminal) mark(stage string) string {
	switch {
	case stage == stagePassed && t.fancy:
		return t.style("32", "✓")
	case stage == stagePassed:
		return "x"
	case stage == stageStarted && t.fancy:
		return t.style("33", "·")
	case stage == stageStarted:
		return "-"
	default:
		return " "
	}
}

// paragraph prints text in lines that fit, the first after lead and the others indented
// as much. Words that are longer than a line stay whole: paths are there to be copied.
func (t *terminal) paragraph(lead, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(styles.ReplaceAllString(lead, "")))
	for i, line := range wrap(text, width-len(indent)) {
		if i > 0 {
			lead = indent
		}
		t.printf("%s%s\n", lead, line)
	}
}

// wrap breaks text into lines of at most n characters, where it has blanks. Lines of
// their own in the text stay so.
func wrap(text string, n int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(paragraph, " ") { // an example, which must not be changed
			lines = append(lines, paragraph)
			continue
		}
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > n {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}
