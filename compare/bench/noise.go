package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
)

// Noise is one thing that spoils measurements, and how much of it the machine had.
type Noise struct {
	// Check names what was looked at, Unit its unit.
	Check string  `json:"check"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Limit is where it begins to show in the figures. Loud is whether Value is beyond.
	Limit float64 `json:"limit"`
	Loud  bool    `json:"loud"`
	// Remedy is what to do about it.
	Remedy string `json:"remedy,omitempty"`
}

// String says it as a warning.
func (n Noise) String() string {
	return fmt.Sprintf("the machine is not quiet: %s is %.3g %s, the limit is %.3g: %s", n.Check, n.Value, n.Unit, n.Limit, n.Remedy)
}

// The time in which the processors are watched, and the writes that are timed.
const (
	watchTime  = time.Second
	syncWrites = 30
	timerSteps = 100
)

// ListenForNoise looks for what spoils measurements for about a second: others' work, a
// processor that is held back, a slow disk, coarse timers. dir is a directory on the disk
// that etcd uses. What this system cannot tell is left out.
func ListenForNoise(ctx context.Context, dir string) ([]Noise, error) {
	var noise []Noise
	add := func(check string, value float64, unit string, limit float64, remedy string) {
		loud := value > limit
		if !loud {
			remedy = ""
		}
		noise = append(noise, Noise{Check: check, Value: value, Unit: unit, Limit: limit, Loud: loud, Remedy: remedy})
	}
	before, errBefore := cpu.TimesWithContext(ctx, false)
	throttledBefore, _ := throttled()
	if !sleepUntil(ctx, time.Now().Add(watchTime)) {
		return nil, ctx.Err()
	}
	after, errAfter := cpu.TimesWithContext(ctx, false)
	if errors.Join(errBefore, errAfter) == nil && len(before) == 1 && len(after) == 1 {
		total := func(t cpu.TimesStat) float64 {
			return t.User + t.System + t.Idle + t.Nice + t.Iowait + t.Irq + t.Softirq + t.Steal
		}
		whole := total(after[0]) - total(before[0])
		part := func(f func(cpu.TimesStat) float64) float64 {
			return 100 * (f(after[0]) - f(before[0])) / max(whole, 1e-9)
		}
		add("the processors' time that others use", part(func(t cpu.TimesStat) float64 {
			return t.User + t.System + t.Nice + t.Irq + t.Softirq
		}), "%", 15, "end what else runs")
		add("the processors' time that the host withholds (steal)", part(func(t cpu.TimesStat) float64 { return t.Steal }), "%", 2,
			"use a machine whose processors are its own")
	}
	if average, err := load.AvgWithContext(ctx); err == nil {
		add("the load of the last minute for each processor", average.Load1/float64(runtime.NumCPU()), "", 0.7, "wait until it has gone down, or end what else runs")
	}
	if now, err := throttled(); err == nil {
		add("the number of times that the processors' quota held the harness back", now-throttledBefore, "in 1 s", 0, "raise the CPU quota of the container")
	}
	if governor, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"); err == nil {
		slow := 0.0
		if name := strings.TrimSpace(string(governor)); name != "performance" {
			slow = 1
		}
		add("the processor's clock being let down to save power", slow, "", 0, "set the governor \"performance\": cpupower frequency-set -g performance")
	}
	if memory, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		add("the part of the memory that is in use", 100*(1-float64(memory.Available)/float64(memory.Total)), "%", 85, "free some: the control plane needs about 1 GiB")
	}
	median, worst, err := syncTimes(dir)
	if err != nil {
		return nil, err
	}
	add("a write to the disk and its fsync", median, "ms", 10, "put TMPDIR on a faster disk: etcd waits for it at each write")
	add("the slowest of "+fmt.Sprint(syncWrites)+" such writes", worst, "ms", 100, "end what else writes to the disk")
	add("how late a timer of 1 ms is (99th percentile)", timerLateness(), "ms", 2, "end what else runs; prefer a machine of your own to a virtual one")
	return noise, nil
}

// throttled returns how often the CPU quota of this process's cgroup has held it back.
func throttled() (float64, error) {
	data, err := os.ReadFile("/sys/fs/cgroup/cpu.stat")
	if err != nil {
		if data, err = os.ReadFile("/sys/fs/cgroup/cpu/cpu.stat"); err != nil {
			return 0, err
		}
	}
	for line := range strings.Lines(string(data)) {
		var n float64
		if _, err := fmt.Sscanf(line, "nr_throttled %g", &n); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("cpu.stat does not say")
}

// syncTimes returns the median and the greatest time in ms of a small write and its fsync.
func syncTimes(dir string) (float64, float64, error) {
	file, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, 0, fmt.Errorf("time the disk: %w", err)
	}
	defer os.Remove(filepath.Clean(file.Name()))
	defer file.Close()
	var times []float64
	worst := 0.0
	for range syncWrites {
		begin := time.Now()
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			return 0, 0, fmt.Errorf("time the disk: %w", err)
		}
		if err := file.Sync(); err != nil {
			return 0, 0, fmt.Errorf("time the disk: %w", err)
		}
		taken := float64(time.Since(begin)) / 1e6
		times, worst = append(times, taken), max(worst, taken)
	}
	return median(times), worst, nil
}

// timerLateness returns by how many ms the later ones of timers of 1 ms are late.
func timerLateness() float64 {
	var late []float64
	for range timerSteps {
		begin := time.Now()
		time.Sleep(time.Millisecond)
		late = append(late, float64(time.Since(begin)-time.Millisecond)/1e6)
	}
	return quantileOf(late, 0.99)
}
