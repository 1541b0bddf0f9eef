// Package movinghouse checks lab 14: a CRD whose group is handed over to a server and back,
// while clients work.
//
// The check moves house itself, with copies of the learner's files under a group of its
// own (trial.go), and counts what its clients notice (package clients). It looks at the
// learner's own house too: whether somebody answers there (live.go). What the learner
// expects is compared with what the trial has shown (answers.go).
package movinghouse

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 14.
var Exercise = lab.Exercise{Check: check, Prepare: prepare, Clean: clean}

// The learner's files.
const (
	serviceFile  = "service.yaml"
	runFile      = "run.sh"
	takeoverFile = "takeover.sh"
	backFile     = "back.sh"
	answersFile  = "answers.yaml"
)

// prepare makes sure that a server of this host can use the kube-apiserver's etcd.
func prepare(_ context.Context, s *lab.Session) error {
	where, err := s.Cluster()
	if err != nil {
		return err
	}
	if len(where.Etcd) == 0 || where.Dir == "" {
		return errors.New(s.Lab.Embedded)
	}
	return nil
}

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	for _, name := range []string{runFile, takeoverFile, backFile} {
		if _, finding := s.Read(name); finding != nil {
			return finding, nil
		}
	}
	service, given := &corev1.Service{}, answers{}
	if finding := s.YAML(serviceFile, service); finding != nil {
		return finding, nil
	}
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	if err := prepare(ctx, s); err != nil {
		return nil, err
	}
	l, err := newLive(s)
	if err != nil {
		return nil, err
	}
	if finding, err := l.stranded(ctx); finding != nil || err != nil {
		return finding, err
	}
	if finding := rightService(s, service); finding != nil {
		return finding, nil
	}
	t, err := newTrial(s, l)
	if err != nil {
		return nil, err
	}
	if finding, err := t.run(ctx); finding != nil || err != nil {
		return finding, err
	}
	if finding := given.compare(s, t.shown); finding != nil {
		return finding, nil
	}
	return l.moved(ctx)
}

// rightService looks at service.yaml.
func rightService(s *lab.Session, service *corev1.Service) *lab.Finding {
	where, meta, spec := s.Where(serviceFile), service.ObjectMeta, service.Spec
	found := func(id, where, found, expected string) *lab.Finding {
		return &lab.Finding{ID: id, Where: where, Found: found, Expected: expected}
	}
	switch {
	case service.Kind != "Service" || meta.Name != s.Constant("service") || meta.Namespace != s.Lab.Namespace():
		return found("service-name", where, fmt.Sprintf("%s %s/%s", service.Kind, meta.Namespace, meta.Name),
			fmt.Sprintf("Service %s/%s", s.Lab.Namespace(), s.Constant("service")))
	case spec.Type != corev1.ServiceTypeExternalName:
		given := string(spec.Type)
		if given == "" {
			given = "ClusterIP, since none is given"
		}
		return found("service-type", where+": spec.type", given, "ExternalName: there are no Pods that a selector could find")
	case spec.ExternalName != s.Constant("host"):
		return found("service-host", where+": spec.externalName", strconv.Quote(spec.ExternalName), s.Constant("host"))
	}
	return nil
}

// rightFlags looks at the flags with which run.sh starts the server, in a copy under the
// names of a trial.
func (t *trial) rightFlags(given []string) *lab.Finding {
	where := t.Where(runFile)
	found := func(id, flag, found, expected string) *lab.Finding {
		return &lab.Finding{ID: id, Where: where + ": --" + flag, Found: t.plain(found), Expected: t.plain(expected)}
	}
	flags := parse(given)
	etcd, _ := t.Cluster()
	prefix := strings.TrimSuffix(ptr.Deref(flags["etcd-prefix"], t.Constant("prefix")), "/")
	switch {
	case flags["standalone"] != nil:
		return found("standalone", "standalone", "a server that asks no cluster who its callers are", "one that the aggregator can hand requests on to, as in lab 7")
	case ptr.Deref(flags["group"], "") != t.group:
		return found("flag-group", "group", or(flags["group"], "none, so another group is served"), t.group)
	case ptr.Deref(flags["secure-port"], "") != strconv.Itoa(t.port):
		return found("flag-port", "secure-port", or(flags["secure-port"], "none, so port 443"), strconv.Itoa(t.port))
	case flags["etcd-servers"] == nil:
		return found("other-etcd", "etcd-servers", "none", "the etcd of the kube-apiserver: "+strings.Join(etcd.Etcd, ","))
	case !sameServer(*flags["etcd-servers"], etcd.Etcd):
		return found("other-etcd", "etcd-servers", or(flags["etcd-servers"], ""), "the etcd of the kube-apiserver, where the objects are: "+strings.Join(etcd.Etcd, ","))
	case prefix != t.Constant("prefix"):
		return found("other-prefix", "etcd-prefix", prefix, "where the kube-apiserver keeps what CRDs define: "+t.Constant("prefix"))
	case ptr.Deref(flags["storage-media-type"], "") != runtime.ContentTypeJSON:
		// to try it would do the CRD harm for longer than anybody waits: it gets events that it cannot read
		return found("not-json", "storage-media-type", or(flags["storage-media-type"], "none, so "+runtime.ContentTypeProtobuf), runtime.ContentTypeJSON+": the CRD has to read what your server writes")
	}
	return nil
}

// parse reads flags, --name=value or --name value.
func parse(given []string) map[string]*string {
	flags := map[string]*string{}
	for i := 0; i < len(given); i++ {
		name, ok := strings.CutPrefix(given[i], "--")
		if !ok {
			continue
		}
		name, value, has := strings.Cut(name, "=")
		if !has && i+1 < len(given) && !strings.HasPrefix(given[i+1], "--") {
			i++
			value = given[i]
		}
		flags[strings.ReplaceAll(name, "_", "-")] = &value
	}
	return flags
}

// or is what a flag says, or what its absence means.
func or(flag *string, absent string) string {
	switch {
	case flag == nil:
		return absent
	case *flag == "":
		return "nothing"
	}
	return *flag
}

// sameServer is whether a flag names one of the addresses of an etcd, with localhost or
// 127.0.0.1.
func sameServer(flag string, addresses []string) bool {
	plain := func(address string) string {
		return strings.TrimSuffix(strings.ReplaceAll(address, "localhost", "127.0.0.1"), "/")
	}
	for _, address := range addresses {
		if plain(flag) == plain(address) {
			return true
		}
	}
	return false
}
