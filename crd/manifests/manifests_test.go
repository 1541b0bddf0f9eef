package manifests

import (
	"testing"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
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
		if crd.Spec.Names.Plural != api.Resource || crd.Spec.Versions[0].Name != v1.Version {
			t.Errorf("it serves %s/%s, want %s/%s", crd.Spec.Versions[0].Name, crd.Spec.Names.Plural, v1.Version, api.Resource)
		}
	}
}
