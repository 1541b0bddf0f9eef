package v1

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// newScheme knows both versions and the hub, as an API server does.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, register := range []func() error{
		func() error { return AddToScheme(scheme, api.Group) },
		func() error { return v2.AddToScheme(scheme, api.Group) },
		func() error { return RegisterConversions(scheme) },
	} {
		if err := register(); err != nil {
			t.Fatal(err)
		}
	}
	scheme.AddKnownTypes(schema.GroupVersion{Group: api.Group, Version: runtime.APIVersionInternal}, &v2.PortRule{}, &v2.PortRuleList{})
	return scheme
}

// Random objects of every version survive being encoded as every other.
func TestRoundTrip(t *testing.T) {
	roundtrip.RoundTripTestForScheme(t, newScheme(t), fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, fuzzDefaulted))
}

// fuzzDefaulted leaves no absent field that has a default: decoding would fill it
// in, and the object be another.
func fuzzDefaulted(serializer.CodecFactory) []any {
	return []any{
		func(rule *v2.PortRule, c randfill.Continue) { c.FillNoCustom(rule); v2.Default(rule) },
		func(rule *PortRule, c randfill.Continue) { c.FillNoCustom(rule); Default(rule) },
	}
}

// There and back again, from either version, nothing is lost.
func FuzzConversion(f *testing.F) {
	f.Add("nginx", "10.0.0.3", int32(80), "tcp", true, true, int32(60), int32(3), int64(2))
	f.Add("", "", int32(0), "", false, false, int32(0), int32(0), int64(0))
	f.Add("web", "2001:db8::1", int32(65535), "dccp", true, false, int32(-1), int32(100), int64(-1))
	f.Fuzz(func(t *testing.T, name, host string, port int32, protocol string, pointers, permanent bool, timeout, replicas int32, generation int64) {
		rule := &PortRule{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"host": host}, Generation: generation},
			Spec:       PortRuleSpec{Name: name, Host: host, Port: port, Protocol: Protocol(protocol)},
			Status: PortRuleStatus{
				ObservedGeneration: generation, Replicas: replicas, Selector: host,
				Conditions: []metav1.Condition{{Type: name, Message: host, ObservedGeneration: generation}},
			},
		}
		if pointers {
			rule.Spec.IsPremanent, rule.Spec.TimeoutSeconds, rule.Spec.Replicas = &permanent, &timeout, &replicas
		}
		var hub, again v2.PortRule
		var back PortRule
		ToHub(rule.DeepCopy(), &hub)
		FromHub(hub.DeepCopy(), &back)
		if !apiequality.Semantic.DeepEqual(rule, &back) {
			t.Errorf("v1 to v2 and back: %+v became %+v", rule, back)
		}
		ToHub(&back, &again)
		if !apiequality.Semantic.DeepEqual(hub, again) {
			t.Errorf("v2 to v1 and back: %+v became %+v", hub, again)
		}
	})
}
