package crd

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/component-base/tracing"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
)

// server is controller-runtime's webhook server, which waits for a certificate and
// loses no call when it ends.
//
// Left to itself it would lose two kinds. It closes connections that are idle, and what
// the kube-apiserver sends into one at that moment is lost: to Services it speaks
// HTTP/1.1, keeps connections, and does not repeat a POST. And it cancels the contexts
// of calls that are under way, so that those which ask the API server fail.
type server struct {
	ctrlwebhook.Server
	// ready is closed when the server may start. nil means at once.
	ready <-chan struct{}
	// delay is how long the server goes on answering after it was asked to end. Each
	// answer then closes its connection, and says so.
	delay time.Duration
	// tracer makes a span of each call. nil means none.
	tracer tracing.TracerProvider

	ending atomic.Bool
}

// Register serves hook at path.
func (s *server) Register(path string, hook http.Handler) {
	if s.tracer != nil {
		hook = tracing.WithTracing(hook, s.tracer, path)
	}
	s.Server.Register(path, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if s.ending.Load() {
			w.Header().Set("Connection", "close") // in HTTP/2 a GOAWAY
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
		defer cancel()
		// cancelled if the client has gone, but not because the server ends
		stop := context.AfterFunc(req.Context(), func() {
			if !s.ending.Load() {
				cancel()
			}
		})
		defer stop()
		hook.ServeHTTP(w, req.WithContext(ctx))
	}))
}

// Start serves until the delay after ctx has ended, and then until the last call is
// answered.
func (s *server) Start(ctx context.Context) error {
	if s.ready != nil {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil
		}
	}
	serving, shutDown := context.WithCancel(context.WithoutCancel(ctx))
	defer shutDown()
	defer context.AfterFunc(ctx, func() {
		s.ending.Store(true)
		time.Sleep(s.delay)
		shutDown()
	})()
	return s.Server.Start(serving)
}
