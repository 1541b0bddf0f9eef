// Package certificates makes the certificate of portrule-apiserver, and keeps it
// valid, by cert-controller.
//
// Everything is in one Secret: a CA for ten years and, signed by it, a certificate for
// one. The aggregation layer verifies the server by that CA, which is what
// spec.caBundle of its APIServices is for, and etcd and the server know each other by
// the certificate and the CA. Nothing here has to do with the CAs by which users or
// the kube-apiserver are recognised.
//
// [Rotate] is for the server. [New] is for installers, and does without a cluster.
package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"portrule.example/lab/aggregated/manifests"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// Both are renewed 90 days before they end. A new certificate is not noticed. With a new
// CA the API does not answer until kubelet has written the files, and etcd wants a
// restart: see aggregated/manifests/etcd.yaml.
const (
	caLifetime          = 10 * 365 * 24 * time.Hour
	certificateLifetime = 365 * 24 * time.Hour
)

// New makes what the Secret [manifests.Secret] holds, in the way in which it will be
// renewed: ca.crt, ca.key, tls.crt and tls.key. An installer that puts it there, and
// ca.crt into the caBundle of the APIServices, spares the first start the wait for
// kubelet.
func New() (map[string][]byte, error) {
	r := newRotator("", "")
	begin := time.Now().Add(-time.Hour) // for clocks that are behind
	ca, err := r.CreateCACert(begin, begin.Add(r.CaCertDuration))
	if err != nil {
		return nil, fmt.Errorf("make the CA %s: %w", r.CAName, err)
	}
	cert, key, err := r.CreateCertPEM(ca, begin, begin.Add(r.ServerCertDuration))
	if err != nil {
		return nil, fmt.Errorf("make the certificate for %s: %w", r.DNSName, err)
	}
	return map[string][]byte{"ca.crt": ca.CertPEM, "ca.key": ca.KeyPEM, "tls.crt": cert, "tls.key": key}, nil
}

// Rotate keeps the certificate in the Secret valid, and its CA in the APIServices of
// group, until ctx ends. What is valid it leaves as it is; in an empty Secret it puts
// the first. kubelet then writes the files in dir, a minute or more later, and
// k8s.io/apiserver takes them up.
//
// Every replica does this. Each write names the resourceVersion that it replaces, so
// the first one wins, and the others find what it wrote. A process may call it once.
func Rotate(ctx context.Context, config *rest.Config, group, dir string) error {
	log.SetLogger(klog.NewKlogr())
	config = rest.CopyConfig(config)
	config.Wrap(selectSecret)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	mgr, err := manager.New(config, manager.Options{
		Scheme:                 scheme,
		Metrics:                server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
	})
	if err != nil {
		return fmt.Errorf("make the manager of the rotation: %w", err)
	}
	if err := rotator.AddRotator(mgr, newRotator(group, dir)); err != nil {
		return fmt.Errorf("add the rotation of certificates: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("rotate certificates: %w; there must be the Secret %s in %s, if only an empty one, and the roles of aggregated/manifests/rbac.yaml",
			err, manifests.Secret, manifests.Namespace)
	}
	return nil
}

// newRotator says what is made and where it is put.
func newRotator(group, dir string) *rotator.CertRotator {
	inNamespace := "." + manifests.Namespace + ".svc"
	return &rotator.CertRotator{
		SecretKey:      types.NamespacedName{Namespace: manifests.Namespace, Name: manifests.Secret},
		CertDir:        dir,
		CAName:         manifests.Name + "-ca",
		CAOrganization: manifests.Name,
		DNSName:        manifests.Name + inNamespace,
		// etcd has the same certificate; localhost is where kubectl port-forward leads from
		ExtraDNSNames: []string{manifests.EtcdName + inNamespace, "localhost"},
		// the server is etcd's client
		ExtKeyUsages:       &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		CaCertDuration:     caLifetime,
		ServerCertDuration: certificateLifetime,
		FieldOwner:         manifests.Name,
		IsReady:            make(chan struct{}),
		Webhooks: []rotator.WebhookInfo{
			{Name: v2.Version + "." + group, Type: rotator.APIService},
			{Name: v1.Version + "." + group, Type: rotator.APIService},
		},
	}
}

// selectSecret makes the rotation read one Secret. cert-controller lists and watches
// all of the namespace, and a Role that allowed it would open those of others.
func selectSecret(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/api/v1/namespaces/"+manifests.Namespace+"/secrets") {
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
