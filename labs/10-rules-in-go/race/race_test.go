package race

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	v2 "portrule.example/lab/api/v2"
)

// fake is an API that admits the first n rules of an endpoint, and answers the others
// with a status.
type fake struct {
	n, status int

	mu    sync.Mutex
	rules map[string]v2.Endpoint
}

func (f *fake) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if req.Method == http.MethodDelete {
		delete(f.rules, req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:])
		return
	}
	var rule v2.PortRule
	if err := json.NewDecoder(req.Body).Decode(&rule); err != nil || req.URL.Path != "/apis/a.example.com/v2/namespaces/b/portrules" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	same := 0
	for _, endpoint := range f.rules {
		if endpoint == rule.Spec.Endpoint {
			same++
		}
	}
	if same >= f.n {
		w.WriteHeader(f.status)
		return
	}
	f.rules[rule.Name] = rule.Spec.Endpoint
	w.WriteHeader(http.StatusCreated)
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name     string
		api      *fake
		admitted int
		want     string
		wantErr  string
	}{
		{"unique", &fake{n: 1, status: 422}, 1, "no duplicates in 3 attempts of 4 creates each", ""},
		{"two", &fake{n: 2, status: 409}, 2, "2 of 4 rules of one endpoint admitted in attempt 1", ""},
		{"all", &fake{n: 4}, 4, "4 of 4 rules of one endpoint admitted in attempt 1", ""},
		{"none", &fake{status: 422}, 0, "", "none of 4 creates is admitted"},
		{"not served", &fake{status: 404}, 0, "", "nobody serves it"},
		{"broken", &fake{n: 1, status: 500}, 0, "", "answered by 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.api.rules = map[string]v2.Endpoint{}
			server := httptest.NewServer(tt.api)
			defer server.Close()
			got, err := Race{Config: &rest.Config{Host: server.URL}, Group: "a.example.com", Namespace: "b", Clients: 4, Attempts: 3}.Run(t.Context())
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v, want an error about %q", err, tt.wantErr)
				}
			} else if err != nil || got.String() != tt.want || len(got.Admitted) != tt.admitted {
				t.Fatalf("got %s with %v (%v), want %s", got, got.Admitted, err, tt.want)
			}
			if len(tt.api.rules) != 0 {
				t.Errorf("it leaves %v", tt.api.rules)
			}
		})
	}
}
