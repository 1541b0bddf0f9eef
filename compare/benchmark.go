package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/relay"
	"portrule.example/lab/compare/report"
	"portrule.example/lab/compare/testbed"
)

// What a run measures by default, and a quick one.
var (
	fullPlan  = bench.Plan{MinRounds: 300, Precision: 0.03, Budget: 100 * time.Second, Windows: 12, Window: 300 * time.Millisecond}
	quickPlan = bench.Plan{MinRounds: 60, Precision: 0.1, Budget: 10 * time.Second, Windows: 12, Window: 150 * time.Millisecond, Loaded: []string{"create", "get"}}
)

// defaultClients are those of the closed loop.
const defaultClients = 8

type benchFlags struct {
	cluster   clusterFlags
	suites    []string
	quick     bool
	out       string
	crd       []string
	setup     testbed.CRDSetup
	rounds    int
	precision string
	budget    time.Duration
	clients   int
	rate      float64
	size      int
	seed      uint64
	delay     []string
	baseline  string
	failOn    []string
	dryRun    bool

	plan   bench.Plan
	delays map[string]time.Duration
	gates  []bench.Gate
	// before is the result in baseline, nil without one.
	before *bench.Result
}

func benchCommand() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measures both implementations, and a native resource as the floor",
		Long: "Measures both implementations, and a native resource as the floor.\n\n" +
			"The exit code is 0 if all was measured, 1 if not, 2 if the flags are wrong, and 3 if a\n" +
			"condition of --fail-on is met.",
		Example: "  compare bench --suite verbs --out main\n" +
			"  compare bench --suite verbs --baseline main --fail-on 'aggregated/get p50 > +10%'\n" +
			"  compare bench --rate 200 --fail-on 'aggregated/get p50 > 1.8x crd'\n" +
			"  compare bench --delay server-apiserver=5ms",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			suites, err := flags.check(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			if flags.dryRun {
				return dryRun(cmd.Context(), flags, suites, cmd.OutOrStdout())
			}
			return runBench(cmd.Context(), flags, suites, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.cluster.add(cmd, "portrule-bench")
	addCRDSetup(cmd, &flags.crd, "schema")
	cmd.Flags().StringSliceVar(&flags.suites, "suite", nil, "the suites to run: "+suiteNames()+" (default: all but "+bench.Peers.Name+")")
	cmd.Flags().BoolVar(&flags.quick, "quick", false, "four minutes instead of twenty, and wider intervals")
	cmd.Flags().StringVar(&flags.out, "out", "", "the directory for the results (default compare/results/<UTC time>)")
	cmd.Flags().StringVar(&flags.precision, "precision", "", "how far the interval of each ratio may reach: each case has as many rounds as that takes (default 3%, with --quick 10%)")
	cmd.Flags().DurationVar(&flags.budget, "budget", 0, fmt.Sprintf("the time in which to measure the latencies of the suite verbs, however wide the intervals are then (default %s, with --quick %s); others have more or less in proportion", fullPlan.Budget, quickPlan.Budget))
	cmd.Flags().IntVar(&flags.rounds, "rounds", 0, "in place of --precision and --budget: the exact number of rounds of each case")
	cmd.Flags().IntVar(&flags.clients, "clients", defaultClients, "the clients of the closed loop, which measures throughput and CPU time; 0 leaves it out")
	cmd.Flags().Float64Var(&flags.rate, "rate", 0, "measure tails too, in an open loop of so many requests a second (of the cases that \"compare list\" marks *)")
	cmd.Flags().IntVar(&flags.size, "size", 0, fmt.Sprintf("the greatest number of objects of the suite scale (default %d, with --quick %d)", defaultSize, quickSize))
	cmd.Flags().Uint64Var(&flags.seed, "seed", 0, "the seed of the order in which the implementations take turns (default: a new one)")
	cmd.Flags().StringSliceVar(&flags.delay, "delay", nil, "add a delay to a link, as in "+relay.Server+"=5ms; the links are "+strings.Join(relay.Names, ", "))
	cmd.Flags().StringVar(&flags.baseline, "baseline", "", "the directory of an earlier run: say what has changed since")
	cmd.Flags().StringArrayVar(&flags.failOn, "fail-on", nil, "exit with code 3 under a condition such as 'aggregated/get p50 > +10%' (over the baseline), 'aggregated/get p99 > 5ms', 'aggregated/get p50 > 1.8x crd'; may be repeated")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would be measured, and how long that takes")
	return cmd
}

func suiteNames() string {
	var names []string
	for _, suite := range bench.Suites {
		names = append(names, suite.Name)
	}
	return strings.Join(names, ", ")
}

// check fills in the defaults and returns the suites. changed is whether a flag was given.
func (f *benchFlags) check(changed func(flag string) bool) ([]bench.Suite, error) {
	if err := f.cluster.check(); err != nil {
		return nil, err
	}
	var err error
	if f.setup, err = testbed.ParseCRDSetup(f.crd); err != nil {
		return nil, UsageError{err}
	}
	if err := f.makePlan(changed); err != nil {
		return nil, err
	}
	if f.delays, err = relay.ParseDelays(f.delay); err != nil {
		return nil, usagef("--delay: %w", err)
	}
	suites, err := f.chosenSuites()
	if err != nil {
		return nil, err
	}
	if f.gates, err = parseGates(f.failOn, f.baseline != ""); err != nil {
		return nil, err
	}
	for _, gate := range f.gates {
		loaded := func(c bench.Case) bool { return len(f.plan.Loops(c)) > 0 }
		if err := gate.Check(suites, f.variants(), loaded); err != nil {
			return nil, usagef("--fail-on: %w", err)
		}
	}
	if f.baseline != "" {
		if f.before, err = report.Read(f.baseline); err != nil {
			return nil, fmt.Errorf("--baseline: %w", err)
		}
	}
	if f.out == "" {
		f.out = filepath.Join("compare", "results", time.Now().UTC().Format("20060102T150405Z"))
	}
	return suites, nil
}

// makePlan says how much is measured.
func (f *benchFlags) makePlan(changed func(flag string) bool) error {
	f.plan = fullPlan
	if f.quick {
		f.plan = quickPlan
	}
	switch {
	case f.rounds < 0 || f.rounds == 0 && changed("rounds"):
		return usagef("--rounds %d: it takes at least one round", f.rounds)
	case f.rounds > 0 && (changed("precision") || changed("budget")):
		return usagef("--rounds is the exact number of rounds: leave out --precision and --budget, or --rounds")
	case f.budget < 0 || f.budget == 0 && changed("budget"):
		return usagef("--budget %s: give a time such as 2m", f.budget)
	case changed("size") && (f.size < 300 || f.size > objectSteps[len(objectSteps)-1]):
		return usagef("--size %d: give a number of objects from 300 to %d", f.size, objectSteps[len(objectSteps)-1])
	case f.clients < 0:
		return usagef("--clients %d: it cannot be less than none", f.clients)
	case !(f.rate > 0 && f.rate <= 1e5) && changed("rate"):
		return usagef("--rate %g: give requests a second, 100000 at most", f.rate)
	}
	if f.precision != "" {
		text, percent := strings.CutSuffix(f.precision, "%")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || !percent || !(value > 0 && value < 100) {
			return usagef("--precision %s: give a percentage such as 3%%", f.precision)
		}
		f.plan.Precision = value / 100
	}
	if f.rounds > 0 {
		f.plan.Rounds, f.plan.Precision, f.plan.Budget = f.rounds, 0, 0
	}
	if f.budget > 0 {
		f.plan.Budget = f.budget
	}
	if f.seed == 0 {
		f.seed = uint64(time.Now().UnixNano()) % 1e9
	}
	f.plan.Clients, f.plan.Rate, f.plan.Seed = f.clients, f.rate, f.seed
	return nil
}

// variants are what the names of implementations are followed by.
func (f *benchFlags) variants() map[string]string {
	aggregated := testbed.Alike(f.setup).AggregatedSuffix()
	return map[string]string{bench.CRD: f.setup.Suffix(), bench.Aggregated: aggregated, bench.NameFree: aggregated}
}

// parseGates reads the conditions of --fail-on.
func parseGates(texts []string, baseline bool) ([]bench.Gate, error) {
	var gates []bench.Gate
	for _, text := range texts {
		gate, err := bench.ParseGate(text)
		if err != nil {
			return nil, usagef("--fail-on: %w", err)
		}
		if gate.NeedsBaseline() && !baseline {
			return nil, usagef("--fail-on %q is about a change: name the run before with --baseline", text)
		}
		gates = append(gates, gate)
	}
	return gates, nil
}

// chosenSuites returns the suites that were asked for.
func (f *benchFlags) chosenSuites() ([]bench.Suite, error) {
	var suites []bench.Suite
	if len(f.suites) == 0 {
		for _, suite := range bench.Suites {
			if !suite.Optional {
				suites = append(suites, suite)
			}
		}
		return suites, nil
	}
next:
	for _, name := range f.suites {
		for _, suite := range bench.Suites {
			if suite.Name == name {
				suites = append(suites, suite)
				continue next
			}
		}
		return nil, usagef("there is no suite %q: use %s", name, suiteNames())
	}
	for _, suite := range suites {
		if !slices.Contains(suite.Impls, bench.Sample) {
			continue
		}
		if _, err := cluster.Binary(bench.Sample); err != nil {
			return nil, fmt.Errorf("the suite %s needs the program %s, which is not built by default: run \"make bin/%s\"", suite.Name, bench.Sample, bench.Sample)
		}
	}
	return suites, nil
}

// splitAddress reads host:port.
func splitAddress(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port with a port of 0 to 65535", address)
	}
	return host, int(port), nil
}

// runBench measures on testbeds of its own, writes the results and prints the tables. An
// interrupted run writes what it has.
func runBench(ctx context.Context, flags benchFlags, suites []bench.Suite, stdout, stderr io.Writer) (err error) {
	if err := report.Prepare(flags.out, report.ResultFile); err != nil {
		return err
	}
	// The harness shares the processors with what it measures: its garbage is collected
	// less often, until there is much of it.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(200 << 20)
	show := progress.New(stderr)
	defer show.Finish()
	flags.cluster.choose(ctx, show.Step)
	if err := flags.checkCluster(suites); err != nil {
		return err
	}
	result := &bench.Result{Schema: bench.Schema, Measurements: []bench.Measurement{}, Comparisons: []bench.Comparison{}, Warnings: []string{}}
	samples, runErr := runSuites(ctx, flags, suites, result, show)
	var drawings map[string][]byte
	if runErr == nil && len(flags.suites) == 0 && !flags.quick && flags.cluster.kind == cluster.KindEmbedded {
		// what was measured does not depend on it
		var err error
		if drawings, err = drawWaterfalls(ctx, show); err != nil {
			warn(result, "there are not all waterfalls: "+err.Error())
		}
	}
	show.Finish()
	if len(result.Measurements) == 0 {
		return runErr
	}
	if err := describeEnvironment(&result.Environment, flags); err != nil {
		return errors.Join(runErr, err)
	}
	if warning := differ(result.Environment.Kubernetes, result.Environment.Libraries); warning != "" {
		result.Warnings = append(result.Warnings, warning)
	}
	if runErr != nil {
		result.Warnings = append(result.Warnings, "the run did not finish: "+runErr.Error())
	}
	// what was measured is seen even if it cannot be kept
	if err := report.Table(stdout, result); err != nil {
		return errors.Join(runErr, err)
	}
	for _, warning := range result.Warnings {
		fmt.Fprintln(stderr, "warning:", warning)
	}
	if err := keep(flags.out, result, samples, drawings, stderr); err != nil {
		return errors.Join(runErr, err)
	}
	if runErr != nil {
		return runErr
	}
	var changes []bench.Change
	if flags.before != nil {
		if changes, err = showChanges(flags.before, result, stdout); err != nil {
			return fmt.Errorf("--baseline %s: %w", flags.baseline, err)
		}
	}
	return applyGates(flags.gates, result, changes, stderr)
}

// checkCluster refuses what the chosen control plane cannot do.
func (f *benchFlags) checkCluster(suites []bench.Suite) error {
	if f.cluster.kind == cluster.KindEmbedded {
		return nil
	}
	if len(f.delays) > 0 {
		return usagef("--delay goes with --cluster %s: it is put between processes of this host", cluster.KindEmbedded)
	}
	if f.cluster.kind == cluster.KindKind && slices.ContainsFunc(suites, func(suite bench.Suite) bool { return suite.Name == bench.Peers.Name }) {
		return usagef("the suite %s starts and weighs processes of this host: it goes with --cluster %s", bench.Peers.Name, cluster.KindEmbedded)
	}
	return nil
}

// runSuites runs the suites, and adds what they come to to the result: what was measured
// before an error too.
func runSuites(ctx context.Context, flags benchFlags, suites []bench.Suite, result *bench.Result, show *progress.Progress) ([]bench.Samples, error) {
	result.Environment.Started = time.Now().UTC().Truncate(time.Second)
	show.Step("listening for what else the machine does")
	noise, err := bench.ListenForNoise(ctx, "")
	if err != nil {
		return nil, err
	}
	result.Environment.Noise = noise
	for _, n := range noise {
		if n.Loud {
			show.Step("warning: " + n.String())
			result.Warnings = append(result.Warnings, n.String())
		}
	}
	if flags.quick {
		suites = leaveOutSlow(suites, result)
	}
	isAuth := func(suite bench.Suite) bool { return suite.Name == bench.Auth.Name }
	others := slices.DeleteFunc(slices.Clone(suites), isAuth)
	var all []bench.Samples
	if len(others) > 0 {
		if all, err = runOthers(ctx, flags, others, result, show); err != nil {
			return all, err
		}
	}
	if len(others) == len(suites) {
		return all, nil
	}
	samples, err := runAuth(ctx, flags, result, show)
	return append(all, samples...), err
}

// leaveOutSlow returns the suites without the cases that a quick run leaves out.
func leaveOutSlow(suites []bench.Suite, result *bench.Result) []bench.Suite {
	quick := slices.Clone(suites)
	for i, suite := range quick {
		quick[i].Cases = nil
		for _, c := range suite.Cases {
			if c.Slow {
				result.NotRun = append(result.NotRun, bench.NotRun{Suite: suite.Name, Case: c.Name, Why: "it is slow: leave out --quick"})
			} else {
				quick[i].Cases = append(quick[i].Cases, c)
			}
		}
	}
	return quick
}

// startBed starts a testbed whose processes are a group of their own. stop ends both.
func startBed(ctx context.Context, provider func(*process.Group) cluster.Provider, setup testbed.Setup, say func(step string)) (bed *testbed.Testbed, stop func() error, err error) {
	group, err := process.NewTemporaryGroup("portrule-bench")
	if err != nil {
		return nil, nil, err
	}
	if bed, err = testbed.Start(ctx, provider(group), group, setup, say); err != nil {
		return nil, nil, errors.Join(err, group.Close())
	}
	return bed, func() error { return errors.Join(bed.Stop(), group.Close()) }, nil
}

// provider makes the control plane that was asked for.
func (f *benchFlags) provider(options cluster.EmbeddedOptions, say func(step string)) func(*process.Group) cluster.Provider {
	return func(group *process.Group) cluster.Provider { return f.cluster.provider(group, options, say) }
}

// embedded makes an embedded control plane, whatever was asked for.
func embedded(options cluster.EmbeddedOptions) func(*process.Group) cluster.Provider {
	return func(group *process.Group) cluster.Provider { return cluster.NewEmbedded(group, options) }
}

// runOthers runs the suites that share a testbed.
func runOthers(ctx context.Context, flags benchFlags, suites []bench.Suite, result *bench.Result, show *progress.Progress) (_ []bench.Samples, err error) {
	setup, options := testbed.Alike(flags.setup), cluster.EmbeddedOptions{}
	if len(flags.delays) > 0 {
		setup.Links = &relay.Links{Only: slices.Collect(maps.Keys(flags.delays))}
		options.Etcd = func(address string) (string, error) { return setup.Links.Through(relay.Etcd, "127.0.0.1", address) }
	}
	bed, stop, err := startBed(ctx, flags.provider(options, show.Step), setup, show.Step)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	show.Step(bed.Ready.String())
	describeTestbed(&result.Environment, bed)
	addWarnings(result, bed)
	isPrepared := func(suite bench.Suite) bool { return prepared[suite.Name] != nil }
	var all []bench.Samples
	if shared := slices.DeleteFunc(slices.Clone(suites), isPrepared); len(shared) > 0 {
		if all, err = measure(ctx, bed, flags, shared, result, show); err != nil {
			return all, err
		}
	}
	samples, err := runPrepared(ctx, bed, flags, suites, result, show)
	return append(all, samples...), err
}

// keep writes the result into dir or, if that fails because a disk is full or gone, into a
// temporary directory, so that nothing that was measured is lost.
func keep(dir string, result *bench.Result, samples []bench.Samples, drawings map[string][]byte, stderr io.Writer) error {
	write := func(dir string) error {
		if err := writeDrawings(dir, drawings); err != nil {
			return err
		}
		return report.Write(dir, result, samples)
	}
	err := write(dir)
	if err == nil {
		fmt.Fprintf(stderr, "results in %s\n", dir)
		return nil
	}
	other, errTemp := os.MkdirTemp("", "portrule-results-")
	if errTemp == nil {
		errTemp = write(other)
	}
	if errTemp != nil {
		return errors.Join(err, fmt.Errorf("nor can they be kept elsewhere: %w; the tables above are all there is", errTemp))
	}
	return fmt.Errorf("%w; they are in %s instead", err, other)
}

// showChanges prints what has changed between two runs.
func showChanges(before, after *bench.Result, stdout io.Writer) ([]bench.Change, error) {
	changes, err := bench.Diff(before, after)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(stdout)
	return changes, report.Changes(stdout, changes)
}

// GateError says that conditions of --fail-on are met.
type GateError struct{ What []string }

func (e GateError) Error() string { return strings.Join(e.What, "\n") }

// applyGates judges a run by the conditions of --fail-on. It returns a [GateError] if one
// is met.
func applyGates(gates []bench.Gate, result *bench.Result, changes []bench.Change, stderr io.Writer) error {
	var failed GateError
	for _, gate := range gates {
		outcomes, err := gate.Apply(result, changes)
		if err != nil {
			return fmt.Errorf("--fail-on: %w", err)
		}
		for _, outcome := range outcomes {
			if outcome.Failed {
				failed.What = append(failed.What, outcome.What)
			} else {
				fmt.Fprintf(stderr, "passed: not %s\n", outcome.What)
			}
		}
	}
	if len(failed.What) > 0 {
		return failed
	}
	return nil
}

// dryRun says what would be measured.
func dryRun(ctx context.Context, flags benchFlags, suites []bench.Suite, stdout io.Writer) error {
	flags.cluster.choose(ctx, func(step string) { fmt.Fprintln(stdout, step) })
	fmt.Fprintf(stdout, "the control plane would be %s, the results would be in %s\n", flags.cluster.kind, flags.out)
	listSuites(stdout, suites)
	plan := flags.plan
	if plan.Rounds > 0 {
		fmt.Fprintf(stdout, "each case has %d rounds", plan.Rounds)
	} else {
		fmt.Fprintf(stdout, "each case has rounds until the intervals of its ratios reach %g%% at most, and the rounds of all take about %s", 100*plan.Precision, plan.Budget)
	}
	if plan.Clients > 0 {
		which := "the cases marked *"
		if plan.Loaded != nil {
			which = strings.Join(plan.Loaded, ", ")
		}
		fmt.Fprintf(stdout, "; %s have %d windows of %s with %d clients", which, plan.Windows, plan.Window, plan.Clients)
	}
	if plan.Rate > 0 {
		fmt.Fprintf(stdout, ", and as many with %g requests a second", plan.Rate)
	}
	fmt.Fprintf(stdout, "; the seed is %d\n", plan.Seed)
	return nil
}

// measure runs the suites as an ordinary user in namespaces of their own.
func measure(ctx context.Context, bed *testbed.Testbed, flags benchFlags, suites []bench.Suite, result *bench.Result, show *progress.Progress) ([]bench.Samples, error) {
	suffix := utilrand.String(5)
	namespace, listNamespace := "portrule-bench-"+suffix, "portrule-bench-list-"+suffix
	if err := bed.Namespaces(ctx, namespace, listNamespace); err != nil {
		return nil, err
	}
	impls := map[string]bool{}
	for _, suite := range suites {
		for _, impl := range suite.Impls {
			impls[impl] = true
		}
	}
	if impls[bench.Sample] {
		measurements, comparisons, warnings, err := startPeers(ctx, bed, flags.quick, show.Update)
		if err != nil {
			return nil, err
		}
		result.Measurements = append(result.Measurements, measurements...)
		result.Comparisons = append(result.Comparisons, comparisons...)
		result.Warnings = append(result.Warnings, warnings...)
		if _, err := bed.ServeSample(ctx); err != nil {
			return nil, err
		}
	}
	if !bed.HasPeers() {
		delete(impls, bench.NameFree) // the cluster's server is what it is
	}
	if impls[bench.NameFree] {
		if _, err := bed.ServePeer(ctx, "portrule-apiserver-name-free", bench.NameFreeGroup, "--authorization-name-free-reviews"); err != nil {
			return nil, err
		}
	}
	user, credential, err := bed.User(ctx, "bench", namespace, listNamespace)
	if err != nil {
		return nil, err
	}
	sessions, err := bench.NewSessions(user, namespace, listNamespace, slices.Collect(maps.Keys(impls)))
	if err != nil {
		return nil, err
	}
	sizes, err := bench.Level(ctx, sessions)
	if err != nil {
		return nil, err
	}
	for link, delay := range flags.delays {
		if err := bed.Delay(link, delay); err != nil {
			return nil, UsageError{fmt.Errorf("--delay: %w", err)}
		}
	}
	usage, err := usageOf(ctx, bed, result)
	if err != nil {
		return nil, err
	}
	const parts = 1000
	samples, err := bench.Run(ctx, bench.Options{
		Plan: flags.plan, Suites: suites, Sessions: sessions, Usage: usage,
		Progress: func(p bench.Progress) { show.Update(int(parts*p.Done), parts, p.What) },
	})
	select {
	case <-bed.Exited():
		err = errors.Join(err, bed.ExitError())
	default:
	}
	if !bed.Ephemeral() {
		if cleanErr := bench.Clean(context.WithoutCancel(ctx), sessions); err == nil {
			err = cleanErr
		}
	}
	result.Environment.ObjectBytes = sizes
	measurements, comparisons, warnings := bench.Summarize(samples, credential, flags.variants())
	result.Measurements = append(result.Measurements, measurements...)
	result.Comparisons = append(result.Comparisons, comparisons...)
	result.Warnings = append(result.Warnings, warnings...)
	return samples, err
}
