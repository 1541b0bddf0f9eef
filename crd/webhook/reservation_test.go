package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v2 "portrule.example/lab/api/v2"
)

var reservation = Options{Group: group, Reservation: true}

// leaseOf is the reservation of a rule, made some time ago.
func leaseOf(rule *v2.PortRule, ago time.Duration) *coordinationv1.Lease {
	lease := newReservation(rule.Namespace, withDefaults(rule))
	acquired := metav1.NewMicroTime(time.Now().Add(-ago))
	lease.Spec.AcquireTime = &acquired
	return lease
}

// holders are who holds the reservations of the namespace.
func holders(t *testing.T, c client.Client) []string {
	t.Helper()
	var leases coordinationv1.LeaseList
	if err := c.List(t.Context(), &leases, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, lease := range leases.Items {
		names = append(names, holderOf(&lease)+" "+lease.Annotations[EndpointAnnotation])
	}
	return names
}

func TestReserve(t *testing.T) {
	const young, old = time.Second, TakeoverAge + time.Second
	taken := withHost("10.0.0.9")
	for _, tt := range []struct {
		name   string
		stored []client.Object
		code   int32 // 200 if allowed
		// message is part of the refusal.
		message string
		// after is who holds what after a creation, and afterDryRun after a dry run.
		after, afterDryRun []string
	}{
		{"free", nil, 200, "", []string{"a tcp/10.0.0.3/80"}, []string{}},
		{"held by a living rule", []client.Object{newRule("b"), leaseOf(newRule("b"), old)}, 422,
			`spec.endpoint: Duplicate value: "tcp/10.0.0.3/80": held by PortRule "b"`, []string{"b tcp/10.0.0.3/80"}, []string{"b tcp/10.0.0.3/80"}},
		{"reserved for a rule that is not there yet", []client.Object{leaseOf(newRule("b"), young)}, 409,
			`endpoint tcp/10.0.0.3/80 is reserved for PortRule "b"`, []string{"b tcp/10.0.0.3/80"}, []string{"b tcp/10.0.0.3/80"}},
		{"leaked long ago", []client.Object{leaseOf(newRule("b"), old)}, 200, "", []string{"a tcp/10.0.0.3/80"}, []string{"b tcp/10.0.0.3/80"}},
		{"leaked by a rule that was made anew elsewhere", []client.Object{newRule("b", taken), leaseOf(newRule("b"), old)}, 200, "",
			[]string{"a tcp/10.0.0.3/80"}, []string{"b tcp/10.0.0.3/80"}},
		{"perhaps leaked by a rule that was made anew elsewhere", []client.Object{newRule("b", taken), leaseOf(newRule("b"), young)}, 409, "try again in",
			[]string{"b tcp/10.0.0.3/80"}, []string{"b tcp/10.0.0.3/80"}},
		{"its own, from a creation that failed", []client.Object{leaseOf(newRule("a"), young)}, 200, "", []string{"a tcp/10.0.0.3/80"}, []string{"a tcp/10.0.0.3/80"}},
		{"it is there already", []client.Object{newRule("a"), leaseOf(newRule("a"), old)}, 409, "already exists", []string{"a tcp/10.0.0.3/80"}, []string{"a tcp/10.0.0.3/80"}},
		{"without holder", []client.Object{func() *coordinationv1.Lease {
			lease := leaseOf(newRule("b"), old)
			lease.Spec = coordinationv1.LeaseSpec{}
			lease.CreationTimestamp = metav1.NewTime(time.Now().Add(-old))
			return lease
		}()}, 200, "", []string{"a tcp/10.0.0.3/80"}, []string{" tcp/10.0.0.3/80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, dryRun := range []bool{true, false} {
				c := newClient(t, tt.stored...)
				req := request(t, "CREATE", newRule("a"), nil)
				req.DryRun = &dryRun
				answer := review(t, install(t, c, reservation), PathReserve, req)
				if answer.Result.Code != tt.code || answer.Allowed != (tt.code == 200) || !strings.Contains(answer.Result.Message, tt.message) {
					t.Errorf("dry run %t: got %v, want %d %q", dryRun, answer.Result, tt.code, tt.message)
				}
				want := tt.after
				if dryRun {
					want = tt.afterDryRun
				}
				if got := holders(t, c); !slices.Equal(got, want) {
					t.Errorf("dry run %t: reserved %q, want %q", dryRun, got, want)
				}
			}
		})
	}
}

// A creation that may succeed later says when.
func TestReserveSaysWhen(t *testing.T) {
	c := newClient(t, leaseOf(newRule("b"), TakeoverAge-10*time.Second))
	answer := review(t, install(t, c, reservation), PathReserve, request(t, "CREATE", newRule("a"), nil))
	if after := answer.Result.Details.RetryAfterSeconds; after < 9 || after > 11 || answer.Result.Reason != metav1.StatusReasonConflict {
		t.Errorf("got %v, want a conflict and about 10 s", answer.Result)
	}
}

// Nothing invalid is reserved.
func TestReserveRefusesInvalid(t *testing.T) {
	c := newClient(t)
	answer := review(t, install(t, c, reservation), PathReserve, request(t, "CREATE", newRule("a", withHost("010.0.0.3")), nil))
	if got := causes(answer); !slices.Equal(got, []string{"spec.endpoint.host FieldValueInvalid"}) || len(holders(t, c)) != 0 {
		t.Errorf("got %v, reserved %q", answer.Result, holders(t, c))
	}
}

func TestRelease(t *testing.T) {
	finalizer := func(r *v2.PortRule) { r.Finalizers = []string{"example.org/close"} }
	mine, theirs := []string{"a tcp/10.0.0.3/80"}, []string{"b tcp/10.0.0.3/80"}
	for _, tt := range []struct {
		name    string
		rule    *v2.PortRule
		lease   *v2.PortRule // the owner of the reservation
		options string
		dryRun  bool
		want    []string
	}{
		{"its own", newRule("a"), newRule("a"), "", false, []string{}},
		{"background", newRule("a"), newRule("a"), `{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1","propagationPolicy":"Background"}`, false, []string{}},
		{"dry run", newRule("a"), newRule("a"), "", true, mine},
		{"another's", newRule("a"), newRule("b"), "", false, theirs},
		{"finalizer", newRule("a", finalizer), newRule("a"), "", false, mine},
		{"foreground", newRule("a"), newRule("a"), `{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1","propagationPolicy":"Foreground"}`, false, mine},
		{"another endpoint", newRule("a", withPort(81)), newRule("a"), "", false, mine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, leaseOf(tt.lease, time.Hour))
			req := request(t, "DELETE", nil, tt.rule)
			req.DryRun = &tt.dryRun
			if tt.options != "" {
				req.Options = raw(t, tt.options)
			}
			answer := review(t, install(t, c, reservation), PathReserve, req)
			if got := holders(t, c); !answer.Allowed || !slices.Equal(got, tt.want) || len(answer.Warnings) > 0 {
				t.Errorf("got %v %v, left %q, want %q", answer.Result, answer.Warnings, got, tt.want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		answer := review(t, install(t, newClient(t), reservation), PathReserve, request(t, "DELETE", nil, newRule("a")))
		if !answer.Allowed || len(answer.Warnings) > 0 {
			t.Errorf("got %v %v", answer.Result, answer.Warnings)
		}
	})
}

// Without the API server no rule is let in, and every rule can be deleted.
func TestReserveWithoutCluster(t *testing.T) {
	down := errors.New("connection refused")
	for name, funcs := range map[string]interceptor.Funcs{
		"get": {Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		}},
		"create": {Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return down }},
		"update": {Update: func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error { return down }},
		"delete": {Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return down }},
	} {
		t.Run(name, func(t *testing.T) {
			handler := install(t, interceptor.NewClient(newClient(t, leaseOf(newRule("a"), time.Hour)), funcs), reservation)
			if name != "delete" {
				answer := review(t, handler, PathReserve, request(t, "CREATE", newRule("a"), nil))
				if answer.Allowed || answer.Result.Code != http.StatusInternalServerError || !strings.Contains(answer.Result.Message, "10.0.0.3") {
					t.Errorf("a creation got %v, want an internal error", answer.Result)
				}
			}
			answer := review(t, handler, PathReserve, request(t, "DELETE", nil, newRule("a")))
			if failed := name == "get" || name == "delete"; !answer.Allowed || (len(answer.Warnings) > 0) != failed {
				t.Errorf("a deletion got %v %v, want it allowed, with a warning if the reservation stays", answer.Result, answer.Warnings)
			}
		})
	}
}

// The check that acts at once: of many creations that run side by side one gets the
// endpoint, be it free or leaked.
func TestReserveIsAtomic(t *testing.T) {
	for name, stored := range map[string][]client.Object{
		"free":   nil,
		"leaked": {leaseOf(newRule("gone"), TakeoverAge+time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			handler := install(t, newClient(t, stored...), reservation)
			var allowed atomic.Int32
			var wait sync.WaitGroup
			for i := range 50 {
				wait.Go(func() {
					if review(t, handler, PathReserve, request(t, "CREATE", newRule(fmt.Sprintf("rule-%d", i)), nil)).Allowed {
						allowed.Add(1)
					}
				})
			}
			wait.Wait()
			if allowed.Load() != 1 {
				t.Errorf("%d rules got the endpoint, want 1", allowed.Load())
			}
		})
	}
}

func TestLeaked(t *testing.T) {
	elsewhere := newRule("gone", withPort(4))
	elsewhere.Namespace = "other"
	foreign := leaseOf(newRule("foreign", withPort(5)), 0)
	foreign.Labels = nil
	c := newClient(t,
		newRule("lives"), leaseOf(newRule("lives"), 0),
		leaseOf(newRule("gone", withPort(1)), 0),
		newRule("moved", withPort(2)), leaseOf(newRule("moved", withPort(3)), 0),
		leaseOf(elsewhere, 0), foreign)
	for ns, want := range map[string][]string{
		namespace: {"gone tcp/10.0.0.3/1", "moved tcp/10.0.0.3/3"},
		"other":   {"gone tcp/10.0.0.3/4"},
		"":        {"gone tcp/10.0.0.3/1", "gone tcp/10.0.0.3/4", "moved tcp/10.0.0.3/3"},
		"empty":   nil,
	} {
		leaked, err := Leaked(t.Context(), c, ns)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, lease := range leaked {
			got = append(got, holderOf(&lease)+" "+lease.Annotations[EndpointAnnotation])
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("namespace %q: got %q, want %q", ns, got, want)
		}
	}
	for _, kind := range []client.ObjectList{&coordinationv1.LeaseList{}, &v2.PortRuleList{}} {
		c := interceptor.NewClient(c, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if fmt.Sprintf("%T", list) == fmt.Sprintf("%T", kind) {
				return errors.New("connection refused")
			}
			return c.List(ctx, list, opts...)
		}})
		if _, err := Leaked(t.Context(), c, ""); err == nil {
			t.Errorf("no error although %T cannot be listed", kind)
		}
	}
}
