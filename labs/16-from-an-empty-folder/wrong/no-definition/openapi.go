package main

import (
	metaopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
)

// OpenAPIModelName is the name of Zone in the OpenAPI documents.
func (Zone) OpenAPIModelName() string { return "org.fedoraproject.firewalld.zones.v1.Zone" }

// OpenAPIModelName is the name of ZoneSpec.
func (ZoneSpec) OpenAPIModelName() string { return "org.fedoraproject.firewalld.zones.v1.ZoneSpec" }

// OpenAPIModelName is the name of ZoneList.
func (ZoneList) OpenAPIModelName() string { return "org.fedoraproject.firewalld.zones.v1.ZoneList" }

// definitions describes, by their names, the types of types.go and those of Kubernetes
// that they are made of.
func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	return metaopenapi.GetOpenAPIDefinitions(ref)
}
