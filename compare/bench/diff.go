package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aclements/go-moremath/stats"
)

// Change is how a measurement of one run differs from that of another.
type Change struct {
	// Row is the measurement of the later run.
	Row Measurement
	// Quantile is which part of the distribution is compared, 0.5 being the median.
	Quantile float64
	// Before and After are the two values, in Row's unit.
	Before, After float64
	// Ratio is After by Before; Low and High bound it with 95% confidence.
	Ratio, Low, High float64
	// ToFloor is the ratio of the ratios to the native resource in each run: what is left
	// when the machine has changed for both. It is nil where there is no such floor.
	ToFloor *Interval
	// Verdict is found if both intervals, at a confidence that counts all rows, lie beyond
	// the threshold on the same side.
	Verdict Verdict
	// FloorMoved is whether Ratio alone lies beyond: the floor has moved along. A native
	// resource that has changed is the floor that has moved.
	FloorMoved bool
}

// Thresholds are what a change must be at least to be called one, by metric, as a part.
// They are what two runs of the same programs differ by on a machine that does other
// things too.
var Thresholds = map[string]float64{"latency": 0.05, "throughput": 0.05, "cpu": 0.10, "memory": 0.25}

// ErrNothingInCommon says that two runs have no measurement of the same kind.
var ErrNothingInCommon = errors.New("the two runs have no measurement in common: compare runs of the same suites and implementations")

// key is what two measurements must have in common to be compared.
func (m Measurement) key() string {
	return strings.Join([]string{m.Suite, m.Case, m.Impl, m.Path, m.Credential, m.Cache, m.Load, m.Clock, m.Process, m.Link, m.Metric, m.Unit}, "\x00")
}

// Diff compares each measurement of after with that of before. The error is
// [ErrNothingInCommon], or nil.
func Diff(before, after *Result) ([]Change, error) {
	earlier := map[string]Measurement{}
	for _, m := range before.Measurements {
		earlier[m.key()] = m
	}
	later := map[string]Measurement{}
	for _, m := range after.Measurements {
		later[m.key()] = m
	}
	var changes []Change
	for _, m := range after.Measurements {
		old, ok := earlier[m.key()]
		if !ok || m.Process != "" && m.Process != AllProcesses {
			continue // what one process does comes with what the others do
		}
		floor := m
		floor.Impl, floor.Cache = Native, ""
		oldFloor, newFloor := earlier[floor.key()], later[floor.key()]
		for _, q := range append([]float64{0.5}, quantiles...) {
			if change, ok := newChange(old, m, oldFloor, newFloor, q); ok {
				changes = append(changes, change)
			}
		}
	}
	if len(changes) == 0 {
		return nil, ErrNothingInCommon
	}
	for i := range changes {
		changes[i].judge(Thresholds[changes[i].Row.Metric], len(changes))
	}
	return changes, nil
}

func newChange(old, m, oldFloor, newFloor Measurement, q float64) (Change, bool) {
	a, okA := old.at(q)
	b, okB := m.at(q)
	if !okA || !okB {
		return Change{}, false
	}
	c := Change{Row: m, Quantile: q, Before: a.Value, After: b.Value}
	ratio := divide(b, a)
	c.Ratio, c.Low, c.High = ratio.Value, ratio.Low, ratio.High
	if m.Impl != Native && slices.Contains([]string{"latency", "throughput", "cpu"}, m.Metric) && m.Process == oldFloor.Process {
		fa, okA := oldFloor.at(q)
		fb, okB := newFloor.at(q)
		if okA && okB && fa.Value > 0 && fb.Value > 0 {
			toFloor := divide(divide(b, fb), divide(a, fa))
			c.ToFloor = &toFloor
		}
	}
	return c, true
}

// at is a quantile of the measurement, and false if it has none or it is 0.
func (m Measurement) at(q float64) (Interval, bool) {
	if q == 0.5 {
		return Interval{m.Median, m.Low, m.High}, m.N > 0 && m.Median > 0
	}
	for _, quantile := range m.Quantiles {
		if quantile.Q == q {
			return Interval{quantile.Value, quantile.Low, quantile.High}, quantile.Value > 0
		}
	}
	return Interval{}, false
}

// divide divides independent values. Their intervals are added as those of logarithms
// that are normally distributed.
func divide(a, b Interval) Interval {
	value := a.Value / b.Value
	up := math.Hypot(logRatio(a.High, a.Value), logRatio(b.Value, b.Low))
	down := math.Hypot(logRatio(a.Value, a.Low), logRatio(b.High, b.Value))
	return Interval{value, value * math.Exp(-down), value * math.Exp(up)}
}

func logRatio(a, b float64) float64 {
	if a <= 0 || b <= 0 {
		return math.Inf(1)
	}
	return math.Log(a / b)
}

// judge sets the verdict: one of n.
func (c *Change) judge(threshold float64, n int) {
	absolute := beyond(Interval{c.Ratio, c.Low, c.High}, threshold, n)
	relative := absolute
	if c.ToFloor != nil {
		relative = beyond(*c.ToFloor, threshold, n)
	}
	c.Verdict = NoDifference
	switch {
	case absolute == 0:
	case absolute == relative && c.Row.Impl != Native:
		c.Verdict = verdict(c.Row.Metric, math.Exp(float64(absolute)), math.Exp(float64(absolute)))
	default:
		c.FloorMoved = true
	}
}

// beyond is 1 if the interval, widened for n comparisons, lies above 1 by more than the
// threshold, -1 if below, else 0.
func beyond(i Interval, threshold float64, n int) int {
	normal := stats.NormalDist{Mu: 0, Sigma: 1}
	wider := normal.InvCDF(1-(1-confidence)/2/float64(max(1, n))) / normal.InvCDF(1-(1-confidence)/2)
	switch {
	case i.Value*math.Exp(-wider*logRatio(i.Value, i.Low)) > 1+threshold:
		return 1
	case i.Value*math.Exp(wider*logRatio(i.High, i.Value)) < 1/(1+threshold):
		return -1
	}
	return 0
}

// Gate is a condition under which a run fails: that a measurement is beyond a limit.
type Gate struct {
	text string
	// suite may be empty, which means any.
	suite, impl, name string
	metric            string
	quantile          float64
	// above is whether the run fails above the limit, else below.
	above bool
	// limit is a part if relative (to a baseline), a ratio if to names an implementation,
	// else in the metric's unit.
	limit    float64
	relative bool
	to       string
}

var gateSyntax = regexp.MustCompile(`^\s*(?:([a-z0-9-]+)/)?([a-z0-9+-]+)/([a-z0-9-]+)\s+([a-z0-9.-]+)\s*([<>])\s*([+-]?[0-9.]+)\s*(%|[a-zA-Zµ]+)?(?:\s+([a-z0-9+-]+))?\s*$`)

// The metrics that a gate may name, beside p50, p90, p99 and p99.9 of latency.
var gateMetrics = []string{"throughput", "cpu", "memory"}

// ParseGate reads a condition such as
//
//	aggregated/get p50 > +10%         by more than that over the baseline
//	aggregated/get p99 > 5ms          in itself
//	aggregated/get p50 > 1.8x crd     as a ratio to another implementation
//
// The implementation may be preceded by a suite, as in verbs/aggregated/get. Throughput is
// in 1/s, cpu in ms for a thousand requests, memory in MiB.
func ParseGate(text string) (Gate, error) {
	g := Gate{text: strings.TrimSpace(text)}
	m := gateSyntax.FindStringSubmatch(text)
	if m == nil {
		return g, fmt.Errorf("%q is not a condition such as 'aggregated/get p50 > +10%%', 'aggregated/get p99 > 5ms' or 'aggregated/get p50 > 1.8x crd'", text)
	}
	g.suite, g.impl, g.name, g.above, g.to = m[1], m[2], m[3], m[5] == ">", m[8]
	if err := g.setMetric(m[4]); err != nil {
		return g, err
	}
	limit, err := strconv.ParseFloat(m[6], 64)
	if err != nil {
		return g, fmt.Errorf("%q: %q is not a number", text, m[6])
	}
	g.limit = limit
	if g.to != "" && m[7] != "x" {
		return g, fmt.Errorf("%q: write a ratio to %s as in '> 1.8x %s'", text, g.to, g.to)
	}
	switch unit := m[7]; {
	case unit == "%":
		g.relative, g.limit = true, limit/100
		if g.limit <= -1 {
			return g, fmt.Errorf("%q: nothing gets smaller by %g%%", text, -limit)
		}
		return g, nil
	case unit == "x" && g.to != "":
		return g, nil
	case g.metric == "latency":
		d, err := time.ParseDuration(m[6] + unit)
		if err != nil {
			return g, fmt.Errorf("%q: give a latency as in 5ms, a change as in +10%%, a ratio as in 1.8x crd", text)
		}
		g.limit = float64(d)
		return g, nil
	case g.metric == "memory" && unit == "MiB":
		g.limit = limit * (1 << 20)
		return g, nil
	case unit == "" && g.metric != "memory":
		return g, nil
	}
	return g, fmt.Errorf("%q: %s has no unit %q", text, g.metric, m[7])
}

func (g *Gate) setMetric(word string) error {
	if slices.Contains(gateMetrics, word) {
		g.metric, g.quantile = word, 0.5
		return nil
	}
	for _, q := range append([]float64{0.5}, quantiles...) {
		if word == fmt.Sprintf("p%g", 100*q) {
			g.metric, g.quantile = "latency", q
			return nil
		}
	}
	return fmt.Errorf("%q: there is no metric %q: use p50, p90, p99, p99.9, %s", g.text, word, strings.Join(gateMetrics, ", "))
}

// NeedsBaseline is whether the condition is about a change.
func (g Gate) NeedsBaseline() bool { return g.relative }

// Check finds out whether anything in suites can meet the condition, before anything is
// measured. variants are what the names of implementations are followed by; loaded is
// whether a case is measured in a closed loop.
func (g Gate) Check(suites []Suite, variants map[string]string, loaded func(Case) bool) error {
	for _, suite := range suites {
		if g.suite != "" && g.suite != suite.Name {
			continue
		}
		impls := []string{""} // for no other
		for _, impl := range suite.Impls {
			impls = append(impls, impl+variants[impl])
		}
		if !slices.Contains(impls, g.impl) || !slices.Contains(impls, g.to) {
			continue
		}
		for _, c := range suite.Cases {
			if c.Name == g.name && (g.metric == "latency" || loaded(c)) {
				return nil
			}
		}
		for _, c := range suite.Others {
			if c.Name == g.name {
				return nil
			}
		}
	}
	return fmt.Errorf("%q is about nothing that this run measures: see \"bin/compare list\"", g.text)
}

// Outcome is what became of a gate.
type Outcome struct {
	Gate Gate
	// Failed is whether the value is beyond the limit for sure: its whole interval is.
	Failed bool
	// What says what was found.
	What string
}

// Apply judges a run by the condition. changes are those to the baseline. It is an error
// if the run has not measured what the condition is about.
func (g Gate) Apply(result *Result, changes []Change) ([]Outcome, error) {
	var outcomes []Outcome
	if g.relative {
		for _, c := range changes {
			if g.about(c.Row) && c.Quantile == g.quantile {
				outcomes = append(outcomes, g.judge(c))
			}
		}
	} else {
		for _, m := range result.Measurements {
			if !g.about(m) {
				continue
			}
			i, ok := m.at(g.quantile)
			if !ok {
				continue
			}
			if g.to != "" {
				// the cache is that of one side alone
				other := m
				other.Impl, other.Cache = g.to, ""
				at := slices.IndexFunc(result.Measurements, func(m Measurement) bool { m.Cache = ""; return m.key() == other.key() })
				if at < 0 {
					continue
				}
				by, ok := result.Measurements[at].at(g.quantile)
				if !ok {
					continue
				}
				i = divide(i, by)
			}
			outcomes = append(outcomes, Outcome{
				Gate: g, Failed: g.above && i.Low > g.limit || !g.above && i.High < g.limit,
				What: fmt.Sprintf("%s: it is %s [%s, %s]", g.text, g.format(i.Value, m.Unit), g.format(i.Low, m.Unit), g.format(i.High, m.Unit)),
			})
		}
	}
	if len(outcomes) == 0 {
		return nil, fmt.Errorf("%q is about nothing that was measured (a quantile takes enough samples, a change what both runs have)", g.text)
	}
	return outcomes, nil
}

// about is whether the measurement is the one that the condition names: of one request
// at a time if it is a latency, of all processes if it is a cost.
func (g Gate) about(m Measurement) bool {
	return (g.suite == "" || g.suite == m.Suite) && g.impl == m.Impl && g.name == m.Case && g.metric == m.Metric &&
		(m.Metric != "latency" || m.Load == "") && (m.Process == "" || m.Process == AllProcesses)
}

// judge compares a change with the limit. It fails if both the value and its ratio to the
// floor are beyond, so that a machine that has become slower fails nobody's run.
func (g Gate) judge(c Change) Outcome {
	limit := 1 + g.limit
	fails := func(low, high float64) bool { return g.above && low > limit || !g.above && high < limit }
	o := Outcome{
		Gate: g, Failed: fails(c.Low, c.High) && (c.ToFloor == nil || fails(c.ToFloor.Low, c.ToFloor.High)),
		What: fmt.Sprintf("%s: it is %+.0f%% [%+.0f%%, %+.0f%%]", g.text, 100*(c.Ratio-1), 100*(c.Low-1), 100*(c.High-1)),
	}
	if c.ToFloor != nil {
		o.What += fmt.Sprintf(", in relation to the floor %+.0f%% [%+.0f%%, %+.0f%%]", 100*(c.ToFloor.Value-1), 100*(c.ToFloor.Low-1), 100*(c.ToFloor.High-1))
	}
	return o
}

func (g Gate) format(value float64, unit string) string {
	switch {
	case g.to != "":
		return fmt.Sprintf("%.2fx", value)
	case unit == "ns":
		return fmt.Sprintf("%.2f ms", value/1e6)
	case unit == "B":
		return fmt.Sprintf("%.1f MiB", value/(1<<20))
	}
	return fmt.Sprintf("%.4g", value)
}

// SortChanges puts the changes that were found first, the greatest before the others.
func SortChanges(changes []Change) {
	slices.SortStableFunc(changes, func(a, b Change) int {
		if a, b := a.Verdict == NoDifference, b.Verdict == NoDifference; a != b {
			return map[bool]int{true: 1, false: -1}[a]
		}
		return cmp.Compare(math.Abs(math.Log(b.Ratio)), math.Abs(math.Log(a.Ratio)))
	})
}
