package mayi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"portrule.example/lab/labs/lab"
)

// answers are how many reviews each question's requests cause, in the learner's opinion.
type answers map[string]answer

// answer is nil where the learner has not answered yet.
type answer struct {
	TokenReviews         *int `json:"tokenReviews"`
	SubjectAccessReviews *int `json:"subjectAccessReviews"`
}

// reviews are how many a server has sent.
type reviews struct{ tokens, access int }

// How the requests of a question come to the server.
type way int

const (
	proxied     way = iota // through the kube-apiserver
	token                  // directly, with a token
	certificate            // directly, with a client certificate
)

// question is about a few requests that are sent one right after the other.
type question struct {
	key, what string
	way       way
	// path is what is asked for below the rules, by the number of the request.
	path func(name string, i int) string
	// tokens and access are the findings if the learner's numbers are others than counted.
	tokens, access string
}

func sameRule(name string, _ int) string  { return "/" + name }
func otherRule(name string, i int) string { return "/" + name + "-" + strconv.Itoa(i) }
func allRules(string, int) string         { return "" }

// questions are those of answers.yaml, in its order.
var questions = []question{
	{"sameName", "one rule, through the kube-apiserver", proxied, sameRule, "proxied-token", "same-name"},
	{"newNames", "another rule each time, through the kube-apiserver", proxied, otherRule, "proxied-token", "new-names"},
	{"list", "all rules, through the kube-apiserver", proxied, allRules, "proxied-token", "no-name"},
	{"directToken", "one rule, directly, with a token", token, sameRule, "direct-token", "same-name"},
	{"directNewNames", "another rule each time, directly, with a token", token, otherRule, "direct-token", "new-names"},
	{"directCertificate", "one rule, directly, with a client certificate", certificate, sameRule, "certificate", "same-name"},
}

// counted is the server whose reviews are counted.
type counted struct {
	etcd string
	// admin and user are clients that talk to it themselves.
	admin, user *rest.Config
}

// findCounted reads what serve has left.
func findCounted(s *lab.Session) (*counted, error) {
	kubeconfig := filepath.Join(s.State, countedKubeconfigFile)
	if _, err := os.Stat(kubeconfig); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the server of lab %d does not run: \"lab start %d\" starts it, your files stay as they are", s.Lab.Number, s.Lab.Number)
	}
	etcd, err := os.ReadFile(filepath.Join(s.State, etcdFile))
	if err != nil {
		return nil, err
	}
	c := &counted{etcd: strings.TrimSpace(string(etcd))}
	for name, config := range map[string]**rest.Config{adminContext: &c.admin, s.Constant("user"): &c.user} {
		*config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: name}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("read where the server of the lab is: %w", err)
		}
		(*config).QPS = -1
	}
	return c, nil
}

// compare asks the questions, and counts.
func (c *counted) compare(ctx context.Context, s *lab.Session, given answers) (*lab.Finding, error) {
	requests, err := strconv.Atoi(s.Constant("requests"))
	if err != nil {
		return nil, err
	}
	for _, q := range questions {
		answer := given[q.key]
		where := s.Where(answersFile) + ": " + q.key
		if answer.TokenReviews == nil || answer.SubjectAccessReviews == nil {
			return &lab.Finding{ID: "not-answered", Where: where, Found: "nothing", Expected: "tokenReviews and subjectAccessReviews, a number each"}, nil
		}
		predicted := reviews{*answer.TokenReviews, *answer.SubjectAccessReviews}
		got, err := c.count(ctx, s, q, requests)
		if err == nil && got != predicted {
			// somebody else may have asked at the same time: that can only add
			var again reviews
			again, err = c.count(ctx, s, q, requests)
			got = reviews{min(got.tokens, again.tokens), min(got.access, again.access)}
		}
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("for %d requests, %s", requests, q.what)
		switch {
		case predicted.tokens != got.tokens:
			return &lab.Finding{ID: q.tokens, Where: where + ".tokenReviews", Found: fmt.Sprintf("%d, %s", predicted.tokens, what),
				Expected: fmt.Sprintf("%d: the server has counted", got.tokens)}, nil
		case predicted.access != got.access:
			return &lab.Finding{ID: q.access, Where: where + ".subjectAccessReviews", Found: fmt.Sprintf("%d, %s", predicted.access, what),
				Expected: fmt.Sprintf("%d: the server has counted", got.access)}, nil
		}
		s.Verified("%d requests, %s: %d TokenReviews and %d SubjectAccessReviews, as counted", requests, q.what, got.tokens, got.access)
	}
	return nil, nil
}

// count sends the requests of a question as somebody of whom the server has not asked yet,
// and returns how many reviews it has sent meanwhile.
func (c *counted) count(ctx context.Context, s *lab.Session, q question, requests int) (reviews, error) {
	name := lab.Scratch()
	var config *rest.Config
	var err error
	switch q.way {
	case proxied:
		if config, err = s.Admin(); err == nil {
			config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{callers(s.Lab)}}
		}
	case token:
		config, err = account(ctx, s, c.admin, s.Constant("caller"))
	case certificate:
		config = c.user
		if config.Impersonate.UserName != "" { // see lab.Session.User: whether that is allowed is asked too
			_, err = lab.Send(ctx, config, http.MethodGet, rulesPath(s.Constant("countedGroup"), s.Lab.Namespace()), "", "")
		}
	}
	if err != nil {
		return reviews{}, err
	}
	before, err := c.sent(ctx)
	if err != nil {
		return reviews{}, err
	}
	for i := range requests {
		path := rulesPath(s.Constant("countedGroup"), s.Lab.Namespace()) + q.path(name, i)
		reply, err := lab.Send(ctx, config, http.MethodGet, path, "", "")
		if err != nil {
			return reviews{}, err
		}
		// a rule that does not exist is authorized like any other
		if reply.Status != http.StatusOK && reply.Status != http.StatusNotFound {
			return reviews{}, fmt.Errorf("ask the server of the lab, %s: status %d: %s", q.what, reply.Status, reply.Message())
		}
	}
	after, err := c.sent(ctx)
	return reviews{after.tokens - before.tokens, after.access - before.access}, err
}

// sent returns how many reviews the server has sent since it started.
func (c *counted) sent(ctx context.Context) (reviews, error) {
	reply, err := lab.Send(ctx, c.admin, http.MethodGet, "/metrics", "", "")
	if err != nil {
		return reviews{}, fmt.Errorf("read the metrics of the server of the lab: %w", err)
	}
	if reply.Status != http.StatusOK {
		return reviews{}, fmt.Errorf("read the metrics of the server of the lab: status %d: %s", reply.Status, reply.Message())
	}
	var sum reviews
	for line := range strings.Lines(string(reply.Body)) {
		for metric, count := range map[string]*int{
			"apiserver_delegated_authn_request_total{": &sum.tokens,
			"apiserver_delegated_authz_request_total{": &sum.access,
		} {
			if !strings.HasPrefix(line, metric) {
				continue
			}
			fields := strings.Fields(line)
			value, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				return reviews{}, fmt.Errorf("read the metrics of the server of the lab: %w", err)
			}
			*count += value
		}
	}
	return sum, nil
}
