package main

// What is served, unless the flag --group says another group.
const (
	Group    = "zones.firewalld.fedoraproject.org"
	Version  = "v1"
	Resource = "zones"
	Singular = "zone"
)

// Targets are those of firewalld but for its default, which is one of them.
var Targets = []string{"ACCEPT", "DROP", "REJECT"}

// TODO: Zone, with metav1.TypeMeta (`json:",inline"`), metav1.ObjectMeta and a spec;
// ZoneSpec, with target and interfaces; ZoneList, with metav1.TypeMeta, metav1.ListMeta
// and items. Every field has its JSON name.

// TODO: DeepCopyObject() runtime.Object of *Zone and *ZoneList. What it returns shares no
// memory with what it copies: metadata has a DeepCopyInto, slices have slices.Clone.
