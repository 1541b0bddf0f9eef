package definitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"
)

// extensionGVK is the extension by which clients find the definition of a kind.
const extensionGVK = "x-kubernetes-group-version-kind"

// Document is the OpenAPI v3 document of a group version.
type Document struct{ schemas map[string]*spec.Schema }

// ReadDocument reads one, as a server publishes it.
func ReadDocument(data []byte) (*Document, error) {
	var document spec3.OpenAPI
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	if document.Components == nil {
		return nil, errors.New("the OpenAPI document has no definitions")
	}
	return &Document{document.Components.Schemas}, nil
}

// Kind returns the definition of a kind and its name, and nil if there is none.
func (d *Document) Kind(gvk schema.GroupVersionKind) (string, *spec.Schema) {
	for name, definition := range d.schemas {
		var kinds []schema.GroupVersionKind
		if definition.Extensions.GetObject(extensionGVK, &kinds) == nil && slices.Contains(kinds, gvk) {
			return name, definition
		}
	}
	return "", nil
}

// resolve follows the references from a schema to the definition.
func (d *Document) resolve(s *spec.Schema) *spec.Schema {
	for s != nil {
		switch {
		case s.Ref.String() != "":
			parts := strings.Split(s.Ref.String(), "/")
			s = d.schemas[parts[len(parts)-1]]
		case len(s.AllOf) == 1 && len(s.Properties) == 0:
			s = &s.AllOf[0]
		default:
			return s
		}
	}
	return nil
}

// Field returns the schema of a field, as it stands where the field is, by the path that
// leads there from a schema. A list is passed through to its items. It is nil if there is
// no such field.
func (d *Document) Field(s *spec.Schema, path ...string) *spec.Schema {
	for i, name := range path {
		s = d.resolve(s)
		for s != nil && s.Items != nil {
			s = d.resolve(s.Items.Schema)
		}
		if s == nil {
			return nil
		}
		field, ok := s.Properties[name]
		if !ok {
			return nil
		}
		if i == len(path)-1 {
			return &field
		}
		s = &field
	}
	return s
}

// Type returns the definition that a field has, or its items, where Field returns what
// stands at the field itself.
func (d *Document) Type(s *spec.Schema, path ...string) *spec.Schema {
	s = d.resolve(d.Field(s, path...))
	for s != nil && s.Items != nil {
		s = d.resolve(s.Items.Schema)
	}
	return s
}

// Validate says what is wrong with a manifest according to a document: fields that are
// missing, that are unknown, or of another type.
func (d *Document) Validate(manifest []byte) []error {
	var object map[string]any
	if err := yaml.Unmarshal(manifest, &object); err != nil {
		return []error{fmt.Errorf("read the manifest: %w", err)}
	}
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	gvk := schema.FromAPIVersionAndKind(version, kind)
	_, definition := d.Kind(gvk)
	if definition == nil {
		return []error{fmt.Errorf("the document has no definition whose %s is %s %s", extensionGVK, version, kind)}
	}
	return d.validate("", definition, object)
}

func (d *Document) validate(path string, s *spec.Schema, value any) []error {
	wrong := func(format string, args ...any) []error {
		where := path
		if where == "" {
			where = "the object"
		}
		return []error{fmt.Errorf("%s: "+format, append([]any{where}, args...)...)}
	}
	s = d.resolve(s)
	switch {
	case s == nil:
		return wrong("the document refers to a definition that it does not have")
	case value == nil || len(s.Type) == 0:
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		if !s.Type.Contains("object") {
			return wrong("it is an object, not of type %s", s.Type[0])
		}
		var errs []error
		for _, name := range s.Required {
			if _, ok := value[name]; !ok {
				errs = append(errs, wrong("missing required field %q", name)...)
			}
		}
		names := make([]string, 0, len(value))
		for name := range value {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			field, ok := s.Properties[name]
			switch {
			case ok:
				errs = append(errs, d.validate(path+"."+name, &field, value[name])...)
			case s.AdditionalProperties == nil && len(s.Properties) > 0:
				errs = append(errs, wrong("unknown field %q", name)...)
			}
		}
		return errs
	case []any:
		if !s.Type.Contains("array") || s.Items == nil {
			return wrong("it is a list, not of type %s", s.Type[0])
		}
		var errs []error
		for i, item := range value {
			errs = append(errs, d.validate(fmt.Sprintf("%s[%d]", path, i), s.Items.Schema, item)...)
		}
		return errs
	}
	is := map[bool]string{}
	switch value.(type) {
	case string:
		is[true] = "string"
	case bool:
		is[true] = "boolean"
	case float64, int64:
		if s.Type.Contains("integer") {
			return nil
		}
		is[true] = "number"
	}
	if !s.Type.Contains(is[true]) {
		return wrong("it is a %s, not of type %s", is[true], s.Type[0])
	}
	return nil
}

// validateFile judges the manifest in a file by the document in another one.
func validateFile(stdout io.Writer, openAPI, manifest string) error {
	data, err := os.ReadFile(openAPI)
	if err != nil {
		return err
	}
	document, err := ReadDocument(data)
	if err != nil {
		return err
	}
	if data, err = os.ReadFile(manifest); err != nil {
		return err
	}
	if errs := document.Validate(data); len(errs) > 0 {
		return fmt.Errorf("%s: %w", manifest, errors.Join(errs...))
	}
	fmt.Fprintln(stdout, manifest+" is valid")
	return nil
}

// Named returns the definition of a Go type, by its name without the package.
func (d *Document) Named(name string) *spec.Schema {
	for full, definition := range d.schemas {
		if strings.HasSuffix(full, "."+name) {
			return definition
		}
	}
	return nil
}
