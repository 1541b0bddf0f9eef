// This program is the server of lab 16: an API server with one kind, Zone, for behind
// the kube-apiserver's aggregation layer.
//
// types.go has the kind, openapi.go its description, registry.go what a write may do and
// where objects are kept, server.go makes a server of it: options, config, server.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

func main() {
	if err := command().ExecuteContext(genericapiserver.SetupSignalContext()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// command is the program's.
func command() *cobra.Command {
	o := newOptions()
	cmd := &cobra.Command{
		Use:           "zone-apiserver",
		Short:         "Serves Zone behind the kube-apiserver's aggregation layer",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := utilerrors.NewAggregate(o.recommended.Validate()); err != nil {
				return err
			}
			config, err := o.config()
			if err != nil {
				return err
			}
			server, err := config.server()
			if err != nil {
				return err
			}
			return server.PrepareRun().RunWithContext(cmd.Context())
		},
	}
	o.recommended.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.group, "group", o.group, "the API group that is served")
	return cmd
}
