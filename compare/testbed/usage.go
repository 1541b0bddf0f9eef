package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"

	"portrule.example/lab/compare/process"
)

// Usage returns what each process of the testbed has used so far, by the name of its
// program, and what this process has, as [process.Self]. It is an error if the processes
// of the control plane are not on this host.
func (t *Testbed) Usage(context.Context) (map[string]process.Usage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.processes == nil {
		if err := t.findProcesses(); err != nil {
			return nil, err
		}
	}
	used, err := t.usage()
	if err != nil {
		// one has ended or been started anew
		if err := t.findProcesses(); err != nil {
			return nil, err
		}
		used, err = t.usage()
	}
	return used, err
}

func (t *Testbed) usage() (map[string]process.Usage, error) {
	sums := map[string]process.Usage{}
	for name, pids := range t.processes {
		for _, pid := range pids {
			used, err := process.UsageOf(pid)
			if err != nil {
				return nil, err
			}
			sum := sums[name]
			sums[name] = process.Usage{CPU: sum.CPU + used.CPU, Memory: sum.Memory + used.Memory}
		}
	}
	return sums, nil
}

// findProcesses looks for the processes of the testbed that live.
func (t *Testbed) findProcesses() error {
	found := map[string][]int{}
	switch {
	case t.kind != nil:
		var err error
		if found, err = t.kind.Processes(); err != nil {
			return err
		}
	case !t.provider.Ephemeral():
		return fmt.Errorf("the processes of the cluster are not on this host: %w", errors.ErrUnsupported)
	}
	started, err := t.group.PIDs()
	if err != nil {
		return err
	}
	for name, pid := range started {
		if _, err := process.UsageOf(pid); err == nil {
			found[name] = append(found[name], pid)
		}
	}
	found[process.Self] = []int{os.Getpid()}
	t.processes = found
	return nil
}

// lookAnew makes the next look at what the processes have used find those that were
// started since the last one.
func (t *Testbed) lookAnew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.processes = nil
}
