package report

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"portrule.example/lab/compare/bench"
)

//go:embed drawing.css
var drawingStyle string

// Drawing returns one drawing of a report as an SVG that stands alone, light or dark as
// its reader's screen is: kind is growth or percentiles, caption what the report has above it, such
// as "get" or "list: latency by objects". It is an error if there is none.
func Drawing(result *bench.Result, suite, kind, caption string) ([]byte, error) {
	var drawn part
	switch kind {
	case "growth":
		drawn = growthPart(result, suite)
	case "percentiles":
		drawn = percentilePart(result, suite)
	default:
		return nil, fmt.Errorf("there is no drawing of %q: use growth or percentiles", kind)
	}
	var captions []string
	for _, f := range drawn.Figures {
		if f.Caption == caption {
			return alone(f, drawn.Legend)
		}
		captions = append(captions, fmt.Sprintf("%q", f.Caption))
	}
	return nil, fmt.Errorf("the suite %s has no drawing %q: there are %s", suite, caption, strings.Join(captions, ", "))
}

// alone is a drawing with its caption above and its legend below, on a ground of its own.
func alone(f figure, legend []mark) ([]byte, error) {
	size := sizeOfDrawing.FindStringSubmatch(string(f.SVG))
	if size == nil {
		return nil, fmt.Errorf("the drawing %q has no height", f.Caption)
	}
	drawn, err := strconv.ParseFloat(size[1], 64)
	if err != nil {
		return nil, err
	}
	const caption, row, margin, columns = 24, 18, 8, 2
	var d svg
	d.text("", margin, caption-8, f.Caption)
	d.printf("%s", strings.Replace(string(f.SVG), "<svg ", fmt.Sprintf(`<svg y="%d" `, caption), 1))
	n := 0
	for _, m := range legend {
		if !strings.Contains(string(f.SVG), fmt.Sprintf(`class="s%d"`, m.Style%styles)) {
			continue // of other drawings of the part
		}
		x, y := margin+float64(n%columns)*figureWidth/columns, caption+drawn+row*float64(n/columns)
		d.printf("%s", strings.Replace(string(m.swatch()), "<svg ", fmt.Sprintf(`<svg x="%.0f" y="%.0f" `, x, y), 1))
		d.text("", x+38, y+11, m.Name)
		n++
	}
	height := caption + drawn + row*float64((n+columns-1)/columns) + margin
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 %d %.0f" width="%d" height="%.0f"><style>
%s</style><rect width="100%%" height="100%%" fill="var(--ground)"/>%s</svg>
`, figureWidth, height, figureWidth, height, drawingStyle, d.String()), nil
}

var sizeOfDrawing = regexp.MustCompile(`^<svg [^>]* height="([0-9.]+)"`)
