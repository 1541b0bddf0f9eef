package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"

	v2 "portrule.example/lab/api/v2"
)

// work does rounds until ctx ends. In each the rule that is kept gets its next number and is
// read, another rule comes and goes, and all are listed.
func (l *Load) work(ctx context.Context, id int) {
	kept := l.kept[id]
	counter := int32(1)
	for n := 0; ctx.Err() == nil; n++ {
		var rule v2.PortRule
		next := fmt.Sprintf(`{"spec":{"timeoutSeconds":%d}}`, counter+1)
		if l.ask(ctx, "patch a rule", l.send(http.MethodPatch, types.MergePatchType, next, kept), http.StatusOK, &rule) {
			counter++
			l.wrote(rule.Name, rule.ResourceVersion)
			l.expect("patch a rule", &rule, counter)
		}
		if l.ask(ctx, "get a rule", l.rules(http.MethodGet, kept), http.StatusOK, &rule) {
			l.expect("get a rule", &rule, counter)
		}
		status := fmt.Sprintf(`{"status":{"replicas":%d}}`, n%2)
		if l.ask(ctx, "patch a status", l.send(http.MethodPatch, types.MergePatchType, status, kept, "status"), http.StatusOK, &rule) {
			l.wrote(rule.Name, rule.ResourceVersion)
			l.expect("patch a status", &rule, counter)
		}
		guest := fmt.Sprintf("%s-%d", kept, n)
		created := l.ask(ctx, "create a rule", l.send(http.MethodPost, "application/json", l.rule(guest)), http.StatusCreated, &rule)
		if created {
			l.wrote(rule.Name, rule.ResourceVersion)
		}
		var list v2.PortRuleList
		if l.ask(ctx, "list the rules", l.rules(http.MethodGet).Param("labelSelector", Label+"="+l.run), http.StatusOK, &list) {
			l.listed(&list, kept, counter, guest, created)
		}
		if created && l.ask(ctx, "delete a rule", l.rules(http.MethodDelete, guest), http.StatusOK, nil) {
			l.mu.Lock()
			l.written = append(l.written, change{name: guest, deleted: true})
			l.mu.Unlock()
		}
	}
}

// look asks for a subresource that the server has and a CRD cannot have, and so notices who
// answers.
func (l *Load) look(ctx context.Context) {
	for ctx.Err() == nil {
		code, err := l.code(ctx, l.rules(http.MethodGet, l.kept[0], "nftables"), nil)
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.requests++
		house := House{At: l.since(), Server: code == http.StatusOK}
		known := code == http.StatusOK || code == http.StatusNotFound
		moved := known && (len(l.houses) == 0 || l.houses[len(l.houses)-1].Server != house.Server)
		if moved {
			l.houses = append(l.houses, house)
		}
		l.mu.Unlock()
		switch {
		case moved:
			l.say(house.String())
		case !known:
			l.fail("get a subresource", code, fmt.Sprint(err))
		}
		l.rest(ctx, 0)
	}
}

// expect makes sure that an answer is not older than what was written before. The generation
// moves with the counter, whoever writes.
func (l *Load) expect(what string, rule *v2.PortRule, counter int32) {
	if got := *rule.Spec.TimeoutSeconds; got != counter || rule.Generation != int64(counter) {
		l.fail(what, http.StatusOK, fmt.Sprintf("%s has number %d and generation %d, not %d", rule.Name, got, rule.Generation, counter))
	}
}

// listed makes sure that a list has what was written before.
func (l *Load) listed(list *v2.PortRuleList, kept string, counter int32, guest string, created bool) {
	found := map[string]*v2.PortRule{}
	for i := range list.Items {
		found[list.Items[i].Name] = &list.Items[i]
	}
	if rule := found[kept]; rule != nil {
		l.expect("list the rules", rule, counter)
	} else {
		l.fail("list the rules", http.StatusOK, kept+" is missing")
	}
	if created && found[guest] == nil {
		l.fail("list the rules", http.StatusOK, guest+" is missing")
	}
}

// wrote notes a write that was answered.
func (l *Load) wrote(name, resourceVersion string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = append(l.written, change{name: name, version: resourceVersion})
}

// send is a request with a body: text, or an object as JSON.
func (l *Load) send(verb string, contentType types.PatchType, body any, under ...string) *rest.Request {
	data, ok := body.(string)
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			panic(err) // it is one of our own
		}
		data = string(encoded)
	}
	return l.rules(verb, under...).SetHeader("Content-Type", string(contentType)).Body([]byte(data))
}

// ask sends a request of a client, which should be answered with a code, and waits until it
// is time for the next.
func (l *Load) ask(ctx context.Context, what string, request *rest.Request, want int, into any) bool {
	if ctx.Err() != nil {
		return false
	}
	begin := time.Now()
	// a request that is under way when the clients end is waited for
	code, err := l.code(context.WithoutCancel(ctx), request, into)
	took := time.Since(begin)
	l.mu.Lock()
	l.requests++
	if took > l.slowest {
		l.slowest, l.slow = took, what
	}
	l.mu.Unlock()
	if code != want {
		l.fail(what, code, fmt.Sprint(err))
	}
	l.rest(ctx, took)
	return code == want
}

// rest waits for what is left of the pace.
func (l *Load) rest(ctx context.Context, took time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(l.Pace - took):
	}
}

// code sends a request and decodes the answer if it is a success. The error says what the
// server says.
func (l *Load) code(ctx context.Context, request *rest.Request, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var code int
	answer := request.Do(ctx).StatusCode(&code)
	data, err := answer.Raw()
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil && answer.Error() != nil {
		err = answer.Error() // it has read the Status
	}
	return code, err
}

// do sends a request that must succeed.
func (l *Load) do(ctx context.Context, request *rest.Request, into any) error {
	code, err := l.code(ctx, request, into)
	if err == nil && (code < 200 || code > 299) {
		err = errors.New(http.StatusText(code))
	}
	return err
}

// newer is whether a resourceVersion is newer than another: they are numbers, the same ones
// for all who write to one etcd.
func newer(a, b string) bool {
	if b == "" {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
