package certificates

import (
	"crypto/x509"
	"net/http"
	"testing"

	"k8s.io/client-go/util/cert"

	"portrule.example/lab/aggregated/manifests"
)

// Both ends of every connection that has this certificate accept it.
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
	for name, usage := range map[string]x509.ExtKeyUsage{
		manifests.Name + "." + manifests.Namespace + ".svc":     x509.ExtKeyUsageServerAuth,
		manifests.EtcdName + "." + manifests.Namespace + ".svc": x509.ExtKeyUsageServerAuth,
		"localhost": x509.ExtKeyUsageServerAuth,
		"":          x509.ExtKeyUsageClientAuth, // etcd's client
	} {
		if _, err := pair[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("as %q: %v", name, err)
		}
	}
}

// A Role can name the one Secret only if every list and watch does.
func TestSelectSecret(t *testing.T) {
	const secrets = "/api/v1/namespaces/" + manifests.Namespace + "/secrets"
	for _, test := range []struct{ asked, want string }{
		{secrets, secrets + "?fieldSelector=metadata.name%3D" + manifests.Secret},
		{secrets + "?watch=true", secrets + "?fieldSelector=metadata.name%3D" + manifests.Secret + "&watch=true"},
		{secrets + "/" + manifests.Secret, secrets + "/" + manifests.Secret},
		{"/apis/apiregistration.k8s.io/v1/apiservices?watch=true", "/apis/apiregistration.k8s.io/v1/apiservices?watch=true"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost"+test.asked, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		response, err := selectSecret(roundTripper(func(sent *http.Request) (*http.Response, error) {
			got = sent.URL.RequestURI()
			return &http.Response{Body: http.NoBody}, nil
		})).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got != test.want {
			t.Errorf("for %s it asks for %s, want %s", test.asked, got, test.want)
		}
		if asked := req.URL.RequestURI(); asked != test.asked {
			t.Errorf("the caller's request is changed, from %s to %s", test.asked, asked)
		}
	}
}
