// Package race finds out whether an API lets duplicates in: several clients create
// PortRules of one endpoint at the same time, again and again, until two of them are
// admitted.
//
// That it happens is seen once and for all. That it does not is not: a race that shows no
// duplicate says how often it was tried, and no more. How often it happens is a figure of
// the benchmark, see package compare/contract.
package race

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// Race says who races.
type Race struct {
	// Config is the configuration of the clients, which share its connection.
	Config *rest.Config
	// Group is the API that they race for, in a namespace.
	Group, Namespace string
	// Clients create one rule each, at the same time, at most Attempts times.
	Clients, Attempts int
}

// Result is how a race has ended.
type Result struct {
	Group string
	// Clients created a rule each, in each of so many attempts.
	Clients, Attempts int
	// Endpoint is that of the last attempt, and Admitted are the rules of it that were
	// admitted, by name.
	Endpoint string
	Admitted []string
}

// Duplicates is whether more than one rule was admitted.
func (r Result) Duplicates() bool { return len(r.Admitted) > 1 }

// String says it in a line.
func (r Result) String() string {
	if r.Duplicates() {
		return fmt.Sprintf("%d of %d rules of one endpoint admitted in attempt %d", len(r.Admitted), r.Clients, r.Attempts)
	}
	return fmt.Sprintf("no duplicates in %d attempts of %d creates each", r.Attempts, r.Clients)
}

// Run races until there are duplicates, or for as many attempts as there may be, and
// removes all rules that it makes.
func (r Race) Run(ctx context.Context) (Result, error) {
	result := Result{Group: r.Group, Clients: r.Clients}
	client, err := rest.HTTPClientFor(r.Config)
	if err != nil {
		return result, err
	}
	path := "/apis/" + r.Group + "/" + v2.Version + "/namespaces/" + r.Namespace + "/" + api.Resource
	c := &clients{http: client, url: strings.TrimSuffix(r.Config.Host, "/") + path, apiVersion: r.Group + "/" + v2.Version}
	for result.Attempts < r.Attempts && !result.Duplicates() {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		name := "race-" + rand.String(8)
		result.Attempts++
		result.Endpoint = name + ".example.com:80"
		if result.Admitted, err = c.attempt(ctx, name, r.Clients); err != nil {
			return result, fmt.Errorf("race for %s: %w", r.Group, err)
		}
	}
	return result, nil
}

// clients send requests to one API.
type clients struct {
	http            *http.Client
	url, apiVersion string
}

// attempt lets n clients create rules of one endpoint, and removes them. It returns the
// names of those that were admitted.
func (c *clients) attempt(ctx context.Context, name string, n int) (admitted []string, err error) {
	type outcome struct {
		status  int
		message string
		err     error
	}
	outcomes := make([]outcome, n)
	ruleName := func(i int) string { return fmt.Sprintf("%s-%d", name, i+1) }
	start := make(chan struct{})
	var ready, over sync.WaitGroup
	for i := range n {
		body := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q},"spec":{"service":"race","endpoint":{"host":%q,"port":80}}}`,
			c.apiVersion, api.Kind, ruleName(i), name+".example.com")
		ready.Add(1)
		over.Go(func() {
			ready.Done()
			<-start
			o := &outcomes[i]
			o.status, o.message, o.err = c.send(ctx, http.MethodPost, "", body)
		})
	}
	ready.Wait()
	close(start)
	over.Wait()

	// whatever has happened, no rule is left
	clean := context.WithoutCancel(ctx)
	errs := make([]error, n)
	for i := range n {
		over.Go(func() {
			if outcomes[i].err == nil && outcomes[i].status != http.StatusCreated {
				return
			}
			status, message, err := c.send(clean, http.MethodDelete, "/"+ruleName(i), "")
			if err == nil && status != http.StatusOK && status != http.StatusNotFound {
				err = fmt.Errorf("remove %s: %s", ruleName(i), message)
			}
			errs[i] = err
		})
	}
	over.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, o := range outcomes {
		switch {
		case o.err != nil:
			return nil, o.err
		case o.status == http.StatusCreated:
			admitted = append(admitted, ruleName(i))
		case o.status == http.StatusNotFound:
			return nil, fmt.Errorf("nobody serves it: %s", o.message)
		case o.status >= http.StatusInternalServerError:
			return nil, fmt.Errorf("a create is answered by %d: %s", o.status, o.message)
		}
	}
	if len(admitted) == 0 {
		return nil, fmt.Errorf("none of %d creates is admitted: %s", n, outcomes[0].message)
	}
	return admitted, nil
}

// send sends a request and returns the status of the answer, and its message.
func (c *clients) send(ctx context.Context, method, rest, body string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+rest, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	var status metav1.Status
	if json.Unmarshal(data, &status) != nil || status.Message == "" {
		status.Message = strings.TrimSpace(string(data))
	}
	return response.StatusCode, status.Message, err
}
