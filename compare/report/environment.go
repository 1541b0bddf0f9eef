package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"portrule.example/lab/compare/bench"
)

// environmentParts say how to repeat a run, and where and how it was made.
func environmentParts(result *bench.Result) []part {
	e := result.Environment
	rows := [][]string{
		{"started", e.Started.UTC().Format(time.RFC3339)},
		{"commit", e.Commit},
		{"cluster", e.Cluster + ", Kubernetes " + e.Kubernetes + nodeImage(e)},
		{"aggregated server", "k8s.io/apiserver " + e.Libraries},
		{"control plane ready after", fmt.Sprintf("%.1f s", e.ReadySeconds["controlPlane"])},
		{"both implementations ready after", fmt.Sprintf("%.1f s more", e.ReadySeconds["implementations"])},
		{"the CRD states the rules by", e.CRD},
		{"endpoints are kept unique", map[bool]string{true: "yes", false: "no"}[e.UniqueEndpoints]},
		{"size of an object", "as JSON, in bytes: " + cmp.Or(sizes(e.ObjectBytes), "not measured")},
		{"rounds", rounds(e)},
		{"seed", fmt.Sprint(e.Seed)},
		{"added delay", cmp.Or(strings.Join(e.Delay, ", "), "none")},
		{"machine", fmt.Sprintf("%s, %d cores, %.0f GiB", e.CPU, e.Cores, float64(e.Memory)/(1<<30))},
		{"system", e.OS + ", kernel " + e.Kernel + ", " + e.Go},
		{"digest of " + ResultFile, result.Digest},
	}
	return []part{
		{table: table{title: "To run it again"}, Command: commandLine(e.Command)},
		{table: table{title: "Environment", header: []string{"", ""}, rows: rows}, Cards: true},
		{table: table{
			title: "How quiet the machine was before the run", about: "Beyond its limit each of these begins to show in the figures.",
			header: []string{"what", "found", "limit", "verdict"}, rows: noises(e.Noise),
		}, Cards: true},
	}
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
func noises(all []bench.Noise) (rows [][]string) {
	for _, n := range all {
		verdict := "quiet"
		if n.Loud {
			verdict = "LOUD: " + n.Remedy
		}
		rows = append(rows, []string{n.Check, found(n, n.Value), found(n, n.Limit), verdict})
	}
	return rows
}

// found is a value in the unit of a noise.
func found(n bench.Noise, value float64) string {
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", value, n.Unit))
}

// sizes prints the size of an object of each implementation that took part.
func sizes(bytes map[string]int) string {
	var parts []string
	for _, impl := range slices.Sorted(maps.Keys(bytes)) {
		parts = append(parts, fmt.Sprintf("%s %d", impl, bytes[impl]))
	}
	return strings.Join(parts, ", ")
}
