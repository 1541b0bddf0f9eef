package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"portrule.example/lab/compare/process"
)

func TestSummarize(t *testing.T) {
	// rounds are slow and fast in turn; in each the aggregated server takes twice
	// the CRD's time, and the CRD as long as the native resource
	samples := Samples{Suite: "verbs", Case: Case{Name: "get", Cache: "warm"}, Impls: Verbs.Impls, Pairs: Verbs.Pairs, Impl: map[string][]time.Duration{}}
	for i := range 100 {
		base := time.Duration(1000 * (1 + 9*(i%2)))
		samples.Impl[CRD] = append(samples.Impl[CRD], base)
		samples.Impl[Native] = append(samples.Impl[Native], base+time.Duration(i%3)-1)
		samples.Impl[Aggregated] = append(samples.Impl[Aggregated], 2*base)
	}
	measurements, comparisons, warnings := Summarize([]Samples{samples}, "client-certificate", nil)
	if len(warnings) > 0 {
		t.Errorf("warnings %v, want none", warnings)
	}
	for _, m := range measurements {
		if m.N != 100 || m.Low > m.Median || m.Median > m.High || m.Unit != "ns" || m.Credential != "client-certificate" {
			t.Errorf("measurement %+v", m)
		}
		if wantCache := map[bool]string{true: "warm"}[m.Impl == Aggregated]; m.Cache != wantCache {
			t.Errorf("%s has the cache state %q, want %q", m.Impl, m.Cache, wantCache)
		}
	}
	want := map[string]Verdict{"aggregated to crd": Slower, "crd to native": NoDifference, "aggregated to native": Slower}
	for _, c := range comparisons {
		if got := c.Verdict; got != want[c.Impl+" to "+c.To] {
			t.Errorf("%s to %s: %s, want %s", c.Impl, c.To, got, want[c.Impl+" to "+c.To])
		}
		// paired: the interval knows nothing of the slow and the fast rounds
		if c.Impl == Aggregated && c.To == CRD && (c.Ratio != 2 || c.Low != 2 || c.High != 2) {
			t.Errorf("ratio %v [%v, %v], want exactly 2", c.Ratio, c.Low, c.High)
		}
		delete(want, c.Impl+" to "+c.To)
	}
	if len(want) > 0 {
		t.Errorf("not compared: %v", want)
	}
}

// What guards the CRD is part of the name under which it is reported.
func TestSummarizeNamesTheVariant(t *testing.T) {
	samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: three, Pairs: Verbs.Pairs, Impl: map[string][]time.Duration{}}
	for i := range 20 {
		for _, impl := range three {
			samples.Impl[impl] = append(samples.Impl[impl], time.Duration(1000+i))
		}
	}
	measurements, comparisons, _ := Summarize([]Samples{samples}, "", map[string]string{CRD: "+policies"})
	if got := measurements[0].Impl; got != "crd+policies" {
		t.Errorf("the CRD is measured as %s", got)
	}
	if got := comparisons[0].To; got != "crd+policies" {
		t.Errorf("the aggregated server is compared to %s", got)
	}
}

// A number without an interval is no result.
func TestSummarizeTooFew(t *testing.T) {
	samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: three, Pairs: Verbs.Pairs, Impl: map[string][]time.Duration{
		CRD: {1, 2}, Aggregated: {1, 2}, Native: {1, 2},
	}}
	measurements, comparisons, warnings := Summarize([]Samples{samples}, "", nil)
	if len(measurements) > 0 || len(comparisons) > 0 || len(warnings) != 3 {
		t.Errorf("got %v, %v and the warnings %q, want three warnings alone", measurements, comparisons, warnings)
	}
}

// Seven rounds are enough for an interval of one comparison, and too few for one of twenty.
func TestSummarizeTooFewForAVerdict(t *testing.T) {
	for cases, want := range map[int]Verdict{1: Slower, 20: TooFew} {
		var all []Samples
		for i := range cases {
			samples := Samples{Suite: "verbs", Case: Case{Name: fmt.Sprint(i)}, Impls: three, Pairs: [][2]string{{Aggregated, CRD}}, Impl: map[string][]time.Duration{}}
			for range 7 {
				for impl, taken := range map[string]time.Duration{CRD: 1, Aggregated: 2, Native: 1} {
					samples.Impl[impl] = append(samples.Impl[impl], taken)
				}
			}
			all = append(all, samples)
		}
		_, comparisons, warnings := Summarize(all, "", nil)
		if got := comparisons[0].Verdict; got != want || want.Found() != (len(warnings) == 0) {
			t.Errorf("the verdict on one of %d comparisons is %q with the warnings %q, want %q", cases, got, warnings, want)
		}
	}
}

// The warm-up does not count, and is not thrown away.
func TestSummarizeKeepsWarmUpApart(t *testing.T) {
	samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: []string{CRD}, Impl: map[string][]time.Duration{}, WarmUp: 5}
	for i := range 25 {
		taken := time.Millisecond
		if i < 5 {
			taken = time.Second
		}
		samples.Impl[CRD] = append(samples.Impl[CRD], taken)
	}
	measurements, _, _ := Summarize([]Samples{samples}, "", nil)
	m := measurements[0]
	if m.N != 20 || m.High != 1e6 {
		t.Errorf("%d samples up to %v ns, want the 20 steady ones of 1 ms", m.N, m.High)
	}
	if m.WarmUp == nil || *m.WarmUp != (WarmUp{N: 5, Median: 1e9}) {
		t.Errorf("the warm-up is %+v, want 5 samples of 1 s", m.WarmUp)
	}
}

func TestSummarizeWindows(t *testing.T) {
	loop := Loop{Clients: 2}
	samples := Samples{
		Suite: "verbs", Case: Case{Name: "get"}, Impls: []string{CRD, Aggregated}, Pairs: [][2]string{{Aggregated, CRD}},
		Windows: map[Loop]map[string][]Window{loop: {}},
	}
	for impl, each := range map[string]time.Duration{CRD: time.Millisecond, Aggregated: 2 * time.Millisecond} {
		for range 12 {
			w := Window{Requests: 100, Elapsed: 50 * each, InFlight: 2, Sent: newHistogram(), Usage: map[string]process.Usage{
				"etcd": {CPU: each, Memory: 1 << 20}, process.Self: {CPU: time.Hour, Memory: 1 << 30},
			}}
			for range 100 {
				record(w.Sent, each)
			}
			samples.Windows[loop][impl] = append(samples.Windows[loop][impl], w)
		}
	}
	measurements, comparisons, warnings := Summarize([]Samples{samples}, "", nil)
	if len(warnings) > 0 {
		t.Errorf("warnings %q, want none: Little's law holds", warnings)
	}
	want := map[string]float64{"throughput ": 2000, "latency ": 1e6, "cpu all": 10, "cpu etcd": 10, "cpu client": 36e6, "memory all": 1 << 20, "memory etcd": 1 << 20, "memory client": 1 << 30}
	for _, m := range measurements {
		if m.Impl != CRD {
			continue
		}
		key := m.Metric + " " + m.Process
		if w, ok := want[key]; !ok || math.Abs(m.Median-w) > w/100 || m.Load != "closed, 2 clients" {
			t.Errorf("%s is %v (%s), want %v", key, m.Median, m.Load, w)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("not measured: %v", want)
	}
	verdicts := map[string]Verdict{}
	for _, c := range comparisons {
		verdicts[c.Metric] = c.Verdict
	}
	if verdicts["throughput"] != Slower || verdicts["cpu"] != Larger {
		t.Errorf("the verdicts are %v: it answers half as many requests, at twice the cost", verdicts)
	}

	for i := range samples.Windows[loop][CRD] {
		samples.Windows[loop][CRD][i].InFlight = 3
	}
	if _, _, warnings = Summarize([]Samples{samples}, "", nil); len(warnings) != 1 || !strings.Contains(warnings[0], "Little") {
		t.Errorf("warnings %q, want one about Little's law", warnings)
	}
}

// Of what is equal, no more is found to differ than the confidence allows: once in
// twenty runs, however many comparisons a run makes.
func TestNoDifferenceIsFoundWhereThereIsNone(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	const runs, cases, rounds = 100, 10, 60
	found := 0
	for range runs {
		var all []Samples
		for range cases {
			samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: []string{CRD, Aggregated}, Pairs: [][2]string{{Aggregated, CRD}}, Impl: map[string][]time.Duration{}}
			for range rounds {
				slow := 1 + random.ExpFloat64() // meets both
				for _, impl := range samples.Impls {
					samples.Impl[impl] = append(samples.Impl[impl], time.Duration(1e6*slow*(1+random.ExpFloat64())))
				}
			}
			all = append(all, samples)
		}
		_, comparisons, _ := Summarize(all, "", nil)
		if slices.ContainsFunc(comparisons, func(c Comparison) bool { return c.Verdict != NoDifference }) {
			found++
		}
	}
	if found > 10 {
		t.Errorf("%d of %d runs found a difference where there is none, want 5 or so", found, runs)
	}
}

// A difference that is there is found.
func TestDifferenceIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: []string{CRD, Aggregated}, Pairs: [][2]string{{Aggregated, CRD}}, Impl: map[string][]time.Duration{}}
	for range 300 {
		samples.Impl[CRD] = append(samples.Impl[CRD], time.Duration(1e6*(1+0.2*random.ExpFloat64())))
		samples.Impl[Aggregated] = append(samples.Impl[Aggregated], time.Duration(1.1e6*(1+0.2*random.ExpFloat64())))
	}
	if _, comparisons, _ := Summarize([]Samples{samples}, "", nil); comparisons[0].Verdict != Slower {
		t.Errorf("10%% more is %q", comparisons[0].Verdict)
	}
}

func TestQuantilesAreCarried(t *testing.T) {
	for _, c := range []struct {
		n    int
		want []float64
	}{
		{0, nil}, {28, nil}, {29, []float64{0.9}}, {298, []float64{0.9}}, {299, []float64{0.9, 0.99}},
		{2994, []float64{0.9, 0.99}}, {2995, []float64{0.9, 0.99, 0.999}}, {200_000, []float64{0.9, 0.99, 0.999}},
	} {
		var got []float64
		for _, q := range quantilesOf(c.n, func(order int) float64 {
			if order < 1 || order > c.n {
				t.Errorf("asked for sample %d of %d", order, c.n)
			}
			return float64(order)
		}) {
			got = append(got, q.Q)
			if q.Low > q.Value || q.Value > q.High || math.Abs(q.Value-q.Q*float64(c.n)) > 1 {
				t.Errorf("of %d samples: %+v", c.n, q)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d samples carry %v, want %v", c.n, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		metric    string
		low, high float64
		want      Verdict
	}{
		{"latency", 0.5, 0.9, Faster}, {"latency", 1.1, 1.2, Slower}, {"latency", 0.9, 1.1, NoDifference},
		{"latency", 0.9, 1, NoDifference}, {"latency", 1, 1, NoDifference},
		{"memory", 0.5, 0.9, Smaller}, {"cpu", 1.1, 1.2, Larger}, {"memory", 0.9, 1.1, NoDifference},
		{"throughput", 1.1, 1.2, Faster}, {"throughput", 0.5, 0.9, Slower},
		{"latency", math.Inf(-1), math.Inf(1), NoDifference},
	} {
		if got := verdict(c.metric, c.low, c.high); got != c.want {
			t.Errorf("%s [%v, %v]: %s, want %s", c.metric, c.low, c.high, got, c.want)
		}
	}
}

// The warm-up ends where the latencies become steady, and is half of the rounds at most.
func TestSteady(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	series := func(n, slow int) *Samples {
		samples := &Samples{Impl: map[string][]time.Duration{}}
		for i := range n {
			mean := 1e6
			if i < slow {
				mean = 5e6
			}
			for _, impl := range three {
				samples.Impl[impl] = append(samples.Impl[impl], time.Duration(mean*(1+0.1*random.NormFloat64())))
			}
		}
		return samples
	}
	for _, c := range []struct{ n, slow, low, high int }{
		{0, 0, 0, 0}, {3, 0, 3, 3}, {200, 0, warmUpLeast, 100}, {200, 40, 40, 100}, {200, 200, warmUpLeast, 100},
	} {
		if got := steady(series(c.n, c.slow), warmUpLeast); got < c.low || got > c.high {
			t.Errorf("of %d rounds, %d of them slow, %d are the warm-up, want %d to %d", c.n, c.slow, got, c.low, c.high)
		}
	}
	// of what is steady from the beginning little is set apart
	apart := 0
	for range 50 {
		apart += steady(series(200, 0), warmUpLeast)
	}
	if apart > 50*60 {
		t.Errorf("%d of 200 rounds are set apart on the average, although all are steady", apart/50)
	}
}
