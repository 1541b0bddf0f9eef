package v1

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"portrule.example/lab/api"
)

// One set of types serves both groups: what a scheme decodes is defaulted and
// has the group that the scheme was made for.
func TestAddToScheme(t *testing.T) {
	for _, group := range []string{api.Group, api.CRDGroup} {
		t.Run(group, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := AddToScheme(scheme, group); err != nil {
				t.Fatal(err)
			}
			manifest := `{"apiVersion":"` + group + `/v1","kind":"PortRule","metadata":{"name":"portrule-example"},` +
				`"spec":{"name":"nginx","host":"10.0.0.3","port":80,"isPremanent":true}}`
			obj, gvk, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode([]byte(manifest), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := (schema.GroupVersionKind{Group: group, Version: "v1", Kind: "PortRule"}); *gvk != want {
				t.Errorf("decoded %s, want %s", gvk, want)
			}
			scheme.Default(obj)
			spec := obj.(*PortRule).Spec
			if spec.IsPremanent == nil || !*spec.IsPremanent || spec.Protocol != ProtocolTCP || spec.Replicas == nil || *spec.Replicas != 1 {
				t.Errorf("decoded %+v, want isPremanent and the defaults tcp and 1", spec)
			}
			kinds, _, err := scheme.ObjectKinds(&PortRule{})
			if err != nil || len(kinds) != 1 {
				t.Errorf("a PortRule is %v (%v), want one kind", kinds, err)
			}
		})
	}
}
