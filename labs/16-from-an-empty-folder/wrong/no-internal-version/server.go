package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
	basecompatibility "k8s.io/component-base/compatibility"
)

// etcdPrefix is what all keys in etcd begin with.
const etcdPrefix = "/registry"

// options are the flags.
type options struct {
	recommended *genericoptions.RecommendedOptions
	group       string
}

func newOptions() *options {
	return &options{recommended: genericoptions.NewRecommendedOptions(etcdPrefix, nil), group: Group}
}

// config is what the flags amount to.
type config struct {
	generic *genericapiserver.RecommendedConfig
	group   string
	scheme  *runtime.Scheme
	codecs  serializer.CodecFactory
}

// newScheme registers the types under versions of a group.
func newScheme(group string, versions ...string) *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, version := range versions {
		scheme.AddKnownTypes(schema.GroupVersion{Group: group, Version: version}, &Zone{}, &ZoneList{})
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Group: group, Version: Version})
	// what every API server answers with
	core := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, core)
	scheme.AddUnversionedTypes(core, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return scheme
}

// config makes the configuration of a server.
func (o *options) config() (*config, error) {
	scheme := newScheme(o.group, Version)
	c := &config{group: o.group, scheme: scheme, codecs: serializer.NewCodecFactory(scheme)}
	c.generic = genericapiserver.NewRecommendedConfig(c.codecs)
	c.generic.EffectiveVersion = compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)

	// the internal version is nobody else's business
	namer := openapi.NewDefinitionNamer(newScheme(o.group, Version))
	c.generic.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	c.generic.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)

	// objects are encoded as v1 in etcd
	version := schema.GroupVersion{Group: o.group, Version: Version}
	storage := &o.recommended.Etcd.StorageConfig
	storage.Codec, storage.EncodeVersioner = c.codecs.LegacyCodec(version), version

	return c, o.recommended.ApplyTo(c.generic)
}

// server makes the server, with the group installed.
func (c *config) server() (*genericapiserver.GenericAPIServer, error) {
	server, err := c.generic.Complete().New("zone-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	zones, err := newStore(c.group, c.scheme, c.generic.RESTOptionsGetter)
	if err != nil {
		return nil, err
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(c.group, c.scheme, runtime.NewParameterCodec(c.scheme), c.codecs)
	info.VersionedResourcesStorageMap[Version] = map[string]rest.Storage{Resource: zones}
	return server, server.InstallAPIGroup(&info)
}
