package aggregated

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	"k8s.io/component-base/term"
)

// UsageError is an error in the flags or arguments of a command.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the error without its class.
func (e UsageError) Unwrap() error { return e.Err }

// Run is the program portrule-apiserver. It returns when ctx ends or when the
// server cannot go on, and a [UsageError] if args are wrong.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	options, logging := NewOptions(), logsapi.NewLoggingConfiguration()
	cmd := &cobra.Command{
		Use:   "portrule-apiserver",
		Short: "Serves PortRule behind the kube-apiserver's aggregation layer",
		Long: "portrule-apiserver serves the API group firewalld.fedoraproject.org.\n\n" +
			"It keeps its objects in etcd and asks the control plane who a caller is (TokenReview)\n" +
			"and what they may do (SubjectAccessReview). Requests that come through the\n" +
			"kube-apiserver name the caller in headers, which its front-proxy certificate vouches for.\n\n" +
			"With --standalone it needs an etcd and no cluster. That is for development: it listens on\n" +
			"loopback only, and who holds the client certificate that it makes may do everything.\n" +
			"Namespaces are not checked, and the ports that they allow (R5) are not enforced.",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return UsageError{err}
			}
			return nil
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := logsapi.ValidateAndApply(logging, nil); err != nil {
				return UsageError{err}
			}
			if err := options.Globals.Set(); err != nil {
				return UsageError{err}
			}
			if err := options.Validate(); err != nil {
				return UsageError{err}
			}
			serve := func(ctx context.Context) error {
				config, err := options.Config(ctx)
				if err != nil {
					return err
				}
				server, err := config.Complete().New()
				if err != nil {
					return err
				}
				return server.Run(ctx)
			}
			if options.RotateCertificates {
				return options.serveRotating(cmd.Context(), serve)
			}
			return serve(cmd.Context())
		},
	}
	sections := options.Flags()
	logsapi.AddFlags(logging, sections.FlagSet("logs"))
	globalflag.AddGlobalFlags(sections.FlagSet("global"), cmd.Name(), logs.SkipLoggingConfigurationFlags())
	for _, fs := range sections.FlagSets {
		cmd.Flags().AddFlagSet(fs)
	}
	columns, _, _ := term.TerminalSize(stdout)
	cliflag.SetUsageAndHelpFunc(cmd, sections, columns)
	cmd.SetGlobalNormalizationFunc(cliflag.WordSepNormalizeFunc)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{err} })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)

	logs.InitLogs()
	defer logs.FlushLogs()
	return cmd.ExecuteContext(ctx)
}
