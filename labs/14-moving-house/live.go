package movinghouse

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/labs/lab"
)

// automanaged is the label of the APIServices that the kube-apiserver keeps as CRDs say.
const automanaged = "kube-aggregator.kubernetes.io/automanaged"

// live is the learner's own house.
type live struct {
	*lab.Session
	admin  *rest.Config
	client client.Client
	group  string
}

func newLive(s *lab.Session) (*live, error) {
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	return &live{Session: s, admin: admin, client: c, group: s.Constant("group")}, nil
}

// registration returns the APIService of a group, nil if there is none.
func (l *live) registration(ctx context.Context, group string) (*apiregistrationv1.APIService, error) {
	found := &apiregistrationv1.APIService{}
	err := l.client.Get(ctx, client.ObjectKey{Name: l.Constant("version") + "." + group}, found)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return found, err
}

// rulesPath is that of the rules of a group in the lab's namespace.
func (l *live) rulesPath(group string) string {
	return "/apis/" + group + "/" + l.Constant("version") + "/namespaces/" + l.Lab.Namespace() + "/" + api.Resource
}

// available is what the aggregator says of an APIService.
func available(registration *apiregistrationv1.APIService) (is bool, says string) {
	for _, condition := range registration.Status.Conditions {
		if condition.Type == apiregistrationv1.Available {
			return condition.Status == apiregistrationv1.ConditionTrue, condition.Reason + ": " + condition.Message
		}
	}
	return false, "the aggregator has not looked at it yet"
}

// stranded is the finding that the learner's group was handed over and nobody answers: a
// move that was interrupted.
func (l *live) stranded(ctx context.Context) (*lab.Finding, error) {
	registration, err := l.registration(ctx, l.group)
	if err != nil || registration == nil || registration.Spec.Service == nil {
		return nil, err
	}
	reply, err := lab.Send(ctx, l.admin, http.MethodGet, l.rulesPath(l.group), "", "")
	if err != nil || reply.Status == http.StatusOK {
		return nil, err
	}
	_, says := available(registration)
	return &lab.Finding{
		ID: "stranded", Where: "the cluster: APIService " + registration.Name,
		Found: fmt.Sprintf("it hands requests on to the Service %s/%s, and a list of your rules gets %d: %s. The aggregator says: %s",
			registration.Spec.Service.Namespace, registration.Spec.Service.Name, reply.Status, reply.Message(), says),
		Expected: "a server there, or the group handed back; nothing is lost, the rules are in etcd",
	}, nil
}

// moved makes sure that the learner has moved, there and back.
func (l *live) moved(ctx context.Context) (*lab.Finding, error) {
	reply, err := lab.Send(ctx, l.admin, http.MethodGet, l.rulesPath(l.group), "", "")
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusOK {
		return &lab.Finding{ID: "no-house", Where: "the cluster", Found: fmt.Sprintf("a list of your rules gets %d: %s", reply.Status, reply.Message()),
			Expected: "what crd.yaml and rules.yaml say: step 2"}, nil
	}
	var rules v2.PortRuleList
	if err := json.Unmarshal(reply.Body, &rules); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(rules.Items, func(rule v2.PortRule) bool { return rule.Annotations[api.RequestedBy] != "" }) {
		return &lab.Finding{ID: "never-moved", Where: "the cluster: your rules", Found: "none with the annotation " + api.RequestedBy + ", which the server gives and the CRD does not",
			Expected: "a rule that was made while the server served: your files are right, now move house with them"}, nil
	}
	registration, err := l.registration(ctx, l.group)
	if err != nil {
		return nil, err
	}
	if finding := l.notBack(registration, "it"); finding != nil {
		finding.ID = "not-back"
		return finding, nil
	}
	if stale, err := l.staleDiscovery(ctx, l.group, discoveryTimeout); err != nil || stale != "" {
		return &lab.Finding{ID: "not-back", Where: "the cluster: GET /apis, aggregated discovery", Found: stale, Expected: "what the CRD has: status and scale"}, err
	}
	l.Verified("you have moved to the server and back: rules that it made are served by the CRD")
	return nil, nil
}

// notBack is the finding that an APIService is not as the kube-apiserver makes it for a CRD.
func (l *live) notBack(registration *apiregistrationv1.APIService, name string) *lab.Finding {
	where := "the cluster: APIService " + l.Constant("version") + "." + l.group
	switch {
	case registration == nil:
		return &lab.Finding{ID: "still-served", Where: where, Found: "nothing", Expected: "the one that the kube-apiserver makes for the CRD"}
	case registration.Spec.Service != nil:
		return &lab.Finding{ID: "still-served", Where: where + ": spec.service", Expected: "none: the CRD's own handler answers",
			Found: registration.Spec.Service.Namespace + "/" + registration.Spec.Service.Name}
	case registration.Labels[automanaged] != "true":
		return &lab.Finding{ID: "not-automanaged", Where: where + ": label " + automanaged, Expected: "true: the kube-apiserver looks after " + name + " again",
			Found: fmt.Sprintf("%q", registration.Labels[automanaged])}
	}
	return nil
}

// acceptDiscovery asks for what kubectl asks for: all groups with their resources in one
// document.
const acceptDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// staleDiscovery says what is wrong with what discovery says of a group that the CRD serves
// again. It waits for what is under way.
func (l *live) staleDiscovery(ctx context.Context, group string, timeout time.Duration) (stale string, err error) {
	admin := rest.CopyConfig(l.admin)
	admin.Wrap(func(next http.RoundTripper) http.RoundTripper { return accepting{next} })
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, admin, http.MethodGet, "/apis", "", "")
		if err != nil {
			return false, err
		}
		var list apidiscovery.APIGroupDiscoveryList
		if err := json.Unmarshal(reply.Body, &list); err != nil {
			return false, fmt.Errorf("read what discovery says: %w", err)
		}
		stale = wrongDiscovery(&list, group, l.Constant("version"))
		return stale == "", nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return stale, err
}

func wrongDiscovery(list *apidiscovery.APIGroupDiscoveryList, group, version string) string {
	for _, found := range list.Items {
		if found.Name != group {
			continue
		}
		for _, v := range found.Versions {
			if v.Version != version {
				continue
			}
			for _, resource := range v.Resources {
				if resource.Resource != api.Resource {
					continue
				}
				var subresources []string
				for _, sub := range resource.Subresources {
					subresources = append(subresources, sub.Subresource)
				}
				if slices.Contains(subresources, "nftables") {
					return fmt.Sprintf("%s with the subresources %s: what the server said when it was asked last", api.Resource, strings.Join(subresources, ", "))
				}
				return ""
			}
			return fmt.Sprintf("version %s (%s) without %s, so that kubectl does not know them", version, v.Freshness, api.Resource)
		}
	}
	return "no version " + version + " of the group"
}

// accepting asks for aggregated discovery.
type accepting struct{ http.RoundTripper }

func (a accepting) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Accept", acceptDiscovery)
	return a.RoundTripper.RoundTrip(request)
}

// clean hands the group back and removes the CRD, with the rules, and the Service.
func clean(ctx context.Context, s *lab.Session) error {
	l, err := newLive(s)
	if err != nil {
		return err
	}
	registration, err := l.registration(ctx, l.group)
	if err != nil {
		return err
	}
	if registration != nil && registration.Labels[automanaged] != "true" {
		if err := l.client.Delete(ctx, registration); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Lab.Namespace(), Name: s.Constant("service")}}
	if err := l.client.Delete(ctx, service); client.IgnoreNotFound(err) != nil {
		return err
	}
	return l.removeCRD(ctx, l.group)
}

// crdPath is that of the CRD of a group.
func crdPath(group string) string {
	return "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + api.Resource + "." + group
}

// removeCRD removes a CRD with its objects and waits until it is gone.
func (l *live) removeCRD(ctx context.Context, group string) error {
	if err := l.removeRules(ctx, group); err != nil {
		return err
	}
	path := crdPath(group)
	reply, err := lab.Send(ctx, l.admin, http.MethodDelete, path, "", "")
	if err != nil {
		return err
	}
	if reply.Status != http.StatusOK && reply.Status != http.StatusNotFound {
		return fmt.Errorf("remove the CRD of %s: status %d: %s", group, reply.Status, reply.Message())
	}
	err = wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, l.admin, http.MethodGet, path, "", "")
		return err == nil && reply.Status == http.StatusNotFound, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("the CRD of %s does not go: kubectl describe crd %s.%s says why", group, api.Resource, group)
	}
	return err
}

// removeRules removes the rules of a group, if the CRD answers. A CRD that is deleted with
// its objects looks once, and the next time 5 s later, whether they have gone.
func (l *live) removeRules(ctx context.Context, group string) error {
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, answerTimeout, true, func(ctx context.Context) (bool, error) {
		if reply, err := lab.Send(ctx, l.admin, http.MethodDelete, l.rulesPath(group), "", ""); err != nil || reply.Status == http.StatusNotFound {
			return true, err
		}
		reply, err := lab.Send(ctx, l.admin, http.MethodGet, l.rulesPath(group), "", "")
		if err != nil || reply.Status != http.StatusOK {
			return false, err
		}
		var list v2.PortRuleList
		err = json.Unmarshal(reply.Body, &list)
		return len(list.Items) == 0, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return nil // it only takes longer
	}
	return err
}
