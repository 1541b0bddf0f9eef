package testbed_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"portrule.example/lab/api"
)

// TestUsageFindsLaterProcesses looks at the processes before and after some are started:
// a server whose use of the CPU is not counted would look cheap.
func TestUsageFindsLaterProcesses(t *testing.T) {
	names := func() []string {
		t.Helper()
		used, err := bed.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(used))
	}
	const controller, server = "portrule-controller-later", "portrule-apiserver-later"
	before := names()
	for _, name := range []string{controller, server} {
		if slices.Contains(before, name) {
			t.Fatalf("%s runs before it was started", name)
		}
	}

	stop, err := bed.StartController(t.Context(), controller, api.CRDGroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	if got := names(); !slices.Contains(got, controller) {
		t.Errorf("the processes are %q after %s was started", got, controller)
	}

	peer, err := bed.ServePeer(t.Context(), server, "later."+api.Group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if got := names(); !slices.Contains(got, server) {
		t.Errorf("the processes are %q after %s was started", got, server)
	}
}
