package main

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PortSet is a set of ports that are opened together.
type PortSet struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what should be open.
	Spec PortSetSpec `json:"spec"`
}

// PortSetSpec says which ports are opened, and to whom. Several may manage one set, each
// its own ports.
type PortSetSpec struct {
	// ports that are opened. Each has a name of its own.
	//
	// +optional
	Ports []Port `json:"ports,omitempty"`

	// sources are the networks that the ports are open to, in CIDR notation. Absent
	// means all.
	//
	// +optional
	// +listType=set
	Sources []string `json:"sources,omitempty"`

	// note says why, for people. Absent means that it is obvious.
	//
	// +optional
	Note string `json:"note,omitempty"`
}

// Port is one port of a set.
type Port struct {
	// name of the port, of which the set has no other.
	//
	// +required
	Name string `json:"name"`

	// port, 1 to 65535.
	//
	// +required
	Port int32 `json:"port"`

	// protocol is tcp, udp, sctp or dccp. Absent means tcp.
	//
	// +optional
	Protocol string `json:"protocol,omitempty"`
}

// PortSetList is a list of PortSets.
type PortSetList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the sets.
	Items []PortSet `json:"items"`
}
