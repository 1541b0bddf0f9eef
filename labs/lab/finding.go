package lab

import "fmt"

// Finding is the first thing that is wrong with what the learner has.
type Finding struct {
	// ID is that of a [Problem].
	ID string
	// Where it is: a file, with its line if that is known, or an object of the cluster.
	Where string
	// Found is what is there, Expected what should be.
	Found, Expected string
}

// Problems that can be found in every lab.
const (
	// NotStarted is a lab that has no directory work/.
	NotStarted = "not-started"
	// FileMissing is a file that the learner should have and has not.
	FileMissing = "file-missing"
	// YAMLBroken is a file that cannot be read as YAML, or as what it should be.
	YAMLBroken = "yaml-broken"
	// GoBroken is Go that does not compile.
	GoBroken = "go-broken"
)

// everywhere is what can be wrong in every lab.
var everywhere = []Problem{
	{ID: NotStarted, Hints: []string{
		"Each lab has a directory of yours, work/, which is not there yet.",
		`"lab start" makes it, and never writes over what you have in it.`,
		"Run: lab start and the lab's number.",
	}},
	{ID: FileMissing, Hints: []string{
		"A file that the check reads has gone, or has another name. What does your work/ hold?",
		"The lab's folder start/ holds every file as it was at first.",
		`Copy the file from start/, or begin anew with "lab reset", which keeps a backup.`,
	}},
	{ID: YAMLBroken, Hints: []string{
		"Look at the place that the check names, and at the line before it.",
		"Most often it is the indentation: children stand further right than their parent, by blanks and not by tabs; siblings stand below one another. A text with a colon and a blank in it needs quotes.",
		`"lab diff" shows where your file differs from the solution, indentation included.`,
	}},
	{ID: GoBroken, Hints: []string{
		"Read the first error of the compiler, and leave the others for later: they often follow from it.",
		"The error names file, line and column. Is something declared and not used, or used and not imported?",
		`"lab diff" shows where your file differs from the solution.`,
	}},
}

// Missing is the finding of a file that is not there.
func Missing(where string) *Finding {
	return &Finding{ID: FileMissing, Where: where, Found: "no such file", Expected: "the file that start/ has under this name"}
}

// Error says the finding in one line, for tests and logs.
func (f *Finding) Error() string {
	return fmt.Sprintf("%s: %s: found %s; expected %s", f.ID, f.Where, f.Found, f.Expected)
}
