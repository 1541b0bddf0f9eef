package testbed

import (
	"bytes"
	"context"
	"encoding/json"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/relay"
	"portrule.example/lab/crd/manifests"
	"portrule.example/lab/crd/webhook"
)

// processController is the name of the process of portrule-controller, of its log
// and process id.
const processController = "portrule-controller"

// serveCRD makes the cluster serve a group from a CRD in the given set-up,
// unless it has the CRD already.
func (t *Testbed) serveCRD(ctx context.Context, whole Setup) error {
	setup := whole.CRD
	crd, err := manifests.CustomResourceDefinition(t.crdGroup)
	if err != nil {
		return err
	}
	err = t.client.Get(ctx, client.ObjectKeyFromObject(crd), crd.DeepCopy())
	if err == nil {
		t.warn("the CRD is one that the cluster had already: by which webhooks and policies it is guarded is not known")
		return t.waitForCRD(ctx, crd.Name)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for CustomResourceDefinition %s: %w", crd.Name, err)
	}
	roles, err := decode(ctx, append(append(bytes.Clone(manifests.Namespace), []byte("---\n")...), manifests.RBAC...))
	if err != nil {
		return err
	}
	if err := t.install(ctx, roles...); err != nil {
		return err
	}
	serves := setup
	serves.Webhooks = serves.Webhooks || whole.GuardLater
	where, err := t.startController(ctx, serves)
	if err != nil {
		return err
	}
	t.webhooks = where
	crd.Spec.Conversion = webhook.Conversion(apiextensionsv1.WebhookClientConfig{URL: &where.url, CABundle: where.ca.PEM()})
	if err := t.install(ctx, crd); err != nil {
		return err
	}
	if err := t.waitForController(ctx, where); err != nil {
		return err
	}
	if err := t.waitForCRD(ctx, crd.Name); err != nil {
		return err
	}
	return t.guard(ctx, setup, where)
}

// webhooks are where the webhooks are, and the CA of their certificate.
type webhooks struct {
	url string
	// local is the same on this host.
	local string
	ca    *certs.CA
}

// startController starts portrule-controller, which answers the webhooks of the
// set-up and leaves rules alone.
func (t *Testbed) startController(ctx context.Context, setup CRDSetup) (*webhooks, error) {
	program, err := cluster.Binary(processController)
	if err != nil {
		return nil, err
	}
	host, _ := t.provider.Address()
	bind := bindAddress(host)
	port, err := listenable(bind, 0)
	if err != nil {
		return nil, err
	}
	ca, err := certs.NewCA("portrule-webhooks-ca")
	if err != nil {
		return nil, err
	}
	pair, err := ca.Serving(host, "localhost")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(t.group.Path(processController), 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(
		os.WriteFile(t.group.Path(processController, "tls.crt"), pair.Cert, 0o600),
		os.WriteFile(t.group.Path(processController, "tls.key"), pair.Key, 0o600),
	); err != nil {
		return nil, err
	}
	kubeconfig, err := t.serviceAccount(ctx, manifests.SystemNamespace, manifests.Name, processController)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.controller, err = t.group.Supervise(processController, program,
		"--group="+t.crdGroup,
		"--kubeconfig="+kubeconfig,
		"--controller=false",
		"--webhooks="+strings.Join(setup.webhooks(), ","),
		"--webhook-bind-address="+bind,
		"--webhook-port="+strconv.Itoa(port),
		"--cert-dir="+t.group.Path(processController),
		"--health-probe-bind-address=0",
	)
	if err != nil {
		return nil, err
	}
	reached, err := t.through(relay.Webhook, host, port)
	return &webhooks{
		url:   "https://" + net.JoinHostPort(host, strconv.Itoa(reached)),
		local: "https://" + net.JoinHostPort("localhost", strconv.Itoa(port)),
		ca:    ca,
	}, err
}

// waitForController waits until the webhooks answer, be it that a GET is not what
// they want.
func (t *Testbed) waitForController(ctx context.Context, where *webhooks) error {
	err := t.waitForHTTPS(ctx, where.ca, where.local+webhook.PathConvert, processController,
		func(status int) bool { return status != http.StatusNotFound }, nil)
	if tail := t.group.LogTail(processController, 3); err != nil && tail != "" {
		err = fmt.Errorf("%w; it said last:\n%s", err, tail)
	}
	return err
}

// Guard adds webhooks to the CRD of a set-up that has them later, and waits until they are
// in force.
func (t *Testbed) Guard(ctx context.Context) error {
	if t.webhooks == nil {
		return errors.New("the CRD's webhooks are not those of this testbed")
	}
	return t.guard(ctx, CRDSetup{Webhooks: true}, t.webhooks)
}

// guard installs the policies and webhook configurations of the set-up, and waits
// until they are in force.
func (t *Testbed) guard(ctx context.Context, setup CRDSetup, where *webhooks) error {
	objects, err := t.guards(ctx, setup, admissionregistrationv1.WebhookClientConfig{URL: &where.url, CABundle: where.ca.PEM()})
	if err != nil {
		return err
	}
	if err := t.install(ctx, objects...); err != nil {
		return err
	}
	if !setup.Policies && !setup.Webhooks {
		return nil
	}
	return t.waitForGuards(ctx)
}

// guards returns the policies and webhook configurations of the set-up. where is where
// the webhooks are.
func (t *Testbed) guards(ctx context.Context, setup CRDSetup, where admissionregistrationv1.WebhookClientConfig) ([]client.Object, error) {
	var objects []client.Object
	if setup.Policies {
		policies, err := decode(ctx, manifests.Policies(t.crdGroup))
		if err != nil {
			return nil, err
		}
		objects = append(objects, policies...)
	}
	options := webhook.Options{Group: t.crdGroup, Validating: setup.Webhooks, Mutating: setup.Webhooks, Reservation: setup.Reservation}
	if mutating := webhook.MutatingWebhookConfiguration(where, options); mutating != nil {
		objects = append(objects, mutating)
	}
	if validating := webhook.ValidatingWebhookConfiguration(where, options); validating != nil {
		objects = append(objects, validating)
	}
	return objects, nil
}

// waitForGuards waits until the policies and webhooks are in force. The
// kube-apiserver takes up a policy within a second, and a mutating policy refuses
// writes of a kind whose OpenAPI schema it has not read yet, which it does every
// 5 s. So a rule that R5 forbids must be refused for that, and one that it allows
// must come back with R6's annotation.
func (t *Testbed) waitForGuards(ctx context.Context) error {
	const what = "the policies and webhooks"
	last := errors.New("they do not answer")
	if err := t.allowPorts(ctx, ptr.To("2")); err != nil {
		return err
	}
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, last = t.probe(ctx)
		return apierrors.IsInvalid(last) || apierrors.IsForbidden(last), nil
	})
	if last == nil {
		last = errors.New("a rule that R5 forbids is accepted")
	}
	if err := errors.Join(explain(err, last, what), t.allowPorts(ctx, nil)); err != nil {
		return err
	}
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		var body []byte
		if body, last = t.probe(ctx); last == nil && !bytes.Contains(body, []byte(api.RequestedBy)) {
			last = errors.New("a rule is accepted without the annotation of R6")
		}
		return last == nil, nil
	})
	return explain(err, last, what)
}

// allowPorts sets the annotation of R5 on the namespace in which probe asks, or
// removes it.
func (t *Testbed) allowPorts(ctx context.Context, ports *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AllowedPorts: ports}}})
	if err != nil {
		return err
	}
	_, err = t.clientset.CoreV1().Namespaces().Patch(ctx, manifests.SystemNamespace, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// probe asks whether a rule of port 1 could be made.
func (t *Testbed) probe(ctx context.Context) ([]byte, error) {
	return t.clientset.Discovery().RESTClient().Post().
		AbsPath("/apis", t.crdGroup, v2.Version, "namespaces", manifests.SystemNamespace, api.Resource).
		Param("dryRun", "All").
		SetHeader("Content-Type", "application/json").
		Body([]byte(`{"apiVersion":"` + t.crdGroup + `/v2","kind":"PortRule","metadata":{"generateName":"probe-"},` +
			`"spec":{"service":"probe","endpoint":{"host":"localhost","port":1}}}`)).Do(ctx).Raw()
}
