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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// processServer is the name of the aggregated server's process, log and process id.
const processServer = "portrule-apiserver"

// serviceDNSName is the name that the server's certificate must have: the
// aggregation layer verifies it, wherever the Service leads.
const serviceDNSName = aggregatedmanifests.Name + "." + aggregatedmanifests.Namespace + ".svc"

// serveAggregated makes the cluster serve api.Group from a portrule-apiserver on
// this host, unless the cluster has an APIService for it already.
func (t *Testbed) serveAggregated(ctx context.Context, setup Setup) error {
	registrations, err := apiServices()
	if err != nil {
		return err
	}
	// the preferred version stands for both
	err = t.client.Get(ctx, client.ObjectKeyFromObject(registrations[0]), registrations[0].DeepCopy())
	if err == nil {
		t.warn("the aggregated server is one that the cluster had already: how it is run, and on which etcd, is not known")
		return t.waitForAPIServices(ctx, registrations)
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
	if t.server, err = t.startServer(ctx, processServer, ca); err != nil {
		return err
	}
	host, port := t.server.host, t.server.port
	if err := t.install(ctx, service(host, port)...); err != nil {
		return err
	}
	// Registered before the server is ready, the APIServices would be found
	// unavailable at first and looked at again with a delay.
	if err := t.waitForServer(ctx, t.server); err != nil {
		return err
	}
	for _, registration := range registrations {
		registration.Spec.CABundle = ca.PEM()
		registration.Spec.Service.Port = ptr.To(int32(port))
		if err := t.install(ctx, registration); err != nil {
			return err
		}
	}
	err = t.waitForAPIServices(ctx, registrations)
	if err != nil && t.provider.Kind() == cluster.KindExisting && ctx.Err() == nil {
		err = fmt.Errorf("%w\nthe cluster must reach this host at %s: give an address that it reaches with --server-address",
			err, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return err
}

func (t *Testbed) waitForAPIServices(ctx context.Context, registrations []*apiregistrationv1.APIService) error {
	for _, registration := range registrations {
		if err := t.waitForAPIService(ctx, registration.Name); err != nil {
			return err
		}
	}
	return nil
}

// Server is a portrule-apiserver that runs on this host.
type Server struct {
	*process.Process
	name string
	host string
	port int
	ca   *certs.CA
}

// URL is where the server is on this host.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort("localhost", strconv.Itoa(s.port))
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

// StartReplica starts a further aggregated server, to which nothing leads, on the
// same etcd and with the same flags, apart from those given, each --name=value. It returns when the replica
// is ready. Stop stops it.
func (t *Testbed) StartReplica(ctx context.Context, name string, flags ...string) (*Server, error) {
	if t.server == nil {
		return nil, errors.New("the cluster has an aggregated server of its own")
	}
	replica, err := t.startServer(ctx, name, t.server.ca, flags...)
	if err != nil {
		return nil, err
	}
	t.replicas = append(t.replicas, replica)
	return replica, t.waitForServer(ctx, replica)
}

// startServer starts portrule-apiserver. Its name is that of its process, log and
// files.
func (t *Testbed) startServer(ctx context.Context, name string, ca *certs.CA, flags ...string) (*Server, error) {
	program, err := cluster.Binary(processServer)
	if err != nil {
		return nil, err
	}
	etcd, err := t.provider.Etcd(ctx)
	if err != nil {
		return nil, err
	}
	host, port := t.provider.Address()
	if name != processServer {
		port = 0 // that one is taken
	}
	bind := bindAddress(host)
	if port, err = listenable(bind, port); err != nil {
		return nil, err
	}
	pair, err := ca.Serving(serviceDNSName, "localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	certFile, keyFile := t.group.Path(name+".crt"), t.group.Path(name+".key")
	if err := errors.Join(os.WriteFile(certFile, pair.Cert, 0o600), os.WriteFile(keyFile, pair.Key, 0o600)); err != nil {
		return nil, err
	}
	account, err := cluster.ServiceAccount(ctx, t.clientset, t.Admin, aggregatedmanifests.Namespace, aggregatedmanifests.Name)
	if err != nil {
		return nil, err
	}
	kubeconfig := t.group.Path(name + ".kubeconfig")
	if err := cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: aggregatedmanifests.Name, Config: account}); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	running, err := t.group.Start(name, program, override(slices.Concat([]string{
		"--etcd-servers=" + strings.Join(etcd, ","),
		"--bind-address=" + bind,
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + certFile,
		"--tls-private-key-file=" + keyFile,
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
	}, t.serverFlags), flags)...)
	return &Server{Process: running, name: name, host: host, port: port, ca: ca}, err
}

// override replaces flags, each --name=value, by others of the same name.
func override(flags, others []string) []string {
	name := func(flag string) string { name, _, _ := strings.Cut(flag, "="); return name }
	kept := slices.DeleteFunc(flags, func(flag string) bool {
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
