package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// at is a time in milliseconds since the request began.
func at(ms float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(ms * float64(time.Millisecond)))
}

// span makes a span of a trace. The options are parent=ID, link=trace/ID, client, server,
// and attributes as name=value.
func span(trace, id, program, name string, start, end float64, options ...string) *Span {
	s := &Span{Trace: trace, ID: id, Program: program, Name: name, Start: at(start), End: at(end), Attributes: map[string]string{}}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "parent":
			s.Parent = value
		case "link":
			trace, id, _ := strings.Cut(value, "/")
			s.Links = append(s.Links, Link{trace, id})
		case string(Client), string(Server):
			s.Kind = Kind(key)
		default:
			s.Attributes[key] = value
		}
	}
	return s
}

// outline is a tree in text: a line for each node, with its times in milliseconds.
func outline(n *Node, depth int) string {
	since := func(t time.Time) float64 { return float64(t.Sub(at(0))) / float64(time.Millisecond) }
	lost := ""
	if n.Lost {
		lost = " lost"
	}
	text := fmt.Sprintf("%s%s: %s %g-%g%s\n", strings.Repeat(" ", depth), n.Program, n.What(), since(n.Start), since(n.End), lost)
	for _, child := range n.Children {
		text += outline(child, depth+1)
	}
	return text
}

func TestJoin(t *testing.T) {
	const path = "url.path=/apis/g/v2/namespaces/n/portrules/x"
	const get = "GET /apis/g/v2/namespaces/{:namespace}/portrules/{:name}"
	root := span("t", "root", "client", "GET", 0, 20, "client")
	serve := span("t", "serve", "kube-apiserver", get, 2, 18, "server", "parent=root", path)
	authentication := span("a", "a1", "kube-apiserver", "authentication", 1, 18.1)
	proxy := span("t", "proxy", "kube-apiserver", "HTTP GET", 4, 17, "client", "parent=serve", "url.full=https://localhost:1/apis/g/v2/namespaces/n/portrules/x")
	served := span("t", "served", "portrule-apiserver", get, 6, 16, "server", "parent=proxy", path)
	servedAuthentication := span("b", "b1", "portrule-apiserver", "authentication", 5.5, 16.2)
	review := span("t", "review", "portrule-apiserver", "HTTP POST", 8, 12, "client", "parent=served", "http.request.method=POST",
		"url.full=https://127.0.0.1:2/apis/authorization.k8s.io/v1/subjectaccessreviews?timeout=10s")
	reviewed := span("r", "reviewed", "kube-apiserver", "POST /apis/authorization.k8s.io/v1/subjectaccessreviews", 9, 11, "server", "link=t/review")
	reviewedAuthentication := span("c", "c1", "kube-apiserver", "authentication", 8.9, 11.05)

	for name, test := range map[string]struct {
		spans []*Span
		want  string
		err   string
	}{
		"by parents and by links, with the authentication that fits": {
			// the order in which spans come is not that in which they began
			spans: []*Span{reviewedAuthentication, reviewed, servedAuthentication, authentication, review, served, proxy, serve},
			want: `client: GET 0-20
 kube-apiserver: GET portrules/{name} 1-18.1
  kube-apiserver: authentication 1-2
  kube-apiserver: → proxy hop 4-17
   portrule-apiserver: GET portrules/{name} 5.5-16.2
    portrule-apiserver: authentication 5.5-6
    portrule-apiserver: → SubjectAccessReview 8-12
     kube-apiserver: SubjectAccessReview 8.9-11.05
      kube-apiserver: authentication 8.9-9
`,
		},
		"filters beside each other": {
			spans: []*Span{
				serve, authentication,
				span("t", "f1", "kube-apiserver", "audit", 3, 17, "parent=serve"),
				span("t", "f2", "kube-apiserver", "constrainedimpersonation", 4, 16, "parent=f1"),
				span("t", "f3", "kube-apiserver", "priorityandfairness", 5, 15, "parent=f2"),
				span("t", "f4", "kube-apiserver", "authorization", 6, 14, "parent=f3"),
				span("t", "work", "kube-apiserver", "Get", 8, 13, "parent=f4"),
				span("t", "etcd", "kube-apiserver", "etcdserverpb.KV/Range", 9, 12, "client", "parent=work"),
			},
			want: `client: GET 0-20
 kube-apiserver: GET portrules/{name} 1-18.1
  kube-apiserver: authentication 1-2
  kube-apiserver: audit 3-4
  kube-apiserver: impersonation 4-5
  kube-apiserver: priority and fairness 5-6
  kube-apiserver: authorization 6-8
  kube-apiserver: handler: get 8-13
   kube-apiserver: → etcd Range 9-12
`,
		},
		"a review stays in its authorization": {
			spans: []*Span{
				serve, authentication, proxy, served, servedAuthentication, reviewed, reviewedAuthentication,
				span("t", "f4", "portrule-apiserver", "authorization", 7, 15, "parent=served"),
				span("t", "review", "portrule-apiserver", "HTTP POST", 8, 12, "client", "parent=f4", "url.full=https://127.0.0.1:2/apis/authorization.k8s.io/v1/subjectaccessreviews"),
				span("t", "work", "portrule-apiserver", "Get", 13, 14, "parent=f4"),
			},
			want: `client: GET 0-20
 kube-apiserver: GET portrules/{name} 1-18.1
  kube-apiserver: authentication 1-2
  kube-apiserver: → proxy hop 4-17
   portrule-apiserver: GET portrules/{name} 5.5-16.2
    portrule-apiserver: authentication 5.5-6
    portrule-apiserver: authorization 7-13
     portrule-apiserver: → SubjectAccessReview 8-12
      kube-apiserver: SubjectAccessReview 8.9-11.05
       kube-apiserver: authentication 8.9-9
    portrule-apiserver: handler: get 13-14
`,
		},
		"a webhook and what it asks": {
			spans: []*Span{
				serve, authentication,
				span("t", "call", "kube-apiserver", "Call validating webhook", 3, 12, "parent=serve"),
				span("t", "post", "kube-apiserver", "HTTP POST", 4, 11, "client", "parent=call", "url.full=https://localhost:3/validate?timeout=10s"),
				span("t", "hook", "portrule-controller", "/validate", 5, 10, "server", "parent=post", "url.path=/validate"),
				span("t", "ask", "portrule-controller", "HTTP GET", 6, 9, "client", "parent=hook", "http.request.method=GET", "url.full=https://127.0.0.1:2/api/v1/namespaces/n"),
				span("n", "answer", "kube-apiserver", "GET /api/v1/namespaces/{:namespace}/namespaces/{:name}", 7, 8, "server", "link=t/ask"),
				span("d", "d1", "kube-apiserver", "authentication", 6.9, 8),
			},
			want: `client: GET 0-20
 kube-apiserver: GET portrules/{name} 1-18.1
  kube-apiserver: authentication 1-2
  kube-apiserver: → validating webhook 3-12
   portrule-controller: validate 5-10
    portrule-controller: → GET namespaces/{name} 6-9
     kube-apiserver: GET namespaces/{name} 6.9-8
      kube-apiserver: authentication 6.9-7
`,
		},
		"a TokenReview in the time of an authentication": {
			spans: []*Span{
				serve, span("a", "a1", "kube-apiserver", "authentication", 0.5, 18.1), proxy, served,
				span("b", "b1", "portrule-apiserver", "authentication", 4.5, 16.2),
				span("k", "k1", "portrule-apiserver", "HTTP POST", 4.6, 5.9, "client", "url.full=https://127.0.0.1:2/apis/authentication.k8s.io/v1/tokenreviews"),
				span("k", "k0", "portrule-apiserver", "HTTP POST", 3, 5.9, "client", "url.full=https://127.0.0.1:2/apis/authentication.k8s.io/v1/tokenreviews"),
				span("l", "l1", "kube-apiserver", "POST /apis/authentication.k8s.io/v1/tokenreviews", 4.8, 5.8, "server", "link=k/k1"),
				span("m", "m1", "kube-apiserver", "authentication", 4.7, 5.85),
			},
			want: `client: GET 0-20
 kube-apiserver: GET portrules/{name} 0.5-18.1
  kube-apiserver: authentication 0.5-2
  kube-apiserver: → proxy hop 4-17
   portrule-apiserver: GET portrules/{name} 4.5-16.2
    portrule-apiserver: authentication 4.5-6
     portrule-apiserver: → TokenReview 4.6-5.9
      kube-apiserver: TokenReview 4.7-5.85
       kube-apiserver: authentication 4.7-4.8
`,
		},
		"the authentication of another request is not taken": {
			spans: []*Span{
				serve, authentication,
				span("x", "x1", "kube-apiserver", "authentication", 0.5, 18.5),
				span("x", "x2", "kube-apiserver", "GET", 0.6, 18.4, "server", "parent=x1"),
				span("y", "y1", "portrule-apiserver", "authentication", 1.9, 18.05),
				span("z", "z1", "kube-apiserver", "authentication", 1, 19),
			},
			want: "client: GET 0-20\n kube-apiserver: GET portrules/{name} 1-18.1\n  kube-apiserver: authentication 1-2\n",
		},
		"clocks that differ by some microseconds": {
			spans: []*Span{serve, span("a", "a1", "kube-apiserver", "authentication", 1, 17.99)},
			want:  "client: GET 0-20\n kube-apiserver: GET portrules/{name} 1-17.99\n  kube-apiserver: authentication 1-2\n",
		},
		"nothing": {
			want: "client: GET 0-20\n",
			err:  "no span of the kube-apiserver: was it started with --tracing-config-file",
		},
		"an aggregated server that is not traced": {
			spans: []*Span{serve, authentication, proxy},
			want:  "client: GET 0-20\n kube-apiserver: GET portrules/{name} 1-18.1\n  kube-apiserver: authentication 1-2\n  kube-apiserver: → proxy hop 4-17\n",
			err:   "of who answers  https://localhost:1/apis/g/v2/namespaces/n/portrules/x of kube-apiserver: is it traced?",
		},
		"no authentication": {
			spans: []*Span{serve},
			want:  "client: GET 0-20\n kube-apiserver: GET portrules/{name} 2-18\n",
			err:   "no span of the authentication",
		},
		"a parent that has not come": {
			spans: []*Span{
				serve, authentication,
				span("t", "work", "kube-apiserver", "Get", 5, 15, "parent=serve"),
				span("t", "etcd", "kube-apiserver", "etcdserverpb.KV/Range", 6, 7, "client", "parent=gone"),
				span("t", "elsewhere", "somebody", "something", 6, 7, "parent=gone as well"),
				span("t", "below", "somebody", "its part", 6, 7, "parent=elsewhere"),
				span("u", "other", "somebody", "of another trace", 6, 7, "parent=gone"),
			},
			want: `client: GET 0-20
 kube-apiserver: GET portrules/{name} 1-18.1
  kube-apiserver: authentication 1-2
  kube-apiserver: handler: get 5-15
   kube-apiserver: → etcd Range 6-7 lost
 somebody: something 6-7 lost
  somebody: its part 6-7
`,
			err: `no span of kube-apiserver in which its "etcdserverpb.KV/Range" would lie`,
		},
		"spans that claim to be parts of each other": {
			spans: []*Span{
				serve, authentication,
				span("t", "egg", "kube-apiserver", "Get", 5, 15, "parent=hen"),
				span("t", "hen", "kube-apiserver", "Get", 5, 15, "parent=egg"),
				span("t", "root", "kube-apiserver", "twin", 5, 15, "parent=serve"), // the root's own ID
			},
			want: "client: GET 0-20\n kube-apiserver: GET portrules/{name} 1-18.1\n  kube-apiserver: authentication 1-2\n  kube-apiserver: twin 5-15\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := Join(root, test.spans)
			if got := outline(tree, 0); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got the error %v, want %q", err, test.err)
			}
		})
	}
}

// A watch is drawn until it is open.
func TestJoinWatch(t *testing.T) {
	const path = "url.path=/apis/g/v2/namespaces/n/portrules"
	root := span("t", "root", "client", "GET", 0, 10, "client", "url.full=https://127.0.0.1:2/apis/g/v2/namespaces/n/portrules?watch=true")
	tree, err := Join(root, []*Span{
		span("a", "a1", "kube-apiserver", "authentication", 1, 30),
		span("t", "serve", "kube-apiserver", "GET /apis/g/v2/namespaces/{:namespace}/portrules", 2, 29, "server", "parent=root", path),
		span("t", "proxy", "kube-apiserver", "HTTP GET", 3, 28, "client", "parent=serve", "url.full=https://localhost:1/apis/g/v2/namespaces/n/portrules"),
		span("b", "b1", "portrule-apiserver", "authentication", 4, 40),
		span("t", "served", "portrule-apiserver", "GET /apis/g/v2/namespaces/{:namespace}/portrules", 5, 40, "server", "parent=proxy", path),
		span("t", "watch", "portrule-apiserver", "cacher.Watch", 6, 8, "parent=served"),
	})
	want := `client: GET 0-10
 kube-apiserver: GET portrules 1-10
  kube-apiserver: authentication 1-2
  kube-apiserver: → proxy hop 3-10
   portrule-apiserver: GET portrules 4-8
    portrule-apiserver: authentication 4-5
    portrule-apiserver: cache: watch 6-8
`
	if got := outline(tree, 0); err != nil || got != want {
		t.Errorf("got %v\n%swant\n%s", err, got, want)
	}
}

func TestResource(t *testing.T) {
	for path, want := range map[string]string{
		"/apis/g/v2/namespaces/n/portrules/x/status":           "portrules/{name}/status",
		"/apis/g/v2/namespaces/{:namespace}/portrules/{:name}": "portrules/{name}",
		"/apis/g/v2/portrules":                                 "portrules",
		"/api/v1/namespaces/n":                                 "namespaces/{name}",
		"/api/v1/namespaces":                                   "namespaces",
		"/api/v1/namespaces/{:namespace}/namespaces/{:name}":   "namespaces/{name}",
		"/api/v1/namespaces/n/configmaps/c":                    "configmaps/{name}",
		"/apis/authorization.k8s.io/v1/subjectaccessreviews":   "subjectaccessreviews",
		"/readyz":    "readyz",
		"/apis":      "apis",
		"/apis/g/v2": "apis/g/v2",
		"":           "",
		"/apis/coordination.k8s.io/v1/namespaces/{:namespace}/leases/{:n": "leases/{name}",
	} {
		if got := resource(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
