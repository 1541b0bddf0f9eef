package trace

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Receiver collects the spans that programs of this host send by OTLP over gRPC,
// without TLS: so the exporter of the Kubernetes API servers sends them.
type Receiver struct {
	mu      sync.Mutex
	spans   []*Span
	servers []*grpc.Server
	// more is closed, and made anew, when spans have come.
	more chan struct{}
}

// NewReceiver returns a receiver that has no endpoint yet.
func NewReceiver() *Receiver { return &Receiver{more: make(chan struct{})} }

// Endpoint opens an endpoint for the spans of a program, and returns where it is,
// host:port. Each program needs its own: what else a span says of its origin is the same
// for all API servers.
func (r *Receiver) Endpoint(program string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the spans of %s: %w", program, err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, &endpoint{receiver: r, program: program})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers = append(r.servers, server)
	go func() { _ = server.Serve(listener) }() // it ends with Close
	return listener.Addr().String(), nil
}

// Close ends the endpoints.
func (r *Receiver) Close() {
	r.mu.Lock()
	servers := r.servers
	r.servers = nil
	r.mu.Unlock()
	for _, server := range servers {
		server.Stop() // an exporter's connection never ends by itself
	}
}

// Forget drops the spans that have come so far.
func (r *Receiver) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = nil
}

// Spans returns those that have come so far, in the order in which they began.
func (r *Receiver) Spans() []*Span {
	spans, _ := r.look()
	return spans
}

func (r *Receiver) look() (spans []*Span, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	spans = slices.Clone(r.spans)
	slices.SortStableFunc(spans, func(a, b *Span) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Trace+a.ID, b.Trace+b.ID))
	})
	return spans, r.more
}

// Wait looks at the spans, each time that more have come, until enough returns nil. When
// the time is up it returns what enough said last.
func (r *Receiver) Wait(ctx context.Context, timeout time.Duration, enough func(spans []*Span) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		spans, more := r.look()
		err := enough(spans)
		if err == nil {
			return nil
		}
		select {
		case <-more:
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
}

// endpoint is where one program sends its spans.
type endpoint struct {
	collector.UnimplementedTraceServiceServer
	receiver *Receiver
	program  string
}

// Export takes spans.
func (e *endpoint) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	var spans []*Span
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				spans = append(spans, read(span, e.program))
			}
		}
	}
	r := e.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, spans...)
	close(r.more)
	r.more = make(chan struct{})
	return &collector.ExportTraceServiceResponse{}, nil
}

func read(s *otlp.Span, program string) *Span {
	span := &Span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Program: program, Name: s.GetName(),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())).UTC(), End: time.Unix(0, int64(s.GetEndTimeUnixNano())).UTC(),
	}
	switch s.GetKind() {
	case otlp.Span_SPAN_KIND_CLIENT:
		span.Kind = Client
	case otlp.Span_SPAN_KIND_SERVER:
		span.Kind = Server
	}
	for _, link := range s.GetLinks() {
		span.Links = append(span.Links, Link{hex.EncodeToString(link.GetTraceId()), hex.EncodeToString(link.GetSpanId())})
	}
	for _, attribute := range s.GetAttributes() {
		if span.Attributes == nil {
			span.Attributes = map[string]string{}
		}
		span.Attributes[attribute.GetKey()] = text(attribute.GetValue())
	}
	return span
}

// text is an attribute's value as it is shown.
func text(value *common.AnyValue) string {
	switch v := value.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *common.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *common.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *common.AnyValue_ArrayValue:
		var texts []string
		for _, element := range v.ArrayValue.GetValues() {
			texts = append(texts, text(element))
		}
		return strings.Join(texts, ",")
	}
	return ""
}
