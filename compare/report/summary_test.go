package report

import (
	"slices"
	"strings"
	"testing"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/relay"
)

// comparisonOf finds a comparison of a result, to change it.
func comparisonOf(t *testing.T, result *bench.Result, suite, name, metric, impl, to string) *bench.Comparison {
	t.Helper()
	at := slices.IndexFunc(result.Comparisons, func(c bench.Comparison) bool {
		return c.Suite == suite && c.Case == name && c.Metric == metric && c.Impl == impl && c.To == to
	})
	if at < 0 {
		t.Fatalf("there is no comparison of %s/%s, %s, %s to %s", suite, name, metric, impl, to)
	}
	return &result.Comparisons[at]
}

func fitOf(t *testing.T, result *bench.Result, name, impl string) *bench.Fit {
	t.Helper()
	at := slices.IndexFunc(result.Fits, func(f bench.Fit) bool { return f.Case == name && f.Impl == impl })
	if at < 0 {
		t.Fatalf("there is no fit of %s, %s", name, impl)
	}
	return &result.Fits[at]
}

func outcome(c *bench.Comparison, ratio, low, high float64, verdict bench.Verdict) {
	c.Ratio, c.Low, c.High, c.Verdict = ratio, low, high, verdict
}

// The sentences follow the figures: where a figure or its verdict changes, so does what is
// said, and nothing is said beyond the verdict.
func TestSummaryFollowsTheFigures(t *testing.T) {
	verbs, crd, aggregated := bench.Verbs.Name, bench.CRD, bench.Aggregated
	for _, c := range []struct {
		name   string
		change func(t *testing.T, result *bench.Result, parity *parityMatrix)
		// want are sentences that are there then and were not before, gone those that began so.
		want, gone []string
	}{
		{
			"a ratio", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, verbs, "get", "latency", aggregated, crd), 1.62, 1.58, 1.66, bench.Slower)
			}, []string{
				"Reading the same object again takes 1.62 times as long [1.58, 1.66] from the aggregated server as through the CRD: 3.00 ms in place of 2.00 ms.",
				"Where a difference was found, the CRD is the faster one: of 2 kinds of request, one at a time, 2 take longer from the aggregated server than through the CRD (the most get, 1.62x [1.58, 1.66]).",
			}, nil,
		},
		{
			"another direction", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, verbs, "get", "latency", aggregated, crd), 0.6, 0.5, 0.7, bench.Faster)
			}, []string{
				"Which one is faster depends on the request: of 2 kinds of request, one at a time, 1 takes longer from the aggregated server than through the CRD (the most create, 1.50x [1.50, 1.50]); 1 takes less time (the least get, 0.60x [0.50, 0.70]).",
				"Reading the same object again takes 0.60 times as long [0.50, 0.70] from",
			}, nil,
		},
		{
			"no difference", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, verbs, "get", "latency", aggregated, crd), 1.01, 0.97, 1.05, bench.NoDifference)
			}, []string{
				"Reading the same object again, from the aggregated server or through the CRD: no difference found: 1.01x [0.97, 1.05].",
				"for 1 no difference was found (their intervals reach from 0.97x to 1.05x).",
			}, []string{"Reading the same object again takes"},
		},
		{
			"no difference anywhere", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				for _, name := range []string{"get", "create"} {
					outcome(comparisonOf(t, r, verbs, name, "latency", aggregated, crd), 1.01, 0.97, 1.05, bench.NoDifference)
				}
			}, []string{
				"Neither was found to be faster: of 2 kinds of request, one at a time, for 2 no difference was found (their intervals reach from 0.97x to 1.05x).",
				"Writing to the aggregated server in relation to the CRD, for creating no difference found: 1.01x [0.97, 1.05].",
			}, nil,
		},
		{
			// the interval leaves 1 out, but one of so many may do so by chance
			"an interval that is not enough", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, verbs, "get", "latency", aggregated, crd), 1.05, 1.01, 1.09, bench.NoDifference)
			}, []string{"no difference found: 1.05x [1.01, 1.09], which is not enough where so many comparisons are made."}, []string{"Reading the same object again takes"},
		},
		{
			"too few samples", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, verbs, "get", "latency", aggregated, crd), 1.5, 1.2, 1.9, bench.TooFew)
			}, []string{
				"Reading the same object again, from the aggregated server or through the CRD: too few samples for a verdict: 1.50x [1.20, 1.90].",
				"for 1 there were too few samples for a verdict.",
			}, []string{"Reading the same object again takes"},
		},
		{
			"CPU time", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, verbs, "get", "cpu", aggregated, crd), 1.2, 0.9, 1.4, bench.NoDifference)
			}, []string{"The CPU time of all processes for a thousand reads of the same object (8 clients), from the aggregated server or through the CRD: no difference found: 1.20x [0.90, 1.40]."},
			[]string{"The CPU time of all processes for a thousand reads of the same object (8 clients) is"},
		},
		{
			"webhooks", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, "validation", "accepted", "latency", "crd+webhooks", crd), 1, 0.98, 1.02, bench.NoDifference)
			}, []string{"Creating through a CRD with webhooks or without: no difference found: 1.00x [0.98, 1.02]."}, []string{"Creating through a CRD with webhooks takes"},
		},
		{
			"conversion", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				outcome(comparisonOf(t, r, "validation", "convert-create", "latency", "crd+v1", crd), 2.5, 2.4, 2.6, bench.Slower)
			}, []string{"through the CRD 2.50 times as long [2.40, 2.60]; from the aggregated server no difference found: 1.01x [0.97, 1.05]."}, nil,
		},
		{
			"another growth", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				f := fitOf(t, r, "list", crd)
				breaks := 5000.0
				f.Growth, f.Exponent, f.Projection, f.Breaks = bench.Worse, 1.7, nil, &breaks
			}, []string{"crd grows worse than linear, with the power 1.7 (R² 0.998) and leaves its curve at 5,000; aggregated takes 2.1 µs more for each object (linear, R² 0.998); " +
				"if nothing new happens on the way, which nobody has measured, 200,000 objects would take 422 ms [378 ms, 483 ms] (aggregated)."}, nil,
		},
		{
			"no growth", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				for _, impl := range []string{crd, aggregated} {
					f := fitOf(t, r, "list", impl)
					f.Growth, f.PerUnit, f.Projection = bench.Constant, 0, nil
				}
			}, []string{"A list, measured from 100 to 20,000 objects: no growth was found of crd (2.1 ms); no growth was found of aggregated (2.1 ms)."}, nil,
		},
		{
			"a slope that says little", func(t *testing.T, r *bench.Result, _ *parityMatrix) {
				at := slices.IndexFunc(r.Measurements, func(m bench.Measurement) bool {
					return m.Metric == "round-trips" && m.Link == relay.Server && m.Impl == aggregated && m.Case == "get"
				})
				if at < 0 {
					t.Fatal("there is no slope")
				}
				r.Measurements[at].Low, r.Measurements[at].High = -0.67, 2.63
			}, []string{"crosses from the kube-apiserver to the server a number of times that this run cannot tell ("}, []string{"On its way to the aggregated server a read crosses from the kube-apiserver to the server once"},
		},
		{
			"parity", func(_ *testing.T, _ *bench.Result, parity *parityMatrix) { parity.Cases[0].Verdict = contract.Same },
			[]string{"Of 6 cases of the contract, put to both in a run of their own, 3 came out the same on both sides; otherwise than expected: 1, only with the aggregated server: 1, not run: 1."}, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, parity := full(), matrixOfTests()
			before := strings.Join(summarize(result, parity), "\n")
			c.change(t, result, parity)
			after := strings.Join(summarize(result, parity), "\n")
			for _, want := range c.want {
				if strings.Contains(before, want) || !strings.Contains(after, want) {
					t.Errorf("the sentence %q does not come with the change:\n%s", want, after)
				}
			}
			for _, gone := range c.gone {
				if !strings.Contains(before, gone) || strings.Contains(after, gone) {
					t.Errorf("the sentence %q does not go with the change:\n%s", gone, after)
				}
			}
		})
	}
}

// Nothing that has the verdict "no difference found" is said to differ, nor to be equal.
func TestSummaryOfNoDifferences(t *testing.T) {
	result := full()
	for i := range result.Comparisons {
		result.Comparisons[i].Verdict = bench.NoDifference
	}
	text := strings.Join(summarize(result, nil), "\n")
	for _, wrong := range []string{"times as", "takes longer", "less time", "is the faster", "equal", "as fast", "the same as"} {
		if strings.Contains(text, wrong) {
			t.Errorf("it says %q:\n%s", wrong, text)
		}
	}
}

// A sentence is there only if what it is about was measured.
func TestSummaryOfLess(t *testing.T) {
	if got := summarize(&bench.Result{}, nil); len(got) != 1 || !strings.HasPrefix(got[0], "Nothing was measured") {
		t.Errorf("of nothing: %q", got)
	}
	result := full()
	if got := summarize(result, matrixOfTests()); len(got) < 8 || len(got) > mostSentences {
		t.Errorf("there are %d sentences: %q", len(got), got)
	}
	for _, suite := range []string{"verbs", "auth", "validation", "openapi", "scale"} {
		less := full()
		less.Measurements = slices.DeleteFunc(less.Measurements, func(m bench.Measurement) bool { return m.Suite == suite })
		less.Comparisons = slices.DeleteFunc(less.Comparisons, func(c bench.Comparison) bool { return c.Suite == suite })
		less.Fits = slices.DeleteFunc(less.Fits, func(f bench.Fit) bool { return f.Suite == suite })
		if a, b := len(summarize(less, nil)), len(summarize(result, nil)); a >= b {
			t.Errorf("without %s there are %d sentences, with it %d", suite, a, b)
		}
	}
	// without the suite verbs, another one says which is faster
	for suite, most := range map[string]string{
		"validation": "accepted, 1.10x [1.07, 1.13]", "auth": "aggregated, client certificate, warm, 1.40x [1.35, 1.45]",
	} {
		less := full()
		less.Comparisons = slices.DeleteFunc(less.Comparisons, func(c bench.Comparison) bool { return c.Suite != suite })
		want := "Where a difference was found, the CRD is the faster one: of 1 kind of request, one at a time, 1 takes longer from the aggregated server than through the CRD (the most " + most + ")."
		if got := summarize(less, nil)[0]; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
