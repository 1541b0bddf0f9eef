// Package definitions carries what openapi-gen has made of Go types from one program to
// another: lab 12 is about the definitions, and a program that has nothing else is linked
// in a second.
//
// [Main] is the program that writes them, as JSON; the server of the lab (../server) takes
// them by [Load], where another server would have GetOpenAPIDefinitions compiled in.
// [Validate] judges a manifest by what a server has published, as editors do.
package definitions

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Definitions are those of a program's types.
type Definitions struct {
	// Models are the names by which a server looks for the definitions of its kinds, by the
	// names of the Go types.
	Models map[string]string `json:"models"`
	// Schemas are the definitions, by name.
	Schemas map[string]Definition `json:"schemas"`
}

// Definition is that of a type, and the names of those that it refers to.
type Definition struct {
	Schema       json.RawMessage `json:"schema"`
	Dependencies []string        `json:"dependencies,omitempty"`
}

// refPrefix begins a reference as [Main] writes it.
const refPrefix = "#/definitions/"

// usage says how a program of [Main] is run.
const usage = `usage: go run .                         write the OpenAPI definitions, as JSON
       go run . validate OPENAPI FILE   judge a manifest by what a server has published`

// Main is the program: it writes the definitions that get returns to the standard output.
// Kinds are those that a server serves.
func Main(get common.GetOpenAPIDefinitions, kinds ...any) {
	if err := run(os.Args[1:], os.Stdout, get, kinds); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer, get common.GetOpenAPIDefinitions, kinds []any) error {
	switch {
	case len(args) == 0:
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		all, err := collect(get, kinds)
		if err != nil {
			return err
		}
		return encoder.Encode(all)
	case len(args) == 3 && args[0] == "validate":
		return validateFile(stdout, args[1], args[2])
	}
	return fmt.Errorf("%q is not understood\n%s", strings.Join(args, " "), usage)
}

// collect gets the definitions. A type of another package is called by its Go path, as
// openapi-gen does; its definition has a name that is made of that.
func collect(get common.GetOpenAPIDefinitions, kinds []any) (*Definitions, error) {
	all := &Definitions{Models: map[string]string{}, Schemas: map[string]Definition{}}
	for _, kind := range kinds {
		all.Models[reflect.TypeOf(kind).Elem().Name()] = util.GetCanonicalTypeName(kind)
	}
	for name, definition := range get(func(name string) spec.Ref { return spec.MustCreateRef(refPrefix + modelName(name)) }) {
		schema, err := json.Marshal(definition.Schema)
		if err != nil {
			return nil, fmt.Errorf("encode the definition of %s: %w", name, err)
		}
		d := Definition{Schema: schema}
		for _, dependency := range definition.Dependencies {
			d.Dependencies = append(d.Dependencies, modelName(dependency))
		}
		all.Schemas[name] = d
	}
	return all, nil
}

// modelName turns a Go path into the name of a definition, and leaves such a name as it is.
func modelName(name string) string {
	if strings.HasPrefix(name, "k8s.io/") {
		return util.ToRESTFriendlyName(name)
	}
	return name
}

// Load reads what [Main] has written.
func Load(path string) (*Definitions, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the definitions: %w", err)
	}
	all := &Definitions{}
	if err := json.Unmarshal(data, all); err != nil {
		return nil, fmt.Errorf("read the definitions in %s: %w", path, err)
	}
	if _, err := all.schemas(func(name string) spec.Ref { return spec.MustCreateRef(refPrefix + name) }); err != nil {
		return nil, err
	}
	return all, nil
}

var reference = regexp.MustCompile(`"` + refPrefix + `([^"]*)"`)

func (d *Definitions) schemas(ref common.ReferenceCallback) (map[string]common.OpenAPIDefinition, error) {
	all := map[string]common.OpenAPIDefinition{}
	for name, definition := range d.Schemas {
		text := reference.ReplaceAllStringFunc(string(definition.Schema), func(match string) string {
			to := ref(reference.FindStringSubmatch(match)[1])
			return `"` + to.String() + `"`
		})
		found := common.OpenAPIDefinition{Dependencies: definition.Dependencies}
		if err := json.Unmarshal([]byte(text), &found.Schema); err != nil {
			return nil, fmt.Errorf("read the definition of %s: %w", name, err)
		}
		all[name] = found
	}
	return all, nil
}

// Get returns a function like GetOpenAPIDefinitions, with the definitions of others beside
// these.
func (d *Definitions) Get(others common.GetOpenAPIDefinitions) common.GetOpenAPIDefinitions {
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		all := others(ref)
		own, err := d.schemas(ref)
		if err != nil {
			panic(err) // Load has read them
		}
		maps.Copy(all, own)
		return all
	}
}

// Document returns the definitions as a document in which they can be looked up.
func (d *Definitions) Document() (*Document, error) {
	all, err := d.schemas(func(name string) spec.Ref { return spec.MustCreateRef(refPrefix + name) })
	if err != nil {
		return nil, err
	}
	document := &Document{schemas: map[string]*spec.Schema{}}
	for name, definition := range all {
		document.schemas[name] = &definition.Schema
	}
	return document, nil
}
