package testbed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/testbed"
)

// reservations is where the server keeps which endpoints are taken (R4).
const reservations = "/registry/" + api.Group + "/portrule-endpoints/"

// Of 200 creations of one endpoint at the same time, by two servers that know nothing
// of each other, in three ways, exactly one succeeds.
func TestEndpointIsUniqueAmongServers(t *testing.T) {
	ctx := t.Context()
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-2")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	const namespace = "unique"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	clients := []dynamic.ResourceInterface{
		clientIn(t, bed.Admin, gvr, namespace),
		clientIn(t, bed.Server().Config(bed.Admin), gvr, namespace),
		clientIn(t, replica.Config(bed.Admin), gvr, namespace),
	}
	var created atomic.Int32
	var wait sync.WaitGroup
	start := make(chan struct{})
	for i := range 200 {
		wait.Go(func() {
			<-start
			rules, name := clients[i%len(clients)], fmt.Sprintf("rule-%d", i)
			var err error
			if i%2 == 0 {
				_, err = rules.Create(ctx, portRule(gvr, name, nginx(gvr)), metav1.CreateOptions{})
			} else {
				_, err = rules.Apply(ctx, name, portRule(gvr, name, nginx(gvr)), metav1.ApplyOptions{FieldManager: "test"})
			}
			switch {
			case err == nil:
				created.Add(1)
			case !apierrors.IsInvalid(err) && !apierrors.IsConflict(err):
				t.Errorf("%s: got %v, want that the endpoint is taken", name, err)
			}
		})
	}
	close(start)
	wait.Wait()
	list, err := clients[0].List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.Load() != 1 || len(list.Items) != 1 {
		t.Errorf("%d creations succeeded and %d rules are there, want 1", created.Load(), len(list.Items))
	}
}

// A server that dies between the reservation and the rule leaves an endpoint that
// nobody has. It can be had again once that is certain, and a rule whose reservation
// is lost gets it back.
func TestServerDiesBetweenReservationAndRule(t *testing.T) {
	ctx := t.Context()
	const namespace = "crash"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	etcd := etcdClient(t)
	proxy := holdingProxy(t, etcd.Endpoints()[0], fmt.Sprintf("/registry/%s/%s/%s/lost", api.Group, api.Resource, namespace))
	victim, err := bed.StartReplica(ctx, "portrule-apiserver-victim", "--etcd-servers=http://"+proxy.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, victim)
	answer := make(chan error, 1)
	go func() {
		_, err := clientIn(t, victim.Config(bed.Admin), gvr, namespace).Create(ctx, portRule(gvr, "lost", nginx(gvr)), metav1.CreateOptions{})
		answer <- err
	}()
	select {
	case <-proxy.held: // it is about to write the rule
	case err := <-answer:
		t.Fatalf("the create has ended before the rule was written: %v", err)
	}
	pid, err := group.PID("portrule-apiserver-victim")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err == nil {
		t.Fatal("the create has succeeded")
	}

	key := reservations + namespace + "/tcp/10.0.0.3/80"
	if owner := reservedBy(t, etcd, key); owner != "lost" {
		t.Fatalf("the endpoint is reserved for %q, want for the lost rule", owner)
	}
	rules := clientIn(t, bed.Admin, gvr, namespace)
	if list, err := rules.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Fatalf("%d rules are there (%v), want none", len(list.Items), err)
	}
	for _, dryRun := range [][]string{{metav1.DryRunAll}, nil} {
		_, err := rules.Create(ctx, portRule(gvr, "next", nginx(gvr)), metav1.CreateOptions{DryRun: dryRun})
		seconds, delay := apierrors.SuggestsClientDelay(err)
		if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `reserved for PortRule "lost"`) || !delay || seconds > 30 {
			t.Errorf("dryRun %v, at once: got %v and to wait %d s, want a conflict and to wait up to 30 s", dryRun, err, seconds)
		}
	}
	backdate(t, etcd, key)
	if _, err := rules.Create(ctx, portRule(gvr, "next", nginx(gvr)), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("a dry run, later: %v", err)
	}
	if owner := reservedBy(t, etcd, key); owner != "lost" {
		t.Errorf("after a dry run the endpoint is reserved for %q, want still for the lost rule", owner)
	}
	if _, err := rules.Create(ctx, portRule(gvr, "next", nginx(gvr)), metav1.CreateOptions{}); err != nil {
		t.Errorf("later: %v", err)
	}
	if owner := reservedBy(t, etcd, key); owner != "next" {
		t.Errorf("the endpoint is reserved for %q, want for the next rule", owner)
	}

	// What a server finds when it starts: a rule whose reservation is lost, and a
	// reservation whose rule is.
	if _, err := etcd.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	leaked := reservations + namespace + "/udp/10.0.0.9/53"
	if _, err := etcd.Put(ctx, leaked, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"gone","namespace":"crash",`+
		`"uid":"a","creationTimestamp":"2020-01-01T00:00:00Z","annotations":{"firewalld.fedoraproject.org/endpoint":"udp/10.0.0.9/53"}}}`); err != nil {
		t.Fatal(err)
	}
	repairer, err := bed.StartReplica(ctx, "portrule-apiserver-repairer")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, repairer)
	if owner := reservedBy(t, etcd, key); owner != "next" {
		t.Errorf("after a start the endpoint is reserved for %q, want for its rule", owner)
	}
	if owner := reservedBy(t, etcd, leaked); owner != "" {
		t.Errorf("after a start an endpoint is reserved for %q, which is not there", owner)
	}
	if err := rules.Delete(ctx, "next", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if owner := reservedBy(t, etcd, key); owner != "" {
		t.Errorf("after the rule is gone the endpoint is reserved for %q", owner)
	}
}

// Where endpoints need not be unique nothing is reserved.
func TestSharedEndpoints(t *testing.T) {
	ctx := t.Context()
	replica, err := bed.StartReplica(ctx, "portrule-apiserver-shared", "--unique-endpoints=false")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	const namespace = "shared"
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	gvr := implementations["aggregated-v2"]
	rules := clientIn(t, replica.Config(bed.Admin), gvr, namespace)
	for _, name := range []string{"one", "two"} {
		if _, err := rules.Create(ctx, portRule(gvr, name, nginx(gvr)), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	if owner := reservedBy(t, etcdClient(t), reservations+namespace+"/tcp/10.0.0.3/80"); owner != "" {
		t.Errorf("the endpoint is reserved for %q", owner)
	}
	// the other server would call this a duplicate for as long as it lasts
	if err := rules.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func stop(t *testing.T, server *testbed.Server) {
	t.Helper()
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
}

// etcdClient is a client of the etcd that both implementations share.
func etcdClient(t *testing.T) *clientv3.Client {
	t.Helper()
	endpoints, err := provider.Etcd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// reservedBy returns the name of the rule that an endpoint is reserved for, empty if
// it is not reserved.
func reservedBy(t *testing.T, etcd *clientv3.Client, key string) string {
	t.Helper()
	found, err := etcd.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Kvs) == 0 {
		return ""
	}
	var reservation metav1.PartialObjectMetadata
	if err := json.Unmarshal(found.Kvs[0].Value, &reservation); err != nil {
		t.Fatal(err)
	}
	return reservation.Name
}

// backdate makes a reservation an hour older.
func backdate(t *testing.T, etcd *clientv3.Client, key string) {
	t.Helper()
	found, err := etcd.Get(t.Context(), key)
	if err != nil || len(found.Kvs) != 1 {
		t.Fatal(err)
	}
	var reservation metav1.PartialObjectMetadata
	if err := json.Unmarshal(found.Kvs[0].Value, &reservation); err != nil {
		t.Fatal(err)
	}
	reservation.CreationTimestamp.Time = reservation.CreationTimestamp.Add(-time.Hour)
	value, err := json.Marshal(reservation)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Put(t.Context(), key, string(value)); err != nil {
		t.Fatal(err)
	}
}

// holding is a proxy in front of an etcd.
type holding struct {
	address string
	// held is closed when a client sends the text that is waited for. From then on
	// nothing more of that connection reaches the etcd.
	held chan struct{}
	once sync.Once
}

func holdingProxy(t *testing.T, etcd, text string) *holding {
	t.Helper()
	where, err := url.Parse(etcd)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &holding{address: listener.Addr().String(), held: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", where.Host)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			go func() {
				_ = proxy.forward(server, client, []byte(text))
				<-ctx.Done()
				_ = server.Close()
				_ = client.Close()
			}()
		}
	}()
	return proxy
}

var errHeld = errors.New("held")

// forward copies until the text comes by, which it does not let through.
func (p *holding) forward(to io.Writer, from io.Reader, text []byte) error {
	var tail []byte // a text may come in two pieces
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		seen := slices.Concat(tail, buffer[:n])
		if bytes.Contains(seen, text) {
			p.once.Do(func() { close(p.held) })
			return errHeld
		}
		tail = seen[max(0, len(seen)-len(text)):]
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
