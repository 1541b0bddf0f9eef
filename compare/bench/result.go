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
	// Metric is what was measured, Unit its unit: latency in ns, throughput in 1/s, cpu in
	// ms/1000 (milliseconds for a thousand requests), memory in B, round-trips in 1.
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
	// Difference is the median of what impl's samples are more than to's, in the unit of the
	// measurements.
	Difference *Interval `json:"difference,omitempty"`
	Ratio      float64   `json:"ratio"`
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
)
