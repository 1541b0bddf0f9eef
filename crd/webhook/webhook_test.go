package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

const (
	group     = api.CRDGroup
	namespace = "team"
	user      = "alice"
)

var all = Options{Group: group, Validating: true, Mutating: true, Reservation: true}

func newScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme,
		func(s *runtime.Scheme) error { return v1.AddToScheme(s, group) },
		func(s *runtime.Scheme) error { return v2.AddToScheme(s, group) },
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// newClient is a cluster with the namespace team and the objects. Like a real one
// it finds rules by the fields that the CRD makes selectable, and by no others.
func newClient(t testing.TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	if !slices.ContainsFunc(objects, func(o client.Object) bool { _, ok := o.(*corev1.Namespace); return ok }) {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	return fake.NewClientBuilder().WithScheme(newScheme(t)).WithObjects(objects...).
		WithIndex(&v2.PortRule{}, fieldHost, func(o client.Object) []string { return []string{o.(*v2.PortRule).Spec.Endpoint.Host} }).
		WithIndex(&v2.PortRule{}, fieldPort, func(o client.Object) []string {
			return []string{strconv.Itoa(int(o.(*v2.PortRule).Spec.Endpoint.Port))}
		}).Build()
}

// install returns what a server with the handlers serves.
func install(t testing.TB, c client.Client, options Options) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	if err := Install(webhook.NewServer(webhook.Options{WebhookMux: mux}), newScheme(t), c, c, options); err != nil {
		t.Fatal(err)
	}
	return mux
}

// newRule is a valid rule of v2, changed by the functions.
func newRule(name string, change ...func(*v2.PortRule)) *v2.PortRule {
	rule := &v2.PortRule{
		TypeMeta:   metav1.TypeMeta{APIVersion: group + "/v2", Kind: api.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}},
	}
	for _, f := range change {
		f(rule)
	}
	return rule
}

func withHost(host string) func(*v2.PortRule) {
	return func(r *v2.PortRule) { r.Spec.Endpoint.Host = host }
}

func withPort(port int32) func(*v2.PortRule) {
	return func(r *v2.PortRule) { r.Spec.Endpoint.Port = port }
}

func withReplicas(replicas int32) func(*v2.PortRule) {
	return func(r *v2.PortRule) { r.Spec.Replicas = &replicas }
}

func withAnnotation(key, value string) func(*v2.PortRule) {
	return func(r *v2.PortRule) { metav1.SetMetaDataAnnotation(&r.ObjectMeta, key, value) }
}

// request is a review of an operation as the API server sends it. The objects are
// rules, JSON texts, or nil.
func request(t testing.TB, operation admissionv1.Operation, object, old any) *admissionv1.AdmissionRequest {
	t.Helper()
	kind := metav1.GroupVersionKind{Group: group, Version: "v2", Kind: api.Kind}
	resource := metav1.GroupVersionResource{Group: group, Version: "v2", Resource: api.Resource}
	requestKind, requestResource := kind, resource
	return &admissionv1.AdmissionRequest{
		UID: "7b1c", Kind: kind, Resource: resource, RequestKind: &requestKind, RequestResource: &requestResource,
		Namespace: namespace, Operation: operation, UserInfo: authenticationv1.UserInfo{Username: user},
		Object: raw(t, object), OldObject: raw(t, old),
	}
}

func raw(t testing.TB, object any) runtime.RawExtension {
	t.Helper()
	switch object := object.(type) {
	case nil:
		return runtime.RawExtension{} // null
	case string:
		return runtime.RawExtension{Raw: []byte(object)}
	default:
		return runtime.RawExtension{Raw: encode(t, object)}
	}
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// review posts an admission request and returns the answer to it.
func review(t testing.TB, handler http.Handler, path string, req *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	code, body := post(handler, path, encode(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: req,
	}))
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &answer); code != http.StatusOK || err != nil || answer.Response == nil {
		t.Fatalf("got %d %s (%v), want a review", code, body, err)
	}
	if answer.Response.UID != req.UID || answer.Kind != "AdmissionReview" || answer.APIVersion != "admission.k8s.io/v1" {
		t.Fatalf("got %s, want the same UID, kind and version", body)
	}
	if !answer.Response.Allowed && (answer.Response.Result == nil || answer.Response.Result.Code < 400 ||
		answer.Response.Result.Status != metav1.StatusFailure || answer.Response.Result.Message == "") {
		t.Errorf("got %s, want a refusal with a status", body)
	}
	return answer.Response
}

func post(handler http.Handler, path string, body []byte) (int, []byte) {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

// causes are the fields that a status blames, with the reasons.
func causes(response *admissionv1.AdmissionResponse) []string {
	var fields []string
	if response.Result != nil && response.Result.Details != nil {
		for _, cause := range response.Result.Details.Causes {
			fields = append(fields, cause.Field+" "+string(cause.Type))
		}
	}
	return fields
}

func TestInstall(t *testing.T) {
	server := func() webhook.Server { return webhook.NewServer(webhook.Options{}) }
	c := newClient(t)
	for _, tt := range []struct {
		name    string
		scheme  *runtime.Scheme
		writer  client.Writer
		options Options
		want    string
	}{
		{"no group", newScheme(t), c, Options{}, "no group"},
		{"another group", newScheme(t), c, Options{Group: api.Group}, "AddToScheme"},
		{"empty scheme", runtime.NewScheme(), c, Options{Group: group}, "AddToScheme"},
		{"no writer", newScheme(t), nil, Options{Group: group, Reservation: true}, "writes Leases"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Install(server(), tt.scheme, c, tt.writer, tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// Each option brings its handler and no other.
func TestOptions(t *testing.T) {
	paths := []string{PathConvert, PathValidate, PathMutate, PathReserve}
	for _, tt := range []struct {
		options Options
		want    []string
	}{
		{Options{Group: group}, []string{PathConvert}},
		{Options{Group: group, Validating: true}, []string{PathConvert, PathValidate}},
		{Options{Group: group, Mutating: true}, []string{PathConvert, PathMutate}},
		{Options{Group: group, Reservation: true}, []string{PathConvert, PathReserve}},
		{all, paths},
	} {
		handler := install(t, newClient(t), tt.options)
		for _, path := range paths {
			code, _ := post(handler, path, nil)
			if served := code != http.StatusNotFound; served != slices.Contains(tt.want, path) {
				t.Errorf("%+v: %s answers %d", tt.options, path, code)
			}
		}
	}
}
