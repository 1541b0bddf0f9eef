package v2

import (
	"fmt"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"portrule.example/lab/api"
)

// The bounds of the numeric fields.
const (
	minPort, maxPort         = 1, 65535
	minTimeout               = 1
	minReplicas, maxReplicas = 0, 100
)

var protocols = []Protocol{ProtocolTCP, ProtocolUDP, ProtocolSCTP, ProtocolDCCP}

// Validate says what is wrong with a defaulted rule (R1 and R2 of the contract),
// each error with the path of its field. The CRD's schema states the same rules in
// its markers.
func Validate(rule *PortRule) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&rule.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	spec, path := &rule.Spec, field.NewPath("spec")

	errs = append(errs, validateService(spec.Service, path.Child("service"))...)
	errs = append(errs, validateEndpoint(&spec.Endpoint, path.Child("endpoint"))...)
	if spec.TimeoutSeconds != nil {
		if *spec.TimeoutSeconds < minTimeout {
			errs = append(errs, field.Invalid(path.Child("timeoutSeconds"), *spec.TimeoutSeconds, "must be greater than or equal to 1"))
		}
		if spec.Permanent != nil && *spec.Permanent {
			errs = append(errs, field.Forbidden(path.Child("timeoutSeconds"), "may not be set together with permanent"))
		}
	}
	if spec.Replicas != nil {
		errs = append(errs, validateRange(*spec.Replicas, minReplicas, maxReplicas, path.Child("replicas"))...)
	}
	return errs
}

// ValidateUpdate says what is wrong with the change of old into rule (R3): the
// endpoint is immutable. Validate is not included.
func ValidateUpdate(rule, old *PortRule) field.ErrorList {
	path := field.NewPath("spec", "endpoint")
	endpoint, oldEndpoint := &rule.Spec.Endpoint, &old.Spec.Endpoint
	var errs field.ErrorList
	if endpoint.Host != oldEndpoint.Host {
		errs = append(errs, field.Invalid(path.Child("host"), endpoint.Host, immutable))
	}
	if endpoint.Port != oldEndpoint.Port {
		errs = append(errs, field.Invalid(path.Child("port"), endpoint.Port, immutable))
	}
	if endpoint.Protocol != oldEndpoint.Protocol {
		errs = append(errs, field.Invalid(path.Child("protocol"), endpoint.Protocol, immutable))
	}
	return errs
}

// ValidateStatus says what is wrong with the status of a rule: its conditions are
// those that every kind has, and there is no negative number of nodes, which a CRD
// with a scale refuses too.
func ValidateStatus(rule *PortRule) field.ErrorList {
	path := field.NewPath("status")
	errs := metav1validation.ValidateConditions(rule.Status.Conditions, path.Child("conditions"))
	return append(errs, apivalidation.ValidateNonnegativeField(int64(rule.Status.Replicas), path.Child("replicas"))...)
}

// ValidateAllowedPort checks the port of a new rule (R5): the annotation
// [api.AllowedPorts] of its namespace says which ports are allowed.
func ValidateAllowedPort(rule *PortRule, namespace metav1.Object) field.ErrorList {
	text, ok := namespace.GetAnnotations()[api.AllowedPorts]
	if !ok {
		return nil
	}
	path := field.NewPath("spec", "endpoint", "port")
	allowed, err := api.ParsePorts(text)
	if err != nil {
		// Nobody knows what was meant, so nothing is allowed.
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("the annotation %s of namespace %q is malformed: %v", api.AllowedPorts, namespace.GetName(), err))}
	}
	if port := rule.Spec.Endpoint.Port; !allowed.Contain(port) {
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("port %d is not among those that namespace %q allows: %s", port, namespace.GetName(), text))}
	}
	return nil
}

// Ratchet leaves out of errs, which are those of a new object, what was wrong with
// the old one already, as the schema of a CRD does: an object that broke a rule which
// was tightened later can still be edited elsewhere, and can lose its finalizers.
func Ratchet(errs, before field.ErrorList) field.ErrorList {
	return slices.DeleteFunc(errs, func(err *field.Error) bool {
		return slices.ContainsFunc(before, func(old *field.Error) bool { return old.Error() == err.Error() })
	})
}

const immutable = "is immutable"

func validateEndpoint(endpoint *Endpoint, path *field.Path) field.ErrorList {
	errs := validateHost(endpoint.Host, path.Child("host"))
	if endpoint.Port == 0 {
		errs = append(errs, field.Required(path.Child("port"), validation.InclusiveRangeError(minPort, maxPort)))
	} else {
		errs = append(errs, validateRange(endpoint.Port, minPort, maxPort, path.Child("port"))...)
	}
	if !slices.Contains(protocols, endpoint.Protocol) {
		errs = append(errs, field.NotSupported(path.Child("protocol"), endpoint.Protocol, protocols))
	}
	return errs
}

func validateService(service string, path *field.Path) field.ErrorList {
	if service == "" {
		return field.ErrorList{field.Required(path, "the service that the port belongs to")}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Label(service) {
		errs = append(errs, field.Invalid(path, service, msg))
	}
	return errs
}

// validateHost takes digits and dots for an IPv4 address and anything with a
// colon for an IPv6 address, so that no endpoint has two spellings: 10.0.0.300
// and 010.0.0.3 would otherwise pass for DNS names.
func validateHost(host string, path *field.Path) field.ErrorList {
	switch {
	case host == "":
		return field.ErrorList{field.Required(path, "an IP address or a DNS-1123 subdomain")}
	case strings.Trim(host, "0123456789.") == "", strings.Contains(host, ":"):
		return validation.IsValidIP(path, host)
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Subdomain(host) {
		errs = append(errs, field.Invalid(path, host, msg))
	}
	return errs
}

func validateRange(value int32, low, high int, path *field.Path) field.ErrorList {
	if int(value) < low || int(value) > high {
		return field.ErrorList{field.Invalid(path, value, validation.InclusiveRangeError(low, high))}
	}
	return nil
}
