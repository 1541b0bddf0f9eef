package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// The corpus of the contract judges this implementation of R1 to R3 too, in the
// field names of the version that the client used.
func TestValidateRules(t *testing.T) {
	handler := install(t, newClient(t), Options{Group: group, Validating: true})
	cases, err := api.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for version, c := range map[string]api.Case{"v1": c, "v2": c.V2()} {
				// The API server has converted what was sent as v1.
				req := request(t, "CREATE", ruleOf(t, version, c.Spec), nil)
				if c.Old != nil {
					req = request(t, "UPDATE", ruleOf(t, version, c.Spec), ruleOf(t, version, c.Old))
				}
				req.RequestKind.Version = version
				answer := review(t, handler, PathValidate, req)
				var fields []string
				for _, cause := range causes(answer) {
					fields = append(fields, strings.Fields(cause)[0])
				}
				slices.Sort(fields)
				if fields = slices.Compact(fields); !slices.Equal(fields, c.Invalid) || answer.Allowed != (len(c.Invalid) == 0) {
					t.Errorf("%s: refused %v, want %v: %v", version, fields, c.Invalid, answer.Result)
				}
			}
		})
	}
}

// ruleOf is a rule of v2 with a spec of some version.
func ruleOf(t *testing.T, version string, spec map[string]any) *v2.PortRule {
	t.Helper()
	rule := newRule("a")
	rule.Spec = v2.PortRuleSpec{}
	into := any(&rule.Spec)
	old := &v1.PortRule{ObjectMeta: rule.ObjectMeta}
	if version == v1.Version {
		into = &old.Spec
	}
	if err := json.Unmarshal(encode(t, spec), into); err != nil {
		t.Fatal(err)
	}
	if version == v1.Version {
		v1.ToHub(old, rule)
	}
	return rule
}

func withDefaults(rule *v2.PortRule) *v2.PortRule {
	rule = rule.DeepCopy()
	v2.Default(rule)
	return rule
}

func team(ports string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Annotations: map[string]string{api.AllowedPorts: ports}}}
}

func TestValidateCreate(t *testing.T) {
	elsewhere := newRule("b")
	elsewhere.Namespace = "other"
	deleted := newRule("b", func(r *v2.PortRule) {
		now := metav1.Now()
		r.DeletionTimestamp, r.Finalizers = &now, []string{"example.org/close"}
	})
	annotations := "metadata.annotations[" + api.RequestedBy + "] FieldValueForbidden"
	for _, tt := range []struct {
		name    string
		stored  []client.Object
		rule    *v2.PortRule
		version string // of the request, v2 if empty
		want    []string
		message string
	}{
		{name: "valid", rule: newRule("a")},
		{name: "R1 and R2", rule: newRule("a", withHost("10.0.0.300"), withReplicas(101), func(r *v2.PortRule) {
			r.Spec.Permanent, r.Spec.TimeoutSeconds = new(true), new(int32(1))
		}), want: []string{"spec.endpoint.host FieldValueInvalid", "spec.timeoutSeconds FieldValueForbidden", "spec.replicas FieldValueInvalid"},
			message: `PortRule.crd.firewalld.fedoraproject.org "a" is invalid`},
		{name: "R1 and R2 as v1", rule: newRule("a", withPort(0)), version: "v1", want: []string{"spec.port FieldValueRequired"}},

		{name: "R4", stored: []client.Object{newRule("b")}, rule: newRule("a"), want: []string{"spec.endpoint FieldValueDuplicate"},
			message: `spec.endpoint: Duplicate value: "tcp/10.0.0.3/80": held by PortRule "b"`},
		{name: "R4 as v1", stored: []client.Object{newRule("b")}, rule: newRule("a"), version: "v1", want: []string{"spec FieldValueDuplicate"}},
		{name: "R4, default spelt out", stored: []client.Object{newRule("b")}, rule: newRule("a", func(r *v2.PortRule) { r.Spec.Endpoint.Protocol = "tcp" }),
			want: []string{"spec.endpoint FieldValueDuplicate"}},
		{name: "R4, being deleted", stored: []client.Object{deleted}, rule: newRule("a"), want: []string{"spec.endpoint FieldValueDuplicate"},
			message: "being deleted: try again"},
		{name: "R4, itself", stored: []client.Object{newRule("a")}, rule: newRule("a")},
		{name: "R4, another namespace", stored: []client.Object{elsewhere}, rule: newRule("a")},
		{name: "R4, another port", stored: []client.Object{newRule("b", withPort(81))}, rule: newRule("a")},
		{name: "R4, another host", stored: []client.Object{newRule("b", withHost("10.0.0.4"))}, rule: newRule("a")},
		{name: "R4, another protocol", stored: []client.Object{newRule("b", func(r *v2.PortRule) { r.Spec.Endpoint.Protocol = "udp" })}, rule: newRule("a")},
		{name: "R4, IPv6", stored: []client.Object{newRule("b", withHost("2001:db8::1"))}, rule: newRule("a", withHost("2001:db8::1")),
			want: []string{"spec.endpoint FieldValueDuplicate"}},

		{name: "R5, allowed", stored: []client.Object{team("443, 80-90")}, rule: newRule("a")},
		{name: "R5, not allowed", stored: []client.Object{team("8000-9000,443")}, rule: newRule("a"), want: []string{"spec.endpoint.port FieldValueForbidden"},
			message: `port 80 is not among those that namespace "team" allows: 8000-9000,443`},
		{name: "R5 as v1", stored: []client.Object{team("443")}, rule: newRule("a"), version: "v1", want: []string{"spec.port FieldValueForbidden"}},
		{name: "R5, malformed", stored: []client.Object{team("80-")}, rule: newRule("a"), want: []string{"spec.endpoint.port FieldValueForbidden"},
			message: `of namespace "team" is malformed: "80-" is not a port`},
		{name: "R5, empty", stored: []client.Object{team("")}, rule: newRule("a"), want: []string{"spec.endpoint.port FieldValueForbidden"}, message: "malformed"},

		{name: "R6, set by the mutating webhook", rule: newRule("a", withAnnotation(api.RequestedBy, user))},
		{name: "R6, changed after it", rule: newRule("a", withAnnotation(api.RequestedBy, "root")), want: []string{annotations}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, dryRun := range []bool{false, true} {
				req := request(t, "CREATE", tt.rule, nil)
				req.DryRun = &dryRun
				if tt.version != "" {
					req.RequestKind.Version = tt.version
				}
				answer := review(t, install(t, newClient(t, tt.stored...), all), PathValidate, req)
				if got := causes(answer); !slices.Equal(got, tt.want) || answer.Allowed != (tt.want == nil) {
					t.Errorf("blamed %v, want %v: %v", got, tt.want, answer.Result)
				}
				if !answer.Allowed && (answer.Result.Code != http.StatusUnprocessableEntity || answer.Result.Reason != metav1.StatusReasonInvalid ||
					answer.Result.Details.Name != "a" || answer.Result.Details.Group != group || answer.Result.Details.Kind != api.Kind) {
					t.Errorf("got %+v, want Invalid about the rule", answer.Result)
				}
				if !strings.Contains(answer.Result.Message, tt.message) {
					t.Errorf("got %q, want %q in it", answer.Result.Message, tt.message)
				}
			}
		})
	}
}

// The mutating webhook's guard is the mutating webhook's.
func TestValidateLeavesAnnotationAlone(t *testing.T) {
	handler := install(t, newClient(t), Options{Group: group, Validating: true})
	for _, req := range []*admissionv1.AdmissionRequest{
		request(t, "CREATE", newRule("a", withAnnotation(api.RequestedBy, "root")), nil),
		request(t, "UPDATE", newRule("a", withAnnotation(api.RequestedBy, "root")), newRule("a")),
	} {
		if answer := review(t, handler, PathValidate, req); !answer.Allowed {
			t.Errorf("%s: got %v", req.Operation, answer.Result)
		}
	}
}

func TestValidateUpdate(t *testing.T) {
	annotations := "metadata.annotations[" + api.RequestedBy + "] FieldValueForbidden"
	byAlice := withAnnotation(api.RequestedBy, user)
	for _, tt := range []struct {
		name      string
		old, rule *v2.PortRule
		want      []string
	}{
		{"nothing", newRule("a"), newRule("a"), nil},
		{"replicas", newRule("a"), newRule("a", withReplicas(3)), nil},
		{"R3", newRule("a"), newRule("a", withHost("10.0.0.4"), withPort(81), func(r *v2.PortRule) { r.Spec.Endpoint.Protocol = "udp" }),
			[]string{"spec.endpoint.host FieldValueInvalid", "spec.endpoint.port FieldValueInvalid", "spec.endpoint.protocol FieldValueInvalid"}},
		{"R3, default spelt out", newRule("a"), newRule("a", func(r *v2.PortRule) { r.Spec.Endpoint.Protocol = "tcp" }), nil},
		{"R1", newRule("a"), newRule("a", withReplicas(101)), []string{"spec.replicas FieldValueInvalid"}},
		{"R1, wrong before", newRule("a", withReplicas(101)), newRule("a", withReplicas(101), withAnnotation("a", "b")), nil},
		{"R1, wrong in another way", newRule("a", withReplicas(101)), newRule("a", withReplicas(102)), []string{"spec.replicas FieldValueInvalid"}},
		{"R1, put right", newRule("a", withReplicas(101)), newRule("a", withReplicas(100)), nil},
		{"R5 is for creations", newRule("a", withPort(22)), newRule("a", withPort(22)), nil},
		{"R6", newRule("a", byAlice), newRule("a", byAlice), nil},
		{"R6, removed", newRule("a", byAlice), newRule("a"), []string{annotations}},
		{"R6, added", newRule("a"), newRule("a", byAlice), []string{annotations}},
		{"R6, changed", newRule("a", byAlice), newRule("a", withAnnotation(api.RequestedBy, "bob")), []string{annotations}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := review(t, install(t, newClient(t, team("443")), all), PathValidate, request(t, "UPDATE", tt.rule, tt.old))
			if got := causes(answer); !slices.Equal(got, tt.want) || answer.Allowed != (tt.want == nil) {
				t.Errorf("blamed %v, want %v: %v", got, tt.want, answer.Result)
			}
		})
	}
}

// A rule that cannot be checked is not let in.
func TestValidateFailsClosed(t *testing.T) {
	down := errors.New("connection refused")
	for name, funcs := range map[string]interceptor.Funcs{
		"read which ports": {Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		}},
		"list the rules": {List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return down }},
	} {
		answer := review(t, install(t, interceptor.NewClient(newClient(t), funcs), all), PathValidate, request(t, "CREATE", newRule("a"), nil))
		if answer.Allowed || answer.Result.Code != http.StatusInternalServerError || !strings.Contains(answer.Result.Message, name) {
			t.Errorf("got %v, want an internal error that says %q", answer.Result, name)
		}
	}
}
