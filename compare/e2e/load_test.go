package e2e

import (
	"bytes"
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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// The load: each of so many clients makes a request every so often, or as fast as it is
// answered if that takes longer.
const (
	loadClients = 8
	loadPace    = 100 * time.Millisecond
)

// hangs is when a request without an answer has failed.
const hangs = time.Minute

// load is clients that use the rules of a namespace, as an ordinary user, and one that
// watches them all. They try nothing twice.
type load struct {
	t         *testing.T
	client    rest.Interface
	group     string
	namespace string
	// timeout is how long the server may take to answer, unless it is empty.
	timeout string

	clients, watcher         sync.WaitGroup
	stopClients, stopWatcher context.CancelFunc

	mu       sync.Mutex
	requests int
	slowest  time.Duration
	slow     string // which request that was
	failures []failure
	// written are the versions of each rule that an answer has told of, and deleted the
	// rules whose deletion was answered.
	written map[string][]string
	deleted map[string]bool
	// events are those of the watch, by rule, and reconnects is how often the server has
	// ended it.
	events     map[string][]event
	reconnects int
}

// failure is a request that was not answered as it should be.
type failure struct {
	at   time.Time
	what string
	code int // 0 if there was no answer
	says string
}

func (f failure) String() string {
	return fmt.Sprintf("%s %s: %d %s", f.at.Format("15:04:05.000"), f.what, f.code, f.says)
}

// event is what a watch says of a rule.
type event struct {
	kind    watch.EventType
	version string
}

// newLoad returns a load without clients.
func newLoad(t *testing.T, group, namespace string) *load {
	t.Helper()
	config, _, err := bed.User(t.Context(), "load-"+namespace, namespace)
	if err != nil {
		t.Fatal(err)
	}
	user, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &load{
		t: t, client: user.Discovery().RESTClient(), group: group, namespace: namespace,
		written: map[string][]string{}, deleted: map[string]bool{}, events: map[string][]event{},
	}
}

// start makes each client do rounds, of which n is the number, and one more watch, until
// end.
func (l *load) start(round func(client, n int)) {
	l.t.Helper()
	_, answer := l.ask("list", l.rules(http.MethodGet, v2.Version), http.StatusOK)
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(answer, &list); err != nil {
		l.t.Fatalf("list the rules: %v: %s", err, answer)
	}
	var clients, watcher context.Context
	clients, l.stopClients = context.WithCancel(l.t.Context())
	watcher, l.stopWatcher = context.WithCancel(l.t.Context())
	l.watcher.Go(func() { l.watch(watcher, list.ResourceVersion) })
	for client := range loadClients {
		l.clients.Go(func() {
			for n := 0; clients.Err() == nil; n++ {
				round(client, n)
			}
		})
	}
}

// end stops the clients, once they have ended their rounds, and the watch, once it has
// seen what they did. It checks what the watch has seen, and returns the failures.
func (l *load) end() []failure {
	l.t.Helper()
	l.stopClients()
	l.clients.Wait()
	defer l.watcher.Wait()
	defer l.stopWatcher()
	eventually(l.t, "the watch sees everything that was answered", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.missing()
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	events := 0
	for name, seen := range l.events {
		events += len(seen)
		if !consistent(seen) {
			l.t.Errorf("the watch has seen of %s: %v", name, seen)
		}
	}
	l.t.Logf("%s: %d requests, %d of them failed; the slowest, %s, took %.1f s; %d events of %d rules in a watch that the server has ended %d times",
		l.group, l.requests, len(l.failures), l.slow, l.slowest.Seconds(), events, len(l.events), l.reconnects)
	return slices.Clone(l.failures)
}

// missing says which event of what was answered is missing.
func (l *load) missing() error {
	for name, versions := range l.written {
		for _, version := range versions {
			if !slices.ContainsFunc(l.events[name], func(e event) bool { return e.version == version }) {
				return fmt.Errorf("of %s version %s is missing: %v", name, version, l.events[name])
			}
		}
	}
	for name := range l.deleted {
		if events := l.events[name]; len(events) == 0 || events[len(events)-1].kind != watch.Deleted {
			return fmt.Errorf("that %s was deleted is missing: %v", name, events)
		}
	}
	return nil
}

// consistent is whether a rule was added once, at first, and deleted at most once, at
// last, and no version was seen twice.
func consistent(events []event) bool {
	versions := map[string]bool{}
	for i, e := range events {
		if (e.kind == watch.Added) != (i == 0) || e.kind == watch.Deleted && i != len(events)-1 || versions[e.version] {
			return false
		}
		versions[e.version] = true
	}
	return true
}

// change is a round: a rule is made, read, changed, listed and deleted. What a client
// knows of its rule is of v2, and what it reads of the given version.
func (l *load) change(reads string) func(client, n int) {
	return func(client, n int) {
		name, ok := l.create(client, n)
		if !ok {
			return
		}
		l.ask("get", l.rules(http.MethodGet, reads, name), http.StatusOK)
		patch := l.rules(http.MethodPatch, v2.Version, name).
			SetHeader("Content-Type", string(types.MergePatchType)).Body([]byte(`{"spec":{"replicas":2}}`))
		if ok, answer := l.ask("patch", patch, http.StatusOK); ok {
			l.wrote(name, answer)
		}
		l.ask("list", l.rules(http.MethodGet, reads), http.StatusOK)
		if ok, _ := l.ask("delete", l.rules(http.MethodDelete, v2.Version, name), http.StatusOK); ok {
			l.mu.Lock()
			l.deleted[name] = true
			l.mu.Unlock()
		}
	}
}

// keep is a round: a rule is made and read.
func (l *load) keep(client, n int) {
	if name, ok := l.create(client, n); ok {
		l.ask("get", l.rules(http.MethodGet, v2.Version, name), http.StatusOK)
	}
}

// create makes the n-th rule of a client.
func (l *load) create(client, n int) (name string, ok bool) {
	name = fmt.Sprintf("rule-%d-%d", client, n)
	rule := fmt.Sprintf(`{"apiVersion": "%s/v2", "kind": "PortRule", "metadata": {"name": %q},
		"spec": {"service": "nginx", "endpoint": {"host": "10.%d.%d.%d", "port": 80}}}`, l.group, name, client, n/256, n%256)
	ok, answer := l.ask("create", l.rules(http.MethodPost, v2.Version).SetHeader("Content-Type", "application/json").Body([]byte(rule)), http.StatusCreated)
	if ok {
		l.wrote(name, answer)
	}
	return name, ok
}

func (l *load) wrote(name string, answer []byte) {
	var rule metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &rule); err != nil || rule.ResourceVersion == "" {
		l.fail("read an answer", 0, fmt.Sprintf("%v: %s", err, answer))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written[name] = append(l.written[name], rule.ResourceVersion)
}

// recovers waits until a hundred requests in a row have not failed.
func (l *load) recovers() {
	l.t.Helper()
	failed, since := -1, 0
	eventually(l.t, "requests succeed again", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.failures) != failed {
			failed, since = len(l.failures), l.requests
		}
		if l.requests < since+100 {
			return fmt.Errorf("%d requests since the last that failed:\n%s", l.requests-since, tell(l.failures))
		}
		return nil
	})
}

// names are those of the rules that were made.
func (l *load) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.written))
}

// rules is a request for the rules, or for what is under them.
func (l *load) rules(verb, version string, under ...string) *rest.Request {
	request := l.client.Verb(verb).AbsPath("/apis", l.group, version, "namespaces", l.namespace, api.Resource).Suffix(under...).MaxRetries(0)
	if l.timeout != "" {
		request.Param("timeout", l.timeout)
	}
	return request
}

// ask sends a request, which should be answered with a code, and waits until it is time
// for the next.
func (l *load) ask(what string, request *rest.Request, code int) (ok bool, answer []byte) {
	ctx, cancel := context.WithTimeout(l.t.Context(), hangs)
	defer cancel()
	begin := time.Now()
	var got int
	answer, err := request.Do(ctx).StatusCode(&got).Raw()
	took := time.Since(begin)
	l.mu.Lock()
	l.requests++
	if took > l.slowest {
		l.slowest, l.slow = took, what
	}
	l.mu.Unlock()
	if ok = got == code; !ok {
		says := string(bytes.TrimSpace(answer))
		if got == 0 || says == "" {
			says = fmt.Sprint(err)
		}
		l.fail(what, got, says)
	}
	select {
	case <-time.After(loadPace - took):
	case <-ctx.Done():
	}
	return ok, answer
}

// watch follows the rules until ctx ends. Ended by the server, it goes on from where it
// was.
func (l *load) watch(ctx context.Context, version string) {
	for {
		stream, err := l.client.Get().AbsPath("/apis", l.group, v2.Version, "namespaces", l.namespace, api.Resource).MaxRetries(0).
			Param("watch", "true").Param("resourceVersion", version).Stream(ctx)
		if err == nil {
			version, err = l.follow(stream, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			var status apierrors.APIStatus
			if errors.As(err, &status) {
				l.fail("watch", int(status.Status().Code), err.Error())
			} else {
				l.fail("watch", 0, err.Error())
			}
			select {
			case <-time.After(loadPace):
			case <-ctx.Done():
			}
			continue
		}
		l.mu.Lock()
		l.reconnects++
		l.mu.Unlock()
	}
}

// follow reads what a watch says until it ends, and returns the version to go on from.
func (l *load) follow(stream io.ReadCloser, version string) (string, error) {
	defer stream.Close()
	for decoder := json.NewDecoder(stream); ; {
		var e struct {
			Type   watch.EventType
			Object json.RawMessage
		}
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return version, err
		}
		if e.Type == watch.Error {
			var status metav1.Status
			return version, errors.Join(json.Unmarshal(e.Object, &status), &apierrors.StatusError{ErrStatus: status})
		}
		var rule metav1.PartialObjectMetadata
		if err := json.Unmarshal(e.Object, &rule); err != nil {
			return version, err
		}
		version = rule.ResourceVersion
		l.mu.Lock()
		l.events[rule.Name] = append(l.events[rule.Name], event{kind: e.Type, version: version})
		l.mu.Unlock()
	}
}

func (l *load) fail(what string, code int, says string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, failure{at: time.Now(), what: what, code: code, says: says})
}

// tell counts failures by what they say, and shows the first of each.
func tell(failures []failure) string {
	count := map[string]int{}
	first := map[string]failure{}
	for _, f := range failures {
		key := fmt.Sprint(f.code, " ", f.says)
		if count[key]++; count[key] == 1 {
			first[key] = f
		}
	}
	var lines []string
	for _, key := range slices.SortedFunc(maps.Keys(first), func(a, b string) int { return first[a].at.Compare(first[b].at) }) {
		lines = append(lines, fmt.Sprintf("%d times, at first %s", count[key], first[key]))
	}
	return strings.Join(lines, "\n")
}
