package twoversions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"portrule.example/lab/labs/06-two-versions/converter"
	"portrule.example/lab/labs/06-two-versions/stored"
	"portrule.example/lab/labs/lab"
)

// webhook is the name of the process.
const webhook = "webhook"

// answerTimeout bounds the wait for the learner's webhook.
const answerTimeout = 10 * time.Second

// trial is a copy of the learner's CRD under a group that nobody uses, for which the learner's
// webhook converts. Its storage version is v2, whatever the learner has got to.
type trial struct {
	*look
	group string
}

// What the rules of the trial carry besides their spec.
const label, annotation, kept = "app", "example.org/note", "kept"

// convert tries the conversion out.
func (t *trial) convert(ctx context.Context, program string) (*lab.Finding, error) {
	t.group = lab.Scratch() + "." + t.Constant("group")
	for _, step := range []func(context.Context) (*lab.Finding, error){
		func(ctx context.Context) (*lab.Finding, error) { return t.serve(ctx, program) }, t.fromV1, t.fromV2, t.roundTrip, t.status,
	} {
		if finding, err := step(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// found is a finding about the learner's conversion.
func (t *trial) found(id, what, found, expected string) (*lab.Finding, error) {
	return &lab.Finding{ID: id, Where: t.Where(mainFile) + ": " + what, Expected: expected,
		Found: strings.ReplaceAll(strings.TrimSpace(found), t.group, t.Constant("group"))}, nil
}

// serve starts the learner's webhook and makes the copy of the CRD.
func (t *trial) serve(ctx context.Context, program string) (*lab.Finding, error) {
	port, err := t.FreePort()
	if err != nil {
		return nil, err
	}
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	certs := group.Path("certs")
	server, err := t.Start(webhook, program, "--host", t.Host(), "--port", strconv.Itoa(port), "--certs", certs)
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(context.Context) (bool, error) {
		data, err := os.ReadFile(group.LogPath(webhook))
		return server.Ended() || bytes.Contains(data, []byte(converter.Ready)), err
	})
	if err != nil && !wait.Interrupted(err) || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if err != nil || server.Ended() {
		return t.found("server-ends", "the program", "it does not serve; it says: "+lastWords(group.LogPath(webhook)), "a webhook that serves until it is stopped")
	}
	ca, err := os.ReadFile(filepath.Join(certs, converter.CAFile))
	if err != nil {
		return nil, err
	}
	return t.define(ctx, "https://"+net.JoinHostPort(t.Host(), strconv.Itoa(port))+converter.Path, ca)
}

// lastWords is what a program has said last, without the stack.
func lastWords(log string) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	said := "nothing"
	for line := range strings.Lines(string(data)) {
		for _, sign := range []string{"panic: ", "error: ", "fatal error: "} {
			if strings.HasPrefix(line, sign) {
				said = strings.TrimSpace(line)
			}
		}
	}
	return said
}

// define makes the copy of the CRD, and waits until both versions are served.
func (t *trial) define(ctx context.Context, url string, ca []byte) (*lab.Finding, error) {
	copied := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: t.Constant("resource") + "." + t.group},
		Spec:       *t.crd.Spec.DeepCopy(),
	}
	copied.Spec.Group = t.group
	// two kinds of one short name are in each other's way
	copied.Spec.Names.ShortNames, copied.Spec.Names.Categories = nil, nil
	for i := range copied.Spec.Versions {
		copied.Spec.Versions[i].Storage = copied.Spec.Versions[i].Name == v2
	}
	copied.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ConversionReviewVersions: []string{v1},
			ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: ptr.To(url), CABundle: ca},
		},
	}
	_, err := t.crds.Create(ctx, copied, metav1.CreateOptions{})
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return t.about("crd-refused", crdFile, "a copy of it", strings.ReplaceAll(err.Error(), t.group, t.Constant("group")), "a CustomResourceDefinition that the kube-apiserver accepts")
	}
	if err != nil {
		return nil, fmt.Errorf("try the CRD out: %w", err)
	}
	t.Cleanup(func() error { return t.crds.Delete(context.Background(), copied.Name, metav1.DeleteOptions{}) })
	return nil, t.settled(ctx)
}

// settled waits until both versions can be listed. A list is as fresh as etcd, so nothing
// is left to be converted then.
func (t *trial) settled(ctx context.Context) error {
	for _, version := range []string{v1, v2} {
		last := ""
		err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
			reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/apis/"+t.group+"/"+version+"/"+t.Constant("resource"), "", "")
			if err != nil {
				return false, err
			}
			last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
			return reply.Status == http.StatusOK, nil
		})
		if wait.Interrupted(err) && ctx.Err() == nil {
			err = fmt.Errorf("the rules of the check cannot be listed as %s: %s", version, last)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// path is where a rule is, all of them if the name is empty.
func (t *trial) path(version, name string) string {
	return strings.TrimSuffix("/apis/"+t.group+"/"+version+"/namespaces/"+t.Lab.Namespace()+"/"+t.Constant("resource")+"/"+name, "/")
}

// rule returns a rule with a spec, in JSON.
func (t *trial) rule(version, name, spec string) string {
	return fmt.Sprintf(`{"apiVersion": %q, "kind": %q, "metadata": {"name": %q, "labels": {%q: %q}, "annotations": {%q: %q}}, "spec": %s}`,
		t.group+"/"+version, t.Constant("kind"), name, label, kept, annotation, kept, spec)
}

// create makes a rule, by server-side apply: for two seconds after a CRD is established the
// kube-apiserver keeps every POST waiting.
func (t *trial) create(ctx context.Context, what, version, name, spec string) (*lab.Finding, error) {
	_, finding, err := t.ask(ctx, what, http.MethodPatch, version, name+byApply, t.rule(version, name, spec))
	return finding, err
}

// byApply after a rule's name makes a PATCH a server-side apply.
const byApply = "?fieldManager=check"

// ask sends a request about a rule and returns the rule in the answer. What keeps the
// kube-apiserver from answering is most often the learner's conversion.
func (t *trial) ask(ctx context.Context, what, method, version, name, body string) (map[string]any, *lab.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	contentType := "application/json"
	switch {
	case strings.HasSuffix(name, byApply):
		contentType = "application/apply-patch+yaml"
	case method == http.MethodPatch:
		contentType = "application/merge-patch+json"
	}
	reply, err := lab.Send(ctx, t.admin, method, t.path(version, name), contentType, body)
	if errors.Is(err, context.DeadlineExceeded) {
		finding, _ := t.found("no-answer", what, fmt.Sprintf("no answer within %s", answerTimeout), "a conversion that ends")
		return nil, finding, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if reply.Status < http.StatusBadRequest {
		var object map[string]any
		if err := json.Unmarshal(reply.Body, &object); err != nil {
			return nil, nil, fmt.Errorf("read what the kube-apiserver says: %w", err)
		}
		return object, nil, nil
	}
	id, message := "conversion-fails", reply.Message()
	switch {
	case reply.Status < http.StatusInternalServerError, strings.Contains(message, "typed patch object"): // the schema says so
		finding, _ := t.about("rule-refused", crdFile, what, strings.ReplaceAll(message, t.group, t.Constant("group")), "it is accepted")
		return nil, finding, nil
	case strings.Contains(message, "invalid groupVersion"):
		// with the group of the check, by which one sees what is wrong
		return nil, &lab.Finding{ID: "api-version", Where: t.Where(mainFile) + ": " + what, Found: message, Expected: "apiVersion is desiredAPIVersion, as it was given"}, nil
	case strings.Contains(message, "must have the same") || strings.Contains(message, "metadata"):
		id = "metadata-changed"
	}
	finding, _ := t.found(id, what, fmt.Sprintf("status %d: %s", reply.Status, message), "the rule, converted")
	return nil, finding, nil
}

// field is a field of an object, by its path, with its value in JSON.
type field struct{ path, value string }

// flatten returns the fields of an object, in the order of their paths.
func flatten(path string, value any) []field {
	object, ok := value.(map[string]any)
	if !ok {
		return []field{{path, inJSON(value)}}
	}
	var fields []field
	for name, value := range object {
		fields = append(fields, flatten(path+"."+name, value)...)
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.path, b.path) })
	return fields
}

// at returns the value at a path, in JSON, or says that there is none.
func at(object map[string]any, path string) string {
	var value any = object
	for name := range strings.SplitSeq(path, ".") {
		parent, _ := value.(map[string]any)
		if value = parent[name]; value == nil {
			return nothing
		}
	}
	return inJSON(value)
}

// nothing is said of a field that is not there.
const nothing = "nothing"

func inJSON(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// compare makes sure that a rule has the fields of a spec, in JSON.
func (t *trial) compare(what string, got map[string]any, spec string) (*lab.Finding, error) {
	var want any
	if err := json.Unmarshal([]byte(spec), &want); err != nil {
		return nil, err
	}
	fields := flatten("spec", want)
	if !slices.ContainsFunc(fields, func(f field) bool { return at(got, f.path) == f.value }) {
		return t.found("not-converted", what, "spec: "+inJSON(got["spec"]), "spec: "+spec)
	}
	for _, f := range fields {
		value := at(got, f.path)
		if value == f.value {
			continue
		}
		id := "field-wrong"
		switch {
		case strings.HasSuffix(f.path, "protocol"):
			id = "protocol-lost"
		case f.value == "false":
			id = "false-lost"
		case strings.HasSuffix(f.path, t.Constant("misspelt")), f.path == "spec.permanent" && value == nothing:
			id = "misspelt"
		}
		return t.found(id, what+": "+f.path, value+", of "+inJSON(got["spec"]), f.value)
	}
	return nil, nil
}

// carried makes sure that labels and annotations are there.
func (t *trial) carried(what string, got map[string]any) (*lab.Finding, error) {
	metadata, _ := got["metadata"].(map[string]any)
	for _, has := range []struct{ what, name string }{{"labels", label}, {"annotations", annotation}} {
		// the names have dots in them
		all, _ := metadata[has.what].(map[string]any)
		if all[has.name] != kept {
			return t.found("labels-lost", what+": metadata."+has.what, inJSON(metadata[has.what]), fmt.Sprintf("%s: %s among them, as it was created", has.name, kept))
		}
	}
	return nil, nil
}

// fromV1 makes a rule as people know it, and reads it as v2.
func (t *trial) fromV1(ctx context.Context) (*lab.Finding, error) {
	const spec = `{"name":"nginx","host":"10.0.0.3","port":80,"isPremanent":true}`
	const want = `{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80},"permanent":true}`
	what := "a rule of v1 " + spec
	if finding, err := t.create(ctx, what, v1, "old", spec); finding != nil || err != nil {
		return finding, err
	}
	what += ", read as v2"
	got, finding, err := t.ask(ctx, what, http.MethodGet, v2, "old", "")
	if finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.compare(what, got, want); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.carried(what, got); finding != nil || err != nil {
		return finding, err
	}
	if protocol := at(got, "spec.endpoint.protocol"); protocol != nothing && protocol != `"tcp"` {
		return t.found("field-wrong", what+": spec.endpoint.protocol", protocol, "nothing, or tcp")
	}
	t.Verified("a rule of v1 is the same rule of v2, with its labels and annotations")
	return nil, nil
}

// udp is a rule of v2 that has everything, and whose permanent is false and not absent.
const udp = `{"service":"named","endpoint":{"host":"10.0.0.4","port":53,"protocol":"udp"},"permanent":false}`

// fromV2 makes a rule of v2, and reads it as v1.
func (t *trial) fromV2(ctx context.Context) (*lab.Finding, error) {
	what := "a rule of v2 " + udp
	if finding, err := t.create(ctx, what, v2, "new", udp); finding != nil || err != nil {
		return finding, err
	}
	const permanent = `{"service":"sshd","endpoint":{"host":"10.0.0.5","port":22},"permanent":true}`
	if finding, err := t.create(ctx, "a rule of v2 "+permanent, v2, "permanent", permanent); finding != nil || err != nil {
		return finding, err
	}
	for _, read := range []struct{ name, from, want string }{
		{"permanent", permanent, `{"name":"sshd","host":"10.0.0.5","port":22,"` + t.Constant("misspelt") + `":true}`},
		{"new", udp, `{"name":"named","host":"10.0.0.4","port":53,"` + t.Constant("misspelt") + `":false}`},
	} {
		what := "a rule of v2 " + read.from + ", read as v1"
		got, finding, err := t.ask(ctx, what, http.MethodGet, v1, read.name, "")
		if finding != nil || err != nil {
			return finding, err
		}
		if finding, err := t.compare(what, got, read.want); finding != nil || err != nil {
			return finding, err
		}
		if finding, err := t.carried(what, got); finding != nil || err != nil {
			return finding, err
		}
	}
	t.Verified("a rule of v2 is the same rule of v1, and a false one stays false")
	return nil, nil
}

// roundTrip writes back as v1 what was read as v1, as an old program does, and looks what has
// become of it in v2 and in etcd.
func (t *trial) roundTrip(ctx context.Context) (*lab.Finding, error) {
	what := "a rule of v2 " + udp + ", read as v1 and written back"
	old, finding, err := t.ask(ctx, what, http.MethodGet, v1, "new", "")
	if finding != nil || err != nil {
		return finding, err
	}
	if _, finding, err := t.ask(ctx, what, http.MethodPut, v1, "new", inJSON(old)); finding != nil || err != nil {
		return finding, err
	}
	got, finding, err := t.ask(ctx, what, http.MethodGet, v2, "new", "")
	if finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.compare(what, got, udp); finding != nil || err != nil {
		return finding, err
	}
	if finding, err := t.carried(what, got); finding != nil || err != nil {
		return finding, err
	}
	cluster, err := t.Cluster()
	if err != nil || len(cluster.Etcd) == 0 {
		t.Verified("what an old program reads as v1 and writes back has lost nothing")
		return nil, err
	}
	objects, err := stored.Read(ctx, cluster.Etcd, t.group, t.Constant("resource"))
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if object.Name != t.Lab.Namespace()+"/new" {
			continue
		}
		var spec any
		if err := json.Unmarshal(object.Spec, &spec); err != nil {
			return nil, err
		}
		if finding, err := t.compare(what+", in etcd", map[string]any{"spec": spec}, udp); finding != nil || err != nil {
			return finding, err
		}
	}
	t.Verified("what an old program reads as v1 and writes back has lost nothing, in etcd too")
	return nil, nil
}

// status makes sure that the conversion carries what is neither metadata nor spec.
func (t *trial) status(ctx context.Context) (*lab.Finding, error) {
	const path = "status.observedGeneration"
	what := "a rule of v2 with " + path + ": 7"
	if _, finding, err := t.ask(ctx, what, http.MethodPatch, v2, "new/status", `{"status":{"observedGeneration":7}}`); finding != nil || err != nil {
		return finding, err
	}
	what += ", read as v1"
	got, finding, err := t.ask(ctx, what, http.MethodGet, v1, "new", "")
	if finding != nil || err != nil {
		return finding, err
	}
	if value := at(got, path); value != "7" {
		return t.found("status-lost", what+": "+path, value, "7")
	}
	t.Verified("the status is the same in both versions")
	return nil, nil
}

// remove removes a CRD with its objects, whatever state they are in.
func remove(ctx context.Context, crds apiextensionsclient.CustomResourceDefinitionInterface, name string) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, 2*lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Terminating {
				last = condition.Message
			}
		}
		// The kube-apiserver reads what it removes: in whatever version it is stored, and
		// without a webhook that may have gone.
		if makeReadable(crd) {
			_, err = crds.Update(ctx, crd, metav1.UpdateOptions{})
		}
		if err == nil && crd.DeletionTimestamp == nil {
			err = crds.Delete(ctx, name, metav1.DeleteOptions{})
		}
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = nil // look again
		}
		return false, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the CRD %s is still there after %s: %s", name, lab.SettleTimeout, last)
	}
	return err
}

// makeReadable changes a CRD so that whatever is stored can be read without a webhook. It says
// whether there was anything to change.
func makeReadable(crd *apiextensionsv1.CustomResourceDefinition) (changed bool) {
	if conversion := crd.Spec.Conversion; conversion != nil && conversion.Strategy != apiextensionsv1.NoneConverter {
		crd.Spec.Conversion, changed = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}, true
	}
	for _, name := range []string{v1, v2} {
		if slices.ContainsFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == name }) {
			continue
		}
		crd.Spec.Versions, changed = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{
			Name:   name,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
		}), true
	}
	return changed
}
