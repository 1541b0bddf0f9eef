package compare

import (
	"context"
	"errors"
	"fmt"
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
	namespaces, err := r.namespaces(ctx, "scale", "scale-list")
	if err != nil {
		return err
	}
	user, credential, err := r.bed.User(ctx, "bench-scale", namespaces...)
	if err != nil {
		return err
	}
	sessions, err := bench.NewSessions(user, namespaces[0], namespaces[1], r.suite.Impls)
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
		r.notRun("replicas", "", "it takes two more control planes: leave out --quick")
	case !r.embedded():
		r.notRun("replicas", "", "it takes a kube-apiserver with --enable-aggregator-routing: run it with --cluster embedded")
	default:
		if err := r.growReplicas(ctx); err != nil {
			return err
		}
	}
	return nil
}

// growObjects measures at more and more objects. If that fails at a size, the smaller ones
// stay measured.
func (r *suiteRun) growObjects(ctx context.Context, o bench.Options) error {
	sizes := r.flags.sizes()
	o.Plan = r.plan(sizeTime/2, sizeTime/2)
	heaps := newHeaps(r)
	if r.flags.quick {
		// enough for intervals, if not for many verdicts
		o.Rounds, o.Precision, o.Budget = quickSizeRounds, 0, 0
		r.notRun("heap", "", "it takes garbage collections of the kube-apiserver: leave out --quick")
		heaps = nil
	}
	for i, size := range sizes {
		part := func(i int) float64 { return 0.7 * float64(i) / float64(len(sizes)) }
		r.say(part(i), fmt.Sprintf("making %d objects", size))
		measured := heaps
		if i == 0 {
			measured = nil // what the first few take is lost among what else comes and goes
		}
		err := measured.before(ctx)
		if err == nil {
			err = bench.GrowObjects(ctx, o.Sessions, size, func(ctx context.Context, s *bench.Session) error { return measured.add(ctx, s.Subject.Impl, size) })
		}
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
	namespaces, err := own.namespaces(ctx, "scale", "scale-list")
	if err != nil {
		return err
	}
	user, credential, err := bed.User(ctx, "bench-scale", namespaces...)
	if err != nil {
		return err
	}
	sessions, err := bench.NewSessions(user, namespaces[0], namespaces[1], []string{bench.Aggregated})
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
		if err := own.measure(ctx, o, bench.ReplicaCases(), 0.9+0.05*float64(n-1), 0.9+0.05*float64(n)); err != nil {
			return err
		}
	}
	return nil
}

// heaps are the live memories of the processes that keep the objects, as they grow. nil
// measures none.
type heaps struct {
	run  *suiteRun
	last map[string]float64
	// kept is by how much each implementation's objects have made them grow so far.
	kept map[string]float64
	// shrunk are the implementations of which nothing can be said.
	shrunk map[string]bool
}

// keepers are the processes that keep the objects of each implementation in their watch
// caches.
var keepers = map[string]string{bench.CRD: apiserverProcess, bench.Native: apiserverProcess, bench.Aggregated: testbed.ServerProcess}

func newHeaps(r *suiteRun) *heaps {
	return &heaps{run: r, kept: map[string]float64{}, shrunk: map[string]bool{}}
}

// before takes what the heaps are now.
func (h *heaps) before(ctx context.Context) error {
	if h == nil {
		return nil
	}
	h.last = map[string]float64{}
	for _, keeper := range []string{apiserverProcess, testbed.ServerProcess} {
		live, err := h.run.bed.Heap(ctx, keeper)
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if err != nil {
			return err
		}
		h.last[keeper] = live
	}
	return nil
}

// add adds by how much the objects of an implementation, which have become size, have made
// the heap of their keeper grow.
func (h *heaps) add(ctx context.Context, impl string, size int) error {
	if h == nil {
		return nil
	}
	keeper := keepers[impl]
	if _, ok := h.last[keeper]; !ok {
		if size == h.run.flags.sizes()[1] {
			h.run.notRun("heap", impl, "the heap of "+keeper+" can be read where it is a process of this host alone")
		}
		return nil
	}
	live, err := h.run.bed.Heap(ctx, keeper)
	if err != nil {
		return err
	}
	h.keep(impl, size, live)
	return nil
}

// keep notes by how much the heap of the keeper of an implementation, which is live now,
// has grown. A heap that has shrunk says nothing of the objects.
func (h *heaps) keep(impl string, size int, live float64) {
	keeper := keepers[impl]
	h.kept[impl] += live - h.last[keeper]
	h.last[keeper] = live
	if h.shrunk[impl] {
		return
	}
	if h.kept[impl] <= 0 {
		h.shrunk[impl] = true
		h.run.notRun("heap", impl, fmt.Sprintf("with %d objects %s had let go of more, in the meantime, than they take", size, keeper))
		return
	}
	m := bench.Few(h.run.suite.Name, "heap", impl, "memory", "B", []float64{h.kept[impl]})
	m.Axis, m.Size, m.Process = bench.Objects, float64(size), keeper
	h.run.result.Measurements = append(h.run.result.Measurements, m)
}
