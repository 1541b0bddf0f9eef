package movinghouse

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/14-moving-house/clients"
	"portrule.example/lab/labs/lab"
)

const (
	// scriptTimeout bounds a script of the learner's.
	scriptTimeout = 10 * time.Second
	// answerTimeout bounds the wait for an effect of one.
	answerTimeout = 5 * time.Second
	// discoveryTimeout bounds the wait for discovery.
	discoveryTimeout = 5 * time.Second
	// pace is that of the clients of a trial.
	pace = 20 * time.Millisecond
	// renew is how long those of its watches last that are renewed.
	renew = 300 * time.Millisecond
	// dwell is how many times the clients write in a house at least.
	dwell = 15
	// young is how long a CRD is new: whoever creates an object in that time is kept waiting
	// as long by the kube-apiserver, so that others of its kind may hear of the CRD.
	young = 2 * time.Second
)

// trial is a move, there and back, of a house that nobody else lives in.
type trial struct {
	*lab.Session
	live *live
	// name is part of every name, group is that of the rules.
	name, group string
	port        int
	processes   *process.Group
	// dir has the copies of the learner's files, in which the names of the task are
	// replaced.
	dir         string
	environment []string

	ca     []byte
	server *process.Process
	direct *rest.Config
	load   *clients.Load
	// before is a resourceVersion that is older than the server's start.
	before string
	shown  answers
}

func newTrial(s *lab.Session, l *live) (*trial, error) {
	t := &trial{Session: s, live: l, name: lab.Scratch()}
	t.group = t.name + "." + s.Constant("group")
	var err error
	if t.port, err = s.FreePort(); err != nil {
		return nil, err
	}
	if t.processes, err = s.Group(); err != nil {
		return nil, err
	}
	return t, errors.Join(t.copyFiles(), t.certify(), t.guard())
}

// renamed replaces the names of the task by those of the trial, and plain does the opposite.
func (t *trial) renamed(text string) string {
	// the first that fits counts: the lab's folder keeps its name
	return strings.NewReplacer(t.Lab.Name(), t.Lab.Name(), t.Constant("group"), t.group, t.Constant("service"), t.name,
		t.Constant("port"), strconv.Itoa(t.port)).Replace(text)
}

func (t *trial) plain(text string) string {
	return strings.NewReplacer(t.group, t.Constant("group"), t.name, t.Constant("service"), strconv.Itoa(t.port), t.Constant("port")).Replace(text)
}

// copyFiles copies the learner's files to a place that looks like theirs.
func (t *trial) copyFiles() error {
	where, err := t.Cluster()
	if err != nil {
		return err
	}
	t.dir = t.processes.Path("labs", t.Lab.Name(), lab.WorkDir)
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	for link, to := range map[string]string{
		t.processes.Path("labs", ".state"): filepath.Dir(where.Dir),
		t.processes.Path("bin"):            filepath.Join(t.Root, "bin"),
	} {
		if err := os.Symlink(to, link); err != nil {
			return err
		}
	}
	tree := os.DirFS(t.Work)
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(t.dir, name), 0o700)
		case !entry.Type().IsRegular() || filepath.Ext(name) == ".log":
			return nil
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(t.dir, name), []byte(t.renamed(string(data))), 0o600)
	})
}

// certify makes what certs.sh makes, for the names of the trial.
func (t *trial) certify() error {
	ca, err := certs.NewCA(t.name)
	if err != nil {
		return err
	}
	pair, err := ca.Serving(t.name+"."+t.Lab.Namespace()+".svc", t.Host(), "localhost")
	if err != nil {
		return err
	}
	t.ca = ca.PEM()
	for name, data := range map[string][]byte{"ca.crt": t.ca, "server.crt": pair.Cert, "server.key": pair.Key} {
		if err := os.WriteFile(filepath.Join(t.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// The programs that scripts call in place of the real ones. kubectl changes nothing but what
// is the trial's, and portrule-apiserver says with which flags it is called.
const (
	kubectlGuard = `#!/bin/sh
case $1 in config|get|describe|wait|version) exec '%[2]s' "$@";; esac
for argument; do
	case $argument in *%[1]s*|-f*|--filename*|-k*) exec '%[2]s' "$@";; esac
done
echo "not run, since it is not about the APIService of this lab: kubectl $*" >&2
exit 1
`
	serverGuard = `#!/bin/sh
printf '%%s\n' "$@" >'%[1]s'
[ -z "$FLAGS_ONLY" ] || exit 0
echo $$ >'%[2]s'
exec '%[3]s' "$@"
`
)

// The names of what the guards write.
const (
	flagsFile  = "flags"
	serverName = "portrule-apiserver"
)

// guard makes the environment in which scripts run.
func (t *trial) guard() error {
	where, err := t.Cluster()
	if err != nil {
		return err
	}
	kubeconfig := t.processes.Path("admin.kubeconfig")
	if err := where.WriteAdmin(kubeconfig); err != nil {
		return err
	}
	bin, guards := filepath.Join(t.Root, "bin"), t.processes.Path("guards")
	if err := os.MkdirAll(guards, 0o700); err != nil {
		return err
	}
	for name, script := range map[string]string{
		"kubectl":  fmt.Sprintf(kubectlGuard, t.name, filepath.Join(bin, "kubectl")),
		serverName: fmt.Sprintf(serverGuard, t.processes.Path(flagsFile), t.processes.Path(serverName+".pid"), filepath.Join(bin, serverName)),
	} {
		if err := os.WriteFile(filepath.Join(guards, name), []byte(script), 0o700); err != nil {
			return err
		}
	}
	t.environment = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+guards+":"+bin+":"+os.Getenv("PATH"))
	return nil
}

// script runs a copy of a script of the learner's and returns what it printed last.
func (t *trial) script(ctx context.Context, name string, environment ...string) (said string, err error) {
	bounded, cancel := context.WithTimeout(ctx, scriptTimeout)
	defer cancel()
	cmd := exec.CommandContext(bounded, "bash", name)
	cmd.Dir, cmd.Env = t.dir, slices.Concat(t.environment, environment)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	said = t.plain(lines[len(lines)-1])
	if ctx.Err() != nil {
		return said, ctx.Err()
	}
	if bounded.Err() != nil {
		err = fmt.Errorf("it has not ended after %s", scriptTimeout)
	}
	return said, err
}

func (t *trial) finding(id, where, found, expected string) (*lab.Finding, error) {
	return &lab.Finding{ID: id, Where: where, Found: t.plain(found), Expected: t.plain(expected)}, nil
}

// run moves house.
func (t *trial) run(ctx context.Context) (*lab.Finding, error) {
	for _, step := range []func(context.Context) (*lab.Finding, error){
		t.flags, t.oldHouse, t.newHouse, t.sameRules, t.readable, t.clients, t.takeover, t.expectations, t.back, t.count,
	} {
		if finding, err := step(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// flags finds out how run.sh starts the server.
func (t *trial) flags(ctx context.Context) (*lab.Finding, error) {
	said, err := t.script(ctx, runFile, "FLAGS_ONLY=yes")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	data, missing := os.ReadFile(t.processes.Path(flagsFile))
	if missing != nil {
		found := "it does not start portrule-apiserver"
		if err != nil {
			found += ": " + strings.TrimSpace(fmt.Sprint(err, " ", said))
		}
		return t.finding("run-nothing", t.Where(runFile), found, "a command line of portrule-apiserver, as in start/")
	}
	return t.rightFlags(strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")), nil
}

// oldHouse makes the CRD, and a rule that lives there.
func (t *trial) oldHouse(ctx context.Context) (*lab.Finding, error) {
	data, err := os.ReadFile(t.Lab.Dir(lab.StartDir, "crd.yaml"))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() error { return t.live.removeCRD(context.Background(), t.group) })
	reply, err := lab.Send(ctx, t.live.admin, http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/yaml", t.renamed(string(data)))
	if err == nil && reply.Status != http.StatusCreated {
		err = errors.New(reply.Message())
	}
	if err != nil {
		return nil, fmt.Errorf("make a CRD for the trial: %w", err)
	}
	service := &corev1.Service{}
	if finding := t.YAML(serviceFile, service); finding != nil {
		return finding, nil
	}
	service.Name = t.name
	if err := t.live.client.Create(ctx, service); err != nil {
		return t.finding("service-refused", t.Where(serviceFile), err.Error(), "a Service that the kube-apiserver accepts")
	}
	t.Cleanup(func() error { return client.IgnoreNotFound(t.live.client.Delete(context.Background(), service)) })
	err = t.until(ctx, lab.SettleTimeout, func(ctx context.Context) (bool, string, error) {
		registration, err := t.live.registration(ctx, t.group)
		if err != nil || registration == nil {
			return false, "there is no APIService", err
		}
		is, says := available(registration)
		if !is {
			return false, says, nil
		}
		reply, err := lab.Send(ctx, t.live.admin, http.MethodGet, t.live.rulesPath(t.group), "", "")
		if err != nil {
			return false, "", err
		}
		var list v2.PortRuleList
		if reply.Status == http.StatusOK {
			err = json.Unmarshal(reply.Body, &list)
		}
		t.before = list.ResourceVersion
		return reply.Status == http.StatusOK, reply.Message(), err
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the CRD of the trial serves: %w", err)
	}
	_, err = t.apply(ctx, "old")
	return nil, err
}

// rule is a rule of the trial, of which the endpoint is another one's or its own.
func (t *trial) rule(name, endpoint string) string {
	return fmt.Sprintf(`{"apiVersion":"%s/%s","kind":%q,"metadata":{"name":%q},"spec":{"service":"nginx","endpoint":{"host":"%s.example","port":80}}}`,
		t.group, t.Constant("version"), api.Kind, name, endpoint)
}

// apply applies a rule, and returns its resourceVersion.
func (t *trial) apply(ctx context.Context, name string) (version string, err error) {
	reply, err := lab.Send(ctx, t.live.admin, http.MethodPatch, t.live.rulesPath(t.group)+"/"+name+"?fieldManager=check", "application/apply-patch+yaml", t.rule(name, name))
	if err != nil {
		return "", err
	}
	if reply.Status >= http.StatusBadRequest {
		return "", fmt.Errorf("apply the rule %s of the trial: status %d: %s", name, reply.Status, reply.Message())
	}
	return versionOf(reply)
}

// versionOf is the resourceVersion of the rule that a server has answered with.
func versionOf(reply *lab.Reply) (string, error) {
	var rule v2.PortRule
	err := json.Unmarshal(reply.Body, &rule)
	return rule.ResourceVersion, err
}

// until waits for a condition, and says what is missing if it does not come.
func (t *trial) until(ctx context.Context, timeout time.Duration, condition func(context.Context) (done bool, missing string, err error)) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		done, missing, err := condition(ctx)
		last = missing
		return done, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return missingError(last)
	}
	return err
}

// missingError says what did not come.
type missingError string

func (e missingError) Error() string { return string(e) }

// newHouse starts the server and waits until it is ready.
func (t *trial) newHouse(ctx context.Context) (*lab.Finding, error) {
	var exports strings.Builder
	for _, variable := range t.environment[len(os.Environ()):] {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&exports, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return nil, err
	}
	t.Cleanup(t.killServer)
	if t.server, err = t.Start("server", bash, "-c", exports.String()+"cd '"+t.dir+"' && exec bash "+runFile); err != nil {
		return nil, err
	}
	t.direct = lab.Direct(t.live.admin, t.port, t.ca)
	err = t.until(ctx, lab.SettleTimeout, func(ctx context.Context) (bool, string, error) {
		if t.server.Ended() {
			return false, "", missingError(t.lastWords())
		}
		reply, err := lab.Send(ctx, t.direct, http.MethodGet, "/readyz", "", "")
		var unknown x509.UnknownAuthorityError
		switch {
		case errors.As(err, &unknown):
			return false, "", missingError("its certificate is not that in server.crt: " + err.Error())
		case err != nil:
			return false, err.Error(), nil //nolint:nilerr // it may not listen yet
		}
		return reply.Status == http.StatusOK, reply.Message(), nil
	})
	var missing missingError
	if errors.As(err, &missing) {
		return t.finding("server-ends", t.Where(runFile), string(missing), "a server that becomes ready")
	}
	if err != nil {
		return nil, err
	}
	t.Verified("run.sh starts a server on the etcd of the kube-apiserver")
	_, err = t.apply(ctx, "later")
	return nil, err
}

// killServer ends the server, if a shell has started it as a child too.
func (t *trial) killServer() error {
	data, err := os.ReadFile(t.processes.Path(serverName + ".pid"))
	if err != nil {
		return nil //nolint:nilerr // it was never started
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	return nil
}

// lastWords is what the server has said before it ended.
func (t *trial) lastWords() string {
	said := t.server.Err().Error()
	data, err := os.ReadFile(t.processes.LogPath("server"))
	if err != nil {
		return said
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "I") && !strings.HasPrefix(line, "W") {
			said = line
		}
	}
	return t.plain(said)
}

// sameRules makes sure that both houses have the same rules, word by word.
func (t *trial) sameRules(ctx context.Context) (*lab.Finding, error) {
	read := func(config *rest.Config) (map[string]any, error) {
		reply, err := lab.Send(ctx, config, http.MethodGet, t.live.rulesPath(t.group), "", "")
		if err != nil {
			return nil, err
		}
		if reply.Status != http.StatusOK {
			return nil, fmt.Errorf("list the rules of the trial: status %d: %s", reply.Status, reply.Message())
		}
		var list struct {
			Items []map[string]any `json:"items"`
		}
		if err := json.Unmarshal(reply.Body, &list); err != nil {
			return nil, err
		}
		rules := map[string]any{}
		for _, item := range list.Items {
			// a CRD says of each item what it is, a server of the list alone
			delete(item, "apiVersion")
			delete(item, "kind")
			rules[item["metadata"].(map[string]any)["name"].(string)] = item
		}
		return rules, nil
	}
	old, err := read(t.live.admin)
	if err != nil {
		return nil, err
	}
	fresh, err := read(t.direct)
	if err != nil {
		return nil, err
	}
	if len(fresh) != len(old) {
		return t.finding("other-prefix", t.Where(runFile), fmt.Sprintf("the server has %d rules where the CRD has %d", len(fresh), len(old)), "the same rules: the same etcd, and the same prefix in it")
	}
	a, _ := json.Marshal(old)
	b, _ := json.Marshal(fresh)
	if !bytes.Equal(a, b) {
		return nil, fmt.Errorf("the two houses differ, which is a fault of the lab:\n%s\n%s", a, b)
	}
	t.Verified("the server reads the CRD's rules in place: uid, resourceVersion, managedFields and all")
	return nil, nil
}

// readable makes sure that the CRD can read what the server writes.
func (t *trial) readable(ctx context.Context) (*lab.Finding, error) {
	path := t.live.rulesPath(t.group)
	reply, err := lab.Send(ctx, t.direct, http.MethodPost, path, "application/json", t.rule("guest", "guest"))
	if err == nil && reply.Status != http.StatusCreated {
		err = errors.New(reply.Message())
	}
	if err != nil {
		return nil, fmt.Errorf("make a rule at the server of the trial: %w", err)
	}
	read, err := lab.Send(ctx, t.live.admin, http.MethodGet, path+"/guest", "", "")
	if err != nil {
		return nil, err
	}
	if removed, err := lab.Send(ctx, t.direct, http.MethodDelete, path+"/guest", "", ""); err != nil || removed.Status != http.StatusOK {
		return nil, errors.Join(err, errors.New("remove a rule at the server of the trial"))
	}
	if read.Status != http.StatusOK {
		return t.finding("not-json", t.Where(runFile)+": a rule that your server has written",
			fmt.Sprintf("the CRD cannot read it: status %d: %s", read.Status, read.Message()), "a rule that is stored as the CRD stores its own")
	}
	t.Verified("the CRD reads what the server writes")
	return nil, nil
}

// clients starts the clients.
func (t *trial) clients(ctx context.Context) (*lab.Finding, error) {
	if err := t.age(ctx); err != nil {
		return nil, err
	}
	var err error
	t.load, err = clients.Start(ctx, clients.Options{Config: t.live.admin, Group: t.group, Namespace: t.Lab.Namespace(), Pace: pace, Renew: renew})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() error { t.load.Stop(); return nil })
	return nil, t.until(ctx, lab.SettleTimeout, func(context.Context) (bool, string, error) {
		return t.load.Report().Writes >= dwell, "the clients are slow", nil
	})
}

// age waits until the CRD is not young any more, which it seldom is when the server is ready.
func (t *trial) age(ctx context.Context) error {
	reply, err := lab.Send(ctx, t.live.admin, http.MethodGet, crdPath(t.group), "", "")
	if err != nil {
		return err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal(reply.Body, &crd); err != nil {
		return err
	}
	for _, condition := range crd.Status.Conditions {
		if condition.Type != apiextensionsv1.Established {
			continue
		}
		return t.until(ctx, lab.SettleTimeout, func(context.Context) (bool, string, error) {
			return time.Since(condition.LastTransitionTime.Time) >= young, "the CRD is young", nil
		})
	}
	return fmt.Errorf("the CRD of the trial is not established: %s", reply.Message())
}

// stay waits until the clients have been in a house for a while: they have written,
// and each watch that is renewed has been.
func (t *trial) stay(ctx context.Context, server bool) error {
	before := t.load.Report()
	return t.until(ctx, lab.SettleTimeout, func(context.Context) (bool, string, error) {
		now := t.load.Report()
		if len(now.Houses) == 0 || now.Houses[len(now.Houses)-1].Server != server {
			return false, "the clients are answered by the other house", nil
		}
		for i, w := range now.Watches {
			if i > 0 && w.Renewed+w.Anew <= before.Watches[i].Renewed+before.Watches[i].Anew {
				return false, w.Name + " has not been renewed", nil
			}
		}
		return now.Writes >= before.Writes+dwell, "the clients are slow", nil
	})
}

// takeover hands the group over.
func (t *trial) takeover(ctx context.Context) (*lab.Finding, error) {
	t.Cleanup(func() error { return t.handBack(context.Background()) })
	said, failed := t.script(ctx, takeoverFile)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if failed != nil {
		return t.finding("takeover-refused", t.Where(takeoverFile), strings.TrimSpace(fmt.Sprint(failed, ": ", said)), "commands that succeed")
	}
	where := t.Where(takeoverFile)
	registration := "APIService " + t.Constant("version") + "." + t.group
	var finding *lab.Finding
	err := t.until(ctx, answerTimeout, func(ctx context.Context) (bool, string, error) {
		live, err := t.live.registration(ctx, t.group)
		if err != nil || live == nil {
			return false, "there is no " + registration, err
		}
		houses := t.load.Report().Houses
		is, says := available(live)
		label, labelled := live.Labels[automanaged]
		switch leads := live.Spec.Service; {
		case live.Spec.InsecureSkipTLSVerify:
			finding, err = t.finding("insecure", where+": spec.insecureSkipTLSVerify", "true: whoever answers there is believed", "verification by the CA in ca.crt")
		case leads == nil && label == "true":
			finding, err = t.finding("label-kept", where, registration+" has the label "+automanaged+" still, and no Service: the kube-apiserver has put it back", "an APIService that the kube-apiserver leaves alone")
		case leads == nil:
			finding, err = t.finding("no-service", where, registration+" has no spec.service", t.Lab.Namespace()+"/"+t.name)
		case labelled && label == "true":
			return false, "the label is there", nil // it is put back any moment
		case labelled && label == "onstart":
			finding, err = t.finding("label-kept", where, "the label "+automanaged+" is onstart: the kube-apiserver puts the APIService back when it starts next", "an APIService that the kube-apiserver leaves alone")
		case !is:
			finding, err = t.finding("unreachable", where, "the aggregator does not reach the server: "+says, "a Service, a port and a CA that lead to the server")
		default:
			return houses[len(houses)-1].Server, "the clients are answered by the CRD", nil
		}
		return true, "", err
	})
	var missing missingError
	switch {
	case errors.As(err, &missing):
		return t.finding("no-service", where, string(missing), "the server's answers")
	case err != nil:
		return nil, err
	case finding != nil:
		if failures := t.load.Report().Failures; len(failures) > 0 {
			finding.Found += fmt.Sprintf("; %d requests of clients have failed meanwhile", len(failures))
		}
		return finding, nil
	}
	return nil, t.stay(ctx, true)
}

// handBack makes sure that the APIService is not the trial's.
func (t *trial) handBack(ctx context.Context) error {
	registration, err := t.live.registration(ctx, t.group)
	if err != nil || registration == nil || registration.Labels[automanaged] == "true" {
		return err
	}
	return client.IgnoreNotFound(t.live.client.Delete(ctx, registration))
}

// expectations tries out what the learner was asked to predict.
func (t *trial) expectations(ctx context.Context) (*lab.Finding, error) {
	watches := t.load.Report().Watches
	t.shown.Watch = goesOn
	if watches[0].Renewed+watches[0].Anew > 0 {
		t.shown.Watch = ends
	}
	t.shown.Version = goesOn
	for _, w := range watches[1:] {
		if w.Anew > 0 {
			t.shown.Version = anew
		}
	}
	reply, err := lab.Send(ctx, t.live.admin, http.MethodGet, t.live.rulesPath(t.group)+"?watch=true&timeoutSeconds=1&resourceVersion="+t.before, "", "")
	if err != nil {
		return nil, err
	}
	t.shown.OldVersion = goesOn
	if strings.Contains(string(reply.Body), `"code":410`) || reply.Status == http.StatusGone {
		t.shown.OldVersion = anew
	}
	if t.shown.SameEndpoint, err = t.double(ctx, "old"); err != nil {
		return nil, err
	}
	if t.shown.LaterEndpoint, err = t.double(ctx, "later"); err != nil {
		return nil, err
	}
	reply, err = lab.Send(ctx, t.live.admin, http.MethodGet, t.live.rulesPath(t.group)+"/old", "", "")
	if err != nil {
		return nil, err
	}
	before, err := versionOf(reply)
	if err != nil {
		return nil, err
	}
	after, err := t.apply(ctx, "old")
	t.shown.Apply = nothing
	if after != before {
		t.shown.Apply = rewrites
	}
	return nil, err
}

// double makes a rule with the endpoint of another one, and removes it.
func (t *trial) double(ctx context.Context, endpoint string) (word string, err error) {
	name := "double-" + endpoint
	reply, err := lab.Send(ctx, t.live.admin, http.MethodPost, t.live.rulesPath(t.group), "application/json", t.rule(name, endpoint))
	switch {
	case err != nil:
		return "", err
	case reply.Status == http.StatusUnprocessableEntity:
		return refused, nil
	case reply.Status != http.StatusCreated:
		return "", fmt.Errorf("make the rule %s of the trial: status %d: %s", name, reply.Status, reply.Message())
	}
	_, err = lab.Send(ctx, t.live.admin, http.MethodDelete, t.live.rulesPath(t.group)+"/"+name, "", "")
	return created, err
}

// back hands the group back.
func (t *trial) back(ctx context.Context) (*lab.Finding, error) {
	before, err := t.live.registration(ctx, t.group)
	if err != nil {
		return nil, err
	}
	said, failed := t.script(ctx, backFile)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if failed != nil {
		return t.finding("back-refused", t.Where(backFile), strings.TrimSpace(fmt.Sprint(failed, ": ", said)), "commands that succeed")
	}
	var finding *lab.Finding
	var registration *apiregistrationv1.APIService
	err = t.until(ctx, answerTimeout, func(ctx context.Context) (bool, string, error) {
		if registration, err = t.live.registration(ctx, t.group); err != nil {
			return false, "", err
		}
		finding = t.live.notBack(registration, "it")
		// what has no label nobody puts right any more
		if registration != nil && registration.Labels[automanaged] != "true" {
			return true, "", nil
		}
		houses := t.load.Report().Houses
		return finding == nil && !houses[len(houses)-1].Server, "the clients are answered by the server", nil
	})
	var missing missingError
	if err != nil && !errors.As(err, &missing) {
		return nil, err
	}
	if finding != nil {
		finding.Where = t.Where(backFile) + ": " + strings.TrimPrefix(finding.Where, "the cluster: ")
		return finding, nil
	}
	if err != nil {
		return t.finding("still-served", t.Where(backFile), string(missing), "the CRD's answers")
	}
	timeout := discoveryTimeout
	if before != nil && before.UID == registration.UID {
		timeout = lab.PollInterval // it was never deleted, so nothing is under way
	}
	stale, err := t.live.staleDiscovery(ctx, t.group, timeout)
	if err != nil {
		return nil, err
	}
	if stale != "" {
		return t.finding("stale-discovery", t.Where(backFile)+": what discovery says afterwards", stale, "what the CRD has: status and scale")
	}
	return nil, t.stay(ctx, false)
}

// count says what the clients have noticed.
func (t *trial) count(context.Context) (*lab.Finding, error) {
	report := t.load.End()
	if n := len(report.Failures); n > 0 {
		return t.finding("requests-failed", "the clients", fmt.Sprintf("%d of %d requests failed, at first after %s", n, report.Requests, report.Failures[0]), "none")
	}
	events := 0
	for _, w := range report.Watches {
		events += w.Events
		if wrong := w.Lost + w.Skipped + w.Twice; wrong > 0 {
			return t.finding("events-lost", w.Name, fmt.Sprintf("%d events lost by resourceVersion, %d by counter, %d twice", w.Lost, w.Skipped, w.Twice), "each event once")
		}
	}
	t.Verified("there and back with clients at work: %d requests, 0 failed; %d events in 3 watches, 0 lost, 0 twice", report.Requests, events)
	return nil, nil
}
