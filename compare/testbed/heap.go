package testbed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// ServerProcess is the name of the aggregated server among the processes.
const ServerProcess = processServer

// Heap returns the live memory in bytes, after garbage collections that this starts, of the
// kube-apiserver or of the aggregated server, by the names of their processes. It is an
// [errors.ErrUnsupported] if the server is not on this host.
func (t *Testbed) Heap(ctx context.Context, process string) (float64, error) {
	config := t.Admin
	if process == processServer {
		if t.server == nil {
			return 0, fmt.Errorf("%s is not on this host: %w", process, errors.ErrUnsupported)
		}
		config = t.server.Config(t.Admin)
	}
	live, err := heap(ctx, config)
	if err != nil {
		return 0, fmt.Errorf("read the heap of %s: %w", process, err)
	}
	return live, nil
}

// heap reads it from net/http/pprof, which every API server has by default. The text ends
// with runtime.MemStats, a field on each line.
func heap(ctx context.Context, config *rest.Config) (float64, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	profile := func(debug string) ([]byte, error) {
		return client.Discovery().RESTClient().Get().AbsPath("/debug/pprof/heap").Param("gc", "1").Param("debug", debug).Do(ctx).Raw()
	}
	// what is in a sync.Pool outlives one garbage collection
	if _, err := profile("0"); err != nil {
		return 0, err
	}
	body, err := profile("1")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		var live float64
		if _, err := fmt.Sscanf(lines.Text(), "# HeapAlloc = %g", &live); err == nil {
			return live, nil
		}
	}
	return 0, errors.New("the profile does not say it")
}
