package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clientrest "k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// Rules lists PortRules.
type Rules interface {
	// List returns the rules of a namespace, of all namespaces if it is empty. It sends a
	// request, as every client of the API does: plugins are given clients, and no way around
	// them to what is stored.
	List(ctx context.Context, namespace string) ([]v2.PortRule, error)
}

// rules asks the kube-apiserver, which hands the request on to this server.
type rules struct {
	client *http.Client
	url    string
}

func newRules(config *clientrest.Config, group string) (*rules, error) {
	client, err := clientrest.HTTPClientFor(config)
	return &rules{client, strings.TrimSuffix(config.Host, "/") + "/apis/" + group + "/" + v2.Version}, err
}

func (r *rules) List(ctx context.Context, namespace string) ([]v2.PortRule, error) {
	url := r.url + "/" + api.Resource
	if namespace != "" {
		url = r.url + "/namespaces/" + namespace + "/" + api.Resource
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("list the rules: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, apierrors.NewInternalError(fmt.Errorf("list the rules: the kube-apiserver says %s", response.Status))
	}
	var list v2.PortRuleList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("list the rules: %w", err)
	}
	return list.Items, nil
}
