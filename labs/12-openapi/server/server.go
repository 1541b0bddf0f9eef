// Package server is an aggregated API server for PortSets that does not know how to
// describe them: their OpenAPI definitions are read from a file, and are what lab 12 is
// about.
//
// All else is as in other servers: the definitions go where GetOpenAPIDefinitions would
// be, so that the server publishes them, looks in them for its own kinds when it starts, and
// merges by them what is applied. It is made of the parts of lab 11's, see
// labs/11-subresource/server. types.go has the kind, storage.go keeps it in memory.
package server

import (
	"context"
	"flag"
	"io"

	metaopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
	clientrest "k8s.io/client-go/rest"

	subresource "portrule.example/lab/labs/11-subresource/server"
	"portrule.example/lab/labs/12-openapi/definitions"
)

// Group is what the server serves, unless --group says otherwise.
const Group = "sets.firewalld.fedoraproject.org"

// The version, kind and resource that it serves.
const (
	Version  = "v1"
	Kind     = "PortSet"
	Resource = "portsets"
)

// Run serves portsets, and registers the server with the aggregator, until ctx ends.
func Run(ctx context.Context, args []string, stdout io.Writer) error {
	o := subresource.Options{Namespace: "lab-12", Group: Group, Version: Version, Service: "sets"}
	flags := flag.NewFlagSet("openapi-server", flag.ContinueOnError)
	path := flags.String("definitions", "definitions.json", "the file with the OpenAPI definitions")
	o.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	described, err := definitions.Load(*path)
	if err != nil {
		return err
	}
	useModels(described)
	o.Definitions, o.Scheme = described.Get(metaopenapi.GetOpenAPIDefinitions), runtime.NewScheme()
	for _, version := range []string{Version, runtime.APIVersionInternal} { // the hub is v1 itself
		gv := schema.GroupVersion{Group: o.Group, Version: version}
		o.Scheme.AddKnownTypes(gv, &PortSet{}, &PortSetList{})
		if version == Version {
			metav1.AddToGroupVersion(o.Scheme, gv)
		}
	}
	subresource.AddMetaTypes(o.Scheme)
	o.Resources = func(*clientrest.Config) (map[string]rest.Storage, admission.Interface, error) {
		return map[string]rest.Storage{Resource: newSets(o.Group)}, nil, nil
	}
	return subresource.Serve(ctx, stdout, o)
}
