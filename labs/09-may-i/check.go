// Package mayi checks lab 9: what an aggregated server must be allowed to do, and how
// often it asks what its callers may do.
//
// For the first the check runs a server as a service account that has copies of the
// learner's roles (roles.go), and quotes what the server says that it may not. For the
// second it sends requests to the server of the lab (server.go) and counts the reviews
// that they cause, in that server's own metrics.
package mayi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 9.
var Exercise = lab.Exercise{Check: check, Serve: serve, Clean: clean}

const rolesFile, answersFile = "rbac.yaml", "answers.yaml"

// lineTimeout bounds the wait for a line of a log. There may be none, and a finding is
// quicker without.
const lineTimeout = 5 * time.Second

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	roles, finding := readRoles(s)
	if finding != nil {
		return finding, nil
	}
	var given answers
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	t := &trial{Session: s, roles: roles, name: lab.Scratch()}
	var err error
	if t.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	if t.client, err = s.Client(); err != nil {
		return nil, err
	}
	counted, err := findCounted(s)
	if err != nil {
		return nil, err
	}
	if finding, err := t.run(ctx, counted.etcd); finding != nil || err != nil {
		return finding, err
	}
	return counted.compare(ctx, s, given)
}

// trial is a server that runs as a service account with copies of the learner's roles.
type trial struct {
	*lab.Session
	admin  *rest.Config
	client client.Client
	roles  []client.Object
	// name is that of the service account.
	name   string
	server *process.Process
	// direct is the configuration of a client of the server, as the administrator.
	direct *rest.Config
}

// need is something that a server watches, or it is not ready.
type need struct{ finding, group, resource string }

// needs are they, in the order in which the manifests of the project have them.
var needs = []need{
	{"namespaces", "", "namespaces"},
	{"policies", "admissionregistration.k8s.io", "mutatingadmissionpolicies"},
	{"policies", "admissionregistration.k8s.io", "mutatingadmissionpolicybindings"},
	{"policies", "admissionregistration.k8s.io", "validatingadmissionpolicies"},
	{"policies", "admissionregistration.k8s.io", "validatingadmissionpolicybindings"},
	{"webhooks", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"},
	{"webhooks", "admissionregistration.k8s.io", "validatingwebhookconfigurations"},
	{"flow-control", "flowcontrol.apiserver.k8s.io", "flowschemas"},
	{"flow-control", "flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"},
}

// tooMuch is what no server of this kind has any use for.
func tooMuch() []authorizationv1.ResourceAttributes {
	all := []authorizationv1.ResourceAttributes{
		{Verb: "get", Resource: "secrets", Namespace: metav1.NamespaceSystem},
		{Verb: "impersonate", Resource: "users"},
	}
	for _, need := range needs {
		all = append(all, authorizationv1.ResourceAttributes{Verb: "delete", Group: need.group, Resource: need.resource})
	}
	return all
}

// run goes through what a server does from its start to its first write.
func (t *trial) run(ctx context.Context, etcd string) (*lab.Finding, error) {
	if finding, err := t.prepare(ctx); finding != nil || err != nil {
		return finding, err
	}
	if err := t.start(etcd); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) (*lab.Finding, error){t.starts, t.watches, t.ready, t.reviews, t.namespaces, t.modest} {
		if finding, err := step(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// prepare makes the service account and gives it copies of the roles.
func (t *trial) prepare(ctx context.Context) (*lab.Finding, error) {
	config, err := account(ctx, t.Session, t.admin, t.name)
	if err != nil {
		return nil, err
	}
	t.forget(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: t.Lab.Namespace(), Name: t.name}})
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	if err := cluster.WriteKubeconfig(group.Path(serverKubeconfigFile), cluster.Context{Name: t.name, Config: config}); err != nil {
		return nil, err
	}
	refused := func(where, found string) *lab.Finding {
		return &lab.Finding{ID: "rbac-refused", Where: t.Where(rolesFile) + where, Found: found, Expected: "roles and bindings that the kube-apiserver accepts"}
	}
	for i, object := range copies(t.roles, t.Lab.Namespace(), t.Constant("account"), t.name) {
		if homeless(object) {
			return refused(": "+t.roles[i].GetName(), "no metadata.namespace"), nil
		}
		if err := t.client.Create(ctx, object); err != nil {
			if !isRefusal(err) {
				return nil, err
			}
			return refused("", t.quote(err.Error())), nil
		}
		t.forget(object)
	}
	for _, object := range t.roles {
		if finding, err := t.binds(ctx, object); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, t.await(ctx)
}

// binds makes sure that a binding gives the service account something: the kube-apiserver
// accepts those of roles and accounts that do not exist.
func (t *trial) binds(ctx context.Context, object client.Object) (*lab.Finding, error) {
	binding, namespace, account := bindingOf(object), t.Lab.Namespace(), t.Constant("account")
	if binding == nil {
		return nil, nil
	}
	var given []string
	for _, subject := range binding.subjects {
		if includesAccount(subject, namespace, account) {
			given = nil
			break
		}
		given = append(given, strings.TrimPrefix(subject.Kind+" "+path.Join(subject.Namespace, subject.Name), " "))
	}
	if len(given) > 0 || len(binding.subjects) == 0 {
		return t.found("other-account", binding.kind+" "+object.GetName(), "it is for "+cmp.Or(strings.Join(given, ", "), "nobody"),
			rbacv1.ServiceAccountKind+" "+path.Join(namespace, account))
	}
	if slices.ContainsFunc(t.roles, func(role client.Object) bool { return refers(object, role) }) {
		return nil, nil
	}
	role, reader := binding.role(object), t.Constant("configMap")+"-reader"
	err := t.client.Get(ctx, client.ObjectKeyFromObject(role), role)
	if !apierrors.IsNotFound(err) {
		return nil, err
	}
	if binding.ref.Name == reader && binding.ref.Kind == roleKind {
		return t.found("auth-reader-namespace", binding.kind+" "+object.GetName(), "namespace "+object.GetNamespace()+", where there is no "+roleKind+" "+reader,
			"the namespace of that "+roleKind)
	}
	return t.found("no-such-role", binding.kind+" "+object.GetName(), "it refers to a "+binding.ref.Kind+" "+path.Join(role.GetNamespace(), role.GetName())+", which does not exist",
		"a role that exists, in this file or in the cluster")
}

// forget removes an object in the end.
func (t *trial) forget(object client.Object) {
	t.Cleanup(func() error { return remove(context.Background(), t.client, object) })
}

// await makes roles and bindings for a user who does not exist, and waits until they are in
// force: those that were made before are so then, too.
func (t *trial) await(ctx context.Context) error {
	for _, object := range markers(t.Lab.Namespace(), t.name) {
		if err := t.client.Create(ctx, object); err != nil {
			return err
		}
		t.forget(object)
	}
	for _, namespace := range []string{"", t.Lab.Namespace()} {
		asked := authorizationv1.ResourceAttributes{Verb: "get", Group: markerGroup(namespace), Resource: "nothing", Namespace: namespace}
		err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
			return t.may(ctx, t.name, nil, asked)
		})
		if err != nil {
			return fmt.Errorf("wait until roles are in force: %w", err)
		}
	}
	return nil
}

// start starts the server.
func (t *trial) start(etcd string) error {
	group, err := t.Group()
	if err != nil {
		return err
	}
	ca, err := certs.NewCA(t.name)
	if err != nil {
		return err
	}
	running, port, err := server{
		name: serverName, group: t.Constant("repairedGroup"), etcd: etcd, kubeconfig: group.Path(serverKubeconfigFile),
	}.start(t.Session, group, t.Start, ca)
	if err != nil {
		return err
	}
	t.server, t.direct = running, lab.Direct(t.admin, port, ca.PEM())
	return nil
}

// serverName is that of the process.
const serverName = "server"

// quote makes a text be about the learner's service account.
func (t *trial) quote(text string) string {
	text = strings.ReplaceAll(text, t.name+"-", "")
	return strings.ReplaceAll(strings.TrimSpace(text), t.name, t.Constant("account"))
}

// may asks the kube-apiserver.
func (t *trial) may(ctx context.Context, user string, in []string, asked authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: in, ResourceAttributes: &asked},
	}
	err := t.client.Create(ctx, review)
	return review.Status.Allowed, err
}

// serverMay asks about the server's service account.
func (t *trial) serverMay(ctx context.Context, asked authorizationv1.ResourceAttributes) (bool, error) {
	namespace := t.Lab.Namespace()
	return t.may(ctx, accountUser(namespace, t.name), groups(namespace), asked)
}

// found is a finding about the roles, with what the server has said.
func (t *trial) found(id, what, found, expected string) (*lab.Finding, error) {
	return &lab.Finding{ID: id, Where: t.Where(rolesFile) + ": " + what, Found: t.quote(found), Expected: expected}, nil
}

// line waits for the first line of the server's log that matches. It is empty if none comes.
func (t *trial) line(ctx context.Context, pattern *regexp.Regexp) (string, error) {
	group, err := t.Group()
	if err != nil {
		return "", err
	}
	found := ""
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lineTimeout, true, func(context.Context) (bool, error) {
		data, err := os.ReadFile(group.LogPath(serverName))
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(string(data)) {
			if pattern.MatchString(line) {
				found = line
				return true, nil
			}
		}
		return t.server.Ended(), nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return said(found), err
}

// header is what klog puts before a message, and withError a message with its error.
var (
	header    = regexp.MustCompile(`^[IWEF]\d{4} [\d:.]+ +\d+ \S+?\] `)
	withError = regexp.MustCompile(`^("(?:[^"\\]|\\.)*") err=("(?:[^"\\]|\\.)*")`)
)

// said is what a line of the log says, as a reader would.
func said(line string) string {
	line = header.ReplaceAllString(strings.TrimSpace(line), "")
	if match := withError.FindStringSubmatch(line); match != nil {
		message, err := strconv.Unquote(match[1])
		text, errText := strconv.Unquote(match[2])
		if err == nil && errText == nil {
			return message + ": " + text
		}
	}
	return line
}

var anyError = regexp.MustCompile(`^portrule-apiserver: `)

// starts makes sure that the server gets as far as listening.
func (t *trial) starts(ctx context.Context) (*lab.Finding, error) {
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		if t.server.Ended() {
			return true, nil
		}
		_, err := lab.Send(ctx, rest.AnonymousClientConfig(t.direct), http.MethodGet, "/livez", "", "")
		return err == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("start a server with your roles: %w", err)
	}
	if !t.server.Ended() {
		t.Verified("a server with your roles finds out how to recognise the kube-apiserver")
		return nil, nil
	}
	line, err := t.line(ctx, anyError)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(line, t.Constant("configMap")) {
		return nil, fmt.Errorf("start a server with your roles: %w: %s", t.server.Err(), t.quote(line))
	}
	return t.found("auth-reader", "the ConfigMap "+t.Constant("configMap"), "the server ends and says: "+line, "a server that may read it")
}

// watches makes sure that the server may list and watch what it has to.
func (t *trial) watches(ctx context.Context) (*lab.Finding, error) {
	for _, need := range needs {
		expected := "a server that may list and watch " + need.resource
		var denied []string
		for _, verb := range []string{"list", "watch"} {
			allowed, err := t.serverMay(ctx, authorizationv1.ResourceAttributes{Verb: verb, Group: need.group, Resource: need.resource})
			if err != nil {
				return nil, err
			}
			if !allowed {
				denied = append(denied, verb)
			}
		}
		if len(denied) == 0 {
			continue
		}
		if slices.Equal(denied, []string{"list"}) { // of which it says nothing while it gets the list by watching
			return t.found(need.finding, need.resource, "it may watch them, and may not list them", expected)
		}
		line, err := t.line(ctx, regexp.MustCompile("cannot "+denied[0]+` resource \\?"`+need.resource+`\\?"`))
		if err != nil {
			return nil, err
		}
		return t.found(need.finding, need.resource, "the server says: "+cmp.Or(line, "nothing yet; it may not "+denied[0]+" them"), expected)
	}
	t.Verified("it may list and watch the %d kinds of objects that it keeps up with", len(needs))
	return nil, nil
}

// ready waits until the server says so.
func (t *trial) ready(ctx context.Context) (*lab.Finding, error) {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		if t.server.Ended() {
			return false, t.server.Err()
		}
		reply, err := lab.Send(ctx, rest.AnonymousClientConfig(t.direct), http.MethodGet, "/readyz", "", "")
		if err != nil {
			return false, err
		}
		last = string(reply.Body)
		return reply.Status == http.StatusOK, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait until a server with your roles is ready: %w: %s", err, last)
	}
	t.Verified("it becomes ready")
	return nil, nil
}

// reviews makes sure that the server may ask who a caller is, and what they may do.
func (t *trial) reviews(ctx context.Context) (*lab.Finding, error) {
	caller, err := account(ctx, t.Session, t.direct, t.Constant("caller"))
	if err != nil {
		return nil, err
	}
	reply, err := lab.Send(ctx, caller, http.MethodGet, rulesPath(t.Constant("repairedGroup"), t.Lab.Namespace()), "", "")
	if err != nil {
		return nil, err
	}
	for _, ask := range []struct{ group, resource string }{
		{"authentication.k8s.io", "tokenreviews"},
		{"authorization.k8s.io", "subjectaccessreviews"},
	} {
		allowed, err := t.serverMay(ctx, authorizationv1.ResourceAttributes{Verb: "create", Group: ask.group, Resource: ask.resource})
		if err != nil {
			return nil, err
		}
		if allowed {
			continue
		}
		line, err := t.line(ctx, regexp.MustCompile(`cannot create resource \\?"`+ask.resource+`\\?"`))
		if err != nil {
			return nil, err
		}
		return t.found("auth-delegator", ask.resource, fmt.Sprintf("a caller with a token and every right gets %d; the server says: %s", reply.Status, line),
			"a server that may create "+ask.resource)
	}
	if reply.Status != http.StatusOK {
		return nil, fmt.Errorf("list PortRules on a server with your roles: status %d: %s", reply.Status, reply.Body)
	}
	t.Verified("it may ask who a caller is, and what they may do")
	return nil, nil
}

// namespaces makes sure that the server finds out that a namespace does not exist.
func (t *trial) namespaces(ctx context.Context) (*lab.Finding, error) {
	group := t.Constant("repairedGroup")
	reply, err := lab.Send(ctx, t.direct, http.MethodPost, rulesPath(group, t.name), "application/json",
		`{"apiVersion":"`+group+"/"+v2.Version+`","kind":"PortRule","metadata":{"name":"web"},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80}}}`)
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusNotFound {
		return t.found("namespaces-get", "namespaces", fmt.Sprintf("who creates a PortRule in a namespace that does not exist gets %d: %s", reply.Status, reply.Message()),
			"status 404, from a server that may get namespaces")
	}
	t.Verified("it notices that a namespace does not exist")
	return nil, nil
}

// modest makes sure that the server may not do what it need not.
func (t *trial) modest(ctx context.Context) (*lab.Finding, error) {
	for _, asked := range tooMuch() {
		allowed, err := t.serverMay(ctx, asked)
		if err != nil {
			return nil, err
		}
		if allowed {
			what := asked.Resource
			if asked.Namespace != "" {
				what += " in " + asked.Namespace
			}
			return t.found("too-wide", t.Lab.Namespace()+"/"+t.Constant("account"), "it may "+asked.Verb+" "+what, "what it needs, and nothing else")
		}
	}
	t.Verified("it may not do what it need not")
	return nil, nil
}

// rulesPath is that of the PortRules of a namespace.
func rulesPath(group, namespace string) string {
	return "/apis/" + group + "/" + v2.Version + "/namespaces/" + namespace + "/" + api.Resource
}

// clean removes the learner's roles and bindings: those for the service account, and the
// roles whose names begin as the task says.
func clean(ctx context.Context, s *lab.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	all, err := learners(ctx, c, s.Lab.Namespace(), s.Constant("account"))
	if err != nil {
		return err
	}
	return remove(ctx, c, all...)
}
