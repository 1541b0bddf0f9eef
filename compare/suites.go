package compare

import (
	"context"
	"errors"
	"fmt"
	"time"

	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/testbed"
)

// prepared are the suites that prepare the testbed for themselves. Each adds to the result
// what it measures, before an error too.
var prepared = map[string]func(context.Context, *suiteRun) error{
	bench.Validation.Name:   runValidation,
	bench.Subresources.Name: runSubresources,
	bench.OpenAPI.Name:      runOpenAPI,
	bench.Scale.Name:        runScale,
}

// suiteRun is a suite that is being run on a testbed.
type suiteRun struct {
	bed    *testbed.Testbed
	flags  benchFlags
	suite  bench.Suite
	result *bench.Result
	show   *progress.Progress
	// usage is nil if what the processes use cannot be known.
	usage func(context.Context) (map[string]process.Usage, error)
	// samples are what it has measured so far, by users with the credential.
	samples    []bench.Samples
	credential cluster.Credential
}

// plan is that of the suite: full is its time in a full run, quick in a quick one. Both
// follow --budget.
func (r *suiteRun) plan(full, quick time.Duration) bench.Plan {
	plan, usual, budget := r.flags.plan, fullPlan.Budget, full
	if r.flags.quick {
		usual, budget = quickPlan.Budget, quick
		plan.MinRounds = quickSuiteRounds
	}
	plan.Budget = budget
	if r.flags.budget > 0 {
		plan.Budget = time.Duration(float64(budget) * float64(r.flags.budget) / float64(usual))
	}
	plan.Rate = 0
	return plan
}

// quickSuiteRounds is the fewest rounds of a case in a quick run of the prepared suites.
const quickSuiteRounds = 15

// say tells that part of the suite is done, 0 to 1.
func (r *suiteRun) say(part float64, what string) {
	r.show.Update(int(1000*part), 1000, r.suite.Name+": "+what)
}

// measure runs cases of the suite. from and to are the parts of the suite that are done
// before and after.
func (r *suiteRun) measure(ctx context.Context, o bench.Options, cases []bench.Case, from, to float64) error {
	suite := r.suite
	suite.Cases = cases
	o.Suites, o.Usage = []bench.Suite{suite}, r.usage
	o.Progress = func(p bench.Progress) { r.show.Update(int(1000*(from+(to-from)*p.Done)), 1000, p.What) }
	r.credential = o.Credential
	samples, err := bench.Run(ctx, o)
	r.samples = append(r.samples, samples...)
	return err
}

// summarize adds what the samples of the suite come to, and the curves through it. All
// comparisons of a metric together have the verdicts' confidence.
func (r *suiteRun) summarize() {
	measurements, comparisons, warnings := bench.Summarize(r.samples, r.credential, nil)
	for _, m := range measurements {
		if m.Load == "" || m.Axis == "" {
			r.result.Measurements = append(r.result.Measurements, m)
			continue
		}
		// Of a closed loop that grows, the throughput, the latency and the CPU time of all
		// processes are points of curves: where the time is spent does not change along them.
		if m.Metric != "memory" && (m.Process == "" || m.Process == bench.AllProcesses) {
			m.Load, m.Process, m.Quantiles = closedLoop, "", nil
			r.result.Measurements = append(r.result.Measurements, m)
		}
	}
	for _, c := range comparisons {
		if c.Load != "" && c.Axis != "" {
			c.Load = closedLoop
		}
		r.result.Comparisons = append(r.result.Comparisons, c)
	}
	for _, warning := range warnings {
		warn(r.result, r.suite.Name+": "+warning)
	}
	r.result.Fits = append(r.result.Fits, bench.Fits(r.suite.Name, r.result.Measurements)...)
}

// closedLoop is the load of the points of a curve along which the clients or the replicas
// grow.
const closedLoop = "closed loop"

// notRun says why a case or an implementation of the suite is not measured; both may be
// empty.
func (r *suiteRun) notRun(name, impl, why string) {
	r.result.NotRun = append(r.result.NotRun, bench.NotRun{Suite: r.suite.Name, Case: name, Impl: impl, Why: why})
}

// namespaces makes namespaces of the suite's own.
func (r *suiteRun) namespaces(ctx context.Context, names ...string) ([]string, error) {
	suffix := utilrand.String(5)
	for i := range names {
		names[i] = fmt.Sprintf("portrule-%s-%s", names[i], suffix)
	}
	return names, r.bed.Namespaces(ctx, names...)
}

// runPrepared runs the suites that prepare the testbed for themselves.
func runPrepared(ctx context.Context, bed *testbed.Testbed, flags benchFlags, suites []bench.Suite, result *bench.Result, show *progress.Progress) ([]bench.Samples, error) {
	var all []bench.Samples
	for _, suite := range suites {
		run, ok := prepared[suite.Name]
		if !ok {
			continue
		}
		usage, err := usageOf(ctx, bed, result)
		if err != nil {
			return all, err
		}
		show.Finish() // what is left is reckoned anew for each suite
		r := &suiteRun{bed: bed, flags: flags, suite: suite, result: result, show: show, usage: usage}
		err = run(ctx, r)
		r.summarize()
		all = append(all, r.samples...)
		if err != nil {
			return all, fmt.Errorf("%s: %w", suite.Name, err)
		}
	}
	return all, nil
}

// usageOf returns what tells the usage of the processes, nil if that cannot be known, of
// which the result then warns.
func usageOf(ctx context.Context, bed *testbed.Testbed, result *bench.Result) (func(context.Context) (map[string]process.Usage, error), error) {
	_, err := bed.Usage(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		warn(result, "CPU time and memory are not measured: "+err.Error())
		return nil, nil
	}
	return bed.Usage, err
}

// ownServers is whether further servers can be started beside the cluster's.
func (r *suiteRun) ownServers() bool { return r.bed.HasPeers() }

// embedded is whether the control plane's processes are of this host, and started by flags
// of this program.
func (r *suiteRun) embedded() bool { return r.flags.cluster.kind == cluster.KindEmbedded }
