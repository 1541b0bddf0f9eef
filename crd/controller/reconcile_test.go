package controller

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"portrule.example/lab/api"
	"portrule.example/lab/api/nftables"
	v2 "portrule.example/lab/api/v2"
)

// world is a reconciler in front of an API server that is a fake.
type world struct {
	*testing.T
	*reconciler
	group  string
	api    client.WithWatch
	events *events.FakeRecorder
	// writes counts the requests that would change something, the refused included.
	writes int
	// refuse, if it is set, is what an apply of a ConfigMap ends in.
	refuse error
	// hidden ConfigMaps are there and are not found.
	hidden bool
	// cached, if it is set, is what is found in place of any ConfigMap.
	cached *corev1.ConfigMap
}

func newWorld(t *testing.T, group string, objects ...client.Object) *world {
	t.Helper()
	scheme, err := NewScheme(group)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, group: group, events: events.NewFakeRecorder(100)}
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v2.PortRule{}).WithObjects(objects...).Build()
	counted := interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if cached, ok := obj.(*corev1.ConfigMap); ok && w.cached != nil {
				w.cached.DeepCopyInto(cached)
				return nil
			}
			if _, ok := obj.(*corev1.ConfigMap); ok && w.hidden {
				return apierrors.NewNotFound(corev1.Resource("configmaps"), key.Name)
			}
			return c.Get(ctx, key, obj, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			w.writes++
			if w.refuse != nil {
				return w.refuse
			}
			return c.Apply(ctx, obj, opts...)
		},
		SubResourceApply: func(ctx context.Context, c client.Client, subResource string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			w.writes++
			return c.SubResource(subResource).Apply(ctx, obj, opts...)
		},
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			panic("create: everything is applied")
		},
		Update: func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error {
			panic("update: everything is applied")
		},
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			panic("patch: everything is applied")
		},
		Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error {
			panic("delete: the garbage collector does that")
		},
	})
	w.reconciler = &reconciler{
		client: counted, live: counted, events: w.events,
		gvk: schema.GroupVersionKind{Group: group, Version: v2.Version, Kind: api.Kind},
	}
	return w
}

// webRule is a rule as the API server would hold it, changed by edits.
func webRule(edits ...func(*v2.PortRule)) *v2.PortRule {
	r := &v2.PortRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1", Generation: 1},
		Spec: v2.PortRuleSpec{
			Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}, Replicas: new(int32(3)),
		},
	}
	v2.Default(r)
	for _, edit := range edits {
		edit(r)
	}
	return r
}

// request reconciles the rule web and returns how many writes that took.
func (w *world) request() (writes int, result reconcile.Result, err error) {
	w.Helper()
	before := w.writes
	result, err = w.Reconcile(w.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "web"}})
	return w.writes - before, result, err
}

// reconcile is request where nothing fails.
func (w *world) reconcile() (int, reconcile.Result) {
	w.Helper()
	writes, result, err := w.request()
	if err != nil {
		w.Fatal(err)
	}
	return writes, result
}

// atRest fails if there is anything left to write or to say.
func (w *world) atRest() {
	w.Helper()
	w.news()
	for range 3 {
		if writes, _ := w.reconcile(); writes != 0 {
			w.Errorf("at rest there were %d writes", writes)
		}
	}
	if news := w.news(); len(news) > 0 {
		w.Errorf("at rest there were the events %q", news)
	}
}

// news returns the events since it was called last.
func (w *world) news() []string {
	var news []string
	for {
		select {
		case event := <-w.events.Events:
			news = append(news, event)
		default:
			return news
		}
	}
}

func (w *world) rule() *v2.PortRule {
	w.Helper()
	r := &v2.PortRule{}
	if err := w.api.Get(w.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, r); err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) configMap() *corev1.ConfigMap {
	w.Helper()
	c := &corev1.ConfigMap{}
	if err := w.api.Get(w.Context(), client.ObjectKey{Namespace: "shop", Name: "web-nftables"}, c); err != nil {
		w.Fatal(err)
	}
	return c
}

// edit is a user's change of the rule's spec.
func (w *world) edit(change func(*v2.PortRule)) {
	w.Helper()
	r := w.rule()
	change(r)
	r.Generation++
	if err := w.api.Update(w.Context(), r); err != nil {
		w.Fatal(err)
	}
}

// ready fails unless the status says that of the rule's generation.
func (w *world) ready(status metav1.ConditionStatus, reason string, replicas int32) *metav1.Condition {
	w.Helper()
	r := w.rule()
	c := meta.FindStatusCondition(r.Status.Conditions, ConditionReady)
	if c == nil {
		w.Fatalf("there is no condition %s: %+v", ConditionReady, r.Status)
	}
	if c.Status != status || c.Reason != reason || c.Message == "" || c.ObservedGeneration != r.Generation || c.LastTransitionTime.IsZero() {
		w.Errorf("got the condition %+v, want %s with the reason %s for generation %d", c, status, reason, r.Generation)
	}
	if r.Status.ObservedGeneration != r.Generation || r.Status.Replicas != replicas {
		w.Errorf("the status is of generation %d with %d replicas, want %d and %d", r.Status.ObservedGeneration, r.Status.Replicas, r.Generation, replicas)
	}
	if _, err := labels.Parse(r.Status.Selector); err != nil || r.Status.Selector == "" {
		w.Errorf("the selector is %q: %v", r.Status.Selector, err)
	}
	return c
}

// inForce fails unless the ConfigMap is right in every detail.
func (w *world) inForce() {
	w.Helper()
	r, c := w.rule(), w.configMap()
	script, err := nftables.Render(r)
	if err != nil {
		w.Fatal(err)
	}
	if c.Data[ScriptKey] != script {
		w.Errorf("the ConfigMap has\n%s\nwant\n%s", c.Data[ScriptKey], script)
	}
	want := metav1.OwnerReference{
		APIVersion: w.group + "/v2", Kind: "PortRule", Name: "web", UID: r.UID, Controller: new(true), BlockOwnerDeletion: new(false),
	}
	if got := c.OwnerReferences; len(got) != 1 ||
		got[0].APIVersion != want.APIVersion || got[0].Kind != want.Kind || got[0].Name != want.Name || got[0].UID != want.UID ||
		!*got[0].Controller || *got[0].BlockOwnerDeletion {
		w.Errorf("the owners are %+v, want %+v", got, want)
	}
	if c.Labels["app.kubernetes.io/managed-by"] != "portrule-controller" || c.Labels[RuleLabel] != "web" {
		w.Errorf("the labels are %v", c.Labels)
	}
	selector, err := labels.Parse(r.Status.Selector)
	if err != nil || !selector.Matches(labels.Set(c.Labels)) {
		w.Errorf("the selector %s does not select the labels %v: %v", r.Status.Selector, c.Labels, err)
	}
	w.ready(metav1.ConditionTrue, ReasonRendered, *r.Spec.Replicas)
}

func TestNewRule(t *testing.T) {
	for _, group := range []string{api.CRDGroup, api.Group} {
		t.Run(group, func(t *testing.T) {
			w := newWorld(t, group, webRule())
			if writes, result := w.reconcile(); writes != 2 || result != (reconcile.Result{}) {
				t.Errorf("%d writes and %+v, want the ConfigMap, the status and nothing more to do", writes, result)
			}
			w.inForce()
			if news := w.news(); len(news) != 1 || !strings.HasPrefix(news[0], "Normal Rendered ") {
				t.Errorf("the events are %q", news)
			}
			w.atRest()
		})
	}
}

// An object without the fields that the API server defaults is taken as if it had.
func TestUndefaultedRule(t *testing.T) {
	w := newWorld(t, api.CRDGroup, webRule(func(r *v2.PortRule) {
		r.Spec.Endpoint.Protocol, r.Spec.Replicas = "", nil
	}))
	w.reconcile()
	w.ready(metav1.ConditionTrue, ReasonRendered, 1)
	if script := w.configMap().Data[ScriptKey]; !strings.Contains(script, "tcp dport 80") {
		t.Errorf("the script is\n%s", script)
	}
	w.atRest()
}

func TestSpecChanged(t *testing.T) {
	w := newWorld(t, api.CRDGroup, webRule())
	w.reconcile()
	since := w.ready(metav1.ConditionTrue, ReasonRendered, 3).LastTransitionTime
	w.news()
	time.Sleep(1100 * time.Millisecond) // times have seconds

	w.edit(func(r *v2.PortRule) { r.Spec.TimeoutSeconds = new(int32(60)) })
	if writes, _ := w.reconcile(); writes != 2 {
		t.Errorf("%d writes, want the ConfigMap and the status", writes)
	}
	w.inForce()
	if news := w.news(); len(news) != 1 {
		t.Errorf("the events are %q", news)
	}

	w.edit(func(r *v2.PortRule) { r.Spec.Replicas = new(int32(0)) })
	if writes, _ := w.reconcile(); writes != 1 {
		t.Errorf("scaling took %d writes, want the status", writes)
	}
	w.inForce()
	if news := w.news(); len(news) != 0 {
		t.Errorf("scaling gave the events %q", news)
	}
	if now := w.ready(metav1.ConditionTrue, ReasonRendered, 0).LastTransitionTime; !now.Equal(&since) {
		t.Errorf("the last transition moved from %s to %s without there being one", since, now)
	}
	w.atRest()
}

func TestDrift(t *testing.T) {
	for name, drift := range map[string]func(*corev1.ConfigMap){
		"script changed": func(c *corev1.ConfigMap) { c.Data[ScriptKey] = "flush ruleset\n" },
		"script removed": func(c *corev1.ConfigMap) { c.Data = nil },
		"label changed":  func(c *corev1.ConfigMap) { c.Labels[RuleLabel] = "other" },
		"labels removed": func(c *corev1.ConfigMap) { c.Labels = nil },
		"owner blocks":   func(c *corev1.ConfigMap) { c.OwnerReferences[0].BlockOwnerDeletion = new(true) },
		"owner in v1": func(c *corev1.ConfigMap) {
			c.OwnerReferences[0].APIVersion = api.CRDGroup + "/v1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, api.CRDGroup, webRule())
			w.reconcile()
			w.news()
			c := w.configMap()
			drift(c)
			if err := w.api.Update(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if writes, _ := w.reconcile(); writes != 1 {
				t.Errorf("%d writes, want the ConfigMap", writes)
			}
			w.inForce()
			if news := w.news(); len(news) != 1 {
				t.Errorf("the events are %q", news)
			}
			w.atRest()
		})
	}
	t.Run("deleted", func(t *testing.T) {
		w := newWorld(t, api.CRDGroup, webRule())
		w.reconcile()
		if err := w.api.Delete(t.Context(), w.configMap()); err != nil {
			t.Fatal(err)
		}
		w.reconcile()
		w.inForce()
		w.atRest()
	})
	t.Run("added to", func(t *testing.T) {
		w := newWorld(t, api.CRDGroup, webRule())
		w.reconcile()
		c := w.configMap()
		c.Data["notes"] = "kept"
		c.Labels["team"] = "network"
		if err := w.api.Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		w.atRest()
		w.edit(func(r *v2.PortRule) { r.Spec.Permanent = new(true) })
		w.reconcile()
		w.inForce()
		if c := w.configMap(); c.Data["notes"] != "kept" || c.Labels["team"] != "network" {
			t.Errorf("what somebody else added is gone: %v, %v", c.Labels, c.Data)
		}
	})
}

func TestForeignConfigMap(t *testing.T) {
	owner := func(apiVersion, kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: "uid-1", Controller: new(true)}}
	}
	for name, owners := range map[string][]metav1.OwnerReference{
		"of nobody":             nil,
		"of another kind":       owner("apps/v1", "Deployment", "web"),
		"of another rule":       owner(api.CRDGroup+"/v2", "PortRule", "other"),
		"of another group":      owner(api.Group+"/v2", "PortRule", "web"),
		"owned, not controlled": {{APIVersion: api.CRDGroup + "/v2", Kind: "PortRule", Name: "web", UID: "uid-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			foreign := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "web-nftables", OwnerReferences: owners,
					Labels: map[string]string{"app.kubernetes.io/managed-by": "portrule-controller"},
				},
				Data: map[string]string{ScriptKey: "mine\n"},
			}
			w := newWorld(t, api.CRDGroup, webRule(), foreign)
			before := w.configMap()
			writes, result := w.reconcile()
			if writes != 1 || result.RequeueAfter != takenInterval {
				t.Errorf("%d writes and %+v, want the status and another look after %s", writes, result, takenInterval)
			}
			w.ready(metav1.ConditionFalse, ReasonConfigMapTaken, 0)
			if news := w.news(); len(news) != 1 || !strings.HasPrefix(news[0], "Warning ConfigMapTaken ") {
				t.Errorf("the events are %q", news)
			}
			w.atRest()
			w.edit(func(r *v2.PortRule) { r.Spec.Replicas = new(int32(4)) })
			w.reconcile()
			w.ready(metav1.ConditionFalse, ReasonConfigMapTaken, 0)
			if news := w.news(); len(news) != 0 {
				t.Errorf("what is known already gave the events %q", news)
			}
			after := w.configMap()
			if after.ResourceVersion != before.ResourceVersion || !maps.Equal(after.Data, before.Data) || !maps.Equal(after.Labels, before.Labels) || len(after.OwnerReferences) != len(owners) {
				t.Errorf("it was changed from %+v to %+v", before, after)
			}

			if err := w.api.Delete(t.Context(), foreign); err != nil {
				t.Fatal(err)
			}
			w.reconcile()
			w.inForce()
			w.atRest()
		})
	}
}

// A ConfigMap that somebody makes between the look and the write is not taken over.
func TestForeignConfigMapInBetween(t *testing.T) {
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-nftables"},
		Data:       map[string]string{ScriptKey: "mine\n"},
	}
	w := newWorld(t, api.CRDGroup, webRule(), foreign)
	w.hidden = true
	if _, result := w.reconcile(); result.RequeueAfter != staleDelay {
		t.Errorf("got %+v, want another look after %s", result, staleDelay)
	}
	if c := w.configMap(); c.Data[ScriptKey] != "mine\n" || len(c.OwnerReferences) != 0 {
		t.Errorf("it was taken over: %+v", c)
	}
	w.hidden = false
	w.reconcile()
	w.ready(metav1.ConditionFalse, ReasonConfigMapTaken, 0)
}

// Nor is one that has come in place of the rule's own since the cache saw that.
func TestForeignConfigMapBehindTheCache(t *testing.T) {
	w := newWorld(t, api.CRDGroup, webRule())
	w.reconcile()
	w.cached = w.configMap()
	if err := w.api.Delete(t.Context(), w.cached); err != nil {
		t.Fatal(err)
	}
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-nftables"},
		Data:       map[string]string{ScriptKey: "mine\n"},
	}
	if err := w.api.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	// a version of its own: the fake counts from 1 for each object
	foreign.Data["more"] = "mine too\n"
	if err := w.api.Update(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.edit(func(r *v2.PortRule) { r.Spec.Permanent = new(true) })
	if _, result := w.reconcile(); result.RequeueAfter != staleDelay {
		t.Errorf("got %+v, want another look after %s", result, staleDelay)
	}
	if c := w.configMap(); c.Data[ScriptKey] != "mine\n" || len(c.OwnerReferences) != 0 {
		t.Errorf("it was taken over: %+v", c)
	}
	w.cached = nil
	w.reconcile()
	w.ready(metav1.ConditionFalse, ReasonConfigMapTaken, 0)
}

// A rule that is made anew takes over the ConfigMap of its namesake, which the
// garbage collector may not have come to, or never will where none runs.
func TestSuccessor(t *testing.T) {
	w := newWorld(t, api.CRDGroup, webRule())
	w.reconcile()
	if err := w.api.Delete(t.Context(), w.rule()); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Create(t.Context(), webRule(func(r *v2.PortRule) { r.UID = "uid-2" })); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	w.inForce()
	w.atRest()
}

func TestDeletedRule(t *testing.T) {
	w := newWorld(t, api.CRDGroup)
	if writes, result := w.reconcile(); writes != 0 || result != (reconcile.Result{}) {
		t.Errorf("%d writes and %+v for a rule that does not exist", writes, result)
	}
	w = newWorld(t, api.CRDGroup, webRule(func(r *v2.PortRule) {
		r.DeletionTimestamp, r.Finalizers = new(metav1.Now()), []string{metav1.FinalizerDeleteDependents}
	}))
	if writes, result := w.reconcile(); writes != 0 || result != (reconcile.Result{}) {
		t.Errorf("%d writes and %+v for a rule that is being deleted", writes, result)
	}
}

func TestLongNames(t *testing.T) {
	for length, want := range map[int]string{244: ReasonRendered, 245: ReasonNameTooLong, 253: ReasonNameTooLong} {
		name := strings.Repeat("n", length)
		w := newWorld(t, api.CRDGroup, webRule(func(r *v2.PortRule) { r.Name = name }))
		key := client.ObjectKey{Namespace: "shop", Name: name}
		for i := range 2 {
			before := w.writes
			if result, err := w.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil || result != (reconcile.Result{}) {
				t.Errorf("%d characters: %+v, %v", length, result, err)
			}
			if writes := w.writes - before; i == 1 && writes != 0 {
				t.Errorf("%d characters: %d writes at rest", length, writes)
			}
		}
		r := &v2.PortRule{}
		if err := w.api.Get(t.Context(), key, r); err != nil {
			t.Fatal(err)
		}
		c := meta.FindStatusCondition(r.Status.Conditions, ConditionReady)
		if c == nil || c.Reason != want || (c.Status == metav1.ConditionTrue) != (want == ReasonRendered) {
			t.Errorf("%d characters: the condition is %+v, want the reason %s", length, c, want)
		}
		if _, err := labels.Parse(r.Status.Selector); err != nil {
			t.Errorf("%d characters: %v", length, err)
		}
	}
	if a, b := ruleLabelValue(strings.Repeat("n", 64)), ruleLabelValue(strings.Repeat("n", 65)); a == b || len(a) != 63 {
		t.Errorf("long names have the labels %s and %s", a, b)
	}
}

// A rule that cannot be rendered is not Ready; the script of its last valid
// generation stays.
func TestInvalidRule(t *testing.T) {
	w := newWorld(t, api.CRDGroup, webRule())
	w.reconcile()
	script := w.configMap().Data[ScriptKey]
	w.news()
	w.edit(func(r *v2.PortRule) { r.Spec.Service = "nginx\"; }\n" })
	if writes, _ := w.reconcile(); writes != 1 {
		t.Errorf("%d writes, want the status", writes)
	}
	w.ready(metav1.ConditionFalse, ReasonInvalidRule, 3)
	if got := w.configMap().Data[ScriptKey]; got != script {
		t.Errorf("the script became\n%s", got)
	}
	if news := w.news(); len(news) != 1 || !strings.HasPrefix(news[0], "Warning InvalidRule ") {
		t.Errorf("the events are %q", news)
	}
	w.atRest()
	w.edit(func(r *v2.PortRule) { r.Spec.Service = "nginx" })
	w.reconcile()
	w.inForce()

	w = newWorld(t, api.CRDGroup, webRule(func(r *v2.PortRule) { r.Spec.Service = "-" + strings.Repeat("ä", 2000) }))
	w.reconcile()
	if c := w.ready(metav1.ConditionFalse, ReasonInvalidRule, 0); len(c.Message) > maxMessage {
		t.Errorf("the message has %d bytes", len(c.Message))
	}
	w.atRest()
}

func TestRefused(t *testing.T) {
	configMaps := corev1.Resource("configmaps")
	terminating := apierrors.NewForbidden(configMaps, "web-nftables", fmt.Errorf("the namespace goes away"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}

	w := newWorld(t, api.CRDGroup, webRule())
	w.refuse = terminating
	if writes, result := w.reconcile(); writes != 1 || result != (reconcile.Result{}) {
		t.Errorf("in a terminating namespace: %d writes and %+v", writes, result)
	}

	w.refuse = apierrors.NewServiceUnavailable("not now")
	if writes, _, err := w.request(); err == nil || writes != 1 || len(w.rule().Status.Conditions) != 0 {
		t.Errorf("a server that is not available: %d writes, %v, %+v", writes, err, w.rule().Status)
	}

	w.refuse = apierrors.NewForbidden(configMaps, "web-nftables", fmt.Errorf("exceeded quota"))
	for range 2 {
		if _, _, err := w.request(); !apierrors.IsForbidden(err) {
			t.Errorf("beyond the quota: %v, want the error, to be tried again", err)
		}
		c := w.ready(metav1.ConditionFalse, ReasonConfigMapRefused, 0)
		if !strings.Contains(c.Message, "exceeded quota") {
			t.Errorf("the message is %q", c.Message)
		}
	}
	if news := w.news(); len(news) != 1 || !strings.HasPrefix(news[0], "Warning ConfigMapRefused ") {
		t.Errorf("the events are %q", news)
	}

	w.refuse = nil
	w.reconcile()
	w.inForce()
	w.atRest()
}

// A status that is computed from what is no longer there is not written.
func TestStaleRule(t *testing.T) {
	w := newWorld(t, api.CRDGroup, webRule())
	stale := w.rule()
	w.reconcile()
	status := w.rule().Status
	w.client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if r, ok := obj.(*v2.PortRule); ok {
				stale.DeepCopyInto(r)
				return nil
			}
			return c.Get(ctx, key, obj, opts...)
		},
	})
	if _, result := w.reconcile(); result.RequeueAfter != staleDelay {
		t.Errorf("got %+v, want another look after %s", result, staleDelay)
	}
	if got := w.rule().Status; fmt.Sprint(got) != fmt.Sprint(status) {
		t.Errorf("the status became %+v, it was %+v", got, status)
	}
}
