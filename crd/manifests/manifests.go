// Package manifests holds what a cluster must be told to serve PortRule from a
// CustomResourceDefinition.
//
//   - crd/ is generated from the markers in api/: run make generate;
//   - policy/ states R5 and R6 of the contract without a webhook;
//   - rbac/ is the service account of portrule-controller;
//   - controller/ runs it, and is where the kube-apiserver finds its webhooks;
//   - webhook/ says when to call them, generated from package webhook.
//
// kubectl apply -k takes them all. An installer takes, in this order, [Namespace],
// [RBAC], [Controller] if the controller is to run in the cluster,
// [CustomResourceDefinition] with a conversion, [Policies], and the configurations of
// the webhooks. Those, and the conversion, are made by package webhook: they differ
// from cluster to cluster in where the webhooks are and whom they trust. What the
// Secret in Controller holds at first is made by package certificates.
package manifests

import (
	"bytes"
	_ "embed"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
)

var (
	//go:embed crd/crd.firewalld.fedoraproject.org_portrules.yaml
	crdYAML []byte
	//go:embed policy/policies.yaml
	policies []byte
	// RBAC is rbac.yaml: the service account of portrule-controller and its roles.
	//go:embed rbac/rbac.yaml
	RBAC []byte
	// Namespace is namespace.yaml.
	//go:embed namespace.yaml
	Namespace []byte

	//go:embed controller/deployment.yaml
	deployment []byte
	//go:embed controller/service.yaml
	service []byte
	// Controller is deployment.yaml and service.yaml: the Secret of the webhooks'
	// certificate, the Deployment of portrule-controller, the Service of its webhooks
	// and a PodDisruptionBudget, in the order in which to apply them. The Secret is
	// empty: an installer that fills it spares the first start the wait for kubelet.
	Controller = bytes.Join([][]byte{deployment, service}, []byte("---\n"))
)

// The names in the manifests.
const (
	// SystemNamespace is where portrule-controller's service account is.
	SystemNamespace = "portrule-system"
	// Name is the name of the service account, of the Deployment and of the webhooks'
	// Service.
	Name = "portrule-controller"
	// Secret is the name of the Secret that holds the webhooks' certificate.
	Secret = Name + "-certs"
)

// CustomResourceDefinition returns the CRD of PortRule, to be served under group.
// Its two versions need a conversion webhook: see webhook.Conversion.
func CustomResourceDefinition(group string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(crdYAML, crd); err != nil {
		return nil, fmt.Errorf("read the embedded CRD: %w", err)
	}
	crd.Spec.Group = group
	crd.Name = crd.Spec.Names.Plural + "." + group
	return crd, nil
}

// Policies returns the policies of R5 and R6 and their bindings as YAML, for the
// PortRules of group.
func Policies(group string) []byte {
	return bytes.ReplaceAll(policies, []byte("apiGroups: ["+api.CRDGroup+"]"), []byte("apiGroups: ["+group+"]"))
}
