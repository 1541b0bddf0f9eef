package main

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// What is served, unless the flag --group says another group.
const (
	Group    = "zones.firewalld.fedoraproject.org"
	Version  = "v1"
	Resource = "zones"
	Singular = "zone"
)

// Targets are those of firewalld but for its default, which is one of them.
var Targets = []string{"ACCEPT", "DROP", "REJECT"}

// Zone says what happens to packets that come in by some network interfaces.
type Zone struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ZoneSpec `json:"spec"`
}

// ZoneSpec is what the user wants.
type ZoneSpec struct {
	// Target is what happens to a packet that no rule is about.
	Target string `json:"target"`
	// Interfaces are the network interfaces that belong to the zone.
	Interfaces []string `json:"interfaces,omitempty"`
}

// ZoneList is what a list is answered with.
type ZoneList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Zone `json:"items"`
}

// DeepCopyInto copies everything, so that out shares no memory with z.
func (z *Zone) DeepCopyInto(out *Zone) {
	*out = *z
	z.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec.Interfaces = slices.Clone(z.Spec.Interfaces)
}

// DeepCopyObject makes a Zone a runtime.Object.
func (z *Zone) DeepCopyObject() runtime.Object {
	out := &Zone{}
	z.DeepCopyInto(out)
	return out
}

// DeepCopyObject makes a ZoneList a runtime.Object.
func (l *ZoneList) DeepCopyObject() runtime.Object {
	out := &ZoneList{TypeMeta: l.TypeMeta, Items: make([]Zone, len(l.Items))}
	meta := &l.ListMeta
	meta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		l.Items[i].DeepCopyInto(&out.Items[i])
	}
	return out
}
