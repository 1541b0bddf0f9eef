package contract

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"portrule.example/lab/compare/bench"
)

// The table is large enough, and each case says all that a reader needs.
func TestTable(t *testing.T) {
	cases := Cases()
	if len(cases) < 150 {
		t.Errorf("there are %d cases, want at least 150", len(cases))
	}
	id := regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+$`)
	seen, perArea := map[string]bool{}, map[string]int{}
	for _, c := range cases {
		perArea[c.Area()]++
		switch {
		case !id.MatchString(c.ID):
			t.Errorf("%s: an id is area/name, of lower-case letters, digits and hyphens", c.ID)
		case seen[c.ID]:
			t.Errorf("%s: there are two", c.ID)
		case c.Ask == "" || strings.HasSuffix(c.Ask, "."):
			t.Errorf("%s: it asks %q, want a sentence without full stop", c.ID, c.Ask)
		case c.Do == nil:
			t.Errorf("%s: it does nothing", c.ID)
		case c.Want.CRD == "" || c.Want.Aggregated == "":
			t.Errorf("%s: it does not say what must come of it on each side", c.ID)
		case c.Want.CRD != c.Want.Aggregated && c.Want.Why == "":
			t.Errorf("%s: the sides differ, and it does not say why", c.ID)
		case c.Want.Only != "" && c.Want.CRD == c.Want.Aggregated:
			t.Errorf("%s: only %s can do it, but the same comes of it on both sides", c.ID, c.Want.Only)
		case c.Kubectl != "" && !strings.HasPrefix(c.Kubectl, "kubectl "):
			t.Errorf("%s: %q is no line for kubectl", c.ID, c.Kubectl)
		}
		seen[c.ID] = true
		for _, row := range c.Rows {
			if !slices.Contains(KubernetesRows, row) && !slices.Contains(ArticleRows, row) {
				t.Errorf("%s: there is no row %q", c.ID, row)
			}
		}
	}
	for area, n := range perArea {
		if n < 3 {
			t.Errorf("the area %s has %d cases, want at least 3", area, n)
		}
		if Guides[area].Doc == "" {
			t.Errorf("no page explains the area %s", area)
		}
	}
	for area, guide := range Guides {
		if perArea[area] == 0 {
			t.Errorf("a page explains the area %s, which has no case", area)
		}
		for _, path := range []string{guide.Doc, guide.Lab} {
			if _, err := os.Stat(filepath.Join("..", "..", path)); err != nil {
				t.Errorf("the guide of the area %s: %v", area, err)
			}
		}
	}
}

// Every row of the published comparisons has a case.
func TestRowsHaveCases(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range Cases() {
		for _, row := range c.Rows {
			covered[row] = true
		}
	}
	for _, row := range slices.Concat(KubernetesRows, ArticleRows) {
		if !covered[row] {
			t.Errorf("the row %q has no case", row)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		want            Want
		crd, aggregated string
		verdict         Verdict
	}{
		{Both("201"), "201", "201", Same},
		{Both("201"), "201", "409", Unexpected},
		{Both("201"), "409", "201", Unexpected},
		{Both("201"), "409", "409", Unexpected},
		{Differ("201", "405", "why"), "201", "405", Differs},
		{Differ("201", "405", "why"), "201", "201", Unexpected},
		{OnlyAggregated("404", "200", "why"), "404", "200", AggregatedOnly},
		{OnlyCRD("200", "404", "why"), "200", "404", CRDOnly},
		{OnlyCRD("200", "404", "why"), "200", "200", Unexpected},
	} {
		if got := c.want.judge(c.crd, c.aggregated); got != c.verdict {
			t.Errorf("%+v, given %s and %s: %s, want %s", c.want, c.crd, c.aggregated, got, c.verdict)
		}
	}
}

func TestSelect(t *testing.T) {
	cases := []Case{{ID: "watch/one"}, {ID: "list/one"}, {ID: "list/two"}}
	for _, c := range []struct {
		patterns []string
		want     string
		wantErr  string
	}{
		{nil, "watch/one list/one list/two", ""},
		{[]string{"list"}, "list/one list/two", ""},
		{[]string{"list/two", "watch"}, "watch/one list/two", ""},
		{[]string{"list", "lists"}, "", `there is no case or area "lists": the areas are watch, list`},
	} {
		selected, err := Select(cases, c.patterns...)
		var ids []string
		for _, c := range selected {
			ids = append(ids, c.ID)
		}
		if got := strings.Join(ids, " "); got != c.want || (err != nil) != (c.wantErr != "") || err != nil && err.Error() != c.wantErr {
			t.Errorf("%q selects %q (%v), want %q (%s)", c.patterns, got, err, c.want, c.wantErr)
		}
	}
}

func TestProportion(t *testing.T) {
	for _, c := range []struct {
		k, n             int
		share, low, high float64
	}{
		{0, 0, 0, 0, 1},
		{0, 10, 0, 0, 0.2775},
		{5, 10, 0.5, 0.2366, 0.7634},
		{100, 100, 1, 0.9630, 1},
	} {
		share, low, high := proportion(c.k, c.n)
		for _, pair := range [][2]float64{{share, c.share}, {low, c.low}, {high, c.high}} {
			if math.Abs(pair[0]-pair[1]) > 0.0001 {
				t.Errorf("%d of %d: %.4f [%.4f, %.4f], want %.4f [%.4f, %.4f]", c.k, c.n, share, low, high, c.share, c.low, c.high)
				break
			}
		}
	}
}

// sampleMatrix has a case of each verdict.
func sampleMatrix() *Matrix {
	row := func(id string, want Want, crd, aggregated, because string) Row {
		verdict := want.judge(crd, aggregated)
		if crd == "" {
			verdict = NotRun
		}
		return Row{Case: Case{ID: id, Ask: "what | comes of " + id, Want: want, Kubectl: "kubectl get portrules.GROUP"}, Verdict: verdict, CRD: crd, Aggregated: aggregated, Because: because}
	}
	broken := row("patch/json", Both("200"), "200", "415 UnsupportedMediaType: <no>", "")
	broken.SameGroup = "500"
	m := NewMatrix([]Row{
		row("patch/merge", Both("200"), "200", "200", ""),
		row("patch/strategic", OnlyAggregated("415", "200", "a CRD has no Go type"), "415", "200", ""),
		broken,
		row("names/post-on-a-name", Differ("201", "405", "the CRD's handler ignores the name"), "201", "405", ""),
		row("quota/count", OnlyCRD("403", "201", "the plugin does not see the request"), "", "", "it needs a controller manager"),
		row("quota/scope", OnlyCRD("403", "201", "the plugin does not see the request"), "403", "201", ""),
	}, bench.Environment{
		Commit: "c0ffee", Command: []string{"compare", "parity"}, Started: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		Cluster: "embedded", Kubernetes: "v1.36.3", Libraries: "v0.36.3",
	}, []string{"a warning"})
	share, low, high := proportion(9, 10)
	m.Duplicates = []Duplicates{{Impl: "crd+webhooks", Attempts: 10, Clients: 8, Admitted: 9, Share: share, Low: low, High: high}}
	return m
}

// What people and programs read, in testdata: run the test with UPDATE=1 to write it anew.
func TestMatrixFiles(t *testing.T) {
	dir := t.TempDir()
	m := sampleMatrix()
	var table bytes.Buffer
	if err := m.Table(&table); err != nil {
		t.Fatal(err)
	}
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, MatrixFile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "parity.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"matrix.txt": table.Bytes(), "parity.json": data, "parity.md": text} {
		file := filepath.Join("testdata", name)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs; got:\n%s", file, got)
		}
	}

	schema, err := jsonschema.NewCompiler().Compile("parity.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}
}
