package webhook

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	metadata = `"metadata":{"name":"NAME","namespace":"team","uid":"u1","resourceVersion":"7","generation":3,` +
		`"creationTimestamp":"2024-05-06T07:08:09Z","labels":{"a":"b"},"annotations":{"c":"d"},"finalizers":["e/f"],` +
		`"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"g","uid":"u2"}],` +
		`"managedFields":[{"manager":"kubectl","operation":"Apply","apiVersion":"crd.firewalld.fedoraproject.org/v1",` +
		`"time":"2024-05-06T07:08:09Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:host":{}}}}]}`
	status = `"status":{"observedGeneration":3,"replicas":2,"selector":"a=b","conditions":[{"type":"Ready","status":"True",` +
		`"observedGeneration":3,"lastTransitionTime":"2024-05-06T07:08:09Z","reason":"Done","message":"done"}]}`
	fullV1 = `{"apiVersion":"crd.firewalld.fedoraproject.org/v1","kind":"PortRule",` + metadata + `,` +
		`"spec":{"name":"nginx","host":"10.0.0.3","port":80,"protocol":"udp","isPremanent":false,"timeoutSeconds":5,"replicas":0},` + status + `}`
	fullV2 = `{"apiVersion":"crd.firewalld.fedoraproject.org/v2","kind":"PortRule",` + metadata + `,` +
		`"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80,"protocol":"udp"},"permanent":false,"timeoutSeconds":5,"replicas":0},` + status + `}`
	// What was stored before a field had its default, or a rule its bounds.
	bareV1 = `{"apiVersion":"crd.firewalld.fedoraproject.org/v1","kind":"PortRule","metadata":{"name":"NAME"},"spec":{"name":"Not valid","host":"","port":70000}}`
	bareV2 = `{"apiVersion":"crd.firewalld.fedoraproject.org/v2","kind":"PortRule","metadata":{"name":"NAME"},"spec":{"service":"Not valid","endpoint":{"host":"","port":70000}}}`
)

func convert(t testing.TB, handler http.Handler, desired string, objects ...string) *apiextensionsv1.ConversionResponse {
	t.Helper()
	req := &apiextensionsv1.ConversionRequest{UID: "42", DesiredAPIVersion: desired}
	for _, object := range objects {
		req.Objects = append(req.Objects, runtime.RawExtension{Raw: []byte(object)})
	}
	code, body := post(handler, PathConvert, encode(t, apiextensionsv1.ConversionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "ConversionReview"}, Request: req,
	}))
	var answer apiextensionsv1.ConversionReview
	if err := json.Unmarshal(body, &answer); code != http.StatusOK || err != nil || answer.Response == nil {
		t.Fatalf("got %d %s (%v), want a review", code, body, err)
	}
	if answer.Response.UID != "42" || answer.Kind != "ConversionReview" || answer.APIVersion != "apiextensions.k8s.io/v1" || answer.Request != nil {
		t.Fatalf("got %s, want the same UID, kind and version", body)
	}
	return answer.Response
}

func TestConvert(t *testing.T) {
	handler := install(t, newClient(t), Options{Group: group})
	named := func(name string, objects ...string) []string {
		for i := range objects {
			objects[i] = strings.Replace(objects[i], "NAME", name, 1)
		}
		return objects
	}
	for _, tt := range []struct {
		name, desired string
		objects, want []string
	}{
		{"full to v2", group + "/v2", named("a", fullV1), named("a", fullV2)},
		{"full to v1", group + "/v1", named("a", fullV2), named("a", fullV1)},
		{"bare to v2", group + "/v2", named("a", bareV1), named("a", bareV2)},
		{"bare to v1", group + "/v1", named("a", bareV2), named("a", bareV1)},
		{"several", group + "/v2", append(named("a", fullV1, bareV1), named("b", fullV1)...), append(named("a", fullV2, bareV2), named("b", fullV2)...)},
		{"none", group + "/v2", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response := convert(t, handler, tt.desired, tt.objects...)
			if response.Result.Status != metav1.StatusSuccess || len(response.ConvertedObjects) != len(tt.want) {
				t.Fatalf("got %+v and %d objects, want %d", response.Result, len(response.ConvertedObjects), len(tt.want))
			}
			for i, object := range response.ConvertedObjects {
				if got, want := decodeAny(t, string(object.Raw)), decodeAny(t, tt.want[i]); !reflect.DeepEqual(got, want) {
					t.Errorf("object %d:\n got %s\nwant %s", i, object.Raw, tt.want[i])
				}
			}
		})
	}
}

func decodeAny(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestConvertRefuses(t *testing.T) {
	handler := install(t, newClient(t), Options{Group: group})
	for _, tt := range []struct{ name, desired, object, want string }{
		{"to an unknown version", group + "/v3", bareV1, "v3"},
		{"to another group", "apps/v1", bareV1, "apps/v1"},
		{"to no version", "", bareV1, "no kind"},
		{"to a version with slashes", "a/b/c", bareV1, "no kind"},
		{"to the same version", group + "/v1", bareV1, "same type"},
		{"from an unknown version", group + "/v2", strings.Replace(bareV1, "/v1", "/v3", 1), "v3"},
		{"from another kind", group + "/v2", `{"apiVersion":"v1","kind":"Pod"}`, "Pod"},
		{"from a list", group + "/v2", `{"apiVersion":"` + group + `/v1","kind":"PortRuleList","items":[` + bareV1 + `]}`, "PortRuleList"},
		{"from options", group + "/v2", `{"apiVersion":"` + group + `/v1","kind":"DeleteOptions"}`, "DeleteOptions"},
		{"from no kind", group + "/v2", `{}`, "Kind"},
		{"from null", group + "/v2", `null`, ""},
		{"from a string", group + "/v2", `"rule"`, ""},
		{"from a wrong type", group + "/v2", strings.Replace(bareV1, "70000", `"http"`, 1), "port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response := convert(t, handler, tt.desired, tt.object)
			if response.Result.Status != metav1.StatusFailure || response.Result.Message == "" || !strings.Contains(response.Result.Message, tt.want) ||
				len(response.ConvertedObjects) != 0 {
				t.Errorf("got %+v, want a failure that names %q", response, tt.want)
			}
		})
	}
}

// Nulls mean what absence means, and fields that nobody knows do no harm: the API
// server prunes them.
func TestConvertTolerates(t *testing.T) {
	handler := install(t, newClient(t), Options{Group: group})
	response := convert(t, handler, group+"/v2", `{"apiVersion":"`+group+`/v1","kind":"PortRule","metadata":{"name":"a","labels":null,"annotations":null},`+
		`"spec":{"name":"nginx","host":"10.0.0.3","port":80,"protocol":null,"isPremanent":null,"replicas":null,"new":{"a":[1]}},"status":null}`)
	want := `{"apiVersion":"` + group + `/v2","kind":"PortRule","metadata":{"name":"a"},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80}}}`
	if len(response.ConvertedObjects) != 1 || !reflect.DeepEqual(decodeAny(t, string(response.ConvertedObjects[0].Raw)), decodeAny(t, want)) {
		t.Errorf("got %+v %s, want %s", response.Result, response.ConvertedObjects, want)
	}
}
