package testbed_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

// eventually waits for what another process does in its own time.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatalf("it never came true that %s: %v", what, err)
}

// kubectl scale asks for the scale subresource; in either version it reads and
// writes the same replicas, and whoever scales owns the field.
func TestScale(t *testing.T) {
	forEach(t, "scale", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		const name = "scaled"
		if _, err := rules.Create(ctx, portRule(gvr, name, nginx(gvr)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := rules.Patch(ctx, name, types.MergePatchType, []byte(`{"status":{"replicas":2,"selector":"a=b"}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		scale, err := rules.Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{FieldManager: "scaler"}, "scale")
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "scale", []any{scale.GetAPIVersion(), scale.GetKind(), scale.GetName(), get(scale, "spec", "replicas"), get(scale, "status", "replicas"), get(scale, "status", "selector")},
			[]any{"autoscaling/v1", "Scale", name, int64(3), int64(2), "a=b"})
		scaled, err := rules.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "spec.replicas and generation", []any{get(scaled, "spec", "replicas"), scaled.GetGeneration()}, []any{int64(3), int64(2)})
		owner := ""
		for _, entry := range scaled.GetManagedFields() {
			if strings.Contains(entry.FieldsV1.GetRawString(), "f:replicas") && entry.Subresource != "status" {
				owner += entry.Manager + " by " + entry.Subresource
			}
		}
		equal(t, "the owner of spec.replicas", owner, "scaler by scale")

		_, err = rules.Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"replicas":101}}`), metav1.PatchOptions{}, "scale")
		if !apierrors.IsInvalid(err) {
			t.Errorf("scaled to 101: got %v, want it to be invalid", err)
		}
		old := scale.DeepCopy()
		set(t, old, int64(4), "spec", "replicas")
		if _, err := rules.Update(ctx, old, metav1.UpdateOptions{}, "scale"); err != nil {
			t.Errorf("an update of the Scale: %v", err)
		}
		if _, err := rules.Update(ctx, old, metav1.UpdateOptions{}, "scale"); !apierrors.IsConflict(err) {
			t.Errorf("an update of a Scale that is not the newest: got %v, want a conflict", err)
		}
	})
}

// Lists can be narrowed down to a host and a port, by each version's own names, from
// the watch cache as well as from etcd, and so can watches.
func TestFieldSelectors(t *testing.T) {
	ctx := t.Context()
	for _, impl := range []string{"crd", "aggregated"} {
		hub := implementations[impl+"-v2"]
		for name, spec := range map[string]map[string]any{
			"selected":      {"service": "web", "endpoint": map[string]any{"host": "selected.example.com", "port": int64(8080)}},
			"another-port":  {"service": "web", "endpoint": map[string]any{"host": "selected.example.com", "port": int64(8081)}},
			"another-host":  {"service": "web", "endpoint": map[string]any{"host": "another.example.com", "port": int64(8080)}},
			"another-thing": {"service": "selected", "endpoint": map[string]any{"host": "example.com", "port": int64(1)}},
		} {
			if _, err := client(t, bed.Admin, hub).Create(ctx, portRule(hub, name, spec), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for version, selector := range map[string]string{
			impl:         "spec.host=selected.example.com,spec.port=8080",
			impl + "-v2": "spec.endpoint.host=selected.example.com,spec.endpoint.port=8080",
		} {
			rules := client(t, bed.Admin, implementations[version])
			for _, resourceVersion := range []string{"", "0"} {
				eventually(t, selector+" selects the rule called selected", func() error {
					list, err := rules.List(ctx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: resourceVersion})
					if err == nil && (len(list.Items) != 1 || list.Items[0].GetName() != "selected") {
						err = fmt.Errorf("it selects %d rules", len(list.Items))
					}
					return err
				})
			}
			events, err := rules.Watch(ctx, metav1.ListOptions{FieldSelector: selector})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, version+": the first event", (<-events.ResultChan()).Object.(*unstructured.Unstructured).GetName(), "selected")
			events.Stop()
			if _, err := rules.List(ctx, metav1.ListOptions{FieldSelector: "spec.service=web"}); !apierrors.IsBadRequest(err) {
				t.Errorf("%s: a field that is not selectable: got %v, want a bad request", version, err)
			}
		}
	}
}

// Ratcheting: a rule of the schema that was tightened later does not hold up edits
// of anything else.
func TestRatcheting(t *testing.T) {
	ctx := t.Context()
	crds, err := apiextensions.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	setMaximum := func(maximum float64) {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			crd, err := crds.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, api.Resource+"."+api.CRDGroup, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for i := range crd.Spec.Versions {
				spec := crd.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"]
				replicas := spec.Properties["replicas"]
				replicas.Maximum = &maximum
				spec.Properties["replicas"] = replicas
			}
			_, err = crds.ApiextensionsV1().CustomResourceDefinitions().Update(ctx, crd, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	gvr := implementations["crd-v2"]
	rules, spec := client(t, bed.Admin, gvr), nginx(gvr)
	spec["replicas"] = int64(500)

	setMaximum(1000)
	eventually(t, "the looser schema is served", func() error {
		_, err := rules.Create(ctx, portRule(gvr, "ratchet", spec), metav1.CreateOptions{})
		return err
	})
	setMaximum(100)
	eventually(t, "the tighter schema is served", func() error {
		_, err := rules.Create(ctx, portRule(gvr, "ratchet-2", spec), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsInvalid(err) {
			return fmt.Errorf("a rule of 500 replicas is not invalid: %w", err)
		}
		return nil
	})
	if _, err := rules.Patch(ctx, "ratchet", types.MergePatchType, []byte(`{"spec":{"service":"web"}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("an edit of another field: %v", err)
	}
	if _, err := rules.Patch(ctx, "ratchet", types.MergePatchType, []byte(`{"spec":{"replicas":501}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an edit of the field itself: got %v, want it to be invalid", err)
	}
}

// Without its webhooks the CRD fails closed, reads of the storage version go on,
// and all comes back by itself. A new certificate is taken up without a restart.
func TestWebhooksComeAndGo(t *testing.T) {
	ctx := t.Context()
	bed, group := startBed(t, cluster.EmbeddedOptions{}, testbed.CRDSetup{Webhooks: true})
	if err := bed.Namespaces(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	v1Rules, v2Rules := client(t, bed.Admin, implementations["crd"]), client(t, bed.Admin, implementations["crd-v2"])
	create := func(dryRun ...string) error {
		gvr := implementations["crd-v2"]
		_, err := v2Rules.Create(ctx, portRule(gvr, "rule", nginx(gvr)), metav1.CreateOptions{DryRun: dryRun})
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}

	// it is back a second after it was killed: if that was faster than the write,
	// it is killed again
	pid := 0
	eventually(t, "a write is refused while the webhooks are away", func() error {
		var err error
		if pid, err = group.PID("portrule-controller"); err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		err = create(metav1.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), `failed calling webhook "`) {
			return fmt.Errorf("the answer is %w", err)
		}
		if _, err := v2Rules.Get(ctx, "rule", metav1.GetOptions{}); err != nil {
			t.Errorf("a read of the storage version while the webhooks are away: %v", err)
		}
		return nil
	})
	eventually(t, "writes and conversions work again", func() error {
		if err := create(metav1.DryRunAll); !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("a create: %w", err)
		}
		_, err := v1Rules.Get(ctx, "rule", metav1.GetOptions{})
		return err
	})
	restarted, err := group.PID("portrule-controller")
	if err != nil || restarted == pid {
		t.Fatalf("it is process %d (%v), want another than %d", restarted, err, pid)
	}

	rotate(t, bed, group)
	eventually(t, "the new certificate serves", func() error {
		_, err := v1Rules.Get(ctx, "rule", metav1.GetOptions{})
		return err
	})
	if pid, err := group.PID("portrule-controller"); err != nil || pid != restarted {
		t.Errorf("it is process %d (%v), want still %d", pid, err, restarted)
	}
}

// rotate gives the webhooks a certificate of a new CA, and the CRD that CA alone.
func rotate(t *testing.T, bed *testbed.Testbed, group *process.Group) {
	t.Helper()
	ca, err := certs.NewCA("another-ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Serving("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key} {
		if err := os.WriteFile(group.Path("portrule-controller", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	crds, err := apiextensions.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"conversion": map[string]any{"webhook": map[string]any{
		"clientConfig": apiextensionsv1.WebhookClientConfig{CABundle: ca.PEM()},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := crds.ApiextensionsV1().CustomResourceDefinitions().Patch(t.Context(), api.Resource+"."+api.CRDGroup,
		types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// The controller puts rules of either group into force, and then rests: what it
// writes for a rule is all that it ever writes, until the rule changes.
func TestController(t *testing.T) {
	ctx := t.Context()
	bed, group := startBed(t, cluster.EmbeddedOptions{AuditLog: true}, testbed.CRDSetup{})
	program, err := cluster.Binary("portrule-controller")
	if err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, impl := range []string{"crd-v2", "aggregated-v2"} {
		t.Run(impl, func(t *testing.T) {
			gvr, namespace := implementations[impl], impl
			if err := bed.Namespaces(ctx, namespace); err != nil {
				t.Fatal(err)
			}
			health := "127.0.0.1:" + freePort(t)
			controller, err := group.Start("controller-"+impl, program,
				"--group="+gvr.Group, "--kubeconfig="+group.Path("portrule-controller.kubeconfig"),
				"--leader-elect", "--health-probe-bind-address="+health)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := controller.Stop(); err != nil {
					t.Error(err)
				}
				if controller.Err() == nil || !strings.HasSuffix(controller.Err().Error(), "ended") {
					t.Errorf("asked to stop, it says %v, want that it ended well:\n%s", controller.Err(), group.LogTail("controller-"+impl, 5))
				}
			}()
			for _, path := range []string{"/healthz", "/readyz"} {
				eventually(t, path+" is well", func() error {
					response, err := http.Get("http://" + health + path)
					if err != nil {
						return err
					}
					defer response.Body.Close()
					if response.StatusCode != http.StatusOK {
						return errors.New(response.Status)
					}
					return nil
				})
			}
			rules := clientIn(t, bed.Admin, gvr, namespace)
			ready := func(name string, generation int64) func() error {
				return func() error {
					rule, err := rules.Get(ctx, name, metav1.GetOptions{})
					if err != nil {
						return err
					}
					return isReady(rule, generation)
				}
			}
			create := func(name string) {
				t.Helper()
				spec := nginx(gvr)
				spec["endpoint"] = map[string]any{"host": name + ".example.com", "port": int64(80)}
				if _, err := rules.Create(ctx, portRule(gvr, name, spec), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				eventually(t, name+" is Ready", ready(name, 1))
			}

			create("first")
			script, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, "first-nftables", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if owner := metav1.GetControllerOf(script); owner == nil || owner.Kind != "PortRule" || owner.Name != "first" || owner.APIVersion != gvr.GroupVersion().String() {
				t.Errorf("the ConfigMap is owned by %v", owner)
			}
			if !strings.Contains(script.Data["rules.nft"], "first.example.com") {
				t.Errorf("the script does not mention the endpoint:\n%s", script.Data["rules.nft"])
			}

			// a label is none of the controller's business; the second rule is
			// finished when the controller has come past it
			if _, err := rules.Patch(ctx, "first", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			create("second")
			writes := writesOf(t, group.Path("audit.log"), namespace)
			for _, name := range []string{"first", "second"} {
				equal(t, "writes for "+name, writes[name], map[string]int{"patch configmaps": 1, "patch portrules/status": 1})
			}

			if _, err := rules.Patch(ctx, "first", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the change is in force", ready("first", 2))
			if err := clientset.CoreV1().ConfigMaps(namespace).Delete(ctx, "second-nftables", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the ConfigMap is back", func() error {
				_, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, "second-nftables", metav1.GetOptions{})
				return err
			})
		})
	}
}

// isReady is whether the controller has finished with a generation of a rule.
func isReady(rule *unstructured.Unstructured, generation int64) error {
	conditions, _, _ := unstructured.NestedSlice(rule.Object, "status", "conditions")
	observed := get(rule, "status", "observedGeneration")
	for _, condition := range conditions {
		if c := condition.(map[string]any); c["type"] == "Ready" && c["status"] == "True" && observed == generation {
			if get(rule, "status", "replicas") != get(rule, "spec", "replicas") || get(rule, "status", "selector") == nil {
				return fmt.Errorf("the status is %v", rule.Object["status"])
			}
			return nil
		}
	}
	return fmt.Errorf("generation %v is observed, with the conditions %v", observed, conditions)
}

// writesOf counts what the controller has written in a namespace, by rule, verb
// and resource, from the kube-apiserver's audit log.
func writesOf(t *testing.T, log, namespace string) map[string]map[string]int {
	t.Helper()
	file, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writes := map[string]map[string]int{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var event struct {
			Stage, Verb    string
			User           struct{ Username string }
			ObjectRef      struct{ Namespace, Name, Resource, Subresource string }
			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			continue // the last line may not be complete
		}
		ref := event.ObjectRef
		// a write from a stale read is refused, which changes nothing
		if event.Stage != "ResponseComplete" || event.ResponseStatus.Code >= 300 || ref.Namespace != namespace || !strings.HasSuffix(event.User.Username, ":portrule-controller") ||
			event.Verb == "get" || event.Verb == "list" || event.Verb == "watch" || ref.Resource == "events" {
			continue
		}
		rule := strings.TrimSuffix(ref.Name, "-nftables")
		if writes[rule] == nil {
			writes[rule] = map[string]int{}
		}
		writes[rule][strings.TrimSuffix(event.Verb+" "+ref.Resource+"/"+ref.Subresource, "/")]++
	}
	return writes
}
