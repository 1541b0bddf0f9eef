package callerreview

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CallerReview is answered with the caller's identity as the server sees it.
//
// +kubebuilder:object:root=true
type CallerReview struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// status is the answer. What a request says here is ignored.
	// +optional
	Status CallerReviewStatus `json:"status,omitempty,omitzero" protobuf:"bytes,2,opt,name=status"`
}

// Authenticator is a way to prove who one is.
//
// +enum
type Authenticator string

// The authenticators of an aggregated API server, in the order in which they are
// asked.
const (
	// RequestHeader: the caller came through the kube-apiserver, which had
	// authenticated it and named it in headers. Its front-proxy client certificate
	// vouches for them.
	RequestHeader Authenticator = "RequestHeader"
	// ClientCertificate: the caller showed a certificate of the cluster's client CA.
	ClientCertificate Authenticator = "ClientCertificate"
	// TokenReview: the caller sent a bearer token, which the kube-apiserver was
	// asked about.
	TokenReview Authenticator = "TokenReview"
	// Anonymous: the caller showed nothing.
	Anonymous Authenticator = "Anonymous"
	// Impersonation: the caller, authenticated otherwise, asked this server itself to
	// act as somebody else.
	Impersonation Authenticator = "Impersonation"
)

// CallerReviewStatus says who the server takes the caller for, and why.
type CallerReviewStatus struct {
	// authenticator that recognised the caller.
	// +optional
	Authenticator Authenticator `json:"authenticator,omitempty" protobuf:"bytes,1,opt,name=authenticator,casttype=Authenticator"`
	// userInfo is what authorization, admission and audit know the caller as.
	// +optional
	UserInfo UserInfo `json:"userInfo,omitempty,omitzero" protobuf:"bytes,2,opt,name=userInfo"`
}

// UserInfo is an identity, in the shape that authentication.k8s.io/v1 gives it.
type UserInfo struct {
	// username, unique among the users of a cluster.
	// +optional
	Username string `json:"username,omitempty" protobuf:"bytes,1,opt,name=username"`
	// uid tells users of one name apart that follow one another.
	// +optional
	UID string `json:"uid,omitempty" protobuf:"bytes,2,opt,name=uid"`
	// groups that the user is a member of.
	// +optional
	// +listType=atomic
	Groups []string `json:"groups,omitempty" protobuf:"bytes,3,rep,name=groups"`
	// extra is what else the authenticator said.
	// +optional
	Extra map[string]ExtraValue `json:"extra,omitempty" protobuf:"bytes,4,rep,name=extra"`
}

// ExtraValue is a list of strings, a type of its own because protobuf has no map of
// lists.
//
// +protobuf.nullable=true
// +protobuf.options.(gogoproto.goproto_stringer)=false
type ExtraValue []string

// String renders the list.
func (v ExtraValue) String() string { return fmt.Sprintf("%v", []string(v)) }
