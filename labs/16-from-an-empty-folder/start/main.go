// This program is the server of lab 16: an API server with one kind, Zone, for behind
// the kube-apiserver's aggregation layer.
//
// types.go has the kind, openapi.go its description, registry.go what a write may do and
// where objects are kept, server.go makes a server of it: options, config, server.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
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
		RunE: func(*cobra.Command, []string) error {
			// TODO: validate the options; make the config of them, and the server of that; then
			// server.PrepareRun().RunWithContext(cmd.Context())
			return errors.New("nothing is served yet: main.go has the TODO")
		},
	}
	o.recommended.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.group, "group", o.group, "the API group that is served")
	return cmd
}
