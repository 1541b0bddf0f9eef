// Package testbed puts both implementations of PortRule on one control plane and
// waits until they serve.
//
// [Start] is the entry: it takes a [cluster.Provider] and a [Setup] (setup.go), which
// says what the implementations do beyond the rules that a schema can state, and returns
// a [Testbed]. [Testbed.Stop] takes everything back.
//
// install.go says what the cluster is told, server.go runs the aggregated server as a
// process of this host, crd.go the CRD's webhooks; incluster.go runs both as Pods, in
// clusters that have nodes.
//
// The rest is what measurements and tests ask of it: ordinary users (users.go), further
// servers and CRDs in groups of their own ([Testbed.ServePeer], [Testbed.ServeCRD]),
// counts of reviews and of webhook calls (reviews.go), what the processes have used
// (usage.go, heap.go), the audit log (audit.go), delays on links ([Testbed.Delay]).
//
// Its tests, which start a control plane, hold both implementations to the same
// behaviour. What is asked of them case by case is in package contract.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/klient"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/relay"
)

// serveTimeout bounds the wait for an implementation to serve.
const serveTimeout = 30 * time.Second

// stopTimeout bounds what Stop asks of the cluster.
const stopTimeout = 30 * time.Second

// Testbed is a control plane that serves PortRule twice: from a CRD, under the
// group api.CRDGroup, and from the aggregated server, under api.Group.
type Testbed struct {
	// Admin is the administrator's client configuration, without a rate limit.
	Admin *rest.Config
	// Kubernetes is the version of the kube-apiserver, such as v1.36.3.
	Kubernetes string
	// Warnings are what a reader of measurements made here must know.
	Warnings []string
	// Ready says how long the parts took.
	Ready Timings

	provider cluster.Provider
	group    *process.Group
	// crdGroup is the group of the CRD.
	crdGroup string
	// kind is the provider if it has nodes, which run the images by the names of the
	// manifests; else nil.
	kind      *cluster.Kind
	images    map[string]string
	client    client.Client
	clientset kubernetes.Interface
	// server is the aggregated server that the APIServices lead to, unless the cluster
	// had one of its own; replicas are further ones.
	server   *Server
	replicas []*Server
	// rules are what the users of the testbed may do.
	rules []rbacv1.PolicyRule
	// serverFlags are those of the set-up.
	serverFlags []string
	target      *target
	// links have the relays between the programs; nil means that there are none.
	links *relay.Links
	// webhooks are those of the CRD, nil where a Pod answers them.
	webhooks *webhooks
	// controllers are the portrule-controllers that run on this host.
	controllers []*process.Supervisor

	// mu guards what the implementations, which are installed side by side, share:
	// Warnings, installed and processes.
	mu sync.Mutex
	// processes are the process ids of the programs, by name, once somebody has asked what
	// they use.
	processes map[string][]int
	// installed is what was not in the cluster before, in order of creation.
	installed []client.Object
}

// Timings says how long it took until a part was ready.
type Timings struct {
	// ControlPlane is the time from nothing to a kube-apiserver that serves.
	ControlPlane time.Duration
	// Images is the time to bring the images of the programs to the nodes, 0 where there
	// are none.
	Images time.Duration
	// Implementations is the time from then until both groups are served.
	Implementations time.Duration
}

// String says it in a line.
func (t Timings) String() string {
	images := ""
	if t.Images > 0 {
		images = fmt.Sprintf("images in the nodes %.1f s later, ", t.Images.Seconds())
	}
	return fmt.Sprintf("control plane ready after %.1f s, %sboth implementations %.1f s later",
		t.ControlPlane.Seconds(), images, t.Implementations.Seconds())
}

// Start creates the provider's cluster, installs both implementations, and waits
// until both serve. Processes belong to group. say is told each step as it
// begins. After an error, or when ctx ends, everything is taken back.
//
// What an existing cluster has already is used and left in place.
func Start(ctx context.Context, provider cluster.Provider, group *process.Group, setup Setup, say func(step string)) (_ *Testbed, err error) {
	t := &Testbed{provider: provider, group: group, crdGroup: setup.crdGroup(), links: setup.Links}
	t.allow(api.Group, portRules...)
	t.allow(t.crdGroup, portRules...)
	t.allow("", "configmaps")
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Stop())
		}
	}()

	begin := time.Now()
	say(fmt.Sprintf("starting the control plane (%s)", provider.Kind()))
	if _, err := provider.Create(ctx); err != nil {
		return nil, err
	}
	t.Admin = provider.KubernetesRestConfig()
	kube, err := klient.New(t.Admin)
	if err != nil {
		return nil, err
	}
	if err := provider.WaitForControlPlane(ctx, kube); err != nil {
		return nil, err
	}
	t.Ready.ControlPlane = time.Since(begin)

	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	if t.client, err = client.New(t.Admin, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if t.clientset, err = kubernetes.NewForConfig(t.Admin); err != nil {
		return nil, err
	}
	version, err := t.clientset.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("ask for the version of the kube-apiserver: %w", err)
	}
	t.Kubernetes = version.GitVersion
	if kind, ok := provider.(*cluster.Kind); ok && !setup.Outside {
		t.kind = kind
		if err := t.serveInCluster(ctx, setup, say); err != nil {
			return nil, err
		}
		return t, nil
	}
	begin = time.Now()
	say("installing both implementations")
	work, workCtx := errgroup.WithContext(ctx)
	work.Go(func() error { return t.serveCRD(workCtx, setup) })
	if t.crdGroup != api.Group {
		work.Go(func() error { return t.serveAggregated(workCtx, setup) })
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	t.Ready.Implementations = time.Since(begin)
	return t, nil
}

// through returns the port by which a program that listens on a port of this host is
// reached over a link, and as host: its own, or that of a relay.
func (t *Testbed) through(link, host string, port int) (int, error) {
	if t.links == nil {
		return port, nil
	}
	address, err := t.links.Through(link, bindAddress(host), net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// throughURL returns a URL that leads over a link to where the given one leads.
func (t *Testbed) throughURL(link, original string) (string, error) {
	if t.links == nil {
		return original, nil
	}
	u, err := url.Parse(original)
	if err != nil {
		return "", err
	}
	u.Host, err = t.links.Through(link, "127.0.0.1", u.Host)
	return u.String(), err
}

func (t *Testbed) warn(warning string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Warnings = append(t.Warnings, warning)
}

// Namespaces makes namespaces.
func (t *Testbed) Namespaces(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := t.install(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	return nil
}

// Ephemeral is whether Stop ends the cluster, with all that is in it.
func (t *Testbed) Ephemeral() bool { return t.provider.Ephemeral() }

// Delay sets by how much later a round trip over a link ends. The testbed must have been
// set up with links.
func (t *Testbed) Delay(link string, d time.Duration) error { return t.links.Delay(link, d) }

// Links are the relays of the set-up, nil if it has none.
func (t *Testbed) Links() *relay.Links { return t.links }

// Exited is closed when the aggregated server, which should run for as long as
// the testbed, has ended. It is nil if the cluster had a server of its own.
func (t *Testbed) Exited() <-chan struct{} {
	if t.server == nil {
		return nil
	}
	return t.server.Done()
}

// ExitError says why the aggregated server ended. It may be called once Exited is
// closed.
func (t *Testbed) ExitError() error { return t.explainServer(processServer, t.server.Err()) }

// Stop takes back what Start did: it removes from an existing cluster what was
// not there before, ends the server, and destroys the provider's cluster.
func (t *Testbed) Stop() error {
	// whatever ended the work must not end the cleaning up
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()

	var errs []error
	if !t.provider.Ephemeral() {
		errs = append(errs, t.uninstall(ctx))
	}
	if _, ok := t.provider.(*cluster.Kind); ok && t.kind == nil && t.provider.Ephemeral() {
		// a server does not end while somebody watches, and the cluster's controllers do
		errs = append(errs, t.provider.Destroy(ctx))
	}
	for _, replica := range t.replicas {
		errs = append(errs, replica.Stop())
	}
	if t.server != nil {
		errs = append(errs, t.server.Stop())
	}
	if t.target != nil {
		errs = append(errs, t.target.Close())
	}
	for _, controller := range t.controllers {
		errs = append(errs, controller.Stop())
	}
	if t.links != nil {
		defer t.links.Close() // once nobody uses them any more
	}
	return errors.Join(append(errs, t.provider.Destroy(ctx))...)
}
