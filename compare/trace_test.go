package compare

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"portrule.example/lab/compare/trace"
)

// A wrong call is refused before anything is started, and says what to do.
func TestTraceUsage(t *testing.T) {
	for name, test := range map[string]struct {
		args string
		want []string
	}{
		"no case":               {"", []string{"trace takes one case:", "  get-new-name   GET of an existing object that nobody has read before\n", "watch-open"}},
		"two cases":             {"list create", []string{"takes one case", "status-update"}},
		"an unknown case":       {"put", []string{`no case "put": use one of`, "get-same-name"}},
		"an unknown impl":       {"list --impl crds", []string{`no implementation "crds"`, "crd, aggregated, aggregated+name-free, native"}},
		"an unknown CRD set-up": {"create --crd hooks", []string{`no CRD set-up "hooks"`}},
		"kind":                  {"list --cluster kind", []string{"trace goes with --cluster embedded", "must have been created with tracing"}},
		"an existing cluster":   {"list --cluster existing", []string{"trace goes with --cluster embedded"}},
		"an unknown cluster":    {"list --cluster minikube", []string{`no cluster "minikube"`, "--cluster embedded"}},
		"status of a ConfigMap": {"status-update --impl native", []string{"a ConfigMap has no status"}},
		"nowhere":               {"list --svg " + filepath.Join(t.TempDir(), "no", "x.svg"), []string{"--svg", "there is no directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := traceCommand()
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(strings.Fields(test.args))
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			err := cmd.ExecuteContext(t.Context())
			if !errors.As(err, &UsageError{}) {
				t.Fatalf("got %v, want a UsageError", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// The help names every case.
func TestTraceHelp(t *testing.T) {
	cmd, out := traceCommand(), &bytes.Buffer{}
	cmd.SetArgs([]string{"--help"})
	cmd.SetOut(out)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, c := range trace.Cases {
		if !strings.Contains(out.String(), c.Name) {
			t.Errorf("%s is not in\n%s", c.Name, out)
		}
	}
}
