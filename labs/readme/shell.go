package readme

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// mark is printed after each block, with its exit status. It cannot be in a README.
const mark = "\x01lab-block-ended"

// runner has the shell read a script. It is a file, since a command that reads its input
// would eat those that follow; and it is left at the first failure by a trap, since with
// errexit the shell would end.
const runner = `trap 'status=$?; (( ${#BASH_SOURCE[@]} )) && return $status' ERR; set -o pipefail
. '%s' </dev/null
status=$?; trap - ERR; set +o pipefail; printf '` + mark + ` %%d\n' $status
`

// Shell is a bash that runs blocks one after the other, so that what one exports the
// next one has.
type Shell struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	reader  *os.File
	output  *bufio.Reader
	scripts string
	count   int
	// done is closed when the shell has ended; err is then why.
	done chan struct{}
	err  error
}

// NewShell starts a shell in a directory. scripts is a directory for its files.
func NewShell(dir, scripts string, environment []string) (*Shell, error) {
	s := &Shell{cmd: exec.Command("bash", "--noprofile", "--norc"), scripts: scripts, done: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = dir, environment
	// a group of its own, with what it starts in the background
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// both streams in the order in which a terminal would show them
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = writer, writer
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start bash: %w", err)
	}
	_ = writer.Close() // the shell has its own
	go func() {
		s.err = s.cmd.Wait()
		s.signal(syscall.SIGKILL) // what is left in the background
		close(s.done)
	}()
	s.reader, s.output = reader, bufio.NewReader(reader)
	return s, nil
}

// Run runs commands as if each were typed, up to the first that fails, and returns what
// they print and the exit status of the last. If ctx ends meanwhile it kills the shell.
func (s *Shell) Run(ctx context.Context, commands string) (output string, status int, err error) {
	s.count++
	script := filepath.Join(s.scripts, "block-"+strconv.Itoa(s.count)+".sh")
	if err := os.WriteFile(script, []byte(commands), 0o600); err != nil {
		return "", 0, err
	}
	release := context.AfterFunc(ctx, func() { s.signal(syscall.SIGKILL) })
	defer release()
	if _, err := fmt.Fprintf(s.stdin, runner, script); err != nil {
		return "", 0, fmt.Errorf("the shell has ended: %w", err)
	}
	var printed strings.Builder
	for {
		line, err := s.output.ReadString('\n')
		if ctx.Err() != nil {
			return printed.String(), 0, ctx.Err()
		}
		if before, after, found := strings.Cut(line, mark+" "); found {
			printed.WriteString(before)
			status, err := strconv.Atoi(strings.TrimSpace(after))
			return printed.String(), status, err
		}
		printed.WriteString(line)
		if err != nil {
			return printed.String(), 0, fmt.Errorf("the shell has ended: %w; it said:\n%s", err, printed.String())
		}
	}
}

func (s *Shell) signal(sig syscall.Signal) { _ = syscall.Kill(-s.cmd.Process.Pid, sig) }

// Close ends the shell and what it has left in the background.
func (s *Shell) Close() error {
	s.signal(syscall.SIGTERM) // for what can end in order
	err := s.stdin.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil // it has ended already
	}
	<-s.done
	var exit *exec.ExitError
	if s.err != nil && !errors.As(s.err, &exit) {
		err = errors.Join(err, s.err)
	}
	return errors.Join(err, s.reader.Close())
}
