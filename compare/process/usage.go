package process

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	gopsutil "github.com/shirou/gopsutil/v4/process"
)

// Self is the name of the harness, which sends the requests, among the processes of a
// comparison.
const Self = "client"

// Usage is what a process has used.
type Usage struct {
	// CPU is the time that it has run, in user and in system mode, in steps of 10 ms.
	CPU time.Duration
	// Memory is its resident memory, in bytes.
	Memory uint64
}

// UsageOf returns what a process has used so far.
func UsageOf(pid int) (Usage, error) {
	running, err := gopsutil.NewProcess(int32(pid))
	if err != nil {
		return Usage{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	times, err := running.Times()
	if err != nil {
		return Usage{}, fmt.Errorf("ask for the CPU time of process %d: %w", pid, err)
	}
	memory, err := running.MemoryInfo()
	if err != nil {
		return Usage{}, fmt.Errorf("ask for the memory of process %d: %w", pid, err)
	}
	return Usage{CPU: time.Duration((times.User + times.System) * float64(time.Second)), Memory: memory.RSS}, nil
}

// PIDs returns the process ids of the programs that were started last, by name. A program
// that has ended since is among them.
func (g *Group) PIDs() (map[string]int, error) {
	files, err := filepath.Glob(g.pidFile("*"))
	if err != nil {
		return nil, err
	}
	pids := map[string]int{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".pid")
		if pids[name], err = g.PID(name); err != nil {
			return nil, err
		}
	}
	return pids, nil
}
