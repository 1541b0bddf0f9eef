// This program is the server of lab 11 and the subresource that you give it.
package main

import (
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

// This is what tells the server that the subresource can be connected to. Take the
// comment away, and the compiler says what is missing:
// var _ rest.Connecter = &command{}

// New returns an empty PortRule: it is the kind that the subresource belongs to.
func (*command) New() runtime.Object { return &v2.PortRule{} }

// Destroy does nothing: there is nothing to destroy.
func (*command) Destroy() {}
