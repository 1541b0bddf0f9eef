package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/crd/manifests"
)

// The suites that prepare the testbed for themselves, on a real control plane: what they
// count, what they see, and that each of their cases is measured or said not to be.
func TestPreparedSuites(t *testing.T) {
	suites := []bench.Suite{bench.Validation, bench.Subresources, bench.OpenAPI, bench.Scale}
	flags := benchFlags{
		cluster: clusterFlags{kind: cluster.KindEmbedded}, quick: true, size: 1000,
		plan: bench.Plan{Rounds: 6, Seed: 1},
	}
	result := &bench.Result{}
	if _, err := runOthers(t.Context(), flags, suites, result, progress.New(io.Discard)); err != nil {
		t.Fatal(err)
	}
	find := func(suite, name, impl, metric string) []bench.Measurement {
		var found []bench.Measurement
		for _, m := range result.Measurements {
			if m.Suite == suite && m.Case == name && (impl == "" || m.Impl == impl) && m.Metric == metric {
				found = append(found, m)
			}
		}
		return found
	}
	left := func(suite, name, impl string) bool {
		return slices.ContainsFunc(result.NotRun, func(n bench.NotRun) bool {
			return n.Suite == suite && (n.Case == name || strings.HasPrefix(name, n.Case+"-")) && (n.Impl == "" || n.Impl == impl)
		})
	}

	t.Run("every case", func(t *testing.T) {
		for _, suite := range suites {
			for _, c := range slices.Concat(suite.Cases, suite.Others) {
				measured := slices.ContainsFunc(result.Measurements, func(m bench.Measurement) bool { return m.Suite == suite.Name && m.Case == c.Name })
				seen := slices.ContainsFunc(result.Observations, func(o bench.Observation) bool { return o.Suite == suite.Name && o.Case == c.Name })
				if !measured && !seen && !left(suite.Name, c.Name, "") {
					t.Errorf("%s/%s is neither measured nor said not to be", suite.Name, c.Name)
				}
			}
		}
	})
	t.Run("calls of webhooks", func(t *testing.T) {
		for _, c := range []struct {
			name, impl, metric string
			want               float64
		}{
			{"accepted", bench.CRD, "webhook-calls", 0},
			{"accepted", bench.Policies, "webhook-calls", 0},
			{"accepted", bench.Webhooks, "webhook-calls", 2},
			{"accepted", bench.Aggregated, "webhook-calls", 0},
			// the watch cache of v1
			{"accepted", bench.CRD, "conversions", 1},
			{"accepted", bench.Aggregated, "conversions", 0},
			{"convert-create", bench.CRD, "conversions", 1},
			// to the stored version, back for the answer, and the watch cache of v1
			{"convert-create", bench.CRDV1, "conversions", 3},
			{"convert-create", bench.AggregatedV1, "conversions", 0},
			{"convert-get", bench.CRD, "conversions", 0},
			{"convert-get", bench.CRDV1, "conversions", 1},
			{"convert-list-cached", bench.CRDV1, "conversions", 0},
			// one call for each of the 50 objects
			{"convert-list-etcd", bench.CRDV1, "conversions", 50},
			{"convert-list-etcd", bench.CRD, "conversions", 0},
		} {
			found := find("validation", c.name, c.impl, c.metric)
			if len(found) != 1 || found[0].Median != c.want {
				t.Errorf("%s of %s, %s: got %+v, want one of %g", c.metric, c.name, c.impl, found, c.want)
			}
		}
	})
	t.Run("messages", func(t *testing.T) {
		const cannot = "accepted: it cannot say this"
		for impl, want := range map[string][6]string{
			bench.WithoutCEL: {"422 Invalid, names spec.endpoint.port:", cannot, cannot, cannot, cannot, cannot},
			bench.CRD:        {"422 Invalid, names spec.endpoint.port:", "422 Invalid, names spec.timeoutSeconds:", "422 Invalid, names spec.endpoint", cannot, cannot, cannot},
			bench.Policies:   {"422 Invalid, names spec.endpoint.port:", "422 Invalid, names spec.timeoutSeconds:", "422 Invalid, names spec.endpoint", cannot, "422 Invalid, names no field:", "accepted, and the annotation names the caller"},
			bench.Webhooks:   {"422 Invalid, names spec.endpoint.port:", "422 Invalid, names spec.timeoutSeconds:", "422 Invalid, names spec.endpoint", "422 Invalid, names spec.endpoint", "422 Invalid, names spec.endpoint.port:", "accepted, and the annotation names the caller"},
			bench.Aggregated: {"422 Invalid, names spec.endpoint.port:", "422 Invalid, names spec.timeoutSeconds:", "422 Invalid, names spec.endpoint", cannot, "422 Invalid, names spec.endpoint.port:", "accepted, and the annotation names the caller"},
			bench.Unique:     {"422 Invalid, names spec.endpoint.port:", "422 Invalid, names spec.timeoutSeconds:", "422 Invalid, names spec.endpoint", "422 Invalid, names spec.endpoint", "422 Invalid, names spec.endpoint.port:", "accepted, and the annotation names the caller"},
		} {
			for i, want := range want {
				rule := fmt.Sprintf("R%d: ", i+1)
				at := slices.IndexFunc(result.Observations, func(o bench.Observation) bool {
					return o.Case == "messages" && o.Impl == impl && strings.HasPrefix(o.What, rule)
				})
				if at < 0 {
					t.Errorf("%s has no message for %s", impl, rule)
				} else if got := result.Observations[at].Seen; !strings.HasPrefix(got, want) {
					t.Errorf("%s %s got %q, want it to begin with %q", impl, rule, got, want)
				}
			}
		}
	})
	t.Run("subresources", func(t *testing.T) {
		for _, c := range bench.Subresources.Cases {
			for _, impl := range bench.Subresources.Impls {
				if len(find("subresources", c.Name, impl, "latency")) != 1 {
					t.Errorf("%s of %s is not measured", c.Name, impl)
				}
			}
		}
	})
	t.Run("openapi", func(t *testing.T) {
		for _, o := range []struct{ name, what, impl, want string }{
			{"schema", "x-kubernetes-validations", bench.Aggregated, "nowhere"},
			{"schema", "maximum", bench.CRD, "spec.endpoint.port, spec.replicas, spec.timeoutSeconds"},
			{"outage", "before: discovery of the version", bench.Aggregated, "200 OK"},
			{"outage", "at once: discovery of the version", bench.Aggregated, "503 Service Unavailable"},
		} {
			at := slices.IndexFunc(result.Observations, func(got bench.Observation) bool {
				return got.Suite == "openapi" && got.Case == o.name && got.What == o.what && got.Impl == o.impl
			})
			if at < 0 {
				t.Errorf("nothing was seen of %s, %s", o.name, o.what)
			} else if got := result.Observations[at].Seen; got != o.want {
				t.Errorf("%s, %s of %s: got %q, want %q", o.name, o.what, o.impl, got, o.want)
			}
		}
		for _, m := range find("openapi", "document-openapi-v3", "", "document-size") {
			if m.Median < 1000 {
				t.Errorf("the OpenAPI v3 document of %s has %g bytes", m.Impl, m.Median)
			}
		}
	})
	t.Run("scale", func(t *testing.T) {
		sizes := map[float64]bool{}
		for _, m := range find("scale", "list", bench.CRD, "latency") {
			sizes[m.Size] = true
		}
		if len(sizes) != 3 || !sizes[1000] {
			t.Errorf("list was measured with %v objects, want 100, 550 and 1000", sizes)
		}
		if !slices.ContainsFunc(result.Fits, func(f bench.Fit) bool {
			return f.Suite == "scale" && f.Case == "list" && f.Impl == bench.Aggregated && f.Axis == bench.Objects
		}) {
			t.Error("there is no curve of list")
		}
		if len(find("scale", "list-protobuf", bench.CRD, "latency")) > 0 || !left("scale", "list-protobuf", bench.CRD) {
			t.Error("a CRD has protobuf, or it is not said that it has none")
		}
	})
}

func TestRemoveCEL(t *testing.T) {
	crd, err := manifests.CustomResourceDefinition(api.CRDGroup)
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		n := 0
		for _, version := range crd.Spec.Versions {
			walk(version.Schema.OpenAPIV3Schema, func(schema *apiextensionsv1.JSONSchemaProps) { n += len(schema.XValidations) })
		}
		return n
	}
	if count() == 0 {
		t.Fatal("the CRD has no rules in CEL to remove")
	}
	removeCEL(crd)
	if n := count(); n > 0 {
		t.Errorf("%d rules in CEL are left", n)
	}
}

// walk visits a schema and all below it.
func walk(schema *apiextensionsv1.JSONSchemaProps, visit func(*apiextensionsv1.JSONSchemaProps)) {
	visit(schema)
	for _, property := range schema.Properties {
		walk(&property, visit)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		walk(schema.Items.Schema, visit)
	}
}

// A run of other sizes and times takes what it was told.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		quick bool
		size  int
		want  []int
	}{
		{false, 0, []int{100, 1000, 3000, 10000}},
		{true, 0, []int{100, 500, 2000}},
		{false, 50000, []int{100, 1000, 3000, 10000, 30000, 50000}},
		{true, 300, []int{100, 200, 300}},
		{false, 1000, []int{100, 550, 1000}},
		{false, 1001, []int{100, 1000, 1001}},
	} {
		if got := (&benchFlags{quick: c.quick, size: c.size}).sizes(); !slices.Equal(got, c.want) {
			t.Errorf("quick %t, size %d: got %v, want %v", c.quick, c.size, got, c.want)
		}
	}
}

// A heap is read until it is at rest, and not for ever.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := 0
		heap := func(values ...float64) func() (float64, error) {
			read = 0
			return func() (float64, error) {
				read++
				return values[min(read, len(values))-1], nil
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if live, err := settled(ctx, heap(90e6, 120e6, 120.1e6, 150e6)); live != 120.1e6 || err != nil {
			t.Errorf("got %g and %v, want what it is when it changes little", live, err)
		}
		failed := errors.New("no heap")
		if _, err := settled(ctx, func() (float64, error) { return 0, failed }); !errors.Is(err, failed) {
			t.Errorf("got %v, want the error of reading", err)
		}
		cancel(failed)
		if _, err := settled(ctx, heap(1, 1e9)); !errors.Is(err, failed) {
			t.Errorf("got %v, want that it ends with its context", err)
		}
	})
}
