package emptyfolder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// server is a process of the learner's program.
type server struct {
	*process.Process
	name string
	port int
}

// start starts a process of the program, on a port of its own.
func (t *trial) start(name string) (*server, error) {
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	certificate, key, kubeconfig := group.Path("server.crt"), group.Path("server.key"), group.Path("admin.kubeconfig")
	if t.ca == nil {
		ca, err := certs.NewCA(t.name + "-ca")
		if err != nil {
			return nil, err
		}
		pair, err := ca.Serving(t.registration().ServerName(t.Lab), "localhost")
		if err != nil {
			return nil, err
		}
		err = errors.Join(os.WriteFile(certificate, pair.Cert, 0o600), os.WriteFile(key, pair.Key, 0o600), t.where.WriteAdmin(kubeconfig))
		if err != nil {
			return nil, err
		}
		t.ca = ca.PEM()
	}
	s := &server{name: name}
	if s.port, err = t.FreePort(); err != nil {
		return nil, err
	}
	s.Process, err = t.Start(name, t.program,
		"--group="+t.group,
		"--etcd-servers="+strings.Join(t.where.Etcd, ","),
		"--bind-address="+t.BindAddress(),
		"--secure-port="+strconv.Itoa(s.port),
		"--tls-cert-file="+certificate,
		"--tls-private-key-file="+key,
		"--kubeconfig="+kubeconfig,
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
	)
	return s, err
}

// kill ends a process at once.
func (t *trial) kill(s *server) error {
	group, err := t.Group()
	if err != nil {
		return err
	}
	pid, err := group.PID(s.name)
	if err != nil {
		return err
	}
	err = syscall.Kill(pid, syscall.SIGKILL)
	<-s.Done()
	return err
}

// direct asks a process itself, not by way of the kube-apiserver. Each request has a
// connection of its own: on one that is older than what a server knows of the cluster's CA
// a client stays anonymous.
func (t *trial) direct(ctx context.Context, s *server, user *rest.Config, path string) (*lab.Reply, error) {
	config := lab.Direct(user, s.port, t.ca)
	config.Dial = (&net.Dialer{}).DialContext
	return lab.Send(ctx, config, http.MethodGet, path, "", "")
}

// ready waits until a process says that it is.
func (t *trial) ready(ctx context.Context, s *server) (*lab.Finding, error) {
	var finding *lab.Finding
	last := ""
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (done bool, err error) {
		if s.Ended() {
			finding, err = t.ended(s)
			return true, err
		}
		reply, err := t.direct(ctx, s, &rest.Config{}, "/readyz")
		if err != nil {
			last = err.Error()
			return false, nil //nolint:nilerr // it does not listen yet
		}
		last = fmt.Sprintf("status %d", reply.Status)
		for line := range strings.Lines(string(reply.Body)) {
			if strings.HasPrefix(line, "[-]") {
				last += ", " + strings.TrimSpace(line)
			}
		}
		return reply.Status == http.StatusOK, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return t.found("not-ready", serverFile, "GET /readyz of the server", fmt.Sprintf("%s, after %s", last, lab.SettleTimeout), "status 200"), nil
	}
	return finding, err
}

var (
	// lastWords is how a program says why it ends.
	lastWords = regexp.MustCompile(`(?m)^(?:panic: |error: |fatal error: |F\d{4} [^\]]*\] )(.*)$`)
	// brokenOff is what the server has said of a request whose handler has panicked.
	brokenOff = regexp.MustCompile(`"Observed a panic" panic=(?:<\s+|")([^"\n]*)`)
	// storeFault is what the store says of a field of its own, after all of its fields.
	storeFault = regexp.MustCompile(`^store .* (must (?:have|set) .*)$`)
	// ownLine is a place in the learner's files in a stack.
	ownLine = regexp.MustCompile(`/answer/(\S+\.go):(\d+)`)
)

// said is what a process has said last, without the stack, and the first line of the
// learner's that the stack names.
func (t *trial) said(s *server) (words, file, line string, err error) {
	group, err := t.Group()
	if err != nil {
		return "", "", "", err
	}
	data, err := os.ReadFile(group.LogPath(s.name))
	if err != nil {
		return "", "", "", err
	}
	if found := lastWords.FindAllSubmatch(data, -1); found != nil {
		words = string(found[len(found)-1][1])
	} else if found := brokenOff.FindSubmatch(data); found != nil {
		words = "a panic: " + string(found[1])
	}
	if found := ownLine.FindSubmatch(data); found != nil {
		file, line = string(found[1]), string(found[2])
	}
	return words, file, line, nil
}

// logged is whether the log of a process has all of some texts.
func (t *trial) logged(s *server, texts ...string) (bool, error) {
	group, err := t.Group()
	if err != nil {
		return false, err
	}
	data, err := os.ReadFile(group.LogPath(s.name))
	if err != nil {
		return false, err
	}
	for _, text := range texts {
		if !strings.Contains(string(data), text) {
			return false, nil
		}
	}
	return true, nil
}

// ended is the finding of a server that has ended.
func (t *trial) ended(s *server) (*lab.Finding, error) {
	words, file, line, err := t.said(s)
	if err != nil {
		return nil, err
	}
	if words == "" {
		words = "nothing"
		if err := s.Err(); err != nil {
			words = err.Error()
		}
	}
	fault := storeFault.FindStringSubmatch(words)
	words = shorten(strings.ReplaceAll(words, filepath.Dir(t.program), ""))
	coding, err := t.logged(s, "\npanic: ", "runtime.CheckCodec(")
	if err != nil {
		return nil, err
	}
	has := func(text string) bool { return strings.Contains(words, text) }
	switch {
	case coding:
		return t.found("storage-codec", serverFile, "the server", words+", where objects are encoded for etcd", "a codec for etcd"), nil
	case has("nothing is served yet"):
		return t.found("nothing-yet", mainFile, "the server", words, "a server that serves until it is stopped"), nil
	case has("unknown flag"):
		return t.found("flags", mainFile, "the server", words, "the flags of the recommended options, and --group"), nil
	case has("must not be nil"):
		return t.found("no-openapi", serverFile, "the server", words, "an OpenAPIConfig and an OpenAPIV3Config"), nil
	case has("model definition"), has("OpenAPI"), has("openapi"):
		return t.found("no-definition", openapiFile, "the server", words, "a description of every type, under the name that the type says"), nil
	case has("no version priority set"):
		return t.found("group", serverFile, "the server", "a group to install that is not in the scheme", "the version of the group installed, under the name in --group"), nil
	case has("no kind"):
		return t.found("scheme", serverFile, "the scheme", words, "Zone and ZoneList in it, for every version that they are asked for"), nil
	}
	where := mainFile
	switch {
	case file != "":
		where = file + ":" + line
	case fault != nil:
		where, words = registryFile, "the store "+fault[1]
	}
	return t.found("server-ends", where, "the server", words, "a server that serves until it is stopped"), nil
}

// serve starts the server, and waits until it is ready.
func (t *trial) serve(ctx context.Context) (*lab.Finding, error) {
	var err error
	if t.servers[0], err = t.start("server"); err != nil {
		return nil, err
	}
	return t.ready(ctx, t.servers[0])
}

// recognises makes sure that the server knows the cluster's administrator, and has the
// group.
func (t *trial) recognises(ctx context.Context) (*lab.Finding, error) {
	reply, err := t.recognised(ctx, t.servers[0])
	if err != nil {
		return nil, err
	}
	where := "GET " + t.path() + ", as the cluster's administrator"
	switch reply.Status {
	case http.StatusOK:
		t.Verified("it serves %s/%s, and knows whom the cluster knows", t.Constant("group"), t.Constant("version"))
		return nil, nil
	case http.StatusNotFound:
		return t.found("group", serverFile, where, "status 404", "status 200: the version of the group installed, under the name in --group"), nil
	default:
		return t.found("not-delegated", serverFile, where, status(reply), "status 200, from a server that asks the cluster who callers are"), nil
	}
}

// knownTimeout bounds the wait until a server that is ready knows the cluster's users: it
// reads the CA of their certificates from a ConfigMap, and is ready before it has.
const knownTimeout = 10 * time.Second

// recognised asks a process for its group, as the administrator, until it knows who that
// is. It returns the last answer.
func (t *trial) recognised(ctx context.Context, s *server) (*lab.Reply, error) {
	var reply *lab.Reply
	err := wait.PollUntilContextTimeout(ctx, lab.PollInterval, knownTimeout, true, func(ctx context.Context) (_ bool, err error) {
		reply, err = t.direct(ctx, s, t.admin, t.path())
		return err == nil && reply.Status != http.StatusUnauthorized && reply.Status != http.StatusForbidden, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil && reply != nil {
		err = nil
	}
	return reply, err
}

func (t *trial) registration() lab.Registration {
	r := lab.Registration{Service: t.name, Group: t.group, Version: t.Constant("version"), CA: t.ca}
	if t.servers[0] != nil {
		r.Port = t.servers[0].port
	}
	return r
}

// register tells the cluster of the server, and meanwhile starts another process of it.
func (t *trial) register(ctx context.Context) (_ *lab.Finding, err error) {
	if t.servers[1], err = t.start("another"); err != nil {
		return nil, err
	}
	// the last thing that goes is what requests may have left
	t.Cleanup(func() error {
		return forget(context.Background(), t.where, t.Constant("prefix")+"/"+t.group+"/")
	})
	t.Cleanup(func() error { return t.Unregister(context.Background(), t.registration()) })
	if err := t.Register(ctx, t.registration()); err != nil {
		return nil, err
	}
	t.Verified("the aggregator hands requests on to it")
	return nil, nil
}

// path is a path of the group and version, with something behind it.
func (t *trial) path(rest ...string) string {
	return "/apis/" + t.group + "/" + t.Constant("version") + strings.Join(rest, "")
}

// discovery asks what the server serves.
func (t *trial) discovery(ctx context.Context) (*lab.Finding, error) {
	reply, err := lab.Send(ctx, t.admin, http.MethodGet, t.path(), "", "")
	if err != nil {
		return nil, err
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(reply.Body, &list); err != nil {
		return nil, fmt.Errorf("read what your server serves: %w", err)
	}
	wanted := t.Constant("resource")
	var names []string
	for _, resource := range list.APIResources {
		names = append(names, resource.Name)
		if resource.Name != wanted {
			continue
		}
		what := "discovery, resource " + wanted
		missing := slices.DeleteFunc([]string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
			func(verb string) bool { return slices.Contains(resource.Verbs, verb) })
		switch {
		case resource.Kind != t.Constant("kind"):
			return t.found("kind", typesFile, what, "kind "+resource.Kind, "kind "+t.Constant("kind")), nil
		case !resource.Namespaced:
			return t.found("namespaced", registryFile, what, "it is in no namespace", "namespaced: true"), nil
		case resource.SingularName != t.Constant("singular"):
			return t.found("singular", registryFile, what, fmt.Sprintf("singularName %q", resource.SingularName), t.Constant("singular")), nil
		case len(missing) > 0:
			return t.found("verbs", registryFile, what, "no verb "+strings.Join(missing, ", "), "every verb that the generic store has"), nil
		}
		t.Verified("discovery has %s, with every verb, in namespaces", wanted)
		return nil, nil
	}
	return t.found("plural", serverFile, "discovery", fmt.Sprintf("resources %q", names), wanted), nil
}

// schema is what is looked at of an OpenAPI schema.
type schema struct {
	Ref        string            `json:"$ref"`
	AllOf      []schema          `json:"allOf"`
	Properties map[string]schema `json:"properties"`
	Kinds      []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

// fields are the properties of a schema, or of what it refers to.
func (s schema) fields(all map[string]schema) map[string]schema {
	if len(s.AllOf) > 0 {
		return s.AllOf[0].fields(all)
	}
	if s.Ref != "" {
		return all[s.Ref[strings.LastIndex(s.Ref, "/")+1:]].Properties
	}
	return s.Properties
}

// openapi reads what kubectl explain reads.
func (t *trial) openapi(ctx context.Context) (*lab.Finding, error) {
	path := "/openapi/v3" + t.path()
	reply, err := t.direct(ctx, t.servers[0], t.admin, path)
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusOK {
		return t.found("no-openapi", serverFile, "GET "+path, status(reply), "the description of the group: an OpenAPIV3Config"), nil
	}
	var document struct {
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal(reply.Body, &document); err != nil {
		return nil, fmt.Errorf("read your server's OpenAPI v3 document: %w", err)
	}
	all := document.Components.Schemas
	for name, described := range all {
		for _, kind := range described.Kinds {
			if kind.Group != t.group || kind.Kind != t.Constant("kind") || kind.Version != t.Constant("version") {
				continue
			}
			if len(described.Kinds) > 1 {
				return t.found("openapi-internal", serverFile, name, fmt.Sprintf("it is said to be %d kinds: %v", len(described.Kinds), described.Kinds),
					"one kind: the internal version is nobody's to see"), nil
			}
			spec := described.fields(all)["spec"].fields(all)
			for _, field := range []string{"target", "interfaces"} {
				if _, ok := spec[field]; !ok {
					return t.found("openapi-fields", openapiFile, name, "spec has no field "+field, "every field of types.go, under its JSON name"), nil
				}
			}
			t.Verified("its OpenAPI v3 document describes %s, for kubectl explain and for server-side apply", kind.Kind)
			return nil, nil
		}
	}
	return t.found("openapi-kind", openapiFile, "GET "+path, "no schema that is said to be "+t.Constant("kind"),
		"one, with x-kubernetes-group-version-kind: the server adds that where the names agree"), nil
}
