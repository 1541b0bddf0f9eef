package compare

import "testing"

func TestDiffer(t *testing.T) {
	for _, c := range []struct {
		kubernetes, libraries string
		want                  bool
	}{
		{"v1.36.3", "v0.36.3", false},
		{"v1.36.4", "v0.36.3", true},
		{"v1.36.3-local", "v0.36.3", true},
		{"v1.36.3", "unknown", true},
	} {
		if got := differ(c.kubernetes, c.libraries); (got != "") != c.want {
			t.Errorf("%s and %s: got the warning %q, want one: %t", c.kubernetes, c.libraries, got, c.want)
		}
	}
}
