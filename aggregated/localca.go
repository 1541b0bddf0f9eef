package aggregated

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
)

// localCAName is the common name of every local CA, and by which it is known for one.
const localCAName = "portrule-apiserver-standalone"

// localCertificateLifetime is for how long the certificates are valid that a local CA
// signs. They are made anew at each start.
const localCertificateLifetime = 365 * 24 * time.Hour

// localContext is the name of the cluster and of the context in the kubeconfig.
const localContext = "portrule-apiserver"

// localCA is a CA that is kept in a directory of its own, with what it signs. A
// certificate is <name>.crt, its key <name>.key.
type localCA struct {
	dir  string
	cert *x509.Certificate
	key  crypto.PrivateKey
}

// localFiles are the files of a local CA. There is nothing else in its directory.
var localFiles = []string{"ca.crt", "ca.key", "serving.crt", "serving.key", "client.crt", "client.key", "kubeconfig"}

// openLocalCA returns the CA in the directory dir, and makes both where they are
// absent. A CA that ends too soon is replaced. If there is anything in dir that no local
// CA has made, nothing is changed and the error says what to do.
func openLocalCA(dir string) (*localCA, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--cert-dir: %w", err)
	}
	ca := &localCA{dir: dir}
	if err := ca.read(); err != nil {
		return nil, fmt.Errorf("--cert-dir: %w; nothing was changed: move %s away to have a new CA, or name another directory with --cert-dir", err, dir)
	}
	if ca.cert != nil && time.Now().Add(localCertificateLifetime).Before(ca.cert.NotAfter) {
		return ca, nil
	}
	if ca.cert != nil {
		klog.Warningf("The CA in %s ends at %s and is replaced: copies of its kubeconfig are of no use any more", dir, ca.cert.NotAfter)
	}
	return ca, ca.renew()
}

// read reads the CA, if there is one, and judges what else is in its directory.
func (ca *localCA) read() error {
	info, err := os.Stat(ca.dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is open to others (%s), and keys are kept in it: chmod 700 it", ca.dir, info.Mode())
	}
	entries, err := os.ReadDir(ca.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !slices.Contains(localFiles, entry.Name()) {
			return fmt.Errorf("%s is not a file of portrule-apiserver", ca.path(entry.Name()))
		}
	}
	if len(entries) == 0 {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(ca.path("ca.crt"), ca.path("ca.key"))
	if err != nil {
		return fmt.Errorf("%s and ca.key are half-written or no CA: %w", ca.path("ca.crt"), err)
	}
	if pair.Leaf.Subject.CommonName != localCAName {
		return fmt.Errorf("%s is the certificate of %q, not of a CA that portrule-apiserver has made", ca.path("ca.crt"), pair.Leaf.Subject.CommonName)
	}
	ca.cert, ca.key = pair.Leaf, pair.PrivateKey
	for _, name := range []string{"serving", "client"} {
		if err := ca.judge(name); err != nil {
			return err
		}
	}
	return ca.judgeKubeconfig()
}

// judge returns an error unless a certificate is absent or the CA has signed it. It is
// written before its key, so that it can be there alone.
func (ca *localCA) judge(name string) error {
	certificate, key := ca.path(name+".crt"), ca.path(name+".key")
	data, err := os.ReadFile(certificate)
	if err == nil {
		err = ca.signed(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is half-written or another's: %w", certificate, err)
	}
	if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(certificate, key); err != nil {
		return fmt.Errorf("%s is half-written or another's: %w", key, err)
	}
	return nil
}

// judgeKubeconfig returns an error unless the kubeconfig is absent or holds a client
// certificate that the CA has signed.
func (ca *localCA) judgeKubeconfig() error {
	config, err := clientcmd.LoadFromFile(ca.path("kubeconfig"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if user := config.AuthInfos[localUser]; user == nil {
			err = fmt.Errorf("it has no user %s", localUser)
		} else {
			err = ca.signed(user.ClientCertificateData)
		}
	}
	if err != nil {
		return fmt.Errorf("%s is half-written or another's: %w", ca.path("kubeconfig"), err)
	}
	return nil
}

// signed returns an error unless the CA has signed the certificate in data.
func (ca *localCA) signed(data []byte) error {
	certificates, err := cert.ParseCertsPEM(data)
	if err != nil {
		return err
	}
	return certificates[0].CheckSignatureFrom(ca.cert)
}

// renew makes a new CA. Nothing of an old one is left.
func (ca *localCA) renew() error {
	for _, name := range localFiles {
		if err := ca.remove(name); err != nil {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if ca.cert, err = cert.NewSelfSignedCACert(cert.Config{CommonName: localCAName}, key); err != nil {
		return err
	}
	ca.key = key
	return ca.writePair("ca", ca.cert.Raw, key)
}

// sign makes a certificate and its key, in place of those of the same name.
func (ca *localCA) sign(name string, template *x509.Certificate) (genericoptions.CertKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return genericoptions.CertKey{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.NotBefore = time.Now()
	template.NotAfter = template.NotBefore.Add(localCertificateLifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return genericoptions.CertKey{}, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	// the key first: what is left if this is the end is a certificate without a key
	if err := errors.Join(ca.remove(name+".key"), ca.remove(name+".crt")); err != nil {
		return genericoptions.CertKey{}, err
	}
	return genericoptions.CertKey{CertFile: ca.path(name + ".crt"), KeyFile: ca.path(name + ".key")}, ca.writePair(name, der, key)
}

// writeKubeconfig writes the kubeconfig of who holds the client certificate, and
// returns its path. What else users have put into it stays.
func (ca *localCA) writeKubeconfig(server, serverCA string, client genericoptions.CertKey) (string, error) {
	path := ca.path("kubeconfig")
	config, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		config, err = clientcmdapi.NewConfig(), nil
		config.Contexts[localContext] = &clientcmdapi.Context{Cluster: localContext, AuthInfo: localUser}
		config.CurrentContext = localContext
	}
	if err != nil {
		return "", err
	}
	config.Clusters[localContext] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: serverCA}
	config.AuthInfos[localUser] = &clientcmdapi.AuthInfo{ClientCertificate: client.CertFile, ClientKey: client.KeyFile}
	// a copy of it elsewhere works too
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		return "", err
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return "", err
	}
	if err := ca.remove("kubeconfig"); err != nil {
		return "", err
	}
	return path, ca.write("kubeconfig", data)
}

func (ca *localCA) path(name string) string { return filepath.Join(ca.dir, name) }

func (ca *localCA) writePair(name string, der []byte, key *ecdsa.PrivateKey) error {
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
	if err := ca.write(name+".crt", certPEM); err != nil {
		return err
	}
	return ca.write(name+".key", keyPEM)
}

// write writes a file that is not there, readable by its owner alone. It leaves nothing
// behind if it fails.
func (ca *localCA) write(name string, data []byte) error {
	file, err := os.OpenFile(ca.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, ca.remove(name))
	}
	return nil
}

// remove removes a file, if it is there.
func (ca *localCA) remove(name string) error {
	if err := os.Remove(ca.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
