// Package lab is what a lab of the workshop is made of: its manifest, what a check
// finds, and what a check looks at.
//
// [Lab] (lab.go) is the manifest, lab.yaml, the one place from which the task's
// text, its checks and its hints take their constants. [Exercise] is its code, of
// which the check is a function of a [Session] (session.go): the learner's files and
// the cluster of the labs. It returns the first [Finding] (finding.go), or nil. How to
// make a lab is in labs/README.md.
//
// A session gives a check what most of them need: [Session.YAML] reads a file of the
// learner's, [Session.Build] (build.go) compiles Go of the learner's, [Session.Start] runs
// it, [Session.Register] (registration.go) puts it behind the aggregator, [Send] sends one
// request. Copies of what the learner has made get a name of [Scratch] in the cluster, and
// [Session.Cleanup] takes them back.
//
// Read lab.go and finding.go, then the check.go of a lab that you have done.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"portrule.example/lab/compare/process"
)

// The files and directories of a lab.
const (
	ManifestFile = "lab.yaml"
	ReadmeFile   = "README.md"
	StartDir     = "start"
	SolutionDir  = "solution"
	WrongDir     = "wrong"
	// WorkDir is the learner's. It is made by "lab start" and never in git.
	WorkDir = "work"
)

// Steps is how many hints lead from a finding to its remedy.
const Steps = 3

// Lab is the manifest of a lab, lab.yaml.
type Lab struct {
	// Number is that of the folder's name.
	Number int `json:"number"`
	// Title is the heading of the README.
	Title string `json:"title"`
	// Goal is one sentence.
	Goal string `json:"goal"`
	// Minutes that a learner takes, reading included.
	Minutes int `json:"minutes"`
	// Needs are programs that must be installed, beside Go, git and make.
	Needs []string `json:"needs,omitempty"`
	// Embedded says why the lab needs the embedded control plane. Empty means that it can be
	// done on kind too.
	Embedded string `json:"embedded,omitempty"`
	// Files are those in work/ that the learner edits.
	Files []string `json:"files"`
	// Watches are the resources, such as customresourcedefinitions.v1.apiextensions.k8s.io,
	// whose change makes "lab watch" check again.
	Watches []string `json:"watches,omitempty"`
	// Constants are the values of the task, by name. Checks read them, texts of this
	// manifest have them as ${name}, and the README must have each as often as said.
	Constants map[string]Constant `json:"constants,omitempty"`
	// Findings are what can be wrong, in the order in which the check looks for it.
	Findings []Problem `json:"findings"`
	// Start says what is wrong with the files of start/.
	Start Answer `json:"start"`
	// Wrong says what is wrong with each folder of wrong/, by its name. Such an answer is
	// the solution with the folder's files in place of its own.
	Wrong map[string]Answer `json:"wrong"`

	// dir is where the lab is.
	dir string
}

// Constant is a value of the task.
type Constant struct {
	Value string `json:"value"`
	// Readme is how many times the README has the value as a word: who changes one
	// of them there, or the value here, is told by "lab verify".
	Readme int `json:"readme"`
	// As is what is looked for in the README, with ${value} in it, where the value alone is
	// too common a word. Empty means the value alone.
	As string `json:"as,omitempty"`
}

// InReadme is what the README must have.
func (c Constant) InReadme() string {
	if c.As == "" {
		return c.Value
	}
	return strings.ReplaceAll(c.As, "${value}", c.Value)
}

// Problem is something that a check may find.
type Problem struct {
	ID string `json:"id"`
	// Hints lead from the finding to its remedy: where to look, what to do, how it is
	// written.
	Hints []string `json:"hints"`
}

// Answer is an answer that a check must refuse.
type Answer struct {
	// Finding is the ID of what the check must find first.
	Finding string `json:"finding"`
	// Run are commands of bash that bring the answer into the cluster, if need be. They
	// run in the repository with the environment of "lab env". What they leave in the
	// background runs until the answer has been checked.
	Run string `json:"run,omitempty"`
}

// Exercise is the code of a lab.
type Exercise struct {
	// Check returns the first thing that is wrong with the learner's work, or nil. An
	// error is about what keeps it from looking, such as a cluster that does not answer.
	// It changes nothing of the learner's: to try files out in the cluster it uses copies
	// under names of its own, and removes them.
	Check func(context.Context, *Session) (*Finding, error)
	// Prepare makes what the lab needs in the cluster, each time that the lab is started.
	// Nil means nothing but the namespace.
	Prepare func(context.Context, *Session) error
	// Serve starts programs that the lab needs beside the control plane, as processes of
	// the group, and returns what ends them. Nil means that there are none. They run
	// until another lab is started. Prepare has run before.
	Serve func(ctx context.Context, s *Session, group *process.Group, say func(string)) (stop func() error, err error)
	// Clean removes from the cluster what the learner has made there. Nil means that
	// there is nothing. It is no error if nothing is there.
	Clean func(context.Context, *Session) error
}

// folderName is NN-name.
var folderName = regexp.MustCompile(`^(\d\d)-[a-z0-9-]+$`)

// Folders returns the names of the labs in a directory, in order.
func Folders(labs string) ([]string, error) {
	entries, err := os.ReadDir(labs)
	if err != nil {
		return nil, fmt.Errorf("look for the labs: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && folderName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Load reads the manifest of the lab in a directory, and fills in its constants.
func Load(dir string) (*Lab, error) {
	path := filepath.Join(dir, ManifestFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of a lab: %w", err)
	}
	l := &Lab{dir: dir}
	if err := yaml.UnmarshalStrict(data, l); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := errors.Join(l.validate()...); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// validate says everything that is wrong with the manifest itself.
func (l *Lab) validate() []error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	match := folderName.FindStringSubmatch(l.Name())
	if match == nil || match[1] != fmt.Sprintf("%02d", l.Number) {
		wrong("number %d does not go with the folder's name %s", l.Number, l.Name())
	}
	if l.Title == "" || l.Goal == "" || l.Minutes <= 0 {
		wrong("title, goal and minutes must be given")
	}
	if len(l.Files) == 0 {
		wrong("files is empty: what does the learner edit?")
	}
	expand := func(text string) string {
		return os.Expand(text, func(name string) string {
			constant, ok := l.Constants[name]
			if !ok {
				wrong("${%s} is not among the constants", name)
			}
			return constant.Value
		})
	}
	l.Goal = expand(l.Goal)
	ids := map[string]bool{}
	for _, problem := range l.Findings {
		if ids[problem.ID] {
			wrong("finding %s is there twice", problem.ID)
		}
		ids[problem.ID] = true
		if len(problem.Hints) != Steps {
			wrong("finding %s has %d hints, not %d", problem.ID, len(problem.Hints), Steps)
		}
		for i, hint := range problem.Hints {
			if strings.TrimSpace(hint) == "" {
				wrong("hint %d of finding %s is empty", i+1, problem.ID)
			}
			problem.Hints[i] = strings.TrimSpace(expand(hint))
		}
	}
	if l.Start.Finding == "" {
		wrong("start has no finding")
	}
	for name, answer := range l.Wrong {
		if answer.Finding == "" {
			wrong("wrong answer %s has no finding", name)
		}
	}
	for _, id := range l.answered() {
		if _, ok := l.Problem(id); !ok {
			wrong("finding %s, which an answer should get, has no hints", id)
		}
	}
	return errs
}

// answered are the findings that answers should get.
func (l *Lab) answered() []string {
	ids := []string{l.Start.Finding}
	for _, answer := range l.Wrong {
		ids = append(ids, answer.Finding)
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
}

// Dir is where the lab is, or a path in there.
func (l *Lab) Dir(elem ...string) string { return filepath.Join(append([]string{l.dir}, elem...)...) }

// Name is the name of the lab's folder, such as 02-crd-by-hand.
func (l *Lab) Name() string { return filepath.Base(l.dir) }

// Namespace is the lab's own in the cluster, such as lab-02.
func (l *Lab) Namespace() string { return fmt.Sprintf("lab-%02d", l.Number) }

// Problem returns what can be wrong under an ID: of this lab, or of every lab.
func (l *Lab) Problem(id string) (Problem, bool) {
	for _, problem := range slices.Concat(l.Findings, everywhere) {
		if problem.ID == id {
			return problem, true
		}
	}
	return Problem{}, false
}

// WrongAnswers returns the names of the folders in wrong/, in order.
func (l *Lab) WrongAnswers() ([]string, error) {
	entries, err := os.ReadDir(l.Dir(WrongDir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
