package report

import (
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
	fmt.Fprintf(w, "Latency of one request at a time, as an ordinary user, through the kube-apiserver,\n"+
		"unless the case says otherwise.\n"+
		"Each value is the median of %d samples and how far its 95%% interval reaches.\n"+
		"`native` is a ConfigMap of the same size: the floor. The ratio is computed for each\n"+
		"round, and a difference counts as found if the interval of the ratio leaves 1 out.\n\n", e.Rounds)

	for i, rows := range tables(result) {
		if i > 0 {
			fmt.Fprintln(w)
		}
		for i, row := range rows {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
			}
		}
	}

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
			fmt.Fprintf(w, "- %s\n", warning)
		}
	}

	fmt.Fprintf(w, "\n## Where and how\n\n")
	fmt.Fprintf(w, "| | |\n|---|---|\n")
	for _, row := range [][2]string{
		{"started", e.Started.UTC().Format(time.RFC3339)},
		{"command", "`" + strings.Join(e.Command, " ") + "`"},
		{"commit", e.Commit},
		{"cluster", e.Cluster + ", Kubernetes " + e.Kubernetes},
		{"aggregated server", "k8s.io/apiserver " + e.Libraries},
		{"control plane ready after", fmt.Sprintf("%.1f s", e.ReadySeconds["controlPlane"])},
		{"both implementations ready after", fmt.Sprintf("%.1f s more", e.ReadySeconds["implementations"])},
		{"the CRD states the rules by", e.CRD},
		{"size of an object", "as JSON, in bytes: " + sizes(e.ObjectBytes)},
		{"rounds", fmt.Sprintf("%d, after %d to warm up", e.Rounds, e.WarmUp)},
		{"machine", fmt.Sprintf("%s, %d cores, %.0f GiB", e.CPU, e.Cores, float64(e.Memory)/(1<<30))},
		{"system", e.OS + ", kernel " + e.Kernel + ", " + e.Go},
	} {
		fmt.Fprintf(w, "| %s | %s |\n", row[0], row[1])
	}
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
