package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"portrule.example/lab/compare/bench"
)

// Figure answers a question to a run with one figure, as text. It is how the pages of the
// documentation get theirs:
//
//	verbs/get crd latency                     a median
//	verbs/get aggregated/crd latency          the ratio of two implementations
//	verbs/get aggregated/crd cpu interval     with the ends of its 95% interval
//	auth/get aggregated round-trips cache=cold link=to-etcd
//	auth/growth aggregated latency load=400/s p99
//	auth/growth aggregated subjectaccessreviews load=400/s model
//	auth/growth aggregated latency load=100/s,4x250
//	scale/list crd latency size=10000
//	scale/list crd latency fit.perUnit        what each further object takes
//	scale/get crd latency axis=clients fit.perUnit
//	scale/list crd latency fit.projection     the curve at ten times the greatest size
//	scale/list crd latency fit.at=1000000     the curve at another size
//	scale/list crd latency fit.within=60s     the size that takes so much: 60s, 256MiB
//	scale/watch crd latency fit.rate          how many a second
//	openapi/outage aggregated seen: the APIService is no longer Available
//
// What was seen ends at its first comma.
//
// What a question leaves open is the ordinary: one request at a time, through the
// kube-apiserver, with a client certificate, all processes, no curve. It is an error if
// nothing, or more than one thing, is then meant.
func Figure(result *bench.Result, question string) (string, error) {
	question, seen, observed := strings.Cut(question, " seen: ")
	q, err := ask(question)
	if err != nil {
		return "", err
	}
	switch {
	case observed:
		return q.observation(result, seen)
	case strings.HasPrefix(q.what, "fit."):
		return q.fit(result)
	case q.to != "":
		return q.ratio(result)
	}
	return q.median(result)
}

// asked is a question, taken apart.
type asked struct {
	suite, name, impl, to, metric string
	// keys restrict what is meant, by field of a measurement.
	keys map[string]string
	// what of it is asked for: the median or the ratio if it is empty.
	what     string
	interval bool
}

var keysOfFigures = []string{"path", "credential", "cache", "load", "process", "link", "size", "axis"}

func ask(question string) (asked, error) {
	words := strings.Fields(question)
	q := asked{keys: map[string]string{}}
	if len(words) < 2 || !strings.Contains(words[0], "/") {
		return q, fmt.Errorf("%q does not begin with suite/case and an implementation", question)
	}
	q.suite, q.name, _ = strings.Cut(words[0], "/")
	q.impl, q.to, _ = strings.Cut(words[1], "/")
	for i, word := range words[2:] {
		key, value, pair := strings.Cut(word, "=")
		switch {
		case i == 0:
			q.metric = word
		case word == "interval":
			q.interval = true
		case strings.HasPrefix(word, "fit."), word == "model", !pair && strings.HasPrefix(word, "p"):
			q.what = word
		case pair && slices.Contains(keysOfFigures, key):
			q.keys[key] = value
		default:
			return q, fmt.Errorf("%q: there is no %q: use %s=..., interval, p99, model or fit.perUnit and its like", question, word, strings.Join(keysOfFigures, "=..., "))
		}
	}
	return q, nil
}

// fields are those of a measurement or a comparison by which it is told from others.
type fields map[string]string

// usual are the values that a question means where it leaves a field open and one of the
// candidates has them, in the order in which they are looked for.
var usual = []struct{ field, value string }{
	{"load", ""},
	{"size", ""},
	{"path", ""},
	{"path", bench.ViaAPIServer},
	{"credential", ""},
	{"credential", bench.ByCertificate},
	{"clock", ""},
	{"process", ""},
	{"process", bench.AllProcesses},
	{"link", ""},
}

// one is the only one of the candidates that a question means.
func (q asked) one(candidates []fields) (int, error) {
	var left []int
	for i, c := range candidates {
		fits := true
		for key, want := range q.keys {
			fits = fits && (c[key] == want || key == "load" && loaded(c[key], want))
		}
		if fits {
			left = append(left, i)
		}
	}
	for _, u := range usual {
		if _, said := q.keys[u.field]; said {
			continue
		}
		if has := func(i int) bool { return candidates[i][u.field] == u.value }; slices.ContainsFunc(left, has) {
			left = slices.DeleteFunc(left, func(i int) bool { return !has(i) })
		}
	}
	switch len(left) {
	case 0:
		return 0, errors.New("the run has no such figure")
	case 1:
		return left[0], nil
	}
	var several []string
	for _, i := range left {
		several = append(several, fmt.Sprint(map[string]string(candidates[i])))
	}
	return 0, fmt.Errorf("the run has %d such figures: say which of\n  %s", len(left), strings.Join(several, "\n  "))
}

// loaded is whether a load has each of some parts, without regard to blanks: 400/s,4x250 are
// of "open, 400/s, 4 users x 250 names, ttl 1s".
func loaded(load, parts string) bool {
	load = strings.NewReplacer(" users", "", " names", "", " ", "").Replace(load)
	for part := range strings.SplitSeq(parts, ",") {
		if !slices.Contains(strings.Split(load, ","), part) {
			return false
		}
	}
	return true
}

func sizeText(size float64) string {
	if size == 0 {
		return ""
	}
	return strconv.FormatFloat(size, 'f', -1, 64)
}

func (q asked) median(result *bench.Result) (string, error) {
	var found []bench.Measurement
	var candidates []fields
	for _, m := range result.Measurements {
		if m.Suite == q.suite && m.Case == q.name && m.Impl == q.impl && m.Metric == q.metric {
			found = append(found, m)
			candidates = append(candidates, fields{
				"path": m.Path, "credential": m.Credential, "cache": m.Cache, "load": m.Load, "clock": m.Clock,
				"process": m.Process, "link": m.Link, "size": sizeText(m.Size), "axis": string(m.Axis),
			})
		}
	}
	i, err := q.one(candidates)
	if err != nil {
		return "", err
	}
	m := found[i]
	switch {
	case q.what == "model":
		if m.Model == nil {
			return "", errors.New("no formula was computed for it")
		}
		return brief(*m.Model, m.Unit), nil
	case q.what != "":
		percent, err := strconv.ParseFloat(q.what[1:], 64)
		if err != nil {
			return "", fmt.Errorf("%q is no percentile: use p90, p99 or p99.9", q.what)
		}
		at := slices.IndexFunc(m.Quantiles, func(of bench.Quantile) bool { return math.Abs(100*of.Q-percent) < 1e-6 })
		if at < 0 {
			return "", fmt.Errorf("its samples do not carry %s", q.what)
		}
		return q.text(bench.Interval{Value: m.Quantiles[at].Value, Low: m.Quantiles[at].Low, High: m.Quantiles[at].High}, m.Unit), nil
	}
	return q.text(bench.Interval{Value: m.Median, Low: m.Low, High: m.High}, m.Unit), nil
}

func (q asked) ratio(result *bench.Result) (string, error) {
	var found []bench.Comparison
	var candidates []fields
	for _, c := range result.Comparisons {
		if c.Suite == q.suite && c.Case == q.name && c.Impl == q.impl && c.To == q.to && c.Metric == q.metric {
			found = append(found, c)
			candidates = append(candidates, fields{"path": c.Path, "credential": c.Credential, "cache": c.Cache, "load": c.Load, "size": sizeText(c.Size), "axis": string(c.Axis)})
		}
	}
	i, err := q.one(candidates)
	if err != nil {
		return "", err
	}
	if q.interval {
		return times(ratioOf(found[i])), nil
	}
	return fmt.Sprintf("%.2fx", found[i].Ratio), nil
}

func (q asked) fit(result *bench.Result) (string, error) {
	var found []bench.Fit
	var candidates []fields
	for _, f := range result.Fits {
		if f.Suite == q.suite && f.Case == q.name && f.Impl == q.impl && f.Metric == q.metric {
			found = append(found, f)
			candidates = append(candidates, fields{"process": f.Process, "axis": string(f.Axis)})
		}
	}
	i, err := q.one(candidates)
	if err != nil {
		return "", err
	}
	f := found[i]
	switch what, at, _ := strings.Cut(q.what, "="); {
	case what == "fit.perUnit" && f.Growth == bench.Linear:
		return brief(f.PerUnit, f.Unit), nil
	case what == "fit.perUnit":
		return "", fmt.Errorf("it grows %s: only what is linear has an amount for each further one", f.Growth)
	case what == "fit.projection" && f.Projection != nil:
		return q.text(f.Projection.Interval, f.Unit), nil
	case what == "fit.projection":
		return "", errors.New("its curve was not projected")
	case (what == "fit.within" || what == "fit.rate") && (f.Growth != bench.Linear || f.PerUnit <= 0):
		return "", fmt.Errorf("it grows %s: only what is linear has so many", f.Growth)
	case what == "fit.rate":
		return count(rounded(1e9/f.PerUnit)) + "/s", nil
	case what == "fit.within":
		most, err := amount(at)
		if err != nil {
			return "", err
		}
		return count(rounded((most - f.Fixed) / f.PerUnit)), nil
	case what == "fit.at":
		size, err := strconv.ParseFloat(at, 64)
		if err != nil {
			return "", fmt.Errorf("%q is no size", at)
		}
		if f.Growth == bench.Linear || f.Growth == bench.Constant {
			return brief(f.Fixed+f.PerUnit*size, f.Unit), nil
		}
		return brief(f.Fixed+f.PerUnit*math.Pow(size, f.Exponent), f.Unit), nil
	}
	return "", fmt.Errorf("there is no %q: use fit.perUnit, fit.projection, fit.at=N, fit.within=60s or fit.rate", q.what)
}

// amount reads a time in nanoseconds, or a size in bytes.
func amount(text string) (float64, error) {
	if size, ok := strings.CutSuffix(text, "MiB"); ok {
		n, err := strconv.ParseFloat(size, 64)
		return n * (1 << 20), err
	}
	d, err := time.ParseDuration(text)
	return float64(d), err
}

// rounded has two digits: a curve that is continued so far says no more.
func rounded(v float64) float64 {
	if v <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/unit) * unit
}

func (q asked) observation(result *bench.Result, what string) (string, error) {
	for _, o := range result.Observations {
		if o.Suite == q.suite && o.Case == q.name && o.Impl == q.impl && o.What == what {
			seen, _, _ := strings.Cut(o.Seen, ",")
			return seen, nil
		}
	}
	return "", errors.New("the run has seen nothing of the kind")
}

// text is a value, with the ends of its interval if the question wants them. A slope has
// two digits after its point: what is less is noise.
func (q asked) text(i bench.Interval, unit string) string {
	say := func(v float64) string { return brief(v, unit) }
	if q.metric == "round-trips" {
		say = func(v float64) string { return fmt.Sprintf("%.2f", math.Round(100*v)/100+0) }
	}
	if q.interval {
		return fmt.Sprintf("%s [%s, %s]", say(i.Value), say(i.Low), say(i.High))
	}
	return say(i.Value)
}
