// This program is the server of lab 10, with your strategy and your admission plugin.
package main

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/labs/10-rules-in-go/server"
)

func main() { server.Main(strategy{}, newUniqueEndpoints) }

// strategy says which PortRules are valid.
type strategy struct{}

// Validate is asked about each rule that is created.
func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return validate(obj.(*v2.PortRule))
}

// ValidateUpdate is asked about each rule that is changed: the new one and the old one. R3
// belongs here.
func (strategy) ValidateUpdate(_ context.Context, _, _ runtime.Object) field.ErrorList {
	return nil
}

// validate is R1 and R2. Service, timeout and replicas are done; the endpoint and R2 are not.
func validate(rule *v2.PortRule) field.ErrorList {
	var errs field.ErrorList
	spec, path := &rule.Spec, field.NewPath("spec")

	if spec.Service == "" {
		errs = append(errs, field.Required(path.Child("service"), "the service that the port belongs to"))
	} else {
		for _, msg := range validation.IsDNS1123Label(spec.Service) {
			errs = append(errs, field.Invalid(path.Child("service"), spec.Service, msg))
		}
	}
	if spec.TimeoutSeconds != nil && *spec.TimeoutSeconds < 1 {
		errs = append(errs, field.Invalid(path.Child("timeoutSeconds"), *spec.TimeoutSeconds, "must be at least 1"))
	}
	if spec.Replicas != nil && (*spec.Replicas < 0 || *spec.Replicas > 100) {
		errs = append(errs, field.Invalid(path.Child("replicas"), *spec.Replicas, validation.InclusiveRangeError(0, 100)))
	}
	return errs
}

// uniqueEndpoints is an admission plugin for R4: in one namespace no two PortRules share an
// endpoint.
type uniqueEndpoints struct {
	// Handler says which operations the plugin is called for.
	*admission.Handler
	// rules lists rules.
	rules server.Rules
}

var _ admission.ValidationInterface = &uniqueEndpoints{}

func newUniqueEndpoints(rules server.Rules) admission.Interface {
	return &uniqueEndpoints{Handler: admission.NewHandler(), rules: rules}
}

// Validate returns an error if a request is not to be admitted. It is called after the
// strategy has found nothing wrong, and before anything is written.
func (p *uniqueEndpoints) Validate(_ context.Context, _ admission.Attributes, _ admission.ObjectInterfaces) error {
	return nil
}
