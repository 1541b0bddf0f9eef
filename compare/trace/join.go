package trace

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// Node is a span in the tree of a request, with what it consists of.
type Node struct {
	*Span
	// Role is what the span is to the request.
	Role Role
	// Start and End are the span's own, or closer to what it stands for: see arrange.go.
	Start, End time.Time
	// Lost is whether the parent has not come: the place in the tree is a guess by time.
	Lost     bool
	Children []*Node

	// request is the span of the request that the program was working on, nil for the
	// client.
	request *Span
}

// Duration is how long it took.
func (n *Node) Duration() time.Duration { return n.End.Sub(n.Start) }

// Role is what a span is to a request.
type Role string

// The roles. Those from RoleProxy to RoleCall are calls to another program.
const (
	// RoleRequest is a program's whole work on a request.
	RoleRequest Role = "request"
	// RoleFilter is a step that the API servers take with each request, such as
	// authentication and authorization.
	RoleFilter Role = "filter"
	// RoleWork is any other.
	RoleWork Role = "work"
	// RoleProxy is the hop from the kube-apiserver to an aggregated server.
	RoleProxy Role = "proxy"
	// RoleReview is a TokenReview or a SubjectAccessReview.
	RoleReview Role = "review"
	// RoleWebhook is the call of a webhook.
	RoleWebhook Role = "webhook"
	// RoleEtcd is a call to etcd.
	RoleEtcd Role = "etcd"
	// RoleCall is any other.
	RoleCall Role = "call"
)

// remote is whether somebody waits for another program.
func (r Role) remote() bool {
	return slices.Contains([]Role{RoleProxy, RoleReview, RoleWebhook, RoleEtcd, RoleCall}, r)
}

// Join makes the tree of a request from the spans that have come; root is the client's.
// The error is about what has not come yet, or never will; the tree is there all the same.
//
// A span is put below its parent. If it has none it is put below the span that it has a
// link to: the kube-apiserver begins a trace of its own for callers whom it does not trust
// with one, such as an aggregated server that asks for a SubjectAccessReview, and leaves a
// link. Authentication has neither parent nor link, because it comes before the servers
// look for a trace: it is that of the request which it encloses most tightly. Nor has a
// TokenReview, which several requests may wait for: it is put below the authentication in
// whose time it falls. A span whose parent has not come is put below what encloses it most
// tightly too.
func Join(root *Span, spans []*Span) (*Node, error) {
	j := &joiner{children: map[Link][]*Span{}, joined: map[*Span]*Node{}, traces: map[string]bool{}}
	known := map[Link]bool{{root.Trace, root.ID}: true}
	for _, span := range spans {
		known[Link{span.Trace, span.ID}] = true
		switch {
		case span.Parent != "":
			j.children[Link{span.Trace, span.Parent}] = append(j.children[Link{span.Trace, span.Parent}], span)
		case span.Name == "authentication":
			j.authentications = append(j.authentications, span)
		case span.Kind == Client && review(span.path()) == "TokenReview":
			j.reviews = append(j.reviews, span)
		default:
			for _, link := range span.Links {
				j.children[link] = append(j.children[link], span)
			}
		}
	}
	tree := j.add(root, nil)
	for _, span := range spans {
		if _, ok := j.joined[span]; !ok && j.traces[span.Trace] && span.Parent != "" && !known[Link{span.Trace, span.Parent}] {
			at := j.enclosing(tree, span)
			lost := j.add(span, at)
			lost.Lost = true
			at.Children = append(at.Children, lost)
		}
	}
	j.authenticate()
	err := tree.missing()
	tree.arrange()
	if u, parseErr := url.Parse(root.Attributes["url.full"]); parseErr == nil && u.Query().Get("watch") == "true" {
		tree.untilOpen(root.End)
	}
	return tree, err
}

// joiner makes a tree of spans.
type joiner struct {
	children        map[Link][]*Span
	authentications []*Span
	reviews         []*Span
	joined          map[*Span]*Node
	// traces are those that the tree is made of.
	traces map[string]bool
}

// add makes the tree below a span, whose parent, nil for the root, is in the tree already.
func (j *joiner) add(span *Span, parent *Node) *Node {
	node := &Node{Span: span, Start: span.Start, End: span.End}
	if span.Kind == Server {
		node.request = span
	} else if parent != nil {
		node.request = parent.request
	}
	node.Role = node.role()
	j.joined[span] = node
	j.traces[span.Trace] = true
	for _, child := range j.children[Link{span.Trace, span.ID}] {
		if _, ok := j.joined[child]; !ok { // it may be reached twice, by its parent and a link
			node.Children = append(node.Children, j.add(child, node))
		}
	}
	return node
}

// enclosing returns the shortest span of the same program in which a span lies, the root if
// there is none.
func (j *joiner) enclosing(root *Node, span *Span) *Node {
	best := root
	for _, candidate := range j.inOrder() {
		if candidate.Program == span.Program && !candidate.Start.After(span.Start) && !candidate.End.Before(span.End) &&
			(best == root || candidate.Duration() < best.Duration()) {
			best = candidate
		}
	}
	return best
}

// inOrder returns the nodes in the order in which they began.
func (j *joiner) inOrder() []*Node {
	return slices.SortedFunc(maps.Values(j.joined), func(a, b *Node) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
	})
}

// clockError is how far the times of one program may be from each other. A span's end is its
// beginning by the wall clock and a duration by the monotonic one, which drift apart.
const clockError = time.Millisecond

// authenticate gives each request its authentication.
func (j *joiner) authenticate() {
	for requests := j.inOrder(); len(requests) > 0; requests = requests[1:] {
		request := requests[0]
		if request.Kind != Server {
			continue
		}
		var best *Span
		distance := func(s *Span) time.Duration { return request.Start.Sub(s.Start).Abs() + s.End.Sub(request.End).Abs() }
		for _, span := range j.authentications {
			if _, taken := j.joined[span]; taken || span.Program != request.Program || j.hasRequest(span) ||
				span.Start.After(request.Start.Add(clockError)) || span.End.Before(request.End.Add(-clockError)) {
				continue
			}
			if best == nil || distance(span) < distance(best) {
				best = span
			}
		}
		if best == nil {
			continue
		}
		authentication := j.add(best, request)
		request.Children = append(request.Children, authentication)
		for _, span := range j.reviews {
			if _, taken := j.joined[span]; taken || span.Program != request.Program ||
				span.Start.Before(best.Start.Add(-clockError)) || span.End.After(request.Start.Add(clockError)) {
				continue
			}
			review := j.add(span, authentication)
			authentication.Children = append(authentication.Children, review)
			requests = append(requests, review.Children...)
		}
	}
}

// hasRequest is whether the authentication is that of a request whose trace is its own.
func (j *joiner) hasRequest(authentication *Span) bool {
	return slices.ContainsFunc(j.children[Link{authentication.Trace, authentication.ID}], func(child *Span) bool { return child.Kind == Server })
}

// missing says what must be there and is not: the first that a reader of the tree would
// miss.
func (n *Node) missing() error {
	if n.Kind == Client && n.request == nil && !n.answered() {
		return errors.New("there is no span of the kube-apiserver: was it started with --tracing-config-file, and is the caller in the group system:monitoring?")
	}
	switch {
	case n.Lost:
		return fmt.Errorf("there is no span of %s in which its %q would lie", n.Program, n.Name)
	case (n.Role == RoleProxy || n.Role == RoleReview || n.Role == RoleCall) && !n.answered():
		return fmt.Errorf("there is no span of who answers %s %s of %s: is it traced?", n.Attributes["http.request.method"], n.Attributes["url.full"], n.Program)
	case n.Kind == Server && n.Program != ProgramController && !slices.ContainsFunc(n.Children, isAuthentication):
		return fmt.Errorf("there is no span of the authentication of %q in %s", n.Name, n.Program)
	}
	for _, child := range n.Children {
		if err := child.missing(); err != nil {
			return err
		}
	}
	return nil
}

func isAuthentication(n *Node) bool { return n.Name == "authentication" }

// answered is whether the called program has sent its span of a call.
func (n *Node) answered() bool {
	return slices.ContainsFunc(n.Children, func(child *Node) bool { return child.Kind == Server })
}
