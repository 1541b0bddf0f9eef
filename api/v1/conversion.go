package v1

import (
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"

	v2 "portrule.example/lab/api/v2"
)

// ToHub converts in to the hub. Nothing is lost, and FromHub leads back. The two
// objects share memory afterwards; apiVersion and kind are left to the caller.
func ToHub(in *PortRule, out *v2.PortRule) {
	out.ObjectMeta = in.ObjectMeta
	out.Spec = v2.PortRuleSpec{
		Service: in.Spec.Name,
		Endpoint: v2.Endpoint{
			Host:     in.Spec.Host,
			Port:     in.Spec.Port,
			Protocol: v2.Protocol(in.Spec.Protocol),
		},
		Permanent:      in.Spec.IsPremanent,
		TimeoutSeconds: in.Spec.TimeoutSeconds,
		Replicas:       in.Spec.Replicas,
	}
	out.Status = v2.PortRuleStatus(in.Status)
}

// FromHub converts the hub to out. Nothing is lost, and ToHub leads back. The two
// objects share memory afterwards; apiVersion and kind are left to the caller.
func FromHub(in *v2.PortRule, out *PortRule) {
	out.ObjectMeta = in.ObjectMeta
	out.Spec = PortRuleSpec{
		Name:           in.Spec.Service,
		Host:           in.Spec.Endpoint.Host,
		Port:           in.Spec.Endpoint.Port,
		Protocol:       Protocol(in.Spec.Endpoint.Protocol),
		IsPremanent:    in.Spec.Permanent,
		TimeoutSeconds: in.Spec.TimeoutSeconds,
		Replicas:       in.Spec.Replicas,
	}
	out.Status = PortRuleStatus(in.Status)
}

// RegisterConversions makes the scheme convert between this version and the hub.
func RegisterConversions(scheme *runtime.Scheme) error {
	for _, register := range []func() error{
		func() error {
			return scheme.AddConversionFunc((*PortRule)(nil), (*v2.PortRule)(nil), func(in, out any, _ conversion.Scope) error {
				ToHub(in.(*PortRule), out.(*v2.PortRule))
				return nil
			})
		},
		func() error {
			return scheme.AddConversionFunc((*v2.PortRule)(nil), (*PortRule)(nil), func(in, out any, _ conversion.Scope) error {
				FromHub(in.(*v2.PortRule), out.(*PortRule))
				return nil
			})
		},
		func() error {
			return scheme.AddConversionFunc((*PortRuleList)(nil), (*v2.PortRuleList)(nil), func(in, out any, _ conversion.Scope) error {
				from, to := in.(*PortRuleList), out.(*v2.PortRuleList)
				to.ListMeta, to.Items = from.ListMeta, make([]v2.PortRule, len(from.Items))
				for i := range from.Items {
					ToHub(&from.Items[i], &to.Items[i])
				}
				return nil
			})
		},
		func() error {
			return scheme.AddConversionFunc((*v2.PortRuleList)(nil), (*PortRuleList)(nil), func(in, out any, _ conversion.Scope) error {
				from, to := in.(*v2.PortRuleList), out.(*PortRuleList)
				to.ListMeta, to.Items = from.ListMeta, make([]PortRule, len(from.Items))
				for i := range from.Items {
					FromHub(&from.Items[i], &to.Items[i])
				}
				return nil
			})
		},
	} {
		if err := register(); err != nil {
			return err
		}
	}
	return nil
}
