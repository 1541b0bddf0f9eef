package aggregated

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
)

// Without a control plane, the flags that would lead to one are named.
func TestNoControlPlane(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		inPod bool
		want  []string
		not   string
	}{
		"nothing":       {want: []string{"not a Pod", "KUBERNETES_SERVICE_HOST", "--kubeconfig, --authentication-kubeconfig, --authorization-kubeconfig", "--standalone"}},
		"one":           {args: []string{"--kubeconfig=k"}, want: []string{"with --authentication-kubeconfig, --authorization-kubeconfig,"}, not: "--kubeconfig,"},
		"two":           {args: []string{"--kubeconfig=k", "--authentication-kubeconfig=k"}, want: []string{"with --authorization-kubeconfig,"}},
		"all":           {args: []string{"--kubeconfig=k", "--authentication-kubeconfig=k", "--authorization-kubeconfig=k"}, not: "control plane"},
		"half of a Pod": {inPod: true, want: []string{"serviceaccount/token", "--kubeconfig, --authentication-kubeconfig"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			t.Setenv("KUBERNETES_SERVICE_PORT", "443")
			if test.inPod {
				if _, err := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token"); err == nil {
					t.Skip("this is a Pod")
				}
				t.Setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
			}
			var got string
			if err := parse(t, append(test.args, "--etcd-servers=http://127.0.0.1:2379")...).Validate(); err != nil {
				got = err.Error()
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("got %s, want %q in it", got, want)
				}
			}
			if test.not != "" && strings.Contains(strings.ReplaceAll(got, "--authentication-kubeconfig,", ""), test.not) {
				t.Errorf("got %s, want no %q in it", got, test.not)
			}
		})
	}
}

// A control plane that answers will do, whatever it says, and what does not is named by
// the flag that leads there.
func TestReachControlPlane(t *testing.T) {
	dir := t.TempDir()
	answering := func(status int) string {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		return kubeconfig(t, server)
	}
	stopped := httptest.NewTLSServer(nil)
	stopped.Close()
	gone := kubeconfig(t, stopped)
	empty, garbage := filepath.Join(dir, "empty"), filepath.Join(dir, "garbage")
	write(t, empty, "")
	write(t, garbage, "{")
	good := answering(http.StatusOK)

	for name, test := range map[string]struct {
		core, authentication, authorization string
		tolerate                            bool
		want                                string
	}{
		"answers":              {core: good, authentication: good, authorization: good},
		"forbids":              {core: answering(http.StatusForbidden), authentication: answering(http.StatusUnauthorized), authorization: answering(http.StatusInternalServerError)},
		"missing":              {core: filepath.Join(dir, "missing"), authentication: good, authorization: good, want: "--kubeconfig=" + dir + "/missing: stat "},
		"unreadable":           {core: good, authentication: dir, authorization: good, want: "--authentication-kubeconfig=" + dir + ": "},
		"garbage":              {core: good, authentication: good, authorization: garbage, want: "--authorization-kubeconfig=" + garbage + ": "},
		"empty":                {core: empty, authentication: good, authorization: good, want: "--kubeconfig=" + empty + ": it names no cluster"},
		"gone":                 {core: gone, authentication: good, authorization: good, want: "connection refused"},
		"gone, authentication": {core: good, authentication: gone, authorization: good, want: "--authentication-kubeconfig=" + gone + ": the control plane at https://127.0.0.1:"},
		"gone, authorization":  {core: good, authentication: good, authorization: gone, want: "--authorization-kubeconfig=" + gone + ": the control plane at "},
		"gone, tolerated":      {core: gone, authentication: gone, authorization: gone, tolerate: true},
		"missing, tolerated":   {core: good, authentication: good, authorization: filepath.Join(dir, "missing"), tolerate: true, want: "--authorization-kubeconfig="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			o := parse(t, "--kubeconfig="+test.core, "--authentication-kubeconfig="+test.authentication, "--authorization-kubeconfig="+test.authorization)
			o.Recommended.Authentication.TolerateInClusterLookupFailure = test.tolerate
			err := o.reachControlPlane(t.Context())
			if test.want == "" && err != nil {
				t.Error(err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

// The wait for a control plane that takes a request and never answers it ends with the
// context, which reachControlPlane ends too when it takes too long.
func TestControlPlaneNeverAnswers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		<-req.Context().Done()
	}))
	defer server.Close()
	path := kubeconfig(t, server)
	err := parse(t, "--kubeconfig="+path, "--authentication-kubeconfig="+path, "--authorization-kubeconfig="+path).reachControlPlane(ctx)
	if err == nil || !strings.Contains(err.Error(), "--kubeconfig="+path+": the control plane at "+server.URL+" does not answer") {
		t.Errorf("got %v, want that it does not answer", err)
	}
}

// kubeconfig writes one that leads to server, and returns its path.
func kubeconfig(t *testing.T, server *httptest.Server) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{
		Server:                   server.URL,
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: server.Certificate().Raw}),
	}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test"}
	config.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
