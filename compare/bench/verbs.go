package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// ListSize is the number of objects that the case list reads.
const ListSize = 500

// eventTimeout bounds the wait for a watch event.
const eventTimeout = 10 * time.Second

// fanOut is the number of watches that the case watch-fan-out opens.
const fanOut = 50

// Verbs measures each verb of the API through the kube-apiserver, on one connection.
var Verbs = Suite{
	Name:  "verbs",
	About: "each verb of the API: latency, throughput, and what it costs the processes",
	Impls: []string{CRD, Aggregated, NameFree, Native},
	Pairs: [][2]string{{Aggregated, CRD}, {NameFree, CRD}, {NameFree, Aggregated}, {CRD, Native}, {Aggregated, Native}, {NameFree, Native}},
	Cases: []Case{
		{Name: "create", About: "POST of a new object", Cache: "warm", Loaded: true, New: newCreate},
		{Name: "get", About: "GET of the same object each time", Cache: "warm", Loaded: true, New: newGet},
		{Name: "get-new", About: "GET of another existing object each time, each read once", Cache: "cold", Loaded: true, New: newGetNew},
		{Name: "list", About: fmt.Sprintf("GET of a collection of %d objects", ListSize), Cache: "warm", Loaded: true, New: newList},
		{Name: "list-busy", About: "the same right after something else was written: a consistent list waits until the watch cache knows that it has missed nothing", Cache: "warm", Slow: true, New: newListBusy},
		{Name: "update", About: "PUT of the whole object with one number changed", Cache: "warm", Loaded: true, New: newUpdate},
		{Name: "json-patch", About: "PATCH that replaces one number, as JSON Patch", Cache: "warm", New: newPatch(types.JSONPatchType)},
		{Name: "merge-patch", About: "PATCH that replaces one number, as JSON Merge Patch", Cache: "warm", New: newPatch(types.MergePatchType)},
		{Name: "apply", About: "PATCH of the whole object with one number changed, as server-side apply", Cache: "warm", New: newPatch(types.ApplyYAMLPatchType)},
		{Name: "delete", About: "DELETE of an existing object, each once", Cache: "cold", New: newDelete},
		{Name: "watch", About: "from sending a merge patch until an open watch has its event", Cache: "warm", New: newWatch(1)},
		{Name: "watch-fan-out", About: fmt.Sprintf("from sending a merge patch until the last of %d open watches has its event", fanOut), Cache: "warm", New: newWatch(fanOut)},
	},
}

// timed sends a request and reads the whole answer.
func timed(ctx context.Context, request *rest.Request) (time.Duration, []byte, error) {
	start := time.Now()
	body, err := request.Do(ctx).Raw()
	return time.Since(start), body, err
}

func newCreate(ctx context.Context, s *Session, client int) (Requests, error) {
	return newCreateOf("create")(ctx, s, client)
}

// newCreateOf creates objects whose names begin with what.
func newCreateOf(what string) func(context.Context, *Session, int) (Requests, error) {
	return func(_ context.Context, s *Session, client int) (Requests, error) {
		name := s.numbered(what, client)
		return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
			request := s.request("POST", s.Namespace, "").Body(s.Subject.object(name(i), i, ""))
			elapsed, _, err := timed(ctx, request)
			return elapsed, err
		}}, nil
	}
}

func newGet(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.named("get", client)
	_, err := s.create(ctx, s.Namespace, name, 0)
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		elapsed, _, err := timed(ctx, s.request("GET", s.Namespace, name))
		return elapsed, err
	}}, err
}

// stockOf makes the objects that are to be read or deleted.
func stockOf(s *Session, name func(i int) string) func(ctx context.Context, from, to int) error {
	return func(ctx context.Context, from, to int) error {
		return s.createMany(ctx, s.Namespace, to-from, func(i int) string { return name(from + i) })
	}
}

func newGetNew(_ context.Context, s *Session, client int) (Requests, error) {
	name := s.numbered("get-new", client)
	return Requests{
		Stock: stockOf(s, name),
		Send: func(ctx context.Context, i int) (time.Duration, error) {
			elapsed, _, err := timed(ctx, s.request("GET", s.Namespace, name(i)))
			return elapsed, err
		},
	}, nil
}

func newList(ctx context.Context, s *Session, client int) (Requests, error) {
	list := Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		return s.countList(ctx, s.request("GET", s.ListNamespace, ""), ListSize)
	}}
	if client > 0 {
		return list, nil // the first has filled the namespace
	}
	return list, s.fill(ctx, ListSize)
}

// newListBusy lists after a write of another kind, which moves etcd's revision on and is no
// event in the watch cache of the listed one.
func newListBusy(ctx context.Context, s *Session, client int) (Requests, error) {
	list, err := newList(ctx, s, client)
	if err != nil {
		return list, err
	}
	other := func(verb string, path ...string) *rest.Request {
		prefix := []string{"/api/v1/namespaces", s.Namespace, "configmaps"}
		if s.Subject.Impl == Native {
			prefix = []string{"/apis", api.CRDGroup, v2.Version, "namespaces", s.Namespace, api.Resource}
		}
		return s.client.Verb(verb).AbsPath(append(prefix, path...)...).MaxRetries(0)
	}
	name := fmt.Sprintf("busy-%s-%02d", strings.ReplaceAll(s.Subject.Impl, "+", "-"), client)
	written := &Subject{Version: schema.GroupVersion{Version: "v1"}, Kind: "ConfigMap", field: "data", Impl: Native}
	if s.Subject.Impl == Native {
		written = portRule(CRD, api.CRDGroup)
	}
	send := list.Send
	list.Send = func(ctx context.Context, i int) (time.Duration, error) {
		write := other("PATCH", name).SetHeader("Content-Type", string(types.MergePatchType)).Body(written.mergePatch(i))
		if err := write.Do(ctx).Error(); err != nil {
			return 0, err
		}
		return send(ctx, i)
	}
	return list, other("POST").Body(written.object(name, 0, "")).Do(ctx).Error()
}

func newUpdate(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.named("update", client)
	body, err := s.create(ctx, s.Namespace, name, 0)
	return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
		version, err := resourceVersion(body)
		if err != nil {
			return 0, err
		}
		request := s.request("PUT", s.Namespace, name).Body(s.Subject.object(name, i+1, version))
		var elapsed time.Duration
		elapsed, body, err = timed(ctx, request)
		return elapsed, err
	}}, err
}

func newPatch(patchType types.PatchType) func(context.Context, *Session, int) (Requests, error) {
	return func(ctx context.Context, s *Session, client int) (Requests, error) {
		var name string
		var patch func(n int) []byte
		switch patchType {
		case types.JSONPatchType:
			name, patch = s.named("json-patch", client), s.Subject.jsonPatch
		case types.MergePatchType:
			name, patch = s.named("merge-patch", client), s.Subject.mergePatch
		case types.ApplyYAMLPatchType:
			name = s.named("apply", client)
			patch = func(n int) []byte { return s.Subject.object(name, n, "") }
		}
		request := func(n int) *rest.Request {
			r := s.request("PATCH", s.Namespace, name).SetHeader("Content-Type", string(patchType)).
				Param("fieldManager", "bench").Body(patch(n))
			if patchType == types.ApplyYAMLPatchType {
				r = r.Param("force", "true")
			}
			return r
		}
		var err error
		if patchType == types.ApplyYAMLPatchType {
			err = request(0).Do(ctx).Error() // applying creates
		} else {
			_, err = s.create(ctx, s.Namespace, name, 0)
		}
		return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
			elapsed, _, err := timed(ctx, request(i+1))
			return elapsed, err
		}}, err
	}
}

func newDelete(_ context.Context, s *Session, client int) (Requests, error) {
	name := s.numbered("delete", client)
	return Requests{
		Stock: stockOf(s, name),
		Send: func(ctx context.Context, i int) (time.Duration, error) {
			elapsed, _, err := timed(ctx, s.request("DELETE", s.Namespace, name(i)))
			return elapsed, err
		},
	}, nil
}

// newWatch opens n watches of one object, which stay open until ctx ends.
func newWatch(n int) func(context.Context, *Session, int) (Requests, error) {
	return func(ctx context.Context, s *Session, client int) (Requests, error) {
		name := s.named(fmt.Sprintf("watch-%d", n), client)
		body, err := s.create(ctx, s.Namespace, name, 0)
		if err != nil {
			return Requests{}, err
		}
		version, err := resourceVersion(body)
		if err != nil {
			return Requests{}, err
		}
		watches := make([]chan event, n)
		for i := range watches {
			stream, err := s.request("GET", s.Namespace, "").
				Param("watch", "true").
				Param("fieldSelector", "metadata.name="+name).
				Param("resourceVersion", version).
				Stream(ctx)
			if err != nil {
				return Requests{}, fmt.Errorf("watch: %w", err)
			}
			watches[i] = make(chan event, 1)
			go readEvents(ctx, stream, watches[i])
		}
		return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
			request := s.request("PATCH", s.Namespace, name).SetHeader("Content-Type", string(types.MergePatchType)).Body(s.Subject.mergePatch(i + 1))
			start := time.Now()
			body, err := request.Do(ctx).Raw()
			if err != nil {
				return 0, err
			}
			written, err := resourceVersion(body)
			if err != nil {
				return 0, err
			}
			last := time.Duration(0)
			for _, events := range watches {
				e, err := nextEvent(ctx, events)
				if err != nil {
					return 0, err
				}
				if err := e.check(written); err != nil {
					return 0, err
				}
				last = max(last, e.received.Sub(start))
			}
			return last, nil
		}}, nil
	}
}

// nextEvent waits for the next event of a watch.
func nextEvent(ctx context.Context, events <-chan event) (event, error) {
	timeout := time.NewTimer(eventTimeout)
	defer timeout.Stop()
	select {
	case e, ok := <-events:
		if !ok {
			return e, errors.New("the watch ended early")
		}
		return e, nil
	case <-timeout.C:
		return event{}, fmt.Errorf("no event came within %s of the write", eventTimeout)
	case <-ctx.Done():
		return event{}, ctx.Err()
	}
}

// event is a line of a watch and when its last byte came.
type event struct {
	received time.Time
	line     []byte
}

// check says whether the event is the one of the write that answered with version.
func (e event) check(version string) error {
	var decoded metav1.WatchEvent
	if err := json.Unmarshal(e.line, &decoded); err != nil {
		return fmt.Errorf("read a watch event: %w", err)
	}
	got, err := resourceVersion(decoded.Object.Raw)
	if err != nil {
		return err
	}
	if decoded.Type != "MODIFIED" || got != version {
		return fmt.Errorf("expected the event MODIFIED of resourceVersion %s, got %s", version, e.line)
	}
	return nil
}

// readEvents passes the lines of a watch on until it ends, and closes both ends.
func readEvents(ctx context.Context, stream io.ReadCloser, events chan<- event) {
	defer close(events)
	defer stream.Close()
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		select {
		case events <- event{time.Now(), line}:
		case <-ctx.Done():
			return
		}
	}
}
