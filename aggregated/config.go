package aggregated

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	endpointsopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"portrule.example/lab/aggregated/openapi"
	"portrule.example/lab/aggregated/registry/portrule"
	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// Config is all that a server is made of.
type Config struct {
	Generic *genericapiserver.RecommendedConfig
}

// CompletedConfig is a Config whose absent fields are filled in. Only
// [Config.Complete] makes one.
type CompletedConfig struct {
	generic genericapiserver.CompletedConfig
}

// Complete fills in what is absent and derivable.
func (c *Config) Complete() CompletedConfig {
	return CompletedConfig{generic: c.Generic.Complete()}
}

// New makes the server and installs the API group.
func (c CompletedConfig) New() (*Server, error) {
	generic, err := c.generic.New("portrule-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("make the generic API server: %w", err)
	}
	rules, status, err := portrule.NewStorage(scheme, c.generic.RESTOptionsGetter)
	if err != nil {
		return nil, fmt.Errorf("make the storage of %s: %w", api.Resource, err)
	}

	group := genericapiserver.NewDefaultAPIGroupInfo(api.Group, scheme, metav1.ParameterCodec, codecs)
	for _, version := range []string{v1.Version, v2.Version} {
		group.VersionedResourcesStorageMap[version] = map[string]rest.Storage{
			api.Resource:             rules,
			api.Resource + "/status": status,
		}
	}
	if err := generic.InstallAPIGroup(&group); err != nil {
		return nil, fmt.Errorf("install %s: %w", api.Group, err)
	}
	return &Server{generic: generic}, nil
}

// describe adds the OpenAPI documents, v2 for kubectl explain of old and v3 for
// everything since, server-side apply included.
func describe(generic *genericapiserver.RecommendedConfig) {
	namer := endpointsopenapi.NewDefinitionNamer(served)
	generic.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.Definitions, namer)
	generic.OpenAPIConfig.Info.Title = "PortRule"
	generic.OpenAPIConfig.Info.Version = v2.Version
	generic.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.Definitions, namer)
	generic.OpenAPIV3Config.Info.Title = "PortRule"
	generic.OpenAPIV3Config.Info.Version = v2.Version
}
