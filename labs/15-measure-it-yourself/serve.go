package measure

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
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/crd/manifests"
	"portrule.example/lab/labs/15-measure-it-yourself/harness"
	"portrule.example/lab/labs/lab"
)

// serverName is the process and the Service of the aggregated server.
const serverName = "measured"

// openPaths may be read by everybody, so that reading them is no review and does not count:
// the kube-apiserver asks for them by a clock of its own, and who counts for the metrics.
const openPaths = "/healthz,/readyz,/livez,/metrics,/openapi/*,/apis,/apis/*"

// serve makes what is measured: the CRD, the aggregated server, and as many rules of each as
// anybody reads.
func serve(ctx context.Context, s *lab.Session, group *process.Group, say func(string)) (_ func() error, err error) {
	p := &plant{Session: s, group: group}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	if p.where, err = s.Cluster(); err != nil {
		return nil, err
	}
	if p.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	if p.client, err = s.Client(); err != nil {
		return nil, err
	}
	say("starting a server for the lab, and making a CRD")
	for _, step := range []func(context.Context) error{p.define, p.grant, p.start, p.fill} {
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
	where  *lab.Cluster
	admin  *rest.Config
	client client.Client
	stops  []func() error
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

// make makes an object in place of one that somebody could not remove.
func (p *plant) make(ctx context.Context, object client.Object) error {
	if err := client.IgnoreNotFound(p.client.Delete(ctx, object.DeepCopyObject().(client.Object))); err != nil {
		return err
	}
	p.stops = append(p.stops, func() error {
		return client.IgnoreNotFound(p.client.Delete(context.Background(), object))
	})
	return p.await(ctx, func(ctx context.Context) error {
		return p.client.Create(ctx, object.DeepCopyObject().(client.Object)) // the former one may still be going
	})
}

// errEnded is an error that does not pass.
var errEnded = errors.New("the server of the lab has ended")

// await waits until what is no error any more.
func (p *plant) await(ctx context.Context, what func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		last = what(ctx)
		if errors.Is(last, errEnded) {
			return false, last
		}
		return last == nil, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("prepare the lab: after %s still: %w", lab.SettleTimeout, last)
	}
	return err
}

// answers waits until a GET of a path answers with 200.
func (p *plant) answers(ctx context.Context, config *rest.Config, path string) error {
	return p.await(ctx, func(ctx context.Context) error {
		reply, err := lab.Send(ctx, config, http.MethodGet, path, "", "")
		if err == nil && reply.Status != http.StatusOK {
			err = fmt.Errorf("%s: status %d: %s", path, reply.Status, reply.Message())
		}
		return err
	})
}

// define makes the CRD, with the version that is stored alone: there is nothing to convert.
func (p *plant) define(ctx context.Context) error {
	crd, err := manifests.CustomResourceDefinition(harness.CRDGroup)
	if err != nil {
		return err
	}
	var versions []apiextensionsv1.CustomResourceDefinitionVersion
	for _, version := range crd.Spec.Versions {
		if version.Name == v2.Version {
			versions = append(versions, version)
		}
	}
	crd.Spec.Versions, crd.Spec.Conversion = versions, nil
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	unstructured.RemoveNestedField(object.Object, "status")
	if err := p.make(ctx, object); err != nil {
		return fmt.Errorf("make the CRD: %w", err)
	}
	return p.answers(ctx, p.admin, rulesPath(harness.CRDGroup))
}

// rulesPath is that of the rules of a group.
func rulesPath(group string) string {
	return "/apis/" + group + "/" + v2.Version + "/namespaces/" + harness.Namespace + "/" + api.Resource
}

// grant lets users of a group read the rules.
func (p *plant) grant(ctx context.Context) error {
	meta := metav1.ObjectMeta{Namespace: harness.Namespace, Name: "readers"}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{harness.AggregatedGroup, harness.CRDGroup}, Resources: []string{api.Resource}, Verbs: []string{"get", "list"},
		}}},
		&rbacv1.RoleBinding{ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: harness.Readers}},
		},
	} {
		if err := p.make(ctx, object); err != nil {
			return fmt.Errorf("make a role of the lab: %w", err)
		}
	}
	return nil
}

// start starts the server, registers it, and leaves what programs need to find both.
func (p *plant) start(ctx context.Context) error {
	etcd := p.where.Etcd
	if len(etcd) == 0 { // of somebody else's cluster
		provider := cluster.NewExisting(p.group, cluster.ExistingOptions{})
		p.stops = append(p.stops, func() error { return provider.Destroy(context.Background()) })
		var err error
		if etcd, err = provider.Etcd(ctx); err != nil {
			return err
		}
	}
	ca, err := certs.NewCA(serverName)
	if err != nil {
		return err
	}
	port, err := p.FreePort()
	if err != nil {
		return err
	}
	registration := lab.Registration{Service: serverName, Group: harness.AggregatedGroup, Version: v2.Version, Port: port, CA: ca.PEM()}
	pair, err := ca.Serving("localhost", registration.ServerName(p.Lab))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return err
	}
	crt, key, kubeconfig := p.group.Path(serverName+".crt"), p.group.Path(serverName+".key"), filepath.Join(p.State, harness.ClusterFile)
	direct := lab.Direct(p.admin, port, ca.PEM())
	if err := errors.Join(
		os.WriteFile(crt, pair.Cert, 0o600), os.WriteFile(key, pair.Key, 0o600), p.where.WriteAdmin(kubeconfig),
		cluster.WriteKubeconfig(filepath.Join(p.State, harness.ServerFile), cluster.Context{Name: "admin", Config: direct}),
	); err != nil {
		return err
	}
	p.stops = append(p.stops, func() error {
		return os.Remove(filepath.Join(p.State, harness.ServerFile)) // by which one sees that the server runs
	})
	program, err := cluster.Binary("portrule-apiserver")
	if err != nil {
		return err
	}
	running, err := p.group.Start(serverName, program,
		"--group="+harness.AggregatedGroup,
		"--etcd-servers="+strings.Join(etcd, ","),
		"--bind-address="+p.BindAddress(),
		"--secure-port="+strconv.Itoa(port),
		"--tls-cert-file="+crt,
		"--tls-private-key-file="+key,
		"--kubeconfig="+kubeconfig,
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
		"--authorization-always-allow-paths="+openPaths,
	)
	if err != nil {
		return err
	}
	p.stops = append(p.stops, running.Stop)
	err = p.await(ctx, func(ctx context.Context) error {
		if running.Ended() {
			return fmt.Errorf("%w: %w; it said last:\n%s", errEnded, running.Err(), p.group.LogTail(serverName, 3))
		}
		reply, err := lab.Send(ctx, direct, http.MethodGet, "/readyz", "", "")
		if err == nil && reply.Status != http.StatusOK {
			err = errors.New(reply.Message())
		}
		return err
	})
	if err != nil {
		return err
	}
	p.stops = append(p.stops, func() error { return p.Unregister(context.Background(), registration) })
	return p.Register(ctx, registration)
}

// fill makes the rules of both implementations.
func (p *plant) fill(ctx context.Context) error {
	for _, group := range []string{harness.CRDGroup, harness.AggregatedGroup} {
		for i := range harness.Objects {
			body := fmt.Sprintf(`{"apiVersion":"%s/%s","kind":"%s","metadata":{"name":"%s"},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.%d","port":80}}}`,
				group, v2.Version, api.Kind, harness.Name(i), i)
			reply, err := lab.Send(ctx, p.admin, http.MethodPost, rulesPath(group), "application/json", body)
			if err != nil {
				return err
			}
			// of a server that ended otherwise the rules are still in etcd
			if reply.Status != http.StatusCreated && reply.Status != http.StatusConflict {
				return fmt.Errorf("make a rule of the lab: status %d: %s", reply.Status, reply.Message())
			}
		}
	}
	return nil
}
