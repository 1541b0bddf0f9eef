package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/compare/cluster"
)

// localhost is how the kube-apiserver reaches this host if it is a process of this host.
const localhost = "localhost"

// HostVariable is the environment variable by which programs of the learner's know
// [Session.Host], set by "lab env" unless it is localhost.
const HostVariable = "LAB_HOST"

// SettleTimeout bounds the wait for what happens soon, even on a busy machine: a server
// that starts, a registration that takes effect.
const SettleTimeout = 30 * time.Second

// PollInterval is how often a check looks whether it has.
const PollInterval = 20 * time.Millisecond

// Host is the name or the address by which the kube-apiserver reaches programs of this host.
func (s *Session) Host() string {
	if s.cluster == nil {
		return localhost
	}
	return cmp.Or(s.cluster.Host, localhost)
}

// BindAddress is where such programs have to listen.
func (s *Session) BindAddress() string {
	if s.Host() == localhost {
		return "127.0.0.1"
	}
	return "0.0.0.0"
}

// FreePort is a port of [Session.BindAddress] that nobody listens on.
func (s *Session) FreePort() (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(s.BindAddress(), "0"))
	if err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// Direct is the configuration of a client that talks to a server of this host itself, not
// by way of the kube-apiserver, with the credentials in config. The server's certificate
// must be for localhost, by ca.
func Direct(config *rest.Config, port int, ca []byte) *rest.Config {
	direct := rest.CopyConfig(config)
	direct.Host, direct.APIPath = "https://"+net.JoinHostPort(localhost, strconv.Itoa(port)), ""
	direct.CAFile, direct.CAData, direct.ServerName = "", ca, ""
	return direct
}

// Registration makes the aggregator hand the requests for a version of a group on to a
// server of this host: a Service in the lab's namespace, and an APIService.
type Registration struct {
	Service, Group, Version string
	Port                    int
	// CA has signed the server's certificate, in PEM. That must be for
	// [Registration.ServerName].
	CA []byte
}

// ServerName is the name for which the aggregator verifies the server's certificate.
func (r Registration) ServerName(l *Lab) string { return r.Service + "." + l.Namespace() + ".svc" }

// objects are the Service, with what leads from it, and the APIService.
func (s *Session) objects(r Registration) []client.Object {
	return append(cluster.ServiceTo(s.Lab.Namespace(), r.Service, s.Host(), r.Port), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: r.Version + "." + r.Group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: r.Group, Version: r.Version, GroupPriorityMinimum: 1000, VersionPriority: 10, CABundle: r.CA,
			Service: &apiregistrationv1.ServiceReference{Namespace: s.Lab.Namespace(), Name: r.Service, Port: ptr.To(int32(r.Port))},
		},
	})
}

// Client returns the administrator's, for the kinds of Kubernetes and APIServices.
func (s *Session) Client() (client.Client, error) {
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiregistrationv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.New(admin, client.Options{Scheme: scheme})
}

// Register tells the cluster of a server that is ready, in place of one that was there
// before, and waits until requests are handed on.
func (s *Session) Register(ctx context.Context, r Registration) error {
	if err := s.Unregister(ctx, r); err != nil {
		return err
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	for _, object := range s.objects(r) {
		if err := c.Create(ctx, object); err != nil {
			return fmt.Errorf("register the server %s: %w", r.Service, err)
		}
	}
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	last := ""
	err = wait.PollUntilContextTimeout(ctx, PollInterval, SettleTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := Send(ctx, admin, http.MethodGet, "/apis/"+r.Group+"/"+r.Version, "", "")
		if err != nil {
			return false, err
		}
		last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
		return reply.Status == http.StatusOK, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the kube-apiserver hands nothing on to the server %s after %s: %s", r.Service, SettleTimeout, last)
	}
	return err
}

// Unregister takes it back. It is no error if nothing is there.
func (s *Session) Unregister(ctx context.Context, r Registration) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	var errs []error
	for _, object := range slices.Backward(s.objects(r)) {
		errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, object)))
	}
	return errors.Join(errs...)
}
