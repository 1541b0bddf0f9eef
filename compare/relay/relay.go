// Package relay puts delays on the links between the programs of a comparison.
//
// A [Relay] listens on an address of this host and hands the bytes of each connection
// on to another, in each direction half of the delay later. It knows nothing of what it
// hands on: TLS goes through, and is verified by who verifies it without the relay.
//
// [Links] are the relays of a testbed, by the name of the link, of which [Names] has
// all. A testbed asks [Links.Through] for the way to each program, before it tells
// anybody the address; whoever measures calls [Links.Delay] between requests. A link
// without a relay costs nothing, and cannot be delayed.
//
// What the delays are for is in bench/slope.go: the latency of a request over the delay
// of a link is a line, and its slope is how often the request crosses the link while
// somebody waits. Read relay.go first, then links.go.
package relay

import (
	"fmt"
	"net"
	"strings"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/rs/zerolog"
)

// Resolution is the step in which delays can be set: toxiproxy counts milliseconds.
const Resolution = time.Millisecond

// Relay is one address that leads to another.
type Relay struct{ proxy *toxiproxy.Proxy }

// New makes a relay to the address upstream, host:port, that listens on a free port of
// the address bind.
func New(bind, upstream string) (*Relay, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, upstream, net.JoinHostPort(bind, "0"), upstream)
	if err := proxy.Start(); err != nil {
		return nil, fmt.Errorf("start a relay to %s: %w", upstream, err)
	}
	for _, direction := range directions {
		toxic := fmt.Sprintf(`{"name": %q, "type": "latency", "stream": %q, "attributes": {"latency": 0}}`, direction, direction)
		if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			proxy.Stop()
			return nil, fmt.Errorf("delay the %s of a relay: %w", direction, err)
		}
	}
	return &Relay{proxy}, nil
}

var directions = []string{stream.Upstream.String(), stream.Downstream.String()}

// Address is the host:port that the relay listens on.
func (r *Relay) Address() string { return r.proxy.Listen }

// Delay sets by how much later a round trip over the relay ends, in steps of [Resolution].
// It holds for connections that are open too.
func (r *Relay) Delay(d time.Duration) error {
	if d < 0 || d%Resolution != 0 {
		return fmt.Errorf("a delay of %s: it must be a multiple of %s", d, Resolution)
	}
	there := (d / 2).Truncate(Resolution)
	for i, part := range []time.Duration{there, d - there} {
		direction, attributes := directions[i], fmt.Sprintf(`{"attributes": {"latency": %d}}`, part.Milliseconds())
		if _, err := r.proxy.Toxics.UpdateToxicJson(direction, strings.NewReader(attributes)); err != nil {
			return fmt.Errorf("delay the %s of a relay: %w", direction, err)
		}
	}
	return nil
}

// Close ends the relay and its connections.
func (r *Relay) Close() { r.proxy.Stop() }
