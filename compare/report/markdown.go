package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// markdown writes the report for terminals and pull requests.
func (d *document) markdown(w io.Writer) {
	fmt.Fprintf(w, "# %s\n\n%s\n", d.Title, d.Lead)
	for _, alert := range d.Alerts {
		fmt.Fprintf(w, "\n> **Read this first:** %s\n", plain(alert))
	}
	fmt.Fprint(w, "\n## Summary\n\n")
	for _, sentence := range d.Summary {
		fmt.Fprintf(w, "- %s\n", plain(sentence))
	}
	fmt.Fprintf(w, "\n`%s` in the same directory has the same, with drawings.\n", pageFile)
	for _, s := range d.Sections {
		if !slices.ContainsFunc(s.Parts, part.inMarkdown) {
			continue
		}
		fmt.Fprintf(w, "\n## %s\n", s.Title)
		if s.About != "" {
			fmt.Fprintf(w, "\n%s\n", s.About)
		}
		for _, p := range s.Parts {
			p.markdown(w)
		}
	}
}

// inMarkdown is whether a part has something that is not drawn.
func (p part) inMarkdown() bool {
	drawn := p
	drawn.Figures = nil
	return !p.OnlyHTML && (!drawn.empty() || slices.ContainsFunc(p.Figures, func(f figure) bool { return f.File != "" }))
}

func (p part) markdown(w io.Writer) {
	if !p.inMarkdown() {
		return
	}
	if p.title != "" {
		fmt.Fprintf(w, "\n### %s\n", p.title)
	}
	if p.about != "" {
		fmt.Fprintf(w, "\n%s\n", p.about)
	}
	if p.Command != "" {
		fmt.Fprintf(w, "\n```sh\n%s\n```\n", p.Command)
	}
	if len(p.Items)+len(p.Definitions) > 0 {
		fmt.Fprintln(w)
	}
	for _, item := range p.Items {
		fmt.Fprintf(w, "- %s\n", strings.ReplaceAll(plain(item), "\n", "\n  ")) // one item, however many lines
	}
	for _, d := range p.Definitions {
		fmt.Fprintf(w, "- **%s**: %s\n", plain(d[0]), plain(d[1]))
	}
	for _, f := range p.Figures {
		if f.File != "" {
			fmt.Fprintf(w, "\n- [%s](%s)\n", plain(f.Caption), f.File)
		}
	}
	if len(p.rows) > 0 {
		fmt.Fprintln(w)
		writeMarkdown(w, p.header, p.rows)
	}
}

// writeMarkdown writes rows as a table of Markdown.
func writeMarkdown(w io.Writer, header []string, rows [][]string) {
	for i, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(plain(cell))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

// plain makes text mean itself in Markdown.
func plain(text string) string {
	return strings.NewReplacer(`\`, `\\`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`").Replace(text)
}
