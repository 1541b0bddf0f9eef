package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/relay"
)

// mostSentences is how many a summary has at most.
const mostSentences = 14

// summary writes sentences about a result. Each is empty if what it is about was not
// measured, and says no more than the interval of its figure allows: a difference only if
// the verdict has found one.
type summary struct {
	*bench.Result
	parity *parityMatrix
}

// summarize is the result in words: what came of it first, then sentence by sentence.
func summarize(result *bench.Result, parity *parityMatrix) []string {
	s := summary{result, parity}
	all := []string{
		s.headline(), s.read("get", "Reading the same object again"), s.read("get-new", "Reading an object for the first time"), s.read("list", fmt.Sprintf("Listing %d objects", bench.ListSize)),
		s.writes(), s.cpu(), s.reviews(), s.webhooks(), s.refusals(), s.conversions(), s.growth(), s.heap(), s.explain(), s.agreement(),
		// these only if there is room
		s.duplicates(), s.peers(),
	}
	all = slices.DeleteFunc(all, func(sentence string) bool { return sentence == "" })
	if len(all) == 0 {
		return []string{"Nothing was measured that a sentence could sum up."}
	}
	return all[:min(len(all), mostSentences)]
}

// Summary is a run in words, as its reports have it at their top. parity may be nil.
func Summary(result *bench.Result, parity *contract.Matrix) []string {
	return summarize(result, parity)
}

// compared finds the comparison of two implementations, their variants included if they
// are not there themselves.
func (s summary) compared(suite, name, metric, load, impl, to string) (bench.Comparison, bool) {
	for _, like := range []func(is, want string) bool{
		func(is, want string) bool { return is == want },
		func(is, want string) bool { return base(is) == want },
	} {
		for _, c := range s.Comparisons {
			if c.Suite == suite && c.Case == name && c.Metric == metric && strings.HasPrefix(c.Load, load) && (c.Load == "") == (load == "") &&
				c.Axis == "" && c.Path == "" && like(c.Impl, impl) && like(c.To, to) {
				return c, true
			}
		}
	}
	return bench.Comparison{}, false
}

// medians are those of the two sides of a comparison, in words: "4.19 ms in place of
// 2.62 ms". It is empty if one is missing.
func (s summary) medians(c bench.Comparison) string {
	var sides [2]string
	for _, m := range s.Measurements {
		if m.Suite != c.Suite || m.Case != c.Case || m.Metric != c.Metric || m.Load != c.Load || m.Axis != "" || m.Clock != "" || m.Process != "" && m.Process != bench.AllProcesses {
			continue
		}
		switch m.Impl {
		case c.Impl:
			sides[0] = value(m.Median, m.Unit)
		case c.To:
			sides[1] = value(m.Median, m.Unit)
		}
	}
	if sides[0] == "" || sides[1] == "" {
		return ""
	}
	return ": " + sides[0] + " in place of " + sides[1]
}

// ratio says a comparison in words: "1.62 times as long [1.58, 1.66]", or that no
// difference was found, or why there is no verdict.
func ratio(c bench.Comparison, as string) string {
	if !c.Verdict.Found() {
		if c.Verdict == bench.TooFew {
			return "too few samples for a verdict: " + times(ratioOf(c))
		}
		text := "no difference found: " + times(ratioOf(c))
		if c.Low > 1 || c.High < 1 {
			text += ", which is not enough where so many comparisons are made"
		}
		return text
	}
	return fmt.Sprintf("%.2f times %s [%.2f, %.2f]", c.Ratio, as, c.Low, c.High)
}

// versus is a sentence about how long something takes on either side.
func (s summary) versus(what string, c bench.Comparison, of, to string) string {
	if !c.Verdict.Found() {
		return fmt.Sprintf("%s, %s or %s: %s", what, of, to, ratio(c, ""))
	}
	return fmt.Sprintf("%s takes %s %s as %s%s", what, ratio(c, "as long"), of, to, s.medians(c))
}

const fromServer, byCRD = "from the aggregated server", "through the CRD"

// headline says for how many requests which of the two takes longer, by the first suite that
// compares them.
func (s summary) headline() string {
	for _, suite := range suites(s.Result) {
		var kinds []bench.Comparison
		for _, c := range s.Comparisons {
			// in other suites a variant is another way to do the same
			ours := c.Impl == bench.Aggregated && c.To == bench.CRD || suite == bench.Verbs.Name && base(c.Impl) == bench.Aggregated && base(c.To) == bench.CRD
			if ours && c.Suite == suite && c.Metric == "latency" && c.Load == "" && c.Axis == "" && (c.Path == "" || c.Path == bench.ViaAPIServer) {
				kinds = append(kinds, c)
			}
		}
		if len(kinds) > 0 {
			return verdictsInWords(kinds)
		}
	}
	return ""
}

// verdictsInWords counts what comparisons have come to.
func verdictsInWords(all []bench.Comparison) string {
	by := map[bench.Verdict][]bench.Comparison{}
	for _, c := range all {
		by[c.Verdict] = append(by[c.Verdict], c)
	}
	furthest := func(of []bench.Comparison) string {
		c := slices.MaxFunc(of, func(a, b bench.Comparison) int { return cmp.Compare(distance(a.Ratio), distance(b.Ratio)) })
		return fmt.Sprintf("%s, %s", rowName(c), times(ratioOf(c)))
	}
	slower, faster, open := by[bench.Slower], by[bench.Faster], by[bench.NoDifference]
	var parts []string
	sides := " from the aggregated server than through the CRD"
	if n := len(slower); n > 0 {
		parts = append(parts, fmt.Sprintf("%s longer%s (the most %s)", several(n, "takes", "take"), sides, furthest(slower)))
		sides = "" // once is enough
	}
	if n := len(faster); n > 0 {
		parts = append(parts, fmt.Sprintf("%s less time%s (the least %s)", several(n, "takes", "take"), sides, furthest(faster)))
	}
	if n := len(open); n > 0 {
		low, high := open[0].Low, open[0].High
		for _, c := range open {
			low, high = min(low, c.Low), max(high, c.High)
		}
		parts = append(parts, fmt.Sprintf("for %d no difference was found (their intervals reach from %.2fx to %.2fx)", n, low, high))
	}
	if n := len(by[bench.TooFew]); n > 0 {
		parts = append(parts, fmt.Sprintf("for %d there were too few samples for a verdict", n))
	}
	begin := "Which one is faster depends on the request"
	switch {
	case len(slower)+len(faster) == 0:
		begin = "Neither was found to be faster"
	case len(faster) == 0:
		begin = "Where a difference was found, the CRD is the faster one"
	case len(slower) == 0:
		begin = "Where a difference was found, the aggregated server is the faster one"
	}
	return fmt.Sprintf("%s: of %s, one at a time, %s.", begin, several(len(all), "kind of request", "kinds of request"), strings.Join(parts, "; "))
}

// distance is how far a ratio is from 1, in either direction.
func distance(ratio float64) float64 { return math.Abs(math.Log(max(ratio, 1e-9))) }

// several prints so many of something.
func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// read is about a request that reads, with name-free reviews too where they were measured.
func (s summary) read(name, what string) string {
	c, ok := s.compared(bench.Verbs.Name, name, "latency", "", bench.Aggregated, bench.CRD)
	if !ok {
		return ""
	}
	text := s.versus(what, c, fromServer, byCRD)
	if free, ok := s.compared(bench.Verbs.Name, name, "latency", "", bench.NameFree, bench.CRD); ok && name == "get-new" {
		text += "; with name-free reviews " + ratio(free, "as long")
	}
	return text + "."
}

// writes is about creating, deleting, and the events of that.
func (s summary) writes() string {
	var parts []string
	for _, w := range []struct{ name, what string }{{"create", "creating"}, {"delete", "deleting"}, {"watch", "a write until a watch has its event"}} {
		if c, ok := s.compared(bench.Verbs.Name, w.name, "latency", "", bench.Aggregated, bench.CRD); ok {
			if !c.Verdict.Found() {
				parts = append(parts, "for "+w.what+" "+ratio(c, ""))
				continue
			}
			parts = append(parts, w.what+" takes "+ratio(c, "as long"))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "Writing to the aggregated server in relation to the CRD, " + strings.Join(parts, "; ") + "."
}

// cpu is about what a thousand requests cost all processes.
func (s summary) cpu() string {
	c, ok := s.compared(bench.Verbs.Name, "get", "cpu", "closed", bench.Aggregated, bench.CRD)
	if !ok {
		return ""
	}
	what := fmt.Sprintf("The CPU time of all processes for a thousand reads of the same object (%s)", strings.TrimPrefix(c.Load, "closed, "))
	if !c.Verdict.Found() {
		return fmt.Sprintf("%s, %s or %s: %s.", what, fromServer, byCRD, ratio(c, ""))
	}
	return fmt.Sprintf("%s is %s %s as %s%s.", what, ratio(c, "as much"), fromServer, byCRD, s.medians(c))
}

// reviews is about what is counted of a read: round trips and reviews.
func (s summary) reviews() string {
	again := bench.Cell{Case: "get", Impl: bench.Aggregated, Path: bench.ViaAPIServer, Credential: bench.ByCertificate, Cache: bench.Warm}
	first := again
	first.Case, first.Cache = "get-new", bench.Cold
	trips, ok := s.auth(again, "round-trips", relay.Server)
	if !ok {
		return ""
	}
	text := fmt.Sprintf("On its way to the aggregated server a read crosses from the kube-apiserver to the server %s (%.2f [%.2f, %.2f] by the slope of its latency)",
		often(trips), trips.Median, trips.Low, trips.High)
	if crd, ok := s.auth(bench.Cell{Case: "get", Impl: bench.CRD, Path: bench.ViaAPIServer, Credential: bench.ByCertificate}, "round-trips", relay.Server); ok {
		text += fmt.Sprintf(", one through the CRD %s (%.2f [%.2f, %.2f])", often(crd), crd.Median, crd.Low, crd.High)
	}
	var counted []string
	for _, c := range []struct {
		cell bench.Cell
		what string
	}{{again, "for an object asked for before"}, {first, "for the first one of its name"}} {
		token, ok := s.auth(c.cell, "tokenreviews", "")
		access, ok2 := s.auth(c.cell, "subjectaccessreviews", "")
		if ok && ok2 {
			counted = append(counted, fmt.Sprintf("%s %s and %s", c.what, several(int(math.Round(token.Median)), "TokenReview", "TokenReviews"), several(int(math.Round(access.Median)), "SubjectAccessReview", "SubjectAccessReviews")))
		}
	}
	if len(counted) > 0 {
		text += "; the server was counted to send, " + strings.Join(counted, ", ")
	}
	return text + "."
}

// auth finds a measurement of a cell.
func (s summary) auth(cell bench.Cell, metric, link string) (bench.Measurement, bool) {
	at := slices.IndexFunc(s.Measurements, func(m bench.Measurement) bool {
		return m.Suite == bench.Auth.Name && m.Load == "" && m.Metric == metric && m.Link == link && cellOf(m) == cell
	})
	if at < 0 {
		return bench.Measurement{}, false
	}
	return s.Measurements[at], true
}

// often is the one integer that the interval of a slope leaves, in words.
func often(slope bench.Measurement) string {
	n := math.Round(slope.Median) + 0 // -0 is 0
	switch {
	case slope.Low <= n-0.5 || slope.High >= n+0.5:
		return "a number of times that this run cannot tell"
	case n == 0:
		return "never"
	case n == 1:
		return "once"
	}
	return fmt.Sprintf("%.0f times", n)
}
