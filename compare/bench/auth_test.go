package bench

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every cell of the matrix is measured, or cites one that is.
func TestAuthCells(t *testing.T) {
	measured, citations := AuthCells(false)
	all := map[Cell]bool{}
	for _, cell := range measured {
		if all[cell] {
			t.Errorf("%s is measured twice", cell)
		}
		all[cell] = true
	}
	for _, c := range citations {
		switch {
		case all[c.Cell]:
			t.Errorf("%s is there twice", c.Cell)
		case !slices.Contains(measured, c.Cites):
			t.Errorf("%s cites %s, which is not measured", c.Cell, c.Cites)
		case c.Why == "" || c.Suite != Auth.Name:
			t.Errorf("the citation %+v does not say why", c)
		}
		all[c.Cell] = true
	}
	for _, request := range authRequests() {
		for _, way := range []struct {
			impl, path  string
			credentials []string
			caches      []string
		}{
			{CRD, ViaAPIServer, []string{ByCertificate, ByToken, ByNothing}, []string{""}},
			{Aggregated, ViaAPIServer, []string{ByCertificate, ByToken, ByNothing}, []string{Warm, Cold}},
			{NameFree, ViaAPIServer, []string{ByCertificate, ByToken, ByNothing}, []string{Warm, Cold}},
			{Aggregated, Direct, []string{ByCertificate, ByToken, ByNothing, ByFrontProxy}, []string{Warm, Cold}},
			{NameFree, Direct, []string{ByCertificate, ByToken, ByNothing, ByFrontProxy}, []string{Warm, Cold}},
		} {
			for _, credential := range way.credentials {
				for _, cache := range way.caches {
					cell := Cell{request, way.impl, way.path, credential, cache}
					if impossible := way.impl == CRD && request == "probe"; all[cell] == impossible {
						t.Errorf("%s is in the matrix: %t", cell, all[cell])
					}
					delete(all, cell)
				}
			}
		}
	}
	for cell := range all {
		if cell.Impl != Webhooks || cell.Case != "create" {
			t.Errorf("%s is not in the issue's matrix", cell)
		}
	}
	quick, none := AuthCells(true)
	if len(quick) != 12 || len(none) > 0 {
		t.Errorf("a quick run has %d cells and %d citations", len(quick), len(none))
	}
	for _, cell := range quick {
		if !slices.Contains(measured, cell) {
			t.Errorf("a quick run measures %s, a full one does not", cell)
		}
	}
}

// Each cell has a session, no session stands for two cells of a case, and whatever is
// compared is there.
func TestAuthSuite(t *testing.T) {
	for _, quick := range []bool{false, true} {
		cells, _ := AuthCells(quick)
		n := 0
		for _, c := range AuthSuite(cells).Cases {
			if len(c.Cells) != len(c.Impls) {
				t.Errorf("%s: %d sessions stand for %d cells", c.Name, len(c.Impls), len(c.Cells))
			}
			for _, pair := range c.Pairs {
				if !slices.Contains(c.Impls, pair[0]) || !slices.Contains(c.Impls, pair[1]) || pair[0] == pair[1] {
					t.Errorf("%s compares %q", c.Name, pair)
				}
			}
			n += len(c.Cells)
		}
		if n != len(cells) {
			t.Errorf("%d cells are in the suite, of %d", n, len(cells))
		}
		if !quick {
			for _, remedy := range Remedies {
				if !slices.Contains(cells, remedy.With) || !slices.Contains(cells, remedy.Without) {
					t.Errorf("the remedy %q compares cells that are not measured", remedy.What)
				}
			}
		}
	}
}

func TestGrowthModel(t *testing.T) {
	for _, c := range []struct {
		g    Growth
		want float64
	}{
		// one pair: a review each TTL and the time until the next request
		{Growth{1, 1, 100, time.Second}, 1 / 1.01},
		{Growth{4, 25, 100, time.Second}, 50},
		// of very many pairs each request is the first
		{Growth{1000, 1000, 100, time.Second}, 100},
		{Growth{2, 5, 100, 10 * time.Second}, 10 / 10.1},
	} {
		if got := c.g.Model(); math.Abs(got-c.want) > c.want/100 {
			t.Errorf("%+v: %v reviews a second, want %v", c.g, got, c.want)
		}
	}
}

func TestDisagreements(t *testing.T) {
	cell := Cell{"get", Aggregated, Direct, ByToken, Cold}
	slope := cell.SlopeMeasurement(Slope{Link: "server-apiserver", Median: 2.05, N: 10})
	tokens := cell.measurement("tokenreviews", 20, 1, 1, 1)
	access := cell.measurement("subjectaccessreviews", 20, 1, 1, 1)
	if got := Disagreements([]Measurement{slope, tokens, access}); len(got) > 0 {
		t.Errorf("2.05 round trips and two reviews: %q", got)
	}
	access.Median = 0
	if got := Disagreements([]Measurement{slope, tokens, access}); len(got) != 1 || !strings.Contains(got[0], cell.String()) {
		t.Errorf("2.05 round trips and one review: %q", got)
	}
}
