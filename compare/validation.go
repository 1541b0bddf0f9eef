package compare

import (
	"context"
	"fmt"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/testbed"
)

// How long the rounds of the suite validation take that are about writes and conversions of
// one object, and how many it takes of the conversion of lists, which last long.
const (
	validationTime, quickValidationTime = 45 * time.Second, 5 * time.Second
	conversionListRounds                = 6
)

// The sizes of the lists that are converted.
var conversionSizes, quickConversionSizes = []int{100, 1000, 5000}, []int{50}

// countedRequests is the number of requests whose calls of webhooks are counted.
const countedRequests = 10

// The groups of the suite validation, beside those of the testbed.
const (
	schemaGroup     = "schema." + api.CRDGroup
	withoutCELGroup = "without-cel." + api.CRDGroup
	policiesGroup   = "policies." + api.CRDGroup
	webhooksGroup   = "webhooks." + api.CRDGroup
	uniqueGroup     = "unique." + api.Group
	noCacheGroup    = "no-watch-cache." + api.Group
)

// runValidation runs the suite validation: each way to validate in a group of its own, side
// by side.
func runValidation(ctx context.Context, r *suiteRun) error {
	if r.flags.setup != (testbed.CRDSetup{}) {
		r.notRun("", "", "it serves each way to validate side by side, whatever --crd says: leave that out")
		return nil
	}
	r.say(0, "each way to validate in a group of its own")
	groups, err := r.serveValidation(ctx)
	if err != nil {
		return err
	}
	namespaces, err := r.namespaces(ctx, "validation", "validation-list", "validation-ports")
	if err != nil {
		return err
	}
	if err := r.bed.AllowPorts(ctx, namespaces[2], "1-79"); err != nil {
		return err
	}
	user, credential, err := r.bed.User(ctx, "bench-validation", namespaces...)
	if err != nil {
		return err
	}
	sessions, err := bench.ValidationSessions(user, groups, namespaces[0], namespaces[1], namespaces[2])
	if err != nil {
		return err
	}
	if !r.bed.Ephemeral() {
		defer func() { _ = bench.Clean(context.WithoutCancel(ctx), sessions) }()
	}
	called := func(ctx context.Context) (float64, float64, error) {
		calls, err := r.bed.Called(ctx)
		return calls.Admission, calls.Conversion, err
	}
	for _, s := range sessions {
		if slices.Contains([]string{bench.CRDV1, bench.AggregatedV1, bench.Uncached, bench.UncachedV1}, s.Subject.Impl) {
			continue // the messages are those of v2
		}
		messages, err := bench.Messages(ctx, s)
		if err != nil {
			return err
		}
		r.result.Observations = append(r.result.Observations, messages...)
	}
	count := func(cases []bench.Case, n int) error {
		for _, c := range cases {
			measurements, err := bench.CountCalls(ctx, r.suite.Name, c, sessions, n, called)
			if err != nil {
				return fmt.Errorf("count the calls of webhooks of %s: %w", c.Name, err)
			}
			r.result.Measurements = append(r.result.Measurements, measurements...)
		}
		return nil
	}
	r.say(0.05, "calls of webhooks")
	counted := r.suite.Cases
	if r.flags.quick {
		counted = slices.DeleteFunc(slices.Clone(counted), func(c bench.Case) bool {
			return c.Name != "accepted" && c.Name != "convert-create" && c.Name != "convert-get"
		})
	}
	if !r.bed.Ephemeral() {
		r.notRun("webhook-calls", "", "in a cluster that others use, others call webhooks too")
		r.notRun("convert-list-etcd", "", "it takes a change of the CRD's schema, and this CRD is not the harness's")
	} else if err := count(counted, countedRequests); err != nil {
		return err
	}
	o := bench.Options{Plan: r.plan(validationTime, quickValidationTime), Sessions: sessions, Credential: credential}
	if err := r.measure(ctx, o, r.suite.Cases, 0.1, 0.6); err != nil {
		return err
	}
	sizes := conversionSizes
	if r.flags.quick {
		sizes = quickConversionSizes
	}
	o.Rounds, o.WarmUp, o.Precision, o.Budget = conversionListRounds, 1, 0, 0
	for i, size := range sizes {
		part := func(i int) float64 { return 0.6 + 0.4*float64(i)/float64(len(sizes)) }
		r.say(part(i), fmt.Sprintf("lists of %d objects", size))
		if err := bench.FillLists(ctx, sessions, size); err != nil {
			return err
		}
		lists := bench.ConversionLists()
		if !r.bed.Ephemeral() {
			lists = lists[:1]
		} else if err := r.forget(ctx, sessions, groups[bench.CRD], called); err != nil {
			return err
		}
		o.Axis, o.Size = bench.Objects, float64(size)
		if err := r.measure(ctx, o, lists, part(i), part(i+1)); err != nil {
			return err
		}
		if i == 0 && r.bed.Ephemeral() {
			if err := count(lists, 2); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveValidation serves each way to validate that this cluster can have, and returns their
// groups.
func (r *suiteRun) serveValidation(ctx context.Context) (map[string]string, error) {
	groups := map[string]string{bench.CRD: api.CRDGroup, bench.Aggregated: api.Group}
	for impl, variant := range map[string]testbed.CRDVariant{
		// one without the objects of other suites: each of them would be converted whenever
		// its watch caches begin anew
		bench.CRD:        {Name: "portrule-controller-schema", Group: schemaGroup},
		bench.WithoutCEL: {Name: "portrule-controller-without-cel", Group: withoutCELGroup, Edit: removeCEL},
		bench.Policies:   {Name: "portrule-controller-policies", Group: policiesGroup, Setup: testbed.CRDSetup{Policies: true}},
		bench.Webhooks:   {Name: "portrule-controller-webhooks", Group: webhooksGroup, Setup: testbed.CRDSetup{Webhooks: true}},
	} {
		if !r.ownServers() {
			if impl == bench.CRD {
				continue // the cluster's
			}
			r.notRun("", impl, "its webhooks are processes of this host, for which the cluster must have no implementation of its own")
			continue
		}
		if err := r.bed.ServeCRD(ctx, variant); err != nil {
			return nil, err
		}
		groups[impl] = variant.Group
	}
	for impl, peer := range map[string]struct{ name, group, flag string }{
		bench.Unique:   {"portrule-apiserver-unique", uniqueGroup, "--unique-endpoints=true"},
		bench.Uncached: {"portrule-apiserver-no-watch-cache", noCacheGroup, "--watch-cache=false"},
	} {
		if !r.ownServers() {
			r.notRun("", impl, "the cluster has an aggregated server of its own, and another set-up of it cannot be started beside it")
			continue
		}
		if _, err := r.bed.ServeVersions(ctx, peer.name, peer.group, peer.flag); err != nil {
			return nil, err
		}
		groups[impl] = peer.group
	}
	return groups, nil
}

// removeCEL takes the rules in CEL out of a CRD.
func removeCEL(crd *apiextensionsv1.CustomResourceDefinition) {
	var remove func(schema *apiextensionsv1.JSONSchemaProps)
	remove = func(schema *apiextensionsv1.JSONSchemaProps) {
		schema.XValidations = nil
		for name, property := range schema.Properties {
			remove(&property)
			schema.Properties[name] = property
		}
		if schema.Items != nil && schema.Items.Schema != nil {
			remove(schema.Items.Schema)
		}
	}
	for i := range crd.Spec.Versions {
		remove(crd.Spec.Versions[i].Schema.OpenAPIV3Schema)
	}
}

// forget makes the kube-apiserver begin new watch caches of the CRD, so that a list as of a
// time before has to come from etcd, and waits until it has.
func (r *suiteRun) forget(ctx context.Context, sessions []*bench.Session, group string, called func(context.Context) (float64, float64, error)) error {
	if err := r.bed.Touch(ctx, group); err != nil {
		return err
	}
	return bench.AwaitEtcdList(ctx, sessions, called)
}
