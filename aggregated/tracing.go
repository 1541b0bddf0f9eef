package aggregated

import (
	"fmt"
	"net/http"

	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/component-base/tracing"
)

// applyTracing applies the options of tracing, and returns the recommended options that
// are left to be applied.
//
// RecommendedOptions.ApplyTo would trace less than the request waits for: it comes to etcd
// before it comes to tracing, so that the calls to etcd are in no trace, and it tells the
// clients that ask for TokenReviews and SubjectAccessReviews nothing of it.
//
// A SubjectAccessReview is then in the trace of the request that waits for it. A TokenReview
// has a trace of its own: several requests may wait for it, and the cache of tokens detaches
// it from the one that came first.
func (o *Options) applyTracing(generic *genericapiserver.RecommendedConfig) (genericoptions.RecommendedOptions, error) {
	rest := *o.Recommended
	rest.EgressSelector, rest.Traces = nil, nil
	// the spans leave by the egress selector
	if err := o.Recommended.EgressSelector.ApplyTo(&generic.Config); err != nil {
		return rest, err
	}
	if err := o.Recommended.Traces.ApplyTo(generic.EgressSelector, &generic.Config); err != nil {
		return rest, fmt.Errorf("--tracing-config-file: %w", err)
	}
	if o.Recommended.Traces.ConfigFile == "" {
		return rest, nil
	}
	rest.Etcd.StorageConfig.Transport.TracerProvider = generic.TracerProvider
	traced := func(next http.RoundTripper) http.RoundTripper {
		return tracing.WrapperFor(generic.TracerProvider)(next)
	}
	rest.Authentication.WithCustomRoundTripper(traced)
	rest.Authorization.WithCustomRoundTripper(traced)
	return rest, nil
}
