package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Protocol is a transport protocol that firewalld can open a port for.
//
// +enum
// +kubebuilder:validation:Enum=tcp;udp;sctp;dccp
type Protocol string

// The protocols of firewalld's port element (firewalld.zone(5)).
const (
	ProtocolTCP  Protocol = "tcp"
	ProtocolUDP  Protocol = "udp"
	ProtocolSCTP Protocol = "sctp"
	ProtocolDCCP Protocol = "dccp"
)

// PortRule asks that a number of nodes open one port towards an endpoint.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=portrules,singular=portrule,shortName=pr,categories=firewalld
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:selectablefield:JSONPath=`.spec.host`
// +kubebuilder:selectablefield:JSONPath=`.spec.port`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.name`,description="The service that the port belongs to"
// +kubebuilder:printcolumn:name="Host",type=string,JSONPath=`.spec.host`,description="The host of the endpoint"
// +kubebuilder:printcolumn:name="Port",type=integer,JSONPath=`.spec.port`,description="The port of the endpoint"
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol`,description="The transport protocol of the endpoint",priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the rule is in force",priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PortRule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what the nodes should do.
	Spec PortRuleSpec `json:"spec" protobuf:"bytes,2,opt,name=spec"`
	// status is what the nodes do. It is written through the status subresource only.
	// +optional
	Status PortRuleStatus `json:"status,omitempty,omitzero" protobuf:"bytes,3,opt,name=status"`
}

// A CEL rule about the whole spec is asked again whenever any of it changes. So that one
// field can be changed where others are wrong already, R2 looks at the old spec.

// PortRuleSpec says which port to open, towards which host, and for how long.
//
// +kubebuilder:validation:XValidation:rule="!has(self.timeoutSeconds) || !has(self.isPremanent) || !self.isPremanent || oldSelf.optMap(o, has(o.timeoutSeconds) && has(o.isPremanent) && o.isPremanent).orValue(false)",optionalOldSelf=true,message="may not be set together with isPremanent",fieldPath=".timeoutSeconds",reason="FieldValueForbidden"
type PortRuleSpec struct {
	// name of the service that the port belongs to, a DNS-1123 label such as "nginx".
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="must be a DNS-1123 label: lower case letters, digits and '-', starting and ending with a letter or digit"
	Name string `json:"name" protobuf:"bytes,1,opt,name=name"`

	// host of the endpoint, which cannot be changed: an IPv4 address, an IPv6 address in canonical form, or a
	// DNS-1123 subdomain. Each endpoint has one spelling, so a host of digits and dots
	// alone must be a valid IPv4 address.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="isIP(self) ? ip.isCanonical(self) : (!self.matches('^[0-9.]+$') && !format.dns1123Subdomain().validate(self).hasValue())",message="must be an IPv4 address, an IPv6 address in canonical form, or a DNS-1123 subdomain"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable"
	Host string `json:"host" protobuf:"bytes,2,opt,name=host"`

	// port of the endpoint, 1 to 65535.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable"
	Port int32 `json:"port" protobuf:"varint,3,opt,name=port"`

	// protocol of the endpoint: tcp, udp, sctp or dccp. Absent means tcp.
	//
	// +optional
	// +default="tcp"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable"
	Protocol Protocol `json:"protocol,omitempty" protobuf:"bytes,4,opt,name=protocol,casttype=Protocol"`

	// isPremanent keeps the rule across reloads of the firewall. The misspelling is
	// part of the API since its first publication. Absent means false.
	//
	// +optional
	IsPremanent *bool `json:"isPremanent,omitempty" protobuf:"varint,5,opt,name=isPremanent"`

	// timeoutSeconds removes the rule after this many seconds, at least 1. Absent
	// means that the rule stays. A rule with a timeout cannot be permanent.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty" protobuf:"varint,6,opt,name=timeoutSeconds"`

	// replicas is the number of nodes that should carry the rule, 0 to 100. Absent
	// means 1.
	//
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,7,opt,name=replicas"`
}

// PortRuleStatus says how far the rule is in force.
type PortRuleStatus struct {
	// observedGeneration is the metadata.generation that the rest of the status
	// describes. Absent means that no controller has seen the object yet.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty" protobuf:"varint,1,opt,name=observedGeneration"`

	// replicas is the number of nodes that carry the rule.
	//
	// +optional
	Replicas int32 `json:"replicas,omitempty" protobuf:"varint,2,opt,name=replicas"`

	// selector selects the nodes that carry the rule, as a label selector in its
	// string form.
	//
	// +optional
	Selector string `json:"selector,omitempty" protobuf:"bytes,3,opt,name=selector"`

	// conditions of the rule. Ready is true when as many nodes carry the rule as
	// spec.replicas asks for.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type" protobuf:"bytes,4,rep,name=conditions"`
}

// PortRuleList is a list of PortRules.
//
// +kubebuilder:object:root=true
type PortRuleList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	Items []PortRule `json:"items" protobuf:"bytes,2,rep,name=items"`
}
