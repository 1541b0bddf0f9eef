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

// Heaps returns the live memory in bytes, after garbage collections that this starts, of
// the kube-apiserver and, if it runs on this host, of the aggregated server.
func (t *Testbed) Heaps(ctx context.Context) (map[string]float64, error) {
	configs := map[string]*rest.Config{"kube-apiserver": t.Admin}
	if t.server != nil {
		configs[processServer] = t.server.Config(t.Admin)
	}
	heaps := map[string]float64{}
	for name, config := range configs {
		// what a pool holds goes in the second collection
		for range 2 {
			live, err := heap(ctx, config)
			if err != nil {
				return nil, fmt.Errorf("read the heap of %s: %w", name, err)
			}
			heaps[name] = live
		}
	}
	return heaps, nil
}

// heap reads it from net/http/pprof, which every API server has by default. The text ends
// with runtime.MemStats, a field on each line.
func heap(ctx context.Context, config *rest.Config) (float64, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	body, err := client.Discovery().RESTClient().Get().AbsPath("/debug/pprof/heap").Param("gc", "1").Param("debug", "1").Do(ctx).Raw()
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
