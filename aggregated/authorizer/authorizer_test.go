package authorizer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// get is a request for a rule by alice.
func get(name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: "alice"}, Verb: "get", Namespace: "default", Name: name,
		APIGroup: "firewalld.fedoraproject.org", APIVersion: "v2", Resource: "portrules",
		ResourceRequest: true, Path: "/apis/firewalld.fedoraproject.org/v2/namespaces/default/portrules/" + name,
	}
}

// rbac answers as RBAC does for a rule with resourceNames, for all names if there are
// none, and writes down what it is asked.
type rbac struct {
	resourceNames []string
	err           error
	asked         []string
}

func (r *rbac) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	r.asked = append(r.asked, a.GetName())
	if r.err != nil {
		return authorizer.DecisionNoOpinion, "", r.err
	}
	if len(r.resourceNames) == 0 || slices.Contains(r.resourceNames, a.GetName()) {
		return authorizer.DecisionAllow, "RBAC: allowed", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// Whatever the rule, the decision is the one that RBAC makes of the name itself.
func TestNameFreeDecidesAsRBACDoes(t *testing.T) {
	for _, names := range [][]string{nil, {"one"}, {""}, {"*"}, {"one", "", "*"}, {"~"}} {
		for _, request := range []string{"one", "two", "", "*", "~"} {
			want, _, _ := (&rbac{resourceNames: names}).Authorize(t.Context(), get(request))
			got, _, err := NameFree(&rbac{resourceNames: names}).Authorize(t.Context(), get(request))
			if err != nil || got != want {
				t.Errorf("resourceNames %q, name %q: got %v, %v, want %v", names, request, got, err, want)
			}
		}
	}
}

func TestNameFreeAsksOnceForAllNames(t *testing.T) {
	next := &rbac{}
	a := NameFree(next)
	for i := range 10 {
		if decision, _, err := a.Authorize(t.Context(), get(fmt.Sprint("rule-", i))); decision != authorizer.DecisionAllow || err != nil {
			t.Fatal(decision, err)
		}
	}
	if asked := slices.Compact(next.asked); len(asked) != 1 {
		t.Fatalf("it asked about %q, want one name", asked)
	}
	name := next.asked[0]
	if errs := validation.NameIsDNSSubdomain(name, false); len(errs) == 0 || name == "~" {
		t.Errorf("it asks about %q, which an object could have", name)
	}
	other := &rbac{}
	if _, _, err := NameFree(other).Authorize(t.Context(), get("rule")); err != nil || other.asked[0] == name {
		t.Errorf("another process asks about the same name, %q", name)
	}

	// what has no name is asked about as it is
	next.asked = nil
	for _, attributes := range []authorizer.AttributesRecord{get(""), {User: &user.DefaultInfo{Name: "alice"}, Verb: "get", Path: "/metrics", Name: "ignored"}} {
		if _, _, err := a.Authorize(t.Context(), attributes); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(next.asked, []string{"", "ignored"}) {
		t.Errorf("it asked about %q", next.asked)
	}
}

// An error about the random name says nothing about the name that was meant.
func TestNameFreeFallsBackOnError(t *testing.T) {
	next := &rbac{err: errors.New("no route to the control plane")}
	decision, _, err := NameFree(next).Authorize(t.Context(), get("rule"))
	if decision == authorizer.DecisionAllow || err == nil || len(next.asked) != 2 || next.asked[1] != "rule" {
		t.Errorf("got %v, %v after asking about %q", decision, err, next.asked)
	}
}

// A herd that asks the same thing while the answer is under way asks once; whoever
// asks for something else, or is somebody else, asks for themselves.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		answers := make(chan struct{})
		a := Shared(authorizer.AuthorizerFunc(func(_ context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
			asked.Add(1)
			<-answers
			return authorizer.DecisionAllow, attributes.GetUser().GetName() + " " + attributes.GetName(), nil
		}), time.Minute)
		bob := get("rule")
		bob.User = &user.DefaultInfo{Name: "bob"}
		grouped := get("rule")
		grouped.User = &user.DefaultInfo{Name: "alice", Groups: []string{"admins"}}
		update := get("rule")
		update.Verb = "update"
		different := []authorizer.AttributesRecord{get("rule"), get("other"), bob, grouped, update}
		var wait sync.WaitGroup
		for range 100 {
			for _, attributes := range different {
				wait.Go(func() {
					decision, reason, err := a.Authorize(t.Context(), attributes)
					if want := attributes.User.GetName() + " " + attributes.Name; decision != authorizer.DecisionAllow || reason != want || err != nil {
						t.Errorf("got %v, %q, %v, want %q", decision, reason, err, want)
					}
				})
			}
		}
		synctest.Wait() // all wait for an answer
		close(answers)
		wait.Wait()
		if n := asked.Load(); int(n) != len(different) {
			t.Errorf("it asked %d times, want %d", n, len(different))
		}
	})
}

// A request that goes away takes its own wait with it, not the answer of the others.
func TestSharedOutlivesTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan struct{})
		a := Shared(authorizer.AuthorizerFunc(func(ctx context.Context, _ authorizer.Attributes) (authorizer.Decision, string, error) {
			select {
			case <-answers:
				return authorizer.DecisionAllow, "", nil
			case <-ctx.Done():
				return authorizer.DecisionNoOpinion, "", ctx.Err()
			}
		}), time.Minute)
		ask := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, _, err := a.Authorize(ctx, get("rule"))
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first, cancel := context.WithCancel(t.Context())
		gone, stays := ask(first), ask(t.Context())
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the request that went away got %v", err)
		}
		synctest.Wait()
		answers <- struct{}{}
		if err := <-stays; err != nil {
			t.Errorf("the other got %v", err)
		}
		// nobody answers: the timeout is the answer
		if err := <-ask(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("without an answer: %v", err)
		}
	})
}
