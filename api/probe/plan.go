package probe

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What one user may ask of the server, and all of them at once.
const (
	MaxCount = 30
	// MinInterval keeps a probe from being a flood.
	MinInterval = 100 * time.Millisecond
	MaxInterval = 10 * time.Second
	MaxTimeout  = 10 * time.Second
	// MaxTotal is how long all attempts and the pauses between them may take at
	// worst. With [Prober.Check] before them they end within the API server's request
	// timeout (--request-timeout, 60 s by default), which would cut them off.
	MaxTotal = 50 * time.Second
	// MaxRunning is how many probes one [Prober] runs at once.
	MaxRunning = 64
)

// What a plan is where nothing is said.
const (
	defaultCount           = 1
	defaultIntervalSeconds = 1
	defaultTimeoutSeconds  = 3
)

// Plan says how often a target is dialled, and how long that may take. It holds whole
// seconds, as the query parameters do.
type Plan struct {
	// Count is the number of attempts, 1 to [MaxCount].
	Count int64
	// IntervalSeconds is the pause between the end of an attempt and the next one, at
	// most [MaxInterval]. 0 is the shortest there is, [MinInterval].
	IntervalSeconds int64
	// TimeoutSeconds is how long one attempt may take, the look-up of the name
	// included, 1 to [MaxTimeout].
	TimeoutSeconds int64
}

// NewPlan makes a plan of query parameters. Nil is one that was not given: one attempt,
// of up to 3 s, and 1 s between attempts where there are more.
func NewPlan(count, intervalSeconds, timeoutSeconds *int64) Plan {
	return Plan{
		Count:           or(count, defaultCount),
		IntervalSeconds: or(intervalSeconds, defaultIntervalSeconds),
		TimeoutSeconds:  or(timeoutSeconds, defaultTimeoutSeconds),
	}
}

// or is what value points to, and otherwise if it is nil.
func or(value *int64, otherwise int64) int64 {
	if value == nil {
		return otherwise
	}
	return *value
}

// Validate says what is wrong with a plan, by the names of the query parameters.
func (p Plan) Validate() field.ErrorList {
	errs := inRange(p.Count, 1, MaxCount, field.NewPath("count"))
	errs = append(errs, inRange(p.IntervalSeconds, 0, seconds(MaxInterval), field.NewPath("intervalSeconds"))...)
	errs = append(errs, inRange(p.TimeoutSeconds, 1, seconds(MaxTimeout), field.NewPath("timeoutSeconds"))...)
	if len(errs) > 0 {
		return errs // and the sum might overflow
	}
	if total := p.worstCase(); total > MaxTotal {
		errs = append(errs, field.Invalid(field.NewPath("count"), p.Count, fmt.Sprintf(
			"so many attempts of up to %s, %s apart, may take %s, more than %s: lower count, timeoutSeconds or intervalSeconds",
			p.timeout(), p.interval(), total, MaxTotal)))
	}
	return errs
}

// The durations of a plan whose numbers are in range.

func (p Plan) interval() time.Duration {
	return max(time.Duration(p.IntervalSeconds)*time.Second, MinInterval)
}

func (p Plan) timeout() time.Duration {
	return time.Duration(p.TimeoutSeconds) * time.Second
}

func (p Plan) worstCase() time.Duration {
	var total time.Duration
	for range p.Count {
		total += p.timeout() + p.interval()
	}
	return total - p.interval() // no pause after the last
}

func inRange(value int64, low, high int, path *field.Path) field.ErrorList {
	if value < int64(low) || value > int64(high) {
		return field.ErrorList{field.Invalid(path, value, validation.InclusiveRangeError(low, high))}
	}
	return nil
}

func seconds(d time.Duration) int {
	return int(d / time.Second)
}
