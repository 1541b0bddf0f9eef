package testbed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	"k8s.io/utils/ptr"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

// While etcd cannot be reached the server is not ready, says that it is etcd, and ends
// what needs etcd at the request's timeout. What its watch cache answers it answers, and
// a watch stays open. Then it goes on by itself, and nothing is lost.
func TestEtcdUnreachable(t *testing.T) {
	ctx := t.Context()
	const namespace = "cut"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	proxy := newCuttable(t, etcdClient(t).Endpoints()[0])
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-cut", "--etcd-servers=http://"+proxy.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	gvr := implementations["aggregated-v2"]
	direct := replica.Config(bed.Admin)
	rules, others := clientIn(t, direct, gvr, namespace), clientIn(t, bed.Admin, gvr, namespace)
	defer deleteAll(t, others)
	create := func(rules dynamic.ResourceInterface, name, host string) string {
		t.Helper()
		created, err := rules.Create(ctx, portRule(gvr, name, towards(gvr, host)), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return created.GetResourceVersion()
	}
	since := create(rules, "before", "10.0.0.3")
	watching, cancel := context.WithCancel(ctx)
	defer cancel() // the server waits for whoever watches, when it is stopped
	events, err := rules.Watch(watching, metav1.ListOptions{ResourceVersion: since})
	if err != nil {
		t.Fatal(err)
	}
	client := raw(t, direct)
	at := func(verb string, under ...string) *rest.Request {
		return client.Verb(verb).AbsPath("/apis", gvr.Group, gvr.Version, "namespaces", namespace, gvr.Resource).Suffix(under...).
			SetHeader("Content-Type", "application/json")
	}

	proxy.cut()
	becomesUnready(t, direct, "etcd")
	rule, err := portRule(gvr, "during", towards(gvr, "10.0.0.4")).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for what, request := range map[string]*rest.Request{
		"get":    at(http.MethodGet, "before"),
		"list":   at(http.MethodGet),
		"create": at(http.MethodPost).Body(rule),
		"delete": at(http.MethodDelete, "before"),
	} {
		// the client's time, a minute unless it says less, is what the server waits for
		answer := ask(ctx, request.Param("timeout", "1s"))
		status := metav1.Status{}
		if err := json.Unmarshal(answer.body, &status); err != nil || answer.code != http.StatusGatewayTimeout ||
			status.Reason != metav1.StatusReasonTimeout || !strings.Contains(status.Message, "etcd does not answer") {
			t.Errorf("%s: got %d %s, want a Status of 504 that says that it is etcd", what, answer.code, answer.body)
		}
	}
	for what, request := range map[string]*rest.Request{"get": at(http.MethodGet, "before"), "list": at(http.MethodGet)} {
		answer := ask(ctx, request.Param("resourceVersion", "0"))
		if answer.code != http.StatusOK || !bytes.Contains(answer.body, []byte(`"name":"before"`)) {
			t.Errorf("%s of any state, from the watch cache: %d %s", what, answer.code, answer.body)
		}
	}
	create(others, "meanwhile", "10.0.0.5")
	if replica.Ended() {
		t.Fatal(replica.Err())
	}

	proxy.restore(t)
	becomesReady(t, direct)
	create(rules, "during", "10.0.0.4") // what failed has left nothing behind
	list, err := rules.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "rules", namesOf(list), "before,during,meanwhile")
	for _, name := range []string{"meanwhile", "during"} {
		eventually(t, "the watch that was open sees "+name, func() error {
			select {
			case event := <-events.ResultChan():
				equal(t, "the next event of the watch is about", ruleOf(t, event).GetName(), name)
				return nil
			default:
				return errors.New("there is no event")
			}
		})
	}
}

// An etcd that is full refuses writes: the server says so, and goes on reading. Once
// there is space again it goes on writing, and no endpoint is lost to a rule that could
// not be written.
func TestEtcdOutOfSpace(t *testing.T) {
	ctx := t.Context()
	etcd := startEtcd(t, "--quota-backend-bytes=4194304")
	server := startStandalone(t, group, "standalone-full", filepath.Join(t.TempDir(), "certs"), freePort(t), "", "--etcd-servers="+etcd.Endpoints()[0])
	config, err := clientcmd.BuildConfigFromFlags("", server.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	rules := clientIn(t, config, gvr, "default")

	var written []string
	var refused *unstructured.Unstructured
	for refused == nil {
		host := fmt.Sprintf("10.0.0.%d", len(written))
		rule := portRule(gvr, fmt.Sprintf("rule-%02d", len(written)), towards(gvr, host))
		rule.SetAnnotations(map[string]string{"example.com/ballast": strings.Repeat("x", 200<<10)})
		if _, err := rules.Create(ctx, rule.DeepCopy(), metav1.CreateOptions{}); err != nil {
			isFull(t, "create", err)
			refused = rule
			continue
		}
		written = append(written, rule.GetName())
	}
	first := written[0]
	_, err = rules.Create(ctx, portRule(gvr, "small", towards(gvr, "10.0.1.1")), metav1.CreateOptions{})
	isFull(t, "create a small rule", err)
	_, err = rules.Patch(ctx, first, types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{})
	isFull(t, "patch", err)
	if _, err := rules.Get(ctx, first, metav1.GetOptions{}); err != nil {
		t.Errorf("get: %v", err)
	}
	list, err := rules.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "rules of a full etcd", namesOf(list), strings.Join(written, ","))
	equal(t, "readiness with a full etcd", readyz(t, config).code, http.StatusOK)

	// To delete is to write, but it is what makes space: etcd lets it through.
	half := len(written) / 2
	for _, name := range written[:half] {
		if err := rules.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	now, err := etcd.Get(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Defragment(ctx, etcd.Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a small rule can be created once there is space", func() error {
		// etcd raises the alarm in its own time, be it for a write that came before
		if _, err := etcd.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
			return err
		}
		_, err := rules.Create(ctx, portRule(gvr, "small", towards(gvr, "10.0.1.1")), metav1.CreateOptions{})
		return err
	})
	// Whether there was space for its reservation or not, the rule that was refused holds
	// no endpoint.
	host := get(refused, "spec", "endpoint", "host").(string)
	equal(t, "who holds the endpoint of the refused rule", reservedBy(t, etcd, reservations+"default/tcp/"+host+"/80"), "")
	if _, err := rules.Create(ctx, portRule(gvr, "next", towards(gvr, host)), metav1.CreateOptions{}); err != nil {
		t.Errorf("create with the endpoint of the refused rule: %v", err)
	}
	if list, err = rules.List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	equal(t, "rules once there is space", namesOf(list), strings.Join(append([]string{"next"}, append(written[half:], "small")...), ","))
}

// isFull checks that a write was refused for want of space.
func isFull(t *testing.T, what string, err error) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusInternalServerError ||
		!strings.Contains(status.Status().Message, "etcdserver: mvcc: database space exceeded") {
		t.Fatalf("%s: got %v, want 500 and that the database space is exceeded", what, err)
	}
}

// The serving certificate is replaced while the server runs. Files that are no
// certificate, or not the certificate of the key, change nothing.
func TestServingCertificateRotation(t *testing.T) {
	const name = "portrule-apiserver-rotating"
	replica, err := bed.StartReplica(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	pid, err := group.PID(name)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := group.Path(name+".crt"), group.Path(name+".key")
	first := read(t, certFile)
	other, err := replica.Certify()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what   string
		file   string
		data   []byte
		serves []byte
		// says is what the server logs once it has looked at the files.
		says string
	}{
		{"half of a certificate", certFile, first[:len(first)/2], first, "failed to find any PEM data in certificate input"},
		{"a certificate without its key", certFile, other.Cert, first, "private key does not match public key"},
		{"half of a key", keyFile, other.Key[:len(other.Key)/2], first, "failed to find any PEM data in key input"},
		{"a pair", keyFile, other.Key, other.Cert, ""},
	} {
		seen := len(read(t, group.LogPath(name)))
		if err := os.WriteFile(step.file, step.data, 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server has looked at "+step.what, func() error {
			if step.says == "" {
				return servesWith(t, replica, step.serves)
			}
			if log := read(t, group.LogPath(name))[seen:]; !bytes.Contains(log, []byte(step.says)) {
				return fmt.Errorf("it says: %s", log)
			}
			return nil
		})
		if err := servesWith(t, replica, step.serves); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	if now, err := group.PID(name); err != nil || now != pid || replica.Ended() {
		t.Errorf("the server is process %d (%v), want %d still", now, err, pid)
	}
}

// servesWith is nil if the server answers on a new connection, made with the certificate.
func servesWith(t *testing.T, server *testbed.Server, certificate []byte) error {
	t.Helper()
	config, err := rest.TLSConfigFor(server.Config(bed.Admin))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Get(server.URL() + "/apis/" + api.Group + "/v2/" + api.Resource)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if block, _ := pem.Decode(certificate); !bytes.Equal(response.TLS.PeerCertificates[0].Raw, block.Bytes) {
		return errors.New("it serves with another certificate")
	}
	return nil
}

// A second front-proxy CA that the cluster publishes is trusted without a restart, and
// the first one still is: that is how the CA is rotated.
func TestFrontProxyCARotation(t *testing.T) {
	ctx := t.Context()
	ca, err := certs.NewCA("next-front-proxy-ca")
	if err != nil {
		t.Fatal(err)
	}
	proxied := func(commonName string) *rest.Config {
		t.Helper()
		pair, err := ca.Client(commonName)
		if err != nil {
			t.Fatal(err)
		}
		config := rest.AnonymousClientConfig(bed.Server().Config(bed.Admin))
		config.CertData, config.KeyData = pair.Cert, pair.Key
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return transport.NewAuthProxyRoundTripper("carol", "", []string{"system:authenticated"}, nil, next)
		})
		return config
	}
	next, imposter := proxied("front-proxy-client"), proxied("imposter")
	if _, err := createReview(t, next); !apierrors.IsUnauthorized(err) {
		t.Errorf("a front proxy of a CA that nobody knows: got %v, want that it is unauthorized", err)
	}

	const key = "requestheader-client-ca-file"
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	maps := clientset.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	published, err := maps.Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(bundle string) {
		patch, err := json.Marshal(map[string]any{"data": map[string]string{key: bundle}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := maps.Patch(ctx, published.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	}
	defer publish(published.Data[key])
	publish(published.Data[key] + string(ca.PEM()))
	eventually(t, "the server believes the next front proxy", func() error {
		review, err := createReview(t, next)
		if err == nil && (review.Status.Authenticator != callerreview.RequestHeader || review.Status.UserInfo.Username != "carol") {
			err = fmt.Errorf("%s says that the caller is %s", review.Status.Authenticator, review.Status.UserInfo.Username)
		}
		return err
	})
	if _, err := createReview(t, imposter); !apierrors.IsUnauthorized(err) {
		t.Errorf("a certificate of the next CA for another name: got %v, want that it is unauthorized", err)
	}
	review, err := createReview(t, bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "who has recognised the kube-apiserver's caller", review.Status.Authenticator, callerreview.RequestHeader)
}

// Two servers behind one Service are replaced, one after the other, and no request that
// comes meanwhile fails, nor does a watch lose an event. A server that is asked to end
// does so in this order:
//
//  1. /readyz fails, and all else is answered as before, for --shutdown-delay-duration.
//  2. The endpoint controller, which is played here, takes its endpoint away: new
//     requests go to the others. It has the delay for that.
//  3. The delay is over: requests that come nevertheless are refused with 429 and
//     Retry-After (--shutdown-send-retry-after; without it the listener closes at once),
//     those under way are finished, and watches end as after their usual time
//     (--shutdown-watch-termination-grace-period; without it they are cut off, or keep
//     the server for a minute).
//  4. The listener closes, and clients are told by GOAWAY to leave their connections.
//  5. The process ends with status 0.
func TestRollingRestart(t *testing.T) {
	ctx := t.Context()
	if _, err := cluster.HostAddress(); err != nil {
		t.Skip(err)
	}
	bed, group := startBed(t, cluster.EmbeddedOptions{AggregatorRouting: true}, testbed.CRDSetup{})
	const namespace = "rolling"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	slices := clientset.DiscoveryV1().EndpointSlices("portrule-system")
	type named struct {
		*testbed.Server
		name string
	}
	var servers []named
	start := func() {
		t.Helper()
		name := fmt.Sprintf("portrule-apiserver-%d", len(servers))
		server, err := bed.StartReplica(ctx, name, "--shutdown-delay-duration=5s",
			"--shutdown-send-retry-after", "--shutdown-watch-termination-grace-period=10s")
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, named{server, name})
		// they differ in their ports, which are of a slice
		if _, err := slices.Create(ctx, endpointSlice(name, "portrule-apiserver", server), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := slices.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	start()
	start()
	remove("portrule-apiserver") // the first server has other flags

	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	load := startLoad(ctx, t, alice, namespace)
	serves := func(server named) {
		t.Helper()
		eventually(t, server.name+" gets its share", func() error {
			if counted(ctx, t, server.Config(bed.Admin), "apiserver_request_total", `resource="portrules"`) == 0 {
				return errors.New("it has no request")
			}
			return nil
		})
	}
	for i := range 3 {
		start()
		old := servers[i]
		serves(old)
		pid, err := group.PID(old.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		becomesUnready(t, old.Config(bed.Admin), "shutdown")
		remove(old.name)
		<-old.Done()
		if exit := (*exec.ExitError)(nil); errors.As(old.Err(), &exit) {
			t.Errorf("%v; it said last:\n%s", old.Err(), group.LogTail(old.name, 5))
		}
	}
	for _, server := range servers[3:] {
		serves(server)
	}
	load.end()
	var stops sync.WaitGroup
	for _, server := range servers[3:] {
		stops.Go(func() { stop(t, server.Server) }) // each takes its delay
	}
	stops.Wait()
	t.Logf("%d requests, %d events", load.requests.Load(), load.events.Load())
	if load.failed > 0 {
		t.Errorf("%d requests of %d have failed, at first:\n%s", load.failed, load.requests.Load(), strings.Join(load.failures, "\n"))
	}
}

// endpointSlice leads from a Service to a server.
func endpointSlice(name, service string, server *testbed.Server) *discoveryv1.EndpointSlice {
	host, port := server.Address()
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(port))}},
	}
}

// load is clients that write and read rules, each its own, and one that watches them.
// They try nothing twice.
type load struct {
	requests, events atomic.Int64
	// end stops the clients and waits for them.
	end func()
	mu  sync.Mutex
	// failures are the first of those that failed.
	failed   int
	failures []string
}

func startLoad(ctx context.Context, t *testing.T, config *rest.Config, namespace string) *load {
	t.Helper()
	gvr := implementations["aggregated-v2"]
	client := raw(t, config)
	at := func(verb string, under ...string) *rest.Request {
		return client.Verb(verb).AbsPath("/apis", gvr.Group, gvr.Version, "namespaces", namespace, gvr.Resource).Suffix(under...).MaxRetries(0)
	}
	list, err := clientIn(t, config, gvr, namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l := &load{}
	writing, stopWriting := context.WithCancel(ctx)
	watching, stopWatching := context.WithCancel(ctx)
	var writers, watchers sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprintf("rule-%d", i)
		rule, err := portRule(gvr, name, towards(gvr, fmt.Sprintf("10.0.0.%d", i))).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			for writing.Err() == nil {
				l.ask(ctx, "create", at(http.MethodPost).SetHeader("Content-Type", "application/json").Body(rule), http.StatusCreated)
				l.ask(ctx, "get", at(http.MethodGet, name), http.StatusOK)
				l.ask(ctx, "list", at(http.MethodGet), http.StatusOK)
				l.ask(ctx, "delete", at(http.MethodDelete, name), http.StatusOK)
			}
		})
	}
	watchers.Go(func() {
		version, there := list.GetResourceVersion(), map[string]bool{}
		for watching.Err() == nil {
			l.requests.Add(1)
			stream, err := at(http.MethodGet).Param("watch", "true").Param("resourceVersion", version).Stream(watching)
			if err == nil {
				version, err = l.follow(stream, version, there)
			}
			if err != nil && watching.Err() == nil {
				l.fail("watch", err)
			}
		}
	})
	l.end = func() {
		stopWriting()
		writers.Wait()
		stopWatching()
		watchers.Wait()
	}
	return l
}

// ask sends a request that must be answered with a code.
func (l *load) ask(ctx context.Context, what string, request *rest.Request, code int) {
	l.requests.Add(1)
	if answer := ask(ctx, request); answer.code != code {
		l.fail(what, fmt.Errorf("%d %s", answer.code, answer.body))
	}
}

// follow reads what a watch says until it ends, and returns the version from which to
// go on. there are the rules that exist: each comes and goes, by turns.
func (l *load) follow(stream io.ReadCloser, version string, there map[string]bool) (string, error) {
	defer stream.Close()
	for decoder := json.NewDecoder(stream); ; {
		var event struct {
			Type   watch.EventType
			Object metav1.PartialObjectMetadata
		}
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return version, err
		}
		name := event.Object.Name
		if added := event.Type == watch.Added; !added && event.Type != watch.Deleted || added == there[name] {
			return version, fmt.Errorf("an event is lost or too much: %s %s", event.Type, name)
		}
		l.events.Add(1)
		version, there[name] = event.Object.ResourceVersion, !there[name]
	}
}

func (l *load) fail(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed++; l.failed > 20 {
		return
	}
	l.failures = append(l.failures, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), what, err))
}

// What is needed to look at a server from outside: an audit log, metrics, profiles and
// health, each for those who may see it, and whose request has had which priority.
func TestObservability(t *testing.T) {
	ctx := t.Context()
	const namespace = "observed"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	policy, audit := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	const metadata = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}`
	if err := os.WriteFile(policy, []byte(metadata), 0o600); err != nil {
		t.Fatal(err)
	}
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-observed", "--audit-policy-file="+policy, "--audit-log-path="+audit)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	alice, _, err := bed.User(ctx, "alice", namespace)
	if err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	rules := clientIn(t, replica.Config(alice), gvr, namespace)
	defer deleteAll(t, rules)
	if _, err := rules.Create(ctx, portRule(gvr, "observed", nginx(gvr)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the creation is in the audit log", func() error {
		log, err := os.ReadFile(audit)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(log) {
			var event auditv1.Event
			if err := json.Unmarshal(line, &event); err != nil {
				return err // it is being written
			}
			if event.Verb == "create" && event.Stage == auditv1.StageResponseComplete && event.ObjectRef.Resource == api.Resource {
				equal(t, "user", event.User.Username, "alice")
				equal(t, "object", *event.ObjectRef, auditv1.ObjectReference{
					Resource: api.Resource, Namespace: namespace, Name: "observed", APIGroup: api.Group, APIVersion: v2.Version,
				})
				equal(t, "decision", event.Annotations["authorization.k8s.io/decision"], "allow")
				return nil
			}
		}
		return fmt.Errorf("it is not in %s", log)
	})

	admin, anonymous := replica.Config(bed.Admin), rest.AnonymousClientConfig(replica.Config(bed.Admin))
	for _, metric := range []struct{ name, label string }{
		{"apiserver_request_total", `resource="portrules"`},
		{"apiserver_delegated_authz_request_total", `code="201"`},
	} {
		if counted(ctx, t, admin, metric.name, metric.label) == 0 {
			t.Errorf("%s with %s is not counted", metric.name, metric.label)
		}
	}
	for path, code := range map[string]int{
		"/healthz": http.StatusOK, "/livez": http.StatusOK, "/readyz": http.StatusOK,
		"/metrics": http.StatusForbidden, "/debug/pprof/": http.StatusForbidden,
	} {
		equal(t, path+" to anyone", ask(ctx, raw(t, anonymous).Get().AbsPath(path)).code, code)
		equal(t, path+" to the administrator", ask(ctx, raw(t, admin).Get().AbsPath(path)).code, http.StatusOK)
	}

	// the flow schemas are the cluster's
	client, err := rest.HTTPClientFor(replica.Config(alice))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Get(replica.URL() + "/apis/" + api.Group + "/v2/namespaces/" + namespace + "/" + api.Resource)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := clientset.FlowcontrolV1().FlowSchemas().Get(ctx, "global-default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "flow schema", response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID), string(schema.UID))
}

// counted is the sum of a server's metrics of a name that have a label.
func counted(ctx context.Context, t *testing.T, config *rest.Config, name, label string) float64 {
	t.Helper()
	metrics, err := raw(t, config).Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, label) {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// readyz is what the server says to anyone who asks whether it is ready.
func readyz(t *testing.T, server *rest.Config) answer {
	t.Helper()
	return ask(t.Context(), raw(t, rest.AnonymousClientConfig(server)).Get().AbsPath("/readyz"))
}

func becomesReady(t *testing.T, server *rest.Config) {
	t.Helper()
	eventually(t, "the server is ready", func() error {
		if ready := readyz(t, server); ready.code != http.StatusOK {
			return fmt.Errorf("it says %d %s", ready.code, ready.body)
		}
		return nil
	})
}

// becomesUnready waits until the server says that it is not ready, on account of a check.
func becomesUnready(t *testing.T, server *rest.Config, check string) {
	t.Helper()
	eventually(t, "the server is not ready", func() error {
		ready := readyz(t, server)
		if ready.code != http.StatusInternalServerError || !bytes.Contains(ready.body, []byte("[-]"+check+" failed")) {
			return fmt.Errorf("it says %d %s", ready.code, ready.body)
		}
		return nil
	})
}

// deleteAll lets a test be run again.
func deleteAll(t *testing.T, rules dynamic.ResourceInterface) {
	t.Helper()
	if err := rules.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// startEtcd starts an etcd of the test's own, and returns a client of it.
func startEtcd(t *testing.T, flags ...string) *clientv3.Client {
	t.Helper()
	program, err := cluster.Binary("etcd")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://127.0.0.1:" + freePort(t)
	etcd, err := group.Start("etcd-"+t.Name(), program, append([]string{
		"--data-dir=" + t.TempDir(), "--listen-peer-urls=http://127.0.0.1:0",
		"--listen-client-urls=" + url, "--advertise-client-urls=" + url,
	}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := etcd.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// cuttable is a proxy in front of an etcd that can be made unreachable.
type cuttable struct {
	address, etcd string
	mu            sync.Mutex
	// listener is nil while the proxy is cut.
	listener    net.Listener
	connections []net.Conn
	// resets is whether connections are reset as soon as the client has sent something.
	resets bool
}

func newCuttable(t *testing.T, etcd string) *cuttable {
	t.Helper()
	where, err := url.Parse(etcd)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &cuttable{address: "127.0.0.1:0", etcd: where.Host}
	proxy.restore(t)
	t.Cleanup(proxy.cut)
	return proxy
}

// cut closes all connections and refuses new ones.
func (p *cuttable) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	_ = p.listener.Close()
	for _, connection := range p.connections {
		_ = connection.Close()
	}
	p.listener, p.connections = nil, nil
}

// reset ends all connections by a TCP reset, and those that come.
func (p *cuttable) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resets = true
	for _, connection := range p.connections {
		reset(connection)
	}
	p.connections = nil
}

func reset(connection net.Conn) {
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

// restore accepts connections, at the same address as before.
func (p *cuttable) restore(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address, p.listener = listener.Addr().String(), listener
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.connect(client, listener)
		}
	}()
}

// connect leads a client to etcd, unless the listener that has accepted it is closed.
func (p *cuttable) connect(client net.Conn, listener net.Listener) {
	p.mu.Lock()
	resets := p.resets
	p.mu.Unlock()
	if resets {
		_, _ = client.Read(make([]byte, 1))
		reset(client)
		return
	}
	etcd, err := net.Dial("tcp", p.etcd)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != listener {
		_ = client.Close()
		_ = etcd.Close()
		return
	}
	p.connections = append(p.connections, client, etcd)
	for _, way := range [][2]net.Conn{{client, etcd}, {etcd, client}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		}()
	}
}
