package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/perf/benchfmt"

	"portrule.example/lab/compare/bench"
)

var update = flag.Bool("update", false, "write the golden files")

// run is a run of two cases, the second of which was interrupted.
func run() (*bench.Result, []bench.Samples) {
	sample := func(name string, n int) bench.Samples {
		s := bench.Samples{Suite: "verbs", Case: bench.Case{Name: name, Cache: "warm"}, Impls: bench.Verbs.Impls, Pairs: bench.Verbs.Pairs, Impl: map[string][]time.Duration{}}
		for i := range n {
			s.Impl[bench.CRD] = append(s.Impl[bench.CRD], time.Duration(1_000_000+i))
			s.Impl[bench.Aggregated] = append(s.Impl[bench.Aggregated], time.Duration(1_500_000+2*i))
			s.Impl[bench.NameFree] = append(s.Impl[bench.NameFree], time.Duration(1_400_000+2*i))
			s.Impl[bench.Native] = append(s.Impl[bench.Native], time.Duration(900_000+i))
		}
		return s
	}
	samples := []bench.Samples{sample("create", 20), sample("get", 3)}
	result := &bench.Result{
		Schema: bench.Schema,
		Environment: bench.Environment{
			Commit: "0123456789abcdef", Command: []string{"bin/compare", "bench", "--quick"},
			Started: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
			Cluster: "embedded", Kubernetes: "v1.36.3", Libraries: "v0.36.3", Go: "go1.26", OS: "linux/amd64",
			Kernel: "6.1", CPU: "A CPU", Cores: 2, Memory: 8 << 30, Rounds: 20, WarmUp: 2,
			CRD:          "schema+policies",
			ObjectBytes:  map[string]int{"crd": 700, "aggregated": 680, "native": 700},
			ReadySeconds: map[string]float64{"controlPlane": 3.21, "implementations": 0.52},
		},
	}
	result.Measurements, result.Comparisons, result.Warnings = bench.Summarize(samples, "client-certificate", map[string]string{bench.CRD: "+policies"})
	return result, samples
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "directory")
	if err := Prepare(dir); err != nil {
		t.Fatal(err)
	}
	result, samples := run()
	if err := Write(dir, result, samples); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"report.md", "result.json", "env.json", "bench.txt"} {
		golden(t, name, read(t, filepath.Join(dir, name)))
	}
	if err := Prepare(dir); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("preparing a directory with a result: got %v, want it to be refused", err)
	}
}

func TestTable(t *testing.T) {
	result, _ := run()
	var out bytes.Buffer
	if err := Table(&out, result); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", out.Bytes())
}

// The checked-in schema describes what is written.
func TestSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("result.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	result, _ := run()
	// every implementation that a suite may have, and every metric that one has
	for _, suite := range bench.Suites {
		values := map[string][]float64{}
		for _, impl := range suite.Impls {
			values[impl] = []float64{1, 2, 3, 4, 5, 6, 7, 8}
		}
		for _, pair := range suite.Pairs {
			measurements, comparison, err := bench.Compare(suite.Name, "memory", "memory", "B", pair[0], pair[1], values)
			if err != nil {
				t.Fatal(err)
			}
			result.Measurements, result.Comparisons = append(result.Measurements, measurements...), append(result.Comparisons, comparison)
		}
	}
	encoded, err := encode(result)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(instance); err != nil {
		t.Error(err)
	}
	var broken map[string]any
	if err := json.Unmarshal(encoded, &broken); err != nil {
		t.Fatal(err)
	}
	delete(broken, "measurements")
	if schema.Validate(broken) == nil {
		t.Error("a result without measurements is valid")
	}
}

// benchstat's own reader finds every sample, and the implementation by its key.
func TestBenchmarkFormat(t *testing.T) {
	result, samples := run()
	var out bytes.Buffer
	if err := benchmarkFormat(&out, result, samples); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for reader := benchfmt.NewReader(&out, "bench.txt"); reader.Scan(); {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Fatal(record)
		case *benchfmt.Result:
			if value, ok := record.Value("sec/op"); !ok || value <= 0 {
				t.Errorf("%s has no time", record.Name)
			}
			count[record.Name.String()]++
		}
	}
	for name, want := range map[string]int{"Verbs/create/impl=crd+policies": 20, "Verbs/create/impl=aggregated": 20, "Verbs/get/impl=native": 3} {
		if count[name] != want {
			t.Errorf("%s has %d samples, want %d", name, count[name], want)
		}
	}
}

func TestPrepareRefusesWhatItCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(filepath.Join(file, "dir")); err == nil || !strings.Contains(err.Error(), "that you may write to") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

// golden compares got with a file of testdata/, or writes it: go test -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, path); !bytes.Equal(got, want) {
		t.Errorf("%s differs from the golden file; got:\n%s", name, got)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
