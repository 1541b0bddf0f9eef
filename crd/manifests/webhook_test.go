package manifests_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
	"portrule.example/lab/crd/manifests"
	"portrule.example/lab/crd/webhook"
)

var update = flag.Bool("update", false, "write webhook/webhooks.yaml")

// What is applied in a cluster is what package webhook says: make generate writes
// the file.
func TestWebhookManifest(t *testing.T) {
	const path = "webhook/webhooks.yaml"
	client := admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{Namespace: manifests.SystemNamespace, Name: manifests.Name},
	}
	options := webhook.Options{Group: api.CRDGroup, Validating: true, Mutating: true}
	got := []byte("# Generated from crd/webhook/configurations.go: run make generate.\n")
	for _, configuration := range []any{
		webhook.MutatingWebhookConfiguration(client, options),
		webhook.ValidatingWebhookConfiguration(client, options),
	} {
		document, err := yaml.Marshal(configuration)
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, "---\n"...), document...)
	}
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what package webhook says: run make generate", path)
	}
}
