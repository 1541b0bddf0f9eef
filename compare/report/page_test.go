package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"portrule.example/lab/compare/bench"
)

// A report of everything reads the same every time, as Markdown.
func TestFullReport(t *testing.T) {
	dir := fullDirectory(t)
	golden(t, "full.md", read(t, filepath.Join(dir, reportFile)))
}

// pageOf is the page of a result.
func pageOf(t *testing.T, result *bench.Result, more extras) string {
	t.Helper()
	var page bytes.Buffer
	if err := compose(result, more).html(&page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// plotsOf counts the drawings of a page by kind.
func plotsOf(page string) map[string]int {
	count := map[string]int{}
	for _, found := range regexp.MustCompile(`data-plot="([a-z]+)"`).FindAllStringSubmatch(page, -1) {
		count[found[1]]++
	}
	return count
}

var (
	anchors = regexp.MustCompile(` id="([^"]+)"`)
	links   = regexp.MustCompile(` href="#([^"]+)"`)
)

// Every drawing is there, every link leads somewhere, and nothing is loaded or run.
func TestPage(t *testing.T) {
	page := string(read(t, filepath.Join(fullDirectory(t), pageFile)))
	got := plotsOf(page)
	for kind, want := range map[string]int{"differences": 6 + 1 + 5 + 1 + 1, "percentiles": 2, "costs": 1, "growth": 4, "waterfall": 1} {
		if got[kind] != want {
			t.Errorf("there are %d drawings of %s, want %d", got[kind], kind, want)
		}
	}
	ids := map[string]bool{}
	for _, found := range anchors.FindAllStringSubmatch(page, -1) {
		if ids[found[1]] {
			t.Errorf("two elements have the anchor %s", found[1])
		}
		ids[found[1]] = true
	}
	for _, found := range links.FindAllStringSubmatch(page, -1) {
		if !ids[found[1]] {
			t.Errorf("there is nothing at #%s", found[1])
		}
	}
	for _, wrong := range []string{"<script", "<link rel=\"stylesheet", "@import", "src=\"http", "href=\"http", "url(http", " onload=", "<nil>"} {
		if strings.Contains(page, wrong) {
			t.Errorf("the page has %s", wrong)
		}
	}
	for _, want := range []string{
		`content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"`,
		"trace-no-image.svg is not a drawing",
		"the run did not finish: scale: replicas",
		"the machine was not quiet before the run",
		"bin/compare bench --rate 200 --fail-on &#39;crd/get p50 &gt; 5ms&#39;",
		"422 Invalid: &lt;nil&gt;: Invalid value: null",
		"kind/label: a label is a text",
		"the controller of the CRD is a process of this host",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
}

// The page is well formed, so that no browser has to guess; no coordinate is missing.
func TestPageIsWellFormed(t *testing.T) {
	for name, result := range odd(t) {
		t.Run(name, func(t *testing.T) {
			page := pageOf(t, result, extras{})
			if strings.Contains(page, "%!") {
				t.Error("a format does not fit its values")
			}
			for _, drawing := range regexp.MustCompile(`(?s)<svg data-plot.*?</svg>`).FindAllString(page, -1) {
				if coordinate := regexp.MustCompile(`="[^" ]*(NaN|Inf)`).FindString(drawing); coordinate != "" {
					t.Fatalf("a coordinate is %s\n%s", coordinate, drawing)
				}
				for decoder := xml.NewDecoder(strings.NewReader(drawing)); ; {
					if _, err := decoder.Token(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Fatalf("%v\n%s", err, drawing)
					}
				}
			}
		})
	}
}

// odd are results that are hard to draw.
func odd(t *testing.T) map[string]*bench.Result {
	t.Helper()
	edited := func(change func(result *bench.Result)) *bench.Result {
		result := full()
		change(result)
		return result
	}
	return map[string]*bench.Result{
		"full":    full(),
		"nothing": {},
		"zeros": edited(func(r *bench.Result) {
			for i := range r.Measurements {
				m := &r.Measurements[i]
				m.Median, m.Low, m.High = 0, 0, 0
				for k := range m.Curve {
					m.Curve[k].Value = 0
				}
			}
			for i := range r.Comparisons {
				c := &r.Comparisons[i]
				c.Ratio, c.Low, c.High, c.Difference, c.Spread = 0, 0, 0, &bench.Interval{}, nil
			}
		}),
		"negative": edited(func(r *bench.Result) {
			for i := range r.Measurements {
				m := &r.Measurements[i]
				m.Median, m.Low, m.High = -m.Median, -m.High, -m.Low
			}
			for i := range r.Fits {
				r.Fits[i].Fixed, r.Fits[i].PerUnit = -r.Fits[i].Fixed, -r.Fits[i].PerUnit
			}
		}),
		"one point": edited(func(r *bench.Result) {
			r.Measurements = slices.DeleteFunc(r.Measurements, func(m bench.Measurement) bool { return m.Axis != "" && m.Size > 100 })
		}),
		"sizes of nothing": edited(func(r *bench.Result) {
			for i := range r.Measurements {
				if m := &r.Measurements[i]; m.Size == 100 {
					m.Size = 0
				}
			}
		}),
		"much more": edited(func(r *bench.Result) {
			for i := range r.Measurements {
				r.Measurements[i].Median *= 1e9
				r.Measurements[i].High = math.MaxFloat64 / 4
			}
		}),
		"hostile": edited(func(r *bench.Result) {
			for i := range r.Measurements {
				r.Measurements[i].Case += `"><script>alert(1)</script>`
				r.Measurements[i].Impl += `"><b>&`
			}
			for i := range r.Comparisons {
				r.Comparisons[i].Case += `</svg><script>alert(1)</script>`
			}
			r.Warnings = append(r.Warnings, "</ul><script>alert(1)</script>")
		}),
	}
}

// What a file says is shown, and nothing of it is run.
func TestPageEscapes(t *testing.T) {
	page := pageOf(t, odd(t)["hostile"], extras{problems: []string{"<script>"}})
	if strings.Contains(page, "<script") || strings.Contains(page, "<b>&") {
		t.Error("a text of the result is markup of the page")
	}
}

// A report of less says what is missing, and draws the rest.
func TestPageOfLess(t *testing.T) {
	result, _ := run(nil)
	page := pageOf(t, result, extras{})
	for _, want := range []string{
		"the suite auth: round trips", "not asked for<", "there is no usable parity.json in the directory of the run", "--svg DIR/trace-get-new-name.svg",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %s", want)
		}
	}
	if got := plotsOf(page); got["percentiles"] != 2 || got["differences"] == 0 || got["growth"] != 0 {
		t.Errorf("the drawings are %v", got)
	}
	result.Warnings = append(result.Warnings, interrupted+"context canceled")
	if page := pageOf(t, result, extras{}); !strings.Contains(page, "not asked for, or the run ended before") {
		t.Error("the page does not say that the run may have ended before a suite")
	}
}

// A directory may hold both a run and a parity matrix, but not two of one kind; the report
// is made anew when the other comes.
func TestPrepareAndRefresh(t *testing.T) {
	dir := t.TempDir()
	if err := Refresh(dir); err != nil {
		t.Errorf("there is no run: %v", err)
	}
	matrix := filepath.Join(dir, MatrixFile)
	if err := os.WriteFile(matrix, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(dir, ResultFile); err != nil {
		t.Errorf("a run beside a parity matrix: %v", err)
	}
	if err := Prepare(dir, MatrixFile); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("a second parity matrix: got %v, want it to be refused", err)
	}
	result, samples := run(nil)
	if err := Write(dir, result, samples); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, pageFile)
	if want := "the schema of parity.json is"; !strings.Contains(string(read(t, page)), want) {
		t.Errorf("the page does not say %q", want)
	}
	if err := os.Remove(matrix); err != nil {
		t.Fatal(err)
	}
	if err := Refresh(dir); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(read(t, page)), "the schema of") {
		t.Error("the report was not made anew")
	}
}
