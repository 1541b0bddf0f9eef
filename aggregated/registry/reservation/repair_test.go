package reservation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/storage"

	v2 "portrule.example/lab/api/v2"
)

func TestRepair(t *testing.T) {
	web, db, mail := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80), newRule("mail", "10.0.0.3", 80)
	elsewhere, later := in("bank", newRule("web", "10.0.0.3", 80)), newRule("web", "10.0.0.4", 80)
	for _, tt := range []struct {
		name  string
		given func(*etcd)
		want  Repaired
		held  []*v2.PortRule
	}{
		{name: "nothing", given: func(*etcd) {}},
		{
			name:  "reserved",
			given: func(e *etcd) { e.given(web, elsewhere); e.clock.advance(TakeoverAge) },
			held:  []*v2.PortRule{web, elsewhere},
		},
		{
			name:  "without reservation",
			given: func(e *etcd) { e.present(web, elsewhere) },
			want:  Repaired{Reserved: 2},
			held:  []*v2.PortRule{web, elsewhere},
		},
		{
			name: "the oldest wins",
			given: func(e *etcd) {
				e.present(e.made(time.Minute, db.DeepCopy()), e.made(time.Hour, mail.DeepCopy()), e.made(time.Second, web.DeepCopy()))
			},
			want: Repaired{Reserved: 1, Duplicates: 2},
			held: []*v2.PortRule{mail},
		},
		{
			name:  "of one age, the first by name wins",
			given: func(e *etcd) { e.present(web, mail, db) },
			want:  Repaired{Reserved: 1, Duplicates: 2},
			held:  []*v2.PortRule{db},
		},
		{
			name:  "who holds it keeps it",
			given: func(e *etcd) { e.given(web); e.present(e.made(time.Hour, mail.DeepCopy())) },
			want:  Repaired{Duplicates: 1},
			held:  []*v2.PortRule{web},
		},
		{
			name:  "leaked, young",
			given: func(e *etcd) { e.leaked(TakeoverAge-time.Second, web) },
			held:  []*v2.PortRule{web},
		},
		{
			name:  "leaked, old",
			given: func(e *etcd) { e.leaked(TakeoverAge, web) },
			want:  Repaired{Removed: 1},
		},
		{
			name:  "leaked by a former rule of that name",
			given: func(e *etcd) { e.leaked(TakeoverAge, web); e.given(later) },
			want:  Repaired{Removed: 1},
			held:  []*v2.PortRule{later},
		},
		{
			name:  "some of each",
			given: func(e *etcd) { e.leaked(time.Hour, web); e.present(elsewhere); e.given(later) },
			want:  Repaired{Reserved: 1, Removed: 1},
			held:  []*v2.PortRule{elsewhere, later},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			tt.given(e)
			rules := e.rules.dump()
			for _, want := range []Repaired{tt.want, {Duplicates: tt.want.Duplicates}} {
				got, err := e.replica().Repair(e.ctx)
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				e.wantHeld(tt.held...)
			}
			if !maps.Equal(e.rules.dump(), rules) {
				t.Error("the rules have changed")
			}
		})
	}
}

// TestRepairPending: a rule without reservation waits for a reservation that may
// become another's, and takes it over in time.
func TestRepairPending(t *testing.T) {
	e := newEtcd(t)
	web, db, mail := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80), newRule("mail", "10.0.0.4", 80)
	e.leaked(TakeoverAge-time.Second, web)
	e.present(db, mail)
	got, err := e.replica().Repair(e.ctx)
	if held := wantHeldError(t, err); !held.Pending || held.Owner != "web" {
		t.Errorf("got %+v", held)
	}
	if want := "reserve tcp/10.0.0.3/80 for shop/db: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if got.Reserved != 1 {
		t.Errorf("got %+v", got)
	}
	e.wantHeld(web, mail)

	e.clock.advance(time.Second)
	if got, err = e.replica().Repair(e.ctx); err != nil || got.Reserved != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	e.wantHeld(db, mail)
}

// TestRepairMeanwhile: others write while Repair reads and writes.
func TestRepairMeanwhile(t *testing.T) {
	web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80)
	for _, tt := range []struct {
		name string
		// given stores something, and sets a hook to do the rest
		given func(*etcd)
		held  []*v2.PortRule
	}{
		{
			name: "deleted between the lists",
			given: func(e *etcd) {
				e.given(web)
				e.clock.advance(TakeoverAge)
				e.rules.before = once("list", func() error { return e.delete(e.replica(), web) })
			},
		},
		{
			name: "created between the lists",
			given: func(e *etcd) {
				e.rules.before = once("list", func() error { return e.create(e.replica(), web) })
			},
			held: []*v2.PortRule{web},
		},
		{
			name: "deleted between the lists, and succeeded by another",
			given: func(e *etcd) {
				e.given(web)
				e.clock.advance(TakeoverAge)
				e.rules.before = once("list", func() error {
					return errors.Join(e.delete(e.replica(), web), e.create(e.replica(), db))
				})
			},
			held: []*v2.PortRule{db},
		},
		{
			name: "being created between the lists",
			given: func(e *etcd) {
				e.rules.before = once("list", func() error { e.leaked(0, web); return nil })
			},
			held: []*v2.PortRule{web},
		},
		{
			name: "taken over before it is removed",
			given: func(e *etcd) {
				e.leaked(TakeoverAge, web)
				e.reservations.before = once("get", func() error { return e.create(e.replica(), db) })
			},
			held: []*v2.PortRule{db},
		},
		{
			name: "taken over while it is removed",
			given: func(e *etcd) {
				e.leaked(TakeoverAge, web)
				e.reservations.before = once("delete", func() error { return e.create(e.replica(), db) })
			},
			held: []*v2.PortRule{db},
		},
		{
			name: "removed by another replica",
			given: func(e *etcd) {
				e.leaked(TakeoverAge, web)
				e.reservations.before = once("delete", func() error {
					_, err := e.replica().Repair(e.ctx)
					return err
				})
			},
		},
		{
			name: "reserved by another replica",
			given: func(e *etcd) {
				e.present(web)
				e.reservations.before = once("create", func() error {
					_, err := e.replica().Repair(e.ctx)
					return err
				})
			},
			held: []*v2.PortRule{web},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			tt.given(e)
			if _, err := e.replica().Repair(e.ctx); err != nil {
				t.Fatal(err)
			}
			e.wantHeld(tt.held...)
		})
	}
}

// TestConcurrentRepairs: to repair more than once does no harm.
func TestConcurrentRepairs(t *testing.T) {
	e := newEtcd(t)
	for i := range 20 {
		e.present(newRule(fmt.Sprintf("web-%d", i), "10.0.0.3", int32(80+i)))
		e.leaked(time.Hour, newRule(fmt.Sprintf("db-%d", i), "10.0.0.4", int32(80+i)))
	}
	replicas := []*Storage{e.replica(), e.replica()}
	if err := errors.Join(inParallel(8, func(i int) error {
		_, err := replicas[i%2].Repair(e.ctx)
		return err
	})...); err != nil {
		t.Error(err)
	}
	e.wantConsistent()
}

func TestRepairErrors(t *testing.T) {
	e := newEtcd(t)
	web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.4", 80)
	leaked, other := newRule("mail", "10.0.0.5", 25), newRule("post", "10.0.0.6", 25)
	e.present(web, db)
	e.leaked(TakeoverAge, leaked, other)
	e.reservations.before = func(op, key string) error {
		if op == "create" && key == keyOf(db) || op == "delete" && key == keyOf(leaked) {
			return errEtcd
		}
		return nil
	}
	got, err := e.replica().Repair(e.ctx)
	want := "reserve tcp/10.0.0.4/80 for shop/db: " + errEtcd.Error() + "\n" + "remove the reservation of tcp/10.0.0.5/25: " + errEtcd.Error()
	if !errors.Is(err, errEtcd) || err.Error() != want {
		t.Errorf("got %v, want %v", err, want)
	}
	if want := (Repaired{Reserved: 1, Removed: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	e.wantHeld(web, leaked)

	e.reservations.before = nil
	if _, err := e.replica().Repair(e.ctx); err != nil {
		t.Error(err)
	}
	e.wantHeld(web, db)
}

func TestRepairCannotList(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store func(*etcd) *fake
		want  string
	}{
		{"reservations", func(e *etcd) *fake { return e.reservations }, "list the reservations: " + errEtcd.Error()},
		{"rules", func(e *etcd) *fake { return e.rules }, "list the rules: " + errEtcd.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			leaked := newRule("web", "10.0.0.3", 80)
			e.leaked(TakeoverAge, leaked)
			tt.store(e).before = once("list", func() error { return errEtcd })
			got, err := e.replica().Repair(e.ctx)
			if !errors.Is(err, errEtcd) || err.Error() != tt.want || got != (Repaired{}) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.want)
			}
			e.wantHeld(leaked)
		})
	}
}

// TestStart runs in a bubble, whose time passes when all wait.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEtcd(t)
		ctx, cancel := context.WithCancel(e.ctx)
		s, web, leaked := e.starting(), newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.4", 80)
		s.now = time.Now
		e.present(web)
		failures := 3
		e.reservations.before = func(op, _ string) error {
			if op == "list" && failures > 0 {
				failures--
				return errEtcd
			}
			return nil
		}
		start := time.Now()
		s.Start(ctx)
		if took := time.Since(start); took != 3*retryInterval {
			t.Errorf("took %v, want %v", took, 3*retryInterval)
		}
		select {
		case <-s.complete:
		default:
			t.Error("rules cannot be created")
		}
		e.wantHeld(web)

		synctest.Wait()
		if err := e.reservations.Create(e.ctx, keyOf(leaked), newReservation(leaked, time.Now()), nil, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(repairInterval / 2)
		e.wantHeld(web, leaked)
		time.Sleep(repairInterval) // and its jitter
		e.wantHeld(web)
		// the bubble waits for what still repairs
		cancel()
	})
}

// TestStartEnds: the server ends before it could repair.
func TestStartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEtcd(t)
		ctx, cancel := context.WithTimeout(e.ctx, time.Minute)
		defer cancel()
		e.rules.before = func(string, string) error { return errEtcd }
		s, web := e.starting(), newRule("web", "10.0.0.3", 80)
		e.leaked(TakeoverAge, web)
		s.Start(ctx)
		select {
		case <-s.complete:
			t.Error("rules can be created")
		default:
		}
		e.wantHeld(web)
	})
}

// TestRepairDoesNotMeetCreations: creations wait for the first repair, and find
// what it has reserved.
func TestRepairDoesNotMeetCreations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEtcd(t)
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		s, web := e.starting(), newRule("web", "10.0.0.3", 80)
		e.present(web)
		done := make(chan error)
		go func() { done <- e.create(s, newRule("db", "10.0.0.3", 80)) }()
		synctest.Wait()
		s.Start(ctx)
		if held := wantHeldError(t, <-done); held.Owner != "web" || held.Pending {
			t.Errorf("got %+v", held)
		}
		e.wantStored(web)
	})
}

// TestReservationsAreApart: neither list sees what the other store keeps.
func TestReservationsAreApart(t *testing.T) {
	for _, p := range []struct{ a, b string }{{prefix + "/", rulesPrefix}, {rulesPrefix, prefix + "/"}} {
		if strings.HasPrefix(p.a, p.b) {
			t.Errorf("%q is in %q", p.a, p.b)
		}
		if key, err := storage.PrepareKey(strings.TrimSuffix(p.a, "/"), p.a, true); err != nil || key != p.a {
			t.Errorf("etcd lists %q in place of %q: %v", key, p.a, err)
		}
	}
}

// TestSimulation makes and deletes rules for few endpoints and under few names, by
// twelve replicas, some of which repair too. etcd takes up to 12 s for each round
// trip, longer than a rule may take, and some fail, before or after they have taken
// place. At no moment may two rules share an endpoint.
//
// Each run is a bubble, in which hours pass at once.
func TestSimulation(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
	}
}

func simulate(t *testing.T, seed uint64) {
	e := newEtcd(t)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	fail := func() error {
		if roll(20) == 0 {
			return errEtcd
		}
		return nil
	}
	before := func(string, string) error {
		limit := 1000
		if roll(4) == 0 {
			limit = 12000
		}
		time.Sleep(time.Duration(roll(limit)) * time.Millisecond)
		return fail()
	}
	e.reservations.before, e.reservations.after = before, func(string, string) error { return fail() }
	e.rules.before, e.rules.after = before, func(string, string) error {
		owners := map[string]string{}
		for _, rule := range e.readRules() {
			endpoint := rule.Spec.Endpoint.String()
			if owner, ok := owners[endpoint]; ok {
				t.Errorf("seed %d: %s and %s share %s", seed, owner, rule.Name, endpoint)
			}
			owners[endpoint] = rule.Name
		}
		return fail()
	}
	var wg sync.WaitGroup
	for i := range 12 {
		s := e.replica()
		s.now = time.Now
		wg.Go(func() {
			for range 30 {
				time.Sleep(time.Duration(roll(20000)) * time.Millisecond)
				rule := newRule(fmt.Sprintf("web-%d", roll(6)), "10.0.0.3", int32(80+roll(3)))
				// what fails is left as it is
				switch what := roll(10); {
				case what < 2 && i < 3:
					_, _ = s.Repair(e.ctx)
				case what < 7:
					_ = ways[what%2].make(e, s, rule)
				default:
					_ = e.delete(s, rule)
				}
			}
		})
	}
	wg.Wait()

	for _, f := range []*fake{e.rules, e.reservations} {
		f.before, f.after = nil, nil
	}
	time.Sleep(TakeoverAge)
	s := e.replica()
	s.now = time.Now
	if _, err := s.Repair(e.ctx); err != nil {
		t.Error(err)
	}
	e.wantConsistent()
}

// A reservation that was young when the rules were listed is removed if Repair
// itself takes long.
func TestRepairSlow(t *testing.T) {
	e := newEtcd(t)
	web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.4", 80)
	e.leaked(0, web) // is being created
	e.present(db)
	e.rules.after = once("list", func() error { e.present(web); return nil }) // is created
	// the repair takes as long as a reservation must be old
	e.reservations.before = once("create", func() error { e.clock.advance(TakeoverAge); return nil })
	if _, err := e.replica().Repair(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.wantHeld(web, db)
}

// A rule that is deleted between the list and its adoption gets no reservation.
func TestAdoptDeleted(t *testing.T) {
	e := newEtcd(t)
	web := newRule("web", "10.0.0.3", 80)
	e.present(web)
	e.rules.after = once("list", func() error { return e.delete(e.replica(), web) })
	if _, err := e.replica().Repair(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.wantHeld()
}

// Repaired counts what Repair has done.
func TestRepairedCounts(t *testing.T) {
	t.Run("reserved", func(t *testing.T) {
		e := newEtcd(t)
		e.rules.before = once("list", func() error { return e.create(e.replica(), newRule("web", "10.0.0.3", 80)) })
		if got, err := e.replica().Repair(e.ctx); got != (Repaired{}) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("removed", func(t *testing.T) {
		e := newEtcd(t)
		e.leaked(TakeoverAge, newRule("web", "10.0.0.3", 80))
		e.reservations.before = once("delete", func() error { return e.create(e.replica(), newRule("db", "10.0.0.3", 80)) })
		if got, err := e.replica().Repair(e.ctx); got != (Repaired{}) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("taken over by the repair", func(t *testing.T) {
		e := newEtcd(t)
		e.leaked(TakeoverAge, newRule("web", "10.0.0.3", 80))
		e.present(newRule("db", "10.0.0.3", 80))
		if got, err := e.replica().Repair(e.ctx); got != (Repaired{Reserved: 1}) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// Start repairs once.
func TestStartOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEtcd(t)
		ctx, cancel := context.WithCancel(e.ctx)
		lists := 0
		e.rules.before = func(op, _ string) error {
			if op == "list" {
				lists++
			}
			return nil
		}
		e.starting().Start(ctx)
		synctest.Wait()
		if lists != 1 {
			t.Errorf("listed %d times", lists)
		}
		cancel()
	})
}
