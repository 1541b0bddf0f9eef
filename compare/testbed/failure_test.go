package testbed_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

// A testbed that cannot start says why, and takes back what it had installed.
func TestPortInUse(t *testing.T) {
	group, err := process.NewGroup(filepath.Join(t.TempDir(), "group"))
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	bare := cluster.NewEmbedded(group, cluster.EmbeddedOptions{})
	kubeconfig, err := bare.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bare.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	admin, err := klient.New(bare.KubernetesRestConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.WaitForControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	guests, err := process.NewGroup(filepath.Join(t.TempDir(), "guests"))
	if err != nil {
		t.Fatal(err)
	}
	defer guests.Close()
	provider := cluster.NewExisting(guests, cluster.ExistingOptions{
		Kubeconfig: kubeconfig, ServerHost: "localhost", ServerPort: taken.Addr().(*net.TCPAddr).Port,
	})
	_, err = testbed.Start(t.Context(), provider, guests, testbed.Setup{}, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "address already in use; choose another port with --server-address") {
		t.Errorf("got %v, want an error about the port that says what to do", err)
	}
	rules := client(t, bare.KubernetesRestConfig(), implementations["crd"])
	if _, err := rules.List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the CRD is still there: got %v, want that it is not found", err)
	}
}
