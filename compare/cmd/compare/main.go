// Command compare measures PortRule as a CRD against PortRule from an aggregated
// API server. Package compare is the program.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"portrule.example/lab/compare"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := compare.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "compare: interrupted; what was started has been ended")
		os.Exit(1)
	case errors.As(err, &compare.UsageError{}):
		fmt.Fprintf(os.Stderr, "compare: %v\nTry 'compare --help'.\n", err)
		os.Exit(2)
	case errors.As(err, &compare.GateError{}):
		fmt.Fprintln(os.Stderr, "compare: failed:", err)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}
