package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kindexec "sigs.k8s.io/kind/pkg/exec"
)

// fakeEngine is a container engine that has the clusters and images of two files, one
// name in each line, and notes how it is called in a third.
const fakeEngine = `#!/bin/sh
echo "$*" >>"$FAKE/calls"
[ ! -f "$FAKE/broken" ] || { /bin/cat "$FAKE/broken" >&2; exit 1; }
case "$*" in
"image inspect "*) while read -r image; do [ "$image" != "$3" ] || exit 0; done <"$FAKE/images"; exit 1 ;;
"ps -a --filter label=io.x-k8s.kind.cluster --format"*) /bin/cat "$FAKE/clusters" ;;
"ps -a --filter label=io.x-k8s.kind.cluster="*) name=${4#*cluster=}; echo "$name-control-plane" ;;
"inspect --format {{ index .Config.Labels \"io.x-k8s.kind.role\"}}"*) echo control-plane ;;
"exec "*) [ -f "$FAKE/kubeadm.conf" ] && /bin/cat "$FAKE/kubeadm.conf" ;;
"rm "*) : >"$FAKE/clusters" ;;
esac
`

// fake makes the fake engine the only one in PATH, under the given names, and gives the
// test a place of its own for claims.
func fake(t *testing.T, files map[string]string, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("FAKE", dir)
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("KIND_EXPERIMENTAL_PROVIDER", "")
	// a registry that refuses to be connected to
	t.Setenv("KIND_IMAGE", "localhost:1/node:v1")
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		write("bin/"+name, fakeEngine, 0o700)
	}
	for _, name := range []string{"images", "clusters", "calls"} {
		write(name, "", 0o600)
	}
	for name, text := range files {
		write(name, text, 0o600)
	}
	return dir
}

func calls(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Each reason for which there is no engine has its remedy, and an engine that does not
// answer does not hide one that does.
func TestFindEngine(t *testing.T) {
	for name, c := range map[string]struct {
		engines  []string
		provider string
		broken   string
		want     engine
		wantErr  []string
	}{
		"none":          {wantErr: []string{"there is no container engine", "install docker, podman or nerdctl", "--cluster embedded"}},
		"docker":        {engines: []string{"podman", "docker"}, want: "docker"},
		"podman":        {engines: []string{"podman"}, want: "podman"},
		"asked for":     {engines: []string{"podman", "docker"}, provider: "podman", want: "podman"},
		"not installed": {engines: []string{"docker"}, provider: "podman", wantErr: []string{"there is no container engine"}},
		"unknown":       {engines: []string{"docker"}, provider: "lxc", wantErr: []string{`KIND_EXPERIMENTAL_PROVIDER is "lxc"`, "use docker, nerdctl or podman"}},
		"no permission": {
			engines: []string{"docker"}, broken: "permission denied while trying to connect to the Docker daemon socket",
			wantErr: []string{"docker ps: permission denied", "you may not use docker: join its group"},
		},
		"not running": {
			engines: []string{"docker"}, broken: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
			wantErr: []string{"docker ps: Cannot connect", "start it", "--cluster embedded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			if c.broken != "" {
				files["broken"] = c.broken
			}
			fake(t, files, c.engines...)
			t.Setenv("KIND_EXPERIMENTAL_PROVIDER", c.provider)
			got, err := findEngine(t.Context())
			if got != c.want {
				t.Errorf("got engine %q (%v), want %q", got, err, c.want)
			}
			wantError(t, err, c.wantErr...)
		})
	}
}

// wantError wants an error that contains all of parts, and none if there are no parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if len(parts) == 0 && err != nil {
		t.Errorf("got the error %q", err)
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got the error %v, want one that contains %q", err, part)
		}
	}
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		engines []string
		images  string
		want    string
		wantWhy string
	}{
		"no engine": {want: KindEmbedded, wantWhy: "there is no container engine"},
		"image":     {engines: []string{"docker"}, images: "localhost:1/node:v1\n", want: KindKind, wantWhy: "docker answers and has the node image localhost:1/node:v1"},
		"no image":  {engines: []string{"docker"}, want: KindEmbedded, wantWhy: "docker answers, but the node image localhost:1/node:v1 is not here, and its registry does not give it"},
	} {
		t.Run(name, func(t *testing.T) {
			fake(t, map[string]string{"images": c.images}, c.engines...)
			if got, why := Choose(t.Context()); got != c.want || !strings.Contains(why, c.wantWhy) {
				t.Errorf("got %s because %q, want %s because %q", got, why, c.want, c.wantWhy)
			}
		})
	}
}

// Nothing of a cluster that is not the lab's is touched, and what an interrupted run has
// left is replaced. There is no node image, so no case gets farther.
func TestKindCreateRefuses(t *testing.T) {
	const noImage = "name an image that docker has with KIND_IMAGE"
	for name, c := range map[string]struct {
		cluster string
		claim   *claim
		config  string // /kind/kubeadm.conf in the node
		dir     string
		wantErr string
		removes bool
	}{
		"no image":           {wantErr: noImage},
		"name taken":         {cluster: "lab", wantErr: `there is a kind cluster "lab" already, which is not the lab's: choose another name with --name`},
		"another cluster":    {cluster: "other", wantErr: noImage},
		"interrupted run":    {cluster: "lab", claim: &claim{ID: "12ab"}, config: "node-labels: portrule-lab/claim=12ab", wantErr: noImage, removes: true},
		"without config yet": {cluster: "lab", claim: &claim{ID: "12ab"}, wantErr: noImage, removes: true},
		"replaced by a user": {cluster: "lab", claim: &claim{ID: "12ab"}, config: "node-labels: none", wantErr: "which is not the lab's"},
		"lab that exists":    {cluster: "lab", claim: &claim{ID: "12ab", Dir: "/", Complete: true}, config: "12ab", wantErr: `is that of the lab in /: end it there ("make down")`},
		"lab that is gone":   {cluster: "lab", claim: &claim{ID: "12ab", Dir: "/nonexistent", Complete: true}, config: "12ab", wantErr: noImage, removes: true},
		"half-made lab":      {cluster: "lab", dir: "/lab", claim: &claim{ID: "12ab", Dir: "/lab"}, config: "12ab", wantErr: noImage, removes: true},
		"other features": {
			cluster: "lab", dir: "/lab", claim: &claim{ID: "12ab", Dir: "/lab", Complete: true, Features: features{AuditLog: true}}, config: "12ab",
			wantErr: `is up with another kube-apiserver (audit log) than is asked for (nothing special): run "make down" first`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"clusters": c.cluster + "\n"}
			if c.config != "" {
				files["kubeadm.conf"] = c.config
			}
			dir := fake(t, files, "docker")
			if c.claim != nil {
				prepared, err := lockClaim("lab")
				if err != nil {
					t.Fatal(err)
				}
				c.claim.file, c.claim.Engine = prepared.file, "docker"
				if err := errors.Join(c.claim.write(), c.claim.unlock()); err != nil {
					t.Fatal(err)
				}
			}
			_, err := NewKind(newGroup(t), "lab", KindOptions{Dir: c.dir}).Create(t.Context())
			wantError(t, err, c.wantErr)
			if got := strings.Contains(calls(t, dir), "rm -f -v lab-control-plane"); got != c.removes {
				t.Errorf("removed: %t, want %t; the engine was called:\n%s", got, c.removes, calls(t, dir))
			}
			if strings.Contains(calls(t, dir), "run ") {
				t.Errorf("a container was made:\n%s", calls(t, dir))
			}
		})
	}
}

func TestKindName(t *testing.T) {
	for _, name := range []string{"", "Lab", "a b", "-a", strings.Repeat("a", 49)} {
		_, err := NewKind(newGroup(t), name, KindOptions{}).Create(t.Context())
		wantError(t, err, "cannot be the name of a kind cluster")
	}
}

func TestClaim(t *testing.T) {
	dir := fake(t, nil)
	first, err := lockClaim("lab")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockClaim("lab"); err == nil || !strings.Contains(err.Error(), `"lab" is in use by another run`) {
		t.Errorf("a second claim: got %v, want that the first is in use", err)
	}
	first.ID, first.Dir = "12ab", "/lab"
	if err := errors.Join(first.write(), first.unlock()); err != nil {
		t.Fatal(err)
	}
	if name, err := KeptBy("/lab"); name != "lab" || err != nil {
		t.Errorf("/lab keeps %q (%v), want lab", name, err)
	}
	if name, err := KeptBy("/other"); name != "" || err != nil {
		t.Errorf("/other keeps %q (%v), want nothing", name, err)
	}
	again, err := lockClaim("lab")
	if err != nil {
		t.Fatal(err)
	}
	if again.ID != "12ab" {
		t.Errorf("the id is %q", again.ID)
	}
	if err := again.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cache", "portrule-lab")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of the claims is left: %v", err)
	}

	// one that says nothing leaves nothing
	empty, err := lockClaim("lab")
	if err != nil {
		t.Fatal(err)
	}
	if err := empty.unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cache", "portrule-lab")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of the claims is left: %v", err)
	}

	broken := filepath.Join(dir, "cache", "portrule-lab", "kind", "lab.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(broken), 0o700), os.WriteFile(broken, []byte(`{"id": 1`), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = lockClaim("lab")
	wantError(t, err, "lab.json says whose the kind cluster", "cannot be read", "kind delete cluster --name lab")
}

func TestExplainKind(t *testing.T) {
	run := func(output string) error {
		return &kindexec.RunError{Command: []string{"docker", "run", "--name", "lab"}, Output: []byte(output), Inner: errors.New("exit status 125")}
	}
	for output, want := range map[string]string{
		"": "exit status 125",
		"write /var/lib/docker/x: no space left on device":       `docker run failed: write /var/lib/docker/x: no space left on device` + "\n" + `the disk is full: free some space ("docker system df" says what takes it) and try again`,
		"Bind for 127.0.0.1:4 failed: port is already allocated": "try again",
		"1\n2\n3\n4\n5\n6": "docker run failed: 2\n3\n4\n5\n6",
	} {
		if got := explainKind(run(output), "docker").Error(); !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want it to contain %q", output, got, want)
		}
	}
	if explainKind(nil, "docker") != nil {
		t.Error("nil is explained")
	}
}

// What is asked of the kube-apiserver is in kubeadm's configuration, and its files are
// where the node mounts them.
func TestKindConfigure(t *testing.T) {
	fake(t, nil)
	k := NewKind(newGroup(t), "lab", KindOptions{AuditLog: true, AggregatorRouting: true, TracingEndpoint: "172.18.0.1:4317"})
	var err error
	if k.claim, err = lockClaim("lab"); err != nil {
		t.Fatal(err)
	}
	config, err := k.configure("kindest/node:v1")
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Nodes) != 1 || len(config.Nodes[0].ExtraMounts) != 1 || config.Nodes[0].Labels[claimLabel] != k.claim.ID {
		t.Fatalf("the nodes are %+v", config.Nodes)
	}
	patches := strings.Join(config.KubeadmConfigPatches, "---\n")
	for _, want := range []string{
		"failCgroupV1: false", "name: enable-aggregator-routing", "value: /etc/portrule-lab/audit-policy.yaml", "value: " + AuditLogPath,
		"value: /etc/portrule-lab/tracing.yaml",
	} {
		if !strings.Contains(patches, want) {
			t.Errorf("kubeadm's patches lack %q:\n%s", want, patches)
		}
	}
	for name, want := range map[string]string{"audit-policy.yaml": "level: Metadata", "tracing.yaml": "endpoint: 172.18.0.1:4317"} {
		if data, err := os.ReadFile(filepath.Join(config.Nodes[0].ExtraMounts[0].HostPath, name)); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v, want %q in\n%s", name, err, want, data)
		}
	}
	if err := k.claim.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(config.Nodes[0].ExtraMounts[0].HostPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files outlive the claim: %v", err)
	}
}

func TestKindSteps(t *testing.T) {
	var steps []string
	logger := stepLogger{func(step string) { steps = append(steps, step) }}
	logger.V(0).Infof(" • %s  ...\n", "Preparing nodes 📦 ")
	logger.V(0).Infof(" ✓ %s\n", "Preparing nodes 📦 ")
	logger.V(1).Infof("%s", " • debugging")
	if got := strings.Join(steps, "|"); got != "kind: preparing nodes" {
		t.Errorf("the steps are %q", got)
	}
}

func TestKindRemoveIsForTheOwner(t *testing.T) {
	dir := fake(t, map[string]string{"clusters": "lab\n"}, "docker")
	wantError(t, NewKind(newGroup(t), "lab", KindOptions{Dir: "/lab"}).Remove(), "which is not the lab's")
	if strings.Contains(calls(t, dir), "rm ") {
		t.Errorf("something was removed:\n%s", calls(t, dir))
	}
}
