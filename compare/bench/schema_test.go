package bench

import (
	"errors"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"portrule.example/lab/api"
)

// Of two schemas, one with references and one without, only what they say counts.
func TestSchemaDifferences(t *testing.T) {
	kind := `"x-kubernetes-group-version-kind": [{"group": "GROUP", "version": "v2", "kind": "PortRule"}]`
	inline := `{"components": {"schemas": {"one": {` + strings.ReplaceAll(kind, "GROUP", "a") + `, "properties": {
		"metadata": {"type": "object", "description": "this is not compared"},
		"spec": {"type": "object", "properties": {
			"port": {"type": "integer", "minimum": 1, "maximum": 65535},
			"names": {"type": "array", "items": {"type": "string", "maxLength": 63}}}}}}}}}`
	referring := `{"components": {"schemas": {
		"two": {` + strings.ReplaceAll(kind, "GROUP", "b") + `, "properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/spec"}]}}},
		"spec": {"type": "object", "properties": {
			"port": {"type": "integer", "minimum": 1, "default": 0},
			"names": {"type": "array", "items": {"type": "string"}}}}}}}`
	said := map[string]map[string]string{}
	for impl, document := range map[string]struct{ group, text string }{CRD: {"a", inline}, Aggregated: {"b", referring}} {
		var err error
		if said[impl], err = readSchema([]byte(document.text), document.group); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, o := range differences(said) {
		got = append(got, o.What+" "+o.Impl+": "+o.Seen)
	}
	want := []string{
		"default aggregated: spec.port", "default crd: nowhere",
		"maxLength aggregated: nowhere", "maxLength crd: spec.names[]",
		"maximum aggregated: nowhere", "maximum crd: spec.port",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := readSchema([]byte(inline), "b"); err == nil || !strings.Contains(err.Error(), "no schema of PortRule") {
		t.Errorf("a document of another group: got %v, want an error that names the kind", err)
	}
	if _, err := readSchema([]byte("{"), "a"); err == nil {
		t.Error("half a document is read")
	}
}

// A message says the code, the fields and the words, and what was let through.
func TestMessage(t *testing.T) {
	kind := schema.GroupKind{Group: api.Group, Kind: api.Kind}
	resource := schema.GroupResource{Group: api.Group, Resource: api.Resource}
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "accepted: it cannot say this"},
		{apierrors.NewInvalid(kind, "one", field.ErrorList{field.Invalid(field.NewPath("spec", "port"), 70000, "too large")}), "422 Invalid, names spec.port: Invalid value: 70000: too large"},
		{apierrors.NewForbidden(resource, "one", errors.New("not here")), `403 Forbidden, names no field: portrules.firewalld.fedoraproject.org "one" is forbidden: not here`},
		{errors.New("connection refused"), "no answer: connection refused"},
	} {
		if got := message(c.err); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
