// Package aggregated serves PortRule from an API server of its own, behind the
// kube-apiserver's aggregation layer.
//
// It is built in three steps, a file each, in the order in which they run:
//
//  1. [Options] (options.go) are the flags.
//  2. [Config] (config.go) is what they amount to: etcd, certificates, the
//     delegated authenticator and authorizer, the admission chain, OpenAPI.
//  3. [Server] (server.go) has the API group installed and runs.
//
// [Run] (command.go) goes through them, and is the program portrule-apiserver.
// controlplane.go says what is wrong when there is no control plane, standalone.go is
// how the server does without one.
//
// What happens to an object between the request and etcd is in registry/portrule:
// the strategy decides, the storage keeps, and each subresource is a type of its own.
// registry/reservation makes endpoints unique, registry/callerreview answers a kind
// that is never stored, admission/allowedports asks the namespace. authorizer keeps
// reviews few, openapi describes the types, certificates makes the certificate by which
// the server is known. manifests holds what a cluster must know about the server: its
// RBAC rules and its APIServices.
package aggregated
