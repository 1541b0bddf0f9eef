// Package rulesingo checks lab 10: the strategy and the admission plugin that the learner
// has written, and what the learner has predicted of races.
//
// The check builds the learner's server, runs it under a group of its own behind the real
// aggregator, and writes rules through the kube-apiserver: valid ones, wrong ones, changes,
// duplicates. Then it races, for the learner's server and for the two that serve.go has
// started, and compares what comes of it with the answers.
package rulesingo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/10-rules-in-go/race"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 10.
var Exercise = lab.Exercise{Check: check, Serve: serve}

// answerTimeout bounds the wait for the learner's code.
const answerTimeout = 10 * time.Second

const mainFile, answersFile = "main.go", "answers.yaml"

const jsonType, mergePatchType = "application/json", "application/merge-patch+json"

// How often a race is run. Where duplicates come they come at once, so that many attempts
// cost nothing; where none come it takes all of them.
const (
	clients             = 8
	attempts            = 100
	attemptsOfReserving = 20
)

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	var given answers
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	files, finding := goFiles(s)
	if finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	if err := served(ctx, s, admin); err != nil {
		return nil, err
	}
	// the compiler and they do not keep each other waiting
	ctx, cancel := context.WithCancel(ctx)
	races := startRaces(ctx, s, admin)
	defer races.over.Wait()
	defer cancel()

	program, finding, err := s.Build(ctx, files...)
	if finding != nil || err != nil {
		return finding, err
	}
	s.Verified("%s compiles", mainFile)
	t := &trial{Session: s, admin: admin, name: lab.Scratch()}
	t.group = t.name + "." + s.Constant("pluginGroup")
	for _, ask := range []func(context.Context) (*lab.Finding, error){
		func(ctx context.Context) (*lab.Finding, error) { return t.serve(ctx, program) },
		t.creates, t.changes, t.duplicates, t.others,
	} {
		if finding, err := ask(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	plugin, finding, err := t.race(ctx)
	if finding != nil || err != nil {
		return finding, err
	}
	races.over.Wait()
	if err := races.explain(); err != nil {
		return nil, err
	}
	return compare(s, given, races.webhook, plugin, races.reserving), nil
}

// goFiles are the learner's: main.go, and what they may have added to it.
func goFiles(s *lab.Session) ([]string, *lab.Finding) {
	if _, finding := s.Read(mainFile); finding != nil {
		return nil, finding
	}
	// the pattern is well-formed
	paths, _ := filepath.Glob(s.Path("*.go"))
	names := []string{mainFile}
	for _, path := range paths {
		if name := filepath.Base(path); name != mainFile && !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	return names, nil
}

// served makes sure that what the learner's server is compared with runs.
func served(ctx context.Context, s *lab.Session, admin *rest.Config) error {
	for _, name := range []string{"webhookGroup", "reservingGroup"} {
		group := s.Constant(name)
		reply, err := lab.Send(ctx, admin, http.MethodGet, rulesPath(group, s.Lab.Namespace()), "", "")
		if err != nil {
			return err
		}
		if reply.Status != http.StatusOK {
			return fmt.Errorf("nobody serves %s any more (status %d: %s): run \"lab start %d\", your files stay as they are", group, reply.Status, reply.Message(), s.Lab.Number)
		}
	}
	return nil
}

// races are those for the implementations that are not the learner's.
type races struct {
	over               sync.WaitGroup
	webhook, reserving race.Result
	err, otherErr      error
}

func startRaces(ctx context.Context, s *lab.Session, admin *rest.Config) *races {
	r := &races{}
	start := func(group string, attempts int, result *race.Result, err *error) {
		race := race.Race{Config: admin, Group: group, Namespace: s.Lab.Namespace(), Clients: clients, Attempts: attempts}
		r.over.Go(func() { *result, *err = race.Run(ctx) })
	}
	start(s.Constant("webhookGroup"), attempts, &r.webhook, &r.err)
	start(s.Constant("reservingGroup"), attemptsOfReserving, &r.reserving, &r.otherErr)
	return r
}

// explain returns an error if the races have not shown what is known of both.
func (r *races) explain() error {
	if err := errors.Join(r.err, r.otherErr); err != nil {
		return err
	}
	if !r.webhook.Duplicates() {
		return fmt.Errorf("the webhook may let duplicates in, and this time did not (%s): check again", r.webhook)
	}
	if r.reserving.Duplicates() {
		return fmt.Errorf("the server that reserves has let duplicates in (%s): that is a fault of the project and not yours", r.reserving)
	}
	return nil
}

// answers are the learner's predictions.
type answers struct {
	Duplicates struct {
		Webhook   verdict `json:"webhook"`
		Plugin    verdict `json:"plugin"`
		Reserving verdict `json:"reserving"`
	} `json:"duplicates"`
}

// verdict is yes or no, empty if there is none.
type verdict string

const yes, no verdict = "yes", "no"

// UnmarshalJSON takes yes and no, which are booleans to YAML, with quotes and without.
func (v *verdict) UnmarshalJSON(data []byte) error {
	switch strings.ToLower(strings.Trim(string(data), `"`)) {
	case "true", "yes":
		*v = yes
	case "false", "no":
		*v = no
	case "null", "":
	default:
		return fmt.Errorf("%s is neither yes nor no", data)
	}
	return nil
}

// compare compares the answers with the races.
func compare(s *lab.Session, given answers, webhook, plugin, reserving race.Result) *lab.Finding {
	all := []struct {
		name, id string
		given    verdict
		race     race.Result
	}{
		{"webhook", "race-webhook", given.Duplicates.Webhook, webhook},
		{"plugin", "race-plugin", given.Duplicates.Plugin, plugin},
		{"reserving", "race-reserving", given.Duplicates.Reserving, reserving},
	}
	where := func(name string) string { return s.Where(answersFile) + ": duplicates." + name }
	for _, one := range all {
		if one.given == "" {
			return &lab.Finding{ID: "not-answered", Where: where(one.name), Found: "no answer", Expected: "yes or no"}
		}
	}
	for _, one := range all {
		right := no
		if one.race.Duplicates() {
			right = yes
		}
		if one.given != right {
			return &lab.Finding{ID: one.id, Where: where(one.name), Found: string(one.given), Expected: fmt.Sprintf("%s: %s", right, one.race)}
		}
		s.Verified("%s: %s, as predicted", one.name, one.race)
	}
	return nil
}

// rulesPath is that of the PortRules of a namespace.
func rulesPath(group, namespace string) string {
	return "/apis/" + group + "/" + v2.Version + "/namespaces/" + namespace + "/" + api.Resource
}

// ruleOf is a PortRule.
func ruleOf(group, name, spec string) string {
	return `{"apiVersion":"` + group + "/" + v2.Version + `","kind":"PortRule","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
}

// trial is the learner's server, under a group that nobody uses.
type trial struct {
	*lab.Session
	admin       *rest.Config
	name, group string
	server      *process.Process
}

// found is a finding about main.go, or about a line of it if the server has broken off
// there.
func (t *trial) found(id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: t.Where(mainFile) + ": " + where, Found: t.own(found), Expected: expected}
}

// own makes a text be about the learner's group.
func (t *trial) own(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), t.group, t.Constant("pluginGroup"))
}

// serve starts the server and waits until the aggregator hands requests on to it.
func (t *trial) serve(ctx context.Context, program string) (*lab.Finding, error) {
	where, err := t.Cluster()
	if err != nil {
		return nil, err
	}
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	// one whose current context is the administrator's, whatever the learner has made of
	// the other
	kubeconfig := group.Path("admin.kubeconfig")
	if err := where.WriteAdmin(kubeconfig); err != nil {
		return nil, err
	}
	// it is killed in the end, so that what it has registered is for the check to remove
	t.Cleanup(func() error {
		return t.Unregister(context.Background(), lab.Registration{Service: t.name, Group: t.group, Version: v2.Version})
	})
	if t.server, err = t.Start("server", program, "--group", t.group, "--service", t.name, "--host", t.Host(), "--kubeconfig", kubeconfig); err != nil {
		return nil, err
	}
	last := ""
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		if t.server.Ended() {
			return true, nil
		}
		reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/apis/"+t.group+"/"+v2.Version, "", "")
		if err != nil {
			return false, err
		}
		last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
		return reply.Status == http.StatusOK, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return t.found("server-ends", "the server", "it does not serve: "+last, "a server that the aggregator reaches"), nil
	}
	if err != nil || !t.server.Ended() {
		return nil, err
	}
	return t.ended(), nil
}

// ended is the finding of a server that has ended: what it said last, without the stack.
func (t *trial) ended() *lab.Finding {
	said := t.server.Err().Error()
	for line := range strings.Lines(t.log()) {
		for _, sign := range []string{"panic: ", "error: ", "fatal error: "} {
			if strings.HasPrefix(line, sign) {
				said = line
			}
		}
	}
	return t.found("server-ends", "the server", said, "a server that serves until it is stopped")
}

// race races for the learner's server.
func (t *trial) race(ctx context.Context) (race.Result, *lab.Finding, error) {
	result, err := race.Race{Config: t.admin, Group: t.group, Namespace: t.Lab.Namespace(), Clients: clients, Attempts: attempts}.Run(ctx)
	if err == nil {
		return result, nil, nil
	}
	const what = "create several rules at the same time"
	if t.server.Ended() {
		return result, t.ended(), nil
	}
	if text, where := t.panicked(); text != "" {
		return result, &lab.Finding{ID: "panics", Where: where + ": " + what, Found: text, Expected: "one that is let in, at least"}, nil
	}
	return result, nil, errors.New(t.own(err.Error()))
}

// log is what the server has printed.
func (t *trial) log() string {
	group, err := t.Group()
	if err != nil {
		return ""
	}
	data, err := os.ReadFile(group.LogPath("server"))
	if err != nil {
		return ""
	}
	return string(data)
}

// What the log says of a panic: the panic itself, and where in the learner's files.
var (
	panicLine  = regexp.MustCompile(`"Observed a panic" panic=(?:<\s+|")(.*)`)
	answerLine = regexp.MustCompile(`/answer/(\w+\.go):(\d+)`)
)

// panicked returns what the server has broken off with, and in which line of the
// learner's. Both are empty if it has not.
func (t *trial) panicked() (text, where string) {
	log := t.log()
	match := panicLine.FindStringSubmatchIndex(log)
	if match == nil {
		return "", ""
	}
	text, where = "a panic: "+strings.TrimSuffix(log[match[2]:match[3]], `"`), t.Where(mainFile)
	if line := answerLine.FindStringSubmatch(log[match[0]:]); line != nil {
		where = t.Where(line[1]) + ":" + line[2]
	}
	return text, where
}

// brokenOff is the finding of code that breaks off, nil if it does not.
func (t *trial) brokenOff(a *answer, what, expected string) *lab.Finding {
	if a.Status < http.StatusInternalServerError {
		return nil
	}
	text, where := t.panicked()
	if text == "" {
		return nil
	}
	return &lab.Finding{ID: "panics", Where: where + ": " + what, Found: text, Expected: expected}
}

// answer is what the server says to a write.
type answer struct {
	*lab.Reply
	causes []metav1.StatusCause
}

// String says it for a finding.
func (a *answer) String() string {
	if a.Status == 0 {
		return a.Message()
	}
	return fmt.Sprintf("status %d: %s", a.Status, a.Message())
}

// ok is whether the write was let through.
func (a *answer) ok() bool { return a.Status == http.StatusOK || a.Status == http.StatusCreated }

// fields are those that the answer finds fault with.
func (a *answer) fields() []string {
	var fields []string
	for _, cause := range a.causes {
		if !slices.Contains(fields, cause.Field) {
			fields = append(fields, cause.Field)
		}
	}
	return fields
}

// send sends a write, about rules of a namespace unless path says otherwise.
func (t *trial) send(ctx context.Context, method, path, contentType, body string) (*answer, error) {
	answered, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	reply, err := lab.Send(answered, t.admin, method, path, contentType, body)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &answer{Reply: &lab.Reply{Body: fmt.Appendf(nil, "no answer within %s", answerTimeout)}}, nil
	}
	if err != nil {
		return nil, err
	}
	a := &answer{Reply: reply}
	var status metav1.Status
	if !a.ok() && json.Unmarshal(reply.Body, &status) == nil && status.Details != nil {
		a.causes = status.Details.Causes
	}
	return a, nil
}

// dryRun makes a write one that changes nothing.
const dryRun = "?dryRun=All"

// create creates a rule in the lab's namespace. query is empty or dryRun.
func (t *trial) create(ctx context.Context, name, spec, query string) (*answer, error) {
	return t.send(ctx, http.MethodPost, rulesPath(t.group, t.Lab.Namespace())+query, jsonType, ruleOf(t.group, name, spec))
}

// write is one that is right, or about whose fields there should be errors.
type write struct {
	what   string
	spec   string
	fields []string
	// finding is what is wrong if it is let through, or if it is refused although it is
	// right.
	finding string
}

// right is the spec of a rule that is.
const right = `{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80}}`

const host, port, protocol, timeout = "spec.endpoint.host", "spec.endpoint.port", "spec.endpoint.protocol", "spec.timeoutSeconds"

// creation is a rule that is created, endpoint and further fields apart.
func creation(what, endpoint, more, finding string, fields ...string) write {
	return write{what, `{"service":"nginx","endpoint":` + endpoint + more + `}`, fields, finding}
}

// creations are what is tried first, in the order in which one would put it right.
var creations = []write{
	creation("a rule for port 80 of 10.0.0.3", `{"host":"10.0.0.3","port":80}`, ``, "valid-refused"),
	creation("a rule with a timeout", `{"host":"10.0.0.3","port":80}`, `,"timeoutSeconds":60`, "valid-refused"),
	creation("a rule that is permanent", `{"host":"10.0.0.3","port":80}`, `,"permanent":true`, "valid-refused"),
	creation("a rule with port: 70000", `{"host":"10.0.0.3","port":70000}`, ``, "not-refused", port),
	creation("a rule without a port", `{"host":"10.0.0.3"}`, ``, "not-refused", port),
	creation("a rule with port: -1", `{"host":"10.0.0.3","port":-1}`, ``, "not-refused", port),
	creation("a rule with protocol: icmp", `{"host":"10.0.0.3","port":80,"protocol":"icmp"}`, ``, "not-refused", protocol),
	creation("a rule without a host", `{"port":80}`, ``, "not-refused", host),
	creation("a rule with host: Web.example.com", `{"host":"Web.example.com","port":80}`, ``, "not-refused", host),
	creation("a rule with host: 10.0.0.300", `{"host":"10.0.0.300","port":80}`, ``, "host-spelling", host),
	creation("a rule with host: 010.0.0.3", `{"host":"010.0.0.3","port":80}`, ``, "host-spelling", host),
	creation("a rule with host: 2001:DB8::1", `{"host":"2001:DB8::1","port":80}`, ``, "host-spelling", host),
	creation("a rule with host: web.example.com", `{"host":"web.example.com","port":65535}`, ``, "valid-refused"),
	creation("a rule with host: 2001:db8::1", `{"host":"2001:db8::1","port":1,"protocol":"sctp"}`, ``, "valid-refused"),
	creation("a rule with permanent: true, timeoutSeconds: 60", `{"host":"10.0.0.3","port":80}`, `,"permanent":true,"timeoutSeconds":60`, "exclusive", timeout),
	creation("a rule with permanent: false, timeoutSeconds: 60", `{"host":"10.0.0.3","port":80}`, `,"permanent":false,"timeoutSeconds":60`, "valid-refused"),
	creation("a rule of which much is wrong", `{"host":"10.0.0.300","port":70000,"protocol":"icmp"}`, `,"permanent":true,"timeoutSeconds":60`, "first-only", host, port, protocol, timeout),
}

// updates are made of a rule that is right.
var updates = []write{
	{"service: apache, replicas: 2", `{"service":"apache","replicas":2}`, nil, "valid-refused"},
	{"permanent: true, timeoutSeconds: 60", `{"permanent":true,"timeoutSeconds":60}`, []string{timeout}, "update-not-validated"},
	{"replicas: 101", `{"replicas":101}`, []string{"spec.replicas"}, "update-not-validated"},
	{"port: 443", `{"endpoint":{"port":443}}`, []string{port}, "mutable"},
	{"host: 10.0.0.4", `{"endpoint":{"host":"10.0.0.4"}}`, []string{host}, "mutable"},
	{"protocol: udp", `{"endpoint":{"protocol":"udp"}}`, []string{protocol}, "mutable"},
}

// creates tries R1 and R2.
func (t *trial) creates(ctx context.Context) (*lab.Finding, error) {
	for _, w := range creations {
		a, err := t.create(ctx, "web", w.spec, dryRun)
		if err != nil {
			return nil, err
		}
		if finding := t.judge(w, a, "create "+w.what); finding != nil {
			return finding, nil
		}
	}
	t.Verified("R1 and R2: %d rules are let in or refused as they should, with the fields that are wrong", len(creations))
	return nil, nil
}

// changes tries R3, and R1 and R2 once more.
func (t *trial) changes(ctx context.Context) (*lab.Finding, error) {
	a, err := t.create(ctx, "web", right, "")
	if err != nil {
		return nil, err
	}
	if finding := t.judge(write{finding: "valid-refused"}, a, "create a rule for port 80 of 10.0.0.3"); finding != nil {
		return finding, nil
	}
	for _, w := range updates {
		a, err := t.send(ctx, http.MethodPatch, rulesPath(t.group, t.Lab.Namespace())+"/web"+dryRun, mergePatchType, `{"spec":`+w.spec+`}`)
		if err != nil {
			return nil, err
		}
		// the strategy refuses by 422, and knows no duplicates
		if len(w.fields) == 0 && !a.ok() && a.Status < http.StatusInternalServerError && (a.Status != http.StatusUnprocessableEntity || isDuplicate(a.causes)) {
			return t.found("own-endpoint", "change a rule: "+w.what, a.String(), "status 200: the endpoint is its own"), nil
		}
		if finding := t.judge(w, a, "change a rule: "+w.what); finding != nil {
			return finding, nil
		}
	}
	t.Verified("R3: the endpoint cannot be changed, the rest can, and a change is validated")
	return nil, nil
}

func isDuplicate(causes []metav1.StatusCause) bool {
	return slices.ContainsFunc(causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeFieldValueDuplicate })
}

// judge compares an answer with what a write should get.
func (t *trial) judge(w write, a *answer, what string) *lab.Finding {
	expected := "status 422, with an error about " + strings.Join(w.fields, ", ")
	if len(w.fields) == 0 {
		expected = "it is let in"
	}
	if finding := t.brokenOff(a, what, expected); finding != nil {
		return finding
	}
	if a.Status >= http.StatusInternalServerError {
		return t.found("refusal", what, a.String(), expected)
	}
	if len(w.fields) == 0 {
		if !a.ok() {
			return t.found(w.finding, what, a.String(), expected)
		}
		return nil
	}
	if a.ok() {
		return t.found(w.finding, what, "it is let in", expected)
	}
	if a.Status != http.StatusUnprocessableEntity {
		return t.found("refusal", what, a.String(), expected)
	}
	named := 0
	for _, field := range w.fields {
		if slices.Contains(a.fields(), field) {
			named++
		}
	}
	if named < len(w.fields) {
		id := "field-path"
		if named > 0 {
			id = w.finding // some are named, and rightly: the others are missing
		}
		return t.found(id, what, "status 422, with an error about "+strings.Join(a.fields(), ", "), expected)
	}
	for _, cause := range a.causes {
		if !says(cause) {
			return t.found("no-message", what, cause.Field+": "+cause.Message, "a message that says what would be right")
		}
	}
	return nil
}

// says is whether a cause says more than that a value is wrong. Its message is the kind
// of error, the value for some kinds, and what the author has written.
func says(cause metav1.StatusCause) bool {
	parts := 2
	switch cause.Type {
	case metav1.CauseTypeFieldValueInvalid, metav1.CauseTypeFieldValueNotSupported, metav1.CauseTypeFieldValueDuplicate:
		parts = 3
	}
	return len(strings.SplitN(cause.Message, ": ", parts)) == parts
}

// duplicates tries R4, one rule after the other. A rule for 10.0.0.3, port 80 is there.
func (t *trial) duplicates(ctx context.Context) (*lab.Finding, error) {
	const what = "create a second rule for port 80 of 10.0.0.3"
	const expected = "status 422, with a Duplicate value at spec.endpoint"
	for _, try := range []struct{ finding, what, spec, query string }{
		{"duplicate-admitted", what, right, ""},
		{"duplicate-admitted", what + ", protocol: tcp", `{"service":"apache","endpoint":{"host":"10.0.0.3","port":80,"protocol":"tcp"}}`, ""},
		{"dry-run", what + ", as a dry run", right, dryRun},
	} {
		a, err := t.create(ctx, "second", try.spec, try.query)
		if err != nil {
			return nil, err
		}
		if finding := t.brokenOff(a, try.what, expected); finding != nil {
			return finding, nil
		}
		switch {
		case a.ok():
			return t.found(try.finding, try.what, "it is let in", expected), nil
		case a.Status != http.StatusUnprocessableEntity:
			return t.found("duplicate-status", try.what, a.String(), expected), nil
		case !isDuplicate(a.causes) || !slices.Equal(a.fields(), []string{"spec.endpoint"}):
			return t.found("duplicate-field", try.what, a.String(), expected), nil
		}
	}
	t.Verified("R4: a second rule of one endpoint is refused, in a dry run too")
	return nil, nil
}

// others tries what the plugin should let through.
func (t *trial) others(ctx context.Context) (*lab.Finding, error) {
	for _, try := range []struct{ finding, what, namespace, spec string }{
		{"too-eager", "create a rule for another port of 10.0.0.3", t.Lab.Namespace(), `{"service":"nginx","endpoint":{"host":"10.0.0.3","port":443}}`},
		{"too-eager", "create a rule for another protocol, udp", t.Lab.Namespace(), `{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80,"protocol":"udp"}}`},
		{"other-namespace", "create a rule for the same endpoint in another namespace", metav1.NamespaceDefault, right},
	} {
		a, err := t.send(ctx, http.MethodPost, rulesPath(t.group, try.namespace)+dryRun, jsonType, ruleOf(t.group, "other", try.spec))
		if err != nil {
			return nil, err
		}
		if finding := t.brokenOff(a, try.what, "status 201"); finding != nil {
			return finding, nil
		}
		if !a.ok() {
			return t.found(try.finding, try.what, a.String(), "status 201"), nil
		}
	}
	a, err := t.send(ctx, http.MethodPost, "/apis/"+t.group+"/"+v2.Version+"/"+callerreview.Resource, jsonType,
		`{"apiVersion":"`+t.group+"/"+v2.Version+`","kind":"CallerReview"}`)
	if err != nil {
		return nil, err
	}
	if !a.ok() {
		const what, expected = "create a CallerReview, which the server knows too", "status 201"
		if finding := t.brokenOff(a, what, expected); finding != nil {
			finding.ID = "other-kind"
			return finding, nil
		}
		return t.found("other-kind", what, a.String(), expected), nil
	}
	// what has gone holds nothing
	path := rulesPath(t.group, t.Lab.Namespace())
	if a, err = t.send(ctx, http.MethodDelete, path+"/web", jsonType, ""); err != nil {
		return nil, err
	}
	if !a.ok() {
		return t.found("held", "delete a rule", a.String(), "status 200"), nil
	}
	if a, err = t.create(ctx, "web", right, ""); err != nil {
		return nil, err
	}
	if !a.ok() {
		return t.found("held", "delete a rule, and create it again", a.String(), "status 201"), nil
	}
	t.Verified("other endpoints, namespaces and kinds are let in, and those of rules that have gone")
	return nil, nil
}
