package main

// TODO: OpenAPIModelName() string of Zone, ZoneSpec and ZoneList, by value:
// "org.fedoraproject.firewalld.zones.v1.Zone" and so on.

// TODO: definitions, a common.GetOpenAPIDefinitions: those of k8s.io/apiextensions-apiserver
// (package pkg/generated/openapi), which have metav1.ObjectMeta and the like, and one for
// each type of yours, under the name that OpenAPIModelName gives.
