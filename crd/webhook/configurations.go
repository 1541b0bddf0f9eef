package webhook

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// When the webhooks are called, in CEL. What they would let through unseen costs no
// round trip: a controller that edits its finalizer does not wait for them. The
// API server has checked the schema before it calls a validating webhook, so there
// is a spec.
var (
	created = "oldObject == null"

	specChanges = "object.spec != oldObject.spec"

	requestedByChanges = fmt.Sprintf("object.metadata.?annotations[?%[1]q] != oldObject.metadata.?annotations[?%[1]q]",
		api.RequestedBy)
)

// How long the API server waits for a webhook, in seconds, before the write fails.
const (
	// asksTimeout leaves a webhook that asks the API server in turn the time that it
	// may take under load. It is the API server's own default.
	asksTimeout = 10
	// computesTimeout is for one that only computes.
	computesTimeout = 5
)

// ValidatingWebhookConfiguration is the configuration of the webhooks that check
// and reserve, or nil if options ask for neither. The client says where the server
// is; the path of each handler is added to its service's or URL's.
func ValidatingWebhookConfiguration(client admissionregistrationv1.WebhookClientConfig, options Options) *admissionregistrationv1.ValidatingWebhookConfiguration {
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: configurationName(options)},
	}
	if options.Validating {
		condition := admissionregistrationv1.MatchCondition{Name: "spec-changes", Expression: created + " || " + specChanges}
		if options.Mutating {
			condition.Name = "spec-or-requested-by-changes"
			condition.Expression += " || " + requestedByChanges
		}
		configuration.Webhooks = append(configuration.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name:                    webhookName("validate", options),
			ClientConfig:            admissionClient(client, PathValidate),
			Rules:                   rules(options, admissionregistrationv1.Create, admissionregistrationv1.Update),
			MatchConditions:         []admissionregistrationv1.MatchCondition{condition},
			MatchPolicy:             new(admissionregistrationv1.Equivalent),          // a v1 request is converted to v2 and checked too
			FailurePolicy:           new(admissionregistrationv1.Fail),                // a rule that cannot be checked is not let in
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone), // it only reads
			TimeoutSeconds:          new(int32(asksTimeout)),                          // it reads the namespace and lists its rules
			AdmissionReviewVersions: []string{"v1"},                                   // the only one that is not deprecated
		})
	}
	if options.Reservation {
		reserve := admissionregistrationv1.ValidatingWebhook{
			Name:                    webhookName("reserve", options),
			ClientConfig:            admissionClient(client, PathReserve),
			Rules:                   rules(options, admissionregistrationv1.Create),
			MatchPolicy:             new(admissionregistrationv1.Equivalent),                  // a v1 rule reserves the same endpoint
			FailurePolicy:           new(admissionregistrationv1.Fail),                        // a rule without reservation could be the second
			SideEffects:             new(admissionregistrationv1.SideEffectClassNoneOnDryRun), // a Lease, but none for a dry run
			TimeoutSeconds:          new(int32(asksTimeout)),                                  // it writes a Lease, and at worst reads two objects and writes once more
			AdmissionReviewVersions: []string{"v1"},
		}
		release := *reserve.DeepCopy()
		release.Name = webhookName("release", options)
		release.Rules = rules(options, admissionregistrationv1.Delete)
		release.FailurePolicy = new(admissionregistrationv1.Ignore) // a reservation that is left is taken over; a namespace that cannot go is worse
		configuration.Webhooks = append(configuration.Webhooks, reserve, release)
	}
	if len(configuration.Webhooks) == 0 {
		return nil
	}
	return configuration
}

// MutatingWebhookConfiguration is the configuration of the webhook that fills in
// what the client leaves out, or nil if options do not ask for it. The client says
// where the server is; the path of the handler is added to its service's or URL's.
func MutatingWebhookConfiguration(client admissionregistrationv1.WebhookClientConfig, options Options) *admissionregistrationv1.MutatingWebhookConfiguration {
	if !options.Mutating {
		return nil
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: configurationName(options)},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:         webhookName("mutate", options),
			ClientConfig: admissionClient(client, PathMutate),
			Rules:        rules(options, admissionregistrationv1.Create, admissionregistrationv1.Update),
			MatchConditions: []admissionregistrationv1.MatchCondition{
				{Name: "requested-by-changes", Expression: created + " || " + requestedByChanges}, // all that it restores on update
			},
			MatchPolicy:             new(admissionregistrationv1.Equivalent),                 // a v1 request is converted to v2, and its caller noted too
			FailurePolicy:           new(admissionregistrationv1.Fail),                       // an annotation that is not set could be forged
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),        // the patch is all
			ReinvocationPolicy:      new(admissionregistrationv1.IfNeededReinvocationPolicy), // what another webhook has changed after it, it sets again; twice does no harm
			TimeoutSeconds:          new(int32(computesTimeout)),                             // it asks nobody
			AdmissionReviewVersions: []string{"v1"},                                          // the only one that is not deprecated
		}},
	}
}

// Conversion is the conversion of the CRD. The client says where the server is; the
// path of the handler is added to its service's or URL's.
func Conversion(client apiextensionsv1.WebhookClientConfig) *apiextensionsv1.CustomResourceConversion {
	client = *client.DeepCopy()
	if client.Service != nil {
		client.Service.Path = new(joinPath(client.Service.Path, PathConvert))
	}
	if client.URL != nil {
		client.URL = new(joinPath(client.URL, PathConvert))
	}
	return &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig:             &client,
			ConversionReviewVersions: []string{"v1"}, // the only one that is not deprecated
		},
	}
}

func configurationName(options Options) string {
	return api.Resource + "." + options.Group
}

// webhookName is the name by which a refusal calls the webhook.
func webhookName(verb string, options Options) string {
	return verb + "." + api.Resource + "." + options.Group
}

// rules match the object itself: its subresources are not named, so a write of the
// status calls no webhook. Only v2 is named: with matchPolicy Equivalent the API
// server converts a request of another version before it asks, so that the handlers
// know one version.
func rules(options Options, operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: operations,
		Rule: admissionregistrationv1.Rule{
			APIGroups:   []string{options.Group},
			APIVersions: []string{v2.Version},
			Resources:   []string{api.Resource},
			Scope:       new(admissionregistrationv1.NamespacedScope),
		},
	}}
}

func admissionClient(client admissionregistrationv1.WebhookClientConfig, path string) admissionregistrationv1.WebhookClientConfig {
	client = *client.DeepCopy()
	if client.Service != nil {
		client.Service.Path = new(joinPath(client.Service.Path, path))
	}
	if client.URL != nil {
		client.URL = new(joinPath(client.URL, path))
	}
	return client
}

// joinPath appends the path of a handler to a URL or a path, nil meaning empty.
func joinPath(base *string, path string) string {
	if base == nil {
		return path
	}
	return strings.TrimSuffix(*base, "/") + path
}
