package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// SchemaDifferences says where the OpenAPI v3 schemas of the groups, by implementation,
// differ in what they say of spec and status: for each keyword, of which fields each says
// something else than the others, or alone says it.
func (d *Documents) SchemaDifferences(ctx context.Context, groups map[string]string) ([]Observation, error) {
	said := map[string]map[string]string{} // by implementation, then "keyword field"
	for impl, group := range groups {
		document, err := d.openAPIV3(ctx, group)
		if err != nil {
			return nil, err
		}
		if document == nil {
			return nil, fmt.Errorf("there is no OpenAPI v3 document of %s", group)
		}
		if said[impl], err = readSchema(document, group); err != nil {
			return nil, fmt.Errorf("the OpenAPI v3 document of %s: %w", group, err)
		}
	}
	return differences(said), nil
}

// differences are those between what implementations say, as a table.
func differences(said map[string]map[string]string) []Observation {
	all := map[string]bool{}
	for _, statements := range said {
		for statement := range statements {
			all[statement] = true
		}
	}
	impls := slices.Sorted(maps.Keys(said))
	fields := map[string]map[string][]string{} // by keyword, then implementation
	for _, statement := range slices.Sorted(maps.Keys(all)) {
		values := map[string]bool{}
		for _, impl := range impls {
			values[said[impl][statement]] = true
		}
		if len(values) == 1 {
			continue
		}
		keyword, field, _ := strings.Cut(statement, " ")
		if fields[keyword] == nil {
			fields[keyword] = map[string][]string{}
		}
		for _, impl := range impls {
			if _, ok := said[impl][statement]; ok {
				fields[keyword][impl] = append(fields[keyword][impl], field)
			}
		}
	}
	var observations []Observation
	for _, keyword := range slices.Sorted(maps.Keys(fields)) {
		for _, impl := range impls {
			seen := "nowhere"
			if of := fields[keyword][impl]; len(of) > 0 {
				seen = strings.Join(of, ", ")
			}
			observations = append(observations, Observation{Suite: OpenAPI.Name, Case: "schema", What: keyword, Impl: impl, Seen: seen})
		}
	}
	return observations
}

// readSchema returns what a document says of the fields of a PortRule: the values, as JSON,
// of "keyword field".
func readSchema(document []byte, group string) (map[string]string, error) {
	var parsed struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &parsed); err != nil {
		return nil, err
	}
	for _, schema := range parsed.Components.Schemas {
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			if kind, _ := kind.(map[string]any); kind["group"] == group && kind["version"] == v2.Version && kind["kind"] == api.Kind {
				r := schemaReader{schemas: parsed.Components.Schemas, said: map[string]string{}}
				properties, _ := schema["properties"].(map[string]any)
				for _, part := range []string{"spec", "status"} {
					if property, ok := properties[part].(map[string]any); ok {
						r.read(part, property)
					}
				}
				return r.said, nil
			}
		}
	}
	return nil, fmt.Errorf("it has no schema of %s", api.Kind)
}

type schemaReader struct {
	schemas map[string]map[string]any
	said    map[string]string
}

// read adds what a schema says of a field.
func (r schemaReader) read(field string, schema map[string]any) {
	for _, keyword := range slices.Sorted(maps.Keys(schema)) {
		value := schema[keyword]
		switch keyword {
		case "properties":
			for name, property := range value.(map[string]any) {
				if property, ok := property.(map[string]any); ok {
					r.read(field+"."+name, property)
				}
			}
		case "items", "additionalProperties":
			if item, ok := value.(map[string]any); ok {
				r.read(field+"[]", item)
			}
		case "$ref":
			name := strings.TrimPrefix(value.(string), "#/components/schemas/")
			r.read(field, r.schemas[name])
		case "allOf":
			// a reference that something is said beside
			for _, part := range value.([]any) {
				if part, ok := part.(map[string]any); ok {
					r.read(field, part)
				}
			}
		default:
			encoded, err := json.Marshal(value)
			if err != nil {
				continue // it was JSON
			}
			// said beside a reference, it is said instead of what the reference says
			if _, beside := schema["allOf"]; beside || r.said[keyword+" "+field] == "" {
				r.said[keyword+" "+field] = string(encoded)
			}
		}
	}
}
