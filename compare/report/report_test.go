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

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/perf/benchfmt"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/process"
)

var update = flag.Bool("update", false, "write the golden files")

// pace is the latency of each implementation in the runs of these tests.
var pace = map[string]time.Duration{
	bench.CRD: 2 * time.Millisecond, bench.Aggregated: 3 * time.Millisecond,
	bench.NameFree: 2500 * time.Microsecond, bench.Native: 1800 * time.Microsecond,
}

// spread lets the i-th of several values differ from the others by 9% at most.
func spread(d time.Duration, i int) time.Duration { return d + d*time.Duration(i*7%19-9)/100 }

// taken are the samples of a case without windows.
func taken(name, cache string, rounds, warmUp int) bench.Samples {
	s := bench.Samples{
		Suite: bench.Verbs.Name, Case: bench.Case{Name: name, Cache: cache}, Impls: bench.Verbs.Impls, Pairs: bench.Verbs.Pairs,
		Impl: map[string][]time.Duration{}, WarmUp: warmUp, Windows: map[bench.Loop]map[string][]bench.Window{},
	}
	for impl, latency := range pace {
		for i := range rounds {
			d := spread(latency, i)
			if i < warmUp {
				d *= 10
			}
			s.Impl[impl] = append(s.Impl[impl], d)
		}
	}
	return s
}

// windows adds as many windows of a loop to the samples of a case.
func windows(s *bench.Samples, loop bench.Loop, n int) {
	const requests = 400
	s.Windows[loop] = map[string][]bench.Window{}
	for impl, latency := range pace {
		for i := range n {
			w := bench.Window{Requests: requests, Sent: hdrhistogram.New(1000, int64(time.Minute), 3)}
			if loop.Rate > 0 {
				w.Intended = hdrhistogram.New(1000, int64(time.Minute), 3)
				w.Late, w.Dropped = i%3, i%2
				w.Elapsed = spread(time.Duration(requests/loop.Rate*float64(time.Second)), i)
			} else {
				// on two processors, each waits for those before it
				latency := latency * time.Duration(loop.Clients) / 2
				w.Elapsed = spread(requests*latency/time.Duration(loop.Clients), i)
			}
			for k := range requests {
				took := spread(spread(latency, k), i)
				if loop.Rate == 0 {
					took = took * time.Duration(loop.Clients) / 2
				}
				_ = w.Sent.RecordValue(int64(took))
				if w.Intended != nil {
					_ = w.Intended.RecordValue(int64(took + time.Duration(k%50)*20*time.Microsecond))
				}
			}
			w.InFlight = w.Little()
			w.Usage = map[string]process.Usage{
				"kube-apiserver": {CPU: spread(requests*latency/2, i), Memory: 400 << 20},
				"etcd":           {CPU: spread(requests*latency/10, i), Memory: 60<<20 + uint64(i)<<20},
				process.Self:     {CPU: spread(requests*latency/5, i), Memory: 50 << 20},
			}
			s.Windows[loop][impl] = append(s.Windows[loop][impl], w)
		}
	}
}

// run is a run of a case, of another that is loaded too, and of one that was interrupted.
// variants are what guards the implementations.
func run(variants map[string]string) (*bench.Result, []bench.Samples) {
	loaded := taken("get", "warm", 62, 2)
	windows(&loaded, bench.Loop{Clients: 8}, 12)
	windows(&loaded, bench.Loop{Rate: 200}, 12)
	samples := []bench.Samples{taken("create", "warm", 20, 2), loaded, taken("list", "warm", 3, 2)}
	result := &bench.Result{
		Schema: bench.Schema,
		Environment: bench.Environment{
			Commit: "0123456789abcdef", Command: []string{"bin/compare", "bench", "--rate", "200", "--fail-on", "crd/get p50 > 5ms"},
			Started: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
			Cluster: "embedded", Kubernetes: "v1.36.3", Libraries: "v0.36.3", Go: "go1.26", OS: "linux/amd64",
			Kernel: "6.1", CPU: "A CPU", Cores: 2, Memory: 8 << 30,
			Seed: 7, Precision: 0.03, BudgetSeconds: 225, Delay: []string{"apiserver-server=5ms"},
			Noise: []bench.Noise{
				{Check: "the processors' time that others use", Value: 3.14159, Unit: "%", Limit: 15},
				{Check: "the load of the last minute for each processor", Value: 1.5, Limit: 0.7, Loud: true, Remedy: "wait until it has gone down, or end what else runs"},
			},
			CRD:          "schema" + variants[bench.CRD],
			ObjectBytes:  map[string]int{"crd": 700, "aggregated": 680, "native": 700},
			ReadySeconds: map[string]float64{"controlPlane": 3.21, "implementations": 0.52},
		},
	}
	result.Measurements, result.Comparisons, result.Warnings = bench.Summarize(samples, "client-certificate", variants)
	return result, samples
}

// written is the directory of such a run.
func written(t *testing.T) (string, *bench.Result, []bench.Samples) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "directory")
	if err := Prepare(dir, ResultFile); err != nil {
		t.Fatal(err)
	}
	result, samples := run(nil)
	if err := Write(dir, result, samples); err != nil {
		t.Fatal(err)
	}
	return dir, result, samples
}

func TestWrite(t *testing.T) {
	dir, _, _ := written(t)
	for _, name := range []string{"report.md", "result.json", "env.json", "bench.txt"} {
		golden(t, name, read(t, filepath.Join(dir, name)))
	}
	if err := Prepare(dir, ResultFile); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("preparing a directory with a result: got %v, want it to be refused", err)
	}
}

func TestTable(t *testing.T) {
	result, _ := run(nil)
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
	result, _ := run(map[string]string{bench.CRD: "+policies"})
	if result.Digest, err = digestOf(result); err != nil {
		t.Fatal(err)
	}
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

// benchstat's own reader finds every steady sample and every window, and the implementation
// by its key.
func TestBenchmarkFormat(t *testing.T) {
	result, samples := run(map[string]string{bench.CRD: "+policies", bench.NameFree: "+unique"})
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
			unit := "sec/op"
			if bytes.Contains(record.Name.Full(), []byte("/load=")) {
				unit = "requests/s"
				if value, ok := record.Value("cpu-ms/1000-requests"); !ok || value <= 0 {
					t.Errorf("%s has no CPU time", record.Name)
				}
			}
			value, ok := record.Value(unit)
			if !ok || value <= 0 {
				t.Errorf("%s has no %s", record.Name, unit)
			}
			if unit == "sec/op" && value > 0.01 {
				t.Errorf("%s has %v s, which is of the warm-up", record.Name, value)
			}
			count[record.Name.String()]++
		}
	}
	for name, want := range map[string]int{
		"Verbs/create/impl=crd+policies": 18, "Verbs/create/impl=aggregated": 18,
		"Verbs/create/impl=aggregated+name-free+unique":     18,
		"Verbs/list/impl=native":                            1,
		"Verbs/get/load=closed-8-clients/impl=crd+policies": 12,
		"Verbs/get/load=open-200-per-s/impl=aggregated":     12,
	} {
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
	if err := Prepare(filepath.Join(file, "dir"), ResultFile); err == nil || !strings.Contains(err.Error(), "that you may write to") {
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
	want := read(t, path)
	if bytes.Equal(got, want) {
		return
	}
	gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Errorf("%s:%d: got %s\nwant %s\n\"go test ./compare/report -update\" writes it anew", path, i+1, gotLines[i], wantLines[i])
			return
		}
	}
	t.Errorf("%s has %d lines, want %d", path, len(gotLines), len(wantLines))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
