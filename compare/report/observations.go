package report

import (
	"slices"

	"portrule.example/lab/compare/bench"
)

// observationTables have a row for each thing that was looked at and a column for each
// implementation: a table for each case.
func observationTables(result *bench.Result) []table {
	type key struct{ suite, name string }
	var keys []key
	impls, whats, seen := map[key][]string{}, map[key][]string{}, map[key]map[[2]string]string{}
	for _, o := range result.Observations {
		k := key{o.Suite, o.Case}
		if seen[k] == nil {
			keys, seen[k] = append(keys, k), map[[2]string]string{}
		}
		impls[k], whats[k] = appendNew(impls[k], o.Impl), appendNew(whats[k], o.What)
		cell := [2]string{o.What, o.Impl}
		if before := seen[k][cell]; before != "" && before != o.Seen {
			o.Seen = before + "; " + o.Seen
		}
		seen[k][cell] = o.Seen
	}
	var all []table
	for _, k := range keys {
		t := table{suite: k.suite, title: k.suite + "/" + k.name + ": what was seen", header: append([]string{"what"}, impls[k]...)}
		for _, what := range whats[k] {
			row := []string{what}
			for _, impl := range impls[k] {
				text := seen[k][[2]string{what, impl}]
				if text == "" && notRun(result, k.suite, k.name, impl) {
					text = "not run"
				}
				row = append(row, orDash(text))
			}
			t.rows = append(t.rows, row)
		}
		all = append(all, t)
	}
	return all
}

// notRun is whether the result says that a case of an implementation could not be measured.
func notRun(result *bench.Result, suite, name, impl string) bool {
	return slices.ContainsFunc(result.NotRun, func(n bench.NotRun) bool {
		return n.Suite == suite && (n.Case == "" || n.Case == name) && (n.Impl == "" || n.Impl == impl)
	})
}

// notRunTable says what was asked for and could not be measured, and why.
func notRunTable(result *bench.Result) table {
	t := table{title: "what was not run, and why", header: []string{"what", "why"}}
	for _, n := range result.NotRun {
		what := "the suite " + n.Suite
		if n.Case != "" {
			what = n.Suite + "/" + n.Case
		}
		if n.Impl != "" {
			what += ", " + n.Impl
		}
		t.rows = append(t.rows, []string{what, n.Why})
	}
	return t
}

// missingSuites says which suites have nothing in the result, and why.
func missingSuites(result *bench.Result) (rows [][]string) {
	why := "not asked for"
	if _, interrupted := interruption(result); interrupted {
		why = "not asked for, or the run ended before"
	}
	for _, suite := range bench.Suites {
		has := slices.ContainsFunc(result.Measurements, func(m bench.Measurement) bool { return m.Suite == suite.Name }) ||
			slices.ContainsFunc(result.Observations, func(o bench.Observation) bool { return o.Suite == suite.Name })
		told := slices.ContainsFunc(result.NotRun, func(n bench.NotRun) bool { return n.Suite == suite.Name && n.Case == "" })
		if !has && !told {
			rows = append(rows, []string{"the suite " + suite.Name + ": " + suite.About, why})
		}
	}
	return rows
}
