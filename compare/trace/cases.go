package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/bench"
)

// A Case is a kind of request that can be traced.
type Case struct {
	Name string
	// About says what is sent.
	About string
	// prepare makes what the requests need, of which count will be sent.
	prepare func(ctx context.Context, s *session, count int) (sender, error)
}

// sender returns the i-th request. last is the body of the last answer, nil at first.
type sender func(ctx context.Context, i int, last []byte) (*http.Request, error)

// Cases are the requests that can be traced, each of v2, the storage version.
var Cases = []Case{
	{"get-same-name", "GET of an object that has just been read", func(ctx context.Context, s *session, _ int) (sender, error) {
		return func(ctx context.Context, _ int, _ []byte) (*http.Request, error) {
			return s.request(ctx, http.MethodGet, s.object("same"), nil)
		}, s.create(ctx, 1, func(int) string { return "same" })
	}},
	{"get-new-name", "GET of an existing object that nobody has read before", func(ctx context.Context, s *session, count int) (sender, error) {
		return func(ctx context.Context, i int, _ []byte) (*http.Request, error) {
			return s.request(ctx, http.MethodGet, s.object(numbered(i)), nil)
		}, s.create(ctx, count, numbered)
	}},
	{"list", fmt.Sprintf("GET of a collection of %d objects", bench.ListSize), func(ctx context.Context, s *session, _ int) (sender, error) {
		return func(ctx context.Context, _ int, _ []byte) (*http.Request, error) {
			return s.request(ctx, http.MethodGet, s.collection(), nil)
		}, s.create(ctx, bench.ListSize, numbered)
	}},
	{"create", "POST of a new object", func(_ context.Context, s *session, _ int) (sender, error) {
		return func(ctx context.Context, i int, _ []byte) (*http.Request, error) {
			return s.request(ctx, http.MethodPost, s.collection(), s.body(numbered(i), i, ""))
		}, nil
	}},
	{"update", "PUT of the whole object with one number changed", updates("")},
	{"status-update", "PUT to the subresource status", updates("/status")},
	{"watch-open", "GET of a collection with watch=true, until the watch is open", func(ctx context.Context, s *session, _ int) (sender, error) {
		// from the newest version on, as clients watch that have listed
		request, err := s.request(ctx, http.MethodGet, s.collection()+"?limit=1", nil)
		if err != nil {
			return nil, err
		}
		body, err := s.do(request)
		if err != nil {
			return nil, err
		}
		version, err := resourceVersion(body)
		return func(ctx context.Context, _ int, _ []byte) (*http.Request, error) {
			return s.request(ctx, http.MethodGet, s.collection()+"?watch=true&resourceVersion="+version, nil)
		}, err
	}},
	{"delete", "DELETE of an existing object", func(ctx context.Context, s *session, count int) (sender, error) {
		return func(ctx context.Context, i int, _ []byte) (*http.Request, error) {
			return s.request(ctx, http.MethodDelete, s.object(numbered(i)), nil)
		}, s.create(ctx, count, numbered)
	}},
}

// Find returns the case of a name.
func Find(name string) (Case, bool) {
	i := slices.IndexFunc(Cases, func(c Case) bool { return c.Name == name })
	if i < 0 {
		return Case{}, false
	}
	return Cases[i], true
}

// updates prepares updates of one object, or of a subresource of it.
func updates(subresource string) func(context.Context, *session, int) (sender, error) {
	return func(ctx context.Context, s *session, _ int) (sender, error) {
		if subresource != "" && s.impl == bench.Native {
			return nil, errors.New("a ConfigMap has no status")
		}
		request, err := s.request(ctx, http.MethodPost, s.collection(), s.body("same", 0, ""))
		if err != nil {
			return nil, err
		}
		created, err := s.do(request)
		return func(ctx context.Context, i int, last []byte) (*http.Request, error) {
			if last == nil {
				last = created
			}
			version, err := resourceVersion(last)
			if err != nil {
				return nil, err
			}
			return s.request(ctx, http.MethodPut, s.object("same")+subresource, s.body("same", i+1, version))
		}, err
	}
}

func numbered(i int) string { return fmt.Sprintf("trace-%04d", i) }

// session is an implementation and a client of it.
type session struct {
	impl      string
	version   schema.GroupVersion
	kind      string
	resource  string
	namespace string
	// host is the URL of the kube-apiserver.
	host   string
	client *http.Client
}

// groupTraced is that of the aggregated server which is traced: a server of its own beside
// the one of the testbed.
const groupTraced = "traced." + api.Group

// implementation fills in what is known of an implementation by its name.
func (s *session) implementation(impl string) {
	s.impl, s.kind, s.resource = impl, api.Kind, api.Resource
	switch impl {
	case bench.CRD:
		s.version = schema.GroupVersion{Group: api.CRDGroup, Version: v2.Version}
	case bench.Native:
		s.version, s.kind, s.resource = schema.GroupVersion{Version: "v1"}, "ConfigMap", "configmaps"
	default:
		s.version = schema.GroupVersion{Group: groupTraced, Version: v2.Version}
	}
}

// collection is the path of the resource.
func (s *session) collection() string {
	root := "/apis/"
	if s.version.Group == "" {
		root = "/api/"
	}
	return root + s.version.String() + "/namespaces/" + s.namespace + "/" + s.resource
}

// object is the path of an object.
func (s *session) object(name string) string { return s.collection() + "/" + name }

// body is an object in JSON. Objects of different n differ in one number, in spec and in
// status.
func (s *session) body(name string, n int, resourceVersion string) []byte {
	metadata := map[string]any{"name": name}
	if resourceVersion != "" {
		metadata["resourceVersion"] = resourceVersion
	}
	object := map[string]any{"apiVersion": s.version.String(), "kind": s.kind, "metadata": metadata}
	if s.impl == bench.Native {
		object["data"] = map[string]any{"service": "nginx", "host": name + ".example.com", "port": "80", "timeoutSeconds": fmt.Sprint(60 + n)}
	} else {
		object["spec"] = map[string]any{"service": "nginx", "endpoint": map[string]any{"host": name + ".example.com", "port": 80}, "timeoutSeconds": 60 + n}
		object["status"] = map[string]any{"replicas": n}
	}
	data, err := json.Marshal(object)
	if err != nil {
		panic(err) // maps of strings and numbers encode
	}
	return data
}

// request makes a request of a path, with a query if need be.
func (s *session) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(s.host, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// create makes objects, a few at a time.
func (s *session) create(ctx context.Context, count int, name func(i int) string) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4)
	for i := range count {
		work.Go(func() error {
			request, err := s.request(ctx, http.MethodPost, s.collection(), s.body(name(i), i, ""))
			if err != nil {
				return err
			}
			_, err = s.do(request)
			return err
		})
	}
	return work.Wait()
}

// resourceVersion reads that of an object or of a list.
func resourceVersion(body []byte) (string, error) {
	var object struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(body, &object); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return object.Metadata.ResourceVersion, nil
}
