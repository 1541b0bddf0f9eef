package policiesandwebhooks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// answerTimeout bounds the wait for what should be there at once.
const answerTimeout = 10 * time.Second

// denied is in what the kube-apiserver says when a webhook refuses.
const denied = "denied the request"

// asked is the learner's webhook, as the kube-apiserver of the trial asks it.
type asked struct {
	*trial
	relay   *relay
	program *process.Process
	// configuration is the copy. Its first webhook is the learner's.
	configuration *admissionregistrationv1.ValidatingWebhookConfiguration
	// calls is how often it has been called so far, if known.
	calls int
	known bool
}

// create creates a rule in the namespace free, as the administrator, without counting.
func (w *asked) create(ctx context.Context, query string, r rule) (*lab.Reply, error) {
	w.known = false
	return w.trial.create(ctx, w.admin, free, query, r)
}

// webhook tries the learner's program and a copy of its configuration out, and returns what was
// counted.
func (t *trial) webhook(ctx context.Context, program string, given *admissionregistrationv1.ValidatingWebhookConfiguration) (*measurements, *lab.Finding, error) {
	where, finding := t.url(given)
	if finding != nil {
		return nil, finding, nil
	}
	w := &asked{trial: t}
	ca, port, finding, err := w.serve(ctx, program)
	if finding != nil || err != nil {
		return nil, finding, err
	}
	where.Host = net.JoinHostPort(t.Host(), strconv.Itoa(port))
	if finding, err := w.configure(ctx, given, where, ca); finding != nil || err != nil {
		return nil, finding, err
	}
	m := &measurements{}
	for _, ask := range []func(context.Context, *measurements) (*lab.Finding, error){w.judges, w.others, w.scope, w.gaps, w.stopped} {
		if finding, err := ask(ctx, m); finding != nil || err != nil {
			return nil, finding, err
		}
	}
	return m, nil, nil
}

// url reads where the learner's webhook is.
func (t *trial) url(given *admissionregistrationv1.ValidatingWebhookConfiguration) (*url.URL, *lab.Finding) {
	if given.Kind != "ValidatingWebhookConfiguration" || len(given.Webhooks) != 1 {
		return nil, t.found("configuration-kind", configurationFile, "", fmt.Sprintf("kind %q with %d webhooks", given.Kind, len(given.Webhooks)),
			"a ValidatingWebhookConfiguration with one webhook")
	}
	config := given.Webhooks[0].ClientConfig
	if config.URL == nil {
		return nil, t.found("url", configurationFile, ": clientConfig.url", "nothing", "the url of a program of this host")
	}
	where, err := url.Parse(*config.URL)
	if err == nil && where.Port() != t.Constant("port") {
		err = errors.New(*config.URL)
	}
	if err != nil {
		return nil, t.found("url", configurationFile, ": clientConfig.url", err.Error(), "https, port "+t.Constant("port")+" and the path of main.go")
	}
	return where, nil
}

// serve starts the program, and returns the CA of its certificate, and its port.
func (w *asked) serve(ctx context.Context, program string) ([]byte, int, *lab.Finding, error) {
	group, err := w.Group()
	if err != nil {
		return nil, 0, nil, err
	}
	ca, err := certs.NewCA(w.name)
	if err != nil {
		return nil, 0, nil, err
	}
	pair, err := ca.Serving(w.Host())
	if err != nil {
		return nil, 0, nil, err
	}
	cert, key, kubeconfig := group.Path("tls.crt"), group.Path("tls.key"), group.Path("webhook.kubeconfig")
	if err := errors.Join(os.WriteFile(cert, pair.Cert, 0o600), os.WriteFile(key, pair.Key, 0o600)); err != nil {
		return nil, 0, nil, err
	}
	if w.relay, err = newRelay(w.admin); err != nil {
		return nil, 0, nil, err
	}
	w.Cleanup(w.relay.server.Close)
	if err := w.relay.kubeconfig(kubeconfig); err != nil {
		return nil, 0, nil, err
	}
	port, err := w.FreePort()
	if err != nil {
		return nil, 0, nil, err
	}
	address := net.JoinHostPort(w.BindAddress(), strconv.Itoa(port))
	w.program, err = w.Start("webhook", program, "-address", address, "-tls-cert", cert, "-tls-key", key, "-kubeconfig", kubeconfig, "-group", w.group)
	if err != nil {
		return nil, 0, nil, err
	}
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, answerTimeout, true, func(context.Context) (bool, error) {
		return w.program.Ended() || listens(port), nil
	})
	switch {
	case err == nil && w.program.Ended():
		return nil, 0, w.found("program-ends", programFile, "", w.lastWords(w.program.Err().Error()), "a program that listens until it is stopped"), nil
	case wait.Interrupted(err) && ctx.Err() == nil:
		return nil, 0, w.found("program-ends", programFile, "", "it runs, and does not listen on the address of its flag -address", "a program that listens there"), nil
	}
	return ca.PEM(), port, nil, err
}

// listens is whether somebody does, on a port of this host.
func listens(port int) bool {
	connection, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = connection.Close() // it was about opening it
	return true
}

// lastWords is what the program has said last, or else what is given.
func (w *asked) lastWords(otherwise string) string {
	group, err := w.Group()
	if err != nil {
		return otherwise
	}
	data, err := os.ReadFile(group.LogPath("webhook"))
	if err != nil {
		return otherwise
	}
	said := otherwise
	for line := range strings.Lines(string(data)) {
		switch {
		case strings.Contains(line, "panic"), strings.HasPrefix(line, "flag "):
			return strings.TrimSpace(line)
		case strings.Contains(line, "TLS handshake error"): // nobody has asked anything
		case strings.HasPrefix(line, "20"): // a date: the package log
			said = strings.TrimSpace(line)
		}
	}
	return said
}

// configure makes a copy of the learner's configuration, for the program of the trial.
func (w *asked) configure(ctx context.Context, given *admissionregistrationv1.ValidatingWebhookConfiguration, where *url.URL, ca []byte) (*lab.Finding, error) {
	hook := given.Webhooks[0].DeepCopy()
	hook.Name = w.name + "." + hook.Name
	hook.ClientConfig.URL, hook.ClientConfig.CABundle = ptr.To(where.String()), ca
	for i := range hook.Rules {
		w.regroup(hook.Rules[i].APIGroups)
	}
	hook.MatchConditions = append(hook.MatchConditions, w.only())
	const called = "called"
	w.configuration = &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: w.renamed(given.ObjectMeta),
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{*hook, w.sentinel(called)},
	}
	refusal, err := w.install(ctx, w.configuration)
	if refusal != "" {
		return w.found("configuration-refused", configurationFile, "", refusal, "a configuration that the kube-apiserver accepts"), nil
	}
	if err != nil {
		return nil, err
	}
	return nil, w.await(ctx, called)
}

// sentinel is a webhook that nobody answers for. Once it keeps a ConfigMap of a name from being
// created, the configuration that it is in counts.
func (t *trial) sentinel(name string) admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    t.name + ".sentinel." + t.Constant("group"),
		ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")},
		Rules:                   []admissionregistrationv1.RuleWithOperations{configMaps},
		MatchConditions:         []admissionregistrationv1.MatchCondition{t.only(), named(name)},
		FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
		SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds:          ptr.To(int32(1)),
		AdmissionReviewVersions: []string{"v1"},
	}
}

// failing is the finding of a webhook that is called and does not answer as it should.
func (w *asked) failing(what string, reply *lab.Reply) *lab.Finding {
	message := w.real(reply.Message())
	switch {
	case strings.Contains(message, "response.uid"):
		return w.found("no-uid", programFile, what, message, "an answer with the UID of the request")
	case strings.Contains(message, "could not find the requested resource"):
		return w.found("url", configurationFile, ": clientConfig.url", message, "the path at which main.go serves")
	case reply.Status == http.StatusForbidden && strings.Contains(message, "expression '"):
		return w.found("restorer", configurationFile, ": matchConditions", message, "an expression that says yes or no about each new rule")
	}
	// of a panic the kube-apiserver knows nothing but that the connection has ended
	if said := w.lastWords(""); strings.Contains(said, "panic") {
		message = said
	}
	return w.found("webhook-fails", programFile, what, message, "an AdmissionReview with a response, in time")
}

// judges asks for rules with and without an endpoint that is taken.
func (w *asked) judges(ctx context.Context, m *measurements) (*lab.Finding, error) {
	first := rule{"first", "10.0.0.3", 80, ""}
	what := ": a rule is created whose endpoint is free"
	reply, counted, err := w.count(ctx, w.admin, free, "", first)
	if err != nil {
		return nil, err
	}
	m.allowed = counted
	switch message := reply.Message(); {
	case strings.Contains(message, denied):
		return w.found("first-refused", programFile, what, w.real(message), "created"), nil
	case reply.Status != http.StatusCreated:
		return w.failing(what, reply), nil
	case counted.calls == 0:
		return w.found("not-called", configurationFile, what, "created, and the webhook is not asked about it", "the webhook is asked"), nil
	}
	w.Verified("the webhook is asked about a new rule, and lets it in")

	what = ": a second rule is created with the endpoint of the rule " + first.name
	second := rule{"second", first.host, first.port, "tcp"}
	if reply, m.refusedByWebhook, err = w.count(ctx, w.admin, free, "", second); err != nil {
		return nil, err
	}
	switch message := reply.Message(); {
	case reply.Status == http.StatusCreated:
		return w.found("duplicate-let-in", programFile, what, "created", "refused"), nil
	case !strings.Contains(message, denied):
		return w.failing(what, reply), nil
	case !strings.Contains(after(message, denied), first.name):
		return w.found("deny-message", programFile, what, w.real(message), "a message that names the rule which has the endpoint: "+first.name), nil
	}
	for _, other := range []rule{
		{"other-protocol", first.host, first.port, "udp"},
		{"other-port", first.host, 81, ""},
		{"other-host", "10.0.0.4", first.port, ""},
	} {
		reply, err := w.create(ctx, "", other)
		if err != nil {
			return nil, err
		}
		if reply.Status != http.StatusCreated {
			return w.found("too-strict", programFile, fmt.Sprintf(": %s/%s/%d is taken, and a rule is created for %s", "tcp", first.host, first.port, other.endpoint()),
				w.real(reply.Message()), "created: it is another endpoint"), nil
		}
	}
	reply, counted, err = w.count(ctx, w.admin, noted, "", first)
	if err != nil {
		return nil, err
	}
	switch {
	case reply.Status != http.StatusCreated:
		return w.found("other-namespace", programFile, ": a rule of another namespace has the endpoint", w.real(reply.Message()), "created: each namespace has its own"), nil
	case counted.calls == 0:
		return w.found("selector", configurationFile, fmt.Sprintf(": a rule is created in a namespace with the label %s: own", w.Constant("label")),
			"the webhook is not asked", "it is: the label has another value"), nil
	}
	w.Verified("an endpoint that is taken is refused, with the name of who has it; another protocol, port, host or namespace is not")
	return nil, nil
}

func (r rule) endpoint() string {
	protocol := r.protocol
	if protocol == "" {
		protocol = "tcp"
	}
	return fmt.Sprintf("%s/%s/%d", protocol, r.host, r.port)
}

// others asks for what the webhook need not be called for, and for dry runs.
func (w *asked) others(ctx context.Context, m *measurements) (*lab.Finding, error) {
	var reply *lab.Reply
	var err error
	m.update, err = w.counting(ctx, func() (err error) { reply, err = w.label(ctx, free, "first"); return err })
	switch {
	case err != nil:
		return nil, err
	case reply.Status != http.StatusOK:
		return w.found("update", configurationFile, ": a rule gets a label", w.real(reply.Message()), "it does, and the webhook is not asked: an endpoint cannot be changed"), nil
	case m.update.calls > 0:
		return w.found("update", configurationFile, ": a rule gets a label", "the webhook is asked", "it is not: an endpoint cannot be changed"), nil
	}
	counted, err := w.counting(ctx, func() (err error) { reply, err = w.createConfigMap(ctx, free, "other"); return err })
	switch {
	case err != nil:
		return nil, err
	case reply.Status != http.StatusCreated || counted.calls > 0:
		return w.found("rules-too-wide", configurationFile, ": a ConfigMap is created", "the webhook is asked", "it is not: the rules are about PortRules"), nil
	}
	w.Verified("it is asked about new PortRules alone")
	if reply, m.refusedByPolicy, err = w.count(ctx, w.admin, limited, "", rule{"refused", "10.0.0.3", 80, ""}); err != nil {
		return nil, err
	}
	if reply.Status == http.StatusCreated {
		return nil, errors.New("the policy has refused port 80 and does so no longer")
	}
	if reply, m.dryRun, err = w.count(ctx, w.admin, free, dryRun, rule{"dry", "10.0.0.5", 80, ""}); err != nil {
		return nil, err
	}
	if reply.Status != http.StatusCreated {
		return w.found("dry-run", programFile, ": a rule is created in a dry run", w.real(reply.Message()), "let in"), nil
	}
	if reply, err = w.create(ctx, dryRun, rule{"dry", "10.0.0.3", 80, ""}); err != nil {
		return nil, err
	}
	if reply.Status == http.StatusCreated {
		return w.found("dry-run", programFile, ": a rule is created in a dry run whose endpoint is taken", "let in", "refused, as it will be without dry run"), nil
	}
	w.Verified("a dry run says what would happen")
	return nil, nil
}

// scope asks for what the task exempts.
func (w *asked) scope(ctx context.Context, _ *measurements) (*lab.Finding, error) {
	restorer := w.Constant("restorer")
	for _, ask := range []struct {
		kind, user, id, where string
		called                bool
	}{
		{shared, "", "selector", fmt.Sprintf("a namespace with the label %s: %s", w.Constant("label"), w.Constant("labelValue")), false},
		{free, restorer, "restorer", "the user " + restorer, false},
		{free, "alice", "restorer", "the user alice", true},
	} {
		user := rest.CopyConfig(w.admin)
		if ask.user != "" {
			// one whom the webhook's conditions are about, and who may all the same
			user.Impersonate = rest.ImpersonationConfig{UserName: ask.user, Groups: []string{"system:masters"}}
		}
		reply, counted, err := w.count(ctx, user, ask.kind, dryRun, rule{"exempt", "10.0.0.6", 80, ""})
		if err != nil {
			return nil, err
		}
		what := ": a rule is created by " + ask.where
		if ask.user == "" {
			what = ": a rule is created in " + ask.where
		}
		switch {
		case reply.Status != http.StatusCreated:
			return w.found(ask.id, configurationFile, what, w.real(reply.Message()), "created"), nil
		case ask.called && counted.calls == 0:
			return w.found(ask.id, configurationFile, what, "the webhook is not asked", "it is asked"), nil
		case !ask.called && counted.calls > 0:
			return w.found(ask.id, configurationFile, what, "the webhook is asked", "it is not asked"), nil
		}
	}
	w.Verified("it is not asked about namespaces that share endpoints, nor about what %s restores", restorer)
	return nil, nil
}

// gaps looks at what a webhook cannot see: it may not ask, and somebody is faster.
func (w *asked) gaps(ctx context.Context, m *measurements) (*lab.Finding, error) {
	w.relay.forbid.Store(true)
	reply, err := w.create(ctx, "", rule{"unseen", "10.0.0.3", 80, ""})
	w.relay.forbid.Store(false)
	if err != nil {
		return nil, err
	}
	switch created := reply.Status == http.StatusCreated; {
	case created && ptr.Deref(w.configuration.Webhooks[0].FailurePolicy, admissionregistrationv1.Fail) == admissionregistrationv1.Ignore:
		return w.found("failure-policy", configurationFile, ": the webhook may not list rules, and a rule is created whose endpoint is taken", "created: an error of the webhook is ignored", "refused"), nil
	case created:
		return w.found("fails-open", programFile, ": the webhook may not list rules, and a rule is created whose endpoint is taken", "created", "refused: what cannot be judged is an error"), nil
	}
	w.Verified("what it cannot judge it does not let in")

	w.known = false
	w.relay.gate.Store(newGate())
	defer w.relay.gate.Store(nil)
	type result struct {
		reply *lab.Reply
		err   error
	}
	results := make(chan result)
	for _, name := range []string{"twin-1", "twin-2"} {
		go func() {
			reply, err := w.trial.create(ctx, w.admin, free, "", rule{name, "10.0.0.7", 80, ""})
			results <- result{reply, err}
		}()
	}
	for range 2 {
		one := <-results
		err = errors.Join(err, one.err)
		if one.err == nil && one.reply.Status == http.StatusCreated {
			m.twins++
		}
	}
	return nil, err
}

// stopped stops the program and asks again.
func (w *asked) stopped(ctx context.Context, m *measurements) (*lab.Finding, error) {
	hook := &w.configuration.Webhooks[0]
	if seconds := strconv.Itoa(int(ptr.Deref(hook.TimeoutSeconds, 10))); seconds != w.Constant("timeout") {
		return w.found("timeout", configurationFile, ": timeoutSeconds", seconds, w.Constant("timeout")), nil
	}
	group, err := w.Group()
	if err != nil {
		return nil, err
	}
	pid, err := group.PID("webhook")
	if err != nil {
		return nil, err
	}
	if err := kill(w.program, pid); err != nil {
		return nil, err
	}
	down := rule{"down", "10.0.0.8", 80, ""}
	reply, err := w.create(ctx, dryRun, down)
	if err != nil {
		return nil, err
	}
	if reply.Status == http.StatusCreated {
		return w.found("failure-policy", configurationFile, ": the webhook is stopped, and a rule is created", "created, though nobody has looked at it", "refused"), nil
	}
	w.Verified("while it does not run nothing is let in")
	m.stoppedFail = reply.Status

	hook.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	const ignored = "ignored"
	w.configuration.Webhooks[1].MatchConditions[1] = named(ignored)
	if err := w.client.Update(ctx, w.configuration); err != nil {
		return nil, err
	}
	if err := w.await(ctx, ignored); err != nil {
		return nil, err
	}
	if reply, err = w.create(ctx, dryRun, down); err != nil {
		return nil, err
	}
	m.stoppedIgnore = reply.Status
	return nil, nil
}
