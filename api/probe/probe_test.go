package probe

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// answers is a resolver that gives one answer after another, and the last for ever.
type answers struct {
	list [][]string
	// err is given instead of an empty answer, if set.
	err error
	// asked are the questions.
	asked []string
}

func (a *answers) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	answer := a.list[min(len(a.asked), len(a.list)-1)]
	a.asked = append(a.asked, network+" "+host)
	if len(answer) == 0 && a.err != nil {
		return nil, a.err
	}
	var addrs []netip.Addr
	for _, text := range answer {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs, nil
}

// silent is a resolver that does not answer.
type silent struct{}

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, &net.DNSError{Err: "i/o timeout", Server: "10.96.0.10:53", IsTimeout: true}
}

// network stands for dialling. An address that is not in it connects.
type network struct {
	fails map[string]error
	// dialled are the addresses, in order.
	dialled []string
}

// errBlackHole makes an address one that does not answer.
var errBlackHole = errors.New("black hole")

func (n *network) dial(ctx context.Context, addr netip.AddrPort) error {
	n.dialled = append(n.dialled, addr.String())
	err := n.fails[addr.String()]
	if errors.Is(err, errBlackHole) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (n *network) mustHaveDialled(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(n.dialled, want) {
		t.Errorf("dialled %v, want %v", n.dialled, want)
	}
}

// run collects what is reported.
func run(ctx context.Context, p *Prober, target Target, plan Plan) ([]Attempt, error) {
	var attempts []Attempt
	err := p.Run(ctx, target, plan, func(a Attempt) error {
		attempts = append(attempts, a)
		return nil
	})
	return attempts, err
}

func results(attempts []Attempt) []string {
	var list []string
	for _, a := range attempts {
		list = append(list, a.Result)
	}
	return list
}

func mustResult(t *testing.T, attempts []Attempt, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	if got := results(attempts); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v: %+v", got, want, attempts)
	}
}

func dnsName(host string) Target { return Target{Host: host, Port: 443} }

func TestRunForbidden(t *testing.T) {
	for _, c := range []struct {
		name   string
		host   string
		answer []string
	}{
		{"loopback", "127.0.0.1", nil},
		{"loopback, IPv6", "::1", nil},
		{"metadata", "169.254.169.254", nil},
		{"zoned", "fe80::1%eth0", nil},
		{"mapped literal", "::ffff:192.0.2.1", nil},
		{"name of loopback", "evil.example", []string{"127.0.0.1"}},
		{"good first", "evil.example", []string{"192.0.2.1", "127.0.0.1"}},
		{"bad first", "evil.example", []string{"::1", "192.0.2.1"}},
		{"bad beyond what is dialled", "evil.example", []string{
			"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8", "192.0.2.9",
			"169.254.169.254"}},
		{"mapped loopback", "evil.example", []string{"::ffff:127.0.0.1"}},
		{"embedded metadata", "evil.example", []string{"64:ff9b::a9fe:a9fe"}},
		{"zoned answer", "evil.example", []string{"fd00::1%eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dialling network
			p := Prober{Resolver: &answers{list: [][]string{c.answer}}, dial: dialling.dial}

			var refused *RefusedError
			if err := p.Check(t.Context(), dnsName(c.host)); !errors.As(err, &refused) {
				t.Errorf("check: got %v, want it refused", err)
			}
			attempts, err := run(t.Context(), &p, dnsName(c.host), Plan{Count: 3, TimeoutSeconds: 1})
			mustResult(t, attempts, err, Forbidden)
			dialling.mustHaveDialled(t)
			if attempts[0].Address != "" || !strings.Contains(attempts[0].Error, "must not be probed") {
				t.Errorf("got %+v, want no address and why", attempts[0])
			}
		})
	}
}

// A name that is changed between two attempts, or between Check and Run, is judged by
// what it is then (DNS rebinding).
func TestRunRebinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialling network
		p := Prober{Resolver: &answers{list: [][]string{{"192.0.2.1"}, {"192.0.2.1"}, {"127.0.0.1"}}}, dial: dialling.dial}
		if err := p.Check(t.Context(), dnsName("evil.example")); err != nil {
			t.Fatalf("check: %v", err)
		}
		attempts, err := run(t.Context(), &p, dnsName("evil.example"), Plan{Count: 5, TimeoutSeconds: 1})
		mustResult(t, attempts, err, Connected, Forbidden)
		dialling.mustHaveDialled(t, "192.0.2.1:443")
	})
}

func TestRunLookup(t *testing.T) {
	t.Run("fully qualified", func(t *testing.T) {
		for host, want := range map[string]string{"db": "ip db.", "db.example": "ip db.example.", "db.example.": "ip db.example."} {
			resolver := &answers{list: [][]string{{"192.0.2.1"}}}
			p := Prober{Resolver: resolver, dial: new(network).dial}
			attempts, err := run(t.Context(), &p, dnsName(host), Plan{Count: 1, TimeoutSeconds: 1})
			mustResult(t, attempts, err, Connected)
			if !slices.Equal(resolver.asked, []string{want}) {
				t.Errorf("%s: asked for %q, want %q", host, resolver.asked, want)
			}
		}
	})
	t.Run("not for an address", func(t *testing.T) {
		resolver := &answers{list: [][]string{{"192.0.2.1"}}}
		var dialling network
		p := Prober{Resolver: resolver, dial: dialling.dial}
		attempts, err := run(t.Context(), &p, dnsName("2001:db8::1"), Plan{Count: 1, TimeoutSeconds: 1})
		mustResult(t, attempts, err, Connected)
		dialling.mustHaveDialled(t, "[2001:db8::1]:443")
		if len(resolver.asked) > 0 {
			t.Errorf("asked for %q", resolver.asked)
		}
	})
	t.Run("IPv4 as net.Resolver gives it from a file", func(t *testing.T) {
		var dialling network
		p := Prober{Resolver: &answers{list: [][]string{{"::ffff:192.0.2.1"}}}, dial: dialling.dial}
		attempts, err := run(t.Context(), &p, dnsName("db.example"), Plan{Count: 1, TimeoutSeconds: 1})
		mustResult(t, attempts, err, Connected)
		dialling.mustHaveDialled(t, "192.0.2.1:443")
	})
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no such host", &net.DNSError{Err: "no such host", Name: "db.", Server: "10.96.0.10:53", IsNotFound: true}, "in full"},
		{"empty answer", nil, "in full"},
		{"server failure", &net.DNSError{Err: "server misbehaving", Name: "db.", Server: "10.96.0.10:53", IsTemporary: true}, "no proper answer"},
		{"timeout", &net.DNSError{Err: "i/o timeout", Name: "db.", Server: "10.96.0.10:53", IsTimeout: true}, "in time"},
		{"other", errors.New("read udp 10.0.0.5:4711->10.96.0.10:53: connection refused"), "no proper answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var dialling network
				p := Prober{Resolver: &answers{list: [][]string{nil}, err: c.err}, dial: dialling.dial}
				if err := p.Check(t.Context(), dnsName("db")); err != nil {
					t.Errorf("check: %v", err)
				}
				attempts, err := run(t.Context(), &p, dnsName("db"), Plan{Count: 2, TimeoutSeconds: 1})
				mustResult(t, attempts, err, Unresolved, Unresolved)
				dialling.mustHaveDialled(t)
				for _, a := range attempts {
					if a.Address != "" || !strings.Contains(a.Error, c.want) || !strings.Contains(a.Error, `"db"`) {
						t.Errorf("got %+v, want no address and an error that has %q", a, c.want)
					}
					if strings.Contains(a.Error, "10.96.0.10") {
						t.Errorf("%q names the name server", a.Error)
					}
				}
			})
		})
	}
	t.Run("no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := Prober{Resolver: silent{}, dial: new(network).dial}
			start := time.Now()
			if err := p.Check(t.Context(), dnsName("db.example")); err != nil {
				t.Errorf("check: %v", err)
			}
			if took := time.Since(start); took != checkTimeout {
				t.Errorf("check took %s, want %s", took, checkTimeout)
			}
			attempts, err := run(t.Context(), &p, dnsName("db.example"), Plan{Count: 1, TimeoutSeconds: 3})
			mustResult(t, attempts, err, Unresolved)
			if attempts[0].Seconds != 3 {
				t.Errorf("the attempt took %v s, want 3", attempts[0].Seconds)
			}
		})
	})
}

func TestRunDials(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	unreachable := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	timedOut := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}
	three := []string{"192.0.2.1", "2001:db8::2", "192.0.2.3"}
	for _, c := range []struct {
		name    string
		answer  []string
		fails   map[string]error
		dialled []string
		want    Attempt
	}{
		{
			name: "first connects", answer: three, dialled: []string{"192.0.2.1:443"},
			want: Attempt{Result: Connected, Address: "192.0.2.1:443"},
		},
		{
			name: "second connects", answer: three, fails: map[string]error{"192.0.2.1:443": refused},
			dialled: []string{"192.0.2.1:443", "[2001:db8::2]:443"},
			want:    Attempt{Result: Connected, Address: "[2001:db8::2]:443"},
		},
		{
			name: "none connects", answer: three,
			fails:   map[string]error{"192.0.2.1:443": refused, "[2001:db8::2]:443": unreachable, "192.0.2.3:443": errBlackHole},
			dialled: []string{"192.0.2.1:443", "[2001:db8::2]:443", "192.0.2.3:443"},
			want:    Attempt{Result: Refused, Address: "192.0.2.1:443", Seconds: 6, Error: refused.Error()},
		},
		{
			name: "one that does not answer leaves time for the others", answer: three,
			fails:   map[string]error{"192.0.2.1:443": errBlackHole, "[2001:db8::2]:443": errBlackHole},
			dialled: []string{"192.0.2.1:443", "[2001:db8::2]:443", "192.0.2.3:443"},
			want:    Attempt{Result: Connected, Address: "192.0.2.3:443", Seconds: 4},
		},
		{
			name: "no answer", answer: three[:1], fails: map[string]error{"192.0.2.1:443": errBlackHole},
			dialled: []string{"192.0.2.1:443"},
			want:    Attempt{Result: Timeout, Address: "192.0.2.1:443", Seconds: 6, Error: context.DeadlineExceeded.Error()},
		},
		{
			name: "timeout of the system", answer: three[:1], fails: map[string]error{"192.0.2.1:443": timedOut},
			dialled: []string{"192.0.2.1:443"},
			want:    Attempt{Result: Timeout, Address: "192.0.2.1:443", Error: timedOut.Error()},
		},
		{
			name: "no route", answer: three[:1], fails: map[string]error{"192.0.2.1:443": unreachable},
			dialled: []string{"192.0.2.1:443"},
			want:    Attempt{Result: Failed, Address: "192.0.2.1:443", Error: unreachable.Error()},
		},
		{
			name: "refused by the second judgement", answer: three,
			fails:   map[string]error{"192.0.2.1:443": &net.OpError{Op: "dial", Net: "tcp", Err: Rules{}.Check(netip.IPv6Loopback())}},
			dialled: []string{"192.0.2.1:443"},
			want:    Attempt{Result: Forbidden, Error: "dial tcp: address ::1 must not be probed: loopback"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialling := network{fails: c.fails}
				p := Prober{Resolver: &answers{list: [][]string{c.answer}}, dial: dialling.dial}
				c.want.Attempt, c.want.Time = 1, time.Now().UTC()
				attempts, err := run(t.Context(), &p, dnsName("db.example"), Plan{Count: 1, TimeoutSeconds: 6})
				mustResult(t, attempts, err, c.want.Result)
				dialling.mustHaveDialled(t, c.dialled...)
				if !reflect.DeepEqual(attempts[0], c.want) {
					t.Errorf("got %+v, want %+v", attempts[0], c.want)
				}
			})
		})
	}
}

// A name with many addresses does not make an attempt a scan.
func TestRunManyAddresses(t *testing.T) {
	dialling := network{fails: map[string]error{}}
	var answer []string
	for addr := netip.MustParseAddr("10.0.0.1"); len(answer) < 100; addr = addr.Next() {
		answer = append(answer, addr.String())
		dialling.fails[netip.AddrPortFrom(addr, 443).String()] = syscall.ECONNREFUSED
	}
	p := Prober{Resolver: &answers{list: [][]string{answer}}, dial: dialling.dial}
	attempts, err := run(t.Context(), &p, dnsName("many.example"), Plan{Count: 1, TimeoutSeconds: 1})
	mustResult(t, attempts, err, Refused)
	if len(dialling.dialled) != maxDials {
		t.Errorf("dialled %d addresses, want %d", len(dialling.dialled), maxDials)
	}
}

func TestRunPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Prober{dial: new(network).dial}
		start := time.Now()
		attempts, err := run(t.Context(), &p, dnsName("192.0.2.1"), Plan{Count: 3, IntervalSeconds: 10, TimeoutSeconds: 1})
		mustResult(t, attempts, err, Connected, Connected, Connected)
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %s, want two pauses of 10 s", took)
		}
		for i, a := range attempts {
			if a.Attempt != i+1 || !a.Time.Equal(start.Add(time.Duration(i)*10*time.Second)) {
				t.Errorf("attempt %d: got number %d at %s", i+1, a.Attempt, a.Time.Sub(start))
			}
		}
	})
}

// However much goes wrong, it takes no longer than the plan says.
func TestRunWorstCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Prober{
			Resolver: &answers{list: [][]string{{"192.0.2.1", "192.0.2.2", "192.0.2.3"}}},
			dial: (&network{fails: map[string]error{
				"192.0.2.1:443": errBlackHole, "192.0.2.2:443": errBlackHole, "192.0.2.3:443": errBlackHole}}).dial,
		}
		start := time.Now()
		attempts, err := run(t.Context(), &p, dnsName("db.example"), Plan{Count: 3, IntervalSeconds: 10, TimeoutSeconds: 10})
		mustResult(t, attempts, err, Timeout, Timeout, Timeout)
		if took := time.Since(start); took != MaxTotal {
			t.Errorf("took %s, want %s", took, MaxTotal)
		}
	})
}

func TestRunContextEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		after   time.Duration
		resolve Resolver
		fails   map[string]error
		want    []string
	}{
		{name: "in the middle of an interval", after: 4 * time.Second, want: []string{Connected}},
		{name: "in the middle of a later interval", after: 14 * time.Second, want: []string{Connected, Connected}},
		{name: "while dialling", after: time.Second, fails: map[string]error{"192.0.2.1:443": errBlackHole}},
		{name: "while looking up", after: time.Second, resolve: silent{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.resolve == nil {
					c.resolve = &answers{list: [][]string{{"192.0.2.1"}}}
				}
				p := Prober{Resolver: c.resolve, dial: (&network{fails: c.fails}).dial}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(c.after, cancel)
				start := time.Now()
				attempts, err := run(ctx, &p, dnsName("db.example"), Plan{Count: 3, IntervalSeconds: 10, TimeoutSeconds: 10})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want the context's error", err)
				}
				if took := time.Since(start); took != c.after {
					t.Errorf("took %s, want %s", took, c.after)
				}
				if got := results(attempts); !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var dialling network
		p := Prober{dial: dialling.dial}
		if attempts, err := run(ctx, &p, dnsName("192.0.2.1"), Plan{Count: 1, TimeoutSeconds: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v and %v, want the context's error", attempts, err)
		}
		dialling.mustHaveDialled(t)
		p.Resolver = silent{}
		if err := p.Check(ctx, dnsName("db.example")); !errors.Is(err, context.Canceled) {
			t.Errorf("check: got %v, want the context's error", err)
		}
	})
}

func TestRunReportFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialling network
		p := Prober{dial: dialling.dial}
		gone := errors.New("the client is gone")
		reports := 0
		err := p.Run(t.Context(), dnsName("192.0.2.1"), Plan{Count: 5, TimeoutSeconds: 1}, func(Attempt) error {
			if reports++; reports == 2 {
				return gone
			}
			return nil
		})
		if !errors.Is(err, gone) || reports != 2 {
			t.Errorf("got %v after %d reports, want %v after 2", err, reports, gone)
		}
		dialling.mustHaveDialled(t, "192.0.2.1:443", "192.0.2.1:443")
	})
}

func TestRunBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		p := Prober{dial: func(context.Context, netip.AddrPort) error { <-free; return nil }}
		plan := Plan{Count: 1, TimeoutSeconds: 1}
		ended := make(chan error)
		for range MaxRunning {
			go func() {
				_, err := run(t.Context(), &p, dnsName("192.0.2.1"), plan)
				ended <- err
			}()
		}
		synctest.Wait()
		for range 2 {
			if attempts, err := run(t.Context(), &p, dnsName("192.0.2.1"), plan); !errors.Is(err, ErrBusy) || len(attempts) > 0 {
				t.Errorf("with %d others: got %v and %v, want ErrBusy", MaxRunning, attempts, err)
			}
		}
		close(free)
		for range MaxRunning {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		attempts, err := run(t.Context(), &p, dnsName("192.0.2.1"), plan)
		mustResult(t, attempts, err, Connected)
	})
}

func TestRunRefusesItsArguments(t *testing.T) {
	good := Plan{Count: 1, TimeoutSeconds: 1}
	for _, c := range []struct {
		name   string
		target Target
		plan   Plan
		want   string
	}{
		{"no host", Target{Port: 443}, good, "no host"},
		{"no port", Target{Host: "192.0.2.1"}, good, "no port"},
		{"plan", dnsName("192.0.2.1"), Plan{Count: 31, TimeoutSeconds: 1}, "count: Invalid value: 31"},
		{"zero plan", dnsName("192.0.2.1"), Plan{}, "timeoutSeconds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resolver := &answers{list: [][]string{{"192.0.2.1"}}}
			var dialling network
			p := Prober{Resolver: resolver, dial: dialling.dial}
			attempts, err := run(t.Context(), &p, c.target, c.plan)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(attempts) > 0 {
				t.Errorf("got %v and %v, want an error that has %q", attempts, err, c.want)
			}
			if c.plan == good && p.Check(t.Context(), c.target) == nil {
				t.Error("check lets it through")
			}
			dialling.mustHaveDialled(t)
			if len(resolver.asked) > 0 {
				t.Errorf("asked for %q", resolver.asked)
			}
		})
	}
}

func loopback(t *testing.T) (net.Listener, Target) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	addr := netip.MustParseAddrPort(listener.Addr().String())
	return listener, Target{Host: addr.Addr().String(), Port: addr.Port()}
}

func TestRunLoopback(t *testing.T) {
	listener, target := loopback(t)
	allow, err := ParseAllow([]string{"127.0.0.1/32"})
	if err != nil {
		t.Fatal(err)
	}
	p := Prober{Rules: Rules{Allow: allow}}
	if err := p.Check(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	attempts, err := run(t.Context(), &p, target, NewPlan(nil, nil, nil))
	mustResult(t, attempts, err, Connected)
	if a := attempts[0]; a.Address != listener.Addr().String() || a.Error != "" {
		t.Errorf("got %+v", a)
	}

	// It is closed at once, and nothing was sent.
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
		t.Errorf("the listener read %q and %v, want the end", got, err)
	}

	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	attempts, err = run(t.Context(), &p, target, NewPlan(nil, nil, nil))
	mustResult(t, attempts, err, Refused)
	if a := attempts[0]; a.Address != listener.Addr().String() || !strings.Contains(a.Error, "connection refused") {
		t.Errorf("got %+v", a)
	}
}

// The socket itself refuses what should have been judged before.
func TestDialTCPJudgesOnceMore(t *testing.T) {
	listener, target := loopback(t)
	addr := netip.AddrPortFrom(netip.MustParseAddr(target.Host), target.Port)
	for _, a := range []netip.AddrPort{addr, netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())} {
		var refused *RefusedError
		if err := new(Prober).dialTCP(t.Context(), a); !errors.As(err, &refused) || refused.Reason != "loopback" {
			t.Errorf("%s: got %v, want it refused", a, err)
		}
	}

	// The first connection that arrives is the test's own: there was none before it.
	own, err := net.Dial("tcp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(own, "own"); err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); string(got) != "own" || err != nil {
		t.Errorf("the first connection brought %q and %v: a forbidden one was made", got, err)
	}
}

func TestAttemptJSON(t *testing.T) {
	began := time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.UTC)
	for _, c := range []struct {
		attempt Attempt
		want    string
	}{
		{
			Attempt{Attempt: 1, Time: began, Address: "[2001:db8::1]:443", Result: Connected, Seconds: 0.00125},
			`{"attempt":1,"time":"2026-05-04T03:02:01.123456789Z","address":"[2001:db8::1]:443","result":"connected","seconds":0.00125}`,
		},
		{
			Attempt{Attempt: 2, Time: began, Result: Forbidden, Error: "why"},
			`{"attempt":2,"time":"2026-05-04T03:02:01.123456789Z","result":"forbidden","seconds":0,"error":"why"}`,
		},
	} {
		got, err := json.Marshal(c.attempt)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
