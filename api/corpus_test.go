package api_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// Go decoding, defaulting and validation judge each manifest as its directory says, but
// where a server has to be asked.
func TestManifests(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme, string) error{v1.AddToScheme, v2.AddToScheme} {
		if err := add(scheme, api.Group); err != nil {
			t.Fatal(err)
		}
	}
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	manifests, err := api.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range manifests {
		if seen[m.Name] {
			t.Errorf("there are two manifests %s", m.Name)
		}
		seen[m.Name] = true
		t.Run(m.Name, func(t *testing.T) {
			want := m.For("aggregated")
			if slices.Contains(want.Invalid, ".") || m.Rule == "R4" && !want.Valid {
				t.Skip("a server can tell, which knows its kinds and the other rules")
			}
			kind := schema.GroupVersionKind{Group: api.Group, Version: m.Version, Kind: api.Kind} // of the path
			object, _, err := decoder.Decode(m.Data, &kind, nil)
			if decoding, ok := runtime.AsStrictDecodingError(err); ok && object != nil {
				if !says(decoding.Errors(), m.Strict) {
					t.Errorf("strict decoding says %v, want %q", decoding.Errors(), m.Strict)
				}
				err = nil
			} else if err == nil && len(m.Strict) > 0 {
				t.Errorf("strict decoding says nothing, want %q", m.Strict)
			}
			if err != nil {
				if got := mistyped.FindStringSubmatch(err.Error()); got == nil || !slices.Equal(got[1:], want.Invalid) {
					t.Errorf("got %v, want that %v is refused", err, want.Invalid)
				}
				return
			}
			errs := validate(object)
			var got []string
			for _, err := range errs {
				got = append(got, err.Field)
			}
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, want.Invalid) {
				t.Errorf("refused %v, want %v: %v", got, want.Invalid, errs)
			}
		})
	}
	if len(seen) < 130 {
		t.Errorf("there are %d manifests", len(seen))
	}
}

// mistyped is what a decoder says about a value of the wrong type. It finds the field.
var mistyped = regexp.MustCompile(`cannot unmarshal .* into Go struct field \w+\.([\w.]+) of type `)

// says is whether there is an error for each text, and no other.
func says(errs []error, texts []string) bool {
	return len(errs) == len(texts) && !slices.ContainsFunc(texts, func(text string) bool {
		return !slices.ContainsFunc(errs, func(err error) bool { return strings.Contains(err.Error(), text) })
	})
}

// validate does what a server does with a new object.
func validate(object runtime.Object) field.ErrorList {
	meta := object.(metav1.Object)
	annotations := api.ManifestNamespaces[meta.GetNamespace()]
	namespace := &metav1.ObjectMeta{Name: meta.GetNamespace(), Annotations: annotations}
	meta.SetNamespace("any")
	if meta.GetName() == "" && meta.GetGenerateName() != "" {
		meta.SetName(meta.GetGenerateName() + "a1b2c")
	}
	meta.SetUID("")
	switch rule := object.(type) {
	case *v1.PortRule:
		v1.Default(rule)
		var hub v2.PortRule
		v1.ToHub(rule, &hub)
		return append(v1.Validate(rule), v1.Translate(v2.ValidateAllowedPort(&hub, namespace))...)
	case *v2.PortRule:
		v2.Default(rule)
		return append(v2.Validate(rule), v2.ValidateAllowedPort(rule, namespace)...)
	default:
		return nil
	}
}
