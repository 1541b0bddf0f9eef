package crd

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/cert"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"portrule.example/lab/crd/certificates"
	"portrule.example/lab/crd/manifests"
)

const path = "/validate"

// A call that is under way when the server is asked to end is answered, by a handler
// that can still ask the API server, and then its connection is closed.
func TestServerAnswersWhatIsUnderWay(t *testing.T) {
	client, options := newTLS(t)
	s := &server{Server: ctrlwebhook.NewServer(options)}
	called, release := make(chan struct{}), make(chan struct{})
	s.Register(path, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		close(called)
		<-release
		fmt.Fprint(w, req.Context().Err())
	}))
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	poll(t, func() bool { return s.StartedChecker()(nil) == nil })

	answers := make(chan string, 1)
	address := net.JoinHostPort(options.Host, strconv.Itoa(options.Port))
	go func() {
		response, err := client.Post("https://"+address+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			answers <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answers <- fmt.Sprintf("%d, context %s, close %t, %v", response.StatusCode, body, response.Close, err)
	}()
	<-called
	end()
	poll(t, func() bool { // nobody new
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return true
		}
		defer conn.Close()
		return false
	})
	close(release)
	if got, want := <-answers, "200, context <nil>, close true, <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// While the server is ending each answer closes its connection. Before, it does not,
// and a handler learns that its client has gone.
func TestServerWhileEnding(t *testing.T) {
	for _, test := range []struct {
		ending bool
		want   string
	}{{false, ""}, {true, "close"}} {
		s := &server{Server: ctrlwebhook.NewServer(ctrlwebhook.Options{})}
		s.ending.Store(test.ending)
		ctx, leave := context.WithCancel(t.Context())
		s.Register(path, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			leave()
			if !test.ending {
				<-req.Context().Done()
			}
		}))
		w := httptest.NewRecorder()
		s.WebhookMux().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, path, nil))
		if got := w.Header().Get("Connection"); got != test.want {
			t.Errorf("ending: %t: got the header Connection: %s, want %s", test.ending, got, test.want)
		}
	}
}

// A server that waits for its certificate ends when it is asked to.
func TestServerEndsBeforeItIsReady(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	end()
	s := &server{Server: ctrlwebhook.NewServer(ctrlwebhook.Options{CertDir: t.TempDir()}), ready: make(chan struct{})}
	if err := s.Start(ctx); err != nil {
		t.Error(err)
	}
	if s.StartedChecker()(nil) == nil {
		t.Error("it says that it has started")
	}
}

// newTLS makes a certificate, and returns who trusts it and who has it.
func newTLS(t *testing.T) (*http.Client, ctrlwebhook.Options) {
	t.Helper()
	made, err := certificates.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), made[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots, err := cert.NewPoolFromBytes(made["ca.crt"])
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// HTTP/1.1, as the kube-apiserver speaks it to webhooks
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: roots, ServerName: manifests.Name + "." + manifests.SystemNamespace + ".svc", MinVersion: tls.VersionTLS12,
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, ctrlwebhook.Options{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, CertDir: dir,
	}
}

// poll waits until done is true.
func poll(t *testing.T, done func() bool) {
	t.Helper()
	if err := wait.PollUntilContextCancel(t.Context(), 10*time.Millisecond, true,
		func(context.Context) (bool, error) { return done(), nil }); err != nil {
		t.Fatal(err)
	}
}
