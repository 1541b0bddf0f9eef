package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/cluster"
)

// Registration is what makes a group known to the cluster: a CRD, or the APIServices of an
// aggregated server. It can be taken away and put back while the server stays.
type Registration struct {
	// Group is the group, CRD whether a CRD serves it.
	Group string
	CRD   bool

	testbed *Testbed
	objects []client.Object
}

// Registration returns that of a group which the testbed serves.
func (t *Testbed) Registration(ctx context.Context, group string) (*Registration, error) {
	r := &Registration{Group: group, testbed: t}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err := t.client.Get(ctx, client.ObjectKey{Name: api.Resource + "." + group}, crd)
	switch {
	case err == nil:
		r.CRD, r.objects = true, []client.Object{crd}
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("look for the CRD of %s: %w", group, err)
	default:
		for _, version := range []string{v2.Version, v1.Version} {
			service := &apiregistrationv1.APIService{}
			if err := t.client.Get(ctx, client.ObjectKey{Name: version + "." + group}, service); err != nil {
				return nil, fmt.Errorf("look for the APIServices of %s: %w", group, err)
			}
			service.Status = apiregistrationv1.APIServiceStatus{}
			r.objects = append(r.objects, service)
		}
	}
	for _, object := range r.objects {
		object.SetResourceVersion("")
		object.SetUID("")
		object.SetManagedFields(nil)
	}
	return r, nil
}

// Create makes the group known. It waits for an earlier one of the same name to be gone.
func (r *Registration) Create(ctx context.Context) error {
	for _, object := range r.objects {
		var last error
		err := poll(ctx, func(ctx context.Context) (bool, error) {
			last = r.testbed.client.Create(ctx, object.DeepCopyObject().(client.Object), client.FieldOwner(fieldManager))
			if apierrors.IsAlreadyExists(last) {
				return false, nil
			}
			return true, last
		})
		if err := explain(err, last, r.testbed.describe(object)); err != nil {
			return err
		}
	}
	return nil
}

// Delete makes the cluster forget the group, and the objects of a CRD.
func (r *Registration) Delete(ctx context.Context) error {
	for _, object := range r.objects {
		if err := r.testbed.client.Delete(ctx, object.DeepCopyObject().(client.Object)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove %s: %w", r.testbed.describe(object), err)
		}
	}
	return nil
}

// Change changes what the cluster says of the group. A CRD gets marker into the description
// of spec.endpoint, and as a category. Of the schemas of an aggregated server the cluster is
// told nothing; its APIServices make the other version the preferred one.
func (r *Registration) Change(ctx context.Context, marker string) error {
	if !r.CRD {
		return r.preferOther(ctx)
	}
	crd := r.objects[0].DeepCopyObject().(*apiextensionsv1.CustomResourceDefinition)
	at := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == v2.Version })
	patch, err := json.Marshal([]map[string]any{
		{"op": "add", "path": fmt.Sprintf("/spec/versions/%d/schema/openAPIV3Schema/properties/spec/properties/endpoint/description", at), "value": marker},
		{"op": "add", "path": "/spec/names/categories", "value": []string{marker}},
	})
	if err != nil {
		return err
	}
	return r.patch(ctx, crd, types.JSONPatchType, patch)
}

// preferOther swaps the priorities of the versions.
func (r *Registration) preferOther(ctx context.Context) error {
	first, second := r.objects[0].(*apiregistrationv1.APIService), r.objects[1].(*apiregistrationv1.APIService)
	first.Spec.VersionPriority, second.Spec.VersionPriority = second.Spec.VersionPriority, first.Spec.VersionPriority
	for _, service := range []*apiregistrationv1.APIService{first, second} {
		patch := fmt.Appendf(nil, `{"spec": {"versionPriority": %d}}`, service.Spec.VersionPriority)
		if err := r.patch(ctx, service.DeepCopy(), types.MergePatchType, patch); err != nil {
			return err
		}
	}
	return nil
}

// Preferred is the version that the cluster is to prefer.
func (r *Registration) Preferred() string {
	if r.CRD {
		return v2.Version
	}
	first, second := r.objects[0].(*apiregistrationv1.APIService), r.objects[1].(*apiregistrationv1.APIService)
	if second.Spec.VersionPriority > first.Spec.VersionPriority {
		first = second
	}
	return first.Spec.Version
}

func (r *Registration) patch(ctx context.Context, object client.Object, patchType types.PatchType, patch []byte) error {
	if err := r.testbed.client.Patch(ctx, object, client.RawPatch(patchType, patch), client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("change %s: %w", r.testbed.describe(object), err)
	}
	return nil
}

// Available is whether the aggregation layer takes the server of a group for available, and
// what it says of it.
func (r *Registration) Available(ctx context.Context) (bool, string, error) {
	service := &apiregistrationv1.APIService{}
	if err := r.testbed.client.Get(ctx, client.ObjectKey{Name: r.objects[0].GetName()}, service); err != nil {
		return false, "", fmt.Errorf("read APIService %s: %w", r.objects[0].GetName(), err)
	}
	for _, condition := range service.Status.Conditions {
		if condition.Type == apiregistrationv1.Available {
			return condition.Status == apiregistrationv1.ConditionTrue, condition.Reason + ": " + condition.Message, nil
		}
	}
	return false, "", nil
}

// WriteKubeconfig writes a kubeconfig of the administrator to a file of the testbed, and
// returns its path.
func (t *Testbed) WriteKubeconfig(name string) (string, error) {
	path := t.group.Path(name)
	return path, cluster.WriteKubeconfig(path, cluster.Context{Name: "admin", Config: t.Admin})
}
