// Package certs makes the certificates of a testbed: a CA, and the serving and
// client certificates that it signs. Nothing is ever served or dialled without
// one.
//
// Three CAs meet in an aggregated server, and people mix them up: the one that
// signs its serving certificate (the kube-apiserver verifies it, by the
// APIService's caBundle), the front-proxy CA (the server verifies the
// kube-apiserver by it) and the client CA (both verify users by it).
//
// [NewCA] makes a [CA]; [Load] reads one that a cluster has. [CA.Serving] and
// [CA.Client] sign a [Pair] for a server and for a user. The forms with Until are for
// certificates whose end is what matters, such as one that has expired. The keys are in
// memory: who wants files writes them.
//
// Which CA signs what is to be seen in cluster/embedded.go and testbed/server.go. The
// certificates that a server in a cluster renews by itself are another matter, that of
// aggregated/certificates and crd/certificates.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// lifetime of a certificate. A testbed lives for minutes, a lab for days.
const lifetime = 30 * 24 * time.Hour

// CA signs certificates.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Pair is a certificate and its private key, both in PEM.
type Pair struct{ Cert, Key []byte }

// NewCA makes a self-signed CA with the given common name.
func NewCA(commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c, err := cert.NewSelfSignedCACert(cert.Config{CommonName: commonName}, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA %s: %w", commonName, err)
	}
	return &CA{cert: c, key: key}, nil
}

// Load reads a CA from its certificate and its private key, both in PEM.
func Load(certPEM, keyPEM []byte) (*CA, error) {
	all, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of a CA: %w", err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the private key of the CA %s: %w", all[0].Subject.CommonName, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the private key of the CA %s cannot sign", all[0].Subject.CommonName)
	}
	return &CA{cert: all[0], key: signer}, nil
}

// PEM returns the CA's certificate: what a verifier needs.
func (ca *CA) PEM() []byte { return encode(ca.cert) }

// Serving makes a certificate for a server that is reached by the given DNS names
// and IP addresses, the first of which is its common name too.
func (ca *CA) Serving(hosts ...string) (*Pair, error) {
	return ca.sign(ca.serving(time.Now().Add(lifetime), hosts))
}

// ServingUntil is Serving for a certificate that ends then. Its holder may be a client
// too: portrule-apiserver shows etcd the certificate by which it serves.
func (ca *CA) ServingUntil(end time.Time, hosts ...string) (*Pair, error) {
	template := ca.serving(end, hosts)
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	return ca.sign(template)
}

func (ca *CA) serving(end time.Time, hosts []string) *x509.Certificate {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   ca.cert.NotBefore,
		NotAfter:    end,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template
}

// Client makes a certificate that says who its holder is: Kubernetes reads the
// user name from the common name and the groups from the organizations.
func (ca *CA) Client(user string, groups ...string) (*Pair, error) {
	return ca.ClientUntil(time.Now().Add(lifetime), user, groups...)
}

// ClientUntil is Client for a certificate that ends then, which may be in the past.
func (ca *CA) ClientUntil(end time.Time, user string, groups ...string) (*Pair, error) {
	return ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:   end.Add(-lifetime),
		NotAfter:    end,
	})
}

func (ca *CA) sign(template *x509.Certificate) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", template.Subject.CommonName, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	return &Pair{Cert: encode(c), Key: keyPEM}, nil
}

func encode(c *x509.Certificate) []byte {
	pem, err := cert.EncodeCertificates(c)
	if err != nil {
		panic(err) // it encodes to memory
	}
	return pem
}
