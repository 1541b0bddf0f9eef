package contract

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"portrule.example/lab/compare/bench"
)

// Schema names the shape of a parity.json, described by parity.schema.json. It changes
// when a field changes its meaning or goes; fields may be added under the same name.
const Schema = "portrule.example/lab/parity/v1"

// Matrix is what a run leaves: parity.json.
type Matrix struct {
	Schema      string            `json:"schema"`
	Environment bench.Environment `json:"environment"`
	Cases       []Entry           `json:"cases"`
	// Duplicates is how often R4 let two rules have one endpoint, if it was measured.
	Duplicates []Duplicates `json:"duplicates,omitempty"`
	// Warnings are what a reader must know before believing the verdicts.
	Warnings []string `json:"warnings"`
}

// Entry is a case in parity.json.
type Entry struct {
	ID      string  `json:"id"`
	Area    string  `json:"area"`
	Ask     string  `json:"ask"`
	Verdict Verdict `json:"verdict"`
	// CRD and Aggregated are what came of it, empty if it did not run.
	CRD        string `json:"crd"`
	Aggregated string `json:"aggregated"`
	// SameGroup is what came of it on the CRD under the aggregated server's group, if that
	// is not the same.
	SameGroup string `json:"sameGroup,omitempty"`
	// WantCRD and WantAggregated are what was expected, of an UNEXPECTED case.
	WantCRD        string `json:"wantCRD,omitempty"`
	WantAggregated string `json:"wantAggregated,omitempty"`
	// Reason is why the sides differ, or why the case did not run or could not be judged.
	Reason  string   `json:"reason"`
	Kubectl string   `json:"kubectl,omitempty"`
	Rows    []string `json:"rows,omitempty"`
	// Doc and Lab are those of its [Guide].
	Doc string `json:"doc"`
	Lab string `json:"lab"`
}

// Duplicates is a figure about R4 under concurrent creates of one endpoint.
type Duplicates struct {
	// Impl is crd+webhooks, crd+reservation or aggregated.
	Impl string `json:"impl"`
	// Attempts is how many times so many Clients created rules of one endpoint at once.
	Attempts int `json:"attempts"`
	Clients  int `json:"clients"`
	// Admitted is in how many attempts more than one rule was admitted; Share is that by
	// Attempts, Low and High bound it with 95% confidence.
	Admitted int     `json:"admitted"`
	Share    float64 `json:"share"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

// NewMatrix returns the matrix of the rows of a run.
func NewMatrix(rows []Row, environment bench.Environment, warnings []string) *Matrix {
	m := &Matrix{Schema: Schema, Environment: environment, Cases: []Entry{}, Warnings: append([]string{}, warnings...)}
	for _, row := range rows {
		entry := Entry{
			ID: row.ID, Area: row.Area(), Ask: row.Ask, Verdict: row.Verdict, CRD: row.CRD, Aggregated: row.Aggregated,
			Reason: row.Want.Why, Kubectl: row.Kubectl, Rows: row.Rows, Doc: Guides[row.Area()].Doc, Lab: Guides[row.Area()].Lab,
		}
		if row.Because != "" {
			entry.Reason = row.Because
		}
		if row.SameGroup != row.CRD {
			entry.SameGroup = row.SameGroup
		}
		if row.Verdict == Unexpected {
			entry.WantCRD, entry.WantAggregated = row.Want.CRD, row.Want.Aggregated
		}
		m.Cases = append(m.Cases, entry)
	}
	return m
}

// verdicts are in the order in which they are counted.
var verdicts = []Verdict{Same, Differs, CRDOnly, AggregatedOnly, NotRun, Unexpected}

// Count returns how many cases came to a verdict.
func (m *Matrix) Count(verdict Verdict) int {
	n := 0
	for _, entry := range m.Cases {
		if entry.Verdict == verdict {
			n++
		}
	}
	return n
}

// counts says it in a line: "140 same, 12 differs as documented".
func (m *Matrix) counts() string {
	var parts []string
	for _, verdict := range verdicts {
		if n := m.Count(verdict); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, verdict))
		}
	}
	return fmt.Sprintf("%d cases: %s", len(m.Cases), strings.Join(parts, ", "))
}

// areas are those of the entries, in their order.
func (m *Matrix) areas() []string {
	var names []string
	for _, entry := range m.Cases {
		if !slices.Contains(names, entry.Area) {
			names = append(names, entry.Area)
		}
	}
	return names
}

// Table writes the matrix for a terminal: the counts by area, each case that is not the
// same on both sides, and in full what is UNEXPECTED.
func (m *Matrix) Table(w io.Writer) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tabs, "area")
	for _, verdict := range verdicts {
		fmt.Fprintf(tabs, "\t%s", verdict)
	}
	fmt.Fprintln(tabs)
	for _, area := range m.areas() {
		fmt.Fprint(tabs, area)
		part := m.part(area)
		for _, verdict := range verdicts {
			count := "."
			if n := part.Count(verdict); n > 0 {
				count = fmt.Sprint(n)
			}
			fmt.Fprintf(tabs, "\t%s", count)
		}
		fmt.Fprintln(tabs)
	}
	if err := tabs.Flush(); err != nil {
		return err
	}
	for _, entry := range m.Cases {
		switch entry.Verdict {
		case Unexpected:
			fmt.Fprintf(w, "\nUNEXPECTED %s: %s\n", entry.ID, entry.Ask)
			for _, side := range []struct{ name, want, got string }{
				{"crd       ", entry.WantCRD, entry.CRD}, {"aggregated", entry.WantAggregated, entry.Aggregated}, {"same group", entry.WantCRD, entry.SameGroup},
			} {
				if side.name == "same group" && side.got == "" {
					continue
				}
				if side.want == side.got {
					fmt.Fprintf(w, "  %s  %q, as expected\n", side.name, side.got)
					continue
				}
				fmt.Fprintf(w, "  %s  got  %q\n              want %q\n", side.name, side.got, side.want)
			}
			if entry.Reason != "" {
				fmt.Fprintf(w, "  %s\n", entry.Reason)
			}
			if entry.Kubectl != "" {
				fmt.Fprintf(w, "  try it: %s\n", entry.Kubectl)
			}
		case NotRun:
			fmt.Fprintf(w, "\nnot run %s: %s\n", entry.ID, entry.Reason)
		}
	}
	for _, d := range m.Duplicates {
		fmt.Fprintf(w, "\n%s", d)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", m.counts())
	return err
}

func (d Duplicates) String() string {
	return fmt.Sprintf("R4, %d clients at once: %s admitted duplicates in %d of %d attempts (%.1f%% [%.1f, %.1f])",
		d.Clients, d.Impl, d.Admitted, d.Attempts, 100*d.Share, 100*d.Low, 100*d.High)
}

// part is the matrix of one area.
func (m *Matrix) part(area string) *Matrix {
	part := &Matrix{}
	for _, entry := range m.Cases {
		if entry.Area == area {
			part.Cases = append(part.Cases, entry)
		}
	}
	return part
}

// Write writes parity.json and parity.md into dir, which holds no other run's.
func (m *Matrix) Write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	var text strings.Builder
	m.markdown(&text)
	// the one that says that a run is there comes last
	for _, file := range []struct {
		name string
		data []byte
	}{{"parity.md", []byte(text.String())}, {MatrixFile, append(data, '\n')}} {
		if err := os.WriteFile(filepath.Join(dir, file.name), file.data, 0o644); err != nil {
			return fmt.Errorf("write the matrix: %w", err)
		}
	}
	return nil
}

// MatrixFile is the file whose presence says that a directory holds a matrix.
const MatrixFile = "parity.json"

// markdown writes the matrix for people: what differs first in each area.
func (m *Matrix) markdown(w io.Writer) {
	e := m.Environment
	fmt.Fprintf(w, "# PortRule as a CRD and from an aggregated API server: the parity matrix\n\n")
	fmt.Fprintf(w, "%s. Cluster: %s, Kubernetes %s; the aggregated server has k8s.io/apiserver %s.\n\n", m.counts(), e.Cluster, e.Kubernetes, e.Libraries)
	fmt.Fprintf(w, "Each case was put to both, by the same requests. GROUP stands for the group that the implementation\n"+
		"serves: `crd.firewalld.fedoraproject.org` or `firewalld.fedoraproject.org`.\n")
	for _, d := range m.Duplicates {
		fmt.Fprintf(w, "\n%s\n", d)
	}
	for _, warning := range m.Warnings {
		fmt.Fprintf(w, "\n> %s\n", warning)
	}
	for _, area := range m.areas() {
		part := m.part(area)
		fmt.Fprintf(w, "\n## %s\n\n| case | verdict | CRD | aggregated |\n|---|---|---|---|\n", area)
		for _, entry := range part.Cases {
			fmt.Fprintf(w, "| **%s**<br>%s%s | %s | %s | %s |\n", cellText(entry.ID), cellText(entry.Ask), detail(entry), entry.Verdict, code(entry.CRD), code(entry.Aggregated))
		}
	}
}

// detail is what a row says below its question: the reason and how to ask it oneself.
func detail(entry Entry) string {
	var text strings.Builder
	if entry.Reason != "" {
		text.WriteString("<br>*" + cellText(entry.Reason) + "*")
	}
	if entry.Kubectl != "" {
		text.WriteString("<br>" + code(entry.Kubectl))
	}
	return text.String()
}

// cellText makes text safe for a cell of a table.
func cellText(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;", "*", "\\*", "_", "\\_").Replace(text)
}

// code shows text as it is, in a cell of a table.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "<code>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", "|", "&#124;", "\n", "<br>", "*", "&#42;", "_", "&#95;", "`", "&#96;").Replace(text) + "</code>"
}
