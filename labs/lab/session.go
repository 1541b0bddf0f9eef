package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	gopsprocess "github.com/shirou/gopsutil/v4/process"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// ErrDown says that the control plane of the labs does not run.
var ErrDown = errors.New("the labs' control plane is not running")

// Cluster is where a lab is done.
type Cluster struct {
	// Kind is embedded or kind, empty if the cluster is somebody else's.
	Kind string `json:"kind,omitempty"`
	// Kubeconfig is the path of the administrator's kubeconfig. It has contexts for other
	// users too, by their names, if the labs have made the cluster.
	Kubeconfig string `json:"kubeconfig"`
	// Context is the administrator's context in it. Empty means the current one.
	Context string `json:"context,omitempty"`
	// Etcd are the URLs of the control plane's etcd, none if the cluster is somebody
	// else's.
	Etcd []string `json:"etcd,omitempty"`
	// Host is the name or the address by which the kube-apiserver reaches programs of this
	// host. Empty means localhost.
	Host string `json:"host,omitempty"`
	// Dir holds the logs and certificates of the control plane's processes on this host:
	// audit.log, kube-apiserver.log, kube-apiserver/front-proxy-ca.crt and so on. It is empty
	// if the cluster is somebody else's, and on kind there is but the etcd.
	Dir string `json:"dir,omitempty"`
}

// WriteAdmin writes a kubeconfig whose only context is the administrator's.
func (c *Cluster) WriteAdmin(path string) error {
	config, err := load(c.Kubeconfig, c.Context)
	if err != nil {
		return err
	}
	return cluster.WriteKubeconfig(path, cluster.Context{Name: "admin", Config: config})
}

// Wake continues those of the control plane's processes of this host that somebody has
// stopped (SIGSTOP), and returns their names.
func (c *Cluster) Wake() (woken []string, err error) {
	if c.Dir == "" {
		return nil, nil
	}
	files, err := filepath.Glob(filepath.Join(c.Dir, "*.pid"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return woken, err
		}
		pid, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 32)
		if err != nil {
			return woken, fmt.Errorf("read %s: %w", file, err)
		}
		p, err := gopsprocess.NewProcess(int32(pid))
		if err != nil {
			continue // it has ended
		}
		if status, err := p.Status(); err != nil || !slices.Contains(status, gopsprocess.Stop) {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(file), ".pid")
		if err := p.Resume(); err != nil {
			return woken, fmt.Errorf("continue %s: %w", name, err)
		}
		woken = append(woken, name)
	}
	return woken, nil
}

// Users who have a client certificate and no rights, beside the administrator.
var Users = []string{"alice", "bob"}

// Session is what a check looks at.
type Session struct {
	Lab *Lab
	// Root is the repository, Work the learner's directory, both absolute.
	Root, Work string
	// State is a directory for what may be kept from one check to the next, such as
	// programs that were built.
	State string

	cluster  *Cluster
	verified []string
	missing  []string
	cleanups []func() error
	group    *process.Group
}

// NewSession returns a session. cluster is nil if none runs.
func NewSession(l *Lab, root, work, state string, cluster *Cluster) *Session {
	return &Session{Lab: l, Root: root, Work: work, State: state, cluster: cluster}
}

// Constant returns a constant of the manifest. One that is not there is an error of
// the lab, which [Session.Close] returns.
func (s *Session) Constant(name string) string {
	constant, ok := s.Lab.Constants[name]
	if !ok {
		s.missing = append(s.missing, name)
	}
	return constant.Value
}

// Verified notes what a check has made sure of, for the learner to read at the end.
func (s *Session) Verified(format string, args ...any) {
	s.verified = append(s.verified, fmt.Sprintf(format, args...))
}

// AllVerified is what the check has noted.
func (s *Session) AllVerified() []string { return s.verified }

// Path names a file of the learner's.
func (s *Session) Path(name string) string { return filepath.Join(s.Work, name) }

// Where names a file of the learner's in a finding: by its path in the repository.
func (s *Session) Where(name string) string {
	return filepath.Join("labs", s.Lab.Name(), WorkDir, name)
}

// Read returns the contents of a file of the learner's.
func (s *Session) Read(name string) ([]byte, *Finding) {
	data, err := os.ReadFile(s.Path(name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, Missing(s.Where(name))
	case err != nil:
		return nil, &Finding{ID: FileMissing, Where: s.Where(name), Found: err.Error(), Expected: "a file that can be read"}
	}
	return data, nil
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// YAML reads a file of the learner's, of one YAML document, into what into points to. A
// field that into has not is a finding.
func (s *Session) YAML(name string, into any) *Finding {
	data, finding := s.Read(name)
	if finding != nil {
		return finding
	}
	where := s.Where(name)
	err := yaml.UnmarshalStrict(data, into)
	if err == nil && len(bytes.TrimSpace(data)) == 0 {
		err = errors.New("an empty file")
	}
	if err == nil {
		return nil
	}
	found := err.Error()
	if mistyped := (*json.UnmarshalTypeError)(nil); errors.As(err, &mistyped) && mistyped.Field != "" {
		return &Finding{ID: YAMLBroken, Where: where + ": " + mistyped.Field, Found: named(mistyped.Value), Expected: expectedOf(mistyped.Type)}
	}
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "yaml: "} {
		found = strings.TrimPrefix(found, prefix)
	}
	if line := yamlLine.FindStringSubmatch(found); line != nil {
		where += ":" + line[1]
	}
	return &Finding{ID: YAMLBroken, Where: where, Found: found, Expected: "YAML with the fields that the task names"}
}

// named is a value of JSON in the words of YAML.
func named(value string) string {
	switch value {
	case "array":
		return "a list"
	case "object":
		return "fields of its own"
	case "bool":
		return "true or false"
	}
	return "a " + value
}

// expectedOf says what is to be written for a value of a type.
func expectedOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "fields of its own"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	}
	return "a number"
}

// Cluster returns where the lab is done, and [ErrDown] if nothing runs.
func (s *Session) Cluster() (*Cluster, error) {
	if s.cluster == nil {
		return nil, ErrDown
	}
	return s.cluster, nil
}

// Admin returns the administrator's client configuration.
func (s *Session) Admin() (*rest.Config, error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	return load(where.Kubeconfig, where.Context)
}

// User returns the client configuration of an ordinary user: one of [Users] by its own
// certificate. In somebody else's cluster the administrator impersonates the user.
func (s *Session) User(name string) (*rest.Config, error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	if config, err := load(where.Kubeconfig, name); err == nil {
		return config, nil
	}
	config, err := load(where.Kubeconfig, where.Context)
	if err != nil {
		return nil, err
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	return config, nil
}

// load reads a context of a kubeconfig, the current one if it is empty.
func load(kubeconfig, context string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the labs' kubeconfig: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// Reply is what a server has said to a request.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Message is what the server says in words: the message of a Status, or the body.
func (r *Reply) Message() string {
	var status metav1.Status
	if json.Unmarshal(r.Body, &status) == nil && status.Message != "" {
		return status.Message
	}
	return strings.TrimSpace(string(r.Body))
}

// Send sends one request as config's user and returns the answer, whatever its status.
// body may be empty; it is JSON or YAML by contentType.
func Send(ctx context.Context, config *rest.Config, method, path, contentType, body string) (*Reply, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return &Reply{Status: response.StatusCode, Header: response.Header, Body: data}, err
}

// Scratch returns a name that nobody else uses, for copies of what the learner has made.
func Scratch() string { return "check-" + rand.String(5) }

var scratch = regexp.MustCompile(`\bcheck-[a-z0-9]{5}\b`)

// IsScratch is whether a name has one in it that Scratch has returned.
func IsScratch(name string) bool { return scratch.MatchString(name) }

// Cleanup has f called when the session ends, the last one first.
func (s *Session) Cleanup(f func() error) { s.cleanups = append(s.cleanups, f) }

// Group returns the processes of the session, which end with it.
func (s *Session) Group() (*process.Group, error) {
	if s.group == nil {
		group, err := process.NewTemporaryGroup("portrule-lab-check")
		if err != nil {
			return nil, err
		}
		s.group = group
		s.cleanups = append([]func() error{group.Close}, s.cleanups...)
	}
	return s.group, nil
}

// Start runs a program until the session ends. It is killed then, since nobody needs what
// it has: what it leaves in the cluster is the check's to remove.
func (s *Session) Start(name, program string, args ...string) (*process.Process, error) {
	group, err := s.Group()
	if err != nil {
		return nil, err
	}
	running, err := group.Start(name, program, args...)
	if err != nil {
		return nil, err
	}
	s.Cleanup(func() error {
		if pid, err := group.PID(name); err == nil && !running.Ended() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may end just now
		}
		<-running.Done()
		return nil
	})
	return running, nil
}

// Close takes back what the session has made.
func (s *Session) Close() error {
	var errs []error
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		errs = append(errs, s.cleanups[i]())
	}
	s.cleanups = nil
	if len(s.missing) > 0 {
		errs = append(errs, fmt.Errorf("%s has no constant %s", s.Lab.Dir(ManifestFile), strings.Join(s.missing, ", ")))
	}
	return errors.Join(errs...)
}
