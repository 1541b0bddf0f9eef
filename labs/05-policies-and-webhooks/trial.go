package policiesandwebhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/crd/manifests"
	"portrule.example/lab/labs/lab"
)

// trial is where the learner's files are tried out: a group of the check's, and namespaces of
// this trial alone.
type trial struct {
	*lab.Session
	admin  *rest.Config
	client client.Client
	// name is part of the name of all that the trial makes.
	name string
	// group is that of all trials.
	group string
}

// The namespaces of the trial, by what is special about them.
const (
	free      = "free"      // neither labels nor annotations
	noted     = "noted"     // an annotation and labels that mean nothing
	limited   = "limited"   // the ports of the task
	others    = "others"    // other ports
	empty     = "empty"     // an annotation without ports
	malformed = "malformed" // an annotation of something else
	shared    = "shared"    // endpoints may be taken twice
)

// namespaces returns the metadata of each.
func (t *trial) namespaces() map[string]metav1.ObjectMeta {
	annotated := func(value string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Annotations: map[string]string{t.Constant("annotation"): value}}
	}
	return map[string]metav1.ObjectMeta{
		free:      {},
		noted:     {Annotations: map[string]string{"example.com/note": "443"}, Labels: map[string]string{t.Constant("label"): "own"}},
		limited:   annotated(t.Constant("allowed")),
		others:    annotated("53,100-200"),
		empty:     annotated(""),
		malformed: annotated("http"),
		shared:    {Labels: map[string]string{t.Constant("label"): t.Constant("labelValue")}},
	}
}

func (t *trial) namespace(kind string) string { return t.name + "-" + kind }

// prepare makes the group and the namespaces.
func (t *trial) prepare(ctx context.Context) error {
	t.group = trialGroup(t.Session)
	var err error
	if t.client, err = t.Client(); err != nil {
		return err
	}
	if err := define(ctx, t.admin, t.group); err != nil {
		return t.stranger(err, err.Error())
	}
	ends, err := t.namespacesEnd(ctx)
	if err != nil {
		return err
	}
	all := t.namespaces()
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		namespace := &corev1.Namespace{ObjectMeta: all[kind]}
		namespace.Name = t.namespace(kind)
		if err := t.client.Create(ctx, namespace); err != nil {
			return t.stranger(err, err.Error())
		}
		t.Cleanup(func() error { return t.remove(context.Background(), namespace, ends) })
	}
	return nil
}

// trialGroup is served as long as the real one: within the two seconds after a CRD is
// established the kube-apiserver keeps every create waiting.
func trialGroup(s *lab.Session) string { return "trial." + s.Constant("group") }

// definition is the CRD of PortRule, v2 alone: there is no conversion for it.
func definition(group string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd, err := manifests.CustomResourceDefinition(group)
	if err != nil {
		return nil, err
	}
	crd.Spec.Versions = slices.DeleteFunc(crd.Spec.Versions, func(version apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return version.Name != v2.Version
	})
	// two kinds of one short name are in each other's way
	crd.Spec.Names.ShortNames, crd.Spec.Names.Categories = nil, nil
	return crd, nil
}

// served waits until the PortRules of a group are.
func served(ctx context.Context, admin *rest.Config, group string) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, admin, http.MethodGet, rulesPath(group, metav1.NamespaceDefault), "", "")
		if err == nil {
			last = fmt.Sprintf("status %d", reply.Status)
		}
		return err == nil && reply.Status == http.StatusOK, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the CRD of %s is accepted and not served after %s: %s", group, lab.SettleTimeout, last)
	}
	return err
}

// namespacesEnd is whether namespaces end when they are deleted: there is a controller manager,
// which makes a service account in each of them. The embedded control plane has none.
func (t *trial) namespacesEnd(ctx context.Context) (bool, error) {
	err := t.client.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "default"}, &corev1.ServiceAccount{})
	return err == nil, client.IgnoreNotFound(err)
}

// remove deletes a namespace, and does what the controller manager would, if there is none.
func (t *trial) remove(ctx context.Context, namespace *corev1.Namespace, ends bool) error {
	err := deleteRules(ctx, t.admin, t.group, namespace.Name)
	if err := errors.Join(err, t.client.Delete(ctx, namespace)); err != nil || ends {
		return err
	}
	if err := t.client.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
		return client.IgnoreNotFound(err)
	}
	namespace.Spec.Finalizers = nil
	return t.client.SubResource("finalize").Update(ctx, namespace)
}

// deleteRules deletes the PortRules of a namespace. A policy or a webhook that was asked about
// deletions, and has just been deleted itself, may be so for a moment more.
func deleteRules(ctx context.Context, admin *rest.Config, group, namespace string) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, admin, http.MethodDelete, rulesPath(group, namespace), "", "")
		if err != nil {
			return false, err
		}
		last = reply.Message()
		return reply.Status == http.StatusOK || reply.Status == http.StatusNotFound, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("delete the PortRules of the namespace %s: %s", namespace, last)
	}
	return err
}

// rulesPath is where the PortRules of a namespace are.
func rulesPath(group, namespace string) string {
	return "/apis/" + group + "/" + v2.Version + "/namespaces/" + namespace + "/" + api.Resource
}

// rule is a PortRule that the check creates.
type rule struct {
	name, host string
	port       int
	// protocol may be empty.
	protocol string
}

const dryRun = "?dryRun=All"

// create creates a rule in a namespace of the trial. query may be dryRun.
func (t *trial) create(ctx context.Context, user *rest.Config, kind, query string, r rule) (*lab.Reply, error) {
	return t.send(ctx, user, http.MethodPost, rulesPath(t.group, t.namespace(kind))+query, "application/json", r.json(t.group))
}

func (r rule) json(group string) string {
	endpoint := map[string]any{"host": r.host, "port": r.port}
	if r.protocol != "" {
		endpoint["protocol"] = r.protocol
	}
	data, _ := json.Marshal(map[string]any{ // of strings and numbers
		"apiVersion": group + "/" + v2.Version, "kind": api.Kind,
		"metadata": map[string]any{"name": r.name},
		"spec":     map[string]any{"service": "nginx", "endpoint": endpoint},
	})
	return string(data)
}

// createConfigMap creates, in a dry run, what the learner's files are not about.
func (t *trial) createConfigMap(ctx context.Context, kind, name string) (*lab.Reply, error) {
	return t.send(ctx, t.admin, http.MethodPost, "/api/v1/namespaces/"+t.namespace(kind)+"/configmaps"+dryRun, "application/json",
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"`+name+`"}}`)
}

// send sends a request. It returns an error if something has kept it that is not of the trial.
func (t *trial) send(ctx context.Context, user *rest.Config, method, path, contentType, body string) (*lab.Reply, error) {
	reply, err := lab.Send(ctx, user, method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	if reply.Status >= http.StatusBadRequest {
		return reply, t.stranger(nil, reply.Message())
	}
	return reply, nil
}

// strangerError says that a webhook or a policy which is not of the trial has refused something.
type strangerError struct{ who, said string }

func (e *strangerError) Error() string { return e.who + ": " + e.said }

// refuser is how a refusal names who refuses.
var refuser = regexp.MustCompile(`(?:webhook "|ValidatingAdmissionPolicy ')([^"']+)["']`)

// stranger returns a strangerError if a message of the kube-apiserver is about one, else err.
func (t *trial) stranger(err error, message string) error {
	match := refuser.FindStringSubmatch(message)
	if match == nil || strings.HasPrefix(match[1], t.name) {
		return err
	}
	return &strangerError{match[1], message}
}

// only is a condition that a copy gets besides those of the learner, so that it is of no
// concern to anybody else: also if this check is killed and leaves it behind.
func (t *trial) only() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{
		Name:       t.name,
		Expression: fmt.Sprintf("has(request.namespace) && request.namespace.startsWith(%q)", t.name),
	}
}

// regroup puts the group of the trial in place of the real one.
func (t *trial) regroup(groups []string) {
	for i, group := range groups {
		if group == t.Constant("group") {
			groups[i] = t.group
		}
	}
}

// install makes an object until the session ends. A refusal is what the kube-apiserver says.
func (t *trial) install(ctx context.Context, object client.Object) (refusal string, err error) {
	err = t.client.Create(ctx, object, client.FieldValidation(metav1.FieldValidationStrict))
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	t.Cleanup(func() error { return client.IgnoreNotFound(t.client.Delete(context.Background(), object)) })
	return "", nil
}

// await waits until what was made last is in force, and so is what was made before: it refuses
// the ConfigMap of that name.
func (t *trial) await(ctx context.Context, name string) error {
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := t.createConfigMap(ctx, free, name)
		return err == nil && reply.Status >= http.StatusBadRequest, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = errors.New("the kube-apiserver takes no notice of new policies and webhooks: \"lab down\" and \"lab start 5\" start it anew")
	}
	return err
}

// building is the program while it is compiled.
type building struct {
	done    chan struct{}
	program string
	finding *lab.Finding
	err     error
}

func (t *trial) build(ctx context.Context) *building {
	b := &building{done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.program, b.finding, b.err = t.Build(ctx, programFile)
	}()
	return b
}
