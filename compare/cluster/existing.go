package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/support"

	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/process"
)

// ExistingOptions say which cluster, and how it reaches this host.
type ExistingOptions struct {
	// Kubeconfig is a path. Empty means what kubectl would use: KUBECONFIG, or
	// the file in the home directory.
	Kubeconfig string
	// Context is a context of the kubeconfig. Empty means the current one.
	Context string
	// ServerHost and ServerPort are where the cluster reaches an aggregated server
	// on this host. An empty host means the address from which this host reaches
	// the cluster, port 0 a free one.
	ServerHost string
	ServerPort int
}

// Existing is a cluster that is there already. Create and Destroy leave it as it
// is: they only look at it.
type Existing struct {
	group   *process.Group
	options ExistingOptions

	etcd   hostEtcd
	config *rest.Config
}

var _ Provider = &Existing{}

// NewExisting returns the cluster that options describe. What runs on this host
// for its sake belongs to group.
func NewExisting(group *process.Group, options ExistingOptions) *Existing {
	return &Existing{group: group, options: options, etcd: hostEtcd{group: group}}
}

// Kind is "existing".
func (*Existing) Kind() string { return KindExisting }

// Ephemeral is false.
func (*Existing) Ephemeral() bool { return false }

// WithName does nothing: the cluster has its name.
func (x *Existing) WithName(string) support.E2EClusterProvider { return x }

// WithVersion does nothing: the cluster has its version.
func (x *Existing) WithVersion(string) support.E2EClusterProvider { return x }

// WithPath does nothing: there is no program to run.
func (x *Existing) WithPath(string) support.E2EClusterProvider { return x }

// WithOpts applies opts.
func (x *Existing) WithOpts(opts ...support.ClusterOpts) support.E2EClusterProvider {
	for _, opt := range opts {
		opt(x)
	}
	return x
}

// SetDefaults does nothing.
func (x *Existing) SetDefaults() support.E2EClusterProvider { return x }

// Create reads the kubeconfig, asks the cluster for its version and makes sure
// that its aggregation layer is on. It changes nothing.
func (x *Existing) Create(ctx context.Context, args ...string) (string, error) {
	if len(args) > 0 {
		return "", fmt.Errorf("an existing cluster takes no arguments, got %q", args)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = x.options.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: x.options.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig: %w; name one with --kubeconfig or KUBECONFIG", err)
	}
	if config.Insecure {
		return "", errors.New("the kubeconfig says insecure-skip-tls-verify: give it the cluster's certificate-authority, TLS is verified here")
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", fmt.Errorf("use the kubeconfig: %w", err)
	}
	probe, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.RESTClient().Get().AbsPath("/version").Do(probe).Error(); err != nil {
		return "", fmt.Errorf("the cluster at %s does not answer: %w; is it running, and is this its kubeconfig?", config.Host, err)
	}
	if err := checkAggregation(probe, client); err != nil {
		return "", err
	}
	x.config = config
	kubeconfig := x.group.Path("admin.kubeconfig")
	return kubeconfig, WriteKubeconfig(kubeconfig, Context{Name: x.GetKubectlContext(), Config: config})
}

// checkAggregation looks for the front-proxy CA that a kube-apiserver publishes
// when it has one. Without it an aggregated server cannot know who calls.
func checkAggregation(ctx context.Context, client kubernetes.Interface) error {
	const name = "extension-apiserver-authentication"
	published, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the ConfigMap %s in %s: %w; the kubeconfig's user must be an administrator", name, metav1.NamespaceSystem, err)
	}
	if published.Data["requestheader-client-ca-file"] == "" {
		return errors.New("the cluster's aggregation layer is off: start its kube-apiserver with --requestheader-client-ca-file, " +
			"--proxy-client-cert-file and --proxy-client-key-file, or choose another cluster")
	}
	return nil
}

// CreateWithConfig is refused: there is nothing to configure.
func (*Existing) CreateWithConfig(context.Context, string) (string, error) {
	return "", errors.New("an existing cluster takes no configuration file")
}

// GetKubeconfig returns the path of a copy of the chosen context.
func (x *Existing) GetKubeconfig() string { return x.group.Path("admin.kubeconfig") }

// GenerateKubeconfig returns the same.
func (x *Existing) GenerateKubeconfig(...string) (string, error) { return x.GetKubeconfig(), nil }

// GetKubectlContext returns the name of the context in that copy.
func (*Existing) GetKubectlContext() string { return "existing" }

// KubernetesRestConfig returns the client configuration, without a rate limit. It
// is nil before Create.
func (x *Existing) KubernetesRestConfig() *rest.Config { return x.config }

// WaitForControlPlane does nothing: Create has had an answer.
func (*Existing) WaitForControlPlane(context.Context, klient.Client) error { return nil }

// Etcd starts an etcd on this host: a cluster's own is nobody else's business.
// The two implementations then write to different ones, which a report must say.
func (x *Existing) Etcd(ctx context.Context) ([]string, error) { return x.etcd.start(ctx) }

// hostEtcd is an etcd on this host, for aggregated servers beside a cluster that has
// one of its own.
type hostEtcd struct {
	group *process.Group
	etcd  *envtest.Etcd
}

// start starts it, unless it runs, and returns its URL.
func (h *hostEtcd) start(ctx context.Context) ([]string, error) {
	if h.etcd == nil {
		path, err := Binary(processEtcd)
		if err != nil {
			return nil, err
		}
		etcd, err := configureEtcd(h.group, path)
		if err != nil {
			return nil, err
		}
		release := h.group.KillOn(ctx)
		defer release()
		if err := etcd.Start(); err != nil {
			return nil, fmt.Errorf("start etcd: %w; it said last:\n%s", err, h.group.LogTail(processEtcd, 3))
		}
		h.etcd = etcd
	}
	return []string{h.etcd.URL.String()}, nil
}

// stop ends it if it runs.
func (h *hostEtcd) stop() error {
	if h.etcd == nil {
		return nil
	}
	err := h.etcd.Stop()
	h.etcd = nil
	return err
}

// Address is what the options say, or else the address from which this host
// reaches the cluster.
func (x *Existing) Address() (string, int) {
	host := x.options.ServerHost
	if host == "" {
		host = localAddress(x.config.Host)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		host = "localhost"
	}
	return host, x.options.ServerPort
}

// userNamespace holds the service accounts that User makes.
const userNamespace = "portrule-system"

// User makes a service account in portrule-system and a token for it, which lasts
// for 30 days or as long as the cluster allows. Its user name is
// system:serviceaccount:portrule-system:<name>.
func (x *Existing) User(ctx context.Context, name string) (*rest.Config, Credential, error) {
	client, err := kubernetes.NewForConfig(x.config)
	if err != nil {
		return nil, "", err
	}
	config, err := ServiceAccount(ctx, client, x.config, userNamespace, name)
	return config, ServiceAccountToken, err
}

// CA is refused: the private keys of an existing cluster are its administrators'.
func (*Existing) CA(name string) (*certs.CA, error) {
	return nil, fmt.Errorf("the private key of %q in an existing cluster is its administrators'", name)
}

// ExportLogs copies the logs of what runs on this host to the directory dest.
func (x *Existing) ExportLogs(_ context.Context, dest string) error { return x.group.CopyLogs(dest) }

// Destroy ends what runs on this host. The cluster stays.
func (x *Existing) Destroy(context.Context) error { return x.etcd.stop() }

// localAddress returns the address of this host from which it reaches the server
// at rawURL, and localhost if there is no route.
func localAddress(rawURL string) string {
	server, err := url.Parse(rawURL)
	if err != nil {
		return "localhost"
	}
	// nothing is sent: connecting a datagram socket only picks the route
	conn, err := net.Dial("udp", net.JoinHostPort(server.Hostname(), "9"))
	if err != nil {
		return "localhost"
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String()
}
