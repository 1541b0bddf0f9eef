// Package ownserver checks lab 7: an API server that the learner runs, and of which the
// learner has told the aggregator by hand.
//
// The check looks at what is there: the server on its port, the files, and the Service and
// the APIService in the cluster. It starts nothing. Where the aggregator does not reach the
// server, it says in the aggregator's own words why, and by its own look which file is to
// blame.
package ownserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 7.
var Exercise = lab.Exercise{Check: check, Clean: clean}

// The learner's files. The CA and the log are not in start/: the steps of the README make
// them.
const (
	runFile          = "run.sh"
	extensionsFile   = "server.ext"
	serviceFile      = "service.yaml"
	registrationFile = "apiservice.yaml"
	caFile           = "ca.crt"
	logFile          = "server.log"
)

// standaloneCA is the common name of the CA that a server makes with --standalone.
const standaloneCA = "portrule-apiserver-standalone"

// settleTimeout bounds the wait for what has begun just now: a server that starts, an
// aggregator that looks at an APIService. It is short, since a check that finds something
// wrong waits for all of it.
const settleTimeout = 3 * time.Second

// look looks at what the learner has made.
type look struct {
	*lab.Session
	admin  *rest.Config
	client client.Client
	port   int
	// service and registration are what the files say.
	service      corev1.Service
	registration apiregistrationv1.APIService
	// ca is the learner's CA, in PEM, and served the certificate that the server shows.
	ca     []byte
	served *x509.Certificate
	// live is the APIService in the cluster, nil if there is none.
	live *apiregistrationv1.APIService
}

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	l := &look{Session: s}
	for _, name := range []string{runFile, extensionsFile} {
		if _, finding := s.Read(name); finding != nil {
			return finding, nil
		}
	}
	if finding := s.YAML(serviceFile, &l.service); finding != nil {
		return finding, nil
	}
	if finding := s.YAML(registrationFile, &l.registration); finding != nil {
		return finding, nil
	}
	var err error
	if l.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	if l.client, err = s.Client(); err != nil {
		return nil, err
	}
	if l.port, err = strconv.Atoi(s.Constant("port")); err != nil {
		return nil, err
	}
	if err := l.readLive(ctx); err != nil {
		return nil, err
	}
	for _, part := range []func(context.Context) (*lab.Finding, error){
		l.server, l.ready, l.delegates, l.serviceRight, l.registrationRight, l.applied, l.trusted, l.available, l.answers,
	} {
		if finding, err := part(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

func (l *look) found(id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: where, Found: found, Expected: expected}
}

// dnsName is the name for which the aggregator verifies the server's certificate.
func (l *look) dnsName() string {
	return lab.Registration{Service: l.Constant("service")}.ServerName(l.Lab)
}

// address is where the server should listen.
func (l *look) address() string { return net.JoinHostPort(l.BindAddress(), strconv.Itoa(l.port)) }

// name is the APIService's.
func (l *look) name() string { return l.Constant("version") + "." + l.Constant("group") }

// readLive reads the APIService as it is in the cluster.
func (l *look) readLive(ctx context.Context) error {
	live := &apiregistrationv1.APIService{}
	err := l.client.Get(ctx, client.ObjectKey{Name: l.name()}, live)
	if apierrors.IsNotFound(err) {
		l.live = nil
		return nil
	}
	l.live = live
	return err
}

// condition is what the aggregator says of the APIService, nil if nothing yet.
func (l *look) condition() *apiregistrationv1.APIServiceCondition {
	if l.live == nil {
		return nil
	}
	for i, condition := range l.live.Status.Conditions {
		if condition.Type == apiregistrationv1.Available {
			return &l.live.Status.Conditions[i]
		}
	}
	return nil
}

// andSaid adds to what was found what the aggregator says about it, if it complains.
func (l *look) andSaid(found string) string {
	condition := l.condition()
	if condition == nil || condition.Status == apiregistrationv1.ConditionTrue {
		return found
	}
	return found + "; the aggregator says: " + said(condition)
}

func said(condition *apiregistrationv1.APIServiceCondition) string {
	return fmt.Sprintf("Available is %s, %s: %s", condition.Status, condition.Reason, condition.Message)
}

// connect connects to the server as the aggregator would who had the learner's CA, and
// returns the certificate that the server shows.
func (l *look) connect(ctx context.Context, host string) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.ca)
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: settleTimeout},
		Config:    &tls.Config{RootCAs: roots, ServerName: l.dnsName(), MinVersion: tls.VersionTLS12},
	}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(l.port)))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// server makes sure that the server listens, with a certificate as the aggregator wants it.
func (l *look) server(ctx context.Context) (*lab.Finding, error) {
	var finding *lab.Finding
	if l.ca, finding = l.Read(caFile); finding != nil {
		return l.found("no-certificates", finding.Where, finding.Found, `what "bash certs.sh" makes`), nil
	}
	if !x509.NewCertPool().AppendCertsFromPEM(l.ca) {
		return l.found("no-certificates", l.Where(caFile), "no certificate in PEM", `what "bash certs.sh" makes`), nil
	}
	shows, err := l.connect(ctx, l.BindAddress())
	if err == nil {
		l.served = shows
		l.Verified("on %s there is a server with a certificate of your CA for %s", l.address(), l.dnsName())
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var unverified *tls.CertificateVerificationError
	if !errors.As(err, &unverified) {
		return l.down(err), nil
	}
	shown := unverified.UnverifiedCertificates[0]
	where := fmt.Sprintf("the certificate of %s at %s", shown.Subject, l.address())
	var (
		otherName x509.HostnameError
		otherCA   x509.UnknownAuthorityError
	)
	switch {
	case shown.Issuer.CommonName == standaloneCA:
		finding = l.found("standalone", where, "one of the CA that the server makes with --standalone", "the one in server.crt, of a server without --standalone")
	case errors.As(unverified.Err, &otherName):
		finding = l.found("certificate-name", where, l.andSaid(unverified.Err.Error()), "a certificate for "+l.dnsName())
	case errors.As(unverified.Err, &otherCA):
		finding = l.found("certificate-ca", where, unverified.Err.Error(), "a certificate that the CA in "+l.Where(caFile)+" has signed")
	default:
		finding = l.found("certificate-broken", where, unverified.Err.Error(), "a certificate that is valid now, for a server")
	}
	return finding, nil
}

// down is the finding of a server that does not answer.
func (l *look) down(err error) *lab.Finding {
	return l.found("server-down", "the server at "+l.address(), err.Error()+l.lastWords(), "the server that run.sh starts")
}

// lastWords is what the learner's server has said last, if its log is where the README
// has it: why it has ended, if it says so, else whatever the last line is.
func (l *look) lastWords() string {
	data, err := os.ReadFile(l.Path(logFile))
	if err != nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		last = line
		if strings.Contains(line, "portrule-apiserver: ") {
			break
		}
	}
	if last == "" {
		return ""
	}
	return "; " + logFile + " says: " + last
}

// ask sends a GET to the server itself, with the credentials in config.
func (l *look) ask(ctx context.Context, config *rest.Config, path string) (*lab.Reply, error) {
	direct := lab.Direct(config, l.port, l.ca)
	direct.ServerName = l.dnsName()
	return lab.Send(ctx, direct, http.MethodGet, path, "", "")
}

// settle polls until the condition holds, or until what has begun just now should have
// settled, and says whether it holds.
func settle(ctx context.Context, condition wait.ConditionWithContextFunc) (bool, error) {
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, settleTimeout, true, condition)
	if wait.Interrupted(err) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// ready makes sure that the server says that it is ready.
func (l *look) ready(ctx context.Context) (*lab.Finding, error) {
	answer := ""
	ready, err := settle(ctx, func(ctx context.Context) (bool, error) {
		reply, err := l.ask(ctx, &rest.Config{}, "/readyz")
		if err != nil {
			answer = err.Error()
			return false, nil //nolint:nilerr // a server may answer a moment later
		}
		answer = fmt.Sprintf("status %d", reply.Status)
		for line := range strings.Lines(string(reply.Body)) {
			if strings.HasPrefix(line, "[-]") {
				answer += ", " + strings.TrimSpace(line)
			}
		}
		return reply.Status == http.StatusOK, nil
	})
	if err != nil || ready {
		return nil, err
	}
	return l.found("not-ready", "GET https://"+l.address()+"/readyz", answer+l.lastWords(), "status 200"), nil
}

// delegates makes sure that the server believes whom the cluster believes, and that it
// serves the group.
func (l *look) delegates(ctx context.Context) (*lab.Finding, error) {
	path := "/apis/" + l.Constant("group") + "/" + l.Constant("version")
	reply, err := l.ask(ctx, l.admin, path)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return l.down(err), nil
	}
	where := "GET https://" + l.address() + path + ", as the cluster's administrator"
	switch reply.Status {
	case http.StatusOK:
		l.Verified("it serves %s, and believes whom the cluster believes", path)
		return nil, nil
	case http.StatusNotFound:
		return l.found("server-group", where, "status 404", "a server of that group: --group="+l.Constant("group")), nil
	default:
		return l.found("standalone", where, l.andSaid(fmt.Sprintf("status %d: %s", reply.Status, reply.Message())),
			"status 200, from a server that asks the cluster who callers are"), nil
	}
}

// serviceRight looks at service.yaml.
func (l *look) serviceRight(ctx context.Context) (*lab.Finding, error) {
	where, meta, spec := l.Where(serviceFile), l.service.ObjectMeta, l.service.Spec
	switch {
	case l.service.Kind != "Service" || meta.Name != l.Constant("service") || meta.Namespace != l.Lab.Namespace():
		return l.found("service-name", where, fmt.Sprintf("%s %s/%s", l.service.Kind, meta.Namespace, meta.Name),
			fmt.Sprintf("Service %s/%s", l.Lab.Namespace(), l.Constant("service"))), nil
	case spec.Type != corev1.ServiceTypeExternalName:
		given := string(spec.Type)
		if given == "" {
			given = "ClusterIP, since none is given"
		}
		return l.found("service-type", where+": spec.type", l.andSaid(given), "ExternalName: there are no Pods that a selector could find"), nil
	case spec.ExternalName == "":
		return l.found("service-host", where+": spec.externalName", "nothing", l.Constant("host")), nil
	}
	// any name of this machine will do
	if _, err := l.connect(ctx, spec.ExternalName); err != nil {
		return l.found("service-host", where+": spec.externalName", fmt.Sprintf("%q, where your server is not: %v", spec.ExternalName, err), l.Constant("host")), ctx.Err()
	}
	return nil, nil
}

// registrationRight looks at apiservice.yaml.
func (l *look) registrationRight(context.Context) (*lab.Finding, error) {
	where, spec := l.Where(registrationFile), l.registration.Spec
	service := l.Lab.Namespace() + "/" + l.Constant("service")
	switch {
	case l.registration.Kind != "APIService":
		return l.found("apiservice-name", where, "kind "+strconv.Quote(l.registration.Kind), "kind APIService"), nil
	case spec.Group != l.Constant("group") || spec.Version != l.Constant("version"):
		return l.found("apiservice-group", where+": spec", fmt.Sprintf("group %q, version %q", spec.Group, spec.Version),
			fmt.Sprintf("group %s, version %s", l.Constant("group"), l.Constant("version"))), nil
	case l.registration.Name != l.name():
		return l.found("apiservice-name", where+": metadata.name", strconv.Quote(l.registration.Name), "the version, a dot, the group"), nil
	case spec.InsecureSkipTLSVerify:
		return l.insecure(where), nil
	case spec.Service == nil:
		return l.found("apiservice-service", where+": spec.service", "nothing, so the kube-apiserver itself should serve the group", service), nil
	case spec.Service.Namespace+"/"+spec.Service.Name != service:
		return l.found("apiservice-service", where+": spec.service", l.andSaid(spec.Service.Namespace+"/"+spec.Service.Name), service), nil
	case port(spec.Service) != l.port:
		given := "none, which means 443"
		if spec.Service.Port != nil {
			given = strconv.Itoa(int(*spec.Service.Port))
		}
		return l.found("port", where+": spec.service.port", l.andSaid(given), fmt.Sprintf("%d, where the server listens", l.port)), nil
	case spec.GroupPriorityMinimum <= 0 || spec.VersionPriority <= 0:
		return l.found("priorities", where+": spec", fmt.Sprintf("groupPriorityMinimum %d, versionPriority %d", spec.GroupPriorityMinimum, spec.VersionPriority),
			"both above 0"), nil
	}
	return nil, nil
}

func (l *look) insecure(where string) *lab.Finding {
	return l.found("insecure", where+": spec.insecureSkipTLSVerify", "true: whoever answers there is believed", "verification by a caBundle")
}

// port is where a Service is asked.
func port(service *apiregistrationv1.ServiceReference) int {
	return int(ptr.Deref(service.Port, 443))
}

// applied makes sure that the cluster has what the files say.
func (l *look) applied(ctx context.Context) (*lab.Finding, error) {
	const where, apply = "the cluster", "what the file says: kubectl apply -f "
	service := &corev1.Service{}
	err := l.client.Get(ctx, client.ObjectKeyFromObject(&l.service), service)
	switch {
	case apierrors.IsNotFound(err):
		return l.found("not-applied", where, "no Service "+l.Lab.Namespace()+"/"+l.Constant("service"), apply+serviceFile), nil
	case err != nil:
		return nil, err
	case service.Spec.Type != l.service.Spec.Type || service.Spec.ExternalName != l.service.Spec.ExternalName:
		return l.found("not-applied", where+": Service "+service.Name,
			l.andSaid(fmt.Sprintf("type %s, externalName %q", service.Spec.Type, service.Spec.ExternalName)), apply+serviceFile), nil
	case l.live == nil:
		return l.found("not-applied", where, "no APIService "+l.name(), apply+registrationFile), nil
	}
	leads, given := l.live.Spec.Service, "no Service"
	if leads != nil {
		given = fmt.Sprintf("Service %s/%s, port %d", leads.Namespace, leads.Name, port(leads))
	}
	if asked := l.registration.Spec.Service; leads == nil || leads.Name != asked.Name || leads.Namespace != asked.Namespace || port(leads) != port(asked) {
		return l.found("not-applied", where+": APIService "+l.name(), l.andSaid(given), apply+registrationFile), nil
	}
	if l.live.Spec.InsecureSkipTLSVerify {
		return l.insecure(where + ": APIService " + l.name()), nil
	}
	l.Verified("the cluster has the Service and the APIService of your files")
	return nil, nil
}

// trusted makes sure that the APIService has the CA of the server's certificate.
func (l *look) trusted(context.Context) (*lab.Finding, error) {
	where := "the cluster: APIService " + l.name() + ": spec.caBundle"
	if len(l.live.Spec.CABundle) == 0 {
		return l.found("ca-bundle-missing", where, l.andSaid("nothing"), "the CA in "+l.Where(caFile)), nil
	}
	bundle := x509.NewCertPool()
	if !bundle.AppendCertsFromPEM(l.live.Spec.CABundle) {
		return l.found("ca-bundle-other", where, l.andSaid("no certificate in PEM"), "the CA in "+l.Where(caFile)+", in base64"), nil
	}
	if _, err := l.served.Verify(x509.VerifyOptions{Roots: bundle, DNSName: l.dnsName()}); err != nil {
		return l.found("ca-bundle-other", where, l.andSaid("another CA: "+err.Error()),
			"the CA in "+l.Where(caFile)+", which has signed the server's certificate"), nil
	}
	l.Verified("it has the CA of the server's certificate, and skips no verification")
	return nil, nil
}

// available makes sure that the aggregator says so.
func (l *look) available(ctx context.Context) (*lab.Finding, error) {
	is, err := settle(ctx, func(ctx context.Context) (bool, error) {
		if err := l.readLive(ctx); err != nil {
			return false, err
		}
		condition := l.condition()
		return condition != nil && condition.Status == apiregistrationv1.ConditionTrue, nil
	})
	if err != nil {
		return nil, err
	}
	condition := l.condition()
	if is {
		l.Verified("the aggregator says that it is Available: %s", condition.Message)
		return nil, nil
	}
	given := "the aggregator has not looked at it yet"
	if condition != nil {
		given = said(condition)
	}
	return l.found("unavailable", "the cluster: APIService "+l.name(), given, "Available is True"), nil
}

// answers asks the server through the kube-apiserver who the caller is.
func (l *look) answers(ctx context.Context) (*lab.Finding, error) {
	group := l.Constant("group") + "/" + l.Constant("version")
	path := "/apis/" + group + "/" + callerreview.Resource
	var reply *lab.Reply
	// the aggregator says that it reaches a server before it hands requests on
	_, err := settle(ctx, func(ctx context.Context) (done bool, err error) {
		reply, err = lab.Send(ctx, l.admin, http.MethodPost, path, "application/json", `{"apiVersion":"`+group+`","kind":"CallerReview"}`)
		return err == nil && reply.Status == http.StatusCreated, err
	})
	if err != nil {
		return nil, err
	}
	var review callerreview.CallerReview
	if err := json.Unmarshal(reply.Body, &review); err != nil || reply.Status != http.StatusCreated || review.Status.Authenticator != callerreview.RequestHeader {
		return l.found("unavailable", "POST "+path+" to the kube-apiserver", fmt.Sprintf("status %d: %s", reply.Status, reply.Message()),
			"status 201, and that the server has recognised the caller by RequestHeader"), nil
	}
	l.Verified("a request through the kube-apiserver reaches your server, which recognises the caller by %s", review.Status.Authenticator)
	return nil, nil
}

// clean removes the Service and every APIService of the lab, under whatever name. The
// server is the learner's to stop.
func clean(ctx context.Context, s *lab.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Lab.Namespace(), Name: s.Constant("service")}}
	errs := []error{client.IgnoreNotFound(c.Delete(ctx, service))}
	var registrations apiregistrationv1.APIServiceList
	if err := c.List(ctx, &registrations); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i, registration := range registrations.Items {
		leads := registration.Spec.Service
		if registration.Spec.Group == s.Constant("group") || leads != nil && leads.Namespace == s.Lab.Namespace() {
			errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, &registrations.Items[i])))
		}
	}
	return errors.Join(errs...)
}
