package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"portrule.example/lab/compare/bench"
)

// markdown writes the report that people read.
func markdown(w io.Writer, result *bench.Result) {
	e := result.Environment
	fmt.Fprintf(w, "# PortRule: CRD and aggregated API server compared\n\n")
	fmt.Fprintf(w, "Every request is an ordinary user's and goes through the kube-apiserver, unless the case\n"+
		"says otherwise. Each value is a median and how far its 95%% interval reaches from it.\n"+
		"`native` is a ConfigMap of the same size: the floor. The ratio is computed for each\n"+
		"round, in which the implementations take turns; n is the number of rounds, without those\n"+
		"that warmed the case up. A difference counts as found if the ratio's interval leaves 1\n"+
		"out at a confidence that counts all comparisons of the metric: with 95%% confidence none of\n"+
		"them finds a difference that is not there.\n")
	for _, t := range append(authTables(result), tables(result)...) {
		fmt.Fprintf(w, "\n## %s\n\n", title(t.title))
		if t.about != "" {
			fmt.Fprintf(w, "%s\n\n", t.about)
		}
		writeMarkdown(w, t.header, t.rows)
	}
	section := func(title, about string, header []string, rows [][]string) {
		if len(rows) > 0 {
			fmt.Fprintf(w, "\n## %s\n\n%s\n\n", title, about)
			writeMarkdown(w, header, rows)
		}
	}
	header, rows := tails(result)
	section("Tails", "Latency in ms, with the 95% interval of each quantile. A quantile is left out if there are too few samples for its interval. "+
		"In an open loop a request that could not be sent in time has waited since it was due.", header, rows)
	header, rows = costs(result, "cpu")
	section("CPU time of each process", "In ms for a thousand requests. What a process uses when nothing is asked of it is taken off; `client` is the harness.", header, rows)
	header, rows = costs(result, "memory")
	section("Memory of each process", "Resident, while the requests of the case came.", header, rows)
	header, rows = flows(result)
	section("The loops", "Whether the harness kept up. By Little's law the mean number of requests under way is throughput times mean latency: "+
		"if that is not what was counted, the harness took time of its own. "+
		"Late requests of an open loop were sent more than 1 ms after they were due, dropped ones not at all.", header, rows)

	fmt.Fprintf(w, "\n## The cases\n\n")
	for _, suite := range bench.Suites {
		for _, c := range slices.Concat(suite.Others, suite.Cases) {
			if measured(result, suite.Name, c.Name) {
				fmt.Fprintf(w, "- **%s/%s**: %s\n", suite.Name, c.Name, c.About)
			}
		}
	}

	if len(result.Warnings) > 0 {
		fmt.Fprintf(w, "\n## Warnings\n\n")
		for _, warning := range result.Warnings {
			fmt.Fprintf(w, "- %s\n", strings.ReplaceAll(warning, "\n", "\n  ")) // one item, however many lines
		}
	}

	fmt.Fprintf(w, "\n## Where and how\n\n")
	writeMarkdown(w, []string{"", ""}, [][]string{
		{"started", e.Started.UTC().Format(time.RFC3339)},
		{"command", "`" + commandLine(e.Command) + "`"},
		{"commit", e.Commit},
		{"cluster", e.Cluster + ", Kubernetes " + e.Kubernetes + nodeImage(e)},
		{"aggregated server", "k8s.io/apiserver " + e.Libraries},
		{"control plane ready after", fmt.Sprintf("%.1f s", e.ReadySeconds["controlPlane"])},
		{"both implementations ready after", fmt.Sprintf("%.1f s more", e.ReadySeconds["implementations"])},
		{"the CRD states the rules by", e.CRD},
		{"endpoints are kept unique", map[bool]string{true: "yes", false: "no"}[e.UniqueEndpoints]},
		{"size of an object", "as JSON, in bytes: " + sizes(e.ObjectBytes)},
		{"rounds", rounds(e)},
		{"seed", fmt.Sprint(e.Seed)},
		{"added delay", cmp.Or(strings.Join(e.Delay, ", "), "none")},
		{"machine", fmt.Sprintf("%s, %d cores, %.0f GiB", e.CPU, e.Cores, float64(e.Memory)/(1<<30))},
		{"system", e.OS + ", kernel " + e.Kernel + ", " + e.Go},
	})
	section("How quiet the machine was before the run", "Beyond its limit each of these begins to show in the figures.",
		[]string{"what", "found", "limit", "verdict"}, noises(e.Noise))
}

// commandLine prints a command so that a shell reads the same arguments.
func commandLine(command []string) string {
	var words []string
	for _, word := range command {
		if word == "" || strings.ContainsAny(word, " \t\n!\"#$&'()*;<>?[\\]^`{|}~") {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func nodeImage(e bench.Environment) string {
	if e.NodeImage == "" {
		return ""
	}
	return ", node image " + e.NodeImage
}

// rounds says how many rounds each case had.
func rounds(e bench.Environment) string {
	if e.Rounds > 0 {
		return fmt.Sprintf("%d of each case", e.Rounds)
	}
	return fmt.Sprintf("of each case as many as the intervals of its ratios took to reach %.3g%% at most, within %s for all cases",
		100*e.Precision, time.Duration(e.BudgetSeconds*float64(time.Second)))
}

// noises are what was found of each noise, and what to do about it.
func noises(found []bench.Noise) (rows [][]string) {
	for _, n := range found {
		verdict := "quiet"
		if n.Loud {
			verdict = "**loud**: " + n.Remedy
		}
		in := func(value float64) string { return strings.TrimSpace(fmt.Sprintf("%.3g %s", value, n.Unit)) }
		rows = append(rows, []string{n.Check, in(n.Value), in(n.Limit), verdict})
	}
	return rows
}

// tails are the quantiles of every latency that has some beyond the median.
func tails(result *bench.Result) (header []string, rows [][]string) {
	columns := []float64{0.9, 0.99, 0.999}
	for _, m := range result.Measurements {
		if m.Metric != "latency" || len(m.Quantiles) == 0 {
			continue
		}
		load := cmp.Or(m.Load, "one at a time")
		if m.Clock != "" {
			load += ", since it was " + since[m.Clock]
		}
		ms := func(value, low, high float64) string {
			return fmt.Sprintf("%.2f [%.2f, %.2f]", value/1e6, low/1e6, high/1e6)
		}
		row := []string{m.Suite + "/" + m.Case, m.Impl, load, fmt.Sprint(m.N), ms(m.Median, m.Low, m.High)}
		for _, q := range columns {
			text := "-"
			for _, quantile := range m.Quantiles {
				if quantile.Q == q {
					text = ms(quantile.Value, quantile.Low, quantile.High)
				}
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return []string{"case", "impl", "load", "n", "p50", "p90", "p99", "p99.9"}, rows
}

// costs are what each process used.
func costs(result *bench.Result, metric string) (header []string, rows [][]string) {
	type row struct{ suite, name, load, impl string }
	var keys []row
	var processes []string
	values := map[row]map[string]bench.Measurement{}
	for _, m := range result.Measurements {
		if m.Metric != metric || m.Process == "" || m.Process == bench.AllProcesses {
			continue
		}
		key := row{m.Suite, m.Case, m.Load, m.Impl}
		if values[key] == nil {
			keys, values[key] = append(keys, key), map[string]bench.Measurement{}
		}
		values[key][m.Process] = m
		processes = appendNew(processes, m.Process)
	}
	slices.Sort(processes)
	for _, key := range keys {
		cells := []string{key.suite + "/" + key.name + ", " + key.load, key.impl}
		for _, name := range processes {
			text := "-"
			if m, ok := values[key][name]; ok {
				text = value(m.Median, m.Unit)
			}
			cells = append(cells, text)
		}
		rows = append(rows, cells)
	}
	return append([]string{"case", "impl"}, processes...), rows
}

// flows are how the requests of the loops went.
func flows(result *bench.Result) (header []string, rows [][]string) {
	for _, m := range result.Measurements {
		if f := m.Flow; f != nil {
			rows = append(rows, []string{
				m.Suite + "/" + m.Case + ", " + m.Load, m.Impl, fmt.Sprint(f.Requests), fmt.Sprintf("%.1f s", f.Seconds),
				fmt.Sprintf("%.2f", f.InFlight), fmt.Sprintf("%.2f", f.Little), fmt.Sprint(f.Late), fmt.Sprint(f.Dropped),
			})
		}
	}
	return []string{"case", "impl", "requests", "time", "under way", "by Little's law", "late", "dropped"}, rows
}

// sizes prints the size of an object of each implementation that took part.
func sizes(bytes map[string]int) string {
	var parts []string
	for _, impl := range slices.Sorted(maps.Keys(bytes)) {
		parts = append(parts, fmt.Sprintf("%s %d", impl, bytes[impl]))
	}
	return strings.Join(parts, ", ")
}

func measured(result *bench.Result, suite, name string) bool {
	for _, m := range result.Measurements {
		if m.Suite == suite && m.Case == name {
			return true
		}
	}
	return false
}
