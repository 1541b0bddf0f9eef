package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// The first way to run the server: Pods behind a Service, two of them.
func TestInCluster(t *testing.T) {
	needs(t, "Pods")
	var namespace string
	environment.Test(t, features.New("the server in the cluster").WithLabel("area", "modes").
		WithSetup("a rule", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			namespace = newNamespace(t)
			mustKubectl(t, article(api.Group), "apply", "-n", namespace, "-f", "-")
			return ctx
		}).
		Assess("two Pods are behind its Service", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			slices, err := clientset.DiscoveryV1().EndpointSlices(aggregatedmanifests.Namespace).List(ctx, metav1.ListOptions{
				LabelSelector: discoveryv1.LabelServiceName + "=" + aggregatedmanifests.Name,
			})
			if err != nil {
				t.Fatal(err)
			}
			ready := 0
			for _, slice := range slices.Items {
				for _, endpoint := range slice.Endpoints {
					if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
						ready++
					}
				}
			}
			if ready != 2 {
				t.Errorf("%d endpoints are ready, want 2", ready)
			}
			return ctx
		}).
		Assess("the kube-apiserver vouches for who calls", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			wantCaller(t, api.Group, callerreview.RequestHeader, "kubernetes-admin")
			return ctx
		}).
		Assess("probe and nftables answer", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			rule := "/apis/" + api.Group + "/v2/namespaces/" + namespace + "/portrules/portrule-example/"
			if got := mustKubectl(t, "", "get", "--raw", rule+"nftables"); !strings.Contains(got, "10.0.0.3") {
				t.Errorf("nftables says\n%s", got)
			}
			mustKubectl(t, strings.NewReplacer("portrule-example", "itself", "10.0.0.3", aggregatedmanifests.Name+"."+aggregatedmanifests.Namespace+".svc.cluster.local", "port: 80", "port: 443").Replace(article(api.Group)),
				"apply", "-n", namespace, "-f", "-")
			rule = strings.Replace(rule, "portrule-example", "itself", 1)
			if got := mustKubectl(t, "", "get", "--raw", rule+"probe?count=1"); !strings.Contains(got, `"result":"connected"`) {
				t.Errorf("probe of the server's own Service says\n%s", got)
			}
			return ctx
		}).
		Feature())
}

// The second way: a process outside of the cluster, which a Service without selector
// and an EndpointSlice lead to, with kubeconfigs for what a Pod has by itself. The
// serving certificate is made as the article makes it: for firewalld.default.svc, signed
// by the front-proxy CA. Any CA will do, if the APIService's caBundle names it.
func TestOutOfCluster(t *testing.T) {
	const outside, service, namespace = "outside." + api.Group, "firewalld", "default"
	var server *process.Process
	var objects string
	environment.Test(t, features.New("the server out of the cluster").WithLabel("area", "modes").
		WithSetup("a server on this host", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			host, port := listening(t)
			ca, err := provider.CA(cluster.FrontProxyCA)
			if err != nil {
				t.Fatal(err)
			}
			pair, err := ca.Serving(service + "." + namespace + ".svc")
			if err != nil {
				t.Fatal(err)
			}
			path := func(name string) string { return group.Path("outside-" + name) }
			if err := errors.Join(os.WriteFile(path("tls.crt"), pair.Cert, 0o600), os.WriteFile(path("tls.key"), pair.Key, 0o600)); err != nil {
				t.Fatal(err)
			}
			flags := []string{
				"--group=" + outside, "--bind-address=" + bindAddress(host), "--secure-port=" + port,
				"--tls-cert-file=" + path("tls.crt"), "--tls-private-key-file=" + path("tls.key"),
				"--etcd-servers=" + etcdServers(ctx, t),
			}
			config, err := cluster.ServiceAccount(ctx, clientset, bed.Admin, aggregatedmanifests.Namespace, aggregatedmanifests.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, flag := range []string{"kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"} {
				if err := cluster.WriteKubeconfig(path(flag), cluster.Context{Name: flag, Config: config}); err != nil {
					t.Fatal(err)
				}
				flags = append(flags, "--"+flag+"="+path(flag))
			}
			server = startServer(t, "outside", flags...)
			objects = leadTo(host, port, service, namespace) + registration(outside, service, namespace, port, ca.PEM())
			mustKubectl(t, objects, "apply", "-f", "-")
			return ctx
		}).
		Assess("the kube-apiserver reaches it", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			eventually(t, "the APIService is available", func(context.Context) error {
				if server.Ended() {
					t.Fatalf("%v\n%s", server.Err(), group.LogTail("outside", 5))
				}
				out, err := kubectl(t, "", "get", "apiservice", "v2."+outside, "-o", `jsonpath={.status.conditions[?(@.type=="Available")]}`)
				if err != nil || !strings.Contains(out, `"status":"True"`) {
					return fmt.Errorf("%s (%w); the server said last:\n%s", out, err, group.LogTail("outside", 3))
				}
				return nil
			})
			return ctx
		}).
		Assess("the article's manifest applies", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			namespace := newNamespace(t)
			manifest := strings.Replace(article(outside), "v1", "v2", 1)
			manifest = strings.Replace(manifest, "{name: nginx, host: 10.0.0.3, port: 80, isPremanent: true}", "{service: nginx, endpoint: {host: 10.0.0.3, port: 80}, permanent: true}", 1)
			mustKubectl(t, manifest, "apply", "-n", namespace, "-f", "-")
			if got := mustKubectl(t, "", "get", "-n", namespace, "portrules."+outside, "-o", "name"); !strings.HasSuffix(got, "/portrule-example") {
				t.Errorf("kubectl get says %q", got)
			}
			return ctx
		}).
		Assess("the kube-apiserver vouches for who calls", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			wantCaller(t, outside, callerreview.RequestHeader, "")
			return ctx
		}).
		WithTeardown("the server", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			if out, err := kubectl(t, objects, "delete", "--ignore-not-found", "-f", "-"); err != nil {
				t.Error(out)
			}
			return ctx
		}).
		Feature())
}

// The third way: on a developer's machine with an etcd and nothing else.
func TestStandalone(t *testing.T) {
	environment.Test(t, features.New("the server and an etcd alone").WithLabel("area", "modes").
		Assess("the article's manifest applies", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			dir := filepath.Join(t.TempDir(), "local")
			_, port := listening(t)
			server := startServer(t, "standalone", "--standalone", "--cert-dir="+dir, "--secure-port="+port,
				"--etcd-servers="+etcdServers(ctx, t), "--etcd-prefix=/standalone")
			eventually(t, "the server is ready", func(ctx context.Context) error {
				if server.Ended() {
					t.Fatalf("%v\n%s", server.Err(), group.LogTail("standalone", 5))
				}
				client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")}})
				if err != nil {
					return err // the file is yet to be written
				}
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+port+"/readyz", nil)
				if err != nil {
					return err
				}
				response, err := client.Do(request)
				if err != nil {
					return err
				}
				defer response.Body.Close()
				if response.StatusCode != http.StatusOK {
					return errors.New(response.Status)
				}
				return nil
			})
			// a later --kubeconfig is the one that counts
			kubeconfig := "--kubeconfig=" + filepath.Join(dir, "kubeconfig")
			mustKubectl(t, article(api.Group), kubeconfig, "apply", "-f", "-")
			if got := mustKubectl(t, "", kubeconfig, "get", "portrule"); !strings.Contains(got, "portrule-example") {
				t.Errorf("kubectl get portrule says\n%s", got)
			}
			return ctx
		}).
		Feature())
}

// wantCaller asks the server of a group who it takes kubectl's user for, and by which
// authenticator. An empty user means any.
func wantCaller(t *testing.T, group string, by callerreview.Authenticator, user string) {
	t.Helper()
	out := mustKubectl(t, `{"apiVersion":"`+group+`/v2","kind":"CallerReview"}`, "create", "--validate=false", "-f", "-", "-o", "json")
	var review callerreview.CallerReview
	if err := json.Unmarshal([]byte(out), &review); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if review.Status.Authenticator != by || user != "" && review.Status.UserInfo.Username != user {
		t.Errorf("the server takes the caller for %q by %s, want %q by %s", review.Status.UserInfo.Username, review.Status.Authenticator, user, by)
	}
}

// listening returns the host by which the control plane reaches a server of this host,
// and a port that is free there.
func listening(t *testing.T) (host, port string) {
	t.Helper()
	host, _ = provider.Address()
	listener, err := net.Listen("tcp", net.JoinHostPort(bindAddress(host), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return host, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// bindAddress is where a server listens that is reached as host.
func bindAddress(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	return host
}

func etcdServers(ctx context.Context, t *testing.T) string {
	t.Helper()
	urls, err := provider.Etcd(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(urls, ",")
}

// startServer starts a portrule-apiserver on this host, which ends with the test.
func startServer(t *testing.T, name string, flags ...string) *process.Process {
	t.Helper()
	program, err := cluster.Binary("portrule-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	server, err := group.Start(name, program, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// leadTo is a Service that leads to host:port, in the way that its kind of host allows.
func leadTo(host, port, service, namespace string) string {
	meta := "metadata: {name: " + service + ", namespace: " + namespace
	if net.ParseIP(host) == nil {
		return "apiVersion: v1\nkind: Service\n" + meta + "}\nspec: {type: ExternalName, externalName: " + host + ", ports: [{port: " + port + "}]}\n---\n"
	}
	return "apiVersion: v1\nkind: Service\n" + meta + "}\nspec: {ports: [{name: https, port: " + port + "}]}\n---\n" +
		"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n" + meta + ", labels: {" + discoveryv1.LabelServiceName + ": " + service + "}}\n" +
		"addressType: IPv4\nendpoints: [{addresses: [" + host + "]}]\nports: [{name: https, port: " + port + "}]\n---\n"
}

// registration is the APIService of version 2 of a group.
func registration(group, service, namespace, port string, ca []byte) string {
	object := map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": v2.Version + "." + group},
		"spec": map[string]any{
			"group": group, "version": v2.Version, "groupPriorityMinimum": 1000, "versionPriority": 100, "caBundle": ca,
			"service": map[string]any{"name": service, "namespace": namespace, "port": json.Number(port)},
		},
	}
	data, err := json.Marshal(object)
	if err != nil {
		panic(err) // it has been made a moment ago
	}
	return string(data) + "\n"
}
