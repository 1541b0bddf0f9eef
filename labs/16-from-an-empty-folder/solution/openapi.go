package main

import (
	metaopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
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
	text := func(description string) spec.Schema { return *spec.StringProperty().WithDescription(description) }
	typed := func(model string) spec.Schema { return spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref(model)}} }
	objectMeta, listMeta := metav1.ObjectMeta{}.OpenAPIModelName(), metav1.ListMeta{}.OpenAPIModelName()
	zone, zoneSpec := Zone{}.OpenAPIModelName(), ZoneSpec{}.OpenAPIModelName()

	all := metaopenapi.GetOpenAPIDefinitions(ref)
	all[zone] = object("Zone says what happens to packets that come in by some network interfaces.", map[string]spec.Schema{
		"apiVersion": text("The group and the version."),
		"kind":       text("The kind."),
		"metadata":   typed(objectMeta),
		"spec":       typed(zoneSpec),
	}, objectMeta, zoneSpec)
	all[zoneSpec] = object("ZoneSpec is what the user wants.", map[string]spec.Schema{
		"target":     *spec.StringProperty().WithDescription("What happens to a packet that no rule is about.").WithEnum("ACCEPT", "DROP", "REJECT"),
		"interfaces": *spec.ArrayProperty(spec.StringProperty()).WithDescription("The network interfaces that belong to the zone."),
	})
	all[ZoneList{}.OpenAPIModelName()] = object("ZoneList is what a list is answered with.", map[string]spec.Schema{
		"apiVersion": text("The group and the version."),
		"kind":       text("The kind."),
		"metadata":   typed(listMeta),
		"items":      {SchemaProps: spec.SchemaProps{Type: []string{"array"}, Items: &spec.SchemaOrArray{Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref(zone)}}}}},
	}, listMeta, zone)
	return all
}

// object describes a type with fields. models are the types that fields refer to.
func object(description string, fields map[string]spec.Schema, models ...string) common.OpenAPIDefinition {
	return common.OpenAPIDefinition{
		Schema:       spec.Schema{SchemaProps: spec.SchemaProps{Description: description, Type: []string{"object"}, Properties: fields}},
		Dependencies: models,
	}
}
