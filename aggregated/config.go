package aggregated

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime"
	endpointsopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"portrule.example/lab/aggregated/openapi"
	registrycallerreview "portrule.example/lab/aggregated/registry/callerreview"
	"portrule.example/lab/aggregated/registry/portrule"
	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/api/probe"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// Config is all that a server is made of.
type Config struct {
	Generic *genericapiserver.RecommendedConfig
	types   *types
	// UniqueEndpoints is R4: in one namespace no two PortRules share an endpoint.
	UniqueEndpoints bool
	// ProbeAllow are addresses that the subresource probe dials although it would
	// refuse them.
	ProbeAllow []netip.Prefix
}

// CompletedConfig is a Config whose absent fields are filled in. Only
// [Config.Complete] makes one.
type CompletedConfig struct {
	generic         genericapiserver.CompletedConfig
	types           *types
	uniqueEndpoints bool
	probeAllow      []netip.Prefix
}

// Complete fills in what is absent and derivable.
func (c *Config) Complete() CompletedConfig {
	return CompletedConfig{generic: c.Generic.Complete(), types: c.types, uniqueEndpoints: c.UniqueEndpoints, probeAllow: c.ProbeAllow}
}

// New makes the server and installs the API group.
func (c CompletedConfig) New() (*Server, error) {
	generic, err := c.generic.New("portrule-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("make the generic API server: %w", err)
	}
	group := c.types.storageVersion.Group
	rules, reservations, err := portrule.NewStorage(portrule.Options{
		Group:           group,
		Scheme:          c.types.scheme,
		Getter:          c.generic.RESTOptionsGetter,
		UniqueEndpoints: c.uniqueEndpoints,
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: is there an etcd at --etcd-servers?", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make the storage of %s: %w", api.Resource, err)
	}
	if reservations != nil {
		// the server is ready once this has returned
		err := generic.AddPostStartHook("reserve-endpoints", func(ctx genericapiserver.PostStartHookContext) error {
			reservations.Start(ctx)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}

	// Query parameters are read by this server's scheme, which knows those of probe.
	info := genericapiserver.NewDefaultAPIGroupInfo(group, c.types.scheme, runtime.NewParameterCodec(c.types.scheme), c.types.codecs)
	prober := &probe.Prober{Rules: probe.Rules{Allow: c.probeAllow}}
	resources := map[string]rest.Storage{
		api.Resource:               rules,
		api.Resource + "/status":   portrule.NewStatusREST(rules),
		api.Resource + "/scale":    portrule.NewScaleREST(rules),
		api.Resource + "/nftables": portrule.NewNFTablesREST(rules),
		api.Resource + "/probe":    portrule.NewProbeREST(rules, prober),
	}
	info.VersionedResourcesStorageMap[v1.Version] = resources
	info.VersionedResourcesStorageMap[v2.Version] = maps.Clone(resources)
	// what is new comes in the newest version alone
	info.VersionedResourcesStorageMap[v2.Version][callerreview.Resource] = registrycallerreview.NewREST(authenticatorOf)
	if err := generic.InstallAPIGroup(&info); err != nil {
		return nil, fmt.Errorf("install %s: %w", group, err)
	}
	return &Server{generic: generic}, nil
}

// describe adds the OpenAPI documents, v2 for kubectl explain of old and v3 for
// everything since, server-side apply included.
func (t *types) describe(generic *genericapiserver.RecommendedConfig) {
	namer := endpointsopenapi.NewDefinitionNamer(t.served)
	generic.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.Definitions, namer)
	generic.OpenAPIConfig.Info.Title = "PortRule"
	generic.OpenAPIConfig.Info.Version = v2.Version
	generic.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.Definitions, namer)
	generic.OpenAPIV3Config.Info.Title = "PortRule"
	generic.OpenAPIV3Config.Info.Version = v2.Version
}
