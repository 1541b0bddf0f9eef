package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/testbed"
	"portrule.example/lab/compare/trace"
)

type traceFlags struct {
	impl    string
	cluster string
	crd     []string
	svg     string
	setup   testbed.CRDSetup
	chosen  trace.Case
}

// tracedImpls are the implementations whose requests can be traced.
var tracedImpls = []string{bench.CRD, bench.Aggregated, bench.NameFree, bench.Native}

func traceCommand() *cobra.Command {
	var flags traceFlags
	cmd := &cobra.Command{
		Use:   "trace CASE",
		Short: "Draws one request as a waterfall: which program works on it when, and who waits for whom",
		Long: "Draws one request as a waterfall: which program works on it when, and who waits for whom.\n\n" +
			"The cases are\n" + traceCases() + "\n" +
			"It sends a few such requests to a control plane of its own, whose programs are all traced,\n" +
			"and draws the one of median duration. Tracing costs time too: what a request takes without\n" +
			"it, compare bench measures.",
		Example: "  compare trace get-new-name --impl aggregated\n" +
			"  compare trace create --impl crd --crd webhooks --svg create.svg",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("trace takes one case:\n%s", strings.TrimSuffix(traceCases(), "\n"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(args[0]); err != nil {
				return err
			}
			return runTrace(cmd.Context(), flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&flags.impl, "impl", bench.Aggregated, "the implementation: "+strings.Join(tracedImpls, ", "))
	cmd.Flags().StringVar(&flags.cluster, "cluster", cluster.KindEmbedded, "the control plane: embedded alone, whose programs can be told to send their spans")
	addCRDSetup(cmd, &flags.crd, "schema")
	cmd.Flags().StringVar(&flags.svg, "svg", "", "a file for the drawing as SVG")
	return cmd
}

// traceCases are the names of the cases and what they are, a line each.
func traceCases() string {
	var lines strings.Builder
	for _, c := range trace.Cases {
		fmt.Fprintf(&lines, "  %-14s %s\n", c.Name, c.About)
	}
	return lines.String()
}

// check refuses flags that make no sense, before anything is started.
func (f *traceFlags) check(name string) error {
	var known bool
	if f.chosen, known = trace.Find(name); !known {
		return usagef("there is no case %q: use one of\n%s", name, strings.TrimSuffix(traceCases(), "\n"))
	}
	switch {
	case f.cluster == cluster.KindKind || f.cluster == cluster.KindExisting:
		return usagef("--cluster %s: trace goes with --cluster %s; a kube-apiserver says where it sends spans when it is started, so a cluster must have been created with tracing", f.cluster, cluster.KindEmbedded)
	case f.cluster != cluster.KindEmbedded && f.cluster != clusterAuto:
		return usagef("there is no cluster %q: trace goes with --cluster %s", f.cluster, cluster.KindEmbedded)
	case !slices.Contains(tracedImpls, f.impl):
		return usagef("there is no implementation %q to trace: use one of %s", f.impl, strings.Join(tracedImpls, ", "))
	case f.impl == bench.Native && name == "status-update":
		return usagef("%s goes with PortRules: a ConfigMap has no status", name)
	}
	if f.svg != "" {
		if info, err := os.Stat(filepath.Dir(f.svg)); err != nil || !info.IsDir() {
			return usagef("--svg %s: there is no directory %s", f.svg, filepath.Dir(f.svg))
		}
	}
	var err error
	if f.setup, err = testbed.ParseCRDSetup(f.crd); err != nil {
		return UsageError{err}
	}
	return nil
}

// runTrace traces a request and draws it.
func runTrace(ctx context.Context, flags traceFlags, stdout, stderr io.Writer) error {
	show := progress.New(stderr)
	waterfall, err := trace.Run(ctx, trace.Options{Case: flags.chosen, Impl: flags.impl, CRD: flags.setup, Say: show.Step})
	if err != nil {
		return err
	}
	var options trace.TerminalOptions
	if file, ok := stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		options.Width, _, _ = term.GetSize(int(file.Fd())) // 0 if it cannot be told
		options.Color = os.Getenv("NO_COLOR") == ""
	}
	err = waterfall.Terminal(stdout, options)
	if flags.svg == "" {
		return err
	}
	return errors.Join(err, writeSVG(flags.svg, waterfall, stderr))
}

// writeSVG writes the drawing into a file.
func writeSVG(path string, waterfall *trace.Waterfall, stderr io.Writer) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--svg: %w", err)
	}
	if err := errors.Join(waterfall.SVG(file), file.Close()); err != nil {
		return fmt.Errorf("--svg: write %s: %w", path, err)
	}
	fmt.Fprintf(stderr, "the drawing is in %s\n", path)
	return nil
}
