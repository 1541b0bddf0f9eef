package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"portrule.example/lab/compare/contract"
)

// parityMatrix is its content.
type parityMatrix = contract.Matrix

// ReadMatrix reads the parity matrix in a directory, nil if there is none.
func ReadMatrix(dir string) (*parityMatrix, error) {
	data, err := os.ReadFile(filepath.Join(dir, MatrixFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the parity matrix: %w", err)
	}
	var matrix parityMatrix
	if err := json.Unmarshal(data, &matrix); err != nil {
		return nil, fmt.Errorf("%s is not a parity matrix: %w; run \"make parity\" again", MatrixFile, err)
	}
	if matrix.Schema != contract.Schema {
		return nil, fmt.Errorf("the schema of %s is %q, and this program reads %q: run \"make parity\" again", MatrixFile, matrix.Schema, contract.Schema)
	}
	return &matrix, nil
}

// parityVerdicts are in the order in which they are shown.
var parityVerdicts = []contract.Verdict{contract.Unexpected, contract.Differs, contract.CRDOnly, contract.AggregatedOnly, contract.NotRun, contract.Same}

// parityParts show the parity matrix: how many cases came to which verdict, by area, what
// is not the same, and what is.
func parityParts(matrix *parityMatrix) []part {
	if matrix == nil || len(matrix.Cases) == 0 {
		return nil
	}
	var areas []string
	counts := map[string]map[contract.Verdict]int{}
	for _, entry := range matrix.Cases {
		areas = appendNew(areas, entry.Area)
		for _, area := range []string{entry.Area, "all"} {
			if counts[area] == nil {
				counts[area] = map[contract.Verdict]int{}
			}
			counts[area][entry.Verdict]++
		}
	}
	e := matrix.Environment
	overview := table{
		title: "By area",
		about: fmt.Sprintf("The same requests put to both, in a run of its own that started %s: Kubernetes %s, k8s.io/apiserver %s, commit %s. "+
			"parity.md in the same directory has every answer.", e.Started.UTC().Format(time.RFC3339), e.Kubernetes, e.Libraries, e.Commit),
		header: []string{"area"},
	}
	for _, verdict := range parityVerdicts {
		overview.header = append(overview.header, string(verdict))
	}
	for _, area := range append(areas, "all") {
		row := []string{area}
		for _, verdict := range parityVerdicts {
			text := "-"
			if n := counts[area][verdict]; n > 0 {
				text = fmt.Sprint(n)
			}
			row = append(row, text)
		}
		overview.rows = append(overview.rows, row)
	}
	parts := []part{{table: overview}, duplicatesPart(matrix)}
	if len(matrix.Warnings) > 0 {
		parts = append(parts, part{table: table{title: "Warnings of that run"}, Items: matrix.Warnings})
	}
	unexpected := parityRows(matrix, func(e contract.Entry) bool { return e.Verdict == contract.Unexpected })
	unexpected.title = "Otherwise than expected"
	parts = append(parts, part{table: unexpected, Cards: true})
	for _, area := range areas {
		t := parityRows(matrix, func(e contract.Entry) bool { return e.Area == area })
		t.title = fmt.Sprintf("%s: %d of %d not the same", title(area), len(t.rows)-counts[area][contract.Same], len(t.rows))
		if counts[area][contract.Same] == len(t.rows) {
			t.title = fmt.Sprintf("%s: all %d the same", title(area), len(t.rows))
		}
		parts = append(parts, part{table: t, Cards: true, Folded: true, OnlyHTML: true})
	}
	return parts
}

// parityRows are those of the cases, what is not the same first.
func parityRows(matrix *parityMatrix, of func(contract.Entry) bool) table {
	t := table{header: []string{"case", "verdict", "CRD", "aggregated", "why"}}
	for _, verdict := range parityVerdicts {
		for _, entry := range matrix.Cases {
			if entry.Verdict != verdict || !of(entry) {
				continue
			}
			aggregated := entry.Aggregated
			if verdict == contract.Same {
				aggregated = "as the CRD"
			}
			t.rows = append(t.rows, []string{
				entry.ID + ": " + entry.Ask, string(verdict), orDash(entry.CRD), orDash(aggregated), orDash(entry.Reason),
			})
		}
	}
	return t
}

// duplicatesPart says how often two rules were let have one endpoint.
func duplicatesPart(matrix *parityMatrix) part {
	t := table{
		title:  "One endpoint, several creates at once",
		about:  "In how many attempts more than one of the rules was admitted, with the 95% interval of the share. None in so many attempts does not say never: the interval says how often it may be.",
		header: []string{"impl", "clients", "attempts", "duplicates in", "share"},
	}
	for _, d := range matrix.Duplicates {
		t.rows = append(t.rows, []string{
			d.Impl, fmt.Sprint(d.Clients), fmt.Sprint(d.Attempts), fmt.Sprint(d.Admitted),
			fmt.Sprintf("%.1f%% [%.1f, %.1f]", 100*d.Share, 100*d.Low, 100*d.High),
		})
	}
	return part{table: t}
}
