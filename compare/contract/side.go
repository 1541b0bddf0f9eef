package contract

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/testbed"
)

// caseTimeout bounds all that a case asks of one side.
const caseTimeout = 90 * time.Second

// Side is one implementation as a case sees it: a group, a namespace in which nothing is
// but what the case makes, and the means to ask. It keeps the first error of the
// transport; what is asked after that is answered by nothing.
type Side struct {
	// Impl is CRD or Aggregated.
	Impl string
	// Group is the API group under which the side serves PortRules.
	Group string
	// Namespace is the case's own. Other namespaces that a case makes are named after it.
	Namespace string
	// Bed is the testbed that the side is part of.
	Bed *testbed.Testbed
	// Clientset is the administrator's, for kinds other than PortRule.
	Clientset kubernetes.Interface

	ctx    context.Context
	client *http.Client
	err    error
}

// Context ends when the case must.
func (s *Side) Context() context.Context { return s.ctx }

// Fail notes an error that keeps the case from being judged. nil is not one.
func (s *Side) Fail(err error) {
	if s.err == nil && err != nil {
		s.err = err
	}
}

// Request is an HTTP request to the kube-apiserver. The zero value of a field means that
// it is left out, and of Method GET.
type Request struct {
	Method string
	// Path is the whole path, with the query if there is one; see [Side.Path].
	Path string
	// Body is JSON or YAML; GROUP in it stands for the side's group and NAMESPACE for the
	// namespace.
	Body string
	// Type is the Content-Type, JSON if it is empty. YAML is sent as JSON unless this says
	// that it is YAML.
	Type   string
	Accept string
	// User, unless empty, is a user whom the administrator impersonates.
	User   string
	Header http.Header
	// Config, unless nil, is who asks and whom: the administrator and the kube-apiserver
	// otherwise.
	Config *rest.Config
}

// The content types of patches.
const (
	JSONPatch      = "application/json-patch+json"
	MergePatch     = "application/merge-patch+json"
	StrategicPatch = "application/strategic-merge-patch+json"
	ApplyPatch     = "application/apply-patch+yaml"
)

// Path is that of PortRules in the namespace and in a version: all of them, or the one
// that name names, or one of its subresources. A query may follow in the last part.
func (s *Side) Path(version string, parts ...string) string {
	return s.GroupPath(version, append([]string{"namespaces", s.Namespace, api.Resource}, parts...)...)
}

// GroupPath is a path below the group and a version.
func (s *Side) GroupPath(version string, parts ...string) string {
	return strings.Join(append([]string{"/apis", s.Group, version}, parts...), "/")
}

// Answer is what came of a request.
type Answer struct {
	side   *Side
	Code   int
	Header http.Header
	Body   []byte
	TLS    *tls.ConnectionState
}

// Do sends a request and reads the whole answer.
func (s *Side) Do(r Request) *Answer {
	answer := &Answer{side: s}
	response := s.Open(r)
	if response == nil {
		return answer
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fail(fmt.Errorf("%s %s: %w", r.Method, r.Path, err))
	}
	answer.Code, answer.Header, answer.Body, answer.TLS = response.StatusCode, response.Header, body, response.TLS
	return answer
}

// Open sends a request and leaves the body to be read, and closed. It is nil if there is
// no answer.
func (s *Side) Open(r Request) *http.Response {
	if s.err != nil {
		return nil
	}
	client, host := s.client, s.Bed.Admin.Host
	if r.Config != nil {
		var err error
		if client, err = rest.HTTPClientFor(r.Config); err != nil {
			s.Fail(err)
			return nil
		}
		host = r.Config.Host
	}
	body := s.fill(r.Body)
	contentType := r.Type
	if contentType == "" {
		contentType = "application/json"
	}
	if body != "" && strings.HasSuffix(contentType, "json") {
		if converted, err := yaml.YAMLToJSON([]byte(body)); err == nil && !json.Valid([]byte(body)) {
			body = string(converted)
		}
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(s.ctx, r.Method, strings.TrimSuffix(host, "/")+r.Path, strings.NewReader(body))
	if err != nil {
		s.Fail(err)
		return nil
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if body != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if r.Accept != "" {
		request.Header.Set("Accept", r.Accept)
	} else if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/json")
	}
	if r.User != "" {
		request.Header.Set("Impersonate-User", r.User)
		request.Header.Set("Impersonate-Group", "system:authenticated")
	}
	response, err := client.Do(request)
	if err != nil {
		s.Fail(fmt.Errorf("%s %s: %w", r.Method, r.Path, err))
		return nil
	}
	return response
}

// fill puts the names of the side in place of GROUP and NAMESPACE.
func (s *Side) fill(text string) string {
	return strings.NewReplacer("GROUP", s.Group, "NAMESPACE", s.Namespace).Replace(text)
}

// Rule is a PortRule of v2 as JSON, of a name and the fields of its spec in YAML. The
// fields that R1 requires and that spec lacks are added.
func (s *Side) Rule(name, spec string) string {
	fields := map[string]any{}
	s.Fail(yaml.Unmarshal([]byte(spec), &fields))
	if _, ok := fields["service"]; !ok {
		fields["service"] = "nginx"
	}
	if _, ok := fields["endpoint"]; !ok {
		fields["endpoint"] = map[string]any{"host": name + ".example.com", "port": 80}
	}
	return s.Object("v2", name, map[string]any{"spec": fields})
}

// Object is a PortRule of a version as JSON, with more fields beside its metadata, which
// are merged with what fields has of it.
func (s *Side) Object(version, name string, fields map[string]any) string {
	object := map[string]any{"apiVersion": s.Group + "/" + version, "kind": api.Kind}
	metadata := map[string]any{"name": name}
	for key, value := range fields {
		object[key] = value
	}
	if given, ok := fields["metadata"].(map[string]any); ok {
		for key, value := range given {
			metadata[key] = value
		}
	}
	object["metadata"] = metadata
	data, err := json.Marshal(object)
	s.Fail(err)
	return string(data)
}

// Create posts a rule of v2, with the fields of its spec in YAML; see [Side.Rule].
func (s *Side) Create(name, spec string) *Answer {
	return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Rule(name, spec)})
}

// Make is Create for what has to succeed.
func (s *Side) Make(name, spec string) *Answer {
	return s.Must(s.Create(name, spec))
}

// Must fails the case unless the request has succeeded.
func (s *Side) Must(a *Answer) *Answer {
	if s.err == nil && (a.Code < 200 || a.Code > 299) {
		s.Fail(fmt.Errorf("what the case builds on failed: %s", a.Outcome()))
	}
	return a
}

// Get reads a rule in v2.
func (s *Side) Get(name string) *Answer { return s.Do(Request{Path: s.Path("v2", name)}) }

// Patch patches a rule in v2. contentType is one of the patches'.
func (s *Side) Patch(contentType, name, body string) *Answer {
	return s.Do(Request{Method: "PATCH", Path: s.Path("v2", name), Type: contentType, Body: body})
}

// Put replaces a rule in v2.
func (s *Side) Put(name, body string) *Answer {
	return s.Do(Request{Method: "PUT", Path: s.Path("v2", name), Body: body})
}

// Delete deletes a rule. The body is DeleteOptions, or empty.
func (s *Side) Delete(name, body string) *Answer {
	return s.Do(Request{Method: "DELETE", Path: s.Path("v2", name), Body: body})
}

// Outcome says what came of a request in a few words that are the same in each run: the
// status code; of an error its reason, and the fields with what is wrong with each, or
// the message. The names of the side are GROUP and NAMESPACE in it.
func (a *Answer) Outcome() string {
	outcome := strconv.Itoa(a.Code)
	var status metav1.Status
	if a.Code < 400 || json.Unmarshal(a.Body, &status) != nil || status.Kind != "Status" {
		return outcome
	}
	if status.Reason != "" {
		outcome += " " + string(status.Reason)
	}
	var causes []string
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			causes = append(causes, strings.TrimPrefix(cause.Field+": "+cause.Message, ": "))
		}
	}
	if len(causes) == 0 {
		causes = []string{status.Message}
	}
	slices.Sort(causes)
	return outcome + ": " + a.side.Normal(strings.Join(slices.Compact(causes), "; "))
}

// Fields says which fields of an invalid object are refused, without the messages, after
// the status code: "422 spec.endpoint.port".
func (a *Answer) Fields() string {
	var status metav1.Status
	if a.Code < 400 || json.Unmarshal(a.Body, &status) != nil || status.Details == nil {
		return a.Outcome()
	}
	var fields []string
	for _, cause := range status.Details.Causes {
		fields = append(fields, cause.Field)
	}
	slices.Sort(fields)
	return strings.TrimSpace(strconv.Itoa(a.Code) + " " + strings.Join(slices.Compact(fields), ", "))
}

// Warnings are the texts of the Warning headers, sorted.
func (a *Answer) Warnings() string {
	var warnings []string
	for _, header := range a.Header.Values("Warning") {
		_, text, _ := strings.Cut(header, `"`)
		warnings = append(warnings, strings.TrimSuffix(strings.ReplaceAll(text, `\"`, `"`), `"`))
	}
	slices.Sort(warnings)
	return a.side.Normal(strings.Join(warnings, "; "))
}

// Object reads the body as an object, which is empty if it is none.
func (a *Answer) Object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	// this one reads whole numbers as such
	if err := utiljson.Unmarshal(a.Body, &object.Object); err != nil {
		a.side.Fail(fmt.Errorf("read the answer %q: %w", a.Body[:min(len(a.Body), 200)], err))
	}
	return object
}

// Field is the value of a field as JSON, its path in dots, such as spec.endpoint.port or
// items.0.metadata.name; "absent" if there is none.
func (a *Answer) Field(path string) string {
	var value any
	if err := json.Unmarshal(a.Body, &value); err != nil {
		return a.Outcome()
	}
	for _, name := range strings.Split(path, ".") {
		switch parent := value.(type) {
		case map[string]any:
			child, ok := parent[name]
			if !ok {
				return "absent"
			}
			value = child
		case []any:
			index, err := strconv.Atoi(name)
			if err != nil || index >= len(parent) {
				return "absent"
			}
			value = parent[index]
		default:
			return "absent"
		}
	}
	data, err := json.Marshal(value)
	a.side.Fail(err)
	return a.side.Normal(string(data))
}

// Names are the names of a list's items in their order, separated by spaces.
func (a *Answer) Names() string {
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(a.Body, &list); err != nil || a.Code >= 400 {
		return a.Outcome()
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return strings.Join(names, " ")
}

var (
	uids  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// Normal replaces what differs from side to side and from run to run: the group, the
// namespace, UIDs and times.
func (s *Side) Normal(text string) string {
	text = strings.NewReplacer(s.Group, "GROUP", s.Namespace, "NAMESPACE").Replace(text)
	return times.ReplaceAllString(uids.ReplaceAllString(text, "UID"), "TIME")
}

// Event is one of a watch.
type Event struct {
	Type   string
	Object *unstructured.Unstructured
}

// String is the type and the name.
func (e Event) String() string { return e.Type + " " + e.Object.GetName() }

// Watch opens a watch of the namespace in v2 with a query, such as
// resourceVersion=0&allowWatchBookmarks=true. Next reads it; it ends with the case.
func (s *Side) Watch(query string) *Watch {
	response := s.Open(Request{Path: s.Path("v2") + "?watch=true&" + query})
	if response == nil {
		return &Watch{side: s}
	}
	w := &Watch{side: s, Code: response.StatusCode, body: response.Body}
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		s.Fail(errors.Join(err, response.Body.Close()))
		w.Refused = (&Answer{side: s, Code: response.StatusCode, Body: body}).Outcome()
		return w
	}
	w.decoder = json.NewDecoder(response.Body)
	context.AfterFunc(s.ctx, func() { _ = response.Body.Close() })
	return w
}

// Watch is a stream of events.
type Watch struct {
	Code int
	// Refused is the outcome if there is no stream.
	Refused string

	side    *Side
	body    io.Closer
	decoder *json.Decoder
}

// Next waits for the next event. It is the zero Event if the stream has ended.
func (w *Watch) Next() Event {
	if w.decoder == nil || w.side.err != nil {
		return Event{Object: &unstructured.Unstructured{}}
	}
	var event struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := w.decoder.Decode(&event); err != nil {
		if !errors.Is(err, io.EOF) {
			w.side.Fail(fmt.Errorf("read the watch: %w", err))
		}
		return Event{Type: "END", Object: &unstructured.Unstructured{}}
	}
	return Event{Type: event.Type, Object: (&Answer{side: w.side, Body: event.Object}).Object()}
}

// Stop ends the watch.
func (w *Watch) Stop() {
	if w.body != nil {
		_ = w.body.Close()
	}
}

// Eventually asks again until done says so, for as long as the case may last, and
// returns what was said last. It is for what a cluster does in its own time.
func (s *Side) Eventually(ask func() (outcome string, done bool)) string {
	for {
		outcome, done := ask()
		if done || s.err != nil {
			return outcome
		}
		select {
		case <-s.ctx.Done():
			s.Fail(fmt.Errorf("it did not come about within %s; last: %s", caseTimeout, outcome))
			return outcome
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// NewUser returns a user name that nobody has been asked about yet: the aggregated server
// remembers answers for 10 s.
func (s *Side) NewUser() string { return "user-" + utilrand.String(8) }

// Allow lets a user do something in the namespace, and returns once the kube-apiserver
// knows. The resources may be names of the group's, and names restricts them.
func (s *Side) Allow(user string, verbs, resources []string, names ...string) {
	if s.err != nil {
		return
	}
	meta := metav1.ObjectMeta{Namespace: s.Namespace, Name: "allow-" + utilrand.String(8)}
	roles := s.Clientset.RbacV1()
	_, err := roles.Roles(s.Namespace).Create(s.ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{s.Group}, Resources: resources, Verbs: verbs, ResourceNames: names},
	}}, metav1.CreateOptions{})
	s.Fail(err)
	_, err = roles.RoleBindings(s.Namespace).Create(s.ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{})
	s.Fail(err)
	resource, subresource, _ := strings.Cut(resources[0], "/")
	attributes := &authorizationv1.ResourceAttributes{Namespace: s.Namespace, Verb: verbs[0], Group: s.Group, Resource: resource, Subresource: subresource}
	if len(names) > 0 {
		attributes.Name = names[0]
	}
	s.Eventually(func() (string, bool) {
		review, err := s.Clientset.AuthorizationV1().SubjectAccessReviews().Create(s.ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: attributes},
		}, metav1.CreateOptions{})
		if err != nil {
			s.Fail(err)
			return err.Error(), true
		}
		return "not allowed yet", review.Status.Allowed
	})
}

// Annotate sets an annotation of the namespace, and waits until the side sees it: R5's
// namespaces are read by informers.
func (s *Side) Annotate(key, value string, seen func() bool) {
	if s.err != nil {
		return
	}
	namespace, err := s.Clientset.CoreV1().Namespaces().Get(s.ctx, s.Namespace, metav1.GetOptions{})
	if err != nil {
		s.Fail(err)
		return
	}
	if namespace.Annotations == nil {
		namespace.Annotations = map[string]string{}
	}
	namespace.Annotations[key] = value
	_, err = s.Clientset.CoreV1().Namespaces().Update(s.ctx, namespace, metav1.UpdateOptions{})
	s.Fail(err)
	if seen != nil {
		s.Eventually(func() (string, bool) { return "the annotation is not seen", seen() })
	}
}

// NewNamespace makes a further namespace and returns its name.
func (s *Side) NewNamespace() string {
	name := s.Namespace + "-" + utilrand.String(4)
	if s.err != nil {
		return name
	}
	_, err := s.Clientset.CoreV1().Namespaces().Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	s.Fail(err)
	return name
}

// tally counts equal outcomes: "1 of 201; 7 of 409".
func tally(outcomes []string) string {
	counts := map[string]int{}
	for _, outcome := range outcomes {
		counts[outcome]++
	}
	var parts []string
	for _, outcome := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d of %s", counts[outcome], outcome))
	}
	return strings.Join(parts, "; ")
}

// Escape makes one part of a query of a value.
func Escape(value string) string { return url.QueryEscape(value) }

// Compact is JSON on one line, with its keys sorted.
func Compact(data []byte) string {
	var value any
	if json.Unmarshal(data, &value) != nil {
		return string(data)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return string(data)
	}
	return strings.TrimSpace(out.String())
}
