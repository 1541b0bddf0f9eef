package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/report"
)

// documentation is all Markdown of the repository.
type documentation struct {
	root string
	// files are the texts by path from the root, with slashes; pages are those of docs/,
	// which are filled.
	files map[string]string
	pages []string
	runs  map[string]*checkedIn
	// drawings are the SVG files that pages show, by path from the root.
	drawings map[string]string
	// cases are the files that have the cases of the contract, by id.
	cases map[string]string
	// figures and includes are how many there are.
	figures, includes int
}

// checkedIn is a checked-in run, of the harness and of the contract.
type checkedIn struct {
	*bench.Result
	parity *contract.Matrix
}

// results are where the checked-in runs are; embedded is the one that is meant if nothing
// is said.
const results, embedded, kind = "docs/results", "embedded", "kind"

func load(root string) (*documentation, error) {
	d := &documentation{root: root, files: map[string]string{}, drawings: map[string]string{}, runs: map[string]*checkedIn{}}
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list the pages: %w; run it in the root of the repository", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if strings.Contains(name, "/testdata/") {
			continue // what a run leaves, beside files that it leaves too
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not yet committed
		}
		if err != nil {
			return nil, err
		}
		d.files[name] = string(text)
		if strings.HasPrefix(name, "docs/") || !strings.Contains(name, "/") {
			d.pages = append(d.pages, name)
		}
	}
	if len(d.pages) == 0 {
		return nil, errors.New("there is no documentation here: run it in the root of the repository")
	}
	slices.Sort(d.pages)
	for _, name := range []string{embedded, kind} {
		dir := filepath.Join(root, results, name)
		result, err := report.Read(dir)
		if err != nil {
			return nil, err
		}
		parity, err := report.ReadMatrix(dir)
		if err == nil && parity == nil {
			err = errors.New("there is none: \"make parity OUT=dir\" makes it")
		}
		if err != nil {
			return nil, fmt.Errorf("the parity matrix of the run on %s: %w", name, err)
		}
		d.runs[name] = &checkedIn{result, parity}
	}
	return d, d.findCases()
}

// fill fills the pages, and returns which have changed and what could not be filled.
func (d *documentation) fill() (changed, problems []string) {
	for _, page := range d.pages {
		text, err := d.filled(page, d.files[page])
		for _, problem := range err {
			problems = append(problems, page+":"+problem)
		}
		if text != d.files[page] {
			d.files[page] = text
			changed = append(changed, page)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(d.drawings)) {
		if was, err := os.ReadFile(filepath.Join(d.root, file)); err != nil || string(was) != d.drawings[file] {
			changed = append(changed, file)
		}
	}
	return changed, problems
}

// differs is a file that has changed and its first line that would be another one.
func (d *documentation) differs(file string) string {
	was, err := os.ReadFile(filepath.Join(d.root, file))
	if _, drawn := d.drawings[file]; drawn || err != nil {
		return file
	}
	is := strings.Split(d.files[file], "\n")
	for i, line := range strings.Split(string(was), "\n") {
		if i >= len(is) || is[i] != line {
			return fmt.Sprintf("%s:%d", file, i+1)
		}
	}
	return file
}

func (d *documentation) write(changed []string) error {
	for _, file := range changed {
		text, drawn := d.drawings[file]
		if !drawn {
			text = d.files[file]
		}
		if err := os.WriteFile(filepath.Join(d.root, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

var (
	// titled is a link with a title; its text may have brackets.
	titled = regexp.MustCompile(`\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*) "([^"]+)"\)`)
	// included is such a link on a line of its own.
	included = regexp.MustCompile(`^\[[^\[\]]*\]\(([^()\s]*) "include ?([^"]*)"\)$`)
	table    = regexp.MustCompile(`^<!-- table: (.*) -->$`)
)

// filled is the text of a page with everything that it shows of other files.
func (d *documentation) filled(page, text string) (string, []string) {
	var out, problems []string
	lines := strings.Split(text, "\n")
	fence := false
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		say := func(err error) {
			if err != nil {
				problems = append(problems, fmt.Sprintf("%d: %v", i+1, err))
			}
		}
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fence = !fence
		}
		switch {
		case fence:
			out = append(out, line)
		case included.MatchString(line):
			match := included.FindStringSubmatch(line)
			block, err := d.include(path.Join(path.Dir(page), match[1]), match[2])
			say(err)
			// what was there goes
			end := i + 1
			for end < len(lines) && lines[end] == "" {
				end++
			}
			if end < len(lines) && strings.HasPrefix(lines[end], "```") {
				for end++; end < len(lines) && lines[end] != "```"; end++ {
				}
				i = end
			}
			out = append(out, line, "", block)
			d.includes++
		case table.MatchString(line):
			rows, err := d.table(page, strings.Fields(table.FindStringSubmatch(line)[1]))
			say(err)
			// what was there goes
			end := i + 1
			for end < len(lines) && lines[end] == "" {
				end++
			}
			for ; end < len(lines) && (strings.HasPrefix(lines[end], "|") || strings.HasPrefix(lines[end], "- ")); end++ {
				i = end
			}
			out = append(out, line, "", strings.TrimSuffix(rows, "\n"))
		default:
			out = append(out, titled.ReplaceAllStringFunc(line, func(link string) string {
				match := titled.FindStringSubmatch(link)
				if what, ok := strings.CutPrefix(match[3], "draw "); ok {
					say(d.draw(path.Join(path.Dir(page), match[2]), what))
					return link
				}
				figure, at, err := d.figure(match[3])
				if err != nil {
					say(fmt.Errorf("%q: %w", match[3], err))
					return link
				}
				d.figures++
				return fmt.Sprintf("[%s](%s %q)", figure, relative(page, at), match[3])
			}))
		}
	}
	return strings.Join(out, "\n"), problems
}

// relative is a path from the root as a page links to it.
func relative(page, target string) string {
	file, anchor, found := strings.Cut(target, "#")
	link, err := filepath.Rel(filepath.FromSlash(path.Dir(page)), filepath.FromSlash(file))
	if err != nil {
		return target // both are from the root
	}
	if link = filepath.ToSlash(link); found {
		link += "#" + anchor
	}
	return link
}

// figure answers a question, and says where the page of the results has it.
func (d *documentation) figure(question string) (figure, at string, err error) {
	run := embedded
	if name, rest, found := strings.Cut(question, ": "); found && d.runs[name] != nil {
		run, question = name, rest
	}
	if rest, ok := strings.CutPrefix(question, "parity/"); ok {
		figure, err = d.runs[run].parityFigure(strings.Fields(rest))
		return figure, "docs/differences.md#" + map[bool]string{true: "one-endpoint-several-creates-at-once", false: "by-area"}[strings.HasPrefix(rest, "duplicates")], err
	}
	figure, err = report.Figure(d.runs[run].Result, question)
	suite, _, _ := strings.Cut(question, "/")
	return figure, "docs/results.md#" + suite, err
}

// parityFigure answers "cases same", "cases all", or "duplicates crd+webhooks", with
// "interval" after it if the interval of the share is to be said.
func (r *checkedIn) parityFigure(words []string) (string, error) {
	interval := len(words) == 3 && words[2] == "interval"
	if len(words) != 2 && !interval {
		return "", errors.New(`ask for "parity/cases VERDICT" or "parity/duplicates IMPL", with "interval" or without`)
	}
	switch words[0] {
	case "cases":
		if words[1] == "all" {
			return fmt.Sprint(len(r.parity.Cases)), nil
		}
		count := map[string]int{}
		for _, entry := range r.parity.Cases {
			count[strings.ReplaceAll(string(entry.Verdict), " ", "-")]++
		}
		n, ok := count[words[1]]
		if !ok {
			return "", fmt.Errorf("no case came to %q: there are %s", words[1], strings.Join(slices.Sorted(maps.Keys(count)), ", "))
		}
		return fmt.Sprint(n), nil
	case "duplicates":
		for _, duplicates := range r.parity.Duplicates {
			if duplicates.Impl == words[1] {
				if interval {
					return fmt.Sprintf("%d of %d (%.1f%% to %.1f%%)", duplicates.Admitted, duplicates.Attempts, 100*duplicates.Low, 100*duplicates.High), nil
				}
				return fmt.Sprintf("%d of %d", duplicates.Admitted, duplicates.Attempts), nil
			}
		}
	}
	return "", fmt.Errorf("the matrix has nothing of %q", strings.Join(words, " "))
}

// draw draws a file: what is a suite, a kind and a caption, as package report has them.
func (d *documentation) draw(file, what string) error {
	words := strings.SplitN(what, " ", 3)
	if len(words) < 3 || path.Ext(file) != ".svg" {
		return fmt.Errorf("%q: ask for the drawing of an .svg by suite, kind and caption", "draw "+what)
	}
	drawing, err := report.Drawing(d.runs[embedded].Result, words[0], words[1], words[2])
	d.drawings[file] = string(drawing)
	return err
}
