package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// The watches.
const (
	stays    = "the watch that stays"
	renewed  = "the watch of one second"
	informer = "the informer"
)

// How long a watch is asked to last, in seconds. An informer asks for five to ten minutes;
// this one is in a hurry, so that it gets to the other house.
const (
	staysSeconds    = 3600
	renewedSeconds  = 1
	informerSeconds = 1
)

// Watch is what a watch has seen of the clients' rules.
type Watch struct {
	Name   string
	Events int
	// Lost are writes that were answered and not seen, Skipped are numbers of a counter that
	// were not seen, and Twice are events that are not newer than the one before.
	Lost, Skipped, Twice int
	// Renewed is how often the watch ended and went on from where it was, Anew how often it
	// had to list again.
	Renewed, Anew int
}

// change is a write that was answered.
type change struct {
	name, version string
	// deleted has no version: the answer has none.
	deleted bool
}

// tally is what a watch has seen, under the lock of its load.
type tally struct {
	Watch
	l       *Load
	seen    map[change]bool
	counter map[string]int32
	// last is the version of the last event, listed that of the last list.
	last, listed string
}

func (l *Load) tally(name string) *tally {
	t := &tally{Watch: Watch{Name: name}, l: l, seen: map[change]bool{}, counter: map[string]int32{}}
	for _, name := range l.kept {
		t.counter[name] = 1
	}
	l.watches = append(l.watches, t)
	return t
}

// lost are the writes that were not seen.
func (t *tally) lost(written []change) (lost []change) {
	for _, c := range written {
		if !t.seen[c] && (c.deleted || newer(c.version, t.listed)) {
			lost = append(lost, c)
		}
	}
	return lost
}

func (t *tally) report(written []change) Watch {
	w := t.Watch
	w.Lost = len(t.lost(written))
	return w
}

// note takes an event down.
func (t *tally) note(kind watch.EventType, name, version string, counter int32) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if !strings.HasPrefix(name, "client-"+t.l.run+"-") {
		t.last = version
		return
	}
	t.Events++
	if !newer(version, t.last) {
		t.Twice++
	}
	t.last = version
	if kind == watch.Deleted {
		t.seen[change{name: name, deleted: true}] = true
		return
	}
	t.seen[change{name: name, version: version}] = true
	if before, known := t.counter[name]; known && counter > before+1 {
		t.Skipped += int(counter - before - 1)
	}
	t.counter[name] = counter
}

// note takes down that the watch begins anew, from a list.
func (t *tally) relist(version string, counters map[string]int32) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.Anew++
	t.last, t.listed = version, version
	for _, c := range t.l.written {
		if _, there := counters[c.name]; c.deleted && !there {
			t.seen[c] = true
		}
	}
	for name, counter := range counters {
		if _, known := t.counter[name]; known {
			t.counter[name] = counter
		}
	}
}

// follow starts the watches, from a version on.
func (l *Load) follow(ctx context.Context, version string) error {
	client, err := dynamic.NewForConfig(l.Config)
	if err != nil {
		return err
	}
	stay, renew, inform := l.tally(stays), l.tally(renewed), l.tally(informer)
	l.watching.Go(func() { l.watch(ctx, stay, version, staysSeconds, 0) })
	l.watching.Go(func() { l.watch(ctx, renew, version, renewedSeconds, l.Renew) })
	rules := client.Resource(schema.GroupVersionResource{Group: l.Group, Version: v2.Version, Resource: api.Resource}).Namespace(l.Namespace)
	silent := logr.Discard()
	store := &store{tally: inform, listed: make(chan struct{})}
	reflector := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := rules.List(ctx, options)
			l.complain(ctx, "list for the informer", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.TimeoutSeconds = ptr.To[int64](informerSeconds)
			stream, err := rules.Watch(ctx, options)
			if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				l.complain(ctx, "watch for the informer", err)
			}
			if err == nil && options.ResourceVersion != "" {
				l.mu.Lock()
				inform.Renewed++
				l.mu.Unlock()
			}
			if err == nil && l.Renew > 0 {
				stream = shortened(stream, l.Renew)
			}
			return stream, err
		},
	}, &unstructured.Unstructured{}, store, cache.ReflectorOptions{Name: informer, Logger: &silent})
	l.watching.Go(func() { reflector.RunWithContext(ctx) })
	select {
	case <-store.listed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return errors.New("the informer did not get its list")
	}
}

// shortened ends a watch after a time, but not before it has seen an event: from one that
// ends early without any, an informer begins anew.
func shortened(stream watch.Interface, after time.Duration) watch.Interface {
	events := make(chan watch.Event)
	short := watch.NewProxyWatcher(events)
	go func() {
		defer close(events)
		defer stream.Stop()
		end := time.After(after)
		for seen, over := false, false; !seen || !over; {
			select {
			case event, ok := <-stream.ResultChan():
				if !ok {
					return
				}
				select {
				case events <- event:
				case <-short.StopChan():
					return
				}
				seen = true
			case <-end:
				over = true
			case <-short.StopChan():
				return
			}
		}
	}()
	return short
}

// complain notes an error of the informer's.
func (l *Load) complain(ctx context.Context, what string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	code := 0
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		code = int(status.Status().Code)
	}
	l.fail(what, code, err.Error())
}

// store is where the informer puts what it sees.
type store struct {
	*tally
	begun  bool
	listed chan struct{}
}

func (s *store) event(kind watch.EventType, object any) error {
	rule, ok := object.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("the informer has got a %T", object)
	}
	counter, _, _ := unstructured.NestedInt64(rule.Object, "spec", "timeoutSeconds")
	s.note(kind, rule.GetName(), rule.GetResourceVersion(), int32(counter))
	return nil
}

// Add takes an event down.
func (s *store) Add(object any) error { return s.event(watch.Added, object) }

// Update takes an event down.
func (s *store) Update(object any) error { return s.event(watch.Modified, object) }

// Delete takes an event down.
func (s *store) Delete(object any) error { return s.event(watch.Deleted, object) }

// Resync does nothing: there is nothing to do again.
func (s *store) Resync() error { return nil }

// Replace takes a list: the first is the beginning, and another is a beginning anew.
func (s *store) Replace(objects []any, version string) error {
	counters := map[string]int32{}
	for _, object := range objects {
		rule, ok := object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("the informer has got a %T", object)
		}
		counter, _, _ := unstructured.NestedInt64(rule.Object, "spec", "timeoutSeconds")
		counters[rule.GetName()] = int32(counter)
	}
	s.relist(version, counters)
	if !s.begun {
		s.begun = true
		s.l.mu.Lock()
		s.Anew = 0
		s.l.mu.Unlock()
		close(s.listed)
	}
	return nil
}

// watch follows the rules until ctx ends. Ended by the server, or after a time by itself
// unless that is 0, it goes on from where it was, and if it cannot, from a new list.
func (l *Load) watch(ctx context.Context, t *tally, version string, seconds int, renew time.Duration) {
	l.mu.Lock()
	t.last, t.listed = version, version
	l.mu.Unlock()
	for first := true; ctx.Err() == nil; first = false {
		streaming, end := ctx, context.CancelFunc(func() {})
		if renew > 0 {
			streaming, end = context.WithTimeout(ctx, renew)
		}
		stream, err := l.rules(http.MethodGet).Param("watch", "true").Param("allowWatchBookmarks", "true").
			Param("resourceVersion", version).Param("timeoutSeconds", strconv.Itoa(seconds)).Stream(streaming)
		if err == nil {
			if !first {
				l.mu.Lock()
				t.Renewed++
				l.mu.Unlock()
			}
			version, err = t.read(stream, version)
		}
		if streaming.Err() != nil {
			err = nil // it was to end
		}
		end()
		switch {
		case ctx.Err() != nil || err == nil:
			continue
		case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
			var list v2.PortRuleList
			if err = l.do(ctx, l.rules(http.MethodGet), &list); err == nil {
				counters := map[string]int32{}
				for _, rule := range list.Items {
					counters[rule.Name] = ptr.Deref(rule.Spec.TimeoutSeconds, 0)
				}
				version = list.ResourceVersion
				t.relist(version, counters)
				continue
			}
		}
		l.complain(ctx, t.Name, err)
		l.rest(ctx, 0)
	}
}

// read takes down what a watch says until it ends, and returns the version to go on from.
func (t *tally) read(stream io.ReadCloser, version string) (string, error) {
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
		var rule v2.PortRule
		if err := json.Unmarshal(e.Object, &rule); err != nil {
			return version, err
		}
		version = rule.ResourceVersion
		if e.Type != watch.Bookmark {
			t.note(e.Type, rule.Name, version, ptr.Deref(rule.Spec.TimeoutSeconds, 0))
		}
	}
}
