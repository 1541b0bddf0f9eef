package report

import (
	"cmp"
	"math"
	"slices"
)

// scale says where a value is along an axis. Its bend makes it linear, logarithmic, or
// linear near zero and logarithmic beyond.
type scale struct {
	low, high float64
	// from and to are where they are, in pixels.
	from, to float64
	bend     bend
	// near is what counts as near zero, of a symmetric scale.
	near float64
	// unit is what ticks are round multiples of, 1 if it is 0; whole is whether they are
	// integers.
	unit  float64
	whole bool
}

type bend int

const (
	linear bend = iota
	logarithmic
	symmetric
)

func (s scale) bent(v float64) float64 {
	switch s.bend {
	case logarithmic:
		return math.Log10(v)
	case symmetric:
		return math.Asinh(v / s.near)
	}
	return v
}

// at is where a value is, kept within the axis.
func (s scale) at(v float64) float64 {
	v = min(max(v, s.low), s.high)
	low, high := s.bent(s.low), s.bent(s.high)
	if high == low {
		return (s.from + s.to) / 2
	}
	return s.from + (s.bent(v)-low)/(high-low)*(s.to-s.from)
}

// farthest is how far a scale reaches: beyond, arithmetic ceases to work.
const farthest = 1e100

// grown returns the scale with ends that leave room beside the outermost values.
func (s scale) grown(part float64) scale {
	s.low, s.high = min(max(s.low, -farthest), farthest), min(max(s.high, -farthest), farthest)
	if s.bend == logarithmic {
		s.low, s.high = max(s.low, 1/farthest), max(s.high, 1/farthest)
	}
	if s.low == s.high {
		if s.high == 0 {
			s.high = 1
		} else {
			s.low, s.high = min(0, 2*s.low), max(0, 2*s.high)
		}
		if s.bend == logarithmic {
			s.low, s.high = s.high/4, 2*s.high
		}
	}
	switch s.bend {
	case logarithmic:
		more := math.Pow(s.high/s.low, part)
		s.low, s.high = s.low/more, s.high*more
	case symmetric:
		more := part * (s.bent(s.high) - s.bent(s.low))
		s.low, s.high = s.near*math.Sinh(s.bent(s.low)-more), s.near*math.Sinh(s.bent(s.high)+more)
	default:
		more := part * (s.high - s.low)
		if s.low != 0 {
			s.low -= more
		}
		if s.high != 0 {
			s.high += more
		}
	}
	return s
}

// A scale has that many ticks at least, if its ends leave room for them, and at most.
const fewTicks, mostTicks = 3, 100

// ticks are round values, gap pixels from each other at least.
func (s scale) ticks(gap float64) []float64 {
	if s.bend != linear {
		if ticks := s.powers(gap); len(ticks) >= fewTicks {
			return ticks
		}
	}
	unit := cmp.Or(s.unit, 1)
	step := unit * niceStep((s.high-s.low)/max(1, math.Abs(s.to-s.from))*gap/unit)
	if s.whole {
		step = max(1, step)
	}
	first := math.Ceil(s.low / step)
	var ticks []float64
	for i := range mostTicks {
		v := (first + float64(i)) * step
		if v > s.high+step/1e6 {
			break
		}
		if len(ticks) == 0 || math.Abs(s.at(v)-s.at(ticks[len(ticks)-1])) >= gap/2 {
			ticks = append(ticks, v)
		}
	}
	return ticks
}

// powers are the powers of ten, and five times and twice as much where there is room.
func (s scale) powers(gap float64) []float64 {
	unit := cmp.Or(s.unit, 1)
	var candidates []float64
	least, most := s.low, s.high
	if s.bend == symmetric {
		candidates = append(candidates, 0)
		least, most = s.near/2, max(math.Abs(s.low), math.Abs(s.high))
	}
	for _, factor := range []float64{1, 5, 2} {
		for power := math.Floor(math.Log10(least / unit)); power <= math.Ceil(math.Log10(most/unit)); power++ {
			v := unit * factor * math.Pow(10, power)
			if s.bend == symmetric {
				candidates = append(candidates, -v)
			}
			candidates = append(candidates, v)
		}
	}
	var ticks []float64
	for _, v := range candidates {
		near := func(other float64) bool { return math.Abs(s.at(other)-s.at(v)) < gap }
		if v >= s.low && v <= s.high && !slices.ContainsFunc(ticks, near) {
			ticks = append(ticks, v)
		}
	}
	slices.Sort(ticks)
	return ticks
}

// niceStep is the least of 1, 2 and 5 times a power of ten that is not below step.
func niceStep(step float64) float64 {
	if !(step > 0) || math.IsInf(step, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(step)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= step*(1-1e-9) {
			return factor * power
		}
	}
	return 10 * power
}
