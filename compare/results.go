package compare

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/report"
)

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the suites and their cases",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listSuites(cmd.OutOrStdout(), bench.Suites)
			return nil
		},
	}
}

// listSuites prints suites and their cases. A star marks those that are measured under
// load too.
func listSuites(w io.Writer, suites []bench.Suite) {
	for _, suite := range suites {
		fmt.Fprintf(w, "%s: %s\n", suite.Name, suite.About)
		if len(suite.Impls) > 0 {
			fmt.Fprintf(w, "  of %s\n", strings.Join(suite.Impls, ", "))
		}
		for _, c := range append(suite.Others, suite.Cases...) {
			mark := " "
			if c.Loaded {
				mark = "*"
			}
			fmt.Fprintf(w, "  %s %-14s %s\n", mark, c.Name, c.About)
		}
	}
}

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "report DIR",
		Short: "Writes the report of a run anew",
		Args:  directories(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := report.Render(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		},
	}
}

func diffCommand() *cobra.Command {
	var failOn []string
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "Says what has changed between two runs, each the directory of one",
		Long: "Says what has changed between two runs, each the directory of one.\n\n" +
			"A value has changed if it lies beyond the threshold of its metric, both in itself and in\n" +
			"relation to the native resource of its run, which the machine slows down alike:\n" + thresholds() +
			"The exit code is 3 if a condition of --fail-on is met.",
		Args: directories(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			gates, err := parseGates(failOn, true)
			if err != nil {
				return err
			}
			before, err := report.Read(args[0])
			if err != nil {
				return err
			}
			after, err := report.Read(args[1])
			if err != nil {
				return err
			}
			changes, err := bench.Diff(before, after)
			if err != nil {
				return err
			}
			if err := report.Changes(cmd.OutOrStdout(), changes); err != nil {
				return err
			}
			return applyGates(gates, after, changes, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringArrayVar(&failOn, "fail-on", nil, "exit with code 3 under a condition such as 'aggregated/get p50 > +10%'; may be repeated")
	return cmd
}

func thresholds() string {
	var text strings.Builder
	for _, metric := range []string{"latency", "throughput", "cpu", "memory"} {
		fmt.Fprintf(&text, "  %-10s %.0f%%\n", metric, 100*bench.Thresholds[metric])
	}
	return text.String()
}

// directories takes so many directories as arguments.
func directories(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			what := "the directory of a run"
			if n > 1 {
				what = fmt.Sprintf("the directories of %d runs", n)
			}
			return usagef("%s takes %s, got %q", cmd.Name(), what, strings.Join(args, " "))
		}
		return nil
	}
}
