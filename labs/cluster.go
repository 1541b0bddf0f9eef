package labs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/e2e-framework/klient"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

const (
	// clusterDir, in the state, belongs to the control plane, and the directories whose
	// names begin with serversDir to the programs of a lab.
	clusterDir = "cluster"
	serversDir = "servers-"
	// clusterFile, in clusterDir, says where it is.
	clusterFile = "cluster.json"
	// adminContext is the administrator's in the kubeconfig.
	adminContext = "admin"
)

// clusterFlag adds --cluster to a command.
func clusterFlag(cmd *cobra.Command, kind *string) {
	cmd.Flags().StringVar(kind, "cluster", os.Getenv("CLUSTER"), "the control plane: embedded, or kind for a cluster of containers (default: CLUSTER, or else embedded)")
}

// parseKind reads what --cluster says. It is empty if that leaves the choice.
func parseKind(kind string) (string, error) {
	switch kind {
	case "", "auto":
		return "", nil
	case cluster.KindEmbedded, cluster.KindKind:
		return kind, nil
	}
	return "", usagef("--cluster: there is no cluster %q for labs: use %s or %s, or a cluster of your own with --kubeconfig FILE --foreign-cluster", kind, cluster.KindEmbedded, cluster.KindKind)
}

// suits says why a lab cannot be done on a cluster of a kind.
func suits(l *lab.Lab, kind string) error {
	if kind == cluster.KindKind && l.Embedded != "" {
		return usagef("lab %d needs the embedded control plane: %s; leave --cluster and CLUSTER out", l.Number, l.Embedded)
	}
	return nil
}

// cluster returns the cluster of the labs, nil if none runs.
func (r *runner) cluster() (*lab.Cluster, error) {
	if r.foreign != "" {
		path, err := filepath.Abs(r.foreign)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
		return &lab.Cluster{Kubeconfig: path}, nil
	}
	pid, err := process.Owner(r.state(clusterDir))
	if err != nil || pid == 0 {
		return nil, err
	}
	data, err := os.ReadFile(r.state(clusterDir, clusterFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it starts or ends just now
	}
	if err != nil {
		return nil, err
	}
	found := &lab.Cluster{}
	if err := json.Unmarshal(data, found); err != nil {
		return nil, fmt.Errorf("read where the labs' control plane is: %w; run \"lab down\"", err)
	}
	return found, nil
}

// session makes a session for the learner's files of a lab.
func (r *runner) session(l *lab.Lab) (*lab.Session, error) {
	found, err := r.cluster()
	if err != nil {
		return nil, err
	}
	return lab.NewSession(l, r.root, l.Dir(lab.WorkDir), r.state("build", l.Name()), found), nil
}

func (r *runner) startCommand() *cobra.Command {
	var kind string
	cmd := r.oneLab("start", "Starts a lab: the control plane, if it does not run yet, and your files", func(ctx context.Context, l *lab.Lab, exercise lab.Exercise) error {
		kind, err := parseKind(kind)
		if err != nil {
			return err
		}
		return r.start(ctx, l, exercise, kind)
	})
	clusterFlag(cmd, &kind)
	return cmd
}

// start starts a lab on a cluster of a kind. An empty one means that which runs, or else the
// embedded control plane.
func (r *runner) start(ctx context.Context, l *lab.Lab, exercise lab.Exercise, kind string) error {
	for _, program := range l.Needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("lab %d needs the program %s, which is not in the PATH: install it", l.Number, program)
		}
	}
	found, err := r.cluster()
	if err != nil {
		return err
	}
	switch {
	case found == nil:
		kind = cmp.Or(kind, cluster.KindEmbedded)
	case r.foreign != "":
		kind = "" // whatever it is
	case kind != "" && kind != found.Kind:
		return fmt.Errorf("the labs' control plane that runs is %s, not %s: run \"lab down\" first, your files stay as they are", found.Kind, kind)
	default:
		kind = found.Kind
	}
	if err := suits(l, kind); err != nil {
		return err
	}
	if found != nil {
		if _, err := found.Wake(); err != nil {
			return err
		}
	}
	if found == nil {
		begin := time.Now()
		r.stdout.printf("starting the control plane\n")
		if err := r.spawn(ctx, "serve", "--cluster", kind); err != nil {
			return err
		}
		r.stdout.printf("it serves after %.1f s and stays until \"lab down\"\n", time.Since(begin).Seconds())
	}
	if err := r.endServers(ctx, l); err != nil {
		return err
	}
	s, err := r.session(l)
	if err != nil {
		return err
	}
	if err := errors.Join(r.prepare(ctx, s, exercise), s.Close()); err != nil {
		return err
	}
	if pid, err := process.Owner(r.state(serversDir + l.Name())); err != nil {
		return err
	} else if pid == 0 && exercise.Serve != nil {
		if err := r.spawn(ctx, "serve", fmt.Sprint(l.Number)); err != nil {
			return err
		}
	}
	made, err := begin(l)
	if err != nil {
		return err
	}
	memory := r.remember()
	if known := memory.of(l); known.Started.IsZero() || made {
		*known = record{Started: time.Now()}
	}
	if err := memory.save(); err != nil {
		return err
	}
	r.welcome(l, made)
	return nil
}

// welcome says how to go on.
func (r *runner) welcome(l *lab.Lab, made bool) {
	t := r.stdout
	t.printf("\n%s\n", t.bold(fmt.Sprintf("Lab %d. %s", l.Number, l.Title)))
	t.paragraph("", l.Goal)
	t.printf("\n")
	work := r.relative(l.Dir(lab.WorkDir))
	if made {
		t.printf("your files:  %s\n", work)
	} else {
		t.printf("your files:  %s, as you left them; \"lab reset %d\" begins anew\n", work, l.Number)
	}
	t.printf("read:        %s\n", r.relative(l.Dir(lab.ReadmeFile)))
	t.printf("first:       eval \"$(lab env)\"\n")
	t.printf("then:        lab check %d, lab hint %d\n", l.Number, l.Number)
}

// prepare makes what a lab needs in the cluster.
func (r *runner) prepare(ctx context.Context, s *lab.Session, exercise lab.Exercise) error {
	config, err := s.Admin()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Lab.Namespace()}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the namespace %s: %w", s.Lab.Namespace(), err)
	}
	if exercise.Prepare == nil {
		return nil
	}
	if err := exercise.Prepare(ctx, s); err != nil {
		return fmt.Errorf("prepare lab %d: %w", s.Lab.Number, err)
	}
	return nil
}

// noteKubeconfig says so if the learner's shell uses another cluster than the labs do.
func (r *runner) noteKubeconfig() error {
	found, err := r.cluster()
	if err != nil || found == nil {
		return err
	}
	switch used := os.Getenv("KUBECONFIG"); used {
	case found.Kubeconfig:
	case "":
		r.stderr.paragraph("note: ", "KUBECONFIG is not set in this shell, so kubectl does not use the labs' cluster: run  eval \"$(lab env)\"")
	default:
		r.stderr.paragraph("note: ", "KUBECONFIG in this shell is "+used+", which is not the labs' cluster: kubectl and \"lab check\" look at different ones. Run  eval \"$(lab env)\"")
	}
	return nil
}

func (r *runner) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: `Prints the lines that make a shell use the labs' cluster: eval "$(lab env)"`,
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			found, err := r.cluster()
			if err != nil {
				return err
			}
			if found == nil {
				return fmt.Errorf("%w: run \"lab start\" and the number of a lab", lab.ErrDown)
			}
			for _, line := range environment(found) {
				name, value, _ := strings.Cut(line, "=")
				r.stdout.printf("export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
			}
			return nil
		},
	}
}

// environment is what the commands of a README need, beside the PATH.
func environment(found *lab.Cluster) []string {
	variables := append([]string{"KUBECONFIG=" + found.Kubeconfig}, lab.BuildEnvironment...)
	if found.Host != "" {
		variables = append(variables, lab.HostVariable+"="+found.Host)
	}
	return variables
}

func (r *runner) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Ends the control plane of the labs; your files stay",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return r.down(cmd.Context()) },
	}
}

func (r *runner) down(ctx context.Context) error {
	// what is stopped does not end when it is asked to
	if found, err := r.cluster(); err == nil && found != nil {
		if _, err := found.Wake(); err != nil {
			return err
		}
	}
	if err := r.endServers(ctx, nil); err != nil {
		return err
	}
	dir := r.state(clusterDir)
	if pid, err := process.Owner(dir); err != nil || pid == 0 {
		r.stdout.printf("nothing is running\n")
		return err
	}
	if err := r.end(ctx, dir); err != nil {
		return err
	}
	r.stdout.printf("the control plane has ended, and what was made in it is gone; your files stay\n")
	return nil
}

// endServers ends the programs of all labs but one.
func (r *runner) endServers(ctx context.Context, but *lab.Lab) error {
	dirs, err := filepath.Glob(r.state(serversDir + "*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if but != nil && filepath.Base(dir) == serversDir+but.Name() {
			continue
		}
		if err := r.end(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// end ends the process that owns a directory, and waits until it is gone.
func (r *runner) end(ctx context.Context, dir string) error {
	pid, err := process.Owner(dir)
	if err != nil || pid == 0 {
		return err
	}
	return process.End(ctx, fmt.Sprintf("process %d of the labs", pid), pid, dir)
}

// spawn runs this program in a session of its own, and returns when it is ready. If ctx
// ends meanwhile, so does the program.
func (r *runner) spawn(ctx context.Context, args ...string) error {
	args = append(args, "--root", r.root)
	if r.foreign != "" {
		args = append(args, "--kubeconfig", r.foreign, "--foreign-cluster")
	}
	say := func(line string) { r.stdout.printf("%s\n", line) }
	return process.Background{Name: "lab", What: "it", Dir: r.root, Say: say}.Start(ctx, args...)
}

// serveCommand is what runs in the background.
func (r *runner) serveCommand() *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:    "serve [N]",
		Short:  "Serves the control plane of the labs, or what lab N needs beside it, until interrupted",
		Hidden: true,
		Args:   cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			say := func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
			if len(args) == 0 {
				return r.serveCluster(cmd.Context(), kind, say)
			}
			l, exercise, err := r.find(args[0])
			if err != nil {
				return err
			}
			return r.serveLab(cmd.Context(), l, exercise, say)
		},
	}
	cmd.Flags().StringVar(&kind, "cluster", cluster.KindEmbedded, "its kind")
	return cmd
}

// serveCluster is the control plane of the labs.
func (r *runner) serveCluster(ctx context.Context, kind string, say func(string)) (err error) {
	if err := os.MkdirAll(r.state(), 0o755); err != nil {
		return err
	}
	group, err := process.NewGroup(r.state(clusterDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	var plane cluster.Provider = cluster.NewEmbedded(group, cluster.EmbeddedOptions{AuditLog: true})
	if kind == cluster.KindKind {
		// several checkouts, and "lab verify", may each have one
		plane = cluster.NewKind(group, "portrule-labs-"+rand.String(5), cluster.KindOptions{AuditLog: true, Say: say})
	}
	defer func() { err = errors.Join(err, plane.Destroy(context.WithoutCancel(ctx))) }()
	if _, err := plane.Create(ctx); err != nil {
		return err
	}
	client, err := klient.New(plane.KubernetesRestConfig())
	if err != nil {
		return err
	}
	if err := plane.WaitForControlPlane(ctx, client); err != nil {
		return err
	}
	contexts := []cluster.Context{{Name: adminContext, Config: plane.KubernetesRestConfig()}}
	for _, name := range lab.Users {
		user, _, err := plane.User(ctx, name)
		if err != nil {
			return err
		}
		contexts = append(contexts, cluster.Context{Name: name, Config: user})
	}
	made := lab.Cluster{Kind: kind, Kubeconfig: group.Path("kubeconfig"), Context: adminContext, Dir: group.Path()}
	if host, _ := plane.Address(); host != "localhost" {
		made.Host = host
	}
	if err := cluster.WriteKubeconfig(made.Kubeconfig, contexts...); err != nil {
		return err
	}
	if made.Etcd, err = plane.Etcd(ctx); err != nil {
		return err
	}
	data, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := os.WriteFile(group.Path(clusterFile), data, 0o600); err != nil {
		return err
	}
	say(process.ReadyLine)
	return alive(ctx, func() error {
		pids, err := group.PIDs()
		if err != nil {
			return err
		}
		for name, pid := range pids {
			if syscall.Kill(pid, 0) != nil {
				return fmt.Errorf("%s has ended", name)
			}
		}
		return nil
	})
}

// serveLab is what a lab has beside the control plane. It ends with that.
func (r *runner) serveLab(ctx context.Context, l *lab.Lab, exercise lab.Exercise, say func(string)) (err error) {
	group, err := process.NewGroup(r.state(serversDir + l.Name()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	s, err := r.session(l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	stop, err := exercise.Serve(ctx, s, group, say)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	say(process.ReadyLine)
	return alive(ctx, func() error {
		found, err := r.cluster()
		if err == nil && found == nil {
			err = lab.ErrDown
		}
		return err
	})
}

// alive returns nil when ctx ends, and before if a look every second finds an error.
func alive(ctx context.Context, look func() error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if err := look(); err != nil {
			return err
		}
	}
}
