package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/crd/manifests"
)

// replicas are those of the server and of the webhooks.
const replicas = 2

// A new revision of the server or of the webhooks replaces one Pod after the other, and
// nobody notices: no request fails, and a watch has each event once.
func TestRollingRestart(t *testing.T) {
	needs(t, "Deployments")
	rolling := func(impl, deployment, group, reads string) features.Feature {
		return features.New("rolling restart of "+deployment).WithLabel("area", "operations").WithLabel("impl", impl).
			Assess("no request fails, and no event is lost", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
				pods := settled(t, deployment, replicas)
				load := newLoad(t, group, newNamespace(t))
				load.start(load.change(reads))
				for range 2 {
					mustKubectl(t, "", "-n", aggregatedmanifests.Namespace, "rollout", "restart", "deployment/"+deployment)
					mustKubectl(t, "", "-n", aggregatedmanifests.Namespace, "rollout", "status", "deployment/"+deployment, "--timeout=3m")
					pods = settled(t, deployment, replicas, pods...)
				}
				if failures := load.end(); len(failures) > 0 {
					t.Errorf("%d requests failed:\n%s", len(failures), tell(failures))
				}
				return ctx
			}).Feature()
	}
	environment.Test(t,
		rolling("aggregated", aggregatedmanifests.Name, api.Group, v2.Version),
		// reading another version than that which is stored takes the conversion webhook
		rolling("crd", manifests.Name, api.CRDGroup, v1.Version))
}

// A server that ends without a word takes with it what it was answering, and no more.
func TestServerKilled(t *testing.T) {
	needs(t, "Pods")
	const deployment = aggregatedmanifests.Name
	environment.Test(t, features.New("a server killed").WithLabel("area", "operations").WithLabel("impl", "aggregated").
		Assess("the API recovers, and no rule is lost", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			pods := settled(t, deployment, replicas)
			load := newLoad(t, api.Group, newNamespace(t))
			const rules = 3 // of each client
			load.start(func(client, n int) {
				if n < rules {
					load.create(client, n)
					return
				}
				load.ask("get", load.rules(http.MethodGet, v2.Version, fmt.Sprintf("rule-%d-%d", client, n%rules)), http.StatusOK)
				load.ask("list", load.rules(http.MethodGet, v2.Version), http.StatusOK)
			})
			eventually(t, "there are rules", func(context.Context) error {
				if made := len(load.names()); made != loadClients*rules {
					return fmt.Errorf("there are %d", made)
				}
				return nil
			})
			begin := time.Now()
			mustKubectl(t, "", "-n", aggregatedmanifests.Namespace, "delete", "pod", pods[0].Name, "--grace-period=0", "--force")
			settled(t, deployment, replicas, pods[0])
			t.Logf("there were as many servers as before after %.1f s", time.Since(begin).Seconds())
			load.recovers()
			failures := load.end()
			tellOutage(t, begin, failures)
			exist(t, load)
			return ctx
		}).Feature())
}

// Without etcd the server answers errors that say so, and goes on once it is back.
func TestEtcdRestart(t *testing.T) {
	needs(t, "Pods")
	const deployment, etcd = aggregatedmanifests.Name, aggregatedmanifests.EtcdName
	environment.Test(t, features.New("etcd restarted").WithLabel("area", "operations").WithLabel("impl", "aggregated").
		Assess("failures are of the server, it recovers, and no rule is lost", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			load := newLoad(t, api.Group, newNamespace(t))
			load.timeout = "5s" // or a request would wait for etcd for a minute
			load.start(load.keep)
			eventually(t, "there are rules", func(context.Context) error {
				if len(load.names()) < loadClients {
					return errors.New("there are not enough")
				}
				return nil
			})
			servers, old := settled(t, deployment, replicas), settled(t, etcd, 1)
			begin := time.Now()
			mustKubectl(t, "", "-n", aggregatedmanifests.Namespace, "delete", "pod", old[0].Name, "--wait=false")
			settled(t, etcd, 1, old...)
			t.Logf("etcd was ready again after %.1f s", time.Since(begin).Seconds())
			load.recovers()
			failures := load.end()
			tellOutage(t, begin, failures)
			for _, f := range failures {
				if f.code < http.StatusInternalServerError || f.says == "" {
					t.Errorf("want 5xx and what is wrong, got %s", f)
				}
			}
			exist(t, load)
			same(t, deployment, servers)
			return ctx
		}).Feature())
}

// A certificate that ends soon is replaced by cert-controller, written into the Pods by
// kubelet and taken up by what runs there, and nobody notices.
func TestCertificateRotation(t *testing.T) {
	needs(t, "kubelet")
	inNamespace := "." + aggregatedmanifests.Namespace + ".svc"
	all := []*rotation{
		{
			deployment: aggregatedmanifests.Name, secret: aggregatedmanifests.Secret, port: 8443, group: api.Group,
			hosts: []string{aggregatedmanifests.Name + inNamespace, aggregatedmanifests.EtcdName + inNamespace, "localhost"},
		},
		{
			deployment: manifests.Name, secret: manifests.Secret, port: 9443, group: api.CRDGroup,
			hosts: []string{manifests.Name + inNamespace},
		},
	}
	// both at once: kubelet takes a minute or more
	environment.Test(t, features.New("certificate rotation").WithLabel("area", "operations").
		Assess("a new certificate is made, written and served, and no request fails", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			for _, r := range all {
				r.pods = settled(t, r.deployment, replicas)
				r.load = newLoad(t, r.group, newNamespace(t))
				r.load.start(r.load.change(v1.Version))
			}
			for _, r := range all {
				r.replace(t)
			}
			for _, r := range all {
				r.awaitRenewal(t)
			}
			for _, r := range all {
				r.awaitServed(t)
			}
			for _, r := range all {
				if failures := r.load.end(); len(failures) > 0 {
					t.Errorf("%s: %d requests failed:\n%s", r.group, len(failures), tell(failures))
				}
				same(t, r.deployment, r.pods)
			}
			return ctx
		}).Feature())
}

// rotation is a certificate that is replaced.
type rotation struct {
	deployment, secret, group string
	port                      int
	hosts                     []string

	load *load
	pods []corev1.Pod
	// ca signs, old is what the test has put into the Secret, and renewed what was there
	// then.
	ca, old, renewed []byte
	begin            time.Time
}

// replace puts a certificate that ends soon into the Secret. If the test fails, that
// which was there is put back.
func (r *rotation) replace(t *testing.T) {
	t.Helper()
	secrets := clientset.CoreV1().Secrets(aggregatedmanifests.Namespace)
	secret, err := secrets.Get(t.Context(), r.secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(secret.Data)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		secret, err := secrets.Get(context.WithoutCancel(t.Context()), r.secret, metav1.GetOptions{})
		if err == nil {
			secret.Data = before
			_, err = secrets.Update(context.WithoutCancel(t.Context()), secret, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Errorf("put back the Secret %s: %v", r.secret, err)
		}
	})
	r.ca = secret.Data["ca.crt"]
	ca, err := certs.Load(r.ca, secret.Data["ca.key"])
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.ServingUntil(time.Now().Add(24*time.Hour), r.hosts...)
	if err != nil {
		t.Fatal(err)
	}
	r.begin, r.old = time.Now(), pair.Cert
	secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = pair.Cert, pair.Key
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitRenewal waits until the Secret has a certificate that cert-controller would
// leave alone.
func (r *rotation) awaitRenewal(t *testing.T) {
	t.Helper()
	eventually(t, "the certificate in the Secret "+r.secret+" is renewed", func(ctx context.Context) error {
		secret, err := clientset.CoreV1().Secrets(aggregatedmanifests.Namespace).Get(ctx, r.secret, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !bytes.Equal(secret.Data["ca.crt"], r.ca) {
			t.Fatalf("the CA in the Secret %s is replaced too", r.secret)
		}
		r.renewed = secret.Data[corev1.TLSCertKey]
		if bytes.Equal(r.renewed, r.old) {
			return errors.New("it is that which ends tomorrow")
		}
		return nil
	})
	renewed, err := cert.ParseCertsPEM(r.renewed)
	if err != nil {
		t.Fatal(err)
	}
	if end := renewed[0].NotAfter; time.Until(end) < 90*24*time.Hour {
		t.Errorf("the renewed certificate in the Secret %s ends on %s", r.secret, end)
	}
	t.Logf("%s: renewed in the Secret after %.1f s", r.deployment, time.Since(r.begin).Seconds())
}

// awaitServed waits until each Pod serves with the renewed certificate. It is known by
// its whole content: all that cert-controller makes have the serial number 1.
func (r *rotation) awaitServed(t *testing.T) {
	t.Helper()
	renewed, err := cert.ParseCertsPEM(r.renewed)
	if err != nil {
		t.Fatal(err)
	}
	// kubelet looks for changes when it looks after a Pod, once in 60 to 90 s, and may
	// find what it has read before
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, pod := range r.pods {
		for {
			served, err := r.serves(ctx, pod.Name)
			if err == nil && bytes.Equal(served.Raw, renewed[0].Raw) {
				t.Logf("%s: served after %.0f s", pod.Name, time.Since(r.begin).Seconds())
				break
			}
			if err == nil {
				err = fmt.Errorf("it has one that ends on %s", served.NotAfter)
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s does not serve with the renewed certificate: %v", pod.Name, err)
			case <-time.After(time.Second):
			}
		}
	}
}

// serves returns the certificate with which a Pod serves, once it is verified.
func (r *rotation) serves(ctx context.Context, pod string) (*x509.Certificate, error) {
	roots, err := cert.NewPoolFromBytes(r.ca)
	if err != nil {
		return nil, err
	}
	roundTripper, upgrader, err := spdy.RoundTripperFor(bed.Admin)
	if err != nil {
		return nil, err
	}
	url := clientset.CoreV1().RESTClient().Post().Namespace(aggregatedmanifests.Namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forwarder, err := portforward.NewOnAddresses(spdy.NewDialer(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, url),
		[]string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(r.port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: r.hosts[0], MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// podsOf are the Pods of a Deployment or StatefulSet, those that are ending included.
func podsOf(ctx context.Context, workload string) ([]corev1.Pod, error) {
	list, err := clientset.CoreV1().Pods(aggregatedmanifests.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + workload})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// settled waits until a workload has so many Pods, all of which are ready and none of
// which is old, and returns them.
func settled(t *testing.T, workload string, count int, old ...corev1.Pod) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, fmt.Sprintf("%s has %d Pods, ready and new", workload, count), func(ctx context.Context) (err error) {
		if pods, err = podsOf(ctx, workload); err != nil {
			return err
		}
		var all []string
		done := len(pods) == count
		for _, pod := range pods {
			isOld := slices.ContainsFunc(old, func(o corev1.Pod) bool { return o.UID == pod.UID })
			isReady := slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
				return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
			})
			done = done && isReady && !isOld && pod.DeletionTimestamp == nil
			all = append(all, fmt.Sprintf("%s (%s, ready: %t, old: %t, ending: %t)", pod.Name, pod.Status.Phase, isReady, isOld, pod.DeletionTimestamp != nil))
		}
		if !done {
			return fmt.Errorf("there are %d: %s", len(pods), strings.Join(all, ", "))
		}
		return nil
	})
	return pods
}

// same checks that the Pods of a Deployment are those of before, and no container was
// restarted.
func same(t *testing.T, deployment string, before []corev1.Pod) {
	t.Helper()
	state := func(pods []corev1.Pod) (all []string) {
		for _, pod := range pods {
			for _, container := range pod.Status.ContainerStatuses {
				all = append(all, fmt.Sprintf("%s %s %s restarted %d times", pod.Name, pod.UID, container.Name, container.RestartCount))
			}
		}
		slices.Sort(all)
		return all
	}
	now, err := podsOf(t.Context(), deployment)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := state(now), state(before); !slices.Equal(got, want) {
		t.Errorf("Pods of %s:\n%s\nbefore:\n%s", deployment, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// exist checks that the rules are there that a load has made and not deleted.
func exist(t *testing.T, l *load) {
	t.Helper()
	out := mustKubectl(t, "", "get", "-n", l.namespace, api.Resource+"."+l.group, "-o", "name")
	there := map[string]bool{}
	for name := range strings.Lines(out) {
		there[strings.TrimPrefix(strings.TrimSpace(name), "portrule."+l.group+"/")] = true
	}
	made := l.names()
	for _, name := range made {
		if !there[name] {
			t.Errorf("the rule %s is lost", name)
		}
	}
	t.Logf("%d rules were made, %d are there", len(made), len(there))
}

// tellOutage says what has failed, and for how long.
func tellOutage(t *testing.T, begin time.Time, failures []failure) {
	t.Helper()
	if len(failures) == 0 {
		t.Log("no request failed")
		return
	}
	t.Logf("%d requests failed, from %.1f to %.1f s:\n%s", len(failures),
		failures[0].at.Sub(begin).Seconds(), failures[len(failures)-1].at.Sub(begin).Seconds(), tell(failures))
}
