package labs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"portrule.example/lab/labs/lab"
)

// checkTimeout bounds a check: nothing in a lab takes that long.
const checkTimeout = time.Minute

// result is what a check has come to.
type result struct {
	// finding is nil if nothing is wrong.
	finding *lab.Finding
	// verified is what the check has made sure of until then.
	verified []string
}

// check checks the learner's files of a lab.
func (r *runner) check(ctx context.Context, l *lab.Lab, exercise lab.Exercise) (*result, error) {
	s, err := r.session(l)
	if err != nil {
		return nil, err
	}
	return runCheck(ctx, s, exercise)
}

// runCheck runs a check of a session, which it closes.
func runCheck(ctx context.Context, s *lab.Session, exercise lab.Exercise) (_ *result, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("the check of lab %d broke off, which is a fault of the lab and not yours: %v", s.Lab.Number, broken)
		}
		err = explain(errors.Join(err, s.Close()), s.Lab)
	}()
	if info, err := os.Stat(s.Work); err != nil || !info.IsDir() {
		return &result{finding: &lab.Finding{
			ID: lab.NotStarted, Where: s.Where(""), Found: "no such directory", Expected: "your files of this lab",
		}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	finding, err := exercise.Check(ctx, s)
	if err != nil {
		return nil, err
	}
	if finding != nil {
		if _, ok := s.Lab.Problem(finding.ID); !ok {
			return nil, fmt.Errorf("%s has no finding %q, a fault of the lab: %w", s.Lab.Dir(lab.ManifestFile), finding.ID, finding)
		}
	}
	return &result{finding: finding, verified: s.AllVerified()}, nil
}

// explain adds to an error what the learner can do about it.
func explain(err error, l *lab.Lab) error {
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lab.ErrDown):
		return fmt.Errorf("%w: run \"lab start %d\", your files stay as they are", lab.ErrDown, l.Number)
	case errors.As(err, &network):
		return fmt.Errorf("the cluster does not answer: %w; \"lab down\" and \"lab start %d\" start it anew, your files stay as they are", network, l.Number)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the check did not end within %s: %w; \"lab down\" and \"lab start %d\" start the control plane anew, your files stay as they are", checkTimeout, err, l.Number)
	default:
		return err
	}
}

func (r *runner) checkCommand() *cobra.Command {
	return r.oneLab("check", "Says the first thing that is wrong, or what is right", func(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
		if err := r.noteKubeconfig(); err != nil {
			return err
		}
		checked, err := r.check(ctx, l, exercise)
		if err != nil {
			return err
		}
		return r.report(l, checked)
	})
}

// report prints what a check has come to, and remembers that a lab is passed.
func (r *runner) report(l *lab.Lab, checked *result) error {
	t := r.stdout
	for _, verified := range checked.verified {
		t.paragraph(t.tick(), verified)
	}
	if checked.finding != nil {
		f := checked.finding
		t.paragraph(t.cross(), f.Where)
		t.paragraph("    found:    ", f.Found)
		t.paragraph("    expected: ", f.Expected)
		t.printf("\nA hint: lab hint %d\n", l.Number)
		return ErrNotYet
	}
	memory := r.remember()
	known := memory.of(l)
	if known.Started.IsZero() {
		known.Started = time.Now()
	}
	if known.Passed.IsZero() {
		known.Passed = time.Now()
	}
	minutes := max(1, int(known.Passed.Sub(known.Started).Round(time.Minute).Minutes()))
	t.printf("\n%s You took %d min.\n", t.bold(fmt.Sprintf("Lab %d is passed.", l.Number)), minutes)
	t.printf("Now read the explanation: %s#explanation\n", r.relative(l.Dir(lab.ReadmeFile)))
	return memory.save()
}

func (r *runner) hintCommand() *cobra.Command {
	return r.oneLab("hint", "Gives a hint about what a check finds; asked again, a plainer one", func(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
		if err := r.noteKubeconfig(); err != nil {
			return err
		}
		checked, err := r.check(ctx, l, exercise)
		if err != nil {
			return err
		}
		return r.hint(l, checked)
	})
}

// hint prints the next hint about a finding.
func (r *runner) hint(l *lab.Lab, checked *result) error {
	t := r.stdout
	if checked.finding == nil {
		t.printf("nothing is wrong: run \"lab check %d\"\n", l.Number)
		return nil
	}
	problem, _ := l.Problem(checked.finding.ID)
	memory := r.remember()
	known := memory.of(l)
	if known.Finding != problem.ID {
		known.Finding, known.Hints = problem.ID, 0
	}
	known.Hints = min(known.Hints+1, lab.Steps)
	t.paragraph(t.cross(), checked.finding.Where)
	t.paragraph("    found:    ", checked.finding.Found)
	t.printf("\n%s\n", t.bold(fmt.Sprintf("Hint %d of %d", known.Hints, lab.Steps)))
	t.paragraph("", problem.Hints[known.Hints-1])
	if known.Hints < lab.Steps {
		t.printf("\nMore: lab hint %d\n", l.Number)
	}
	return memory.save()
}

// watchInterval is how often files and cluster are looked at.
const watchInterval = 500 * time.Millisecond

func (r *runner) watchCommand() *cobra.Command {
	return r.oneLab("watch", "Checks again whenever a file or the cluster changes, until it passes", r.watch)
}

func (r *runner) watch(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
	if err := r.noteKubeconfig(); err != nil {
		return err
	}
	shown := ""
	for {
		before := fingerprintFiles(l)
		checked, err := r.check(ctx, l, exercise)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now := describe(checked, err); now != shown {
			shown = now
			if r.stdout.fancy {
				r.stdout.printf("\x1b[2J\x1b[H")
			}
			r.stdout.printf("%s lab %d\n", time.Now().Format(time.TimeOnly), l.Number)
			if err != nil {
				r.stdout.paragraph(r.stdout.cross(), err.Error())
			} else if r.report(l, checked) == nil {
				return nil
			}
			r.stdout.printf("waiting for a change of your files or of the cluster; Ctrl-C ends\n")
		}
		// what a check itself does in the cluster is over by now
		cluster := r.fingerprintCluster(ctx, l)
		for before == fingerprintFiles(l) && cluster == r.fingerprintCluster(ctx, l) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(watchInterval):
			}
		}
	}
}

// describe is one text for one state.
func describe(checked *result, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%q %v", checked.verified, checked.finding)
}

// fingerprintFiles changes when a file in work/ does, unless it is a log: what the learner's
// commands make counts too, such as certificates.
func fingerprintFiles(l *lab.Lab) string {
	var lines []string
	work := os.DirFS(l.Dir(lab.WorkDir))
	err := fs.WalkDir(work, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || path.Ext(name) == ".log" {
			return err
		}
		data, err := fs.ReadFile(work, name)
		lines = append(lines, fmt.Sprintf("%s %x %v", name, sha256.Sum256(data), err))
		return nil
	})
	return fmt.Sprint(strings.Join(lines, "\n"), err)
}

// fingerprintCluster changes when something does that the lab watches: an object comes
// or goes, or what it asks for or a condition changes.
func (r *runner) fingerprintCluster(ctx context.Context, l *lab.Lab) string {
	s, err := r.session(l)
	if err != nil {
		return err.Error()
	}
	config, err := s.Admin()
	if err != nil {
		return err.Error()
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for _, watched := range l.Watches {
		resource, _ := schema.ParseResourceArg(watched)
		if resource == nil {
			return "watches: " + watched
		}
		list, err := client.Resource(*resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			lines = append(lines, watched+": "+err.Error())
			continue
		}
		for _, item := range list.Items {
			if lab.IsScratch(item.GetName()) {
				continue // it goes in its own time
			}
			lines = append(lines, watched+" "+fingerprintObject(&item))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func fingerprintObject(object *unstructured.Unstructured) string {
	text := fmt.Sprint(object.GetNamespace(), "/", object.GetName(), " ", object.GetUID(), " ", object.GetGeneration(), " ", object.Object["rules"], object.Object["data"])
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, condition := range conditions {
		if condition, ok := condition.(map[string]any); ok {
			text += fmt.Sprint(" ", condition["type"], "=", condition["status"])
		}
	}
	return text
}

func (r *runner) doctorCommand() *cobra.Command {
	var workshop bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Says whether this machine has what the labs need",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return r.doctor(cmd.Context(), workshop) },
	}
	cmd.Flags().BoolVar(&workshop, "workshop", false, "also what a day in a room without internet needs: memory, disk, modules, compiled packages")
	return cmd
}
