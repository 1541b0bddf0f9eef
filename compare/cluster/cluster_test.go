package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/klient"

	"portrule.example/lab/compare/process"
)

func newGroup(t *testing.T) *process.Group {
	t.Helper()
	group, err := process.NewGroup(filepath.Join(t.TempDir(), "group"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	return group
}

// A cluster whose aggregation layer is off cannot take part, and says why.
func TestExistingWithoutAggregation(t *testing.T) {
	group := newGroup(t)
	embedded := NewEmbedded(group, EmbeddedOptions{WithoutAggregation: true})
	kubeconfig, err := embedded.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := embedded.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	client, err := klient.New(embedded.KubernetesRestConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := embedded.WaitForControlPlane(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	// the kube-apiserver publishes the ConfigMap once its hooks have run
	deadline := time.Now().Add(time.Minute)
	for {
		_, err = NewExisting(newGroup(t), ExistingOptions{Kubeconfig: kubeconfig}).Create(t.Context())
		if err == nil || !strings.Contains(err.Error(), "not found") || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err == nil || !strings.Contains(err.Error(), "aggregation layer is off: start its kube-apiserver with --requestheader-client-ca-file") {
		t.Errorf("got %v, want an error that says how to turn the aggregation layer on", err)
	}

	logs := t.TempDir()
	if err := embedded.ExportLogs(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kube-apiserver.log", "etcd.log"} {
		if info, err := os.Stat(filepath.Join(logs, name)); err != nil || info.Size() == 0 {
			t.Errorf("the exported %s is missing or empty (%v)", name, err)
		}
	}
}

// An interruption while the control plane starts ends it, whichever program is
// starting, long before the start would time out.
func TestEmbeddedCreateInterrupted(t *testing.T) {
	for _, name := range []string{processEtcd, processAPIServer} {
		t.Run(name, func(t *testing.T) {
			group := newGroup(t)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
					if _, err := group.PID(name); err == nil {
						cancel()
					}
				}
			}()
			begin := time.Now()
			embedded := NewEmbedded(group, EmbeddedOptions{})
			if _, err := embedded.Create(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that it was canceled", err)
			}
			if elapsed := time.Since(begin); elapsed > startTimeout/2 {
				t.Errorf("it took %s", elapsed)
			}
			if err := embedded.Destroy(context.Background()); err != nil {
				t.Error(err)
			}
			if _, err := embedded.GenerateKubeconfig(); err == nil {
				t.Error("there is a kubeconfig of a control plane that was not created")
			}
		})
	}
}

func TestEmbeddedRefusesWhatItCannotDo(t *testing.T) {
	embedded := NewEmbedded(newGroup(t), EmbeddedOptions{})
	if _, err := embedded.Create(t.Context(), "--feature-gates=All=true"); err == nil || !strings.Contains(err.Error(), "takes no arguments") {
		t.Errorf("arguments: got %v, want them to be refused", err)
	}
	if _, err := embedded.CreateWithConfig(t.Context(), "kind.yaml"); err == nil {
		t.Error("a configuration file is accepted")
	}
}

func TestExistingAddress(t *testing.T) {
	for _, c := range []struct {
		options  ExistingOptions
		wantHost string
		wantPort int
	}{
		{ExistingOptions{ServerHost: "lab.example.com", ServerPort: 6443}, "lab.example.com", 6443},
		{ExistingOptions{ServerHost: "192.0.2.1"}, "192.0.2.1", 0},
		{ExistingOptions{ServerHost: "127.0.0.1", ServerPort: 1}, "localhost", 1},
	} {
		if host, port := NewExisting(nil, c.options).Address(); host != c.wantHost || port != c.wantPort {
			t.Errorf("%+v: %s and %d, want %s and %d", c.options, host, port, c.wantHost, c.wantPort)
		}
	}
	if got := localAddress("https://127.0.0.1:6443"); got != "127.0.0.1" {
		t.Errorf("the way to 127.0.0.1 starts at %s", got)
	}
}
