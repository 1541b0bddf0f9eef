// Package statusandscale checks lab 4: the subresources status and scale of a
// CustomResourceDefinition, who may write what through them, and what the learner has
// predicted about them.
//
// The check gives the CRD and the roles to the kube-apiserver under a group of its own,
// and writes through each door, as the administrator (check.go) and as ordinary users
// (roles.go). Predictions are compared with what has happened then (answers.go).
package statusandscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 4.
var Exercise = lab.Exercise{Check: check, Clean: clean}

const crdFile, roleFile, answersFile, manifestFile = "crd.yaml", "role.yaml", "answers.yaml", "http.yaml"

// version is that of the CRD.
const version = "v1"

// The forms of a body.
const (
	asJSON     = "application/json"
	mergePatch = string(types.MergePatchType)
)

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if finding := s.YAML(crdFile, crd); finding != nil {
		return finding, nil
	}
	if finding := checkNames(s, crd); finding != nil {
		return finding, nil
	}
	example := map[string]any{}
	if finding := s.YAML(manifestFile, &example); finding != nil {
		return finding, nil
	}
	spec, _ := example["spec"].(map[string]any)
	if spec == nil || spec["name"] == nil || spec["replicas"] != nil {
		return &lab.Finding{ID: lab.YAMLBroken, Where: s.Where(manifestFile), Found: "another spec than in start/", Expected: "the manifest as it is in start/, without replicas"}, nil
	}
	given, finding := readRoles(s)
	if finding != nil {
		return finding, nil
	}
	var predicted answers
	if finding := s.YAML(answersFile, &predicted); finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	t := &trial{Session: s, admin: admin, name: lab.Scratch(), spec: spec}
	t.group = t.name + "." + s.Constant("group")
	if t.crds, err = apiextensions.NewForConfig(admin); err != nil {
		return nil, err
	}
	if t.kubernetes, err = kubernetes.NewForConfig(admin); err != nil {
		return nil, err
	}
	if finding, err := t.try(ctx, crd); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.users(ctx, given); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.predictions(ctx, &predicted); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := checkApplied(ctx, s, t.crds, crd); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := given.applied(ctx, s, t.kubernetes); finding != nil || err != nil {
		return finding, err
	}
	s.Verified("the cluster has what is in %s and %s", crdFile, roleFile)
	return nil, nil
}

// foundIn is a finding about one of the learner's files.
func foundIn(s *lab.Session, file, id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: s.Where(file) + ": " + where, Found: found, Expected: expected}
}

// checkNames looks at what has nothing to do with subresources.
func checkNames(s *lab.Session, crd *apiextensionsv1.CustomResourceDefinition) *lab.Finding {
	group, resource := s.Constant("group"), s.Constant("resource")
	for _, name := range []struct{ where, got, want string }{
		{"kind", crd.Kind, "CustomResourceDefinition"},
		{"metadata.name", crd.Name, resource + "." + group},
		{"spec.group", crd.Spec.Group, group},
		{"spec.names.kind", crd.Spec.Names.Kind, s.Constant("kind")},
		{"spec.names.plural", crd.Spec.Names.Plural, resource},
		{"spec.names.shortNames", strings.Join(crd.Spec.Names.ShortNames, " "), s.Constant("shortName")},
		{"spec.scope", string(crd.Spec.Scope), string(apiextensionsv1.NamespaceScoped)},
	} {
		if name.got == "" {
			name.got = "nothing"
		}
		if name.got != name.want {
			return foundIn(s, crdFile, "names", name.where, name.got, name.want)
		}
	}
	if len(crd.Spec.Versions) != 1 || crd.Spec.Versions[0].Name != version || !crd.Spec.Versions[0].Served || !crd.Spec.Versions[0].Storage {
		return foundIn(s, crdFile, "names", "spec.versions", fmt.Sprintf("%d versions", len(crd.Spec.Versions)), "one, "+version+", served and stored")
	}
	return nil
}

// trial tries the learner's files out, under a group that nobody uses.
type trial struct {
	*lab.Session
	admin      *rest.Config
	crds       apiextensions.Interface
	kubernetes kubernetes.Interface
	// spec is that of the manifest that people know.
	spec        map[string]any
	name, group string
}

// ruleName is the name of the rule that is written to.
func (t *trial) ruleName() string { return t.Constant("rule") }

// path is that of the rules of the trial, or what is below it.
func (t *trial) path(elem ...string) string {
	return path.Join(append([]string{"/apis", t.group, version, "namespaces", t.Lab.Namespace(), t.Constant("resource")}, elem...)...)
}

// quote makes a text be about the learner's group and roles.
func (t *trial) quote(text string) string {
	text = strings.ReplaceAll(text, t.group, t.Constant("group"))
	return strings.ReplaceAll(text, t.name+"-", "")
}

// send sends an object as the administrator. The answer is an object too, if there is one.
func (t *trial) send(ctx context.Context, method, path, contentType string, object any) (*lab.Reply, map[string]any, error) {
	var body []byte
	if object != nil {
		var err error
		if body, err = json.Marshal(object); err != nil {
			return nil, nil, err
		}
	}
	reply, err := lab.Send(ctx, t.admin, method, path, contentType, string(body))
	if err != nil {
		return nil, nil, err
	}
	var answer map[string]any
	if err := json.Unmarshal(reply.Body, &answer); err != nil && reply.Status < http.StatusBadRequest {
		return nil, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return reply, answer, nil
}

// must sends what cannot be refused any more.
func (t *trial) must(ctx context.Context, method, path, contentType string, object any) (map[string]any, error) {
	reply, answer, err := t.send(ctx, method, path, contentType, object)
	if err == nil && reply.Status >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: status %d: %s", method, t.quote(path), reply.Status, t.quote(reply.Message()))
	}
	return answer, err
}

// object is a rule of the trial.
func (t *trial) object(name string) map[string]any {
	return map[string]any{
		"apiVersion": t.group + "/" + version, "kind": t.Constant("kind"),
		"metadata": map[string]any{"name": name}, "spec": t.spec,
	}
}

// number returns a field of an object that is a number, -1 if it is not there.
func number(object map[string]any, fields ...string) int {
	value, ok, err := unstructured.NestedFieldNoCopy(object, fields...)
	if number, isNumber := value.(float64); ok && err == nil && isNumber {
		return int(number)
	}
	return -1
}

// text returns a field of an object that is a text, empty if it is not there.
func text(object map[string]any, fields ...string) string {
	value, _, _ := unstructured.NestedString(object, fields...)
	return value
}

// try gives the CRD to the kube-apiserver, and goes through its doors.
func (t *trial) try(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (*lab.Finding, error) {
	copied := crd.DeepCopy()
	copied.ObjectMeta = metav1.ObjectMeta{Name: t.Constant("resource") + "." + t.group}
	copied.Spec.Group = t.group
	// two kinds of one short name are in each other's way
	copied.Spec.Names.ShortNames = nil
	crds := t.crds.ApiextensionsV1().CustomResourceDefinitions()
	_, err := crds.Create(ctx, copied, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return &lab.Finding{
			ID: "crd-refused", Where: t.Where(crdFile), Expected: "a CustomResourceDefinition that the kube-apiserver accepts", Found: t.quote(err.Error()),
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("try the CRD out: %w", err)
	}
	t.Cleanup(func() error {
		return crds.Delete(context.WithoutCancel(ctx), copied.Name, metav1.DeleteOptions{})
	})
	if err := t.served(ctx); err != nil {
		return nil, err
	}
	reply, _, err := t.send(ctx, http.MethodPost, t.path(), asJSON, t.object(t.ruleName()))
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusCreated {
		return t.found("example-refused", manifestFile, reply, "accepted, as it has been since 2022"), nil
	}
	for _, door := range []func(context.Context) (*lab.Finding, error){t.status, t.scale} {
		if finding, err := door(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// found is a finding about the CRD, for what the kube-apiserver has answered.
func (t *trial) found(id, where string, reply *lab.Reply, expected string) *lab.Finding {
	return foundIn(t.Session, crdFile, id, where, fmt.Sprintf("status %d: %s", reply.Status, t.quote(reply.Message())), expected)
}

// served waits until the resource of the trial is.
func (t *trial) served(ctx context.Context) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		reply, _, err := t.send(ctx, http.MethodGet, t.path(), "", nil)
		if err != nil {
			return false, err
		}
		last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
		return reply.Status == http.StatusOK, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the CRD is accepted and not served after %s: %s", lab.SettleTimeout, last)
	}
	return err
}

// status writes what a controller would.
func (t *trial) status(ctx context.Context) (*lab.Finding, error) {
	const where = "portrules/status"
	wanted := map[string]any{"observedGeneration": 1, "replicas": 7, "selector": t.Constant("selector")}
	reply, answer, err := t.send(ctx, http.MethodPatch, t.path(t.ruleName(), "status"), mergePatch, map[string]any{"status": wanted})
	if err != nil {
		return nil, err
	}
	if reply.Status == http.StatusNotFound {
		return t.found("no-status", where, reply, "status 200: a subresource through which the status is written"), nil
	}
	if reply.Status != http.StatusOK {
		return t.found("status-refused", where, reply, "status 200"), nil
	}
	for field, value := range wanted {
		if got, _, _ := unstructured.NestedFieldNoCopy(answer, "status", field); fmt.Sprint(got) != fmt.Sprint(value) {
			return foundIn(t.Session, crdFile, "status-dropped", where, "status."+field+" is not kept", "every field of the status in start/crd.yaml"), nil
		}
	}
	t.Verified("the status is written through a door of its own")
	return nil, nil
}

// scale reads and writes the scale, as an autoscaler would.
func (t *trial) scale(ctx context.Context) (*lab.Finding, error) {
	const where = "portrules/scale"
	at := t.path(t.ruleName(), "scale")
	reply, scale, err := t.send(ctx, http.MethodGet, at, "", nil)
	if err != nil {
		return nil, err
	}
	rule, err := t.must(ctx, http.MethodGet, t.path(t.ruleName()), "", nil)
	if err != nil {
		return nil, err
	}
	inRule, inScale := number(rule, "spec", "replicas"), number(scale, "spec", "replicas")
	switch {
	case reply.Status == http.StatusNotFound:
		return t.found("no-scale", where, reply, "status 200 and a Scale"), nil
	case reply.Status != http.StatusOK && inRule >= 0:
		return t.found("spec-replicas", where, reply, fmt.Sprintf("status 200 and a Scale of %d, as spec.replicas of the rule says", inRule)), nil
	case reply.Status != http.StatusOK:
		return t.found("no-default", where+" of the rule in "+manifestFile, reply, "status 200 and a Scale"), nil
	}
	found := func(id, field string, found any, expected string) (*lab.Finding, error) {
		return foundIn(t.Session, crdFile, id, where+": "+field, fmt.Sprint(found), expected), nil
	}
	switch wanted := t.Constant("defaultReplicas"); {
	case inRule < 0:
		return found("no-default", "the rule in "+manifestFile, "no spec.replicas", "spec.replicas: "+wanted)
	case inScale != inRule:
		return found("spec-replicas", "spec.replicas", inScale, fmt.Sprintf("%d, the spec.replicas of the rule", inRule))
	case fmt.Sprint(inRule) != wanted:
		return found("wrong-default", "spec.replicas of the rule in "+manifestFile, inRule, wanted)
	}
	if got, want := number(scale, "status", "replicas"), number(rule, "status", "replicas"); got != want {
		return found("status-replicas", "status.replicas", got, fmt.Sprintf("%d, the status.replicas of the rule", want))
	}
	if got, want := text(scale, "status", "selector"), text(rule, "status", "selector"); got != want {
		if got == "" {
			got = "nothing"
		}
		return found("selector", "status.selector", got, want+", the status.selector of the rule: without it no autoscaler knows whose load to measure")
	}
	if _, err := t.must(ctx, http.MethodPatch, at, mergePatch, map[string]any{"spec": map[string]any{"replicas": 5}}); err != nil {
		return nil, err
	}
	if rule, err = t.must(ctx, http.MethodGet, t.path(t.ruleName()), "", nil); err != nil {
		return nil, err
	}
	if got := number(rule, "spec", "replicas"); got != 5 {
		return found("spec-replicas", "scaled to 5, the rule has the spec.replicas", got, "5")
	}
	t.Verified("who reads and writes the scale reads and writes the right fields, the selector too")
	return nil, nil
}

// checkApplied looks whether the cluster has the CRD of the file.
func checkApplied(ctx context.Context, s *lab.Session, client apiextensions.Interface, crd *apiextensionsv1.CustomResourceDefinition) (*lab.Finding, error) {
	applied, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, crd.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &lab.Finding{
			ID: "not-applied", Where: "the cluster", Found: "no CustomResourceDefinition " + crd.Name, Expected: "the one in " + s.Where(crdFile),
		}, nil
	}
	if err != nil {
		return nil, err
	}
	given := crd.Spec.Versions[0]
	if len(applied.Spec.Versions) != 1 || !equality.Semantic.DeepEqual(applied.Spec.Versions[0].Schema, given.Schema) ||
		!equality.Semantic.DeepEqual(applied.Spec.Versions[0].Subresources, given.Subresources) {
		return &lab.Finding{
			ID: "applied-differs", Where: "the cluster: CustomResourceDefinition " + crd.Name,
			Found: "another schema, or other subresources, than in " + s.Where(crdFile), Expected: "those of the file",
		}, nil
	}
	return nil, nil
}

// clean removes the learner's roles, and the CRD with every object of the kind.
func clean(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return err
	}
	rbac, namespace := client.RbacV1(), s.Lab.Namespace()
	crds, err := apiextensions.NewForConfig(admin)
	if err != nil {
		return err
	}
	return errors.Join(
		rbac.RoleBindings(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		rbac.Roles(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		removeCRD(ctx, crds, s.Constant("resource")+"."+s.Constant("group")),
	)
}

// removeCRD removes a CRD and waits until it has gone.
func removeCRD(ctx context.Context, client apiextensions.Interface, name string) error {
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	if err := crds.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := crds.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}
