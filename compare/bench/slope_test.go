package bench

import (
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"portrule.example/lab/compare/relay"
)

// backend is a server over TLS and HTTP/2, as the real ones are.
func backend(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	server := httptest.NewUnstartedServer(handle)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// over returns the address of a server over a link.
func over(t *testing.T, links *relay.Links, link string, server *httptest.Server) string {
	address, err := links.Through(link, "127.0.0.1", strings.TrimPrefix(server.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + address
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// The engine counts the round trips that are made: none over a link that is not used, one
// over that of the request, two over one that is crossed twice; requests side by side count
// once. So it recovers a known delay of 5 ms within 5%.
func TestRoundTrips(t *testing.T) {
	links := &relay.Links{}
	t.Cleanup(links.Close)
	reviewer := backend(t, func(http.ResponseWriter, *http.Request) {})
	reviews := over(t, links, relay.Reviews, reviewer)
	unused := backend(t, func(http.ResponseWriter, *http.Request) {})
	over(t, links, relay.Webhook, unused)
	server := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		ask := func() error { return get(r.Context(), reviewer.Client(), reviews) }
		var err error
		switch r.URL.Path {
		case "/twice":
			if err = ask(); err == nil {
				err = ask()
			}
		case "/abreast":
			other := make(chan error)
			go func() { other <- ask() }()
			err = ask()
			if e := <-other; err == nil {
				err = e
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	url := over(t, links, relay.Server, server)

	paths := map[string]string{CRD: "/none", Aggregated: "/twice", NameFree: "/abreast"}
	want := map[string]map[string]float64{
		relay.Server:  {CRD: 1, Aggregated: 1, NameFree: 1},
		relay.Reviews: {CRD: 0, Aggregated: 2, NameFree: 1},
		relay.Webhook: {CRD: 0, Aggregated: 0, NameFree: 0},
	}
	sessions := slices.DeleteFunc(sessions(), func(s *Session) bool { return paths[s.Subject.Impl] == "" })
	c := Case{Name: "case", New: func(_ context.Context, s *Session, _ int) (Requests, error) {
		return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
			begin := time.Now()
			err := get(ctx, server.Client(), url+paths[s.Subject.Impl])
			return time.Since(begin), err
		}}, nil
	}}
	rounds := 0
	slopes, err := RoundTrips(t.Context(), SlopeOptions{
		Relays: links, Links: []string{relay.Server, relay.Reviews, relay.Webhook},
		Delays: []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond},
		// as many rounds as it takes, on a machine that is busy too
		Rounds: 10, MaxRounds: 100, Precision: 0.01, Seed: 1,
		Progress: func(n int) { rounds = n },
	}, c, sessions)
	if err != nil {
		t.Fatal(err)
	}
	if len(slopes) != 9 {
		t.Fatalf("%d slopes, want one for each of three subjects and links", len(slopes))
	}
	for _, s := range slopes {
		w := want[s.Link][s.Impl]
		t.Logf("%s over %s: %.3f [%.3f, %.3f] ± %.3f, r2 %.3f, n %d", paths[s.Impl], s.Link, s.Median, s.Low, s.High, s.StdErr, s.R2, s.N)
		// 5%, or what the slope's own error lets it be where the machine has no time for it
		if math.Abs(s.Median-w) > max(0.05*max(1, w), 3*s.StdErr) || math.Round(s.Median) != w {
			t.Errorf("%s crosses %s %.3f times, want %v", paths[s.Impl], s.Link, s.Median, w)
		}
		if w > 0 && s.R2 < 0.9 {
			t.Errorf("the line of %s over %s explains but %.2f", paths[s.Impl], s.Link, s.R2)
		}
		if s.N != rounds {
			t.Errorf("%d slopes of %d rounds", s.N, rounds)
		}
	}
}

// Two subjects that are the same server: no difference is found between them, in rounds
// that are real requests.
func TestSameServerNoDifference(t *testing.T) {
	server := backend(t, func(http.ResponseWriter, *http.Request) {})
	c := Case{Name: "get", New: func(_ context.Context, _ *Session, _ int) (Requests, error) {
		return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
			begin := time.Now()
			err := get(ctx, server.Client(), server.URL)
			return time.Since(begin), err
		}}, nil
	}}
	suite := Suite{Name: "same", Impls: []string{CRD, Aggregated}, Pairs: [][2]string{{Aggregated, CRD}}}
	for range 20 {
		suite.Cases = append(suite.Cases, c)
	}
	samples, err := Run(t.Context(), Options{Plan: Plan{Rounds: 100, Seed: 1}, Suites: []Suite{suite}, Sessions: sessions(), Progress: noProgress})
	if err != nil {
		t.Fatal(err)
	}
	_, comparisons, _ := Summarize(samples, "", nil)
	found := 0
	for _, c := range comparisons {
		if c.Verdict != NoDifference {
			found++
		}
	}
	// one such run in twenty may find one difference; two are another matter
	if found > 1 {
		t.Errorf("%d of %d comparisons of a server with itself find a difference", found, len(comparisons))
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		name      string
		x, y      []float64
		slope, r2 float64
	}{
		{"a line", []float64{0, 1, 2, 3}, []float64{5, 7, 9, 11}, 2, 1},
		{"flat", []float64{0, 1, 2}, []float64{4, 4, 4}, 0, 0},
		{"one delay", []float64{1, 1, 1}, []float64{1, 2, 3}, 0, 0},
		{"noise around a line", []float64{0, 1, 2, 3}, []float64{0, 2, 1, 3}, 0.8, 0.64},
	} {
		slope, r2 := fit(c.x, c.y)
		if math.Abs(slope-c.slope) > 1e-9 || math.Abs(r2-c.r2) > 1e-9 {
			t.Errorf("%s: slope %v, r2 %v, want %v and %v", c.name, slope, r2, c.slope, c.r2)
		}
	}
}
