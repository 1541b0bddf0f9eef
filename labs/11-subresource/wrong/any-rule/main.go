// This program is the server of lab 11 and the subresource that you give it.
package main

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/labs/11-subresource/server"
)

func main() {
	server.Main("command", func(rules server.Rules) rest.Storage { return &command{rules} })
}

// command serves the subresource portrules/command: the command that opens the rule's
// port on a node.
type command struct{ rules server.Rules }

var _ rest.Connecter = &command{}

// New returns an empty PortRule: it is the kind that the subresource belongs to.
func (*command) New() runtime.Object { return &v2.PortRule{} }

// Destroy does nothing: there is nothing to destroy.
func (*command) Destroy() {}

// ConnectMethods are the methods of HTTP that it takes.
func (*command) ConnectMethods() []string { return []string{http.MethodGet} }

// NewConnectOptions returns nil: there are no options.
func (*command) NewConnectOptions() (options runtime.Object, subpath bool, subpathKey string) {
	return nil, false, ""
}

// Connect returns a handler that writes the command.
func (c *command) Connect(ctx context.Context, name string, _ runtime.Object, _ rest.Responder) (http.Handler, error) {
	rule, err := c.rules.Rule(ctx, name)
	if err != nil {
		rule = &v2.PortRule{}
	}
	text := fmt.Sprintf("firewall-cmd --add-port=%d/%s", rule.Spec.Endpoint.Port, rule.Spec.Endpoint.Protocol)
	if rule.Spec.Permanent != nil && *rule.Spec.Permanent {
		text += " --permanent"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, text)
	}), nil
}
