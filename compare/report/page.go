package report

import (
	_ "embed"
	"html"
	"html/template"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

//go:embed page.tmpl.html
var pageTemplate string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":   func() template.CSS { return template.CSS(drawingStyle + pageStyle) }, //nolint:gosec // it is ours
	"prose":   prose,
	"cells":   cells,
	"numeric": numeric,
	"swatch":  mark.swatch,
	"soft":    func(text string) string { return strings.ReplaceAll(text, "+", "+\u200b") }, // a line may break there
}).Parse(pageTemplate))

// html writes the report as one page that needs nothing else: no script, no font, no host.
func (d *document) html(w io.Writer) error { return page.Execute(w, d) }

var codeSpan = regexp.MustCompile("`([^`]+)`")

// prose shows what is in backticks as code.
func prose(text string) template.HTML {
	return template.HTML(codeSpan.ReplaceAllString(html.EscapeString(text), "<code>$1</code>")) //nolint:gosec // it is escaped before
}

// pageCell is a cell of a table of the page.
type pageCell struct {
	Text string
	// Label is the heading of its column, for a row that is a card.
	Label string
	// Class says how it is aligned, and what its verdict comes to; Symbol is the verdict's.
	Class, Symbol string
	Head          bool
}

var number = regexp.MustCompile(`^[-+−]?[0-9][0-9.,]*(x|/s|%| (ms|µs|s|MiB|kB))?( |$)`)

// numeric says which columns of a table hold nothing but numbers, which line up at their
// right. Those of sentences never do.
func numeric(p part) []bool {
	columns := make([]bool, len(p.header))
	if p.Cards {
		return columns
	}
	for i := range columns {
		columns[i] = i > 0
		for _, row := range p.rows {
			if i >= len(row) || row[i] == "-" || row[i] == "not run" {
				continue
			}
			if !number.MatchString(row[i]) || utf8.RuneCountInString(row[i]) > 40 {
				columns[i] = false
			}
		}
	}
	return columns
}

// cells are the cells of a row.
func cells(header []string, columns []bool, row []string) []pageCell {
	var all []pageCell
	for i, text := range row {
		c := pageCell{Text: text, Head: i == 0}
		if i < len(header) {
			c.Label = header[i]
		}
		if i < len(columns) && columns[i] {
			c.Class = "number"
		}
		if verdict := verdictOf(text); verdict != "" && i > 0 {
			c.Class += " verdict " + verdictClass(verdict)
			c.Symbol = verdictSymbol(verdict)
		}
		if strings.HasPrefix(text, "LOUD: ") {
			c.Class += " bad"
		}
		if text == "-" {
			c.Class += " none"
		}
		c.Class = strings.TrimSpace(c.Class)
		all = append(all, c)
	}
	return all
}

// The rest is what the template reads of a table.

func (t table) Title() string    { return t.title }
func (t table) About() string    { return t.about }
func (t table) Header() []string { return t.header }
func (t table) Rows() [][]string { return t.rows }
