package breakit

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/labs/lab"
)

// tryServer registers a server that is no more than a list of resources, lets its certificate
// end, and then the server.
func (l *live) tryServer(ctx context.Context, seen *answers) error {
	name := lab.Scratch()
	group := name + "." + l.Constant("group")
	path := "/apis/" + group + "/" + l.Constant("version")
	server, err := newServer(l, name, group)
	if err != nil {
		return err
	}
	defer server.end()
	registration := lab.Registration{Service: name, Group: group, Version: l.Constant("version"), Port: server.port, CA: server.ca}
	remove := func() error { return l.Unregister(context.Background(), registration) }
	l.Cleanup(remove)
	if err := l.Register(ctx, registration); err != nil {
		return err
	}

	ask := func(ctx context.Context) (int, error) {
		reply, err := lab.Send(ctx, l.admin, http.MethodGet, path, "", "")
		if err != nil {
			return 0, err
		}
		return reply.Status, nil
	}
	server.expired.Store(true)
	status, err := ask(ctx)
	if err != nil {
		return err
	}
	seen.Certificate.Noticed = later
	if status != http.StatusOK {
		seen.Certificate.Noticed = atOnce
	}

	server.end()
	err = l.until(ctx, "requests for a server that has ended fail", func(ctx context.Context) (bool, error) {
		status, err = ask(ctx)
		return status != http.StatusOK, err
	})
	if err != nil {
		return err
	}
	seen.Server.Rules = status
	reply, err := lab.Send(ctx, l.admin, http.MethodGet, configMaps(l.Lab.Namespace()), "", "")
	if err != nil {
		return err
	}
	seen.Server.ConfigMaps = worksIf(reply.Status == http.StatusOK)

	// discovery hears of it when the aggregator looks, which is soon if the APIService changes
	patch := `{"metadata":{"annotations":{"looked-at":"now"}}}`
	if _, err := lab.Send(ctx, l.admin, http.MethodPatch, "/apis/apiregistration.k8s.io/v1/apiservices/"+l.Constant("version")+"."+group, "application/merge-patch+json", patch); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(l.admin)
	if err != nil {
		return err
	}
	err = l.until(ctx, "discovery hears of a server that has ended", func(context.Context) (bool, error) {
		_, _, err := client.ServerGroupsAndResources()
		var failed *discovery.ErrGroupDiscoveryFailed
		return errors.As(err, &failed), nil
	})
	if err == nil {
		seen.Server.APIResources, err = l.apiResources(ctx, group)
	}
	return errors.Join(err, remove())
}

// apiResources is what kubectl api-resources does about a group.
func (l *live) apiResources(ctx context.Context, group string) (string, error) {
	where, err := l.Cluster()
	if err != nil {
		return "", err
	}
	processes, err := l.Group()
	if err != nil {
		return "", err
	}
	kubeconfig := processes.Path("admin.kubeconfig")
	if err := where.WriteAdmin(kubeconfig); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(l.Root, "bin", "kubectl"), "api-resources", "--kubeconfig", kubeconfig, "--cache-dir", processes.Path("cache"))
	out, err := cmd.Output()
	var exited *exec.ExitError
	switch {
	case errors.As(err, &exited):
		return fault, ctx.Err()
	case err != nil:
		return "", fmt.Errorf("run kubectl: %w; \"make build\" makes it", err)
	case strings.Contains(string(out), group):
		return complete, nil
	}
	return shorter, nil
}

// until waits for something that is the cluster's doing.
func (l *live) until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, condition)
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("wait until %s: not within %s", what, lab.SettleTimeout)
	}
	return err
}

// server is an aggregated server without anything, whose certificate can end.
type server struct {
	http    *http.Server
	port    int
	ca      []byte
	expired atomic.Bool
}

func newServer(l *live, name, group string) (*server, error) {
	ca, err := certs.NewCA(name)
	if err != nil {
		return nil, err
	}
	s := &server{ca: ca.PEM()}
	var pairs [2]tls.Certificate
	for i, end := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-time.Hour)} {
		pair, err := ca.ServingUntil(end, lab.Registration{Service: name}.ServerName(l.Lab))
		if err != nil {
			return nil, err
		}
		if pairs[i], err = tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(l.BindAddress(), "0"))
	if err != nil {
		return nil, fmt.Errorf("listen for a server of the check: %w", err)
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	s.http = &http.Server{
		ReadHeaderTimeout: lab.SettleTimeout,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if s.expired.Load() {
				return &pairs[1], nil
			}
			return &pairs[0], nil
		}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(metav1.APIResourceList{ // who has asked may have gone
				TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group + "/" + l.Constant("version"),
				APIResources: []metav1.APIResource{{Name: api.Resource, Kind: api.Kind, Namespaced: true, Verbs: metav1.Verbs{"get"}}},
			})
		}),
	}
	go func() { _ = s.http.ServeTLS(listener, "", "") }() // until it is closed
	return s, nil
}

// end closes the port and all connections. It may be called again.
func (s *server) end() { _ = s.http.Close() }
