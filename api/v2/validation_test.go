package v2

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portrule.example/lab/api"
)

func TestValidateRules(t *testing.T) {
	cases, err := api.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		c = c.V2()
		t.Run(c.Name, func(t *testing.T) {
			rule := decode(t, c.Spec)
			errs := Validate(rule)
			if c.Old != nil {
				errs = append(errs, ValidateUpdate(rule, decode(t, c.Old))...)
			}
			var got []string
			for _, e := range errs {
				got = append(got, e.Field)
				if e.Detail == "" {
					t.Errorf("the error about %s does not say what is wrong", e.Field)
				}
			}
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, c.Invalid) {
				t.Errorf("refused %v, want %v", got, c.Invalid)
			}
		})
	}
}

func decode(t *testing.T, spec map[string]any) *PortRule {
	t.Helper()
	encoded, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	rule := &PortRule{ObjectMeta: metav1.ObjectMeta{Name: "rule", Namespace: "default"}}
	if err := json.Unmarshal(encoded, &rule.Spec); err != nil {
		t.Fatal(err)
	}
	Default(rule)
	return rule
}

func TestValidateMetadata(t *testing.T) {
	valid := PortRule{
		ObjectMeta: metav1.ObjectMeta{Name: "rule", Namespace: "default"},
		Spec:       PortRuleSpec{Service: "nginx", Endpoint: Endpoint{Host: "10.0.0.3", Port: 80, Protocol: ProtocolTCP}},
	}
	for _, name := range []string{"Upper", "under_score", "-hyphen", strings.Repeat("a", 254)} {
		rule := valid.DeepCopy()
		rule.Name = name
		if errs := Validate(rule); len(errs) == 0 || errs[0].Field != "metadata.name" {
			t.Errorf("name %q: got %v, want an error about metadata.name", name, errs)
		}
	}
	if errs := Validate(&valid); len(errs) != 0 {
		t.Errorf("a valid rule is refused: %v", errs)
	}
}

func TestDefaultKeepsWhatIsSaid(t *testing.T) {
	zero := int32(0)
	rule := &PortRule{Spec: PortRuleSpec{Endpoint: Endpoint{Protocol: ProtocolUDP}, Replicas: &zero}}
	Default(rule)
	if rule.Spec.Endpoint.Protocol != ProtocolUDP || *rule.Spec.Replicas != 0 {
		t.Errorf("defaulting changed protocol to %s and replicas to %d", rule.Spec.Endpoint.Protocol, *rule.Spec.Replicas)
	}
}
