package testbed

import (
	"bytes"
	"context"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// Calls are how many calls of webhooks the kube-apiserver has counted.
type Calls struct {
	// Admission are those of admission webhooks, Conversion those of conversion webhooks: a
	// call may be about many objects.
	Admission, Conversion float64
}

// Called returns the calls of webhooks that the kube-apiserver has made.
func (t *Testbed) Called(ctx context.Context) (Calls, error) {
	families, err := metrics(ctx, t.Admin)
	if err != nil {
		return Calls{}, fmt.Errorf("read the metrics of the kube-apiserver: %w", err)
	}
	all := func(string, string) bool { return true }
	return Calls{
		Admission: sum(families["apiserver_admission_webhook_request_total"], all),
		// apiserver_conversion_webhook_request_total counts those too that convert nothing
		Conversion: sum(families["apiserver_crd_conversion_webhook_duration_seconds"], all),
	}, nil
}

// Touch changes the schema of a CRD of the testbed by a word, so that the kube-apiserver
// begins to serve it anew, with watch caches that know of no time before.
func (t *Testbed) Touch(ctx context.Context, group string) error {
	patch := []byte(`[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "touched ` + utilrand.String(8) + `"}]`)
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: api.Resource + "." + group}}
	if err := t.client.Patch(ctx, crd, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return fmt.Errorf("change the schema of CustomResourceDefinition %s: %w", crd.Name, err)
	}
	return nil
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

// sum adds the counters of a family, or of a histogram's samples, all of whose labels are
// wanted.
func sum(family *dto.MetricFamily, want func(label, value string) bool) float64 {
	total := 0.0
	for _, metric := range family.GetMetric() {
		wanted := true
		for _, label := range metric.GetLabel() {
			wanted = wanted && want(label.GetName(), label.GetValue())
		}
		if wanted {
			total += metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return total
}
