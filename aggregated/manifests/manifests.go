// Package manifests holds what a cluster must be told to serve PortRule from the
// aggregated API server, in the order in which it should be applied:
//
//   - rbac.yaml: the server's namespace, its service account and the least that it
//     must be allowed to do;
//   - networkpolicy.yaml: who may connect to the server and to its etcd;
//   - etcd.yaml: where it keeps its objects;
//   - deployment.yaml: the server, the Secret of its certificate, and its Service;
//   - apiservices.yaml: which group and versions the aggregation layer hands on.
//
// kubectl apply -k takes them all. An installer that runs the server elsewhere takes
// RBAC and APIServices, and completes the latter by spec.caBundle and by the Service
// that leads to the server, both of which differ from cluster to cluster.
package manifests

import (
	"bytes"
	_ "embed"
)

var (
	// RBAC is rbac.yaml.
	//go:embed rbac.yaml
	RBAC []byte
	// APIServices is apiservices.yaml.
	//go:embed apiservices.yaml
	APIServices []byte

	//go:embed networkpolicy.yaml
	networkPolicies []byte
	//go:embed etcd.yaml
	etcd []byte
	//go:embed deployment.yaml
	deployment []byte
)

// The names in the manifests.
const (
	// Namespace is where all is that is in a namespace.
	Namespace = "portrule-system"
	// Name is the name of the service account, of the Deployment and of the Service.
	Name = "portrule-apiserver"
	// EtcdName is the name of etcd's StatefulSet and Service.
	EtcdName = "portrule-etcd"
	// Secret is the name of the Secret that holds the serving certificate.
	Secret = Name + "-certs"
)

// All returns every object as YAML, in the order in which to apply them. The Secret is
// empty and the APIServices have no caBundle: the server fills both, unless an
// installer has.
func All() []byte {
	return bytes.Join([][]byte{RBAC, networkPolicies, etcd, deployment, APIServices}, []byte("---\n"))
}
