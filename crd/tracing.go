package crd

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"k8s.io/component-base/tracing"
	tracingapi "k8s.io/component-base/tracing/api/v1"

	"portrule.example/lab/crd/manifests"
)

// tracesEndpoint is OpenTelemetry's own variable for where spans are sent, by OTLP over
// gRPC, such as http://127.0.0.1:4317.
const tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"

// tracesTimeout is how long the last spans may take when the program ends.
const tracesTimeout = 5 * time.Second

// newTracer returns what makes the spans of webhook calls that the kube-apiserver traces,
// and of what they ask it in turn. It is nil unless the environment says where the spans
// go.
func newTracer(ctx context.Context) (tracing.TracerProvider, error) {
	if os.Getenv(tracesEndpoint) == "" {
		return nil, nil
	}
	// which requests are traced is for the caller to say, and the exporter reads the variable
	tracer, err := tracing.NewProvider(ctx, &tracingapi.TracingConfiguration{}, nil, []resource.Option{
		resource.WithAttributes(attribute.String("service.name", manifests.Name)),
	})
	if err != nil {
		return nil, fmt.Errorf("send spans to %s: %w", tracesEndpoint, err)
	}
	return tracer, nil
}
