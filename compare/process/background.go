package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ReadyLine is what a program in the background says on its standard output when it
// serves.
const ReadyLine = "ready"

// endTimeout is how long a program in the background may take to end.
const endTimeout = time.Minute

// Background is this program with other arguments, in the background: in a session of its
// own.
type Background struct {
	// Name is that of the program, with which its complaints begin, What how an error calls
	// what it runs.
	Name, What string
	// Dir is its directory; empty is the present one.
	Dir string
	// Say is told what it says before [ReadyLine].
	Say func(line string)
}

// Start returns when the program says [ReadyLine]. If ctx ends meanwhile, so does the
// program. If it ends before it is ready, the error is what it has complained of.
func (b Background) Start(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if strings.HasSuffix(self, ".test") {
		// it would run the tests again, and they it
		return fmt.Errorf("start %s: a test binary cannot be its own background program", b.What)
	}
	program := exec.Command(self, args...)
	program.Dir = b.Dir
	program.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	says, err := program.StdoutPipe()
	if err != nil {
		return err
	}
	complains, err := program.StderrPipe()
	if err != nil {
		return err
	}
	if err := program.Start(); err != nil {
		return fmt.Errorf("start %s: %w", b.What, err)
	}
	release := context.AfterFunc(ctx, func() { _ = program.Process.Signal(syscall.SIGTERM) })
	defer release()

	lines := bufio.NewScanner(says)
	for lines.Scan() {
		if lines.Text() == ReadyLine {
			return program.Process.Release()
		}
		b.Say(lines.Text())
	}
	// it has ended, or is about to
	complaint, _ := io.ReadAll(complains)
	err = program.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if text := strings.TrimPrefix(strings.TrimSpace(string(complaint)), b.Name+": "); text != "" {
		err = errors.New(text)
	}
	return fmt.Errorf("%s did not start: %w", b.What, err)
}

// End ends the process pid, which owns a directory, and waits until that is gone. what is how
// an error calls it.
func End(ctx context.Context, what string, pid int, dir string) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", what, err)
	}
	for deadline := time.Now().Add(endTimeout); time.Now().Before(deadline); {
		// the directory goes last, after the programs and the files in it
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s did not end within %s: kill it, and what it runs ends too", what, endTimeout)
}
