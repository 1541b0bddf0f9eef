package bench

import "time"

// Schema names the shape of a result.json. It changes when a field changes its
// meaning or goes; fields may be added under the same name.
const Schema = "portrule.example/lab/result/v1"

// Result is what a run leaves: result.json, described by result.schema.json in
// package report.
type Result struct {
	Schema       string        `json:"schema"`
	Environment  Environment   `json:"environment"`
	Measurements []Measurement `json:"measurements"`
	Comparisons  []Comparison  `json:"comparisons"`
	// Citations are the cells of the suite auth that were not measured, because they cannot
	// differ from one that was.
	Citations []Citation `json:"citations,omitempty"`
	// Fits are the curves through the measurements that have an axis.
	Fits []Fit `json:"fits,omitempty"`
	// Observations are what was seen that is no number.
	Observations []Observation `json:"observations,omitempty"`
	// NotRun are what was asked for and could not be measured.
	NotRun []NotRun `json:"notRun,omitempty"`
	// Warnings are what a reader must know before believing the numbers.
	Warnings []string `json:"warnings"`
	// Digest is that of all the rest, by which a file is known that was changed by hand.
	Digest string `json:"digest,omitempty"`
}

// Environment is where and how a run was made.
type Environment struct {
	// Commit of the source, with "+changes" if it was modified; "unknown" if the
	// program was built outside of a git checkout.
	Commit string `json:"commit"`
	// Command is the command line.
	Command []string  `json:"command"`
	Started time.Time `json:"started"`
	// Cluster is the provider; Kubernetes the version of its kube-apiserver.
	Cluster    string `json:"cluster"`
	Kubernetes string `json:"kubernetes"`
	// NodeImage is the image of a kind cluster's node.
	NodeImage string `json:"nodeImage,omitempty"`
	// Libraries is the version of k8s.io/apiserver in the aggregated server.
	Libraries string `json:"libraries"`
	Go        string `json:"go"`
	OS        string `json:"os"`
	Kernel    string `json:"kernel"`
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	// Memory in bytes.
	Memory uint64 `json:"memory"`
	// Seed is of the order of turns and of the arrivals of an open loop.
	Seed uint64 `json:"seed"`
	// Rounds is the number of rounds that were asked for; 0 means as many as Precision
	// took within BudgetSeconds.
	Rounds        int     `json:"rounds,omitempty"`
	Precision     float64 `json:"precision,omitempty"`
	BudgetSeconds float64 `json:"budgetSeconds,omitempty"`
	// Delay is what was put on links for the whole run, such as apiserver-server=5ms.
	Delay []string `json:"delay,omitempty"`
	// Noise is what the machine was found to do before the run.
	Noise []Noise `json:"noise,omitempty"`
	// CRD is by what the CRD stated the rules: schema, schema+policies, ...
	CRD string `json:"crd"`
	// UniqueEndpoints is whether the aggregated server stated R4. It does where the
	// CRD does, so that both do the same.
	UniqueEndpoints bool `json:"uniqueEndpoints"`
	// ObjectBytes is the size of an object as JSON, by implementation.
	ObjectBytes map[string]int `json:"objectBytes,omitempty"`
	// ReadySeconds is how long parts took to serve: controlPlane, implementations, and on
	// kind images.
	ReadySeconds map[string]float64 `json:"readySeconds"`
}

// Measurement is the distribution of one metric of one case and implementation.
type Measurement struct {
	Suite string `json:"suite"`
	Case  string `json:"case"`
	// Impl is crd, aggregated or native; a variant follows, as in crd+policies.
	Impl string `json:"impl"`
	// Path is how the request came: kube-apiserver, or direct.
	Path string `json:"path"`
	// Credential is how the kube-apiserver authenticated the user.
	Credential string `json:"credential,omitempty"`
	// Cache is the state of the aggregated server's authorization cache.
	Cache string `json:"cache,omitempty"`
	// Load is how the requests came, see [Loop]; empty means one at a time.
	Load string `json:"load,omitempty"`
	// Clock says from when a latency of an open loop counts: sent, or intended.
	Clock string `json:"clock,omitempty"`
	// Process is whose cpu or memory it is; all is the sum without the client's own.
	Process string `json:"process,omitempty"`
	// Link is the one that round trips cross.
	Link string `json:"link,omitempty"`
	// Axis is what grows from one measurement of a curve to the next, Size how far it has:
	// so many objects, clients, watchers or replicas. Empty means that nothing does.
	Axis Axis    `json:"axis,omitempty"`
	Size float64 `json:"size,omitempty"`
	// Metric is what was measured, Unit its unit: latency in ns, throughput in 1/s, cpu in
	// ms/1000 (milliseconds for a thousand requests) or ms, memory and document-size in B,
	// round-trips, webhook-calls and conversions (each per request) in 1.
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	// N is the number of samples.
	N      int     `json:"n"`
	Median float64 `json:"median"`
	// Low and High bound the median with 95% confidence.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Quantiles are those of a latency beyond the median that N samples can carry.
	Quantiles []Quantile `json:"quantiles,omitempty"`
	// Curve is the distribution of a latency: what it is at the percentiles that the
	// samples can tell apart, as far as a plot needs them.
	Curve []Percentile `json:"curve,omitempty"`
	// WarmUp are the samples before the steady ones, which do not count above.
	WarmUp *WarmUp `json:"warmUp,omitempty"`
	// Flow is how the requests of a throughput went.
	Flow *Flow `json:"flow,omitempty"`
	// StdErr is the standard error of the slope that Median is, R2 how much of what was
	// seen it explains.
	StdErr *float64 `json:"stderr,omitempty"`
	R2     *float64 `json:"r2,omitempty"`
	// Model is what a formula of the documentation expects Median to be.
	Model *float64 `json:"model,omitempty"`
}

// Quantile is a quantile of a distribution and its 95% interval.
type Quantile struct {
	// Q is 0.9, 0.99 or 0.999.
	Q     float64 `json:"q"`
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Percentile is a point of a distribution: the part P of the samples, 0 to 1, is not above
// Value.
type Percentile struct {
	P     float64 `json:"p"`
	Value float64 `json:"value"`
}

// Axis is what grows along a curve.
type Axis string

// The axes.
const (
	Objects  Axis = "objects"
	Clients  Axis = "clients"
	Watchers Axis = "watchers"
	Replicas Axis = "replicas"
)

// WarmUp are the samples that were taken before the case was steady.
type WarmUp struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
}

// Flow is how the requests of all windows of a loop went.
type Flow struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	// InFlight is the mean number of requests under way as counted, Little that by Little's
	// law, throughput times mean latency.
	InFlight float64 `json:"inFlight"`
	Little   float64 `json:"little"`
	// Late requests were sent more than a millisecond after their time, Dropped ones not
	// at all.
	Late    int `json:"late"`
	Dropped int `json:"dropped"`
}

// Comparison is how one implementation does in relation to another. The ratio is
// computed for each round, impl's sample by to's; Ratio is the median.
type Comparison struct {
	Suite  string `json:"suite"`
	Case   string `json:"case"`
	Impl   string `json:"impl"`
	To     string `json:"to"`
	Metric string `json:"metric"`
	// Load is how the requests came, and Path, Credential and Cache impl's, as in
	// [Measurement]: the last three where they tell the comparisons of a case apart.
	Load       string `json:"load,omitempty"`
	Path       string `json:"path,omitempty"`
	Credential string `json:"credential,omitempty"`
	Cache      string `json:"cache,omitempty"`
	// ToPath, ToCredential and ToCache are to's.
	ToPath       string `json:"toPath,omitempty"`
	ToCredential string `json:"toCredential,omitempty"`
	ToCache      string `json:"toCache,omitempty"`
	// Axis and Size are as in [Measurement].
	Axis Axis    `json:"axis,omitempty"`
	Size float64 `json:"size,omitempty"`
	// Difference is the median of what impl's samples are more than to's, in the unit of the
	// measurements.
	Difference *Interval `json:"difference,omitempty"`
	// Spread are the 5th, 25th, 50th, 75th and 95th percentiles of those differences,
	// absent of fewer than 20.
	Spread []float64 `json:"spread,omitempty"`
	Ratio  float64   `json:"ratio"`
	// Low and High bound the ratio with 95% confidence.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// N is the number of pairs.
	N       int     `json:"n"`
	Verdict Verdict `json:"verdict"`
}

// Interval is a value and its 95% interval.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Fit is the curve of one metric of a case along an axis: value = Fixed + PerUnit x size if
// it is constant or linear, value = Fixed + PerUnit x size^Exponent if it is worse.
type Fit struct {
	Suite  string `json:"suite"`
	Case   string `json:"case"`
	Impl   string `json:"impl"`
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	// Process is whose memory it is.
	Process string `json:"process,omitempty"`
	Axis    Axis   `json:"axis"`
	// N is the number of points, From and To the least and the greatest size.
	N    int     `json:"n"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
	// Growth is the simplest that explains the points.
	Growth   Grows   `json:"growth"`
	Fixed    float64 `json:"fixed"`
	PerUnit  float64 `json:"perUnit"`
	Exponent float64 `json:"exponent"`
	// R2 is how much of what was seen the curve explains.
	R2 float64 `json:"r2"`
	// Breaks is the size from which on the points leave the curve of those before, or
	// requests fail; absent if there is none. Why says which.
	Breaks *float64 `json:"breaks,omitempty"`
	Why    string   `json:"why,omitempty"`
	// Projection is what the curve says of ten times the greatest size. It is absent where
	// the curve has broken, or does not explain the points.
	Projection *Projection `json:"projection,omitempty"`
}

// Grows is how a metric grows along an axis.
type Grows string

// The growths, from the simplest on.
const (
	Constant Grows = "constant"
	Linear   Grows = "linear"
	Worse    Grows = "worse than linear"
	Better   Grows = "less than linear"
)

// Projection is what a curve says of a size that was not measured.
type Projection struct {
	Size float64 `json:"size"`
	Interval
}

// Observation is something that a suite has seen and that is no number: an answer, a
// difference between documents.
type Observation struct {
	Suite string `json:"suite"`
	// Case is the table that it belongs to, What its row, Impl its column.
	Case string `json:"case"`
	What string `json:"what"`
	Impl string `json:"impl"`
	Seen string `json:"seen"`
}

// NotRun is what could not be measured, and why. An empty Case means the whole suite, an
// empty Impl all of them.
type NotRun struct {
	Suite string `json:"suite"`
	Case  string `json:"case,omitempty"`
	Impl  string `json:"impl,omitempty"`
	Why   string `json:"why"`
}

// Verdict is what a comparison comes to.
type Verdict string

// The verdicts. A difference is found if the ratio's interval leaves 1 out, at a
// confidence that counts how many comparisons of the metric the suite makes: with 95%
// confidence none of them finds a difference that is not there.
const (
	Faster       Verdict = "faster"
	Slower       Verdict = "slower"
	Smaller      Verdict = "smaller" // of memory, and of CPU time
	Larger       Verdict = "larger"
	NoDifference Verdict = "no difference found"
	// TooFew is the verdict where the 95% interval leaves 1 out, and the samples are too few
	// for an interval of the confidence that counts all comparisons.
	TooFew Verdict = "too few samples"
)

// Found is whether a verdict is that there is a difference.
func (v Verdict) Found() bool { return v != NoDifference && v != TooFew && v != "" }
