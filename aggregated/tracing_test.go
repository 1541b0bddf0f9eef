package aggregated

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"portrule.example/lab/api"
)

// With tracing on, a SubjectAccessReview is in the trace of the request that waits for it,
// a TokenReview has one of its own, and calls to etcd are traced too. With tracing off,
// nobody is told of any trace.
func TestReviewsAreTraced(t *testing.T) {
	for _, on := range []bool{true, false} {
		traceparents := map[string]string{} // of the requests, by the resource
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			traceparents[filepath.Base(req.URL.Path)] = req.Header.Get("traceparent")
			review := map[string]any{}
			if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
				t.Error(err)
			}
			review["status"] = map[string]any{"authenticated": true, "allowed": true, "user": map[string]any{"username": "alice"}}
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(review); err != nil {
				t.Error(err)
			}
		}))
		defer server.Close()
		path := kubeconfig(t, server)
		args := []string{"--kubeconfig=" + path, "--authentication-kubeconfig=" + path, "--authorization-kubeconfig=" + path, "--authentication-skip-lookup"}
		if on {
			// nobody is there: the spans are of no interest
			file := filepath.Join(t.TempDir(), "tracing.yaml")
			write(t, file, "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: 127.0.0.1:1\nsamplingRatePerMillion: 1000000\n")
			args = append(args, "--tracing-config-file="+file)
		}
		o := parse(t, args...)
		generic := genericapiserver.NewRecommendedConfig(register(api.Group).codecs)
		register(api.Group).describe(generic)
		rest, err := o.applyTracing(generic)
		if err != nil {
			t.Fatal(err)
		}
		if rest.Traces != nil {
			t.Error("the options of tracing would be applied twice")
		}
		if got := o.Recommended.Etcd.StorageConfig.Transport.TracerProvider == generic.TracerProvider; got != on {
			t.Errorf("tracing %t: the calls to etcd are traced: %t", on, got)
		}
		generic.SecureServing = &genericapiserver.SecureServingInfo{} // nobody listens
		if err := rest.Authentication.ApplyTo(&generic.Authentication, generic.SecureServing, generic.OpenAPIConfig); err != nil {
			t.Fatal(err)
		}
		if err := rest.Authorization.ApplyTo(&generic.Authorization); err != nil {
			t.Fatal(err)
		}

		ctx, span := generic.TracerProvider.Tracer("").Start(t.Context(), "request")
		req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		req.Header.Set("Authorization", "Bearer secret")
		if _, ok, err := generic.Authentication.Authenticator.AuthenticateRequest(req); err != nil || !ok {
			t.Fatalf("the token is not accepted: %v", err)
		}
		decision, _, err := generic.Authorization.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: "alice"}, Verb: "get", ResourceRequest: true, Resource: api.Resource, Name: "x",
		})
		if err != nil || decision != authorizer.DecisionAllow {
			t.Fatalf("the request is not allowed: %v", err)
		}
		trace := span.SpanContext().TraceID().String()
		if got := traceparents["subjectaccessreviews"]; strings.HasPrefix(got, "00-"+trace+"-") != on {
			t.Errorf("tracing %t: the SubjectAccessReview has the traceparent %q, the request trace %s", on, got, trace)
		}
		if got := traceparents["tokenreviews"]; strings.HasPrefix(got, "00-") != on {
			t.Errorf("tracing %t: the TokenReview has the traceparent %q", on, got)
		}
		span.End()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = generic.TracerProvider.Shutdown(ended) // nobody takes the spans
	}
}

// A file that cannot be read is named with its flag.
func TestTracingFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tracing.yaml")
	write(t, file, "kind: Something\n")
	o := parse(t, "--tracing-config-file="+file)
	_, err := o.applyTracing(genericapiserver.NewRecommendedConfig(register(api.Group).codecs))
	if err == nil || !strings.Contains(err.Error(), "--tracing-config-file: ") {
		t.Errorf("got %v, want the flag in it", err)
	}
}
