package mayi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// Files that serve leaves for the learner's scripts and for the check.
const (
	etcdFile             = "etcd"               // the URL of an etcd
	portFile             = "port"               // a port for the learner's server
	certFile, keyFile    = "tls.crt", "tls.key" // a certificate for it
	serverKubeconfigFile = "server.kubeconfig"  // the learner's service account
	// These lead to the servers themselves, the counted one and the learner's: as the
	// administrator, as a user with a client certificate and as one with a token.
	countedKubeconfigFile  = "counted.kubeconfig"
	repairedKubeconfigFile = "repaired.kubeconfig"
)

// adminContext is the administrator's context in both.
const adminContext = "admin"

// countedServer is the server whose reviews are counted: its process, its Service and its
// service account.
const countedServer = "counted"

// openPaths may be read by everybody, so that reading them is no review and does not count:
// the kube-apiserver asks for them by a clock of its own, and who counts for the metrics.
const openPaths = "/healthz,/readyz,/livez,/metrics,/openapi/*,/apis,/apis/*"

// serve starts the server whose reviews are counted, with all rights that it needs, and
// prepares what the learner's server needs apart from rights.
func serve(ctx context.Context, s *lab.Session, group *process.Group, say func(string)) (_ func() error, err error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	p := &plant{Session: s, group: group}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	if p.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	if p.client, err = s.Client(); err != nil {
		return nil, err
	}
	if p.ca, err = certs.NewCA(s.Lab.Namespace()); err != nil {
		return nil, err
	}
	say("starting a server for the lab")
	etcd := where.Etcd
	if len(etcd) == 0 { // of somebody else's cluster
		provider := cluster.NewExisting(group, cluster.ExistingOptions{})
		p.stops = append(p.stops, func() error { return provider.Destroy(context.Background()) })
		if etcd, err = provider.Etcd(ctx); err != nil {
			return nil, err
		}
	}
	p.etcd = strings.Join(etcd, ",")
	for _, step := range []func(context.Context) error{p.grant, p.start, p.leave} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p.stop, nil
}

// plant is what the lab has beside the control plane.
type plant struct {
	*lab.Session
	group  *process.Group
	admin  *rest.Config
	client client.Client
	ca     *certs.CA
	etcd   string
	// port is the counted server's.
	port  int
	stops []func() error
}

// stop takes everything back, the last first.
func (p *plant) stop() error {
	var errs []error
	for i := len(p.stops) - 1; i >= 0; i-- {
		errs = append(errs, p.stops[i]())
	}
	p.stops = nil
	return errors.Join(errs...)
}

// account returns the client configuration of a service account of the lab, with a new
// token, for the server that config leads to.
func account(ctx context.Context, s *lab.Session, config *rest.Config, name string) (*rest.Config, error) {
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	return cluster.ServiceAccount(ctx, client, config, s.Lab.Namespace(), name)
}

// callers is a group of users whom only a check makes up.
func callers(l *lab.Lab) string { return l.Namespace() + ":callers" }

// grant gives the counted server what the solution gives the learner's, and callers the
// right to read.
func (p *plant) grant(ctx context.Context) error {
	solution, err := os.ReadFile(p.Lab.Dir(lab.SolutionDir, rolesFile))
	if err != nil {
		return err
	}
	roles, err := decodeRoles(string(solution))
	if err != nil {
		return fmt.Errorf("read the solution: %w", err)
	}
	namespace := p.Lab.Namespace()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "callers"}
	for _, object := range append(copies(roles, namespace, p.Constant("account"), countedServer),
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{p.Constant("countedGroup"), p.Constant("repairedGroup")}, Resources: []string{api.Resource}, Verbs: []string{"get", "list"},
		}}},
		&rbacv1.RoleBinding{ObjectMeta: meta,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: roleKind, Name: meta.Name},
			Subjects: []rbacv1.Subject{
				{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: p.Constant("user")},
				{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: callers(p.Lab)},
				{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: p.Constant("caller")},
			}},
	) {
		if err := remove(ctx, p.client, object); err != nil { // of somebody who could not clean up
			return err
		}
		if err := p.client.Create(ctx, object); err != nil {
			return fmt.Errorf("make a role of the lab: %w", err)
		}
		p.stops = append(p.stops, func() error { return remove(context.Background(), p.client, object) })
	}
	return nil
}

// start starts the counted server, and has the aggregator hand requests on to it.
func (p *plant) start(ctx context.Context) error {
	config, err := account(ctx, p.Session, p.admin, countedServer)
	if err != nil {
		return err
	}
	kubeconfig := p.group.Path(countedKubeconfigFile)
	if err := cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: countedServer, Config: config}); err != nil {
		return err
	}
	registration := lab.Registration{Service: countedServer, Group: p.Constant("countedGroup"), Version: v2.Version, CA: p.ca.PEM()}
	running, port, err := server{
		name: countedServer, group: registration.Group, etcd: p.etcd, kubeconfig: kubeconfig, hosts: []string{registration.ServerName(p.Lab)},
		flags: []string{"--authorization-always-allow-paths=" + openPaths},
	}.start(p.Session, p.group, p.group.Start, p.ca)
	if err != nil {
		return err
	}
	p.stops = append(p.stops, running.Stop)
	p.port, registration.Port = port, port
	last := "it does not answer"
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		if running.Ended() {
			return false, running.Err()
		}
		reply, err := lab.Send(ctx, rest.AnonymousClientConfig(lab.Direct(p.admin, port, p.ca.PEM())), http.MethodGet, "/readyz", "", "")
		if err == nil {
			last = reply.Message()
		}
		return err == nil && reply.Status == http.StatusOK, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the server of the lab: %w: %s; it said last:\n%s", err, last, p.group.LogTail(countedServer, 3))
	}
	p.stops = append(p.stops, func() error { return p.Unregister(context.Background(), registration) })
	return p.Register(ctx, registration)
}

// leave writes what the learner's scripts and the check need.
func (p *plant) leave(ctx context.Context) error {
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return err
	}
	config, err := account(ctx, p.Session, p.admin, p.Constant("account"))
	if err != nil {
		return err
	}
	caller, err := account(ctx, p.Session, p.admin, p.Constant("caller"))
	if err != nil {
		return err
	}
	user, err := p.User(p.Constant("user"))
	if err != nil {
		return err
	}
	pair, err := p.ca.Serving("localhost")
	if err != nil {
		return err
	}
	port, err := p.FreePort()
	if err != nil {
		return err
	}
	path := func(name string) string { return filepath.Join(p.State, name) }
	p.stops = append(p.stops, func() error {
		err := os.Remove(path(countedKubeconfigFile)) // by which one sees that the server runs
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return err
	})
	for name, data := range map[string][]byte{
		etcdFile: []byte(p.etcd + "\n"), portFile: []byte(strconv.Itoa(port) + "\n"), certFile: pair.Cert, keyFile: pair.Key,
	} {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			return err
		}
	}
	leading := func(port int) []cluster.Context {
		return []cluster.Context{
			{Name: adminContext, Config: lab.Direct(p.admin, port, p.ca.PEM())},
			{Name: p.Constant("user"), Config: lab.Direct(user, port, p.ca.PEM())},
			{Name: p.Constant("caller"), Config: lab.Direct(caller, port, p.ca.PEM())},
		}
	}
	return errors.Join(
		cluster.WriteKubeconfig(path(serverKubeconfigFile), cluster.Context{Name: p.Constant("account"), Config: config}),
		cluster.WriteKubeconfig(path(repairedKubeconfigFile), leading(port)...),
		cluster.WriteKubeconfig(path(countedKubeconfigFile), leading(p.port)...),
	)
}

// server is a portrule-apiserver on this host that is yet to run.
type server struct {
	// name is the process's, group what it serves.
	name, group string
	// etcd and kubeconfig are where it keeps its objects and whom it asks.
	etcd, kubeconfig string
	// hosts are the names for which its certificate is, beside localhost.
	hosts []string
	flags []string
}

// start starts it on a free port, with a certificate by ca.
func (v server) start(s *lab.Session, group *process.Group, start func(name, program string, args ...string) (*process.Process, error), ca *certs.CA) (*process.Process, int, error) {
	program, err := cluster.Binary("portrule-apiserver")
	if err != nil {
		return nil, 0, err
	}
	pair, err := ca.Serving(append([]string{"localhost"}, v.hosts...)...)
	if err != nil {
		return nil, 0, err
	}
	crt, key := group.Path(v.name+".crt"), group.Path(v.name+".key")
	if err := errors.Join(os.WriteFile(crt, pair.Cert, 0o600), os.WriteFile(key, pair.Key, 0o600)); err != nil {
		return nil, 0, err
	}
	port, err := s.FreePort()
	if err != nil {
		return nil, 0, err
	}
	running, err := start(v.name, program, append([]string{
		"--group=" + v.group,
		"--etcd-servers=" + v.etcd,
		"--bind-address=" + s.BindAddress(),
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + crt,
		"--tls-private-key-file=" + key,
		"--kubeconfig=" + v.kubeconfig,
		"--authentication-kubeconfig=" + v.kubeconfig,
		"--authorization-kubeconfig=" + v.kubeconfig,
	}, v.flags...)...)
	return running, port, err
}
