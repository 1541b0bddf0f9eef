package testbed_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
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
			{"a text that is no UTF-8", strings.Replace(good, `"nginx"`, "\"\xff\"", 1), []int{422}},
			{"a key that differs in case", strings.Replace(good, `"spec"`, `"Spec"`, 1), []int{400}},
			{"a field that differs in case", strings.Replace(good, `"port"`, `"Port"`, 1), []int{400}},
			{"annotations of 300 kB", object(`{"name":"bad","annotations":{"a":"`+strings.Repeat("a", 300_000)+`"}}`, string(spec)), []int{422}},
			{"a body of 4 MB", object(`{"name":"bad","annotations":{"a":"`+strings.Repeat("a", 4_000_000)+`"}}`, string(spec)), []int{413}},
			{"a million labels", object(`{"name":"bad","labels":`+manyLabels(1_000_000)+`}`, string(spec)), []int{413}},
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

// manyLabels is a JSON object of n labels.
func manyLabels(n int) string {
	var object strings.Builder
	for i := range n {
		fmt.Fprintf(&object, `,"l%d":""`, i)
	}
	return "{" + object.String()[1:] + "}"
}

// Whatever is wrong with the rest of a request, the answer is a Status of the right
// code. Both implementations agree, but where a handler that is made for one path knows
// what one for all paths does not.
func TestBadRequests(t *testing.T) {
	forEach(t, "bad requests", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		if _, err := rules.Create(ctx, portRule(gvr, "one", nginx(gvr)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		before, err := rules.Get(ctx, "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		encode := func(object any) string {
			body, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			return string(body)
		}
		two := encode(portRule(gvr, "two", towards(gvr, "two")).Object)
		kindless := encode(map[string]any{"metadata": map[string]any{"name": "two"}, "spec": towards(gvr, "two")})
		elsewhere := []string{"/apis", gvr.Group, gvr.Version, "namespaces", "nowhere", gvr.Resource}
		all, one := pathOf("bad requests", gvr), pathOf("bad requests", gvr, "one")
		for _, c := range []struct {
			what        string
			verb        string
			path        []string
			query       string
			contentType string
			accept      string
			body        string
			code        int
			crd         int // where the CRD's differs
		}{
			{what: "a parameter that there is not", verb: "POST", path: all, query: "nothing=1&dryRun=All", body: two, code: 201},
			{what: "a field validation that there is not", verb: "POST", path: all, query: "fieldValidation=Some", body: two, code: 422},
			{what: "a dry run that there is not", verb: "POST", path: all, query: "dryRun=Some", body: two, code: 422},
			{what: "a dry run that there is not, to delete", verb: "DELETE", path: one, query: "dryRun=Some", code: 422},
			{what: "a field manager of 129 characters", verb: "POST", path: all, query: "fieldManager=" + strings.Repeat("a", 129), body: two, code: 422},
			{what: "apply by nobody", verb: "PATCH", path: one, contentType: "application/apply-patch+yaml", body: two, code: 422},
			{what: "a PUT of another name", verb: "PUT", path: one, body: two, code: 400},
			{what: "a PUT of what there is not", verb: "PUT", path: pathOf("bad requests", gvr, "two"), body: two, code: 404},
			{what: "a PATCH of what there is not", verb: "PATCH", path: pathOf("bad requests", gvr, "two"), contentType: "application/merge-patch+json", body: `{}`, code: 404},
			{what: "a DELETE of what there is not", verb: "DELETE", path: pathOf("bad requests", gvr, "two"), code: 404},
			{what: "a PUT in another version", verb: "PUT", path: one, body: encode(portRule(otherVersion(gvr), "one", nginx(otherVersion(gvr))).Object), code: 400},
			{what: "a PATCH of a type that there is not", verb: "PATCH", path: one, contentType: "application/nothing", body: `{}`, code: 415},
			{what: "a POST of a type that there is not", verb: "POST", path: all, contentType: "application/nothing", body: two, code: 415},
			{what: "an answer of a type that there is not", verb: "GET", path: one, accept: "application/nothing", code: 406},
			{what: "a list of a type that there is not", verb: "GET", path: all, accept: "text/html", code: 406},
			{what: "a transformation that there is not", verb: "GET", path: one, accept: "application/json;as=Chart;v=v1;g=meta.k8s.io", code: 406},
			{what: "a DELETE of another uid", verb: "DELETE", path: one, body: `{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"another"}}`, code: 409},
			{what: "a DELETE of an old resourceVersion", verb: "DELETE", path: one, body: `{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"resourceVersion":"1"}}`, code: 409},
			{what: "a DELETE of a propagation that there is not", verb: "DELETE", path: one, query: "propagationPolicy=Some", code: 422},
			{what: "a DELETE with other options", verb: "DELETE", path: one, body: `{"apiVersion":"v1","kind":"Pod"}`, code: 400},
			{what: "a namespace that there is not", verb: "POST", path: elsewhere, body: two, code: 404},
			{what: "a namespace that there is not, applied", verb: "PATCH", path: append(elsewhere, "two"), query: "fieldManager=test", contentType: "application/apply-patch+yaml", body: two, code: 404},
			{what: "a list of a namespace that there is not", verb: "GET", path: elsewhere, code: 200},
			{what: "another namespace in the body", verb: "POST", path: all, body: strings.Replace(two, `"metadata":{`, `"metadata":{"namespace":"default",`, 1), code: 400},
			{what: "a subresource that there is not", verb: "GET", path: pathOf("bad requests", gvr, "one", "nothing"), code: 404},
			// the server takes the kind that belongs to the path
			{what: "no kind", verb: "POST", path: all, query: "dryRun=All", body: kindless, code: 201, crd: 400},
			// the handler of CRDs does not ask whether a verb belongs to the path
			{what: "a PUT of all", verb: "PUT", path: all, body: two, code: 405, crd: 400},
			{what: "a PATCH of all", verb: "PATCH", path: all, contentType: "application/merge-patch+json", body: `{}`, code: 405, crd: 400},
			{what: "a POST of one", verb: "POST", path: one, query: "dryRun=All", body: two, code: 405, crd: 201},
			{what: "a DELETE of a status", verb: "DELETE", path: pathOf("bad requests", gvr, "one", "status"), code: 405},
			{what: "a POST of a scale", verb: "POST", path: pathOf("bad requests", gvr, "one", "scale"), body: `{}`, code: 405},
		} {
			query, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			request := raw(t, config).Verb(c.verb).AbsPath(c.path...).
				SetHeader("Content-Type", cmp.Or(c.contentType, "application/json")).SetHeader("Accept", cmp.Or(c.accept, "application/json")).Body([]byte(c.body))
			for name, values := range query {
				request.Param(name, values[0])
			}
			answer, want := ask(ctx, request), c.code
			if gvr.Group == api.CRDGroup && c.crd != 0 {
				want = c.crd
			}
			if answer.code != want {
				t.Errorf("%s: %d, want %d: %.300s", c.what, answer.code, want, answer.body)
			}
			if answer.code >= 300 {
				answer.status(t)
			}
		}
		// the kube-apiserver has no handler at all for what no CRD has defined
		nothing := ask(ctx, raw(t, config).Get().AbsPath("/apis", gvr.Group, gvr.Version, "nothing"))
		nothing.is(t, "a resource that there is not", http.StatusNotFound,
			map[string]string{api.Group: "application/json", api.CRDGroup: "text/plain; charset=utf-8"}[gvr.Group])
		after, err := rules.Get(ctx, "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the rule afterwards", after.Object, before.Object)
		list, err := rules.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the rules afterwards", namesOf(list), "one")
	})
}

// A body that ends before it should makes nothing, be it that the kube-apiserver has
// begun to pass it on. What is answered, if anything, is a matter of who notices first.
func TestTruncatedBody(t *testing.T) {
	forEach(t, "truncated", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		ways := []*rest.Config{config}
		if gvr.Group == api.Group {
			ways = append(ways, bed.Server().Config(config))
		}
		body, err := json.Marshal(portRule(gvr, "one", nginx(gvr)).Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range ways {
			for what, sent := range map[string][]byte{"nothing": nil, "half": body[:len(body)/2], "a whole object": body} {
				answer := truncated(ctx, t, way, strings.Join(pathOf("truncated", gvr), "/"), sent, len(body)+1)
				if bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
					t.Errorf("%s: %.300q", what, answer)
				}
			}
		}
		list, err := rules.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the rules", namesOf(list), "")
	})
}

// truncated posts a body of which it says that it is longer, and says that no more
// will come. It returns the answer, which may be none.
func truncated(ctx context.Context, t *testing.T, config *rest.Config, path string, body []byte, length int) []byte {
	t.Helper()
	secured, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	where, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	dialer := tls.Dialer{Config: secured}
	connection, err := dialer.DialContext(ctx, "tcp", where.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, where.Host, length, body); err != nil {
		t.Fatal(err)
	}
	if err := connection.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Many labels are no error, as long as etcd takes the rule. One that would be too
// large with its managed fields is stored without them, and one that would be too
// large even so is refused.
func TestManyLabels(t *testing.T) {
	forEach(t, "many labels", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		prefix := strings.Repeat("a.", 120) + "a/" // the longest there may be
		for _, c := range []struct {
			name    string
			prefix  string
			labels  int
			managed int  // how many managers the answer names
			refused bool // or it is none
		}{{"many", "", 20_000, 1, false}, {"large", prefix, 4000, 0, false}, {"too-large", prefix, 7000, 0, true}} {
			labels := make(map[string]string, c.labels)
			for i := range c.labels {
				labels[fmt.Sprintf("%sl%d", c.prefix, i)] = ""
			}
			rule := portRule(gvr, c.name, towards(gvr, c.name))
			rule.SetLabels(labels)
			created, err := rules.Create(ctx, rule, metav1.CreateOptions{})
			switch {
			case c.refused:
				if err == nil || !strings.Contains(err.Error(), "etcdserver: request is too large") {
					t.Errorf("%s: got %v, want that it is too large", c.name, err)
				}
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			default:
				equal(t, c.name, []any{len(created.GetLabels()), len(created.GetManagedFields())}, []any{c.labels, c.managed})
			}
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
