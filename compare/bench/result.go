package bench

import (
	"time"
)

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
	// Warnings are what a reader must know before believing the numbers.
	Warnings []string `json:"warnings"`
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
	// Rounds and WarmUp are the samples of each case that count, and those before
	// them that do not.
	Rounds int `json:"rounds"`
	WarmUp int `json:"warmUp"`
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
	// Metric is what was measured, Unit its unit: latency in ns.
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	// N is the number of samples.
	N      int     `json:"n"`
	Median float64 `json:"median"`
	// Low and High bound the median with 95% confidence.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Comparison is how one implementation does in relation to another. The ratio is
// computed for each round, impl's sample by to's; Ratio is the median.
type Comparison struct {
	Suite  string  `json:"suite"`
	Case   string  `json:"case"`
	Impl   string  `json:"impl"`
	To     string  `json:"to"`
	Metric string  `json:"metric"`
	Ratio  float64 `json:"ratio"`
	// Low and High bound the ratio with 95% confidence.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// N is the number of pairs.
	N       int     `json:"n"`
	Verdict Verdict `json:"verdict"`
}

// Verdict is what a comparison comes to.
type Verdict string

// The verdicts. A difference is found if the interval of the ratio leaves 1 out.
const (
	Faster       Verdict = "faster"
	Slower       Verdict = "slower"
	Smaller      Verdict = "smaller" // of memory
	Larger       Verdict = "larger"
	NoDifference Verdict = "no difference found"
)
