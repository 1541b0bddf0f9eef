package trace

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"portrule.example/lab/compare/bench"
)

// On a real control plane, a get of a new name from the aggregated server is in the trace
// with the hop of the proxy, the SubjectAccessReview and what either program asks etcd.
func TestRun(t *testing.T) {
	getNewName, ok := Find("get-new-name")
	if !ok {
		t.Fatal("there is no case get-new-name")
	}
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "4999")
	var steps []string
	waterfall, err := Run(t.Context(), Options{Case: getNewName, Impl: bench.Aggregated, Say: func(step string) { steps = append(steps, step) }})
	if err != nil {
		t.Fatalf("%v, after %q", err, steps)
	}
	var path []string
	for _, hop := range []struct {
		program string
		role    Role
	}{
		{ProgramClient, RoleRequest}, {ProgramAPIServer, RoleRequest}, {ProgramAPIServer, RoleProxy},
		{ProgramServer, RoleRequest}, {ProgramServer, RoleFilter}, {ProgramServer, RoleReview}, {ProgramAPIServer, RoleRequest},
	} {
		path = append(path, hop.program+" "+string(hop.role))
	}
	if got := paths(waterfall.Tree, ""); !slices.Contains(got, strings.Join(path, " > ")) {
		t.Errorf("nobody goes the way %s:\n%s", strings.Join(path, " > "), strings.Join(got, "\n"))
	}
	var out bytes.Buffer
	if err := waterfall.Terminal(&out, TerminalOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"→ proxy hop", "→ SubjectAccessReview", "→ etcd Range", "for portrule-apiserver (proxy hop", "for kube-apiserver (SubjectAccessReview"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	if got := os.Getenv("OTEL_BSP_SCHEDULE_DELAY"); got != "4999" {
		t.Errorf("the environment is left with a delay of %s", got)
	}
	if got, ok := os.LookupEnv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); ok {
		t.Errorf("the environment is left with an endpoint %s", got)
	}
}

// paths are the ways from the root to each node.
func paths(n *Node, above string) []string {
	way := above + n.Program + " " + string(n.Role)
	all := []string{way}
	for _, child := range n.Children {
		all = append(all, paths(child, way+" > ")...)
	}
	return all
}
