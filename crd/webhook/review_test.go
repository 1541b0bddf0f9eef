package webhook

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var paths = []string{PathConvert, PathValidate, PathMutate, PathReserve}

// What is no review gets a Status and an error of HTTP, and the server goes on.
func TestBadReviews(t *testing.T) {
	server := httptest.NewServer(install(t, newClient(t), all))
	defer server.Close()

	admission := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"`
	conversion := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview"`
	for _, tt := range []struct {
		name, method, contentType, body string
		want                            int
	}{
		{"GET", "GET", "", "", http.StatusMethodNotAllowed},
		{"no content type", "POST", "", "{}", http.StatusUnsupportedMediaType},
		{"YAML", "POST", "application/yaml", "kind: AdmissionReview", http.StatusUnsupportedMediaType},
		{"protobuf", "POST", "application/vnd.kubernetes.protobuf", "k8s\x00", http.StatusUnsupportedMediaType},
		{"bad content type", "POST", "application/json; =", "{}", http.StatusUnsupportedMediaType},
		{"empty", "POST", "application/json", "", http.StatusBadRequest},
		{"null", "POST", "application/json", "null", http.StatusBadRequest},
		{"not JSON", "POST", "application/json", "{", http.StatusBadRequest},
		{"an array", "POST", "application/json", "[]", http.StatusBadRequest},
		{"two documents", "POST", "application/json", "{}{}", http.StatusBadRequest},
		{"nothing in it", "POST", "application/json", "{}", http.StatusBadRequest},
		{"another kind", "POST", "application/json", `{"apiVersion":"v1","kind":"Pod","request":{"uid":"a"}}`, http.StatusBadRequest},
		{"charset", "POST", "application/json; charset=utf-8", "{}", http.StatusBadRequest},
		{"deep", "POST", "application/json", strings.Repeat(`{"request":`, 1e5), http.StatusBadRequest},
		{"admission without request", "POST", "application/json", admission + `}`, http.StatusBadRequest},
		{"admission with null request", "POST", "application/json", admission + `,"request":null}`, http.StatusBadRequest},
		{"admission without uid", "POST", "application/json", admission + `,"request":{}}`, http.StatusBadRequest},
		{"admission of wrong type", "POST", "application/json", admission + `,"request":{"uid":"a","dryRun":"yes"}}`, http.StatusBadRequest},
		{"admission of v1beta1", "POST", "application/json", strings.Replace(admission, "v1", "v1beta1", 1) + `,"request":{"uid":"a"}}`, http.StatusBadRequest},
		{"conversion without request", "POST", "application/json", conversion + `}`, http.StatusBadRequest},
		{"conversion without uid", "POST", "application/json", conversion + `,"request":{}}`, http.StatusBadRequest},
		{"conversion of v1beta1", "POST", "application/json", strings.Replace(conversion, "v1", "v1beta1", 1) + `,"request":{"uid":"a"}}`, http.StatusBadRequest},
		{"7 MiB", "POST", "application/json", strings.Repeat(" ", maxBody), http.StatusBadRequest},
		{"7 MiB and a byte", "POST", "application/json", strings.Repeat(" ", maxBody+1), http.StatusRequestEntityTooLarge},
		{"10 MB", "POST", "application/json", conversion + `,"request":{"uid":"` + strings.Repeat("a", 10e6) + `"}}`, http.StatusRequestEntityTooLarge},
	} {
		for _, path := range paths {
			t.Run(tt.name+path, func(t *testing.T) {
				r, err := http.NewRequest(tt.method, server.URL+path, strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				if tt.contentType != "" {
					r.Header.Set("Content-Type", tt.contentType)
				}
				response, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Body.Close() }()
				var status metav1.Status
				if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
					t.Fatalf("%s: want a Status: %v", response.Status, err)
				}
				if response.StatusCode != tt.want || status.Kind != "Status" || status.APIVersion != "v1" || int(status.Code) != tt.want ||
					status.Reason == "" || status.Message == "" || response.Header.Get("Content-Type") != "application/json" {
					t.Errorf("got %s %+v, want %d", response.Status, status, tt.want)
				}
			})
		}
	}
	// It has lived through all this.
	if answer := review(t, server.Config.Handler, PathValidate, request(t, "CREATE", newRule("a"), nil)); !answer.Allowed {
		t.Errorf("a valid rule is refused: %v", answer.Result)
	}
}

// An object that is none, in a review that is one, gets a refusal with its UID.
func TestBadObjects(t *testing.T) {
	handler := install(t, newClient(t), all)
	header := `{"apiVersion":"` + group + `/v2","kind":"PortRule"`
	for _, tt := range []struct {
		name, object string
		// mutated is whether the mutating webhook leaves the answer to others.
		mutated bool
	}{
		{"null", "null", false},
		{"a string", `"rule"`, false},
		{"an array", `[]`, false},
		{"no kind", `{}`, false},
		{"v1, which matchPolicy Equivalent converts", `{"apiVersion":"` + group + `/v1","kind":"PortRule"}`, false},
		{"another kind", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`, false},
		{"a list", `{"apiVersion":"` + group + `/v2","kind":"PortRuleList","items":[]}`, false},
		{"string port", header + `,"metadata":{"name":"a"},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":"80"}}}`, true},
		{"string spec", header + `,"metadata":{"name":"a"},"spec":"nginx"}`, true},
		{"port of 64 bits", header + `,"metadata":{"name":"a"},"spec":{"service":"nginx","endpoint":{"host":"10.0.0.3","port":4294967376}}}`, true},
		{"number annotations", header + `,"metadata":{"name":"a","annotations":3},"spec":{}}`, false},
		{"array metadata", header + `,"metadata":[],"spec":{}}`, false},
	} {
		for _, path := range []string{PathValidate, PathMutate, PathReserve} {
			t.Run(tt.name+path, func(t *testing.T) {
				answer := review(t, handler, path, request(t, "CREATE", tt.object, nil))
				if path == PathMutate && tt.mutated {
					if !answer.Allowed {
						t.Errorf("got %v, want it left to the schema", answer.Result)
					}
				} else if answer.Allowed || answer.Result.Code != http.StatusBadRequest {
					t.Errorf("got %v, want 400", answer.Result)
				}
			})
		}
	}
	for _, path := range []string{PathValidate, PathMutate} {
		if answer := review(t, handler, path, request(t, "UPDATE", newRule("a"), nil)); answer.Allowed || answer.Result.Code != http.StatusBadRequest {
			t.Errorf("%s: an update without old object got %v, want 400", path, answer.Result)
		}
	}
}

// The handlers have no say in subresources and in operations that are not theirs,
// whatever the configuration sends them.
func TestNotConcerned(t *testing.T) {
	handler := install(t, newClient(t), all)
	for _, path := range []string{PathValidate, PathMutate, PathReserve} {
		req := request(t, "UPDATE", newRule("a", withHost("-")), newRule("a"))
		req.SubResource = "status"
		if answer := review(t, handler, path, req); !answer.Allowed || answer.Patch != nil {
			t.Errorf("%s: the status got %v %s", path, answer.Result, answer.Patch)
		}
		if answer := review(t, handler, path, request(t, "CONNECT", nil, nil)); !answer.Allowed {
			t.Errorf("%s: CONNECT got %v", path, answer.Result)
		}
	}
}
