// Package labs is the program bin/lab, the workshop: it starts labs, checks what the
// learner has, gives hints, and verifies that the labs themselves are true.
//
// [Run] is the entry. cluster.go keeps the control plane of the labs in the background,
// work.go looks after the learner's files, check.go checks them, verify.go does each
// lab as a learner would, by its README. memory.go remembers how far the learner is,
// doctor.go and workshop.go look at the machine, terminal.go writes.
//
// What a lab is made of is in package lab, what its README says to do in package
// readme. Each lab is in a folder of its own, NN-name, whose package checks it;
// registry.go has them all.
//
// Read labs.go first, then check.go and lab/lab.go. labs/README.md says how to make a
// lab.
package labs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"portrule.example/lab/labs/lab"
)

// UsageError is an error in the flags or arguments of a command.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the error without its class.
func (e UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// ErrNotYet says that a check has found something. What it is has been printed.
var ErrNotYet = errors.New("not there yet")

// Run is the program. It returns a [UsageError] if args are wrong, [ErrNotYet] if a check
// has found something, and context.Canceled if ctx ended before the work was done.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	// the libraries' logs would come between the learner and the text
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())

	r := &runner{exercises: exercises, stdout: newTerminal(stdout), stderr: newTerminal(stderr)}
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Does the labs of the workshop: start one, check it, get a hint",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return r.locate()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&r.root, "root", "", "the repository (default: found from the working directory, or from where this program is)")
	flags.StringVar(&r.foreign, "kubeconfig", "", "do the lab in the cluster of this kubeconfig instead of the labs' own; goes with --foreign-cluster")
	flags.BoolVar(&r.consent, "foreign-cluster", false, "consent to changes in the cluster of --kubeconfig, which the labs have not made")
	root.AddCommand(r.listCommand(), r.startCommand(), r.checkCommand(), r.watchCommand(), r.hintCommand(), r.diffCommand(),
		r.solveCommand(), r.resetCommand(), r.doctorCommand(), r.envCommand(), r.downCommand(), r.verifyCommand(), r.serveCommand())
	for _, cmd := range append(root.Commands(), root) {
		cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{err} })
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	return err
}

// runner runs commands.
type runner struct {
	root      string
	foreign   string
	consent   bool
	exercises map[string]lab.Exercise

	stdout, stderr *terminal
}

// module is the line by which the repository is known.
const module = "module portrule.example/lab\n"

// locate finds the repository.
func (r *runner) locate() error {
	if (r.foreign != "") != r.consent {
		return usagef("--kubeconfig and --foreign-cluster go together: a check changes the cluster, so say that you mean it")
	}
	if r.root != "" {
		var err error
		r.root, err = filepath.Abs(r.root)
		return err
	}
	var from []string
	if dir, err := os.Getwd(); err == nil {
		from = append(from, dir)
	}
	if self, err := os.Executable(); err == nil {
		from = append(from, filepath.Dir(self))
	}
	for _, dir := range from {
		for ; ; dir = filepath.Dir(dir) {
			if data, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(data), module) {
				r.root = dir
				return nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return errors.New("the labs are in the repository of the PortRule lab: change into it, or name it with --root")
}

// dir is the directory of the labs.
func (r *runner) dir() string { return filepath.Join(r.root, "labs") }

// state is where the program keeps what it remembers.
func (r *runner) state(elem ...string) string {
	return filepath.Join(append([]string{r.dir(), ".state"}, elem...)...)
}

// all returns the labs that there are, in order.
func (r *runner) all() ([]*lab.Lab, error) {
	folders, err := lab.Folders(r.dir())
	if err != nil {
		return nil, err
	}
	var all []*lab.Lab
	for _, folder := range folders {
		l, err := lab.Load(filepath.Join(r.dir(), folder))
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// find returns the lab of a number, as a learner types it.
func (r *runner) find(number string) (*lab.Lab, lab.Exercise, error) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, lab.Exercise{}, usagef("%q is not the number of a lab: \"lab list\" shows them", number)
	}
	folders, err := lab.Folders(r.dir())
	if err != nil {
		return nil, lab.Exercise{}, err
	}
	for _, folder := range folders {
		if !strings.HasPrefix(folder, fmt.Sprintf("%02d-", n)) {
			continue
		}
		l, err := lab.Load(filepath.Join(r.dir(), folder))
		if err != nil {
			return nil, lab.Exercise{}, err
		}
		exercise, ok := r.exercises[folder]
		if !ok {
			return nil, lab.Exercise{}, fmt.Errorf("labs/%s is not in labs/registry.go: add it, and build bin/lab again", folder)
		}
		return l, exercise, nil
	}
	return nil, lab.Exercise{}, usagef("there is no lab %d: \"lab list\" shows them", n)
}

// oneLab is a command about one lab.
func (r *runner) oneLab(use, short string, run func(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " N",
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("%s takes the number of one lab: lab %s 2", cmd.Name(), cmd.Name())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			l, exercise, err := r.find(args[0])
			if err != nil {
				return err
			}
			return run(cmd.Context(), l, exercise)
		},
	}
}

// noArguments refuses positional arguments as a usage error.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.Name(), strings.Join(args, " "))
	}
	return nil
}

func (r *runner) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the labs, and how far you are",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			all, err := r.all()
			if err != nil {
				return err
			}
			memory := r.remember()
			for _, l := range all {
				r.stdout.printf("%s %2d  %s  %s\n", r.stdout.mark(memory.stage(l)), l.Number,
					r.stdout.bold(fmt.Sprintf("%-36s", l.Title)), fmt.Sprintf("%2d min  %s", l.Minutes, memory.stage(l)))
				r.stdout.paragraph("        ", l.Goal)
			}
			r.stdout.printf("\nBegin with: lab start %d\n", next(all, memory).Number)
			return nil
		},
	}
}

// next is the lab to do next: the one begun, else the first that is not passed.
func next(all []*lab.Lab, memory *memory) *lab.Lab {
	for _, stage := range []string{stageStarted, stageNew} {
		for _, l := range all {
			if memory.stage(l) == stage {
				return l
			}
		}
	}
	return all[0]
}
