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

// Table writes the result for a terminal: a table for each metric of each suite, the
// curves, and what was not run.
func Table(w io.Writer, result *bench.Result) error {
	all := slices.Concat(authTables(result), tables(result), growthTables(result), fitTables(result), []table{notRunTable(result)})
	for i, t := range slices.DeleteFunc(all, func(t table) bool { return len(t.rows) == 0 }) {
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

// table is a table of the report.
type table struct {
	// suite is the one that it belongs to, empty if it is of several.
	suite string
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

// metrics are what they are called in a title.
var metrics = map[string]string{
	"throughput": "requests a second", "cpu": "CPU time of a thousand requests, all processes but the client", "memory": "resident memory",
	"webhook-calls": "calls of webhooks for each request", "conversions": "conversions for each request", "document-size": "size of a document",
}

func (g group) title() string {
	what := cmp.Or(metrics[g.metric], g.metric)
	switch {
	case g.metric == "latency" && g.load == "" && g.suite == bench.Verbs.Name:
		what = "latency of one request at a time"
	case g.metric == "cpu" && g.load == "":
		what = "CPU time, all processes but the client"
	case g.load != "":
		what += " (" + g.load + ")"
	}
	if g.clock != "" {
		what += ", since a request was " + since[g.clock]
	}
	return g.suite + ": " + what
}

// place is where a measurement is in a table.
type place struct {
	group
	name, impl string
}

// matrix is what the tables are made of.
type matrix struct {
	groups []group
	// cases and impls are the rows and the columns of each group.
	cases, impls map[group][]string
	measured     map[place]bench.Measurement
	// pairs are those that are compared in each group, the headline of its suite first.
	pairs    map[group][][2]string
	compared map[group]map[string]map[[2]string]bench.Comparison
}

// matrixOf puts each measurement and comparison in its place, but for those that are shown
// elsewhere: the suite auth, what single processes used, and the points of curves.
func matrixOf(result *bench.Result) *matrix {
	x := &matrix{
		cases: map[group][]string{}, impls: map[group][]string{}, measured: map[place]bench.Measurement{},
		pairs: map[group][][2]string{}, compared: map[group]map[string]map[[2]string]bench.Comparison{},
	}
	for _, m := range result.Measurements {
		g := groupOf(m)
		switch {
		case m.Suite == bench.Auth.Name, m.Axis != "", m.Process != "" && m.Process != bench.AllProcesses, m.Metric == "memory" && m.Load != "":
			continue
		case m.Metric == "throughput" && strings.HasPrefix(m.Load, "open"):
			continue // the schedule sets it, not the implementation
		}
		x.groups = appendNew(x.groups, g)
		x.cases[g] = appendNew(x.cases[g], m.Case)
		x.impls[g] = appendNew(x.impls[g], m.Impl)
		x.measured[place{g, m.Case, m.Impl}] = m
	}
	// those of one request at a time come first
	slices.SortStableFunc(x.groups, func(a, b group) int { return rank(a.metric) - rank(b.metric) })
	headline := headlines(result)
	for _, c := range result.Comparisons {
		g := group{c.Suite, c.Metric, c.Load, ""}
		if c.Axis != "" || x.cases[g] == nil {
			continue
		}
		if x.compared[g] == nil {
			x.compared[g] = map[string]map[[2]string]bench.Comparison{}
		}
		if x.compared[g][c.Case] == nil {
			x.compared[g][c.Case] = map[[2]string]bench.Comparison{}
		}
		pair := [2]string{c.Impl, c.To}
		x.compared[g][c.Case][pair] = c
		x.pairs[g] = appendNew(x.pairs[g], pair)
	}
	for g, pairs := range x.pairs {
		if at := slices.Index(pairs, headline[g.suite]); at > 0 {
			x.pairs[g] = slices.Insert(slices.Delete(pairs, at, at+1), 0, headline[g.suite])
		}
	}
	return x
}

// headlines are the pairs that the tables of each suite show: the first that it compares.
func headlines(result *bench.Result) map[string][2]string {
	first := map[string][2]string{}
	for _, c := range result.Comparisons {
		if _, ok := first[c.Suite]; !ok && c.Axis == "" {
			first[c.Suite] = [2]string{c.Impl, c.To}
		}
	}
	return first
}

// tables are those of each suite and metric: a row for each case, with what was measured of
// each implementation, and what the first pair comes to.
func tables(result *bench.Result) []table {
	x := matrixOf(result)
	var all []table
	for _, g := range x.groups {
		t := table{suite: g.suite, title: g.title(), header: append([]string{"case"}, x.impls[g]...)}
		comparing := len(x.pairs[g]) > 0
		var first [2]string
		if comparing {
			first = x.pairs[g][0]
			t.header = append(t.header, first[0]+" / "+first[1], "n", "verdict")
		}
		for _, name := range x.cases[g] {
			row := []string{g.suite + "/" + name}
			for _, impl := range x.impls[g] {
				m, ok := x.measured[place{g, name, impl}]
				if !ok && notRun(result, g.suite, name, impl) {
					row = append(row, "not run")
					continue
				}
				row = append(row, cell(m))
			}
			if c, ok := x.compared[g][name][first]; ok {
				row = append(row, times(ratioOf(c)), fmt.Sprint(c.N), string(c.Verdict))
			} else if comparing {
				row = append(row, "-", "-", "-")
			}
			t.rows = append(t.rows, row)
		}
		all = append(all, t)
	}
	return all
}

// furtherPairs are the comparisons of the other pairs: a row for each case, a column for
// each pair.
func furtherPairs(result *bench.Result) []table {
	x := matrixOf(result)
	var all []table
	for _, g := range x.groups {
		if len(x.pairs[g]) < 2 {
			continue
		}
		t := table{suite: g.suite, title: g.title() + ", further ratios", header: []string{"case"}}
		for _, pair := range x.pairs[g][1:] {
			t.header = append(t.header, pair[0]+" / "+pair[1])
		}
		for _, name := range x.cases[g] {
			row, found := []string{g.suite + "/" + name}, false
			for _, pair := range x.pairs[g][1:] {
				text := "-"
				if c, ok := x.compared[g][name][pair]; ok {
					text, found = times(ratioOf(c))+", "+string(c.Verdict), true
				}
				row = append(row, text)
			}
			if found {
				t.rows = append(t.rows, row)
			}
		}
		all = append(all, t)
	}
	return all
}

// order is that of the tables by metric.
var order = []string{"round-trips", "latency", "throughput", "cpu", "memory", "document-size", "webhook-calls", "conversions"}

// rank is where a metric is in that order.
func rank(metric string) int {
	if at := slices.Index(order, metric); at >= 0 {
		return at
	}
	return len(order)
}

func appendNew[T comparable](values []T, value T) []T {
	if slices.Contains(values, value) {
		return values
	}
	return append(values, value)
}
