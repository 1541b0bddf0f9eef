package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/support"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	kindexec "sigs.k8s.io/kind/pkg/exec"

	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/images"
	"portrule.example/lab/compare/process"
)

// KindOptions choose what a kind cluster is, and whose.
type KindOptions struct {
	// Dir is the directory of the lab that keeps the cluster beyond this process once
	// [Kind.Keep] is called, and finds it again by its name. Empty means that the cluster
	// ends with this process.
	Dir string
	// AuditLog makes the kube-apiserver write one line of JSON for each request,
	// metadata only, into [AuditLogPath] of its node.
	AuditLog bool
	// AggregatorRouting makes the kube-apiserver choose among the endpoints of an
	// aggregated server's Service itself. kubeadm leaves it off: requests go to the
	// Service's own address, and kube-proxy chooses for each connection.
	AggregatorRouting bool
	// TracingEndpoint is the host:port at which the kube-apiserver reaches an OTLP
	// receiver, for the spans of all requests. Empty means no tracing.
	TracingEndpoint string
	// Say, unless it is nil, is told each step as it begins.
	Say func(step string)
}

// Kind is a cluster of containers that sigs.k8s.io/kind makes: one node with all that
// a cluster has.
type Kind struct {
	group   *process.Group
	options KindOptions

	name    string
	version string
	engine  engine
	kind    *kindcluster.Provider
	claim   *claim
	// created is whether this process has made the cluster, and so ends it.
	created bool
	config  *rest.Config
	etcd    hostEtcd
}

var _ support.E2EClusterProviderWithImageLoader = &Kind{}
var _ Provider = &Kind{}

// NewKind returns a cluster that is yet to be created, or found. What runs on this
// host for its sake belongs to group.
func NewKind(group *process.Group, name string, options KindOptions) *Kind {
	if options.Say == nil {
		options.Say = func(string) {}
	}
	return &Kind{group: group, name: name, options: options, etcd: hostEtcd{group: group}}
}

// Kind is "kind".
func (*Kind) Kind() string { return KindKind }

// Ephemeral is true: what is made in the cluster ends with it.
func (*Kind) Ephemeral() bool { return true }

// WithName sets the name of the cluster.
func (k *Kind) WithName(name string) support.E2EClusterProvider { k.name = name; return k }

// WithVersion makes WaitForControlPlane fail unless Kubernetes has this version.
func (k *Kind) WithVersion(version string) support.E2EClusterProvider { k.version = version; return k }

// WithPath does nothing: kind is a library here.
func (k *Kind) WithPath(string) support.E2EClusterProvider { return k }

// WithOpts applies opts.
func (k *Kind) WithOpts(opts ...support.ClusterOpts) support.E2EClusterProvider {
	for _, opt := range opts {
		opt(k)
	}
	return k
}

// SetDefaults does nothing: NewKind has set them.
func (k *Kind) SetDefaults() support.E2EClusterProvider { return k }

// nameFormat is what kind accepts, short enough for a node's host name.
var nameFormat = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$`)

// CheckName says whether kind can give a cluster that name.
func CheckName(name string) error {
	if !nameFormat.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a kind cluster: use up to 48 lower-case letters, digits and hyphens", name)
	}
	return nil
}

// Create makes the cluster and returns the path of the administrator's kubeconfig. If
// the lab in options.Dir keeps a cluster of that name it is used as it is. What an
// interrupted run has left of such a cluster is replaced; a cluster that is somebody
// else's is an error. If ctx ends meanwhile, nothing is left.
func (k *Kind) Create(ctx context.Context, args ...string) (_ string, err error) {
	if len(args) > 0 {
		return "", fmt.Errorf("a kind cluster takes no arguments, got %q", args)
	}
	if k.config != nil {
		return k.GetKubeconfig(), nil
	}
	if err := CheckName(k.name); err != nil {
		return "", err
	}
	if k.engine, err = findEngine(ctx); err != nil {
		return "", err
	}
	if k.claim, err = lockClaim(k.name); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			// whatever ended the work must not end the cleaning up
			err = errors.Join(err, k.Destroy(context.WithoutCancel(ctx)))
		}
	}()
	found, err := k.find()
	if err != nil {
		return "", err
	}
	if !found || !k.claim.Complete || k.options.Dir == "" || k.claim.Dir != k.options.Dir {
		if err := k.make(ctx, found); err != nil {
			return "", err
		}
	} else if want := k.options.features(); k.claim.Features != want {
		return "", fmt.Errorf("the kind cluster %q is up with another kube-apiserver (%s) than is asked for (%s): run \"make down\" first", k.name, k.claim.Features, want)
	}
	if err := k.connect(); err != nil {
		return "", err
	}
	return k.GetKubeconfig(), nil
}

// find says whether the cluster exists, which is an error if it is somebody else's.
func (k *Kind) find() (bool, error) {
	if k.claim.made() {
		k.engine = k.claim.Engine
	}
	k.kind = kindcluster.NewProvider(k.engine.option(), kindcluster.ProviderWithLogger(stepLogger{k.options.Say}))
	clusters, err := k.kind.List()
	if err != nil {
		return false, explainKind(err, k.engine)
	}
	found := slices.Contains(clusters, k.name)
	if !found {
		return false, nil
	}
	taken := fmt.Errorf("there is a kind cluster %q already, which is not the lab's: choose another name with --name, or delete it (\"kind delete cluster --name %s\")", k.name, k.name)
	if !k.claim.made() {
		return true, taken
	}
	if dir := k.claim.Dir; dir != "" && dir != k.options.Dir {
		if _, err := os.Stat(dir); err == nil {
			return true, fmt.Errorf("the kind cluster %q is that of the lab in %s: end it there (\"make down\"), or choose another name with --name", k.name, dir)
		}
	}
	// the configuration of a node that is not running, or has none yet, is not readable
	node, err := k.node()
	if err != nil {
		return true, err
	}
	if config, err := kindexec.Output(node.Command("cat", "/kind/kubeadm.conf")); err == nil && !bytes.Contains(config, []byte(k.claim.ID)) {
		return true, taken
	}
	return true, nil
}

// make creates the cluster, in place of what is left of another one if there is any.
func (k *Kind) make(ctx context.Context, replace bool) error {
	if replace {
		k.options.Say(fmt.Sprintf("removing the kind cluster %q, which an interrupted run has left", k.name))
		if err := k.delete(); err != nil {
			return err
		}
		k.claim.ID = ""
	}
	image := NodeImage()
	if err := k.engine.pull(ctx, image, k.options.Say); err != nil {
		return err
	}
	config, err := k.configure(image)
	if err != nil {
		return err
	}
	k.claim.Engine, k.claim.Dir, k.claim.Features, k.claim.Complete = k.engine, k.options.Dir, k.options.features(), false
	if err := k.claim.write(); err != nil {
		return err
	}
	k.created = true
	if err := k.group.LastWill(fmt.Sprintf("%[1]s ps --all --quiet --filter label=io.x-k8s.kind.cluster=%[2]s | xargs -r %[1]s rm --force --volumes", k.engine, k.name)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = k.kind.Create(k.name,
			kindcluster.CreateWithV1Alpha4Config(config),
			kindcluster.CreateWithKubeconfigPath(k.kindKubeconfig()))
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), k.abandon(done))
	}
	if err != nil {
		return explainKind(err, k.engine)
	}
	k.claim.Complete = true
	return k.claim.write()
}

// abandon ends a creation, which nothing interrupts but the loss of its node.
func (k *Kind) abandon(done <-chan struct{}) error {
	for {
		err := k.delete()
		select {
		case <-done:
			return k.delete()
		case <-time.After(200 * time.Millisecond):
		}
		if err != nil {
			return err
		}
	}
}

// delete removes the nodes.
func (k *Kind) delete() error {
	if err := k.kind.Delete(k.name, k.kindKubeconfig()); err != nil {
		return fmt.Errorf("delete the kind cluster %q: %w; try \"kind delete cluster --name %s\"", k.name, err, k.name)
	}
	return nil
}

// kindKubeconfig is a kubeconfig for kind to write into: not that of the user.
func (k *Kind) kindKubeconfig() string { return k.group.Path("kind.kubeconfig") }

// connect reads how the cluster is reached. Its port changes when its node is restarted.
func (k *Kind) connect() error {
	text, err := k.kind.KubeConfig(k.name, false)
	if err != nil {
		return fmt.Errorf("the kind cluster %q is there but does not run: %w; if its node does not start (\"%s start %s-control-plane\"), run \"make down\" and try again",
			k.name, explainKind(err, k.engine), k.engine, k.name)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
	if err != nil {
		return fmt.Errorf("read the kubeconfig of kind: %w", err)
	}
	config.QPS = -1
	k.config = config
	return WriteKubeconfig(k.GetKubeconfig(), Context{Name: k.GetKubectlContext(), Config: config})
}

// CreateWithConfig is refused: what a comparison needs is in KindOptions.
func (*Kind) CreateWithConfig(context.Context, string) (string, error) {
	return "", errors.New("a kind cluster takes no configuration file here: use KindOptions")
}

// GetKubeconfig returns the path of the administrator's kubeconfig.
func (k *Kind) GetKubeconfig() string { return k.group.Path("admin.kubeconfig") }

// GenerateKubeconfig returns the same.
func (k *Kind) GenerateKubeconfig(...string) (string, error) { return k.GetKubeconfig(), nil }

// GetKubectlContext returns the name of the context in the kubeconfig.
func (k *Kind) GetKubectlContext() string { return "kind-" + k.name }

// KubernetesRestConfig returns the administrator's client configuration, without a
// rate limit. It is nil before Create. That administrator is in the group
// kubeadm:cluster-admins, and has all rights by RBAC.
func (k *Kind) KubernetesRestConfig() *rest.Config { return k.config }

// WaitForControlPlane waits until the kube-apiserver is ready. The node may not be yet.
func (k *Kind) WaitForControlPlane(ctx context.Context, client klient.Client) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		last = client.Resources().Get(ctx, "default", "default", &corev1.ServiceAccount{})
		return last == nil, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the kind cluster %q does not answer: %w; look at its node with \"%s logs %s-control-plane\", or run \"make down\" and try again", k.name, last, k.engine, k.name)
	}
	if err == nil && k.version != "" {
		err = checkVersion(k.config, k.version)
	}
	return err
}

// Others returns the names of the other kind clusters of this host, which share its
// cores.
func (k *Kind) Others() ([]string, error) {
	clusters, err := k.kind.List()
	if err != nil {
		return nil, explainKind(err, k.engine)
	}
	return slices.DeleteFunc(clusters, func(name string) bool { return name == k.name }), nil
}

// node returns the node of the control plane.
func (k *Kind) node() (nodes.Node, error) {
	all, err := k.kind.ListInternalNodes(k.name)
	if err != nil {
		return nil, fmt.Errorf("look for the nodes of the kind cluster %q: %w", k.name, err)
	}
	for _, node := range all {
		if role, err := node.Role(); err == nil && role == "control-plane" {
			return node, nil
		}
	}
	return nil, fmt.Errorf("the kind cluster %q has no control plane: run \"make down\" and try again", k.name)
}

// Load makes every node have an image, and returns whether one of them lacked it.
func (k *Kind) Load(ctx context.Context, image *images.Image) (bool, error) {
	return k.load(ctx, image.Reference(), image.ID(), func(node nodes.Node) error {
		reader, writer := io.Pipe()
		go func() { writer.CloseWithError(image.WriteArchive(writer)) }()
		defer reader.Close()
		return nodeutils.LoadImageArchive(node, reader)
	})
}

func (k *Kind) load(ctx context.Context, reference, id string, load func(nodes.Node) error) (bool, error) {
	all, err := k.kind.ListInternalNodes(k.name)
	if err != nil {
		return false, fmt.Errorf("look for the nodes of the kind cluster %q: %w", k.name, err)
	}
	loaded := false
	for _, node := range all {
		if err := ctx.Err(); err != nil {
			return loaded, err
		}
		if id != "" {
			if got, err := nodeutils.ImageID(node, reference); err == nil && got == id {
				continue
			}
		}
		if err := load(node); err != nil {
			return loaded, fmt.Errorf("load the image %s into %s: %w", reference, node, explainKind(err, k.engine))
		}
		loaded = true
	}
	return loaded, nil
}

// LoadImage makes every node have an image that the container engine of this host has.
func (k *Kind) LoadImage(ctx context.Context, image string, args ...string) error {
	archive := k.group.Path("image.tar")
	defer os.Remove(archive)
	if err := k.engine.run(ctx, "save", "--output", archive, image); err != nil {
		return err
	}
	return k.LoadImageArchive(ctx, archive, args...)
}

// LoadImageArchive makes every node have the images of an archive, as docker save and
// make images write them.
func (k *Kind) LoadImageArchive(ctx context.Context, archive string, args ...string) error {
	if len(args) > 0 {
		return fmt.Errorf("loading an image takes no arguments, got %q", args)
	}
	_, err := k.load(ctx, archive, "", func(node nodes.Node) error {
		file, err := os.Open(archive)
		if err != nil {
			return err
		}
		defer file.Close()
		return nodeutils.LoadImageArchive(node, file)
	})
	return err
}

// MakeDirectory makes a directory in the node, for the user alone, unless it exists.
func (k *Kind) MakeDirectory(path string, user int64) error {
	node, err := k.node()
	if err != nil {
		return err
	}
	owner := strconv.FormatInt(user, 10)
	if err := node.Command("install", "--directory", "--mode=0700", "--owner="+owner, "--group="+owner, path).Run(); err != nil {
		return fmt.Errorf("make the directory %s in %s: %w", path, node, explainKind(err, k.engine))
	}
	return nil
}

// CA returns one of the CAs of the cluster, which kubeadm keeps beside the
// kube-apiserver: [FrontProxyCA], and "ca", which signs users and the kube-apiserver's
// own serving certificate.
func (k *Kind) CA(name string) (*certs.CA, error) {
	node, err := k.node()
	if err != nil {
		return nil, err
	}
	path := "/etc/kubernetes/pki/" + name
	cert, err := kindexec.Output(node.Command("cat", path+".crt"))
	if err != nil {
		return nil, fmt.Errorf("read %s.crt in %s: %w", path, node, err)
	}
	key, err := kindexec.Output(node.Command("cat", path+".key"))
	if err != nil {
		return nil, fmt.Errorf("read %s.key in %s: %w", path, node, err)
	}
	return certs.Load(cert, key)
}

// Etcd starts an etcd on this host, for servers that run here: that of the cluster is
// its kube-apiserver's alone.
func (k *Kind) Etcd(ctx context.Context) ([]string, error) { return k.etcd.start(ctx) }

// Address is the address of this host on the network of the nodes, and any port.
func (k *Kind) Address() (string, int) {
	node, err := k.node()
	if err != nil {
		return "localhost", 0
	}
	ip, _, err := node.IP()
	if err != nil {
		return "localhost", 0
	}
	return localAddress("https://" + ip), 0
}

// User has a client certificate signed by the cluster's own CA, as a
// CertificateSigningRequest that is approved.
func (k *Kind) User(ctx context.Context, name string) (*rest.Config, Credential, error) {
	client, err := kubernetes.NewForConfig(k.config)
	if err != nil {
		return nil, "", err
	}
	config, err := signedUser(ctx, client, k.config, name)
	return config, ClientCertificate, err
}

// AuditLog returns what the kube-apiserver has written there so far, an entry a line. The
// last line may be cut off.
func (k *Kind) AuditLog(ctx context.Context) ([]byte, error) {
	if !k.options.AuditLog {
		return nil, fmt.Errorf("the kind cluster %q was started without KindOptions.AuditLog", k.name)
	}
	node, err := k.node()
	if err != nil {
		return nil, err
	}
	log, err := kindexec.Output(node.CommandContext(ctx, "cat", AuditLogPath))
	if err != nil {
		return nil, fmt.Errorf("read %s in %s: %w", AuditLogPath, node, explainKind(err, k.engine))
	}
	return log, nil
}

// ExportLogs copies to the directory dest the logs of the cluster, its Pods and its
// node, and those of the processes of this host.
func (k *Kind) ExportLogs(_ context.Context, dest string) error {
	if err := k.group.CopyLogs(dest); err != nil {
		return err
	}
	if err := k.kind.CollectLogs(k.name, filepath.Join(dest, "kind")); err != nil {
		return fmt.Errorf("export the logs of the kind cluster %q: %w", k.name, err)
	}
	return nil
}

// Keep leaves the cluster to the lab in options.Dir: Destroy does not end it any more.
func (k *Kind) Keep() error {
	k.created = false
	return k.group.LastWill("")
}

// Destroy ends the cluster if this process has created it and not kept it, and what
// runs on this host.
func (k *Kind) Destroy(context.Context) error {
	if k.claim == nil {
		return nil
	}
	errs := []error{k.etcd.stop()}
	if k.created {
		errs = append(errs, k.end())
	} else {
		errs = append(errs, k.claim.unlock())
	}
	k.claim, k.config = nil, nil
	return errors.Join(errs...)
}

// end deletes the cluster and, once it is gone, the claim.
func (k *Kind) end() error {
	if err := k.delete(); err != nil {
		return errors.Join(err, k.claim.unlock())
	}
	k.created = false
	return errors.Join(k.claim.remove(), k.group.LastWill(""))
}

// Remove ends a cluster that the lab in options.Dir keeps.
func (k *Kind) Remove() error {
	var err error
	if k.claim, err = lockClaim(k.name); err != nil {
		return err
	}
	found, err := k.find()
	if err != nil {
		return errors.Join(err, k.claim.unlock())
	}
	if !found {
		return k.claim.remove()
	}
	return k.end()
}
