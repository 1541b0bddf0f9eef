package probe

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewPlan(t *testing.T) {
	if got, want := NewPlan(nil, nil, nil), (Plan{Count: 1, IntervalSeconds: 1, TimeoutSeconds: 3}); got != want {
		t.Errorf("by default: got %+v, want %+v", got, want)
	}
	// 0 is something that was said.
	zero := int64(0)
	if got, want := NewPlan(&zero, &zero, &zero), (Plan{}); got != want {
		t.Errorf("of zeros: got %+v, want %+v", got, want)
	}
	if errs := NewPlan(nil, nil, nil).Validate(); len(errs) > 0 {
		t.Errorf("the default is refused: %v", errs)
	}
}

func TestPlanValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		plan Plan
		want []string
	}{
		{"smallest", Plan{1, 0, 1}, nil},
		{"one attempt, longest", Plan{1, 10, 10}, nil},
		{"most attempts", Plan{30, 0, 1}, nil},
		{"just in time", Plan{3, 10, 10}, nil},
		{"just in time, many", Plan{10, 0, 4}, nil},
		{"a second too long", Plan{26, 1, 1}, []string{"count"}},
		{"a tenth too long", Plan{5, 0, 10}, []string{"count"}},
		{"longest of all", Plan{30, 10, 10}, []string{"count"}},
		{"none", Plan{0, 1, 1}, []string{"count"}},
		{"too many", Plan{31, 1, 1}, []string{"count"}},
		{"negative count", Plan{-1, 1, 1}, []string{"count"}},
		{"negative interval", Plan{1, -1, 1}, []string{"intervalSeconds"}},
		{"interval too long", Plan{1, 11, 1}, []string{"intervalSeconds"}},
		{"no timeout", Plan{1, 1, 0}, []string{"timeoutSeconds"}},
		{"negative timeout", Plan{1, 1, -3}, []string{"timeoutSeconds"}},
		{"timeout too long", Plan{1, 1, 11}, []string{"timeoutSeconds"}},
		{"zero value", Plan{}, []string{"count", "timeoutSeconds"}},
		{"largest numbers", Plan{math.MaxInt64, math.MaxInt64, math.MaxInt64}, []string{"count", "intervalSeconds", "timeoutSeconds"}},
		{"smallest numbers", Plan{math.MinInt64, math.MinInt64, math.MinInt64}, []string{"count", "intervalSeconds", "timeoutSeconds"}},
		// in nanoseconds, overflowing 64 bits, these are 0 s and 1 s
		{"overflowing", Plan{1, 1 << 55, 1<<55 + 1}, []string{"intervalSeconds", "timeoutSeconds"}},
		{"overflowing 32 bits", Plan{1<<32 + 1, 1 << 32, 1<<32 + 1}, []string{"count", "intervalSeconds", "timeoutSeconds"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			errs := c.plan.Validate()
			var got []string
			for _, err := range errs {
				got = append(got, err.Field)
				if err.Detail == "" {
					t.Errorf("%s: no detail", err.Field)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got errors about %v, want %v: %v", got, c.want, errs)
			}
		})
	}
}

func TestPlanTooLong(t *testing.T) {
	errs := Plan{Count: 30, IntervalSeconds: 10, TimeoutSeconds: 10}.Validate()
	if len(errs) != 1 || !strings.Contains(errs[0].Detail, "may take 9m50s, more than 50s: lower") {
		t.Errorf("got %v, want how long it may take and what to lower", errs)
	}
}

// What is validated is what Run waits for.
func TestPlanInterval(t *testing.T) {
	for _, c := range []struct {
		seconds int64
		want    time.Duration
	}{{0, MinInterval}, {1, time.Second}, {10, MaxInterval}} {
		if got := (Plan{IntervalSeconds: c.seconds}).interval(); got != c.want {
			t.Errorf("%d s: got %s, want %s", c.seconds, got, c.want)
		}
	}
}
