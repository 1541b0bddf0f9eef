package webhook

import (
	"reflect"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/cel/environment"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

var clientConfig = admissionregistrationv1.WebhookClientConfig{
	Service:  &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "portrule", Port: new(int32(443))},
	CABundle: []byte("CA"),
}

func TestConfigurations(t *testing.T) {
	if v, m := ValidatingWebhookConfiguration(clientConfig, Options{Group: group}), MutatingWebhookConfiguration(clientConfig, Options{Group: group}); v != nil || m != nil {
		t.Errorf("got %v and %v, want none", v, m)
	}
	type summary struct {
		name, path string
		operations string
		policy     admissionregistrationv1.FailurePolicyType
		effects    admissionregistrationv1.SideEffectClass
	}
	want := []summary{
		{"validate.portrules." + group, PathValidate, "CREATE UPDATE", "Fail", "None"},
		{"reserve.portrules." + group, PathReserve, "CREATE", "Fail", "NoneOnDryRun"},
		{"release.portrules." + group, PathReserve, "DELETE", "Ignore", "NoneOnDryRun"},
	}
	var got []summary
	operations := func(rules []admissionregistrationv1.RuleWithOperations) string {
		if len(rules) != 1 || !reflect.DeepEqual(rules[0].APIGroups, []string{group}) || !reflect.DeepEqual(rules[0].APIVersions, []string{"v2"}) ||
			!reflect.DeepEqual(rules[0].Resources, []string{"portrules"}) || *rules[0].Scope != "Namespaced" {
			t.Errorf("got rules %v", rules)
		}
		var words []string
		for _, operation := range rules[0].Operations {
			words = append(words, string(operation))
		}
		return strings.Join(words, " ")
	}
	for _, w := range ValidatingWebhookConfiguration(clientConfig, all).Webhooks {
		got = append(got, summary{w.Name, *w.ClientConfig.Service.Path, operations(w.Rules), *w.FailurePolicy, *w.SideEffects})
		if *w.MatchPolicy != "Equivalent" || *w.TimeoutSeconds != 10 || string(w.ClientConfig.CABundle) != "CA" || *w.ClientConfig.Service.Port != 443 {
			t.Errorf("got %+v", w)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	mutating := MutatingWebhookConfiguration(clientConfig, all).Webhooks[0]
	if *mutating.ClientConfig.Service.Path != PathMutate || operations(mutating.Rules) != "CREATE UPDATE" || *mutating.FailurePolicy != "Fail" ||
		*mutating.SideEffects != "None" || *mutating.ReinvocationPolicy != "IfNeeded" || *mutating.MatchPolicy != "Equivalent" || *mutating.TimeoutSeconds != 5 {
		t.Errorf("got %+v", mutating)
	}
	if clientConfig.Service.Path != nil {
		t.Errorf("the caller's configuration got the path %s", *clientConfig.Service.Path)
	}
}

func TestClientURL(t *testing.T) {
	for base, want := range map[string]string{
		"https://127.0.0.1:9443":    "https://127.0.0.1:9443/convert",
		"https://127.0.0.1:9443/":   "https://127.0.0.1:9443/convert",
		"https://127.0.0.1:9443/a/": "https://127.0.0.1:9443/a/convert",
	} {
		conversion := Conversion(apiextensionsv1.WebhookClientConfig{URL: &base})
		if got := *conversion.Webhook.ClientConfig.URL; got != want || conversion.Strategy != "Webhook" ||
			!reflect.DeepEqual(conversion.Webhook.ConversionReviewVersions, []string{"v1"}) {
			t.Errorf("got %s %+v, want %s", got, conversion, want)
		}
		validating := ValidatingWebhookConfiguration(admissionregistrationv1.WebhookClientConfig{URL: &base}, all)
		if got := *validating.Webhooks[0].ClientConfig.URL; got != strings.Replace(want, PathConvert, PathValidate, 1) {
			t.Errorf("got %s", got)
		}
	}
	conversion := Conversion(apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Path: new("/crd")}})
	if got := *conversion.Webhook.ClientConfig.Service.Path; got != "/crd/convert" {
		t.Errorf("got %s", got)
	}
}

// The match conditions, as the API server compiles and evaluates them.
func TestMatchConditions(t *testing.T) {
	compiler := cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	both := ValidatingWebhookConfiguration(clientConfig, all).Webhooks[0]
	alone := ValidatingWebhookConfiguration(clientConfig, Options{Group: group, Validating: true}).Webhooks[0]
	mutate := MutatingWebhookConfiguration(clientConfig, all).Webhooks[0]
	matchers := map[string]webhook.WebhookAccessor{
		"both":   webhook.NewValidatingWebhookAccessor("both", "both", &both),
		"alone":  webhook.NewValidatingWebhookAccessor("alone", "alone", &alone),
		"mutate": webhook.NewMutatingWebhookAccessor("mutate", "mutate", &mutate),
	}
	byAlice, byBob := withAnnotation(api.RequestedBy, user), withAnnotation(api.RequestedBy, "bob")
	for _, tt := range []struct {
		name      string
		rule, old *v2.PortRule
		want      []string
	}{
		{"create", newRule("a"), nil, []string{"both", "alone", "mutate"}},
		{"nothing", newRule("a"), newRule("a"), nil},
		{"same annotation", newRule("a", byAlice), newRule("a", byAlice), nil},
		{"another annotation", newRule("a", byAlice, withAnnotation("a", "b")), newRule("a", byAlice), nil},
		{"spec", newRule("a", withReplicas(2)), newRule("a"), []string{"both", "alone"}},
		{"changed", newRule("a", byBob), newRule("a", byAlice), []string{"both", "mutate"}},
		{"first", newRule("a", byBob), newRule("a"), []string{"both", "mutate"}},
		{"removed", newRule("a"), newRule("a", byBob), []string{"both", "mutate"}},
		{"emptied", newRule("a", withAnnotation(api.RequestedBy, "")), newRule("a", withAnnotation("a", "b")), []string{"both", "mutate"}},
	} {
		want := map[string]bool{}
		for _, name := range tt.want {
			want[name] = true
		}
		operation, oldObject := admission.Create, runtime.Object(nil)
		if tt.old != nil {
			operation, oldObject = admission.Update, toUnstructured(t, tt.old)
		}
		object := toUnstructured(t, tt.rule)
		gvk, gvr := object.GroupVersionKind(), schema.GroupVersionResource{Group: group, Version: "v2", Resource: api.Resource}
		attributes := &admission.VersionedAttributes{
			Attributes:    admission.NewAttributesRecord(object, oldObject, gvk, namespace, "a", gvr, "", operation, &metav1.CreateOptions{}, false, nil),
			VersionedKind: gvk, VersionedObject: object, VersionedOldObject: oldObject,
		}
		for name, accessor := range matchers {
			result := accessor.GetCompiledMatcher(compiler).Match(t.Context(), attributes, nil, nil)
			if result.Error != nil || result.Matches != want[name] {
				t.Errorf("%s: %s: got %+v, want %t", tt.name, name, result, want[name])
			}
		}
	}
}

func toUnstructured(t *testing.T, rule *v2.PortRule) *unstructured.Unstructured {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rule)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: object}
}
