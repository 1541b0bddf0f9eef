package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLeft(t *testing.T) {
	for _, c := range []struct {
		elapsed     time.Duration
		done, total int
		want        string
	}{
		{0, 0, 10, ""},
		{time.Minute, 0, 10, ""},       // nothing to tell by
		{4 * time.Second, 5, 10, ""},   // too little
		{time.Minute, 10, 10, ""},      // nothing is left
		{time.Minute, 11, 10, ""},      // nor is there now
		{5 * time.Second, 5, 10, "5s"}, // as long as it took
		{30 * time.Second, 100, 1000, "4m30s"},
		{10 * time.Second, 3, 10, "23s"},
		{10 * time.Second, 999, 1000, "1s"}, // never none
		{2 * time.Hour, 1, 2, "2h0m0s"},
	} {
		want := ""
		if c.want != "" {
			want = "  (about " + c.want + " left)"
		}
		if got := left(c.elapsed, c.done, c.total); got != want {
			t.Errorf("%d of %d after %s: got %q, want %q", c.done, c.total, c.elapsed, got, want)
		}
	}
}

// Without a terminal there is a line for each thing that is done, and no bar.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	p := New(&out)
	p.Step("starting")
	for i := range 3 {
		p.Update(i, 10, "verbs: create")
	}
	p.Update(3, 10, "verbs: get")
	p.Update(10, 10, "verbs: get, closed, 8 clients")
	p.Finish()
	p.Update(1, 2, "verbs: get, closed, 8 clients") // of another whole
	p.Step("done")
	want := []string{
		"starting",
		"  0%  verbs: create",
		" 30%  verbs: get",
		"100%  verbs: get, closed, 8 clients",
		" 50%  verbs: get, closed, 8 clients",
		"done",
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%s", len(got), len(want), out.String())
	}
	for i := range want {
		// on a machine that takes its time, how long the rest takes follows
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// What is said to be left is reckoned from the first update after [Progress.Finish].
func TestFinish(t *testing.T) {
	var out bytes.Buffer
	p := New(&out)
	p.began = time.Now().Add(-time.Hour)
	p.Update(1, 2, "a")
	p.Finish()
	p.Update(1, 2, "b")
	first, second, _ := strings.Cut(out.String(), "\n")
	if !strings.Contains(first, "(about 1h0m0s left)") {
		t.Errorf("got %q, want it to say that an hour is left", first)
	}
	if strings.Contains(second, "1h") {
		t.Errorf("got %q, which counts the time before", second)
	}
}
