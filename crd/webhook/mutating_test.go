package webhook

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"portrule.example/lab/api"
)

func TestMutate(t *testing.T) {
	const (
		header = `{"apiVersion":"crd.firewalld.fedoraproject.org/v2","kind":"PortRule",`
		// The name of the annotation in a JSON pointer.
		pointer = `/metadata/annotations/firewalld.fedoraproject.org~1requested-by`
		quoted  = `"firewalld.fedoraproject.org/requested-by"`
	)
	full := `"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80,"protocol":"udp"},"replicas":0}}`
	for _, tt := range []struct {
		name        string
		object, old string // old is empty on create
		want        string
	}{
		{"create", `"metadata":{"name":"a"},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80}}}`, "",
			`[{"op":"add","path":"/metadata/annotations","value":{` + quoted + `:"alice"}},` +
				`{"op":"add","path":"/spec/endpoint/protocol","value":"tcp"},{"op":"add","path":"/spec/replicas","value":1}]`},
		{"nothing to do", `"metadata":{"name":"a","annotations":{` + quoted + `:"alice"}},` + full, "", ""},
		{"forged", `"metadata":{"name":"a","annotations":{"a":"b",` + quoted + `:"root"}},` + full, "",
			`[{"op":"replace","path":"` + pointer + `","value":"alice"}]`},
		{"other annotations", `"metadata":{"name":"a","annotations":{"a":"b"}},` + full, "",
			`[{"op":"add","path":"` + pointer + `","value":"alice"}]`},
		{"null annotations", `"metadata":{"name":"a","annotations":null},` + full, "",
			`[{"op":"replace","path":"/metadata/annotations","value":{` + quoted + `:"alice"}}]`},
		{"no metadata", full, "", `[{"op":"add","path":"/metadata","value":{"annotations":{` + quoted + `:"alice"}}}]`},
		{"nulls", `"metadata":{"annotations":{` + quoted + `:"alice"}},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80,"protocol":null},"replicas":null}}`, "",
			`[{"op":"replace","path":"/spec/endpoint/protocol","value":"tcp"},{"op":"replace","path":"/spec/replicas","value":1}]`},
		{"unknown fields, odd order, large numbers",
			`"spec":{"replicas":0,"zebra":{"z":[1.50,1e3,9007199254740993,18446744073709551616,null]},"endpoint":{"protocol":"tcp","port":80,"host":"10.0.0.3","a":{}},"service":"nginx"},` +
				`"apple":null,"metadata":{"self":"x","annotations":{` + quoted + `:"alice"}}}`, "", ""},
		{"no spec", `"metadata":{"annotations":{` + quoted + `:"alice"}}}`, "", ""},
		{"no endpoint", `"metadata":{"annotations":{` + quoted + `:"alice"}},"spec":{}}`, "", `[{"op":"add","path":"/spec/replicas","value":1}]`},
		{"what the type cannot hold", `"metadata":{"annotations":{"a":"b"}},"spec":{"endpoint":{"port":"80"}}}`, "",
			`[{"op":"add","path":"` + pointer + `","value":"alice"}]`},

		{"update", `"metadata":{"annotations":{` + quoted + `:"bob"}},"spec":{"replicas":3}}`, `"metadata":{"annotations":{` + quoted + `:"bob"}},"spec":{}}`, ""},
		{"update, changed", `"metadata":{"annotations":{` + quoted + `:"alice"}}}`, `"metadata":{"annotations":{` + quoted + `:"bob"}}}`,
			`[{"op":"replace","path":"` + pointer + `","value":"bob"}]`},
		{"update, removed", `"metadata":{"annotations":{"a":"b"}}}`, `"metadata":{"annotations":{` + quoted + `:"bob"}}}`,
			`[{"op":"add","path":"` + pointer + `","value":"bob"}]`},
		{"update, all removed", `"metadata":{}}`, `"metadata":{"annotations":{` + quoted + `:"bob"}}}`,
			`[{"op":"add","path":"/metadata/annotations","value":{` + quoted + `:"bob"}}]`},
		{"update, added", `"metadata":{"annotations":{"a":"b",` + quoted + `:"alice"}}}`, `"metadata":{"annotations":{"a":"b"}}}`,
			`[{"op":"remove","path":"` + pointer + `"}]`},
		{"update, empty before", `"metadata":{"annotations":{}}}`, `"metadata":{"annotations":{` + quoted + `:""}}}`,
			`[{"op":"add","path":"` + pointer + `","value":""}]`},
		{"update, never there", `"metadata":{}}`, `"metadata":{}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := request(t, "CREATE", header+tt.object, nil)
			if tt.old != "" {
				req = request(t, "UPDATE", header+tt.object, header+tt.old)
			}
			for _, dryRun := range []bool{false, true} {
				req.DryRun = &dryRun
				answer := review(t, install(t, newClient(t), Options{Group: group, Mutating: true}), PathMutate, req)
				if !answer.Allowed {
					t.Fatalf("refused: %v", answer.Result)
				}
				if tt.want == "" {
					if answer.Patch != nil || answer.PatchType != nil {
						t.Errorf("got %s, want no patch", answer.Patch)
					}
					continue
				}
				if answer.PatchType == nil || *answer.PatchType != admissionv1.PatchTypeJSONPatch {
					t.Fatalf("got patch type %v", answer.PatchType)
				}
				if got := patch(t, string(answer.Patch)); !reflect.DeepEqual(got, patch(t, tt.want)) {
					t.Errorf("\n got %s\nwant %s", answer.Patch, tt.want)
				}
			}
		})
	}
	if !strings.Contains(quoted, api.RequestedBy) {
		t.Errorf("the test is about %s", quoted)
	}
}

// patch is a JSON patch whose operations are in order of their paths.
func patch(t *testing.T, text string) []any {
	t.Helper()
	operations := decodeAny(t, text).([]any)
	slices.SortFunc(operations, func(a, b any) int {
		return strings.Compare(a.(map[string]any)["path"].(string), b.(map[string]any)["path"].(string))
	})
	return operations
}
