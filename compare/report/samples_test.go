package report

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"io"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"portrule.example/lab/compare/bench"
)

func unpack(t *testing.T, path string) []byte {
	t.Helper()
	packed, err := gzip.NewReader(bytes.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every latency can be read back, in the order of its rounds.
func TestSamples(t *testing.T) {
	dir, _, samples := written(t)
	lines, err := csv.NewReader(bytes.NewReader(unpack(t, filepath.Join(dir, "samples.csv.gz")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range lines[0] {
		column[name] = i
	}
	type key struct{ name, impl, phase string }
	got := map[key][]time.Duration{}
	for _, line := range lines[1:] {
		ns, err := strconv.ParseInt(line[column["latency_ns"]], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		k := key{line[column["case"]], line[column["impl"]], line[column["phase"]]}
		round := len(got[key{k.name, k.impl, "warm-up"}]) + len(got[key{k.name, k.impl, "steady"}])
		if line[column["suite"]] != bench.Verbs.Name || line[column["round"]] != strconv.Itoa(round) {
			t.Errorf("line %q: want the suite %s and round %d", line, bench.Verbs.Name, round)
		}
		got[k] = append(got[k], time.Duration(ns))
	}
	for _, s := range samples {
		for impl, all := range s.Impl {
			warmUp, steady := got[key{s.Case.Name, impl, "warm-up"}], got[key{s.Case.Name, impl, "steady"}]
			if len(warmUp) != s.WarmUp {
				t.Errorf("%s/%s: %d samples of the warm-up, want %d", s.Case.Name, impl, len(warmUp), s.WarmUp)
			}
			for i, d := range append(warmUp, steady...) {
				if d != all[i] {
					t.Errorf("%s/%s: round %d is %s, want %s", s.Case.Name, impl, i, d, all[i])
				}
			}
			if len(warmUp)+len(steady) != len(all) {
				t.Errorf("%s/%s: %d samples, want %d", s.Case.Name, impl, len(warmUp)+len(steady), len(all))
			}
		}
	}
}

// Every window can be read back, histograms included.
func TestWindows(t *testing.T) {
	dir, _, samples := written(t)
	count := map[string]int{}
	loops := map[string]bench.Loop{}
	for _, loop := range samples[1].Loops() {
		loops[loop.String()] = loop
	}
	lines := json.NewDecoder(bytes.NewReader(unpack(t, filepath.Join(dir, "windows.jsonl.gz"))))
	for lines.More() {
		var line window
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Case != "get" {
			t.Fatalf("there is a window of %s", line.Case)
		}
		count[line.Load]++
		want := samples[1].Windows[loops[line.Load]][line.Impl][line.Round]
		if line.Requests != want.Requests || line.Seconds != want.Elapsed.Seconds() || line.Late != want.Late || line.Dropped != want.Dropped {
			t.Errorf("%+v\nwant %+v", line, want)
		}
		for name, usage := range want.Usage {
			if line.CPU[name] != usage.CPU.Seconds() || line.Memory[name] != usage.Memory {
				t.Errorf("%s used %v s and %d bytes, want %+v", name, line.CPU[name], line.Memory[name], usage)
			}
		}
		sameHistogram(t, line.Sent, want.Sent)
		sameHistogram(t, line.Intended, want.Intended)
	}
	for load := range loops {
		if want := 12 * len(bench.Verbs.Impls); count[load] != want {
			t.Errorf("%d windows of %s, want %d", count[load], load, want)
		}
	}
}

func sameHistogram(t *testing.T, text string, want *hdrhistogram.Histogram) {
	t.Helper()
	if want == nil {
		if text != "" {
			t.Errorf("there is a histogram %q, want none", text)
		}
		return
	}
	got, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got.TotalCount() != want.TotalCount() {
		t.Errorf("the histogram has %d values, want %d", got.TotalCount(), want.TotalCount())
	}
	for _, q := range []float64{0, 50, 99, 100} {
		if got.ValueAtQuantile(q) != want.ValueAtQuantile(q) {
			t.Errorf("its quantile %g is %d, want %d", q, got.ValueAtQuantile(q), want.ValueAtQuantile(q))
		}
	}
}
