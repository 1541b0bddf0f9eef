package v1

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v2 "portrule.example/lab/api/v2"
)

// Validate says what is wrong with a defaulted rule: what [v2.Validate] says, in
// the words of this version.
func Validate(rule *PortRule) field.ErrorList {
	var hub v2.PortRule
	ToHub(rule, &hub)
	return Translate(v2.Validate(&hub))
}

// fieldNames are what the fields of the hub are called here.
var fieldNames = strings.NewReplacer(
	"spec.service", "spec.name",
	"spec.endpoint.", "spec.",
	"spec.endpoint", "spec",
	"spec.permanent", "spec.isPremanent",
)

// Translate turns errors about the hub into errors about this version: the paths
// of their fields, and the fields that their messages mention.
func Translate(errs field.ErrorList) field.ErrorList {
	for _, err := range errs {
		err.Field = fieldNames.Replace(err.Field)
		err.Detail = strings.ReplaceAll(err.Detail, "with permanent", "with isPremanent")
	}
	return errs
}
