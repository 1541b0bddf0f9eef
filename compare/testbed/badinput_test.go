package testbed_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/crd/webhook"
)

// Whatever is sent, the answer is a Status of the right code, and the next request
// is served.
func TestBadInput(t *testing.T) {
	forEach(t, "bad input", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		spec, err := json.Marshal(nginx(gvr))
		if err != nil {
			t.Fatal(err)
		}
		object := func(metadata, spec string) string {
			return fmt.Sprintf(`{"apiVersion":%q,"kind":"PortRule","metadata":%s,"spec":%s}`, gvr.GroupVersion(), metadata, spec)
		}
		const name = `{"name":"bad"}`
		good := object(name, string(spec))
		for _, c := range []struct {
			what, body string
			codes      []int
		}{
			{"nothing", ``, []int{400}},
			{"half an object", good[:len(good)/2], []int{400}},
			{"no JSON", "\x00\x01\x02", []int{400}},
			{"a list", `[]`, []int{400}},
			{"another kind", strings.Replace(good, `"PortRule"`, `"Pod"`, 1), []int{400, 422}},
			{"another group", strings.Replace(good, gvr.Group, "example.com", 1), []int{400}},
			{"an unknown field", strings.Replace(good, `"spec":{`, `"spec":{"unknown":1,`, 1), []int{400}},
			{"a field twice", strings.Replace(good, `"spec":{`, `"spec":{"replicas":1,"replicas":2,`, 1), []int{400}},
			// Go's decoder refuses what a schema finds invalid
			{"a text for a number", strings.Replace(good, `"spec":{`, `"spec":{"replicas":"two",`, 1), []int{400, 422}},
			{"a list for an object", object(name, `[]`), []int{400, 422}},
			{"a number beyond 32 bits", strings.Replace(good, `"spec":{`, `"spec":{"replicas":4294967297,`, 1), []int{400, 422}},
			{"nulls", object(name, `{"name":null,"service":null,"host":null,"port":null,"endpoint":null}`), []int{400, 422}},
			{"a null spec", object(name, `null`), []int{422}},
			{"no name", object(`{}`, string(spec)), []int{422}},
			{"deep nesting", object(`{"name":"bad","annotations":`+strings.Repeat(`{"a":`, 20000)+`1`+strings.Repeat(`}`, 20000)+`}`, string(spec)), []int{400}},
			{"annotations of 300 kB", object(`{"name":"bad","annotations":{"a":"`+strings.Repeat("a", 300_000)+`"}}`, string(spec)), []int{422}},
			{"a body of 4 MB", object(`{"name":"bad","annotations":{"a":"`+strings.Repeat("a", 4_000_000)+`"}}`, string(spec)), []int{413}},
		} {
			result := raw(t, config).Post().AbsPath("/apis", gvr.Group, gvr.Version, "namespaces", namespaceOf("bad input", gvr), gvr.Resource).
				Param("fieldValidation", "Strict").SetHeader("Content-Type", "application/json").Body([]byte(c.body)).Do(ctx)
			code := 0
			body, _ := result.StatusCode(&code).Raw()
			var status metav1.Status
			if err := json.Unmarshal(body, &status); err != nil || status.Kind != "Status" || int(status.Code) != code || status.Message == "" {
				t.Errorf("%s: the answer %d is no Status (%v): %.200s", c.what, code, err, body)
			}
			if !slices.Contains(c.codes, code) {
				t.Errorf("%s: %d, want %v: %s", c.what, code, c.codes, status.Message)
			}
		}
		if _, err := rules.List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("the next request: %v", err)
		}
	})
}

// The conversion webhook refuses what is no review, and goes on.
func TestBadReviews(t *testing.T) {
	crds, err := apiextensions.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	crd, err := crds.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), api.Resource+"."+api.CRDGroup, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := crd.Spec.Conversion.Webhook.ClientConfig
	rules := client(t, bed.Admin, implementations["crd"])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.CABundle)
	webhooks := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	where, err := url.Parse(*config.URL)
	if err != nil {
		t.Fatal(err)
	}
	plain := *where
	plain.Scheme = "http"
	for _, c := range []struct {
		what, url, body string
		code            int
	}{
		{"without TLS", plain.String(), "{}", 400},
		{"10 MB", where.String(), strings.Repeat(" ", 10_000_000), 413},
		{"no review", where.String(), `{"kind":"Pod","apiVersion":"v1"}`, 400},
		{"no JSON", where.String(), "\x00", 400},
		{"a webhook that is not on", where.ResolveReference(&url.URL{Path: webhook.PathValidate}).String(), "{}", 404},
	} {
		response, err := webhooks.Post(c.url, "application/json", bytes.NewReader([]byte(c.body)))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != c.code {
			t.Errorf("%s: %s, want %d", c.what, response.Status, c.code)
		}
	}
	if _, err := rules.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a list in v1 afterwards: %v", err)
	}
}
