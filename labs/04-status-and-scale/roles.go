package statusandscale

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/labs/lab"
)

// roles are what the learner's file has.
type roles struct {
	roles    []*rbacv1.Role
	bindings []*rbacv1.RoleBinding
}

// readRoles reads role.yaml.
func readRoles(s *lab.Session) (*roles, *lab.Finding) {
	data, finding := s.Read(roleFile)
	if finding != nil {
		return nil, finding
	}
	read, n := &roles{}, 0
	broken := func(err error) *lab.Finding {
		found := err.Error()
		for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "yaml: "} {
			found = strings.TrimPrefix(found, prefix)
		}
		return &lab.Finding{ID: lab.YAMLBroken, Where: s.Where(roleFile), Found: fmt.Sprintf("document %d: %s", n, found), Expected: "Roles and RoleBindings"}
	}
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return read, read.misplaced(s)
		}
		n++
		var fields map[string]any
		if err == nil {
			err = yaml.Unmarshal(document, &fields)
		}
		if err != nil {
			return nil, broken(err)
		}
		switch fields["kind"] {
		case "Role":
			role := &rbacv1.Role{}
			err = yaml.UnmarshalStrict(document, role)
			read.roles = append(read.roles, role)
		case "RoleBinding":
			binding := &rbacv1.RoleBinding{}
			err = yaml.UnmarshalStrict(document, binding)
			read.bindings = append(read.bindings, binding)
		case nil:
			if len(fields) > 0 {
				err = errors.New("a document without kind")
			}
		default:
			return nil, &lab.Finding{ID: "role-kind", Where: s.Where(roleFile), Found: fmt.Sprint("a ", fields["kind"]), Expected: "Roles and RoleBindings, which are of one namespace"}
		}
		if err != nil {
			return nil, broken(err)
		}
	}
}

// misplaced is the finding of a role that has no name, or another namespace than the lab.
func (r *roles) misplaced(s *lab.Session) *lab.Finding {
	check := func(kind, name, namespace string) *lab.Finding {
		if name == "" {
			return &lab.Finding{ID: "role-refused", Where: s.Where(roleFile), Found: "a " + kind + " without metadata.name", Expected: "roles that the kube-apiserver accepts"}
		}
		if namespace == s.Lab.Namespace() {
			return nil
		}
		found := "namespace " + namespace
		if namespace == "" {
			found = "no namespace"
		}
		return &lab.Finding{ID: "role-namespace", Where: s.Where(roleFile) + ": " + kind + " " + name, Found: found, Expected: "namespace " + s.Lab.Namespace()}
	}
	for _, role := range r.roles {
		if finding := check("Role", role.Name, role.Namespace); finding != nil {
			return finding
		}
	}
	for _, binding := range r.bindings {
		if finding := check("RoleBinding", binding.Name, binding.Namespace); finding != nil {
			return finding
		}
	}
	return nil
}

// apply makes copies of the roles for the group of the trial, and waits until they are in
// force.
func (r *roles) apply(ctx context.Context, t *trial) (*lab.Finding, error) {
	rbac, prefix := t.kubernetes.RbacV1(), t.name+"-"
	refused := func(err error) (*lab.Finding, error) {
		if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) && !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
		return &lab.Finding{ID: "role-refused", Where: t.Where(roleFile), Found: t.quote(err.Error()), Expected: "roles that the kube-apiserver accepts"}, nil
	}
	for _, given := range r.roles {
		role := given.DeepCopy()
		role.ObjectMeta = metav1.ObjectMeta{Namespace: given.Namespace, Name: prefix + given.Name}
		for i := range role.Rules {
			for j, group := range role.Rules[i].APIGroups {
				if group == t.Constant("group") {
					role.Rules[i].APIGroups[j] = t.group
				}
			}
		}
		if err := t.createRole(ctx, rbac, role); err != nil {
			return refused(err)
		}
	}
	for _, given := range r.bindings {
		binding := given.DeepCopy()
		binding.ObjectMeta = metav1.ObjectMeta{Namespace: given.Namespace, Name: prefix + given.Name}
		if binding.RoleRef.Kind == "Role" {
			binding.RoleRef.Name = prefix + binding.RoleRef.Name
		}
		if err := t.createBinding(ctx, rbac, binding); err != nil {
			return refused(err)
		}
	}
	return nil, t.inForce(ctx)
}

func (t *trial) createRole(ctx context.Context, rbac rbacclient.RbacV1Interface, role *rbacv1.Role) error {
	_, err := rbac.Roles(role.Namespace).Create(ctx, role, metav1.CreateOptions{})
	if err == nil {
		t.Cleanup(func() error {
			return rbac.Roles(role.Namespace).Delete(context.WithoutCancel(ctx), role.Name, metav1.DeleteOptions{})
		})
	}
	return err
}

func (t *trial) createBinding(ctx context.Context, rbac rbacclient.RbacV1Interface, binding *rbacv1.RoleBinding) error {
	_, err := rbac.RoleBindings(binding.Namespace).Create(ctx, binding, metav1.CreateOptions{})
	if err == nil {
		t.Cleanup(func() error {
			return rbac.RoleBindings(binding.Namespace).Delete(context.WithoutCancel(ctx), binding.Name, metav1.DeleteOptions{})
		})
	}
	return err
}

// inForce makes one more role and binding, for a user who does not exist, and waits until
// they count: those that were made before do so then, too.
func (t *trial) inForce(ctx context.Context) error {
	rbac, meta := t.kubernetes.RbacV1(), metav1.ObjectMeta{Namespace: t.Lab.Namespace(), Name: t.name}
	err := errors.Join(
		t.createRole(ctx, rbac, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{t.group}, Resources: []string{"nothing"}, Verbs: []string{"get"},
		}}}),
		t.createBinding(ctx, rbac, &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: t.name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: t.name}},
		}),
	)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		review, err := t.kubernetes.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: t.name, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: t.Lab.Namespace(), Verb: "get", Group: t.group, Resource: "nothing",
			}},
		}, metav1.CreateOptions{})
		return err == nil && review.Status.Allowed, err
	})
	if err != nil {
		return fmt.Errorf("wait until roles are in force: %w", err)
	}
	return nil
}

// request is something that a user tries. Writes are dry runs.
type request struct {
	what, method, subresource, contentType string
	body                                   func(rule, scale map[string]any) map[string]any
}

// The requests that roles are about. The body of a PUT is what a GET has answered.
var (
	list        = request{what: "lists rules", method: http.MethodGet}
	get         = request{what: "gets a rule", method: http.MethodGet, subresource: "-"}
	getScale    = request{what: "gets the scale of a rule, as an autoscaler does", method: http.MethodGet, subresource: "scale"}
	patchScale  = request{what: "patches the scale, as kubectl scale does", method: http.MethodPatch, subresource: "scale", contentType: mergePatch, body: replicas}
	putScale    = request{what: "updates the scale, as an autoscaler does", method: http.MethodPut, subresource: "scale", contentType: asJSON, body: wholeScale}
	getStatus   = request{what: "gets the status, as kubectl does before it patches", method: http.MethodGet, subresource: "status"}
	patchStatus = request{what: "patches the status", method: http.MethodPatch, subresource: "status", contentType: mergePatch, body: statusReplicas}
	putStatus   = request{what: "updates the status", method: http.MethodPut, subresource: "status", contentType: asJSON, body: wholeRule}
	patchRule   = request{what: "patches a rule", method: http.MethodPatch, subresource: "-", contentType: mergePatch, body: replicas}
	putRule     = request{what: "updates a rule", method: http.MethodPut, subresource: "-", contentType: asJSON, body: wholeRule}
	deleteRule  = request{what: "deletes a rule", method: http.MethodDelete, subresource: "-"}
	createRule  = request{what: "creates a rule", method: http.MethodPost, contentType: asJSON, body: newRule}
)

func replicas(_, _ map[string]any) map[string]any {
	return map[string]any{"spec": map[string]any{"replicas": 2}}
}

func statusReplicas(_, _ map[string]any) map[string]any {
	return map[string]any{"status": map[string]any{"replicas": 2}}
}

func wholeScale(_, scale map[string]any) map[string]any { return scale }

func wholeRule(rule, _ map[string]any) map[string]any { return rule }

func newRule(rule, _ map[string]any) map[string]any {
	return map[string]any{"apiVersion": rule["apiVersion"], "kind": rule["kind"], "metadata": map[string]any{"name": "another"}, "spec": rule["spec"]}
}

// users asks as the two users, with copies of the learner's roles.
func (t *trial) users(ctx context.Context, given *roles) (*lab.Finding, error) {
	if finding, err := given.apply(ctx, t); finding != nil || err != nil {
		return finding, err
	}
	rule, err := t.must(ctx, http.MethodGet, t.path(t.ruleName()), "", nil)
	if err != nil {
		return nil, err
	}
	scale, err := t.must(ctx, http.MethodGet, t.path(t.ruleName(), "scale"), "", nil)
	if err != nil {
		return nil, err
	}
	for _, test := range []struct {
		user, narrow, wide string
		may, mayNot        []request
	}{
		{t.Constant("operator"), "operator-narrow", "operator-wide",
			[]request{list, get, patchScale, getScale, putScale}, []request{patchRule, putRule, patchStatus, putStatus, createRule, deleteRule}},
		{t.Constant("controller"), "controller-narrow", "controller-wide",
			[]request{list, get, getStatus, patchStatus, putStatus}, []request{patchRule, putRule, patchScale, putScale, createRule, deleteRule}},
	} {
		for _, ask := range slices.Concat(test.may, test.mayNot) {
			reply, err := t.ask(ctx, test.user, ask, rule, scale)
			if err != nil {
				return nil, err
			}
			allowed, wanted := reply.Status != http.StatusForbidden, slices.ContainsFunc(test.may, func(r request) bool { return r.what == ask.what })
			switch {
			case wanted && allowed && reply.Status >= http.StatusBadRequest:
				return nil, fmt.Errorf("%s %s: status %d: %s", test.user, ask.what, reply.Status, reply.Message())
			case wanted && !allowed:
				return t.narrow(given, test.narrow, test.user+" "+ask.what, fmt.Sprintf("status %d: %s", reply.Status, t.quote(reply.Message())), "status 200"), nil
			case !wanted && allowed:
				return foundIn(t.Session, roleFile, test.wide, test.user+" "+ask.what, fmt.Sprintf("status %d", reply.Status), "status 403"), nil
			}
		}
	}
	watcher := t.Constant("controller")
	allowed, err := t.mayWatch(ctx, watcher)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return t.narrow(given, "controller-narrow", watcher+" watches rules", "status 403", "status 200"), nil
	}
	t.Verified("%s may look at rules and scale them, %s may watch them and write their status, and neither may do more", t.Constant("operator"), watcher)
	return nil, nil
}

// narrow is the finding of somebody who is refused. It is another one if they have been
// given what means nothing.
func (t *trial) narrow(given *roles, id, what, found, expected string) *lab.Finding {
	star := t.Constant("resource") + "/*"
	for _, role := range given.roles {
		for _, rule := range role.Rules {
			if slices.Contains(rule.Resources, star) {
				return foundIn(t.Session, roleFile, "role-star", "Role "+role.Name, star+" among the resources, and "+what+": "+found, "resources that there are")
			}
		}
	}
	return foundIn(t.Session, roleFile, id, what, found, expected)
}

// ask sends a request as a user.
func (t *trial) ask(ctx context.Context, user string, r request, rule, scale map[string]any) (*lab.Reply, error) {
	config, err := t.User(user)
	if err != nil {
		return nil, err
	}
	path := t.path()
	switch r.subresource {
	case "":
	case "-":
		path = t.path(t.ruleName())
	default:
		path = t.path(t.ruleName(), r.subresource)
	}
	if r.method != http.MethodGet {
		path += "?dryRun=All"
	}
	body := []byte(nil)
	if r.body != nil {
		if body, err = json.Marshal(r.body(runtime.DeepCopyJSON(rule), runtime.DeepCopyJSON(scale))); err != nil {
			return nil, err
		}
	}
	return lab.Send(ctx, config, r.method, path, r.contentType, string(body))
}

// mayWatch asks for a right whose use would take its time.
func (t *trial) mayWatch(ctx context.Context, user string) (bool, error) {
	config, err := t.User(user)
	if err != nil {
		return false, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false, err
	}
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: t.Lab.Namespace(), Verb: "watch", Group: t.group, Resource: t.Constant("resource"),
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// applied looks whether the cluster has the roles of the file.
func (r *roles) applied(ctx context.Context, s *lab.Session, client kubernetes.Interface) (*lab.Finding, error) {
	rbac := client.RbacV1()
	missing := func(what string, err error) (*lab.Finding, error) {
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		return &lab.Finding{ID: "not-applied", Where: "the cluster", Found: "no " + what, Expected: "the one in " + s.Where(roleFile)}, nil
	}
	differs := func(what string) (*lab.Finding, error) {
		return &lab.Finding{ID: "applied-differs", Where: "the cluster: " + what, Found: "another one than in " + s.Where(roleFile), Expected: "that of the file"}, nil
	}
	for _, role := range r.roles {
		got, err := rbac.Roles(role.Namespace).Get(ctx, role.Name, metav1.GetOptions{})
		if err != nil {
			return missing("Role "+role.Name, err)
		}
		if !equality.Semantic.DeepEqual(got.Rules, role.Rules) {
			return differs("Role " + role.Name)
		}
	}
	for _, binding := range r.bindings {
		got, err := rbac.RoleBindings(binding.Namespace).Get(ctx, binding.Name, metav1.GetOptions{})
		if err != nil {
			return missing("RoleBinding "+binding.Name, err)
		}
		if got.RoleRef.Name != binding.RoleRef.Name || len(got.Subjects) != len(binding.Subjects) {
			return differs("RoleBinding " + binding.Name)
		}
	}
	return nil, nil
}
