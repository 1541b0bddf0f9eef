package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// ListSize is the number of objects that the case list reads.
const ListSize = 500

// eventTimeout bounds the wait for a watch event.
const eventTimeout = 10 * time.Second

// Verbs measures each verb of the API through the kube-apiserver, one request at
// a time, on one connection.
var Verbs = Suite{
	Name:  "verbs",
	About: "each verb of the API, one request at a time",
	Impls: []string{CRD, Aggregated, NameFree, Native},
	Pairs: [][2]string{{Aggregated, CRD}, {NameFree, CRD}, {NameFree, Aggregated}, {CRD, Native}, {Aggregated, Native}},
	Cases: []Case{
		{Name: "create", About: "POST of a new object", Cache: "warm", Prepare: prepareCreate},
		{Name: "get", About: "GET of the same object each time", Cache: "warm", Prepare: prepareGet},
		{Name: "get-new", About: "GET of another existing object each time, each read once", Cache: "cold", Prepare: prepareGetNew},
		{Name: "list", About: fmt.Sprintf("GET of a collection of %d objects", ListSize), Cache: "warm", Prepare: prepareList},
		{Name: "update", About: "PUT of the whole object with one number changed", Cache: "warm", Prepare: prepareUpdate},
		{Name: "json-patch", About: "PATCH that replaces one number, as JSON Patch", Cache: "warm", Prepare: preparePatch(types.JSONPatchType)},
		{Name: "merge-patch", About: "PATCH that replaces one number, as JSON Merge Patch", Cache: "warm", Prepare: preparePatch(types.MergePatchType)},
		{Name: "apply", About: "PATCH of the whole object with one number changed, as server-side apply", Cache: "warm", Prepare: preparePatch(types.ApplyYAMLPatchType)},
		{Name: "delete", About: "DELETE of an existing object, each once", Cache: "cold", Prepare: prepareDelete},
		{Name: "watch", About: "from sending a merge patch until an open watch has its event", Cache: "warm", Prepare: prepareWatch},
	},
}

// timed sends a request and reads the whole answer.
func timed(ctx context.Context, request *rest.Request) (time.Duration, []byte, error) {
	start := time.Now()
	body, err := request.Do(ctx).Raw()
	return time.Since(start), body, err
}

func prepareCreate(_ context.Context, s *Session, _ int) (Sampler, error) {
	return func(ctx context.Context, i int) (time.Duration, error) {
		elapsed, _, err := timed(ctx, s.request("POST", s.Namespace, "").Body(s.Subject.object(fmt.Sprintf("create-%06d", i), i, "")))
		return elapsed, err
	}, nil
}

func prepareGet(ctx context.Context, s *Session, _ int) (Sampler, error) {
	const name = "get"
	_, err := s.create(ctx, s.Namespace, name, 0)
	return func(ctx context.Context, _ int) (time.Duration, error) {
		elapsed, _, err := timed(ctx, s.request("GET", s.Namespace, name))
		return elapsed, err
	}, err
}

func prepareGetNew(ctx context.Context, s *Session, rounds int) (Sampler, error) {
	name := func(i int) string { return fmt.Sprintf("get-new-%06d", i) }
	if err := s.createMany(ctx, s.Namespace, rounds, name); err != nil {
		return nil, err
	}
	return func(ctx context.Context, i int) (time.Duration, error) {
		elapsed, _, err := timed(ctx, s.request("GET", s.Namespace, name(i)))
		return elapsed, err
	}, nil
}

func prepareList(ctx context.Context, s *Session, _ int) (Sampler, error) {
	// a cluster with a controller manager puts the ConfigMap kube-root-ca.crt into every
	// namespace: it is one of the items
	_, body, err := timed(ctx, s.request("GET", s.ListNamespace, ""))
	if err != nil {
		return nil, err
	}
	err = s.createMany(ctx, s.ListNamespace, ListSize-countItems(body), func(i int) string { return fmt.Sprintf("list-%06d", i) })
	return func(ctx context.Context, _ int) (time.Duration, error) {
		elapsed, body, err := timed(ctx, s.request("GET", s.ListNamespace, ""))
		if err != nil {
			return 0, err
		}
		if n := countItems(body); n != ListSize {
			return 0, fmt.Errorf("the list has %d items, not %d", n, ListSize)
		}
		return elapsed, nil
	}, err
}

// countItems counts the items of a list in JSON by the field that each has once:
// decoding would cost more than the request.
func countItems(body []byte) int { return bytes.Count(body, []byte(`"creationTimestamp":`)) }

func prepareUpdate(ctx context.Context, s *Session, _ int) (Sampler, error) {
	const name = "update"
	body, err := s.create(ctx, s.Namespace, name, 0)
	return func(ctx context.Context, i int) (time.Duration, error) {
		version, err := resourceVersion(body)
		if err != nil {
			return 0, err
		}
		var elapsed time.Duration
		elapsed, body, err = timed(ctx, s.request("PUT", s.Namespace, name).Body(s.Subject.object(name, i+1, version)))
		return elapsed, err
	}, err
}

func preparePatch(patchType types.PatchType) func(context.Context, *Session, int) (Sampler, error) {
	return func(ctx context.Context, s *Session, _ int) (Sampler, error) {
		var name string
		var patch func(n int) []byte
		switch patchType {
		case types.JSONPatchType:
			name, patch = "json-patch", s.Subject.jsonPatch
		case types.MergePatchType:
			name, patch = "merge-patch", s.Subject.mergePatch
		case types.ApplyYAMLPatchType:
			name, patch = "apply", func(n int) []byte { return s.Subject.object("apply", n, "") }
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
		return func(ctx context.Context, i int) (time.Duration, error) {
			elapsed, _, err := timed(ctx, request(i+1))
			return elapsed, err
		}, err
	}
}

func prepareDelete(_ context.Context, s *Session, _ int) (Sampler, error) {
	return func(ctx context.Context, i int) (time.Duration, error) {
		name := fmt.Sprintf("delete-%06d", i)
		if _, err := s.create(ctx, s.Namespace, name, i); err != nil {
			return 0, err
		}
		elapsed, _, err := timed(ctx, s.request("DELETE", s.Namespace, name))
		return elapsed, err
	}, nil
}

// prepareWatch opens a watch of one object, which stays open until ctx ends.
func prepareWatch(ctx context.Context, s *Session, _ int) (Sampler, error) {
	const name = "watch"
	body, err := s.create(ctx, s.Namespace, name, 0)
	if err != nil {
		return nil, err
	}
	version, err := resourceVersion(body)
	if err != nil {
		return nil, err
	}
	stream, err := s.request("GET", s.Namespace, "").
		Param("watch", "true").
		Param("fieldSelector", "metadata.name="+name).
		Param("resourceVersion", version).
		Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	events := make(chan event, 1)
	go readEvents(ctx, stream, events)

	return func(ctx context.Context, i int) (time.Duration, error) {
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
		select {
		case e, ok := <-events:
			if !ok {
				return 0, errors.New("the watch ended early")
			}
			return e.received.Sub(start), e.check(written)
		case <-time.After(eventTimeout):
			return 0, fmt.Errorf("no event came within %s of the write", eventTimeout)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, nil
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
