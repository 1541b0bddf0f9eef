// Command clients works on the PortRules of a group until it is interrupted, and says what went
// wrong. Package clients is the load.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"portrule.example/lab/labs/14-moving-house/clients"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "how to reach the kube-apiserver")
	group := flag.String("group", "", "the API group of the rules")
	namespace := flag.String("namespace", "default", "where to make them")
	pace := flag.Duration("pace", 200*time.Millisecond, "the time from one request of a client to its next")
	flag.Parse()
	if *group == "" || flag.NArg() > 0 {
		return errors.New("name the API group with --group, and nothing without a dash")
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	// ended by End, and not by what interrupts
	load, err := clients.Start(context.WithoutCancel(ctx), clients.Options{
		Config: config, Group: *group, Namespace: *namespace, Pace: *pace,
		Say: func(line string) { fmt.Println(line) },
	})
	if err != nil {
		return err
	}
	fmt.Println("the clients are at work")
	<-ctx.Done()
	fmt.Print(load.End())
	return nil
}
