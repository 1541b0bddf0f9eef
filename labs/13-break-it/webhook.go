package breakit

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/compare/certs"
	"portrule.example/lab/labs/lab"
)

// calledTimeout bounds the wait until a copy of the learner's configuration is in force.
const calledTimeout = 3 * time.Second

// tryWebhook registers a copy of the learner's configuration, for a webhook that answers at
// first, is frozen then, and has ended at last.
func (l *live) tryWebhook(ctx context.Context, config *admissionv1.ValidatingWebhookConfiguration, seen *answers) (*lab.Finding, error) {
	where, name := l.Where(webhookFile), lab.Scratch()
	found := func(id, where, found, expected string) (*lab.Finding, error) {
		return &lab.Finding{ID: id, Where: where, Found: found, Expected: expected}, nil
	}
	limit, err := strconv.Atoi(l.Constant("seconds"))
	if err != nil {
		return nil, err
	}
	if config.Name != l.Constant("webhook") || len(config.Webhooks) != 1 || config.Webhooks[0].ClientConfig.URL == nil {
		return found("webhook-changed", where, fmt.Sprintf("%s with %d webhooks", cmp.Or(config.Name, "no name"), len(config.Webhooks)),
			"one webhook, with a URL, in the configuration "+l.Constant("webhook")+", as in start/")
	}
	hook, err := newHook(l)
	if err != nil {
		return nil, err
	}
	defer hook.end()
	copied := copyFor(config, name, hook)
	if err := l.client.Create(ctx, copied); err != nil {
		if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return found("webhook-refused", where, strings.ReplaceAll(err.Error(), copied.Name, config.Name), "a configuration that the kube-apiserver accepts")
		}
		return nil, err
	}
	remove := func() error { return client.IgnoreNotFound(l.client.Delete(context.Background(), copied)) }
	l.Cleanup(remove)
	called, err := l.called(ctx, name)
	if err != nil {
		return nil, err
	}
	if !called {
		return found("not-called", where, "the webhook is not asked about a ConfigMap in "+l.Lab.Namespace(), "one that is")
	}

	// nobody listens
	hook.end()
	create := func(namespace string) (*lab.Reply, bool, error) {
		reply, err := l.dryRun(ctx, namespace, name)
		if err != nil {
			return nil, false, err
		}
		return reply, strings.Contains(string(reply.Body), calledInVain), nil
	}
	elsewhere, vain, err := create(metav1.NamespaceDefault)
	if err != nil {
		return nil, err
	}
	if vain {
		return found("too-wide", where+": the webhook has ended, and somebody makes a ConfigMap in the namespace "+metav1.NamespaceDefault,
			fmt.Sprintf("%d: %s", elsewhere.Status, l.plain(elsewhere.Message(), name)), "that only "+l.Lab.Namespace()+" notices")
	}
	here, vain, err := create(l.Lab.Namespace())
	if err != nil {
		return nil, err
	}
	if !vain {
		return found("lets-through", where+": the webhook has ended, and somebody makes a ConfigMap in "+l.Lab.Namespace(),
			fmt.Sprintf("%d: whatever its data.port is, it gets in", here.Status), "an error: what nobody has looked at must not get in")
	}
	seconds := ptr.Deref(copied.Webhooks[0].TimeoutSeconds, 10)
	if int(seconds) > limit {
		return found("too-patient", where+": timeoutSeconds", fmt.Sprintf("%d: so long everybody waits for a webhook that is frozen", seconds), fmt.Sprintf("%d at most", limit))
	}
	seen.Webhook.Create = fails
	if err := l.tryOthers(ctx, name, seen); err != nil {
		return nil, err
	}

	// somebody listens, and says nothing
	if err := hook.freeze(); err != nil {
		return nil, err
	}
	begin := time.Now()
	if _, _, err := create(l.Lab.Namespace()); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	seen.Webhook.Frozen = int(seconds)
	l.Verified("with your %s, the webhook ended: elsewhere nobody notices, in %s nothing gets in; frozen: an error after %.1f s", webhookFile, l.Lab.Namespace(), took.Seconds())
	return nil, remove()
}

// tryOthers reads and deletes a ConfigMap that the webhook of a trial would be asked about.
// It is one that is always there.
func (l *live) tryOthers(ctx context.Context, name string, seen *answers) error {
	read, err := lab.Send(ctx, l.admin, http.MethodGet, configMaps(l.Lab.Namespace()), "", "")
	if err != nil {
		return err
	}
	// there is none of this name, and whether a webhook is asked is decided before
	deleted, err := lab.Send(ctx, l.admin, http.MethodDelete, path.Join(configMaps(l.Lab.Namespace()), name), "", "")
	if err != nil {
		return err
	}
	seen.Webhook.Get = worksIf(read.Status == http.StatusOK)
	seen.Webhook.Delete = worksIf(!strings.Contains(string(deleted.Body), calledInVain))
	return nil
}

// called waits until the webhook of a trial is asked, and refuses.
func (l *live) called(ctx context.Context, name string) (bool, error) {
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, calledTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := l.dryRun(ctx, l.Lab.Namespace(), name)
		if err != nil {
			return false, err
		}
		return strings.Contains(reply.Message(), refusal), nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// plain replaces the names of a trial by the learner's.
func (l *live) plain(text, name string) string { return strings.ReplaceAll(text, name+".", "") }

// copyFor copies the learner's configuration for a trial: with another address, and for
// nothing but the ConfigMaps of the trial.
func copyFor(config *admissionv1.ValidatingWebhookConfiguration, name string, hook *hook) *admissionv1.ValidatingWebhookConfiguration {
	copied := config.DeepCopy()
	copied.ObjectMeta = metav1.ObjectMeta{Name: name}
	webhook := &copied.Webhooks[0]
	webhook.Name = name + "." + webhook.Name
	webhook.ClientConfig.URL, webhook.ClientConfig.CABundle = ptr.To(hook.url()), hook.ca
	webhook.MatchConditions = append(slices.Clip(webhook.MatchConditions), admissionv1.MatchCondition{
		Name: "trial", Expression: fmt.Sprintf("request.name == %[1]q || has(object.metadata) && object.metadata.name == %[1]q", name),
	})
	return copied
}

// refusal is what the webhook of a trial says to all.
const refusal = "the check says no"

// hook is the webhook of a trial.
type hook struct {
	host     string
	port     string
	bind     string
	ca       []byte
	listener net.Listener
	server   *http.Server
}

func newHook(l *live) (*hook, error) {
	ca, err := certs.NewCA(l.Lab.Namespace())
	if err != nil {
		return nil, err
	}
	pair, err := ca.Serving(l.Host(), "localhost")
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	h := &hook{host: l.Host(), bind: l.BindAddress(), port: "0", ca: ca.PEM()}
	if err := h.listen(); err != nil {
		return nil, err
	}
	h.server = &http.Server{Handler: http.HandlerFunc(refuse), ReadHeaderTimeout: lab.SettleTimeout, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}
	go func() { _ = h.server.ServeTLS(h.listener, "", "") }() // until it is closed
	return h, nil
}

func (h *hook) url() string {
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(h.host, h.port), Path: "/"}).String()
}

// listen takes a port, the same one each time.
func (h *hook) listen() error {
	listener, err := net.Listen("tcp", net.JoinHostPort(h.bind, h.port))
	if err != nil {
		return fmt.Errorf("listen for a webhook of the check: %w", err)
	}
	h.listener = listener
	_, h.port, err = net.SplitHostPort(listener.Addr().String())
	return err
}

// end closes the port and all connections.
func (h *hook) end() { _ = errors.Join(h.server.Close(), h.listener.Close()) } // closed already, maybe

// freeze takes the port again, and nobody answers: the kernel takes the connections.
func (h *hook) freeze() error { return h.listen() }

// refuse is what the webhook of a trial answers.
func refuse(w http.ResponseWriter, r *http.Request) {
	var review reviewv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "an AdmissionReview is expected", http.StatusBadRequest)
		return
	}
	review.Response = &reviewv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: refusal}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // who has asked may have gone
}
