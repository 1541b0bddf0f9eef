package testbed

import (
	"bytes"
	"context"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
)

// Reviews are how many TokenReviews and SubjectAccessReviews somebody has counted.
type Reviews struct{ Tokens, Access float64 }

// Sent returns the reviews that an aggregated server has sent, as it has counted them.
func (t *Testbed) Sent(ctx context.Context, server *Server) (Reviews, error) {
	families, err := metrics(ctx, server.Config(t.Admin))
	if err != nil {
		return Reviews{}, fmt.Errorf("read the metrics of %s: %w", server.name, err)
	}
	all := func(string, string) bool { return true }
	return Reviews{
		Tokens: sum(families["apiserver_delegated_authn_request_total"], all),
		Access: sum(families["apiserver_delegated_authz_request_total"], all),
	}, nil
}

// Answered returns the reviews that the kube-apiserver has answered, as it has counted them.
func (t *Testbed) Answered(ctx context.Context) (Reviews, error) {
	families, err := metrics(ctx, t.Admin)
	if err != nil {
		return Reviews{}, fmt.Errorf("read the metrics of the kube-apiserver: %w", err)
	}
	of := func(resource string) float64 {
		return sum(families["apiserver_request_total"], func(label, value string) bool {
			return (label != "resource" || value == resource) && (label != "verb" || value == "POST")
		})
	}
	return Reviews{Tokens: of("tokenreviews"), Access: of("subjectaccessreviews")}, nil
}

// Served returns the number of requests that an aggregated server has answered about its
// own group, as it has counted them.
func (t *Testbed) Served(ctx context.Context, server *Server) (float64, error) {
	families, err := metrics(ctx, server.Config(t.Admin))
	if err != nil {
		return 0, fmt.Errorf("read the metrics of %s: %w", server.name, err)
	}
	return sum(families["apiserver_request_total"], func(label, value string) bool {
		return label != "resource" || value == api.Resource
	}), nil
}

func metrics(ctx context.Context, config *rest.Config) (map[string]*dto.MetricFamily, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	body, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(body))
}

// sum adds the counters of a family, all of whose labels are wanted.
func sum(family *dto.MetricFamily, want func(label, value string) bool) float64 {
	total := 0.0
	for _, metric := range family.GetMetric() {
		wanted := true
		for _, label := range metric.GetLabel() {
			wanted = wanted && want(label.GetName(), label.GetValue())
		}
		if wanted {
			total += metric.GetCounter().GetValue()
		}
	}
	return total
}
