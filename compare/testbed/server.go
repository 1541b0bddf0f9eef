package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/relay"
)

// The programs of aggregated servers. They are also the names of their processes,
// logs and process ids, and of the Services that lead to them.
const (
	processServer = aggregatedmanifests.Name
	processSample = "sample-apiserver"
)

// serviceDNSName is the name that the certificate of a server must have: the
// aggregation layer verifies it, wherever the Service leads.
func serviceDNSName(service string) string {
	return service + "." + aggregatedmanifests.Namespace + ".svc"
}

// serveAggregated makes the cluster serve api.Group from a portrule-apiserver on
// this host, unless the cluster has an APIService for it already.
func (t *Testbed) serveAggregated(ctx context.Context, setup Setup) error {
	registrations, err := apiServices(api.Group, processServer)
	if err != nil {
		return err
	}
	// the preferred version stands for both
	err = t.client.Get(ctx, client.ObjectKeyFromObject(registrations[0]), registrations[0].DeepCopy())
	if err == nil {
		t.warn("the aggregated server is one that the cluster had already: how it is run, and on which etcd, is not known")
		return t.waitForAPIServices(ctx, registrations, api.Resource)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for APIService %s: %w", registrations[0].Name, err)
	}

	if !t.provider.Ephemeral() {
		t.warn("the aggregated server runs on the host of the harness and has an etcd of its own there: " +
			"its network and its disk are not those of the cluster")
	}
	roles, err := decode(ctx, aggregatedmanifests.RBAC)
	if err != nil {
		return err
	}
	if err := t.install(ctx, roles...); err != nil {
		return err
	}
	ca, err := certs.NewCA("portrule-apiserver-ca")
	if err != nil {
		return err
	}
	if t.target, err = listenTarget(); err != nil {
		t.warn(fmt.Sprintf("there is nothing that portrules/probe may dial: %v", err))
	}
	t.serverFlags = setup.serverFlags(t.target)
	if t.server, err = t.startServer(ctx, processServer, processServer, ca, t.serverFlags...); err != nil {
		return err
	}
	return t.register(ctx, t.server, registrations, api.Resource)
}

// register makes the aggregation layer hand on to a server what registrations say,
// once it is ready, and waits until the resource is served.
func (t *Testbed) register(ctx context.Context, server *Server, registrations []*apiregistrationv1.APIService, resource string) error {
	port, err := t.through(relay.Server, server.host, server.port)
	if err != nil {
		return err
	}
	if err := t.install(ctx, cluster.ServiceTo(aggregatedmanifests.Namespace, server.name, server.host, port)...); err != nil {
		return err
	}
	// Registered before the server is ready, the APIServices would be found
	// unavailable at first and looked at again with a delay.
	if err := t.waitForServer(ctx, server); err != nil {
		return err
	}
	for _, registration := range registrations {
		registration.Spec.CABundle = server.ca.PEM()
		registration.Spec.Service.Port = ptr.To(int32(port))
		if err := t.install(ctx, registration); err != nil {
			return err
		}
	}
	err = t.waitForAPIServices(ctx, registrations, resource)
	if err != nil && t.provider.Kind() == cluster.KindExisting && ctx.Err() == nil {
		err = fmt.Errorf("%w\nthe cluster must reach this host at %s: give an address that it reaches with --server-address",
			err, net.JoinHostPort(server.host, strconv.Itoa(server.port)))
	}
	return err
}

// HasPeers is whether a further server can be started beside the aggregated one: not if
// that is the cluster's own.
func (t *Testbed) HasPeers() bool { return t.server != nil || t.kind != nil }

// Peer is a server whose group the cluster serves, and that can be taken away again. It
// has no Server if it runs in the cluster.
type Peer struct {
	*Server
	testbed *Testbed
	objects []client.Object
}

// ServeSample starts k8s.io/sample-apiserver, which must have been built as
// bin/sample-apiserver, on the same etcd and by the same service account as the
// aggregated server, and makes the cluster serve wardle.example.com/v1alpha1 from it.
func (t *Testbed) ServeSample(ctx context.Context) (*Peer, error) {
	const group, version = "wardle.example.com", "v1alpha1"
	t.allow(group, "flunders")
	return t.servePeer(ctx, processSample, processSample, "flunders", []*apiregistrationv1.APIService{{
		ObjectMeta: metav1.ObjectMeta{Name: version + "." + group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: group, Version: version, GroupPriorityMinimum: 1000, VersionPriority: 15,
			Service: &apiregistrationv1.ServiceReference{Namespace: aggregatedmanifests.Namespace, Name: processSample},
		},
	}})
}

// ServePeer starts a further aggregated server, with flags that set it apart, and makes
// the cluster serve the preferred version of a group of its own from it: one version, as
// sample-apiserver has. Users that are made afterwards may use that group too.
func (t *Testbed) ServePeer(ctx context.Context, name, group string, flags ...string) (*Peer, error) {
	return t.servePortRules(ctx, name, group, 1, flags...)
}

// ServeVersions is ServePeer with every version.
func (t *Testbed) ServeVersions(ctx context.Context, name, group string, flags ...string) (*Peer, error) {
	return t.servePortRules(ctx, name, group, 2, flags...)
}

func (t *Testbed) servePortRules(ctx context.Context, name, group string, versions int, flags ...string) (*Peer, error) {
	registrations, err := apiServices(group, name)
	if err != nil {
		return nil, err
	}
	t.allow(group, portRules...)
	if t.kind != nil {
		return t.servePeerInCluster(ctx, name, registrations[:versions], append(flags, "--group="+group)...)
	}
	return t.servePeer(ctx, processServer, name, api.Resource, registrations[:versions], override(t.serverFlags, append(flags, "--group="+group))...)
}

func (t *Testbed) servePeer(ctx context.Context, program, name, resource string, registrations []*apiregistrationv1.APIService, flags ...string) (*Peer, error) {
	if t.server == nil {
		return nil, errors.New("the cluster has an aggregated server of its own")
	}
	server, err := t.startServer(ctx, program, name, t.server.ca, flags...)
	if err != nil {
		return nil, err
	}
	t.replicas = append(t.replicas, server)
	peer := &Peer{Server: server, testbed: t, objects: cluster.ServiceTo(aggregatedmanifests.Namespace, name, server.host, server.port)}
	for _, registration := range registrations {
		peer.objects = append(peer.objects, registration)
	}
	return peer, t.register(ctx, server, registrations, resource)
}

// Remove stops the server and makes the cluster forget it.
func (p *Peer) Remove(ctx context.Context) error {
	for _, object := range slices.Backward(p.objects) {
		if err := p.testbed.client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove %s: %w", p.testbed.describe(object), err)
		}
	}
	if p.Server == nil {
		return nil
	}
	return p.Stop()
}

// Memory returns the resident memory of the server in bytes.
func (s *Server) Memory() (uint64, error) {
	pid, err := s.group.PID(s.name)
	if err != nil {
		return 0, err
	}
	usage, err := process.UsageOf(pid)
	return usage.Memory, err
}

func (t *Testbed) waitForAPIServices(ctx context.Context, registrations []*apiregistrationv1.APIService, resource string) error {
	for _, registration := range registrations {
		if err := t.waitForAPIService(ctx, registration.Name, resource); err != nil {
			return err
		}
	}
	for _, registration := range registrations {
		if err := t.waitForDiscovery(ctx, registration.Spec.Group, registration.Spec.Version); err != nil {
			return err
		}
	}
	return nil
}

// Server is an aggregated server that runs on this host.
type Server struct {
	*process.Process
	group *process.Group
	name  string
	host  string
	port  int
	ca    *certs.CA
}

// URL is where the server is on this host.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort("localhost", strconv.Itoa(s.port))
}

// Address is where the control plane reaches the server.
func (s *Server) Address() (host string, port int) { return s.host, s.port }

// Certify makes another serving certificate for the server, by the same CA. It is for
// this host, for the server's own Service and, as it may be a replica, for the Service
// that leads to the first one.
func (s *Server) Certify() (*certs.Pair, error) {
	return s.ca.Serving(serviceDNSName(s.name), serviceDNSName(processServer), "localhost", "127.0.0.1")
}

// Config returns the configuration of a client that talks to the server itself, not
// by way of the kube-apiserver, with the credentials in config.
func (s *Server) Config(config *rest.Config) *rest.Config {
	direct := rest.CopyConfig(config)
	direct.Host, direct.APIPath = s.URL(), ""
	direct.CAFile, direct.CAData, direct.ServerName = "", s.ca.PEM(), ""
	return direct
}

// Server returns the aggregated server that the APIServices lead to, nil if the
// cluster had one of its own.
func (t *Testbed) Server() *Server { return t.server }

// StartReplica starts a further aggregated server, to which nothing leads, on the same
// etcd and with the same flags, apart from those given, each --name=value. It returns
// when the replica is ready. Stop stops it.
func (t *Testbed) StartReplica(ctx context.Context, name string, flags ...string) (*Server, error) {
	if t.server == nil {
		return nil, errors.New("the cluster has an aggregated server of its own")
	}
	replica, err := t.startServer(ctx, processServer, name, t.server.ca, override(t.serverFlags, flags)...)
	if err != nil {
		return nil, err
	}
	t.replicas = append(t.replicas, replica)
	return replica, t.waitForServer(ctx, replica)
}

// Join makes the Service of the first aggregated server lead to a replica too. It must lead
// to addresses: see [cluster.EmbeddedOptions.AggregatorRouting].
func (t *Testbed) Join(ctx context.Context, replica *Server) error {
	objects := cluster.ServiceTo(aggregatedmanifests.Namespace, replica.name, replica.host, replica.port)
	slice := objects[len(objects)-1]
	if slice.GetLabels() == nil {
		return fmt.Errorf("the Service %s leads to the name %s, not to addresses", processServer, replica.host)
	}
	slice.GetLabels()[discoveryv1.LabelServiceName] = processServer
	return t.install(ctx, slice)
}

// startServer starts an aggregated server. Its name is that of its process, log,
// files and Service.
func (t *Testbed) startServer(ctx context.Context, program, name string, ca *certs.CA, flags ...string) (*Server, error) {
	path, err := cluster.Binary(program)
	if err != nil {
		return nil, err
	}
	etcd, err := t.provider.Etcd(ctx)
	if err != nil {
		return nil, err
	}
	for i := range etcd {
		if etcd[i], err = t.throughURL(relay.Etcd, etcd[i]); err != nil {
			return nil, err
		}
	}
	host, port := t.provider.Address()
	if name != processServer {
		port = 0 // that one is taken
	}
	bind := bindAddress(host)
	if port, err = listenable(bind, port); err != nil {
		return nil, err
	}
	server := &Server{group: t.group, name: name, host: host, port: port, ca: ca}
	pair, err := server.Certify()
	if err != nil {
		return nil, err
	}
	certFile, keyFile := t.group.Path(name+".crt"), t.group.Path(name+".key")
	if err := errors.Join(os.WriteFile(certFile, pair.Cert, 0o600), os.WriteFile(keyFile, pair.Key, 0o600)); err != nil {
		return nil, err
	}
	kubeconfig, err := t.serviceAccount(ctx, aggregatedmanifests.Namespace, aggregatedmanifests.Name, name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	server.Process, err = t.group.Start(name, path, override([]string{
		"--etcd-servers=" + strings.Join(etcd, ","),
		"--bind-address=" + bind,
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + certFile,
		"--tls-private-key-file=" + keyFile,
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
	}, flags)...)
	if err != nil {
		return nil, err
	}
	t.lookAnew()
	return server, nil
}

// override replaces flags, each --name=value, by others of the same name.
func override(flags, others []string) []string {
	name := func(flag string) string { name, _, _ := strings.Cut(flag, "="); return name }
	kept := slices.DeleteFunc(slices.Clone(flags), func(flag string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return name(other) == name(flag) })
	})
	return append(kept, others...)
}

// serverFlags are the flags that the set-up asks for. target may be nil.
func (s Setup) serverFlags(target *target) []string {
	var flags []string
	if s.SharedEndpoints {
		flags = append(flags, "--unique-endpoints=false")
	}
	if target != nil {
		flags = append(flags, "--probe-allow-cidr="+target.address().String()+"/32")
	}
	return flags
}

// bindAddress is where a server listens that is reached as host.
func bindAddress(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	return "0.0.0.0"
}

// listenable returns port if it is free on the address bind, and a free port for 0.
func listenable(bind string, port int) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(bind, strconv.Itoa(port)))
	if err != nil {
		return 0, fmt.Errorf("the aggregated server cannot listen: %w; choose another port with --server-address", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// waitForServer waits until the server says that it is ready, which includes its
// informers of admission resources: from then on writes do not wait.
func (t *Testbed) waitForServer(ctx context.Context, server *Server) error {
	err := t.waitForHTTPS(ctx, server.ca, server.URL()+"/readyz", server.name, func(status int) bool { return status == http.StatusOK }, func() error {
		if server.Ended() {
			return t.explainServer(server.name, server.Err())
		}
		return nil
	})
	if err != nil && !server.Ended() {
		err = t.explainServer(server.name, err)
	}
	return err
}

// waitForHTTPS waits until a GET of url, from a server whose certificate ca has
// signed, is answered by a status that is ready. It gives up when alive, unless it
// is nil, says why. what names the server in the error.
func (t *Testbed) waitForHTTPS(ctx context.Context, ca *certs.CA, url, what string, ready func(status int) bool, alive func() error) error {
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca.PEM()}})
	if err != nil {
		return err
	}
	last := errors.New("it does not answer")
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		if alive != nil {
			if err := alive(); err != nil {
				return false, err
			}
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			last = err
			return false, nil
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		last = fmt.Errorf("%s says %s: %s", url, response.Status, body)
		return ready(response.StatusCode), err
	})
	return explain(err, last, what)
}

// explainServer adds what a server said last.
func (t *Testbed) explainServer(name string, err error) error {
	if tail := t.group.LogTail(name, 3); tail != "" {
		return fmt.Errorf("%w; it said last:\n%s", err, tail)
	}
	return err
}
