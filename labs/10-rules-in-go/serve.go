package rulesingo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	"portrule.example/lab/crd/webhook"
	"portrule.example/lab/labs/lab"
)

// The processes of the lab: the webhook that checks and then lets act, and the server that
// reserves, which is its Service too.
const checking, reserving = "checking", "reserving"

// plant is what the lab has beside the control plane: two implementations of R4 that the
// learner's has to compare with.
type plant struct {
	*lab.Session
	group      *process.Group
	admin      *rest.Config
	client     client.Client
	ca         *certs.CA
	kubeconfig string
	stops      []func() error
}

// serve starts them.
func serve(ctx context.Context, s *lab.Session, group *process.Group, say func(string)) (stop func() error, err error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	p := &plant{Session: s, group: group, kubeconfig: group.Path("admin.kubeconfig")}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	if err := where.WriteAdmin(p.kubeconfig); err != nil {
		return nil, err
	}
	if p.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(apiextensionsv1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme), v2.AddToScheme(scheme, s.Constant("webhookGroup"))); err != nil {
		return nil, err
	}
	if p.client, err = client.New(p.admin, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if p.ca, err = certs.NewCA(s.Lab.Namespace()); err != nil {
		return nil, err
	}
	say("starting a CRD's webhook and a server that reserves")
	for _, step := range []func(context.Context) error{p.serveReserving, p.serveChecking} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p.stop, nil
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

// start starts a program until the lab's stop.
func (p *plant) start(name, program string, flags ...string) (*process.Process, error) {
	path, err := cluster.Binary(program)
	if err != nil {
		return nil, err
	}
	running, err := p.group.Start(name, path, append(flags, "--kubeconfig="+p.kubeconfig)...)
	if err != nil {
		return nil, err
	}
	p.stops = append(p.stops, running.Stop)
	return running, nil
}

// certify writes a serving certificate for names into a directory of the group's.
func (p *plant) certify(dir string, names ...string) (crt, key string, err error) {
	pair, err := p.ca.Serving(append([]string{"localhost"}, names...)...)
	if err != nil {
		return "", "", err
	}
	crt, key = p.group.Path(dir, "tls.crt"), p.group.Path(dir, "tls.key")
	return crt, key, errors.Join(
		os.MkdirAll(p.group.Path(dir), 0o700),
		os.WriteFile(crt, pair.Cert, 0o600),
		os.WriteFile(key, pair.Key, 0o600),
	)
}

// await waits until a program answers a GET as it should.
func (p *plant) await(ctx context.Context, name string, running *process.Process, port int, path string, right func(status int) bool) error {
	to := rest.AnonymousClientConfig(lab.Direct(p.admin, port, p.ca.PEM()))
	last := "it does not answer"
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		if running.Ended() {
			return false, running.Err()
		}
		reply, err := lab.Send(ctx, to, http.MethodGet, path, "", "")
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		last = reply.Message()
		return right(reply.Status), nil
	})
	if err != nil {
		err = fmt.Errorf("wait for the program %s of the lab: %w: %s; it said last:\n%s", name, err, last, p.group.LogTail(name, 3))
	}
	return err
}

// serveReserving starts the project's server, under a group of the lab's.
func (p *plant) serveReserving(ctx context.Context) error {
	where, err := p.Cluster()
	if err != nil {
		return err
	}
	etcd := where.Etcd
	if len(etcd) == 0 { // of somebody else's cluster
		provider := cluster.NewExisting(p.group, cluster.ExistingOptions{})
		p.stops = append(p.stops, func() error { return provider.Destroy(context.Background()) })
		if etcd, err = provider.Etcd(ctx); err != nil {
			return err
		}
	}
	registration := lab.Registration{Service: reserving, Group: p.Constant("reservingGroup"), Version: v2.Version, CA: p.ca.PEM()}
	crt, key, err := p.certify(reserving, registration.ServerName(p.Lab))
	if err != nil {
		return err
	}
	if registration.Port, err = p.FreePort(); err != nil {
		return err
	}
	running, err := p.start(reserving, "portrule-apiserver",
		"--group="+registration.Group,
		"--unique-endpoints",
		"--etcd-servers="+strings.Join(etcd, ","),
		"--bind-address="+p.BindAddress(),
		"--secure-port="+strconv.Itoa(registration.Port),
		"--tls-cert-file="+crt,
		"--tls-private-key-file="+key,
		"--authentication-kubeconfig="+p.kubeconfig,
		"--authorization-kubeconfig="+p.kubeconfig,
	)
	if err != nil {
		return err
	}
	if err := p.await(ctx, reserving, running, registration.Port, "/readyz", func(status int) bool { return status == http.StatusOK }); err != nil {
		return err
	}
	p.stops = append(p.stops, func() error { return p.Unregister(context.Background(), registration) })
	return p.Register(ctx, registration)
}

// serveChecking makes a CRD under a group of the lab's, whose webhook looks for the
// endpoint of a new rule among the rules that there are.
func (p *plant) serveChecking(ctx context.Context) error {
	_, _, err := p.certify(checking, p.Host())
	if err != nil {
		return err
	}
	port, err := p.FreePort()
	if err != nil {
		return err
	}
	group := p.Constant("webhookGroup")
	running, err := p.start(checking, "portrule-controller",
		"--group="+group,
		"--controller=false",
		"--webhooks=conversion,validating",
		"--webhook-bind-address="+p.BindAddress(),
		"--webhook-port="+strconv.Itoa(port),
		"--cert-dir="+p.group.Path(checking),
		"--health-probe-bind-address=0",
	)
	if err != nil {
		return err
	}
	// a GET is not what it wants, but an answer
	if err := p.await(ctx, checking, running, port, webhook.PathConvert, func(status int) bool { return status != http.StatusNotFound }); err != nil {
		return err
	}
	crd, err := manifests.CustomResourceDefinition(group)
	if err != nil {
		return err
	}
	url := "https://" + net.JoinHostPort(p.Host(), strconv.Itoa(port))
	crd.Spec.Conversion = webhook.Conversion(apiextensionsv1.WebhookClientConfig{URL: &url, CABundle: p.ca.PEM()})
	configuration := webhook.ValidatingWebhookConfiguration(admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: p.ca.PEM()}, webhook.Options{Group: group, Validating: true})
	for _, object := range []client.Object{crd, configuration} {
		if err := p.install(ctx, object); err != nil {
			return err
		}
	}
	return p.awaitWebhook(ctx, group)
}

// install makes an object, in place of one that somebody could not remove, until the
// lab's stop.
func (p *plant) install(ctx context.Context, object client.Object) error {
	remove := func(ctx context.Context) error {
		return wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
			// it goes when what depends on it has gone
			err := p.client.Delete(ctx, object.DeepCopyObject().(client.Object))
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
	}
	err := remove(ctx)
	if err == nil {
		err = p.client.Create(ctx, object.DeepCopyObject().(client.Object))
	}
	if err != nil {
		return fmt.Errorf("make %s %s: %w", object.GetObjectKind().GroupVersionKind().Kind, object.GetName(), err)
	}
	p.stops = append(p.stops, func() error { return remove(context.Background()) })
	return nil
}

// awaitWebhook waits until a rule whose endpoint another one has is refused.
func (p *plant) awaitWebhook(ctx context.Context, group string) error {
	path := rulesPath(group, p.Lab.Namespace())
	name, last := lab.Scratch(), "the CRD is not served"
	made := false
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		query := ""
		if made {
			query = "?dryRun=All"
		}
		reply, err := lab.Send(ctx, p.admin, http.MethodPost, path+query, jsonType, ruleOf(group, fmt.Sprintf("%s-%t", name, made), `{"service":"first","endpoint":{"host":"10.0.0.3","port":80}}`))
		if err != nil {
			return false, err
		}
		switch last = reply.Message(); reply.Status {
		case http.StatusCreated:
			last = "a second rule of one endpoint is let in"
			made = true
		case http.StatusUnprocessableEntity:
			return made, nil
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait until the webhook of %s/%s is asked: %w: %s", group, api.Resource, err, last)
	}
	_, err = lab.Send(ctx, p.admin, http.MethodDelete, path+"/"+fmt.Sprintf("%s-%t", name, false), "", "")
	return err
}
