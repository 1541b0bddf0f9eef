package report

import (
	"strings"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
)

// verdictMarks are the symbols of verdicts, so that they do not depend on a colour, and their
// classes in the page: good and bad for an implementation, or neither.
var verdictMarks = map[string]struct{ symbol, class string }{
	string(bench.Faster):            {"+", "good"},
	string(bench.Smaller):           {"+", "good"},
	string(bench.Slower):            {"−", "bad"},
	string(bench.Larger):            {"−", "bad"},
	string(bench.NoDifference):      {"○", "open"},
	string(bench.TooFew):            {"?", "muted"},
	string(contract.Same):           {"●", "good"},
	string(contract.Differs):        {"◐", "open"},
	string(contract.CRDOnly):        {"◖", "open"},
	string(contract.AggregatedOnly): {"◗", "open"},
	string(contract.NotRun):         {"○", "muted"},
	string(contract.Unexpected):     {"!", "bad"},
	"quiet":                         {"○", "muted"},
}

// verdictOf is the verdict that the text of a cell is, or ends with.
func verdictOf(text string) string {
	if _, ok := verdictMarks[text]; ok {
		return text
	}
	if at := strings.LastIndex(text, "], "); at >= 0 {
		if _, ok := verdictMarks[text[at+3:]]; ok {
			return text[at+3:]
		}
	}
	return ""
}

func verdictSymbol(verdict string) string { return verdictMarks[verdict].symbol }
func verdictClass(verdict string) string  { return verdictMarks[verdict].class }
