package policiesandwebhooks

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"

	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// answers are the learner's predictions, nil where there is none yet.
type answers struct {
	Allowed          answer `json:"allowed"`
	RefusedByPolicy  answer `json:"refusedByPolicy"`
	RefusedByWebhook answer `json:"refusedByWebhook"`
	DryRun           answer `json:"dryRun"`
	Update           answer `json:"update"`
	Twins            *int   `json:"twins"`
	Stopped          struct {
		Fail   *int `json:"Fail"`
		Ignore *int `json:"Ignore"`
	} `json:"stopped"`
}

type answer struct {
	Calls *int `json:"calls"`
	Lists *int `json:"lists"`
}

// counts are calls of the webhook, and requests of its own.
type counts struct{ calls, lists int }

// measurements are what came of it.
type measurements struct {
	allowed, refusedByPolicy, refusedByWebhook, dryRun, update counts
	twins                                                      int
	stoppedFail, stoppedIgnore                                 int
}

// compare compares predictions with what was measured.
func (t *trial) compare(given *answers, m *measurements) *lab.Finding {
	for _, one := range []struct {
		id, where string
		given     *int
		measured  int
		what      string
	}{
		{"answer-allowed", "allowed.calls", given.Allowed.Calls, m.allowed.calls, "calls of the webhook"},
		{"answer-allowed", "allowed.lists", given.Allowed.Lists, m.allowed.lists, "requests of the webhook"},
		{"answer-policy", "refusedByPolicy.calls", given.RefusedByPolicy.Calls, m.refusedByPolicy.calls, "calls of the webhook"},
		{"answer-policy", "refusedByPolicy.lists", given.RefusedByPolicy.Lists, m.refusedByPolicy.lists, "requests of the webhook"},
		{"answer-refused", "refusedByWebhook.calls", given.RefusedByWebhook.Calls, m.refusedByWebhook.calls, "calls of the webhook"},
		{"answer-refused", "refusedByWebhook.lists", given.RefusedByWebhook.Lists, m.refusedByWebhook.lists, "requests of the webhook"},
		{"answer-dry-run", "dryRun.calls", given.DryRun.Calls, m.dryRun.calls, "calls of the webhook"},
		{"answer-dry-run", "dryRun.lists", given.DryRun.Lists, m.dryRun.lists, "requests of the webhook"},
		{"answer-update", "update.calls", given.Update.Calls, m.update.calls, "calls of the webhook"},
		{"answer-update", "update.lists", given.Update.Lists, m.update.lists, "requests of the webhook"},
		{"answer-twins", "twins", given.Twins, m.twins, "of the two rules exist"},
		{"answer-stopped", "stopped.Fail", given.Stopped.Fail, m.stoppedFail, "is the status"},
		{"answer-stopped", "stopped.Ignore", given.Stopped.Ignore, m.stoppedIgnore, "is the status"},
	} {
		where := ": " + one.where
		if one.given == nil {
			return t.found("not-answered", answersFile, where, "nothing", "a number")
		}
		if *one.given != one.measured {
			return t.found(one.id, answersFile, where, strconv.Itoa(*one.given), fmt.Sprintf("another number: the check has tried it, with your files, and %d %s", one.measured, one.what))
		}
	}
	t.Verified("your predictions are as counted: %d call and %d list for a rule that is let in", m.allowed.calls, m.allowed.lists)
	return nil
}

// count creates a rule and counts meanwhile.
func (w *asked) count(ctx context.Context, user *rest.Config, kind, query string, r rule) (reply *lab.Reply, counted counts, err error) {
	counted, err = w.counting(ctx, func() (err error) { reply, err = w.trial.create(ctx, user, kind, query, r); return err })
	return reply, counted, err
}

// counting counts what happens during do.
func (w *asked) counting(ctx context.Context, do func() error) (counts, error) {
	name := w.configuration.Webhooks[0].Name
	if !w.known {
		var err error
		if w.calls, err = w.called(ctx, name); err != nil {
			return counts{}, err
		}
	}
	before, lists := w.calls, w.relay.requests.Load()
	err := do()
	if err == nil {
		w.calls, err = w.called(ctx, name)
	}
	w.known = err == nil
	return counts{w.calls - before, int(w.relay.requests.Load() - lists)}, err
}

// called returns how often the kube-apiserver has called a webhook so far.
func (t *trial) called(ctx context.Context, webhook string) (int, error) {
	config := rest.CopyConfig(t.admin)
	config.DisableCompression = true // it is long, and near
	reply, err := lab.Send(ctx, config, http.MethodGet, "/metrics", "", "")
	if err != nil {
		return 0, err
	}
	if reply.Status != http.StatusOK {
		return 0, fmt.Errorf("read the metrics of the kube-apiserver: status %d: %s", reply.Status, reply.Message())
	}
	sum := 0
	for line := range strings.Lines(string(reply.Body)) {
		if !strings.HasPrefix(line, "apiserver_admission_webhook_request_total{") || !strings.Contains(line, `name="`+webhook+`"`) {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			return 0, fmt.Errorf("read the metrics of the kube-apiserver: %w", err)
		}
		sum += value
	}
	return sum, nil
}

// kill ends a program of the check's own and waits for it.
func kill(program *process.Process, pid int) error {
	if program.Ended() {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-program.Done()
	return nil
}
