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
	"regexp"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
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
	if t.webhooks, err = t.serveGroup(ctx, processController, crd, serves); err != nil {
		return err
	}
	return t.guard(ctx, setup, t.webhooks)
}

// serveGroup installs a CRD, and starts the webhooks of the set-up in a process of the
// given name.
func (t *Testbed) serveGroup(ctx context.Context, name string, crd *apiextensionsv1.CustomResourceDefinition, setup CRDSetup) (*webhooks, error) {
	where, err := t.startWebhooks(ctx, name, crd.Spec.Group, setup)
	if err != nil {
		return nil, err
	}
	crd.Spec.Conversion = webhook.Conversion(apiextensionsv1.WebhookClientConfig{URL: &where.url, CABundle: where.ca.PEM()})
	if err := t.install(ctx, crd); err != nil {
		return nil, err
	}
	if err := t.waitForController(ctx, where); err != nil {
		return nil, err
	}
	return where, t.waitForCRD(ctx, crd.Name)
}

// CRDVariant is a further CRD of PortRule, in a group of its own.
type CRDVariant struct {
	// Name is that of the process that answers its webhooks, and of its log.
	Name, Group string
	Setup       CRDSetup
	// Edit changes the CRD before it is installed; nil leaves it as it is.
	Edit func(*apiextensionsv1.CustomResourceDefinition)
}

// ServeCRD makes the cluster serve a group from a CRD beside the one that the testbed has,
// with webhooks on this host. Users that are made afterwards may use that group too.
func (t *Testbed) ServeCRD(ctx context.Context, variant CRDVariant) error {
	crd, err := manifests.CustomResourceDefinition(variant.Group)
	if err != nil {
		return err
	}
	if variant.Edit != nil {
		variant.Edit(crd)
	}
	t.allow(variant.Group, portRules...)
	if err := t.install(ctx, controllerRole(variant.Group)...); err != nil {
		return err
	}
	where, err := t.serveGroup(ctx, variant.Name, crd, variant.Setup)
	if err != nil {
		return err
	}
	return t.guard(ctx, variant.Setup, where)
}

// controllerRole lets the service account of portrule-controller work on another group.
func controllerRole(group string) []client.Object {
	name := manifests.Name + "." + group
	return []client.Object{
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{group}, Resources: []string{api.Resource}, Verbs: []string{"get", "list", "watch"}},
				{APIGroups: []string{group}, Resources: []string{api.Resource + "/status"}, Verbs: []string{"patch"}},
			},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: manifests.SystemNamespace, Name: manifests.Name}},
		},
	}
}

// webhooks are where the webhooks of a group are, and the CA of their certificate.
type webhooks struct {
	group string
	url   string
	// local is the same on this host.
	local string
	ca    *certs.CA
	// name is that of the process that answers them.
	name string
}

// startWebhooks starts a portrule-controller that answers the webhooks of the set-up and
// leaves rules alone.
func (t *Testbed) startWebhooks(ctx context.Context, name, group string, setup CRDSetup) (*webhooks, error) {
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
	if err := os.MkdirAll(t.group.Path(name), 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(
		os.WriteFile(t.group.Path(name, "tls.crt"), pair.Cert, 0o600),
		os.WriteFile(t.group.Path(name, "tls.key"), pair.Key, 0o600),
	); err != nil {
		return nil, err
	}
	if _, err := t.startController(ctx, name, group,
		"--controller=false",
		"--webhooks="+strings.Join(setup.webhooks(), ","),
		"--webhook-bind-address="+bind,
		"--webhook-port="+strconv.Itoa(port),
		"--cert-dir="+t.group.Path(name),
	); err != nil {
		return nil, err
	}
	reached, err := t.through(relay.Webhook, host, port)
	return &webhooks{
		group: group,
		url:   "https://" + net.JoinHostPort(host, strconv.Itoa(reached)),
		local: "https://" + net.JoinHostPort("localhost", strconv.Itoa(port)),
		ca:    ca,
		name:  name,
	}, err
}

// StartController starts a portrule-controller as a process of this host, which works on
// the PortRules of a group with the given flags, each --name=value, and returns what stops
// it.
func (t *Testbed) StartController(ctx context.Context, name, group string, flags ...string) (stop func() error, err error) {
	controller, err := t.startController(ctx, name, group, flags...)
	if err != nil {
		return nil, err
	}
	return controller.Stop, nil
}

// startController starts a portrule-controller by the service account that it has in
// clusters, too. Stop stops it.
func (t *Testbed) startController(ctx context.Context, name, group string, flags ...string) (*process.Supervisor, error) {
	program, err := cluster.Binary(processController)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := t.serviceAccount(ctx, manifests.SystemNamespace, manifests.Name, name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	controller, err := t.group.Supervise(name, program, append([]string{
		"--group=" + group,
		"--kubeconfig=" + kubeconfig,
		"--health-probe-bind-address=0",
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	t.lookAnew()
	t.controllers = append(t.controllers, controller)
	return controller, nil
}

// waitForController waits until the webhooks answer, be it that a GET is not what
// they want.
func (t *Testbed) waitForController(ctx context.Context, where *webhooks) error {
	err := t.waitForHTTPS(ctx, where.ca, where.local+webhook.PathConvert, where.name,
		func(status int) bool { return status != http.StatusNotFound }, nil)
	if tail := t.group.LogTail(where.name, 3); err != nil && tail != "" {
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
	objects, err := t.guards(ctx, where.group, setup, admissionregistrationv1.WebhookClientConfig{URL: &where.url, CABundle: where.ca.PEM()})
	if err != nil {
		return err
	}
	if err := t.install(ctx, objects...); err != nil {
		return err
	}
	if !setup.Policies && !setup.Webhooks {
		return nil
	}
	return t.waitForGuards(ctx, where.group)
}

// guards returns the policies and webhook configurations of the set-up for a group. where
// is where the webhooks are.
func (t *Testbed) guards(ctx context.Context, group string, setup CRDSetup, where admissionregistrationv1.WebhookClientConfig) ([]client.Object, error) {
	var objects []client.Object
	if setup.Policies {
		policies, err := decode(ctx, t.policies(group))
		if err != nil {
			return nil, err
		}
		objects = append(objects, policies...)
	}
	options := webhook.Options{Group: group, Validating: setup.Webhooks, Mutating: setup.Webhooks, Reservation: setup.Reservation}
	if mutating := webhook.MutatingWebhookConfiguration(where, options); mutating != nil {
		objects = append(objects, mutating)
	}
	if validating := webhook.ValidatingWebhookConfiguration(where, options); validating != nil {
		objects = append(objects, validating)
	}
	return objects, nil
}

// policies are those of a group, by names of their own if it is not the testbed's first.
func (t *Testbed) policies(group string) []byte {
	policies := manifests.Policies(group)
	if group != t.crdGroup {
		policies = policyNames.ReplaceAll(policies, []byte("${1}${2}-"+group))
	}
	return policies
}

// policyNames are the names of policies and bindings, and those by which a binding refers.
var policyNames = regexp.MustCompile(`(?m)^(  (?:name|policyName): )(portrule-\S+)$`)

// waitForGuards waits until the policies and webhooks are in force. The
// kube-apiserver takes up a policy within a second, and a mutating policy refuses
// writes of a kind whose OpenAPI schema it has not read yet, which it does every
// 5 s. So a rule that R5 forbids must be refused for that, and one that it allows
// must come back with R6's annotation.
func (t *Testbed) waitForGuards(ctx context.Context, group string) error {
	const what = "the policies and webhooks"
	last := errors.New("they do not answer")
	if err := t.AllowPorts(ctx, manifests.SystemNamespace, "2"); err != nil {
		return err
	}
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, last = t.probe(ctx, group)
		return apierrors.IsInvalid(last) || apierrors.IsForbidden(last), nil
	})
	if last == nil {
		last = errors.New("a rule that R5 forbids is accepted")
	}
	if err := errors.Join(explain(err, last, what), t.AllowPorts(ctx, manifests.SystemNamespace, "")); err != nil {
		return err
	}
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		var body []byte
		if body, last = t.probe(ctx, group); last == nil && !bytes.Contains(body, []byte(api.RequestedBy)) {
			last = errors.New("a rule is accepted without the annotation of R6")
		}
		return last == nil, nil
	})
	return explain(err, last, what)
}

// AllowPorts sets the annotation of R5 on a namespace, or removes it if ports is empty.
func (t *Testbed) AllowPorts(ctx context.Context, namespace, ports string) error {
	value := &ports
	if ports == "" {
		value = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AllowedPorts: value}}})
	if err != nil {
		return err
	}
	_, err = t.clientset.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// probe asks whether a rule of port 1 could be made.
func (t *Testbed) probe(ctx context.Context, group string) ([]byte, error) {
	return t.clientset.Discovery().RESTClient().Post().
		AbsPath("/apis", group, v2.Version, "namespaces", manifests.SystemNamespace, api.Resource).
		Param("dryRun", "All").
		SetHeader("Content-Type", "application/json").
		Body([]byte(`{"apiVersion":"` + group + `/v2","kind":"PortRule","metadata":{"generateName":"probe-"},` +
			`"spec":{"service":"probe","endpoint":{"host":"localhost","port":1}}}`)).Do(ctx).Raw()
}
