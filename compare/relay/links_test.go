package relay

import (
	"maps"
	"strings"
	"testing"
	"time"
)

func TestLinks(t *testing.T) {
	var links Links
	t.Cleanup(links.Close)
	if err := links.Delay(Server, time.Millisecond); err == nil || !strings.Contains(err.Error(), "nothing crosses the link apiserver-server") {
		t.Errorf("the delay of a link without a relay: got %v", err)
	}
	first, second, other := listen(t), listen(t), listen(t)
	through := func(link, to string) string {
		address, err := links.Through(link, "127.0.0.1", to)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	firstClient, firstServer := connect(t, through(Server, first.Addr().String()), first)
	secondClient, secondServer := connect(t, through(Server, second.Addr().String()), second)
	otherClient, otherServer := connect(t, through(Etcd, other.Addr().String()), other)

	const delay = 30 * time.Millisecond
	if err := links.Delay(Server, delay); err != nil {
		t.Fatal(err)
	}
	// on all relays of the link, and on no others: those would wait for longer than any test
	if err := links.Delay(Etcd, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if taken := passes(t, firstClient, firstServer, []byte("there")) + passes(t, firstServer, firstClient, []byte("back")); taken < delay {
		t.Errorf("a round trip over the first relay took %s, want %s at least", taken, delay)
	}
	if taken := passes(t, secondClient, secondServer, []byte("there")) + passes(t, secondServer, secondClient, []byte("back")); taken < delay {
		t.Errorf("a round trip over the second relay took %s, want %s at least", taken, delay)
	}
	if err := links.Delay(Etcd, 0); err != nil {
		t.Fatal(err)
	}
	passes(t, otherClient, otherServer, []byte("there"))

	if err := links.Delay(Server, 1500*time.Microsecond); err == nil {
		t.Error("a delay of half a millisecond was set")
	}
	if err := links.Delay("client-etcd", time.Millisecond); err == nil || !strings.Contains(err.Error(), "client-etcd") {
		t.Errorf("the delay of a link that does not exist: got %v", err)
	}
	links.Close()
	if n, err := firstClient.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes of a connection that has ended", n)
	}
	if err := links.Delay(Server, time.Millisecond); err == nil {
		t.Error("the delay of a link whose relays have ended was set")
	}
}

func TestParseDelays(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  map[string]time.Duration
		err   string
	}{
		{texts: nil, want: map[string]time.Duration{}},
		{texts: []string{"apiserver-server=5ms"}, want: map[string]time.Duration{Server: 5 * time.Millisecond}},
		{
			texts: []string{"to-etcd=1ms", "client-apiserver=2s", "server-apiserver=3ms", "apiserver-webhook=1s1ms"},
			want:  map[string]time.Duration{Etcd: time.Millisecond, Client: 2 * time.Second, Reviews: 3 * time.Millisecond, Webhook: 1001 * time.Millisecond},
		},
		{texts: []string{"foo=5ms"}, err: `there is no link "foo": use one of client-apiserver, apiserver-server`},
		{texts: []string{""}, err: `there is no link ""`},
		{texts: []string{"=5ms"}, err: `there is no link ""`},
		{texts: []string{"TO-ETCD=5ms"}, err: `there is no link "TO-ETCD"`},
		{texts: []string{"to-etcd"}, err: `"to-etcd" is no delay: give whole milliseconds, as in to-etcd=5ms`},
		{texts: []string{"to-etcd="}, err: `"to-etcd=" is no delay`},
		{texts: []string{"to-etcd=5"}, err: `"to-etcd=5" is no delay`},
		{texts: []string{"to-etcd=0"}, err: `"to-etcd=0" is no delay`},
		{texts: []string{"to-etcd=0ms"}, err: `"to-etcd=0ms" is no delay`},
		{texts: []string{"to-etcd=-5ms"}, err: `"to-etcd=-5ms" is no delay`},
		{texts: []string{"to-etcd=1.5ms"}, err: `"to-etcd=1.5ms" is no delay`},
		{texts: []string{"to-etcd=100us"}, err: `"to-etcd=100us" is no delay`},
		{texts: []string{"to-etcd=5ms=5ms"}, err: `"to-etcd=5ms=5ms" is no delay`},
		{texts: []string{"to-etcd=5ms", "foo=5ms"}, err: `there is no link "foo"`},
	} {
		t.Run(strings.Join(c.texts, ","), func(t *testing.T) {
			got, err := ParseDelays(c.texts)
			switch {
			case c.err == "" && (err != nil || !maps.Equal(got, c.want)):
				t.Errorf("got %v (%v), want %v", got, err, c.want)
			case c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)):
				t.Errorf("got %v (%v), want the error %s", got, err, c.err)
			}
		})
	}
}
