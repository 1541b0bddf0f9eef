package whoami

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// The files of the lab in the session's state, where its scripts look for them too.
const (
	// the directories of the CAs that learners sign with
	clientCA, frontProxyCA = "client-ca", "front-proxy-ca"
	// what the server verifies who connects by: the CAs of the cluster and of the lab
	clientsFile, frontProxiesFile = "clients.crt", "front-proxies.crt"
	// what who connects verifies the server by, and both servers
	serverCAFile, serversFile       = "server-ca.crt", "servers.crt"
	servingCertFile, servingKeyFile = "serving.crt", "serving.key"
	serverKubeconfigFile            = "server.kubeconfig"
	etcdFile                        = "etcd"
	// URLs: of the lab's server, of the kube-apiserver, and one that is free for a server
	// that the learner runs
	serverFile, kubeFile, spareFile = "server", "kube", "spare"
)

// The ConfigMap by which the kube-apiserver says how it is recognised, and what is in it.
const (
	publishedConfigMap    = "extension-apiserver-authentication"
	publishedClientCA     = "client-ca-file"
	publishedFrontProxyCA = "requestheader-client-ca-file"
)

const (
	serveFile = "serve.sh"
	// serverProcess is the name of the server's log, serverName its service account's.
	serverProcess, serverName = "server", "who-apiserver"
	serviceName               = "who"
	secretMode                = os.FileMode(0o600)
)

// prepare makes the service account whose token the learner shows.
func prepare(ctx context.Context, s *lab.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	return client.IgnoreAlreadyExists(c.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Lab.Namespace(), Name: s.Constant("serviceAccount")},
	}))
}

// serve runs the server that the learner asks, as serve.sh says, and registers it with
// the aggregator. Its CAs are in two files, each of which has the cluster's CA and the
// lab's: the kube-apiserver is believed, and so are the learner's certificates.
func serve(ctx context.Context, s *lab.Session, group *process.Group, say func(string)) (func() error, error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	if len(where.Etcd) == 0 {
		return nil, errors.New("the server of this lab needs the etcd of the labs' own control plane: leave --kubeconfig out")
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	say("starting the server of this lab")
	if err := grant(ctx, s); err != nil {
		return nil, err
	}
	ca, err := writeFiles(ctx, s, admin, where)
	if err != nil {
		return nil, err
	}
	port, err := s.FreePort()
	if err != nil {
		return nil, err
	}
	program, args, err := command(s, port)
	if err != nil {
		return nil, err
	}
	// who ends a server of their own may end this one by mistake
	running, err := group.Supervise(serverProcess, program, args...)
	if err != nil {
		return nil, err
	}
	registration := lab.Registration{Service: serviceName, Group: s.Constant("group"), Version: v2.Version, Port: port, CA: ca}
	server := lab.Direct(&rest.Config{}, port, ca)
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lab.SettleTimeout)
		defer cancel()
		return errors.Join(os.RemoveAll(filepath.Join(s.State, serverFile)), s.Unregister(ctx, registration), running.Stop())
	}
	err = awaitReady(ctx, nil, server)
	if err == nil {
		err = s.Register(ctx, registration)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.State, serverFile), []byte(server.Host+"\n"), secretMode)
	}
	if err != nil {
		if tail := group.LogTail(serverProcess, 3); tail != "" {
			err = fmt.Errorf("%w; the server said last:\n%s", err, tail)
		}
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// grant gives the server's service account, which it makes, what manifests.RBAC gives to
// that of the project's server, and everybody who is somebody the right to ask who they
// are.
func grant(ctx context.Context, s *lab.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	text := strings.NewReplacer(api.Group, s.Constant("group"), manifests.Namespace, s.Lab.Namespace(), manifests.Name, serverName).
		Replace(string(manifests.RBAC))
	for document := range strings.SplitSeq(text, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			return fmt.Errorf("read the embedded RBAC: %w", err)
		}
		if object.GetKind() == "Namespace" {
			continue // the lab has one
		}
		if err := c.Create(ctx, object); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("make %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// writeFiles writes what serve.sh and the learner's scripts read, and returns the
// certificate of the CA of the serving certificate.
func writeFiles(ctx context.Context, s *lab.Session, admin *rest.Config, where *lab.Cluster) ([]byte, error) {
	core, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	published, err := readPublished(ctx, core)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.State, 0o755); err != nil {
		return nil, err
	}
	spare, err := s.FreePort()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		etcdFile:  []byte(strings.Join(where.Etcd, ",") + "\n"),
		kubeFile:  []byte(admin.Host + "\n"),
		spareFile: []byte(lab.Direct(&rest.Config{}, spare, nil).Host + "\n"),
	}
	for name, bundle := range map[string]struct{ file, clusters string }{
		clientCA:     {clientsFile, publishedClientCA},
		frontProxyCA: {frontProxiesFile, publishedFrontProxyCA},
	} {
		own, err := authority(filepath.Join(s.State, name), s.Lab.Namespace()+"-"+name)
		if err != nil {
			return nil, fmt.Errorf("make the CA %s: %w", name, err)
		}
		files[bundle.file] = slices.Concat([]byte(strings.TrimSpace(published[bundle.clusters])+"\n"), own)
	}
	ca, err := certs.NewCA(s.Lab.Namespace() + "-serving-ca")
	if err != nil {
		return nil, err
	}
	pair, err := ca.Serving(lab.Registration{Service: serviceName}.ServerName(s.Lab), "localhost")
	if err != nil {
		return nil, err
	}
	if err := rest.LoadTLSFiles(admin); err != nil {
		return nil, err
	}
	files[servingCertFile], files[servingKeyFile], files[serverCAFile] = pair.Cert, pair.Key, ca.PEM()
	files[serversFile] = slices.Concat(admin.CAData, []byte("\n"), ca.PEM())
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(s.State, name), data, secretMode); err != nil {
			return nil, err
		}
	}
	account, err := cluster.ServiceAccount(ctx, core, admin, s.Lab.Namespace(), serverName)
	if err != nil {
		return nil, err
	}
	return ca.PEM(), cluster.WriteKubeconfig(filepath.Join(s.State, serverKubeconfigFile), cluster.Context{Name: serverName, Config: account})
}

// readPublished reads by what the kube-apiserver wants to be recognised.
func readPublished(ctx context.Context, core kubernetes.Interface) (map[string]string, error) {
	published, err := core.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, publishedConfigMap, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the ConfigMap %s: %w", publishedConfigMap, err)
	}
	for _, key := range []string{publishedClientCA, publishedFrontProxyCA} {
		if published.Data[key] == "" {
			return nil, fmt.Errorf("the ConfigMap %s has no %s: is the aggregation layer on?", publishedConfigMap, key)
		}
	}
	return published.Data, nil
}

// authority makes a CA as openssl ca wants one, unless it is there, and returns its
// certificate. What it has signed stays valid when the lab is started again.
func authority(dir, name string) ([]byte, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && time.Now().Before(pair.Leaf.NotAfter) {
		return os.ReadFile(certFile)
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "certs"), 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: name}, key)
	if err != nil {
		return nil, err
	}
	certPEM, err := cert.EncodeCertificates(certificate)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	return certPEM, errors.Join(
		os.WriteFile(filepath.Join(dir, "index.txt"), nil, secretMode),
		os.WriteFile(filepath.Join(dir, "serial"), []byte("01\n"), secretMode),
		os.WriteFile(certFile, certPEM, secretMode),
		os.WriteFile(keyFile, keyPEM, secretMode),
	)
}

// command is what runs serve.sh, as it is in start/, on a port and with further flags.
func command(s *lab.Session, port int, flags ...string) (program string, args []string, err error) {
	if program, err = exec.LookPath("bash"); err != nil {
		return "", nil, errors.New("there is no program bash in the PATH: install it")
	}
	if _, err := os.Stat(filepath.Join(s.Root, "bin", manifests.Name)); err != nil {
		return "", nil, fmt.Errorf("%w: run \"make build\"", err)
	}
	return program, append([]string{s.Lab.Dir(lab.StartDir, serveFile), "--secure-port=" + strconv.Itoa(port), "--bind-address=" + s.BindAddress()}, flags...), nil
}

// errEnded says that the server has ended instead of serving.
var errEnded = errors.New("the server has ended")

// awaitReady waits until a server says that it is ready, or done is closed.
func awaitReady(ctx context.Context, done <-chan struct{}, server *rest.Config) error {
	last := "it does not answer"
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-done:
			return false, errEnded
		default:
		}
		reply, err := lab.Send(ctx, server, http.MethodGet, "/readyz", "", "")
		if err != nil {
			last = err.Error()
			return false, nil //nolint:nilerr // it may not listen yet
		}
		last = reply.Message()
		return reply.Status == http.StatusOK, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the server is not ready after %s: %s", lab.SettleTimeout, last)
	}
	return err
}
