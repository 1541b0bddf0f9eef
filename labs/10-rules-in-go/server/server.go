// Package server is the aggregated API server of lab 10. Two things of it are for the
// learner to write: which PortRules are valid, and which of them another one rules out.
//
// What it has in common with the server of lab 11 it takes from there: who callers are and
// what they may do, and rules that are kept in memory. storage.go calls the learner's code
// where the store of k8s.io/apiserver would, rules.go is what a plugin may ask.
package server

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	clientrest "k8s.io/client-go/rest"

	registrycallerreview "portrule.example/lab/aggregated/registry/callerreview"
	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/labs/11-subresource/server"
)

// Group is what the server serves, unless --group says otherwise.
const Group = "plugin.firewalld.fedoraproject.org"

// Validator is two methods of a strategy, rest.RESTCreateStrategy and
// rest.RESTUpdateStrategy. Both get the hub, which is v2, with its defaults filled in, and
// leave it as it is. What they return becomes an answer of status 422.
type Validator interface {
	// Validate says what is wrong with a new object.
	Validate(ctx context.Context, obj runtime.Object) field.ErrorList
	// ValidateUpdate says what is wrong with an object that is to replace old.
	ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList
}

// Main is the program: it serves PortRules that validator accepts, and callerreviews, with
// an admission plugin, until it is interrupted.
func Main(validator Validator, plugin func(Rules) admission.Interface) {
	if err := run(genericapiserver.SetupSignalContext(), os.Args[1:], validator, plugin); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, validator Validator, plugin func(Rules) admission.Interface) error {
	o := server.Options{Namespace: "lab-10", Group: Group, Service: "plugin"}
	if err := o.Parse(args); err != nil {
		return err
	}
	o.Resources = func(client *clientrest.Config) (map[string]rest.Storage, admission.Interface, error) {
		rules, err := newRules(client, o.Group)
		if err != nil {
			return nil, nil, err
		}
		return map[string]rest.Storage{
			api.Resource: newStorage(o, validator),
			// a second kind, about which plugins are asked too
			callerreview.Resource: registrycallerreview.NewREST(func(user.Info) callerreview.Authenticator { return "" }),
		}, plugin(rules), nil
	}
	return server.Serve(ctx, os.Stdout, o)
}
