// This program is the server of lab 10, with your strategy and your admission plugin.
package main

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// ValidateUpdate is asked about each rule that is changed: R3, and R1 and R2 once more.
func (strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	rule := obj.(*v2.PortRule)
	errs := validate(rule)
	endpoint, was, path := rule.Spec.Endpoint, old.(*v2.PortRule).Spec.Endpoint, field.NewPath("spec", "endpoint")
	if endpoint.Host != was.Host {
		errs = append(errs, field.Invalid(path.Child("host"), endpoint.Host, "is immutable"))
	}
	if endpoint.Port != was.Port {
		errs = append(errs, field.Invalid(path.Child("port"), endpoint.Port, "is immutable"))
	}
	if endpoint.Protocol != was.Protocol {
		errs = append(errs, field.Invalid(path.Child("protocol"), endpoint.Protocol, "is immutable"))
	}
	return errs
}

// validate is R1 and R2.
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
	errs = append(errs, validateEndpoint(&spec.Endpoint, path.Child("endpoint"))...)
	if spec.TimeoutSeconds != nil && *spec.TimeoutSeconds < 1 {
		errs = append(errs, field.Invalid(path.Child("timeoutSeconds"), *spec.TimeoutSeconds, "must be at least 1"))
	}
	if spec.TimeoutSeconds != nil && spec.Permanent != nil && *spec.Permanent {
		errs = append(errs, field.Forbidden(path.Child("timeoutSeconds"), "may not be set together with permanent"))
	}
	if spec.Replicas != nil && (*spec.Replicas < 0 || *spec.Replicas > 100) {
		errs = append(errs, field.Invalid(path.Child("replicas"), *spec.Replicas, validation.InclusiveRangeError(0, 100)))
	}
	return errs
}

var protocols = []v2.Protocol{v2.ProtocolTCP, v2.ProtocolUDP, v2.ProtocolSCTP, v2.ProtocolDCCP}

func validateEndpoint(endpoint *v2.Endpoint, path *field.Path) field.ErrorList {
	errs := validateHost(endpoint.Host, path.Child("host"))
	for _, msg := range validation.IsValidPortNum(int(endpoint.Port)) {
		errs = append(errs, field.Invalid(path.Child("port"), endpoint.Port, msg))
	}
	if !slices.Contains(protocols, endpoint.Protocol) {
		errs = append(errs, field.NotSupported(path.Child("protocol"), endpoint.Protocol, protocols))
	}
	return errs
}

func validateHost(host string, path *field.Path) field.ErrorList {
	if host == "" {
		return field.ErrorList{field.Required(path, "an IP address or a DNS name")}
	}
	// what looks like an address is one, or it is wrong
	if strings.Trim(host, "0123456789.") == "" || strings.Contains(host, ":") {
		return validation.IsValidIP(path, host)
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Subdomain(host) {
		errs = append(errs, field.Invalid(path, host, msg))
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
	return &uniqueEndpoints{Handler: admission.NewHandler(admission.Create, admission.Update), rules: rules}
}

// Validate returns an error if a request is not to be admitted. It is called after the
// strategy has found nothing wrong, and before anything is written.
func (p *uniqueEndpoints) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	rule, ok := a.GetObject().(*v2.PortRule)
	if !ok {
		return nil // the server has other kinds too
	}
	others, err := p.rules.List(ctx, a.GetNamespace())
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	for _, other := range others {
		if other.Spec.Endpoint == rule.Spec.Endpoint {
			return apierrors.NewInvalid(a.GetKind().GroupKind(), rule.Name, field.ErrorList{
				field.Duplicate(field.NewPath("spec", "endpoint"), rule.Spec.Endpoint.String()),
			})
		}
	}
	return nil
}
