// Package api is the contract: what every implementation of PortRule serves.
//
// The packages below it hold the types by version, with their defaulting and
// validation. This one has the cases of testdata/, by which every implementation
// is judged: the Go validation, the CRD's schema and the aggregated server.
package api

import (
	_ "embed"
	"fmt"

	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed testdata/rules.yaml
var rules []byte

// Case is a spec and what must become of it.
type Case struct {
	Name string `json:"name"`
	// Rule is the rule of the contract that the case belongs to, such as R1.
	Rule string `json:"rule"`
	// Spec is a PortRule's spec of version v1, as a client might send it.
	Spec map[string]any `json:"spec"`
	// Invalid has the paths of the fields that are refused. It is empty if the
	// spec is valid.
	Invalid []string `json:"invalid"`
}

// Rules returns the cases of testdata/rules.yaml.
func Rules() ([]Case, error) {
	var cases []Case
	if err := yaml.UnmarshalStrict(rules, &cases); err != nil {
		return nil, fmt.Errorf("read rules.yaml: %w", err)
	}
	return cases, nil
}
