package trace

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// filters are the steps of the API servers' handler chain that have spans, by the names of
// these, and what they are called here.
var filters = map[string]string{
	"authentication":           "authentication",
	"audit":                    "audit",
	"impersonation":            "impersonation",
	"constrainedimpersonation": "impersonation",
	"priorityandfairness":      "priority and fairness",
	"authorization":            "authorization",
}

// works are other spans of the API servers, by name, and what they are called here.
var works = map[string]string{
	"Get": "handler: get", "List": "handler: list", "Create": "handler: create", "Update": "handler: update",
	"Patch": "handler: patch", "Delete": "handler: delete", "WatchServer.HandleHTTP": "handler: watch",
	"cacher.Get": "cache: get", "cacher.GetList": "cache: list", "cacher.Watch": "cache: watch",
	"Create etcd3": "storage: create", "GuaranteedUpdate etcd3": "storage: update",
	"List(recursive=false) etcd3": "storage: revision", "List(recursive=true) etcd3": "storage: list",
	"SerializeObject": "encode the answer",
}

// role says what a span is to the request of which it is a part.
func (n *Node) role() Role {
	switch {
	case n.Kind == Server || n.request == nil && n.Kind == Client:
		return RoleRequest
	case n.Kind == Client && strings.HasPrefix(n.Name, "etcdserverpb."):
		return RoleEtcd
	case n.Kind == Client && review(n.path()) != "":
		return RoleReview
	case n.Kind == Client && n.path() == n.request.Attributes["url.path"]:
		return RoleProxy
	case n.Kind == Client:
		return RoleCall
	case strings.HasPrefix(n.Name, "Call ") && strings.HasSuffix(n.Name, " webhook"):
		return RoleWebhook
	case filters[n.Name] != "":
		return RoleFilter
	default:
		return RoleWork
	}
}

// path is that of the URL which a client span asks for.
func (s *Span) path() string {
	u, err := url.Parse(s.Attributes["url.full"])
	if err != nil {
		return ""
	}
	return u.Path
}

// review is the kind of review that is made with a POST to path, empty for none.
func review(path string) string {
	switch {
	case strings.HasSuffix(path, "/subjectaccessreviews"):
		return "SubjectAccessReview"
	case strings.HasSuffix(path, "/tokenreviews"):
		return "TokenReview"
	default:
		return ""
	}
}

// What says in a few words what the span stands for.
func (n *Node) What() string {
	switch n.Role {
	case RoleRequest:
		method, path, ok := strings.Cut(n.Name, " ")
		switch {
		case !ok:
			return strings.TrimPrefix(n.Name, "/") // that of a webhook is its path
		case review(path) != "":
			return review(path)
		}
		return method + " " + resource(path)
	case RoleProxy:
		return "→ proxy hop"
	case RoleReview:
		return "→ " + review(n.path())
	case RoleWebhook:
		return "→ " + strings.TrimPrefix(n.Name, "Call ")
	case RoleEtcd:
		return "→ etcd " + n.Name[strings.LastIndex(n.Name, "/")+1:]
	case RoleCall:
		return "→ " + n.Attributes["http.request.method"] + " " + resource(n.path())
	case RoleFilter:
		return filters[n.Name]
	}
	what := works[n.Name]
	switch {
	case what == "":
		return n.Name
	case strings.HasSuffix(n.Name, "Create etcd3") && strings.Contains(n.Attributes["resource"], "-"):
		return "storage: " + n.Attributes["resource"] // not the object, but what goes with it
	}
	return what
}

// resource is the end of a path of the Kubernetes API: the resource, with {name} in place
// of a name, and the subresource.
func resource(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return strings.Trim(path, "/")
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if len(parts) > 1 {
		parts[1] = "{name}"
	}
	return strings.Join(parts, "/")
}

// arrange brings the tree into the form in which it is drawn.
//
// The filters of an API server call each other: authentication encloses audit, that
// encloses impersonation and so on, and the last one encloses the work. Each is moved
// beside the next and ends where that begins, which leaves what it takes itself, and what
// happens before the next one that has a span. A request begins with its authentication. A
// webhook's call and the HTTP request of it become one.
func (n *Node) arrange() {
	if n.Kind == Server {
		for _, child := range n.Children {
			if isAuthentication(child) {
				n.Start, n.End, child.End = child.Start, child.End, n.Start
			}
		}
	}
	if n.Role == RoleWebhook && len(n.Children) == 1 && n.Children[0].Role == RoleCall {
		n.Children = n.Children[0].Children
	}
	n.Children = unnest(n.Children)
	slices.SortStableFunc(n.Children, func(a, b *Node) int { return a.Start.Compare(b.Start) })
	for _, child := range n.Children {
		child.arrange()
	}
}

// unnest moves out of filters what is not theirs.
func unnest(nodes []*Node) []*Node {
	var flat []*Node
	for _, node := range nodes {
		flat = append(flat, node)
		if node.Role != RoleFilter {
			continue
		}
		var own, next []*Node
		for _, child := range node.Children {
			if child.Role == RoleReview {
				own = append(own, child)
			} else {
				next = append(next, child)
			}
		}
		node.Children = own
		for _, child := range next {
			if child.Start.Before(node.End) {
				node.End = child.Start
			}
		}
		flat = append(flat, unnest(next)...)
	}
	return flat
}

// untilOpen cuts the spans of a watch, which last until it is closed, off where the client
// had it open; and a program's work on it where the last step ends that has a span.
func (n *Node) untilOpen(open time.Time) {
	if n.End.After(open) {
		n.End = open
	}
	last := n.Start
	for _, child := range n.Children {
		child.untilOpen(open)
		if child.End.After(last) {
			last = child.End
		}
	}
	if n.Kind == Server && len(n.Children) > 0 && last.Before(n.End) {
		n.End = last
	}
}
