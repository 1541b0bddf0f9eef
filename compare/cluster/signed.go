package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/utils/ptr"
)

// signedUser returns the client configuration of a user whose certificate the cluster
// signs, by way of a CertificateSigningRequest that the administrator approves.
func signedUser(ctx context.Context, client kubernetes.Interface, admin *rest.Config, user string) (*rest.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := cert.MakeCSR(key, &pkix.Name{CommonName: user}, nil, nil)
	if err != nil {
		return nil, err
	}
	requests := client.CertificatesV1().CertificateSigningRequests()
	name, uid, err := csr.RequestCertificateWithContext(ctx, client, request, "", certificatesv1.KubeAPIServerClientSignerName,
		ptr.To(tokenLifetime), []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}, key)
	if err != nil {
		return nil, fmt.Errorf("request a certificate for %s: %w", user, err)
	}
	defer func() {
		_ = requests.Delete(context.WithoutCancel(ctx), name, metav1.DeleteOptions{}) // else the cluster does so after an hour
	}()
	pending, err := requests.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		pending.Status.Conditions = append(pending.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "PortRuleLab", Message: "a user of the lab",
		})
		_, err = requests.UpdateApproval(ctx, name, pending, metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("approve the certificate for %s: %w", user, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	signed, err := csr.WaitForCertificate(ctx, client, name, uid)
	if err != nil {
		return nil, fmt.Errorf("wait for the certificate for %s: %w; does the kube-controller-manager run?", user, err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(admin)
	config.CertData, config.KeyData = signed, keyPEM
	return config, nil
}
