package testbed_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/utils/ptr"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

// credentials are config with other credentials.
func credentials(config *rest.Config, change func(*rest.Config)) *rest.Config {
	config = rest.AnonymousClientConfig(config)
	change(config)
	return config
}

func withCertificate(pair *certs.Pair) func(*rest.Config) {
	return func(config *rest.Config) { config.CertData, config.KeyData = pair.Cert, pair.Key }
}

func withToken(token string) func(*rest.Config) {
	return func(config *rest.Config) { config.BearerToken = token }
}

// as adds the headers by which a front proxy says who the caller is.
func as(user, uid string, groups ...string) func(*rest.Config) {
	return func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return transport.NewAuthProxyRoundTripper(user, uid, groups, map[string][]string{"team": {"blue"}}, next)
		})
	}
}

func both(changes ...func(*rest.Config)) func(*rest.Config) {
	return func(config *rest.Config) {
		for _, change := range changes {
			change(config)
		}
	}
}

// Headers name a caller only on a connection that was made with a certificate of the
// front-proxy CA and of an allowed name. What shows nothing valid is anonymous, and
// what shows something invalid is unauthorized.
func TestFrontProxy(t *testing.T) {
	ca, stranger, clientCA := newCA(t, "front-proxy"), newCA(t, "stranger"), newCA(t, "clients")
	dir := t.TempDir()
	for name, ca := range map[string]*certs.CA{"front-proxy.crt": ca, "clients.crt": clientCA} {
		if err := os.WriteFile(filepath.Join(dir, name), ca.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replica, err := bed.StartReplica(t.Context(), "portrule-apiserver-proxied",
		"--requestheader-client-ca-file="+filepath.Join(dir, "front-proxy.crt"),
		"--requestheader-allowed-names=proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--client-ca-file="+filepath.Join(dir, "clients.crt"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	past, err := clientCA.ClientUntil(time.Now().Add(-time.Hour), "alice", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	masters := as("carol", "uid-1", "system:masters", "system:authenticated")
	for _, c := range []struct {
		what   string
		change func(*rest.Config)
		// by and user recognise the caller; code is the answer otherwise
		by   callerreview.Authenticator
		user string
		code int
	}{
		{"the front proxy", both(withCertificate(sign(t, ca, "proxy")), masters), callerreview.RequestHeader, "carol", 0},
		{"headers alone", masters, "", "system:anonymous", http.StatusForbidden},
		// the stock authenticator refuses a front proxy of a name that is not allowed,
		// instead of asking the next one
		{"a certificate of the front-proxy CA, of another name", both(withCertificate(sign(t, ca, "other")), masters), "", "", http.StatusUnauthorized},
		{"a certificate of another CA", both(withCertificate(sign(t, stranger, "proxy")), masters), "", "", http.StatusUnauthorized},
		// whoever gets the client CA to sign the proxy's name is a user of that name
		{"a certificate of the client CA, of the proxy's name", both(withCertificate(sign(t, clientCA, "proxy")), masters), callerreview.ClientCertificate, "proxy", 0},
		{"a client's certificate", withCertificate(sign(t, clientCA, "alice", "system:masters")), callerreview.ClientCertificate, "alice", 0},
		{"a client's certificate of another CA", withCertificate(sign(t, stranger, "alice", "system:masters")), "", "", http.StatusUnauthorized},
		{"a client's certificate past its time", withCertificate(past), "", "", http.StatusUnauthorized},
		{"the front proxy without headers", withCertificate(sign(t, ca, "proxy")), "", "", http.StatusUnauthorized},
	} {
		review, err := createReview(t, credentials(replica.Config(bed.Admin), c.change))
		if c.code == 0 {
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			equal(t, c.what, []any{review.Status.Authenticator, review.Status.UserInfo.Username}, []any{c.by, c.user})
			if c.by == callerreview.RequestHeader {
				equal(t, c.what+": uid", review.Status.UserInfo.UID, "uid-1")
				equal(t, c.what+": extra", review.Status.UserInfo.Extra["team"], callerreview.ExtraValue{"blue"})
			}
			continue
		}
		if status := apierrors.APIStatus(nil); !errors.As(err, &status) || int(status.Status().Code) != c.code {
			t.Errorf("%s: got %+v, %v, want status %d", c.what, review, err, c.code)
		}
	}
}

// Tokens are what the control plane says they are, for as long as it says so. The UID
// of who has one comes through the front proxy too.
func TestTokens(t *testing.T) {
	ctx := t.Context()
	const namespace = "tokens"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	account, err := clientset.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "dave"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// a token that is bound to a Secret is revoked with it
	secret, err := clientset.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bound"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request, err := clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "dave", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(int64(3600)),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: secret.Name, UID: secret.UID},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	direct, proxied := bed.Server().Config(bed.Admin), bed.Admin
	valid := withToken(request.Status.Token)
	for what, config := range map[string]*rest.Config{"directly": credentials(direct, valid), "through the kube-apiserver": credentials(proxied, valid)} {
		review, err := createReview(t, config)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		equal(t, what, []any{review.Status.UserInfo.Username, review.Status.UserInfo.UID}, []any{"system:serviceaccount:tokens:dave", string(account.UID)})
	}
	parts := strings.Split(request.Status.Token, ".")
	for what, token := range map[string]string{
		"no token at all":         "nonsense",
		"signed by somebody else": parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"without a signature":     parts[0] + "." + parts[1] + ".",
		"of another audience":     audience(t, clientset, namespace),
		"past its time":           past(t, request.Status.Token, map[string]int64{"iat": -7200, "nbf": -7200, "exp": -3600}),
	} {
		if _, err := createReview(t, credentials(direct, withToken(token))); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: got %v, want that it is unauthorized", what, err)
		}
	}
	// what makes the expired one invalid is its time, and not how it was signed
	if _, err := createReview(t, credentials(direct, withToken(past(t, request.Status.Token, nil)))); err != nil {
		t.Errorf("signed again, and otherwise as it was: %v", err)
	}
	if err := clientset.CoreV1().Secrets(namespace).Delete(ctx, "bound", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a token that was revoked is not accepted, once it is not cached any more", func() error {
		if _, err := createReview(t, credentials(direct, valid)); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the answer is %w", err)
		}
		return nil
	})
}

// past is a token with other times, in seconds from now, signed by the control plane's
// own key.
func past(t *testing.T, token string, times map[string]int64) string {
	t.Helper()
	data, err := os.ReadFile(group.Path("kube-apiserver", "sa-signer.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	claims := map[string]any{}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	for claim, seconds := range times {
		claims[claim] = time.Now().Unix() + seconds
	}
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), hash[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64) // ES256: both numbers, 32 bytes each
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// audience is a token of dave's that is meant for another server.
func audience(t *testing.T, clientset kubernetes.Interface, namespace string) string {
	t.Helper()
	request, err := clientset.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "dave",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"elsewhere"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// --anonymous-auth=false turns away who shows nothing, from all but the health checks.
func TestAnonymousOff(t *testing.T) {
	replica, err := bed.StartReplica(t.Context(), "portrule-apiserver-named", "--anonymous-auth=false")
	if err != nil {
		t.Fatal(err) // it is asked for /readyz without credentials
	}
	defer stop(t, replica)
	nobody := rest.AnonymousClientConfig(replica.Config(bed.Admin))
	for _, path := range []string{"/apis", "/metrics", "/apis/" + api.Group + "/v2/portrules"} {
		if err := raw(t, nobody).Get().AbsPath(path).Do(t.Context()).Error(); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: got %v, want that it is unauthorized", path, err)
		}
	}
	if err := raw(t, replica.Config(bed.Admin)).Get().AbsPath("/apis").Do(t.Context()).Error(); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
}

// One review is enough for all names, where RBAC allows them all; where it does not,
// the decisions are those of the stock authorizer.
func TestNameFreeReviews(t *testing.T) {
	ctx := t.Context()
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-reviews", "--authorization-name-free-reviews")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	const namespace = "reviews"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	admin := clientIn(t, bed.Admin, gvr, namespace)
	const n = 20
	for i := range n {
		spec := map[string]any{"service": "nginx", "endpoint": map[string]any{"host": fmt.Sprintf("rule-%d.example.com", i), "port": int64(80)}}
		if _, err := admin.Create(ctx, portRule(gvr, fmt.Sprintf("rule-%d", i), spec), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		server *testbed.Server
		want   int
	}{"stock": {bed.Server(), n}, "name-free": {replica, 1}} {
		before := reviews(t, c.server)
		rules := clientIn(t, c.server.Config(alice), gvr, namespace)
		for i := range n {
			if _, err := rules.Get(ctx, fmt.Sprintf("rule-%d", i), metav1.GetOptions{}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		equal(t, what+": reviews", reviews(t, c.server)-before, c.want)
	}

	// a herd that comes when nothing is cached causes one review
	before := reviews(t, bed.Server())
	rules := clientIn(t, bed.Server().Config(alice), gvr, namespace)
	var wait sync.WaitGroup
	for range 500 {
		wait.Go(func() {
			if _, err := rules.List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	equal(t, "reviews for 500 clients at once", reviews(t, bed.Server())-before, 1)

	// rules with resourceNames: whoever has one is asked about by name
	for user, names := range map[string][]string{
		"one-name": {"rule-1"}, "empty-name": {""}, "star-name": {"*"}, "all-three": {"rule-1", "", "*"}, "no-names": nil,
	} {
		config, _, err := provider.User(ctx, user)
		if err != nil {
			t.Fatal(err)
		}
		bind(t, namespace, user, rbacv1.PolicyRule{
			APIGroups: []string{api.Group}, Resources: []string{api.Resource}, Verbs: []string{"get", "list", "delete"}, ResourceNames: names,
		})
		decisions := func(server *testbed.Server) string {
			rules, answers := clientIn(t, server.Config(config), gvr, namespace), ""
			for _, name := range []string{"rule-1", "rule-2", "absent"} {
				_, err := rules.Get(ctx, name, metav1.GetOptions{})
				answers += fmt.Sprintf("get %s: forbidden %t\n", name, apierrors.IsForbidden(err))
			}
			_, err := rules.List(ctx, metav1.ListOptions{})
			answers += fmt.Sprintf("list: forbidden %t\n", apierrors.IsForbidden(err))
			_, err = rules.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=rule-1"})
			return answers + fmt.Sprintf("list of one name: forbidden %t\n", apierrors.IsForbidden(err))
		}
		equal(t, user+": decisions", decisions(replica), decisions(bed.Server()))
	}
}

var reviewsTotal = regexp.MustCompile(`(?m)^apiserver_delegated_authz_request_total\{code="201"\} ([0-9]+)$`)

// reviews is how many SubjectAccessReviews a server has asked for.
func reviews(t *testing.T, server *testbed.Server) int {
	t.Helper()
	body, err := raw(t, server.Config(bed.Admin)).Get().AbsPath("/metrics").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	match := reviewsTotal.FindSubmatch(body)
	if match == nil {
		return 0
	}
	n, err := strconv.Atoi(string(match[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newCA(t *testing.T, name string) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA(name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func sign(t *testing.T, ca *certs.CA, user string, groups ...string) *certs.Pair {
	t.Helper()
	pair, err := ca.Client(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// While the control plane cannot be reached, nobody is let in whom it has not been
// asked about, be it with a token or for another name. Then all goes on by itself.
func TestControlPlaneUnreachable(t *testing.T) {
	ctx := t.Context()
	const namespace = "unreachable"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	proxy := newCuttable(t, bed.Admin.Host)
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	account, err := cluster.ServiceAccount(ctx, clientset, bed.Admin, "portrule-system", "portrule-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	token := account.BearerToken
	account.Host = "https://" + proxy.address
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: "proxied", Config: account}); err != nil {
		t.Fatal(err)
	}
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-alone",
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	rules := clientIn(t, replica.Config(alice), gvr, namespace)
	get := func(name string) error {
		_, err := rules.Get(ctx, name, metav1.GetOptions{})
		return err
	}
	if err := get("before"); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	proxy.cut()
	if err := get("other"); !apierrors.IsInternalError(err) {
		t.Errorf("a name that was not asked about: got %v, want an internal error", err)
	}
	if review, err := createReview(t, credentials(replica.Config(bed.Admin), withToken(token))); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token that was not asked about: got %v, %v, want that it is unauthorized", review, err)
	}
	if replica.Ended() {
		t.Fatal(replica.Err())
	}
	proxy.restore(t)
	eventually(t, "the name and the token are asked about", func() error {
		if err := get("other"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("get: %w", err)
		}
		_, err := createReview(t, credentials(replica.Config(bed.Admin), withToken(token)))
		return err
	})
	// what people see most: a load balancer that breaks off the server's connections
	proxy.reset()
	if err := get("third"); !apierrors.IsInternalError(err) {
		t.Errorf("connections are reset: got %v, want an internal error", err)
	}
	line := regexp.MustCompile(`Failed to make webhook authorizer request: Post "https://[^"]*/subjectaccessreviews[^"]*": .*connection reset by peer`)
	if log := read(t, group.LogPath("portrule-apiserver-alone")); !line.Match(log) {
		t.Errorf("the log does not say that the review was broken off:\n%s", log)
	}
}
