// Package readme reads the README of a lab as a program: blocks of commands, and the
// output that each should have.
//
// A block of ```sh is run by one shell for the whole README, in the repository. A
// block of ```text that follows directly is its output. In it … stands for anything
// within a line, and a line of nothing else for any number of lines. Comments, which
// readers do not see, say what differs: see [Block].
//
// [Blocks] reads (readme.go), a [Shell] runs (shell.go), [Match] compares. So a README
// whose commands do not do what it says is a failure of "lab verify", which is the one
// caller: labs/verify.go. [Headings] and [Count] are for its other checks, that a README
// has the sections and the constants of its lab.
package readme

import (
	"fmt"
	"regexp"
	"strings"
)

// Block is a block of commands.
type Block struct {
	// Line is where it begins in the README.
	Line int
	// Commands are run as they stand.
	Commands string
	// Output is what they must print, nil if nothing is said about it.
	Output *string
	// Fails is whether the last command must fail: <!-- lab: fails -->.
	Fails bool
	// Solve is whether the learner has solved the task before this block, or the part of
	// it that the files named in Solves make: <!-- lab: solve --> or
	// <!-- lab: solve crd.yaml -->.
	Solve  bool
	Solves []string
	// Skip is whether the block is for the reader alone: <!-- lab: skip -->, for what
	// waits for somebody, such as an editor or "lab watch".
	Skip bool
	// Embedded is whether the block works on the embedded control plane alone:
	// <!-- lab: embedded -->.
	Embedded bool
}

// instruction is a comment to this package.
var instruction = regexp.MustCompile(`^\s*<!--\s*lab:\s*(.*?)\s*-->\s*$`)

// Blocks returns the blocks of a README, in order. Instructions stand before the block
// that they are about.
func Blocks(text string) ([]Block, error) {
	var blocks []Block
	var next Block
	instructed := 0       // the line of an instruction that awaits its block
	last := (*Block)(nil) // the block of commands right before
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if match := instruction.FindStringSubmatch(line); match != nil {
			words := strings.Fields(match[1])
			switch {
			case len(words) == 1 && words[0] == "fails":
				next.Fails = true
			case len(words) == 1 && words[0] == "skip":
				next.Skip = true
			case len(words) == 1 && words[0] == "embedded":
				next.Embedded = true
			case len(words) > 0 && words[0] == "solve":
				next.Solve, next.Solves = true, words[1:]
			default:
				return nil, fmt.Errorf("line %d: there is no instruction %q: use fails, skip, embedded or solve", i+1, match[1])
			}
			instructed, last = i+1, nil
			continue
		}
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case !fence && line != "":
			last = nil
		case fence:
			indent, _, _ := strings.Cut(lines[i], "```")
			begin := i + 1
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
				lines[i] = strings.TrimPrefix(lines[i], indent)
			}
			if i == len(lines) {
				return nil, fmt.Errorf("line %d: the block does not end", begin)
			}
			contents := strings.Join(lines[begin:i], "\n") + "\n"
			switch {
			case language == "sh":
				next.Line, next.Commands = begin, contents
				blocks = append(blocks, next)
				next, instructed, last = Block{}, 0, &blocks[len(blocks)-1]
			case language == "text" && last != nil:
				last.Output, last = &contents, nil
			case language == "console" || language == "bash" || language == "shell":
				return nil, fmt.Errorf("line %d: commands are in blocks of sh, their output in blocks of text", begin)
			default:
				last = nil
			}
		}
	}
	if instructed > 0 {
		return nil, fmt.Errorf("line %d: no block follows", instructed)
	}
	return blocks, nil
}

// anything is the placeholder.
const anything = "…"

// Match compares what was printed with what should be, blanks at the ends of lines and
// empty lines at the ends of the text apart. It returns an error that shows the first
// line that differs.
func Match(want, got string) error {
	wants, gots := trimmed(want), trimmed(got)
	if matchLines(wants, gots) {
		return nil
	}
	// the first line at which nothing goes on
	for n := 1; n <= len(wants); n++ {
		if matchPrefix(wants[:n], gots) {
			continue
		}
		line := "nothing more"
		for m := len(gots); m >= 0; m-- {
			if matchLines(wants[:n-1], gots[:m]) && m < len(gots) {
				line = gots[m]
				break
			}
		}
		return fmt.Errorf("the output differs from the README at line %d\n  README: %s\n  output: %s\nthe whole output:\n%s", n, wants[n-1], line, indent(gots))
	}
	return fmt.Errorf("the output goes on where the README ends; the whole output:\n%s", indent(gots))
}

func indent(lines []string) string { return "  " + strings.Join(lines, "\n  ") }

func trimmed(text string) []string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\r")
	}
	return lines
}

// matchPrefix is whether lines may begin as wants says.
func matchPrefix(wants, lines []string) bool {
	for n := 0; n <= len(lines); n++ {
		if matchLines(wants, lines[:n]) {
			return true
		}
	}
	return false
}

func matchLines(wants, lines []string) bool {
	switch {
	case len(wants) == 0:
		return len(lines) == 0
	case strings.TrimSpace(wants[0]) == anything:
		for n := 0; n <= len(lines); n++ {
			if matchLines(wants[1:], lines[n:]) {
				return true
			}
		}
		return false
	case len(lines) == 0:
		return false
	}
	return matchLine(wants[0], lines[0]) && matchLines(wants[1:], lines[1:])
}

func matchLine(want, line string) bool {
	parts := strings.Split(want, anything)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(line)
}

// Headings returns the text of the headings of a README, with their signs.
func Headings(text string) []string {
	var headings []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inside = !inside
		}
		if !inside && strings.HasPrefix(line, "#") {
			headings = append(headings, line)
		}
	}
	return headings
}

// Count is how many times a text has a value as a word: not as a part of a longer
// word, number or name.
func Count(text, value string) int {
	count := 0
	for from := 0; ; {
		at := strings.Index(text[from:], value)
		if at < 0 {
			return count
		}
		at += from
		end := at + len(value)
		before := at > 0 && isWord(text[at-1]) && isWord(value[0])
		after := end < len(text) && isWord(text[end]) && isWord(value[len(value)-1])
		if !before && !after {
			count++
		}
		from = end
	}
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
