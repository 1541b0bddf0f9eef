package server

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"portrule.example/lab/labs/12-openapi/definitions"
)

// The types have the same fields as the learner's, and nothing that openapi-gen reads: how
// they are described comes with [definitions.Definitions].

// models are the names by which the server looks for the definitions of its kinds: a program
// with the learner's types would look for the same.
var models map[string]string

// useModels sets them. It comes before the types are registered.
func useModels(d *definitions.Definitions) { models = d.Models }

// PortSet is a set of ports that are opened together.
type PortSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PortSetSpec `json:"spec"`
}

// PortSetSpec says which ports are opened, and to whom.
type PortSetSpec struct {
	Ports   []Port   `json:"ports,omitempty"`
	Sources []string `json:"sources,omitempty"`
	Note    string   `json:"note,omitempty"`
}

// Port is one port of a set.
type Port struct {
	Name     string `json:"name"`
	Port     int32  `json:"port"`
	Protocol string `json:"protocol,omitempty"`
}

// PortSetList is a list of PortSets.
type PortSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []PortSet `json:"items"`
}

// OpenAPIModelName is the name of the type's definition.
func (PortSet) OpenAPIModelName() string { return models["PortSet"] }

// OpenAPIModelName is the name of the type's definition.
func (PortSetList) OpenAPIModelName() string { return models["PortSetList"] }

// DeepCopy returns a copy that shares nothing with the set.
func (in *PortSet) DeepCopy() *PortSet {
	out := *in
	out.ObjectMeta = *in.ObjectMeta.DeepCopy()
	out.Spec.Ports, out.Spec.Sources = slices.Clone(in.Spec.Ports), slices.Clone(in.Spec.Sources)
	return &out
}

// DeepCopyObject returns a copy that shares nothing with the set.
func (in *PortSet) DeepCopyObject() runtime.Object { return in.DeepCopy() }

// DeepCopy returns a copy that shares nothing with the list.
func (in *PortSetList) DeepCopy() *PortSetList {
	out := *in
	out.ListMeta = *in.ListMeta.DeepCopy()
	out.Items = nil
	for _, set := range in.Items {
		out.Items = append(out.Items, *set.DeepCopy())
	}
	return &out
}

// DeepCopyObject returns a copy that shares nothing with the list.
func (in *PortSetList) DeepCopyObject() runtime.Object { return in.DeepCopy() }
