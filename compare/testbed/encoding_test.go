package testbed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	runtimeclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

const (
	protobufOrJSON = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	asTable        = ";as=Table;v=v1;g=meta.k8s.io"
	asPartial      = ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
)

// protobufMagic is what Kubernetes begins every protobuf message with.
var protobufMagic = []byte("k8s\x00")

var (
	// wire knows what either implementation answers, in any encoding.
	wire       = runtime.NewScheme()
	wireCodecs = serializer.NewCodecFactory(wire)
)

func init() {
	for _, group := range []string{api.Group, api.CRDGroup} {
		utilruntime.Must(v1.AddToScheme(wire, group))
		utilruntime.Must(v2.AddToScheme(wire, group))
	}
	utilruntime.Must(callerreview.AddToScheme(wire, api.Group))
	utilruntime.Must(autoscalingv1.AddToScheme(wire))
	utilruntime.Must(metav1.AddMetaToScheme(wire))
	core := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(wire, core)
	wire.AddUnversionedTypes(core, &metav1.Status{}, &metav1.APIResourceList{})
}

// answer is what a request was answered.
type answer struct {
	code      int
	mediaType string
	body      []byte
}

// ask sends a request once, whatever the answer.
func ask(ctx context.Context, request *rest.Request) answer {
	var a answer
	var err error
	a.body, err = request.MaxRetries(0).Do(ctx).StatusCode(&a.code).ContentType(&a.mediaType).Raw()
	if a.code == 0 && err != nil {
		a.body = []byte(err.Error()) // there was no answer
	}
	return a
}

// decode reads a protobuf, JSON or YAML body.
func decode(t *testing.T, body []byte) runtime.Object {
	t.Helper()
	object, _, err := wireCodecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		t.Fatalf("%v: %.300q", err, body)
	}
	return object
}

// encodeProtobuf returns the message with its magic.
func encodeProtobuf(t *testing.T, object runtime.Object) []byte {
	t.Helper()
	var message bytes.Buffer
	if err := protobuf.NewSerializer(wire, wire).Encode(object, &message); err != nil {
		t.Fatal(err)
	}
	return message.Bytes()
}

// is checks the code and the media type of an answer.
func (a answer) is(t *testing.T, what string, code int, mediaType string) {
	t.Helper()
	if a.code != code || a.mediaType != mediaType {
		t.Errorf("%s: %d %s, want %d %s: %.300q", what, a.code, a.mediaType, code, mediaType, a.body)
	}
}

// status is the Status that an answer is, in whatever encoding; it fails the test
// if the answer is none.
func (a answer) status(t *testing.T) metav1.Status {
	t.Helper()
	status, ok := decode(t, a.body).(*metav1.Status)
	if !ok || status.Message == "" || int(status.Code) != a.code {
		t.Fatalf("the answer %d is no Status: %.300q", a.code, a.body)
	}
	return *status
}

// pathOf is the path of a resource in the namespace of a feature, and of what is
// under it.
func pathOf(feature string, gvr schema.GroupVersionResource, under ...string) []string {
	return append([]string{"/apis", gvr.Group, gvr.Version, "namespaces", namespaceOf(feature, gvr), gvr.Resource}, under...)
}

// towards is the spec of nginx at a host of its own.
func towards(gvr schema.GroupVersionResource, host string) map[string]any {
	spec := nginx(gvr)
	endpoint(gvr, spec)["host"] = host
	return spec
}

// typed is the Go type of a rule in the version of gvr.
func typed(t *testing.T, gvr schema.GroupVersionResource, name string, spec map[string]any) runtimeclient.Object {
	t.Helper()
	object, err := wire.New(gvr.GroupVersion().WithKind(api.Kind))
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(portRule(gvr, name, spec).Object, object); err != nil {
		t.Fatal(err)
	}
	return object.(runtimeclient.Object)
}

// createWithStatus creates a rule with a label and a status.
func createWithStatus(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, gvr schema.GroupVersionResource, name string, spec map[string]any) {
	t.Helper()
	rule := portRule(gvr, name, spec)
	rule.SetLabels(map[string]string{"a": "label"})
	created, err := rules.Create(ctx, rule, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Object["status"] = map[string]any{
		"observedGeneration": int64(1), "replicas": int64(1), "selector": "a=b",
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Carried", "message": "äöü", "lastTransitionTime": "2026-01-02T03:04:05Z",
		}},
	}
	if _, err := rules.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// The server answers in protobuf what it answers in JSON: objects, lists, events and
// errors. Of a CRD only metadata and errors have messages, which are those of every
// kind.
func TestProtobufAnswers(t *testing.T) {
	forEach(t, "protobuf answers", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		createWithStatus(ctx, t, rules, gvr, "one", nginx(gvr))
		for _, c := range []struct {
			what  string
			under []string
			code  int
			want  runtime.Object
		}{
			{"an object", []string{"one"}, 200, typed(t, gvr, "one", nginx(gvr))},
			{"a list", nil, 200, map[string]runtime.Object{v1.Version: &v1.PortRuleList{}, v2.Version: &v2.PortRuleList{}}[gvr.Version]},
			{"the status", []string{"one", "status"}, 200, typed(t, gvr, "one", nginx(gvr))},
			{"the scale", []string{"one", "scale"}, 200, &autoscalingv1.Scale{}},
			{"an error", []string{"none"}, 404, &metav1.Status{}},
		} {
			get := func(accept string) answer {
				return ask(ctx, raw(t, config).Get().AbsPath(pathOf("protobuf answers", gvr, c.under...)...).SetHeader("Accept", accept))
			}
			got := get(runtime.ContentTypeProtobuf)
			if gvr.Group == api.CRDGroup {
				got.is(t, c.what, http.StatusNotAcceptable, runtime.ContentTypeProtobuf)
				equal(t, c.what+": the reason", got.status(t).Reason, metav1.StatusReasonNotAcceptable)
				continue
			}
			got.is(t, c.what, c.code, runtime.ContentTypeProtobuf)
			if !bytes.HasPrefix(got.body, protobufMagic) {
				t.Errorf("%s begins with %.8q, want %q", c.what, got.body, protobufMagic)
			}
			want := get(runtime.ContentTypeJSON)
			want.is(t, c.what+" in JSON", c.code, runtime.ContentTypeJSON)
			object := decode(t, got.body)
			sameObject(t, c.what, object, decode(t, want.body))
			equal(t, c.what+": its type", fmt.Sprintf("%T", object), fmt.Sprintf("%T", c.want))
		}

		event, mediaType := firstEvent(ctx, t, raw(t, config).Get().AbsPath(pathOf("protobuf answers", gvr)...), config)
		if gvr.Group == api.CRDGroup {
			equal(t, "the media type of a watch", mediaType, runtime.ContentTypeProtobuf)
		} else {
			equal(t, "the media type of a watch", mediaType, runtime.ContentTypeProtobuf+";stream=watch")
			equal(t, "the first event", event.Type, "ADDED")
			one := ask(ctx, raw(t, config).Get().AbsPath(pathOf("protobuf answers", gvr, "one")...).SetHeader("Accept", runtime.ContentTypeJSON))
			if !bytes.HasPrefix(event.Object.Raw, protobufMagic) {
				t.Errorf("the object of an event begins with %.8q, want %q", event.Object.Raw, protobufMagic)
			}
			sameObject(t, "the object of an event", decode(t, event.Object.Raw), decode(t, one.body))
		}

		// what informers of metadata ask for
		metadata := func(mediaType string) answer {
			return ask(ctx, raw(t, config).Get().AbsPath(pathOf("protobuf answers", gvr, "one")...).SetHeader("Accept", mediaType+asPartial))
		}
		got := metadata(runtime.ContentTypeProtobuf)
		got.is(t, "metadata", http.StatusOK, runtime.ContentTypeProtobuf)
		sameObject(t, "metadata", decode(t, got.body), decode(t, metadata(runtime.ContentTypeJSON).body))
	})
}

// sameObject checks whether two encodings are of the same object, its type included.
func sameObject(t *testing.T, what string, got, want runtime.Object) {
	t.Helper()
	if !apiequality.Semantic.DeepEqual(got, want) {
		t.Errorf("%s differs between the encodings: got %#v, want %#v", what, got, want)
	}
}

// firstEvent asks for a watch in protobuf and returns its first event, nil if the
// watch is refused, and the answer's media type.
func firstEvent(ctx context.Context, t *testing.T, request *rest.Request, config *rest.Config) (*metav1.WatchEvent, string) {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, request.Param("watch", "true").URL().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	get.Header.Set("Accept", runtime.ContentTypeProtobuf+";stream=watch")
	response, err := client.Do(get)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	mediaType := response.Header.Get("Content-Type")
	if response.StatusCode != http.StatusOK {
		return nil, mediaType
	}
	frame := make([]byte, 1<<20)
	n, err := protobuf.LengthDelimitedFramer.NewFrameReader(response.Body).Read(frame)
	if err != nil {
		t.Fatal(err)
	}
	event := &metav1.WatchEvent{}
	if err := event.Unmarshal(frame[:n]); err != nil {
		t.Fatal(err)
	}
	return event, mediaType
}

// A client that takes protobuf or JSON, as the typed clients do, gets an answer from
// everything that is served.
func TestProtobufOrJSON(t *testing.T) {
	forEach(t, "either", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		createWithStatus(ctx, t, rules, gvr, "one", nginx(gvr))
		target := bed.Target()
		if !target.IsValid() {
			t.Fatal("nothing listens for the probe")
		}
		spec := towards(gvr, target.Addr().String())
		endpoint(gvr, spec)["port"] = int64(target.Port())
		createWithStatus(ctx, t, rules, gvr, "listening", spec)

		native, text, lines, subresource := runtime.ContentTypeProtobuf, "text/plain; charset=utf-8", "application/jsonl", http.StatusOK
		if gvr.Group == api.CRDGroup { // has the subresources status and scale alone
			native, text, lines, subresource = runtime.ContentTypeJSON, runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf, http.StatusNotFound
		}
		group := []string{"/apis", gvr.Group, gvr.Version}
		tableOrTable := runtime.ContentTypeProtobuf + asTable + "," + runtime.ContentTypeJSON + asTable
		for _, c := range []struct {
			what      string
			path      []string
			accept    string
			code      int
			mediaType string
		}{
			{"an object", pathOf("either", gvr, "one"), protobufOrJSON, 200, native},
			{"a list", pathOf("either", gvr), protobufOrJSON, 200, native},
			{"the status", pathOf("either", gvr, "one", "status"), protobufOrJSON, 200, native},
			{"the scale", pathOf("either", gvr, "one", "scale"), protobufOrJSON, 200, native},
			{"nftables", pathOf("either", gvr, "one", "nftables"), protobufOrJSON, subresource, text},
			{"a probe", pathOf("either", gvr, "listening", "probe"), protobufOrJSON, subresource, lines},
			{"a table", pathOf("either", gvr, "one"), tableOrTable, 200, runtime.ContentTypeJSON},
			{"a table of a list", pathOf("either", gvr), tableOrTable, 200, runtime.ContentTypeJSON},
			{"a table of the scale", pathOf("either", gvr, "one", "scale"), tableOrTable, 200, runtime.ContentTypeJSON},
			// a Table has no protobuf messages, here as for Pods
			{"a table in protobuf alone", pathOf("either", gvr, "one"), runtime.ContentTypeProtobuf + asTable, 406, runtime.ContentTypeJSON},
			{"the resources", group, protobufOrJSON, 200, runtime.ContentTypeProtobuf},
			{"the versions", group[:2], protobufOrJSON, 200, runtime.ContentTypeProtobuf},
			{"OpenAPI v3", append([]string{"/openapi/v3"}, group...), protobufOrJSON, 200, runtime.ContentTypeJSON},
		} {
			ask(ctx, raw(t, config).Get().AbsPath(c.path...).SetHeader("Accept", c.accept)).is(t, c.what, c.code, c.mediaType)
		}
		if gvr == implementations["aggregated-v2"] {
			review := fmt.Appendf(nil, `{"apiVersion":%q,"kind":"CallerReview"}`, gvr.GroupVersion())
			answer := ask(ctx, raw(t, config).Post().AbsPath(append(group, callerreview.Resource)...).
				SetHeader("Accept", protobufOrJSON).SetHeader("Content-Type", runtime.ContentTypeJSON).Body(review))
			answer.is(t, "a CallerReview", http.StatusCreated, runtime.ContentTypeProtobuf)
			if got := decode(t, answer.body).(*callerreview.CallerReview).Status.UserInfo.Username; got == "" {
				t.Error("the CallerReview names nobody")
			}
		}
	})
}

// What is sent in protobuf is what is served, and what is no message is refused.
//
// A CRD refuses it all, if it is asked not to look for unknown fields. Asked to, which
// is the default, kube-apiserver v1.36.3 takes a strict decoder of protobuf that CRDs
// do not have: the handler panics and the request ends without an answer.
func TestProtobufBodies(t *testing.T) {
	forEach(t, "protobuf bodies", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		aggregated := gvr.Group == api.Group
		send := func(verb string, path []string, body []byte) answer {
			request := raw(t, config).Verb(verb).AbsPath(path...).
				SetHeader("Accept", protobufOrJSON).SetHeader("Content-Type", runtime.ContentTypeProtobuf).Body(body)
			if !aggregated { // see above
				request.Param("fieldValidation", metav1.FieldValidationIgnore)
			}
			return ask(ctx, request)
		}
		rule := typed(t, gvr, "one", nginx(gvr))
		message := encodeProtobuf(t, rule)

		posted := send(http.MethodPost, pathOf("protobuf bodies", gvr), message)
		if aggregated {
			posted.is(t, "POST", http.StatusCreated, runtime.ContentTypeProtobuf)
			read, err := rules.Get(ctx, "one", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := nginx(gvr)
			endpoint(gvr, want)["protocol"], want["replicas"] = "tcp", int64(1)
			equal(t, "the spec", read.Object["spec"], want)

			put := decode(t, posted.body).(runtimeclient.Object)
			put.SetLabels(map[string]string{"a": "label"})
			put.SetManagedFields(nil)
			answer := send(http.MethodPut, pathOf("protobuf bodies", gvr, "one"), encodeProtobuf(t, put))
			answer.is(t, "PUT", http.StatusOK, runtime.ContentTypeProtobuf)
			read, err = rules.Get(ctx, "one", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the labels", read.GetLabels(), map[string]string{"a": "label"})
			equal(t, "the spec after a PUT of the labels", read.Object["spec"], want)
		} else {
			posted.is(t, "POST", http.StatusBadRequest, runtime.ContentTypeProtobuf)
		}

		asKind := func(apiVersion, kind string) []byte {
			unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: []byte{}}
			content, err := unknown.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			return append(bytes.Clone(protobufMagic), content...)
		}
		document, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what string
			body []byte
		}{
			{"nothing", nil},
			{"garbage", []byte("\xff\xfe\xfd\xfc\xfb\xfa")},
			{"the magic alone", protobufMagic},
			{"the magic and garbage", append(bytes.Clone(protobufMagic), "\xff\xfe\xfd\xfc"...)},
			{"half a message", message[:len(message)/2]},
			{"a message without its last byte", message[:len(message)-1]},
			{"a message without its magic", message[len(protobufMagic):]},
			{"another kind", asKind(gvr.GroupVersion().String(), "Pod")},
			{"another group", asKind("example.com/v1", api.Kind)},
			{"another version", asKind(gvr.Group+"/v3", api.Kind)},
			{"JSON", document},
		} {
			answer := send(http.MethodPost, pathOf("protobuf bodies", gvr), c.body)
			status := answer.status(t)
			if answer.code != http.StatusBadRequest {
				t.Errorf("%s: %d, want 400: %s", c.what, answer.code, status.Message)
			}
		}
		labelled := ask(ctx, raw(t, config).Post().AbsPath(pathOf("protobuf bodies", gvr)...).
			SetHeader("Content-Type", runtime.ContentTypeJSON).Body(message))
		equal(t, "protobuf that is said to be JSON", []any{labelled.code, labelled.status(t).Reason},
			[]any{http.StatusBadRequest, metav1.StatusReasonBadRequest})
		// Nobody looks whether a message's strings are UTF-8. What has no syntax of its
		// own is taken, and JSON shows what it can of it.
		if aggregated {
			rule := typed(t, gvr, "two", towards(gvr, "10.0.0.4"))
			rule.SetAnnotations(map[string]string{"a": "\xff"})
			send(http.MethodPost, pathOf("protobuf bodies", gvr), encodeProtobuf(t, rule)).
				is(t, "an annotation that is no UTF-8", http.StatusCreated, runtime.ContentTypeProtobuf)
			read, err := rules.Get(ctx, "two", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "an annotation that is no UTF-8", read.GetAnnotations()["a"], "\ufffd")
			rule.SetName("\xff")
			send(http.MethodPost, pathOf("protobuf bodies", gvr), encodeProtobuf(t, rule)).
				is(t, "a name that is no UTF-8", http.StatusUnprocessableEntity, runtime.ContentTypeProtobuf)
		}
		if _, err := rules.List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("the next request: %v", err)
		}
	})
}

// mediaTypes notes what goes over the wire.
type mediaTypes struct {
	http.RoundTripper
	mu   sync.Mutex
	seen []string
}

func (m *mediaTypes) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := m.RoundTripper.RoundTrip(request)
	if err == nil && strings.Contains(request.URL.Path, api.Resource) {
		m.mu.Lock()
		m.seen = append(m.seen, request.Method+" "+request.Header.Get("Content-Type")+" -> "+response.Header.Get("Content-Type"))
		m.mu.Unlock()
	}
	return response, err
}

// A typed client that is told to speak protobuf speaks nothing else with the server.
func TestProtobufClient(t *testing.T) {
	forEach(t, "protobuf client", func(ctx context.Context, t *testing.T, _ dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		wires := &mediaTypes{}
		config = rest.CopyConfig(config)
		config.ContentType = runtime.ContentTypeProtobuf
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			wires.RoundTripper = next
			return wires
		})
		scheme := runtime.NewScheme()
		if err := errors.Join(v1.AddToScheme(scheme, gvr.Group), v2.AddToScheme(scheme, gvr.Group)); err != nil {
			t.Fatal(err)
		}
		client, err := runtimeclient.New(config, runtimeclient.Options{Scheme: scheme})
		if err != nil {
			t.Fatal(err)
		}
		rule := typed(t, gvr, "one", nginx(gvr))
		rule.SetNamespace(namespaceOf("protobuf client", gvr))
		err = client.Create(ctx, rule)
		if gvr.Group == api.CRDGroup {
			if err == nil {
				t.Error("a CRD took protobuf")
			}
			return // how it says so is in TestProtobufBodies
		}
		if err != nil {
			t.Fatal(err)
		}
		rule.SetLabels(map[string]string{"a": "label"})
		if err := client.Update(ctx, rule); err != nil {
			t.Fatal(err)
		}
		read := typed(t, gvr, "none", nginx(gvr))
		if err := client.Get(ctx, runtimeclient.ObjectKeyFromObject(rule), read); err != nil {
			t.Fatal(err)
		}
		read.GetObjectKind().SetGroupVersionKind(rule.GetObjectKind().GroupVersionKind())
		sameObject(t, "the object read and the object written", read, rule)
		if err := client.Delete(ctx, rule); err != nil {
			t.Fatal(err)
		}
		const both = " " + runtime.ContentTypeProtobuf + " -> " + runtime.ContentTypeProtobuf
		equal(t, "what went over the wire", wires.seen, []string{"POST" + both, "PUT" + both, "GET  -> " + runtime.ContentTypeProtobuf, "DELETE" + both})
	})
}

// Both implementations read and write YAML.
func TestYAML(t *testing.T) {
	forEach(t, "yaml", func(ctx context.Context, t *testing.T, _ dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		document, err := yaml.Marshal(portRule(gvr, "one", nginx(gvr)).Object)
		if err != nil {
			t.Fatal(err)
		}
		posted := ask(ctx, raw(t, config).Post().AbsPath(pathOf("yaml", gvr)...).
			SetHeader("Content-Type", runtime.ContentTypeYAML).SetHeader("Accept", runtime.ContentTypeYAML).Body(document))
		posted.is(t, "POST", http.StatusCreated, runtime.ContentTypeYAML)
		for _, under := range [][]string{{"one"}, nil, {"one", "status"}, {"one", "scale"}, {"none"}} {
			get := func(accept string) answer {
				return ask(ctx, raw(t, config).Get().AbsPath(pathOf("yaml", gvr, under...)...).SetHeader("Accept", accept))
			}
			got, want := get(runtime.ContentTypeYAML), get(runtime.ContentTypeJSON)
			got.is(t, strings.Join(under, "/"), want.code, runtime.ContentTypeYAML)
			sameObject(t, strings.Join(under, "/"), decode(t, got.body), decode(t, want.body))
		}
		for _, body := range []string{"a: b: c", "\t", "- a", "a: &a [*a]"} {
			answer := ask(ctx, raw(t, config).Post().AbsPath(pathOf("yaml", gvr)...).SetHeader("Content-Type", runtime.ContentTypeYAML).Body([]byte(body)))
			if status := answer.status(t); answer.code != http.StatusBadRequest {
				t.Errorf("%q: %d, want 400: %s", body, answer.code, status.Message)
			}
		}
	})
}

// stored returns what etcd has under a key, nil if it has nothing.
func stored(t *testing.T, etcd *clientv3.Client, key ...string) []byte {
	t.Helper()
	response, err := etcd.Get(t.Context(), "/registry/"+strings.Join(key, "/"))
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Kvs) == 0 {
		return nil
	}
	return response.Kvs[0].Value
}

// What is written in either version is stored as v2: by the server in protobuf, with
// a reservation of the endpoint beside it, of a CRD in JSON.
func TestStored(t *testing.T) {
	forEach(t, "stored", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, _ *rest.Config, gvr schema.GroupVersionResource) {
		etcd, namespace := etcdClient(t), namespaceOf("stored", gvr)
		reservation := []string{gvr.Group, "portrule-endpoints", namespace, "tcp", "10.0.0.3", "80"}
		createWithStatus(ctx, t, rules, gvr, "one", nginx(gvr))

		value := stored(t, etcd, gvr.Group, gvr.Resource, namespace, "one")
		want := map[string][]byte{api.Group: protobufMagic, api.CRDGroup: []byte("{")}[gvr.Group]
		if !bytes.HasPrefix(value, want) {
			t.Errorf("the stored value begins with %.8q, want %q", value, want)
		}
		rule, ok := decode(t, value).(*v2.PortRule)
		if !ok {
			t.Fatalf("the stored value is %.80q, want a PortRule of v2", value)
		}
		equal(t, "the stored apiVersion", rule.APIVersion, gvr.Group+"/v2")
		equal(t, "the stored endpoint", rule.Spec.Endpoint, v2.Endpoint{Host: "10.0.0.3", Port: 80, Protocol: v2.ProtocolTCP})
		equal(t, "the stored condition", rule.Status.Conditions[0].Message, "äöü")

		value = stored(t, etcd, reservation...)
		if gvr.Group == api.CRDGroup {
			if value != nil {
				t.Errorf("there is a reservation: %s", value)
			}
		} else {
			var reserved metav1.PartialObjectMetadata
			if err := json.Unmarshal(value, &reserved); err != nil {
				t.Fatalf("the reservation: %v: %s", err, value)
			}
			equal(t, "the owner of the reservation", []any{reserved.Namespace, reserved.Name, reserved.UID}, []any{namespace, "one", rule.UID})
		}

		if err := rules.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, key := range [][]string{{gvr.Group, gvr.Resource, namespace, "one"}, reservation} {
			if value := stored(t, etcd, key...); value != nil {
				t.Errorf("%s is left behind: %.80q", strings.Join(key, "/"), value)
			}
		}
	})
}

// CBOR is behind a feature gate: without it the answer to who takes nothing else is
// that there is none.
func TestCBOR(t *testing.T) {
	replica, err := bed.StartReplica(t.Context(), "portrule-apiserver-cbor", "--feature-gates=CBORServingAndStorage=true")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	forEach(t, "cbor", func(ctx context.Context, t *testing.T, rules dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		createWithStatus(ctx, t, rules, gvr, "one", nginx(gvr))
		get := func(config *rest.Config, accept string, under ...string) answer {
			return ask(ctx, raw(t, config).Get().AbsPath(pathOf("cbor", gvr, under...)...).SetHeader("Accept", accept))
		}
		const cborOrJSON = runtime.ContentTypeCBOR + "," + runtime.ContentTypeJSON
		get(config, runtime.ContentTypeCBOR, "one").is(t, "CBOR alone", http.StatusNotAcceptable, runtime.ContentTypeJSON)
		get(config, cborOrJSON, "one").is(t, "CBOR or JSON", http.StatusOK, runtime.ContentTypeJSON)
		body := encodeCBOR(t, typed(t, gvr, "two", towards(gvr, "10.0.0.4")))
		post := func(config *rest.Config) answer {
			return ask(ctx, raw(t, config).Post().AbsPath(pathOf("cbor", gvr)...).SetHeader("Content-Type", runtime.ContentTypeCBOR).Body(body))
		}
		post(config).is(t, "POST", http.StatusUnsupportedMediaType, runtime.ContentTypeJSON)
		if gvr.Group == api.CRDGroup {
			return // the CRD is served by the kube-apiserver, whose gate is off
		}

		direct := replica.Config(config)
		for _, under := range [][]string{{"one"}, nil, {"one", "status"}, {"one", "scale"}} {
			for _, accept := range []string{runtime.ContentTypeCBOR, cborOrJSON} {
				got := get(direct, accept, under...)
				got.is(t, accept, http.StatusOK, runtime.ContentTypeCBOR)
				object, _, err := cbor.NewSerializer(wire, wire).Decode(got.body, nil, nil)
				if err != nil {
					t.Fatalf("%v: %.80q", err, got.body)
				}
				sameObject(t, strings.Join(under, "/"), object, decode(t, get(direct, runtime.ContentTypeJSON, under...).body))
			}
		}
		equal(t, "POST with the gate", post(direct).code, http.StatusCreated)
		// the gate opens what is served, not what is stored
		if value := stored(t, etcdClient(t), gvr.Group, gvr.Resource, namespaceOf("cbor", gvr), "two"); !bytes.HasPrefix(value, protobufMagic) {
			t.Errorf("the stored value begins with %.8q, want %q", value, protobufMagic)
		}
	})
}

func encodeCBOR(t *testing.T, object runtime.Object) []byte {
	t.Helper()
	var body bytes.Buffer
	if err := cbor.NewSerializer(wire, wire).Encode(object, &body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// Replicas may differ in how they store: each reads what the other has written, and
// stores in its own way what it writes.
func TestStorageMediaType(t *testing.T) {
	replica, err := bed.StartReplica(t.Context(), "portrule-apiserver-json", "--storage-media-type="+runtime.ContentTypeJSON)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, replica)
	forEach(t, "media type", func(ctx context.Context, t *testing.T, inProtobuf dynamic.ResourceInterface, config *rest.Config, gvr schema.GroupVersionResource) {
		if gvr.Group == api.CRDGroup {
			return
		}
		etcd, namespace := etcdClient(t), namespaceOf("media type", gvr)
		inJSON := clientIn(t, replica.Config(config), gvr, namespace)
		prefix := map[dynamic.ResourceInterface][]byte{inProtobuf: protobufMagic, inJSON: []byte("{")}
		for i, writers := range [][2]dynamic.ResourceInterface{{inJSON, inProtobuf}, {inProtobuf, inJSON}} {
			name := fmt.Sprintf("rule-%d", i)
			createWithStatus(ctx, t, writers[0], gvr, name, towards(gvr, name))
			written := stored(t, etcd, gvr.Group, gvr.Resource, namespace, name)
			if !bytes.HasPrefix(written, prefix[writers[0]]) {
				t.Errorf("the stored value begins with %.8q, want %q", written, prefix[writers[0]])
			}
			read, err := writers[1].Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			again, err := writers[0].Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "what either replica reads", read.Object, again.Object)

			read.SetLabels(map[string]string{"another": "label"})
			if _, err := writers[1].Update(ctx, read, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			rewritten := stored(t, etcd, gvr.Group, gvr.Resource, namespace, name)
			if !bytes.HasPrefix(rewritten, prefix[writers[1]]) {
				t.Errorf("the value stored by the other replica begins with %.8q, want %q", rewritten, prefix[writers[1]])
			}
			if err := writers[0].Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
