// Package openapi describes PortRule and the meta types that it uses, for the
// aggregated server's /openapi/v2 and /openapi/v3, and for server-side apply,
// which reads the same description.
//
// openapi-gen writes the descriptions of api/v1, api/v2 and api/callerreview from
// their Go source into zz_generated.openapi.go; make generate runs it. Those of the
// meta types are the ones that k8s.io/apiextensions-apiserver publishes, so they are
// not generated a second time.
//
// [Definitions] is all of them together, and what aggregated/config.go gives the
// generic server. For a CRD the kube-apiserver writes the same documents itself, from
// the schema; the suite openapi of the comparison says where the two differ.
package openapi

import (
	"maps"
	"strings"

	metaopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Definitions returns the description of every type that the server answers
// with, by model name.
//
// openapi-gen knows the model names of the packages that it generates for and
// calls a type of any other package by its Go path. Here both become the model
// name, without which the server would not find the definition.
func Definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	definitions := metaopenapi.GetOpenAPIDefinitions(ref)
	own := GetOpenAPIDefinitions(func(name string) spec.Ref { return ref(modelName(name)) })
	for _, definition := range own {
		for i, dependency := range definition.Dependencies {
			definition.Dependencies[i] = modelName(dependency)
		}
	}
	maps.Copy(definitions, own)
	return definitions
}

// modelName turns a Go path, k8s.io/apimachinery/pkg/apis/meta/v1.Time, into the
// model name io.k8s.apimachinery.pkg.apis.meta.v1.Time, and leaves a model name
// as it is.
func modelName(name string) string {
	if strings.Contains(name, "/") {
		return util.ToRESTFriendlyName(name)
	}
	return name
}
