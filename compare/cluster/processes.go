package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/process"
)

// programs are those of a node whose use of the CPU is a matter of a comparison.
var programs = []string{processAPIServer, processEtcd, "portrule-apiserver", "portrule-controller"}

// Processes returns the process ids, on this host, of the programs that run in the
// cluster's node, by program. A server of another group than the first one's has that
// group's first label behind its name, as in portrule-apiserver-name-free. It is
// errors.ErrUnsupported where the containers run on another host, such as the virtual
// machine of Docker Desktop.
func (k *Kind) Processes() (map[string][]int, error) {
	node, err := k.node()
	if err != nil {
		return nil, err
	}
	id, err := k.engine.output(context.Background(), "inspect", "--format", "{{.Id}}", node.String())
	if err != nil {
		return nil, fmt.Errorf("ask for the id of the container %s: %w", node, err)
	}
	all, err := process.Processes()
	if err != nil {
		return nil, fmt.Errorf("list the processes of this host: %w", err)
	}
	found := map[string][]int{}
	for _, p := range all {
		// a process that has ended meanwhile is none of the node
		cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid))
		if err != nil || !strings.Contains(string(cgroup), id) {
			continue
		}
		command, err := p.CmdlineSlice()
		if err != nil || len(command) == 0 {
			continue
		}
		if name := programOf(command); name != "" {
			found[name] = append(found[name], int(p.Pid))
		}
	}
	if len(found[processAPIServer]) == 0 {
		return nil, fmt.Errorf("the processes of the cluster are not on this host: %w", errors.ErrUnsupported)
	}
	return found, nil
}

// programOf is the name under which a command is known, empty if it is not of interest.
func programOf(command []string) string {
	name := filepath.Base(command[0])
	if !slices.Contains(programs, name) {
		return ""
	}
	for _, argument := range command[1:] {
		if group, ok := strings.CutPrefix(argument, "--group="); ok && name == "portrule-apiserver" {
			label, _, _ := strings.Cut(group, ".")
			name += "-" + label
		}
	}
	return name
}
