package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/report"
	"portrule.example/lab/compare/testbed"
)

// How often, and how many, creates of one endpoint race.
const defaultAttempts, racingClients = 100, 8

type parityFlags struct {
	cluster   clusterFlags
	run       []string
	out       string
	list      bool
	sameGroup bool
	attempts  int
}

func parityCommand() *cobra.Command {
	var flags parityFlags
	cmd := &cobra.Command{
		Use:   "parity",
		Short: "Puts the cases of the contract to both implementations and prints where they agree",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.cluster.check(); err != nil {
				return err
			}
			if flags.cluster.kind == cluster.KindExisting {
				return usagef("--cluster %s: the cases need the lab's own set-up, use one of %s, %s", cluster.KindExisting, cluster.KindEmbedded, cluster.KindKind)
			}
			cases, err := contract.Select(contract.Cases(), flags.run...)
			if err != nil {
				return UsageError{err}
			}
			if flags.list {
				for _, c := range cases {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", c.ID, c.Ask)
				}
				return nil
			}
			if flags.attempts < 0 {
				return usagef("--attempts %d: it cannot be negative", flags.attempts)
			}
			if len(flags.run) == 0 && !cmd.Flags().Changed("attempts") {
				flags.attempts = defaultAttempts
			}
			if flags.out == "" {
				flags.out = filepath.Join("compare", "results", time.Now().UTC().Format("20060102T150405Z"))
			}
			return runParity(cmd.Context(), flags, cases, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.cluster.add(cmd, "portrule-parity")
	cmd.Flags().StringSliceVar(&flags.run, "run", nil, "the cases to run, by id or area (default: all)")
	cmd.Flags().BoolVar(&flags.sameGroup, "same-group", true, "put the cases also to the CRD under the group of the aggregated server, on an embedded control plane of its own")
	cmd.Flags().IntVar(&flags.attempts, "attempts", 0, fmt.Sprintf("how often to let %d creates of one endpoint race on each side (default %d if all cases run, else 0)", racingClients, defaultAttempts))
	cmd.Flags().BoolVar(&flags.list, "list", false, "list the cases and what they ask, and run nothing")
	cmd.Flags().StringVar(&flags.out, "out", "", "the directory for the matrix (default compare/results/<UTC time>)")
	return cmd
}

// runParity judges both implementations on a testbed of its own. An interrupted run
// writes what it has.
func runParity(ctx context.Context, flags parityFlags, cases []contract.Case, stdout, stderr io.Writer) (err error) {
	if err := report.Prepare(flags.out, report.MatrixFile); err != nil {
		return err
	}
	show := progress.New(stderr)
	defer show.Finish()
	flags.cluster.choose(ctx, show.Step)

	group, err := process.NewTemporaryGroup("portrule-parity")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()

	started := time.Now()
	provider, has := parityProvider(flags.cluster, group, show.Step)
	setup := testbed.Setup{CRD: testbed.CRDSetup{Policies: true, Webhooks: true}}
	bed, err := testbed.Start(ctx, provider, group, setup, show.Step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	show.Step(bed.Ready.String())

	options := contract.Options{Cases: cases, Progress: show.Update}
	options.CRD, options.Aggregated = contract.Places(bed, has...)
	if flags.sameGroup {
		show.Step("the CRD again, under the group of the aggregated server")
		setup.CRDGroup = api.Group
		other, stop, startErr := startBeside(ctx, setup)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, stop()) }()
		options.SameGroup = &contract.Place{Bed: other, Group: api.Group, Has: contract.HostHas}
	}
	rows, runErr := contract.Run(ctx, options)
	var duplicates []contract.Duplicates
	if runErr == nil && flags.attempts > 0 {
		duplicates, runErr = countDuplicates(ctx, options, flags.attempts, show.Update)
	}
	show.Finish()
	environment := bench.Environment{Started: started.UTC().Truncate(time.Second)}
	describeTestbed(&environment, bed)
	if err := describeEnvironment(&environment, benchFlags{cluster: flags.cluster, setup: setup.CRD}); err != nil {
		return errors.Join(runErr, err)
	}
	matrix := contract.NewMatrix(rows, environment, bed.Warnings)
	matrix.Duplicates = duplicates
	if runErr != nil {
		matrix.Warnings = append(matrix.Warnings, "the run did not finish: "+runErr.Error())
	}
	if err := errors.Join(matrix.Write(flags.out), report.Refresh(flags.out), matrix.Table(stdout)); err != nil {
		return errors.Join(runErr, err)
	}
	fmt.Fprintf(stderr, "the matrix is in %s\n", flags.out)
	if n := matrix.Count(contract.Unexpected); n > 0 {
		return errors.Join(runErr, fmt.Errorf("%d cases came out otherwise than the table says", n))
	}
	return runErr
}

// startBeside starts a testbed on an embedded control plane of its own, with an audit
// log, and returns what ends it.
func startBeside(ctx context.Context, setup testbed.Setup) (*testbed.Testbed, func() error, error) {
	group, err := process.NewTemporaryGroup("portrule-parity")
	if err != nil {
		return nil, nil, err
	}
	bed, err := testbed.Start(ctx, cluster.NewEmbedded(group, cluster.EmbeddedOptions{AuditLog: true}), group, setup, func(string) {})
	if err != nil {
		return nil, nil, errors.Join(err, group.Close())
	}
	return bed, func() error { return errors.Join(bed.Stop(), group.Close()) }, nil
}

// countDuplicates lets creates of one endpoint race on either side, and on a CRD whose
// webhook reserves endpoints, on a control plane of its own.
func countDuplicates(ctx context.Context, options contract.Options, attempts int, progress func(done, total int, what string)) ([]contract.Duplicates, error) {
	reserving, stop, err := startBeside(ctx, testbed.Setup{CRD: testbed.CRDSetup{Reservation: true}})
	if err != nil {
		return nil, err
	}
	var all []contract.Duplicates
	reserved, _ := contract.Places(reserving)
	for i, side := range []struct {
		impl  string
		place contract.Place
	}{{"crd+webhooks", options.CRD}, {"crd+reservation", reserved}, {contract.Aggregated, options.Aggregated}} {
		duplicates, raceErr := contract.CountDuplicates(ctx, side.place, side.impl, attempts, racingClients, func(done int) {
			progress(i*attempts+done, 3*attempts, "races for an endpoint: "+side.impl)
		})
		if raceErr != nil {
			return all, errors.Join(raceErr, stop())
		}
		all = append(all, duplicates)
	}
	return all, stop()
}

// parityProvider returns the control plane, with an audit log, and what cases find there.
func parityProvider(flags clusterFlags, group *process.Group, say func(string)) (cluster.Provider, []contract.Need) {
	if flags.kind == cluster.KindKind {
		return cluster.NewKind(group, flags.name, cluster.KindOptions{AuditLog: true, Say: say}), []contract.Need{contract.ControllerManager, contract.AuditLog}
	}
	return cluster.NewEmbedded(group, cluster.EmbeddedOptions{AuditLog: true}), contract.HostHas
}
