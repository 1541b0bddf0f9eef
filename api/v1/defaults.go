package v1

import (
	"k8s.io/apimachinery/pkg/runtime"

	v2 "portrule.example/lab/api/v2"
)

// Default fills in what an absent field means, as [v2.Default] says.
func Default(rule *PortRule) {
	var hub v2.PortRule
	ToHub(rule, &hub)
	v2.Default(&hub)
	FromHub(&hub, rule)
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
