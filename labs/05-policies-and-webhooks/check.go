// Package policiesandwebhooks checks lab 5: a policy in CEL for the ports that a namespace
// allows (R5), and a webhook, with its configuration, that lets no endpoint be taken twice (R4).
//
// The check tries the learner's files out under a group and in namespaces of its own (trial.go):
// it creates what must be let in and what must not, and listens to the kube-apiserver. How
// often the webhook is called it counts by the kube-apiserver's metrics, how often the webhook asks
// back by a relay that it puts between them. Then it does the same, once, with what the
// learner has applied (applied.go).
package policiesandwebhooks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 5.
var Exercise = lab.Exercise{Check: check, Prepare: prepare, Clean: clean}

const (
	policyFile        = "policy.yaml"
	programFile       = "main.go"
	configurationFile = "webhook.yaml"
	answersFile       = "answers.yaml"
)

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	policies, finding := readPolicies(s)
	if finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	finding, err = tryOut(ctx, &trial{Session: s, admin: admin, name: lab.Scratch()}, policies)
	if stranger := (*strangerError)(nil); errors.As(err, &stranger) {
		return &lab.Finding{
			ID: "blocked", Where: "the cluster: " + stranger.who, Found: stranger.said,
			Expected: "it is asked about PortRules of " + s.Constant("group") + ", and about nothing else",
		}, nil
	}
	return finding, err
}

// tryOut goes through the files in the order in which the README has them written.
func tryOut(ctx context.Context, t *trial, policies *policies) (*lab.Finding, error) {
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	// the policy takes about a second to be in force, and so does the compiler
	ctx, cancel := context.WithCancel(ctx)
	built := t.build(ctx)
	defer func() { cancel(); <-built.done }()
	if finding, err := t.policy(ctx, policies); finding != nil || err != nil {
		return finding, err
	}
	<-built.done
	if built.finding != nil || built.err != nil {
		return built.finding, built.err
	}
	t.Verified("%s compiles", programFile)
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if finding := t.YAML(configurationFile, configuration); finding != nil {
		return finding, nil
	}
	measured, finding, err := t.webhook(ctx, built.program, configuration)
	if finding != nil || err != nil {
		return finding, err
	}
	var given answers
	if finding := t.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	if finding := t.compare(&given, measured); finding != nil {
		return finding, nil
	}
	return t.applied(ctx, policies, configuration)
}

// policies are what policy.yaml has.
type policies struct {
	policy   *admissionregistrationv1.ValidatingAdmissionPolicy
	bindings []*admissionregistrationv1.ValidatingAdmissionPolicyBinding
}

// readPolicies reads policy.yaml: one policy and what binds it.
func readPolicies(s *lab.Session) (*policies, *lab.Finding) {
	data, finding := s.Read(policyFile)
	if finding != nil {
		return nil, finding
	}
	found := func(id, found, expected string) (*policies, *lab.Finding) {
		return nil, &lab.Finding{ID: id, Where: s.Where(policyFile), Found: found, Expected: expected}
	}
	const expected = "one ValidatingAdmissionPolicy, and a ValidatingAdmissionPolicyBinding"
	p := &policies{}
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var fields map[string]any
		if err == nil {
			err = yaml.Unmarshal(document, &fields)
		}
		if err != nil {
			return found(lab.YAMLBroken, strings.TrimPrefix(err.Error(), "error converting YAML to JSON: yaml: "), expected)
		}
		if len(fields) == 0 {
			continue // nothing but comments
		}
		switch kind := fields["kind"]; kind {
		case "ValidatingAdmissionPolicy":
			if p.policy != nil {
				return found("policy-kind", "two policies", expected)
			}
			p.policy = &admissionregistrationv1.ValidatingAdmissionPolicy{}
			err = yaml.UnmarshalStrict(document, p.policy)
		case "ValidatingAdmissionPolicyBinding":
			binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
			err = yaml.UnmarshalStrict(document, binding)
			p.bindings = append(p.bindings, binding)
		case nil:
			return found("policy-kind", "a document without kind", expected)
		default:
			return found("policy-kind", fmt.Sprintf("a %v", kind), expected)
		}
		if err != nil {
			text := strings.TrimPrefix(err.Error(), "error unmarshaling JSON: ")
			return found(lab.YAMLBroken, strings.TrimPrefix(text, "while decoding JSON: "), "the fields that a policy and a binding have")
		}
	}
	if p.policy == nil {
		return found("policy-kind", "no policy", expected)
	}
	if len(p.bindings) == 0 {
		return found("no-binding", "a policy that nothing binds", "a ValidatingAdmissionPolicyBinding too: without one nobody asks the policy")
	}
	for _, binding := range p.bindings {
		if binding.Spec.PolicyName != p.policy.Name {
			return found("binding-name", fmt.Sprintf("a binding of %q", binding.Spec.PolicyName), "a binding of "+p.policy.Name)
		}
	}
	return p, nil
}

// found is a finding about a file, which says what the kube-apiserver says without the names
// of the trial.
func (t *trial) found(id, file, what, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: t.Where(file) + what, Found: t.real(found), Expected: expected}
}

// real puts the real names in place of those of the trial.
func (t *trial) real(text string) string {
	return strings.NewReplacer(t.name+".", "", t.group, t.Constant("group")).Replace(text)
}

// renamed is the metadata of a copy.
func (t *trial) renamed(meta metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: t.name + "." + meta.Name}
}
