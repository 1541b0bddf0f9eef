// Package e2e holds the end-to-end tests: both implementations, installed in a real
// cluster and used as people use them. make e2e runs them, on kind or on the embedded
// control plane.
//
// What needs Pods, Services or a controller manager is tested on kind alone, and skipped
// elsewhere with the reason. Features have the label area; -args -labels area=operations
// selects those, -args -feature and -assess choose by name.
package e2e
