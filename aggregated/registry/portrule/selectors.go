package portrule

import (
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// The selectable fields, by their names in the hub. They are those of the CRD's
// selectableFields.
const (
	fieldHost = "spec.endpoint.host"
	fieldPort = "spec.endpoint.port"
)

// indexers keep the watch cache sorted by host, so that a list of the rules of one
// host does not go through all of them. Ports are not indexed: a list uses one index
// only, and most rules have one of a few ports.
var indexers = &cache.Indexers{
	storage.FieldIndex(fieldHost): func(obj any) ([]string, error) {
		rule, ok := obj.(*v2.PortRule)
		if !ok {
			return nil, errNoPortRule
		}
		return []string{rule.Spec.Endpoint.Host}, nil
	},
}

var errNoPortRule = errors.New("not a PortRule")

// attributes are what selectors select by.
func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	rule, ok := obj.(*v2.PortRule)
	if !ok {
		return nil, nil, errNoPortRule
	}
	return rule.Labels, generic.AddObjectMetaFieldsSet(fields.Set{
		fieldHost: rule.Spec.Endpoint.Host,
		fieldPort: strconv.Itoa(int(rule.Spec.Endpoint.Port)),
	}, &rule.ObjectMeta, true), nil
}

func predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: attributes, IndexFields: []string{fieldHost}}
}

// fieldLabels are the names of the selectable fields in each version, and in the hub.
var fieldLabels = map[string]map[string]string{
	v1.Version: {"spec.host": fieldHost, "spec.port": fieldPort},
	v2.Version: {fieldHost: fieldHost, fieldPort: fieldPort},
}

// AddFieldLabels makes the scheme read field selectors in the names of each version.
func AddFieldLabels(scheme *runtime.Scheme, group string) error {
	for version, labels := range fieldLabels {
		kind := schema.GroupVersionKind{Group: group, Version: version, Kind: api.Kind}
		err := scheme.AddFieldLabelConversionFunc(kind, func(label, value string) (string, string, error) {
			switch label {
			case "metadata.name", "metadata.namespace":
				return label, value, nil
			}
			hub, ok := labels[label]
			if !ok {
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
			return hub, value, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
