package api

import (
	"slices"
	"testing"
)

func TestParsePorts(t *testing.T) {
	for _, c := range []struct {
		text string
		want Ports // nil: malformed
	}{
		{"443", Ports{{443, 443}}},
		{"8000-9000,443", Ports{{8000, 9000}, {443, 443}}},
		{" 1 , 65535 ", Ports{{1, 1}, {65535, 65535}}},
		{"080", Ports{{80, 80}}},
		{"", nil},
		{",", nil},
		{"443,", nil},
		{"0", nil},
		{"65536", nil},
		{"99999999999999999999", nil},
		{"9000-8000", nil},
		{"80-", nil},
		{"-80", nil},
		{"80-90-100", nil},
		{"8000 - 9000", nil},
		{"+80", nil},
		{"http", nil},
		{"80;443", nil},
	} {
		got, err := ParsePorts(c.text)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%q: got %v (%v), want %v", c.text, got, err, c.want)
		}
	}
}

func TestContain(t *testing.T) {
	ports := Ports{{8000, 9000}, {443, 443}}
	for port, want := range map[int32]bool{443: true, 8000: true, 8500: true, 9000: true, 7999: false, 9001: false, 0: false} {
		if got := ports.Contain(port); got != want {
			t.Errorf("%d: %t, want %t", port, got, want)
		}
	}
}

// What is accepted is a set of ports and nothing else.
func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{"443", "8000-9000,443", "", "-", "1-65535", " 1", "0x50", "80\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ports, err := ParsePorts(text)
		if (err == nil) == (len(ports) == 0) {
			t.Fatalf("%q: %v and %v", text, ports, err)
		}
		for _, r := range ports {
			if r.First < 1 || r.First > r.Last || r.Last > 65535 {
				t.Errorf("%q: %v is no range of ports", text, r)
			}
		}
	})
}
