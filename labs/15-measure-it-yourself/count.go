package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"portrule.example/lab/labs/15-measure-it-yourself/harness"
	"portrule.example/lab/labs/lab"
)

// answers are the learner's predictions, nil where there is none yet.
type answers struct {
	Same           *int     `json:"same"`
	InTurn         *int     `json:"inTurn"`
	New            *int     `json:"new"`
	List           *int     `json:"list"`
	CRD            *int     `json:"crd"`
	GetsPerSecond  *float64 `json:"getsPerSecond"`
	ListsPerSecond *float64 `json:"listsPerSecond"`
}

// question is about requests that one user sends one right after the other.
type question struct {
	key, finding, what string
	given              *int
	group              string
	// path is what is asked for below the rules.
	path func(i int) string
}

// tolerance is how far a prediction by the formula may be from it: it may be rounded.
const tolerance = 0.03

// counter sends requests and counts reviews.
type counter struct{ server, cluster *rest.Config }

// findCounter reads what serve has left.
func findCounter(s *lab.Session) (*counter, error) {
	c := &counter{}
	for name, config := range map[string]**rest.Config{harness.ServerFile: &c.server, harness.ClusterFile: &c.cluster} {
		path := filepath.Join(s.State, name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the server of lab %d does not run: \"lab start %d\" starts it, your files stay as they are", s.Lab.Number, s.Lab.Number)
		}
		var err error
		if *config, err = clientcmd.BuildConfigFromFlags("", path); err != nil {
			return nil, fmt.Errorf("read where the server of the lab is: %w", err)
		}
		(*config).QPS = -1
	}
	return c, nil
}

// asked are the questions that are answered by counting, and what was counted.
type asked struct {
	requests  int
	questions []question
	counted   []int
}

// newAsked are the questions of answers.yaml, in its order.
func newAsked(s *lab.Session, given answers) (*asked, error) {
	requests, err := strconv.Atoi(s.Constant("requests"))
	if err != nil {
		return nil, err
	}
	objects, err := strconv.Atoi(s.Constant("objects"))
	if err != nil {
		return nil, err
	}
	rule := func(i int) string { return "/" + harness.Name(i) }
	return &asked{requests: requests, questions: []question{
		{"same", "same", "of one rule", given.Same, harness.AggregatedGroup, func(int) string { return rule(0) }},
		{"inTurn", "in-turn", fmt.Sprintf("of %d rules in turn", objects), given.InTurn, harness.AggregatedGroup, func(i int) string { return rule(i % objects) }},
		{"new", "new", "of another rule each time", given.New, harness.AggregatedGroup, rule},
		{"list", "list", "of the list of rules", given.List, harness.AggregatedGroup, func(int) string { return "" }},
		{"crd", "crd", "of rules of the CRD", given.CRD, harness.CRDGroup, rule},
	}}, nil
}

// ask counts for all questions.
func (c *counter) ask(ctx context.Context, a *asked) error {
	for _, q := range a.questions {
		counted, err := c.count(ctx, q, a.requests)
		if err != nil {
			return err
		}
		a.counted = append(a.counted, counted)
	}
	return nil
}

// compare compares the predictions with what was counted, and with the formula.
func (c *counter) compare(ctx context.Context, s *lab.Session, a *asked, given answers) (*lab.Finding, error) {
	for i, q := range a.questions {
		where := s.Where(answersFile) + ": " + q.key
		if q.given == nil {
			return notAnswered(where), nil
		}
		counted := a.counted[i]
		if counted != *q.given {
			// somebody else may have asked at the same time: that can only add
			again, err := c.count(ctx, q, a.requests)
			if err != nil {
				return nil, err
			}
			counted = min(counted, again)
		}
		if counted != *q.given {
			return &lab.Finding{ID: q.finding, Where: where, Found: fmt.Sprintf("%d, for %d GETs %s", *q.given, a.requests, q.what), Expected: fmt.Sprintf("%d: the server has counted", counted)}, nil
		}
		s.Verified("%d GETs %s: %d reviews, as counted", a.requests, q.what, counted)
	}
	number := map[string]float64{}
	for _, name := range []string{"users", "names", "rate", "ttl"} {
		value, err := strconv.ParseFloat(s.Constant(name), 64)
		if err != nil {
			return nil, err
		}
		number[name] = value
	}
	for _, q := range []struct {
		key   string
		given *float64
		names float64
	}{{"getsPerSecond", given.GetsPerSecond, number["names"]}, {"listsPerSecond", given.ListsPerSecond, 1}} {
		where := s.Where(answersFile) + ": " + q.key
		if q.given == nil {
			return notAnswered(where), nil
		}
		pairs := number["users"] * q.names
		want := number["rate"] / (1 + number["rate"]*number["ttl"]/pairs)
		if math.Abs(*q.given-want) > tolerance*want {
			return &lab.Finding{ID: "formula", Where: where, Found: fmt.Sprintf("%g", *q.given),
				Expected: fmt.Sprintf("what R / (1 + R t / (U N)) comes to with R = %g, t = %g, U = %g and N = %g", number["rate"], number["ttl"], number["users"], q.names)}, nil
		}
	}
	s.Verified("what the formula says of a load that goes on")
	return nil, nil
}

func notAnswered(where string) *lab.Finding {
	return &lab.Finding{ID: "not-answered", Where: where, Found: "nothing", Expected: "a number"}
}

// count sends the requests of a question as a user of whom the server has never heard, and
// returns how many reviews it has sent meanwhile.
func (c *counter) count(ctx context.Context, q question, requests int) (int, error) {
	config := rest.CopyConfig(c.cluster)
	config.Impersonate = rest.ImpersonationConfig{UserName: lab.Scratch(), Groups: []string{harness.Readers}}
	before, err := harness.Reviews(ctx, c.server)
	if err != nil {
		return 0, err
	}
	for i := range requests {
		reply, err := lab.Send(ctx, config, http.MethodGet, rulesPath(q.group)+q.path(i), "", "")
		if err != nil {
			return 0, err
		}
		if reply.Status != http.StatusOK {
			return 0, fmt.Errorf("ask the server of the lab: status %d: %s", reply.Status, reply.Message())
		}
	}
	after, err := harness.Reviews(ctx, c.server)
	return after - before, err
}
