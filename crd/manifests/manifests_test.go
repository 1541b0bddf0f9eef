package manifests

import (
	"bytes"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// The same CRD serves either group: nothing but the group and the name differ.
func TestCustomResourceDefinition(t *testing.T) {
	for _, group := range []string{api.CRDGroup, api.Group} {
		crd, err := CustomResourceDefinition(group)
		if err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Group != group || crd.Name != api.Resource+"."+group {
			t.Errorf("asked for %s, got the CRD %s of group %s", group, crd.Name, crd.Spec.Group)
		}
		if crd.Spec.Names.Plural != api.Resource || !served(crd, v2.Version) {
			t.Errorf("it does not store %s in version %s", api.Resource, v2.Version)
		}
	}
}

// served is whether a version is served and stored.
func served(crd *apiextensionsv1.CustomResourceDefinition, version string) bool {
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			return v.Served && v.Storage
		}
	}
	return false
}

func TestPoliciesAreForTheGroup(t *testing.T) {
	if got := Policies(api.Group); bytes.Contains(got, []byte(api.CRDGroup)) || !bytes.Contains(got, []byte("apiGroups: ["+api.Group+"]")) {
		t.Errorf("the policies are not all for %s:\n%s", api.Group, got)
	}
}
