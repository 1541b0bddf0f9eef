package authorizer_test

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/user"
	k8s "k8s.io/apiserver/pkg/authorization/authorizer"

	"portrule.example/lab/aggregated/authorizer"
)

// A user who may get every rule gets a hundred of them. The delegated authorizer caches
// its answers by name, so each name costs a review; asked without names, one review is
// the answer to all.
func ExampleNameFree() {
	reviews := map[string]bool{} // the names in the cache
	delegated := k8s.AuthorizerFunc(func(_ context.Context, a k8s.Attributes) (k8s.Decision, string, error) {
		reviews[a.GetName()] = true
		return k8s.DecisionAllow, "", nil
	})
	for _, asked := range []k8s.Authorizer{delegated, authorizer.NameFree(delegated)} {
		clear(reviews)
		for i := range 100 {
			if _, _, err := asked.Authorize(context.Background(), get(fmt.Sprint("rule-", i))); err != nil {
				panic(err)
			}
		}
		fmt.Println("reviews:", len(reviews))
	}
	// Output:
	// reviews: 100
	// reviews: 1
}

// get is alice's request for a rule.
func get(name string) k8s.Attributes {
	return k8s.AttributesRecord{
		User: &user.DefaultInfo{Name: "alice"}, Verb: "get", ResourceRequest: true,
		APIGroup: "firewalld.fedoraproject.org", APIVersion: "v2", Resource: "portrules", Namespace: "shop", Name: name,
	}
}
