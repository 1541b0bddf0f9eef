package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// symptomsPage is the page of error lines.
const symptomsPage = "docs/troubleshooting.md"

// leastSymptoms is how many it has at least: fewer mean that it is not understood any more.
const leastSymptoms = 25

var (
	heading  = regexp.MustCompile(`(?m)^#{2,3} `)
	numbered = regexp.MustCompile(`^\d+\. `)
	errorOf  = regexp.MustCompile("(?ms)^```text\n(.*?)^```")
	linkedTo = regexp.MustCompile(`\]\(([^)#\s]+)`)
	// libraries are the sources of others.
	libraries = regexp.MustCompile(`\]\(https://github.com/(golang/go|kubernetes/kubernetes|etcd-io/etcd)/blob/`)
	variable  = regexp.MustCompile(`…|\.\.\.|\n`)
)

// symptoms returns the error lines that nothing which their section leads to has: a lab, a
// test, the source of a program, or what was seen in a run. Where a library has worded a
// line, a link to its source will do.
func (d *documentation) symptoms() (problems []string) {
	text, ok := d.files[symptomsPage]
	if !ok {
		return nil
	}
	n := 0
	for _, section := range heading.Split(text, -1) {
		title, _, _ := strings.Cut(section, "\n")
		if !numbered.MatchString(title) {
			continue
		}
		n++
		line := errorOf.FindStringSubmatch(section)
		_, produced, found := strings.Cut(section, "**Produced")
		if line == nil || !found {
			problems = append(problems, fmt.Sprintf("%s: %s: there is no error line, or not what it is produced by", symptomsPage, title))
			continue
		}
		part := longestPart(line[1])
		shown := d.runHas(part) || libraries.MatchString(produced)
		for _, link := range linkedTo.FindAllStringSubmatch(produced, -1) {
			shown = shown || d.has(path.Join(path.Dir(symptomsPage), link[1]), part)
		}
		if !shown {
			problems = append(problems, fmt.Sprintf("%s: %s: nothing that it is produced by has %q", symptomsPage, title, part))
		}
	}
	if n < leastSymptoms {
		problems = append(problems, fmt.Sprintf("%s has %d symptoms, want %d at least", symptomsPage, n, leastSymptoms))
	}
	return problems
}

// longestPart is the longest stretch of a line that is literal.
func longestPart(line string) (longest string) {
	for _, part := range variable.Split(line, -1) {
		if part = strings.TrimSpace(part); len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// has is whether a file, or of a lab any of its files, has a text. Quotes may be escaped
// there, and lines broken.
func (d *documentation) has(file, text string) bool {
	under := file
	if strings.HasPrefix(file, "labs/") {
		parts := strings.SplitN(file, "/", 3)
		under = path.Join(parts[0], parts[1])
	}
	found := false
	files := os.DirFS(d.root)
	_ = fs.WalkDir(files, under, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err == nil && strings.Contains(unquoted(string(data)), unquoted(text)) {
			found, err = true, fs.SkipAll
		}
		return err
	})
	return found
}

func unquoted(text string) string {
	return strings.Join(strings.Fields(strings.NewReplacer(`\"`, `"`, `\\`, `\`, "`", "").Replace(text)), " ")
}

// runHas is whether something has answered so in a run.
func (d *documentation) runHas(text string) bool {
	for _, run := range d.runs {
		for _, o := range run.Observations {
			if strings.Contains(o.Seen, text) {
				return true
			}
		}
		for _, entry := range run.parity.Cases {
			if strings.Contains(unquoted(entry.CRD), unquoted(text)) || strings.Contains(unquoted(entry.Aggregated), unquoted(text)) {
				return true
			}
		}
	}
	return false
}
