// Package rulesincel checks lab 3: rules that the learner writes in CEL into the schema of
// a CustomResourceDefinition.
//
// No rule is read. The check gives the CRD to the kube-apiserver under a group of its own,
// sends objects that are to be accepted or refused, and judges the answers: whether they
// are refusals, of which field, and in which words. The copy has one more version, of
// which the schema says nothing. What is stored through that one is as old objects are:
// they were there before the rules.
package rulesincel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 3.
var Exercise = lab.Exercise{Check: check, Clean: clean}

const crdFile, manifestFile = "crd.yaml", "http.yaml"

// The versions of the copy: the learner's, and one without any rule.
const ruled, unruled = "v1", "v1alpha1"

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if finding := s.YAML(crdFile, crd); finding != nil {
		return finding, nil
	}
	if finding := checkNames(s, crd); finding != nil {
		return finding, nil
	}
	example, finding := readExample(s)
	if finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	client, err := apiextensions.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	t := &trial{Session: s, admin: admin, client: client, example: example}
	if finding, err := t.try(ctx, crd); finding != nil || err != nil {
		return finding, err
	}
	return checkApplied(ctx, s, client, crd)
}

// found is a finding about the learner's CRD.
func found(s *lab.Session, id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: s.Where(crdFile) + ": " + where, Found: found, Expected: expected}
}

// checkNames looks at what has nothing to do with rules.
func checkNames(s *lab.Session, crd *apiextensionsv1.CustomResourceDefinition) *lab.Finding {
	group, resource := s.Constant("group"), s.Constant("resource")
	for _, name := range []struct{ where, got, want string }{
		{"kind", crd.Kind, "CustomResourceDefinition"},
		{"metadata.name", crd.Name, resource + "." + group},
		{"spec.group", crd.Spec.Group, group},
		{"spec.names.kind", crd.Spec.Names.Kind, s.Constant("kind")},
		{"spec.names.plural", crd.Spec.Names.Plural, resource},
		{"spec.names.shortNames", strings.Join(crd.Spec.Names.ShortNames, " "), s.Constant("shortName")},
		{"spec.scope", string(crd.Spec.Scope), string(apiextensionsv1.NamespaceScoped)},
	} {
		if name.got == "" {
			name.got = "nothing"
		}
		if name.got != name.want {
			return found(s, "names", name.where, name.got, name.want)
		}
	}
	if len(crd.Spec.Versions) != 1 || crd.Spec.Versions[0].Name != ruled || !crd.Spec.Versions[0].Served || !crd.Spec.Versions[0].Storage {
		return found(s, "names", "spec.versions", fmt.Sprintf("%d versions", len(crd.Spec.Versions)), "one, "+ruled+", served and stored")
	}
	return nil
}

// readExample reads the spec of the manifest that every check begins with.
func readExample(s *lab.Session) (map[string]any, *lab.Finding) {
	var object struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              map[string]any `json:"spec"`
	}
	if finding := s.YAML(manifestFile, &object); finding != nil {
		return nil, finding
	}
	for _, field := range []string{"name", "host", "port"} {
		if object.Spec[field] == nil {
			return nil, &lab.Finding{ID: lab.YAMLBroken, Where: s.Where(manifestFile), Found: "no spec." + field, Expected: "the manifest as it is in start/"}
		}
	}
	return object.Spec, nil
}

// trial tries the learner's CRD out, under a group that nobody uses.
type trial struct {
	*lab.Session
	admin   *rest.Config
	client  apiextensions.Interface
	example map[string]any
	group   string
}

func (t *trial) try(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (*lab.Finding, error) {
	t.group = lab.Scratch() + "." + t.Constant("group")
	copied := crd.DeepCopy()
	copied.ObjectMeta = metav1.ObjectMeta{Name: t.Constant("resource") + "." + t.group}
	copied.Spec.Group = t.group
	// two kinds of one short name are in each other's way
	copied.Spec.Names.ShortNames = nil
	copied.Spec.Versions = append(copied.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{
		Name: unruled, Served: true,
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
			Type: "object", XPreserveUnknownFields: ptr.To(true),
		}},
	})
	crds := t.client.ApiextensionsV1().CustomResourceDefinitions()
	_, err := crds.Create(ctx, copied, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return t.crdRefused(err), nil
	}
	if err != nil {
		return nil, fmt.Errorf("try the CRD out: %w", err)
	}
	t.Cleanup(func() error {
		return crds.Delete(context.WithoutCancel(ctx), copied.Name, metav1.DeleteOptions{})
	})
	t.Verified("the kube-apiserver accepts the CRD: it can afford your rules")
	if err := t.served(ctx); err != nil {
		return nil, err
	}
	for _, ask := range []func(context.Context) (*lab.Finding, error){t.accepted, t.together, t.endpoint, t.protocol, t.sources, t.old} {
		if finding, err := ask(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// ruleValue is a rule as the kube-apiserver shows it in a refusal, before it says what is
// wrong with it.
var ruleValue = regexp.MustCompile(`^Invalid value: \{"Rule":.*\}: `)

// crdRefused is the finding of a CRD that the kube-apiserver does not take: too costly, or
// wrong in another way.
func (t *trial) crdRefused(err error) *lab.Finding {
	finding := &lab.Finding{ID: "crd-refused", Where: t.Where(crdFile), Found: err.Error(), Expected: "a CustomResourceDefinition that the kube-apiserver accepts"}
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for i, cause := range status.Status().Details.Causes {
			text := cause.Field + ": " + ruleValue.ReplaceAllString(cause.Message, "")
			costly := strings.Contains(cause.Message, "exceeds budget")
			// the first one is why there are the others, unless it is about the cost
			if i == 0 || costly {
				finding.Found = text
			}
			if costly {
				finding.ID, finding.Expected = "too-costly", "rules that the kube-apiserver can afford, however large an object is"
				if strings.HasSuffix(cause.Field, ".messageExpression") {
					finding.ID = "message-too-costly"
				}
				break
			}
		}
	}
	finding.Found = strings.ReplaceAll(strings.ReplaceAll(finding.Found, "spec.versions[0].schema.", ""), t.group, t.Constant("group"))
	return finding
}

// path is where the objects of the trial are.
func (t *trial) path(version, name string) string {
	path := "/apis/" + t.group + "/" + version + "/namespaces/" + t.Lab.Namespace() + "/" + t.Constant("resource")
	if name != "" {
		path += "/" + name
	}
	return path
}

// served waits until both versions of the trial are.
func (t *trial) served(ctx context.Context) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		for _, version := range []string{ruled, unruled} {
			reply, err := lab.Send(ctx, t.admin, http.MethodGet, t.path(version, ""), "", "")
			if err != nil {
				return false, err
			}
			if reply.Status != http.StatusOK {
				last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
				return false, nil
			}
		}
		return true, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the CRD is accepted and not served after %s: %s", lab.SettleTimeout, last)
	}
	return err
}

// answer is what the kube-apiserver says to an object: what has become of it, or why it
// is refused.
type answer struct {
	status  int
	message string
	causes  []metav1.StatusCause
	object  map[string]any
}

func (a *answer) accepted() bool { return a.status == http.StatusOK || a.status == http.StatusCreated }

func (a *answer) spec() map[string]any {
	spec, _ := a.object["spec"].(map[string]any)
	return spec
}

func (t *trial) send(ctx context.Context, method, path string, object map[string]any) (*answer, error) {
	var body []byte
	if object != nil {
		var err error
		if body, err = json.Marshal(object); err != nil {
			return nil, err
		}
	}
	reply, err := lab.Send(ctx, t.admin, method, path, "application/json", string(body))
	if err != nil {
		return nil, err
	}
	got := &answer{status: reply.Status, message: strings.ReplaceAll(reply.Message(), t.group, t.Constant("group"))}
	if got.accepted() {
		return got, json.Unmarshal(reply.Body, &got.object)
	}
	var status metav1.Status
	if err := json.Unmarshal(reply.Body, &status); err == nil && status.Details != nil {
		got.causes = status.Details.Causes
	}
	if got.status != http.StatusUnprocessableEntity && got.status != http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, got.status, got.message)
	}
	return got, nil
}

// object is one of the trial: the example with some fields changed. A field that becomes
// nil is left out.
func (t *trial) object(version, name string, change map[string]any) map[string]any {
	spec := runtime.DeepCopyJSON(t.example)
	edit(spec, change)
	return map[string]any{
		"apiVersion": t.group + "/" + version, "kind": t.Constant("kind"),
		"metadata": map[string]any{"name": name}, "spec": spec,
	}
}

func edit(spec, change map[string]any) {
	maps.Copy(spec, change)
	maps.DeleteFunc(spec, func(_ string, value any) bool { return value == nil })
}

// create creates an object, and does not keep it.
func (t *trial) create(ctx context.Context, change map[string]any) (*answer, error) {
	return t.send(ctx, http.MethodPost, t.path(ruled, "")+"?dryRun=All", t.object(ruled, "new", change))
}

// keep makes an object that was there before the rules.
func (t *trial) keep(ctx context.Context, name string, change map[string]any) error {
	got, err := t.send(ctx, http.MethodPost, t.path(unruled, ""), t.object(unruled, name, change))
	if err == nil && !got.accepted() {
		err = errors.New(got.message)
	}
	if err != nil {
		return fmt.Errorf("make an object of a version without rules: %w", err)
	}
	return nil
}

// update changes an object that was kept, and does not keep the change.
func (t *trial) update(ctx context.Context, name string, change map[string]any) (*answer, error) {
	got, err := t.send(ctx, http.MethodGet, t.path(ruled, name), nil)
	if err != nil {
		return nil, err
	}
	spec := got.spec()
	if spec == nil {
		return nil, fmt.Errorf("the object %s of the trial has no spec", name)
	}
	edit(spec, change)
	return t.send(ctx, http.MethodPut, t.path(ruled, name)+"?dryRun=All", got.object)
}

func (t *trial) found(id, where, says, expected string) *lab.Finding {
	return found(t.Session, id, where, says, expected)
}

// unexpected is the finding of a refusal that there should not be. It is another one if a
// rule asks for a field that is not there.
func (t *trial) unexpected(id, where string, got *answer, expected string) *lab.Finding {
	if strings.Contains(got.message, "no such key") {
		id = "no-such-key"
	}
	return t.found(id, where, got.message, expected)
}

// refusal judges the words of a refusal: the field that it names, and whether a reader
// who knows no CEL understands it. It returns the message about that field.
func (t *trial) refusal(got *answer, id, where, field string) (metav1.StatusCause, *lab.Finding) {
	for _, cause := range got.causes {
		if cause.Field != field {
			continue
		}
		if strings.Contains(cause.Message, "failed rule:") {
			return cause, t.found("raw-rule", where, got.message, "a message in words, which people understand who know no CEL")
		}
		return cause, nil
	}
	return metav1.StatusCause{}, t.found(id, where, got.message, "a refusal that names "+field)
}

// accepted asks for what people know, and whether all that the lab speaks of is kept.
func (t *trial) accepted(ctx context.Context) (*lab.Finding, error) {
	got, err := t.create(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !got.accepted() {
		return t.unexpected("example-refused", manifestFile, got, "accepted, as it has been since 2022"), nil
	}
	sent := map[string]any{"protocol": "udp", t.Constant("timeout"): 60, "sources": []any{t.Constant("range")}}
	if got, err = t.create(ctx, sent); err != nil {
		return nil, err
	}
	where := fmt.Sprintf("a rule with protocol, %s and sources", t.Constant("timeout"))
	if !got.accepted() {
		return t.unexpected("example-refused", where, got, "accepted: no rule is broken"), nil
	}
	for field := range sent {
		if _, kept := got.spec()[field]; !kept {
			return t.found("field-dropped", where, "spec."+field+" is dropped", "every field of start/crd.yaml is kept"), nil
		}
	}
	return nil, nil
}

// together asks for a timeout and permanence in one rule.
func (t *trial) together(ctx context.Context) (*lab.Finding, error) {
	timeout, permanent := t.Constant("timeout"), t.Constant("misspelt")
	where := "a rule with " + timeout + " and " + permanent + ": true"
	both := map[string]any{timeout: 60, permanent: true}
	if err := t.keep(ctx, "passing", map[string]any{timeout: 60}); err != nil {
		return nil, err
	}
	later, err := t.update(ctx, "passing", both)
	if err != nil {
		return nil, err
	}
	got, err := t.create(ctx, both)
	switch {
	case err != nil:
		return nil, err
	case got.accepted() && later.accepted():
		return t.found("together", where, "accepted", "refused, with a message about spec."+timeout), nil
	case got.accepted():
		return t.found("not-at-creation", where, "accepted if it is new, refused if it is an update", "refused either way"), nil
	case later.accepted():
		return t.found("not-at-update", where, "refused if it is new, accepted as an update of a rule with "+timeout+" alone", "refused either way"), nil
	}
	cause, finding := t.refusal(got, "together-field", where, "spec."+timeout)
	if finding != nil {
		return finding, nil
	}
	if !strings.Contains(cause.Message, permanent) {
		return t.found("together-words", where, got.message, "a message that says what "+timeout+" does not go with: "+permanent), nil
	}
	if wanted := t.Constant("reason"); string(cause.Type) != wanted {
		return t.found("together-reason", where, fmt.Sprintf("the reason %s: %s", cause.Type, cause.Message), "the reason "+wanted), nil
	}
	for _, test := range []struct {
		where string
		spec  map[string]any
	}{
		{"a rule with " + timeout + " alone", map[string]any{timeout: 60}},
		{"a rule with " + permanent + ": true alone", map[string]any{permanent: true}},
		{"a rule with " + timeout + " and " + permanent + ": false", map[string]any{timeout: 60, permanent: false}},
	} {
		got, err := t.create(ctx, test.spec)
		if err != nil {
			return nil, err
		}
		if !got.accepted() {
			return t.unexpected("together-too-much", test.where, got, "accepted"), nil
		}
	}
	t.Verified("%s and %s: true exclude each other, and the refusal names spec.%s", timeout, permanent, timeout)
	return nil, nil
}

// endpoint tries to change what cannot be changed.
func (t *trial) endpoint(ctx context.Context) (*lab.Finding, error) {
	if err := t.keep(ctx, "web", map[string]any{"protocol": "tcp"}); err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(t.Constant("anotherPort"))
	if err != nil {
		return nil, err
	}
	for _, test := range []struct {
		field string
		value any
	}{
		{"host", "10.0.0.4"},
		{"port", port},
		{"protocol", "udp"},
	} {
		where := fmt.Sprintf("an update to %s: %v", test.field, test.value)
		got, err := t.update(ctx, "web", map[string]any{test.field: test.value})
		if err != nil {
			return nil, err
		}
		if got.accepted() {
			return t.found("endpoint", where, "accepted", "refused, with a message about spec."+test.field), nil
		}
		cause, finding := t.refusal(got, "endpoint-field", where, "spec."+test.field)
		if finding != nil {
			return finding, nil
		}
		// the new value is in every message
		was := fmt.Sprint(t.example["port"])
		if test.field == "port" && !regexp.MustCompile(`\b`+regexp.QuoteMeta(was)+`\b`).MatchString(cause.Message) {
			return t.found("old-value", where, cause.Message, "a message that says which port it is: "+was), nil
		}
	}
	change := map[string]any{"name": "another", t.Constant("timeout"): 30}
	got, err := t.update(ctx, "web", change)
	if err != nil {
		return nil, err
	}
	if !got.accepted() {
		return t.unexpected("endpoint-too-much", "an update to name and "+t.Constant("timeout"), got, "accepted: host, port and protocol are as they were"), nil
	}
	t.Verified("host, port and protocol cannot be changed, and all else can")
	return nil, nil
}

// protocol tries to get round that, with a field that may be left out.
func (t *trial) protocol(ctx context.Context) (*lab.Finding, error) {
	if err := t.keep(ctx, "unsaid", nil); err != nil {
		return nil, err
	}
	if err := t.keep(ctx, "said", map[string]any{"protocol": "udp"}); err != nil {
		return nil, err
	}
	for _, test := range []struct {
		where, name string
		protocol    any
	}{
		{"an update that leaves protocol: udp out", "said", nil},
		{"an update to protocol: udp of a rule that says none", "unsaid", "udp"},
	} {
		got, err := t.update(ctx, test.name, map[string]any{"protocol": test.protocol})
		if err != nil {
			return nil, err
		}
		if got.accepted() && got.spec()["protocol"] != "udp" || got.accepted() && test.protocol != nil {
			return t.found("protocol-absent", test.where, "accepted", "refused: a rule without protocol is one for tcp, and that cannot be changed"), nil
		}
		if got.accepted() {
			continue // it is what it was
		}
		if _, finding := t.refusal(got, "endpoint-field", test.where, "spec.protocol"); finding != nil {
			return finding, nil
		}
	}
	got, err := t.update(ctx, "unsaid", map[string]any{"name": "another"})
	if err != nil {
		return nil, err
	}
	if !got.accepted() {
		return t.unexpected("endpoint-too-much", "an update to the name of a rule that says no protocol", got, "accepted"), nil
	}
	t.Verified("a protocol that is left out is tcp, and cannot be changed either")
	return nil, nil
}

// sources asks for lists of ranges.
func (t *trial) sources(ctx context.Context) (*lab.Finding, error) {
	most, err := strconv.Atoi(t.Constant("maxSources"))
	if err != nil {
		return nil, err
	}
	list := func(sources ...string) map[string]any {
		var values []any
		for _, source := range sources {
			values = append(values, source)
		}
		return map[string]any{"sources": values}
	}
	apart := func(n int) (sources []string) {
		for i := range n {
			sources = append(sources, fmt.Sprintf("10.%d.0.0/16", i+1))
		}
		return sources
	}
	outer, inner, bad := t.Constant("range"), t.Constant("innerRange"), t.Constant("badRange")
	const whole, second = "spec.sources", "spec.sources[1]"
	for _, test := range []struct {
		id, where string
		sources   []string
		refused   []string // the fields of which one must be named, none if it must be accepted
	}{
		{"sources-too-many", fmt.Sprintf("a rule with %d sources", most+1), apart(most + 1), []string{whole}},
		{"sources-too-much", fmt.Sprintf("a rule with %d sources", most), apart(most), nil},
		{"sources-text", "sources: [" + outer + ", " + bad + "]", []string{outer, bad}, []string{second}},
		{"sources-text", "sources: [" + outer + ", somewhere]", []string{outer, "somewhere"}, []string{second}},
		{"sources-within", "sources: [" + outer + ", " + inner + "]", []string{outer, inner}, []string{whole, second}},
		{"sources-within", "sources: [" + inner + ", " + outer + "]", []string{inner, outer}, []string{whole, "spec.sources[0]"}},
		{"sources-too-much", "sources: [" + inner + "]", []string{inner}, nil},
		{"sources-too-much", "sources: [" + outer + ", 2001:db8::/32]", []string{outer, "2001:db8::/32"}, nil},
		{"sources-too-much", "sources: [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128]", []string{"2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128"}, nil},
	} {
		got, err := t.create(ctx, list(test.sources...))
		switch {
		case err != nil:
			return nil, err
		case len(test.refused) == 0 && !got.accepted():
			return t.found(test.id, test.where, got.message, "accepted"), nil
		case len(test.refused) == 0:
		case got.accepted():
			return t.found(test.id, test.where, "accepted", "refused, with a message about "+test.refused[0]), nil
		default:
			if finding := t.oneRefusal(got, test.where, test.refused); finding != nil {
				return finding, nil
			}
		}
	}
	t.Verified("at most %d sources, each a range of addresses and none within another", most)
	return nil, nil
}

// oneRefusal judges a refusal that may name one of several fields.
func (t *trial) oneRefusal(got *answer, where string, fields []string) *lab.Finding {
	var first *lab.Finding
	for _, field := range fields {
		_, finding := t.refusal(got, "sources-field", where, field)
		if finding == nil {
			return nil
		}
		if first == nil || finding.ID == "raw-rule" {
			first = finding
		}
	}
	return first
}

// old changes objects that were there before the rules, and break them.
func (t *trial) old(ctx context.Context) (*lab.Finding, error) {
	timeout, permanent := t.Constant("timeout"), t.Constant("misspelt")
	both := map[string]any{timeout: 60, permanent: true}
	ranges := map[string]any{"sources": []any{t.Constant("range"), t.Constant("badRange")}}
	for _, test := range []struct {
		name, where, id string
		spec            map[string]any
	}{
		{"both", "an old rule with " + timeout + " and " + permanent + ": true", "old-together", both},
		{"ranges", fmt.Sprintf("an old rule with sources %v", ranges["sources"]), "old-sources", ranges},
	} {
		if err := t.keep(ctx, test.name, test.spec); err != nil {
			return nil, err
		}
		got, err := t.update(ctx, test.name, map[string]any{"name": "another"})
		if err != nil {
			return nil, err
		}
		if !got.accepted() {
			id := test.id
			if strings.Contains(got.message, "evaluating rule") {
				id = "old-breaks-off"
			}
			return t.found(id, test.where+" gets another name", got.message, "accepted: nothing is changed that was wrong before"), nil
		}
	}
	got, err := t.update(ctx, "ranges", map[string]any{"sources": []any{t.Constant("badRange"), t.Constant("innerRange")}})
	if err != nil {
		return nil, err
	}
	if got.accepted() {
		return t.found("old-anything", "an old rule gets other sources, one of which is "+t.Constant("badRange"), "accepted", "refused: what is changed must be right"), nil
	}
	got, err = t.update(ctx, "both", map[string]any{timeout: nil})
	if err != nil {
		return nil, err
	}
	if !got.accepted() {
		return t.found("old-together", "an old rule with "+timeout+" and "+permanent+": true is put right", got.message, "accepted"), nil
	}
	t.Verified("old rules that break yours can be changed elsewhere")
	return nil, nil
}

// checkApplied looks whether the cluster has what the file says.
func checkApplied(ctx context.Context, s *lab.Session, client apiextensions.Interface, crd *apiextensionsv1.CustomResourceDefinition) (*lab.Finding, error) {
	applied, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, crd.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &lab.Finding{
			ID: "not-applied", Where: "the cluster", Found: "no CustomResourceDefinition " + crd.Name, Expected: "the one in " + s.Where(crdFile),
		}, nil
	}
	if err != nil {
		return nil, err
	}
	if len(applied.Spec.Versions) != 1 || !equality.Semantic.DeepEqual(applied.Spec.Versions[0].Schema, crd.Spec.Versions[0].Schema) {
		return &lab.Finding{
			ID: "applied-differs", Where: "the cluster: CustomResourceDefinition " + crd.Name,
			Found: "another schema than in " + s.Where(crdFile), Expected: "the schema of the file",
		}, nil
	}
	s.Verified("the cluster has the CustomResourceDefinition of %s", crdFile)
	return nil, nil
}

// clean removes the learner's CRD, and with it every object of the kind.
func clean(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	client, err := apiextensions.NewForConfig(admin)
	if err != nil {
		return err
	}
	name := s.Constant("resource") + "." + s.Constant("group")
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	if err := crds.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := crds.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}
