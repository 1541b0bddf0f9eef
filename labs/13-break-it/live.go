package breakit

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/labs/lab"
)

// live is what the learner has broken, and is to be whole.
type live struct {
	*lab.Session
	admin  *rest.Config
	client client.Client
}

func newLive(s *lab.Session) (*live, error) {
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	return &live{Session: s, admin: admin, client: c}, nil
}

// configMaps is the path of the ConfigMaps of a namespace.
func configMaps(namespace string) string {
	return "/api/v1/namespaces/" + namespace + "/configmaps"
}

// configMap is one in JSON, with a data.port.
func configMap(name, port string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"port":%q}}`, name, port)
}

// dryRun creates a ConfigMap without keeping it, which admission webhooks see all the same.
func (l *live) dryRun(ctx context.Context, namespace, name string) (*lab.Reply, error) {
	return lab.Send(ctx, l.admin, http.MethodPost, configMaps(namespace)+"?dryRun=All", "application/json", configMap(name, "80"))
}

// answerTimeout bounds the wait for an answer that a webhook of the learner's may hold up.
const answerTimeout = 3 * time.Second

// calledInVain is part of what the kube-apiserver says if a webhook does not answer.
const calledInVain = "failed calling webhook"

// webhookAnswers is the finding that ConfigMaps cannot be made because some webhook is down.
func (l *live) webhookAnswers(ctx context.Context) (*lab.Finding, error) {
	for _, namespace := range []string{l.Lab.Namespace(), metav1.NamespaceDefault} {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		reply, err := l.dryRun(bounded, namespace, lab.Scratch())
		silent := bounded.Err() != nil
		cancel()
		var found string
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case silent:
			found = fmt.Sprintf("no answer within %s: is a webhook frozen?", answerTimeout)
		case err != nil:
			return nil, err
		case strings.Contains(string(reply.Body), calledInVain):
			found = fmt.Sprintf("%d: %s", reply.Status, reply.Message())
		default:
			continue
		}
		return &lab.Finding{ID: "webhook-down", Where: "the cluster: a ConfigMap in the namespace " + namespace, Found: found,
			Expected: "one that can be made: a webhook that answers, or none"}, nil
	}
	return nil, nil
}

// registrationName is that of the learner's APIService.
func (l *live) registrationName() string { return l.Constant("version") + "." + l.Constant("group") }

// serverAnswers makes sure that the learner's server is there, with a certificate that is
// valid.
func (l *live) serverAnswers(ctx context.Context) (*lab.Finding, error) {
	where := "the cluster: APIService " + l.registrationName()
	registration := &apiregistrationv1.APIService{}
	err := l.client.Get(ctx, client.ObjectKey{Name: l.registrationName()}, registration)
	if apierrors.IsNotFound(err) {
		return &lab.Finding{ID: "no-server", Where: where, Found: "nothing", Expected: "your server, of which register-server.sh tells the cluster"}, nil
	}
	if err != nil {
		return nil, err
	}
	if end, err := l.served(); err == nil && time.Now().After(end) {
		return &lab.Finding{ID: "expired", Where: "https://" + l.address(), Found: "a certificate that has ended on " + end.Format(time.DateOnly),
			Expected: "one that is valid: yours of renew.sh"}, nil
	}
	reply, err := lab.Send(ctx, l.admin, http.MethodGet, l.rules(""), "", "")
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusOK {
		says := "nothing yet"
		for _, condition := range registration.Status.Conditions {
			if condition.Type == apiregistrationv1.Available {
				says = condition.Message
			}
		}
		return &lab.Finding{ID: "server-down", Where: where, Found: fmt.Sprintf("a list of rules gets %d; the aggregator says: %s", reply.Status, says),
			Expected: "a server that answers, or no APIService: until then no namespace can go"}, nil
	}
	l.Verified("your server answers, by a certificate that is valid")
	return nil, nil
}

// rules is the path of the rules of the learner's group, in all namespaces or in one.
func (l *live) rules(namespace string) string {
	path := "/apis/" + l.Constant("group") + "/" + l.Constant("version")
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	return path + "/" + api.Resource
}

// address is where the learner's server listens.
func (l *live) address() string { return net.JoinHostPort("127.0.0.1", l.Constant("port")) }

// served says when the certificate ends with which the learner's server serves.
func (l *live) served() (time.Time, error) {
	dialer := &net.Dialer{Timeout: time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", l.address(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is looked at, and nothing is said to it
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].NotAfter, nil
}

// tenantHasGone makes sure that the learner's namespace was deleted, is gone, and has left
// nothing behind.
func (l *live) tenantHasGone(ctx context.Context) (*lab.Finding, error) {
	name := l.Constant("tenant")
	where := "the cluster: namespace " + name
	namespace := &corev1.Namespace{}
	err := l.client.Get(ctx, client.ObjectKey{Name: name}, namespace)
	switch {
	case err == nil && namespace.DeletionTimestamp == nil:
		return &lab.Finding{ID: "never-deleted", Where: where, Found: "it is there", Expected: "none: step 3 deletes it while the server is down"}, nil
	case err == nil:
		says := "it is on its way"
		for _, condition := range namespace.Status.Conditions {
			if condition.Status == corev1.ConditionTrue {
				says = string(condition.Type) + ": " + condition.Message
			}
		}
		return &lab.Finding{ID: "terminating", Where: where, Found: "Terminating; " + says, Expected: "none, by removing what it waits for"}, nil
	case !apierrors.IsNotFound(err):
		return nil, err
	}
	list := v2.PortRuleList{}
	reply, err := lab.Send(ctx, l.admin, http.MethodGet, l.rules(""), "", "")
	if err == nil {
		err = json.Unmarshal(reply.Body, &list)
	}
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(list.Items, func(rule v2.PortRule) bool { return rule.Namespace == name }) {
		return &lab.Finding{ID: "orphans", Where: "the cluster: kubectl get portrules -A", Found: "rules in the namespace " + name + ", which does not exist: its finalizer was removed by force",
			Expected: "nothing left of a namespace that is gone"}, nil
	}
	done, err := l.everFinalized(name)
	if err != nil {
		return nil, err
	}
	if !done {
		return &lab.Finding{ID: "never-deleted", Where: where, Found: "there never was one", Expected: "one that was made and deleted: step 3"}, nil
	}
	l.Verified("the namespace %s has gone, and nothing of it is left", name)
	return nil, nil
}

// everFinalized is whether a namespace has ended since the control plane has started: the
// audit log says so.
func (l *live) everFinalized(name string) (bool, error) {
	where, err := l.Cluster()
	if err != nil {
		return false, err
	}
	data, err := os.ReadFile(filepath.Join(where.Dir, "audit.log"))
	return strings.Contains(string(data), `"requestURI":"/api/v1/namespaces/`+name+`/finalize`), err
}

// clean removes what the learner has made: the webhook first, which may keep others from
// working.
func clean(ctx context.Context, s *lab.Session) error {
	where, err := s.Cluster()
	if err != nil {
		return err
	}
	if _, err := where.Wake(); err != nil {
		return err
	}
	l, err := newLive(s)
	if err != nil {
		return err
	}
	for _, object := range []client.Object{
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: s.Constant("webhook")}},
		&apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: l.registrationName()}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Lab.Namespace(), Name: s.Constant("service")}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Constant("tenant")}},
	} {
		if err := l.client.Delete(ctx, object); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return err
		}
	}
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		err := l.client.Get(ctx, client.ObjectKey{Name: s.Constant("tenant")}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the namespace %s does not go: its conditions say why; \"lab start %d\" starts the controller for namespaces", s.Constant("tenant"), s.Lab.Number)
	}
	return errors.Join(err, removePrefix(ctx, where.Etcd, s.Constant("prefix")))
}

// removePrefix removes from etcd what the learner's server has left there.
func removePrefix(ctx context.Context, etcd []string, prefix string) error {
	if len(etcd) == 0 {
		return nil
	}
	encode := func(key string) string { return base64.StdEncoding.EncodeToString([]byte(key)) }
	// up to, and without, the key that follows all those with the prefix and a slash
	body := fmt.Sprintf(`{"key":%q,"range_end":%q}`, encode(prefix+"/"), encode(prefix+"0"))
	reply, err := lab.Send(ctx, &rest.Config{Host: etcd[0]}, http.MethodPost, "/v3/kv/deleterange", "application/json", body)
	if err == nil && reply.Status != http.StatusOK {
		err = errors.New(reply.Message())
	}
	if err != nil {
		return fmt.Errorf("remove %s from etcd: %w", prefix, err)
	}
	return nil
}
