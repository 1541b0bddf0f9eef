package testbed_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiregistration "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"portrule.example/lab/aggregated/certificates"
	"portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// manifestsDir is what users name: kubectl apply -k aggregated/manifests.
const manifestsDir = "../../aggregated/manifests"

// registrations are the names of the APIServices.
var registrations = []string{v1.Version + "." + api.Group, v2.Version + "." + api.Group}

// What an installer takes from package manifests is what kubectl takes from the
// directory, apart from the labels that the kustomization adds.
func TestKustomizationIsAll(t *testing.T) {
	stdout, _ := kubectl(t, "kustomize", manifestsDir)
	built := readObjects(t, stdout)
	for _, object := range built {
		labels := object.GetLabels()
		delete(labels, "app.kubernetes.io/part-of")
		delete(labels, "app.kubernetes.io/component")
		if len(labels) == 0 {
			labels = nil
		}
		object.SetLabels(labels)
	}
	all := readObjects(t, manifests.All())
	slices.SortFunc(built, byName)
	slices.SortFunc(all, byName)
	equal(t, "the number of objects", len(built), len(all))
	for i := range min(len(built), len(all)) {
		equal(t, describe(all[i]), built[i].Object, all[i].Object)
	}
}

// The Pods do without every privilege that the Pod Security Standard "restricted"
// takes away, which the namespace enforces.
func TestPodsAreRestricted(t *testing.T) {
	ctx := t.Context()
	const namespace = "restricted"
	config := rest.CopyConfig(bed.Admin)
	warnings := &warnings{}
	config.WarningHandler = warnings
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	all := readObjects(t, manifests.All())
	labels := find(t, all, "Namespace", manifests.Namespace).GetLabels()
	if _, err := clientset.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: labels},
	}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for name, template := range podTemplates(t, all) {
		create := func() error {
			_, err := clientset.CoreV1().Pods(namespace).Create(ctx,
				&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template.Spec},
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
			return err
		}
		if err := create(); err != nil {
			t.Errorf("a Pod of %s: %v", name, err)
		}
		template.Spec.Containers[0].SecurityContext.Capabilities = nil
		if err := create(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "unrestricted capabilities") {
			t.Errorf("a Pod of %s that keeps its capabilities: got %v, want that it is forbidden", name, err)
		}
	}
	if len(*warnings) > 0 {
		t.Errorf("got warnings:\n%s", strings.Join(*warnings, "\n"))
	}
}

// The server may read one Secret, its own, and give its CA to its own APIServices.
func TestServerRole(t *testing.T) {
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	secret := func(verb, namespace, name string) authorizationv1.ResourceAttributes {
		return authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "secrets", Namespace: namespace, Name: name}
	}
	registration := func(verb, name string) authorizationv1.ResourceAttributes {
		return authorizationv1.ResourceAttributes{Verb: verb, Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices", Name: name}
	}
	const system = manifests.Namespace
	for _, test := range []struct {
		asked   authorizationv1.ResourceAttributes
		allowed bool
	}{
		{secret("list", system, manifests.Secret), true}, // by its field selector
		{secret("watch", system, manifests.Secret), true},
		{secret("update", system, manifests.Secret), true},
		{secret("delete", system, manifests.Secret), false},
		{secret("list", system, ""), false},
		{secret("watch", system, ""), false},
		{secret("create", system, ""), false},
		{secret("get", system, "portrule-controller-certs"), false},
		{secret("list", system, "portrule-controller-certs"), false},
		{secret("update", system, "portrule-controller-certs"), false},
		{secret("list", "kube-system", manifests.Secret), false},
		{secret("list", "", ""), false},
		{registration("update", v2.Version+"."+api.Group), true},
		{registration("update", v1.Version+"."+api.Group), true},
		{registration("update", "v1.apps"), false},
		{registration("delete", v2.Version+"."+api.Group), false},
	} {
		review, err := clientset.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + system + ":" + manifests.Name,
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + system, "system:authenticated"},
				ResourceAttributes: &test.asked,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if a := test.asked; review.Status.Allowed != test.allowed {
			t.Errorf("it may %s %s %q in %q: got %t, want %t", a.Verb, a.Resource, a.Name, a.Namespace, review.Status.Allowed, test.allowed)
		}
	}
}

// An empty cluster takes the manifests as they are, and the programs run with the
// arguments and the roles that the manifests give them: one of two servers makes the
// certificate, they serve with it once it is mounted, and it is renewed. The test is
// the kubelet.
func TestManifests(t *testing.T) {
	c := startCluster(t)
	stdout, stderr := kubectl(t, "apply", "--kubeconfig="+c.kubeconfig, "--server-side", "--validate=strict", "-k", manifestsDir)
	equal(t, "the number of objects applied", bytes.Count(stdout, []byte(" serverside-applied\n")), len(readObjects(t, manifests.All())))
	equal(t, "warnings", string(stderr), "")
	c.lead(t)

	// the Secret is empty, and so is the directory
	server, other := c.startServer(t, manifests.Name), c.startServer(t, "another", "--secure-port="+freePort(t))
	var first *corev1.Secret
	eventually(t, "there is a certificate, and the APIServices have its CA", func() error {
		first = c.secret(t)
		return c.rotated(t, server, first)
	})
	c.mount(t, first)
	etcd := c.startEtcd(t)
	c.serves(t, server, first)
	c.answerProbes(t, "Deployment", manifests.Name)
	c.answerProbes(t, "StatefulSet", manifests.EtcdName)

	// as when it is about to end: the CA is kept
	if _, err := c.clientset.CoreV1().Secrets(manifests.Namespace).Patch(t.Context(), manifests.Secret,
		types.MergePatchType, []byte(`{"data":{"tls.crt":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	var second *corev1.Secret
	eventually(t, "there is another certificate of the same CA", func() error {
		second = c.secret(t)
		if bytes.Equal(second.Data["tls.crt"], first.Data["tls.crt"]) {
			return errors.New("it is the first one still")
		}
		return c.rotated(t, server, second)
	})
	equal(t, "the CA", string(second.Data["ca.crt"]), string(first.Data["ca.crt"]))
	c.mount(t, second)
	c.serves(t, server, second)

	// an installer fills the Secret with what it has made: it is left as it is
	for _, program := range []*process.Process{server, other, etcd} {
		if err := program.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	installed, err := certificates.New()
	if err != nil {
		t.Fatal(err)
	}
	third := c.secret(t)
	third.Data = installed
	if third, err = c.clientset.CoreV1().Secrets(manifests.Namespace).Update(t.Context(), third, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.mount(t, third)
	c.startEtcd(t)
	server = c.startServer(t, manifests.Name)
	eventually(t, "the APIServices have the installer's CA", func() error { return c.rotated(t, server, third) })
	c.serves(t, server, third)
	equal(t, "what the Secret holds", c.secret(t).Data, third.Data)

	for _, name := range []string{manifests.Name, "another"} {
		log, err := os.ReadFile(c.group.LogPath(name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(bytes.ToLower(log), []byte("forbidden")) {
			t.Errorf("the server's roles lack something:\n%s", log)
		}
	}
}

// emptyCluster is a control plane on which nothing is installed but the manifests.
type emptyCluster struct {
	group         *process.Group
	admin         *rest.Config
	kubeconfig    string
	clientset     kubernetes.Interface
	registrations apiregistration.Interface
	// ports are those of this host, by the ports that containers have.
	ports map[int32]string
	// here says what is where on this host, in the arguments of containers.
	here *strings.Replacer
}

// The ports of containers.
const (
	serverPort     = 8443
	etcdPort       = 2379
	etcdHealthPort = 2381
)

func startCluster(t *testing.T) *emptyCluster {
	t.Helper()
	group := startGroup(t)
	var err error
	provider := cluster.NewEmbedded(group, cluster.EmbeddedOptions{})
	c := &emptyCluster{group: group, ports: map[int32]string{}}
	if c.kubeconfig, err = provider.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := provider.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c.admin = provider.KubernetesRestConfig()
	if c.clientset, err = kubernetes.NewForConfig(c.admin); err != nil {
		t.Fatal(err)
	}
	if c.registrations, err = apiregistration.NewForConfig(c.admin); err != nil {
		t.Fatal(err)
	}
	for _, port := range []int32{serverPort, etcdPort, etcdHealthPort} {
		c.ports[port] = freePort(t)
	}
	c.here = strings.NewReplacer(
		"/etc/portrule-apiserver/certs", group.Path("certs"),
		"/var/lib/etcd/data", group.Path("data"),
		"https://"+manifests.EtcdName+"."+manifests.Namespace+".svc:2379", "https://localhost:"+c.ports[etcdPort],
		"0.0.0.0:2379", "127.0.0.1:"+c.ports[etcdPort],
		"0.0.0.0:2381", "127.0.0.1:"+c.ports[etcdHealthPort],
		"--secure-port=8443", "--secure-port="+c.ports[serverPort],
	)
	return c
}

// lead makes the Service lead to this host, where it would lead to the Pods.
func (c *emptyCluster) lead(t *testing.T) {
	t.Helper()
	patch := `{"spec":{"type":"ExternalName","externalName":"localhost","selector":null,"clusterIP":null,"clusterIPs":null}}`
	if _, err := c.clientset.CoreV1().Services(manifests.Namespace).Patch(t.Context(), manifests.Name,
		types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range registrations {
		if _, err := c.registrations.ApiregistrationV1().APIServices().Patch(t.Context(), name,
			types.MergePatchType, []byte(`{"spec":{"service":{"port":`+c.ports[serverPort]+`}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// startServer runs a Pod's server. The flags that are added stand for what a Pod has:
// the token of its service account, and an address of its own. No kube-proxy is to be
// waited for.
func (c *emptyCluster) startServer(t *testing.T, name string, flags ...string) *process.Process {
	t.Helper()
	account, err := cluster.ServiceAccount(t.Context(), c.clientset, c.admin, manifests.Namespace, manifests.Name)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := c.group.Path("account.kubeconfig")
	if err := cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: manifests.Name, Config: account}); err != nil {
		t.Fatal(err)
	}
	return c.start(t, name, container(t, "Deployment", manifests.Name), append([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--shutdown-delay-duration=0s",
	}, flags...)...)
}

// startEtcd runs the Pod's etcd. No other etcd of this host has its port for members.
func (c *emptyCluster) startEtcd(t *testing.T) *process.Process {
	t.Helper()
	return c.start(t, manifests.EtcdName, container(t, "StatefulSet", manifests.EtcdName), "--listen-peer-urls=http://127.0.0.1:0")
}

// start runs the program of a container with the arguments that the manifests give it,
// and more.
func (c *emptyCluster) start(t *testing.T, name string, container corev1.Container, more ...string) *process.Process {
	t.Helper()
	program := manifests.Name // the entrypoint of the image
	if len(container.Command) > 0 {
		program = container.Command[0]
	}
	path, err := cluster.Binary(program)
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, arg := range container.Args {
		args = append(args, c.here.Replace(arg))
	}
	running, err := c.group.Start(name, path, append(args, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	return running
}

// answerProbes waits until all that kubelet asks a container is answered well.
func (c *emptyCluster) answerProbes(t *testing.T, kind, name string) {
	t.Helper()
	container := container(t, kind, name)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // kubelet does not verify either
	}}
	defer client.CloseIdleConnections()
	for what, probe := range map[string]*corev1.Probe{
		"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe,
	} {
		if probe == nil {
			t.Errorf("%s has no probe of its %s", name, what)
			continue
		}
		url := strings.ToLower(cmp.Or(string(probe.HTTPGet.Scheme), "http")) + "://127.0.0.1:"
		for _, port := range container.Ports {
			if port.Name == probe.HTTPGet.Port.StrVal {
				url += c.ports[port.ContainerPort] + probe.HTTPGet.Path
			}
		}
		eventually(t, name+" answers the probe of its "+what, func() error {
			response, err := client.Get(url)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", url, response.Status)
			}
			return nil
		})
	}
}

func (c *emptyCluster) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	secret, err := c.clientset.CoreV1().Secrets(manifests.Namespace).Get(t.Context(), manifests.Secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// rotated is nil if the Secret is complete and the APIServices have its CA.
func (c *emptyCluster) rotated(t *testing.T, server *process.Process, secret *corev1.Secret) error {
	t.Helper()
	if server.Ended() {
		t.Fatalf("%v; it said last:\n%s", server.Err(), c.group.LogTail(manifests.Name, 5))
	}
	for _, key := range []string{"ca.crt", "ca.key", "tls.crt", "tls.key"} {
		if len(secret.Data[key]) == 0 {
			return fmt.Errorf("the Secret has no %s; the server says:\n%s", key, c.group.LogTail(manifests.Name, 3))
		}
	}
	for _, name := range registrations {
		registration, err := c.registrations.ApiregistrationV1().APIServices().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !bytes.Equal(registration.Spec.CABundle, secret.Data["ca.crt"]) {
			return fmt.Errorf("APIService %s has another CA; the server says:\n%s", name, c.group.LogTail(manifests.Name, 3))
		}
	}
	return nil
}

// mount writes the files of the Secret's volume in the way of kubelet: all change at
// once, by a link to another directory, and then the old one goes.
func (c *emptyCluster) mount(t *testing.T, secret *corev1.Secret) {
	t.Helper()
	dir := c.group.Path("certs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := os.MkdirTemp(dir, "..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(data, name), secret.Data[name], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "..data")
	old, _ := os.Readlink(link)
	if err := errors.Join(os.Symlink(filepath.Base(data), link+"_tmp"), os.Rename(link+"_tmp", link)); err != nil {
		t.Fatal(err)
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
}

// serves waits until the server answers with the Secret's certificate, and through the
// kube-apiserver, and keeps a PortRule.
func (c *emptyCluster) serves(t *testing.T, server *process.Process, secret *corev1.Secret) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data["ca.crt"])
	want, _ := pem.Decode(secret.Data["tls.crt"])
	eventually(t, "the server serves with the certificate in the Secret", func() error {
		if server.Ended() {
			t.Fatalf("%v; it said last:\n%s", server.Err(), c.group.LogTail(manifests.Name, 5))
		}
		conn, err := tls.Dial("tcp", "127.0.0.1:"+c.ports[serverPort], &tls.Config{
			RootCAs: roots, ServerName: manifests.Name + "." + manifests.Namespace + ".svc", MinVersion: tls.VersionTLS12,
		})
		if err != nil {
			return err
		}
		defer conn.Close()
		if !bytes.Equal(conn.ConnectionState().PeerCertificates[0].Raw, want.Bytes) {
			return errors.New("it serves with another")
		}
		return nil
	})
	gvr := implementations["aggregated-v2"]
	eventually(t, "a rule can be written through the kube-apiserver", func() error {
		_, err := clientIn(t, c.admin, gvr, "default").Apply(t.Context(), "rule", portRule(gvr, "rule", nginx(gvr)), metav1.ApplyOptions{FieldManager: "test"})
		return err
	})
}

// kubectl runs bin/kubectl and returns what it says.
func kubectl(t *testing.T, args ...string) (stdout, stderr []byte) {
	t.Helper()
	program, err := cluster.Binary("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, errOut.Bytes())
	}
	return out.Bytes(), errOut.Bytes()
}

// readObjects reads a manifest.
func readObjects(t *testing.T, manifest []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// podTemplates are those of Deployments and StatefulSets, by name.
func podTemplates(t *testing.T, objects []*unstructured.Unstructured) map[string]corev1.PodTemplateSpec {
	t.Helper()
	templates := map[string]corev1.PodTemplateSpec{}
	for _, object := range objects {
		var err error
		switch object.GetKind() {
		case "Deployment":
			var deployment appsv1.Deployment
			err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &deployment, true)
			templates[object.GetName()] = deployment.Spec.Template
		case "StatefulSet":
			var set appsv1.StatefulSet
			err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &set, true)
			templates[object.GetName()] = set.Spec.Template
			// its controller adds the volumes of the claims
			for _, claim := range set.Spec.VolumeClaimTemplates {
				template := templates[object.GetName()]
				template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + object.GetName() + "-0"},
				}})
				templates[object.GetName()] = template
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(templates) == 0 {
		t.Fatal("there is no Pod")
	}
	return templates
}

// container is that of the Pods of a Deployment or StatefulSet.
func container(t *testing.T, kind, name string) corev1.Container {
	t.Helper()
	object := find(t, readObjects(t, manifests.All()), kind, name)
	return podTemplates(t, []*unstructured.Unstructured{object})[name].Spec.Containers[0]
}

func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

func describe(object *unstructured.Unstructured) string {
	return object.GetAPIVersion() + " " + object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

func byName(a, b *unstructured.Unstructured) int { return strings.Compare(describe(a), describe(b)) }

// warnings are those of the API server.
type warnings []string

func (w *warnings) HandleWarningHeader(_ int, _, text string) { *w = append(*w, text) }
