// Package process runs the programs of a testbed so that none outlives it.
//
// A [Group] owns a directory. Each program is started through a launcher, a
// script in that directory that notes its process id and becomes the program. A
// tether, one small shell, waits beside them: when the owner goes away without
// having closed the group, be it by a kill -9, the tether ends what still runs
// and removes the directory.
//
// [Group.Start] runs a [Process], [Group.Supervise] one that is started again whenever it
// ends, and [Group.Launcher] is for a library that starts programs by itself, such as
// envtest. Logs are in the group's directory: [Group.LogTail] is what an error quotes.
//
// [Background] is for this program itself, left running by "make up" and "lab start":
// its groups are closed when it is told to end, by [End]. [UsageOf] says what a process
// has used.
//
// Read process.go first; the tether is the script at its top. Then background.go and
// usage.go.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end after SIGTERM.
const stopTimeout = 20 * time.Second

// Group is a set of programs that ends with the process that made it.
type Group struct {
	dir     string
	lock    *os.File
	tether  *exec.Cmd
	release io.WriteCloser
}

// lockFile is locked for as long as the group's owner lives, and holds its
// process id.
const lockFile = "owner"

// tetherScript gets the directory as $1. Its standard input stays open for as
// long as the owner lives; a line on it is the owner's release.
const tetherScript = `
trap '' INT TERM HUP
read -r released && exit 0
signal() { for f in "$1"/*.pid; do read -r pid <"$f" && kill "$2" "$pid"; done 2>/dev/null; }
signal "$1" -TERM
for i in 1 2 3; do
	alive=
	for f in "$1"/*.pid; do read -r pid <"$f" && kill -0 "$pid" && alive=yes; done 2>/dev/null
	[ "$alive" ] || break
	sleep 1
done
signal "$1" -KILL
[ ! -f "$1/last-will" ] || . "$1/last-will"
rm -rf "$1"
`

// NewGroup makes a group that owns dir: what is in dir is the group's and is
// removed with it. dir must be absent or empty, or what a group left behind whose
// tether was killed too. If its owner lives, the error is an [InUseError].
func NewGroup(dir string) (*Group, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := Vacate(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the processes: %w", err)
	}
	g := &Group{dir: dir}
	if g.lock, err = os.OpenFile(g.Path(lockFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(g.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, InUseError{Dir: dir}
	}
	if _, err := fmt.Fprintln(g.lock, os.Getpid()); err != nil {
		return nil, err
	}
	g.tether = exec.Command("/bin/sh", "-c", tetherScript, "portrule-tether", dir)
	// a session of its own: it survives the terminal's Ctrl-C and hang-up
	g.tether.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if g.release, err = g.tether.StdinPipe(); err != nil {
		return nil, err
	}
	if err := g.tether.Start(); err != nil {
		return nil, fmt.Errorf("start the tether: %w", err)
	}
	return g, nil
}

// NewTemporaryGroup makes a group that owns a new directory for temporary files.
func NewTemporaryGroup(name string) (*Group, error) {
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	return NewGroup(dir)
}

// InUseError says that the group of a directory lives.
type InUseError struct {
	Dir string
	// PID is the owner's process id, 0 for the instant in which it starts.
	PID int
}

func (e InUseError) Error() string {
	return fmt.Sprintf("%s is in use by process %d", e.Dir, e.PID)
}

// LastWill sets what the tether runs when the owner goes away without having closed
// the group: commands of the shell that end what is not a program of the group, such
// as containers. An empty script takes it back.
func (g *Group) LastWill(script string) error {
	path := g.Path("last-will")
	if script == "" {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.WriteFile(path, []byte(script+"\n"), 0o600)
}

// Owner returns the process id of the process whose group owns dir, and 0 if
// there is none.
func Owner(dir string) (int, error) {
	lock, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, nil
	}
	var pid int
	if _, err := fmt.Fscan(lock, &pid); err != nil {
		return 0, fmt.Errorf("read who owns %s: %w", dir, err)
	}
	return pid, nil
}

// Vacate removes what a dead group left in dir, and nothing else. It is an error if
// something else is there, an [InUseError] if the group's owner lives.
func Vacate(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, lockFile)); err != nil {
		return fmt.Errorf("%s holds files that are not this program's: name another directory, or an empty one", dir)
	}
	pid, err := Owner(dir)
	if err != nil {
		return err
	}
	if pid != 0 {
		return InUseError{Dir: dir, PID: pid}
	}
	return os.RemoveAll(dir)
}

// Path returns the path of a file in the group's directory.
func (g *Group) Path(elem ...string) string {
	return filepath.Join(append([]string{g.dir}, elem...)...)
}

// Launcher writes the script that starts program under name, and returns its
// path: run it in place of the program, with the program's arguments.
func (g *Group) Launcher(name, program string) (string, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return "", err
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%[1]s.new && mv %[1]s.new %[1]s\nexec %[2]s \"$@\"\n", quote(g.pidFile(name)), quote(program))
	path := g.Path("launch", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(script), 0o700)
}

// PID returns the process id of the program that was last started under name.
func (g *Group) PID(name string) (int, error) {
	data, err := os.ReadFile(g.pidFile(name))
	if err != nil {
		return 0, fmt.Errorf("%s has not been started: %w", name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// Log opens the file that holds what the program called name prints. A second
// start appends to it.
func (g *Group) Log(name string) (*os.File, error) {
	return os.OpenFile(g.LogPath(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// LogPath is where the output of the program called name goes.
func (g *Group) LogPath(name string) string { return g.Path(name + ".log") }

// LogTail returns the last lines that the program called name printed, without
// the tabs that would break an error message's layout. It is empty if there is
// no log.
func (g *Group) LogTail(name string, lines int) string {
	data, err := os.ReadFile(g.LogPath(name))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// CopyLogs copies the log of every program to the directory dest, which it makes
// if it does not exist.
func (g *Group) CopyLogs(dest string) error {
	logs, err := filepath.Glob(g.LogPath("*"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	for _, log := range logs {
		data, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dest, filepath.Base(log)), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) pidFile(name string) string { return g.Path(name + ".pid") }

// Process is a program that was started by [Group.Start].
type Process struct {
	name string
	cmd  *exec.Cmd
	// done is closed when the program has ended; err is then why.
	done chan struct{}
	err  error
}

// Start runs program under name, with its output in the log of that name.
func (g *Group) Start(name, program string, args ...string) (*Process, error) {
	launcher, err := g.Launcher(name, program)
	if err != nil {
		return nil, err
	}
	log, err := g.Log(name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{name: name, cmd: exec.Command(launcher, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// a process group of its own, so that the terminal's Ctrl-C reaches the
	// harness alone, which then ends the programs in order
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	// the launcher does the same, and nobody knows when
	written := g.pidFile(name) + ".started"
	err = os.WriteFile(written, fmt.Appendln(nil, p.cmd.Process.Pid), 0o600)
	if err == nil {
		err = os.Rename(written, g.pidFile(name))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("note the process id of %s: %w", name, err), p.Stop())
	}
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended is whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Err says how the program ended. It may be called once Done is closed.
func (p *Process) Err() error {
	if p.err == nil {
		return fmt.Errorf("%s ended", p.name)
	}
	return fmt.Errorf("%s ended: %w", p.name, p.err)
}

// Stop asks the program to end and waits for it; after 20 s it kills it and says
// so. Stopping what has ended is no error.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("%s did not end within %s and was killed", p.name, stopTimeout)
}

// restartDelay is how long a supervised program that has ended stays down.
const restartDelay = time.Second

// Supervisor keeps a program running.
type Supervisor struct {
	stop     chan struct{}
	stopOnce sync.Once
	// done is closed when the program has ended for good; err is then how.
	done chan struct{}
	err  error
}

// Supervise runs program as Start does, and again a second after it has ended,
// whyever that was, until it is stopped.
func (g *Group) Supervise(name, program string, args ...string) (*Supervisor, error) {
	p, err := g.Start(name, program, args...)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for {
			select {
			case <-s.stop:
				s.err = p.Stop()
				return
			case <-p.Done():
			}
			select {
			case <-s.stop:
				return
			case <-time.After(restartDelay):
			}
			if p, s.err = g.Start(name, program, args...); s.err != nil {
				return
			}
		}
	}()
	return s, nil
}

// Stop ends the program for good and waits for that. It may be called again.
func (s *Supervisor) Stop() error {
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.done
	return s.err
}

// KillOn kills the group's programs when ctx ends, and those that are started
// after that too, until the returned function is called: that says whether ctx
// had not ended by then. It is for a start that cannot be interrupted otherwise.
// What the programs have written is of no use to anybody by then, so they are not
// asked to end in order.
func (g *Group) KillOn(ctx context.Context) (release func() bool) {
	released := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		for {
			g.kill()
			select {
			case <-released:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return func() bool {
		close(released)
		return stop()
	}
}

func (g *Group) kill() {
	files, _ := filepath.Glob(g.pidFile("*"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".pid")
		if pid, err := g.PID(name); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Close releases the tether and removes the directory. The programs must have
// been stopped.
func (g *Group) Close() error {
	_, err := io.WriteString(g.release, "released\n")
	return errors.Join(err, g.release.Close(), g.tether.Wait(), os.RemoveAll(g.dir), g.lock.Close())
}

// quote makes one word of s for the shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
