// Package clients is a load that notices. Its clients make, change, read and list PortRules and
// delete them, others watch, and it counts what goes wrong: requests that fail, answers that
// are older than what was written before, events that are missing or come twice.
//
// [Start] starts them, [Load.Report] says what they have counted, and [Load.End] ends them
// once the watches have caught up. What they send is in work.go, what they watch in
// watch.go. Nothing is tried again: a request that fails is counted, even where client-go
// would repeat it and nobody would notice.
package clients

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// Label marks the rules of the clients, with the name of their run.
const Label = "portrule.example/clients"

// workers is how many clients write.
const workers = 3

// patience is how long a request may take, and how long [Load.End] waits for an event.
const patience = 10 * time.Second

// Options say what the clients work on.
type Options struct {
	// Config is how they reach the kube-apiserver, and as whom.
	Config *rest.Config
	// Group is that of the rules, Namespace where they are made.
	Group, Namespace string
	// Pace is the time from one request of a client to its next.
	Pace time.Duration
	// Renew is how long the watches last that are renewed, if that is less than the second
	// that a server counts: the client ends them. 0 means a second.
	Renew time.Duration
	// Say is called with what happens: a failure, the first of its kind, or that another
	// server answers. Nil means nobody listens.
	Say func(line string)
}

// Load is the clients at work.
type Load struct {
	Options
	run     string
	client  rest.Interface
	begin   time.Time
	kept    []string
	watches []*tally

	stopWorkers, stopWatches context.CancelFunc
	working, watching        sync.WaitGroup
	once                     sync.Once

	mu       sync.Mutex
	requests int
	slowest  time.Duration
	slow     string
	failures []Failure
	said     map[string]bool
	written  []change
	houses   []House
}

// Failure is a request that has failed.
type Failure struct {
	// At is when, from the start.
	At time.Duration
	// What is the request, Code the status of its answer, 0 if there was none.
	What string
	Code int
	Says string
}

func (f Failure) String() string {
	return fmt.Sprintf("%.3f s: %s: %d %s", f.At.Seconds(), f.What, f.Code, f.Says)
}

// House says who answers from some time on.
type House struct {
	At time.Duration
	// Server is whether it is a server that knows the subresource nftables, and not the CRD.
	Server bool
}

func (h House) String() string {
	who := "the CRD"
	if h.Server {
		who = "the server"
	}
	return fmt.Sprintf("%s answers from %.1f s on", who, h.At.Seconds())
}

// Report is what the clients have counted.
type Report struct {
	Lasted time.Duration
	// Requests are all but the watches', Writes those of them that have written.
	Requests, Writes int
	// Slowest is how long the slowest took, and Slow which it was.
	Slowest time.Duration
	Slow    string
	// Failures are those of watches too.
	Failures []Failure
	Watches  []Watch
	Houses   []House
}

// Start starts the clients.
func Start(ctx context.Context, options Options) (*Load, error) {
	config := rest.CopyConfig(options.Config)
	config.QPS = -1
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, err
	}
	l := &Load{Options: options, run: rand.String(4), client: client, begin: time.Now(), said: map[string]bool{}}
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	var list v2.PortRuleList
	if err := l.do(ctx, l.rules(http.MethodGet), &list); err != nil {
		return nil, fmt.Errorf("list the rules: %w", err)
	}
	working, stopWorkers := context.WithCancel(ctx)
	watching, stopWatches := context.WithCancel(ctx)
	l.stopWorkers, l.stopWatches = stopWorkers, stopWatches
	if err := l.follow(watching, list.ResourceVersion); err != nil {
		stopWorkers()
		stopWatches()
		return nil, err
	}
	for id := range workers {
		l.working.Go(func() { l.work(working, id) })
	}
	l.working.Go(func() { l.look(working) })
	return l, nil
}

// Report says what was counted until now. What is still on its way counts as lost.
func (l *Load) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	report := Report{
		Lasted: time.Since(l.begin), Requests: l.requests, Writes: len(l.written), Slowest: l.slowest, Slow: l.slow,
		Failures: slices.Clone(l.failures), Houses: slices.Clone(l.houses),
	}
	for _, t := range l.watches {
		report.Watches = append(report.Watches, t.report(l.written))
	}
	return report
}

// End ends the clients, waits until the watches have seen what was written, and returns
// the last report.
func (l *Load) End() Report {
	l.stopWorkers()
	l.working.Wait()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && l.missing(); {
		time.Sleep(10 * time.Millisecond)
	}
	report := l.Report()
	l.Stop()
	return report
}

// Stop ends the clients at once and removes what they have made. It may be called again.
func (l *Load) Stop() {
	l.stopWorkers()
	l.stopWatches()
	l.working.Wait()
	l.watching.Wait()
	l.once.Do(l.clear)
}

// missing is whether a watch has not yet seen all.
func (l *Load) missing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.watches, func(t *tally) bool { return len(t.lost(l.written)) > 0 })
}

// clear removes what the clients have left. It does what it can.
func (l *Load) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = l.rules(http.MethodDelete).Param("labelSelector", Label+"="+l.run).Do(ctx).Error()
}

// rules is a request for the rules, or for what is under them.
func (l *Load) rules(verb string, under ...string) *rest.Request {
	return l.client.Verb(verb).AbsPath("/apis", l.Group, v2.Version, "namespaces", l.Namespace, api.Resource).Suffix(under...).MaxRetries(0)
}

// since is the time from the start.
func (l *Load) since() time.Duration { return time.Since(l.begin) }

// fail notes a failure, and says the first of its kind. It must not be called with l.mu
// locked.
func (l *Load) fail(what string, code int, says string) {
	l.mu.Lock()
	failure := Failure{At: l.since(), What: what, Code: code, Says: strings.TrimSpace(says)}
	l.failures = append(l.failures, failure)
	kind := strconv.Itoa(code) + " " + what
	first := !l.said[kind]
	l.said[kind] = true
	l.mu.Unlock()
	if first {
		l.say("FAILED at " + failure.String())
	}
}

func (l *Load) say(line string) {
	if l.Say != nil {
		l.Say(line)
	}
}

// settle makes the rules that are kept, one for each worker, by server-side apply.
func (l *Load) settle(ctx context.Context) error {
	for id := range workers {
		name := fmt.Sprintf("client-%s-%d", l.run, id)
		request := l.send(http.MethodPatch, types.ApplyYAMLPatchType, l.rule(name), name).Param("fieldManager", "clients")
		if err := l.do(ctx, request, nil); err != nil {
			return fmt.Errorf("make the rule %s: %w", name, err)
		}
		l.kept = append(l.kept, name)
	}
	return nil
}

// rule is one of the clients' rules. Its counter is spec.timeoutSeconds, which begins with 1.
func (l *Load) rule(name string) *v2.PortRule {
	return &v2.PortRule{
		TypeMeta:   metav1.TypeMeta{APIVersion: l.Group + "/" + v2.Version, Kind: api.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{Label: l.run}},
		// each has an endpoint of its own, which no other rule has
		Spec: v2.PortRuleSpec{Service: "client", Endpoint: v2.Endpoint{Host: name + ".example", Port: 80}, TimeoutSeconds: ptr.To[int32](1)},
	}
}

// String is the report for a terminal.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests in %.0f s, %d of them writes, the slowest (%s) in %.2f s\n", r.Requests, r.Lasted.Seconds(), r.Writes, r.Slow, r.Slowest.Seconds())
	for _, house := range r.Houses {
		fmt.Fprintf(&b, "%s\n", house)
	}
	fmt.Fprintf(&b, "failed: %d\n", len(r.Failures))
	b.WriteString(tell(r.Failures))
	fmt.Fprintf(&b, "%-24s %7s %5s %8s %6s %8s %5s\n", "", "events", "lost", "skipped", "twice", "renewed", "anew")
	for _, w := range r.Watches {
		fmt.Fprintf(&b, "%-24s %7d %5d %8d %6d %8d %5d\n", w.Name, w.Events, w.Lost, w.Skipped, w.Twice, w.Renewed, w.Anew)
	}
	return b.String()
}

// tell counts failures by what they are, and shows the first of each.
func tell(failures []Failure) string {
	var b strings.Builder
	count := map[string]int{}
	kind := func(f Failure) string { return strconv.Itoa(f.Code) + " " + f.What }
	for _, f := range failures {
		count[kind(f)]++
	}
	for _, f := range failures {
		if n := count[kind(f)]; n > 0 {
			fmt.Fprintf(&b, "%6d times, at first %s\n", n, f)
			count[kind(f)] = 0
		}
	}
	return b.String()
}
