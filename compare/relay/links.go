package relay

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The links between the programs of a comparison.
const (
	// Client is that of the client to the kube-apiserver.
	Client = "client-apiserver"
	// Server is that of the kube-apiserver to an aggregated server.
	Server = "apiserver-server"
	// Reviews is that of an aggregated server to the kube-apiserver: TokenReviews and
	// SubjectAccessReviews, and its informers.
	Reviews = "server-apiserver"
	// Webhook is that of the kube-apiserver to the webhooks of the CRD.
	Webhook = "apiserver-webhook"
	// Etcd are those of the kube-apiserver and of the aggregated servers to etcd.
	Etcd = "to-etcd"
)

// Names are the names of all links.
var Names = []string{Client, Server, Reviews, Webhook, Etcd}

// Links are the relays on the links of a testbed: one or more on each.
type Links struct {
	// Only are the links that get relays; nil means all. A relay costs time even if it
	// delays nothing.
	Only []string

	mu     sync.Mutex
	relays map[string][]*Relay
}

// Through puts a relay on a link to address, host:port, and returns the address by which
// it is reached from now on: the same, if the link gets none. The relay listens on the
// address bind of this host.
func (l *Links) Through(link, bind, address string) (string, error) {
	if l.Only != nil && !slices.Contains(l.Only, link) {
		return address, nil
	}
	r, err := New(bind, address)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.relays == nil {
		l.relays = map[string][]*Relay{}
	}
	l.relays[link] = append(l.relays[link], r)
	return r.Address(), nil
}

// Delay sets by how much later a round trip over a link ends, in steps of [Resolution].
// It is an error if nothing is on the link.
func (l *Links) Delay(link string, d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.relays[link]) == 0 {
		return fmt.Errorf("nothing crosses the link %s", link)
	}
	for _, r := range l.relays[link] {
		if err := r.Delay(d); err != nil {
			return err
		}
	}
	return nil
}

// Crossed are the names of the links that have relays.
func (l *Links) Crossed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(Names), func(link string) bool { return len(l.relays[link]) == 0 })
}

// Close ends the relays.
func (l *Links) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, relays := range l.relays {
		for _, r := range relays {
			r.Close()
		}
	}
	l.relays = nil
}

// ParseDelays reads delays on links, each link=delay as in apiserver-server=5ms.
func ParseDelays(texts []string) (map[string]time.Duration, error) {
	delays := map[string]time.Duration{}
	for _, text := range texts {
		link, delay, _ := strings.Cut(text, "=")
		if _, ok := delays[link]; ok {
			return nil, fmt.Errorf("the link %s has two delays: give one", link)
		}
		if !slices.Contains(Names, link) {
			return nil, fmt.Errorf("there is no link %q: use one of %s, as in %s=5ms", link, strings.Join(Names, ", "), Server)
		}
		d, err := time.ParseDuration(delay)
		if err != nil || d <= 0 || d%Resolution != 0 {
			return nil, fmt.Errorf("%q is no delay: give whole milliseconds, as in %s=5ms", text, link)
		}
		delays[link] = d
	}
	return delays, nil
}
