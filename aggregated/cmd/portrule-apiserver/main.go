// Command portrule-apiserver serves PortRule behind the kube-apiserver's
// aggregation layer. Package aggregated is the program.
package main

import (
	"errors"
	"fmt"
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"portrule.example/lab/aggregated"
)

func main() {
	err := aggregated.Run(genericapiserver.SetupSignalContext(), os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "portrule-apiserver:", err)
	if errors.As(err, &aggregated.UsageError{}) {
		fmt.Fprintln(os.Stderr, "Try 'portrule-apiserver --help'.")
		os.Exit(2)
	}
	os.Exit(1)
}
