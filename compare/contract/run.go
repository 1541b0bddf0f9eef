package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/testbed"
)

// parallel is how many cases run side by side: most of them wait.
const parallel = 6

// Place is where one side is served.
type Place struct {
	Bed *testbed.Testbed
	// Group is the group under which it serves PortRules.
	Group string
	// Has is what the control plane has of what cases need.
	Has []Need
}

// Options say what is run, and where.
type Options struct {
	CRD, Aggregated Place
	// SameGroup, unless nil, is where the CRD is served under the aggregated server's
	// group, on a cluster of its own: the same must come of each case there.
	SameGroup *Place
	Cases     []Case
	// Progress, unless it is nil, is told how far the run is and which case begins.
	Progress func(done, total int, what string)
}

// Places returns where the two sides of a testbed are served.
func Places(bed *testbed.Testbed, has ...Need) (crd, aggregated Place) {
	return Place{bed, api.CRDGroup, has}, Place{bed, api.Group, has}
}

// Row is a case and what came of it.
type Row struct {
	Case
	Verdict Verdict
	// CRD and Aggregated are what came of it on each side, SameGroup on the CRD under the
	// aggregated server's group if there is one.
	CRD, Aggregated, SameGroup string
	// Because is why it did not run, or why it could not be judged.
	Because string
	Took    time.Duration
}

// Run puts the cases to both sides. A case that fails without an answer is UNEXPECTED.
// If ctx ends, the cases that have not run are not in the result.
func Run(ctx context.Context, options Options) ([]Row, error) {
	sides := map[string]*http.Client{}
	clientsets := map[string]kubernetes.Interface{}
	places := map[string]Place{CRD: options.CRD, Aggregated: options.Aggregated}
	if options.SameGroup != nil {
		places[SameGroup] = *options.SameGroup
	}
	for impl, place := range places {
		var err error
		if sides[impl], err = rest.HTTPClientFor(place.Bed.Admin); err != nil {
			return nil, err
		}
		if clientsets[impl], err = kubernetes.NewForConfig(place.Bed.Admin); err != nil {
			return nil, err
		}
	}
	ask := func(ctx context.Context, impl string, c Case) (outcome string, err error) {
		ctx, cancel := context.WithTimeout(ctx, caseTimeout)
		defer cancel()
		place := places[impl]
		s := &Side{
			Impl: implOf(impl), Group: place.Group, Bed: place.Bed, Clientset: clientsets[impl],
			Namespace: "parity-" + utilrand.String(8), ctx: ctx, client: sides[impl],
		}
		namespaces := s.Clientset.CoreV1().Namespaces()
		if _, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}, metav1.CreateOptions{}); err != nil {
			return "", fmt.Errorf("make a namespace: %w", err)
		}
		if !place.Bed.Ephemeral() {
			// elsewhere it ends with the cluster: hundreds that end at once would hold up
			// those whose end is a case
			defer func() {
				err = errors.Join(err, namespaces.Delete(context.WithoutCancel(ctx), s.Namespace, metav1.DeleteOptions{}))
			}()
		}
		return c.Do(s), s.err
	}

	rows := make([]Row, len(options.Cases))
	ran := make([]bool, len(options.Cases))
	var mu sync.Mutex
	done := 0
	run := func(ctx context.Context, i int) {
		c := options.Cases[i]
		if options.Progress != nil {
			mu.Lock()
			options.Progress(done, len(options.Cases), c.ID)
			mu.Unlock()
		}
		rows[i] = judge(ctx, c, places, ask)
		mu.Lock()
		done++
		ran[i] = ctx.Err() == nil
		mu.Unlock()
	}
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(parallel)
	for i, c := range options.Cases {
		if !c.Alone && workCtx.Err() == nil {
			work.Go(func() error { run(workCtx, i); return nil })
		}
	}
	_ = work.Wait() // nothing returns an error
	for i, c := range options.Cases {
		if c.Alone && ctx.Err() == nil {
			run(ctx, i)
		}
	}
	var complete []Row
	for i, row := range rows {
		if ran[i] {
			complete = append(complete, row)
		}
	}
	return complete, ctx.Err()
}

// implOf is the implementation that a place has.
func implOf(place string) string {
	if place == SameGroup {
		return CRD
	}
	return place
}

// judge puts a case to the sides, one after the other.
func judge(ctx context.Context, c Case, places map[string]Place, ask func(context.Context, string, Case) (string, error)) Row {
	row := Row{Case: c}
	for _, impl := range []string{CRD, Aggregated} {
		if need := lacks(places[impl], c); need != "" {
			row.Verdict, row.Because = NotRun, "it needs "+string(need)
			return row
		}
	}
	place, sameGroup := places[SameGroup]
	sameGroup = sameGroup && lacks(place, c) == ""
	begin := time.Now()
	var errs []string
	for _, side := range []struct {
		impl    string
		outcome *string
	}{{CRD, &row.CRD}, {Aggregated, &row.Aggregated}, {SameGroup, &row.SameGroup}} {
		if side.impl == SameGroup && !sameGroup {
			continue
		}
		outcome, err := ask(ctx, side.impl, c)
		*side.outcome = outcome
		if err != nil {
			errs = append(errs, side.impl+": "+err.Error())
		}
	}
	row.Took = time.Since(begin)
	row.Verdict = c.Want.judge(row.CRD, row.Aggregated)
	if sameGroup && row.SameGroup != c.Want.CRD {
		row.Verdict = Unexpected
	}
	if len(errs) > 0 {
		row.Verdict, row.Because = Unexpected, strings.Join(errs, "; ")
	}
	return row
}

// lacks returns something that a case needs and a place has not, empty if it has all.
func lacks(place Place, c Case) Need {
	for _, need := range c.Needs {
		if !slices.Contains(place.Has, need) {
			return need
		}
	}
	return ""
}

// Select returns the cases whose ID or area is pattern, or begins with it and a slash,
// of any of the patterns; all if there are none. It is an error if a pattern selects
// nothing.
func Select(cases []Case, patterns ...string) ([]Case, error) {
	if len(patterns) == 0 {
		return cases, nil
	}
	used := map[string]bool{}
	var selected []Case
	for _, c := range cases {
		chosen := false
		for _, pattern := range patterns {
			if c.ID == pattern || c.Area() == pattern {
				chosen, used[pattern] = true, true
			}
		}
		if chosen {
			selected = append(selected, c)
		}
	}
	for _, pattern := range patterns {
		if !used[pattern] {
			return nil, fmt.Errorf("there is no case or area %q: the areas are %s", pattern, strings.Join(areas(cases), ", "))
		}
	}
	return selected, nil
}

// areas are those of cases, in their order.
func areas(cases []Case) []string {
	var names []string
	seen := map[string]bool{}
	for _, c := range cases {
		if !seen[c.Area()] {
			names = append(names, c.Area())
		}
		seen[c.Area()] = true
	}
	return names
}
