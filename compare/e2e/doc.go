// Package e2e holds the end-to-end tests: both implementations, installed in a real
// cluster and used as people use them. make e2e runs them, on kind or on the embedded
// control plane.
//
// What needs Pods, Services or a controller manager is tested on kind alone, and skipped
// elsewhere with the reason. Features have the label area; -args -labels area=operations
// selects those, -args -feature and -assess choose by name.
//
// main_test.go makes the one cluster that all features share, article_test.go is the
// shortest of them. Then there are the ways to run the server (modes_test.go), what the
// cluster's own controllers do with rules (controllers_test.go) and suffer while the
// server is down (controllers_outage_test.go), and what operators do: rolling restarts,
// certificates and the like (operations_test.go), under the load of load_test.go.
//
// What needs no more than the two implementations on the embedded control plane is
// tested in package testbed.
package e2e
