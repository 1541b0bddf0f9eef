package compare

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/testbed"
)

// describeTestbed adds what is known of a testbed on which a run is made.
func describeTestbed(e *bench.Environment, bed *testbed.Testbed) {
	e.Kubernetes = bed.Kubernetes
	e.ReadySeconds = map[string]float64{
		"controlPlane":    bed.Ready.ControlPlane.Seconds(),
		"implementations": bed.Ready.Implementations.Seconds(),
	}
	if bed.Ready.Images > 0 {
		e.ReadySeconds["images"] = bed.Ready.Images.Seconds()
	}
}

// addWarnings adds those of a testbed that a result does not have yet.
func addWarnings(result *bench.Result, bed *testbed.Testbed) {
	for _, warning := range bed.Warnings {
		warn(result, warning)
	}
}

// warn adds a warning that a result does not have yet.
func warn(result *bench.Result, warning string) {
	if !slices.Contains(result.Warnings, warning) {
		result.Warnings = append(result.Warnings, warning)
	}
}

// describeEnvironment fills in where and how a run is made.
func describeEnvironment(e *bench.Environment, flags benchFlags) error {
	e.Commit, e.Libraries = buildInfo()
	e.Command = os.Args
	e.Cluster = flags.cluster.kind
	if e.Cluster == cluster.KindKind {
		e.NodeImage = cluster.NodeImage()
	}
	e.CRD = "schema" + flags.setup.Suffix()
	e.UniqueEndpoints = !testbed.Alike(flags.setup).SharedEndpoints
	e.Go = runtime.Version()
	e.OS = runtime.GOOS + "/" + runtime.GOARCH
	e.Cores = runtime.NumCPU()
	e.Seed, e.Delay = flags.plan.Seed, flags.delay
	e.Rounds, e.Precision, e.BudgetSeconds = flags.plan.Rounds, flags.plan.Precision, flags.plan.Budget.Seconds()
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

// differ is a warning if the kube-apiserver, such as v1.36.4, and the libraries of the
// aggregated server, such as v0.36.3, are not of one release; else it is empty.
func differ(kubernetes, libraries string) string {
	if strings.TrimPrefix(kubernetes, "v1.") == strings.TrimPrefix(libraries, "v0.") {
		return ""
	}
	return fmt.Sprintf("the kube-apiserver is %s and the libraries of the aggregated server are %s: a difference may be one between releases", kubernetes, libraries)
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
