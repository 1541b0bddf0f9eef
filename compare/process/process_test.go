package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gopsprocess "github.com/shirou/gopsutil/v4/process"
)

// ownerEnv makes the test binary an owner of a group in the directory that it
// names: see TestTether.
const ownerEnv = "PROCESS_TEST_OWNER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerEnv); dir != "" {
		owner(dir)
		return
	}
	os.Exit(m.Run())
}

// owner starts two programs, says so, and waits to be killed.
func owner(dir string) {
	group, err := NewGroup(dir)
	if err == nil {
		_, err = group.Start("sleeper", "/bin/sleep", "1000")
	}
	if err == nil {
		// one that does not go when it is asked to
		_, err = group.Start("stubborn", "/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	time.Sleep(time.Hour)
}

// Nothing outlives an owner that had no chance to clean up.
func TestTether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "group")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "started" {
		t.Fatalf("the owner says %q (%v)", line, err)
	}
	group := &Group{dir: dir}
	var pids []int
	for _, name := range []string{"sleeper", "stubborn"} {
		waitFor(t, name+" has noted its process id", func() bool { _, err := group.PID(name); return err == nil })
		pid, err := group.PID(name)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if pid, err := Owner(dir); err != nil || pid != cmd.Process.Pid {
		t.Errorf("the owner is %d (%v), want %d", pid, err, cmd.Process.Pid)
	}
	var inUse InUseError
	if _, err := NewGroup(dir); !errors.As(err, &inUse) || inUse.PID != cmd.Process.Pid {
		t.Errorf("a second group in the directory: got %v, want an InUseError of process %d", err, cmd.Process.Pid)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		waitFor(t, fmt.Sprintf("process %d has ended", pid), func() bool { return !alive(pid) })
	}
	waitFor(t, "the directory is gone", func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) })
}

// alive is whether a process runs: one that has ended but whose parent has not
// asked about it does not count.
func alive(pid int) bool {
	p, err := gopsprocess.NewProcess(int32(pid))
	if err != nil {
		return false
	}
	status, err := p.Status()
	return err == nil && !slices.Contains(status, gopsprocess.Zombie)
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("it never came true that %s", what)
}

func TestStop(t *testing.T) {
	group, err := NewGroup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program, err := group.Start("it's quoted", "/bin/sh", "-c", "echo hello; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program has spoken", func() bool { return group.LogTail("it's quoted", 1) == "hello" })
	if program.Ended() {
		t.Error("the program has ended before it was stopped")
	}
	if err := program.Stop(); err != nil {
		t.Error(err)
	}
	if !program.Ended() || program.Err() == nil {
		t.Errorf("after Stop: ended %t, error %v", program.Ended(), program.Err())
	}
	if err := program.Stop(); err != nil {
		t.Errorf("stopping what has ended: %v", err)
	}
	if err := group.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(group.dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there (%v)", err)
	}
}

// A supervised program comes back, and stays away once it is stopped.
func TestSupervise(t *testing.T) {
	group, err := NewGroup(filepath.Join(t.TempDir(), "group"))
	if err != nil {
		t.Fatal(err)
	}
	supervisor, err := group.Supervise("sleeper", "/bin/sh", "-c", "echo up; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program is up", func() bool { return group.LogTail("sleeper", 9) == "up" })
	first, err := group.PID("sleeper")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program is up again", func() bool { return group.LogTail("sleeper", 9) == "up\nup" })
	second, err := group.PID("sleeper")
	if err != nil || second == first {
		t.Errorf("the process is %d (%v), want another than %d", second, err, first)
	}
	if err := supervisor.Stop(); err != nil {
		t.Error(err)
	}
	if alive(second) {
		t.Error("the program runs after it was stopped")
	}
	if err := group.Close(); err != nil {
		t.Error(err)
	}
}

func TestNewGroupKeepsWhatIsNotItsOwn(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "thesis.tex")
	if err := os.WriteFile(file, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if group, err := NewGroup(dir); err == nil {
		_ = group.Close()
		t.Error("a directory with somebody's files was taken over")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// What a dead owner and a dead tether left is no obstacle.
func TestNewGroupReplacesStale(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{lockFile, "etcd.pid"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	group, err := NewGroup(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd.pid")); !os.IsNotExist(err) {
		t.Errorf("a stale file is still there (%v)", err)
	}
	if err := group.Close(); err != nil {
		t.Error(err)
	}
}
