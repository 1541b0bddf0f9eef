package labs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	"portrule.example/lab/labs/lab"
)

// What a learner's machine should have free: what the labs take, as measured (see
// docs/workshop.md), and as much again for an editor and a browser.
const (
	workshopMemory = 3 << 30
	workshopDisk   = 4 << 30
)

// preflight looks at what makes a workshop fail that a single learner would put up with: too
// little memory or disk, modules that are yet to be fetched, programs that are yet to be
// compiled. It compiles them.
func (r *runner) preflight(ctx context.Context, say func(err error, format string, args ...any)) {
	const gib = 1 << 30
	memory, err := mem.VirtualMemoryWithContext(ctx)
	if err == nil && memory.Available < workshopMemory {
		err = fmt.Errorf("%.1f GiB of memory are available, and the labs want %d: end other programs", float64(memory.Available)/gib, workshopMemory/gib)
	}
	if err != nil {
		say(err, "")
	} else {
		say(nil, "%.1f GiB of memory are available", float64(memory.Available)/gib)
	}
	room, err := disk.UsageWithContext(ctx, r.root)
	if err == nil && room.Free < workshopDisk {
		err = fmt.Errorf("%.1f GiB are free on the disk of %s, and the labs want %d: make room", float64(room.Free)/gib, r.root, workshopDisk/gib)
	}
	if err != nil {
		say(err, "")
	} else {
		say(nil, "%.1f GiB are free on the disk of the repository", float64(room.Free)/gib)
	}
	begin := time.Now()
	output, err := r.offline(ctx, "list", "-deps", "./labs/...", "./compare/...", "./aggregated/...", "./crd/...")
	if err != nil {
		err = fmt.Errorf("not all modules are in the module cache, and a room may have no internet: run \"go mod download\" where there is some, or copy $(go env GOMODCACHE) from a machine that has them. go list says: %s", firstLine(output))
	}
	say(err, "every module is in the module cache: nothing will be fetched")
	if err != nil {
		return
	}
	output, err = r.offline(ctx, "build", "-ldflags=-s -w", "./labs/...")
	if err != nil {
		err = fmt.Errorf("what learners compile does not compile: %s", firstLine(output))
	}
	say(err, "what learners compile is in the build cache (looking took %.0f s)", time.Since(begin).Seconds())
}

// offline runs go as the labs do, and without a network.
func (r *runner) offline(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.root
	cmd.Env = append(append(os.Environ(), lab.BuildEnvironment...), "GOPROXY=off")
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
