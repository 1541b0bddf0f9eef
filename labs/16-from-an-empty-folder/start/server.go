package main

import (
	genericoptions "k8s.io/apiserver/pkg/server/options"
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

// TODO: newScheme, a runtime.Scheme with Zone and ZoneList under the versions of a group. The
// server needs them under Version and under runtime.APIVersionInternal. It also needs what
// every API server answers with: metav1.AddToGroupVersion for the group and version, and for
// the core group's v1, and there the unversioned types Status, APIVersions, APIGroupList,
// APIGroup and APIResourceList.

// TODO: config() of *options: a genericapiserver.RecommendedConfig with an EffectiveVersion,
// an OpenAPIConfig and an OpenAPIV3Config; the codec for etcd; then recommended.ApplyTo.

// TODO: server() of the config: complete the config, make the server, install the group.
