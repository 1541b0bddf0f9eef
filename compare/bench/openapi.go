package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// OpenAPI measures how long it takes until users are told of a new, changed or deleted API,
// what that costs, and what they are told.
var OpenAPI = Suite{
	Name:  "openapi",
	About: "how long until discovery, OpenAPI and kubectl explain show a new, changed or deleted API, and what they say of each",
	Impls: []string{CRD, Aggregated},
	Pairs: [][2]string{{Aggregated, CRD}},
	Others: func() []Case {
		var cases []Case
		for _, change := range changes {
			for _, place := range places {
				cases = append(cases, Case{Name: change.name + "-" + place.name, About: "from sending the request that " + change.about + " until " + place.about})
			}
		}
		return append(cases,
			Case{Name: "create-cost", About: "the CPU time that the kube-apiserver takes for a new API in the 2 s after it was made known, and for one reading of all documents"},
			Case{Name: "document-openapi-v3", About: "the size of the OpenAPI v3 document of the group's version, as JSON"},
			Case{Name: "document-openapi-v2", About: "by how much the group makes the one OpenAPI v2 document larger, as JSON"},
			Case{Name: "document-discovery", About: "by how much the group makes the aggregated discovery document larger"},
			Case{Name: "schema", About: "where the two OpenAPI v3 schemas of one Go type differ"},
			Case{Name: "outage", About: "what users are told while the server is down"},
		)
	}(),
}

// changes are what is done to an API, with the CRD or the APIServices alone: the server of
// the aggregated API runs all the time.
var changes = []struct{ name, about string }{
	{"create", "makes the CRD or the APIServices"},
	{"change", "changes the CRD's schema and categories, or the preferred version by the APIServices"},
	{"delete", "deletes them"},
}

// place is somewhere that tells users of an API.
type place struct {
	name, about string
	// shows is whether the place shows what is wanted.
	shows func(d *Documents, ctx context.Context, want Sight) (bool, error)
}

var places = []place{
	{"discovery", "the aggregated discovery document shows it", (*Documents).discoveryShows},
	{"openapi-v3", "the OpenAPI v3 document of the group shows it", (*Documents).openAPIV3Shows},
	{"openapi-v2", "the OpenAPI v2 document shows it", (*Documents).openAPIV2Shows},
	{"explain", "kubectl explain, started anew and without a cache, shows it", (*Documents).explainShows},
}

// Sight is what is to be seen of a group. All but the group may be empty.
type Sight struct {
	Group string
	// Gone is whether nothing is to be seen any more.
	Gone bool
	// Marker is a text that a change has brought.
	Marker string
	// Preferred is the version that discovery is to name first.
	Preferred string
}

// Documents reads what a cluster tells of its APIs, as clients do that keep what they have
// read until its ETag changes. It must not be used by two at once.
type Documents struct {
	client *http.Client
	host   string
	// explain runs kubectl explain with the given arguments and no cache, and returns what it
	// prints.
	explain func(ctx context.Context, args ...string) (string, error)
	read    map[string]document
}

// document is one that was read, and its ETag.
type document struct {
	etag string
	body []byte
}

// NewDocuments reads as a user who may read everything.
func NewDocuments(config *rest.Config, explain func(ctx context.Context, args ...string) (string, error)) (*Documents, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &Documents{client: client, host: strings.TrimSuffix(config.Host, "/"), explain: explain, read: map[string]document{}}, nil
}

const discoveryType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// get returns a document and the code of the answer: nil, but no error, if there is none, or
// none now.
func (d *Documents) get(ctx context.Context, path, accept string) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.host+path, nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", accept)
	before, again := d.read[path]
	if again {
		request.Header.Set("If-None-Match", before.etag)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("read %s: %w", path, err)
	case again && response.StatusCode == http.StatusNotModified:
		return before.body, http.StatusOK, nil
	case response.StatusCode != http.StatusOK:
		return nil, response.StatusCode, nil
	}
	if etag := response.Header.Get("ETag"); etag != "" {
		d.read[path] = document{etag, body}
	}
	return body, response.StatusCode, nil
}

// must is get of a document that is always there.
func (d *Documents) must(ctx context.Context, path, accept string) ([]byte, error) {
	body, code, err := d.get(ctx, path, accept)
	if err == nil && body == nil {
		err = fmt.Errorf("GET %s is answered by %d", path, code)
	}
	return body, err
}

// discovered returns what the aggregated discovery document says of a group, nil if it says
// nothing.
func (d *Documents) discovered(ctx context.Context, group string) (*apidiscoveryv2.APIGroupDiscovery, error) {
	body, err := d.must(ctx, "/apis", discoveryType)
	if err != nil {
		return nil, err
	}
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read the discovery document: %w", err)
	}
	at := slices.IndexFunc(list.Items, func(item apidiscoveryv2.APIGroupDiscovery) bool { return item.Name == group })
	if at < 0 {
		return nil, nil
	}
	return &list.Items[at], nil
}

func (d *Documents) discoveryShows(ctx context.Context, want Sight) (bool, error) {
	group, err := d.discovered(ctx, want.Group)
	switch {
	case err != nil:
		return false, err
	case group == nil || want.Gone:
		return group == nil && want.Gone, nil
	case want.Preferred != "" && group.Versions[0].Version != want.Preferred:
		return false, nil
	}
	for _, version := range group.Versions {
		for _, resource := range version.Resources {
			if resource.Resource == api.Resource && (want.Marker == "" || slices.Contains(resource.Categories, want.Marker)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// openAPIV3 returns the document of a group's preferred version, nil if there is none.
func (d *Documents) openAPIV3(ctx context.Context, group string) ([]byte, error) {
	body, err := d.must(ctx, "/openapi/v3", "application/json")
	if err != nil {
		return nil, err
	}
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, fmt.Errorf("read the index of OpenAPI v3: %w", err)
	}
	where, ok := index.Paths["apis/"+group+"/"+v2.Version]
	if !ok {
		return nil, nil
	}
	body, _, err = d.get(ctx, where.ServerRelativeURL, "application/json") // it may have gone since
	return body, err
}

func (d *Documents) openAPIV3Shows(ctx context.Context, want Sight) (bool, error) {
	document, err := d.openAPIV3(ctx, want.Group)
	if err != nil || want.Gone {
		return document == nil, err
	}
	return document != nil && bytes.Contains(document, []byte(want.Marker)), nil
}

func (d *Documents) openAPIV2Shows(ctx context.Context, want Sight) (bool, error) {
	document, err := d.must(ctx, "/openapi/v2", "application/json")
	if err != nil {
		return false, err
	}
	there := bytes.Contains(document, []byte(`"/apis/`+want.Group+`/`+v2.Version+`/`))
	if want.Gone {
		return !there, nil
	}
	return there && bytes.Contains(document, []byte(want.Marker)), nil
}

func (d *Documents) explainShows(ctx context.Context, want Sight) (bool, error) {
	text, err := d.explain(ctx, api.Resource+".spec", "--api-version="+want.Group+"/"+v2.Version)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if want.Gone {
		return err != nil, nil
	}
	return err == nil && strings.Contains(text, "endpoint") && strings.Contains(text, want.Marker), nil
}

// How often a place is looked at, and for how long.
const (
	lookInterval = 20 * time.Millisecond
	lookTimeout  = 2 * time.Minute
)

// Watch makes a change, and returns how long it took until each place showed what is wanted,
// by the names of the places, from before the change was asked for. kubectl is started once
// the OpenAPI v3 document, which it reads, shows it, so that it does not take the processors
// from the others.
func Watch(ctx context.Context, documents func() (*Documents, error), want Sight, change func(context.Context) error) (map[string]time.Duration, error) {
	taken := make([]time.Duration, len(places))
	v3 := make(chan struct{})
	begin := time.Now()
	work, workCtx := errgroup.WithContext(ctx)
	for i, place := range places {
		if want.Preferred != "" && place.name != "discovery" {
			continue // nobody else says which version is preferred
		}
		d, err := documents()
		if err != nil {
			return nil, err
		}
		work.Go(func() error {
			if place.name == "explain" {
				select {
				case <-v3:
				case <-workCtx.Done():
					return workCtx.Err()
				}
			}
			for {
				shown, err := place.shows(d, workCtx, want)
				taken[i] = time.Since(begin)
				switch {
				case err != nil:
					return fmt.Errorf("%s: %w", place.name, err)
				case shown:
					if place.name == "openapi-v3" {
						close(v3)
					}
					return nil
				case taken[i] > lookTimeout:
					return fmt.Errorf("%s does not show the change after %s", place.name, lookTimeout)
				}
				if !sleepUntil(workCtx, time.Now().Add(lookInterval)) {
					return workCtx.Err()
				}
			}
		})
	}
	err := errors.Join(change(ctx), work.Wait())
	all := map[string]time.Duration{}
	for i, place := range places {
		if taken[i] > 0 {
			all[place.name] = taken[i]
		}
	}
	return all, err
}

// Sizes are those of the documents in bytes, by the names of the cases: of the one about the
// group, and of those about all groups.
func (d *Documents) Sizes(ctx context.Context, group string) (map[string]float64, error) {
	sizes := map[string]float64{}
	v3, err := d.openAPIV3(ctx, group)
	if err != nil {
		return nil, err
	}
	v2, err := d.must(ctx, "/openapi/v2", "application/json")
	if err != nil {
		return nil, err
	}
	discovery, err := d.must(ctx, "/apis", discoveryType)
	sizes["document-openapi-v3"], sizes["document-openapi-v2"], sizes["document-discovery"] = float64(len(v3)), float64(len(v2)), float64(len(discovery))
	return sizes, err
}

// Few is the measurement of a few values: if they are too few for an interval, Low and High
// are the least and the greatest.
func Few(suite, name, impl, metric, unit string, values []float64) Measurement {
	m, ok := measurement(suite, name, metric, unit, impl, values)
	if !ok {
		m.Median, m.Low, m.High = median(values), slices.Min(values), slices.Max(values)
	}
	return m
}

// Outage says what users are told of a group at the moment: when is the row of the table.
func (d *Documents) Outage(ctx context.Context, group, impl, when string) ([]Observation, error) {
	var all []Observation
	add := func(what, seen string) {
		all = append(all, Observation{Suite: OpenAPI.Name, Case: "outage", What: when + ": " + what, Impl: impl, Seen: seen})
	}
	found, err := d.discovered(ctx, group)
	if err != nil {
		return nil, err
	}
	seen := "the group is not there"
	if found != nil {
		seen = ""
		for _, version := range found.Versions {
			seen += fmt.Sprintf("%s: %d resources, %s; ", version.Version, len(version.Resources), version.Freshness)
		}
		seen = strings.TrimSuffix(seen, "; ")
	}
	add("aggregated discovery", seen)
	_, code, err := d.get(ctx, "/apis/"+group+"/"+v2.Version, "application/json")
	if err != nil {
		return nil, err
	}
	add("discovery of the version", fmt.Sprintf("%d %s", code, http.StatusText(code)))
	for _, place := range places {
		if place.name == "discovery" {
			continue
		}
		shown, err := place.shows(d, ctx, Sight{Group: group})
		if err != nil {
			return nil, err
		}
		add(place.name, map[bool]string{true: "shows it", false: "does not show it"}[shown])
	}
	return all, nil
}
