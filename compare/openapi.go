package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

// How often an API is made, changed and deleted, and how often it is made to see what that
// costs. A quick run has no intervals.
const (
	openAPIRounds, quickOpenAPIRounds = 6, 2
	costRounds                        = 6
	// costTime is how long the kube-apiserver's CPU time is watched after a change.
	costTime = 2 * time.Second
	// outageTimeout bounds the wait for the aggregation layer to notice that a server is down.
	outageTimeout = 90 * time.Second
)

// openAPIGroups are the groups that come and go.
var openAPIGroups = map[string]string{
	bench.CRD:        "openapi." + api.CRDGroup,
	bench.Aggregated: "openapi." + api.Group,
}

// runOpenAPI runs the suite openapi: a CRD and the APIServices of a server come and go.
func runOpenAPI(ctx context.Context, r *suiteRun) (err error) {
	if !r.ownServers() {
		r.notRun("", "", "it makes and deletes a CRD and the APIServices of a server of its own, for which the cluster must have no implementation of its own")
		return nil
	}
	r.say(0, "a CRD and a server that come and go")
	if err := r.bed.ServeCRD(ctx, testbed.CRDVariant{Name: "portrule-controller-openapi", Group: openAPIGroups[bench.CRD]}); err != nil {
		return err
	}
	peer, err := r.bed.ServeVersions(ctx, "portrule-apiserver-openapi", openAPIGroups[bench.Aggregated])
	if err != nil {
		return err
	}
	registrations := map[string]*testbed.Registration{}
	for impl, group := range openAPIGroups {
		if registrations[impl], err = r.bed.Registration(ctx, group); err != nil {
			return err
		}
	}
	documents, err := r.documents()
	if err != nil {
		return err
	}
	shown := func(group string) error {
		_, err := bench.Watch(ctx, documents, bench.Sight{Group: group}, func(context.Context) error { return nil })
		return err
	}
	for _, group := range openAPIGroups {
		if err := shown(group); err != nil {
			return err
		}
	}
	d, err := documents()
	if err != nil {
		return err
	}
	differences, err := d.SchemaDifferences(ctx, openAPIGroups)
	if err != nil {
		return err
	}
	r.result.Observations = append(r.result.Observations, differences...)
	rounds := openAPIRounds
	if r.flags.quick {
		rounds = quickOpenAPIRounds
	}
	if err := r.comeAndGo(ctx, registrations, documents, rounds); err != nil {
		return err
	}
	r.notRun("change", bench.Aggregated, "what an aggregated server says of its schema is compiled in: another schema is another server, whose documents show as those of a new one do")
	r.say(0.7, "sizes of the documents")
	if err := r.documentSizes(ctx, d, registrations); err != nil {
		return err
	}
	switch {
	case r.flags.quick:
		r.notRun("create-cost", "", "it takes half a minute: leave out --quick")
	case r.usage == nil:
		r.notRun("create-cost", "", "the CPU time of the kube-apiserver cannot be known")
	default:
		if err := r.changeCost(ctx, registrations, documents); err != nil {
			return err
		}
	}
	if err := shown(openAPIGroups[bench.Aggregated]); err != nil {
		return err
	}
	return r.outage(ctx, peer, registrations[bench.Aggregated], d)
}

// documents returns what makes readers of the cluster's documents, who are administrators.
func (r *suiteRun) documents() (func() (*bench.Documents, error), error) {
	kubectl, err := cluster.Binary("kubectl")
	if err != nil {
		return nil, err
	}
	kubeconfig, err := r.bed.WriteKubeconfig("openapi.kubeconfig")
	if err != nil {
		return nil, err
	}
	explain := func(ctx context.Context, args ...string) (string, error) {
		cache, err := os.MkdirTemp("", "portrule-kubectl-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(cache)
		out, err := exec.CommandContext(ctx, kubectl, append([]string{"explain", "--kubeconfig", kubeconfig, "--cache-dir", cache}, args...)...).Output()
		return string(out), err
	}
	return func() (*bench.Documents, error) { return bench.NewDocuments(r.bed.Admin, explain) }, nil
}

// comeAndGo deletes, makes and changes the APIs in turns, and times when that is seen.
func (r *suiteRun) comeAndGo(ctx context.Context, registrations map[string]*testbed.Registration, documents func() (*bench.Documents, error), rounds int) error {
	taken := map[string]map[string][]float64{} // by case, then implementation
	impls := []string{bench.CRD, bench.Aggregated}
	for round := range rounds {
		for i := range impls {
			impl := impls[(round+i)%len(impls)]
			registration := registrations[impl]
			marker := fmt.Sprintf("marked-%d", round)
			for _, change := range []struct {
				name string
				do   func(context.Context) error
				want func() bench.Sight
			}{
				{"change", func(ctx context.Context) error { return registration.Change(ctx, marker) }, func() bench.Sight {
					if registration.CRD {
						return bench.Sight{Marker: marker}
					}
					return bench.Sight{Preferred: map[string]string{"v1": "v2", "v2": "v1"}[registration.Preferred()]}
				}},
				{"delete", registration.Delete, func() bench.Sight { return bench.Sight{Gone: true} }},
				{"create", registration.Create, func() bench.Sight { return bench.Sight{} }},
			} {
				r.say(0.05+0.65*(float64(round)+float64(i)/2)/float64(rounds), change.name+" "+impl)
				want := change.want()
				want.Group = registration.Group
				times, err := bench.Watch(ctx, documents, want, change.do)
				if err != nil {
					return fmt.Errorf("%s %s: %w", change.name, impl, err)
				}
				for place, t := range times {
					name := change.name + "-" + place
					if taken[name] == nil {
						taken[name] = map[string][]float64{}
					}
					taken[name][impl] = append(taken[name][impl], float64(t))
				}
			}
		}
	}
	for _, c := range r.suite.Others {
		if len(taken[c.Name]) > 0 {
			r.compare(c.Name, "latency", "ns", taken[c.Name])
		}
	}
	if rounds < openAPIRounds {
		warn(r.result, fmt.Sprintf("openapi: %d rounds are too few for intervals: they are from the least to the greatest value, and there are no verdicts", rounds))
	}
	return nil
}

// compare adds values of the implementations, and their comparison if there are enough.
func (r *suiteRun) compare(name, metric, unit string, values map[string][]float64) {
	for _, impl := range r.suite.Impls {
		if len(values[impl]) > 0 {
			r.result.Measurements = append(r.result.Measurements, bench.Few(r.suite.Name, name, impl, metric, unit, values[impl]))
		}
	}
	if _, comparison, err := bench.Compare(r.suite.Name, name, metric, unit, bench.Aggregated, bench.CRD, values); err == nil {
		r.result.Comparisons = append(r.result.Comparisons, comparison)
	}
}

// documentSizes adds by how much each group makes the documents larger.
func (r *suiteRun) documentSizes(ctx context.Context, d *bench.Documents, registrations map[string]*testbed.Registration) error {
	for impl, registration := range registrations {
		with, err := d.Sizes(ctx, registration.Group)
		if err != nil {
			return err
		}
		documents, err := r.documents()
		if err != nil {
			return err
		}
		if _, err := bench.Watch(ctx, documents, bench.Sight{Group: registration.Group, Gone: true}, registration.Delete); err != nil {
			return err
		}
		without, err := d.Sizes(ctx, registration.Group)
		if err != nil {
			return err
		}
		if _, err := bench.Watch(ctx, documents, bench.Sight{Group: registration.Group}, registration.Create); err != nil {
			return err
		}
		for name, size := range with {
			r.result.Measurements = append(r.result.Measurements, bench.Few(r.suite.Name, name, impl, "document-size", "B", []float64{size - without[name]}))
		}
	}
	return nil
}

// changeCost adds the CPU time of the kube-apiserver that a new API costs.
func (r *suiteRun) changeCost(ctx context.Context, registrations map[string]*testbed.Registration, documents func() (*bench.Documents, error)) error {
	cpu := func(ctx context.Context, after func() error) (float64, error) {
		before, err := r.usage(ctx)
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := after(); err != nil {
			return 0, err
		}
		used, err := r.usage(ctx)
		if err != nil {
			return 0, err
		}
		ms := float64(used[apiserverProcess].CPU-before[apiserverProcess].CPU) / 1e6
		return ms / time.Since(begin).Seconds(), nil
	}
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d, err := documents()
	if err != nil {
		return err
	}
	spent := map[string][]float64{}
	for round := range costRounds {
		for impl, registration := range registrations {
			r.say(0.75+0.15*float64(round)/costRounds, "what a new API costs")
			if _, err := bench.Watch(ctx, documents, bench.Sight{Group: registration.Group, Gone: true}, registration.Delete); err != nil {
				return err
			}
			if _, err := d.Sizes(ctx, registration.Group); err != nil {
				return err
			}
			idle, err := cpu(ctx, func() error { return pause(costTime / 2) })
			if err != nil {
				return err
			}
			begin := time.Now()
			rate, err := cpu(ctx, func() error {
				if err := registration.Create(ctx); err != nil {
					return err
				}
				if err := pause(costTime); err != nil {
					return err
				}
				_, err := d.Sizes(ctx, registration.Group)
				return err
			})
			if err != nil {
				return err
			}
			spent[impl] = append(spent[impl], max(0, (rate-idle)*time.Since(begin).Seconds()))
		}
	}
	for _, impl := range r.suite.Impls {
		m := bench.Few(r.suite.Name, "create-cost", impl, "cpu", "ms", spent[impl])
		m.Process = apiserverProcess
		r.result.Measurements = append(r.result.Measurements, m)
	}
	return nil
}

// apiserverProcess is the name of the kube-apiserver among the processes.
const apiserverProcess = "kube-apiserver"

// outage stops the server of a group and observes what users are told. It comes last.
func (r *suiteRun) outage(ctx context.Context, peer *testbed.Peer, registration *testbed.Registration, d *bench.Documents) error {
	if peer.Server == nil {
		r.notRun("outage", "", "the server is a Pod, which would be started again: run it with --cluster embedded, or make e2e, which kills Pods")
		return nil
	}
	observe := func(when string) error {
		seen, err := d.Outage(ctx, registration.Group, bench.Aggregated, when)
		r.result.Observations = append(r.result.Observations, seen...)
		return err
	}
	r.say(0.9, "the server is down")
	if err := errors.Join(observe("before"), peer.Stop()); err != nil {
		return err
	}
	begin := time.Now()
	if err := observe("at once"); err != nil {
		return err
	}
	if r.flags.quick {
		r.notRun("outage", bench.Aggregated, "what is said once the aggregation layer has noticed takes up to half a minute: leave out --quick")
		return nil
	}
	for {
		available, why, err := registration.Available(ctx)
		if err != nil {
			return err
		}
		if !available {
			r.result.Observations = append(r.result.Observations, bench.Observation{
				Suite: r.suite.Name, Case: "outage", What: "the APIService is no longer Available", Impl: bench.Aggregated,
				Seen: fmt.Sprintf("after %.1f s, %s", time.Since(begin).Seconds(), why),
			})
			break
		}
		if time.Since(begin) > outageTimeout {
			return fmt.Errorf("the aggregation layer takes a server that is down for available after %s", outageTimeout)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return observe("once noticed")
}
