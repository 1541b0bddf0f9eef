package portrule

import (
	"context"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// request is a context of a request by alice in a version.
func request(version string) context.Context {
	ctx := genericapirequest.WithUser(context.Background(), &user.DefaultInfo{Name: "alice"})
	return genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{APIVersion: version})
}

func nginx() *v2.PortRule {
	rule := &v2.PortRule{
		ObjectMeta: metav1.ObjectMeta{Name: "rule", Namespace: "default"},
		Spec:       v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}},
	}
	v2.Default(rule)
	return rule
}

// R6: whoever creates a rule is named in it, and nothing that a request says changes
// that.
func TestRequestedBy(t *testing.T) {
	s, ctx := strategy{}, request("v2")
	created := nginx()
	created.Annotations = map[string]string{api.RequestedBy: "mallory", "other": "kept"}
	s.PrepareForCreate(ctx, created)
	if created.Annotations[api.RequestedBy] != "alice" || created.Annotations["other"] != "kept" {
		t.Errorf("created with the annotations %v", created.Annotations)
	}
	for what, change := range map[string]func(*v2.PortRule){
		"another name":   func(rule *v2.PortRule) { rule.Annotations[api.RequestedBy] = "mallory" },
		"no name":        func(rule *v2.PortRule) { delete(rule.Annotations, api.RequestedBy) },
		"no annotations": func(rule *v2.PortRule) { rule.Annotations = nil },
	} {
		changed := created.DeepCopy()
		change(changed)
		s.PrepareForUpdate(ctx, changed, created)
		if changed.Annotations[api.RequestedBy] != "alice" {
			t.Errorf("updated with %s: the annotations are %v", what, changed.Annotations)
		}
	}
	// a rule that is older than R6 names nobody, and stays so
	old := nginx()
	forged := old.DeepCopy()
	forged.Annotations = map[string]string{api.RequestedBy: "mallory"}
	s.PrepareForUpdate(ctx, forged, old)
	if by, ok := forged.Annotations[api.RequestedBy]; ok {
		t.Errorf("an old rule is requested by %q now", by)
	}
	// without a user nobody is named: the loopback client, or a filter left out
	anonymous := nginx()
	anonymous.Annotations = map[string]string{api.RequestedBy: "mallory"}
	s.PrepareForCreate(context.Background(), anonymous)
	if by, ok := anonymous.Annotations[api.RequestedBy]; ok {
		t.Errorf("without a user the rule is requested by %q", by)
	}
	own := fieldpath.MakePathOrDie("metadata", "annotations", api.RequestedBy)
	for version, reset := range s.GetResetFields() {
		if !reset.Has(own) {
			t.Errorf("server-side apply in %s would make somebody the owner of %s", version, own)
		}
	}
}

// What was wrong with a rule before does not hold up a change of something else, and
// what is wrong with the change does, in the names of the request's version.
func TestValidateUpdateRatchets(t *testing.T) {
	stored := nginx()
	tooMany := int32(500)
	stored.Spec.Replicas = &tooMany // stored before the maximum was lowered
	for what, c := range map[string]struct {
		change  func(*v2.PortRule)
		version string
		want    []string
	}{
		"a label":                       {func(r *v2.PortRule) { r.Labels = map[string]string{"a": "b"} }, "v2", nil},
		"another service":               {func(r *v2.PortRule) { r.Spec.Service = "web" }, "v2", nil},
		"a service that is no label":    {func(r *v2.PortRule) { r.Spec.Service = "No" }, "v2", []string{"spec.service"}},
		"the same in v1":                {func(r *v2.PortRule) { r.Spec.Service = "No" }, "v1", []string{"spec.name"}},
		"as wrong, but another value":   {func(r *v2.PortRule) { more := int32(501); r.Spec.Replicas = &more }, "v2", []string{"spec.replicas"}},
		"the port, which is immutable":  {func(r *v2.PortRule) { r.Spec.Endpoint.Port = 81 }, "v2", []string{"spec.endpoint.port"}},
		"the port, immutable in v1 too": {func(r *v2.PortRule) { r.Spec.Endpoint.Port = 81 }, "v1", []string{"spec.port"}},
	} {
		changed := stored.DeepCopy()
		c.change(changed)
		if got := fieldsOf(strategy{}.ValidateUpdate(request(c.version), changed, stored)); !slices.Equal(got, c.want) {
			t.Errorf("%s: refused %v, want %v", what, got, c.want)
		}
	}
}

// A write to the status is judged by its conditions, not by the spec, which it does
// not change.
func TestStatusValidation(t *testing.T) {
	stored := nginx()
	stored.Spec.Service = "Not A Label"
	good := metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Applied", LastTransitionTime: metav1.Now()}
	for what, c := range map[string]struct {
		change func(*metav1.Condition)
		want   []string
	}{
		"a good condition": {func(*metav1.Condition) {}, nil},
		"no reason":        {func(c *metav1.Condition) { c.Reason = "" }, []string{"status.conditions[0].reason"}},
		"no such status":   {func(c *metav1.Condition) { c.Status = "Perhaps" }, []string{"status.conditions[0].status"}},
		"no time":          {func(c *metav1.Condition) { c.LastTransitionTime = metav1.Time{} }, []string{"status.conditions[0].lastTransitionTime"}},
	} {
		changed, condition := stored.DeepCopy(), good
		c.change(&condition)
		changed.Status.Conditions = []metav1.Condition{condition}
		if got := fieldsOf(statusStrategy{}.ValidateUpdate(request("v2"), changed, stored)); !slices.Equal(got, c.want) {
			t.Errorf("%s: refused %v, want %v", what, got, c.want)
		}
	}
}

func fieldsOf(errs field.ErrorList) []string {
	var names []string
	for _, err := range errs {
		names = append(names, err.Field)
	}
	return names
}

// The index finds what the selector selects.
func TestIndexAgreesWithSelector(t *testing.T) {
	rule := nginx()
	for name, index := range *indexers {
		values, err := index(rule)
		if err != nil {
			t.Fatal(err)
		}
		_, attributes, err := attributes(rule)
		if err != nil {
			t.Fatal(err)
		}
		label := name[len("f:"):]
		if !slices.Equal(values, []string{attributes[label]}) {
			t.Errorf("the index %s has %v, the selector compares with %q", name, values, attributes[label])
		}
		if !slices.Contains(predicate(nil, fields.OneTermEqualSelector(label, values[0])).IndexFields, label) {
			t.Errorf("a list by %s does not use its index", label)
		}
	}
}
