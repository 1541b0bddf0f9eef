// Package emptyfolder checks lab 16: an API server that the learner has written.
//
// The check builds it and runs it under a group of its own, on the etcd of the labs and
// behind the real aggregator, and then uses it: discovery, OpenAPI, every verb, what it
// should refuse, who may what, what is in etcd (server.go has the first part, requests.go
// the rest). What the kube-apiserver would answer as well, such as 403, is asked of the
// server itself.
package emptyfolder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 16.
var Exercise = lab.Exercise{Check: check, Clean: clean}

// The learner's files. There may be more of them.
const (
	typesFile    = "types.go"
	openapiFile  = "openapi.go"
	registryFile = "registry.go"
	serverFile   = "server.go"
	mainFile     = "main.go"
)

// sources are all the files that make the program.
func sources(s *lab.Session) ([]string, *lab.Finding) {
	names := []string{mainFile, typesFile, openapiFile, registryFile, serverFile}
	for _, name := range names {
		if _, finding := s.Read(name); finding != nil {
			return nil, finding
		}
	}
	// the pattern is well-formed
	paths, _ := filepath.Glob(s.Path("*.go"))
	for _, path := range paths {
		name := filepath.Base(path)
		if !slices.Contains(names, name) && !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	return names, nil
}

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	files, finding := sources(s)
	if finding != nil {
		return finding, nil
	}
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	if len(where.Etcd) == 0 {
		return nil, errors.New("this lab needs the labs' own control plane, since the server keeps its objects in the etcd of that")
	}
	t := &trial{Session: s, where: where, name: lab.Scratch(), zone: lab.Scratch()}
	t.group = t.name + "." + s.Constant("group")
	if t.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	if t.client, err = s.Client(); err != nil {
		return nil, err
	}
	if t.program, finding, err = s.Build(ctx, files...); finding != nil || err != nil {
		return finding, err
	}
	s.Verified("it compiles")
	for _, part := range []func(context.Context) (*lab.Finding, error){
		t.serve, t.recognises, t.register, t.discovery, t.openapi,
		t.create, t.watchAndUpdate, t.read, t.refuses, t.puts, t.stored, t.users, t.restart,
	} {
		if finding, err := part(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// trial is the learner's server, under a group that nobody uses.
type trial struct {
	*lab.Session
	where  *lab.Cluster
	admin  *rest.Config
	client client.Client

	program string
	// name is that of the Service, and in the name of the group. zone is the name of the
	// object by which the server is tried out.
	name, group, zone string
	// servers are the first process of the program and, for when that has ended, another.
	servers [2]*server
	// ca has signed the certificate of both.
	ca []byte
	// uid is the object's.
	uid string
}

// found is a finding about a file of the learner's, in the names that the learner knows.
func (t *trial) found(id, file, what, found, expected string) *lab.Finding {
	names := strings.NewReplacer(t.group, t.Constant("group"))
	where := t.Where(file)
	if what != "" {
		where += ": " + names.Replace(what)
	}
	return &lab.Finding{ID: id, Where: where, Found: names.Replace(strings.TrimSpace(found)), Expected: names.Replace(expected)}
}

// status is what a finding says of an answer.
func status(reply *lab.Reply) string {
	return fmt.Sprintf("status %d: %s", reply.Status, shorten(reply.Message()))
}

// shorten makes one line of a text that may be long.
func shorten(text string) string {
	const most = 300
	if text = strings.Join(strings.Fields(text), " "); len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// clean removes what tells the cluster of the learner's server, and its objects in etcd.
// The server is the learner's to stop.
func clean(ctx context.Context, s *lab.Session) error {
	where, err := s.Cluster()
	if err != nil {
		return err
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	service := metav1.ObjectMeta{Namespace: s.Lab.Namespace(), Name: s.Constant("service")}
	registration := metav1.ObjectMeta{Name: s.Constant("version") + "." + s.Constant("group")}
	var errs []error
	for _, object := range []client.Object{
		&apiregistrationv1.APIService{ObjectMeta: registration},
		&discoveryv1.EndpointSlice{ObjectMeta: service},
		&corev1.Service{ObjectMeta: service},
	} {
		errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, object)))
	}
	if len(where.Etcd) > 0 {
		errs = append(errs, forget(ctx, where, s.Constant("prefix")+"/"+s.Constant("group")+"/"))
	}
	return errors.Join(errs...)
}
