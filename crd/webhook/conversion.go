package webhook

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/conversion"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// newConverter returns the handler of ConversionReviews. It defaults and validates
// nothing, so every object that is stored can be read. One object that it cannot
// convert fails the whole review.
func newConverter(scheme *runtime.Scheme, group string) (http.Handler, error) {
	for _, version := range []string{v1.Version, v2.Version} {
		if gvk := (schema.GroupVersionKind{Group: group, Version: version, Kind: api.Kind}); !scheme.Recognizes(gvk) {
			return nil, fmt.Errorf("install webhooks: the scheme does not know %s: call %s.AddToScheme with that group", gvk, version)
		}
	}
	// The functions of api/v1 leave apiVersion and kind alone: controller-runtime has
	// set those of the destination. That source and destination share memory does no
	// harm, since the source is dropped.
	spoke := conversion.NewSpokeConverter(&v1.PortRule{},
		func(_ context.Context, hub *v2.PortRule, spoke *v1.PortRule) error {
			v1.FromHub(hub, spoke)
			return nil
		},
		func(_ context.Context, spoke *v1.PortRule, hub *v2.PortRule) error {
			v1.ToHub(spoke, hub)
			return nil
		},
	)
	converter, err := conversion.NewHubSpokeConverter(&v2.PortRule{}, spoke)(scheme)
	if err != nil {
		return nil, fmt.Errorf("install webhooks: %w", err)
	}
	registry := conversion.NewRegistry()
	if err := registry.RegisterConverter(schema.GroupKind{Group: group, Kind: api.Kind}, converter); err != nil {
		return nil, fmt.Errorf("install webhooks: %w", err)
	}
	return serveConversion(conversion.NewWebhookHandler(scheme, registry)), nil
}
