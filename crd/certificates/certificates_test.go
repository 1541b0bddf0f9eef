package certificates

import (
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	"k8s.io/client-go/util/cert"

	"portrule.example/lab/crd/manifests"
)

// The kube-apiserver accepts the certificate for the Service that its configurations
// name.
func TestNew(t *testing.T) {
	made, err := New()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := cert.NewPoolFromBytes(made["ca.crt"])
	if err != nil {
		t.Fatal(err)
	}
	pair, err := cert.ParseCertsPEM(made["tls.crt"])
	if err != nil {
		t.Fatal(err)
	}
	for name, valid := range map[string]bool{
		"portrule-controller.portrule-system.svc": true,
		"portrule-apiserver.portrule-system.svc":  false,
	} {
		if _, err := pair[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); (err == nil) != valid {
			t.Errorf("as %s: got %v, want valid: %t", name, err, valid)
		}
	}
}

// The rotation leaves alone what New makes: it takes it for its own, and it is not yet
// time to renew it.
func TestNewIsKept(t *testing.T) {
	made, err := New()
	if err != nil {
		t.Fatal(err)
	}
	r := newRotator("", "")
	const lookahead = 90 * 24 * time.Hour // cert-controller's
	for _, test := range []struct {
		what, name, cert, key string
		usages                *[]x509.ExtKeyUsage
		lifetime              time.Duration
	}{
		{"the CA", r.CAName, "ca.crt", "ca.key", nil, r.CaCertDuration},
		{"the certificate", r.DNSName, "tls.crt", "tls.key", r.ExtKeyUsages, r.ServerCertDuration},
	} {
		now := time.Now()
		for at, want := range map[time.Time]bool{
			now:                                    true,
			now.Add(lookahead):                     true,
			now.Add(test.lifetime + 2*time.Minute): false,
		} {
			valid, err := rotator.ValidCert(made["ca.crt"], made[test.cert], made[test.key], test.name, test.usages, at)
			if valid != want {
				t.Errorf("%s at %s: got valid %t, want %t (%v)", test.what, at, valid, want, err)
			}
		}
	}
}

// A Role can name the one Secret only if every list and watch does.
func TestSelectSecret(t *testing.T) {
	const secrets = "/api/v1/namespaces/" + manifests.SystemNamespace + "/secrets"
	const selected = "fieldSelector=metadata.name%3D" + manifests.Secret
	for _, test := range []struct{ method, asked, want string }{
		{http.MethodGet, secrets, secrets + "?" + selected},
		{http.MethodGet, secrets + "?watch=true", secrets + "?" + selected + "&watch=true"},
		{http.MethodGet, secrets + "/" + manifests.Secret, secrets + "/" + manifests.Secret},
		{http.MethodPut, secrets + "/" + manifests.Secret, secrets + "/" + manifests.Secret},
		{http.MethodPost, secrets, secrets},
		{http.MethodGet, "/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/secrets"},
		{http.MethodGet, "/api/v1/configmaps?watch=true", "/api/v1/configmaps?watch=true"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, "https://localhost"+test.asked, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		response, err := SelectSecret(roundTripper(func(sent *http.Request) (*http.Response, error) {
			got = sent.URL.RequestURI()
			return &http.Response{Body: http.NoBody}, nil
		})).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got != test.want {
			t.Errorf("for %s %s it asks for %s, want %s", test.method, test.asked, got, test.want)
		}
		if asked := req.URL.RequestURI(); asked != test.asked {
			t.Errorf("the caller's request is changed, from %s to %s", test.asked, asked)
		}
	}
}
