package bench

import (
	"math"
	"strings"
	"testing"
)

// curveOfPoints are measurements along an axis, whose intervals reach 5% far.
func curveOfPoints(axis Axis, metric string, sizes []float64, value func(size float64) float64) []Measurement {
	var measurements []Measurement
	for _, size := range sizes {
		y := value(size)
		measurements = append(measurements, Measurement{
			Suite: "scale", Case: "list", Impl: CRD, Metric: metric, Unit: "ns", Axis: axis, Size: size,
			N: 9, Median: y, Low: 0.95 * y, High: 1.05 * y,
		})
	}
	return measurements
}

// A curve is called by the simplest growth that explains its points, and is projected only
// as long as it has not broken.
func TestFits(t *testing.T) {
	sizes := []float64{100, 300, 1000, 3000, 10000}
	wobble := func(size float64) float64 { return 1 + 0.04*math.Sin(size) }
	for name, c := range map[string]struct {
		axis      Axis
		metric    string
		sizes     []float64
		value     func(size float64) float64
		want      Grows
		breaks    float64
		projected float64
	}{
		"constant":    {Objects, "latency", sizes, func(x float64) float64 { return 2e6 * wobble(x) }, Constant, 0, 2e6},
		"linear":      {Objects, "latency", sizes, func(x float64) float64 { return (1e6 + 2e4*x) * wobble(x) }, Linear, 0, 1e6 + 2e9},
		"worse":       {Objects, "latency", sizes, func(x float64) float64 { return 1e5 + 10*x*x }, Worse, 3000, 0},
		"less":        {Objects, "latency", sizes, func(x float64) float64 { return 1e5 * math.Sqrt(x) }, Better, 0, 0},
		"broken":      {Objects, "latency", sizes, func(x float64) float64 { return (1e6 + 2e4*x) * map[bool]float64{true: 4, false: 1}[x == 10000] }, Worse, 10000, 0},
		"falling":     {Objects, "latency", sizes, func(x float64) float64 { return 2e6 - 50*x }, Constant, 0, 0},
		"two points":  {Objects, "latency", sizes[:2], func(x float64) float64 { return x }, "", 0, 0},
		"saturating":  {Clients, "throughput", []float64{1, 4, 16, 64}, func(x float64) float64 { return 400 * min(x, 4) }, Better, 16, 0},
		"scaling":     {Clients, "throughput", []float64{1, 4, 16, 64}, func(x float64) float64 { return 400 * x }, Linear, 0, 0},
		"memory":      {Objects, "memory", sizes, func(x float64) float64 { return 5000*x + 2e6*math.Sin(x) }, Linear, 0, 5e8},
		"no memory":   {Objects, "memory", sizes, func(float64) float64 { return 0 }, Constant, 0, 0},
		"less memory": {Objects, "memory", sizes, func(x float64) float64 { return -10 * x }, Constant, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fits := Fits("scale", curveOfPoints(c.axis, c.metric, c.sizes, c.value))
			if c.want == "" {
				if len(fits) > 0 {
					t.Errorf("got the fit %+v of too few points", fits[0])
				}
				return
			}
			if len(fits) != 1 {
				t.Fatalf("got %d fits, want 1", len(fits))
			}
			f := fits[0]
			if f.Growth != c.want {
				t.Errorf("got %s (%g + %g x^%g), want %s", f.Growth, f.Fixed, f.PerUnit, f.Exponent, c.want)
			}
			got := 0.0
			if f.Breaks != nil {
				got = *f.Breaks
			}
			if got != c.breaks || (f.Why != "") != (c.breaks > 0) {
				t.Errorf("it breaks at %g (%q), want %g", got, f.Why, c.breaks)
			}
			switch {
			case f.Projection != nil && c.projected == 0 && c.value(1000) > 0 && name != "falling":
				t.Errorf("got the projection %+v, want none", *f.Projection)
			case c.projected > 0 && f.Projection == nil:
				t.Error("there is no projection")
			case c.projected > 0:
				p := *f.Projection
				if p.Size != 10*f.To || p.Low > c.projected || p.High < c.projected || p.Low > p.Value || p.High < p.Value {
					t.Errorf("got the projection %+v, want %g in it at %g", p, c.projected, 10*f.To)
				}
			}
		})
	}
}

// The measurements of another suite, and those without an axis, are no points.
func TestFitsOfOthers(t *testing.T) {
	other := curveOfPoints(Objects, "latency", []float64{1, 2, 3}, func(x float64) float64 { return x })
	single := curveOfPoints("", "latency", []float64{0, 0, 0}, func(float64) float64 { return 1 })
	for i := range other {
		other[i].Suite = "validation"
	}
	if fits := Fits("scale", append(other, single...)); len(fits) > 0 {
		t.Errorf("got %+v, want none", fits)
	}
}

// Items are counted wherever the pieces end in which a list is read.
func TestCountItems(t *testing.T) {
	list := `{"items":[` + strings.Repeat(`{"metadata":{"creationTimestamp":"x"}},`, 5000) + `{}]}`
	for _, piece := range []int{1, 7, 20, 21, 4096, 1 << 20} {
		n, err := countItems(&pieces{strings.NewReader(list), piece})
		if err != nil || n != 5000 {
			t.Errorf("in pieces of %d: got %d items and %v, want 5000", piece, n, err)
		}
	}
}

// pieces is a reader that returns so many bytes at once.
type pieces struct {
	*strings.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }
