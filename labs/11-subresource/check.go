// Package subresource checks lab 11: the subresource that the learner has implemented,
// and who may use it.
//
// The check builds the learner's server, runs it under a group of its own behind the real
// aggregator, and asks it through the kube-apiserver, as the administrator and as
// ordinary users. The learner's roles are tried out under that group too.
package subresource

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 11.
var Exercise = lab.Exercise{Check: check, Clean: clean}

const mainFile, roleFile = "main.go", "role.yaml"

// serveTimeout bounds the wait for what happens soon, even on a busy machine.
const serveTimeout = 30 * time.Second

// answerTimeout bounds the wait for the learner's handler.
const answerTimeout = 10 * time.Second

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	roles, finding := readRoles(s)
	if finding != nil {
		return finding, nil
	}
	if _, err := s.Cluster(); err != nil {
		return nil, err
	}
	program, finding, err := s.Build(ctx, mainFile)
	if finding != nil || err != nil {
		return finding, err
	}
	s.Verified("%s compiles", mainFile)
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	t := &trial{Session: s, admin: admin, name: lab.Scratch()}
	t.group = t.name + "." + s.Constant("group")
	if t.client, err = kubernetes.NewForConfig(admin); err != nil {
		return nil, err
	}
	if finding, err := t.serve(ctx, program); finding != nil || err != nil {
		return finding, err
	}
	for _, ask := range []func(context.Context) (*lab.Finding, error){t.discovery, t.create, t.commands, t.errors} {
		if finding, err := ask(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return t.users(ctx, roles)
}

// trial is the learner's server, under a group that nobody uses.
type trial struct {
	*lab.Session
	admin       *rest.Config
	client      kubernetes.Interface
	name, group string
}

func (t *trial) found(id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: t.Where(mainFile) + ": " + where, Expected: expected,
		Found: strings.ReplaceAll(strings.TrimSpace(found), t.group, t.Constant("group"))}
}

// serve starts the server and waits until the aggregator reaches it.
func (t *trial) serve(ctx context.Context, program string) (*lab.Finding, error) {
	where, err := t.Cluster()
	if err != nil {
		return nil, err
	}
	kubeconfig, err := adminKubeconfig(t.Session, where)
	if err != nil {
		return nil, err
	}
	server, err := t.Start("server", program, "--group", t.group, "--service", t.name, "--host", t.Host(), "--kubeconfig", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := aggregator.NewForConfig(t.admin)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() error { return t.remove(client) })
	var finding *lab.Finding
	last := "it is not registered"
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, serveTimeout, true, func(ctx context.Context) (bool, error) {
		if server.Ended() {
			finding, err = t.ended(server)
			return true, err
		}
		registration, err := client.ApiregistrationV1().APIServices().Get(ctx, v2.Version+"."+t.group, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for _, condition := range registration.Status.Conditions {
			if condition.Type == apiregistrationv1.Available {
				last = condition.Message
				return condition.Status == apiregistrationv1.ConditionTrue, nil
			}
		}
		return false, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return t.found("server-ends", "the server", "it does not serve: "+last, "a server that the aggregator reaches"), nil
	}
	return finding, err
}

// ended is the finding of a server that has ended: what it said last, without the stack.
func (t *trial) ended(server *process.Process) (*lab.Finding, error) {
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	said := server.Err().Error()
	data, err := os.ReadFile(group.LogPath("server"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		for _, sign := range []string{"panic: ", "error: ", "fatal error: "} {
			if strings.HasPrefix(line, sign) {
				said = line
			}
		}
	}
	return t.found("server-ends", "the server", said, "a server that serves until it is stopped"), nil
}

// adminKubeconfig writes a kubeconfig whose current context is the administrator's,
// whatever the learner has made of the other one.
func adminKubeconfig(s *lab.Session, where *lab.Cluster) (string, error) {
	group, err := s.Group()
	if err != nil {
		return "", err
	}
	return group.Path("admin.kubeconfig"), where.WriteAdmin(group.Path("admin.kubeconfig"))
}

func (t *trial) remove(client aggregator.Interface) error {
	ctx := context.Background()
	err := client.ApiregistrationV1().APIServices().Delete(ctx, v2.Version+"."+t.group, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	gone := t.client.CoreV1().Services(t.Lab.Namespace()).Delete(ctx, t.name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(gone) {
		gone = nil
	}
	return errors.Join(err, gone)
}

// path is that of a rule, with something behind it.
func (t *trial) path(rest string) string {
	return "/apis/" + t.group + "/" + v2.Version + "/namespaces/" + t.Lab.Namespace() + "/" + api.Resource + rest
}

// discovery asks whether the server says that it has the subresource.
func (t *trial) discovery(ctx context.Context) (*lab.Finding, error) {
	// the aggregator says that it reaches the server before it hands requests on
	var list metav1.APIResourceList
	last := ""
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, serveTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/apis/"+t.group+"/"+v2.Version, "", "")
		if err != nil {
			return false, err
		}
		if reply.Status != http.StatusOK {
			last = fmt.Sprintf("status %d: %s", reply.Status, reply.Body)
			return false, nil
		}
		return true, json.Unmarshal(reply.Body, &list)
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = errors.New(last)
	}
	if err != nil {
		return nil, fmt.Errorf("read what your server serves: %w", err)
	}
	wanted := api.Resource + "/" + t.Constant("subresource")
	for _, resource := range list.APIResources {
		if resource.Name != wanted {
			continue
		}
		for _, verb := range resource.Verbs {
			if verb == "get" {
				t.Verified("discovery says that %s can be read", wanted)
				return nil, nil
			}
		}
		return t.found("not-a-connecter", wanted, fmt.Sprintf("discovery says that it has the verbs %v", resource.Verbs), "the verb get"), nil
	}
	return t.found("renamed", "server.Main", "discovery has no "+wanted, "a subresource of that name"), nil
}

// rules are what the check makes, by name, with the command that each should give.
func (t *trial) rules() map[string]struct{ spec, command string } {
	add := t.Constant("command")
	return map[string]struct{ spec, command string }{
		"web":  {`{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80}}`, add + "80/tcp"},
		"dns":  {`{"service":"dns","endpoint":{"host":"10.0.0.4","port":53,"protocol":"udp"}}`, add + "53/udp"},
		"kept": {`{"service":"https","endpoint":{"host":"10.0.0.5","port":443},"permanent":true}`, add + "443/tcp " + t.Constant("permanentFlag")},
	}
}

func (t *trial) create(ctx context.Context) (*lab.Finding, error) {
	for name, rule := range t.rules() {
		reply, err := lab.Send(ctx, t.admin, http.MethodPost, t.path(""), "application/json",
			`{"apiVersion":"`+t.group+"/"+v2.Version+`","kind":"PortRule","metadata":{"name":"`+name+`"},"spec":`+rule.spec+`}`)
		if err != nil {
			return nil, err
		}
		if reply.Status != http.StatusCreated {
			return nil, fmt.Errorf("create a PortRule on your server: status %d: %s", reply.Status, reply.Body)
		}
	}
	return nil, nil
}

// command asks for the command of a rule.
func (t *trial) command(ctx context.Context, user *rest.Config, method, rule string) (*lab.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	reply, err := lab.Send(ctx, user, method, t.path("/"+rule+"/"+t.Constant("subresource")), "", "")
	if errors.Is(err, context.DeadlineExceeded) {
		return &lab.Reply{Body: fmt.Appendf(nil, "no answer within %s", answerTimeout)}, nil
	}
	return reply, err
}

// commands asks for the command of each rule.
func (t *trial) commands(ctx context.Context) (*lab.Finding, error) {
	for _, name := range []string{"web", "dns", "kept"} {
		rule := t.rules()[name]
		what := "the command of a rule " + rule.spec
		reply, err := t.command(ctx, t.admin, http.MethodGet, name)
		if err != nil {
			return nil, err
		}
		text := strings.TrimSpace(string(reply.Body))
		switch {
		case reply.Status != http.StatusOK:
			return t.found("not-ok", what, fmt.Sprintf("status %d: %s", reply.Status, reply.Message()), "status 200 and the command"), nil
		case text == t.rules()["web"].command && name != "web":
			return t.found("always-the-same", what, text, rule.command), nil
		case name == "kept" && text == strings.TrimSuffix(rule.command, " "+t.Constant("permanentFlag")):
			return t.found("not-permanent", what, text, rule.command), nil
		case text != rule.command:
			return t.found("wrong-command", what, text, rule.command), nil
		case !strings.HasPrefix(reply.Header.Get("Content-Type"), t.Constant("contentType")):
			return t.found("content-type", what, "Content-Type "+reply.Header.Get("Content-Type"), "Content-Type "+t.Constant("contentType")), nil
		}
	}
	t.Verified("each rule gives its own command, as %s", t.Constant("contentType"))
	return nil, nil
}

// errors asks for what cannot be had.
func (t *trial) errors(ctx context.Context) (*lab.Finding, error) {
	reply, err := t.command(ctx, t.admin, http.MethodGet, "absent")
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusNotFound {
		return t.found("not-found", "the command of a rule that does not exist",
			fmt.Sprintf("status %d: %s", reply.Status, reply.Message()), "status 404, as for the rule itself"), nil
	}
	reply, err = t.command(ctx, t.admin, http.MethodPost, "web")
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusMethodNotAllowed {
		return t.found("methods", "POST to the subresource", fmt.Sprintf("status %d", reply.Status), "status 405: it is there to be read"), nil
	}
	t.Verified("a rule that does not exist is 404, a POST is 405")
	return nil, nil
}

// readRoles reads role.yaml: Roles and RoleBindings.
func readRoles(s *lab.Session) ([]any, *lab.Finding) {
	data, finding := s.Read(roleFile)
	if finding != nil {
		return nil, finding
	}
	broken := func(err error) *lab.Finding {
		return &lab.Finding{ID: lab.YAMLBroken, Where: s.Where(roleFile), Found: err.Error(), Expected: "a Role and a RoleBinding"}
	}
	var objects []any
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var kind metav1.TypeMeta
		if err == nil {
			err = yaml.Unmarshal(document, &kind)
		}
		if err != nil {
			return nil, broken(err)
		}
		switch kind.Kind {
		case "Role":
			role := &rbacv1.Role{}
			err = yaml.UnmarshalStrict(document, role)
			objects = append(objects, role)
		case "RoleBinding":
			binding := &rbacv1.RoleBinding{}
			err = yaml.UnmarshalStrict(document, binding)
			objects = append(objects, binding)
		case "":
			if len(bytes.TrimSpace(document)) > 0 && strings.Contains(string(document), ":") && !onlyComments(document) {
				err = errors.New("a document without kind")
			}
		default:
			return nil, &lab.Finding{ID: "role-kind", Where: s.Where(roleFile), Found: "a " + kind.Kind, Expected: "a Role and a RoleBinding, which are of one namespace"}
		}
		if err != nil {
			return nil, broken(err)
		}
	}
	return objects, nil
}

func onlyComments(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// users asks as ordinary users, with copies of the learner's roles.
func (t *trial) users(ctx context.Context, roles []any) (*lab.Finding, error) {
	if finding, err := t.applyRoles(ctx, roles); finding != nil || err != nil {
		return finding, err
	}
	allowed, other := t.Constant("user"), t.Constant("otherUser")
	found := func(id, what string, reply *lab.Reply, expected string) *lab.Finding {
		got := fmt.Sprintf("status %d", reply.Status)
		if reply.Status == http.StatusForbidden {
			got += ": " + strings.ReplaceAll(reply.Message(), t.group, t.Constant("group"))
		}
		return &lab.Finding{ID: id, Where: t.Where(roleFile) + ": " + what, Found: got, Expected: expected}
	}
	for _, ask := range []struct {
		id, user, method, rest string
		allowed                bool
	}{
		{"role-too-narrow", allowed, http.MethodGet, "/web/" + t.Constant("subresource"), true},
		{"role-too-narrow", allowed, http.MethodGet, "/dns/" + t.Constant("subresource"), true},
		{"role-too-wide", allowed, http.MethodGet, "/web", false},
		{"role-too-wide", allowed, http.MethodGet, "", false},
		{"role-too-wide", allowed, http.MethodPost, "/web/" + t.Constant("subresource"), false},
		{"role-everybody", other, http.MethodGet, "/web/" + t.Constant("subresource"), false},
	} {
		user, err := t.User(ask.user)
		if err != nil {
			return nil, err
		}
		reply, err := lab.Send(ctx, user, ask.method, t.path(ask.rest), "", "")
		if err != nil {
			return nil, err
		}
		what := ask.user + " sends " + ask.method + " " + api.Resource + ask.rest
		if ask.allowed && reply.Status != http.StatusOK {
			return found(ask.id, what, reply, "status 200"), nil
		}
		if !ask.allowed && reply.Status != http.StatusForbidden {
			return found(ask.id, what, reply, "status 403"), nil
		}
	}
	t.Verified("%s may get the command of a rule and not the rule; %s may get neither", allowed, other)
	return nil, nil
}

// applyRoles makes copies of the learner's roles for the group of the trial, and waits
// until the kube-apiserver, which watches roles as everybody else does, knows them.
func (t *trial) applyRoles(ctx context.Context, roles []any) (*lab.Finding, error) {
	namespace, wanted := t.Lab.Namespace(), t.Constant("group")
	refused := func(err error) *lab.Finding {
		return &lab.Finding{ID: "role-refused", Where: t.Where(roleFile), Found: strings.ReplaceAll(err.Error(), t.name+"-", ""), Expected: "roles that the kube-apiserver accepts"}
	}
	rbac := t.client.RbacV1()
	for _, object := range roles {
		var err error
		switch object := object.(type) {
		case *rbacv1.Role:
			role := object.DeepCopy()
			if role.Namespace != namespace {
				return &lab.Finding{ID: "role-namespace", Where: t.Where(roleFile) + ": Role " + role.Name, Found: "namespace " + role.Namespace, Expected: "namespace " + namespace}, nil
			}
			for i := range role.Rules {
				for j, group := range role.Rules[i].APIGroups {
					if group == wanted {
						role.Rules[i].APIGroups[j] = t.group
					}
				}
			}
			role.ObjectMeta = metav1.ObjectMeta{Name: t.name + "-" + role.Name}
			if _, err = rbac.Roles(namespace).Create(ctx, role, metav1.CreateOptions{}); err == nil {
				t.Cleanup(func() error {
					return rbac.Roles(namespace).Delete(context.Background(), role.Name, metav1.DeleteOptions{})
				})
			}
		case *rbacv1.RoleBinding:
			binding := object.DeepCopy()
			if binding.Namespace != namespace {
				return &lab.Finding{ID: "role-namespace", Where: t.Where(roleFile) + ": RoleBinding " + binding.Name, Found: "namespace " + binding.Namespace, Expected: "namespace " + namespace}, nil
			}
			binding.ObjectMeta = metav1.ObjectMeta{Name: t.name + "-" + binding.Name}
			if binding.RoleRef.Kind == "Role" {
				binding.RoleRef.Name = t.name + "-" + binding.RoleRef.Name
			}
			if _, err = rbac.RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err == nil {
				t.Cleanup(func() error {
					return rbac.RoleBindings(namespace).Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
				})
			}
		}
		if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsAlreadyExists(err) {
			return refused(err), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, t.awaitRoles(ctx)
}

// awaitRoles makes one more role and binding, and waits until they are in force: those
// that were made before are so then, too.
func (t *trial) awaitRoles(ctx context.Context) error {
	namespace, rbac := t.Lab.Namespace(), t.client.RbacV1()
	meta := metav1.ObjectMeta{Name: t.name}
	_, err := rbac.Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{t.group}, Resources: []string{"nothing"}, Verbs: []string{"get"},
	}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	t.Cleanup(func() error {
		return rbac.Roles(namespace).Delete(context.Background(), t.name, metav1.DeleteOptions{})
	})
	_, err = rbac.RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: t.name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: t.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	t.Cleanup(func() error {
		return rbac.RoleBindings(namespace).Delete(context.Background(), t.name, metav1.DeleteOptions{})
	})
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, serveTimeout, true, func(ctx context.Context) (bool, error) {
		review, err := t.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: t.name, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: "get", Group: t.group, Resource: "nothing",
			}},
		}, metav1.CreateOptions{})
		return err == nil && review.Status.Allowed, err
	})
}

// clean removes the learner's roles. The server removes itself when it ends.
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
	return errors.Join(
		rbac.RoleBindings(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		rbac.Roles(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
	)
}
