package testbed_test

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
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
)

// standalone is a portrule-apiserver that has an etcd and nothing else.
type standalone struct {
	*process.Process
	name   string
	group  *process.Group
	server string
	// dir is its --cert-dir.
	dir string
}

// startStandalone starts a server under name and waits until it is ready. It serves on
// the given port with a certificate that the CA in the file serverCA has signed, or else
// the one that it makes in dir.
func startStandalone(t *testing.T, group *process.Group, name, dir, port, serverCA string, flags ...string) *standalone {
	t.Helper()
	program, err := cluster.Binary("portrule-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	running, err := group.Start(name, program, append([]string{"--standalone", "--cert-dir=" + dir, "--secure-port=" + port}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	if serverCA == "" {
		serverCA = filepath.Join(dir, "ca.crt")
	}
	s := &standalone{Process: running, name: name, group: group, server: "https://127.0.0.1:" + port, dir: dir}
	eventually(t, name+" is ready", func() error {
		if s.Ended() {
			t.Fatalf("%v; it said last:\n%s", s.Err(), group.LogTail(name, 3))
		}
		client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: serverCA}})
		if err != nil {
			return err // the file is yet to be written
		}
		response, err := client.Get(s.server + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s; it says:\n%s", response.Status, group.LogTail(name, 3))
		}
		return nil
	})
	return s
}

func (s *standalone) kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }

// config is that of a client that shows nothing.
func (s *standalone) config() *rest.Config {
	return &rest.Config{Host: s.server, TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(s.dir, "ca.crt")}}
}

// run runs bin/kubectl on input and returns what it prints.
func (s *standalone) run(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	program, err := cluster.Binary("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none")}
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// kubectl is run with the kubeconfig that the server has made, and must succeed.
func (s *standalone) kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := s.run(t, input, append([]string{"--kubeconfig=" + s.kubeconfig()}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ended stops the server and returns an error unless it ended well and is gone.
func (s *standalone) ended(t *testing.T) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := errors.Unwrap(s.Err()); err != nil {
		t.Error(s.Err())
	}
	pid, err := s.group.PID(s.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is left: %v", pid, err)
	}
}

const historical = `apiVersion: firewalld.fedoraproject.org/v1
kind: PortRule
metadata: {name: portrule-example}
spec: {name: nginx, host: 10.0.0.3, port: 80}
`

// With an etcd and nothing else the server serves those who hold the certificate that it
// has made, and keeps the rules of the contract that need no cluster.
func TestStandalone(t *testing.T) {
	group := startGroup(t)
	provider := cluster.NewExisting(group, cluster.ExistingOptions{})
	servers, err := provider.Etcd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := provider.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	etcd, dir, port := "--etcd-servers="+strings.Join(servers, ","), group.Path("standalone"), freePort(t)
	s := startStandalone(t, group, "standalone", dir, port, "", etcd)

	log, err := os.ReadFile(group.LogPath("standalone"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"for development", "may do everything", "namespaces are not checked", "kubectl --kubeconfig=" + s.kubeconfig()} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the server does not say %q; it says:\n%s", want, log)
		}
	}

	t.Run("contract", func(t *testing.T) {
		equal(t, "apply", s.kubectl(t, historical, "apply", "-f", "-"), "portrule.firewalld.fedoraproject.org/portrule-example created\n")
		if out := s.kubectl(t, "", "get", "portrule"); !strings.Contains(out, "portrule-example   nginx     10.0.0.3   80") {
			t.Errorf("get: %s", out)
		}
		s.kubectl(t, "", "scale", "portrule/portrule-example", "--replicas=3")
		var rule v2.PortRule
		if err := json.Unmarshal([]byte(s.kubectl(t, "", "get", "portrule", "portrule-example", "-o", "json")), &rule); err != nil {
			t.Fatal(err)
		}
		equal(t, "replicas", *rule.Spec.Replicas, int32(3))
		equal(t, "R6: who asked for it", rule.Annotations[api.RequestedBy], "portrule-admin")

		path := "/apis/" + api.Group + "/v2/namespaces/default/portrules/portrule-example/"
		if out := s.kubectl(t, "", "get", "--raw", path+"nftables"); !strings.HasPrefix(out, "# PortRule default/portrule-example:") {
			t.Errorf("nftables: %s", out)
		}
		s.kubectl(t, strings.NewReplacer("portrule-example", "loopback", "10.0.0.3", "127.0.0.1").Replace(historical), "create", "-f", "-")
		if _, err := s.run(t, "", "--kubeconfig="+s.kubeconfig(), "get", "--raw", strings.Replace(path, "portrule-example", "loopback", 1)+"probe"); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("probe of a loopback address: got %v, want that it is refused", err)
		}
		var review callerreview.CallerReview
		if err := json.Unmarshal([]byte(s.kubectl(t, `{"apiVersion": "firewalld.fedoraproject.org/v2", "kind": "CallerReview"}`, "create", "-o", "json", "-f", "-")), &review); err != nil {
			t.Fatal(err)
		}
		equal(t, "authenticator", review.Status.Authenticator, callerreview.ClientCertificate)
		equal(t, "user", review.Status.UserInfo.Username, "portrule-admin")
		equal(t, "groups", review.Status.UserInfo.Groups, []string{"portrule-admins", "system:authenticated"})

		for what, test := range map[string]struct{ old, new, want string }{
			"R1: a port":                {"port: 80", "port: 70000", "spec.port"},
			"R2: a timeout, permanent":  {"port: 80", "port: 81, timeoutSeconds: 60, isPremanent: true", "spec.timeoutSeconds"},
			"R3: another port":          {"port: 80", "port: 82", "spec.port"},
			"R4: the same endpoint":     {"portrule-example", "again", `held by PortRule "portrule-example"`},
			"a group that is not there": {"firewalld.fedoraproject.org", "example.org", "no matches for kind"},
		} {
			_, err := s.run(t, strings.Replace(historical, test.old, test.new, 1), "--kubeconfig="+s.kubeconfig(), "apply", "-f", "-")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v, want %q", what, err, test.want)
			}
		}
		// nobody knows which namespaces there are
		s.kubectl(t, historical, "apply", "-n", "anywhere", "-f", "-")
	})

	t.Run("callers", func(t *testing.T) {
		own := func(config *rest.Config) {
			config.CertFile, config.KeyFile = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
		}
		for what, test := range map[string]struct {
			change func(*rest.Config)
			code   int32
		}{
			"the client":                    {own, http.StatusOK},
			"the client, as somebody":       {both(own, func(config *rest.Config) { config.Impersonate.UserName = "alice" }), http.StatusOK},
			"the client, as nobody":         {both(own, func(config *rest.Config) { config.Impersonate.UserName = "system:anonymous" }), http.StatusForbidden},
			"nothing":                       {func(*rest.Config) {}, http.StatusUnauthorized},
			"a certificate of another CA":   {withCertificate(sign(t, newCA(t, "another"), "portrule-admin", "system:masters")), http.StatusUnauthorized},
			"a CA of the same name":         {withCertificate(sign(t, newCA(t, "portrule-apiserver-standalone"), "portrule-admin")), http.StatusUnauthorized},
			"a token":                       {withToken("token"), http.StatusUnauthorized},
			"headers":                       {as("portrule-admin", "", "system:masters"), http.StatusUnauthorized},
			"headers, beside a certificate": {both(own, as("alice", "", "system:masters")), http.StatusOK},
		} {
			err := raw(t, credentials(s.config(), test.change)).Get().AbsPath("/apis", api.Group, "v2", "portrules").Do(t.Context()).Error()
			code := int32(http.StatusOK)
			if status := apierrors.APIStatus(nil); errors.As(err, &status) {
				code, err = status.Status().Code, nil
			}
			if err != nil || code != test.code {
				t.Errorf("%s: got %d, %v, want %d", what, code, err, test.code)
			}
		}
		// /readyz is what startStandalone waits for
		if err := raw(t, s.config()).Get().AbsPath("/livez").Do(t.Context()).Error(); err != nil {
			t.Errorf("nothing, of the server's health: %v", err)
		}
	})

	t.Run("kubectl --server", func(t *testing.T) {
		out, err := s.run(t, "", "--server="+s.server, "--certificate-authority="+filepath.Join(dir, "ca.crt"),
			"--client-certificate="+filepath.Join(dir, "client.crt"), "--client-key="+filepath.Join(dir, "client.key"),
			"get", "portrule", "portrule-example", "-o", "name")
		if err != nil || out != "portrule.firewalld.fedoraproject.org/portrule-example\n" {
			t.Errorf("got %q, %v", out, err)
		}
	})

	t.Run("restart", func(t *testing.T) {
		copied, err := os.ReadFile(s.kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		before := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(before, copied, 0o600); err != nil {
			t.Fatal(err)
		}
		s.ended(t)
		s = startStandalone(t, group, "restarted", dir, port, "", etcd)
		for _, kubeconfig := range []string{before, s.kubeconfig()} {
			out, err := s.run(t, "", "--kubeconfig="+kubeconfig, "get", "portrule", "portrule-example", "-o", "jsonpath={.spec.replicas}")
			if err != nil || out != "3" {
				t.Errorf("%s: got %q, %v", kubeconfig, out, err)
			}
		}
	})

	t.Run("certificates that are given", func(t *testing.T) {
		servingCA, clientCA := newCA(t, "serving-ca"), newCA(t, "client-ca")
		pair, err := servingCA.Serving("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		files := t.TempDir()
		path := func(name string) string { return filepath.Join(files, name) }
		for name, data := range map[string][]byte{"serving-ca.crt": servingCA.PEM(), "client-ca.crt": clientCA.PEM(), "tls.crt": pair.Cert, "tls.key": pair.Key} {
			if err := os.WriteFile(path(name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		serving := []string{etcd, "--tls-cert-file=" + path("tls.crt"), "--tls-private-key-file=" + path("tls.key")}
		unused := path("unused")
		given := startStandalone(t, group, "given", unused, freePort(t), path("serving-ca.crt"), append(serving, "--client-ca-file="+path("client-ca.crt"))...)
		if _, err := os.Stat(unused); !os.IsNotExist(err) {
			t.Errorf("there is nothing to keep in %s, and it is there: %v", unused, err)
		}
		config := &rest.Config{Host: given.server, TLSClientConfig: rest.TLSClientConfig{CAData: servingCA.PEM()}}
		review, err := createReview(t, credentials(config, withCertificate(sign(t, clientCA, "alice"))))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "user", review.Status.UserInfo.Username, "alice")
		foreign, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		foreign.Host, foreign.CAData = given.server, servingCA.PEM()
		if _, err := createReview(t, foreign); !apierrors.IsUnauthorized(err) {
			t.Errorf("a certificate of the CA that is not used: got %v, want that it is unauthorized", err)
		}
		given.ended(t)

		// a kubeconfig is made with the client certificate, and trusts the one that is given
		one := startStandalone(t, group, "given-serving", path("made"), freePort(t), path("serving-ca.crt"), serving...)
		equal(t, "get", one.kubectl(t, "", "get", "portrule", "portrule-example", "-o", "name"), "portrule.firewalld.fedoraproject.org/portrule-example\n")
		one.ended(t)
	})
	s.ended(t)
}

// The server reaches an etcd that serves by TLS alone, and only to those who show a
// client certificate.
func TestStandaloneEtcdTLS(t *testing.T) {
	group := startGroup(t)
	etcdCA := newCA(t, "etcd-ca")
	serving, err := etcdCA.Serving("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	client := sign(t, etcdCA, "portrule-apiserver")
	for name, data := range map[string][]byte{
		"ca.crt": etcdCA.PEM(), "etcd.crt": serving.Cert, "etcd.key": serving.Key, "client.crt": client.Cert, "client.key": client.Key,
	} {
		if err := os.WriteFile(group.Path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, err := cluster.Binary("etcd")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://127.0.0.1:" + freePort(t)
	etcd, err := group.Start("etcd", program, "--data-dir="+group.Path("data"),
		"--listen-client-urls="+url, "--advertise-client-urls="+url, "--listen-peer-urls=http://127.0.0.1:0",
		"--cert-file="+group.Path("etcd.crt"), "--key-file="+group.Path("etcd.key"),
		"--client-cert-auth", "--trusted-ca-file="+group.Path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := etcd.Stop(); err != nil {
			t.Error(err)
		}
	})
	health := func(pair *certs.Pair) error {
		config := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: etcdCA.PEM(), CertData: pair.Cert, KeyData: pair.Key}}
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return err
		}
		response, err := client.Get(url + "/health")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	}
	eventually(t, "etcd is healthy", func() error {
		if etcd.Ended() {
			t.Fatalf("%v; it said last:\n%s", etcd.Err(), group.LogTail("etcd", 3))
		}
		return health(client)
	})
	if health(&certs.Pair{}) == nil {
		t.Fatal("etcd serves those who show no certificate")
	}

	s := startStandalone(t, group, "standalone", group.Path("standalone"), freePort(t), "", "--etcd-servers="+url,
		"--etcd-cafile="+group.Path("ca.crt"), "--etcd-certfile="+group.Path("client.crt"), "--etcd-keyfile="+group.Path("client.key"))
	s.kubectl(t, historical, "apply", "-f", "-")
	equal(t, "get", s.kubectl(t, "", "get", "portrule", "-o", "name"), "portrule.firewalld.fedoraproject.org/portrule-example\n")
	s.ended(t)
}

// Without --standalone and without a control plane the server does not start, and says
// which flags would lead to one.
func TestWithoutControlPlane(t *testing.T) {
	program, err := cluster.Binary("portrule-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writePair(t, dir)
	gone := filepath.Join(dir, "gone")
	if err := cluster.WriteKubeconfig(gone, cluster.Context{Name: "gone", Config: &rest.Config{Host: "https://127.0.0.1:" + freePort(t)}}); err != nil {
		t.Fatal(err)
	}
	kubeconfigs := func(file string) []string {
		return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file}
	}
	for name, test := range map[string]struct {
		flags []string
		code  int
		want  []string
	}{
		"no flags":     {nil, 2, []string{"--kubeconfig, --authentication-kubeconfig, --authorization-kubeconfig", "not a Pod", "--standalone"}},
		"one flag":     {[]string{"--kubeconfig=" + gone}, 2, []string{"--authentication-kubeconfig, --authorization-kubeconfig"}},
		"no file":      {kubeconfigs(filepath.Join(dir, "absent")), 1, []string{"--kubeconfig=", "absent: no such file"}},
		"nobody there": {kubeconfigs(gone), 1, []string{"--kubeconfig=" + gone, "does not answer", "connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, append([]string{"--etcd-servers=http://127.0.0.1:" + freePort(t), "--secure-port=" + freePort(t),
				"--tls-cert-file=" + filepath.Join(dir, "tls.crt"), "--tls-private-key-file=" + filepath.Join(dir, "tls.key")}, test.flags...)...)
			cmd.Env = []string{"HOME=" + dir} // nothing that leads to a cluster
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != test.code {
				t.Errorf("got %v, want exit code %d", err, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("got %s, want %q in it", out, want)
				}
			}
			if lines := strings.Count(string(out), "\n"); lines > test.code {
				t.Errorf("got %d lines, want the error, and where there is help after an error in the flags:\n%s", lines, out)
			}
		})
	}
}
