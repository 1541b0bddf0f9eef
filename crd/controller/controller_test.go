package controller

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

func TestNewScheme(t *testing.T) {
	for _, group := range []string{api.CRDGroup, api.Group} {
		scheme, err := NewScheme(group)
		if err != nil {
			t.Fatal(err)
		}
		gvk, err := apiutil.GVKForObject(&v2.PortRule{}, scheme)
		if err != nil {
			t.Fatal(err)
		}
		if gvk.Group != group || gvk.Version != v2.Version || gvk.Kind != api.Kind {
			t.Errorf("a scheme for %s has %s", group, gvk)
		}
	}
	if _, err := NewScheme(""); err == nil || !strings.Contains(err.Error(), api.CRDGroup) {
		t.Errorf("a scheme for no group: %v, want an error that names the groups", err)
	}
}

func TestAdd(t *testing.T) {
	scheme, err := NewScheme(api.CRDGroup)
	if err != nil {
		t.Fatal(err)
	}
	// nothing is asked of the API server before the manager starts
	mgr, err := manager.New(&rest.Config{Host: "localhost:1"}, manager.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for group, want := range map[string]string{"": "needs a group", api.Group: "NewScheme"} {
		if err := Add(mgr, Options{Group: group}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("added for the group %q: %v, want an error with %q", group, err, want)
		}
	}
	if err := Add(mgr, Options{Group: api.CRDGroup, MaxConcurrentReconciles: 2}); err != nil {
		t.Error(err)
	}
}
