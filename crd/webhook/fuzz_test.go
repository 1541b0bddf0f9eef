package webhook

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// stub is a cluster that keeps nothing, so that a long run does not fill it: every
// namespace allows the ports up to 1023, one rule holds 10.0.0.3, and every
// reservation has leaked.
type stub struct{ client.Client }

func (stub) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch into := into.(type) {
	case *corev1.Namespace:
		into.Annotations = map[string]string{api.AllowedPorts: "1-1023"}
	case *coordinationv1.Lease:
		*into = *leaseOf(newRule("gone"), 2*TakeoverAge)
	default:
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	return nil
}

func (stub) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	if rules, ok := into.(*v2.PortRuleList); ok {
		rules.Items = []v2.PortRule{*newRule("other")}
	}
	return nil
}

func (stub) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	return apierrors.NewAlreadyExists(schema.GroupResource{}, object.GetName())
}

func (stub) Update(context.Context, client.Object, ...client.UpdateOption) error { return nil }

func (stub) Delete(context.Context, client.Object, ...client.DeleteOption) error { return nil }

// checkStatus says what is wrong with an answer that is no review.
func checkStatus(t *testing.T, code int, body []byte) {
	t.Helper()
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err != nil || code < 400 || code >= 500 || int(status.Code) != code || status.Message == "" {
		t.Fatalf("got %d %s, want a Status of 4xx", code, body)
	}
}

// FuzzConvert: whatever is posted, the answer is a Status, or a review with the
// same UID. What is converted has the version that was asked for, the same
// metadata, and converts back to the same.
func FuzzConvert(f *testing.F) {
	seed := func(desired string, objects ...string) {
		f.Add([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{"uid":"42","desiredAPIVersion":"` +
			desired + `","objects":[` + strings.Join(objects, ",") + `]}}`))
	}
	seed(group+"/v2", fullV1)
	seed(group+"/v1", fullV2)
	seed(group+"/v2", bareV1, fullV1, bareV1)
	seed(group+"/v1", bareV2)
	seed(group+"/v3", bareV1)
	seed("", "null", "{}", `"a"`)
	for _, body := range []string{"", "null", "{}", "[", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":null}`,
		`{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{"uid":"a","objects":null},"response":{"uid":"b"}}`} {
		f.Add([]byte(body))
	}
	handler := install(f, stub{}, Options{Group: group})
	f.Fuzz(func(t *testing.T, body []byte) {
		code, answer := post(handler, PathConvert, body)
		if code != http.StatusOK {
			checkStatus(t, code, answer)
			return
		}
		var asked, got apiextensionsv1.ConversionReview
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Fatalf("%q is answered with %s, and is no review: %v", body, answer, err)
		}
		if err := json.Unmarshal(answer, &got); err != nil || got.Response == nil || got.Response.UID != asked.Request.UID || got.Kind != "ConversionReview" {
			t.Fatalf("got %s (%v), want a review with UID %q", answer, err, asked.Request.UID)
		}
		if got.Response.Result.Status != metav1.StatusSuccess {
			if got.Response.Result.Status != metav1.StatusFailure || got.Response.Result.Message == "" || len(got.Response.ConvertedObjects) > 0 ||
				strings.HasPrefix(got.Response.Result.Message, "internal error") { // a panic that was recovered
				t.Fatalf("got %s, want a failure that says why", answer)
			}
			return
		}
		if len(got.Response.ConvertedObjects) != len(asked.Request.Objects) {
			t.Fatalf("got %d objects for %d", len(got.Response.ConvertedObjects), len(asked.Request.Objects))
		}
		for i, object := range got.Response.ConvertedObjects {
			checkConverted(t, handler, asked.Request.Objects[i].Raw, object.Raw, asked.Request.DesiredAPIVersion)
		}
	})
}

func checkConverted(t *testing.T, handler http.Handler, from, to []byte, desired string) {
	t.Helper()
	// read as the API server does, which tells upper from lower case
	var source, converted metav1.PartialObjectMetadata
	if err := utiljson.Unmarshal(from, &source); err != nil {
		t.Fatalf("%s was converted: %v", from, err)
	}
	if err := utiljson.Unmarshal(to, &converted); err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	if converted.APIVersion != desired || converted.Kind != api.Kind {
		t.Fatalf("got a %s of %s, want %s", converted.Kind, converted.APIVersion, desired)
	}
	other := group + "/v1"
	if desired == other {
		other = group + "/v2"
	}
	back := convert(t, handler, other, string(to))
	if len(back.ConvertedObjects) != 1 {
		t.Fatalf("%s does not convert back: %+v", to, back.Result)
	}
	again := convert(t, handler, desired, string(back.ConvertedObjects[0].Raw))
	if len(again.ConvertedObjects) != 1 || !reflect.DeepEqual(decodeAny(t, string(again.ConvertedObjects[0].Raw)), decodeAny(t, string(to))) {
		t.Fatalf("converted back and forth:\n got %s\nwant %s", again.ConvertedObjects, to)
	}
	var returned metav1.PartialObjectMetadata
	if err := utiljson.Unmarshal(back.ConvertedObjects[0].Raw, &returned); err != nil || !reflect.DeepEqual(returned.ObjectMeta, converted.ObjectMeta) {
		t.Fatalf("the metadata changed on the way back (%v):\n got %s\nwant %s", err, back.ConvertedObjects[0].Raw, to)
	}
}

// FuzzAdmission: whatever is posted to whichever handler, the answer is a Status,
// or a review with the same UID. A refusal says why, and a patch is a list of
// operations on what the webhook may change.
func FuzzAdmission(f *testing.F) {
	seed := func(operation admissionv1.Operation, object, old any) {
		for which := range 3 {
			f.Add(byte(which), encode(f, admissionv1.AdmissionReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request(f, operation, object, old),
			}))
		}
	}
	seed("CREATE", newRule("a"), nil)
	seed("CREATE", newRule("a", withHost("2001:db8::1"), withReplicas(3), withAnnotation(api.RequestedBy, "root")), nil)
	seed("CREATE", newRule("a", withHost("10.0.0.300"), withPort(70000)), nil)
	seed("CREATE", `{"apiVersion":"crd.firewalld.fedoraproject.org/v2","kind":"PortRule","metadata":null,"spec":{"endpoint":{"port":"80"}}}`, nil)
	seed("CREATE", strings.Replace(fullV2, "NAME", "a", 1), nil)
	seed("UPDATE", newRule("a", withPort(81)), newRule("a", withAnnotation(api.RequestedBy, "bob")))
	seed("DELETE", nil, newRule("a"))
	for _, body := range []string{"", "null", "{}", "[", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a"},"response":{"uid":"b"}}`,
		`{"apiVersion":"v1","kind":"Pod"}`} {
		f.Add(byte(0), []byte(body))
	}
	handler := install(f, stub{}, all)
	admissionPaths := []string{PathValidate, PathMutate, PathReserve}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		path := admissionPaths[int(which)%len(admissionPaths)]
		code, answer := post(handler, path, body)
		if code != http.StatusOK {
			checkStatus(t, code, answer)
			return
		}
		var asked, got admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Fatalf("%q is answered with %s, and is no review: %v", body, answer, err)
		}
		if err := json.Unmarshal(answer, &got); err != nil || got.Response == nil || got.Response.UID != asked.Request.UID || got.Kind != "AdmissionReview" {
			t.Fatalf("got %s (%v), want a review with UID %q", answer, err, asked.Request.UID)
		}
		response := got.Response
		// A panic is recovered by controller-runtime and becomes a 500, and the stub
		// fails at nothing.
		if result := response.Result; result == nil || !response.Allowed && (result.Code < 400 || result.Code >= 500 || result.Message == "") {
			t.Fatalf("got %s, want a refusal that says why", answer)
		}
		if response.Patch != nil {
			if path != PathMutate || !response.Allowed {
				t.Fatalf("%s: got a patch: %s", path, answer)
			}
			checkPatch(t, response.Patch)
		}
	})
}

// checkPatch: defaults, and the annotation of R6 with what has to hold it.
func checkPatch(t *testing.T, patch []byte) {
	t.Helper()
	var operations []struct {
		Op, Path string
		Value    any
	}
	if err := json.Unmarshal(patch, &operations); err != nil || len(operations) == 0 {
		t.Fatalf("got patch %s: %v", patch, err)
	}
	for _, operation := range operations {
		switch operation.Path {
		case "/spec/endpoint/protocol", "/spec/replicas", "/metadata/annotations/firewalld.fedoraproject.org~1requested-by":
		case "/metadata/annotations", "/metadata":
			value, _ := operation.Value.(map[string]any)
			if inner, ok := value["annotations"].(map[string]any); ok && operation.Path == "/metadata" {
				value = inner
			}
			if _, ok, _ := unstructured.NestedString(value, api.RequestedBy); !ok || len(value) != 1 {
				t.Fatalf("got patch %s", patch)
			}
		default:
			t.Fatalf("got patch %s", patch)
		}
	}
}
