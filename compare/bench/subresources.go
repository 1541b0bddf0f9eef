package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"portrule.example/lab/crd/controller"
)

// Subresources measures the subresources that both implementations have, and the two ways
// to have something done on demand: the aggregated server connects a subresource to code;
// with a CRD a user writes a wish, a controller sees it, acts, and writes what came of it,
// and the user, who watches, reads that.
var Subresources = Suite{
	Name:  "subresources",
	About: "status, scale, and an action on demand: by subresource, or by controller",
	Impls: []string{CRD, Aggregated},
	Pairs: [][2]string{{Aggregated, CRD}},
	Cases: []Case{
		{Name: "status-patch", About: "PATCH of the subresource status with another number, while a controller writes to it too", Loaded: true, New: newSubresourcePatch("status", statusPatch)},
		{Name: "scale-get", About: "GET of the subresource scale", New: newScaleGet},
		{Name: "scale-patch", About: "PATCH of the subresource scale with another number of replicas, as kubectl scale sends it", New: newSubresourcePatch("scale", scalePatch)},
		{Name: "rendering-read", About: "the rule as an nftables script: GET of the subresource nftables; with the CRD GET of the ConfigMap that the controller has written", New: newRenderingRead},
		{Name: "rendering-new", About: "from creating a rule until its nftables script is read: GET of the subresource; with the CRD a watch until the controller has written the ConfigMap", New: newRenderingNew},
		{Name: "probe", About: "from asking whether the endpoint answers until the answer is read: GET of the subresource probe; with the CRD a PATCH of an annotation, the controller, and a watch of the status", New: newProbeOnDemand},
	},
}

// ControllerTimeout bounds the wait for the controller of the CRD.
const ControllerTimeout = 10 * time.Second

func newScaleGet(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.named("scale-get", client)
	_, err := s.create(ctx, s.Namespace, name, 0)
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		elapsed, _, err := timed(ctx, s.request("GET", s.Namespace, name).SubResource("scale"))
		return elapsed, err
	}}, err
}

// newSubresourcePatch patches a number of a subresource. It names no resourceVersion: a
// controller may write in between.
func newSubresourcePatch(subresource string, patch func(i int) []byte) func(context.Context, *Session, int) (Requests, error) {
	return func(ctx context.Context, s *Session, client int) (Requests, error) {
		name := s.named(subresource+"-patch", client)
		_, err := s.create(ctx, s.Namespace, name, 0)
		return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
			elapsed, _, err := timed(ctx, s.request("PATCH", s.Namespace, name).SubResource(subresource).
				SetHeader("Content-Type", string(types.MergePatchType)).Body(patch(i)))
			return elapsed, err
		}}, err
	}
}

func statusPatch(i int) []byte { return fmt.Appendf(nil, `{"status":{"replicas":%d}}`, i%100) }

func scalePatch(i int) []byte { return fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, 2+i%90) }

// configMap begins a request for the ConfigMap that the controller writes for a rule, or for
// all of them if the rule has no name.
func (s *Session) configMap(verb, rule string) *rest.Request {
	path := []string{"/api/v1/namespaces", s.Namespace, "configmaps"}
	if rule != "" {
		path = append(path, rule+"-nftables")
	}
	return s.client.Verb(verb).AbsPath(path...).MaxRetries(0)
}

// rendering times a GET of the script of a rule, and returns it.
func (s *Session) rendering(ctx context.Context, rule string) (time.Duration, error) {
	request := s.request("GET", s.Namespace, rule).SubResource("nftables")
	if s.Subject.Impl == CRD {
		request = s.configMap("GET", rule)
	}
	elapsed, body, err := timed(ctx, request)
	if err == nil && !bytes.Contains(body, []byte("dport 80")) {
		err = fmt.Errorf("the script of %s is not that of its rule: %.80q", rule, body)
	}
	return elapsed, err
}

func newRenderingRead(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.named("rendering-read", client)
	if _, err := s.create(ctx, s.Namespace, name, 0); err != nil {
		return Requests{}, err
	}
	if s.Subject.Impl == CRD {
		for deadline := time.Now().Add(ControllerTimeout); ; {
			_, err := s.rendering(ctx, name)
			if err == nil {
				break
			}
			if !apierrors.IsNotFound(err) || time.Now().After(deadline) {
				return Requests{}, fmt.Errorf("wait for the controller's ConfigMap: %w", err)
			}
			if !sleepUntil(ctx, time.Now().Add(lookInterval)) {
				return Requests{}, ctx.Err()
			}
		}
	}
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) { return s.rendering(ctx, name) }}, nil
}

func newRenderingNew(ctx context.Context, s *Session, client int) (Requests, error) {
	name := s.numbered("rendering-new", client)
	if s.Subject.Impl != CRD {
		return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
			begin := time.Now()
			if _, err := s.create(ctx, s.Namespace, name(i), i); err != nil {
				return 0, err
			}
			_, err := s.rendering(ctx, name(i))
			return time.Since(begin), err
		}}, nil
	}
	events, err := s.watchAll(ctx, s.configMap("GET", ""))
	return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
		begin := time.Now()
		if _, err := s.create(ctx, s.Namespace, name(i), i); err != nil {
			return 0, err
		}
		received, err := awaitEvent(ctx, events, func(line []byte) bool {
			return bytes.Contains(line, []byte(`"name":"`+name(i)+`-nftables"`)) && bytes.Contains(line, []byte("dport 80"))
		})
		return received.Sub(begin), err
	}}, err
}

// newProbeOnDemand has the session's target dialled once.
func newProbeOnDemand(ctx context.Context, s *Session, client int) (Requests, error) {
	if s.Subject.Impl != CRD {
		return newProbe(ctx, s, client)
	}
	name := s.named("probe", client)
	if err := s.createProbed(ctx, name); err != nil {
		return Requests{}, err
	}
	events, err := s.watchAll(ctx, s.request("GET", s.Namespace, "").Param("fieldSelector", "metadata.name="+name))
	return Requests{Send: func(ctx context.Context, i int) (time.Duration, error) {
		asked := fmt.Sprintf("request-%06d", i)
		patch := encode(map[string]any{"metadata": map[string]any{"annotations": map[string]any{controller.ProbeRequest: asked}}})
		begin := time.Now()
		if err := s.request("PATCH", s.Namespace, name).SetHeader("Content-Type", string(types.MergePatchType)).Body(patch).Do(ctx).Error(); err != nil {
			return 0, err
		}
		received, err := awaitEvent(ctx, events, func(line []byte) bool { return bytes.Contains(line, []byte(asked+": connected")) })
		return received.Sub(begin), err
	}}, err
}

// createProbed makes a rule whose endpoint is the session's target.
func (s *Session) createProbed(ctx context.Context, name string) error {
	if !s.Target.IsValid() {
		return errors.New("there is nothing that a probe may dial")
	}
	object := encode(map[string]any{
		"apiVersion": s.Subject.Version.String(), "kind": s.Subject.Kind, "metadata": map[string]any{"name": name},
		"spec": map[string]any{"service": "nginx", "endpoint": map[string]any{"host": s.Target.Addr().String(), "port": s.Target.Port()}},
	})
	return s.request("POST", s.Namespace, "").Body(object).Do(ctx).Error()
}

// watchAll opens a watch, from now on, of what a request for a list asks for. It ends with
// ctx.
func (s *Session) watchAll(ctx context.Context, list *rest.Request) (<-chan event, error) {
	stream, err := list.Param("watch", "true").Param("resourceVersion", "0").Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	events := make(chan event, 1)
	go readEvents(ctx, stream, events)
	return events, nil
}

// awaitEvent waits for an event whose line is wanted, and returns when it came.
func awaitEvent(ctx context.Context, events <-chan event, wanted func(line []byte) bool) (time.Time, error) {
	for {
		e, err := nextEvent(ctx, events)
		if err != nil {
			return time.Time{}, err
		}
		var decoded struct{ Type string }
		if err := json.Unmarshal(e.line, &decoded); err != nil || decoded.Type == "ERROR" {
			return time.Time{}, fmt.Errorf("the watch says %.200q", e.line)
		}
		if wanted(e.line) {
			return e.received, nil
		}
	}
}
