package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
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
	"portrule.example/lab/compare/report"
	"portrule.example/lab/compare/testbed"
)

// The rounds of a run, and of a quick one. The warm-up comes on top.
const (
	fullRounds  = 500
	quickRounds = 100
	warmUpShare = 10 // one warm-up round for so many that count
)

type benchFlags struct {
	cluster clusterFlags
	suites  []string
	rounds  int
	quick   bool
	out     string
	crd     []string
	setup   testbed.CRDSetup
}

func benchCommand() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measures both implementations, and a native resource as the floor",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			suites, err := flags.check()
			if err != nil {
				return err
			}
			return runBench(cmd.Context(), flags, suites, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.cluster.add(cmd, "portrule-bench")
	addCRDSetup(cmd, &flags.crd, "schema")
	cmd.Flags().StringSliceVar(&flags.suites, "suite", nil, "the suites to run: "+suiteNames()+" (default: verbs)")
	cmd.Flags().IntVar(&flags.rounds, "rounds", 0, fmt.Sprintf("samples of each case and implementation (default %d, with --quick %d)", fullRounds, quickRounds))
	cmd.Flags().BoolVar(&flags.quick, "quick", false, "fewer samples: a minute, and wider intervals")
	cmd.Flags().StringVar(&flags.out, "out", "", "the directory for the results (default compare/results/<UTC time>)")
	return cmd
}

func suiteNames() string {
	var names []string
	for _, suite := range bench.Suites {
		names = append(names, suite.Name)
	}
	return strings.Join(names, ", ")
}

// check fills in the defaults and returns the suites.
func (f *benchFlags) check() ([]bench.Suite, error) {
	if err := f.cluster.check(); err != nil {
		return nil, err
	}
	var err error
	if f.setup, err = testbed.ParseCRDSetup(f.crd); err != nil {
		return nil, UsageError{err}
	}
	switch {
	case f.rounds < 0:
		return nil, usagef("--rounds %d: it takes at least one round", f.rounds)
	case f.rounds == 0 && f.quick:
		f.rounds = quickRounds
	case f.rounds == 0:
		f.rounds = fullRounds
	}
	if f.out == "" {
		f.out = filepath.Join("compare", "results", time.Now().UTC().Format("20060102T150405Z"))
	}
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

// warmUp is the number of rounds before those that count.
func (f *benchFlags) warmUp() int { return max(1, f.rounds/warmUpShare) }

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

// runBench measures on a testbed of its own, writes the results and prints the
// table. An interrupted run writes what it has.
func runBench(ctx context.Context, flags benchFlags, suites []bench.Suite, stdout, stderr io.Writer) (err error) {
	if err := report.Prepare(flags.out); err != nil {
		return err
	}
	show := progress.New(stderr)
	defer show.Finish()
	flags.cluster.choose(ctx, show.Step)
	if slices.ContainsFunc(suites, func(suite bench.Suite) bool { return suite.Name == bench.Peers.Name }) && flags.cluster.kind == cluster.KindKind {
		return usagef("the suite %s starts and weighs processes of this host: it goes with --cluster %s", bench.Peers.Name, cluster.KindEmbedded)
	}

	group, err := process.NewTemporaryGroup("portrule-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()

	started := time.Now()
	bed, err := testbed.Start(ctx, flags.cluster.provider(group, show.Step), group, testbed.Alike(flags.setup), show.Step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	show.Step(bed.Ready.String())

	samples, result, runErr := measure(ctx, bed, flags, suites, show.Update)
	show.Finish()
	if result == nil {
		return runErr
	}
	if err := describeEnvironment(&result.Environment, bed, flags, started); err != nil {
		return errors.Join(runErr, err)
	}
	if warning := differ(result.Environment.Kubernetes, result.Environment.Libraries); warning != "" {
		result.Warnings = append(result.Warnings, warning)
	}
	if runErr != nil {
		result.Warnings = append(result.Warnings, "the run did not finish: "+runErr.Error())
	}
	if err := report.Write(flags.out, result, samples); err != nil {
		return errors.Join(runErr, err)
	}
	if err := report.Table(stdout, result); err != nil {
		return errors.Join(runErr, err)
	}
	for _, warning := range result.Warnings {
		fmt.Fprintln(stderr, "warning:", warning)
	}
	fmt.Fprintf(stderr, "results in %s\n", flags.out)
	return runErr
}

// measure runs the suites as an ordinary user in namespaces of their own. The
// result is nil if not a single request was measured.
func measure(ctx context.Context, bed *testbed.Testbed, flags benchFlags, suites []bench.Suite, progress func(int, int, string)) ([]bench.Samples, *bench.Result, error) {
	suffix := utilrand.String(5)
	namespace, listNamespace := "portrule-bench-"+suffix, "portrule-bench-list-"+suffix
	if err := bed.Namespaces(ctx, namespace, listNamespace); err != nil {
		return nil, nil, err
	}
	impls := map[string]bool{}
	for _, suite := range suites {
		for _, impl := range suite.Impls {
			impls[impl] = true
		}
	}
	result := &bench.Result{Schema: bench.Schema, Environment: bench.Environment{}, Warnings: append([]string{}, bed.Warnings...)}
	if impls[bench.Sample] {
		var warnings []string
		var err error
		result.Measurements, result.Comparisons, warnings, err = startPeers(ctx, bed, flags.quick, progress)
		if err != nil {
			return nil, nil, err
		}
		result.Warnings = append(result.Warnings, warnings...)
		if _, err := bed.ServeSample(ctx); err != nil {
			return nil, nil, err
		}
	}
	if !bed.HasPeers() {
		delete(impls, bench.NameFree) // the cluster's server is what it is
	}
	if impls[bench.NameFree] {
		if _, err := bed.ServePeer(ctx, "portrule-apiserver-name-free", bench.NameFreeGroup, "--authorization-name-free-reviews"); err != nil {
			return nil, nil, err
		}
	}
	user, credential, err := bed.User(ctx, "bench", namespace, listNamespace)
	if err != nil {
		return nil, nil, err
	}
	sessions, err := bench.NewSessions(user, namespace, listNamespace, slices.Collect(maps.Keys(impls)))
	if err != nil {
		return nil, nil, err
	}
	sizes, err := bench.Level(ctx, sessions)
	if err != nil {
		return nil, nil, err
	}
	samples, err := bench.Run(ctx, bench.Options{
		Suites: suites, Rounds: flags.rounds, WarmUp: flags.warmUp(),
		Sessions: sessions, Progress: progress,
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
	measurements, comparisons, warnings := bench.Summarize(samples, credential, map[string]string{
		bench.CRD: flags.setup.Suffix(), bench.Aggregated: testbed.Alike(flags.setup).AggregatedSuffix(),
		bench.NameFree: testbed.Alike(flags.setup).AggregatedSuffix(),
	})
	result.Measurements = append(result.Measurements, measurements...)
	result.Comparisons = append(result.Comparisons, comparisons...)
	result.Warnings = append(result.Warnings, warnings...)
	return samples, result, err
}
