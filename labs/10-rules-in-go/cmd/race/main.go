// The program race lets clients create PortRules of one endpoint at the same time, and says
// whether an API lets more than one of them in: race GROUP...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"

	"portrule.example/lab/labs/10-rules-in-go/race"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := race.Race{}
	flags := flag.NewFlagSet("race", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "the cluster")
	flags.StringVar(&r.Namespace, "namespace", "lab-10", "where the rules are made")
	flags.IntVar(&r.Clients, "clients", 8, "how many creates there are at a time")
	flags.IntVar(&r.Attempts, "attempts", 100, "how often it is tried, at most")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 || *kubeconfig == "" {
		return errors.New("which API of which cluster? race GROUP..., and KUBECONFIG as \"lab env\" sets it")
	}
	var err error
	if r.Config, err = clientcmd.BuildConfigFromFlags("", *kubeconfig); err != nil {
		return err
	}
	for _, r.Group = range flags.Args() {
		result, err := r.Run(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %s\n", r.Group, result)
		for _, name := range result.Admitted {
			if result.Duplicates() {
				fmt.Fprintf(stdout, "    %s  %s\n", name, result.Endpoint)
			}
		}
	}
	return nil
}
