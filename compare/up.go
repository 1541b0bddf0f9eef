package compare

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/testbed"
)

const (
	// labDir holds what belongs to a running lab, and nothing of the user's.
	labDir = ".lab"
	// benchUser is the ordinary user of the lab's second context.
	benchUser = "bench"
	// readyLine is what the lab in the background says when it serves.
	readyLine = "ready"
	// downTimeout is how long a lab may take to end.
	downTimeout = time.Minute
)

// upFlags are shared by the commands about the lab.
type upFlags struct {
	dir        string
	foreground bool
	auditLog   bool
	crd        []string
	setup      testbed.CRDSetup
}

func (f *upFlags) addDir(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", labDir, "the lab's directory")
}

func (f *upFlags) kubeconfig() string { return filepath.Join(f.dir, "kubeconfig") }

// export is the line that a shell evaluates to use the lab.
func (f *upFlags) export() (string, error) {
	path, err := filepath.Abs(f.kubeconfig())
	return "export KUBECONFIG='" + strings.ReplaceAll(path, "'", `'\''`) + "'", err
}

func upCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Starts a lab in the background: an embedded control plane that serves both implementations",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if flags.setup, err = testbed.ParseCRDSetup(flags.crd); err != nil {
				return UsageError{err}
			}
			if flags.foreground {
				return runLab(cmd.Context(), flags, cmd.OutOrStdout())
			}
			return runUp(cmd.Context(), flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.addDir(cmd)
	addCRDSetup(cmd, &flags.crd, "policies", "webhooks")
	cmd.Flags().BoolVar(&flags.foreground, "foreground", false, "stay in the foreground until interrupted")
	cmd.Flags().BoolVar(&flags.auditLog, "audit-log", false, "make the kube-apiserver write audit.log into the lab's directory")
	return cmd
}

func envCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Prints the line that makes a shell use the lab",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, err := process.Owner(flags.dir)
			if err != nil {
				return err
			}
			if pid == 0 {
				return errors.New("no lab is up: run \"make up\"")
			}
			line, err := flags.export()
			fmt.Fprintln(cmd.OutOrStdout(), line)
			return err
		},
	}
	flags.addDir(cmd)
	return cmd
}

func downCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Ends the lab",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDown(cmd.Context(), flags, cmd.ErrOrStderr())
		},
	}
	flags.addDir(cmd)
	return cmd
}

// runLab is the lab: it serves until ctx ends.
func runLab(ctx context.Context, flags upFlags, stdout io.Writer) (err error) {
	group, err := process.NewGroup(flags.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()

	say := func(step string) { fmt.Fprintln(stdout, step) }
	bed, err := testbed.Start(ctx, cluster.NewEmbedded(group, cluster.EmbeddedOptions{AuditLog: flags.auditLog}), group, testbed.Setup{CRD: flags.setup}, say)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()

	user, _, err := bed.User(ctx, benchUser, "default")
	if err != nil {
		return err
	}
	if err := cluster.WriteKubeconfig(flags.kubeconfig(),
		cluster.Context{Name: "admin", Config: bed.Admin},
		cluster.Context{Name: benchUser, Config: user},
	); err != nil {
		return err
	}
	if target := bed.Target(); target.IsValid() {
		say(fmt.Sprintf("portrules/probe may dial host %s port %d, where something listens", target.Addr(), target.Port()))
	}
	say(fmt.Sprintf("control plane ready after %.1f s, both implementations %.1f s later",
		bed.Ready.ControlPlane.Seconds(), bed.Ready.Implementations.Seconds()))
	say(readyLine)
	select {
	case <-ctx.Done():
		return nil
	case <-bed.Exited():
		return bed.ExitError()
	}
}

// runUp starts the lab in a session of its own and waits until it serves. If ctx
// ends meanwhile, so does the lab.
func runUp(ctx context.Context, flags upFlags, stdout, stderr io.Writer) error {
	line, err := flags.export()
	if err != nil {
		return err
	}
	switch pid, err := process.Owner(flags.dir); {
	case err != nil:
		return err
	case pid != 0:
		fmt.Fprintln(stderr, "the lab is up already; \"make down\" ends it")
		fmt.Fprintln(stdout, line)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"up", "--foreground", "--dir", flags.dir, "--crd", strings.Join(flags.crd, ",")}
	if flags.auditLog {
		args = append(args, "--audit-log")
	}
	lab := exec.Command(self, args...)
	lab.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	says, err := lab.StdoutPipe()
	if err != nil {
		return err
	}
	complains, err := lab.StderrPipe()
	if err != nil {
		return err
	}
	if err := lab.Start(); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	release := context.AfterFunc(ctx, func() { _ = lab.Process.Signal(syscall.SIGTERM) })
	defer release()

	show := progress.New(stderr)
	lines := bufio.NewScanner(says)
	for lines.Scan() {
		if lines.Text() == readyLine {
			fmt.Fprintln(stdout, line)
			return lab.Process.Release()
		}
		show.Step(lines.Text())
	}
	// it has ended, or is about to
	complaint, _ := io.ReadAll(complains)
	err = lab.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if text := strings.TrimPrefix(strings.TrimSpace(string(complaint)), "compare: "); text != "" {
		err = errors.New(text)
	}
	return fmt.Errorf("the lab did not start: %w", err)
}

// runDown ends the lab and waits until it is gone.
func runDown(ctx context.Context, flags upFlags, stderr io.Writer) error {
	pid, err := process.Owner(flags.dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		fmt.Fprintln(stderr, "no lab is up")
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end the lab, process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(downTimeout); time.Now().Before(deadline); {
		// the directory goes last, after the programs and the files in it
		if _, err := os.Stat(flags.dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("the lab, process %d, did not end within %s: kill it, and what it runs ends too", pid, downTimeout)
}
