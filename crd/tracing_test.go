package crd

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"k8s.io/component-base/tracing"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
)

// A webhook call that is traced makes a span in that trace, and so does what it asks in
// turn. One that is not traced makes none.
func TestWebhooksAreTraced(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	var received collected
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	receiver := grpc.NewServer()
	collector.RegisterTraceServiceServer(receiver, &received)
	go func() { _ = receiver.Serve(listener) }()
	defer receiver.Stop()
	t.Setenv(tracesEndpoint, "http://"+listener.Addr().String())
	tracer, err := newTracer(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	var asked []string // the traceparents of what the webhook asks
	apiServer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		asked = append(asked, req.Header.Get("traceparent"))
	}))
	defer apiServer.Close()
	client := &http.Client{Transport: tracing.WrapperFor(tracer)(http.DefaultTransport)}
	s := &server{Server: ctrlwebhook.NewServer(ctrlwebhook.Options{}), tracer: tracer}
	s.Register(path, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		request, err := http.NewRequestWithContext(req.Context(), http.MethodGet, apiServer.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		response, err := client.Do(request)
		if err != nil {
			t.Error(err)
			return
		}
		_ = response.Body.Close()
	}))
	for _, sampled := range []string{"01", "00"} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
		req.Header.Set("traceparent", "00-"+trace+"-"+parent+"-"+sampled)
		s.WebhookMux().ServeHTTP(httptest.NewRecorder(), req)
	}
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(received.spans, " "), "HTTP GET in "+trace+", "+path+" in "+trace+","; got != want {
		t.Errorf("got the spans %s, want %s", got, want)
	}
	if len(asked) != 2 || !strings.HasPrefix(asked[0], "00-"+trace+"-") || !strings.HasSuffix(asked[0], "-01") || !strings.HasSuffix(asked[1], "-00") {
		t.Errorf("the API server got the traceparents %q", asked)
	}
}

// collected are the spans that have come: their names and traces.
type collected struct {
	collector.UnimplementedTraceServiceServer
	spans []string
}

// Export implements the service of OTLP.
func (c *collected) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, span.GetName()+" in "+hex.EncodeToString(span.GetTraceId())+",")
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// Without an endpoint nothing is traced.
func TestNoTracer(t *testing.T) {
	t.Setenv(tracesEndpoint, "")
	tracer, err := newTracer(t.Context())
	if tracer != nil || err != nil {
		t.Errorf("got %v, %v", tracer, err)
	}
}
