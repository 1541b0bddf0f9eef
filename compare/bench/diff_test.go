package bench

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// latencies is a result with the latency of get by each implementation, in ms, each with
// an interval of 2% to both sides.
func latencies(crd, aggregated, native float64) *Result {
	r := &Result{}
	for impl, ms := range map[string]float64{CRD: crd, Aggregated: aggregated, Native: native} {
		if ms == 0 {
			continue
		}
		m := Measurement{Suite: "verbs", Case: "get", Impl: impl, Path: "kube-apiserver", Metric: "latency", Unit: "ns", N: 500, Median: ms * 1e6, Low: ms * 0.98e6, High: ms * 1.02e6}
		m.Quantiles = []Quantile{{Q: 0.99, Value: 2 * m.Median, Low: 1.9 * m.Median, High: 2.2 * m.Median}}
		if impl == Aggregated {
			m.Cache = "warm"
		}
		r.Measurements = append(r.Measurements, m)
	}
	slices.SortFunc(r.Measurements, func(a, b Measurement) int { return strings.Compare(a.Impl, b.Impl) })
	return r
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after *Result
		want          map[string]Verdict // of p50; others have no difference
		moved         []string
	}{
		{"a run with itself", latencies(1, 1.5, 0.8), latencies(1, 1.5, 0.8), nil, nil},
		{"the server is slower", latencies(1, 1.5, 0.8), latencies(1, 6.5, 0.8), map[string]Verdict{Aggregated: Slower}, nil},
		{"the CRD is faster", latencies(1, 1.5, 0.8), latencies(0.5, 1.5, 0.8), map[string]Verdict{CRD: Faster}, nil},
		{"less than the threshold", latencies(1, 1.5, 0.8), latencies(1.06, 1.5, 0.8), nil, nil},
		{"the machine is slower", latencies(1, 1.5, 0.8), latencies(2, 3, 1.6), nil, []string{Aggregated, CRD, Native}},
		{"the machine and the server", latencies(1, 1.5, 0.8), latencies(2, 9, 1.6), map[string]Verdict{Aggregated: Slower}, []string{CRD, Native}},
		{"the way to the kube-apiserver is longer", latencies(1, 1.5, 0.8), latencies(6, 6.5, 5.8), nil, []string{Aggregated, CRD, Native}},
		{"without a floor", latencies(1, 1.5, 0), latencies(1, 3, 0), map[string]Verdict{Aggregated: Slower}, nil},
	} {
		changes, err := Diff(c.before, c.after)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, change := range changes {
			if change.Quantile != 0.5 {
				continue
			}
			want := c.want[change.Row.Impl]
			if want == "" {
				want = NoDifference
			}
			if change.Verdict != want {
				t.Errorf("%s: %s is %s (%v [%v, %v]), want %s", c.name, change.Row.Impl, change.Verdict, change.Ratio, change.Low, change.High, want)
			}
			if got := slices.Contains(c.moved, change.Row.Impl); change.FloorMoved != got {
				t.Errorf("%s: the floor has moved for %s: %t, want %t", c.name, change.Row.Impl, change.FloorMoved, got)
			}
		}
	}
	other := latencies(1, 1, 1)
	for i := range other.Measurements {
		other.Measurements[i].Suite = "auth"
	}
	if _, err := Diff(latencies(1, 1, 1), other); !errors.Is(err, ErrNothingInCommon) {
		t.Errorf("two runs with nothing in common: %v", err)
	}
	if _, err := Diff(&Result{}, &Result{}); !errors.Is(err, ErrNothingInCommon) {
		t.Errorf("two empty runs: %v", err)
	}
}

func TestGate(t *testing.T) {
	before, after := latencies(1, 1.5, 0.8), latencies(1, 1.8, 0.8)
	for _, c := range []struct {
		gate   string
		failed bool
	}{
		{"aggregated/get p50 > +10%", true},
		{"verbs/aggregated/get p50 > +10%", true},
		{"aggregated/get p50 > +50%", false},
		// its interval holds the limit: that it is beyond is not sure
		{"aggregated/get p50 > +19%", false},
		{"crd/get p50 > +1%", false},
		{"crd/get p50 < -5%", false},
		{"aggregated/get p50 < +5%", false},
		{"aggregated/get p50 > 1ms", true},
		{"aggregated/get p50 > 1800µs", false},
		{"aggregated/get p99 > 3ms", true},
		{"aggregated/get p99 > +5%", false},
		{"aggregated/get p50 > 1.5x crd", true},
		{"aggregated/get p50 > 1.8x crd", false},
		{"crd/get p50 < 1.5x native", true},
	} {
		gate, err := ParseGate(c.gate)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if err := gate.Check([]Suite{Verbs}, nil, func(c Case) bool { return c.Loaded }); err != nil {
			t.Errorf("%s: %v", c.gate, err)
		}
		changes, err := Diff(before, after)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := gate.Apply(after, changes)
		if err != nil || len(outcomes) != 1 {
			t.Errorf("%s: %v, %v, want one outcome", c.gate, outcomes, err)
			continue
		}
		if outcomes[0].Failed != c.failed {
			t.Errorf("%s: failed %t, want %t: %s", c.gate, outcomes[0].Failed, c.failed, outcomes[0].What)
		}
		if !strings.Contains(outcomes[0].What, c.gate) {
			t.Errorf("%s: the outcome does not name it: %s", c.gate, outcomes[0].What)
		}
	}
	// the other side may have a cache, or a variant, and the one not
	variant := latencies(1, 1.5, 0.8)
	for i := range variant.Measurements {
		if variant.Measurements[i].Impl == CRD {
			variant.Measurements[i].Impl = "crd+policies"
		}
	}
	for _, text := range []string{"aggregated/get p50 > 1.2x crd+policies", "crd+policies/get p50 < 0.8x aggregated"} {
		gate, err := ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		if outcomes, err := gate.Apply(variant, nil); err != nil || !outcomes[0].Failed {
			t.Errorf("%s: %v, %v, want it to fail", text, outcomes, err)
		}
	}
	// a machine that has become slower fails nobody's run
	gate, _ := ParseGate("aggregated/get p50 > +10%")
	slower := latencies(2, 3, 1.6)
	changes, err := Diff(before, slower)
	if err != nil {
		t.Fatal(err)
	}
	if outcomes, err := gate.Apply(slower, changes); err != nil || outcomes[0].Failed {
		t.Errorf("a slower machine: %v, %v", outcomes, err)
	}
	for _, text := range []string{"aggregated/create p50 > 1ms", "aggregated/get p99.9 > 1ms", "aggregated/get p50 > 2x sample-apiserver", "aggregated/get cpu > 5"} {
		gate, err := ParseGate(text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if outcomes, err := gate.Apply(after, nil); err == nil {
			t.Errorf("%s: %v, want an error: it was not measured", text, outcomes)
		}
	}
}

func TestParseGateRefuses(t *testing.T) {
	for _, text := range []string{
		"", "aggregated", "aggregated/get", "aggregated/get p50", "aggregated/get p50 >", "aggregated/get p50 > fast",
		"aggregated/get p42 > 1ms", "aggregated/get mood > 1", "aggregated/get p50 > 5", "aggregated/get p50 > 5 apples",
		"aggregated/get p50 = 5ms", "aggregated/get p50 > 5ms crd", "aggregated/get p50 > 5% crd", "aggregated/get p50 > 1.5x",
		"aggregated/get memory > 5", "aggregated/get memory > 5ms", "aggregated/get throughput > 5ms", "aggregated/get p50 < -100%",
		"aggregated/get p50 > 1.2.3%", "a/b/c/d p50 > 1ms",
	} {
		if gate, err := ParseGate(text); err == nil {
			t.Errorf("%q is read as %+v", text, gate)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error has more than a line: %v", text, err)
		}
	}
	for _, text := range []string{
		"aggregated/got p50 > 1ms", "other/get p50 > 1ms", "peers/aggregated/watch p50 > 1ms", "crd+policies/get p50 > 1ms",
		"aggregated/get p50 > 2x nobody", "aggregated/delete throughput > 1",
	} {
		gate, err := ParseGate(text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if err := gate.Check(Suites, nil, func(c Case) bool { return c.Loaded }); err == nil || !strings.Contains(err.Error(), "compare list") {
			t.Errorf("%s: %v, want an error that says where the names are", text, err)
		}
	}
	for _, text := range []string{"aggregated/get memory < 100MiB", "aggregated/get throughput < 100", "aggregated+name-free/get cpu > 2500", "crd+policies/create p90 > -5%"} {
		if _, err := ParseGate(text); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func FuzzParseGate(f *testing.F) {
	for _, seed := range []string{"aggregated/get p50 > +10%", "a/b p99.9 < 5ms", "x/y/z cpu > 1.8x crd", "m/m memory > 1MiB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		gate, err := ParseGate(text)
		if err != nil {
			return
		}
		if gate.relative && gate.limit <= -1 || gate.metric == "" || gate.impl == "" || gate.name == "" {
			t.Errorf("%q is read as %+v", text, gate)
		}
	})
}
