package contract_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/testbed"
)

// crdBreaks each break one rule of the CRD's version v2. cases are those that must notice.
var crdBreaks = map[string]struct {
	change func(version *apiextensionsv1.CustomResourceDefinitionVersion, spec map[string]apiextensionsv1.JSONSchemaProps)
	cases  []string
}{
	"R2's CEL rule is removed": {
		change: func(version *apiextensionsv1.CustomResourceDefinitionVersion, _ map[string]apiextensionsv1.JSONSchemaProps) {
			schema := version.Schema.OpenAPIV3Schema.Properties["spec"]
			schema.XValidations = nil
			version.Schema.OpenAPIV3Schema.Properties["spec"] = schema
		},
		cases: []string{"validation/corpus", "validation/cross-field", "validation/cross-field-patch", "openapi/rules"},
	},
	"the host may change": {
		change: func(_ *apiextensionsv1.CustomResourceDefinitionVersion, spec map[string]apiextensionsv1.JSONSchemaProps) {
			host := spec["endpoint"].Properties["host"]
			host.XValidations = host.XValidations[:1]
			spec["endpoint"].Properties["host"] = host
		},
		cases: []string{"validation/corpus", "validation/transition-patch", "openapi/rules"},
	},
	"there may be 200 replicas": {
		change: func(_ *apiextensionsv1.CustomResourceDefinitionVersion, spec map[string]apiextensionsv1.JSONSchemaProps) {
			replicas := spec["replicas"]
			replicas.Maximum = ptr.To(200.0)
			spec["replicas"] = replicas
		},
		cases: []string{"validation/corpus", "validation/bounds", "scale/bounds", "openapi/bounds", "openapi/swagger", "schema/integer-range"},
	},
	"the service is described otherwise": {
		change: func(_ *apiextensionsv1.CustomResourceDefinitionVersion, spec map[string]apiextensionsv1.JSONSchemaProps) {
			service := spec["service"]
			service.Description = brokenDescription
			spec["service"] = service
		},
		cases: []string{"openapi/description-texts"},
	},
	"the column Host is missing": {
		change: func(version *apiextensionsv1.CustomResourceDefinitionVersion, _ map[string]apiextensionsv1.JSONSchemaProps) {
			version.AdditionalPrinterColumns = slices.DeleteFunc(version.AdditionalPrinterColumns, func(column apiextensionsv1.CustomResourceColumnDefinition) bool {
				return column.Name == "Host"
			})
		},
		cases: []string{"tables/columns", "tables/descriptions", "tables/cells", "tables/absent", "tables/page", "tables/watch", "tables/bookmark"},
	},
	"the port cannot be selected by": {
		change: func(version *apiextensionsv1.CustomResourceDefinitionVersion, _ map[string]apiextensionsv1.JSONSchemaProps) {
			version.SelectableFields = version.SelectableFields[:1]
		},
		cases: []string{"selectors/spec", "selectors/watch-by-field", "openapi/selectable-fields"},
	},
}

// serverBreaks each break one rule of the aggregated server, by another text in its
// source.
var serverBreaks = map[string]struct {
	file, old, new string
	cases          []string
}{
	"the endpoint may change": {
		file:  "aggregated/registry/portrule/strategy.go",
		old:   "inRequestVersion(ctx, append(errs, v2.ValidateUpdate(rule, oldRule)...))",
		new:   "inRequestVersion(ctx, errs)",
		cases: []string{"validation/corpus", "defaulting/immutable", "validation/transition-put", "validation/transition-patch"},
	},
	"an update of the rule writes its status": {
		file:  "aggregated/registry/portrule/strategy.go",
		old:   "	rule.Status = oldRule.Status\n",
		new:   "",
		cases: []string{"status/put-of-the-rule-keeps-status", "conversion/status"},
	},
	"the creator is not noted": {
		file:  "aggregated/registry/portrule/strategy.go",
		old:   "	metav1.SetMetaDataAnnotation(&rule.ObjectMeta, api.RequestedBy, user.GetName())\n",
		new:   "	_ = user\n",
		cases: []string{"validation/requested-by", "validation/requested-by-changed", "validation/requested-by-owner"},
	},
	"the column Service has another name": {
		file:  "aggregated/registry/portrule/table.go",
		old:   `{Name: "Service", Type`,
		new:   `{Name: "Svc", Type`,
		cases: []string{"tables/columns", "tables/descriptions"},
	},
	"the protocol is described otherwise": {
		file:  "aggregated/openapi/zz_generated.openapi.go",
		old:   `"protocol is tcp, udp, sctp or dccp. Absent means tcp.`,
		new:   `"protocol is whatever. Absent means tcp.`,
		cases: []string{"openapi/descriptions", "openapi/description-texts"},
	},
	"there is no short name": {
		file:  "aggregated/registry/portrule/storage.go",
		old:   `return []string{"pr"}`,
		new:   `return nil`,
		cases: []string{"discovery/names"},
	},
}

// brokenAreas are those whose cases are put to the broken sides.
var brokenAreas = []string{"schema", "pruning", "defaulting", "validation", "conversion", "status", "scale", "tables", "openapi", "explain", "selectors", "discovery"}

// needWebhooks are the cases of those areas that need the CRD's webhooks, which would
// hide what is broken behind them.
var needWebhooks = []string{"validation/duplicate", "validation/duplicate-dry-run", "validation/duplicate-deleted", "defaulting/cross-object", "schema/empty-create"}

// A rule that is broken on one side, be it one CEL rule or one description, is noticed by
// the cases of that rule and by no others.
func TestBreaks(t *testing.T) {
	ctx := t.Context()
	crd := start(t, testbed.Setup{CRD: testbed.CRDSetup{Policies: true}})
	breakCRD(ctx, t, crd)
	t.Setenv("KUBEBUILDER_ASSETS", breakServer(ctx, t))
	server := start(t, testbed.Setup{})

	cases, err := contract.Select(contract.Cases(), brokenAreas...)
	if err != nil {
		t.Fatal(err)
	}
	cases = slices.DeleteFunc(cases, func(c contract.Case) bool { return slices.Contains(needWebhooks, c.ID) })
	options := contract.Options{Cases: cases}
	options.CRD, _ = contract.Places(crd)
	_, options.Aggregated = contract.Places(server)
	rows, err := contract.Run(ctx, options)
	if err != nil {
		t.Fatal(err)
	}

	want := map[string][]string{contract.CRD: {}, contract.Aggregated: {}}
	for _, b := range crdBreaks {
		want[contract.CRD] = append(want[contract.CRD], b.cases...)
	}
	for _, b := range serverBreaks {
		want[contract.Aggregated] = append(want[contract.Aggregated], b.cases...)
	}
	for _, row := range rows {
		if row.Verdict == contract.NotRun {
			continue
		}
		for _, side := range []struct{ impl, got, want string }{{contract.CRD, row.CRD, row.Want.CRD}, {contract.Aggregated, row.Aggregated, row.Want.Aggregated}} {
			broken := slices.Contains(want[side.impl], row.ID)
			switch {
			case broken && side.got == side.want:
				t.Errorf("%s does not notice what is broken on the side %s", row.ID, side.impl)
			case !broken && side.got != side.want:
				t.Errorf("%s notices on the side %s: got %q, want %q", row.ID, side.impl, side.got, side.want)
			}
		}
	}
}

// breakCRD changes the CRD of a testbed, and waits until that is served.
func breakCRD(ctx context.Context, t *testing.T, bed *testbed.Testbed) {
	t.Helper()
	client, err := apiextensions.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	crd, err := crds.Get(ctx, api.Resource+"."+api.CRDGroup, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range crd.Spec.Versions {
		version := &crd.Spec.Versions[i]
		if version.Name != "v2" {
			continue
		}
		for _, b := range crdBreaks {
			b.change(version, version.Schema.OpenAPIV3Schema.Properties["spec"].Properties)
		}
	}
	if _, err := crds.Update(ctx, crd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	// what is published about the CRD comes last
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		document, err := clientset.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/" + api.CRDGroup + "/v2").Do(ctx).Raw()
		if err == nil && strings.Contains(string(document), brokenDescription) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the changed CRD is not published: %v", err)
		}
	}
}

const brokenDescription = "this description is broken"

// breakServer builds the server of broken source and returns the directory of the program.
func breakServer(ctx context.Context, t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	texts := map[string]string{}
	for name, b := range serverBreaks {
		path := filepath.Join(root, b.file)
		if texts[path] == "" {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(data)
		}
		if strings.Count(texts[path], b.old) != 1 {
			t.Fatalf("%s: the text to be broken is not in %s once", name, b.file)
		}
		texts[path] = strings.Replace(texts[path], b.old, b.new, 1)
	}
	overlay := map[string]map[string]string{"Replace": {}}
	for i, path := range slices.Sorted(maps.Keys(texts)) {
		changed := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(changed, []byte(texts[path]), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][path] = changed
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", file, "-ldflags", "-s -w", "-o", filepath.Join(bin, "portrule-apiserver"), "./aggregated/cmd/portrule-apiserver")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the broken server: %v\n%s", err, out)
	}
	return bin
}
