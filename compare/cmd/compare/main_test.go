package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	gopsprocess "github.com/shirou/gopsutil/v4/process"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"compare": main})
}

// binDir is where make build puts the programs that the scripts start.
func binDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScripts(t *testing.T) {
	bin := binDir(t)
	repository, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	self, err := exec.LookPath("compare") // testscript.Main has put it there
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("BIN", bin)
			env.Setenv("REPO", repository)
			env.Defer(func() {
				// a script that fails half-way leaves no lab behind
				if out, err := exec.Command(self, "down", "--dir", filepath.Join(env.WorkDir, ".lab")).CombinedOutput(); err != nil {
					t.Errorf("end the lab: %v: %s", err, out)
				}
			})
			return nil
		},
	})
}

// An interrupted run writes what it has, says so, and leaves nothing running.
func TestInterrupt(t *testing.T) {
	self, err := exec.LookPath("compare") // testscript.Main has put it there
	if err != nil {
		t.Fatal(err)
	}
	tmp, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	cmd := exec.Command(self, "bench", "--cluster", "embedded", "--rounds", "50", "--clients", "0", "--out", out)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "KUBEBUILDER_ASSETS="+binDir(t))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		// the case before this one is complete
		if strings.Contains(lines.Text(), "verbs: get-new") {
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit status 1; it said:\n%s", err, said.String())
	}
	if !strings.Contains(said.String(), "interrupted") {
		t.Errorf("it does not say that it was interrupted:\n%s", said.String())
	}
	result, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"case": "create"`, `"case": "get"`, "the run did not finish"} {
		if !bytes.Contains(result, []byte(want)) {
			t.Errorf("result.json does not contain %s", want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if args := runningUnder(t, tmp); len(args) > 0 {
		t.Errorf("still running: %v", args)
	}
}

// runningUnder returns the command lines that mention a directory.
func runningUnder(t *testing.T, dir string) []string {
	t.Helper()
	processes, err := gopsprocess.Processes()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range processes {
		if line, err := p.Cmdline(); err == nil && strings.Contains(line, dir) {
			found = append(found, line)
		}
	}
	return found
}
