package policiesandwebhooks

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"portrule.example/lab/compare/cluster"
)

// relay hands the requests of the learner's webhook on to the kube-apiserver, and counts them.
type relay struct {
	requests atomic.Int64
	// forbid makes it refuse them, as if the webhook had no right.
	forbid atomic.Bool
	// gate holds the answers back. nil means that it does not.
	gate atomic.Pointer[gate]

	server *http.Server
	host   string
}

// newRelay starts a relay with the rights of config's user.
func newRelay(config *rest.Config) (*relay, error) {
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{host: "http://" + listener.Addr().String()}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(request *httputil.ProxyRequest) { request.SetURL(target) },
		ModifyResponse: func(response *http.Response) error {
			if gate := r.gate.Load(); gate != nil {
				gate.pass(response.Request.Context())
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	r.server = &http.Server{ReadHeaderTimeout: answerTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.requests.Add(1)
		if r.forbid.Load() {
			http.Error(w, "the check lets you list nothing", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, request)
	})}
	go func() { _ = r.server.Serve(listener) }() // until it is closed
	return r, nil
}

// kubeconfig writes a kubeconfig that leads to the relay.
func (r *relay) kubeconfig(path string) error {
	return cluster.WriteKubeconfig(path, cluster.Context{Name: "webhook", Config: &rest.Config{Host: r.host}})
}

// gateTimeout is how long a gate holds who is alone. It is shorter than any timeoutSeconds.
const gateTimeout = 500 * time.Millisecond

// gate lets two pass together: each has read what is there before either can add to it.
type gate struct {
	mutex  sync.Mutex
	waits  int
	opened chan struct{}
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) pass(ctx context.Context) {
	g.mutex.Lock()
	if g.waits++; g.waits == 2 {
		close(g.opened)
	}
	g.mutex.Unlock()
	select {
	case <-g.opened:
	case <-ctx.Done():
	case <-time.After(gateTimeout): // a webhook that judges one after the other
	}
}
