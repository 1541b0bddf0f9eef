package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"portrule.example/lab/api"
)

const system = "portrule-system"

// Nobody notices that the server is replaced: no request fails, and a watch misses
// nothing.
func TestRollingRestartOfServer(t *testing.T) {
	needs(t, "Deployments")
	environment.Test(t, features.New("rolling restart of the server").WithLabel("area", "operations").WithLabel("impl", "aggregated").
		Assess("fails no request and loses no event", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			namespace := newNamespace(t)
			load := startLoad(t, namespace, api.Group, "v2", "v2")
			for range 2 {
				restart(t, "portrule-apiserver")
			}
			load.end()
			if failures := load.failures(); failures != "" {
				t.Error(failures)
			}
			return ctx
		}).
		Feature())
}

func TestRollingRestartOfWebhooks(t *testing.T) {
	needs(t, "Deployments")
	environment.Test(t, features.New("rolling restart of the webhooks").WithLabel("area", "operations").WithLabel("impl", "crd").
		Assess("fails no request", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			namespace := newNamespace(t)
			load := startLoad(t, namespace, api.CRDGroup, "v2", "v1")
			for range 2 {
				restart(t, "portrule-controller")
			}
			load.end()
			if failures := load.failures(); failures != "" {
				t.Error(failures)
			}
			return ctx
		}).
		Feature())
}

// restart replaces the Pods of a Deployment one by one, and waits until the old ones
// are gone.
func restart(t *testing.T, deployment string) {
	t.Helper()
	old := map[types.UID]string{}
	for _, pod := range pods(t, deployment) {
		old[pod.UID] = pod.Name
	}
	mustKubectl(t, "", "-n", system, "rollout", "restart", "deployment/"+deployment)
	mustKubectl(t, "", "-n", system, "rollout", "status", "deployment/"+deployment, "--timeout=3m")
	eventually(t, "the old Pods of "+deployment+" have ended", func(context.Context) error {
		for _, pod := range pods(t, deployment) {
			if name, ok := old[pod.UID]; ok {
				return fmt.Errorf("%s is there still, in phase %s", name, pod.Status.Phase)
			}
		}
		return nil
	})
}

// pods are those of a Deployment or StatefulSet.
func pods(t *testing.T, workload string) []corev1.Pod {
	t.Helper()
	list, err := clientset.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + workload})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// load is clients that make, read, change and delete rules, each its own, and one that
// watches them all. They try nothing twice.
type load struct {
	// end stops the clients, waits for them, and says what they did.
	end func()

	mu       sync.Mutex
	requests int
	slowest  time.Duration
	slow     string
	failed   map[string]int
	examples []string

	reconnects int
	made, gone map[string]int
	seen map[string][]watch.EventType
}

const clients = 8

// requestTimeout is a limit for what hangs.
const requestTimeout = 30 * time.Second

func startLoad(t *testing.T, namespace, group, writes, reads string) *load {
	t.Helper()
	config, _, err := bed.User(t.Context(), "load-of-"+namespace, namespace)
	if err != nil {
		t.Fatal(err)
	}
	user, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	client := user.Discovery().RESTClient()
	at := func(verb, version string, under ...string) *rest.Request {
		return client.Verb(verb).AbsPath("/apis", group, version, "namespaces", namespace, api.Resource).Suffix(under...).MaxRetries(0)
	}
	body, err := at(http.MethodGet, writes).Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	l := &load{failed: map[string]int{}, made: map[string]int{}, gone: map[string]int{}, seen: map[string][]watch.EventType{}}
	writing, stopWriting := context.WithCancel(ctx)
	watching, stopWatching := context.WithCancel(ctx)
	var writers, watchers sync.WaitGroup
	begin := time.Now()
	for i := range clients {
		writers.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				name := fmt.Sprintf("rule-%d-%d", i, n)
				rule := fmt.Sprintf(`{"apiVersion": "%s/v2", "kind": "PortRule", "metadata": {"name": %q},
					"spec": {"service": "nginx", "endpoint": {"host": "10.%d.%d.%d", "port": 80}}}`, group, name, i, n/256, n%256)
				if l.ask(ctx, "create", at(http.MethodPost, writes).SetHeader("Content-Type", "application/json").Body([]byte(rule)), http.StatusCreated) {
					l.count(l.made, name)
				}
				l.ask(ctx, "get", at(http.MethodGet, reads, name), http.StatusOK)
				l.ask(ctx, "patch", at(http.MethodPatch, writes, name).SetHeader("Content-Type", string(types.MergePatchType)).Body([]byte(`{"spec":{"replicas":2}}`)), http.StatusOK)
				l.ask(ctx, "list", at(http.MethodGet, reads), http.StatusOK)
				if l.ask(ctx, "delete", at(http.MethodDelete, writes, name), http.StatusOK) {
					l.count(l.gone, name)
				}
			}
		})
	}
	watchers.Go(func() {
		version := list.ResourceVersion
		for watching.Err() == nil {
			stream, err := at(http.MethodGet, writes).Param("watch", "true").Param("resourceVersion", version).Stream(watching)
			if err == nil {
				version, err = l.follow(stream, version)
			}
			if watching.Err() != nil {
				return
			}
			l.mu.Lock()
			l.reconnects++
			l.mu.Unlock()
			if err != nil {
				l.fail("watch", 0, err)
			}
		}
	})
	l.end = func() {
		stopWriting()
		writers.Wait()
		took := time.Since(begin)
		defer func() { stopWatching(); watchers.Wait() }()
		eventually(t, "the watch has seen all", func(context.Context) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			for name := range l.gone {
				if events := l.seen[name]; len(events) == 0 || events[len(events)-1] != watch.Deleted {
					return fmt.Errorf("of %s it has seen %v", name, events)
				}
			}
			return nil
		})
		l.mu.Lock()
		defer l.mu.Unlock()
		events := 0
		for name, types := range l.seen {
			events += len(types)
			for i, typ := range types {
				want := watch.Modified
				if i == 0 {
					want = watch.Added
				} else if i == len(types)-1 {
					want = watch.Deleted
				}
				if typ != want {
					t.Errorf("events of %s: %v", name, types)
					break
				}
			}
		}
		t.Logf("%d requests in %.1f s, %v failed, slowest %s %s; %d rules made, %d seen, %d events, watch reconnected %d times",
			l.requests, took.Seconds(), l.failed, l.slow, l.slowest, len(l.made), len(l.seen), events, l.reconnects)
	}
	return l
}

func (l *load) count(where map[string]int, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	where[name]++
}

// ask sends a request that must be answered with a code.
func (l *load) ask(ctx context.Context, what string, request *rest.Request, code int) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	begin := time.Now()
	var got int
	body, err := request.Do(ctx).StatusCode(&got).Raw()
	took := time.Since(begin)
	l.mu.Lock()
	l.requests++
	if took > l.slowest {
		l.slowest, l.slow = took, what
	}
	l.mu.Unlock()
	if got == code {
		return true
	}
	if got == 0 && err != nil {
		body = []byte(err.Error())
	}
	l.fail(what, took, fmt.Errorf("%d %s", got, body))
	return false
}

func (l *load) follow(stream io.ReadCloser, version string) (string, error) {
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
		l.mu.Lock()
		l.seen[event.Object.Name] = append(l.seen[event.Object.Name], event.Type)
		l.mu.Unlock()
		version = event.Object.ResourceVersion
	}
}

func (l *load) fail(what string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[what]++
	if len(l.examples) < 60 {
		l.examples = append(l.examples, fmt.Sprintf("%s %s after %s: %v", time.Now().Format("15:04:05.000"), what, took, err))
	}
}

func (l *load) failures() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) == 0 {
		return ""
	}
	return fmt.Sprintf("failed %v of %d:\n%s", slices.Sorted(maps.Keys(l.failed)), l.requests, strings.Join(l.examples, "\n"))
}
