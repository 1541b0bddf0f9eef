package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/report"
)

// repository makes a repository of a few pages, and the files and the runs that they show.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"README.md": "# Project\n\n[Documentation](docs/README.md), [results](docs/results.md)\n",
		"docs/README.md": `# Index

- [a page](page.md#second-part)
- [results](results.md) and [differences](differences.md)
`,
		"docs/page.md": `# Page

A get takes [?](? "verbs/get aggregated/crd latency") as long; it was measured, [like this](results.md).
Of [?](? "parity/cases all") cases [?](? "kind: parity/cases same") are the same.

## Second part

[code.go](../code.go "include Server.Start")

[deployment.yaml](../deployment.yaml "include kind: Pod ... name: b")

Settings, such as ` + "`5 ms`" + `, are no figures. Neither is what a block says:

` + "```text\n[1](? \"verbs/none crd latency\") 7 ms\n```\n",
		"docs/results.md":     "# Results\n\n## verbs\n\n<!-- table: results verbs -->\n\nWhat follows stays.\n",
		"docs/differences.md": "# Differences\n\n## By area\n\n<!-- table: areas -->\n\n## One endpoint, several creates at once\n",
		"docs/storage.md":     "[back](README.md)",
		"code.go": `package code

// Server serves.
type Server struct{}

// Start starts it.
func (s *Server) Start(port int) error { return nil }
`,
		"deployment.yaml": "kind: List\nitems:\n- kind: Pod\n  metadata:\n    name: a\n    labels: {}\n- name: b\n",
	} {
		write(t, root, name, text)
	}
	write(t, root, "docs/README.md", read(t, root, "docs/README.md")+"- [storage](storage.md)\n")
	for _, name := range []string{embedded, kind} {
		dir := filepath.Join(root, results, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeRun(t, dir, 1.61)
	}
	git := exec.Command("git", "init", "-q")
	git.Dir = root
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

func writeRun(t *testing.T, dir string, ratio float64) {
	t.Helper()
	measured := func(impl string, median float64) bench.Measurement {
		return bench.Measurement{Suite: "verbs", Case: "get", Impl: impl, Path: bench.ViaAPIServer, Metric: "latency", Unit: "ns", N: 9, Median: median, Low: median, High: median}
	}
	result := &bench.Result{
		Schema:       bench.Schema,
		Environment:  bench.Environment{Command: []string{"compare"}, ReadySeconds: map[string]float64{}, Cluster: embedded, CRD: "schema", Cores: 2, Memory: 8 << 30},
		Measurements: []bench.Measurement{measured("crd", 1e6), measured("aggregated", ratio*1e6)},
		Comparisons:  []bench.Comparison{{Suite: "verbs", Case: "get", Impl: "aggregated", To: "crd", Metric: "latency", Ratio: ratio, Low: 1.5, High: 1.7, N: 9, Verdict: bench.Slower}},
	}
	if err := report.Write(dir, result, nil); err != nil {
		t.Fatal(err)
	}
	matrix, err := json.Marshal(contract.Matrix{Schema: contract.Schema, Cases: []contract.Entry{{ID: "concurrency/one", Area: "concurrency", Verdict: contract.Same}}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, contract.MatrixFile), matrix, 0o644)
	}
	if err == nil {
		err = os.Remove(filepath.Join(dir, "report.md"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// verify returns everything that is wrong.
func verify(t *testing.T, root string) string {
	t.Helper()
	d, err := load(root)
	if err != nil {
		return err.Error()
	}
	changed, problems := d.fill()
	return strings.Join(append(append(changed, problems...), d.check()...), "\n")
}

func TestFill(t *testing.T) {
	root := repository(t)
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	page := read(t, root, "docs/page.md")
	for _, want := range []string{
		`A get takes [1.61x](results.md#verbs "verbs/get aggregated/crd latency") as long`,
		`Of [1](differences.md#by-area "parity/cases all") cases [1](differences.md#by-area "kind: parity/cases same")`,
		"```go\n// Start starts it.\nfunc (s *Server) Start(port int) error { return nil }\n```\n",
		"```yaml\n- kind: Pod\n  metadata:\n    name: a\n    labels: {}\n- name: b\n```\n",
		"```text\n[1](? \"verbs/none crd latency\") 7 ms\n```\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks\n%s\nit is\n%s", want, page)
		}
	}
	if text := read(t, root, "docs/results.md"); !strings.Contains(text, "| get | aggregated | 1.61 ms | crd | 1 ms | 1.61x [1.50, 1.70] | slower | 1.61x [1.50, 1.70], slower |\n\nWhat follows stays.\n") {
		t.Errorf("the table is not filled:\n%s", text)
	}
	if wrong := verify(t, root); wrong != "" {
		t.Errorf("what has just been written is not right:\n%s", wrong)
	}
}

// Whatever is not true any more is found.
func TestVerify(t *testing.T) {
	change := func(name, old, with string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			text := read(t, root, name)
			if !strings.Contains(text, old) {
				t.Fatalf("%s has no %q", name, old)
			}
			write(t, root, name, strings.Replace(text, old, with, 1))
		}
	}
	add := func(text string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			write(t, root, "docs/page.md", read(t, root, "docs/page.md")+"\n"+text+"\n")
		}
	}
	for name, c := range map[string]struct {
		breaks func(*testing.T, string)
		want   string
	}{
		"a broken link":                 {add("[gone](gone.md)"), "docs/page.md: the link gone.md leads nowhere"},
		"a broken link elsewhere":       {change("README.md", "docs/results.md", "docs/result.md"), "README.md: the link docs/result.md leads nowhere"},
		"a heading that is renamed":     {change("docs/page.md", "## Second part", "## Part two"), "docs/page.md has no heading for the link page.md#second-part"},
		"a changed signature":           {change("code.go", "port int", "port uint16"), "docs/page.md"},
		"a symbol that is gone":         {change("code.go", "Start(port", "Run(port"), `code.go: it declares no "Server.Start"`},
		"a changed manifest":            {change("deployment.yaml", "name: a", "name: c"), "docs/page.md"},
		"lines that are gone":           {change("deployment.yaml", "name: b", "name: d"), `no line after "kind: Pod" contains "name: b"`},
		"a changed figure":              {func(t *testing.T, root string) { writeRun(t, filepath.Join(root, results, embedded), 1.7) }, "docs/page.md\ndocs/results.md"},
		"a figure that is typed":        {change("docs/page.md", "[1.61x]", "[1.16x]"), "docs/page.md"},
		"a run that is changed by hand": {change("docs/results/embedded/result.json", "1.61", "1.16"), "it was changed after it was written"},
		"no such figure":                {add(`[?](? "verbs/put crd latency")`), `"verbs/put crd latency": the run has no such figure`},
		"a title that asks nothing":     {add(`[?](? "see there")`), "does not begin with suite/case"},
		"a figure of no run":            {add("It takes 4.2 ms."), `the figure "4.2 ms" is of no run`},
		"a ratio of no run":             {add("| a | b |\n|---|---|\n| 1.5x | c |"), `the figure "1.5x" is of no run`},
		"a claim without evidence":      {add("We have measured that it is fast."), `"We have measured that it is fast." speaks of something measured`},
		"a table that is none":          {add("<!-- table: weather -->"), `there is no table "weather"`},
		"a page that nobody finds":      {func(t *testing.T, root string) { write(t, root, "docs/lost.md", "# Lost\n") }, "docs/lost.md: no page leads to it"},
		"a page that is too long":       {add(strings.Repeat("word ", mostWords)), "words, and 1500 are what people read"},
	} {
		t.Run(name, func(t *testing.T) {
			root := repository(t)
			if err := run(root, false); err != nil {
				t.Fatal(err)
			}
			c.breaks(t, root)
			if wrong := verify(t, root); !strings.Contains(wrong, c.want) {
				t.Errorf("got %q, want that it says %q", wrong, c.want)
			}
			if run(root, true) == nil {
				t.Error("--verify does not fail")
			}
		})
	}
}

// There is no documentation without a repository, and none without runs.
func TestLoad(t *testing.T) {
	if err := run(t.TempDir(), true); err == nil || !strings.Contains(err.Error(), "root of the repository") {
		t.Errorf("outside of a repository: %v", err)
	}
	root := repository(t)
	if err := os.Remove(filepath.Join(root, results, kind, report.ResultFile)); err != nil {
		t.Fatal(err)
	}
	if err := run(root, true); err == nil || !strings.Contains(err.Error(), "there is no result.json") {
		t.Errorf("without a run: %v", err)
	}
}

func TestWords(t *testing.T) {
	text := "# One two\n\nthree [four](x.md \"not these\") five\n\n```go\nnot these\n```\n\n<!-- table: areas -->\n\n| not | these |\n|---|---|\n\nsix\n"
	if got := words(text); got != 7 { // the sign of the heading is one
		t.Errorf("%d words, want 7", got)
	}
}

func TestDiffers(t *testing.T) {
	root := repository(t)
	d, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	d.fill()
	if got, want := d.differs("docs/page.md"), "docs/page.md:3"; got != want {
		t.Errorf("got %s, want %s, where the first figure is", got, want)
	}
}
