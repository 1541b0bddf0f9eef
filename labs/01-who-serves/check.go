// Package whoserves checks lab 1: which of the servers behind one address answers a
// path, and how a request gets to one that is a program of its own.
//
// What the learner has written down is compared with what the cluster says at this
// moment: its APIServices, its CustomResourceDefinitions, its answers.
package whoserves

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 1.
var Exercise = lab.Exercise{Check: check, Serve: serve, Clean: clean}

const answersFile = "answers.yaml"

// answers is what the learner writes down.
type answers struct {
	// Paths says who answers each, as one of the words.
	Paths map[string]string `json:"paths"`
	// Request is about a request to the server that is a program of its own.
	Request struct {
		Service       string `json:"service"`
		Host          string `json:"host"`
		ServerName    string `json:"serverName"`
		User          string `json:"user"`
		Authenticator string `json:"authenticator"`
	} `json:"request"`
	// Nobody is about an APIService whose Service does not exist.
	Nobody struct {
		Status any    `json:"status"`
		Reason string `json:"reason"`
	} `json:"nobody"`
}

// The words for who answers; for a program of its own it is the name of its Service.
const (
	byAggregator    = "aggregator"
	byKubeAPIServer = "kube-apiserver"
	byAPIExtensions = "apiextensions"
	byNobody        = "nobody"
)

// pathConstants are the paths to be answered, in this order, by the findings about them.
var pathConstants = []struct{ constant, finding string }{
	{"corePath", "built-in-path"},
	{"appsPath", "built-in-path"},
	{"customPath", "crd-path"},
	{"crdPath", "crds-themselves-path"},
	{"remotePath", "remote-path"},
	{"apiServicePath", "apiservices-path"},
	{"absentPath", "absent-path"},
}

// serve puts both implementations of PortRule on the control plane: one by a CRD, one by
// a server of its own.
func serve(ctx context.Context, s *lab.Session, group *process.Group, say func(string)) (func() error, error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	provider := cluster.NewExisting(group, cluster.ExistingOptions{Kubeconfig: where.Kubeconfig, Context: where.Context})
	bed, err := testbed.Start(ctx, provider, group, testbed.Setup{}, func(step string) {
		if !strings.HasPrefix(step, "starting the control plane") {
			say(step)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := bed.Grant(ctx, s.Constant("user"), s.Lab.Namespace()); err != nil {
		return nil, errors.Join(err, bed.Stop())
	}
	return bed.Stop, nil
}

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	var given answers
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	l := &look{Session: s, admin: admin}
	if l.aggregator, err = aggregator.NewForConfig(admin); err != nil {
		return nil, err
	}
	for _, part := range []func(context.Context, *answers) (*lab.Finding, error){l.paths, l.request, l.nobody} {
		if finding, err := part(ctx, &given); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// look looks at the cluster.
type look struct {
	*lab.Session
	admin      *rest.Config
	aggregator aggregator.Interface
}

// differs is the finding that an answer is not what the cluster says, nil if it is.
func (l *look) differs(id, where, got, want, why string) *lab.Finding {
	got = strings.TrimSpace(got)
	if got == want {
		return nil
	}
	finding := &lab.Finding{ID: id, Where: l.Where(answersFile) + ": " + where, Found: got, Expected: why}
	if got == "" {
		finding.ID, finding.Found, finding.Expected = "not-answered", "nothing", "your answer"
	}
	return finding
}

func (l *look) paths(ctx context.Context, given *answers) (*lab.Finding, error) {
	for _, asked := range pathConstants {
		path := l.Constant(asked.constant)
		want, why, err := l.whoServes(ctx, path)
		if err != nil {
			return nil, err
		}
		got := given.Paths[path]
		if words := []string{byAggregator, byKubeAPIServer, byAPIExtensions, byNobody, l.Constant("server")}; got != "" && !slices.Contains(words, got) {
			return &lab.Finding{ID: "unknown-word", Where: l.Where(answersFile) + ": " + path, Found: got, Expected: "one of " + strings.Join(words, ", ")}, nil
		}
		if finding := l.differs(asked.finding, path, got, want, "another answer: "+why); finding != nil {
			return finding, nil
		}
	}
	l.Verified("who answers each of %d paths is what the APIServices say", len(pathConstants))
	return nil, nil
}

// whoServes asks the cluster who answers a path, and says by what one can tell.
func (l *look) whoServes(ctx context.Context, path string) (who, why string, err error) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	group, version := "", parts[1]
	if parts[0] == "apis" {
		group, version = parts[1], parts[2]
	}
	registration, err := l.aggregator.ApiregistrationV1().APIServices().Get(ctx, version+"."+group, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && group == apiregistrationv1.GroupName:
		return byAggregator, "APIServices are served, and there is no APIService for them", nil
	case apierrors.IsNotFound(err):
		return byNobody, "there is no APIService " + version + "." + group, nil
	case err != nil:
		return "", "", err
	case registration.Spec.Service != nil:
		return registration.Spec.Service.Name, "the APIService " + registration.Name + " names a Service", nil
	}
	why = "the APIService " + registration.Name + " is Local"
	client, err := apiextensions.NewForConfig(l.admin)
	if err != nil {
		return "", "", err
	}
	crds, err := client.ApiextensionsV1().CustomResourceDefinitions().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", "", err
	}
	if group == "apiextensions.k8s.io" {
		return byAPIExtensions, why, nil
	}
	for _, crd := range crds.Items {
		if crd.Spec.Group == group {
			return byAPIExtensions, why + ", and there is a CustomResourceDefinition of that group", nil
		}
	}
	return byKubeAPIServer, why + ", and no CustomResourceDefinition has that group", nil
}

// request asks how a request gets to the server.
func (l *look) request(ctx context.Context, given *answers) (*lab.Finding, error) {
	parts := strings.Split(l.Constant("remotePath"), "/")
	registration, err := l.aggregator.ApiregistrationV1().APIServices().Get(ctx, parts[3]+"."+parts[2], metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("look for the APIService of lab %d: %w; \"lab start %d\" makes it", l.Lab.Number, err, l.Lab.Number)
	}
	leads := registration.Spec.Service
	if leads == nil {
		return nil, fmt.Errorf("the APIService %s names no Service: \"lab down\" and \"lab start %d\" make it anew", registration.Name, l.Lab.Number)
	}
	client, err := kubernetes.NewForConfig(l.admin)
	if err != nil {
		return nil, err
	}
	service, err := client.CoreV1().Services(leads.Namespace).Get(ctx, leads.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	host := service.Spec.ClusterIP
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		host = service.Spec.ExternalName
	}
	user, err := l.User(l.Constant("user"))
	if err != nil {
		return nil, err
	}
	reply, err := lab.Send(ctx, user, http.MethodPost, "/apis/"+parts[2]+"/"+parts[3]+"/"+callerreview.Resource, "application/json",
		`{"apiVersion":"`+parts[2]+"/"+parts[3]+`","kind":"CallerReview"}`)
	if err != nil {
		return nil, err
	}
	var review callerreview.CallerReview
	if err := json.Unmarshal(reply.Body, &review); err != nil || reply.Status != http.StatusCreated {
		return nil, fmt.Errorf("ask the server who %s is: status %d: %s", l.Constant("user"), reply.Status, reply.Body)
	}
	for _, asked := range []struct{ id, where, got, want, why string }{
		{"service", "request.service", given.Request.Service, leads.Namespace + "/" + leads.Name, "namespace/name of what spec.service of the APIService names"},
		{"host", "request.host", given.Request.Host, host, "the host to which that Service leads"},
		{"server-name", "request.serverName", given.Request.ServerName, leads.Name + "." + leads.Namespace + ".svc", "the name for which the aggregator verifies the certificate"},
		{"user", "request.user", given.Request.User, review.Status.UserInfo.Username, "the user name in the CallerReview that " + l.Constant("user") + " creates"},
		{"authenticator", "request.authenticator", given.Request.Authenticator, string(review.Status.Authenticator), "the authenticator in that CallerReview"},
	} {
		if finding := l.differs(asked.id, asked.where, asked.got, asked.want, asked.why); finding != nil {
			return finding, nil
		}
	}
	l.Verified("where the request goes, and whom the server takes the caller for, is as you say")
	return nil, nil
}

// nobody asks what an APIService without a server does.
func (l *look) nobody(ctx context.Context, given *answers) (*lab.Finding, error) {
	group := l.Constant("nobodyGroup")
	registration, err := l.aggregator.ApiregistrationV1().APIServices().Get(ctx, "v1."+group, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &lab.Finding{ID: "nobody-not-applied", Where: "the cluster", Found: "no APIService v1." + group, Expected: "the one in " + l.Where("nobody.yaml")}, nil
	}
	if err != nil {
		return nil, err
	}
	reason := ""
	for _, condition := range registration.Status.Conditions {
		if condition.Type == apiregistrationv1.Available {
			reason = condition.Reason
		}
	}
	if reason == "" {
		return nil, errors.New("the aggregator has not looked at the APIService yet: check again in a second")
	}
	reply, err := lab.Send(ctx, l.admin, http.MethodGet, "/apis/"+group+"/v1", "", "")
	if err != nil {
		return nil, err
	}
	status := ""
	if given.Nobody.Status != nil {
		status = fmt.Sprint(given.Nobody.Status)
	}
	if finding := l.differs("nobody-status", "nobody.status", status, strconv.Itoa(reply.Status), "the status of the answer to GET /apis/"+group+"/v1"); finding != nil {
		return finding, nil
	}
	if finding := l.differs("nobody-reason", "nobody.reason", given.Nobody.Reason, reason, "the reason in the condition Available of the APIService"); finding != nil {
		return finding, nil
	}
	l.Verified("an APIService that leads to nobody answers %d, for the reason %s", reply.Status, reason)
	return nil, nil
}

// clean removes the APIService that leads to nobody.
func clean(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	client, err := aggregator.NewForConfig(admin)
	if err != nil {
		return err
	}
	err = client.ApiregistrationV1().APIServices().Delete(ctx, "v1."+s.Constant("nobodyGroup"), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return err
}
