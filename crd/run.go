// Package crd serves PortRule from a CustomResourceDefinition.
//
// The kube-apiserver does the serving: package manifests holds what it must be told,
// the schema with its CEL rules and the policies. What they cannot say is done by the
// program portrule-controller, which [Run] is: package webhook converts between
// versions, validates and mutates, package controller puts rules into force, package
// certificates keeps the certificate of the webhooks valid.
//
// Read manifests/crd first, then manifests/policy, then webhook/webhook.go and
// controller/controller.go. In this package run.go has the flags and what they start,
// server.go is why no call of a webhook is lost when the program ends, tracing.go
// sends spans.
//
// What is said of PortRule itself, whatever serves it, is in package api.
package crd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/tracing"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"portrule.example/lab/api"
	"portrule.example/lab/api/probe"
	v1 "portrule.example/lab/api/v1"
	"portrule.example/lab/crd/certificates"
	"portrule.example/lab/crd/controller"
	"portrule.example/lab/crd/manifests"
	"portrule.example/lab/crd/webhook"
)

// UsageError is an error in the flags or arguments of a command.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the error without its class.
func (e UsageError) Unwrap() error { return e.Err }

// The webhooks, as --webhooks names them.
const (
	conversion  = "conversion"
	validating  = "validating"
	mutating    = "mutating"
	reservation = "reservation"
)

var webhooks = []string{conversion, validating, mutating, reservation}

// shutdownTimeout is how long what is under way may take when the program ends. It and
// --shutdown-delay-duration are part of the Pod's terminationGracePeriodSeconds.
const shutdownTimeout = 30 * time.Second

type options struct {
	group          string
	kubeconfig     string
	controller     bool
	probeRequests  bool
	probeAllow     []string
	webhooks       []string
	webhookAddress string
	webhookPort    int
	certDir        string
	rotate         bool
	metricsAddress string
	healthAddress  string
	leaderElection bool
	shutdownDelay  time.Duration
}

// Run is the program portrule-controller. It returns when ctx ends or when it
// cannot go on, and a [UsageError] if args are wrong.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	cmd := &cobra.Command{
		Use:   "portrule-controller",
		Short: "Puts PortRules into force, and answers the webhooks of the CRD",
		Long: "portrule-controller renders each PortRule as an nftables script in a ConfigMap and sets its\n" +
			"status. It runs against either group: the one that the CRD serves, or that of the aggregated\n" +
			"server. For the CRD it also answers the webhooks: conversion between versions, validation,\n" +
			"mutation, and the reservation of endpoints.\n\n" +
			"Webhook calls that the kube-apiserver traces are traced here too if the environment variable\n" +
			tracesEndpoint + " says where to send the spans, by OTLP over gRPC without TLS.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return UsageError{fmt.Errorf("it takes no arguments, got %q", strings.Join(args, " "))}
			}
			return nil
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return UsageError{err}
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.group, "group", api.CRDGroup, "the API group of the PortRules")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "the kubeconfig (default: the Pod's service account)")
	flags.BoolVar(&o.controller, "controller", true, "put rules into force")
	flags.BoolVar(&o.probeRequests, "probe-requests", false, "dial the endpoint of a rule when its annotation "+controller.ProbeRequest+" changes, and answer in its condition "+controller.ConditionProbed)
	flags.StringSliceVar(&o.probeAllow, "probe-allow-cidr", nil, "addresses, such as 127.0.0.2/32, that --probe-requests dials although it would refuse them: loopback, link-local, multicast and metadata addresses")
	flags.StringSliceVar(&o.webhooks, "webhooks", nil, "the webhooks to answer: "+strings.Join(webhooks, ", ")+" (default: none)")
	flags.StringVar(&o.webhookAddress, "webhook-bind-address", "", "the address of the webhooks (default: all)")
	flags.IntVar(&o.webhookPort, "webhook-port", 9443, "the port of the webhooks")
	flags.StringVar(&o.certDir, "cert-dir", "/etc/portrule-controller/certs", "the directory of tls.crt and tls.key for the webhooks; new files are taken up without a restart")
	flags.BoolVar(&o.rotate, "rotate-certificates", false, "keep the certificate in the Secret "+manifests.Secret+" valid, and its CA in the webhook configurations and the CRD")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "the address of the metrics, host:port; 0 for none. They are served by TLS to whoever may get /metrics")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "the address of /healthz and /readyz, host:port; 0 for none")
	flags.BoolVar(&o.leaderElection, "leader-elect", false, "let one of several controllers work; all of them answer webhooks")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay-duration", 0, "how long to go on answering webhooks when asked to end; each answer then closes its connection, so that no call is sent into one that is about to be closed")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{err} })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)

	ctrl.SetLogger(klog.NewKlogr())
	return cmd.ExecuteContext(ctx)
}

func (o *options) check() error {
	for _, name := range o.webhooks {
		if !slices.Contains(webhooks, name) {
			return fmt.Errorf("there is no webhook %q: use %s", name, strings.Join(webhooks, ", "))
		}
	}
	if !o.controller && !o.probeRequests && len(o.webhooks) == 0 {
		return errors.New("nothing to do: name webhooks with --webhooks, or leave --controller on")
	}
	if _, err := probe.ParseAllow(o.probeAllow); err != nil {
		return fmt.Errorf("--probe-allow-cidr: %w", err)
	}
	if o.rotate && len(o.webhooks) == 0 {
		return errors.New("--rotate-certificates goes with --webhooks: the certificate is theirs")
	}
	return nil
}

func (o *options) run(ctx context.Context) (err error) {
	// an empty path means the service account of the Pod
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("find the cluster: %w; outside of a Pod name a kubeconfig with --kubeconfig", err)
	}
	// each write that a webhook checks costs it requests of its own: a limit here
	// would be the limit of all writes. The API server's priority and fairness is
	// there to protect it.
	config.QPS = -1
	tracer, err := newTracer(ctx)
	if err != nil {
		return err
	}
	if tracer != nil {
		config.Wrap(tracing.WrapperFor(tracer))
		defer func() {
			// the last spans are sent although ctx has ended
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesTimeout)
			defer cancel()
			err = errors.Join(err, tracer.Shutdown(ctx))
		}()
	}
	if o.rotate {
		config.Wrap(certificates.SelectSecret)
	}
	scheme, err := controller.NewScheme(o.group)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme,
		Metrics: metricsserver.Options{
			BindAddress:    o.metricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		Cache:                  cache.Options{ByObject: controller.CachedObjects()},
		HealthProbeBindAddress: o.healthAddress,
		LeaderElection:         o.leaderElection,
		// one for each group: both controllers may run in one cluster
		LeaderElectionID:              manifests.Name + "." + o.group,
		LeaderElectionNamespace:       manifests.SystemNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       ptr.To(o.shutdownDelay + shutdownTimeout),
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return err
	}
	if o.controller {
		if err := controller.Add(mgr, controller.Options{Group: o.group}); err != nil {
			return fmt.Errorf("add the controller: %w", err)
		}
	}
	if o.probeRequests {
		allow, err := probe.ParseAllow(o.probeAllow)
		if err != nil {
			return err
		}
		if err := controller.AddProber(mgr, o.group, probe.Rules{Allow: allow}); err != nil {
			return fmt.Errorf("add the prober: %w", err)
		}
	}
	if len(o.webhooks) > 0 {
		if err := o.addWebhooks(mgr, tracer); err != nil {
			return fmt.Errorf("add the webhooks: %w", err)
		}
	}
	return mgr.Start(ctx)
}

// addWebhooks makes the manager answer the webhooks and say that it is ready when
// it does.
func (o *options) addWebhooks(mgr manager.Manager, tracer tracing.TracerProvider) error {
	if err := v1.AddToScheme(mgr.GetScheme(), o.group); err != nil {
		return err
	}
	server := &server{
		Server: ctrlwebhook.NewServer(ctrlwebhook.Options{Host: o.webhookAddress, Port: o.webhookPort, CertDir: o.certDir}),
		delay:  o.shutdownDelay,
		tracer: tracer,
	}
	// R4 is a check of what is there now: a cache would be older
	if err := webhook.Install(server, mgr.GetScheme(), mgr.GetAPIReader(), mgr.GetClient(), webhook.Options{
		Group:       o.group,
		Validating:  slices.Contains(o.webhooks, validating),
		Mutating:    slices.Contains(o.webhooks, mutating),
		Reservation: slices.Contains(o.webhooks, reservation),
	}); err != nil {
		return err
	}
	if o.rotate {
		ready, err := certificates.Rotate(mgr, o.group, o.certDir)
		if err != nil {
			return err
		}
		server.ready = ready
	}
	if err := mgr.Add(server); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("webhooks", server.StartedChecker())
}
