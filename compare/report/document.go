package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
)

// document is a report before it is Markdown or HTML, so that both say the same.
type document struct {
	Title, Lead string
	// Alerts are what must be read before any figure.
	Alerts []string
	// Summary are the sentences that say what came out.
	Summary  []string
	Sections []section
	// anchors are those that are taken.
	anchors map[string]bool
}

// section is what the table of contents lists.
type section struct {
	ID, Title, About string
	Parts            []part
}

// part is a piece of a section: a table, a list, a command, or figures.
type part struct {
	table
	// Anchor is empty for a part without a title.
	Anchor string
	// Items are a list of plain text, definitions one of terms and what they mean.
	Items       []string
	Definitions [][2]string
	// Command is to be given to a shell.
	Command string
	// Figures are drawn in HTML, and left out of Markdown. The legend is that of all.
	Figures []figure
	Legend  []mark
	// Cards is whether the cells are sentences: on a narrow screen each row is a card.
	Cards bool
	// Folded is whether the part is closed until somebody opens it. Markdown leaves out
	// what is only in HTML.
	Folded, OnlyHTML bool
}

// figure is one drawing.
type figure struct {
	// kind is what its data-plot attribute says.
	Kind, Caption string
	SVG           template.HTML
	// Source is a data: URI of an image in place of svg.
	Source template.URL
	Alt    string
	// File is where the image came from.
	File string
}

// mark is an entry of a Legend: a style and whose it is.
type mark struct {
	Style int
	Name  string
	// Bar is whether it is a filled area and not a line.
	Bar bool
}

// extras are what a report shows beside the result of its run: what else is in its
// directory.
type extras struct {
	parity     *parityMatrix
	waterfalls []figure
	// problems are of files that could not be used.
	problems []string
}

// readExtras reads them. A file that cannot be used is a problem that the report names.
func readExtras(dir string) extras {
	var more extras
	parity, err := ReadMatrix(dir)
	drawings, errs := readWaterfalls(dir)
	more.parity, more.waterfalls = parity, drawings
	for _, err := range append(errs, err) {
		if err != nil {
			more.problems = append(more.problems, err.Error())
		}
	}
	return more
}

const interrupted = "the run did not finish: "

// interruption is the warning that a run was interrupted.
func interruption(result *bench.Result) (string, bool) {
	for _, warning := range result.Warnings {
		if strings.HasPrefix(warning, interrupted) {
			return warning, true
		}
	}
	return "", false
}

// compose puts the report together.
func compose(result *bench.Result, more extras) *document {
	d := &document{
		anchors: map[string]bool{},
		Title:   "PortRule: CRD and aggregated API server compared",
		Lead: "One Kubernetes API, served in two ways - from a CustomResourceDefinition (`crd`) and by an aggregated API server of its own (`aggregated`) - " +
			"and measured with the same requests on the same control plane.",
		Summary: summarize(result, more.parity),
	}
	if warning, ok := interruption(result); ok {
		d.Alerts = append(d.Alerts, strings.TrimSuffix(warning, ".")+". What follows is what was measured until then.")
	}
	for _, n := range result.Environment.Noise {
		if n.Loud {
			d.Alerts = append(d.Alerts, fmt.Sprintf("the machine was not quiet before the run: %s is %s, and the limit is %s; %s.", n.Check, found(n, n.Value), found(n, n.Limit), n.Remedy))
		}
	}
	d.add("reading", "How to read the figures", "", part{Items: howToRead(result)})
	for _, suite := range suites(result) {
		about := ""
		for _, s := range bench.Suites {
			if s.Name == suite {
				about = title(s.About) + "."
			}
		}
		d.add("suite-"+suite, "Suite "+suite, about, suiteParts(result, suite)...)
	}
	d.add("waterfalls", "Waterfalls", "", waterfallParts(more.waterfalls)...)
	d.add("parity", "Parity", "", parityParts(more.parity)...)
	d.add("missing", "What is missing", "", missing(result, more)...)
	d.add("details", "Details", "", detailParts(result)...)
	d.add("cases", "The cases", "", casesPart(result))
	d.add("warnings", "Warnings", "", part{Items: result.Warnings})
	d.add("environment", "Where and how", "", environmentParts(result)...)
	return d
}

// add adds a section with those of the parts that hold something, if there are any.
func (d *document) add(id, title, about string, parts ...part) {
	parts = slices.DeleteFunc(parts, part.empty)
	for i := range parts {
		if parts[i].title != "" {
			parts[i].Anchor = d.anchor(id + " " + parts[i].title)
		}
	}
	if len(parts) > 0 {
		d.Sections = append(d.Sections, section{id, title, about, parts})
	}
}

func (p part) empty() bool {
	return len(p.rows) == 0 && len(p.Items) == 0 && len(p.Definitions) == 0 && p.Command == "" && len(p.Figures) == 0
}

// anchor makes a title fit for the name of an anchor that no other part has.
func (d *document) anchor(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	name := strings.Join(words, "-")
	for n := 2; d.anchors[name]; n++ {
		name = fmt.Sprintf("%s-%d", strings.Join(words, "-"), n)
	}
	d.anchors[name] = true
	return name
}

// suites are those that the result has something of, in the order in which they are listed.
func suites(result *bench.Result) []string {
	var names []string
	for _, m := range result.Measurements {
		names = appendNew(names, m.Suite)
	}
	for _, o := range result.Observations {
		names = appendNew(names, o.Suite)
	}
	at := func(name string) int {
		i := slices.IndexFunc(bench.Suites, func(s bench.Suite) bool { return s.Name == name })
		if i < 0 {
			return len(bench.Suites)
		}
		return i
	}
	slices.SortStableFunc(names, func(a, b string) int { return at(a) - at(b) })
	return names
}

// suiteParts are what the report shows of one suite.
func suiteParts(result *bench.Result, suite string) []part {
	var parts []part
	add := func(tables []table, change func(*part)) {
		for _, t := range tables {
			if t.suite == suite {
				p := part{table: t}
				p.title = title(strings.TrimPrefix(strings.TrimPrefix(t.title, suite+": "), suite+"/"))
				if change != nil {
					change(&p)
				}
				parts = append(parts, p)
			}
		}
	}
	if suite == bench.Auth.Name {
		add(authTables(result), nil)
	}
	add(tables(result), nil)
	add(furtherPairs(result), func(p *part) { p.Folded = true })
	parts = append(parts, differencePart(result, suite))
	if suite == bench.Verbs.Name {
		parts = append(parts, percentilePart(result, suite))
	}
	parts = append(parts, costPart(result, suite), growthPart(result, suite))
	add(fitTables(result), func(p *part) { p.Cards = true })
	add(growthTables(result), func(p *part) { p.Folded = true })
	add(observationTables(result), func(p *part) { p.Cards = true })
	return parts
}

// howToRead says what holds for all figures.
func howToRead(result *bench.Result) []string {
	lines := []string{
		"Every request is an ordinary user's and goes through the kube-apiserver, unless the case says otherwise.",
		"Each value is a median and how far its 95% interval reaches from it. In square brackets are the ends of a 95% interval.",
	}
	if slices.ContainsFunc(result.Measurements, func(m bench.Measurement) bool { return m.Impl == bench.Native }) {
		lines = append(lines, "native is a ConfigMap of the same size: the floor.")
	}
	if slices.ContainsFunc(result.Measurements, func(m bench.Measurement) bool { return strings.HasPrefix(m.Impl, bench.NameFree) }) {
		lines = append(lines, "aggregated+name-free is the same server with name-free reviews: it asks the control plane about all names at once, where RBAC makes that sound.")
	}
	return append(lines,
		"A ratio is computed for each round, in which the implementations take turns; n is the number of rounds, without those that warmed the case up.",
		"A difference counts as found if the ratio's interval leaves 1 out at a confidence that counts all comparisons of the metric: "+
			"with 95% confidence none of them finds a difference that is not there. \"No difference found\" does not say that there is none: the interval says how large it may be. \"Too few samples\": the 95% interval leaves 1 out, and such a confidence takes more rounds.",
	)
}

// missing says what the report cannot show, and why.
func missing(result *bench.Result, more extras) []part {
	t := notRunTable(result)
	t.title = ""
	t.rows = append(t.rows, missingSuites(result)...)
	if more.parity == nil {
		t.rows = append(t.rows, []string{"the parity matrix", "there is no usable " + MatrixFile + " in the directory of the run: \"make parity OUT=DIR\" adds it"})
	}
	if len(more.waterfalls) == 0 {
		t.rows = append(t.rows, []string{"waterfalls", "there is no drawing in the directory of the run: " +
			"\"bin/compare trace get-new-name --impl aggregated --svg DIR/trace-get-new-name.svg\", then \"bin/compare report DIR\", adds one"})
	}
	for _, problem := range more.problems {
		t.rows = append(t.rows, []string{"a file of the directory", problem})
	}
	return []part{{table: t, Cards: true}}
}

// casesPart says what each case that was measured is.
func casesPart(result *bench.Result) part {
	var p part
	for _, suite := range bench.Suites {
		for _, c := range slices.Concat(suite.Others, suite.Cases) {
			if measured(result, suite.Name, c.Name) {
				p.Definitions = append(p.Definitions, [2]string{fmt.Sprintf("%s/%s", suite.Name, c.Name), c.About})
			}
		}
	}
	return p
}

func measured(result *bench.Result, suite, name string) bool {
	return slices.ContainsFunc(result.Measurements, func(m bench.Measurement) bool { return m.Suite == suite && m.Case == name }) ||
		slices.ContainsFunc(result.Observations, func(o bench.Observation) bool { return o.Suite == suite && o.Case == name })
}
