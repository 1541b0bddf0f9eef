package testbed_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

var update = flag.Bool("update", false, "write the golden files")

// Each set-up of the CRD, and the server, answer each rule of the contract on a real
// API server, and what users read is in testdata/messages-<set-up>.txt. They judge the
// manifests of the contract as those say, and alike.
func TestSetups(t *testing.T) {
	stored := &specs{}
	for _, words := range [][]string{{"schema"}, {"policies"}, {"webhooks"}, {"reservation"}} {
		t.Run(words[0], func(t *testing.T) {
			setup, err := testbed.ParseCRDSetup(words)
			if err != nil {
				t.Fatal(err)
			}
			bed, _ := startBed(t, cluster.EmbeddedOptions{}, setup)
			golden(t, "messages-"+words[0]+".txt", answers(t, bed, api.CRDGroup))
			judgeManifests(t, bed, "crd+"+words[0], api.CRDGroup, stored)
		})
	}
	t.Run("aggregated", func(t *testing.T) {
		golden(t, "messages-aggregated.txt", answers(t, bed, api.Group))
		judgeManifests(t, bed, "aggregated", api.Group, stored)
	})
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the answers differ from %s; got:\n%s", file, got)
	}
}

// answers asks an implementation for what the rules are about and returns a line each.
func answers(t *testing.T, bed *testbed.Testbed, group string) string {
	t.Helper()
	ctx := t.Context()
	if err := bed.Namespaces(ctx, "open", "guarded", "malformed"); err != nil {
		t.Fatal(err)
	}
	admin, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for namespace, ports := range map[string]string{"guarded": "8000-9000,443", "malformed": "http"} {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, api.AllowedPorts, ports)
		if _, err := admin.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	alice, _, err := bed.User(ctx, "alice", "open", "guarded", "malformed")
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(alice)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	// the words and the versions differ between runs in nothing
	ask := func(what string, do func(rules func(version, namespace string) dynamic.ResourceInterface) (string, error)) {
		answer, err := do(func(version, namespace string) dynamic.ResourceInterface {
			return client.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: api.Resource}).Namespace(namespace)
		})
		if err != nil {
			answer = "refused: " + err.Error()
		}
		fmt.Fprintf(&lines, "%s\n    %s\n", what, varying.ReplaceAllString(answer, "..."))
	}
	type rulesOf = func(version, namespace string) dynamic.ResourceInterface
	create := func(version, namespace, name string, spec map[string]any, annotations map[string]string) func(rulesOf) (string, error) {
		return func(rules rulesOf) (string, error) {
			object := portRule(schema.GroupVersionResource{Group: group, Version: version}, name, spec)
			object.SetAnnotations(annotations)
			created, err := rules(version, namespace).Create(ctx, object, metav1.CreateOptions{})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("accepted: requested by %q", created.GetAnnotations()[api.RequestedBy]), nil
		}
	}
	patch := func(version, patch string) func(rulesOf) (string, error) {
		return func(rules rulesOf) (string, error) {
			patched, err := rules(version, "open").Patch(ctx, "one", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("accepted: requested by %q", patched.GetAnnotations()[api.RequestedBy]), nil
		}
	}
	v1 := func(port int64) map[string]any {
		return map[string]any{"name": "nginx", "host": "10.0.0.3", "port": port}
	}
	v2 := func(port int64) map[string]any { return api.Case{Spec: v1(port)}.V2().Spec }
	with := func(spec map[string]any, name string, value any) map[string]any { spec[name] = value; return spec }

	ask("R1: port 70000, v1", create("v1", "open", "r1", v1(70000), nil))
	ask("R1: port 70000, v2", create("v2", "open", "r1", v2(70000), nil))
	ask("R1: host 10.0.0.300", create("v2", "open", "r1", with(v2(80), "endpoint", map[string]any{"host": "10.0.0.300", "port": int64(80)}), nil))
	ask("R1: service Nginx", create("v2", "open", "r1", with(v2(80), "service", "Nginx"), nil))
	ask("R2: a timeout and permanent, v1", create("v1", "open", "r2", with(with(v1(80), "timeoutSeconds", int64(60)), "isPremanent", true), nil))
	ask("R2: a timeout and permanent, v2", create("v2", "open", "r2", with(with(v2(80), "timeoutSeconds", int64(60)), "permanent", true), nil))
	ask("R6: a create", create("v2", "open", "one", v2(80), nil))
	ask("R6: a create that forges, v1", create("v1", "open", "two", v1(81), map[string]string{api.RequestedBy: "mallory"}))
	ask("R6: an update that forges", patch("v2", fmt.Sprintf(`{"metadata":{"annotations":{%q:"mallory"}}}`, api.RequestedBy)))
	ask("R6: an update that removes", patch("v2", fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, api.RequestedBy)))
	ask("R3: another port, v1", patch("v1", `{"spec":{"port":82}}`))
	ask("R3: another port, v2", patch("v2", `{"spec":{"endpoint":{"port":82}}}`))
	ask("R3: more replicas", patch("v2", `{"spec":{"replicas":2}}`))
	ask("R4: the same endpoint", create("v2", "open", "again", v2(80), nil))
	ask("R4: the same endpoint, v1", create("v1", "open", "again-v1", v1(80), nil))
	ask("R4: the same endpoint, a dry run", func(rules rulesOf) (string, error) {
		_, err := rules("v2", "open").Create(ctx, portRule(schema.GroupVersionResource{Group: group, Version: "v2"}, "again-dry", v2(80)),
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return "accepted", err
	})
	ask("R4: the same endpoint, applied", func(rules rulesOf) (string, error) {
		_, err := rules("v2", "open").Apply(ctx, "again-applied", portRule(schema.GroupVersionResource{Group: group, Version: "v2"}, "again-applied", v2(80)),
			metav1.ApplyOptions{FieldManager: "test"})
		return "accepted", err
	})
	ask("R4: the same endpoint, and the same name", create("v2", "open", "one", v2(80), nil))
	ask("R4: the same port by udp", create("v2", "open", "udp", with(v2(80), "endpoint", map[string]any{"host": "10.0.0.3", "port": int64(80), "protocol": "udp"}), nil))
	ask("R4: the same endpoint, in another namespace", create("v2", "guarded", "one", with(v2(443), "endpoint", map[string]any{"host": "10.0.0.3", "port": int64(443)}), nil))
	ask("R4: the same endpoint, after its rule is gone", func(rules rulesOf) (string, error) {
		if err := rules("v2", "open").Delete(ctx, "two", metav1.DeleteOptions{}); err != nil {
			return "", err
		}
		return create("v2", "open", "three", v2(81), nil)(rules)
	})
	ask("R5: a port that the namespace allows", create("v2", "guarded", "allowed", v2(8080), nil))
	ask("R5: a port that it does not allow, v1", create("v1", "guarded", "refused", v1(80), nil))
	ask("R5: a namespace whose annotation is malformed", create("v2", "malformed", "refused", v2(80), nil))
	return lines.String()
}

// varying is what differs from run to run in an answer.
var varying = regexp.MustCompile(`127\.0\.0\.1:[0-9]+|localhost:[0-9]+`)
