package v2_test

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v2 "portrule.example/lab/api/v2"
)

// newRule returns a valid rule, defaulted as the functions of this package expect.
func newRule() *v2.PortRule {
	rule := &v2.PortRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}},
	}
	v2.Default(rule)
	return rule
}

// All that is wrong is said at once, each error with the path of its field.
func ExampleValidate() {
	rule := newRule()
	rule.Spec.Endpoint.Port = 70000
	rule.Spec.Permanent, rule.Spec.TimeoutSeconds = new(true), new(int32(60))
	for _, err := range v2.Validate(rule) {
		fmt.Println(err)
	}
	// Output:
	// spec.endpoint.port: Invalid value: 70000: must be between 1 and 65535, inclusive
	// spec.timeoutSeconds: Forbidden: may not be set together with permanent
}

// A rule that is replaced must be valid itself, and lead to the endpoint that it has
// always led to. The rest of it may change.
func ExampleValidateUpdate() {
	old := newRule()
	rule := old.DeepCopy()
	rule.Spec.Replicas = new(int32(3))
	rule.Spec.Endpoint.Port = 8080
	fmt.Println("by itself:", len(v2.Validate(rule)), "errors")
	for _, err := range v2.ValidateUpdate(rule, old) {
		fmt.Println(err)
	}
	// Output:
	// by itself: 0 errors
	// spec.endpoint.port: Invalid value: 8080: is immutable
}

// A rule was stored before names of services had to be DNS labels. Whoever edits it is
// told of their own mistakes alone.
func ExampleRatchet() {
	old := newRule()
	old.Spec.Service = "Web Shop"
	rule := old.DeepCopy()
	rule.Spec.TimeoutSeconds = new(int32(0))

	errs, before := v2.Validate(rule), v2.Validate(old)
	fmt.Println("wrong:", errs[0].Field, errs[1].Field)
	for _, err := range v2.Ratchet(errs, before) {
		fmt.Println(err)
	}
	// Output:
	// wrong: spec.service spec.timeoutSeconds
	// spec.timeoutSeconds: Invalid value: 0: must be greater than or equal to 1
}
