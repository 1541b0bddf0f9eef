package trace

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// What programs send with OpenTelemetry's own exporter comes, and is known to be theirs.
func TestReceiver(t *testing.T) {
	receiver := NewReceiver()
	defer receiver.Close()
	one, two := exporting(t, receiver, "one"), exporting(t, receiver, "two")

	ctx, call := one.Tracer("").Start(t.Context(), "call", oteltrace.WithSpanKind(oteltrace.SpanKindClient))
	_, part := one.Tracer("").Start(ctx, "part", oteltrace.WithAttributes(
		attribute.String("text", "a"), attribute.Int("number", 7), attribute.Bool("truth", true), attribute.Float64("fraction", 1.5),
		attribute.StringSlice("texts", []string{"a", "b"})))
	_, serve := two.Tracer("").Start(t.Context(), "serve", oteltrace.WithSpanKind(oteltrace.SpanKindServer), oteltrace.WithLinks(oteltrace.LinkFromContext(ctx)))
	for _, span := range []oteltrace.Span{serve, part, call} {
		span.End()
	}
	err := receiver.Wait(t.Context(), time.Minute, func(spans []*Span) error {
		if len(spans) < 3 {
			return fmt.Errorf("%d spans have come, not 3", len(spans))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	spans := receiver.Spans()
	trace, id := call.SpanContext().TraceID().String(), call.SpanContext().SpanID().String()
	for i, want := range []Span{
		{Trace: trace, ID: id, Program: "one", Name: "call", Kind: Client},
		{Trace: trace, Parent: id, ID: part.SpanContext().SpanID().String(), Program: "one", Name: "part",
			Attributes: map[string]string{"text": "a", "number": "7", "truth": "true", "fraction": "1.5", "texts": "a,b"}},
		{Trace: serve.SpanContext().TraceID().String(), ID: serve.SpanContext().SpanID().String(), Program: "two", Name: "serve", Kind: Server, Links: []Link{{trace, id}}},
	} {
		got := *spans[i]
		if got.Start.IsZero() || got.End.Before(got.Start) {
			t.Errorf("%s is from %s to %s", got.Name, got.Start, got.End)
		}
		got.Start, got.End = time.Time{}, time.Time{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// exporting returns what makes spans of a program and sends them.
func exporting(t *testing.T, receiver *Receiver, program string) *sdktrace.TracerProvider {
	t.Helper()
	endpoint, err := receiver.Endpoint(program)
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return provider
}

// A wait in vain ends with what is missing, and one that is interrupted with that.
func TestReceiverWaitsInVain(t *testing.T) {
	receiver := NewReceiver()
	missing := errors.New("there is nothing")
	never := func([]*Span) error { return missing }
	if err := receiver.Wait(t.Context(), time.Millisecond, never); !errors.Is(err, missing) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := receiver.Wait(ctx, time.Minute, never); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_, err := await(t.Context(), receiver, nil)
	if err != nil {
		t.Errorf("nothing to wait for: %v", err)
	}
	if got := fmt.Sprint(receiver.Wait(t.Context(), 0, never)); !strings.Contains(got, "nothing") {
		t.Errorf("got %s", got)
	}
}
