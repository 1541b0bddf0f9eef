package aggregated

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// What the server needs is in the shared factory, which it waits for, and what a policy
// asks for is not.
func TestWithoutParameters(t *testing.T) {
	config := genericapiserver.NewRecommendedConfig(register("example.com").codecs)
	config.SharedInformerFactory = informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	if _, err := keepParametersOut(config); err != nil {
		t.Fatal(err)
	}
	factory := config.SharedInformerFactory
	namespaces := factory.Core().V1().Namespaces().Informer()
	if _, err := factory.ForResource(corev1.SchemeGroupVersion.WithResource("configmaps")); err == nil {
		t.Error("the factory has an informer of the parameters of a policy")
	}
	factory.Start(t.Context().Done())
	for kind, synced := range factory.WaitForCacheSync(t.Context().Done()) {
		if !synced {
			t.Errorf("the informer of %s has not synced", kind)
		}
	}
	if !namespaces.HasSynced() {
		t.Error("the informer of namespaces has not been started")
	}
}
