package v2

import (
	"k8s.io/apimachinery/pkg/runtime"
)

// defaultReplicas is the spec.replicas of an object that does not say.
const defaultReplicas int32 = 1

// Default fills in what an absent field means. The CRD's schema states the same
// values in its default markers.
func Default(rule *PortRule) {
	if rule.Spec.Endpoint.Protocol == "" {
		rule.Spec.Endpoint.Protocol = ProtocolTCP
	}
	if rule.Spec.Replicas == nil {
		replicas := defaultReplicas
		rule.Spec.Replicas = &replicas
	}
}

// RegisterDefaults makes scheme.Default, and so every decoder of the scheme,
// call [Default].
func RegisterDefaults(scheme *runtime.Scheme) error {
	scheme.AddTypeDefaultingFunc(&PortRule{}, func(obj any) { Default(obj.(*PortRule)) })
	scheme.AddTypeDefaultingFunc(&PortRuleList{}, func(obj any) {
		list := obj.(*PortRuleList)
		for i := range list.Items {
			Default(&list.Items[i])
		}
	})
	return nil
}
