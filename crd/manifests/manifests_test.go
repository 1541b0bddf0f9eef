package manifests

import (
	"bytes"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// The parts of Controller fit together and go by the names that others use.
func TestController(t *testing.T) {
	var (
		secret     corev1.Secret
		deployment appsv1.Deployment
		service    corev1.Service
		budget     policyv1.PodDisruptionBudget
	)
	documents := bytes.Split(Controller, []byte("\n---\n"))
	objects := []any{&secret, &deployment, &service, &budget}
	if len(documents) != len(objects) {
		t.Fatalf("got %d objects, want %d", len(documents), len(objects))
	}
	for i, document := range documents {
		if err := yaml.UnmarshalStrict(document, objects[i]); err != nil {
			t.Fatal(err)
		}
	}
	type id struct{ kind, namespace, name string }
	for _, test := range []struct{ got, want id }{
		{id{secret.Kind, secret.Namespace, secret.Name}, id{"Secret", SystemNamespace, Secret}},
		{id{deployment.Kind, deployment.Namespace, deployment.Name}, id{"Deployment", SystemNamespace, Name}},
		{id{service.Kind, service.Namespace, service.Name}, id{"Service", SystemNamespace, Name}},
		{id{budget.Kind, budget.Namespace, budget.Name}, id{"PodDisruptionBudget", SystemNamespace, Name}},
	} {
		if test.got != test.want {
			t.Errorf("got %+v, want %+v", test.got, test.want)
		}
	}
	labels := deployment.Spec.Template.Labels
	for what, selector := range map[string]map[string]string{
		"the Deployment":          deployment.Spec.Selector.MatchLabels,
		"the Service":             service.Spec.Selector,
		"the PodDisruptionBudget": budget.Spec.Selector.MatchLabels,
	} {
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("%s selects %s=%s, and the Pods have %v", what, key, value, labels)
			}
		}
	}
	pod := deployment.Spec.Template.Spec
	container := pod.Containers[0]
	if port := service.Spec.Ports[0].TargetPort.String(); !slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == port }) {
		t.Errorf("the Service leads to the port %s, which the container has not", port)
	}
	volume := pod.Volumes[0].Secret
	if volume.SecretName != Secret {
		t.Errorf("the Pods mount the Secret %s, want %s", volume.SecretName, Secret)
	}
	var mounted []string
	for _, item := range volume.Items {
		mounted = append(mounted, item.Path)
	}
	if want := []string{"tls.crt", "tls.key"}; !slices.Equal(mounted, want) {
		t.Errorf("the Pods mount %v, want %v: the CA's key is not for them", mounted, want)
	}
}

// The same CRD serves either group: nothing but the group and the name differ.
func TestCustomResourceDefinition(t *testing.T) {
	for _, group := range []string{api.CRDGroup, api.Group} {
		crd, err := CustomResourceDefinition(group)
		if err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Group != group || crd.Name != api.Resource+"."+group {
			t.Errorf("asked for %s, got the CRD %s of group %s", group, crd.Name, crd.Spec.Group)
		}
		if crd.Spec.Names.Plural != api.Resource || !served(crd, v2.Version) {
			t.Errorf("it does not store %s in version %s", api.Resource, v2.Version)
		}
	}
}

// served is whether a version is served and stored.
func served(crd *apiextensionsv1.CustomResourceDefinition, version string) bool {
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			return v.Served && v.Storage
		}
	}
	return false
}

func TestPoliciesAreForTheGroup(t *testing.T) {
	if got := Policies(api.Group); bytes.Contains(got, []byte(api.CRDGroup)) || !bytes.Contains(got, []byte("apiGroups: ["+api.Group+"]")) {
		t.Errorf("the policies are not all for %s:\n%s", api.Group, got)
	}
}
