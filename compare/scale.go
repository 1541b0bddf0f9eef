package compare

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

// What the suite scale measures: the greatest number of objects unless --size says
// otherwise, and the numbers of clients and of watchers.
const defaultSize, quickSize = 10000, 2000

var (
	objectSteps                    = []int{100, 1000, 3000, 10000, 30000, 100000, 300000, 1000000}
	quickObjectSteps               = []int{100, 500}
	clientCounts, quickClientCount = []int{1, 4, 16, 64}, []int{1, 8, 64}
	watcherCounts, quickWatchers   = []int{1, 50, 200, 500}, []int{1, 50, 200}
)

// How long the suite scale measures at each size, half of it collections and half of it
// objects, and with each number of clients and watchers. From largeSize on collections have a
// number of rounds.
const (
	sizeTime                        = 15 * time.Second
	largeSize, largeSizeRounds      = 3000, 15
	quickSizeRounds                 = 9
	watchersTime, quickWatchersTime = 5 * time.Second, time.Second
	scaleWindows, quickScaleWindows = 8, 6
	scaleWindow, quickScaleWindow   = 400 * time.Millisecond, 100 * time.Millisecond
	replicaClients                  = 16
)

// How the suite scale measures memory: at how many objects, each in addition to the first;
// how often a heap is read until it is at rest, with what pause, and what counts as rest.
var heapSizes = []int{500, 1000, 2000, 4000}

const (
	heapReadings = 30
	heapPause    = time.Second
	heapRest     = 256 << 10
)

// sizes are the numbers of objects that are measured: three at least, or there is no curve.
func (f *benchFlags) sizes() []int {
	greatest, steps := defaultSize, objectSteps
	if f.quick {
		greatest, steps = quickSize, quickObjectSteps
	}
	if f.size > 0 {
		greatest, steps = f.size, objectSteps
	}
	var sizes []int
	for _, size := range steps {
		if size < greatest {
			sizes = append(sizes, size)
		}
	}
	if len(sizes) == 1 {
		sizes = append(sizes, (sizes[0]+greatest)/2)
	}
	return append(sizes, greatest)
}

// runScale runs the suite scale.
func runScale(ctx context.Context, r *suiteRun) (err error) {
	r.notRun("list-protobuf", bench.CRD, "custom resources have no protobuf (kubernetes#63677)")
	sessions, credential, err := r.scaleSessions(ctx, r.suite.Impls)
	if err != nil {
		return err
	}
	if _, err := bench.Level(ctx, sessions); err != nil {
		return err
	}
	if !r.bed.Ephemeral() {
		defer func() { err = errors.Join(err, bench.Clean(context.WithoutCancel(ctx), sessions)) }()
	}
	o := bench.Options{Sessions: sessions, Credential: credential}
	for _, axis := range []func(context.Context, bench.Options) error{r.growObjects, r.growClients, r.growWatchers} {
		if err := axis(ctx, o); err != nil {
			return err
		}
	}
	switch {
	case r.flags.quick:
		for _, name := range []string{"replicas", "heap"} {
			r.notRun(name, "", "it takes a control plane of its own: leave out --quick")
		}
	case !r.embedded():
		r.notRun("replicas", "", "it takes a kube-apiserver with --enable-aggregator-routing: run it with --cluster embedded")
		r.notRun("heap", "", "it takes a control plane where nothing else has run, and both servers on this host: run it with --cluster embedded")
	default:
		for _, on := range []func(context.Context) error{r.growReplicas, r.growHeaps} {
			if err := on(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// scaleSessions are the sessions of a user of the suite's own, in namespaces of its own.
func (r *suiteRun) scaleSessions(ctx context.Context, impls []string) ([]*bench.Session, cluster.Credential, error) {
	namespaces, err := r.namespaces(ctx, "scale", "scale-list")
	if err != nil {
		return nil, "", err
	}
	user, credential, err := r.bed.User(ctx, "bench-scale", namespaces...)
	if err != nil {
		return nil, "", err
	}
	sessions, err := bench.NewSessions(user, namespaces[0], namespaces[1], impls)
	return sessions, credential, err
}

// growObjects measures at more and more objects. If that fails at a size, the smaller ones
// stay measured.
func (r *suiteRun) growObjects(ctx context.Context, o bench.Options) error {
	sizes := r.flags.sizes()
	o.Plan = r.plan(sizeTime/2, sizeTime/2)
	if r.flags.quick {
		// enough for intervals, if not for many verdicts
		o.Rounds, o.Precision, o.Budget = quickSizeRounds, 0, 0
	}
	for i, size := range sizes {
		part := func(i int) float64 { return 0.7 * float64(i) / float64(len(sizes)) }
		r.say(part(i), fmt.Sprintf("making %d objects", size))
		err := bench.GrowObjects(ctx, o.Sessions, size)
		if err == nil {
			o.Axis, o.Size = bench.Objects, float64(size)
			collections := o
			if size >= largeSize && !r.flags.quick {
				collections.Rounds, collections.WarmUp = largeSizeRounds, 2
			}
			between := part(i) + 0.7*(part(i+1)-part(i))
			if err = r.measure(ctx, collections, bench.CollectionCases(), part(i), between); err == nil {
				err = r.measure(ctx, o, bench.ObjectCases(), between, part(i+1))
			}
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			r.notRun("list", "", fmt.Sprintf("with %d objects, it broke: %v", size, err))
			warn(r.result, fmt.Sprintf("scale: with %d objects a request failed, and larger sizes were left out: %v", size, err))
			break
		}
	}
	return nil
}

// growClients measures closed loops of more and more clients.
func (r *suiteRun) growClients(ctx context.Context, o bench.Options) error {
	o.Plan = r.plan(0, 0)
	o.WindowsOnly, o.Windows, o.Window, o.Loaded = true, scaleWindows, scaleWindow, nil
	counts := clientCounts
	if r.flags.quick {
		o.Windows, o.Window, counts = quickScaleWindows, quickScaleWindow, quickClientCount
	}
	for i, n := range counts {
		part := func(i int) float64 { return 0.7 + 0.1*float64(i)/float64(len(counts)) }
		bench.Renamed(o.Sessions, fmt.Sprintf("c%d", n))
		o.Clients, o.Axis, o.Size = n, bench.Clients, float64(n)
		if err := r.measure(ctx, o, bench.ClientCases(), part(i), part(i+1)); err != nil {
			return err
		}
	}
	return nil
}

// growWatchers measures when the last of more and more watchers has an event.
func (r *suiteRun) growWatchers(ctx context.Context, o bench.Options) error {
	o.Plan = r.plan(watchersTime, quickWatchersTime)
	counts := watcherCounts
	if r.flags.quick {
		counts = quickWatchers
	}
	for i, n := range counts {
		part := func(i int) float64 { return 0.8 + 0.1*float64(i)/float64(len(counts)) }
		bench.Renamed(o.Sessions, fmt.Sprintf("w%d", n))
		o.Axis, o.Size = bench.Watchers, float64(n)
		if err := r.measure(ctx, o, bench.WatcherCases(n), part(i), part(i+1)); err != nil {
			return err
		}
	}
	return nil
}

// growReplicas measures one and two replicas of the server, on a control plane of its own.
func (r *suiteRun) growReplicas(ctx context.Context) (err error) {
	r.say(0.9, "replicas, on a control plane with --enable-aggregator-routing")
	bed, stop, err := startBed(ctx, embedded(cluster.EmbeddedOptions{AggregatorRouting: true}), testbed.Alike(testbed.CRDSetup{}), func(string) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	own := &suiteRun{bed: bed, flags: r.flags, suite: r.suite, result: r.result, show: r.show, usage: bed.Usage}
	defer func() { r.samples = append(r.samples, own.samples...) }()
	sessions, credential, err := own.scaleSessions(ctx, []string{bench.Aggregated})
	if err != nil {
		return err
	}
	o := bench.Options{Plan: r.plan(0, 0), Sessions: sessions, Credential: credential, Axis: bench.Replicas}
	o.WindowsOnly, o.Windows, o.Window, o.Loaded, o.Clients = true, scaleWindows, scaleWindow, nil, replicaClients
	for n := 1; n <= 2; n++ {
		if n == 2 {
			replica, err := bed.StartReplica(ctx, "portrule-apiserver-replica")
			if err != nil {
				return err
			}
			if err := bed.Join(ctx, replica); err != nil {
				return err
			}
		}
		bench.Renamed(sessions, fmt.Sprintf("r%d", n))
		o.Size = float64(n)
		if err := own.measure(ctx, o, bench.ReplicaCases(), 0.9+0.03*float64(n-1), 0.9+0.03*float64(n)); err != nil {
			return err
		}
	}
	return nil
}

// keepers are the processes that keep the objects of each implementation in their watch
// caches.
var keepers = map[string]string{bench.CRD: apiserverProcess, bench.Native: apiserverProcess, bench.Aggregated: testbed.ServerProcess}

// growHeaps measures the live memory of the processes that keep objects, on a control plane
// of its own: where other suites have run, their caches go while these grow.
func (r *suiteRun) growHeaps(ctx context.Context) (err error) {
	r.say(0.97, "memory, on a control plane of its own")
	bed, stop, err := startBed(ctx, embedded(cluster.EmbeddedOptions{}), testbed.Alike(testbed.CRDSetup{}), func(string) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	own := &suiteRun{bed: bed, flags: r.flags, suite: r.suite, result: r.result, show: r.show, usage: bed.Usage}
	sessions, _, err := own.scaleSessions(ctx, r.suite.Impls)
	if err != nil {
		return err
	}
	if _, err := bench.Level(ctx, sessions); err != nil {
		return err
	}
	for i, s := range sessions {
		first, impl := 0.0, s.Subject.Impl
		for j, size := range heapSizes {
			r.say(0.97+0.03*float64(i*len(heapSizes)+j)/float64(len(sessions)*len(heapSizes)), fmt.Sprintf("memory of %d objects of %s", size, impl))
			if err := bench.GrowObjects(ctx, []*bench.Session{s}, size); err != nil {
				return err
			}
			live, err := settled(ctx, func() (float64, error) { return bed.Heap(ctx, keepers[impl]) })
			if err != nil {
				return err
			}
			if j == 0 {
				first = live // what the first objects take is lost among what else begins with them
				continue
			}
			m := bench.Few(r.suite.Name, "heap", impl, "memory", "B", []float64{live - first})
			m.Axis, m.Size, m.Process = bench.Objects, float64(size), keepers[impl]
			r.result.Measurements = append(r.result.Measurements, m)
		}
	}
	return nil
}

// settled reads a heap until it does not change any more: the watch cache of a version that
// is converted is filled behind the request. If it does not come to rest, the last is as
// good as any.
func settled(ctx context.Context, read func() (float64, error)) (float64, error) {
	live, err := read()
	for range heapReadings {
		if err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(heapPause):
		}
		before := live
		if live, err = read(); math.Abs(live-before) < heapRest {
			return live, err
		}
	}
	return live, err
}
