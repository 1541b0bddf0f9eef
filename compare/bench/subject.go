package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// The implementations that are compared.
const (
	CRD        = "crd"
	Aggregated = "aggregated"
	// NameFree is the aggregated server with --authorization-name-free-reviews, under
	// [NameFreeGroup].
	NameFree = "aggregated+name-free"
	// Native is a ConfigMap of the same size: the floor, a kind that is compiled
	// into the kube-apiserver.
	Native = "native"
)

// Sample is k8s.io/sample-apiserver, which takes part in the suite [Peers] alone.
const Sample = "sample-apiserver"

// NameFreeGroup is the group of [NameFree]: one group version is served by one server.
const NameFreeGroup = "name-free." + api.Group

// Subject is an API that takes part in a comparison.
type Subject struct {
	Impl     string
	Version  schema.GroupVersion
	Kind     string
	Resource string
	// field is the parent of the fields of an object, which are the same for all
	// subjects: spec, or data where every value is a string.
	field string
	// padding makes up for what a subject's objects are smaller than others'.
	padding int
}

// Subjects are a PortRule from the CRD, one from the aggregated server, one from the
// same server with name-free reviews, a Flunder from sample-apiserver, and the native
// floor. The PortRules are v2, the storage version: a request of another
// would measure conversion.
func Subjects() []*Subject {
	return []*Subject{
		portRule(CRD, api.CRDGroup),
		portRule(Aggregated, api.Group),
		portRule(NameFree, NameFreeGroup),
		{Impl: Sample, Version: schema.GroupVersion{Group: "wardle.example.com", Version: "v1alpha1"}, Kind: "Flunder", Resource: "flunders", field: "spec"},
		{Impl: Native, Version: schema.GroupVersion{Version: "v1"}, Kind: "ConfigMap", Resource: "configmaps", field: "data"},
	}
}

// portRule is the PortRule of a group, in the storage version.
func portRule(impl, group string) *Subject {
	return &Subject{Impl: impl, Version: schema.GroupVersion{Group: group, Version: v2.Version}, Kind: "PortRule", Resource: api.Resource, field: "spec"}
}

// object returns the object called name as JSON, with an endpoint of its own.
// Objects of different n differ in one number, so that each update changes
// something. An empty resourceVersion is left out.
func (s *Subject) object(name string, n int, resourceVersion string) []byte {
	metadata := map[string]any{"name": name}
	if resourceVersion != "" {
		metadata["resourceVersion"] = resourceVersion
	}
	endpoint := map[string]any{"host": fmt.Sprintf("%s.example.com", name), "port": 80, "protocol": "tcp"}
	fields := map[string]any{"service": "nginx", "endpoint": endpoint, "replicas": 1, "timeoutSeconds": s.value(n)}
	if s.Version.Version == v1.Version && s.Kind == api.Kind {
		fields = map[string]any{"name": "nginx", "replicas": 1, "timeoutSeconds": s.value(n)}
		maps.Copy(fields, endpoint)
	}
	if s.text() {
		fields = map[string]any{"service": "nginx", "replicas": "1", "timeoutSeconds": s.value(n), "padding": strings.Repeat("x", s.padding)}
		for key, value := range endpoint {
			fields[key] = fmt.Sprint(value)
		}
	}
	if s.Impl == Sample {
		// a Flunder has but one field, so that the others are annotations
		metadata["annotations"] = fields
		fields = map[string]any{"referenceType": "Fischer", "reference": name}
	}
	return encode(map[string]any{
		"apiVersion": s.Version.String(),
		"kind":       s.Kind,
		"metadata":   metadata,
		s.field:      fields,
	})
}

// number returns a timeout in seconds that differs from sample to sample and has
// always five digits, so that all objects have one size.
func number(n int) int { return 10000 + n%90000 }

// text is whether the fields of the subject's objects are strings.
func (s *Subject) text() bool { return s.Impl == Native || s.Impl == Sample }

// value is number(n) as the subject's fields have it.
func (s *Subject) value(n int) any {
	if s.text() {
		return strconv.Itoa(number(n))
	}
	return number(n)
}

func (s *Subject) mergePatch(n int) []byte {
	return encode(map[string]any{s.field: map[string]any{"timeoutSeconds": s.value(n)}})
}

func (s *Subject) jsonPatch(n int) []byte {
	return encode([]any{map[string]any{"op": "replace", "path": "/" + s.field + "/timeoutSeconds", "value": s.value(n)}})
}

func encode(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // maps of strings and numbers encode
	}
	return data
}

// Session is a subject, a client of it, and the namespaces to work in.
type Session struct {
	Subject *Subject
	// Name tells the sessions of a suite apart that have the same subject; empty means the
	// subject's implementation.
	Name string
	// Namespace is where a case may write what it likes.
	Namespace string
	// ListNamespace holds ListSize objects, no more and no less, or what fill has made.
	ListNamespace string
	// Target is what a probe may dial; the zero value means nothing.
	Target netip.AddrPort

	client *rest.RESTClient
	// prefix begins the names of the session's objects, where several share a namespace.
	prefix string
	// ports is a namespace in which the port of the session's objects is not allowed.
	ports string
	// filled is the number of objects that fill has made, filledAt the resourceVersion of the
	// collection then.
	filled   int
	filledAt string
}

// NewSessions returns a session for each of the implementations. All use one
// connection to the cluster and have no client-side rate limit.
func NewSessions(config *rest.Config, namespace, listNamespace string, impls []string) ([]*Session, error) {
	var sessions []*Session
	for _, subject := range Subjects() {
		if !slices.Contains(impls, subject.Impl) {
			continue
		}
		session, err := NewSession(config, subject, namespace, listNamespace)
		if err != nil {
			return nil, err
		}
		sessions = append(sessions, session)
	}
	return sessions, nil
}

// NewSession returns a session of one subject.
func NewSession(config *rest.Config, subject *Subject, namespace, listNamespace string) (*Session, error) {
	c := rest.CopyConfig(config)
	c.QPS = -1
	c.APIPath = "/apis"
	if subject.Version.Group == "" {
		c.APIPath = "/api"
	}
	c.GroupVersion = &subject.Version
	c.ContentType = "application/json"
	c.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: clientgoscheme.Codecs}
	c.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", subject.Impl, err)
	}
	return &Session{Subject: subject, Namespace: namespace, ListNamespace: listNamespace, client: client}, nil
}

// named is the name of an object that is a client's own.
func (s *Session) named(what string, client int) string {
	return fmt.Sprintf("%s%s-%02d", s.prefix, what, client)
}

// numbered are the names of objects that are a client's own, of one length.
func (s *Session) numbered(what string, client int) func(i int) string {
	return func(i int) string { return fmt.Sprintf("%s-%06d", s.named(what, client), i) }
}

// key is the name of the session in samples.
func (s *Session) key() string { return cmp.Or(s.Name, s.Subject.Impl) }

// Level pads the native objects until they are as large as the CRD's when read back,
// and those of sample-apiserver until they are as large as the aggregated server's, so
// that what is compared moves the same number of bytes, and returns
// the size of an object of each implementation, in bytes of JSON.
func Level(ctx context.Context, sessions []*Session) (map[string]int, error) {
	size := map[string]int{}
	measure := func(s *Session, name string) error {
		body, err := s.create(ctx, s.Namespace, name, 0)
		size[s.Subject.Impl] = len(body)
		return err
	}
	for _, s := range sessions {
		if err := measure(s, "level-1"); err != nil {
			return nil, err
		}
	}
	for _, s := range sessions {
		if like := map[string]string{Native: CRD, Sample: Aggregated}[s.Subject.Impl]; like != "" {
			s.Subject.padding = max(0, size[like]-size[s.Subject.Impl])
			if err := measure(s, "level-2"); err != nil {
				return nil, err
			}
		}
	}
	return size, nil
}

// Clean deletes what the sessions have made, in the namespaces that they were given.
func Clean(ctx context.Context, sessions []*Session) error {
	var errs []error
	for _, s := range sessions {
		for _, namespace := range []string{s.Namespace, s.ListNamespace} {
			if err := s.client.Delete().Namespace(namespace).Resource(s.Subject.Resource).Do(ctx).Error(); err != nil {
				errs = append(errs, fmt.Errorf("delete the %s of %s: %w", s.Subject.Resource, namespace, err))
			}
		}
	}
	return errors.Join(errs...)
}

// request begins a request for the object called name, or for the collection if
// name is empty. It is sent once: an answer that asks to try again is an error.
func (s *Session) request(verb, namespace, name string) *rest.Request {
	request := s.client.Verb(verb).Namespace(namespace).Resource(s.Subject.Resource).MaxRetries(0)
	if name != "" {
		request = request.Name(name)
	}
	return request
}

func (s *Session) create(ctx context.Context, namespace, name string, n int) ([]byte, error) {
	body, err := s.request("POST", namespace, "").Body(s.Subject.object(name, n, "")).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("create %s %s: %w", s.Subject.Kind, name, err)
	}
	return body, nil
}

// createMany creates n objects, a few at a time.
func (s *Session) createMany(ctx context.Context, namespace string, n int, name func(i int) string) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(8)
	for i := range max(0, n) {
		work.Go(func() error {
			_, err := s.create(ctx, namespace, name(i), i)
			return err
		})
	}
	return work.Wait()
}

// fill makes the collection of ListNamespace have n objects; it does not make it smaller.
func (s *Session) fill(ctx context.Context, n int) error {
	have, err := s.count(ctx, s.request("GET", s.ListNamespace, ""))
	if err != nil {
		return err
	}
	// a cluster with a controller manager puts the ConfigMap kube-root-ca.crt into every
	// namespace: it is one of the items
	return s.createMany(ctx, s.ListNamespace, n-have, func(i int) string { return fmt.Sprintf("list-%06d", have+i) })
}

// count sends a request for a list in JSON, and counts its items as they come: a large one
// would be much to hold.
func (s *Session) count(ctx context.Context, request *rest.Request) (int, error) {
	stream, err := request.Stream(ctx)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	return countItems(stream)
}

// countList times a request for a list in JSON that must have n items.
func (s *Session) countList(ctx context.Context, request *rest.Request, n int) (time.Duration, error) {
	begin := time.Now()
	got, err := s.count(ctx, request)
	taken := time.Since(begin)
	if err == nil && got != n {
		err = fmt.Errorf("the list has %d items, not %d", got, n)
	}
	return taken, err
}

// itemField is a field that each item of a list in JSON has once.
const itemField = `"creationTimestamp":`

// countItems counts the items of a list: decoding would cost more than the request.
func countItems(list io.Reader) (int, error) {
	n, kept := 0, 0
	buffer := make([]byte, 64<<10)
	for {
		read, err := list.Read(buffer[kept:])
		have := buffer[:kept+read]
		n += bytes.Count(have, []byte(itemField))
		// the end may be the beginning of another one, but not a whole one
		kept = copy(buffer, have[max(0, len(have)-len(itemField)+1):])
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, fmt.Errorf("read a list: %w", err)
		}
	}
}

// resourceVersion reads an object's resourceVersion from its JSON.
func resourceVersion(body []byte) (string, error) {
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &object); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return object.ResourceVersion, nil
}
