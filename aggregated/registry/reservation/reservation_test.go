package reservation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/storage"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

var errEtcd = errors.New("etcdserver: request timed out")

func TestCreate(t *testing.T) {
	web := newRule("web", "10.0.0.3", 80)
	for _, tt := range []struct {
		name string
		rule *v2.PortRule
		// held is the owner in the error, exists whether the name is the error
		held   string
		exists bool
	}{
		{name: "other endpoint", rule: newRule("db", "10.0.0.3", 81)},
		{name: "other host", rule: newRule("db", "10.0.0.4", 80)},
		{name: "other protocol", rule: speaking(v2.ProtocolUDP, newRule("db", "10.0.0.3", 80))},
		{name: "other namespace", rule: in("bank", newRule("db", "10.0.0.3", 80))},
		{name: "other namespace, same name", rule: in("bank", newRule("web", "10.0.0.3", 80))},
		{name: "same endpoint", rule: newRule("db", "10.0.0.3", 80), held: "web"},
		{name: "same name", rule: newRule("web", "10.0.0.3", 80), exists: true},
		{name: "same name, other endpoint", rule: newRule("web", "10.0.0.4", 80), exists: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			e.given(web)
			e.wantHeld(web)
			before := e.reservations.dump()
			err := e.create(e.replica(), tt.rule)
			switch {
			case tt.held != "":
				if held := wantHeldError(t, err); *held != (HeldError{Endpoint: tt.rule.Spec.Endpoint, Owner: tt.held}) {
					t.Errorf("got %+v", held)
				}
			case tt.exists:
				if !storage.IsExist(err) {
					t.Errorf("got %v, want that the key exists", err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				e.wantHeld(web, tt.rule)
				e.wantStored(web, tt.rule)
				return
			}
			e.wantStored(web)
			if got := e.reservations.dump(); !maps.Equal(got, before) {
				t.Errorf("the reservations have changed: %v, were %v", got, before)
			}
		})
	}
}

// TestCreateOut: the caller gets what is stored, the same as without reservations.
func TestCreateOut(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e := newEtcd(t)
			s, web, out := e.replica(), newRule("web", "10.0.0.3", 80), &v2.PortRule{}
			var err error
			if way.name == "create" {
				err = s.Create(e.ctx, ruleKey(web), web.DeepCopy(), out, 0)
			} else {
				err = s.GuaranteedUpdate(e.ctx, ruleKey(web), out, true, nil, applying(web), nil)
			}
			if err != nil || out.UID != web.UID || out.ResourceVersion == "" {
				t.Errorf("got %v, %+v", err, out.ObjectMeta)
			}
		})
	}
}

func TestConcurrentCreations(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(i int) func(*etcd, *Storage, *v2.PortRule) error
	}{
		{"create", func(int) func(*etcd, *Storage, *v2.PortRule) error { return (*etcd).create }},
		{"apply", func(int) func(*etcd, *Storage, *v2.PortRule) error { return (*etcd).apply }},
		{"mixed", func(i int) func(*etcd, *Storage, *v2.PortRule) error { return ways[i/2%2].make }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			replicas := []*Storage{e.replica(), e.replica()}
			errs := inParallel(200, func(i int) error {
				return tt.make(i)(e, replicas[i%2], newRule(fmt.Sprintf("web-%d", i), "10.0.0.3", 80))
			})
			wantOne(t, errs)
			e.wantConsistent()
		})
	}
}

// inParallel calls f(0) to f(n-1) and returns what they return.
func inParallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// wantOne fails the test unless one succeeded and the others were refused.
func wantOne(t *testing.T, errs []error) {
	t.Helper()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		_ = wantHeldError(t, err)
	}
	if made != 1 {
		t.Errorf("%d of %d rules were made, want 1", made, len(errs))
	}
}

// TestCrash: the server dies between the two writes, or etcd does not answer.
func TestCrash(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e := newEtcd(t)
			web := newRule("web", "10.0.0.3", 80)
			e.rules.before = func(op, _ string) error {
				if op == "get" {
					return nil
				}
				return errEtcd
			}
			if err := way.make(e, e.replica(), web); !errors.Is(err, errEtcd) {
				t.Fatalf("got %v, want %v", err, errEtcd)
			}
			e.rules.before = nil
			e.wantHeld(web)
			e.wantStored()

			for _, at := range []struct {
				advance, retryAfter time.Duration
				seconds             int
			}{
				{0, TakeoverAge, 30},
				{500 * time.Millisecond, TakeoverAge - 500*time.Millisecond, 30},
				{500 * time.Millisecond, TakeoverAge - time.Second, 29},
				{28*time.Second + 999*time.Millisecond, time.Millisecond, 1},
			} {
				e.clock.advance(at.advance)
				for _, name := range []string{"db", "web"} {
					held := wantHeldError(t, way.make(e, e.replica(), newRule(name, "10.0.0.3", 80)))
					if want := (HeldError{Endpoint: web.Spec.Endpoint, Owner: "web", Pending: true, RetryAfter: at.retryAfter}); *held != want {
						t.Errorf("got %+v, want %+v", *held, want)
					}
					if got := held.RetryAfterSeconds(); got != at.seconds {
						t.Errorf("%v are %d seconds, want %d", held.RetryAfter, got, at.seconds)
					}
				}
			}
			e.wantHeld(web)

			e.clock.advance(time.Millisecond)
			replicas := []*Storage{e.replica(), e.replica()}
			wantOne(t, inParallel(50, func(i int) error {
				return way.make(e, replicas[i%2], newRule(fmt.Sprintf("db-%d", i), "10.0.0.3", 80))
			}))
			e.wantConsistent()
		})
	}
}

func TestCrashSameName(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e := newEtcd(t)
			e.leaked(TakeoverAge, newRule("web", "10.0.0.3", 80))
			again := newRule("web", "10.0.0.3", 80)
			if err := way.make(e, e.replica(), again); err != nil {
				t.Fatal(err)
			}
			e.wantHeld(again)
			e.wantStored(again)
		})
	}
	t.Run("concurrently", func(t *testing.T) {
		e := newEtcd(t)
		e.leaked(TakeoverAge, newRule("web", "10.0.0.3", 80))
		replicas := []*Storage{e.replica(), e.replica()}
		made := 0
		for _, err := range inParallel(50, func(i int) error { return e.create(replicas[i%2], newRule("web", "10.0.0.3", 80)) }) {
			switch {
			case err == nil:
				made++
			case !storage.IsExist(err):
				_ = wantHeldError(t, err)
			}
		}
		if made != 1 {
			t.Errorf("%d rules were made, want 1", made)
		}
		e.wantConsistent()
	})
}

// TestWrittenAfterAll: the answer that the rule is written is lost.
func TestWrittenAfterAll(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e := newEtcd(t)
			web := newRule("web", "10.0.0.3", 80)
			e.rules.after = func(op, _ string) error {
				if op == "get" {
					return nil
				}
				return errEtcd
			}
			if err := way.make(e, e.replica(), web); !errors.Is(err, errEtcd) {
				t.Fatalf("got %v, want %v", err, errEtcd)
			}
			e.rules.after = nil
			e.wantStored(web)
			e.wantHeld(web)
			e.clock.advance(time.Hour)
			if held := wantHeldError(t, e.create(e.replica(), newRule("db", "10.0.0.3", 80))); held.Pending || held.Owner != "web" {
				t.Errorf("got %+v", held)
			}
			e.wantHeld(web)
		})
	}
}

// TestWriteTimeout runs in a bubble, whose time passes when all wait.
func TestWriteTimeout(t *testing.T) {
	for _, way := range ways {
		for _, tt := range []struct {
			name  string
			store func(*etcd) *fake
			op    string
			takes time.Duration
			ok    bool
		}{
			{"in time", func(e *etcd) *fake { return e.rules }, "write", WriteTimeout - time.Nanosecond, true},
			{"slow rule", func(e *etcd) *fake { return e.rules }, "write", WriteTimeout, false},
			// the time that reserving takes counts
			{"slow reservation", func(e *etcd) *fake { return e.reservations }, "create", WriteTimeout, false},
		} {
			t.Run(way.name+", "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := newEtcd(t)
					web := newRule("web", "10.0.0.3", 80)
					tt.store(e).before = func(op, _ string) error {
						if op == tt.op || tt.op == "write" && op != "get" {
							time.Sleep(tt.takes)
							synctest.Wait() // for the timers of that very moment
						}
						return nil
					}
					err := way.make(e, e.replica(), web)
					e.wantHeld(web)
					if tt.ok {
						if err != nil {
							t.Error(err)
						}
						e.wantStored(web)
						return
					}
					if !apierrors.IsTimeout(err) || err.Error() != "Timeout: the rule was not written within 10s: look whether it is there" {
						t.Errorf("got %v", err)
					}
					e.wantStored()
				})
			})
		}
	}
}

// TestRequestEnds: the client goes away while the rule is written. What has
// happened to the rule is unknown, so the reservation stays.
func TestRequestEnds(t *testing.T) {
	gone := errors.New("the client has gone away")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e := newEtcd(t)
			var cancel context.CancelCauseFunc
			e.ctx, cancel = context.WithCancelCause(e.ctx)
			writing, resume := make(chan struct{}), make(chan struct{})
			e.rules.before = func(op, _ string) error {
				if op != "get" {
					close(writing)
					<-resume
				}
				return nil
			}
			web := newRule("web", "10.0.0.3", 80)
			done := make(chan error)
			go func() { done <- way.make(e, e.replica(), web) }()
			<-writing
			cancel(gone)
			close(resume)
			if err := <-done; !errors.Is(err, context.Canceled) || apierrors.IsTimeout(err) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
			e.wantHeld(web)
			e.wantStored()
		})
	}
}

// TestReleaseAfterRequest: the client goes away, but what is left to do is done.
func TestReleaseAfterRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*etcd, *v2.PortRule) error
		want func(*etcd, *v2.PortRule)
	}{
		{
			"create", func(e *etcd, web *v2.PortRule) error {
				if err := e.create(e.replica(), newRule(web.Name, "10.0.0.4", 80)); !storage.IsExist(err) {
					return fmt.Errorf("got %w, want that the key exists", err)
				}
				return nil
			},
			func(e *etcd, web *v2.PortRule) { e.wantHeld(web) },
		},
		{
			"delete", func(e *etcd, web *v2.PortRule) error { return e.delete(e.replica(), web) },
			func(e *etcd, _ *v2.PortRule) { e.wantHeld() },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			web := newRule("web", "10.0.0.3", 80)
			e.given(web)
			var cancel context.CancelFunc
			e.ctx, cancel = context.WithCancel(e.ctx)
			e.reservations.before = once("get", func() error { cancel(); return nil }) // what release reads
			if err := tt.do(e, web); err != nil {
				t.Error(err)
			}
			if e.ctx.Err() == nil {
				t.Error("the request has not ended: the test tests nothing")
			}
			tt.want(e, web)
		})
	}
}

func TestDelete(t *testing.T) {
	e := newEtcd(t)
	s, web := e.replica(), newRule("web", "10.0.0.3", 80)
	e.given(web)

	other := types.UID("other")
	out := &v2.PortRule{}
	err := s.Delete(e.ctx, ruleKey(web), out, &storage.Preconditions{UID: &other}, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if !storage.IsInvalidObj(err) {
		t.Errorf("got %v, want that the uid is another", err)
	}
	refused := errors.New("refused")
	err = s.Delete(e.ctx, ruleKey(web), out, nil, func(context.Context, runtime.Object) error { return refused }, nil, storage.DeleteOptions{})
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	e.wantHeld(web)
	e.wantStored(web)

	err = s.Delete(e.ctx, ruleKey(web), out, &storage.Preconditions{UID: &web.UID}, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err != nil || out.UID != web.UID {
		t.Errorf("got %v, %+v", err, out.ObjectMeta)
	}
	e.wantHeld()
	e.wantStored()
	if err := e.delete(s, web); !storage.IsNotFound(err) {
		t.Errorf("got %v, want that the key is not found", err)
	}
	e.given(newRule("db", "10.0.0.3", 80))
}

// TestDeleteCached: the watch cache suggests a version that is there no longer.
func TestDeleteCached(t *testing.T) {
	e := newEtcd(t)
	s, web := e.replica(), newRule("web", "10.0.0.3", 80)
	e.given(web)
	cached := e.readRules()[0].DeepCopy()
	changed := web.DeepCopy()
	changed.Spec.Service = "apache"
	if err := e.apply(s, changed); err != nil {
		t.Fatal(err)
	}
	out := &v2.PortRule{}
	err := s.Delete(e.ctx, ruleKey(web), out, nil, storage.ValidateAllObjectFunc, cached, storage.DeleteOptions{})
	if err != nil || out.Spec.Service != "apache" {
		t.Errorf("got %v, %+v", err, out.Spec)
	}
	e.wantHeld()
}

// TestDeleteTakenOver: between the two writes of a deletion another rule takes the
// reservation over, which is old.
func TestDeleteTakenOver(t *testing.T) {
	for _, name := range []string{"db", "web"} {
		t.Run(name, func(t *testing.T) {
			e := newEtcd(t)
			web, other := newRule("web", "10.0.0.3", 80), newRule(name, "10.0.0.3", 80)
			e.given(web)
			e.clock.advance(TakeoverAge)
			e.rules.after = once("delete", func() error { return e.create(e.replica(), other) })
			if err := e.delete(e.replica(), web); err != nil {
				t.Fatal(err)
			}
			e.wantHeld(other)
			e.wantStored(other)
		})
	}
}

// TestDeleteCrash: the reservation is not released, which is not the client's
// business.
func TestDeleteCrash(t *testing.T) {
	e := newEtcd(t)
	web := newRule("web", "10.0.0.3", 80)
	e.given(web)
	e.reservations.before = once("delete", func() error { return errEtcd })
	if err := e.delete(e.replica(), web); err != nil {
		t.Fatal(err)
	}
	e.wantHeld(web)
	db := newRule("db", "10.0.0.3", 80)
	if held := wantHeldError(t, e.create(e.replica(), db)); !held.Pending {
		t.Errorf("got %+v", held)
	}
	e.clock.advance(TakeoverAge)
	e.given(db)
	e.wantHeld(db)
}

func TestUpdate(t *testing.T) {
	for _, ignoreNotFound := range []bool{false, true} {
		t.Run(fmt.Sprintf("ignoreNotFound=%t", ignoreNotFound), func(t *testing.T) {
			e := newEtcd(t)
			web := newRule("web", "10.0.0.3", 80)
			e.present(web) // without reservation
			e.reservations.before = func(op, key string) error {
				t.Errorf("%s %s", op, key)
				return nil
			}
			changed, out := web.DeepCopy(), &v2.PortRule{}
			changed.Spec.Service = "apache"
			err := e.replica().GuaranteedUpdate(e.ctx, ruleKey(web), out, ignoreNotFound, &storage.Preconditions{UID: &web.UID}, applying(changed), nil)
			if err != nil || out.Spec.Service != "apache" {
				t.Errorf("got %v, %+v", err, out.Spec)
			}
			e.wantHeld()

			refused := errors.New("refused")
			refuse := func(runtime.Object, storage.ResponseMeta) (runtime.Object, *uint64, error) { return nil, nil, refused }
			if err := e.replica().GuaranteedUpdate(e.ctx, ruleKey(web), out, ignoreNotFound, nil, refuse, nil); !errors.Is(err, refused) {
				t.Errorf("got %v, want %v", err, refused)
			}
		})
	}
	t.Run("not found", func(t *testing.T) {
		e := newEtcd(t)
		web := newRule("web", "10.0.0.3", 80)
		err := e.replica().GuaranteedUpdate(e.ctx, ruleKey(web), &v2.PortRule{}, false, nil, applying(web), nil)
		if !storage.IsNotFound(err) {
			t.Errorf("got %v, want that the key is not found", err)
		}
		e.wantHeld()
	})
}

func TestApplyHeld(t *testing.T) {
	e := newEtcd(t)
	web := newRule("web", "10.0.0.3", 80)
	e.given(web)
	if held := wantHeldError(t, e.apply(e.replica(), newRule("db", "10.0.0.3", 80))); held.Owner != "web" || held.Pending {
		t.Errorf("got %+v", held)
	}
	e.wantHeld(web)
	e.wantStored(web)
}

// TestApplyRefused: what admission refuses reserves nothing.
func TestApplyRefused(t *testing.T) {
	e := newEtcd(t)
	web, refused := newRule("web", "10.0.0.3", 80), errors.New("refused")
	err := e.replica().GuaranteedUpdate(e.ctx, ruleKey(web), &v2.PortRule{}, true, nil,
		func(runtime.Object, storage.ResponseMeta) (runtime.Object, *uint64, error) { return nil, nil, refused }, nil)
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	e.wantHeld()
}

// TestTooLarge: a rule that etcd has no room for, or finds too large, is not there, and neither is its
// reservation: the handler of creations tries again without managed fields.
func TestTooLarge(t *testing.T) {
	for _, way := range ways {
		for _, message := range []string{"etcdserver: mvcc: database space exceeded", "etcdserver: request is too large", "rpc error: code = ResourceExhausted desc = trying to send message larger than max (3 vs. 2)"} {
			t.Run(way.name+"/"+message, func(t *testing.T) {
				e := newEtcd(t)
				web := newRule("web", "10.0.0.3", 80)
				op := map[string]string{"create": "create", "apply": "update"}[way.name]
				e.rules.before = once(op, func() error { return errors.New(message) })
				if err := way.make(e, e.replica(), web); err == nil || !strings.Contains(err.Error(), message) {
					t.Errorf("got %v, want %s", err, message)
				}
				e.wantHeld()
				again := newRule("web", "10.0.0.3", 80)
				if err := way.make(e, e.replica(), again); err != nil {
					t.Errorf("again: %v", err)
				}
				e.wantHeld(again)
			})
		}
	}
}

// TestApplyLoses: while server-side apply creates a rule, others write its name.
func TestApplyLoses(t *testing.T) {
	refused := errors.New("refused")
	create := func(e *etcd, other *v2.PortRule) error { return e.create(e.replica(), other) }
	remove := func(e *etcd, other *v2.PortRule) error { return e.delete(e.replica(), other) }
	for _, tt := range []struct {
		name string
		// meanwhile is what the others do before each attempt is written
		meanwhile []func(*etcd, *v2.PortRule) error
		// refused is whether tryUpdate refuses the second attempt
		refused bool
		// attempts is how often tryUpdate is called, mine whether the rule is made
		attempts int
		mine     bool
	}{
		{name: "created", meanwhile: []func(*etcd, *v2.PortRule) error{create}, attempts: 2},
		{name: "created, then refused", meanwhile: []func(*etcd, *v2.PortRule) error{create}, refused: true, attempts: 2},
		{name: "created, then deleted", meanwhile: []func(*etcd, *v2.PortRule) error{create, remove}, attempts: 3, mine: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			web, other := newRule("web", "10.0.0.3", 80), newRule("web", "10.0.0.4", 80)
			web.Spec.Service = "apache" // or an update would change nothing, and not be written
			e.rules.before = func(op, _ string) error {
				if op != "update" || len(tt.meanwhile) == 0 {
					return nil
				}
				next := tt.meanwhile[0]
				tt.meanwhile = tt.meanwhile[1:]
				return next(e, other)
			}
			attempts := 0
			err := e.replica().GuaranteedUpdate(e.ctx, ruleKey(web), &v2.PortRule{}, true, nil,
				func(input runtime.Object, res storage.ResponseMeta) (runtime.Object, *uint64, error) {
					if attempts++; attempts == 2 && tt.refused {
						return nil, nil, refused
					}
					web.UID = newUID(web.Name) // the generic store gives each attempt one
					return applying(web)(input, res)
				}, nil)
			switch {
			case tt.refused && !errors.Is(err, refused):
				t.Errorf("got %v, want %v", err, refused)
			case !tt.refused && err != nil:
				t.Error(err)
			}
			if attempts != tt.attempts {
				t.Errorf("%d attempts, want %d", attempts, tt.attempts)
			}
			if tt.mine {
				other = web
			}
			e.wantHeld(other)
			e.wantStored(other)
		})
	}
}

// TestApplyCached: the watch cache has a rule that was deleted, so that apply
// updates at first and creates then.
func TestApplyCached(t *testing.T) {
	e := newEtcd(t)
	s, web := e.replica(), newRule("web", "10.0.0.3", 80)
	e.given(web)
	cached := e.readRules()[0].DeepCopy()
	if err := e.delete(s, web); err != nil {
		t.Fatal(err)
	}
	again := newRule("web", "10.0.0.3", 80)
	again.Spec.Service = "apache"
	if err := s.GuaranteedUpdate(e.ctx, ruleKey(web), &v2.PortRule{}, true, nil, applying(again), cached); err != nil {
		t.Fatal(err)
	}
	e.wantHeld(again)
	e.wantStored(again)
}

// TestConcurrentLife makes and deletes rules for few endpoints, by two replicas,
// under the same names and others. The clock stands still: nothing is taken over.
func TestConcurrentLife(t *testing.T) {
	e := newEtcd(t)
	replicas := []*Storage{e.replica(), e.replica()}
	errs := inParallel(60, func(i int) error {
		for j := range 20 {
			rule := newRule(fmt.Sprintf("web-%d", (i+j)%7), "10.0.0.3", int32(80+(i*j)%5))
			var held *HeldError
			err := ways[(i+j)%2].make(e, replicas[i%2], rule)
			if err != nil && !storage.IsExist(err) && !errors.As(err, &held) {
				return err
			}
			seen := map[string]bool{}
			for _, rule := range e.readRules() {
				endpoint := rule.Spec.Endpoint.String()
				if seen[endpoint] {
					return fmt.Errorf("two rules share %s", endpoint)
				}
				seen[endpoint] = true
			}
			if err := e.delete(replicas[j%2], rule); err != nil && !storage.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	e.wantConsistent()
}

// TestChangesHands: what reserve has read is no longer so when it acts on it.
func TestChangesHands(t *testing.T) {
	t.Run("released before it is read", func(t *testing.T) {
		e := newEtcd(t)
		web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80)
		e.given(web)
		e.reservations.before = once("get", func() error { return e.delete(e.replica(), web) })
		if err := e.create(e.replica(), db); err != nil {
			t.Fatal(err)
		}
		e.wantHeld(db)
	})
	t.Run("released before it is taken over", func(t *testing.T) {
		e := newEtcd(t)
		web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80)
		e.leaked(TakeoverAge, web)
		e.reservations.before = once("update", func() error {
			return e.reservations.Delete(e.ctx, keyOf(web), &metav1.PartialObjectMetadata{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
		})
		if err := e.create(e.replica(), db); err != nil {
			t.Fatal(err)
		}
		e.wantHeld(db)
	})
	t.Run("taken over by another", func(t *testing.T) {
		e := newEtcd(t)
		web, db, mail := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80), newRule("mail", "10.0.0.3", 80)
		e.leaked(TakeoverAge, web)
		e.reservations.before = once("update", func() error { return e.create(e.replica(), mail) })
		if held := wantHeldError(t, e.create(e.replica(), db)); held.Owner != "mail" || held.Pending {
			t.Errorf("got %+v", held)
		}
		e.wantHeld(mail)
	})
	t.Run("again and again", func(t *testing.T) {
		e := newEtcd(t)
		web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80)
		creations := 0
		e.reservations.before = func(op, key string) error {
			e.reservations.mu.Lock()
			defer e.reservations.mu.Unlock()
			switch op {
			case "create":
				creations++
				data, err := runtime.Encode(codec, newReservation(web, e.clock.now()))
				e.reservations.values[key] = value{data, 1}
				return err
			case "get":
				delete(e.reservations.values, key)
			}
			return nil
		}
		held := wantHeldError(t, e.create(e.replica(), db))
		if !held.Pending || held.RetryAfter != time.Second || creations != attempts {
			t.Errorf("got %+v after %d attempts", held, creations)
		}
		e.wantStored()
	})
}

// TestEtcdFails: what cannot be read or written is an error, and not a verdict.
func TestEtcdFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store func(*etcd) *fake
		op    string
		want  string
	}{
		{"reserve", func(e *etcd) *fake { return e.reservations }, "create", errEtcd.Error()},
		{"read the reservation", func(e *etcd) *fake { return e.reservations }, "get", "read who has reserved shop/tcp/10.0.0.3/80: " + errEtcd.Error()},
		{"read the owner", func(e *etcd) *fake { return e.rules }, "get", "read who holds tcp/10.0.0.3/80: " + errEtcd.Error()},
		{"take over", func(e *etcd) *fake { return e.reservations }, "update", errEtcd.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			web := newRule("web", "10.0.0.3", 80)
			e.leaked(TakeoverAge, web)
			tt.store(e).before = once(tt.op, func() error { return errEtcd })
			if err := e.create(e.replica(), newRule("db", "10.0.0.3", 80)); !errors.Is(err, errEtcd) || err.Error() != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			e.wantHeld(web)
			e.wantStored()
		})
	}
}

func TestHeldErrorText(t *testing.T) {
	for _, tt := range []struct {
		held HeldError
		want string
	}{
		{HeldError{Owner: "web"}, `held by PortRule "web"`},
		{HeldError{Owner: "web", Deleting: true}, `held by PortRule "web", which is being deleted: try again once it is gone`},
		{
			HeldError{Owner: "web", Pending: true, RetryAfter: TakeoverAge},
			`reserved for PortRule "web", which is being created or was not created: try again in 30 s`,
		},
		{
			HeldError{Owner: "web", Pending: true, RetryAfter: time.Second + time.Nanosecond},
			`reserved for PortRule "web", which is being created or was not created: try again in 2 s`,
		},
		{
			HeldError{Owner: "web", Pending: true, RetryAfter: time.Nanosecond},
			`reserved for PortRule "web", which is being created or was not created: try again in 1 s`,
		},
	} {
		if got := tt.held.Error(); got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.held, got, tt.want)
		}
	}
}

func TestDeletingOwner(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e := newEtcd(t)
			web := deleting(newRule("web", "10.0.0.3", 80))
			e.given(web)
			held := wantHeldError(t, way.make(e, e.replica(), newRule("db", "10.0.0.3", 80)))
			if want := (HeldError{Endpoint: web.Spec.Endpoint, Owner: "web", Deleting: true}); *held != want {
				t.Errorf("got %+v, want %+v", *held, want)
			}
		})
	}
}

// deleting returns a rule that has finalizers and was deleted.
func deleting(rule *v2.PortRule) *v2.PortRule {
	rule.Finalizers = []string{"portrule.example/nodes"}
	rule.DeletionTimestamp = &metav1.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return rule
}

func TestCheck(t *testing.T) {
	web := newRule("web", "10.0.0.3", 80)
	for _, tt := range []struct {
		name  string
		given func(*etcd)
		rule  *v2.PortRule
		// want is the error without its endpoint, nil if there is none
		want   *HeldError
		exists bool
	}{
		{name: "free", given: func(*etcd) {}, rule: newRule("db", "10.0.0.3", 80)},
		{name: "held", given: func(e *etcd) { e.given(web) }, rule: newRule("db", "10.0.0.3", 80), want: &HeldError{Owner: "web"}},
		{name: "other endpoint", given: func(e *etcd) { e.given(web) }, rule: newRule("db", "10.0.0.3", 81)},
		{name: "same name", given: func(e *etcd) { e.given(web) }, rule: newRule("web", "10.0.0.3", 80), exists: true},
		{
			name: "deleting", given: func(e *etcd) { e.given(deleting(web.DeepCopy())) },
			rule: newRule("db", "10.0.0.3", 80), want: &HeldError{Owner: "web", Deleting: true},
		},
		{
			name: "pending", given: func(e *etcd) { e.leaked(TakeoverAge-time.Second, web) },
			rule: newRule("db", "10.0.0.3", 80), want: &HeldError{Owner: "web", Pending: true, RetryAfter: time.Second},
		},
		{name: "leaked", given: func(e *etcd) { e.leaked(TakeoverAge, web) }, rule: newRule("db", "10.0.0.3", 80)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEtcd(t)
			tt.given(e)
			rules, reservations := e.rules.dump(), e.reservations.dump()
			err := e.replica().Check(e.ctx, ruleKey(tt.rule), tt.rule)
			switch {
			case tt.exists:
				if !storage.IsExist(err) {
					t.Errorf("got %v, want that the key exists", err)
				}
			case tt.want != nil:
				tt.want.Endpoint = tt.rule.Spec.Endpoint
				if held := wantHeldError(t, err); *held != *tt.want {
					t.Errorf("got %+v, want %+v", *held, *tt.want)
				}
			case err != nil:
				t.Error(err)
			}
			if !maps.Equal(e.rules.dump(), rules) || !maps.Equal(e.reservations.dump(), reservations) {
				t.Error("a dry run has written")
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name+", request ends", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEtcd(t)
				var cancel context.CancelFunc
				e.ctx, cancel = context.WithCancel(e.ctx)
				done := make(chan error)
				go func() { done <- way.make(e, e.starting(), newRule("web", "10.0.0.3", 80)) }()
				synctest.Wait()
				cancel()
				wantUnavailable(e, <-done)
			})
		})
		t.Run(way.name+", waits", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEtcd(t)
				start := time.Now()
				wantUnavailable(e, way.make(e, e.starting(), newRule("web", "10.0.0.3", 80)))
				if waited := time.Since(start); waited != WriteTimeout {
					t.Errorf("waited %v, want %v", waited, WriteTimeout)
				}
			})
		})
		t.Run(way.name+", becomes ready", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEtcd(t)
				s, web := e.starting(), newRule("web", "10.0.0.3", 80)
				done := make(chan error)
				go func() { done <- way.make(e, s, web) }()
				synctest.Wait()
				e.wantHeld()
				close(s.complete)
				if err := <-done; err != nil {
					t.Error(err)
				}
				e.wantHeld(web)
			})
		})
	}
}

func wantUnavailable(e *etcd, err error) {
	e.Helper()
	if !apierrors.IsServiceUnavailable(err) {
		e.Errorf("got %v, want that the service is unavailable", err)
	}
	e.wantHeld()
	e.wantStored()
}

// TestCodec pins what is in etcd: who reads it next may be another version.
func TestCodec(t *testing.T) {
	rule := newRule("web", "fd00::3", 443)
	rule.UID = "1234"
	want := newReservation(rule, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	data, err := runtime.Encode(codec, want)
	if err != nil {
		t.Fatal(err)
	}
	const golden = `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"web","namespace":"shop","uid":"1234",` +
		`"creationTimestamp":"2026-01-02T03:04:05Z","annotations":{"firewalld.fedoraproject.org/endpoint":"tcp/fd00::3/443"}}}` + "\n"
	if string(data) != golden {
		t.Errorf("got %s, want %s", data, golden)
	}
	if !json.Valid(data) {
		t.Error("this is no JSON")
	}
	got := &metav1.PartialObjectMetadata{}
	if _, _, err := codec.Decode(data, nil, got); err != nil {
		t.Fatal(err)
	}
	if got.Namespace != want.Namespace || got.Name != want.Name || got.UID != want.UID || !got.CreationTimestamp.Equal(&want.CreationTimestamp) ||
		!maps.Equal(got.Annotations, want.Annotations) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, garbage := range []string{"k8s\x00", "{", "[]", `{"kind":"PortRule","apiVersion":"` + api.Group + `/v2"}`} {
		if obj, _, err := codec.Decode([]byte(garbage), nil, &metav1.PartialObjectMetadata{}); err == nil {
			t.Errorf("%q is %+v, want an error", garbage, obj)
		}
	}
}

// FuzzKey: endpoints have one key if and only if they are one.
func FuzzKey(f *testing.F) {
	type pair struct {
		namespace, host string
		port            int32
		protocol        string
	}
	seeds := []pair{
		{"shop", "10.0.0.3", 80, "tcp"},
		{"shop", "10.0.0.3", 8, "tcp"},
		{"shop", "10.0.0.3", 80, "udp"},
		{"shop-0", "example.com", 65535, "sctp"},
		{"shop", "a.b-c.d", 1, "dccp"},
		{"tcp", "tcp", 443, "tcp"},
		{"0", "0.0.0.0", 1, "tcp"},
		{"shop", "::", 1, "tcp"},
		{"shop", "::1", 1, "tcp"},
		{"shop", "fd00::3", 443, "tcp"},
		{"shop", "2001:db8::1:0:0:1", 443, "udp"},
		{"shop", "64:ff9b::a00:3", 443, "udp"},
		// refused
		{"shop", "2001:DB8::1", 443, "udp"},
		{"shop", "::ffff:10.0.0.3", 80, "tcp"},
		{"shop", "fe80::1%eth0", 80, "tcp"},
		{"shop", "..", 80, "tcp"},
		{"../x", "10.0.0.3", 80, "tcp"},
		{"", "a/b", 80, "tcp/x"},
	}
	for _, a := range seeds {
		for _, b := range seeds {
			f.Add(a.namespace, a.host, a.port, a.protocol, b.namespace, b.host, b.port, b.protocol)
		}
	}
	f.Fuzz(func(t *testing.T, aNamespace, aHost string, aPort int32, aProtocol, bNamespace, bHost string, bPort int32, bProtocol string) {
		pairs := []pair{{aNamespace, aHost, aPort, aProtocol}, {bNamespace, bHost, bPort, bProtocol}}
		var keys []string
		for _, p := range pairs {
			rule := speaking(v2.Protocol(p.protocol), in(p.namespace, newRule("web", p.host, p.port)))
			if len(validation.IsDNS1123Label(p.namespace)) > 0 || len(v2.Validate(rule)) > 0 {
				return
			}
			key := keyOf(rule)
			// Clean takes out //, /./ and /../
			if path.Clean(key) != key || !strings.HasPrefix(key, prefix+"/"+p.namespace+"/") || strings.HasPrefix(key, rulesPrefix) {
				t.Errorf("%+v has the key %q", p, key)
			}
			if prepared, err := storage.PrepareKey(prefix, key, false); err != nil || prepared != key {
				t.Errorf("etcd makes %q of the key %q: %v", prepared, key, err)
			}
			if key != prefix+"/"+p.namespace+"/"+rule.Spec.Endpoint.String() {
				t.Errorf("%q is not made of namespace and endpoint", key)
			}
			keys = append(keys, key)
		}
		if (keys[0] == keys[1]) != (pairs[0] == pairs[1]) {
			t.Errorf("%+v and %+v have the keys %q and %q", pairs[0], pairs[1], keys[0], keys[1])
		}
		// one address is one endpoint, so it must have one spelling
		a, errA := netip.ParseAddr(aHost)
		b, errB := netip.ParseAddr(bHost)
		if errA == nil && errB == nil && a.Unmap() == b.Unmap() && aHost != bHost {
			t.Errorf("%q and %q are one address", aHost, bHost)
		}
	})
}

// An apply of a rule that is there does not wait for the first repair.
func TestUpdateWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEtcd(t)
		web := newRule("web", "10.0.0.3", 80)
		e.present(web)
		changed := web.DeepCopy()
		changed.Spec.Service = "apache"
		if err := e.apply(e.starting(), changed); err != nil {
			t.Error(err)
		}
		if got := e.readRules()[0].Spec.Service; got != "apache" {
			t.Errorf("got %s", got)
		}
	})
}

// Two applies of one new rule at once: the second becomes an update, as it does
// without reservations.
func TestApplyMerges(t *testing.T) {
	e := newEtcd(t)
	web, again := newRule("web", "10.0.0.3", 80), newRule("web", "10.0.0.3", 80)
	again.Spec.Service = "apache"
	first := true
	err := e.replica().GuaranteedUpdate(e.ctx, ruleKey(web), &v2.PortRule{}, true, nil,
		func(input runtime.Object, res storage.ResponseMeta) (runtime.Object, *uint64, error) {
			if first {
				first = false
				e.given(web)
			}
			return applying(again)(input, res)
		}, nil)
	if err != nil {
		t.Error(err)
	}
}

// A verdict that comes late is the verdict, in both ways.
func TestLateVerdict(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEtcd(t)
				e.given(newRule("web", "10.0.0.3", 80))
				e.reservations.before = once("create", func() error { time.Sleep(WriteTimeout); synctest.Wait(); return nil })
				if held := wantHeldError(t, way.make(e, e.replica(), newRule("db", "10.0.0.3", 80))); held.Owner != "web" {
					t.Errorf("got %+v", held)
				}
			})
		})
	}
}

// What the last attempt has seen is the owner.
func TestChangesHandsOwner(t *testing.T) {
	e := newEtcd(t)
	web, db := newRule("web", "10.0.0.3", 80), newRule("db", "10.0.0.3", 80)
	e.leaked(time.Hour, web)
	n := int64(1000)
	e.reservations.before = func(op, key string) error {
		if op == "update" { // somebody is always faster
			e.reservations.mu.Lock()
			defer e.reservations.mu.Unlock()
			n++
			v := e.reservations.values[key]
			e.reservations.values[key] = value{v.data, n}
		}
		return nil
	}
	if held := wantHeldError(t, e.create(e.replica(), db)); held.Owner != "web" {
		t.Errorf("got %+v", held)
	}
}
