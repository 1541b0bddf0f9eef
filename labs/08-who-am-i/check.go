// Package whoami checks lab 8: by what an API server recognises who calls, and the
// certificates for that, which the learner makes.
//
// serve.go runs the server that the learner asks. The check looks at the certificates
// first, and names what is wrong with them in the words of whoever made them. Then it makes
// the calls of the task itself, with the learner's certificates, and compares what the
// learner has written down with what the server says to them. For the calls to a server
// that looks its CAs up, or does not, it runs such servers.
package whoami

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"portrule.example/lab/api/callerreview"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 8.
var Exercise = lab.Exercise{Check: check, Prepare: prepare, Serve: serve}

const answersFile, signFile = "answers.yaml", "sign.sh"

// proxyFile is the name of the front proxy's certificate and key, without extension. Those of
// users are named for them.
const proxyFile = "proxy"

// answers is what the learner writes down. Statuses are numbers.
type answers struct {
	Calls calls `json:"calls"`
	// Users says whom the server takes some of the callers for.
	Users     users     `json:"users"`
	Published published `json:"published"`
	// Lookup is about a server without CA files, SkipLookup about one that does not look
	// for them in the cluster either.
	Lookup     lookup `json:"lookup"`
	SkipLookup lookup `json:"skipLookup"`
	// NoKubeconfig says what becomes of a server that has no kubeconfig to ask about callers.
	NoKubeconfig string `json:"noKubeconfig"`
}

// calls says what each call gets.
type calls struct {
	Certificate       any `json:"certificate"`
	Token             any `json:"token"`
	TokenProxied      any `json:"tokenProxied"`
	Proxy             any `json:"proxy"`
	ForgedAlone       any `json:"forgedAlone"`
	ForgedCertificate any `json:"forgedCertificate"`
	ForgedProxied     any `json:"forgedProxied"`
}

type users struct {
	Proxy             string `json:"proxy"`
	ForgedCertificate string `json:"forgedCertificate"`
	ForgedProxied     string `json:"forgedProxied"`
}

type published struct {
	AllowedName string `json:"allowedName"`
}

type lookup struct {
	Certificate any `json:"certificate"`
	Token       any `json:"token"`
	Proxy       any `json:"proxy"`
}

// What becomes of a server.
const serves, ends = "serves", "ends"

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	var given answers
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	l := &look{Session: s, admin: admin, pairs: map[string]*certs.Pair{}}
	if err := l.find(ctx); err != nil {
		return nil, err
	}
	for _, part := range []func(context.Context, *answers) (*lab.Finding, error){l.certificates, l.calls, l.published, l.variants} {
		if finding, err := part(ctx, &given); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// look looks at the certificates and asks the servers.
type look struct {
	*lab.Session
	admin *rest.Config
	core  kubernetes.Interface
	// server is the lab's, kube the kube-apiserver; both without credentials.
	server, kube *rest.Config
	token        string
	// pairs are the learner's certificates with their keys, by the name of their file.
	pairs map[string]*certs.Pair
}

// find finds the server of the lab, and requests a token.
func (l *look) find(ctx context.Context) error {
	var err error
	if l.core, err = kubernetes.NewForConfig(l.admin); err != nil {
		return err
	}
	request, err := l.core.CoreV1().ServiceAccounts(l.Lab.Namespace()).CreateToken(ctx, l.Constant("serviceAccount"), &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("request a token for the service account %s: %w; \"lab start %d\" makes it", l.Constant("serviceAccount"), err, l.Lab.Number)
	}
	l.token = request.Status.Token
	l.kube = rest.AnonymousClientConfig(l.admin)
	address, err := os.ReadFile(filepath.Join(l.State, serverFile))
	if err == nil {
		l.server = &rest.Config{Host: strings.TrimSpace(string(address))}
		l.server.CAData, err = os.ReadFile(filepath.Join(l.State, serverCAFile))
	}
	if err == nil {
		_, err = l.call(ctx, l.server, caller{})
	}
	if err != nil && ctx.Err() == nil {
		// not the error itself: it would sound as if the cluster did not answer
		return fmt.Errorf("the server of this lab does not answer: run \"lab start %d\", your files stay as they are", l.Lab.Number)
	}
	return ctx.Err()
}

// certificates looks at what the learner has made.
func (l *look) certificates(context.Context, *answers) (*lab.Finding, error) {
	users := []string{l.Constant("user"), l.Constant("otherUser")}
	for _, wanted := range []certificate{
		{users[0], clientCA, users[0]},
		{users[1], clientCA, users[1]},
		{proxyFile, frontProxyCA, l.Constant("proxyName")},
	} {
		if finding, err := l.judge(wanted); finding != nil || err != nil {
			return finding, err
		}
	}
	l.Verified("%s.crt and %s.crt are signed by the CA of clients, %s.crt by that of front proxies; each is valid, for who connects, and goes with its key", users[0], users[1], proxyFile)
	return nil, nil
}

// certificate is one that the learner is to make.
type certificate struct {
	// file is its name without extension, authority the CA, name the common name.
	file, authority, name string
}

// judge returns what is wrong with one of the learner's certificates.
func (l *look) judge(wanted certificate) (*lab.Finding, error) {
	certFile, keyFile := wanted.file+".crt", wanted.file+".key"
	found := func(id, file, found, expected string) (*lab.Finding, error) {
		return &lab.Finding{ID: id, Where: l.Where(file), Found: found, Expected: expected}, nil
	}
	read := map[string][]byte{}
	for _, name := range []string{certFile, keyFile} {
		data, err := os.ReadFile(l.Path(name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return found("not-signed", name, "no such file", "what "+signFile+" makes")
		case err != nil:
			return found("not-signed", name, err.Error(), "a file that can be read")
		}
		read[name] = data
	}
	all, err := cert.ParseCertsPEM(read[certFile])
	if err != nil {
		return found("not-pem", certFile, contents(read[certFile]), "a certificate in PEM, which begins with -----BEGIN CERTIFICATE-----")
	}
	if _, err := keyutil.ParsePrivateKeyPEM(read[keyFile]); err != nil {
		return found("not-pem", keyFile, contents(read[keyFile]), "a private key in PEM, without a password")
	}
	if _, err := tls.X509KeyPair(read[certFile], read[keyFile]); err != nil {
		return found("key-mismatch", certFile, "a certificate for another key than that in "+l.Where(keyFile), "the two belong together")
	}
	leaf := all[0]
	ca, err := cert.CertsFromFile(filepath.Join(l.State, wanted.authority, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the CA of the lab: %w; \"lab start %d\" makes it", err, l.Lab.Number)
	}
	now := time.Now()
	switch {
	case leaf.CheckSignatureFrom(ca[0]) != nil:
		return found("wrong-ca", certFile, "signed by "+leaf.Issuer.String()+signedBefore(leaf, ca[0]), "signed by "+ca[0].Subject.String())
	case now.After(leaf.NotAfter):
		return found("expired", certFile, "valid until "+day(leaf.NotAfter), "valid today, "+day(now))
	case now.Before(leaf.NotBefore):
		return found("expired", certFile, "valid from "+day(leaf.NotBefore), "valid today, "+day(now))
	case !forClients(leaf):
		return found("serving-certificate", certFile, "a certificate with which a server serves, by its extendedKeyUsage", "extendedKeyUsage clientAuth: who has it connects")
	case leaf.Subject.CommonName != wanted.name && wanted.file == proxyFile:
		return found("name-not-allowed", certFile, "CN="+leaf.Subject.CommonName, "CN="+wanted.name+", which is among --requestheader-allowed-names in "+serveFile)
	case leaf.Subject.CommonName != wanted.name:
		return found("wrong-user", certFile, "CN="+leaf.Subject.CommonName, "CN="+wanted.name)
	}
	l.pairs[wanted.file] = &certs.Pair{Cert: read[certFile], Key: read[keyFile]}
	return nil, nil
}

// contents says in a word what a file holds that is not what it should be.
func contents(data []byte) string {
	text := strings.TrimSpace(string(data))
	switch first, _, _ := strings.Cut(text, "\n"); {
	case text == "":
		return "an empty file"
	case strings.HasPrefix(first, "-----BEGIN "):
		return "a file that begins with " + strings.TrimSpace(first)
	default:
		return "no PEM"
	}
}

// signedBefore says so if the issuer has the right name and is another all the same.
func signedBefore(leaf, ca *x509.Certificate) string {
	if leaf.Issuer.String() == ca.Subject.String() {
		return ", by a former key of that name"
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// forClients is whether who has a certificate may show it to connect: no purpose at all
// means any.
func forClients(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// caller is what a call shows.
type caller struct {
	// certificate is that of a file, if it is not empty.
	certificate string
	token       bool
	// user is what the header X-Remote-User says, if it is not empty.
	user string
}

// said is what a server says to a call.
type said struct {
	// what is the authenticator, or the status of the answer if there is no CallerReview.
	what string
	user string
}

// call asks a server who the caller is.
func (l *look) call(ctx context.Context, server *rest.Config, c caller) (*said, error) {
	config := rest.CopyConfig(server)
	if c.certificate != "" {
		config.CertData, config.KeyData = l.pairs[c.certificate].Cert, l.pairs[c.certificate].Key
	}
	if c.token {
		config.BearerToken = l.token
	}
	if c.user != "" {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return transport.NewAuthProxyRoundTripper(c.user, "", nil, nil, next)
		})
	}
	group := l.Constant("group") + "/" + v2.Version
	reply, err := lab.Send(ctx, config, http.MethodPost, "/apis/"+group+"/"+callerreview.Resource, "application/json",
		`{"apiVersion":"`+group+`","kind":"CallerReview"}`)
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusCreated {
		return &said{what: strconv.Itoa(reply.Status)}, nil
	}
	var review callerreview.CallerReview
	if err := json.Unmarshal(reply.Body, &review); err != nil {
		return nil, fmt.Errorf("read the CallerReview: %w", err)
	}
	return &said{what: string(review.Status.Authenticator), user: review.Status.UserInfo.Username}, nil
}

// differs is the finding that an answer is not what the server says, nil if it is.
func (l *look) differs(id, where string, given any, want, look string) *lab.Finding {
	got := ""
	if given != nil {
		got = strings.TrimSpace(fmt.Sprint(given))
	}
	if got == want {
		return nil
	}
	finding := &lab.Finding{ID: id, Where: l.Where(answersFile) + ": " + where, Found: got, Expected: "something else: " + look}
	if isAnswer(want) && !isAnswer(got) {
		finding.Expected = "what stands in status.authenticator or, if there is none, in code: " + look
	}
	if got == "" {
		finding.ID, finding.Found, finding.Expected = "not-answered", "nothing", "your answer: "+look
	}
	return finding
}

// isAnswer is whether a text is something that a call can get.
func isAnswer(text string) bool {
	_, err := strconv.Atoi(text)
	return err == nil || slices.Contains([]callerreview.Authenticator{
		callerreview.RequestHeader, callerreview.ClientCertificate, callerreview.TokenReview, callerreview.Anonymous, callerreview.Impersonation,
	}, callerreview.Authenticator(text))
}

// calls makes the calls of the task.
func (l *look) calls(ctx context.Context, given *answers) (*lab.Finding, error) {
	alice, other, header := l.Constant("user"), l.Constant("otherUser"), l.Constant("headerUser")
	// the certificates first, which seem to be right
	for _, c := range []caller{{certificate: alice}, {certificate: other}, {certificate: proxyFile, user: header}} {
		answer, err := l.call(ctx, l.server, c)
		if err != nil {
			return nil, err
		}
		if answer.user == "" {
			return &lab.Finding{ID: "refused", Where: l.Where(c.certificate + ".crt"), Found: "the server answers " + answer.what, Expected: "a CallerReview"}, nil
		}
	}
	for _, asked := range []struct {
		id, where string
		server    *rest.Config
		caller
		given any
		// user is what is said about the user, nil if nothing is asked.
		user *string
		look string
	}{
		{"certificate", "certificate", l.server, caller{certificate: alice}, given.Calls.Certificate, nil, "ask with --cert " + alice + ".crt"},
		{"token", "token", l.server, caller{token: true}, given.Calls.Token, nil, "ask with the token"},
		{"token-proxied", "tokenProxied", l.kube, caller{token: true}, given.Calls.TokenProxied, nil, "ask the kube-apiserver, with the token"},
		{"proxy", "proxy", l.server, caller{certificate: proxyFile, user: header}, given.Calls.Proxy, &given.Users.Proxy, "ask with --cert " + proxyFile + ".crt and the header"},
		{"forged-alone", "forgedAlone", l.server, caller{user: header}, given.Calls.ForgedAlone, nil, "ask with the header and no certificate"},
		{"forged-certificate", "forgedCertificate", l.server, caller{certificate: alice, user: header}, given.Calls.ForgedCertificate, &given.Users.ForgedCertificate, "ask with --cert " + alice + ".crt and the header"},
		{"forged-proxied", "forgedProxied", l.kube, caller{token: true, user: header}, given.Calls.ForgedProxied, &given.Users.ForgedProxied, "ask the kube-apiserver, with the token and the header"},
	} {
		answer, err := l.call(ctx, asked.server, asked.caller)
		if err != nil {
			return nil, err
		}
		if finding := l.differs(asked.id, "calls."+asked.where, asked.given, answer.what, asked.look); finding != nil {
			return finding, nil
		}
		if asked.user == nil {
			continue
		}
		if finding := l.differs(asked.id, "users."+asked.where, *asked.user, answer.user, asked.look); finding != nil {
			return finding, nil
		}
	}
	l.Verified("what each of 7 calls gets, and as whom, is as you say; a forged header gets nobody anything")
	return nil, nil
}

// published asks for the name that the kube-apiserver has published.
func (l *look) published(ctx context.Context, given *answers) (*lab.Finding, error) {
	published, err := readPublished(ctx, l.core)
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal([]byte(published["requestheader-allowed-names"]), &names); err != nil {
		return nil, fmt.Errorf("read the ConfigMap %s: %w", publishedConfigMap, err)
	}
	if finding := l.differs("published", "published.allowedName", given.Published.AllowedName, strings.Join(names, ","),
		"requestheader-allowed-names in the ConfigMap "+publishedConfigMap+", without brackets and quotes"); finding != nil {
		return finding, nil
	}
	l.Verified("the kube-apiserver has published that a front proxy is called %s", given.Published.AllowedName)
	return nil, nil
}

// variants runs servers with other flags and asks them.
func (l *look) variants(ctx context.Context, given *answers) (*lab.Finding, error) {
	const skipFlag, kubeconfigFlag = "--authentication-skip-lookup", "--authentication-kubeconfig="
	withoutFiles := []string{"--client-ca-file=", "--requestheader-client-ca-file="}
	variants := []*variant{
		{id: "lookup", where: "lookup", flags: withoutFiles},
		{id: "skip-lookup", where: "skipLookup", flags: slices.Concat(withoutFiles, []string{skipFlag})},
		{id: "no-kubeconfig", where: "noKubeconfig", flags: []string{kubeconfigFlag}},
	}
	for _, v := range variants {
		if err := v.start(l); err != nil {
			return nil, err
		}
	}
	for i, given := range []lookup{given.Lookup, given.SkipLookup} {
		v := variants[i]
		if err := awaitReady(ctx, v.running.Done(), v.server); err != nil {
			return nil, l.explain(v, err)
		}
		command := "ask the server that is run with " + strings.Join(v.flags, " ")
		for _, asked := range []struct {
			where string
			caller
			given any
		}{
			{"certificate", caller{certificate: l.Constant("user")}, given.Certificate},
			{"token", caller{token: true}, given.Token},
			{"proxy", caller{certificate: proxyFile, user: l.Constant("headerUser")}, given.Proxy},
		} {
			answer, err := l.call(ctx, v.server, asked.caller)
			if err != nil {
				return nil, err
			}
			if finding := l.differs(v.id, v.where+"."+asked.where, asked.given, answer.what, command); finding != nil {
				return finding, nil
			}
		}
	}
	l.Verified("without CA files the server takes those of the cluster, and with %s none", skipFlag)

	v, became := variants[2], serves
	err := awaitReady(ctx, v.running.Done(), v.server)
	if errors.Is(err, errEnded) {
		became = ends
	} else if err != nil {
		return nil, l.explain(v, err)
	}
	if finding := l.differs(v.id, v.where, given.NoKubeconfig, became, "run it with "+kubeconfigFlag+"; "+serves+" or "+ends); finding != nil {
		return finding, nil
	}
	l.Verified("without a kubeconfig for authentication it %s", became)
	return nil, nil
}

// variant is a server with other flags.
type variant struct {
	id, where string
	flags     []string

	running *process.Process
	server  *rest.Config
}

func (v *variant) start(l *look) error {
	port, err := l.FreePort()
	if err != nil {
		return err
	}
	v.server = lab.Direct(&rest.Config{}, port, l.server.CAData)
	program, args, err := command(l.Session, port, v.flags...)
	if err != nil {
		return err
	}
	v.running, err = l.Start(v.id, program, args...)
	return err
}

// explain adds what a server said last.
func (l *look) explain(v *variant, err error) error {
	group, groupErr := l.Group()
	if groupErr != nil {
		return errors.Join(err, groupErr)
	}
	return fmt.Errorf("run a server with %s: %w; it said last:\n%s", strings.Join(v.flags, " "), err, group.LogTail(v.id, 3))
}
