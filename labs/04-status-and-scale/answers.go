package statusandscale

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"portrule.example/lab/labs/lab"
)

// answers is what the learner has predicted.
type answers struct {
	Generation struct {
		Create     any `json:"create"`
		Label      any `json:"label"`
		Spec       any `json:"spec"`
		Status     any `json:"status"`
		Scale      any `json:"scale"`
		ScaleAgain any `json:"scaleAgain"`
	} `json:"generation"`
	PutStatus   put `json:"putStatus"`
	PutRule     put `json:"putRule"`
	ScaleTooFar struct {
		Code any `json:"code"`
	} `json:"scaleTooFar"`
	ApplyAfterScale struct {
		OtherReplicas any `json:"otherReplicas"`
		NoReplicas    any `json:"noReplicas"`
	} `json:"applyAfterScale"`
}

// put is about a request that changes spec and status.
type put struct {
	Code   any `json:"code"`
	Spec   any `json:"spec"`
	Status any `json:"status"`
}

// predictions does what answers.yaml speaks of, and compares.
func (t *trial) predictions(ctx context.Context, given *answers) (*lab.Finding, error) {
	e := &experiment{trial: t}
	for _, step := range []func(context.Context, *answers) error{e.generations, e.puts, e.tooFar, e.applies} {
		if err := step(ctx, given); err != nil {
			return nil, err
		}
		if e.finding != nil {
			return e.finding, nil
		}
	}
	t.Verified("what you have predicted is what happens: %d answers", e.right)
	return nil, nil
}

// experiment compares predictions with what happens, up to the first that is wrong.
type experiment struct {
	*trial
	right   int
	finding *lab.Finding
}

// freshRule is the name of the rule that the predictions are about. The one that was written
// to before has a past.
const freshRule = "fresh"

// compare compares one prediction.
func (e *experiment) compare(id, where string, given, happened any) {
	got, want := "", fmt.Sprint(happened)
	if given != nil {
		got = strings.TrimSpace(fmt.Sprint(given))
	}
	switch {
	case e.finding != nil:
	case got == "":
		e.finding = foundIn(e.Session, answersFile, "not-answered", where, "nothing", "your prediction")
	case got != want:
		e.finding = foundIn(e.Session, answersFile, id, where, got, "another answer: the cluster says otherwise")
	default:
		e.right++
	}
}

// generations sends the requests of the first part.
func (e *experiment) generations(ctx context.Context, given *answers) error {
	replicas := func(n int) map[string]any { return map[string]any{"replicas": n} }
	for _, step := range []struct {
		id, where, method, path string
		body                    map[string]any
		given                   any
	}{
		{"generation-create", "create", http.MethodPost, e.path(), e.object(freshRule), given.Generation.Create},
		{"generation-label", "label", http.MethodPatch, e.path(freshRule), map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": "web"}}}, given.Generation.Label},
		{"generation-spec", "spec", http.MethodPatch, e.path(freshRule), map[string]any{"spec": map[string]any{"name": "another"}}, given.Generation.Spec},
		{"generation-status", "status", http.MethodPatch, e.path(freshRule, "status"), map[string]any{"status": replicas(4)}, given.Generation.Status},
		{"generation-scale", "scale", http.MethodPatch, e.path(freshRule, "scale"), map[string]any{"spec": replicas(4)}, given.Generation.Scale},
		{"generation-same", "scaleAgain", http.MethodPatch, e.path(freshRule, "scale"), map[string]any{"spec": replicas(4)}, given.Generation.ScaleAgain},
	} {
		contentType := mergePatch
		if step.method == http.MethodPost {
			contentType = asJSON
		}
		if _, err := e.must(ctx, step.method, step.path, contentType, step.body); err != nil {
			return err
		}
		object, err := e.must(ctx, http.MethodGet, e.path(freshRule), "", nil)
		if err != nil {
			return err
		}
		e.compare(step.id, "generation."+step.where, step.given, number(object, "metadata", "generation"))
	}
	return nil
}

// puts sends a whole rule through each door, with another spec and another status.
func (e *experiment) puts(ctx context.Context, given *answers) error {
	for i, test := range []struct {
		where, path string
		given       put
	}{
		{"putStatus", e.path(freshRule, "status"), given.PutStatus},
		{"putRule", e.path(freshRule), given.PutRule},
	} {
		object, err := e.must(ctx, http.MethodGet, e.path(freshRule), "", nil)
		if err != nil {
			return err
		}
		name, replicas := "put-"+strconv.Itoa(i), 20+i
		object["spec"].(map[string]any)["name"] = name
		object["status"] = map[string]any{"replicas": replicas}
		reply, _, err := e.send(ctx, http.MethodPut, test.path, asJSON, object)
		if err != nil {
			return err
		}
		if object, err = e.must(ctx, http.MethodGet, e.path(freshRule), "", nil); err != nil {
			return err
		}
		e.compare("put-code", test.where+".code", test.given.Code, reply.Status)
		e.compare("put-spec", test.where+".spec", test.given.Spec, text(object, "spec", "name") == name)
		e.compare("put-status", test.where+".status", test.given.Status, number(object, "status", "replicas") == replicas)
	}
	return nil
}

// tooFar scales to more than the schema lets a rule have.
func (e *experiment) tooFar(ctx context.Context, given *answers) error {
	most, err := strconv.Atoi(e.Constant("maxReplicas"))
	if err != nil {
		return err
	}
	reply, _, err := e.send(ctx, http.MethodPatch, e.path(freshRule, "scale")+"?dryRun=All", mergePatch, map[string]any{"spec": map[string]any{"replicas": most + 1}})
	if err != nil {
		return err
	}
	e.compare("scale-too-far", "scaleTooFar.code", given.ScaleTooFar.Code, reply.Status)
	return nil
}

// applies sends a server-side apply after somebody else has scaled.
func (e *experiment) applies(ctx context.Context, given *answers) error {
	object, err := e.must(ctx, http.MethodGet, e.path(freshRule), "", nil)
	if err != nil {
		return err
	}
	for _, test := range []struct {
		id, where string
		given     any
		replicas  any
	}{
		{"apply-conflict", "otherReplicas", given.ApplyAfterScale.OtherReplicas, 2},
		{"apply-silent", "noReplicas", given.ApplyAfterScale.NoReplicas, nil},
	} {
		manifest := e.object(freshRule)
		spec := runtime.DeepCopyJSON(object["spec"].(map[string]any))
		delete(spec, "replicas")
		if test.replicas != nil {
			spec["replicas"] = test.replicas
		}
		manifest["spec"] = spec
		reply, _, err := e.send(ctx, http.MethodPatch, e.path(freshRule)+"?fieldManager=somebody-else&dryRun=All", string(types.ApplyPatchType), manifest)
		if err != nil {
			return err
		}
		e.compare(test.id, "applyAfterScale."+test.where, test.given, reply.Status)
	}
	return nil
}
