package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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
)

// upFlags are shared by the commands about the lab.
type upFlags struct {
	dir        string
	cluster    clusterFlags
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
		Short: "Starts a lab: a control plane that serves both implementations, in the background or on kind",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := flags.cluster.check()
			if err != nil {
				return err
			}
			if flags.cluster.kind == cluster.KindExisting {
				return usagef("--cluster %s: a lab is a control plane of its own, use one of %s, %s", cluster.KindExisting, cluster.KindEmbedded, cluster.KindKind)
			}
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
	flags.cluster.add(cmd, "portrule-lab")
	addCRDSetup(cmd, &flags.crd, "policies", "webhooks")
	cmd.Flags().BoolVar(&flags.foreground, "foreground", false, "stay in the foreground until interrupted")
	cmd.Flags().BoolVar(&flags.auditLog, "audit-log", false, "make the kube-apiserver write an audit log: audit.log in the lab's directory, on kind "+cluster.AuditLogPath+" in the node")
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
				kept, err := cluster.KeptBy(flags.dir)
				if err != nil {
					return err
				}
				if _, err := os.Stat(flags.kubeconfig()); kept == "" || err != nil {
					return errors.New("no lab is up: run \"make up\"")
				}
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

	if err := writeKubeconfig(ctx, bed, flags.kubeconfig()); err != nil {
		return err
	}
	if target := bed.Target(); target.IsValid() {
		say(fmt.Sprintf("portrules/probe may dial host %s port %d, where something listens", target.Addr(), target.Port()))
	}
	say(bed.Ready.String())
	say(process.ReadyLine)
	select {
	case <-ctx.Done():
		return nil
	case <-bed.Exited():
		return bed.ExitError()
	}
}

// writeKubeconfig writes the lab's kubeconfig: the administrator, and an ordinary user
// who may use PortRules in the namespace default.
func writeKubeconfig(ctx context.Context, bed *testbed.Testbed, path string) error {
	user, _, err := bed.User(ctx, benchUser, "default")
	if err != nil {
		return err
	}
	return cluster.WriteKubeconfig(path,
		cluster.Context{Name: "admin", Config: bed.Admin},
		cluster.Context{Name: benchUser, Config: user},
	)
}

// runUp starts the lab, or brings one on kind up to date, and prints the line that
// makes a shell use it.
func runUp(ctx context.Context, flags upFlags, stdout, stderr io.Writer) error {
	line, err := flags.export()
	if err != nil {
		return err
	}
	show := progress.New(stderr)
	pid, err := process.Owner(flags.dir)
	if err != nil {
		return err
	}
	kept, err := cluster.KeptBy(flags.dir)
	if err != nil {
		return err
	}
	switch {
	case pid != 0 && flags.cluster.kind == cluster.KindKind:
		return fmt.Errorf("the lab in %s is an %s one: run \"make down\" first", flags.dir, cluster.KindEmbedded)
	case pid != 0:
		fmt.Fprintln(stderr, "the lab is up already; \"make down\" ends it")
	case kept != "" && flags.cluster.kind == cluster.KindEmbedded:
		return fmt.Errorf("the lab in %s is the kind cluster %q: run \"make down\" first", flags.dir, kept)
	case kept != "" && kept != flags.cluster.name:
		return fmt.Errorf("the lab in %s is the kind cluster %q, not %q: run \"make down\" first", flags.dir, kept, flags.cluster.name)
	default:
		if kept != "" {
			flags.cluster.kind = cluster.KindKind
		}
		flags.cluster.choose(ctx, show.Step)
		up := startLab
		if flags.cluster.kind == cluster.KindKind {
			up = upOnKind
			if kept == "" {
				if err := process.Vacate(flags.dir); err != nil {
					return err
				}
			}
		}
		if err := up(ctx, flags, show); err != nil {
			return err
		}
	}
	fmt.Fprintln(stdout, line)
	return nil
}

// upOnKind makes or finds a kind cluster, and installs both implementations in it. No
// process stays behind: the cluster is the lab.
func upOnKind(ctx context.Context, flags upFlags, show *progress.Progress) (err error) {
	dir, err := filepath.Abs(flags.dir)
	if err != nil {
		return err
	}
	group, err := process.NewTemporaryGroup("portrule-up")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	kind := cluster.NewKind(group, flags.cluster.name, cluster.KindOptions{Dir: dir, AuditLog: flags.auditLog, Say: show.Step})
	bed, err := testbed.Start(ctx, kind, group, testbed.Setup{CRD: flags.setup, Controller: true}, show.Step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeKubeconfig(ctx, bed, flags.kubeconfig()); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	if err := kind.Keep(); err != nil {
		return err
	}
	show.Step("portrules/probe may dial host portrule-apiserver.portrule-system.svc.cluster.local port 443, where the server listens")
	if flags.auditLog {
		show.Step("the audit log is " + cluster.AuditLogPath + " in the container " + flags.cluster.name + "-control-plane")
	}
	show.Step(bed.Ready.String())
	return nil
}

// startLab starts an embedded lab in a session of its own and waits until it serves. If
// ctx ends meanwhile, so does the lab.
func startLab(ctx context.Context, flags upFlags, show *progress.Progress) error {
	args := []string{"up", "--foreground", "--cluster", cluster.KindEmbedded, "--dir", flags.dir, "--crd", strings.Join(flags.crd, ",")}
	if flags.auditLog {
		args = append(args, "--audit-log")
	}
	return process.Background{Name: "compare", What: "the lab", Say: show.Step}.Start(ctx, args...)
}

// runDown ends the lab and waits until it is gone.
func runDown(ctx context.Context, flags upFlags, stderr io.Writer) error {
	pid, err := process.Owner(flags.dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		return downOnKind(flags, stderr)
	}
	return process.End(ctx, fmt.Sprintf("the lab, process %d", pid), pid, flags.dir)
}

// downOnKind deletes the kind cluster that the lab keeps, if any.
func downOnKind(flags upFlags, stderr io.Writer) (err error) {
	dir, err := filepath.Abs(flags.dir)
	if err != nil {
		return err
	}
	name, err := cluster.KeptBy(dir)
	if err != nil {
		return err
	}
	if name == "" {
		fmt.Fprintln(stderr, "no lab is up")
		return nil
	}
	group, err := process.NewTemporaryGroup("portrule-down")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	fmt.Fprintf(stderr, "deleting the kind cluster %q\n", name)
	if err := cluster.NewKind(group, name, cluster.KindOptions{Dir: dir}).Remove(); err != nil {
		return err
	}
	if err := os.Remove(flags.kubeconfig()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_ = os.Remove(dir) // what else is in it is not the lab's
	return nil
}
