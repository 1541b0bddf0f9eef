package bench

import (
	"fmt"
	"math"
	"slices"
)

// fewestPoints is the number of points that a curve takes.
const fewestPoints = 3

// How far a point may be from a curve that explains it, as a part of its value, beyond what
// its own interval reaches; how far beyond the line through those before a point must lie
// for the curve to break there; by what more clients must raise the throughput.
const (
	fitTolerance = 0.15
	breakFactor  = 1.5
	throughputUp = 0.1
)

// projected is by how many times the greatest size a curve is projected.
const projected = 10

// point is one of a curve: a size, a value, its interval, and by what its error counts: its
// value, so that the small sizes count as the large ones do. Where the error has nothing to
// do with the size, as that of a memory that others use too, it is the same for all.
type point struct{ x, y, low, high, scale float64 }

// Fits are the curves through the measurements of a suite that have an axis.
func Fits(suite string, measurements []Measurement) []Fit {
	var fits []Fit
	points := map[Fit][]point{}
	for _, m := range measurements {
		if m.Suite != suite || m.Axis == "" {
			continue
		}
		key := Fit{Suite: m.Suite, Case: m.Case, Impl: m.Impl, Metric: m.Metric, Unit: m.Unit, Process: m.Process, Axis: m.Axis}
		if _, ok := points[key]; !ok {
			fits = append(fits, key)
		}
		points[key] = append(points[key], point{m.Size, m.Median, m.Low, m.High, max(m.Median, 1e-9)})
	}
	var all []Fit
	for _, f := range fits {
		if through := points[f]; len(through) >= fewestPoints {
			slices.SortFunc(through, func(a, b point) int { return int(a.x - b.x) })
			if f.Metric == "memory" {
				for i := range through {
					through[i].scale = max(through[len(through)-1].y, 1e-9)
				}
			}
			all = append(all, f.through(through))
		}
	}
	return all
}

// through fits the curve to points, which are sorted by size.
func (f Fit) through(points []point) Fit {
	first, last := points[0], points[len(points)-1]
	f.N, f.From, f.To = len(points), first.x, last.x
	mean, _, _ := line(points, 0)
	fixed, perUnit, r2 := line(points, 1)
	switch {
	case explains(points, mean, 0, 1) || perUnit <= 0:
		f.Growth, f.Fixed, f.Exponent = Constant, mean, 1
		_, _, f.R2 = line(points, 0)
	case explains(points, fixed, perUnit, 1):
		f.Growth, f.Fixed, f.PerUnit, f.Exponent, f.R2 = Linear, fixed, perUnit, 1, r2
	default:
		f.power(points)
	}
	f.breaks(points)
	if f.Breaks == nil && f.Axis != Clients && f.Axis != Replicas && (f.Growth == Constant || f.Growth == Linear) {
		f.project(points)
	}
	return f
}

// power fits a power of the size, the best of some exponents.
func (f *Fit) power(points []point) {
	f.R2 = math.Inf(-1)
	for exponent := 0.3; exponent < 2.55; exponent += 0.05 {
		if fixed, perUnit, r2 := line(points, exponent); r2 > f.R2 {
			f.Fixed, f.PerUnit, f.Exponent, f.R2 = fixed, perUnit, math.Round(100*exponent)/100, r2
		}
	}
	switch {
	case f.Exponent > 1.1:
		f.Growth = Worse
	case f.Exponent < 0.9:
		f.Growth = Better
	default:
		f.Growth = Linear
	}
}

// line fits y = fixed + perUnit x^exponent by least squares of the errors in relation to
// the points' scales; with an exponent of 0 it fits a constant. r2 is the part of the variance
// that it explains.
func line(points []point, exponent float64) (fixed, perUnit, r2 float64) {
	var w, wx, wy, wxx, wxy float64
	for _, p := range points {
		weight, x := 1/(p.scale*p.scale), math.Pow(p.x, exponent)
		w, wx, wy, wxx, wxy = w+weight, wx+weight*x, wy+weight*p.y, wxx+weight*x*x, wxy+weight*x*p.y
	}
	mean := wy / w
	fixed = mean
	if spread := w*wxx - wx*wx; exponent > 0 && spread > 0 {
		perUnit = (w*wxy - wx*wy) / spread
		fixed = (wy - perUnit*wx) / w
	}
	var left, all float64
	for _, p := range points {
		left += square((p.y - fixed - perUnit*math.Pow(p.x, exponent)) / p.scale)
		all += square((p.y - mean) / p.scale)
	}
	if all == 0 {
		return fixed, perUnit, 1
	}
	return fixed, perUnit, 1 - left/all
}

func square(x float64) float64 { return x * x }

// explains is whether every point lies as near to the curve as its interval and the
// tolerance let it.
func explains(points []point, fixed, perUnit, exponent float64) bool {
	for _, p := range points {
		curve := fixed + perUnit*math.Pow(p.x, exponent)
		if curve < p.low-fitTolerance*p.scale || curve > p.high+fitTolerance*p.scale {
			return false
		}
	}
	return true
}

// breaks looks for the point from which on the curve is another one.
func (f *Fit) breaks(points []point) {
	if f.Axis == Clients {
		if f.Metric != "throughput" {
			return
		}
		for i := 1; i < len(points); i++ {
			if points[i].y < (1+throughputUp)*points[i-1].y {
				f.Breaks = &points[i].x
				f.Why = fmt.Sprintf("%g clients get less than %.0f%% more answered than %g: those beyond wait", points[i].x, 100*throughputUp, points[i-1].x)
				return
			}
		}
		return
	}
	for i := fewestPoints; i < len(points); i++ {
		fixed, perUnit, _ := line(points[:i], 1)
		expected := max(fixed+max(0, perUnit)*points[i].x, points[i-1].y)
		if points[i].low > breakFactor*expected {
			f.Breaks = &points[i].x
			f.Why = fmt.Sprintf("it is %.1f times what the smaller sizes let expect", points[i].y/expected)
			return
		}
	}
}

// project continues the curve: the same through the lower and through the upper ends of the
// intervals bounds it, and how far the points are from the curve.
func (f *Fit) project(points []point) {
	size := projected * f.To
	at := func(end func(point) float64) float64 {
		moved := slices.Clone(points)
		for i := range moved {
			moved[i].y = end(moved[i])
		}
		exponent := 1.0
		if f.Growth == Constant {
			exponent = 0
		}
		fixed, perUnit, _ := line(moved, exponent)
		if f.Growth == Constant {
			return fixed
		}
		return fixed + perUnit*size
	}
	off := 0.0
	for _, p := range points {
		off = max(off, math.Abs(p.y-f.Fixed-f.PerUnit*p.x)/p.scale)
	}
	value := f.Fixed + f.PerUnit*size
	low, high := at(func(p point) float64 { return p.low }), at(func(p point) float64 { return p.high })
	f.Projection = &Projection{Size: size, Interval: Interval{
		Value: value, Low: min(value, low, high) * (1 - min(off, 0.9)), High: max(value, low, high) * (1 + off),
	}}
}
