// Package api is the contract: what every implementation of PortRule serves.
//
// This package itself has the names on which everybody agrees (api.go: groups, kind,
// annotations), the ports that a namespace may allow ([ParsePorts], ports.go), and the
// cases of testdata/, by which every implementation is judged (corpus.go): the Go
// validation, the CRD's schema and the aggregated server. [Rules] are specs, changes
// among them; [Manifests] are whole manifests.
//
// The packages below it:
//
//   - v2 holds PortRule as it is stored, with its defaulting and validation: read that
//     first.
//   - v1 holds PortRule as it was first published, and the conversion to v2 and back.
//   - nftables writes a rule as a script for nft.
//   - probe dials the endpoint of a rule, within limits.
//   - callerreview holds a kind that the aggregated server alone can serve.
//
// Nothing here imports more than the standard library and k8s.io/apimachinery: whoever
// wants the types gets nothing with them.
package api

import (
	"bytes"
	"embed"
	"fmt"
	"path"
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

//go:embed testdata/valid testdata/invalid
var manifests embed.FS

// Manifest is a PortRule as a user would write it, and what becomes of it when it is
// created.
type Manifest struct {
	// Name is that of the file, and of the rule unless the case is about its name.
	Name string
	// Shows is what the manifest is about.
	Shows string
	// Data is the manifest in YAML, of the group [Group] and of Version.
	Data    []byte
	Version string
	// Namespace is one of [ManifestNamespaces], empty for any that has no rules.
	Namespace string
	// Rule is the rule of the contract that the manifest belongs to, such as R1; empty
	// for what every kind has in common.
	Rule string
	// Verdict is what each implementation says that Differs does not name.
	Verdict
	// Strict is what strict decoding, for which kubectl asks, says about the manifest in
	// parts: unknown and duplicate fields. It then refuses what Verdict accepts.
	Strict []string
	// Differs has the verdicts that are known to differ, by the implementation and its
	// set-up: crd+schema, crd+policies, crd+webhooks, crd+reservation, aggregated; crd is
	// all of the CRD's.
	Differs map[string]Verdict
}

// Verdict is what becomes of a manifest.
type Verdict struct {
	Valid bool
	// Invalid has the paths of the fields that are refused, sorted. The path "." stands
	// for a manifest of which nothing is looked at. It is empty where no field is named.
	Invalid []string
	// Why is the reason for a verdict that differs.
	Why string
}

// The namespaces that manifests name.
const (
	// Guarded allows some ports, and the annotation of Malformed says nothing of use.
	Guarded   = "allows-443-and-8000-9000"
	Malformed = "allows-nobody-knows-what"
	// Occupied has a rule towards tcp, 10.0.0.3, 80.
	Occupied = "has-a-rule"
)

// ManifestNamespaces are the namespaces that manifests name, with their annotations.
var ManifestNamespaces = map[string]map[string]string{
	Guarded:   {AllowedPorts: "8000-9000,443"},
	Malformed: {AllowedPorts: "http"},
	Occupied:  nil,
}

// For returns the verdict of an implementation in a set-up, such as crd+policies.
func (m Manifest) For(setup string) Verdict {
	impl, _, _ := strings.Cut(setup, "+")
	for _, name := range []string{setup, impl} {
		if verdict, ok := m.Differs[name]; ok {
			return verdict
		}
	}
	return m.Verdict
}

// InGroup returns the manifest for an implementation that serves another group.
func (m Manifest) InGroup(group string) []byte {
	return bytes.Replace(m.Data, []byte(Group+"/v"), []byte(group+"/v"), 1)
}

// Manifests returns the manifests of testdata/valid and testdata/invalid. Each begins
// with comments, of which the first says what it shows. The others are, each where it
// applies:
//
//	# rule: R1
//	# invalid: spec.endpoint.host, spec.endpoint.port
//	# strict: unknown field "spec.colour"
//	# differs: crd+schema, crd+policies: accepted: they do not see other objects
//	# differs: aggregated: refused spec.endpoint.port: a reason
func Manifests() ([]Manifest, error) {
	var all []Manifest
	for _, dir := range []string{"testdata/valid", "testdata/invalid"} {
		entries, err := manifests.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			file := path.Join(dir, entry.Name())
			data, err := manifests.ReadFile(file)
			if err != nil {
				return nil, err
			}
			m := Manifest{Name: strings.TrimSuffix(entry.Name(), ".yaml"), Data: data, Verdict: Verdict{Valid: path.Base(dir) == "valid"}}
			if err := m.readHeader(); err != nil {
				return nil, fmt.Errorf("read the comments of %s: %w", file, err)
			}
			all = append(all, m)
		}
	}
	return all, nil
}

func (m *Manifest) readHeader() error {
	m.Differs = map[string]Verdict{}
	if _, version, ok := bytes.Cut(m.Data, []byte(Group+"/v")); ok {
		m.Version = "v" + string(version[:1])
	}
	for namespace := range ManifestNamespaces {
		if bytes.Contains(m.Data, []byte("\n  namespace: "+namespace+"\n")) {
			m.Namespace = namespace
		}
	}
	for line := range strings.Lines(string(m.Data)) {
		comment, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !ok {
			break
		}
		if m.Shows == "" {
			m.Shows = comment
			continue
		}
		key, value, _ := strings.Cut(comment, ": ")
		switch key {
		case "rule":
			m.Rule = value
		case "invalid":
			m.Invalid = strings.Split(value, ", ")
		case "strict":
			m.Strict = append(m.Strict, value)
		case "differs":
			if err := m.readDifference(value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%q is none of rule, invalid, strict and differs", key)
		}
	}
	switch {
	case m.Shows == "":
		return fmt.Errorf("the first line does not say what it shows")
	case m.Valid != (len(m.Invalid) == 0):
		return fmt.Errorf("invalid: lists the fields that are refused, in testdata/invalid and only there")
	case !slices.IsSorted(m.Invalid):
		return fmt.Errorf("the fields %v are not sorted", m.Invalid)
	}
	return nil
}

// readDifference reads "crd+schema, crd+policies: refused spec.port: why".
func (m *Manifest) readDifference(text string) error {
	parts := strings.SplitN(text, ": ", 3)
	if len(parts) != 3 {
		return fmt.Errorf("%q: want the set-ups, the verdict and the reason, with a colon between", text)
	}
	verdict := Verdict{Why: parts[2]}
	switch word, fields, _ := strings.Cut(parts[1], " "); word {
	case "accepted":
		verdict.Valid = true
	case "refused":
		if fields != "" {
			verdict.Invalid = strings.Split(fields, ", ")
		}
	default:
		return fmt.Errorf("%q is neither accepted nor refused", word)
	}
	for _, setup := range strings.Split(parts[0], ", ") {
		m.Differs[setup] = verdict
	}
	return nil
}
