package allowedports

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

func namespace(name, ports string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if ports != "" {
		ns.Annotations = map[string]string{api.AllowedPorts: ports}
	}
	return ns
}

func TestValidate(t *testing.T) {
	// new is known to the control plane, and not to the informer yet
	client := fake.NewClientset(namespace("open", ""), namespace("guarded", "8000-9000,443"), namespace("malformed", "http"), namespace("new", "443"))
	factory := informers.NewSharedInformerFactory(client, 0)
	p := newPlugin()
	if err := p.ValidateInitialization(); err == nil {
		t.Error("a plugin that was given nothing is well")
	}
	p.SetExternalKubeInformerFactory(factory)
	p.SetExternalKubeClientSet(client)
	if err := p.ValidateInitialization(); err != nil {
		t.Fatal(err)
	}
	store := factory.Core().V1().Namespaces().Informer().GetStore()
	for _, ns := range []*corev1.Namespace{namespace("open", ""), namespace("guarded", "8000-9000,443"), namespace("malformed", "http")} {
		if err := store.Add(ns); err != nil {
			t.Fatal(err)
		}
	}
	p.SetReadyFunc(func() bool { return true })

	for what, c := range map[string]struct {
		namespace, version, subresource string
		port                            int32
		field, says                     string
		notFound                        bool
	}{
		"no annotation":              {namespace: "open", port: 80},
		"an allowed port":            {namespace: "guarded", port: 8080},
		"another one":                {namespace: "guarded", port: 443},
		"a port that is not allowed": {namespace: "guarded", port: 80, field: "spec.endpoint.port", says: "8000-9000,443"},
		"the same in v1":             {namespace: "guarded", version: "v1", port: 80, field: "spec.port", says: "port 80"},
		"a malformed annotation":     {namespace: "malformed", port: 443, field: "spec.endpoint.port", says: "malformed"},
		"a namespace made just now":  {namespace: "new", port: 80, field: "spec.endpoint.port", says: `"new"`},
		"no such namespace":          {namespace: "absent", port: 80, notFound: true},
		"a subresource":              {namespace: "guarded", subresource: "status", port: 80},
	} {
		version := "v2"
		if c.version != "" {
			version = c.version
		}
		rule := &v2.PortRule{Spec: v2.PortRuleSpec{Endpoint: v2.Endpoint{Port: c.port}}}
		err := p.Validate(t.Context(), attributes(rule, version, c.namespace, api.Resource, c.subresource), nil)
		switch {
		case c.notFound:
			if !apierrors.IsNotFound(err) {
				t.Errorf("%s: got %v, want that it is not found", what, err)
			}
		case c.field == "":
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case !apierrors.IsInvalid(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeForbidden) ||
			!strings.Contains(err.Error(), c.field+": ") || !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: got %v, want an error about %s that says %s", what, err, c.field, c.says)
		}
	}
	if err := p.Validate(t.Context(), attributes(&corev1.Pod{}, "v2", "guarded", "pods", ""), nil); err != nil {
		t.Errorf("another resource: %v", err)
	}

	asked := slices.ContainsFunc(client.Actions(), func(action clienttesting.Action) bool {
		get, ok := action.(clienttesting.GetAction)
		return ok && get.GetName() == "guarded"
	})
	if asked {
		t.Error("the control plane was asked about a namespace that the informer knows")
	}
}

func attributes(object runtime.Object, version, namespace, resource, subresource string) admission.Attributes {
	gv := schema.GroupVersion{Group: api.Group, Version: version}
	return admission.NewAttributesRecord(object, nil, gv.WithKind(api.Kind), namespace, "rule",
		gv.WithResource(resource), subresource, admission.Create, nil, false, nil)
}
