package compare

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/testbed"
)

// describeEnvironment fills in where and how a run is made.
func describeEnvironment(e *bench.Environment, bed *testbed.Testbed, flags benchFlags, started time.Time) error {
	e.Commit, e.Libraries = buildInfo()
	e.Command = os.Args
	e.Started = started.UTC().Truncate(time.Second)
	e.Cluster = flags.cluster.kind
	e.Kubernetes = bed.Kubernetes
	e.CRD = "schema" + flags.setup.Suffix()
	e.UniqueEndpoints = !testbed.Alike(flags.setup).SharedEndpoints
	e.Go = runtime.Version()
	e.OS = runtime.GOOS + "/" + runtime.GOARCH
	e.Cores = runtime.NumCPU()
	e.Rounds, e.WarmUp = flags.rounds, flags.warmUp()
	e.ReadySeconds = map[string]float64{
		"controlPlane":    bed.Ready.ControlPlane.Seconds(),
		"implementations": bed.Ready.Implementations.Seconds(),
	}
	var err error
	if e.Kernel, err = host.KernelVersion(); err != nil {
		return fmt.Errorf("ask for the kernel's version: %w", err)
	}
	if info, err := cpu.Info(); err == nil && len(info) > 0 {
		e.CPU = info[0].ModelName
	}
	memory, err := mem.VirtualMemory()
	if err != nil {
		return fmt.Errorf("ask for the size of the memory: %w", err)
	}
	e.Memory = memory.Total
	return nil
}

// buildInfo returns the commit that this program was built from and the version
// of k8s.io/apiserver in it, as the go command recorded them.
func buildInfo() (commit, libraries string) {
	commit, libraries = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return commit, libraries
	}
	modified := false
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			commit = setting.Value
		case "vcs.modified":
			modified = setting.Value == "true"
		}
	}
	if modified {
		commit += "+changes"
	}
	for _, dependency := range info.Deps {
		if dependency.Path == "k8s.io/apimachinery" {
			libraries = dependency.Version
		}
	}
	return commit, libraries
}
