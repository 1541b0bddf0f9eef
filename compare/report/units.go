package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"portrule.example/lab/compare/bench"
)

// value prints a value in a unit that people read, always with as many digits after the
// point, so that a column of them lines up.
func value(v float64, unit string) string {
	switch unit {
	case "ns":
		if math.Abs(v) >= 1e9 {
			return fmt.Sprintf("%.1f s", v/1e9)
		}
		return fmt.Sprintf("%.2f ms", v/1e6)
	case "B":
		if math.Abs(v) < 1<<20 {
			return fmt.Sprintf("%.1f kB", v/1e3)
		}
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	case "ms/1000", "ms":
		if v < 10 {
			return fmt.Sprintf("%.1f ms", v)
		}
		return fmt.Sprintf("%.0f ms", v)
	case "1/s":
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// brief prints a value with three digits, in the unit that needs the fewest of them: for
// sentences, formulas and axes.
func brief(v float64, unit string) string {
	if v == 0 {
		return "0"
	}
	size := math.Abs(v)
	switch unit {
	case "ns":
		switch {
		case size >= 999.5e6:
			return digits(v/1e9) + " s"
		case size >= 999.5e3:
			return digits(v/1e6) + " ms"
		case size >= 999.5:
			return digits(v/1e3) + " µs"
		}
		return digits(v) + " ns"
	case "ms/1000", "ms":
		switch {
		case size >= 999.5:
			return digits(v/1e3) + " s"
		case size < 0.9995:
			return digits(v*1e3) + " µs"
		}
		return digits(v) + " ms"
	case "B":
		switch {
		case size >= 1<<30:
			return digits(v/(1<<30)) + " GiB"
		case size >= 1<<20:
			return digits(v/(1<<20)) + " MiB"
		case size >= 999.5:
			return digits(v/1e3) + " kB"
		}
		return digits(v) + " B"
	case "1/s":
		return digits(v) + "/s"
	}
	return digits(v)
}

// digits prints three digits of a number, and no zeros after its point.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := strconv.FormatFloat(v, 'f', min(decimals, 12), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// count prints so many of what an axis counts: 1,000,000.
func count(n float64) string {
	if n != math.Trunc(n) || math.Abs(n) >= 1e15 {
		return digits(n)
	}
	text := strconv.FormatFloat(math.Abs(n), 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	if n < 0 {
		return "-" + text
	}
	return text
}

// interval prints a 95% interval as value does.
func interval(low, high float64, unit string) string {
	return "[" + brief(low, unit) + ", " + brief(high, unit) + "]"
}

// cell prints a median and how far its interval reaches from it.
func cell(m bench.Measurement) string {
	if m.N == 0 {
		return "-"
	}
	text := value(m.Median, m.Unit)
	if m.Median > 0 {
		text += fmt.Sprintf(" ±%2.0f%%", 100*max(m.High-m.Median, m.Median-m.Low)/m.Median)
	}
	return text
}

// times prints a ratio.
func times(i bench.Interval) string { return fmt.Sprintf("%.2fx [%.2f, %.2f]", i.Value, i.Low, i.High) }

// ratioOf is the ratio of a comparison and its interval.
func ratioOf(c bench.Comparison) bench.Interval {
	return bench.Interval{Value: c.Ratio, Low: c.Low, High: c.High}
}
