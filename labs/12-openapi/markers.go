package openapi

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"portrule.example/lab/labs/12-openapi/definitions"
	"portrule.example/lab/labs/lab"
)

// Markers that openapi-gen reads, and the extensions that it makes of them.
const (
	generateMarker = "k8s:openapi-gen"
	modelMarker    = "k8s:openapi-model-package"
	listTypeMarker = "listType"
	listTypeField  = "x-kubernetes-list-type"
	mapKeyMarker   = "listMapKey"
	mapKeysField   = "x-kubernetes-list-map-keys"
)

// markerLine is a comment's line with a marker.
var markerLine = regexp.MustCompile(`(?m)^\s*\+([A-Za-z0-9:-]+)(?:=(.*?))?\s*$`)

// markers are those in comments.
func markers(comments ...*ast.CommentGroup) map[string][]string {
	found := map[string][]string{}
	for _, group := range comments {
		if group == nil {
			continue
		}
		for _, match := range markerLine.FindAllStringSubmatch(group.Text(), -1) {
			found[match[1]] = append(found[match[1]], match[2])
		}
	}
	return found
}

// source is what the learner's Go files ask openapi-gen for.
type source struct {
	pkg   map[string][]string
	types map[string]sourceType
}

// sourceType is a type of the learner's.
type sourceType struct {
	line    int
	markers map[string][]string
	// fields by their names in JSON.
	fields map[string]sourceField
}

type sourceField struct {
	line    int
	markers map[string][]string
}

// generated is whether a type's definition is asked for.
func (s *source) generated(t sourceType) bool {
	values, ok := t.markers[generateMarker]
	if !ok {
		values = s.pkg[generateMarker]
	}
	return len(values) > 0 && values[0] == "true"
}

// readSource reads doc.go and types.go. They compile.
func readSource(s *lab.Session) (*source, error) {
	found := &source{types: map[string]sourceType{}}
	set := token.NewFileSet()
	for _, name := range []string{docFile, typesFile} {
		data, err := os.ReadFile(s.Path(name))
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(set, name, data, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		if name == docFile {
			found.pkg = markers(file.Doc)
		}
		for _, declaration := range file.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				named, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if structure, ok := named.Type.(*ast.StructType); ok {
					found.types[named.Name.Name] = sourceType{
						line: set.Position(named.Pos()).Line, markers: markers(general.Doc, named.Doc), fields: fields(set, structure),
					}
				}
			}
		}
	}
	return found, nil
}

func fields(set *token.FileSet, structure *ast.StructType) map[string]sourceField {
	found := map[string]sourceField{}
	for _, f := range structure.Fields.List {
		if f.Tag == nil {
			continue
		}
		name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if name != "" {
			found[name] = sourceField{line: set.Position(f.Pos()).Line, markers: markers(f.Doc)}
		}
	}
	return found
}

// stale says how what was generated differs from what the files ask for now, and where.
// It is empty if nothing is seen.
func (s *source) stale(all *definitions.Definitions, document *definitions.Document) (where, found, expected string) {
	if packages := s.pkg[modelMarker]; len(packages) > 0 {
		if want := packages[0] + "." + kind; all.Models[kind] != want {
			return docFile, all.Models[kind] + " is the name of the definition of " + kind + " in what was generated", want
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.types)) {
		t := s.types[name]
		definition := document.Named(name)
		if definition == nil {
			if s.generated(t) {
				return fmt.Sprintf("%s:%d", typesFile, t.line), "what was generated has no definition of " + name, "one, as the marker asks for"
			}
			continue
		}
		for _, field := range slices.Sorted(maps.Keys(t.fields)) {
			f := t.fields[field]
			schema, ok := definition.Properties[field]
			if !ok {
				continue
			}
			place := fmt.Sprintf("%s:%d", typesFile, f.line)
			listType, _ := schema.Extensions.GetString(listTypeField)
			keys, _ := schema.Extensions.GetStringSlice(mapKeysField)
			for _, extension := range []struct {
				marker string
				values []string
			}{{listTypeMarker, values(listType)}, {mapKeyMarker, keys}} {
				if asked := f.markers[extension.marker]; !slices.Equal(asked, extension.values) {
					return place, fmt.Sprintf("%s is %s in what was generated", extension.marker, quoted(extension.values)), quoted(asked) + ", as " + typesFile + " has it"
				}
			}
		}
	}
	return "", "", ""
}

func values(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func quoted(values []string) string {
	if len(values) == 0 {
		return "nothing"
	}
	return strings.Join(values, ", ")
}
