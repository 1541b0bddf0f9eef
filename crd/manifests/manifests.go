// Package manifests holds what a cluster must be told to serve PortRule from a
// CustomResourceDefinition.
//
// crd/ is generated from the markers in api/: run make generate.
package manifests

import (
	_ "embed"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed crd/crd.firewalld.fedoraproject.org_portrules.yaml
var crdYAML []byte

// CustomResourceDefinition returns the CRD of PortRule, to be served under group.
func CustomResourceDefinition(group string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(crdYAML, crd); err != nil {
		return nil, fmt.Errorf("read the embedded CRD: %w", err)
	}
	crd.Spec.Group = group
	crd.Name = crd.Spec.Names.Plural + "." + group
	return crd, nil
}
