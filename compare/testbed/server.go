package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
)

// processServer is the name of the aggregated server's process, log and process id.
const processServer = "portrule-apiserver"

// serviceDNSName is the name that the server's certificate must have: the
// aggregation layer verifies it, wherever the Service leads.
const serviceDNSName = aggregatedmanifests.Name + "." + aggregatedmanifests.Namespace + ".svc"

// serveAggregated makes the cluster serve api.Group from a portrule-apiserver on
// this host, unless the cluster has an APIService for it already.
func (t *Testbed) serveAggregated(ctx context.Context) error {
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
	host, port, err := t.startServer(ctx, ca)
	if err != nil {
		return err
	}
	if err := t.install(ctx, service(host, port)...); err != nil {
		return err
	}
	// Registered before the server is ready, the APIServices would be found
	// unavailable at first and looked at again with a delay.
	if err := t.waitForServer(ctx, ca, port); err != nil {
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

// startServer starts portrule-apiserver and returns where the cluster reaches it.
func (t *Testbed) startServer(ctx context.Context, ca *certs.CA) (host string, port int, err error) {
	program, err := cluster.Binary(processServer)
	if err != nil {
		return "", 0, err
	}
	etcd, err := t.provider.Etcd(ctx)
	if err != nil {
		return "", 0, err
	}
	host, port = t.provider.Address()
	bind := bindAddress(host)
	if port, err = listenable(bind, port); err != nil {
		return "", 0, err
	}
	pair, err := ca.Serving(serviceDNSName, "localhost", "127.0.0.1")
	if err != nil {
		return "", 0, err
	}
	certFile, keyFile := t.group.Path(processServer+".crt"), t.group.Path(processServer+".key")
	if err := errors.Join(os.WriteFile(certFile, pair.Cert, 0o600), os.WriteFile(keyFile, pair.Key, 0o600)); err != nil {
		return "", 0, err
	}
	account, err := cluster.ServiceAccount(ctx, t.clientset, t.Admin, aggregatedmanifests.Namespace, aggregatedmanifests.Name)
	if err != nil {
		return "", 0, err
	}
	kubeconfig := t.group.Path(processServer + ".kubeconfig")
	if err := cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: aggregatedmanifests.Name, Config: account}); err != nil {
		return "", 0, err
	}
	if err := ctx.Err(); err != nil {
		return "", 0, err
	}
	t.server, err = t.group.Start(processServer, program,
		"--etcd-servers="+strings.Join(etcd, ","),
		"--bind-address="+bind,
		"--secure-port="+strconv.Itoa(port),
		"--tls-cert-file="+certFile,
		"--tls-private-key-file="+keyFile,
		"--kubeconfig="+kubeconfig,
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
	)
	return host, port, err
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
func (t *Testbed) waitForServer(ctx context.Context, ca *certs.CA, port int) error {
	url := "https://" + net.JoinHostPort("localhost", strconv.Itoa(port)) + "/readyz"
	err := t.waitForHTTPS(ctx, ca, url, processServer, func(status int) bool { return status == http.StatusOK }, func() error {
		if t.server.Ended() {
			return t.ExitError()
		}
		return nil
	})
	if err != nil && !t.server.Ended() {
		err = t.explainServer(err)
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

// explainServer adds what the server said last.
func (t *Testbed) explainServer(err error) error {
	if tail := t.group.LogTail(processServer, 3); tail != "" {
		return fmt.Errorf("%w; it said last:\n%s", err, tail)
	}
	return err
}
