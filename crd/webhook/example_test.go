package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/crd/webhook"
)

// What the kube-apiserver posts when somebody reads as v2 a rule that it has as v1. The
// conversion asks nobody, so it needs no client.
func ExampleInstall_conversion() {
	const review = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": {
		"uid": "1", "desiredAPIVersion": "crd.firewalld.fedoraproject.org/v2", "objects": [{
			"apiVersion": "crd.firewalld.fedoraproject.org/v1", "kind": "PortRule", "metadata": {"name": "web"},
			"spec": {"name": "nginx", "host": "10.0.0.3", "port": 80}}]}}`
	handlers := http.NewServeMux()
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{WebhookMux: handlers})
	if err := webhook.Install(server, newScheme(), nil, nil, webhook.Options{Group: api.CRDGroup}); err != nil {
		panic(err)
	}
	request := httptest.NewRequest(http.MethodPost, webhook.PathConvert, strings.NewReader(review))
	request.Header.Set("Content-Type", "application/json")
	response := httptest.NewRecorder()
	handlers.ServeHTTP(response, request)

	var answer apiextensionsv1.ConversionReview
	if err := json.Unmarshal(response.Body.Bytes(), &answer); err != nil {
		panic(err)
	}
	var converted v2.PortRule
	if err := json.Unmarshal(answer.Response.ConvertedObjects[0].Raw, &converted); err != nil {
		panic(err)
	}
	fmt.Println(converted.APIVersion, converted.Spec.Service, converted.Spec.Endpoint.Host, converted.Spec.Endpoint.Port)
	// Output: crd.firewalld.fedoraproject.org/v2 nginx 10.0.0.3 80
}

// newScheme knows both versions of the group that the CRD serves.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme, string) error{v1.AddToScheme, v2.AddToScheme} {
		if err := add(scheme, api.CRDGroup); err != nil {
			panic(err)
		}
	}
	return scheme
}
