package testbed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

// As in a cluster, with no more rights than its roles give, the controller makes
// the webhooks' certificate in its Secret and puts the CA where the kube-apiserver
// reads it. That kubelet then writes the files is not for this control plane.
func TestCertificateRotation(t *testing.T) {
	ctx := t.Context()
	bed, group := startBed(t, cluster.EmbeddedOptions{}, testbed.CRDSetup{Webhooks: true})
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	crds, err := apiextensions.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	const namespace, secretName = "portrule-system", "portrule-controller-certs"
	if _, err := clientset.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writePair(t, dir)
	program, err := cluster.Binary("portrule-controller")
	if err != nil {
		t.Fatal(err)
	}
	controller, err := group.Start("rotating", program,
		"--kubeconfig="+group.Path("portrule-controller.kubeconfig"), "--controller=false",
		"--webhooks=conversion,validating,mutating", "--rotate-certificates", "--cert-dir="+dir,
		"--webhook-bind-address=127.0.0.1", "--webhook-port="+freePort(t), "--health-probe-bind-address=0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := controller.Stop(); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the CA of the Secret is in the CRD and in both webhook configurations", func() error {
		if controller.Ended() {
			t.Fatalf("%v; it said last:\n%s", controller.Err(), group.LogTail("rotating", 5))
		}
		secret, err := clientset.CoreV1().Secrets(namespace).Get(ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ca := secret.Data["ca.crt"]
		if len(ca) == 0 || len(secret.Data["tls.crt"]) == 0 || len(secret.Data["tls.key"]) == 0 {
			return fmt.Errorf("the Secret has %d entries; the controller says:\n%s", len(secret.Data), group.LogTail("rotating", 3))
		}
		bundles, err := caBundles(ctx, clientset, crds)
		if err != nil {
			return err
		}
		for where, bundle := range bundles {
			if !bytes.Contains(bundle, bytes.TrimSpace(ca)) {
				return fmt.Errorf("%s has another CA; the controller says:\n%s", where, group.LogTail("rotating", 3))
			}
		}
		return nil
	})
}

// freePort returns a port of the loopback interface that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// caBundles are those by which the kube-apiserver verifies the webhooks.
func caBundles(ctx context.Context, clientset kubernetes.Interface, crds apiextensions.Interface) (map[string][]byte, error) {
	const name = api.Resource + "." + api.CRDGroup
	crd, crdErr := crds.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, name, metav1.GetOptions{})
	validating, validatingErr := clientset.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	mutating, mutatingErr := clientset.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	if err := errors.Join(crdErr, validatingErr, mutatingErr); err != nil {
		return nil, err
	}
	return map[string][]byte{
		"the CRD":                              crd.Spec.Conversion.Webhook.ClientConfig.CABundle,
		"the validating webhook configuration": validating.Webhooks[0].ClientConfig.CABundle,
		"the mutating webhook configuration":   mutating.Webhooks[0].ClientConfig.CABundle,
	}, nil
}

// writePair writes a certificate as an installer does at first.
func writePair(t *testing.T, dir string) {
	t.Helper()
	ca, err := certs.NewCA("installer-ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Serving("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key, "ca.crt": ca.PEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
