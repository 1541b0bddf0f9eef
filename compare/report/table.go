package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"portrule.example/lab/compare/bench"
)

// Table writes the result for a terminal, a table for each metric of each suite.
func Table(w io.Writer, result *bench.Result) error {
	for i, t := range append(authTables(result), tables(result)...) {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, t.title)
		if err := writeTabs(w, append([][]string{t.header}, t.rows...)); err != nil {
			return err
		}
	}
	return nil
}

func writeTabs(w io.Writer, rows [][]string) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tabs, strings.Join(row, "\t"))
	}
	return tabs.Flush()
}

// writeMarkdown writes rows as a table of Markdown.
func writeMarkdown(w io.Writer, header []string, rows [][]string) {
	for i, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

// table compares the implementations by one metric.
type table struct {
	title string
	// about says how to read it, in the report.
	about  string
	header []string
	rows   [][]string
}

// group is what the rows of a table have in common.
type group struct{ suite, metric, load, clock string }

// since says from when a latency of an open loop counts.
var since = map[string]string{"sent": "sent", "intended": "due"}

func groupOf(m bench.Measurement) group { return group{m.Suite, m.Metric, m.Load, m.Clock} }

func (g group) title() string {
	what := cmp.Or(map[string]string{
		"throughput": "requests a second", "cpu": "CPU time of a thousand requests, all processes but the client", "memory": "resident memory",
	}[g.metric], g.metric)
	switch {
	case g.metric == "latency" && g.load == "" && g.suite == bench.Verbs.Name:
		what = "latency of one request at a time"
	case g.load != "":
		what += " (" + g.load + ")"
	}
	if g.clock != "" {
		what += ", since a request was " + since[g.clock]
	}
	return g.suite + ": " + what
}

// tables are those of each suite and metric: a row for each case, with what was measured of
// each implementation, and what the first comparison of the suite comes to. What single
// processes used is not among them.
func tables(result *bench.Result) []table {
	var groups []group
	cases, impls := map[group][]string{}, map[group][]string{}
	type place struct {
		group
		name, impl string
	}
	measured := map[place]bench.Measurement{}
	for _, m := range result.Measurements {
		g := groupOf(m)
		switch {
		case m.Suite == bench.Auth.Name, m.Process != "" && m.Process != bench.AllProcesses, m.Metric == "memory" && m.Load != "":
			continue
		case m.Metric == "throughput" && strings.HasPrefix(m.Load, "open"):
			continue // the schedule sets it, not the implementation
		}
		groups = appendNew(groups, g)
		cases[g] = appendNew(cases[g], m.Case)
		impls[g] = appendNew(impls[g], m.Impl)
		measured[place{g, m.Case, m.Impl}] = m
	}
	// those of one request at a time come first
	slices.SortStableFunc(groups, func(a, b group) int { return slices.Index(order, a.metric) - slices.Index(order, b.metric) })
	headline, compared := map[string]bench.Comparison{}, map[place]bench.Comparison{}
	for _, c := range result.Comparisons {
		if _, ok := headline[c.Suite]; !ok {
			headline[c.Suite] = c
		}
		if first := headline[c.Suite]; c.Impl == first.Impl && c.To == first.To {
			compared[place{group{c.Suite, c.Metric, c.Load, ""}, c.Case, ""}] = c
		}
	}
	var all []table
	for _, g := range groups {
		t := table{title: g.title(), header: append([]string{"case"}, impls[g]...)}
		first, comparing := headline[g.suite]
		comparing = comparing && slices.ContainsFunc(cases[g], func(name string) bool {
			_, ok := compared[place{g, name, ""}]
			return ok
		})
		if comparing {
			t.header = append(t.header, first.Impl+" / "+first.To, "n", "verdict")
		}
		for _, name := range cases[g] {
			row := []string{g.suite + "/" + name}
			for _, impl := range impls[g] {
				row = append(row, cell(measured[place{g, name, impl}]))
			}
			if c, ok := compared[place{g, name, ""}]; ok {
				row = append(row, times(bench.Interval{Value: c.Ratio, Low: c.Low, High: c.High}), fmt.Sprint(c.N), string(c.Verdict))
			} else if comparing {
				row = append(row, "-", "-", "-")
			}
			t.rows = append(t.rows, row)
		}
		all = append(all, t)
	}
	return all
}

// order is that of the tables by metric.
var order = []string{"round-trips", "latency", "throughput", "cpu", "memory"}

func appendNew[T comparable](values []T, value T) []T {
	if slices.Contains(values, value) {
		return values
	}
	return append(values, value)
}

// cell prints a median and how far its interval reaches from it.
func cell(m bench.Measurement) string {
	if m.N == 0 {
		return "-"
	}
	text := value(m.Median, m.Unit)
	if m.Median > 0 {
		text += fmt.Sprintf(" ±%2.0f%%", 100*max(m.High-m.Median, m.Median-m.Low)/m.Median)
	}
	return text
}

// value prints a value in a unit that people read.
func value(v float64, unit string) string {
	switch unit {
	case "ns":
		return fmt.Sprintf("%.2f ms", v/1e6)
	case "B":
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	case "ms/1000":
		if v < 10 {
			return fmt.Sprintf("%.1f ms", v)
		}
		return fmt.Sprintf("%.0f ms", v)
	case "1/s":
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.2f", v)
}
