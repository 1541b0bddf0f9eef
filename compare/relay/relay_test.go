package relay

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// listen returns a listener on a free port of this host.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect returns both ends of a connection to address, which leads to l.
func connect(t *testing.T, address string, l net.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

// relayed returns a relay and both ends of a connection over it.
func relayed(t *testing.T) (r *Relay, client, server net.Conn) {
	t.Helper()
	l := listen(t)
	r, err := New("127.0.0.1", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	client, server = connect(t, r.Address(), l)
	return r, client, server
}

// passes sends data from one end to the other and returns how long it was under way.
func passes(t *testing.T, from, to net.Conn, data []byte) time.Duration {
	t.Helper()
	begin := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		sent <- err
	}()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	taken := time.Since(begin)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("what arrived is not what was sent")
	}
	return taken
}

func TestBothWays(t *testing.T) {
	_, client, server := relayed(t)
	data := make([]byte, 1<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	passes(t, client, server, data)
	passes(t, server, client, data)
	passes(t, client, server, []byte{1})
	// the end of one direction arrives, and the other still works
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes (%v), want the end", n, err)
	}
}

// Half of a delay is there and half back; the odd millisecond is on the way back.
func TestDelay(t *testing.T) {
	for _, c := range []struct{ delay, there, back time.Duration }{
		{0, 0, 0},
		{time.Millisecond, 0, time.Millisecond},
		{40 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond},
		{41 * time.Millisecond, 20 * time.Millisecond, 21 * time.Millisecond},
	} {
		t.Run(c.delay.String(), func(t *testing.T) {
			r, client, server := relayed(t)
			if err := r.Delay(c.delay); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				there := passes(t, client, server, []byte("request"))
				back := passes(t, server, client, []byte("answer"))
				if there < c.there || back < c.back {
					t.Errorf("it took %s there and %s back, want %s and %s at least", there, back, c.there, c.back)
				}
			}
		})
	}
}

// A delay holds for connections that are open, and can be changed and taken away. What
// waits for longer than any test is what shows that it was.
func TestDelayOfOpenConnection(t *testing.T) {
	r, client, server := relayed(t)
	passes(t, client, server, []byte("opened"))
	for _, delay := range []time.Duration{30 * time.Millisecond, 60 * time.Millisecond} {
		if err := r.Delay(delay); err != nil {
			t.Fatal(err)
		}
		if taken := passes(t, client, server, []byte("request")) + passes(t, server, client, []byte("answer")); taken < delay {
			t.Errorf("a round trip took %s, want %s at least", taken, delay)
		}
	}
	if err := r.Delay(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("waiting")); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came before their time", n)
	}
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Delay(0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("waiting"))
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "waiting" {
		t.Errorf("read %q (%v), want what was waiting", got, err)
	}
	passes(t, client, server, []byte("request"))
	passes(t, server, client, []byte("answer"))
}

func TestDelayRefused(t *testing.T) {
	r, client, server := relayed(t)
	for _, delay := range []time.Duration{-time.Millisecond, time.Microsecond, 1500 * time.Microsecond} {
		if err := r.Delay(delay); err == nil {
			t.Errorf("a delay of %s was set", delay)
		}
	}
	passes(t, client, server, []byte("request"))
}

func TestClose(t *testing.T) {
	for _, delay := range []time.Duration{0, 24 * time.Hour} {
		t.Run(delay.String(), func(t *testing.T) {
			r, client, server := relayed(t)
			passes(t, client, server, []byte("opened"))
			if err := r.Delay(delay); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write([]byte("under way")); err != nil {
				t.Fatal(err)
			}
			r.Close()
			if _, err := io.ReadAll(client); err != nil {
				t.Logf("the client's end ended with %v", err)
			}
			if conn, err := net.Dial("tcp", r.Address()); err == nil {
				_ = conn.Close()
				t.Error("the relay still listens")
			}
			r.Close() // again, which does nothing
		})
	}
}

// A relay to where nobody listens ends the connections that it is given.
func TestNobodyListens(t *testing.T) {
	l := listen(t)
	r, err := New("127.0.0.1", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if n, err := client.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes, want the end", n)
	}
}

func TestNewRefused(t *testing.T) {
	// an address for documentation (RFC 5737), which no host has
	if r, err := New("192.0.2.1", "127.0.0.1:1"); err == nil {
		r.Close()
		t.Error("there is a relay on another host's address")
	}
}
