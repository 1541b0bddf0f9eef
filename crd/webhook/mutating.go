package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// mutator fills in defaults and keeps the annotation of R6.
//
// It works on the object as it came, not on the Go type: the patch then touches
// nothing but what is filled in, and an object that the Go type cannot hold, such
// as one whose port is a string, goes on to the schema, which says better what is
// wrong with it.
type mutator struct {
	kind
}

func (m *mutator) handle(_ context.Context, req admission.Request) admission.Response {
	create := req.Operation == admissionv1.Create
	if req.SubResource != "" || !create && req.Operation != admissionv1.Update {
		return admission.Allowed("")
	}
	object, err := m.decodeMap(req.Object)
	if err != nil {
		return refused(apierrors.NewBadRequest(err.Error()))
	}
	user, set := req.UserInfo.Username, true
	if create {
		setDefaults(object)
	} else {
		old, err := m.decodeMap(req.OldObject)
		if err != nil {
			return refused(apierrors.NewBadRequest(fmt.Sprintf("the old object: %v", err)))
		}
		user, set, _ = unstructured.NestedString(old, "metadata", "annotations", api.RequestedBy)
	}
	if err := setRequestedBy(object, user, set); err != nil {
		return refused(apierrors.NewBadRequest(err.Error()))
	}
	changed, err := json.Marshal(object)
	if err != nil {
		return refused(apierrors.NewInternalError(fmt.Errorf("encode the object: %w", err)))
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, changed)
}

// decodeMap reads an object of a review and checks its kind and nothing else.
func (m *mutator) decodeMap(raw runtime.RawExtension) (map[string]any, error) {
	var object map[string]any
	if err := utiljson.Unmarshal(raw.Raw, &object); err != nil {
		return nil, fmt.Errorf("decode the object: %w", err)
	}
	if got := (&unstructured.Unstructured{Object: object}).GroupVersionKind(); got != m.hub() {
		return nil, fmt.Errorf("the object is a %q: want %q", got, m.hub())
	}
	return object, nil
}

// setDefaults fills in what [v2.Default] fills in.
func setDefaults(object map[string]any) {
	var rule v2.PortRule
	converter := runtime.DefaultUnstructuredConverter
	if err := converter.FromUnstructured(object, &rule); err != nil {
		return // the schema refuses it
	}
	before, err := converter.ToUnstructured(&rule)
	if err != nil {
		return
	}
	v2.Default(&rule)
	after, err := converter.ToUnstructured(&rule)
	if err != nil {
		return
	}
	carryOver(object, before, after)
}

// carryOver makes the changes from before to after in object too, where it has the
// maps to hold them: a default adds no parents.
func carryOver(object, before, after map[string]any) {
	for key, value := range after {
		inner, isMap := value.(map[string]any)
		innerBefore, wasMap := before[key].(map[string]any)
		switch {
		case isMap && wasMap:
			if innerObject, ok := object[key].(map[string]any); ok {
				carryOver(innerObject, innerBefore, inner)
			}
		case !reflect.DeepEqual(before[key], value):
			object[key] = value
		}
	}
}

// setRequestedBy sets the annotation of R6 to user, or removes it.
func setRequestedBy(object map[string]any, user string, set bool) error {
	if !set {
		if annotations, ok, _ := unstructured.NestedFieldNoCopy(object, "metadata", "annotations"); ok {
			if annotations, ok := annotations.(map[string]any); ok {
				delete(annotations, api.RequestedBy)
			}
		}
		return nil
	}
	for _, name := range []string{"metadata", "annotations"} {
		if object[name] == nil {
			object[name] = map[string]any{}
		}
		inner, ok := object[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%s of the object is a %T: want a map", name, object[name])
		}
		object = inner
	}
	object[api.RequestedBy] = user
	return nil
}
