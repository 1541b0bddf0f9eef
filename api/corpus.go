// Package api is the contract: what every implementation of PortRule serves.
//
// The packages below it hold the types by version, with their defaulting and
// validation. This one has the cases of testdata/, by which every implementation
// is judged: the Go validation, the CRD's schema and the aggregated server.
package api

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed testdata/rules.yaml
var rules []byte

// Case is a spec and what must become of it.
type Case struct {
	Name string `json:"name"`
	// Rule is the rule of the contract that the case belongs to, such as R1.
	Rule string `json:"rule"`
	// Spec is a PortRule's spec, as a client might send it.
	Spec map[string]any `json:"spec"`
	// Old is the spec that is replaced by Spec. It is nil for a create.
	Old map[string]any `json:"old"`
	// Invalid has the paths of the fields that are refused, sorted. It is empty if
	// nothing is.
	Invalid []string `json:"invalid"`
}

// V2 returns the case as it is for version v2. c is of version v1.
func (c Case) V2() Case {
	c.Spec, c.Old = specV2(c.Spec), specV2(c.Old)
	c.Invalid = slices.Clone(c.Invalid)
	for i, path := range c.Invalid {
		if name, ok := fieldsV2[strings.TrimPrefix(path, "spec.")]; ok {
			c.Invalid[i] = "spec." + name
		}
	}
	slices.Sort(c.Invalid)
	return c
}

// fieldsV2 are the fields of a v1 spec that have another name in v2.
var fieldsV2 = map[string]string{
	"name":        "service",
	"host":        "endpoint.host",
	"port":        "endpoint.port",
	"protocol":    "endpoint.protocol",
	"isPremanent": "permanent",
}

func specV2(spec map[string]any) map[string]any {
	if spec == nil {
		return nil
	}
	endpoint := map[string]any{}
	converted := map[string]any{"endpoint": endpoint}
	for name, value := range spec {
		if renamed, ok := fieldsV2[name]; ok {
			name = renamed
		}
		if field, ok := strings.CutPrefix(name, "endpoint."); ok {
			endpoint[field] = value
		} else {
			converted[name] = value
		}
	}
	return converted
}

// Rules returns the cases of testdata/rules.yaml.
func Rules() ([]Case, error) {
	var cases []Case
	if err := yaml.UnmarshalStrict(rules, &cases); err != nil {
		return nil, fmt.Errorf("read rules.yaml: %w", err)
	}
	return cases, nil
}
