// Package callerreview holds CallerReview, a kind that is never stored: creating
// one asks the server who it takes the caller for, and which of its authenticators
// said so.
//
// Only an API server of one's own can serve such a virtual resource, so this kind,
// unlike PortRule, exists in the aggregated server's group alone. It is part of
// version v2. Its model is SelfSubjectReview (authentication.k8s.io/v1), which a
// kube-apiserver answers for itself.
//
// +kubebuilder:object:generate=true
// +k8s:openapi-gen=true
// +k8s:protobuf-gen=package
// +k8s:openapi-model-package=org.fedoraproject.firewalld.v2
package callerreview
