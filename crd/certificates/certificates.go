// Package certificates makes the certificate of the webhooks, and keeps it valid, by
// cert-controller.
//
// Everything is in one Secret: a CA for ten years and, signed by it, a certificate for
// one. The kube-apiserver verifies the webhooks by that CA, which is what caBundle is
// for in their configurations and in the conversion of the CRD.
//
// [Rotate] is for portrule-controller. [New] is for installers, and does without a
// cluster.
package certificates

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"portrule.example/lab/api"
	"portrule.example/lab/crd/manifests"
)

// Both are renewed 90 days before they end. A new certificate is not noticed. With a new
// CA the webhooks are not trusted until kubelet has written the files.
const (
	caLifetime          = 10 * 365 * 24 * time.Hour
	certificateLifetime = 365 * 24 * time.Hour
)

// New makes what the Secret [manifests.Secret] holds, in the way in which it will be
// renewed: ca.crt, ca.key, tls.crt and tls.key. An installer that puts it there, and
// ca.crt into the caBundles, spares the first start the wait for kubelet.
func New() (map[string][]byte, error) {
	r := newRotator("", "")
	now := time.Now()
	begin := now.Add(-time.Hour) // for clocks that are behind
	ca, err := r.CreateCACert(begin, now.Add(r.CaCertDuration))
	if err != nil {
		return nil, fmt.Errorf("make the CA %s: %w", r.CAName, err)
	}
	cert, key, err := r.CreateCertPEM(ca, begin, now.Add(r.ServerCertDuration))
	if err != nil {
		return nil, fmt.Errorf("make the certificate for %s: %w", r.DNSName, err)
	}
	return map[string][]byte{"ca.crt": ca.CertPEM, "ca.key": ca.KeyPEM, "tls.crt": cert, "tls.key": key}, nil
}

// Rotate makes mgr keep the certificate in the Secret valid, and its CA where the
// kube-apiserver reads it: in the webhook configurations of group and in its CRD. What
// is valid it leaves as it is; in an empty Secret it puts the first. kubelet then
// writes the files in dir, a minute or more later, and the webhook server takes them
// up. The config that mgr was made from must be wrapped by [SelectSecret].
//
// The returned channel is closed when there is a certificate in dir and the CA is in
// place. If dir has none after 8 to 17 minutes, mgr ends with an error.
//
// Every replica does this. Each write names the resourceVersion that it replaces, so
// the first one wins, and the others find what it wrote.
func Rotate(mgr manager.Manager, group, dir string) (<-chan struct{}, error) {
	r := newRotator(group, dir)
	if err := rotator.AddRotator(mgr, r); err != nil {
		return nil, fmt.Errorf("add the rotation of certificates: %w", err)
	}
	return r.IsReady, nil
}

// newRotator says what is made and where it is put.
func newRotator(group, dir string) *rotator.CertRotator {
	name := api.Resource + "." + group // of all three
	return &rotator.CertRotator{
		SecretKey:          types.NamespacedName{Namespace: manifests.SystemNamespace, Name: manifests.Secret},
		CertDir:            dir,
		CAName:             manifests.Name + "-ca",
		CAOrganization:     manifests.Name,
		DNSName:            manifests.Name + "." + manifests.SystemNamespace + ".svc",
		ExtKeyUsages:       &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		CaCertDuration:     caLifetime,
		ServerCertDuration: certificateLifetime,
		FieldOwner:         manifests.Name,
		IsReady:            make(chan struct{}),
		Webhooks: []rotator.WebhookInfo{
			{Name: name, Type: rotator.Validating},
			{Name: name, Type: rotator.Mutating},
			{Name: name, Type: rotator.CRDConversion},
		},
	}
}

// SelectSecret makes the rotation read one Secret. cert-controller lists and watches
// all of the namespace, and a Role that allowed it would open those of others.
func SelectSecret(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/api/v1/namespaces/"+manifests.SystemNamespace+"/secrets") {
			req = req.Clone(req.Context())
			query := req.URL.Query()
			query.Set("fieldSelector", "metadata.name="+manifests.Secret)
			req.URL.RawQuery = query.Encode()
		}
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
