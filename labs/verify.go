package labs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
	"portrule.example/lab/labs/readme"
)

// slowCheck is what a check should not take. It is said and is no failure: a machine
// may be slow.
const slowCheck = 5 * time.Second

// Timing is what verify has measured of one lab.
type Timing struct {
	Lab string `json:"lab"`
	// Seconds of machine time, for all that verify does with the lab.
	Seconds float64 `json:"seconds"`
	// ReadmeSeconds is how long the commands of the README take of that.
	ReadmeSeconds float64 `json:"readmeSeconds"`
	// CheckSeconds is the longest check.
	CheckSeconds float64 `json:"checkSeconds"`

	blocks, wrong int
}

func (r *runner) verifyCommand() *cobra.Command {
	var record, kind string
	var static bool
	cmd := &cobra.Command{
		Use:   "verify [N...]",
		Short: "Does labs as a learner would, by their READMEs, and makes sure that wrong answers are found",
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.foreign != "" {
				return usagef("verify has a control plane of its own")
			}
			all, err := r.all()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				var chosen []*lab.Lab
				for _, number := range args {
					l, _, err := r.find(number)
					if err != nil {
						return err
					}
					chosen = append(chosen, l)
				}
				all = chosen
			}
			kind, err := parseKind(kind)
			if err != nil {
				return err
			}
			var errs []error
			for _, l := range all {
				errs = append(errs, r.verifyStatic(l)...)
			}
			if err := errors.Join(errs...); err != nil || static {
				return err
			}
			all = slices.DeleteFunc(all, func(l *lab.Lab) bool {
				err := suits(l, kind)
				if err != nil {
					r.stdout.paragraph("not run: ", err.Error())
				}
				return err != nil
			})
			timings, err := r.verify(cmd.Context(), all, kind)
			if record != "" && len(timings) > 0 {
				err = errors.Join(err, writeTimings(record, timings))
			}
			return err
		},
	}
	clusterFlag(cmd, &kind)
	cmd.Flags().StringVar(&record, "record", "", "write how long each lab took the machine to this file, as JSON")
	cmd.Flags().BoolVar(&static, "static", false, "only what needs no control plane: manifests, READMEs, constants, that answers have hints")
	return cmd
}

func writeTimings(path string, timings []Timing) error {
	data, err := json.MarshalIndent(map[string]any{
		"machine": fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		"labs":    timings,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// sections are the headings that every README has, in this order.
var sections = []string{"## What you will know", "## Steps", "## Explanation", "## Further reading"}

// minimumWrong is how many wrong answers a lab has at least.
const minimumWrong = 2

// verifyStatic says everything that is wrong with a lab and can be seen without running
// it.
func (r *runner) verifyStatic(l *lab.Lab) []error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("labs/%s: "+format, append([]any{l.Name()}, args...)...))
	}
	if _, ok := r.exercises[l.Name()]; !ok {
		wrong("it is not in labs/registry.go")
	}
	for _, name := range l.Files {
		for _, dir := range []string{lab.StartDir, lab.SolutionDir} {
			if _, err := os.Stat(l.Dir(dir, name)); err != nil {
				wrong("%s has no %s, which the learner edits", dir, name)
			}
		}
	}
	answers, err := l.WrongAnswers()
	if err != nil {
		wrong("%w", err)
	}
	for _, name := range answers {
		if _, ok := l.Wrong[name]; !ok {
			wrong("the wrong answer %s has no finding in %s, so nobody knows which hint it should get", name, lab.ManifestFile)
		}
	}
	for name := range l.Wrong {
		if !slices.Contains(answers, name) {
			wrong("%s speaks of a wrong answer %s, and wrong/ has no such folder", lab.ManifestFile, name)
		}
	}
	if len(answers) < minimumWrong {
		wrong("it has %d wrong answers and should have at least %d", len(answers), minimumWrong)
	}

	data, err := os.ReadFile(l.Dir(lab.ReadmeFile))
	if err != nil {
		wrong("%w", err)
		return errs
	}
	text := string(data)
	headings := readme.Headings(text)
	if title := fmt.Sprintf("# Lab %d. %s", l.Number, l.Title); len(headings) == 0 || headings[0] != title {
		wrong("README.md must begin with %q", title)
	}
	if minutes := fmt.Sprintf("%d minutes", l.Minutes); !strings.Contains(text, minutes) {
		wrong("README.md does not say %q, as %s does", minutes, lab.ManifestFile)
	}
	for _, section := range sections {
		if !slices.Contains(headings, section) {
			wrong("README.md has no heading %q", section)
		}
	}
	if !strings.Contains(text, "Predict first") || !strings.Contains(text, "<details>") {
		wrong("README.md asks the reader nowhere to predict first")
	}
	if _, reading, _ := strings.Cut(text, sections[len(sections)-1]); !strings.Contains(reading, "](../../docs/") {
		wrong("the further reading in README.md leads to nothing in docs/")
	}
	for _, name := range slices.Sorted(keys(l.Constants)) {
		constant := l.Constants[name]
		if got := readme.Count(text, constant.InReadme()); got != constant.Readme || got == 0 {
			wrong("README.md has %q %d times, and %s says %d (constant %s)", constant.InReadme(), got, lab.ManifestFile, constant.Readme, name)
		}
	}
	blocks, err := readme.Blocks(text)
	if err != nil {
		wrong("README.md: %w", err)
	}
	if !slices.ContainsFunc(blocks, func(b readme.Block) bool { return b.Solve }) {
		wrong("README.md does not say where the learner solves the task: <!-- lab: solve -->")
	}
	return errs
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// lastWill ends the processes that own directories of the state, and waits for them: they
// are not to write there once it is removed.
const lastWill = `for i in 1 2 3 4 5 6 7 8 9 10; do
	alive=
	for f in '%s'/*/owner; do [ -f "$f" ] && read -r pid <"$f" && kill "$pid" && alive=yes; done 2>/dev/null
	[ "$alive" ] || break
	sleep 1
done`

// verify does labs in a copy of the repository, so that nothing of the learner's is
// touched, on a control plane of its own.
func (r *runner) verify(ctx context.Context, all []*lab.Lab, kind string) (timings []Timing, err error) {
	group, err := process.NewTemporaryGroup("portrule-labs-verify")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	copied := &runner{root: group.Path("lab"), exercises: r.exercises, stdout: newTerminal(&strings.Builder{}), stderr: newTerminal(&strings.Builder{})}
	// a kill -9 of this process leaves what the copy runs in the background
	if err := group.LastWill(fmt.Sprintf(lastWill, copied.state())); err != nil {
		return nil, err
	}
	if err := copyRepository(r.root, copied.root); err != nil {
		return nil, fmt.Errorf("copy the repository: %w", err)
	}
	defer func() { err = errors.Join(err, copied.down(context.WithoutCancel(ctx))) }()
	var errs []error
	for _, l := range all {
		r.stdout.printf("%s %s\n", r.stdout.bold(fmt.Sprintf("lab %d", l.Number)), l.Title)
		v := &verification{runner: copied, kind: kind, shown: r.stdout, scripts: group.Path()}
		begin := time.Now()
		err := v.lab(ctx, l.Number)
		if ctx.Err() != nil {
			return timings, ctx.Err()
		}
		v.timing.Lab, v.timing.Seconds = l.Name(), time.Since(begin).Seconds()
		timings = append(timings, v.timing)
		if err != nil {
			r.stdout.paragraph(r.stdout.cross(), err.Error())
			errs = append(errs, fmt.Errorf("labs/%s: %w", l.Name(), err))
		}
	}
	r.stdout.printf("\nlab                       seconds  of README  longest check  blocks  wrong answers\n")
	for _, timing := range timings {
		r.stdout.printf("%-26s%7.1f%11.1f%15.1f%8d%15d\n", timing.Lab, timing.Seconds, timing.ReadmeSeconds, timing.CheckSeconds, timing.blocks, timing.wrong)
	}
	for _, timing := range timings {
		if timing.CheckSeconds > slowCheck.Seconds() {
			r.stdout.printf("warning: a check of %s took %.1f s; it should take %.0f at most\n", timing.Lab, timing.CheckSeconds, slowCheck.Seconds())
		}
	}
	return timings, errors.Join(errs...)
}

// verification does one lab.
type verification struct {
	*runner
	// kind is that of the control plane.
	kind string
	// shown is where progress goes.
	shown   *terminal
	scripts string
	timing  Timing
}

func (v *verification) step(format string, args ...any) {
	v.shown.printf("  %s%s\n", v.shown.tick(), fmt.Sprintf(format, args...))
}

// lab does all that is to be done with a lab, in an order in which a learner could.
func (v *verification) lab(ctx context.Context, number int) error {
	l, exercise, err := v.find(fmt.Sprint(number))
	if err != nil {
		return err
	}
	if err := v.start(ctx, l, exercise, v.kind); err != nil {
		return err
	}
	if err := v.refuse(ctx, l, exercise, l.Start); err != nil {
		return fmt.Errorf("what the learner starts with: %w", err)
	}
	v.step("the start is refused: %s", l.Start.Finding)
	for _, name := range slices.Sorted(keys(l.Wrong)) {
		if err := os.RemoveAll(l.Dir(lab.WorkDir)); err != nil {
			return err
		}
		if err := errors.Join(fill(l, lab.SolutionDir), copyFiles(l.Dir(lab.WrongDir, name), l.Dir(lab.WorkDir))); err != nil {
			return err
		}
		if err := v.refuse(ctx, l, exercise, l.Wrong[name]); err != nil {
			return fmt.Errorf("the wrong answer %s: %w", name, err)
		}
		v.step("the wrong answer %s is refused: %s", name, l.Wrong[name].Finding)
		v.timing.wrong++
	}
	if err := v.resets(ctx, l, exercise); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	v.step("reset keeps one backup, however often")

	// as somebody who has never been here
	if err := os.RemoveAll(l.Dir(lab.WorkDir)); err != nil {
		return err
	}
	begin := time.Now()
	verified, err := v.readme(ctx, l, exercise)
	if err != nil {
		return err
	}
	v.timing.ReadmeSeconds = time.Since(begin).Seconds()
	v.step("%d blocks of the README run, and print what it says", v.timing.blocks)
	if verified == 0 {
		return fmt.Errorf("the README has no block in which \"lab check %d\" passes", l.Number)
	}
	v.step("the solution passes: %d things verified", verified)
	if err := v.clean(ctx, l, exercise); err != nil {
		return err
	}
	return v.endServers(ctx, nil)
}

func (v *verification) timedCheck(ctx context.Context, l *lab.Lab, exercise lab.Exercise) (*result, error) {
	begin := time.Now()
	checked, err := v.check(ctx, l, exercise)
	v.timing.CheckSeconds = max(v.timing.CheckSeconds, time.Since(begin).Seconds())
	return checked, err
}

// refuse makes sure that what is in work/ gets its finding.
func (v *verification) refuse(ctx context.Context, l *lab.Lab, exercise lab.Exercise, answer lab.Answer) (err error) {
	if answer.Run != "" {
		found, err := v.cluster()
		if err != nil {
			return err
		}
		shell, err := readme.NewShell(v.root, v.scripts, v.environment(found))
		if err != nil {
			return err
		}
		// what they have left in the background, such as a server, is checked too
		defer func() { err = errors.Join(err, shell.Close()) }()
		output, status, err := shell.Run(ctx, answer.Run)
		if err == nil && status != 0 {
			err = fmt.Errorf("its commands end with status %d:\n%s", status, output)
		}
		if err != nil {
			return err
		}
	}
	checked, err := v.timedCheck(ctx, l, exercise)
	switch {
	case err != nil:
		return fmt.Errorf("check it: %w", err)
	case checked.finding == nil:
		return fmt.Errorf("it passes, and %s should be found", answer.Finding)
	case checked.finding.ID != answer.Finding:
		return fmt.Errorf("the check finds %w, where %s should be found", checked.finding, answer.Finding)
	}
	if answer.Run == "" {
		return nil
	}
	return v.clean(ctx, l, exercise)
}

// resets makes sure that reset keeps a backup of what was there, and a second one does
// nothing.
func (v *verification) resets(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
	edited := l.Dir(lab.WorkDir, l.Files[0])
	const edit = "an edit of the learner's\n"
	if err := os.WriteFile(edited, []byte(edit), 0o644); err != nil {
		return err
	}
	for range 2 {
		if _, err := replace(l, lab.StartDir, time.Now()); err != nil {
			return err
		}
		if err := v.clean(ctx, l, exercise); err != nil {
			return err
		}
		if equal, err := same(l.Dir(lab.StartDir), l.Dir(lab.WorkDir)); err != nil || !equal {
			return errors.Join(err, errors.New("work/ is not as start/"))
		}
	}
	backups, err := filepath.Glob(l.Dir(lab.WorkDir + ".backup-*"))
	if err != nil {
		return err
	}
	if len(backups) != 1 {
		return fmt.Errorf("there are %d backups of one edit", len(backups))
	}
	data, err := os.ReadFile(filepath.Join(backups[0], l.Files[0]))
	if err != nil || string(data) != edit {
		return errors.Join(err, errors.New("the backup does not have the edit"))
	}
	return nil
}

// readme runs the blocks of the README. It returns how many things a check has verified
// where the README has it pass, 0 if it never does.
func (v *verification) readme(ctx context.Context, l *lab.Lab, exercise lab.Exercise) (verified int, err error) {
	text, err := os.ReadFile(l.Dir(lab.ReadmeFile))
	if err != nil {
		return 0, err
	}
	blocks, err := readme.Blocks(string(text))
	if err != nil {
		return 0, err
	}
	// as a new shell of the learner's: what it needs the README says
	shell, err := readme.NewShell(v.root, v.scripts, v.environment(nil))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, shell.Close()) }()
	for _, block := range blocks {
		where := fmt.Sprintf("README.md:%d", block.Line)
		if block.Solve {
			if err := solve(l, block.Solves); err != nil {
				return 0, fmt.Errorf("%s: %w", where, err)
			}
		}
		if block.Skip || block.Embedded && v.kind == cluster.KindKind {
			continue
		}
		output, status, err := shell.Run(ctx, block.Commands)
		v.timing.blocks++
		switch {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", where, err)
		case block.Fails && status == 0:
			return 0, fmt.Errorf("%s: the command should fail and does not; it prints:\n%s", where, output)
		case !block.Fails && status != 0:
			return 0, fmt.Errorf("%s: a command ends with status %d; it prints:\n%s", where, status, output)
		}
		if block.Output != nil {
			if err := readme.Match(*block.Output, output); err != nil {
				return 0, fmt.Errorf("%s: %w", where, err)
			}
		}
		if block.Fails || !slices.Contains(strings.Split(block.Commands, "\n"), fmt.Sprintf("lab check %d", l.Number)) {
			continue
		}
		checked, err := v.timedCheck(ctx, l, exercise)
		if err != nil {
			return 0, fmt.Errorf("%s: check the solution: %w", where, err)
		}
		if checked.finding != nil {
			return 0, fmt.Errorf("%s: the solution does not pass: %w", where, checked.finding)
		}
		verified = len(checked.verified)
	}
	return verified, nil
}

// solve does what the learner is asked to: all, or some of the files.
func solve(l *lab.Lab, names []string) error {
	if len(names) == 0 {
		return copyFiles(l.Dir(lab.SolutionDir), l.Dir(lab.WorkDir))
	}
	for _, name := range names {
		data, err := os.ReadFile(l.Dir(lab.SolutionDir, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(l.Dir(lab.WorkDir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// environment is that of a new shell. found is nil if it is not yet told of the cluster.
func (v *verification) environment(found *lab.Cluster) []string {
	var kept []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "KUBECONFIG", "CLUSTER", "GOFLAGS", "CGO_ENABLED", "PATH":
		default:
			kept = append(kept, variable)
		}
	}
	kept = append(kept, "PATH="+os.Getenv("PATH"), "NO_COLOR=1", "TERM=dumb")
	if found != nil {
		kept = append(kept, "PATH="+filepath.Join(v.root, "bin")+":"+os.Getenv("PATH"))
		kept = append(kept, environment(found)...)
	}
	return kept
}

// copyRepository copies what git would, and links bin/, with this program as bin/lab.
func copyRepository(from, to string) error {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, and not yet from the index
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	bin := filepath.Join(to, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	programs, err := filepath.Glob(filepath.Join(from, "bin", "*"))
	if err != nil {
		return err
	}
	for _, program := range programs {
		if filepath.Base(program) == "lab" {
			continue
		}
		if err := os.Symlink(program, filepath.Join(bin, filepath.Base(program))); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return os.Symlink(self, filepath.Join(bin, "lab"))
}
