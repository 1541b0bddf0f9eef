package twoversions

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"portrule.example/lab/labs/lab"
)

// answers are how many conversions each question's request causes, in the learner's opinion.
// A nil one is not answered yet.
type answers map[string]*int

// question is about one request.
type question struct{ key, what, method, version, name, finding string }

// questions are those of answers.yaml, in its order.
var questions = []question{
	{"createV2", "a rule is created as v2", http.MethodPost, v2, "", "cached-versions"},
	{"createV1", "a rule is created as v1", http.MethodPost, v1, "", "there-and-back"},
	{"getV2", "a rule is read as v2", http.MethodGet, v2, "new", "as-stored"},
	{"getV1", "a rule is read as v1", http.MethodGet, v1, "new", "read-from-etcd"},
	{"listV1", "all rules are listed as v1", http.MethodGet, v1, "", "list-from-cache"},
}

// specs are what rules are created with, by their version.
var specs = map[string]string{
	v1: `{"name":"counted","host":"10.0.0.6","port":80}`,
	v2: `{"service":"counted","endpoint":{"host":"10.0.0.6","port":80}}`,
}

// count asks the questions of the copy of the CRD, for which nobody but the check writes.
func (t *trial) count(ctx context.Context, given answers) (*lab.Finding, error) {
	for _, q := range questions {
		where := t.Where(answersFile) + ": " + q.key
		answer := given[q.key]
		if answer == nil {
			return &lab.Finding{ID: "not-answered", Where: where, Found: "nothing", Expected: "how many conversions it takes if " + q.what}, nil
		}
		got, finding, err := t.conversions(ctx, q)
		if finding != nil || err != nil {
			return finding, err
		}
		if got != *answer {
			return &lab.Finding{ID: q.finding, Where: where, Found: fmt.Sprintf("%d, if %s", *answer, q.what), Expected: fmt.Sprintf("%d: the kube-apiserver has counted", got)}, nil
		}
	}
	t.Verified("conversions: %s", summary(given))
	return nil, nil
}

func summary(given answers) string {
	var parts []string
	for _, q := range questions {
		parts = append(parts, fmt.Sprintf("%s %d", q.key, *given[q.key]))
	}
	return strings.Join(parts, ", ")
}

// conversions sends the request of a question and returns how many conversions the
// kube-apiserver has asked for meanwhile.
func (t *trial) conversions(ctx context.Context, q question) (int, *lab.Finding, error) {
	if err := t.settled(ctx); err != nil {
		return 0, nil, err
	}
	before, err := t.converted(ctx)
	if err != nil {
		return 0, nil, err
	}
	body := ""
	if q.method == http.MethodPost {
		body = t.rule(q.version, lab.Scratch(), specs[q.version])
	}
	if _, finding, err := t.ask(ctx, "count: "+q.what, q.method, q.version, q.name, body); finding != nil || err != nil {
		return 0, finding, err
	}
	if err := t.settled(ctx); err != nil {
		return 0, nil, err
	}
	after, err := t.converted(ctx)
	return after - before, nil, err
}

// converted returns how often the kube-apiserver has had something converted so far.
func (t *trial) converted(ctx context.Context) (int, error) {
	reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/metrics", "", "")
	if err == nil && reply.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", reply.Status, reply.Message())
	}
	if err != nil {
		return 0, fmt.Errorf("read the metrics of the kube-apiserver: %w", err)
	}
	sum, metric := 0, fmt.Sprintf("apiserver_crd_conversion_webhook_duration_seconds_count{crd_name=%q,", t.Constant("resource")+"."+t.group)
	for line := range strings.Lines(string(reply.Body)) {
		if !strings.HasPrefix(line, metric) {
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
