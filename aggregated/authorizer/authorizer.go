// Package authorizer puts two things in front of the delegated authorizer, which
// asks the kube-apiserver by SubjectAccessReview and caches its answers for 10 s.
//
// [NameFree] asks about all names at once. The cache's key is the whole review, the
// object's name included, so a client that gets many objects pays a round trip for
// each. If the user may do the verb to a name that no object can have, they may do it
// to every name: one answer serves all.
//
// [Shared] lets requests that ask the same thing at the same time share one answer.
// The cache does not: when an entry expires under load, every request that comes until
// the answer is there asks for itself.
package authorizer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// NameFree returns an authorizer that asks next first whether the user may do what
// they want to a name that no object can have, and takes an allow for an allow of the
// name that was asked about. Anything else, an error too, is followed by the review of
// the name itself.
//
// That is sound where the kube-apiserver authorizes by RBAC alone, and by others that
// never allow more of an unknown name than of a known one: an RBAC rule either has no
// resourceNames, and covers all names, or lists them, and does not cover a random one.
// An authorizer that denies single names (a webhook can) would be bypassed.
//
// The name is random, so that nobody can write a rule for it, and starts with a
// character that no object's name has. It must not be empty, nor "*": RBAC accepts
// resourceNames [""], which covers the requests without a name, lists and creations
// among them, and would be widened to all. It stays the same for as long as the process
// lives, so that the answer can be cached.
func NameFree(next authorizer.Authorizer) authorizer.Authorizer {
	return &nameFree{next: next, name: "~" + string(uuid.NewUUID())}
}

type nameFree struct {
	next authorizer.Authorizer
	name string
}

// Authorize implements [authorizer.Authorizer].
func (a *nameFree) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	if attributes.IsResourceRequest() && attributes.GetName() != "" {
		decision, reason, err := a.next.Authorize(ctx, otherName{attributes, a.name})
		if err == nil && decision == authorizer.DecisionAllow {
			return decision, reason, nil
		}
	}
	return a.next.Authorize(ctx, attributes)
}

// otherName are the attributes of a request for an object of another name.
type otherName struct {
	authorizer.Attributes
	name string
}

func (a otherName) GetName() string { return a.name }

// GetPath leaves out the path, which has the name in it.
func (a otherName) GetPath() string { return "" }

// Shared returns an authorizer that asks next once for all requests that ask the same
// thing while the answer is under way.
//
// Who asks is a part of what they ask. The one request to next has no deadline but
// timeout, and does not end with the request that caused it: others wait for it.
func Shared(next authorizer.Authorizer, timeout time.Duration) authorizer.Authorizer {
	return &shared{next: next, timeout: timeout}
}

type shared struct {
	next    authorizer.Authorizer
	timeout time.Duration
	group   singleflight.Group
}

type answer struct {
	decision authorizer.Decision
	reason   string
}

// Authorize implements [authorizer.Authorizer].
func (a *shared) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	if attributes.GetUser() == nil {
		return a.next.Authorize(ctx, attributes)
	}
	key, err := keyOf(attributes)
	if err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	answers := a.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
		defer cancel()
		decision, reason, err := a.next.Authorize(ctx, attributes)
		return answer{decision, reason}, err
	})
	select {
	case result := <-answers:
		answer := result.Val.(answer)
		return answer.decision, answer.reason, result.Err
	case <-ctx.Done():
		return authorizer.DecisionNoOpinion, "", ctx.Err()
	}
}

// keyOf returns all that a SubjectAccessReview is made of.
func keyOf(a authorizer.Attributes) (string, error) {
	fields, fieldsErr := a.GetFieldSelector()
	labels, labelsErr := a.GetLabelSelector()
	user := a.GetUser()
	key, err := json.Marshal([]any{
		user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra(),
		a.GetVerb(), a.IsResourceRequest(), a.GetPath(),
		a.GetAPIGroup(), a.GetAPIVersion(), a.GetResource(), a.GetSubresource(), a.GetNamespace(), a.GetName(),
		fmt.Sprint(fields, fieldsErr), fmt.Sprint(labels, labelsErr),
	})
	return string(key), err
}
