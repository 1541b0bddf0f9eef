package policiesandwebhooks

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portrule.example/lab/labs/lab"
)

// policy tries a copy of the learner's policy out.
func (t *trial) policy(ctx context.Context, given *policies) (*lab.Finding, error) {
	// a rule that is older than the policy
	old := rule{"old", "10.0.0.1", 22, ""}
	if reply, err := t.create(ctx, t.admin, limited, "", old); err != nil || reply.Status != http.StatusCreated {
		return nil, fmt.Errorf("create a PortRule: %w", t.unexpected(reply, err))
	}
	if finding, err := t.installPolicies(ctx, given); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.ports(ctx); finding != nil || err != nil {
		return finding, err
	}
	t.Verified("the policy admits the ports that a namespace allows, and all where it says nothing")
	label, err := t.label(ctx, limited, old.name)
	if err != nil {
		return nil, err
	}
	if label.Status != http.StatusOK {
		return t.found("policy-on-update", policyFile, ": a rule that is older than the policy gets a label", label.Message(), "it does: the port is looked at when a rule is created"), nil
	}
	other, err := t.createConfigMap(ctx, limited, "other")
	if err != nil {
		return nil, err
	}
	if other.Status != http.StatusCreated {
		return t.found("policy-too-wide", policyFile, ": a ConfigMap is created in such a namespace", other.Message(), "it is of no concern to the policy"), nil
	}
	t.Verified("it is about new PortRules alone")
	return nil, nil
}

// unexpected is what is said about a reply that is not as it must be.
func (t *trial) unexpected(reply *lab.Reply, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("status %d: %s", reply.Status, t.real(reply.Message()))
}

// label changes a rule, and not its endpoint.
func (t *trial) label(ctx context.Context, kind, name string) (*lab.Reply, error) {
	return t.send(ctx, t.admin, http.MethodPatch, rulesPath(t.group, t.namespace(kind))+"/"+name, "application/merge-patch+json",
		`{"metadata":{"labels":{"changed":"yes"}}}`)
}

// installPolicies makes the copies, and one more policy, to wait for.
func (t *trial) installPolicies(ctx context.Context, given *policies) (*lab.Finding, error) {
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: t.renamed(given.policy.ObjectMeta), Spec: *given.policy.Spec.DeepCopy()}
	if match := policy.Spec.MatchConstraints; match != nil {
		for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{match.ResourceRules, match.ExcludeResourceRules} {
			for i := range rules {
				t.regroup(rules[i].APIGroups)
			}
		}
	}
	policy.Spec.MatchConditions = append(policy.Spec.MatchConditions, t.only())
	if refusal, err := t.install(ctx, policy); refusal != "" || err != nil {
		return t.found("policy-refused", policyFile, "", refusal, "a policy that the kube-apiserver accepts"), err
	}
	for _, binding := range given.bindings {
		copied := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: t.renamed(binding.ObjectMeta), Spec: *binding.Spec.DeepCopy()}
		copied.Spec.PolicyName = policy.Name
		if refusal, err := t.install(ctx, copied); refusal != "" || err != nil {
			return t.found("policy-refused", policyFile, ": the binding", refusal, "a binding that the kube-apiserver accepts"), err
		}
	}
	last := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: t.name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: configMaps,
			}}},
			MatchConditions: []admissionregistrationv1.MatchCondition{t.only(), named(t.name)},
			Validations:     []admissionregistrationv1.Validation{{Expression: "false"}},
		},
	}
	if refusal, err := t.install(ctx, last); refusal != "" || err != nil {
		return nil, fmt.Errorf("make a policy: %s%w", refusal, err)
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: t.name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: t.name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	if refusal, err := t.install(ctx, binding); refusal != "" || err != nil {
		return nil, fmt.Errorf("make a binding: %s%w", refusal, err)
	}
	return nil, t.await(ctx, t.name)
}

// configMaps matches new ConfigMaps.
var configMaps = admissionregistrationv1.RuleWithOperations{
	Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
}

// named matches objects of a name.
func named(name string) admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "name", Expression: fmt.Sprintf("object.metadata.name == %q", name)}
}

// ports asks for a rule of each port, in the namespaces of the trial.
func (t *trial) ports(ctx context.Context) (*lab.Finding, error) {
	const denied = "ValidatingAdmissionPolicy '"
	annotations := t.namespaces()
	for _, ask := range []struct {
		kind    string
		port    int
		allowed bool
		id      string
	}{
		{free, 80, true, "unlimited-refused"},
		{noted, 80, true, "unlimited-refused"},
		{limited, 443, true, "allowed-refused"},
		{limited, 8000, true, "allowed-refused"},
		{limited, 8080, true, "allowed-refused"},
		{limited, 9000, true, "allowed-refused"},
		{others, 53, true, "allowed-refused"},
		{others, 150, true, "allowed-refused"},
		{limited, 80, false, "port-let-in"},
		{limited, 900, false, "port-let-in"},
		{limited, 7999, false, "port-let-in"},
		{limited, 9001, false, "port-let-in"},
		{others, 443, false, "port-let-in"},
		{empty, 443, false, "malformed-let-in"},
		{malformed, 80, false, "malformed-let-in"},
	} {
		reply, err := t.create(ctx, t.admin, ask.kind, dryRun, rule{"new", "10.0.0.2", ask.port, ""})
		if err != nil {
			return nil, err
		}
		where := "a namespace without the annotation"
		if value, ok := annotations[ask.kind].Annotations[t.Constant("annotation")]; ok {
			where = fmt.Sprintf("a namespace that allows %q", value)
		}
		what := fmt.Sprintf(": port %d in %s", ask.port, where)
		message := t.real(reply.Message())
		switch refused := strings.Contains(message, denied); {
		case reply.Status != http.StatusCreated && !refused:
			return nil, fmt.Errorf("create a PortRule: %w", t.unexpected(reply, nil))
		case refused && ask.allowed:
			return t.found(ask.id, policyFile, what, message, "admitted"), nil
		case !refused && !ask.allowed && reply.Header.Get("Warning") != "":
			return t.found("only-warned", policyFile, what, "a warning, and the rule is created", "refused"), nil
		case !refused && !ask.allowed:
			return t.found(ask.id, policyFile, what, "admitted", "refused"), nil
		case refused && ask.kind == limited && !strings.Contains(after(message, "denied request: "), t.Constant("allowed")):
			return t.found("message", policyFile, what, message, "a message that says which ports are allowed: "+t.Constant("allowed")), nil
		}
	}
	return nil, nil
}

// after is what follows a mark in a text.
func after(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	return rest
}
