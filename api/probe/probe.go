// Package probe dials an endpoint from where it runs and says what came
// of it: what GET portrules/<name>/probe answers.
//
// Whoever may create a PortRule chooses the host, and the server dials from inside
// the cluster. That is server-side request forgery (SSRF) by design, so the limits
// are the point of this package:
//
//   - [Rules] (address.go) refuse the addresses that no endpoint of a rule needs.
//     They judge addresses, never names: a name can point anywhere, and elsewhere a
//     moment later (DNS rebinding).
//   - [Prober] (this file) resolves a name anew for each attempt, judges every address
//     it has, and dials the very addresses that were judged.
//   - [Plan] (plan.go) bounds how often and how long.
//
// Nothing is sent and nothing is read: a probe says whether a TCP connection can be
// made. Who may ask is a matter of RBAC, and not decided here.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Target is what is probed.
type Target struct {
	// Host is an IP address or a DNS name. A name is looked up as fully qualified,
	// with or without a dot at its end: the search domains of the server's resolv.conf
	// are left out, or "db" would be a Service in the server's own namespace and
	// "metadata" whatever has that name there. For the same reason names without a dot
	// are not found in the server's /etc/hosts. What keeps a name from leading to a
	// forbidden place are the [Rules], not this.
	Host string
	Port uint16
}

// What came of an attempt.
const (
	// Connected: an address accepted the connection, which was closed at once.
	Connected = "connected"
	// Refused: the host answered that nothing listens on the port.
	Refused = "refused"
	// Timeout: no answer in time.
	Timeout = "timeout"
	// Unresolved: the name has no address, or the name server gave no proper answer, or
	// none in time.
	Unresolved = "unresolved"
	// Forbidden: the [Rules] refuse an address of the host. It is the last attempt.
	Forbidden = "forbidden"
	// Failed: anything else, such as no route to the host.
	Failed = "failed"
)

// Attempt is what came of dialling once: one line of the answer.
type Attempt struct {
	// Attempt counts from 1.
	Attempt int `json:"attempt"`
	// Time is when it began.
	Time time.Time `json:"time"`
	// Address is the IP address and port that were dialled: the one that connected, or
	// the first if none did. Empty if nothing was dialled.
	Address string `json:"address,omitempty"`
	// Result is one of the constants above.
	Result string `json:"result"`
	// Seconds is how long it took, the look-up of the name included.
	Seconds float64 `json:"seconds"`
	// Error is why it did not connect.
	Error string `json:"error,omitempty"`
}

// ErrBusy says that [MaxRunning] probes are under way. Nothing was reported yet: who
// begins the answer with the first report can still make it a 429.
var ErrBusy = errors.New("too many probes are under way: try again in a few seconds")

// Resolver looks up the addresses of a name. [*net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Prober probes targets. The zero value is ready to use, by many at once. It must not
// be copied once used.
type Prober struct {
	Rules Rules
	// Resolver is [net.DefaultResolver] if nil.
	Resolver Resolver

	// dial is [Prober.dialTCP] if nil.
	dial    func(context.Context, netip.AddrPort) error
	running atomic.Int64
}

const (
	// checkTimeout bounds the look-up of [Prober.Check]: see [MaxTotal].
	checkTimeout = 5 * time.Second
	// maxDials bounds the addresses that one attempt dials. A name may have hundreds,
	// and an attempt is no port scan.
	maxDials = 8
)

// Check says whether a target may be probed, before an answer has begun: the error is
// a [*RefusedError] if an address of it is refused. A name that cannot be resolved is
// no error, since the attempts will say so. [Prober.Run] does not rely on it: a name
// may point elsewhere by then.
func (p *Prober) Check(ctx context.Context, target Target) error {
	if err := target.validate(); err != nil {
		return err
	}
	lookup, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, err := p.resolve(lookup, target.Host)
	var unresolved *lookupError
	if errors.As(err, &unresolved) {
		return ctx.Err()
	}
	return err
}

// Run makes the attempts of a plan, one after another, and reports each when it is
// over. It ends early after an attempt that was [Forbidden], with the error of report,
// or with the context's error, in which case an attempt that was under way is not
// reported. The error is [ErrBusy] if there are too many others, and the plan's if
// [Plan.Validate] finds any.
func (p *Prober) Run(ctx context.Context, target Target, plan Plan, report func(Attempt) error) error {
	if err := target.validate(); err != nil {
		return err
	}
	if errs := plan.Validate(); len(errs) > 0 {
		return fmt.Errorf("plan of a probe: %w", errs.ToAggregate())
	}
	defer p.running.Add(-1)
	if p.running.Add(1) > MaxRunning {
		return ErrBusy
	}

	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		attempt := p.attempt(ctx, target, plan.timeout())
		if err := ctx.Err(); err != nil {
			return err // which is what the attempt failed of
		}
		attempt.Attempt = n
		if err := report(attempt); err != nil {
			return err
		}
		if attempt.Result == Forbidden || n == int(plan.Count) {
			return nil
		}
		pause := time.NewTimer(plan.interval())
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

func (t Target) validate() error {
	switch {
	case t.Host == "":
		return errors.New("target of a probe has no host")
	case t.Port == 0:
		return errors.New("target of a probe has no port")
	}
	return nil
}

func (p *Prober) attempt(ctx context.Context, target Target, timeout time.Duration) Attempt {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addr, err := p.connect(ctx, target)

	attempt := Attempt{
		Time:    start.UTC(),
		Result:  result(err),
		Seconds: time.Since(start).Round(time.Microsecond).Seconds(),
	}
	if addr.IsValid() {
		attempt.Address = addr.String()
	}
	if err != nil {
		attempt.Error = err.Error()
	}
	return attempt
}

// connect returns the address that was dialled, which is invalid if none was.
func (p *Prober) connect(ctx context.Context, target Target) (netip.AddrPort, error) {
	addrs, err := p.resolve(ctx, target.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs = addrs[:min(len(addrs), maxDials)]

	var first netip.AddrPort
	var firstErr error
	for i, addr := range addrs {
		dialled := netip.AddrPortFrom(addr, target.Port)
		err := p.dialOne(ctx, dialled, len(addrs)-i)
		var refused *RefusedError
		switch {
		case err == nil:
			return dialled, nil
		case errors.As(err, &refused):
			return netip.AddrPort{}, err
		case i == 0:
			first, firstErr = dialled, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first, firstErr
}

// dialOne gives the address its share of the time that is left for so many: one that
// does not answer must not keep the others from being dialled.
func (p *Prober) dialOne(ctx context.Context, addr netip.AddrPort, left int) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	if p.dial != nil {
		return p.dial(ctx, addr)
	}
	return p.dialTCP(ctx, addr)
}

// dialTCP connects and closes. The address was judged before: that it is judged again
// when the socket is about to connect is for the day when somebody changes what lies
// between.
func (p *Prober) dialTCP(ctx context.Context, addr netip.AddrPort) error {
	dialer := net.Dialer{
		KeepAlive: -1, // it does not live
		Control: func(_, address string, _ syscall.RawConn) error {
			actual, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("judge the address once more: %w", err)
			}
			return p.Rules.Check(actual.Addr())
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	// Whatever closing says, there was a connection.
	_ = conn.Close()
	return nil
}

// lookupError says that a host has no address to judge.
type lookupError struct {
	host, reason string
}

func (e *lookupError) Error() string {
	return fmt.Sprintf("look up %q: %s", e.host, e.reason)
}

// resolve returns the addresses of a host, at least one, if all of them may be
// dialled. One that must not spoils the others: a name that points at a forbidden
// place, if only in part, is not to be trusted. The error is a [*RefusedError] then,
// and a [*lookupError] if there are none.
func (p *Prober) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, p.Rules.Check(addr)
	}
	addrs, err := p.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if err := p.Rules.Check(addr); err != nil {
			return nil, fmt.Errorf("host %q: %w", host, err)
		}
	}
	return addrs, nil
}

func (p *Prober) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	var resolver Resolver = net.DefaultResolver
	if p.Resolver != nil {
		resolver = p.Resolver
	}
	answer, err := resolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+".")
	if err != nil {
		return nil, &lookupError{host: host, reason: reason(err)}
	}
	if len(answer) == 0 {
		return nil, &lookupError{host: host, reason: noAddress}
	}
	addrs := make([]netip.Addr, len(answer))
	for i, addr := range answer {
		// net.Resolver gives an IPv4 address of /etc/hosts as an IPv4-mapped one. An AAAA
		// record of that kind cannot be told from it, and means the same to the system:
		// both are judged and dialled as IPv4.
		addrs[i] = addr.Unmap()
	}
	return addrs, nil
}

const noAddress = "no address; names are looked up without the search domains of resolv.conf: " +
	"write a Service's in full, such as db.shop.svc.cluster.local"

// reason says why a look-up failed. The resolver's own text would name the server's
// address and its name server's, which are none of the user's business.
func reason(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return noAddress
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer from the name server in time"
	}
	return "the name server gave no proper answer"
}

func result(err error) string {
	var unresolved *lookupError
	var refused *RefusedError
	var timeout net.Error
	switch {
	case err == nil:
		return Connected
	case errors.As(err, &unresolved):
		return Unresolved
	case errors.As(err, &refused):
		return Forbidden
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return Failed
}
