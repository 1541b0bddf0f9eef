package bench

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// record makes a case whose samples are the turn's number, and notes who had
// which turn.
func record(turns *[]string, fail func(impl string, i int) error) Case {
	return Case{Name: "case", Prepare: func(_ context.Context, s *Session, _ int) (Sampler, error) {
		return func(_ context.Context, i int) (time.Duration, error) {
			*turns = append(*turns, s.Subject.Impl)
			return time.Duration(i), fail(s.Subject.Impl, i)
		}, nil
	}}
}

func sessions() []*Session {
	var sessions []*Session
	for _, subject := range Subjects() {
		sessions = append(sessions, &Session{Subject: subject})
	}
	return sessions
}

func TestRunInterleavesAndDropsWarmUp(t *testing.T) {
	var turns []string
	var progress []int
	samples, err := Run(t.Context(), Options{
		Suites: []Suite{{Name: "suite", Impls: []string{CRD, Aggregated, Native}, Cases: []Case{record(&turns, func(string, int) error { return nil })}}},
		Rounds: 2, WarmUp: 1, Sessions: sessions(),
		Progress: func(done, total int, _ string) {
			if total != 3 {
				t.Errorf("the total is %d, want 3 rounds", total)
			}
			progress = append(progress, done)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "crd aggregated native native aggregated crd crd aggregated native"
	if got := strings.Join(turns, " "); got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
	for _, impl := range []string{CRD, Aggregated, Native} {
		if got := samples[0].Impl[impl]; !slices.Equal(got, []time.Duration{1, 2}) {
			t.Errorf("%s has the samples %v, want those of rounds 1 and 2", impl, got)
		}
	}
	if want := []int{0, 1, 2, 3}; !slices.Equal(progress, want) {
		t.Errorf("progress %v, want %v", progress, want)
	}
}

// What was measured before an error is kept, in whole rounds.
func TestRunKeepsCompleteRounds(t *testing.T) {
	broken := errors.New("the server is gone")
	var turns []string
	samples, err := Run(t.Context(), Options{
		Suites: []Suite{{Name: "suite", Impls: []string{CRD, Aggregated, Native}, Cases: []Case{record(&turns, func(impl string, i int) error {
			if impl == Aggregated && i == 4 {
				return broken
			}
			return nil
		})}}},
		Rounds: 10, WarmUp: 1, Sessions: sessions(), Progress: func(int, int, string) {},
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "suite: case: aggregated") {
		t.Errorf("got the error %v, want one that says where %v happened", err, broken)
	}
	for _, impl := range []string{CRD, Aggregated, Native} {
		if got := len(samples[0].Impl[impl]); got != 3 {
			t.Errorf("%s has %d samples, want the 3 of rounds 1 to 3", impl, got)
		}
	}
}

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
	samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: []string{CRD, Aggregated, Native}, Pairs: Verbs.Pairs, Impl: map[string][]time.Duration{}}
	for i := range 20 {
		for _, impl := range []string{CRD, Aggregated, Native} {
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
	samples := Samples{Suite: "verbs", Case: Case{Name: "get"}, Impls: []string{CRD, Aggregated, Native}, Pairs: Verbs.Pairs, Impl: map[string][]time.Duration{
		CRD: {1, 2}, Aggregated: {1, 2}, Native: {1, 2},
	}}
	measurements, comparisons, warnings := Summarize([]Samples{samples}, "", nil)
	if len(measurements) > 0 || len(comparisons) > 0 || len(warnings) != 3 {
		t.Errorf("got %v, %v and the warnings %q, want three warnings alone", measurements, comparisons, warnings)
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
		{"memory", 0.5, 0.9, Smaller}, {"memory", 1.1, 1.2, Larger}, {"memory", 0.9, 1.1, NoDifference},
	} {
		if got := verdict(c.metric, c.low, c.high); got != c.want {
			t.Errorf("%s [%v, %v]: %s, want %s", c.metric, c.low, c.high, got, c.want)
		}
	}
}

// Every subject's objects have one size whatever their number, and say that number.
func TestObjectSize(t *testing.T) {
	for _, subject := range Subjects() {
		size := len(subject.object("name", 0, ""))
		for _, n := range []int{1, 9, 99999, math.MaxInt32} {
			if got := len(subject.object("name", n, "")); got != size {
				t.Errorf("%s: object %d has %d bytes, object 0 has %d", subject.Impl, n, got, size)
			}
		}
	}
}
