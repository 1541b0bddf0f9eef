package testbed_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// createLabelled creates a rule for each name, at a host of that name.
func createLabelled(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, gvr schema.GroupVersionResource, labels map[string]map[string]string) {
	t.Helper()
	for name, labels := range labels {
		rule := portRule(gvr, name, towards(gvr, name))
		rule.SetLabels(labels)
		if _, err := rules.Create(ctx, rule, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// namesOf are those of a list, in its order.
func namesOf(list *unstructured.UnstructuredList) string {
	var names []string
	for _, item := range list.Items {
		names = append(names, item.GetName())
	}
	return strings.Join(names, ",")
}

// otherVersion is the other version of the same implementation.
func otherVersion(gvr schema.GroupVersionResource) schema.GroupVersionResource {
	gvr.Version = map[string]string{v1.Version: v2.Version, v2.Version: v1.Version}[gvr.Version]
	return gvr
}

// A list in pages is of one moment, whatever is written meanwhile, and says how much
// is to come.
func TestPages(t *testing.T) {
	forEach(t, "pages", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		labels := map[string]map[string]string{}
		for i := range 7 {
			labels[fmt.Sprintf("rule-%d", i)] = map[string]string{"a": "label"}
		}
		createLabelled(ctx, t, rules, gvr, labels)

		page, err := rules.List(ctx, metav1.ListOptions{Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		first := page
		if err := rules.Delete(ctx, "rule-6", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		createLabelled(ctx, t, rules, gvr, map[string]map[string]string{"rule-5-and-a-half": nil})
		for i, want := range []struct {
			names     string
			remaining *int64
		}{{"rule-0,rule-1,rule-2", ptr.To(int64(4))}, {"rule-3,rule-4,rule-5", ptr.To(int64(1))}, {"rule-6", nil}} {
			equal(t, fmt.Sprintf("page %d", i+1), namesOf(page), want.names)
			equal(t, fmt.Sprintf("what remains after page %d", i+1), page.GetRemainingItemCount(), want.remaining)
			equal(t, fmt.Sprintf("the resourceVersion of page %d", i+1), page.GetResourceVersion(), first.GetResourceVersion())
			equal(t, fmt.Sprintf("whether page %d is the last", i+1), page.GetContinue() == "", want.remaining == nil)
			if page.GetContinue() == "" {
				break
			}
			if page, err = rules.List(ctx, metav1.ListOptions{Limit: 3, Continue: page.GetContinue()}); err != nil {
				t.Fatal(err)
			}
		}
		selected, err := rules.List(ctx, metav1.ListOptions{Limit: 3, LabelSelector: "a=label"})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "a page of what is selected", namesOf(selected), "rule-0,rule-1,rule-2")
		equal(t, "what remains of a selection, which is not counted", selected.GetRemainingItemCount(), (*int64)(nil))

		for _, token := range []string{"garbage", "!", base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":0,"start":"x"}`)), first.GetContinue() + "x"} {
			if _, err := rules.List(ctx, metav1.ListOptions{Limit: 3, Continue: token}); !apierrors.IsBadRequest(err) {
				t.Errorf("the token %q: got %v, want a bad request", token, err)
			}
		}

		// The moment of a token is over when etcd has forgotten it: at the latest five
		// minutes later, and here at once.
		compactEtcd(ctx, t)
		answer := ask(ctx, raw(t, config).Get().AbsPath(pathOf("pages", gvr)...).
			Param("limit", "3").Param("continue", atRevision1(t, first.GetContinue())))
		status := answer.status(t)
		equal(t, "an old token", []any{status.Code, status.Reason}, []any{int32(http.StatusGone), metav1.StatusReasonExpired})
		rest, err := rules.List(ctx, metav1.ListOptions{Continue: status.Continue})
		if err != nil {
			t.Fatalf("with the token that came with the error: %v", err)
		}
		equal(t, "the rest, of another moment", namesOf(rest), "rule-3,rule-4,rule-5,rule-5-and-a-half")
	})
}

// compactEtcd makes etcd forget all but the present.
func compactEtcd(ctx context.Context, t *testing.T) {
	t.Helper()
	etcd := etcdClient(t)
	response, err := etcd.Get(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(ctx, response.Header.Revision); err != nil {
		t.Fatal(err)
	}
}

// atRevision1 is a continue token as it would be of etcd's first revision.
func atRevision1(t *testing.T, token string) string {
	t.Helper()
	content, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(content, &fields); err != nil {
		t.Fatal(err)
	}
	fields["rv"] = 1
	if content, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(content)
}

// Labels narrow down lists, watches and deletions alike.
func TestLabelSelectors(t *testing.T) {
	forEach(t, "labels", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		createLabelled(ctx, t, rules, gvr, map[string]map[string]string{
			"web":  {"tier": "front", "env": "prod"},
			"db":   {"tier": "back", "env": "prod"},
			"dev":  {"tier": "front", "env": "dev"},
			"bare": nil,
		})
		list := func(selector string) string {
			t.Helper()
			list, err := rules.List(ctx, metav1.ListOptions{LabelSelector: selector})
			if err != nil {
				t.Fatal(err)
			}
			return namesOf(list)
		}
		for selector, want := range map[string]string{
			"":                            "bare,db,dev,web",
			"tier=front":                  "dev,web",
			"tier==front":                 "dev,web",
			"tier!=front":                 "bare,db",
			"tier in (front,back)":        "db,dev,web",
			"tier notin (back)":           "bare,dev,web",
			"tier":                        "db,dev,web",
			"!tier":                       "bare",
			"tier=front,env!=dev":         "web",
			"tier in (front),env in ()":   "",
			"tier=front,tier=back":        "",
			"example.com/absent!=a,!tier": "bare",
		} {
			equal(t, selector, list(selector), want)
		}

		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		whole, err := rules.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		events, err := rules.Watch(ctx, metav1.ListOptions{LabelSelector: "tier=front", ResourceVersion: whole.GetResourceVersion()})
		if err != nil {
			t.Fatal(err)
		}
		defer events.Stop()
		for _, step := range []struct{ name, patch, want string }{
			{"db", `{"metadata":{"labels":{"tier":"front"}}}`, "ADDED db"},
			{"bare", `{"metadata":{"labels":{"env":"prod"}}}`, ""},
			{"web", `{"metadata":{"labels":{"env":"test"}}}`, "MODIFIED web"},
			{"dev", `{"metadata":{"labels":{"tier":"back"}}}`, "DELETED dev"},
			{"dev", `{"metadata":{"labels":{"env":null}}}`, ""},
			{"db", `{"metadata":{"labels":{"tier":null}}}`, "DELETED db"},
		} {
			if _, err := rules.Patch(ctx, step.name, types.MergePatchType, []byte(step.patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			if step.want != "" {
				event := nextEvent(t, events)
				equal(t, "the event after "+step.patch, fmt.Sprintf("%s %s", event.Type, ruleOf(t, event).GetName()), step.want)
			}
		}

		front := metav1.ListOptions{LabelSelector: "tier=front"}
		if err := rules.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}, front); err != nil {
			t.Fatal(err)
		}
		equal(t, "after a dry run", list(""), "bare,db,dev,web")
		if err := rules.DeleteCollection(ctx, metav1.DeleteOptions{}, front); err != nil {
			t.Fatal(err)
		}
		equal(t, "after the deletion of tier=front", list(""), "bare,db,dev")
		if err := rules.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "tier notin (back),!env"}); err != nil {
			t.Fatal(err)
		}
		equal(t, "after the deletion of a set", list(""), "bare,db,dev")
		if err := rules.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		equal(t, "after the deletion of all", list(""), "")
	})
}

// nextEvent is the next event of a watch.
func nextEvent(t *testing.T, events watch.Interface) watch.Event {
	t.Helper()
	event, ok := <-events.ResultChan()
	if !ok {
		t.Fatal("the watch has ended")
	}
	return event
}

// ruleOf is the rule that an event is about.
func ruleOf(t *testing.T, event watch.Event) *unstructured.Unstructured {
	t.Helper()
	rule, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type == watch.Error {
		t.Fatalf("the event is %s %#v", event.Type, event.Object)
	}
	return rule
}

// A dry run answers as the write would, and changes nothing.
func TestDryRun(t *testing.T) {
	dryRun := []string{metav1.DryRunAll}
	forEach(t, "dry run", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		created, err := rules.Create(ctx, portRule(gvr, "planned", nginx(gvr)), metav1.CreateOptions{DryRun: dryRun})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "a planned rule", []any{created.GetGeneration(), created.GetResourceVersion(), created.GetUID() == "", get(created, "spec", "replicas")},
			[]any{int64(1), "", false, int64(1)})
		if _, err := rules.Get(ctx, "planned", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the planned rule: got %v, want that it is not found", err)
		}
		applied, err := rules.Apply(ctx, "planned", portRule(gvr, "planned", nginx(gvr)), metav1.ApplyOptions{FieldManager: "test", DryRun: dryRun})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "a rule planned by apply", []any{applied.GetGeneration(), applied.GetResourceVersion()}, []any{int64(1), ""})

		// the dry runs have not taken the endpoint
		before, err := rules.Create(ctx, portRule(gvr, "rule", nginx(gvr)), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		write := before.DeepCopy()
		set(t, write, int64(2), "spec", "replicas")
		for what, do := range map[string]func() (*unstructured.Unstructured, error){
			"update": func() (*unstructured.Unstructured, error) {
				return rules.Update(ctx, write, metav1.UpdateOptions{DryRun: dryRun})
			},
			"patch": func() (*unstructured.Unstructured, error) {
				return rules.Patch(ctx, "rule", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{DryRun: dryRun})
			},
			"apply": func() (*unstructured.Unstructured, error) {
				return rules.Patch(ctx, "rule", types.ApplyYAMLPatchType,
					fmt.Appendf(nil, `{"apiVersion":%q,"kind":"PortRule","spec":{"replicas":2}}`, gvr.GroupVersion()),
					metav1.PatchOptions{DryRun: dryRun, FieldManager: "another", Force: ptr.To(true)})
			},
		} {
			planned, err := do()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			equal(t, "what is answered to "+what, []any{planned.GetGeneration(), planned.GetResourceVersion(), planned.GetUID(), get(planned, "spec", "replicas")},
				[]any{int64(2), before.GetResourceVersion(), before.GetUID(), int64(2)})
		}
		if _, err := rules.Patch(ctx, "rule", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{DryRun: dryRun}, "scale"); err != nil {
			t.Errorf("patch of the scale: %v", err)
		}
		if _, err := rules.Patch(ctx, "rule", types.MergePatchType, []byte(`{"status":{"replicas":3}}`), metav1.PatchOptions{DryRun: dryRun}, "status"); err != nil {
			t.Errorf("patch of the status: %v", err)
		}
		if err := rules.Delete(ctx, "rule", metav1.DeleteOptions{DryRun: dryRun}); err != nil {
			t.Errorf("delete: %v", err)
		}
		after, err := rules.Get(ctx, "rule", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the rule after all dry runs", after.Object, before.Object)

		_, err = rules.Create(ctx, portRule(gvr, "rule", towards(gvr, "elsewhere")), metav1.CreateOptions{DryRun: dryRun})
		if !apierrors.IsAlreadyExists(err) {
			t.Errorf("a create of the same name: got %v, want that it exists", err)
		}
		_, err = rules.Patch(ctx, "rule", types.MergePatchType, []byte(`{"spec":{"replicas":101}}`), metav1.PatchOptions{DryRun: dryRun})
		if !apierrors.IsInvalid(err) {
			t.Errorf("an invalid patch: got %v, want it to be invalid", err)
		}
	})
}

// A watch shows each write once and in order, in the version that it was asked in.
func TestWatch(t *testing.T) {
	forEach(t, "watch", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		createLabelled(ctx, t, rules, gvr, map[string]map[string]string{"before": nil})
		list, err := rules.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		events, err := rules.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			t.Fatal(err)
		}
		defer events.Stop()

		writer := clientIn(t, config, otherVersion(gvr), namespaceOf("watch", gvr))
		written, err := writer.Create(ctx, portRule(otherVersion(gvr), "rule", nginx(otherVersion(gvr))), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, patch := range []struct{ subresources, patch string }{
			{"", `{"metadata":{"labels":{"a":"label"}}}`}, {"status", `{"status":{"replicas":1}}`}, {"scale", `{"spec":{"replicas":2}}`},
		} {
			if _, err := writer.Patch(ctx, "rule", types.MergePatchType, []byte(patch.patch), metav1.PatchOptions{}, strings.Fields(patch.subresources)...); err != nil {
				t.Fatal(err)
			}
		}
		if err := writer.Delete(ctx, "rule", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}

		last := list.GetResourceVersion()
		for i, want := range []watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Modified, watch.Deleted} {
			event := nextEvent(t, events)
			rule := ruleOf(t, event)
			equal(t, fmt.Sprintf("event %d", i), []any{event.Type, rule.GetName(), rule.GetAPIVersion()}, []any{want, "rule", gvr.GroupVersion().String()})
			equal(t, "the host as the watch's version has it", endpoint(gvr, rule.Object["spec"].(map[string]any))["host"], any("10.0.0.3"))
			if !newer(t, rule.GetResourceVersion(), last) {
				t.Errorf("event %d has the resourceVersion %s, want one after %s", i, rule.GetResourceVersion(), last)
			}
			last = rule.GetResourceVersion()
			equal(t, "the uid", rule.GetUID(), written.GetUID())
		}

		// the past is there for who comes later
		replay, err := rules.Watch(ctx, metav1.ListOptions{ResourceVersion: written.GetResourceVersion()})
		if err != nil {
			t.Fatal(err)
		}
		defer replay.Stop()
		event := nextEvent(t, replay)
		equal(t, "the first event after the creation", []any{event.Type, ruleOf(t, event).GetLabels()["a"]}, []any{watch.Modified, "label"})

		// and without a resourceVersion the present comes first
		fresh, err := rules.Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Stop()
		event = nextEvent(t, fresh)
		equal(t, "the first event of a watch from nowhere", []any{event.Type, ruleOf(t, event).GetName()}, []any{watch.Added, "before"})
	})
}

// newer is whether a resourceVersion is after another.
func newer(t *testing.T, version, than string) bool {
	t.Helper()
	a, errA := strconv.ParseUint(version, 10, 64)
	b, errB := strconv.ParseUint(than, 10, 64)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return a > b
}

// Bookmarks say how far a watch has come without an event, and that a watch has shown
// all that was there at first.
func TestBookmarks(t *testing.T) {
	forEach(t, "bookmarks", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		createLabelled(ctx, t, rules, gvr, map[string]map[string]string{"one": nil, "two": nil})

		events, err := rules.Watch(ctx, metav1.ListOptions{
			AllowWatchBookmarks: true, SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer events.Stop()
		var initial []string
		for range 2 {
			event := nextEvent(t, events)
			initial = append(initial, fmt.Sprintf("%s %s", event.Type, ruleOf(t, event).GetName()))
		}
		slices.Sort(initial)
		equal(t, "the initial events", initial, []string{"ADDED one", "ADDED two"})
		event := nextEvent(t, events)
		bookmark := ruleOf(t, event)
		equal(t, "what follows the initial events", []any{event.Type, bookmark.GetAnnotations(), bookmark.GetAPIVersion(), bookmark.GetKind()},
			[]any{watch.Bookmark, map[string]string{metav1.InitialEventsAnnotationKey: "true"}, gvr.GroupVersion().String(), api.Kind})
		createLabelled(ctx, t, rules, gvr, map[string]map[string]string{"three": nil})
		three := nextEvent(t, events)
		equal(t, "what follows the bookmark", []any{three.Type, ruleOf(t, three).GetName()}, []any{watch.Added, "three"})
		if !newer(t, ruleOf(t, three).GetResourceVersion(), bookmark.GetResourceVersion()) {
			t.Errorf("the bookmark has the resourceVersion %s, and the event after it %s", bookmark.GetResourceVersion(), ruleOf(t, three).GetResourceVersion())
		}

		// A watch that comes to its end gets a bookmark shortly before, if it has come
		// further without an event: here past what it does not select.
		eventually(t, "a watch that shows nothing gets a bookmark", func() error {
			from := bookmark.GetResourceVersion()
			events, err := rules.Watch(ctx, metav1.ListOptions{
				AllowWatchBookmarks: true, ResourceVersion: from, LabelSelector: "a=label", TimeoutSeconds: ptr.To(int64(4)),
			})
			if err != nil {
				return err
			}
			defer events.Stop()
			patched, err := rules.Patch(ctx, "one", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"from":%q}}}`, from), metav1.PatchOptions{})
			if err != nil {
				return err
			}
			event, ok := <-events.ResultChan()
			if !ok {
				return errors.New("it has ended without one")
			}
			bookmark = ruleOf(t, event)
			equal(t, "the only event of a watch that shows nothing", []any{event.Type, bookmark.GetAnnotations()}, []any{watch.Bookmark, map[string]string(nil)})
			if newer(t, patched.GetResourceVersion(), bookmark.GetResourceVersion()) {
				return fmt.Errorf("its bookmark is of %s, before %s", bookmark.GetResourceVersion(), patched.GetResourceVersion())
			}
			return nil
		})
	})
}

// Lists and watches from a moment that cannot be had say why, so that a client knows
// whether to list anew or to ask again.
func TestResourceVersions(t *testing.T) {
	forEach(t, "versions", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		createLabelled(ctx, t, rules, gvr, map[string]map[string]string{"one": nil})
		compactEtcd(ctx, t)
		far := strconv.FormatInt(math.MaxInt64, 10)
		initial := []string{"watch=true", "sendInitialEvents=true", "resourceVersionMatch=NotOlderThan", "allowWatchBookmarks=true"}
		tooLarge := metav1.StatusDetails{
			Causes:            []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}},
			RetryAfterSeconds: 1,
		}
		cases := []struct {
			what    string
			under   []string
			query   []string
			http    int // the code of the answer, which may be that of a watch that begins
			code    int32
			reason  metav1.StatusReason
			details *metav1.StatusDetails
		}{
			{"a list of the far future", nil, []string{"resourceVersion=" + far}, 504, 504, metav1.StatusReasonTimeout, &tooLarge},
			{"a list of exactly the far future", nil, []string{"resourceVersion=" + far, "resourceVersionMatch=Exact"}, 504, 504, metav1.StatusReasonTimeout, &tooLarge},
			{"an object of the far future", []string{"one"}, []string{"resourceVersion=" + far}, 504, 504, metav1.StatusReasonTimeout, &tooLarge},
			{"a watch with initial events of the far future", nil, append([]string{"resourceVersion=" + far}, initial...), 200, 504, metav1.StatusReasonTimeout, &tooLarge},
			{"a watch from the far past", nil, []string{"watch=true", "resourceVersion=1"}, 200, 410, metav1.StatusReasonExpired, nil},
			{"a list of exactly the far past", nil, []string{"resourceVersion=1", "resourceVersionMatch=Exact"}, 410, 410, metav1.StatusReasonExpired, nil},
			{"a list of garbage", nil, []string{"resourceVersion=garbage"}, 400, 400, metav1.StatusReasonBadRequest, nil},
			// k8s.io/apiserver does not say whose fault these are, for Pods neither
			{"an object of garbage", []string{"one"}, []string{"resourceVersion=garbage"}, 500, 500, "", nil},
			{"a watch from garbage", nil, []string{"watch=true", "resourceVersion=garbage"}, 500, 500, "", nil},
			{"a match of nothing", nil, []string{"resourceVersionMatch=Exact"}, 422, 422, metav1.StatusReasonInvalid, nil},
			{"a match that there is not", nil, []string{"resourceVersion=1", "resourceVersionMatch=Newest"}, 422, 422, metav1.StatusReasonInvalid, nil},
			{"a watch that matches exactly", nil, []string{"watch=true", "resourceVersion=1", "resourceVersionMatch=Exact"}, 422, 422, metav1.StatusReasonInvalid, nil},
			{"initial events without a match", nil, []string{"watch=true", "sendInitialEvents=true"}, 422, 422, metav1.StatusReasonInvalid, nil},
			{"a list with initial events", nil, []string{"sendInitialEvents=true"}, 422, 422, metav1.StatusReasonInvalid, nil},
			{"a field that there is not", nil, []string{"fieldSelector=spec.nothing=1"}, 400, 400, metav1.StatusReasonBadRequest, nil},
			{"a watch of a field that there is not", nil, []string{"watch=true", "fieldSelector=spec.nothing=1"}, 400, 400, metav1.StatusReasonBadRequest, nil},
			{"a field selector that is none", nil, []string{"fieldSelector=metadata.name"}, 400, 400, metav1.StatusReasonBadRequest, nil},
			{"a label selector that is none", nil, []string{"labelSelector=a in ("}, 400, 400, metav1.StatusReasonBadRequest, nil},
			{"a label that cannot be", nil, []string{"labelSelector=-a=b"}, 400, 400, metav1.StatusReasonBadRequest, nil},
			{"a limit that is no number", nil, []string{"limit=few"}, 400, 400, metav1.StatusReasonBadRequest, nil},
			{"a timeout that is no number", nil, []string{"watch=true", "timeoutSeconds=soon"}, 400, 400, metav1.StatusReasonBadRequest, nil},
		}
		// the future is waited for, so they ask all at once
		answers := make([]answer, len(cases))
		var asked sync.WaitGroup
		for i, c := range cases {
			request := raw(t, config).Get().AbsPath(pathOf("versions", gvr, c.under...)...)
			for _, parameter := range c.query {
				name, value, _ := strings.Cut(parameter, "=")
				request.Param(name, value)
			}
			asked.Go(func() { answers[i] = ask(ctx, request) })
		}
		asked.Wait()
		for i, c := range cases {
			answer := answers[i]
			var status metav1.Status
			if answer.code == http.StatusOK {
				status = watchError(t, answer.body)
			} else {
				status = answer.status(t)
			}
			equal(t, c.what, []any{answer.code, status.Code, status.Reason}, []any{c.http, c.code, c.reason})
			if c.details != nil {
				equal(t, c.what+": the details", status.Details, c.details)
			}
		}

		// A watch from the far future is none of those: it waits, and says nothing.
		future := ask(ctx, raw(t, config).Get().AbsPath(pathOf("versions", gvr)...).
			Param("watch", "true").Param("resourceVersion", far).Param("timeoutSeconds", "1"))
		equal(t, "a watch from the far future", []any{future.code, string(future.body)}, []any{http.StatusOK, ""})
	})
}

// watchError is the Status of a watch whose only event is an error.
func watchError(t *testing.T, body []byte) metav1.Status {
	t.Helper()
	var event struct {
		Type   string
		Object metav1.Status
	}
	if err := json.Unmarshal(body, &event); err != nil || event.Type != string(watch.Error) {
		t.Fatalf("the watch is no error (%v): %.300s", err, body)
	}
	return event.Object
}

// Each sort of patch does what it does to other resources. A CRD has no strategic
// merge patch, whose rules are in the tags of Go types.
func TestPatch(t *testing.T) {
	forEach(t, "patch", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		createWithStatus(ctx, t, rules, gvr, "one", nginx(gvr))
		aggregated := gvr.Group == api.Group
		patch := func(sort types.PatchType, patch string, subresources ...string) (*unstructured.Unstructured, error) {
			return rules.Patch(ctx, "one", sort, []byte(patch), metav1.PatchOptions{FieldManager: "test"}, subresources...)
		}
		for _, c := range []struct {
			what  string
			sort  types.PatchType
			patch string
			field []string
			want  any
		}{
			{"json adds", types.JSONPatchType, `[{"op":"add","path":"/spec/timeoutSeconds","value":60}]`, []string{"spec", "timeoutSeconds"}, int64(60)},
			{"json tests and replaces", types.JSONPatchType, `[{"op":"test","path":"/spec/timeoutSeconds","value":60},{"op":"replace","path":"/spec/timeoutSeconds","value":61}]`, []string{"spec", "timeoutSeconds"}, int64(61)},
			{"json removes", types.JSONPatchType, `[{"op":"remove","path":"/spec/timeoutSeconds"}]`, []string{"spec", "timeoutSeconds"}, nil},
			{"merge sets", types.MergePatchType, `{"spec":{"timeoutSeconds":62}}`, []string{"spec", "timeoutSeconds"}, int64(62)},
			{"merge removes", types.MergePatchType, `{"spec":{"timeoutSeconds":null}}`, []string{"spec", "timeoutSeconds"}, nil},
			{"what is removed has its default", types.MergePatchType, `{"spec":{"replicas":null}}`, []string{"spec", "replicas"}, int64(1)},
			{"apply sets", types.ApplyYAMLPatchType, "apiVersion: " + gvr.GroupVersion().String() + "\nkind: PortRule\nspec: {timeoutSeconds: 63}", []string{"spec", "timeoutSeconds"}, int64(63)},
			{"apply removes", types.ApplyYAMLPatchType, "apiVersion: " + gvr.GroupVersion().String() + "\nkind: PortRule", []string{"spec", "timeoutSeconds"}, nil},
		} {
			patched, err := patch(c.sort, c.patch)
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			equal(t, c.what, get(patched, c.field...), c.want)
		}

		const another = `{"status":{"conditions":[{"type":"Another","status":"False","reason":"None","message":"","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`
		patched, err := patch(types.StrategicMergePatchType, another, "status")
		if aggregated {
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "conditions that are merged by type", conditionTypes(patched), []string{"Another", "Ready"})
			patched, err = patch(types.StrategicMergePatchType, `{"status":{"conditions":[{"type":"Another","$patch":"delete"}]}}`, "status")
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "conditions of which one is deleted", conditionTypes(patched), []string{"Ready"})
			if patched, err = patch(types.StrategicMergePatchType, `{"spec":{"replicas":4}}`); err != nil {
				t.Fatal(err)
			}
			equal(t, "replicas by strategic merge", get(patched, "spec", "replicas"), int64(4))
		} else if !apierrors.IsUnsupportedMediaType(err) {
			t.Errorf("a strategic merge patch: got %v, want that it is not supported", err)
		}
		if patched, err = patch(types.MergePatchType, another, "status"); err != nil {
			t.Fatal(err)
		}
		equal(t, "conditions that are replaced by a merge patch", conditionTypes(patched), []string{"Another"})

		before, err := rules.Get(ctx, "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		inOther := func(spec map[string]any) string {
			body, err := json.Marshal(map[string]any{"apiVersion": otherVersion(gvr).GroupVersion().String(), "spec": spec})
			if err != nil {
				t.Fatal(err)
			}
			return string(body)
		}
		for _, c := range []struct {
			what  string
			sort  types.PatchType
			patch string
			code  int32
		}{
			{"a test that fails", types.JSONPatchType, `[{"op":"test","path":"/metadata/name","value":"two"},{"op":"remove","path":"/spec/replicas"}]`, 422},
			{"a path that there is not", types.JSONPatchType, `[{"op":"remove","path":"/nothing"}]`, 422},
			{"an operation that there is not", types.JSONPatchType, `[{"op":"increment","path":"/spec/replicas"}]`, 422},
			{"no list of operations", types.JSONPatchType, `{}`, 400},
			{"10001 operations", types.JSONPatchType, "[" + strings.Repeat(`{"op":"test","path":"/metadata/name","value":"one"},`, 10000) + `{"op":"test","path":"/metadata/name","value":"one"}]`, 413},
			{"no object", types.MergePatchType, `[]`, 400},
			{"no JSON", types.MergePatchType, `{`, 400},
			{"another name", types.MergePatchType, `{"metadata":{"name":"two"}}`, 400},
			{"another name by json", types.JSONPatchType, `[{"op":"replace","path":"/metadata/name","value":"two"}]`, 400},
			{"another name by apply", types.ApplyYAMLPatchType, fmt.Sprintf(`{"apiVersion":%q,"kind":"PortRule","metadata":{"name":"two"}}`, gvr.GroupVersion()), 400},
			{"another namespace", types.MergePatchType, `{"metadata":{"namespace":"default"}}`, 400},
			{"another uid", types.MergePatchType, `{"metadata":{"uid":"another"}}`, 422},
			{"an old resourceVersion", types.MergePatchType, `{"metadata":{"resourceVersion":"1"},"spec":{"replicas":7}}`, 409},
			{"another kind", types.MergePatchType, `{"kind":"Pod"}`, 422},
			{"another group", types.MergePatchType, `{"apiVersion":"example.com/v1"}`, 422},
			{"the other version", types.MergePatchType, inOther(nil), 422},
			{"the other version by apply", types.ApplyYAMLPatchType, fmt.Sprintf(`{"apiVersion":%q,"kind":"PortRule"}`, otherVersion(gvr).GroupVersion()), 400},
			{"apply of half an object", types.ApplyYAMLPatchType, `{"kind":"PortRule"}`, 400},
		} {
			_, err := patch(c.sort, c.patch)
			var status apierrors.APIStatus
			if !errors.As(err, &status) || status.Status().Code != c.code {
				t.Errorf("%s: got %v, want %d", c.what, err, c.code)
			}
		}
		// A patched document of the server is read in the version that it says it has:
		// whole, it is an object of that version. A CRD has one version for each path.
		_, err = rules.Patch(ctx, "one", types.MergePatchType, []byte(inOther(nginx(otherVersion(gvr)))), metav1.PatchOptions{
			DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationIgnore, // it has the fields of both
		})
		if aggregated && err != nil || !aggregated && !apierrors.IsInvalid(err) {
			t.Errorf("a whole object of the other version: %v", err)
		}
		after, err := rules.Get(ctx, "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the rule after what was refused", after.Object, before.Object)
	})
}

// conditionTypes are those of a rule's conditions, sorted.
func conditionTypes(rule *unstructured.Unstructured) []string {
	var names []string
	conditions, _, _ := unstructured.NestedSlice(rule.Object, "status", "conditions")
	for _, condition := range conditions {
		names = append(names, condition.(map[string]any)["type"].(string))
	}
	slices.Sort(names)
	return names
}

// Appliers of either version own fields of one object, each by the names of its own
// version. A conflict is told in the names of the owner's.
func TestApplyAcrossVersions(t *testing.T) {
	forEach(t, "versions of apply", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		second := otherVersion(gvr)
		others := clientIn(t, config, second, namespaceOf("versions of apply", gvr))
		// service is what v1 calls name
		service := func(gvr schema.GroupVersionResource) string {
			return map[string]string{v1.Version: "name", v2.Version: "service"}[gvr.Version]
		}
		whole := nginx(gvr)
		whole["replicas"] = int64(2)
		if _, err := rules.Apply(ctx, "one", portRule(gvr, "one", whole), metav1.ApplyOptions{FieldManager: "first"}); err != nil {
			t.Fatal(err)
		}
		apply := func(spec map[string]any, force bool) (*unstructured.Unstructured, error) {
			return others.Apply(ctx, "one", portRule(second, "one", spec), metav1.ApplyOptions{FieldManager: "second", Force: force})
		}
		applied, err := apply(map[string]any{"timeoutSeconds": int64(60)}, false)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the fields of the first", owned(t, applied, "first"), ownership(gvr, "endpoint", service(gvr), "replicas"))
		equal(t, "the fields of the second", owned(t, applied, "second"), ownership(second, "timeoutSeconds"))

		for _, field := range []struct {
			name, owners string
			value        any
		}{{"replicas", "replicas", int64(3)}, {service(second), service(gvr), "web"}} {
			_, err := apply(map[string]any{"timeoutSeconds": int64(60), field.name: field.value}, false)
			var status apierrors.APIStatus
			if !errors.As(err, &status) || !apierrors.IsConflict(err) {
				t.Fatalf("%s: got %v, want a conflict", field.name, err)
			}
			want := []metav1.StatusCause{{
				Type:    metav1.CauseTypeFieldManagerConflict,
				Message: `conflict with "first"`,
				Field:   ".spec." + field.owners,
			}}
			equal(t, "the conflict about "+field.name, status.Status().Details.Causes, want)
		}
		applied, err = apply(map[string]any{"timeoutSeconds": int64(60), "replicas": int64(3), service(second): "web"}, true)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the fields of the first, of which two are taken over", owned(t, applied, "first"), ownership(gvr, "endpoint"))
		equal(t, "the fields of the second, which took two over", owned(t, applied, "second"), ownership(second, "replicas", service(second), "timeoutSeconds"))
		read, err := rules.Get(ctx, "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "what was taken over, in the version of the first", []any{get(read, "spec", "replicas"), get(read, "spec", service(gvr))}, []any{int64(3), "web"})

		// what an applier leaves out is gone
		applied, err = apply(map[string]any{"replicas": int64(3), service(second): "web"}, false)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "a field that its only owner gives up", get(applied, "spec", "timeoutSeconds"), nil)
	})
}

// owned is the version in which a manager applied and the fields of the spec that it
// owns, as ownership spells it.
func owned(t *testing.T, rule *unstructured.Unstructured, manager string) string {
	t.Helper()
	for _, entry := range rule.GetManagedFields() {
		if entry.Manager != manager {
			continue
		}
		var fields struct {
			Spec map[string]any `json:"f:spec"`
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			t.Fatal(err)
		}
		var names []string
		for name := range fields.Spec {
			name = strings.TrimPrefix(name, "f:")
			switch name {
			case "endpoint", "host", "port", "protocol":
				name = "endpoint" // which is three fields in v1
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return entry.APIVersion + " " + strings.Join(names, " ")
	}
	return "nothing"
}

func ownership(gvr schema.GroupVersionResource, fields ...string) string {
	slices.Sort(fields)
	return gvr.GroupVersion().String() + " " + strings.Join(fields, " ")
}

// R6: nobody owns who the creator is, so that nobody is told of a conflict about it,
// or takes it away by leaving it out.
func TestRequestedByIsNobodys(t *testing.T) {
	forEach(t, "requested by", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		if gvr.Group == api.CRDGroup {
			return // its schema alone does not have R6
		}
		forged := func(name string) *unstructured.Unstructured {
			rule := portRule(gvr, name, towards(gvr, name))
			rule.SetAnnotations(map[string]string{api.RequestedBy: "mallory", "an": "annotation"})
			return rule
		}
		created, err := rules.Create(ctx, forged("created"), metav1.CreateOptions{FieldManager: "first"})
		if err != nil {
			t.Fatal(err)
		}
		applied, err := rules.Apply(ctx, "applied", forged("applied"), metav1.ApplyOptions{FieldManager: "first"})
		if err != nil {
			t.Fatal(err)
		}
		again, err := rules.Apply(ctx, "created", forged("created"), metav1.ApplyOptions{FieldManager: "second"})
		if err != nil {
			t.Fatalf("an apply of another value: %v, want no conflict", err)
		}
		bare := portRule(gvr, "applied", towards(gvr, "applied"))
		without, err := rules.Apply(ctx, "applied", bare, metav1.ApplyOptions{FieldManager: "first"})
		if err != nil {
			t.Fatal(err)
		}
		for what, rule := range map[string]*unstructured.Unstructured{"create": created, "apply": applied, "apply after create": again, "apply without annotations": without} {
			if by := rule.GetAnnotations()[api.RequestedBy]; by == "" || by == "mallory" {
				t.Errorf("%s: requested by %q", what, by)
			}
			for _, entry := range rule.GetManagedFields() {
				if strings.Contains(entry.FieldsV1.GetRawString(), api.RequestedBy) {
					t.Errorf("%s: %s owns the annotation", what, entry.Manager)
				}
			}
		}
		equal(t, "another annotation, which was owned", without.GetAnnotations()["an"], "")
	})
}
