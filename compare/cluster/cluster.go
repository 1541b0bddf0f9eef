// Package cluster finds or makes the control plane on which the two
// implementations are compared.
//
// A [Provider] is e2e-framework's E2EClusterProvider and what the comparison
// needs beyond it. There are three:
//
//   - [Embedded] starts a kube-apiserver and an etcd as processes of this host. It has
//     neither nodes nor a controller manager, and is there after a few seconds.
//   - [Kind] makes a cluster whose one node is a container. kindconfig.go is what that
//     node is told, engine.go asks docker, podman or nerdctl, claim.go keeps clusters
//     that are ours from those that are somebody else's.
//   - [Existing] takes the cluster of a kubeconfig, and does not end it.
//
// [Choose] says which of the first two suits this host. The processes that a provider
// starts belong to a group of package process, so that none outlives its run.
//
// Read [Provider] first, then embedded.go, which has the flags that turn the
// aggregation layer on. assets.go says where the programs are looked for.
// Package testbed installs the implementations on what a provider has made.
package cluster

import (
	"context"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/support"

	"portrule.example/lab/compare/certs"
)

// Provider is a control plane.
type Provider interface {
	support.E2EClusterProvider

	// Kind is the word that selects the provider on the command line.
	Kind() string

	// Ephemeral is whether Destroy ends the cluster, with all that is in it.
	Ephemeral() bool

	// Etcd returns the URLs of the etcd that an aggregated server run on this
	// host should use. It is available after Create.
	Etcd(ctx context.Context) ([]string, error)

	// Address is the host and the port by which the control plane reaches an
	// aggregated server that runs on this host: localhost, another DNS name, or
	// an IP address that is not loopback. Port 0 means any free one. It is
	// available after Create.
	Address() (host string, port int)

	// User returns the client configuration of a user who has no rights yet, and
	// how that user is authenticated.
	User(ctx context.Context, name string) (*rest.Config, Credential, error)

	// CA returns one of the control plane's own CAs, with its private key: [FrontProxyCA]
	// everywhere but in clusters that are somebody else's, and others on kind.
	CA(name string) (*certs.CA, error)
}

// FrontProxyCA signs the certificate by which aggregated servers know the
// kube-apiserver.
const FrontProxyCA = "front-proxy-ca"

// Credential says by which authenticator of the kube-apiserver a user is known.
type Credential string

// The credentials that providers give.
const (
	ClientCertificate   Credential = "client-certificate"
	ServiceAccountToken Credential = "service-account-token"
)

// The words that select a provider.
const (
	KindEmbedded = "embedded"
	KindKind     = "kind"
	KindExisting = "existing"
)
