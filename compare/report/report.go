// Package report writes what a run leaves behind: result.json for programs,
// bench.txt for benchstat, report.md for people, env.json for whoever wants to
// repeat it.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"

	"portrule.example/lab/compare/bench"
)

// resultFile is the file whose presence says that a directory holds a run.
const resultFile = "result.json"

// Prepare makes the directory of a run, so that a run which could not be written
// does not begin. It refuses a directory that holds one already.
func Prepare(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, resultFile)); err == nil {
		return fmt.Errorf("%s holds the result of another run: name another directory, or remove it", dir)
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
	environment, names := result.Environment, columns(result)
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
		for _, impl := range implementations {
			for _, taken := range samples.Impl[impl] {
				record.Name = benchfmt.Name(fmt.Sprintf("%s/%s/impl=%s", title(samples.Suite), samples.Case.Name, names[impl]))
				record.Values = []benchfmt.Value{{Value: taken.Seconds(), Unit: "sec/op"}}
				if err := out.Write(record); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// implementations, in the order of the columns.
var implementations = []string{bench.CRD, bench.Aggregated, bench.Native}

// columns are the names of the implementations with their variants.
func columns(result *bench.Result) map[string]string {
	names := map[string]string{}
	for _, impl := range implementations {
		names[impl] = impl
	}
	for _, m := range result.Measurements {
		names[base(m.Impl)] = m.Impl
	}
	return names
}

// base is an implementation without its variant.
func base(impl string) string {
	name, _, _ := strings.Cut(impl, "+")
	return name
}

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// Table writes the result for a terminal.
func Table(w io.Writer, result *bench.Result) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows(result) {
		fmt.Fprintln(tabs, strings.Join(row, "\t"))
	}
	return tabs.Flush()
}

// rows are the cells of the table, header first: a case, its medians by
// implementation, and what the aggregated server comes to in relation to the CRD.
func rows(result *bench.Result) [][]string {
	names := columns(result)
	rows := [][]string{{
		"case", names[bench.CRD], names[bench.Aggregated], names[bench.Native],
		names[bench.Aggregated] + " / " + names[bench.CRD], "verdict",
	}}
	measured := map[string]bench.Measurement{}
	var order []string
	for _, m := range result.Measurements {
		key := m.Suite + "/" + m.Case
		if len(order) == 0 || order[len(order)-1] != key {
			order = append(order, key)
		}
		measured[key+"/"+base(m.Impl)] = m
	}
	compared := map[string]bench.Comparison{}
	for _, c := range result.Comparisons {
		if base(c.Impl) == bench.Aggregated && base(c.To) == bench.CRD {
			compared[c.Suite+"/"+c.Case] = c
		}
	}
	for _, key := range order {
		row := []string{key}
		for _, impl := range implementations {
			row = append(row, latency(measured[key+"/"+impl]))
		}
		if c, ok := compared[key]; ok {
			row = append(row, fmt.Sprintf("%.2fx [%.2f, %.2f]", c.Ratio, c.Low, c.High), string(c.Verdict))
		} else {
			row = append(row, "-", "-")
		}
		rows = append(rows, row)
	}
	return rows
}

// latency prints a median and how far its interval reaches from it.
func latency(m bench.Measurement) string {
	if m.N == 0 {
		return "-"
	}
	reach := max(m.High-m.Median, m.Median-m.Low) / m.Median
	return fmt.Sprintf("%.2f ms ±%2.0f%%", m.Median/1e6, 100*reach)
}
