// Package openapi checks lab 12: what the learner's server says of its types, and what
// follows from it.
//
// The learner has Go types, and definitions that openapi-gen has made of them (markers.go
// makes sure that it was asked again after the last edit). The check builds the small
// program that writes the definitions, has the lab's server (server/) serve them behind the
// real aggregator under a group of its own, and reads what the cluster publishes, explains,
// and makes of what two users apply.
package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/12-openapi/definitions"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 12.
var Exercise = lab.Exercise{Check: check, Prepare: prepare, Clean: clean}

// The learner's files.
const (
	docFile, typesFile, mainFile = "doc.go", "types.go", "main.go"
	generatedFile                = "zz_generated.openapi.go"
	generateScript               = "generate.sh"
)

// What the server serves, see the package server.
const kind, version, resource = "PortSet", "v1", "portsets"

// serverProgram is the lab's server, in the session's state.
const serverProgram = "openapi-server"

// prepare builds the server: linking it takes as long as a check may.
func prepare(ctx context.Context, s *lab.Session) error {
	if err := os.MkdirAll(s.State, 0o755); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(s.State, serverProgram), "./labs/"+s.Lab.Name()+"/cmd/"+serverProgram)
	build.Dir = s.Root
	build.Env = append(os.Environ(), lab.BuildEnvironment...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server of the lab: %w:\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	if _, err := s.Cluster(); err != nil {
		return nil, err
	}
	all, path, finding, err := generated(ctx, s)
	if finding != nil || err != nil {
		return finding, err
	}
	s.Verified("what was generated is what %s and %s ask for", docFile, typesFile)
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	t := &trial{Session: s, admin: admin, all: all, name: lab.Scratch()}
	t.group = t.name + "." + s.Constant("group")
	if finding, err := t.serve(ctx, path); finding != nil || err != nil {
		return finding, err
	}
	for _, ask := range []func(context.Context) (*lab.Finding, error){t.publishes, t.describes, t.explains, t.validates, t.applies, t.sources} {
		if finding, err := ask(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// generated builds the learner's program and runs it. It returns the definitions and the
// file that has them.
func generated(ctx context.Context, s *lab.Session) (*definitions.Definitions, string, *lab.Finding, error) {
	for _, name := range []string{docFile, typesFile, mainFile} {
		if _, finding := s.Read(name); finding != nil {
			return nil, "", finding, nil
		}
	}
	notGenerated := func(where, found, expected string) (*definitions.Definitions, string, *lab.Finding, error) {
		return nil, "", &lab.Finding{ID: "not-generated", Where: s.Where(where), Found: found, Expected: expected}, nil
	}
	if _, err := os.Stat(s.Path(generatedFile)); err != nil {
		return notGenerated(generatedFile, "no such file", "what "+generateScript+" makes")
	}
	paths, err := filepath.Glob(s.Path("*.go"))
	if err != nil {
		return nil, "", nil, err
	}
	var names []string
	for _, path := range paths {
		if name := filepath.Base(path); !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	program, finding, err := s.Build(ctx, names...)
	if finding != nil || err != nil {
		return nil, "", finding, err
	}
	group, err := s.Group()
	if err != nil {
		return nil, "", nil, err
	}
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, program)
	command.Stdout, command.Stderr = &stdout, &stderr
	path := group.Path("definitions.json")
	var all *definitions.Definitions
	if err = command.Run(); err == nil {
		if err := os.WriteFile(path, stdout.Bytes(), 0o600); err != nil {
			return nil, "", nil, err
		}
		all, err = definitions.Load(path)
	}
	if ctx.Err() != nil {
		return nil, "", nil, ctx.Err()
	}
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return nil, "", &lab.Finding{ID: "program-ends", Where: s.Where(mainFile), Found: strings.TrimSpace(err.Error() + ": " + said), Expected: "a program that writes definitions"}, nil
	}
	read, err := readSource(s)
	if err != nil {
		return nil, "", nil, err
	}
	document, err := all.Document()
	if err != nil {
		return nil, "", nil, err
	}
	if where, found, expected := read.stale(all, document); where != "" {
		return notGenerated(where, found, expected)
	}
	return all, path, nil, nil
}

// trial is the server with the learner's definitions, under a group that nobody uses.
type trial struct {
	*lab.Session
	admin       *rest.Config
	all         *definitions.Definitions
	name, group string
	document    *definitions.Document
}

func (t *trial) found(id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: where, Expected: expected, Found: strings.ReplaceAll(strings.TrimSpace(found), t.group, t.Constant("group"))}
}

// noModel is what a server says that does not find the definition of a type.
var noModel = regexp.MustCompile(`cannot find model definition for (\S+?)\.? `)

// serve starts the server and waits until requests reach it.
func (t *trial) serve(ctx context.Context, path string) (*lab.Finding, error) {
	where, err := t.Cluster()
	if err != nil {
		return nil, err
	}
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	kubeconfig, program := group.Path("admin.kubeconfig"), filepath.Join(t.State, serverProgram)
	if err := where.WriteAdmin(kubeconfig); err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		if err := prepare(ctx, t.Session); err != nil {
			return nil, err
		}
	}
	t.Cleanup(func() error {
		return t.Unregister(context.Background(), lab.Registration{Service: t.name, Group: t.group, Version: version})
	})
	running, err := t.Start("server", program, "--definitions", path, "--group", t.group, "--service", t.name, "--host", t.Host(), "--kubeconfig", kubeconfig)
	if err != nil {
		return nil, err
	}
	last := ""
	err = t.await(ctx, func(ctx context.Context) (bool, error) {
		if running.Ended() {
			return true, nil
		}
		reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/apis/"+t.group+"/"+version, "", "")
		if err != nil {
			return false, err
		}
		last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
		return reply.Status == http.StatusOK, nil
	})
	switch {
	case running.Ended():
		return t.ended(running, group.LogTail("server", 1)), nil
	case wait.Interrupted(err) && ctx.Err() == nil:
		return nil, fmt.Errorf("the server of the lab is not reached: %s", last)
	}
	return nil, err
}

func (t *trial) await(ctx context.Context, f wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, f)
}

// ended is the finding of a server that does not serve.
func (t *trial) ended(running *process.Process, said string) *lab.Finding {
	said = strings.TrimPrefix(strings.TrimSpace(said), "error: ")
	if said == "" {
		said = running.Err().Error()
	}
	match := noModel.FindStringSubmatch(said + " ")
	switch {
	case match == nil:
		return t.found("server-ends", "the server", said, "a server that serves")
	case match[1] == t.all.Models[kind] || match[1] == t.all.Models[kind+"List"]:
		if !strings.HasPrefix(match[1], "main.") {
			break // the names agree, the definition itself is missing
		}
		return t.found("no-model-package", t.Where(docFile), "the server ends: "+said,
			"definitions under a name that the types know, by the marker +"+modelMarker)
	}
	return t.found("no-definition", t.Where(typesFile), "the server ends: "+said, "a definition of each type, by the marker +"+generateMarker+"=true")
}

func (t *trial) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: t.group, Version: version, Kind: kind}
}

// publishes waits until the cluster publishes what the server says.
func (t *trial) publishes(ctx context.Context) (*lab.Finding, error) {
	last := ""
	err := t.await(ctx, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/openapi/v3/apis/"+t.group+"/"+version, "", "")
		if err != nil || reply.Status != http.StatusOK {
			if err == nil {
				last = fmt.Sprintf("status %d: %s", reply.Status, reply.Message())
			}
			return false, err
		}
		t.document, err = definitions.ReadDocument(reply.Body)
		return true, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = errors.New("the kube-apiserver does not publish the server's OpenAPI document: " + last)
	}
	if err != nil {
		return nil, err
	}
	if name, definition := t.document.Kind(t.gvk()); definition == nil {
		return t.found("no-kind", t.Where(mainFile), "no definition has the extension x-kubernetes-group-version-kind of "+kind, "one: it is how clients find it"), nil
	} else if name != t.all.Models[kind] {
		return nil, fmt.Errorf("the definition of %s is called %s", kind, name)
	}
	t.Verified("the cluster publishes a definition of %s, with group, version and kind", kind)
	return nil, nil
}

// where names a field in the learner's source.
func (t *trial) where(path ...string) string {
	return t.Where(typesFile) + ": " + strings.Join(path, ".")
}

// described are the fields that users read about.
var described = [][]string{
	{"spec"}, {"spec", "ports"}, {"spec", "ports", "name"}, {"spec", "ports", "port"}, {"spec", "ports", "protocol"}, {"spec", "sources"}, {"spec", "note"},
}

// describes looks for fields of which nothing is said.
func (t *trial) describes(context.Context) (*lab.Finding, error) {
	_, root := t.document.Kind(t.gvk())
	for _, path := range described {
		field := t.document.Field(root, path...)
		if field == nil {
			return t.found("renamed", t.where(path...), "the document has no such field", "the fields that start/"+typesFile+" has"), nil
		}
		if strings.TrimSpace(field.Description) == "" {
			return t.found("no-description", t.where(path...), "no description", "the comment that the field has"), nil
		}
	}
	return nil, nil
}

// explains asks kubectl about a field.
func (t *trial) explains(ctx context.Context) (*lab.Finding, error) {
	kubectl, err := cluster.Binary("kubectl")
	if err != nil {
		return nil, err
	}
	group, err := t.Group()
	if err != nil {
		return nil, err
	}
	field := strings.Join([]string{resource, "spec", "ports", "protocol"}, ".")
	command := exec.CommandContext(ctx, kubectl, "explain", field, "--api-version", t.group+"/"+version, "--kubeconfig", group.Path("admin.kubeconfig"), "--cache-dir", group.Path("cache"))
	out, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("kubectl explain %s: %w: %s", field, err, bytes.TrimSpace(out))
	}
	if !bytes.Contains(out, []byte("tcp")) {
		return t.found("no-description", t.where("spec", "ports", "protocol"), "kubectl explain says "+strings.Join(strings.Fields(string(out)), " "), "what absent means, and which protocols there are"), nil
	}
	t.Verified("each field has a description, which kubectl explain shows")
	return nil, nil
}

// validates judges manifests as editors do.
func (t *trial) validates(context.Context) (*lab.Finding, error) {
	good := t.set("good", `{"ports":[{"name":"http","port":80}]}`)
	if errs := t.document.Validate([]byte(good)); len(errs) > 0 {
		return t.found("refuses-good", t.where("spec", "note"), "a set with ports and no note: "+errs[0].Error(), "no complaint: absent means that it is obvious"), nil
	}
	for _, bad := range []struct{ field, spec string }{
		{"name", `{"ports":[{"port":80}]}`},
		{"port", `{"ports":[{"name":"http"}]}`},
	} {
		if errs := t.document.Validate([]byte(t.set("bad", bad.spec))); len(errs) == 0 {
			return t.found("accepts-bad", t.where("spec", "ports", bad.field), "a port without "+bad.field+" is valid", "a required field"), nil
		}
	}
	t.Verified("a manifest without note is valid by the document, a port without name or port is not")
	return nil, nil
}

// set is a PortSet as JSON.
func (t *trial) set(name, spec string) string {
	return `{"apiVersion":"` + t.group + "/" + version + `","kind":"` + kind + `","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
}

// apply applies a spec by server-side apply as a field manager.
func (t *trial) apply(ctx context.Context, name, manager, spec string) (*lab.Reply, error) {
	path := "/apis/" + t.group + "/" + version + "/namespaces/" + t.Lab.Namespace() + "/" + resource + "/" + name
	return lab.Send(ctx, t.admin, http.MethodPatch, path+"?fieldManager="+manager, "application/apply-patch+yaml", t.set(name, spec))
}

// first applies what the first manager wants, with which nobody interferes yet.
func (t *trial) first(ctx context.Context, name, spec string) (*lab.Finding, error) {
	reply, err := t.apply(ctx, name, "anna", spec)
	if err != nil || reply.Status == http.StatusCreated {
		return nil, err
	}
	return t.found("list-type", t.where("spec"), fmt.Sprintf("kubectl apply --server-side of %s: status %d: %s", spec, reply.Status, reply.Message()), "status 201"), nil
}

// applies has two managers apply ports.
func (t *trial) applies(ctx context.Context) (*lab.Finding, error) {
	where := t.where("spec", "ports")
	if finding, err := t.first(ctx, "ports", `{"ports":[{"name":"http","port":80}]}`); finding != nil || err != nil {
		return finding, err
	}
	const others = `{"ports":[{"name":"dns","port":53,"protocol":"tcp"},{"name":"dns-udp","port":53,"protocol":"udp"}]}`
	reply, err := t.apply(ctx, "ports", "bert", others)
	if err != nil {
		return nil, err
	}
	what := "anna has applied the port http, and bert dns and dns-udp, both 53: "
	var set struct {
		Spec struct {
			Ports []struct {
				Name string `json:"name"`
			} `json:"ports"`
		} `json:"spec"`
	}
	switch {
	case reply.Status == http.StatusConflict:
		return t.found("list-atomic", where, what+reply.Message(), "no conflict: they are different ports of a list that both manage"), nil
	case reply.Status != http.StatusOK:
		return t.found("wrong-key", where, fmt.Sprintf("%sstatus %d: %s", what, reply.Status, reply.Message()), "three ports, which differ in their names"), nil
	}
	if err := json.Unmarshal(reply.Body, &set); err != nil {
		return nil, fmt.Errorf("read a PortSet: %w", err)
	}
	if len(set.Spec.Ports) != 3 {
		return t.found("list-atomic", where, fmt.Sprintf("%s%d ports are left", what, len(set.Spec.Ports)), "three ports"), nil
	}
	reply, err = t.apply(ctx, "ports", "bert", `{"ports":[{"name":"http","port":8080}]}`)
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusConflict {
		return t.found("wrong-key", where, fmt.Sprintf("anna has applied http with port 80, and bert http with 8080: status %d", reply.Status), "status 409, a conflict about one port: its name tells which"), nil
	}
	t.Verified("two may apply ports of one set: a conflict is about a port that both have, by its name")
	return nil, nil
}

// sources has two managers apply sources.
func (t *trial) sources(ctx context.Context) (*lab.Finding, error) {
	where := t.where("spec", "sources")
	if finding, err := t.first(ctx, "sources", `{"sources":["10.0.0.0/8"]}`); finding != nil || err != nil {
		return finding, err
	}
	reply, err := t.apply(ctx, "sources", "bert", `{"sources":["192.168.0.0/16"]}`)
	if err != nil {
		return nil, err
	}
	what := "anna has applied the source 10.0.0.0/8, and bert 192.168.0.0/16: "
	if reply.Status != http.StatusOK {
		return t.found("sources-atomic", where, what+reply.Message(), "both sources"), nil
	}
	if !bytes.Contains(reply.Body, []byte("10.0.0.0/8")) {
		return t.found("sources-atomic", where, what+"the first is gone", "both sources"), nil
	}
	t.Verified("sources are a set, to which each adds its own")
	return nil, nil
}

// clean removes what a server of the learner's has left that was killed, and the CRD.
func clean(ctx context.Context, s *lab.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	crd.SetName(resource + "." + s.Constant("crdGroup"))
	return errors.Join(
		s.Unregister(ctx, lab.Registration{Service: "sets", Group: s.Constant("group"), Version: version}),
		client.IgnoreNotFound(c.Delete(ctx, crd)),
	)
}
