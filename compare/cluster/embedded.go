package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/support"

	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/process"
)

// The names of the control plane's processes, of their logs and process ids.
const (
	processAPIServer = "kube-apiserver"
	processEtcd      = "etcd"
)

// FrontProxyName is the common name by which the kube-apiserver is known to aggregated
// servers; kubeadm has the same.
const FrontProxyName = "front-proxy-client"

// startTimeout bounds the start of each process, on a slow machine too.
const startTimeout = time.Minute

// EmbeddedOptions choose what an embedded control plane does beyond the usual.
type EmbeddedOptions struct {
	// AuditLog makes the kube-apiserver write one line of JSON for each request,
	// metadata only, into the file audit.log of the group's directory.
	AuditLog bool
	// WithoutAggregation leaves the aggregation layer off, as on clusters whose
	// kube-apiserver has no front-proxy certificate.
	WithoutAggregation bool
	// AggregatorRouting makes the kube-apiserver choose among the endpoints of an
	// aggregated server's Service itself, as clusters do whose kube-apiserver does not
	// reach Services. The servers then listen on an address that other hosts reach
	// too: see [HostAddress].
	AggregatorRouting bool
	// Etcd returns the address by which the kube-apiserver reaches the etcd at an address,
	// each host:port, such as that of a relay; nil means the address itself.
	Etcd func(address string) (string, error)
	// TracingEndpoint is where the kube-apiserver sends, host:port of an OTLP gRPC
	// receiver, the spans of all requests. Empty means no tracing. With it, users are in
	// the group system:monitoring too: of others the kube-apiserver takes no traceparent.
	TracingEndpoint string
}

// Embedded is a kube-apiserver and an etcd that run as processes of this host. It
// has no controller manager, no scheduler and no nodes: nothing collects garbage
// and no namespace ever ends.
type Embedded struct {
	group   *process.Group
	options EmbeddedOptions

	name       string
	version    string
	path       string
	host       string
	plane      *envtest.ControlPlane
	config     *rest.Config
	kubeconfig string
	// frontProxyCA is nil if the aggregation layer is off.
	frontProxyCA *certs.CA
}

var _ Provider = &Embedded{}

// NewEmbedded returns a control plane that is yet to be created, whose processes
// belong to group.
func NewEmbedded(group *process.Group, options EmbeddedOptions) *Embedded {
	return &Embedded{group: group, options: options, name: "portrule-lab", host: "localhost"}
}

// Kind is "embedded".
func (*Embedded) Kind() string { return KindEmbedded }

// Ephemeral is true.
func (*Embedded) Ephemeral() bool { return true }

// WithName sets the name of the cluster, of the user and of the context in the kubeconfig.
func (e *Embedded) WithName(name string) support.E2EClusterProvider { e.name = name; return e }

// WithVersion makes Create fail unless the binaries have this version.
func (e *Embedded) WithVersion(version string) support.E2EClusterProvider {
	e.version = version
	return e
}

// WithPath names the directory of kube-apiserver and etcd, in place of those that
// [Binary] finds.
func (e *Embedded) WithPath(path string) support.E2EClusterProvider { e.path = path; return e }

// WithOpts applies opts.
func (e *Embedded) WithOpts(opts ...support.ClusterOpts) support.E2EClusterProvider {
	for _, opt := range opts {
		opt(e)
	}
	return e
}

// SetDefaults does nothing: NewEmbedded has set them.
func (e *Embedded) SetDefaults() support.E2EClusterProvider { return e }

// Create starts etcd and the kube-apiserver and returns the path of the
// administrator's kubeconfig. If ctx ends meanwhile, it ends them.
func (e *Embedded) Create(ctx context.Context, args ...string) (string, error) {
	if len(args) > 0 {
		return "", fmt.Errorf("the embedded control plane takes no arguments, got %q", args)
	}
	if e.plane != nil {
		return e.kubeconfig, nil
	}
	plane, err := e.configure()
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	release := e.group.KillOn(ctx)
	err = plane.Start()
	if !release() {
		return "", errors.Join(ctx.Err(), plane.Stop())
	}
	if err != nil {
		return "", e.explain(err)
	}
	e.plane = plane
	admin, err := plane.AddUser(envtest.User{Name: e.name + "-admin", Groups: []string{"system:masters"}}, &rest.Config{QPS: -1})
	if err != nil {
		return "", fmt.Errorf("make the administrator's certificate: %w", err)
	}
	e.config = admin.Config()
	e.kubeconfig = e.group.Path("admin.kubeconfig")
	if err := WriteKubeconfig(e.kubeconfig, Context{Name: e.name, Config: e.config}); err != nil {
		return "", err
	}
	return e.kubeconfig, nil
}

// configure makes the control plane from files in the group's directory.
func (e *Embedded) configure() (*envtest.ControlPlane, error) {
	etcdPath, err := e.binary(processEtcd)
	if err != nil {
		return nil, err
	}
	serverPath, err := e.binary(processAPIServer)
	if err != nil {
		return nil, err
	}
	etcd, err := configureEtcd(e.group, etcdPath)
	if err != nil {
		return nil, err
	}
	server := &envtest.APIServer{CertDir: e.group.Path(processAPIServer), StartTimeout: startTimeout}
	if err := os.MkdirAll(server.CertDir, 0o700); err != nil {
		return nil, err
	}
	if server.Path, err = e.group.Launcher(processAPIServer, serverPath); err != nil {
		return nil, err
	}
	log, err := e.group.Log(processAPIServer)
	if err != nil {
		return nil, err
	}
	server.Out, server.Err = log, log
	if !e.options.WithoutAggregation {
		if e.frontProxyCA, err = aggregate(server); err != nil {
			return nil, err
		}
	}
	if e.options.AggregatorRouting {
		if e.host, err = HostAddress(); err != nil {
			return nil, fmt.Errorf("route to the endpoints of aggregated servers: %w", err)
		}
		server.Configure().Set("enable-aggregator-routing", "true")
	}
	if e.options.Etcd != nil {
		if etcd.URL, err = freeURL(); err != nil {
			return nil, err
		}
		address, err := e.options.Etcd(etcd.URL.Host)
		if err != nil {
			return nil, err
		}
		server.Configure().Set("etcd-servers", "http://"+address)
	}
	if e.options.AuditLog {
		policy := filepath.Join(server.CertDir, "audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return nil, err
		}
		server.Configure().Set("audit-policy-file", policy).Set("audit-log-path", e.group.Path("audit.log"))
	}
	if e.options.TracingEndpoint != "" {
		config := filepath.Join(server.CertDir, "tracing.yaml")
		if err := os.WriteFile(config, []byte(TracingConfiguration(e.options.TracingEndpoint)), 0o600); err != nil {
			return nil, err
		}
		server.Configure().Set("tracing-config-file", config)
	}
	return &envtest.ControlPlane{APIServer: server, Etcd: etcd}, nil
}

// TracingConfiguration is what --tracing-config-file of an API server says for the spans
// of all requests to go to an endpoint, host:port.
func TracingConfiguration(endpoint string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n" +
		"endpoint: " + endpoint + "\nsamplingRatePerMillion: 1000000\n"
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// aggregate turns the aggregation layer on: the kube-apiserver gets the client
// certificate by which aggregated servers know it, and publishes the CA that
// signed it in the ConfigMap extension-apiserver-authentication.
func aggregate(server *envtest.APIServer) (*certs.CA, error) {
	ca, err := certs.NewCA(FrontProxyCA)
	if err != nil {
		return nil, err
	}
	client, err := ca.Client(FrontProxyName)
	if err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(server.CertDir, name) }
	for name, data := range map[string][]byte{
		"front-proxy-ca.crt":     ca.PEM(),
		"front-proxy-client.crt": client.Cert,
		"front-proxy-client.key": client.Key,
	} {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			return nil, err
		}
	}
	server.Configure().
		Set("requestheader-client-ca-file", path("front-proxy-ca.crt")).
		Set("requestheader-allowed-names", FrontProxyName).
		Set("requestheader-username-headers", "X-Remote-User").
		Set("requestheader-uid-headers", "X-Remote-Uid").
		Set("requestheader-group-headers", "X-Remote-Group").
		Set("requestheader-extra-headers-prefix", "X-Remote-Extra-").
		Set("proxy-client-cert-file", path("front-proxy-client.crt")).
		Set("proxy-client-key-file", path("front-proxy-client.key"))
	return ca, nil
}

// freeURL is one of this host that nobody listens on.
func freeURL() (*url.URL, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("look for a free port: %w", err)
	}
	defer listener.Close()
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}, nil
}

// configureEtcd makes an etcd that keeps its data in the group's directory.
func configureEtcd(group *process.Group, path string) (*envtest.Etcd, error) {
	etcd := &envtest.Etcd{DataDir: group.Path(processEtcd), StartTimeout: startTimeout}
	if err := os.MkdirAll(etcd.DataDir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if etcd.Path, err = group.Launcher(processEtcd, path); err != nil {
		return nil, err
	}
	log, err := group.Log(processEtcd)
	if err != nil {
		return nil, err
	}
	etcd.Out, etcd.Err = log, log
	// envtest turns fsync off to spare its tests the wait. A write that is not on
	// the disk is not what anybody's etcd does, so here it is on.
	etcd.Configure().Set("unsafe-no-fsync", "false")
	return etcd, nil
}

func (e *Embedded) binary(name string) (string, error) {
	if e.path != "" {
		return filepath.Join(e.path, name), nil
	}
	return Binary(name)
}

// explain adds to the error of a start what the process said before it ended.
func (e *Embedded) explain(err error) error {
	for _, name := range []string{processAPIServer, processEtcd} {
		if tail := e.group.LogTail(name, 3); tail != "" {
			return fmt.Errorf("start the control plane: %w; %s said last:\n%s", err, name, tail)
		}
	}
	return fmt.Errorf("start the control plane: %w", err)
}

// CreateWithConfig is refused: there is no configuration file.
func (*Embedded) CreateWithConfig(context.Context, string) (string, error) {
	return "", errors.New("the embedded control plane takes no configuration file: use EmbeddedOptions")
}

// GetKubeconfig returns the path of the administrator's kubeconfig, empty before Create.
func (e *Embedded) GetKubeconfig() string { return e.kubeconfig }

// GenerateKubeconfig returns the path of the administrator's kubeconfig.
func (e *Embedded) GenerateKubeconfig(...string) (string, error) {
	if e.kubeconfig == "" {
		return "", errors.New("the embedded control plane has not been created")
	}
	return e.kubeconfig, nil
}

// GetKubectlContext returns the name of the context in the kubeconfig.
func (e *Embedded) GetKubectlContext() string { return e.name }

// KubernetesRestConfig returns the administrator's client configuration, without
// a rate limit. It is nil before Create.
func (e *Embedded) KubernetesRestConfig() *rest.Config { return e.config }

// WaitForControlPlane waits until the namespace default exists: the kube-apiserver
// makes it once it can serve.
func (e *Embedded) WaitForControlPlane(ctx context.Context, client klient.Client) error {
	if e.version != "" {
		if err := checkVersion(e.config, e.version); err != nil {
			return err
		}
	}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		return client.Resources().Get(ctx, "default", "", &corev1.Namespace{}) == nil, nil
	})
	if err != nil {
		return e.explain(fmt.Errorf("wait for the namespace default: %w", err))
	}
	return nil
}

// Etcd returns the URL of the control plane's own etcd: both implementations
// write to the same one.
func (e *Embedded) Etcd(context.Context) ([]string, error) {
	return []string{e.plane.Etcd.URL.String()}, nil
}

// Address is localhost, or this host's own address with AggregatorRouting, and a
// port of the server's choice.
func (e *Embedded) Address() (string, int) { return e.host, 0 }

// HostAddress returns an IPv4 address of this host that an EndpointSlice may have:
// neither loopback nor link-local.
func HostAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("look for the addresses of this host: %w", err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String(), nil
		}
	}
	return "", errors.New("this host has no IPv4 address apart from loopback and link-local ones, which EndpointSlices must not have")
}

// User makes a client certificate.
func (e *Embedded) User(_ context.Context, name string) (*rest.Config, Credential, error) {
	var groups []string
	if e.options.TracingEndpoint != "" {
		groups = append(groups, "system:monitoring")
	}
	user, err := e.plane.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		return nil, "", fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	return user.Config(), ClientCertificate, nil
}

// CA returns the front-proxy CA.
func (e *Embedded) CA(name string) (*certs.CA, error) {
	if name != FrontProxyCA || e.frontProxyCA == nil {
		return nil, fmt.Errorf("the embedded control plane has no CA %q", name)
	}
	return e.frontProxyCA, nil
}

// AuditLog returns what the kube-apiserver has written there so far, an entry a line. The
// last line may be cut off.
func (e *Embedded) AuditLog(context.Context) ([]byte, error) {
	if !e.options.AuditLog {
		return nil, errors.New("the embedded control plane was started without EmbeddedOptions.AuditLog")
	}
	return os.ReadFile(e.group.Path("audit.log"))
}

// ExportLogs copies the logs of the processes to the directory dest.
func (e *Embedded) ExportLogs(_ context.Context, dest string) error {
	return e.group.CopyLogs(dest)
}

// Destroy ends the processes. Destroying what was not created is no error.
func (e *Embedded) Destroy(context.Context) error {
	if e.plane == nil {
		return nil
	}
	err := e.plane.Stop()
	e.plane = nil
	return err
}
