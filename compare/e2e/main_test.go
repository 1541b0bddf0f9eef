package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

var clusterFlag = flag.String("cluster", cluster.KindEmbedded, "where the tests run: embedded, kind, or auto for whichever suits this host")

var nameFlag = flag.String("name", "portrule-e2e", "on kind: the name of the cluster")

// groups are the API groups of the two implementations.
var groups = map[string]string{"crd": api.CRDGroup, "aggregated": api.Group}

// What all features share. Each makes namespaces of its own.
var (
	environment env.Environment
	bed         *testbed.Testbed
	group       *process.Group
	provider    cluster.Provider
	clientset   kubernetes.Interface
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// the libraries' logs would come between the tests and their reader
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())
	config, err := envconf.NewFromFlags()
	if err == nil {
		err = choose()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	environment, err = env.NewWithContext(context.Background(), config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if group, err = process.NewTemporaryGroup("portrule-e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// the failing setup is the process's to tell: the framework only logs it
	var setupErr error
	failed := false
	environment.Setup(func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
		setupErr = start(ctx)
		return ctx, setupErr
	}).AfterEachTest(func(ctx context.Context, _ *envconf.Config, t *testing.T) (context.Context, error) {
		failed = failed || t.Failed()
		return ctx, nil
	}).Finish(func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
		if bed == nil { // it has cleaned up
			return ctx, nil
		}
		var errs []error
		if failed {
			errs = append(errs, exportLogs(ctx))
		}
		return ctx, errors.Join(append(errs, bed.Stop())...)
	})
	code := environment.Run(m)
	if err := errors.Join(setupErr, group.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// choose makes the provider that the flag names.
func choose() error {
	if *clusterFlag == "auto" {
		kind, why := cluster.Choose(context.Background())
		say(fmt.Sprintf("cluster: %s (%s)", kind, why))
		*clusterFlag = kind
	}
	if !slices.Contains([]string{cluster.KindEmbedded, cluster.KindKind}, *clusterFlag) {
		return fmt.Errorf("there is no cluster %q for the end-to-end tests: use auto, %s or %s", *clusterFlag, cluster.KindEmbedded, cluster.KindKind)
	}
	return nil
}

// start makes the cluster and installs both implementations.
func start(ctx context.Context) (err error) {
	if *clusterFlag == cluster.KindKind {
		provider = cluster.NewKind(group, *nameFlag, cluster.KindOptions{Say: say})
	} else {
		provider = cluster.NewEmbedded(group, cluster.EmbeddedOptions{})
	}
	setup := testbed.Setup{CRD: testbed.CRDSetup{Policies: true, Webhooks: true}, Controller: true}
	if bed, err = testbed.Start(ctx, provider, group, setup, say); err != nil {
		return err
	}
	say(bed.Ready.String())
	clientset, err = kubernetes.NewForConfig(bed.Admin)
	return err
}

func say(step string) { fmt.Fprintln(os.Stderr, step) }

// exportLogs writes all logs into compare/results, where the results of runs are.
func exportLogs(ctx context.Context) error {
	dir, err := filepath.Abs(filepath.Join("..", "results", "e2e-"+time.Now().UTC().Format("20060102T150405Z")))
	if err != nil {
		return err
	}
	say("logs in " + dir)
	return provider.ExportLogs(ctx, dir)
}

// needs skips a feature on other providers than kind, and says why.
func needs(t *testing.T, what string) *cluster.Kind {
	t.Helper()
	kind, ok := provider.(*cluster.Kind)
	if !ok {
		t.Skipf("not run: the %s control plane has no %s; run make e2e CLUSTER=kind", provider.Kind(), what)
	}
	return kind
}

// newNamespace makes a namespace for a test.
func newNamespace(t *testing.T) string {
	t.Helper()
	name := "e2e-" + utilrand.String(6)
	if err := bed.Namespaces(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return name
}

// kubectl runs kubectl as the administrator, with input on its standard input, and
// returns what it prints, an error's message included.
func kubectl(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	program, err := cluster.Binary("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--kubeconfig", provider.GetKubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// mustKubectl is kubectl for what has to succeed.
func mustKubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := kubectl(t, input, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// eventually waits until check returns nil, for at most two minutes, in which
// everything that a cluster does late has been done: a limit, not an expectation.
func eventually(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// status makes a request as the administrator and returns the answer's status.
func status(t *testing.T, method, path string) int {
	t.Helper()
	client, err := rest.HTTPClientFor(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(bed.Admin.Host, "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}
