// Package report writes what a run leaves behind: result.json for programs,
// bench.txt for benchstat, report.html and report.md for people, env.json for whoever
// wants to repeat it, samples.csv.gz and windows.jsonl.gz for whoever wants to judge for
// themselves. [Write] writes them all, [Read] reads a run back, [Render] writes its
// reports anew. [Table] and [Changes] write for a terminal. [Figure] answers a question
// with one figure of a run, which is how the documentation gets its own.
//
// Read document.go first, after bench/result.go: it puts a report together, of parts
// that Markdown (markdown.go) and the page (page.go) both show. summary.go and
// summary_suites.go have its sentences. table.go, auth.go, curves.go, observations.go,
// details.go, environment.go and parity.go are its tables; percentiles.go,
// differences.go, growthplot.go and costplot.go its drawings, which lineplot.go, scale.go
// and svg.go have the means for; waterfalls.go takes those of package trace. units.go says
// how a number is printed, wherever that is. result.schema.json describes result.json.
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
	"strings"

	"golang.org/x/perf/benchfmt"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
)

// The files of a run: ResultFile says that a directory holds one, MatrixFile that it holds
// one of the contract. Both may be in one directory.
const (
	ResultFile = "result.json"
	MatrixFile = contract.MatrixFile
)

// The reports, for terminals and pull requests, and for browsers.
const reportFile, pageFile = "report.md", "report.html"

// Prepare makes the directory of a run, so that a run which could not be written
// does not begin. It refuses a directory that holds the file of such a run already.
func Prepare(dir, file string) error {
	if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
		return fmt.Errorf("%s holds the %s of another run: name another directory, or remove it", dir, file)
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
	// readers are told that there is nothing, not null
	result.Measurements = append([]bench.Measurement{}, result.Measurements...)
	result.Comparisons = append([]bench.Comparison{}, result.Comparisons...)
	result.Warnings = append([]string{}, result.Warnings...)
	var lines, text, page, latencies, windows bytes.Buffer
	if err := benchmarkFormat(&lines, result, samples); err != nil {
		return err
	}
	if err := errors.Join(writeSamples(&latencies, samples), writeWindows(&windows, samples)); err != nil {
		return err
	}
	result.Digest = ""
	digest, err := digestOf(result)
	if err != nil {
		return err
	}
	result.Digest = digest
	document := compose(result, readExtras(dir))
	document.markdown(&text)
	if err := document.html(&page); err != nil {
		return fmt.Errorf("make the report: %w", err)
	}
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
		{"samples.csv.gz", latencies.Bytes()},
		{"windows.jsonl.gz", windows.Bytes()},
		{reportFile, text.Bytes()},
		{pageFile, page.Bytes()},
		{ResultFile, encoded},
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

// benchmarkFormat writes each steady sample, and each window, as a line of the Go benchmark
// format (golang.org/design/14313-benchmark-format), so that
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
	record := &benchfmt.Result{}
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
			name := func(load string) benchfmt.Name {
				point := ""
				if samples.Axis != "" {
					point = fmt.Sprintf("/%s=%s", samples.Axis, sizeOf(samples))
				}
				return benchfmt.Name(fmt.Sprintf("%s/%s%s%s/impl=%s", title(samples.Suite), samples.Case.Name, point, load, cmp.Or(names[impl], impl)))
			}
			record.Name, record.Iters = name(""), 1
			for _, taken := range samples.Steady(impl) {
				record.Values = []benchfmt.Value{{Value: taken.Seconds(), Unit: "sec/op"}}
				if err := out.Write(record); err != nil {
					return err
				}
			}
			for _, loop := range samples.Loops() {
				record.Name = name("/load=" + strings.NewReplacer(", ", "-", " ", "-", "/", "-per-").Replace(loop.String()))
				for _, window := range samples.Windows[loop][impl] {
					record.Iters = window.Requests
					record.Values = []benchfmt.Value{{Value: window.Throughput(), Unit: "requests/s"}}
					if window.Usage != nil {
						record.Values = append(record.Values, benchfmt.Value{Value: window.CPU(), Unit: "cpu-ms/1000-requests"})
					}
					if err := out.Write(record); err != nil {
						return err
					}
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
