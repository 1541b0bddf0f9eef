// Package report writes what a run leaves behind: result.json for programs,
// bench.txt for benchstat, report.md for people, env.json for whoever wants to
// repeat it.
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"

	"portrule.example/lab/compare/bench"
)

// resultFile is the file whose presence says that a directory holds a run; matrixFile
// says so of a run of the contract.
const resultFile, matrixFile = "result.json", "parity.json"

// Prepare makes the directory of a run, so that a run which could not be written
// does not begin. It refuses a directory that holds one already.
func Prepare(dir string) error {
	for _, file := range []string{resultFile, matrixFile} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return fmt.Errorf("%s holds the result of another run: name another directory, or remove it", dir)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the results: %w; name one that you may write to", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("write to the directory of the results: %w; name one that you may write to", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Write writes the files of a run into dir.
func Write(dir string, result *bench.Result, samples []bench.Samples) error {
	var lines, text bytes.Buffer
	if err := benchmarkFormat(&lines, result, samples); err != nil {
		return err
	}
	markdown(&text, result)
	encoded, err := encode(result)
	if err != nil {
		return err
	}
	environment, err := encode(result.Environment)
	if err != nil {
		return err
	}
	// the one that says that a run is there comes last
	for _, file := range []struct {
		name string
		data []byte
	}{
		{"env.json", environment},
		{"bench.txt", lines.Bytes()},
		{"report.md", text.Bytes()},
		{resultFile, encoded},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name), file.data, 0o644); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	return nil
}

func encode(value any) ([]byte, error) {
	data, err := json.MarshalIndent(value, "", "  ")
	return append(data, '\n'), err
}

// benchmarkFormat writes each sample as a line of the Go benchmark format
// (golang.org/design/14313-benchmark-format), so that
//
//	benchstat -col /impl bench.txt
//
// compares the implementations.
func benchmarkFormat(w io.Writer, result *bench.Result, all []bench.Samples) error {
	environment, names := result.Environment, map[string]string{}
	for _, m := range result.Measurements {
		names[base(m.Impl)] = m.Impl
	}
	out := benchfmt.NewWriter(w)
	record := &benchfmt.Result{Iters: 1}
	for _, config := range [][2]string{
		{"commit", environment.Commit}, {"cluster", environment.Cluster},
		{"kubernetes", environment.Kubernetes}, {"cpu", environment.CPU},
	} {
		record.SetConfig(config[0], config[1])
	}
	for i := range record.Config {
		record.Config[i].File = true
	}
	for _, samples := range all {
		for _, impl := range samples.Impls {
			for _, taken := range samples.Impl[impl] {
				record.Name = benchfmt.Name(fmt.Sprintf("%s/%s/impl=%s", title(samples.Suite), samples.Case.Name, cmp.Or(names[impl], impl)))
				record.Values = []benchfmt.Value{{Value: taken.Seconds(), Unit: "sec/op"}}
				if err := out.Write(record); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// base is an implementation without what guards it: crd of crd+policies.
func base(impl string) string {
	if strings.HasPrefix(impl, bench.NameFree) {
		return bench.NameFree
	}
	name, _, _ := strings.Cut(impl, "+")
	return name
}

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// Table writes the result for a terminal, a table for each suite.
func Table(w io.Writer, result *bench.Result) error {
	for i, rows := range tables(result) {
		if i > 0 {
			fmt.Fprintln(w)
		}
		tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range rows {
			fmt.Fprintln(tabs, strings.Join(row, "\t"))
		}
		if err := tabs.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// tables are the cells of each suite's table, header first: a case, what was measured
// of each implementation, and what the first comparison of the suite comes to.
func tables(result *bench.Result) [][][]string {
	var suites []string
	cases, impls := map[string][]string{}, map[string][]string{}
	measured := map[[3]string]bench.Measurement{}
	for _, m := range result.Measurements {
		suites = appendNew(suites, m.Suite)
		cases[m.Suite] = appendNew(cases[m.Suite], m.Case)
		impls[m.Suite] = appendNew(impls[m.Suite], m.Impl)
		measured[[3]string{m.Suite, m.Case, m.Impl}] = m
	}
	headline, compared := map[string]bench.Comparison{}, map[[2]string]bench.Comparison{}
	for _, c := range result.Comparisons {
		if _, ok := headline[c.Suite]; !ok {
			headline[c.Suite] = c
		}
		if first := headline[c.Suite]; c.Impl == first.Impl && c.To == first.To {
			compared[[2]string{c.Suite, c.Case}] = c
		}
	}
	var all [][][]string
	for _, suite := range suites {
		header := append([]string{"case"}, impls[suite]...)
		if first, ok := headline[suite]; ok {
			header = append(header, first.Impl+" / "+first.To, "verdict")
		}
		rows := [][]string{header}
		for _, name := range cases[suite] {
			row := []string{suite + "/" + name}
			for _, impl := range impls[suite] {
				row = append(row, cell(measured[[3]string{suite, name, impl}]))
			}
			if c, ok := compared[[2]string{suite, name}]; ok {
				row = append(row, fmt.Sprintf("%.2fx [%.2f, %.2f]", c.Ratio, c.Low, c.High), string(c.Verdict))
			} else if len(headline) > 0 {
				row = append(row, "-", "-")
			}
			rows = append(rows, row)
		}
		all = append(all, rows)
	}
	return all
}

func appendNew(values []string, value string) []string {
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
	reach := fmt.Sprintf("±%2.0f%%", 100*max(m.High-m.Median, m.Median-m.Low)/m.Median)
	if m.Unit == "B" {
		return fmt.Sprintf("%.1f MiB %s", m.Median/(1<<20), reach)
	}
	return fmt.Sprintf("%.2f ms %s", m.Median/1e6, reach)
}
