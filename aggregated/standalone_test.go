package aggregated

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
)

// parse returns the options that the command line args gives.
func parse(t *testing.T, args ...string) *Options {
	t.Helper()
	o := NewOptions()
	all := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for _, flags := range o.Flags().FlagSets {
		all.AddFlagSet(flags)
	}
	if err := all.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

// A flag that is of no use without a cluster is refused, and so is an address that
// others reach.
func TestStandaloneFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string // in the error, or none
	}{
		"alone":           {},
		"loopback":        {args: []string{"--bind-address=127.0.0.2"}},
		"IPv6 loopback":   {args: []string{"--bind-address=::1"}},
		"of the server":   {args: []string{"--unique-endpoints=false", "--group=example.org", "--max-requests-inflight=7", "--cert-dir=x"}},
		"a client CA":     {args: []string{"--client-ca-file=ca.crt"}},
		"a certificate":   {args: []string{"--tls-cert-file=tls.crt", "--tls-private-key-file=tls.key"}},
		"open paths":      {args: []string{"--authorization-always-allow-paths=/metrics"}},
		"fairness is off": {args: []string{"--enable-priority-and-fairness=false"}},

		"everybody":         {[]string{"--bind-address=0.0.0.0"}, []string{"--bind-address 0.0.0.0", "127.0.0.1"}},
		"everybody, IPv6":   {[]string{"--bind-address=::"}, []string{"--bind-address ::"}},
		"an address":        {[]string{"--bind-address=192.0.2.1"}, []string{"--bind-address 192.0.2.1"}},
		"half a pair":       {[]string{"--tls-cert-file=tls.crt"}, []string{"--tls-private-key-file"}},
		"the other half":    {[]string{"--tls-private-key-file=tls.key"}, []string{"--tls-cert-file"}},
		"fairness":          {[]string{"--enable-priority-and-fairness"}, []string{"--enable-priority-and-fairness"}},
		"no port":           {[]string{"--secure-port=0"}, []string{"--secure-port"}},
		"kubeconfig":        {[]string{"--kubeconfig=k"}, []string{"leave out --kubeconfig"}},
		"authentication":    {[]string{"--authentication-kubeconfig=k"}, []string{"--authentication-kubeconfig"}},
		"token cache":       {[]string{"--authentication-token-webhook-cache-ttl=1s"}, []string{"--authentication-token-webhook-cache-ttl"}},
		"skip lookup":       {[]string{"--authentication-skip-lookup"}, []string{"--authentication-skip-lookup"}},
		"tolerate":          {[]string{"--authentication-tolerate-lookup-failure"}, []string{"--authentication-tolerate-lookup-failure"}},
		"anonymous":         {[]string{"--anonymous-auth"}, []string{"--anonymous-auth"}},
		"front proxy":       {[]string{"--requestheader-client-ca-file=ca.crt"}, []string{"--requestheader-client-ca-file"}},
		"front proxy names": {[]string{"--requestheader-allowed-names=a"}, []string{"--requestheader-allowed-names"}},
		"front proxy users": {[]string{"--requestheader-username-headers=X-Remote-User"}, []string{"--requestheader-username-headers"}},
		"authorization":     {[]string{"--authorization-kubeconfig=k"}, []string{"--authorization-kubeconfig"}},
		"reviews' cache":    {[]string{"--authorization-webhook-cache-authorized-ttl=1s"}, []string{"--authorization-webhook-cache-authorized-ttl"}},
		"name-free reviews": {[]string{"--authorization-name-free-reviews"}, []string{"--authorization-name-free-reviews"}},
		"plugins":           {[]string{"--enable-admission-plugins=NamespaceLifecycle"}, []string{"--enable-admission-plugins"}},
		"no plugins":        {[]string{"--disable-admission-plugins=NamespaceLifecycle"}, []string{"--disable-admission-plugins"}},
		"plugins' file":     {[]string{"--admission-control-config-file=a"}, []string{"--admission-control-config-file"}},
		"all at once": {[]string{"--kubeconfig=k", "--authorization-kubeconfig=k", "--bind-address=::"},
			[]string{"--kubeconfig", "--authorization-kubeconfig", "--bind-address"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := parse(t, append([]string{"--standalone", "--etcd-servers=http://127.0.0.1:2379"}, test.args...)...).Validate()
			if len(test.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// Where it listens unless it is told.
func TestStandaloneAddress(t *testing.T) {
	for args, want := range map[string]string{
		"--standalone":                          "127.0.0.1",
		"--standalone --bind-address=::1":       "::1",
		"--standalone --bind-address=127.0.0.9": "127.0.0.9",
	} {
		if got := parse(t, strings.Fields(args)...).standaloneAddress().String(); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}

// Whoever holds a certificate of the client CA may do everything, and nobody else
// anything but ask for the server's health.
func TestAdmitHolders(t *testing.T) {
	ca := openCA(t, filepath.Join(t.TempDir(), "ca"))
	another := openCA(t, filepath.Join(t.TempDir(), "another"))
	o := parse(t, "--standalone")
	types := register(api.Group)
	generic := genericapiserver.NewRecommendedConfig(types.codecs)
	types.describe(generic)
	if err := o.admitHolders(generic, genericoptions.ClientCertAuthenticationOptions{ClientCA: ca.path("ca.crt")}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificate *x509.Certificate
		path        string
		header      http.Header
		user        string // none if unauthorized
		by          callerreview.Authenticator
		decision    authorizer.Decision
	}{
		"a holder":                       {certificate: certificateOf(t, ca, x509.ExtKeyUsageClientAuth), path: "/apis", user: "alice", by: callerreview.ClientCertificate, decision: authorizer.DecisionAllow},
		"a holder, of the server's":      {certificate: certificateOf(t, ca, x509.ExtKeyUsageServerAuth), path: "/apis"},
		"a holder of another's":          {certificate: certificateOf(t, another, x509.ExtKeyUsageClientAuth), path: "/apis"},
		"nobody":                         {path: "/apis"},
		"nobody, at the root":            {path: "/"},
		"nobody, of the server's health": {path: "/readyz", user: user.Anonymous, by: callerreview.Anonymous, decision: authorizer.DecisionAllow},
		"nobody, of its metrics":         {path: "/metrics"},
		"nobody, by headers":             {path: "/apis", header: http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}}},
		"nobody, by a token":             {path: "/apis", header: http.Header{"Authorization": {"Bearer token"}}},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, test.path, nil)
			req.Header = test.header
			if test.certificate != nil {
				req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{test.certificate}}
			}
			response, ok, err := generic.Authentication.Authenticator.AuthenticateRequest(req)
			if test.user == "" {
				if ok {
					t.Errorf("authenticated as %s", response.User.GetName())
				}
				return
			}
			if err != nil || !ok {
				t.Fatalf("not authenticated: %v", err)
			}
			if got := response.User.GetName(); got != test.user {
				t.Errorf("authenticated as %s, want %s", got, test.user)
			}
			if got := authenticatorOf(response.User); got != test.by {
				t.Errorf("authenticated by %s, want %s", got, test.by)
			}
			decision, _, err := generic.Authorization.Authorizer.Authorize(t.Context(), authorizer.AttributesRecord{User: response.User, Verb: "get", Path: test.path})
			if err != nil || decision != test.decision {
				t.Errorf("authorized: %v, %v, want %v", decision, err, test.decision)
			}
			decision, _, err = generic.Authorization.Authorizer.Authorize(t.Context(), authorizer.AttributesRecord{
				User: response.User, Verb: "delete", APIGroup: api.Group, Resource: api.Resource, Namespace: "any", ResourceRequest: true, Path: test.path,
			})
			if want := test.user != user.Anonymous; err != nil || decision == authorizer.DecisionAllow != want {
				t.Errorf("authorized to delete: %v, %v, want %t", decision, err, want)
			}
		})
	}
}

// certificateOf returns a certificate for alice that ca has signed.
func certificateOf(t *testing.T, ca *localCA, usage x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	files, err := ca.sign("client", &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// Whoever reads the help learns what --standalone does not do.
func TestStandaloneHelp(t *testing.T) {
	var help bytes.Buffer
	if err := Run(t.Context(), []string{"--help"}, &help, &help); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--standalone", "for development", "may do everything", "Namespaces are not checked"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("%q is not in the help", want)
		}
	}
}
