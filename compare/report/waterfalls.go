package report

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// readWaterfalls reads the drawings of package trace in a directory. Each is shown as an
// image: what a file holds beside a drawing, such as a script, does not come with it.
func readWaterfalls(dir string) ([]figure, []error) {
	paths, err := filepath.Glob(filepath.Join(escapeGlob(dir), "trace-*.svg"))
	if err != nil {
		return nil, []error{err}
	}
	slices.Sort(paths)
	var drawings []figure
	var problems []error
	for _, path := range paths {
		name := filepath.Base(path)
		data, err := os.ReadFile(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("read a waterfall: %w", err))
			continue
		}
		var drawing struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
			Title   string   `xml:"title"`
			About   string   `xml:"desc"`
		}
		if err := xml.Unmarshal(data, &drawing); err != nil {
			problems = append(problems, fmt.Errorf("%s is not a drawing: %w; \"bin/compare trace\" makes one", name, err))
			continue
		}
		title := strings.TrimSpace(drawing.Title)
		if title == "" {
			title = name
		}
		drawings = append(drawings, figure{
			Kind: "waterfall", Caption: title, Alt: strings.TrimSpace(title + ". " + drawing.About), File: name,
			Source: template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(data)), //nolint:gosec // an image runs nothing
		})
	}
	return drawings, problems
}

// escapeGlob makes a directory mean itself in a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// waterfallParts show the drawings.
func waterfallParts(drawings []figure) []part {
	return []part{{
		table: table{about: "One request, followed by the traces of all programs: time runs to the right, a bar is a step of the program that its colour names, " +
			"and pale is where it waits for another one. A trace is of a single request of a run of its own: it explains the figures, it is not one of them."},
		Figures: drawings,
	}}
}
