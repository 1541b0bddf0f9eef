// Package compare is the program bin/compare: it starts a control plane with both
// implementations of PortRule and measures them.
//
// [Run] is the entry. The commands are in benchmark.go, parity.go, trace.go, images.go,
// in up.go that of a lab to try things out in, and in results.go those that look at what
// is there. The work is done elsewhere: cluster finds or makes the control plane, testbed
// installs both implementations, bench measures, contract judges, trace draws requests,
// report writes.
//
// What a suite needs beyond requests, such as servers and CRDs of its own, is in the
// file of its name: auth.go, validation.go, subresources.go, openapi.go, scale.go,
// peers.go.
//
// Read benchmark.go first, then testbed/testbed.go and bench/bench.go.
package compare

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// UsageError is an error in the flags or arguments of a command.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the error without its class.
func (e UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Run is the program. It returns a [UsageError] if args are wrong, and
// context.Canceled if ctx ended before the work was done; whatever it started is
// ended by then.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	// the libraries' logs would come between the progress and its reader
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())

	root := &cobra.Command{
		Use:           "compare",
		Short:         "Compares PortRule as a CRD with PortRule from an aggregated API server",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(benchCommand(), upCommand(), envCommand(), downCommand(), imagesCommand(), parityCommand(),
		listCommand(), reportCommand(), diffCommand(), traceCommand())
	for _, cmd := range append(root.Commands(), root) {
		cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{err} })
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && err != nil {
		// the rest of the error says what the interruption broke
		return context.Cause(ctx)
	}
	return err
}

// noArguments refuses positional arguments as a usage error.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.Name(), strings.Join(args, " "))
	}
	return nil
}

// clusterAuto leaves the choice of the control plane to [cluster.Choose].
const clusterAuto = "auto"

// clusterFlags select the control plane.
type clusterFlags struct {
	kind          string
	name          string
	kubeconfig    string
	context       string
	serverAddress string
}

// add adds the flags. name is the default name of a kind cluster.
func (f *clusterFlags) add(cmd *cobra.Command, name string) {
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "cluster", clusterAuto, "the control plane: embedded starts one, kind makes a cluster of containers, existing uses that of a kubeconfig; "+
		"auto is kind where a container engine answers and the node image (KIND_IMAGE) can be had, else embedded")
	flags.StringVar(&f.name, "name", name, "with --cluster kind: the name of the cluster")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "with --cluster existing: the kubeconfig (default: KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&f.context, "context", "", "with --cluster existing: a context of the kubeconfig (default: its current one)")
	flags.StringVar(&f.serverAddress, "server-address", "",
		"with --cluster existing: the host:port by which the cluster reaches the aggregated server on this host (default: this host's address, a free port)")
}

// check refuses flags that make no sense, before anything is started.
func (f *clusterFlags) check() error {
	if kinds := []string{clusterAuto, cluster.KindEmbedded, cluster.KindKind, cluster.KindExisting}; !slices.Contains(kinds, f.kind) {
		return usagef("there is no cluster %q: use one of %s", f.kind, strings.Join(kinds, ", "))
	}
	if f.kind != cluster.KindExisting && f.kubeconfig+f.context+f.serverAddress != "" {
		return usagef("--kubeconfig, --context and --server-address go with --cluster existing")
	}
	if err := cluster.CheckName(f.name); err != nil {
		return UsageError{err}
	}
	if f.serverAddress != "" {
		if _, _, err := splitAddress(f.serverAddress); err != nil {
			return usagef("--server-address: %w", err)
		}
	}
	return nil
}

// choose turns auto into the control plane that suits this host, and says which it is
// and why.
func (f *clusterFlags) choose(ctx context.Context, say func(step string)) {
	if f.kind != clusterAuto {
		return
	}
	kind, why := cluster.Choose(ctx)
	say(fmt.Sprintf("cluster: %s (%s)", kind, why))
	f.kind = kind
}

// addCRDSetup adds the flag that chooses what guards the CRD.
func addCRDSetup(cmd *cobra.Command, words *[]string, preset ...string) {
	cmd.Flags().StringSliceVar(words, "crd", preset,
		"by what the CRD states the rules beyond its schema: policies, webhooks, reservation, or schema for nothing")
}

// provider returns the control plane that checked and chosen flags select; embedded are the
// options of an embedded one.
func (f *clusterFlags) provider(group *process.Group, embedded cluster.EmbeddedOptions, say func(step string)) cluster.Provider {
	switch f.kind {
	case cluster.KindExisting:
		host, port, _ := splitAddress(f.serverAddress)
		return cluster.NewExisting(group, cluster.ExistingOptions{
			Kubeconfig: f.kubeconfig, Context: f.context, ServerHost: host, ServerPort: port,
		})
	case cluster.KindKind:
		return cluster.NewKind(group, f.name, cluster.KindOptions{Say: say})
	default:
		return cluster.NewEmbedded(group, embedded)
	}
}
