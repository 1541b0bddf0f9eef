package labs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"portrule.example/lab/labs/lab"
)

// files returns the contents of all files in a directory, by their path in it.
func files(dir string) (map[string][]byte, error) {
	found, tree := map[string][]byte{}, os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		found[name], err = fs.ReadFile(tree, name)
		return err
	})
	return found, err
}

// copyFiles copies the files of a directory into another one, over those of the same name.
func copyFiles(from, to string) error {
	all, err := files(from)
	if err != nil {
		return fmt.Errorf("read the files of a lab: %w", err)
	}
	for name, data := range all {
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// same is whether two directories have the same files.
func same(a, b string) (bool, error) {
	as, err := files(a)
	if err != nil {
		return false, err
	}
	bs, err := files(b)
	if err != nil || len(as) != len(bs) {
		return false, err
	}
	for name, data := range as {
		if other, ok := bs[name]; !ok || !bytes.Equal(data, other) {
			return false, nil
		}
	}
	return true, nil
}

// begin makes the learner's directory, unless there is one, and says whether it did.
func begin(l *lab.Lab) (bool, error) {
	work := l.Dir(lab.WorkDir)
	if _, err := os.Stat(work); err == nil {
		return false, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, fill(l, lab.StartDir)
}

// fill makes the learner's directory from start/ or solution/, whole or not at all.
func fill(l *lab.Lab, from string) error {
	whole := l.Dir(lab.WorkDir + ".new")
	if err := os.RemoveAll(whole); err != nil {
		return err
	}
	if err := os.MkdirAll(whole, 0o755); err != nil {
		return err
	}
	for _, dir := range slices.Compact([]string{lab.StartDir, from}) {
		if err := copyFiles(l.Dir(dir), whole); err != nil {
			return err
		}
	}
	return os.Rename(whole, l.Dir(lab.WorkDir))
}

// replace makes the learner's directory anew and keeps a backup of what was there,
// unless that is the same. It returns the backup's name, if there is one.
func replace(l *lab.Lab, from string, now time.Time) (backup string, err error) {
	work := l.Dir(lab.WorkDir)
	if _, err := os.Stat(work); err == nil {
		fresh, err := os.MkdirTemp(l.Dir(), lab.WorkDir+".new-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(fresh)
		for _, dir := range []string{lab.StartDir, from} {
			if err := copyFiles(l.Dir(dir), fresh); err != nil {
				return "", err
			}
		}
		if equal, err := same(work, fresh); equal || err != nil {
			return "", err
		}
		// two within a second have two names
		for n := 0; ; n++ {
			backup = fmt.Sprintf("%s.backup-%s", work, now.UTC().Format("20060102T150405Z"))
			if n > 0 {
				backup += fmt.Sprintf("-%d", n)
			}
			if _, err := os.Lstat(backup); errors.Is(err, os.ErrNotExist) {
				break
			}
		}
		if err := os.Rename(work, backup); err != nil {
			return "", err
		}
	}
	return backup, fill(l, from)
}

// relative names a path as the learner sees it from the repository.
func (r *runner) relative(path string) string {
	if name, err := filepath.Rel(r.root, path); err == nil {
		return name
	}
	return path
}

func (r *runner) resetCommand() *cobra.Command {
	return r.oneLab("reset", "Begins a lab anew; keeps a backup of what you had", func(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
		if err := r.renew(l, lab.StartDir); err != nil {
			return err
		}
		if err := r.clean(ctx, l, exercise); err != nil {
			return err
		}
		memory := r.remember()
		*memory.of(l) = record{Started: time.Now()}
		return memory.save()
	})
}

// clean removes from the cluster what the learner has made there, if it runs.
func (r *runner) clean(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
	s, err := r.session(l)
	if err != nil || exercise.Clean == nil {
		return err
	}
	err = exercise.Clean(ctx, s)
	if err != nil && !errors.Is(err, lab.ErrDown) { // then nothing is left of what was in it
		return errors.Join(fmt.Errorf("clean the cluster up: %w", err), s.Close())
	}
	return s.Close()
}

func (r *runner) solveCommand() *cobra.Command {
	return r.oneLab("solve", "Puts the solution into work/; keeps a backup of what you had", func(_ context.Context, l *lab.Lab, _ lab.Exercise) error {
		return r.renew(l, lab.SolutionDir)
	})
}

// renew replaces the learner's files and says so.
func (r *runner) renew(l *lab.Lab, from string) error {
	backup, err := replace(l, from, time.Now())
	if err != nil {
		return err
	}
	work := r.relative(l.Dir(lab.WorkDir))
	if backup != "" {
		r.stdout.printf("what you had is in %s\n", r.relative(backup))
	}
	r.stdout.printf("%s is as in %s\n", work, from)
	return nil
}

func (r *runner) diffCommand() *cobra.Command {
	return r.oneLab("diff", "Shows where your files differ from the solution", func(_ context.Context, l *lab.Lab, _ lab.Exercise) error {
		mine, err := files(l.Dir(lab.WorkDir))
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is nothing to compare yet: run \"lab start %d\"", l.Number)
		}
		if err != nil {
			return err
		}
		solution, err := files(l.Dir(lab.SolutionDir))
		if err != nil {
			return err
		}
		differs := false
		for _, name := range slices.Sorted(keys(solution)) {
			if text := diff.Diff("work/"+name, mine[name], "solution/"+name, solution[name]); text != nil {
				differs = true
				// after the line "diff a b", which says the same
				_, text, _ = bytes.Cut(text, []byte("\n"))
				r.stdout.printf("%s", text)
			}
		}
		if !differs {
			r.stdout.printf("your files are those of the solution\n")
		}
		return nil
	})
}
