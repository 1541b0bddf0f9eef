// Command portrule-controller puts PortRules into force and answers the webhooks
// of the CRD. Package crd is the program.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"portrule.example/lab/crd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := crd.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "portrule-controller:", err)
	if errors.As(err, &crd.UsageError{}) {
		fmt.Fprintln(os.Stderr, "Try 'portrule-controller --help'.")
		os.Exit(2)
	}
	os.Exit(1)
}
