package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/relay"
	"portrule.example/lab/compare/report"
)

// table returns a generated table, or list, of a page.
func (d *documentation) table(page string, words []string) (string, error) {
	if len(words) == 0 {
		words = []string{""}
	}
	about := ""
	if len(words) > 1 {
		about = words[1]
	}
	switch words[0] {
	case "environment":
		return d.environment(), nil
	case "summary":
		if run := d.runs[about]; run != nil {
			return list(report.Summary(run.Result, run.parity)), nil
		}
		return "", fmt.Errorf("there is no run %q", about)
	case "warnings":
		if run := d.runs[about]; run != nil {
			return list(append(slices.Clone(run.Warnings), "The harness found no reason for another warning.")), nil
		}
		return "", fmt.Errorf("there is no run %q", about)
	case "results":
		return d.results(about)
	case "cells":
		return d.cells()
	case "curves":
		return d.curves()
	case "areas":
		return d.areas(page), nil
	case "differences":
		return d.differences(page, about)
	case "published":
		return d.published(page), nil
	}
	return "", fmt.Errorf("there is no table %q", words[0])
}

func list(items []string) string {
	var out strings.Builder
	for _, item := range items {
		fmt.Fprintf(&out, "- %s\n", plain(item))
	}
	return out.String()
}

// rows writes a table. Its cells are Markdown.
func rows(header []string, all [][]string) string {
	var out strings.Builder
	for i, row := range append([][]string{header}, all...) {
		fmt.Fprintf(&out, "| %s |\n", strings.ReplaceAll(strings.Join(row, " | "), "\n", " "))
		if i == 0 {
			fmt.Fprintf(&out, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	return out.String()
}

// plain makes text mean itself in Markdown, also in a cell.
func plain(text string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`).Replace(text)
}

func (d *documentation) environment() string {
	var all [][]string
	add := func(what string, of func(bench.Environment) string) {
		all = append(all, []string{what, of(d.runs[embedded].Environment), of(d.runs[kind].Environment)})
	}
	add("begun", func(e bench.Environment) string { return e.Started.UTC().Format(time.DateTime) + " UTC" })
	add("commit", func(e bench.Environment) string { return e.Commit[:min(12, len(e.Commit))] })
	add("Kubernetes", func(e bench.Environment) string { return e.Kubernetes })
	add("k8s.io/apiserver in the server", func(e bench.Environment) string { return e.Libraries })
	add("Go", func(e bench.Environment) string { return e.Go })
	add("processors", func(e bench.Environment) string { return fmt.Sprintf("%d of %s", e.Cores, e.CPU) })
	add("memory", func(e bench.Environment) string { return fmt.Sprintf("%.0f GiB", float64(e.Memory)/(1<<30)) })
	add("system", func(e bench.Environment) string { return e.OS + ", Linux " + e.Kernel })
	add("size of an object as JSON", func(e bench.Environment) string {
		return fmt.Sprintf("%d B (CRD), %d B (server)", e.ObjectBytes[bench.CRD], e.ObjectBytes[bench.Aggregated])
	})
	for i := range all {
		for j := range all[i] {
			all[i][j] = plain(all[i][j])
		}
	}
	return rows([]string{"", "embedded", "kind"}, all)
}

// results are the comparisons of a suite: latencies of one request at a time.
func (d *documentation) results(suite string) (string, error) {
	others := map[string]string{}
	name := func(c bench.Comparison) string { return c.Case + ": " + c.Impl + " / " + c.To }
	ours := func(c bench.Comparison) bool {
		return c.Suite == suite && c.Metric == "latency" && c.Load == "" && c.Axis == ""
	}
	for _, c := range d.runs[kind].Comparisons {
		if ours(c) {
			others[name(c)] = fmt.Sprintf("%.2fx [%.2f, %.2f], %s", c.Ratio, c.Low, c.High, c.Verdict)
		}
	}
	var all [][]string
	for _, c := range d.runs[embedded].Comparisons {
		if !ours(c) || suite == bench.Verbs.Name && c.To != bench.CRD {
			continue
		}
		row := []string{c.Case, c.Impl, "", c.To, "", fmt.Sprintf("%.2fx [%.2f, %.2f]", c.Ratio, c.Low, c.High), string(c.Verdict), others[name(c)]}
		for at, impl := range map[int]string{2: c.Impl, 4: c.To} {
			value, err := report.Figure(d.runs[embedded].Result, fmt.Sprintf("%s/%s %s latency", suite, c.Case, impl))
			if err != nil {
				return "", fmt.Errorf("%s/%s %s: %w", suite, c.Case, impl, err)
			}
			row[at] = value
		}
		if row[7] == "" {
			row[7] = "-"
		}
		all = append(all, row)
	}
	if len(all) == 0 {
		return "", fmt.Errorf("the run has no comparison of the suite %q", suite)
	}
	return rows([]string{"case", "", "takes", "to", "takes", "ratio", "verdict", "on kind"}, all), nil
}

// cells are those of the suite auth by client certificate through the kube-apiserver.
func (d *documentation) cells() (string, error) {
	type cell struct{ name, impl, cache string }
	var cells []cell
	for _, m := range d.runs[embedded].Measurements {
		c := cell{m.Case, m.Impl, m.Cache}
		if m.Suite == bench.Auth.Name && m.Load == "" && m.Metric == "round-trips" && m.Link == relay.Server &&
			m.Path == bench.ViaAPIServer && m.Credential == bench.ByCertificate && !slices.Contains(cells, c) {
			cells = append(cells, c)
		}
	}
	var all [][]string
	for _, c := range cells {
		cache := ""
		if c.cache != "" {
			cache = " cache=" + c.cache
		}
		row := []string{c.name, c.impl, c.cache}
		for _, ask := range []string{"round-trips link=" + relay.Server, "round-trips link=" + relay.Reviews, "round-trips link=" + relay.Etcd, "subjectaccessreviews", "latency"} {
			for _, run := range []string{embedded, kind} {
				if run == kind && ask != "latency" {
					continue
				}
				value, err := report.Figure(d.runs[run].Result, fmt.Sprintf("auth/%s %s %s%s", c.name, c.impl, ask, cache))
				switch {
				case err == nil:
				case run == kind:
					value = "-"
				default:
					return "", fmt.Errorf("%s %s %s: %w", c.name, c.impl, ask, err)
				}
				row = append(row, value)
			}
		}
		all = append(all, row)
	}
	if len(all) == 0 {
		return "", fmt.Errorf("the run has nothing of the suite auth")
	}
	return rows([]string{"request", "of", "cache", "to the server", "server asks back", "to etcd", "access reviews", "takes", "on kind"}, all), nil
}

func (d *documentation) curves() (string, error) {
	var all [][]string
	for _, f := range d.runs[embedded].Fits {
		what := f.Case
		if f.Metric != "latency" {
			what += ", " + f.Metric
		}
		row := []string{what, f.Impl, fmt.Sprintf("%s to %s %s", number(f.From), number(f.To), f.Axis), string(f.Growth), "-", fmt.Sprintf("%.3f", f.R2), "-", "-"}
		ask := func(run, key string) string {
			question := fmt.Sprintf("%s/%s %s %s %s", f.Suite, f.Case, f.Impl, f.Metric, key)
			question += " axis=" + string(f.Axis)
			if f.Process != "" {
				question += " process=" + f.Process
			}
			if value, err := report.Figure(d.runs[run].Result, question); err == nil {
				return value
			}
			return "-"
		}
		row[4], row[7] = ask(embedded, "fit.perUnit"), ask(kind, "fit.perUnit")
		if f.Projection != nil {
			row[6] = fmt.Sprintf("%s at %s", ask(embedded, "fit.projection"), number(f.Projection.Size))
		}
		all = append(all, row)
	}
	if len(all) == 0 {
		return "", fmt.Errorf("the run has no curves")
	}
	return rows([]string{"case", "of", "measured from", "grows", "for each further one", "R²", "projected", "on kind, for each"}, all), nil
}

// number prints a size: 10,000.
func number(n float64) string {
	text := strconv.FormatFloat(math.Round(n), 'f', -1, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// areas counts the verdicts, with the page and the lab of each area.
func (d *documentation) areas(page string) string {
	verdicts := []contract.Verdict{contract.Same, contract.Differs, contract.CRDOnly, contract.AggregatedOnly, contract.NotRun, contract.Unexpected}
	counts := map[string]map[contract.Verdict]int{}
	var names []string
	for _, entry := range d.runs[embedded].parity.Cases {
		if counts[entry.Area] == nil {
			counts[entry.Area] = map[contract.Verdict]int{}
			names = append(names, entry.Area)
		}
		counts[entry.Area][entry.Verdict]++
	}
	header := []string{"area", "page", "lab"}
	for _, verdict := range verdicts {
		header = append(header, string(verdict))
	}
	var all [][]string
	for _, name := range names {
		guide := contract.Guides[name]
		row := []string{name, guideLink(page, guide.Doc), guideLink(page, guide.Lab)}
		for _, verdict := range verdicts {
			text := "-"
			if n := counts[name][verdict]; n > 0 {
				text = fmt.Sprint(n)
			}
			row = append(row, text)
		}
		all = append(all, row)
	}
	return rows(header, all)
}

func guideLink(page, target string) string {
	if target == "" {
		return "-"
	}
	name := strings.TrimSuffix(filepath.Base(target), ".md")
	if strings.HasPrefix(target, "labs/") {
		name, target = strings.TrimLeft(name[:2], "0"), target+"/README.md"
	}
	return fmt.Sprintf("[%s](%s)", name, relative(page, target))
}

// differences are the cases of the areas of a page that did not come out the same.
func (d *documentation) differences(page, doc string) (string, error) {
	// kind has what the embedded control plane lacks, a controller manager
	elsewhere := map[string]contract.Entry{}
	for _, entry := range d.runs[kind].parity.Cases {
		elsewhere[entry.ID] = entry
	}
	var all [][]string
	for _, entry := range d.runs[embedded].parity.Cases {
		if other, ok := elsewhere[entry.ID]; ok && entry.Verdict == contract.NotRun {
			entry = other
		}
		if guide := contract.Guides[entry.Area]; entry.Verdict == contract.Same || guide.Doc != "docs/"+doc+".md" {
			continue
		}
		file, ok := d.cases[entry.ID]
		if !ok {
			return "", fmt.Errorf("no file has the case %s any more: run \"make parity\" again", entry.ID)
		}
		all = append(all, []string{
			fmt.Sprintf("[%s](%s)", entry.ID, relative(page, file)), plain(entry.Ask), short(entry.CRD), short(entry.Aggregated), plain(entry.Reason), guideLink(page, contract.Guides[entry.Area].Lab),
		})
	}
	if len(all) == 0 {
		return "", fmt.Errorf("no case of a page %q differs", doc)
	}
	return rows([]string{"case", "asked", "CRD", "server", "why", "lab"}, all), nil
}

// longest is how much of an answer the table has: parity.json has all of it.
const longest = 90

func short(answer string) string {
	if answer == "" {
		return "-"
	}
	if letters := []rune(answer); len(letters) > longest {
		answer = strings.TrimSpace(string(letters[:longest])) + "…"
	}
	return plain(answer)
}

var caseID = regexp.MustCompile(`\bID: "([a-z0-9-]+/[a-z0-9-]+)"`)

// findCases notes which file has which case.
func (d *documentation) findCases() error {
	d.cases = map[string]string{}
	files, err := filepath.Glob(filepath.Join(d.root, "compare", "contract", "cases_*.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, match := range caseID.FindAllStringSubmatch(string(text), -1) {
			d.cases[match[1]] = "compare/contract/" + filepath.Base(file)
		}
	}
	return nil
}

// said is what a published table says of a row, and what has become of it.
type said struct{ row, crd, aggregated, now string }

// published compares the rows of the tables of the Kubernetes documentation with the cases
// that are instances of them.
func (d *documentation) published(page string) string {
	var all [][]string
	for _, s := range publishedRows {
		count := map[contract.Verdict]int{}
		for _, entry := range d.runs[embedded].parity.Cases {
			if slices.Contains(entry.Rows, s.row) {
				count[entry.Verdict]++
			}
		}
		var parts []string
		for _, verdict := range []contract.Verdict{contract.Same, contract.Differs, contract.CRDOnly, contract.AggregatedOnly, contract.NotRun} {
			if n := count[verdict]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, verdict))
			}
		}
		all = append(all, []string{s.row, s.crd, s.aggregated, strings.Join(parts, ", "), strings.ReplaceAll(s.now, "](", "]("+strings.TrimSuffix(relative(page, "docs/x"), "x"))})
	}
	return rows([]string{"row", "says of CRDs", "says of servers", "cases here", "in 1.36"}, all)
}
