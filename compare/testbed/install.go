package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/e2e-framework/klient/decoder"
	"sigs.k8s.io/yaml"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// fieldManager owns the fields of what a testbed installs.
const fieldManager = "portrule-lab"

// The label of everything that a testbed installs.
const partOf, partOfLab = "app.kubernetes.io/part-of", "portrule-lab"

// pollInterval is how often a condition is looked at. It bounds the error of
// Timings.
const pollInterval = 20 * time.Millisecond

// newScheme knows the kinds that a testbed installs.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme)
	return scheme, builder.AddToScheme(scheme)
}

// install creates objects that the cluster lacks, and remembers them for
// uninstall. What exists is left as it is.
func (t *Testbed) install(ctx context.Context, objects ...client.Object) error {
	for _, object := range objects {
		labels := map[string]string{partOf: partOfLab}
		for key, value := range object.GetLabels() {
			labels[key] = value
		}
		object.SetLabels(labels)
		err := t.client.Create(ctx, object, client.FieldOwner(fieldManager))
		switch {
		case apierrors.IsAlreadyExists(err):
		case err != nil:
			return fmt.Errorf("install %s: %w", t.describe(object), err)
		default:
			t.mu.Lock()
			t.installed = append(t.installed, object)
			t.mu.Unlock()
		}
	}
	return nil
}

// uninstall deletes what install created, the last first, and waits until it is
// gone: a CRD goes once its objects have gone. It does not wait for namespaces,
// which stay where no controller manager runs.
func (t *Testbed) uninstall(ctx context.Context) error {
	var errs []error
	for _, object := range slices.Backward(t.installed) {
		err := t.client.Delete(ctx, object)
		if _, isNamespace := object.(*corev1.Namespace); !isNamespace && err == nil {
			err = poll(ctx, func(ctx context.Context) (bool, error) {
				err := t.client.Get(ctx, client.ObjectKeyFromObject(object), object)
				return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
			})
		}
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", t.describe(object), err))
		}
	}
	t.installed = nil
	return errors.Join(errs...)
}

// describe names an object in a message: kind, namespace and name.
func (t *Testbed) describe(object client.Object) string {
	gvk, err := apiutil.GVKForObject(object, t.client.Scheme())
	if err != nil {
		return client.ObjectKeyFromObject(object).String()
	}
	if object.GetNamespace() == "" {
		return gvk.Kind + " " + object.GetName()
	}
	return gvk.Kind + " " + client.ObjectKeyFromObject(object).String()
}

// waitForCRD waits until the CRD is established and its resource answers.
func (t *Testbed) waitForCRD(ctx context.Context, name string) error {
	last := errors.New("it is not established")
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := t.client.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			return false, err
		}
		for _, condition := range crd.Status.Conditions {
			switch {
			case condition.Type == apiextensionsv1.NamesAccepted && condition.Status == apiextensionsv1.ConditionFalse:
				return false, fmt.Errorf("its names are taken: %s", condition.Message)
			case condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue:
				last = t.list(ctx, crd.Spec.Group, v2.Version, api.Resource)
				return last == nil, nil
			}
		}
		return false, nil
	})
	return explain(err, last, "CustomResourceDefinition "+name)
}

// waitForAPIService waits until the aggregation layer reaches the server and a
// request for the resource through it is answered.
func (t *Testbed) waitForAPIService(ctx context.Context, name, resource string) error {
	last := errors.New("the aggregation layer has not looked at it")
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		if t.server != nil && t.server.Ended() {
			return false, t.ExitError()
		}
		service := &apiregistrationv1.APIService{}
		if err := t.client.Get(ctx, client.ObjectKey{Name: name}, service); err != nil {
			return false, err
		}
		for _, condition := range service.Status.Conditions {
			if condition.Type != apiregistrationv1.Available {
				continue
			}
			last = fmt.Errorf("%s: %s", condition.Reason, condition.Message)
			if condition.Status == apiregistrationv1.ConditionTrue {
				last = t.list(ctx, service.Spec.Group, service.Spec.Version, resource)
				return last == nil, nil
			}
		}
		return false, nil
	})
	return explain(err, last, "APIService "+name)
}

// waitForDiscovery waits until the kube-apiserver tells clients of a group and version,
// which it collects in its own time: kubectl knows a kind from there.
func (t *Testbed) waitForDiscovery(ctx context.Context, group, version string) error {
	gv := schema.GroupVersion{Group: group, Version: version}
	last := errors.New("it is not told of")
	err := poll(ctx, func(context.Context) (bool, error) {
		_, resources, failed, err := t.clientset.Discovery().(discovery.AggregatedDiscoveryInterface).GroupsAndMaybeResources()
		if err != nil {
			last = err
		} else if failed[gv] != nil {
			last = failed[gv]
		}
		return err == nil && resources[gv] != nil, nil
	})
	return explain(err, last, "discovery of "+gv.String())
}

// list asks the kube-apiserver for the objects of a resource.
func (t *Testbed) list(ctx context.Context, group, version, resource string) error {
	return t.clientset.Discovery().RESTClient().Get().
		AbsPath("/apis", group, version, resource).Param("limit", "1").Do(ctx).Error()
}

func poll(ctx context.Context, condition wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, pollInterval, serveTimeout, true, condition)
}

// explain turns the end of a poll into an error that says what was waited for and
// why it did not come. last is the reason if the time was up.
func explain(err, last error, what string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it does not serve after %s: %w", serveTimeout, last)
	}
	return fmt.Errorf("wait for %s: %w", what, err)
}

// decode reads the objects of a manifest.
func decode(ctx context.Context, manifest []byte) ([]client.Object, error) {
	decoded, err := decoder.DecodeAll(ctx, bytes.NewReader(manifest))
	if err != nil {
		return nil, fmt.Errorf("read an embedded manifest: %w", err)
	}
	objects := make([]client.Object, len(decoded))
	for i, object := range decoded {
		objects[i] = object
	}
	return objects, nil
}

// apiServices returns the APIServices of a group that a Service serves, the preferred
// version first, without the caBundle and port that tell one installation from another.
func apiServices(group, service string) ([]*apiregistrationv1.APIService, error) {
	var services []*apiregistrationv1.APIService
	for _, document := range bytes.Split(aggregatedmanifests.APIServices, []byte("\n---\n")) {
		registration := &apiregistrationv1.APIService{}
		if err := yaml.UnmarshalStrict(document, registration); err != nil {
			return nil, fmt.Errorf("read the embedded APIServices: %w", err)
		}
		registration.Spec.Group, registration.Spec.Service.Name = group, service
		registration.Name = registration.Spec.Version + "." + group
		services = append(services, registration)
	}
	return services, nil
}
