package labs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"portrule.example/lab/labs/lab"
)

// repository is the real one.
func repository(t *testing.T) *runner {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return &runner{root: root, exercises: exercises, stdout: newTerminal(&bytes.Buffer{}), stderr: newTerminal(&bytes.Buffer{})}
}

// What can be seen without a control plane is right about every lab, and the set of labs
// is complete: each folder is registered, and nothing else.
func TestLabs(t *testing.T) {
	r := repository(t)
	all, err := r.all()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, l := range all {
		known[l.Name()] = true
		t.Run(l.Name(), func(t *testing.T) {
			for _, err := range r.verifyStatic(l) {
				t.Error(err)
			}
			checkFindings(t, l)
		})
	}
	for name := range exercises {
		if !known[name] {
			t.Errorf("registry.go has %s, which has no folder", name)
		}
	}
}

// checkFindings makes sure that what a check can find has hints, and that no hints are
// for what it does not look for.
func checkFindings(t *testing.T, l *lab.Lab) {
	sources, err := filepath.Glob(l.Dir("*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, source := range sources {
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(data)
	}
	for _, problem := range l.Findings {
		if !strings.Contains(code.String(), `"`+problem.ID+`"`) {
			t.Errorf("no check has the finding %s", problem.ID)
		}
	}
	for name := range l.Constants {
		if !strings.Contains(code.String(), `"`+name+`"`) {
			t.Errorf("no check asks for the constant %s", name)
		}
	}
}

// invented is a repository with one lab, whose check wants the file answer to say 42.
func invented(t *testing.T) *runner {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                            module,
		"labs/03-answer/lab.yaml":           inventedManifest,
		"labs/03-answer/README.md":          strings.ReplaceAll(inventedReadme, "~~~", "```"),
		"labs/03-answer/start/answer":       "\n",
		"labs/03-answer/start/given":        "given\n",
		"labs/03-answer/solution/answer":    "42\n",
		"labs/03-answer/wrong/high/answer":  "43\n",
		"labs/03-answer/wrong/empty/answer": "",
	} {
		write(t, filepath.Join(root, name), text)
	}
	check := func(_ context.Context, s *lab.Session) (*lab.Finding, error) {
		data, finding := s.Read("answer")
		if finding != nil {
			return finding, nil
		}
		switch got, want := strings.TrimSpace(string(data)), s.Constant("answer"); got {
		case want:
			s.Verified("the answer is %s", want)
			return nil, nil
		case "":
			return &lab.Finding{ID: "empty", Where: s.Where("answer"), Found: "nothing", Expected: "a number"}, nil
		case "cluster":
			_, err := s.Admin()
			return nil, err
		case "panic":
			panic("broken")
		case "unknown":
			return &lab.Finding{ID: "unknown"}, nil
		default:
			return &lab.Finding{ID: "other", Where: s.Where("answer"), Found: got, Expected: want}, nil
		}
	}
	return &runner{
		root: root, exercises: map[string]lab.Exercise{"03-answer": {Check: check}},
		stdout: newTerminal(&bytes.Buffer{}), stderr: newTerminal(&bytes.Buffer{}),
	}
}

const inventedManifest = `number: 3
title: The answer
goal: Find the answer.
minutes: 5
embedded: it is an invention
files: [answer]
constants:
  answer: {value: "42", readme: 2}
findings:
- {id: empty, hints: [Write something., Write a number., "Write ${answer}."]}
- {id: other, hints: [It is another one., It is even., "Write ${answer}."]}
start: {finding: empty}
wrong:
  high: {finding: other}
  empty: {finding: empty}
`

const inventedReadme = `# Lab 3. The answer

5 minutes.

## What you will know

42.

## Steps

**Predict first.** <details></details>

<!-- lab: solve -->
~~~sh
cat labs/03-answer/work/answer
~~~

~~~text
42
~~~

## Explanation

## Further reading

- [docs](../../docs/authorization.md)
`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (r *runner) inventedLab(t *testing.T) (*lab.Lab, lab.Exercise) {
	t.Helper()
	l, exercise, err := r.find("3")
	if err != nil {
		t.Fatal(err)
	}
	return l, exercise
}

func TestVerifyStaticNoticesChanges(t *testing.T) {
	edit := func(name, old, changed string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), old) {
				t.Fatalf("%s has no %q", name, old)
			}
			write(t, path, strings.Replace(string(data), old, changed, 1))
		}
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string // in the error; nothing means that there is none
	}{
		"nothing": {func(*testing.T, string) {}, ""},
		"a wrong answer without its hint": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "wrong/new/answer"), "0")
		}, "the wrong answer new has no finding"},
		"a finding without its answer": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "wrong/high")); err != nil {
				t.Fatal(err)
			}
		}, "wrong/ has no such folder"},
		"a constant in the README":   {edit("README.md", "42", "41"), `has "42" 1 times`},
		"a constant in the manifest": {edit("lab.yaml", `value: "42"`, `value: "41"`), `has "41" 0 times`},
		"minutes":                    {edit("lab.yaml", "minutes: 5", "minutes: 6"), `"6 minutes"`},
		"title":                      {edit("lab.yaml", "title: The", "title: An"), "must begin with"},
		"a section":                  {edit("README.md", "## Explanation", "## Words"), `no heading "## Explanation"`},
		"predict first":              {edit("README.md", "Predict first", "Think"), "predict first"},
		"reading":                    {edit("README.md", "../../docs/", "../"), "docs/"},
		"where to solve":             {edit("README.md", "lab: solve", "solve"), "<!-- lab: solve -->"},
		"a file of the solution": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "solution/answer")); err != nil {
				t.Fatal(err)
			}
		}, "solution has no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			r := invented(t)
			test.change(t, filepath.Join(r.dir(), "03-answer"))
			l, _ := r.inventedLab(t)
			err := errors.Join(r.verifyStatic(l)...)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestStartNeverWritesOverEdits(t *testing.T) {
	r := invented(t)
	l, _ := r.inventedLab(t)
	if made, err := begin(l); !made || err != nil {
		t.Fatal(made, err)
	}
	write(t, l.Dir(lab.WorkDir, "answer"), "mine")
	if made, err := begin(l); made || err != nil {
		t.Fatal(made, err)
	}
	if data, _ := os.ReadFile(l.Dir(lab.WorkDir, "answer")); string(data) != "mine" {
		t.Errorf("the answer is %q", data)
	}
}

func TestReplaceKeepsBackups(t *testing.T) {
	r := invented(t)
	l, _ := r.inventedLab(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	replaced := func(from string) string {
		t.Helper()
		backup, err := replace(l, from, now)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Base(backup)
	}
	content := func(dir string) string {
		t.Helper()
		data, err := os.ReadFile(l.Dir(dir, "answer"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if backup := replaced(lab.StartDir); backup != "." {
		t.Errorf("nothing was there, and the backup is %s", backup)
	}
	for _, edit := range []struct{ text, backup string }{
		{"mine", "work.backup-20260102T030405Z"},
		{"mine too", "work.backup-20260102T030405Z-1"}, // within the same second
	} {
		write(t, l.Dir(lab.WorkDir, "answer"), edit.text)
		if backup := replaced(lab.StartDir); backup != edit.backup || content(backup) != edit.text {
			t.Errorf("the backup of %q is %s and says %q", edit.text, backup, content(backup))
		}
		if backup := replaced(lab.StartDir); backup != "." {
			t.Errorf("nothing has changed, and the backup is %s", backup)
		}
	}
	if replaced(lab.SolutionDir); content(lab.WorkDir) != "42\n" {
		t.Errorf("the solution is %q", content(lab.WorkDir))
	}
	if _, err := os.Stat(l.Dir(lab.WorkDir, "given")); err != nil {
		t.Errorf("the solution lacks what start/ gives: %v", err)
	}
	if left, _ := filepath.Glob(l.Dir("work.new*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCheckIsAHelpfulSentence(t *testing.T) {
	for name, test := range map[string]struct {
		answer  string // "-" is none
		finding string
		err     string
	}{
		"right":             {"42", "", ""},
		"wrong":             {"43", "other", ""},
		"no file":           {"-", lab.FileMissing, ""},
		"a stopped cluster": {"cluster", "", `run "lab start 3"`},
		"a broken check":    {"panic", "", "a fault of the lab and not yours: broken"},
		"an unknown one":    {"unknown", "", "a fault of the lab"},
	} {
		t.Run(name, func(t *testing.T) {
			r := invented(t)
			l, exercise := r.inventedLab(t)
			write(t, l.Dir(lab.WorkDir, "given"), "")
			if test.answer != "-" {
				write(t, l.Dir(lab.WorkDir, "answer"), test.answer)
			}
			checked, err := r.check(context.Background(), l, exercise)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got the error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if checked.finding == nil && test.finding != "" || checked.finding != nil && checked.finding.ID != test.finding {
				t.Errorf("found %v, want %q", checked.finding, test.finding)
			}
		})
	}
	r := invented(t)
	l, exercise := r.inventedLab(t)
	if checked, err := r.check(context.Background(), l, exercise); err != nil || checked.finding.ID != lab.NotStarted {
		t.Errorf("a lab that was not started: %v, %v", checked, err)
	}
}

// Each finding has its hints, from the vaguest on; another finding begins anew.
func TestHints(t *testing.T) {
	r := invented(t)
	l, _ := r.inventedLab(t)
	hint := func(id string) string {
		t.Helper()
		var out bytes.Buffer
		r.stdout = newTerminal(&out)
		if err := r.hint(l, &result{finding: &lab.Finding{ID: id}}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for i, test := range []struct{ id, want string }{
		{"empty", "Hint 1 of 3\nWrite something."},
		{"empty", "Hint 2 of 3\nWrite a number."},
		{"empty", "Hint 3 of 3\nWrite 42."},
		{"empty", "Hint 3 of 3\nWrite 42."},
		{"other", "Hint 1 of 3\nIt is another one."},
		{"empty", "Hint 1 of 3"},
		{lab.YAMLBroken, "Hint 1 of 3\nLook at the place"},
	} {
		if got := hint(test.id); !strings.Contains(got, test.want) {
			t.Errorf("hint %d: got %q, want %q", i, got, test.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	r := invented(t)
	l, exercise := r.inventedLab(t)
	v := &verification{runner: r}
	if err := fill(l, lab.SolutionDir); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ answer, finding, err string }{
		"the finding":     {"43", "other", ""},
		"another finding": {"", "other", "where other should be found"},
		"it passes":       {"42", "other", "it passes"},
	} {
		write(t, l.Dir(lab.WorkDir, "answer"), test.answer)
		err := v.refuse(context.Background(), l, exercise, lab.Answer{Finding: test.finding})
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: got %v, want %q", name, err, test.err)
		}
	}
	if err := v.resets(context.Background(), l, exercise); err != nil {
		t.Errorf("resets: %v", err)
	}
}

// A README is done as it is written: a command that prints something else is noticed.
func TestVerifyReadme(t *testing.T) {
	const checked = "~~~sh\nlab() { test -f labs/03-answer/work/answer; }\nlab check 3\n~~~\n"
	for name, test := range map[string]struct{ old, changed, err string }{
		"as it is":            {"## Explanation", checked, ""},
		"never checked":       {"", "", "never"},
		"another command":     {"cat labs", "head -c 1 labs", "README: 42"},
		"a command fails":     {"cat labs", "cat no/labs", "ends with status 1"},
		"should fail":         {"<!-- lab: solve -->", "<!-- lab: solve -->\n<!-- lab: fails -->", "should fail and does not"},
		"checked unsolved":    {"<!-- lab: solve -->", checked, "does not pass"},
		"solved file by file": {"<!-- lab: solve -->", "<!-- lab: solve answer -->\n" + checked, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := invented(t)
			l, exercise := r.inventedLab(t)
			text := strings.Replace(inventedReadme, test.old, test.changed, 1)
			write(t, l.Dir(lab.ReadmeFile), strings.ReplaceAll(text, "~~~", "```"))
			if err := fill(l, lab.StartDir); err != nil {
				t.Fatal(err)
			}
			v := &verification{runner: r, scripts: t.TempDir()}
			verified, err := v.readme(context.Background(), l, exercise)
			if test.err == "never" {
				if verified != 0 || err != nil {
					t.Errorf("verified %d, %v", verified, err)
				}
				return
			}
			if test.err == "" && (err != nil || verified != 1) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("verified %d, got %v, want %q", verified, err, test.err)
			}
		})
	}
}

// command runs the program on an invented repository.
func (r *runner) command(args ...string) (stdout string, err error) {
	var out bytes.Buffer
	err = Run(context.Background(), append([]string{"--root", r.root}, args...), &out, &out)
	return out.String(), err
}

func TestCommands(t *testing.T) {
	r := invented(t)
	exercises["03-answer"] = r.exercises["03-answer"]
	t.Cleanup(func() { delete(exercises, "03-answer") })
	t.Setenv("KUBECONFIG", "")
	t.Setenv("CLUSTER", "")
	l, _ := r.inventedLab(t)
	for i, test := range []struct {
		args     string
		out, err string
		usage    bool
	}{
		{args: "list", out: "   3  The answer"},
		{args: "list 3", err: "list takes no arguments", usage: true},
		{args: "lsit", err: `there is no command "lsit"`, usage: true},
		{args: "check", err: "check takes the number of one lab", usage: true},
		{args: "check three", err: `"three" is not the number of a lab`, usage: true},
		{args: "check 4", err: "there is no lab 4", usage: true},
		{args: "check 3 --flag", err: "unknown flag", usage: true},
		{args: "start 3 --cluster kind", err: "lab 3 needs the embedded control plane: it is an invention; leave --cluster and CLUSTER out", usage: true},
		{args: "start 3 --cluster none", err: `there is no cluster "none"`, usage: true},
		{args: "verify --cluster none", err: `there is no cluster "none"`, usage: true},
		{args: "check 3 --kubeconfig f", err: "go together", usage: true},
		{args: "check 3 --foreign-cluster", err: "go together", usage: true},
		{args: "check 3 --foreign-cluster --kubeconfig no/such/file", err: "--kubeconfig: stat"},
		{args: "env", err: `not running: run "lab start"`},
		{args: "down"},
		{args: "check 3", out: "no such directory", err: "not there yet"},
		{args: "diff 3", err: `run "lab start 3"`},
		{args: "reset 3", out: "labs/03-answer/work is as in start"},
		{args: "list", out: "-  3  The answer"},
		{args: "check 3", out: "NO  labs/03-answer/work/answer\n    found:    nothing\n    expected: a number", err: "not there yet"},
		{args: "hint 3", out: "Write something."},
		{args: "diff 3", out: "+42\n"},
		{args: "solve 3", out: "what you had is in labs/03-answer/work.backup-"},
		{args: "diff 3", out: "those of the solution"},
		{args: "check 3", out: "ok  the answer is 42\n\nLab 3 is passed. You took 1 min."},
		{args: "hint 3", out: "nothing is wrong"},
		{args: "watch 3", out: "Lab 3 is passed."},
		{args: "list", out: "x  3  The answer"},
		{args: "verify --static", out: ""},
	} {
		out, err := r.command(strings.Fields(test.args)...)
		if !strings.Contains(out, test.out) {
			t.Errorf("%d: lab %s prints %q, want %q", i, test.args, out, test.out)
		}
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%d: lab %s: got the error %v, want %q", i, test.args, err, test.err)
		}
		if usage := errors.As(err, &UsageError{}); usage != test.usage {
			t.Errorf("%d: lab %s: a usage error: %t, want %t", i, test.args, usage, test.usage)
		}
		for line := range strings.Lines(out) {
			if len(strings.TrimRight(line, "\n")) > width && !strings.Contains(line, "/") {
				t.Errorf("%d: lab %s prints a line of more than %d characters: %s", i, test.args, width, line)
			}
		}
		if strings.ContainsFunc(out, func(r rune) bool { return r > 127 || r == '\x1b' }) {
			t.Errorf("%d: lab %s is not plain: %q", i, test.args, out)
		}
	}
	// what is remembered is worth less than the lab
	write(t, r.state("progress.json"), "{half")
	if out, err := r.command("list"); err != nil || !strings.Contains(out, "   3  The answer") {
		t.Errorf("with a broken memory: %q, %v", out, err)
	}
	if _, err := os.Stat(l.Dir(lab.WorkDir)); err != nil {
		t.Error(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, test := range map[string]struct{ old, changed, want string }{
		"another number":    {"number: 3", "number: 4", "does not go with"},
		"two hints":         {"Write something., ", "", "has 2 hints, not 3"},
		"an empty hint":     {"Write something.", `" "`, "is empty"},
		"unknown constant":  {"${answer}", "${anwser}", "${anwser} is not among the constants"},
		"unknown field":     {"minutes", "munites", "munites"},
		"answer, no hint":   {"{finding: other}", "{finding: another}", "finding another, which an answer should get, has no hints"},
		"answer, no reason": {"{finding: other}", "{}", "wrong answer high has no finding"},
		"twice":             {"id: other", "id: empty", "is there twice"},
		"no files":          {"files: [answer]", "files: []", "what does the learner edit"},
		"no YAML":           {"number: 3", "number: [", "yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "03-answer")
			write(t, filepath.Join(dir, lab.ManifestFile), strings.Replace(inventedManifest, test.old, test.changed, 1))
			if _, err := lab.Load(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text string
		n    int
		want string
	}{
		{"one two three", 7, "one two|three"},
		{"a-very-long-word b", 5, "a-very-long-word|b"},
		{"one\ntwo", 80, "one|two"},
		{"text\n    an   example\ntext", 8, "text|    an   example|text"},
		{"", 80, ""},
	} {
		if got := strings.Join(wrap(test.text, test.n), "|"); got != test.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", test.text, test.n, got, test.want)
		}
	}
}

// Lines after the first stand below it, whatever colour it has.
func TestParagraph(t *testing.T) {
	for _, fancy := range []bool{false, true} {
		var out strings.Builder
		terminal := &terminal{Writer: &out, fancy: fancy}
		terminal.paragraph(terminal.tick(), strings.Repeat("word ", 20))
		lines := strings.Split(styles.ReplaceAllString(out.String(), ""), "\n")
		before, _, _ := strings.Cut(lines[0], "word")
		if want := utf8.RuneCountInString(before); strings.Index(lines[1], "word") != want {
			t.Errorf("fancy %v: the second line does not begin at %d: %q", fancy, want, out.String())
		}
	}
}

// What learners have in half-edited files is never a stack trace.
func TestBadFiles(t *testing.T) {
	r := repository(t)
	for _, test := range []struct{ number, file, text, finding, where, found string }{
		{"2", "crd.yaml", "spec:\n  a: [", lab.YAMLBroken, "crd.yaml:", ""},
		{"2", "crd.yaml", "\tspec: 1", lab.YAMLBroken, "crd.yaml", "cannot start any token"},
		{"2", "crd.yaml", "spec: text", lab.YAMLBroken, "crd.yaml: spec", "a string"},
		{"2", "crd.yaml", "spec: {versions: {}}", lab.YAMLBroken, "crd.yaml: spec.versions", "fields of its own"},
		{"2", "crd.yaml", "", lab.YAMLBroken, "crd.yaml", "empty"},
		{"2", "crd.yaml", "spec: {gruop: a}", lab.YAMLBroken, "crd.yaml", "gruop"},
		{"2", "crd.yaml", "kind: Pod", "names", "crd.yaml: kind", "Pod"},
		{"2", "crd.yaml", "-", lab.FileMissing, "crd.yaml", "no such file"},
		{"1", "answers.yaml", "paths: {", lab.YAMLBroken, "answers.yaml", ""},
		{"1", "answers.yaml", "path: {}", lab.YAMLBroken, "answers.yaml", "path"},
		{"1", "answers.yaml", "-", lab.FileMissing, "answers.yaml", "no such file"},
		{"11", "role.yaml", "kind: Role\nrules: {", lab.YAMLBroken, "role.yaml", ""},
		{"11", "role.yaml", "kind: Role\nrule: []", lab.YAMLBroken, "role.yaml", "rule"},
		{"11", "role.yaml", "kind: ClusterRole", "role-kind", "role.yaml", "ClusterRole"},
		{"11", "role.yaml", "rules: []", lab.YAMLBroken, "role.yaml", "without kind"},
		{"11", "role.yaml", "-", lab.FileMissing, "role.yaml", "no such file"},
		{"11", "main.go", "package main\n\nfunc main() {", lab.GoBroken, "main.go:3", ""},
		{"11", "main.go", "package main\n\nfunc main() {\n\tx := 1\n}\n", lab.GoBroken, "main.go:4", "declared and not used"},
		{"11", "main.go", "package main\n\nimport \"no/such\"\n\nfunc main() {}\n", lab.GoBroken, "main.go:3", "no/such"},
		{"11", "main.go", "package other\n", lab.GoBroken, "main.go", "package other"},
		{"11", "main.go", "package main\n", lab.GoBroken, "main.go", "function main is undeclared"},
		{"11", "main.go", "", lab.GoBroken, "main.go", ""},
		{"11", "main.go", "-", lab.FileMissing, "main.go", "no such file"},
	} {
		t.Run(fmt.Sprintf("%s %s %q", test.number, test.file, test.text), func(t *testing.T) {
			l, exercise, err := r.find(test.number)
			if err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			if err := errors.Join(copyFiles(l.Dir(lab.StartDir), work), copyFiles(l.Dir(lab.SolutionDir), work)); err != nil {
				t.Fatal(err)
			}
			if test.text == "-" {
				if err := os.Remove(filepath.Join(work, test.file)); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, filepath.Join(work, test.file), test.text)
			}
			s := lab.NewSession(l, r.root, work, t.TempDir(), &lab.Cluster{Kubeconfig: filepath.Join(work, "none")})
			checked, err := runCheck(context.Background(), s, exercise)
			if err != nil {
				t.Fatal(err)
			}
			f := checked.finding
			if f == nil || f.ID != test.finding || !strings.Contains(f.Where, test.where) || !strings.Contains(f.Found, test.found) {
				t.Errorf("found %v, want %s at %s: %s", f, test.finding, test.where, test.found)
			}
			if f != nil && (f.Expected == "" || strings.Contains(f.Found, "goroutine ")) {
				t.Errorf("not a helpful sentence: %v", f)
			}
		})
	}
}

// Without a control plane each check says how to get one.
func TestChecksWithoutCluster(t *testing.T) {
	r := repository(t)
	all, err := r.all()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		work := t.TempDir()
		if err := errors.Join(copyFiles(l.Dir(lab.StartDir), work), copyFiles(l.Dir(lab.SolutionDir), work)); err != nil {
			t.Fatal(err)
		}
		s := lab.NewSession(l, r.root, work, t.TempDir(), nil)
		_, err := runCheck(context.Background(), s, exercises[l.Name()])
		if !errors.Is(err, lab.ErrDown) || !strings.Contains(err.Error(), fmt.Sprintf("lab start %d", l.Number)) {
			t.Errorf("lab %d: %v", l.Number, err)
		}
	}
}
