// Package harness leads from a program of lab 15 to the engine of this repository's
// benchmarks, portrule.example/lab/compare/bench, and to the two implementations of
// PortRule that the lab has: a CRD and an aggregated server.
//
// [Main] is the program, of which the learner writes what is measured. [Harness.Get] sends
// a request and notes it, [Harness.Run] has the engine take samples, and what comes out is a
// [Report]: the comparisons that were made, the requests in their order, and the reviews
// that the aggregated server has sent meanwhile.
package harness

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
)

// Files that the lab leaves in its state: how the kube-apiserver is reached, and how the
// aggregated server itself, both as the administrator.
const (
	ClusterFile = "cluster.kubeconfig"
	ServerFile  = "server.kubeconfig"
)

// Groups of the implementations, the namespace in which everybody may read, and the group of
// users who may.
const (
	AggregatedGroup = "measured.firewalld.fedoraproject.org"
	CRDGroup        = "crd.measured.firewalld.fedoraproject.org"
	Namespace       = "lab-15"
	Readers         = "lab-15:readers"
)

// Objects is how many PortRules each implementation has, rule-0, rule-1 and so on.
const Objects = 60

// Name is the name of the i-th PortRule.
func Name(i int) string { return "rule-" + strconv.Itoa(i) }

// Report is what a run was.
type Report struct {
	// Requests are those that were sent, in their order.
	Requests []Request `json:"requests"`
	// Comparisons are what they came to.
	Comparisons []bench.Comparison `json:"comparisons"`
	// Reviews are the SubjectAccessReviews that the aggregated server has sent meanwhile.
	Reviews int `json:"reviews"`
}

// Request is one that was sent: to which implementation, for the object of which name.
type Request struct {
	Impl string `json:"impl"`
	Name string `json:"name"`
}

// Harness is what a program measures with.
type Harness struct {
	// Sessions are those of the CRD and of the aggregated server, as one user, of whom
	// the server has never heard.
	Sessions []*bench.Session

	client   *http.Client
	host     string
	requests []Request
}

// Main is the program: it runs measure and prints what came out. The error of a request ends
// it.
func Main(measure func(context.Context, *Harness) ([]bench.Comparison, error)) {
	if err := run(context.Background(), os.Args[1:], os.Stdout, measure); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, measure func(context.Context, *Harness) ([]bench.Comparison, error)) error {
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	state := flags.String("state", "../../.state/build/15-measure-it-yourself", "where the lab has its files")
	asJSON := flags.Bool("json", false, "print the report as JSON, with every request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, err := load(filepath.Join(*state, ServerFile))
	if err != nil {
		return err
	}
	through, err := load(filepath.Join(*state, ClusterFile))
	if err != nil {
		return err
	}
	// somebody who has never asked: no answer is kept
	through.Impersonate = rest.ImpersonationConfig{UserName: "reader-" + rand.String(8), Groups: []string{Readers}}
	h := &Harness{host: strings.TrimSuffix(through.Host, "/")}
	if h.client, err = rest.HTTPClientFor(through); err != nil {
		return err
	}
	for impl, group := range map[string]string{bench.CRD: CRDGroup, bench.Aggregated: AggregatedGroup} {
		subject := &bench.Subject{Impl: impl, Version: schema.GroupVersion{Group: group, Version: v2.Version}, Kind: api.Kind, Resource: api.Resource}
		session, err := bench.NewSession(through, subject, Namespace, Namespace)
		if err != nil {
			return err
		}
		h.Sessions = append(h.Sessions, session)
	}
	before, err := Reviews(ctx, server)
	if err != nil {
		return err
	}
	comparisons, err := measure(ctx, h)
	if err != nil {
		return err
	}
	after, err := Reviews(ctx, server)
	if err != nil {
		return err
	}
	report := Report{Requests: h.requests, Comparisons: comparisons, Reviews: after - before}
	if *asJSON {
		return json.NewEncoder(stdout).Encode(report)
	}
	return report.print(stdout)
}

func (r Report) print(w io.Writer) error {
	sent := map[string]int{}
	for _, request := range r.Requests {
		sent[request.Impl]++
	}
	fmt.Fprintf(w, "%d requests to the CRD, %d to the aggregated server, which has sent %d SubjectAccessReviews\n",
		sent[bench.CRD], sent[bench.Aggregated], r.Reviews)
	for _, c := range r.Comparisons {
		fmt.Fprintf(w, "%s to %s: %.2f times as long", c.Impl, c.To, c.Ratio)
		if c.Low < c.High {
			fmt.Fprintf(w, ", 95%% interval %.2f to %.2f", c.Low, c.High)
		}
		fmt.Fprintf(w, ", n = %d\n", c.N)
	}
	return nil
}

func load(path string) (*rest.Config, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the server of lab 15 does not run: \"lab start 15\" starts it, your files stay as they are")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read where the server of the lab is: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// Get reads the object called name, and returns how long that took: from before the request
// is sent until the last byte of the answer.
func (h *Harness) Get(ctx context.Context, s *bench.Session, name string) (time.Duration, error) {
	path := strings.Join([]string{"/apis", s.Subject.Version.Group, s.Subject.Version.Version, "namespaces", s.Namespace, s.Subject.Resource, name}, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.host+path, nil)
	if err != nil {
		return 0, err
	}
	h.requests = append(h.requests, Request{s.Subject.Impl, name})
	begin := time.Now()
	response, err := h.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	taken := time.Since(begin)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d: %s", path, response.StatusCode, strings.TrimSpace(string(body)))
	}
	return taken, err
}

// Run has the engine measure the cases of a suite by a plan, and returns the comparisons
// that its pairs ask for, of the latencies.
func (h *Harness) Run(ctx context.Context, plan bench.Plan, suite bench.Suite) ([]bench.Comparison, error) {
	samples, err := bench.Run(ctx, bench.Options{
		Plan: plan, Suites: []bench.Suite{suite}, Sessions: h.Sessions, Credential: cluster.ClientCertificate,
		Progress: func(bench.Progress) {},
	})
	if err != nil {
		return nil, err
	}
	_, comparisons, warnings := bench.Summarize(samples, cluster.ClientCertificate, nil)
	for _, warning := range warnings {
		fmt.Fprintln(os.Stderr, "warning:", warning)
	}
	return comparisons, nil
}

// reviewsMetric is the counter of an aggregated server.
const reviewsMetric = "apiserver_delegated_authz_request_total{"

// Reviews returns how many SubjectAccessReviews the server has sent since it started. config
// leads to the server itself.
func Reviews(ctx context.Context, config *rest.Config) (int, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(config.Host, "/")+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read the metrics of the server of the lab: %w; does it run? \"lab start 15\"", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	sum := 0
	for line := range strings.Lines(string(body)) {
		if err != nil {
			break
		}
		if strings.HasPrefix(line, reviewsMetric) {
			fields := strings.Fields(line)
			var n float64
			n, err = strconv.ParseFloat(fields[len(fields)-1], 64)
			sum += int(n)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("read the metrics of the server of the lab: %w", err)
	}
	return sum, nil
}
