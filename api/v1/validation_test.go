package v1

import (
	"encoding/json"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// The errors about a v1 object speak of v1's fields.
func TestValidateRules(t *testing.T) {
	cases, err := api.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			rule := decode(t, c.Spec)
			errs := Validate(rule)
			if c.Old != nil {
				var hub, old v2.PortRule
				ToHub(rule, &hub)
				ToHub(decode(t, c.Old), &old)
				errs = append(errs, Translate(v2.ValidateUpdate(&hub, &old))...)
			}
			var got []string
			for _, e := range errs {
				got = append(got, e.Field)
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
