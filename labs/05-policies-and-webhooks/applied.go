package policiesandwebhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/labs/lab"
)

// applied looks whether the cluster has what the files say, and whether it works there.
func (t *trial) applied(ctx context.Context, given *policies, configuration *admissionregistrationv1.ValidatingWebhookConfiguration) (*lab.Finding, error) {
	live := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	if finding, err := t.same(ctx, policyFile, policyIDs, given.policy.DeepCopy(), live, func(file client.Object) any { return file.(*admissionregistrationv1.ValidatingAdmissionPolicy).Spec }); finding != nil || err != nil {
		return finding, err
	}
	for _, binding := range given.bindings {
		live := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		if finding, err := t.same(ctx, policyFile, policyIDs, binding.DeepCopy(), live, func(file client.Object) any {
			return file.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding).Spec
		}); finding != nil || err != nil {
			return finding, err
		}
	}
	hooks := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	finding, err := t.same(ctx, configurationFile, webhookIDs, configuration.DeepCopy(), hooks, func(file client.Object) any {
		webhooks := slices.Clone(file.(*admissionregistrationv1.ValidatingWebhookConfiguration).Webhooks)
		for i := range webhooks { // where it is and whom to trust is seen when it is called
			webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{}
		}
		return webhooks
	})
	if finding != nil || err != nil {
		return finding, err
	}
	t.Verified("the cluster has the policy and the configuration of your files")
	return t.live(ctx, hooks)
}

// appliedIDs are the findings about an object that is in a file.
type appliedIDs struct{ notApplied, differs string }

var (
	policyIDs  = appliedIDs{"policy-not-applied", "policy-differs"}
	webhookIDs = appliedIDs{"webhook-not-applied", "webhook-differs"}
)

// same is nil if the cluster has an object as a file says. spec returns what is compared.
func (t *trial) same(ctx context.Context, file string, ids appliedIDs, given, live client.Object, spec func(client.Object) any) (*lab.Finding, error) {
	kind := given.GetObjectKind().GroupVersionKind().Kind
	err := t.client.Get(ctx, client.ObjectKey{Name: given.GetName()}, live)
	if apierrors.IsNotFound(err) {
		return &lab.Finding{ID: ids.notApplied, Where: "the cluster", Found: "no " + kind + " " + given.GetName(), Expected: "the one in " + t.Where(file)}, nil
	}
	if err != nil {
		return nil, err
	}
	// what the file would make of it, defaults included
	given.SetResourceVersion(live.GetResourceVersion())
	if hooks, ok := given.(*admissionregistrationv1.ValidatingWebhookConfiguration); ok {
		for i := range hooks.Webhooks {
			if in := live.(*admissionregistrationv1.ValidatingWebhookConfiguration).Webhooks; i < len(in) {
				hooks.Webhooks[i].ClientConfig = in[i].ClientConfig
			}
		}
	}
	if err := t.client.Update(ctx, given, client.DryRunAll); err != nil {
		return nil, err
	}
	if equality.Semantic.DeepEqual(spec(given), spec(live)) {
		return nil, nil
	}
	path, want, got := difference("", inJSON(spec(given)), inJSON(spec(live)))
	return &lab.Finding{ID: ids.differs, Where: "the cluster: " + kind + " " + given.GetName() + path, Found: got, Expected: want + ", as " + t.Where(file) + " has it, defaults included"}, nil
}

// difference returns where two values of JSON first differ, and what each has there.
func difference(path string, want, got any) (where, wanted, found string) {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if ok && !reflect.DeepEqual(want[name], got[name]) {
				return difference(path+": "+name, want[name], got[name])
			}
		}
	case []any:
		got, _ := got.([]any)
		for i := range want {
			if len(got) == len(want) && !reflect.DeepEqual(want[i], got[i]) {
				return difference(path, want[i], got[i])
			}
		}
	}
	return path, text(want), text(got)
}

// text is a value in JSON, or says that there is none.
func text(value any) string {
	if value == nil {
		return "nothing"
	}
	data, _ := json.Marshal(value) // it is from JSON
	return string(data)
}

// inJSON is a value as JSON has it.
func inJSON(value any) (plain any) {
	data, _ := json.Marshal(value) // a part of an object of the API
	_ = json.Unmarshal(data, &plain)
	return plain
}

// live asks, in dry runs, for rules of the real group in namespaces of the trial.
func (t *trial) live(ctx context.Context, hooks *admissionregistrationv1.ValidatingWebhookConfiguration) (*lab.Finding, error) {
	hook := hooks.Webhooks[0]
	where := "the cluster: ValidatingWebhookConfiguration " + hooks.Name
	found := func(id, found, expected string) (*lab.Finding, error) {
		return &lab.Finding{ID: id, Where: where, Found: found, Expected: expected}, nil
	}
	create := func(kind string, port int) (*lab.Reply, error) {
		group := t.Constant("group")
		reply, err := lab.Send(ctx, t.admin, http.MethodPost, rulesPath(group, t.namespace(kind))+dryRun, "application/json", rule{t.name, t.name + ".example", port, ""}.json(group))
		if err == nil && reply.Status == http.StatusNotFound {
			err = fmt.Errorf("nobody serves the PortRules of %s: \"lab start %d\" makes the CRD again", group, t.Lab.Number)
		}
		return reply, err
	}
	before, err := t.called(ctx, hook.Name)
	if err != nil {
		return nil, err
	}
	reply, err := create(free, 80)
	if err != nil {
		return nil, err
	}
	calls, err := t.called(ctx, hook.Name)
	if err != nil {
		return nil, err
	}
	switch message := reply.Message(); {
	case strings.Contains(message, "certificate signed by unknown authority"), strings.Contains(message, "certificate is not trusted"), strings.Contains(message, "failed to verify certificate") && len(hook.ClientConfig.CABundle) == 0:
		return found("ca-bundle", message, "the CA of the webhook's certificate in clientConfig.caBundle")
	case strings.Contains(message, "failed to verify certificate"):
		return found("webhook-host", message, "the name for which the certificate is: "+t.Host())
	case strings.Contains(message, "failed calling webhook") && (strings.Contains(message, "connect") || strings.Contains(message, "EOF")):
		return found("webhook-down", message, "your webhook, which serve.sh starts")
	case reply.Status != http.StatusCreated:
		return found("webhook-old", message, "created: the program in "+t.Where(programFile)+" lets it in")
	case calls == before:
		return found("webhook-old", "your webhook is not called", "it is called: the file says so")
	}
	t.Verified("the kube-apiserver reaches your webhook, and trusts its certificate")
	var refused *lab.Reply
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, answerTimeout, true, func(context.Context) (bool, error) {
		refused, err = create(limited, 80)
		return err == nil && refused.Status != http.StatusCreated, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = errors.New("the cluster has your policy, and it is not in force")
	}
	return nil, err
}

// The files that a lab's start leaves for serve.sh.
const (
	caFile         = "ca.crt"
	certFile       = "tls.crt"
	keyFile        = "tls.key"
	kubeconfigFile = "webhook.kubeconfig"
)

// prepare makes the CRD, and what the learner's webhook needs to run.
func prepare(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(s.State, 0o755), certificate(s), account(ctx, s)); err != nil {
		return err
	}
	for _, group := range []string{s.Constant("group"), trialGroup(s)} {
		if err := define(ctx, admin, group); err != nil {
			return err
		}
	}
	return nil
}

// define makes the kind PortRule of a group, unless it is there.
func define(ctx context.Context, admin *rest.Config, group string) error {
	crd, err := definition(group)
	if err != nil {
		return err
	}
	crds, err := apiextensions.NewForConfig(admin)
	if err != nil {
		return err
	}
	_, err = crds.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return served(ctx, admin, group)
}

// certificate makes a CA and a certificate for this host, unless they are there: the learner
// may have told the cluster of the CA.
func certificate(s *lab.Session) error {
	path := func(name string) string { return filepath.Join(s.State, name) }
	if ca, err := os.ReadFile(path(caFile)); err == nil {
		if pair, err := tls.LoadX509KeyPair(path(certFile), path(keyFile)); err == nil {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(ca)
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: s.Host(), CurrentTime: time.Now().AddDate(0, 0, 1)}); err == nil {
				return nil
			}
		}
	}
	ca, err := certs.NewCA("webhook-ca")
	if err != nil {
		return err
	}
	pair, err := ca.Serving(s.Host())
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(path(caFile), ca.PEM(), 0o600),
		os.WriteFile(path(certFile), pair.Cert, 0o600),
		os.WriteFile(path(keyFile), pair.Key, 0o600),
	)
}

// account makes a service account that may list PortRules, and its kubeconfig.
func account(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return err
	}
	const name = "webhook"
	config, err := cluster.ServiceAccount(ctx, client, admin, s.Lab.Namespace(), name)
	if err != nil {
		return err
	}
	object := metav1.ObjectMeta{Name: s.Lab.Namespace() + ":" + name}
	_, err = client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: object,
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{s.Constant("group")}, Resources: []string{api.Resource}, Verbs: []string{"list"}}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: object,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: object.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.Lab.Namespace(), Name: name}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return cluster.WriteKubeconfig(filepath.Join(s.State, kubeconfigFile), cluster.Context{Name: name, Config: config})
}

// clean removes the learner's policies, webhooks and rules, under whatever names.
func clean(ctx context.Context, s *lab.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	group := s.Constant("group")
	for _, list := range []client.ObjectList{
		&admissionregistrationv1.ValidatingWebhookConfigurationList{},
		&admissionregistrationv1.ValidatingAdmissionPolicyBindingList{},
		&admissionregistrationv1.ValidatingAdmissionPolicyList{},
	} {
		if err := c.List(ctx, list); err != nil {
			return err
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			// it is in the rules, or in the name
			data, err := json.Marshal(item)
			if err != nil || !bytes.Contains(data, []byte(group)) {
				return err
			}
			return client.IgnoreNotFound(c.Delete(ctx, item.(client.Object)))
		})
		if err != nil {
			return err
		}
	}
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	note, err := lab.Send(ctx, admin, http.MethodPatch, "/api/v1/namespaces/"+s.Lab.Namespace(), "application/merge-patch+json",
		fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, s.Constant("annotation")))
	if err == nil && note.Status != http.StatusOK && note.Status != http.StatusNotFound {
		err = errors.New(note.Message())
	}
	if err != nil {
		return err
	}
	return deleteRules(ctx, admin, group, s.Lab.Namespace())
}
