package testbed_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/api/nftables"
	"portrule.example/lab/api/probe"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/cluster"
)

// subresource asks the aggregated server for a subresource of a rule.
func subresource(t *testing.T, config *rest.Config, version, namespace, name, subresource string) *rest.Request {
	t.Helper()
	return raw(t, config).Get().AbsPath("/apis", api.Group, version, "namespaces", namespace, api.Resource, name, subresource)
}

// bind gives a user a role of one rule in a namespace, and waits until it is known.
func bind(t *testing.T, namespace, user string, rule rbacv1.PolicyRule) {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{rule}}
	if _, err := clientset.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	if _, err := clientset.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	name := ""
	if len(rule.ResourceNames) > 0 {
		name = rule.ResourceNames[0]
	}
	eventually(t, "the role of "+user+" is known", func() error {
		review, err := clientset.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: "get", Group: rule.APIGroups[0], Resource: rule.Resources[0], Name: name,
			}},
		}, metav1.CreateOptions{})
		if err == nil && !review.Status.Allowed {
			err = errors.New("it is not allowed yet")
		}
		return err
	})
}

// A user without a role for it is forbidden the subresource, be they allowed the rule.
func withoutRole(t *testing.T, namespace string) *rest.Config {
	t.Helper()
	user, _, err := provider.User(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	bind(t, namespace, "bob", rbacv1.PolicyRule{APIGroups: []string{api.Group}, Resources: []string{api.Resource}, Verbs: []string{rbacv1.VerbAll}})
	gvr := implementations["aggregated-v2"]
	if _, err := clientIn(t, user, gvr, namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatalf("bob may not read the rules: %v", err)
	}
	return user
}

// The script is computed when it is read, is text whatever is accepted, and is the
// same in both versions.
func TestNFTables(t *testing.T) {
	ctx := t.Context()
	const namespace = "nftables"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	if _, err := clientIn(t, alice, gvr, namespace).Create(ctx, portRule(gvr, "web", nginx(gvr)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	rule := &v2.PortRule{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}}}
	v2.Default(rule)
	want, err := nftables.Render(rule)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v1", "v2"} {
		for _, accept := range []string{"application/json, */*", "text/plain", "application/vnd.kubernetes.protobuf"} {
			contentType := ""
			body, err := subresource(t, alice, version, namespace, "web", "nftables").SetHeader("Accept", accept).Do(ctx).ContentType(&contentType).Raw()
			if err != nil || string(body) != want || contentType != "text/plain; charset=utf-8" {
				t.Errorf("%s, accepting %s: got %q, %v\n%s", version, accept, contentType, err, body)
			}
		}
	}
	if err := subresource(t, alice, "v2", namespace, "absent", "nftables").Do(ctx).Error(); !apierrors.IsNotFound(err) {
		t.Errorf("of a rule that is not there: %v", err)
	}
	err = subresource(t, withoutRole(t, namespace), "v2", namespace, "web", "nftables").Do(ctx).Error()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `cannot get resource "portrules/nftables"`) {
		t.Errorf("without the role: %v", err)
	}
}

// The probe streams a line for each attempt through the aggregation layer, and dials
// nothing that it should not.
func TestProbe(t *testing.T) {
	ctx := t.Context()
	const namespace = "probe"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	rules := clientIn(t, alice, gvr, namespace)
	create := func(name, host string, port int64, protocol string) {
		t.Helper()
		spec := map[string]any{"service": "probed", "endpoint": map[string]any{"host": host, "port": port, "protocol": protocol}}
		if _, err := rules.Create(ctx, portRule(gvr, name, spec), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	target := bed.Target()
	create("target", target.Addr().String(), int64(target.Port()), "tcp")
	stream, err := subresource(t, alice, "v1", namespace, "target", "probe").Param("count", "3").Param("intervalSeconds", "0").Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	n := 0
	for lines := bufio.NewScanner(stream); lines.Scan(); {
		n++
		var attempt probe.Attempt
		if err := json.Unmarshal(lines.Bytes(), &attempt); err != nil {
			t.Fatal(err)
		}
		if attempt.Attempt != n || attempt.Result != probe.Connected || attempt.Address != target.String() {
			t.Errorf("line %d: %s", n, lines.Text())
		}
	}
	equal(t, "lines", n, 3)

	// every form of an address that is refused, as far as a rule can have it as host
	for i, host := range []string{
		"127.0.0.1", "127.0.0.3", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1",
		"255.255.255.255", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::",
	} {
		name := fmt.Sprintf("refused-%d", i)
		create(name, host, int64(target.Port()), "tcp")
		err := subresource(t, alice, "v2", namespace, name, "probe").Do(ctx).Error()
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "must not be probed") {
			t.Errorf("%s: got %v, want that it is forbidden", host, err)
		}
	}
	create("udp", "10.0.0.3", 53, "udp")
	for what, query := range map[string]struct {
		name, parameter, value string
		invalid                bool
	}{
		"udp":                 {name: "udp"},
		"a count of words":    {name: "target", parameter: "count", value: "many"},
		"too many":            {name: "target", parameter: "count", value: "31", invalid: true},
		"none":                {name: "target", parameter: "count", value: "0", invalid: true},
		"a number too large":  {name: "target", parameter: "count", value: "9223372036854775808"},
		"a negative interval": {name: "target", parameter: "intervalSeconds", value: "-1", invalid: true},
		"too patient":         {name: "target", parameter: "timeoutSeconds", value: "61", invalid: true},
	} {
		request := subresource(t, alice, "v2", namespace, query.name, "probe")
		if query.parameter != "" {
			request = request.Param(query.parameter, query.value)
		}
		err := request.Do(ctx).Error()
		if query.invalid && !apierrors.IsInvalid(err) || !query.invalid && !apierrors.IsBadRequest(err) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	err = subresource(t, withoutRole(t, namespace), "v2", namespace, "target", "probe").Do(ctx).Error()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `cannot get resource "portrules/probe"`) {
		t.Errorf("without the role: %v", err)
	}
	// whoever goes away ends the probe: the server is asked again at once
	cancelled, cancel := context.WithCancel(ctx)
	stream, err = subresource(t, alice, "v2", namespace, "target", "probe").Param("count", "2").Param("intervalSeconds", "10").Stream(cancelled)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stream).ReadBytes('\n'); err != nil || !bytes.Contains(line, []byte(`"attempt":1`)) {
		t.Errorf("the first of several attempts: %s, %v", line, err)
	}
	cancel()
	_ = stream.Close()
	if err := subresource(t, alice, "v2", namespace, "target", "probe").Do(ctx).Error(); err != nil {
		t.Error(err)
	}
}

// A CallerReview tells who the caller is and which authenticator said so: that is
// another one for each way of asking.
func TestCallerReview(t *testing.T) {
	ctx := t.Context()
	const namespace = "caller"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	account, err := cluster.ServiceAccount(ctx, clientset, bed.Admin, "portrule-system", "portrule-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	impersonated := rest.CopyConfig(bed.Admin)
	impersonated.Impersonate = rest.ImpersonationConfig{UserName: "carol", Groups: []string{"system:authenticated"}, Extra: map[string][]string{"team": {"blue", "red"}}}
	anonymous := rest.AnonymousClientConfig(bed.Server().Config(bed.Admin))
	const accountName = "system:serviceaccount:portrule-system:portrule-apiserver"
	for what, c := range map[string]struct {
		config        *rest.Config
		authenticator callerreview.Authenticator
		user          string
	}{
		"certificate, through the kube-apiserver": {alice, callerreview.RequestHeader, "alice"},
		"certificate":                       {bed.Server().Config(alice), callerreview.ClientCertificate, "alice"},
		"token, through the kube-apiserver": {account, callerreview.RequestHeader, accountName},
		"token":                             {bed.Server().Config(account), callerreview.TokenReview, accountName},
		"somebody else's name":              {bed.Server().Config(impersonated), callerreview.Impersonation, "carol"},
		"somebody else's name, through the kube-apiserver ": {impersonated, callerreview.RequestHeader, "carol"},
	} {
		review, err := createReview(t, c.config)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		equal(t, what, []any{review.Status.Authenticator, review.Status.UserInfo.Username}, []any{c.authenticator, c.user})
		if c.user == "carol" {
			equal(t, what+": extra", review.Status.UserInfo.Extra["team"], callerreview.ExtraValue{"blue", "red"})
		}
	}

	// nobody is not allowed to ask, unless a role says so
	if _, err := createReview(t, anonymous); !apierrors.IsForbidden(err) {
		t.Errorf("anonymous: got %v, want that it is forbidden", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "anonymous-caller"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "portrule-apiserver:caller"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "system:anonymous"}},
	}
	if _, err := clientset.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "anonymous is told that it is nobody", func() error {
		review, err := createReview(t, anonymous)
		if err == nil && review.Status.Authenticator != callerreview.Anonymous {
			err = fmt.Errorf("the authenticator is %s", review.Status.Authenticator)
		}
		return err
	})

	// it is what the kube-apiserver says of itself
	self, err := kubernetes.NewForConfig(alice)
	if err != nil {
		t.Fatal(err)
	}
	want, err := self.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := createReview(t, alice)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "groups", got.Status.UserInfo.Groups, want.Status.UserInfo.Groups)

	// nothing is stored, so there is nothing to read
	reviews, err := dynamic.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	resource := reviews.Resource(schema.GroupVersionResource{Group: api.Group, Version: v2.Version, Resource: callerreview.Resource})
	if _, err := resource.List(ctx, metav1.ListOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("list: got %v, want that the method is not supported", err)
	}
	if _, err := resource.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": api.Group + "/v2", "kind": "CallerReview", "spec": map[string]any{"user": "mallory"},
	}}, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field that does not exist: got %v, want a bad request", err)
	}
}

func createReview(t *testing.T, config *rest.Config) (*callerreview.CallerReview, error) {
	t.Helper()
	body, err := raw(t, config).Post().AbsPath("/apis", api.Group, v2.Version, callerreview.Resource).
		SetHeader("Content-Type", "application/json").
		Body([]byte(`{"apiVersion":"` + api.Group + `/v2","kind":"CallerReview","status":{"authenticator":"made up"}}`)).Do(t.Context()).Raw()
	if err != nil {
		return nil, err
	}
	review := &callerreview.CallerReview{}
	return review, json.Unmarshal(body, review)
}
