package testbed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/envfuncs"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

// namespace is where tests work that are not made by forEach.
const namespace = "contract"

var (
	environment = env.New()
	bed         *testbed.Testbed
	group       *process.Group
	provider    *cluster.Embedded
)

// implementations are judged alike: every feature runs once for each, in either
// version.
var implementations = map[string]schema.GroupVersionResource{
	"crd":           {Group: api.CRDGroup, Version: v1.Version, Resource: api.Resource},
	"aggregated":    {Group: api.Group, Version: v1.Version, Resource: api.Resource},
	"crd-v2":        {Group: api.CRDGroup, Version: v2.Version, Resource: api.Resource},
	"aggregated-v2": {Group: api.Group, Version: v2.Version, Resource: api.Resource},
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "portrule-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if group, err = process.NewGroup(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer group.Close()

	provider = cluster.NewEmbedded(group, cluster.EmbeddedOptions{})
	environment.Setup(
		func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
			var err error
			bed, err = testbed.Start(ctx, provider, group, testbed.Setup{}, func(string) {})
			if err != nil {
				return ctx, err
			}
			return ctx, bed.Namespaces(ctx, namespace)
		},
		envfuncs.CreateCluster(provider, provider.GetKubectlContext()), // it is up: this puts its kubeconfig into cfg
	).Finish(
		func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
			if bed == nil { // Setup has failed, and cleaned up
				return ctx, nil
			}
			return ctx, bed.Stop()
		},
	)
	code := environment.Run(m)
	if refusals := refusals(); len(refusals) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the server's roles lack something; it was told:\n%s\n", strings.Join(refusals, "\n"))
		return 1
	}
	return code
}

// refusals are the lines of the server's log in which the control plane forbids
// it something, after all that the tests have asked of it.
func refusals() []string {
	log, err := os.ReadFile(group.LogPath("portrule-apiserver"))
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for _, line := range strings.Split(string(log), "\n") {
		if strings.Contains(strings.ToLower(line), "forbidden") {
			lines = append(lines, line)
		}
	}
	return lines
}

func startGroup(t *testing.T) *process.Group {
	t.Helper()
	group, err := process.NewGroup(filepath.Join(t.TempDir(), "group"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	return group
}

// startBed starts a testbed of the test's own, for what would disturb the others.
func startBed(t *testing.T, options cluster.EmbeddedOptions, setup testbed.CRDSetup) (*testbed.Testbed, *process.Group) {
	t.Helper()
	group := startGroup(t)
	bed, err := testbed.Start(t.Context(), cluster.NewEmbedded(group, options), group, testbed.Setup{CRD: setup}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Stop(); err != nil {
			t.Error(err)
		}
	})
	return bed, group
}

// forEach runs a feature against each implementation, as the administrator and in a
// namespace of its own: in one namespace no two rules of the server share an endpoint.
func forEach(t *testing.T, name string, assess func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, cfg *rest.Config, gvr schema.GroupVersionResource)) {
	for impl, gvr := range implementations {
		environment.Test(t, features.New(name).WithLabel("impl", impl).
			Assess(impl, func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
				config := cfg.Client().RESTConfig()
				if err := bed.Namespaces(ctx, namespaceOf(name, gvr)); err != nil {
					t.Fatal(err)
				}
				assess(ctx, t, clientIn(t, config, gvr, namespaceOf(name, gvr)), config, gvr)
				return ctx
			}).Feature())
	}
}

// namespaceOf is where forEach runs a feature against an implementation.
func namespaceOf(feature string, gvr schema.GroupVersionResource) string {
	impl := "aggregated"
	if gvr.Group == api.CRDGroup {
		impl = "crd"
	}
	return strings.Join([]string{strings.ReplaceAll(feature, " ", "-"), impl, gvr.Version}, "-")
}

func client(t *testing.T, config *rest.Config, gvr schema.GroupVersionResource) dynamic.ResourceInterface {
	t.Helper()
	return clientIn(t, config, gvr, namespace)
}

func clientIn(t *testing.T, config *rest.Config, gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(gvr).Namespace(namespace)
}

func portRule(gvr schema.GroupVersionResource, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gvr.GroupVersion().String(),
		"kind":       "PortRule",
		"metadata":   map[string]any{"name": name},
		"spec":       spec,
	}}
}

// nginx is the spec of the manifest that people know, in the version of gvr.
func nginx(gvr schema.GroupVersionResource) map[string]any {
	c := api.Case{Spec: map[string]any{"name": "nginx", "host": "10.0.0.3", "port": int64(80)}}
	if gvr.Version == v2.Version {
		c = c.V2()
	}
	return c.Spec
}

// endpoint is the part of a spec that has host, port and protocol.
func endpoint(gvr schema.GroupVersionResource, spec map[string]any) map[string]any {
	if gvr.Version == v2.Version {
		return spec["endpoint"].(map[string]any)
	}
	return spec
}

// Both implementations accept and refuse the same specs, naming the same fields.
func TestRules(t *testing.T) {
	cases, err := api.Rules()
	if err != nil {
		t.Fatal(err)
	}
	forEach(t, "rules", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		for i, c := range cases {
			if gvr.Version == v2.Version {
				c = c.V2()
			}
			name := fmt.Sprintf("rules-%d-%s", i, gvr.Version)
			var err error
			if c.Old == nil {
				_, err = rules.Create(ctx, portRule(gvr, name, c.Spec), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			} else {
				old, oldErr := rules.Create(ctx, portRule(gvr, name, c.Old), metav1.CreateOptions{})
				if oldErr != nil {
					t.Fatalf("%s: %v", c.Name, oldErr)
				}
				changed := portRule(gvr, name, c.Spec)
				changed.SetResourceVersion(old.GetResourceVersion())
				_, err = rules.Update(ctx, changed, metav1.UpdateOptions{})
				if err := rules.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if got := refused(err); !slices.Equal(got, c.Invalid) {
				t.Errorf("%s: refused %v, want %v (%v)", c.Name, got, c.Invalid, err)
			}
		}
	})
}

// refused returns the fields that an Invalid error names, and the error itself if
// it is of another kind.
func refused(err error) []string {
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonInvalid {
		return []string{err.Error()}
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		// a CRD adds, without a field, that its CEL rules were not evaluated, and
		// says of its scale subresource what it has said of the field
		if cause.Field != "<nil>" {
			fields = append(fields, strings.TrimPrefix(cause.Field, "."))
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// What an absent field means is filled in, and nothing else is there.
func TestDefaults(t *testing.T) {
	forEach(t, "defaults", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		created, err := rules.Create(ctx, portRule(gvr, "defaults-"+gvr.Version, nginx(gvr)), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := nginx(gvr)
		endpoint(gvr, want)["protocol"], want["replicas"] = "tcp", int64(1)
		equal(t, "spec", created.Object["spec"], want)
		if status, ok := created.Object["status"]; ok {
			t.Errorf("a new object has the status %v, want none", status)
		}
		if generation := created.GetGeneration(); generation != 1 {
			t.Errorf("a new object has generation %d, want 1", generation)
		}
	})
}

// The spec and the status are written by different ways, and each way ignores
// what belongs to the other. The generation follows the spec alone.
func TestStatusSubresource(t *testing.T) {
	forEach(t, "status", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		object := portRule(gvr, "status-"+gvr.Version, nginx(gvr))
		object.Object["status"] = map[string]any{"replicas": int64(7)}
		object, err := rules.Create(ctx, object, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := object.Object["status"]; ok {
			t.Error("create wrote the status")
		}

		write := object.DeepCopy()
		set(t, write, int64(3), "status", "replicas")
		set(t, write, int64(5), "spec", "replicas")
		write.SetLabels(map[string]string{"through": "status"})
		object, err = rules.UpdateStatus(ctx, write, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "status.replicas after a write to the status", get(object, "status", "replicas"), int64(3))
		equal(t, "spec.replicas after a write to the status", get(object, "spec", "replicas"), int64(1))
		equal(t, "labels after a write to the status", len(object.GetLabels()), 0)
		equal(t, "generation after a write to the status", object.GetGeneration(), int64(1))

		write = object.DeepCopy()
		set(t, write, int64(9), "status", "replicas")
		set(t, write, int64(5), "spec", "replicas")
		object, err = rules.Update(ctx, write, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "status.replicas after an update", get(object, "status", "replicas"), int64(3))
		equal(t, "spec.replicas after an update", get(object, "spec", "replicas"), int64(5))
		equal(t, "generation after an update of the spec", object.GetGeneration(), int64(2))

		write = object.DeepCopy()
		write.SetLabels(map[string]string{"a": "label"})
		object, err = rules.Update(ctx, write, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "generation after an update of the labels", object.GetGeneration(), int64(2))

		for _, entry := range object.GetManagedFields() {
			if owned := entry.FieldsV1.GetRawString(); (entry.Subresource == "status") != strings.Contains(owned, "f:status") {
				t.Errorf("managed fields of subresource %q: %s", entry.Subresource, owned)
			}
		}
	})
}

// A write says which state it replaces, and loses against another that was faster.
func TestConflict(t *testing.T) {
	forEach(t, "conflict", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		first, err := rules.Create(ctx, portRule(gvr, "conflict-"+gvr.Version, nginx(gvr)), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		write := first.DeepCopy()
		set(t, write, int64(60), "spec", "timeoutSeconds")
		if _, err := rules.Update(ctx, write, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := rules.Update(ctx, write, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("a write of an old resourceVersion: got %v, want a conflict", err)
		}
		write.SetResourceVersion("")
		if _, err := rules.Update(ctx, write, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("a write without resourceVersion: got %v, want it to be invalid", err)
		}
		if _, err := rules.Create(ctx, portRule(gvr, "conflict-"+gvr.Version, nginx(gvr)), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			t.Errorf("a second create: got %v, want that it exists already", err)
		}
	})
}

// Two appliers own what they applied, and disagree only about the same field.
func TestServerSideApply(t *testing.T) {
	forEach(t, "apply", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		if _, err := rules.Apply(ctx, "apply-"+gvr.Version, portRule(gvr, "apply-"+gvr.Version, nginx(gvr)), metav1.ApplyOptions{FieldManager: "one"}); err != nil {
			t.Fatal(err)
		}
		spec := nginx(gvr)
		spec["timeoutSeconds"] = int64(60)
		if _, err := rules.Apply(ctx, "apply-"+gvr.Version, portRule(gvr, "apply-"+gvr.Version, spec), metav1.ApplyOptions{FieldManager: "two"}); err != nil {
			t.Errorf("a second manager of the same values and one more: %v", err)
		}
		endpoint(gvr, spec)["port"] = int64(443)
		_, err := rules.Apply(ctx, "apply-"+gvr.Version, portRule(gvr, "apply-"+gvr.Version, spec), metav1.ApplyOptions{FieldManager: "two"})
		if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".port") {
			t.Errorf("a second manager of another value: got %v, want a conflict about the port", err)
		}
	})
}

// kubectl get asks for rows: both implementations have the same columns and cells.
func TestTable(t *testing.T) {
	tables := map[string]metav1.Table{}
	forEach(t, "table", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		if _, err := rules.Create(ctx, portRule(gvr, "table-"+gvr.Version, nginx(gvr)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		body, err := raw(t, config).Get().
			AbsPath("/apis", gvr.Group, gvr.Version, "namespaces", namespaceOf("table", gvr), gvr.Resource, "table-"+gvr.Version).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(ctx).Raw()
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(body, &table); err != nil {
			t.Fatal(err)
		}
		table.Rows[0].Cells = table.Rows[0].Cells[:len(table.Rows[0].Cells)-1] // the age differs
		tables[gvr.Group+"/"+gvr.Version] = table
	})
	for _, version := range []string{v1.Version, v2.Version} {
		sameTable(t, version, tables[api.CRDGroup+"/"+version], tables[api.Group+"/"+version])
	}
}

func sameTable(t *testing.T, version string, crd, aggregated metav1.Table) {
	t.Helper()
	for i := range crd.ColumnDefinitions {
		crd.ColumnDefinitions[i].Description, aggregated.ColumnDefinitions[i].Description = "", ""
	}
	equal(t, "columns", aggregated.ColumnDefinitions, crd.ColumnDefinitions)
	equal(t, "cells of the aggregated server", fmt.Sprint(aggregated.Rows[0].Cells), "[table-"+version+" nginx 10.0.0.3 80 tcp ]")
	// a CRD has null where a path leads nowhere; kubectl prints both as nothing
	equal(t, "cells of the CRD", fmt.Sprint(crd.Rows[0].Cells), "[table-"+version+" nginx 10.0.0.3 80 tcp <nil>]")
}

// An ordinary user may do what RBAC says, through the aggregation layer as well.
func TestOrdinaryUser(t *testing.T) {
	forEach(t, "user", func(ctx context.Context, t *testing.T, _ dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		namespace := namespaceOf("user", gvr)
		user, credential, err := bed.User(ctx, "alice", namespace)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "credential", credential, cluster.ClientCertificate)
		if _, err := clientIn(t, user, gvr, namespace).Create(ctx, portRule(gvr, "user-"+gvr.Version, nginx(gvr)), metav1.CreateOptions{}); err != nil {
			t.Errorf("with the role: %v", err)
		}
		elsewhere, err := dynamic.NewForConfig(user)
		if err != nil {
			t.Fatal(err)
		}
		_, err = elsewhere.Resource(gvr).Namespace("default").List(ctx, metav1.ListOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "alice" cannot list resource "portrules"`) {
			t.Errorf("without the role: got %v, want that alice is forbidden to list", err)
		}
	})
}

// What clients learn about the API: names, verbs, and the description of a field.
func TestDiscoveryAndOpenAPI(t *testing.T) {
	forEach(t, "discovery", func(ctx context.Context, t *testing.T, _ dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		clientset, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		list, err := clientset.Discovery().ServerResourcesForGroupVersion(gvr.GroupVersion().String())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, resource := range list.APIResources {
			names = append(names, resource.Name)
			if resource.Name == api.Resource {
				equal(t, "singular name", resource.SingularName, "portrule")
				equal(t, "short names", strings.Join(resource.ShortNames, ","), "pr")
				equal(t, "categories", strings.Join(resource.Categories, ","), "firewalld")
				slices.Sort(resource.Verbs)
				equal(t, "verbs", strings.Join(resource.Verbs, ","), "create,delete,deletecollection,get,list,patch,update,watch")
			}
		}
		slices.Sort(names)
		want := "portrules,portrules/scale,portrules/status"
		switch gvr.GroupVersion().String() {
		case api.Group + "/v1":
			want = "portrules,portrules/nftables,portrules/probe,portrules/scale,portrules/status"
		case api.Group + "/v2":
			want = "callerreviews,portrules,portrules/nftables,portrules/probe,portrules/scale,portrules/status"
		}
		equal(t, "resources", strings.Join(names, ","), want)

		body, err := raw(t, config).Get().AbsPath("/openapi/v3/apis", gvr.Group, gvr.Version).Do(ctx).Raw()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1 to 65535.", `"x-kubernetes-list-type":"map"`, `"default":"tcp"`} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("OpenAPI v3 does not contain %s", want)
			}
		}
		if bytes.Contains(body, []byte("__internal")) {
			t.Error("OpenAPI v3 shows the hub")
		}
	})
}

// The aggregated server keeps informers, so that its admission chain knows of a
// namespace that is going away.
func TestTerminatingNamespace(t *testing.T) {
	const terminating = "terminating"
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := clientset.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: terminating}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := clientset.CoreV1().Namespaces().Delete(ctx, terminating, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	forEach(t, "terminating", func(ctx context.Context, t *testing.T, _ dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		c, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Resource(gvr).Namespace(terminating).Create(ctx, portRule(gvr, "late", nginx(gvr)), metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			t.Errorf("a create in a namespace that ends: got %v, want NamespaceTerminating", err)
		}
	})
}

// The manifest that people know works unchanged, misspelling included, and is
// read as v2 and back without loss.
func TestHistoricalManifest(t *testing.T) {
	forEach(t, "manifest", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		if gvr.Version != v1.Version {
			return
		}
		manifest := `
apiVersion: ` + gvr.GroupVersion().String() + `
kind: PortRule
metadata: {name: portrule-example, labels: {a: label}}
spec: {name: nginx, host: 10.0.0.3, port: 80, isPremanent: true}
`
		written, err := rules.Patch(ctx, "portrule-example", types.ApplyYAMLPatchType, []byte(manifest),
			metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Fatal(err)
		}
		hub, err := clientIn(t, config, gvr.GroupResource().WithVersion(v2.Version), namespaceOf("manifest", gvr)).Get(ctx, "portrule-example", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the spec as v2", hub.Object["spec"], map[string]any{
			"service": "nginx", "endpoint": map[string]any{"host": "10.0.0.3", "port": int64(80), "protocol": "tcp"},
			"permanent": true, "replicas": int64(1),
		})
		equal(t, "the labels as v2", hub.GetLabels(), map[string]string{"a": "label"})
		read, err := rules.Get(ctx, "portrule-example", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the object as v1 again", read.Object, written.Object)
	})
}

// A testbed on an existing cluster uses what is there, and leaves it there.
func TestExistingCluster(t *testing.T) {
	group := startGroup(t)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: "lab", Config: bed.Admin}); err != nil {
		t.Fatal(err)
	}
	provider := cluster.NewExisting(group, cluster.ExistingOptions{Kubeconfig: kubeconfig})
	guest, err := testbed.Start(t.Context(), provider, group, testbed.Setup{}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	user, credential, err := guest.User(t.Context(), "guest", namespace)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "credential", credential, cluster.ServiceAccountToken)
	if _, err := client(t, user, implementations["aggregated"]).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("as a service account: %v", err)
	}
	if err := guest.Stop(); err != nil {
		t.Fatal(err)
	}
	for impl, gvr := range implementations {
		if _, err := client(t, bed.Admin, gvr).List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("%s is gone with the guest: %v", impl, err)
		}
	}
	if _, err := client(t, user, implementations["aggregated"]).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the guest's role is left behind: got %v, want that it is forbidden", err)
	}
}

func raw(t *testing.T, config *rest.Config) rest.Interface {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clientset.Discovery().RESTClient()
}

func get(object *unstructured.Unstructured, fields ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(object.Object, fields...)
	return value
}

func set(t *testing.T, object *unstructured.Unstructured, value any, fields ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(object.Object, value, fields...); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v", what, got, want)
	}
}
