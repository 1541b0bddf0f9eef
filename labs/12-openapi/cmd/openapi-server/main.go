// Openapi-server is the server of lab 12, see package server.
package main

import (
	"fmt"
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"portrule.example/lab/labs/12-openapi/server"
)

func main() {
	if err := server.Run(genericapiserver.SetupSignalContext(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
