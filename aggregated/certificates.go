package aggregated

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"portrule.example/lab/aggregated/certificates"
)

// serveRotating keeps the server's certificate valid for as long as serve serves. In a
// new cluster there is none yet: serve is called once kubelet has written the first.
//
// If the rotation fails serve is ended, so that kubelet starts the server again and
// somebody sees it. Otherwise it would show after months.
func (o *Options) serveRotating(ctx context.Context, serve func(context.Context) error) error {
	// an empty path means the service account of the Pod
	config, err := clientcmd.BuildConfigFromFlags("", o.Recommended.CoreAPI.CoreAPIKubeconfigPath)
	if err != nil {
		return fmt.Errorf("find the cluster: %w; outside of a Pod name a kubeconfig with --kubeconfig", err)
	}
	files := o.Recommended.SecureServing.ServerCert.CertKey
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return certificates.Rotate(ctx, config, o.Group, filepath.Dir(files.CertFile)) })
	group.Go(func() error {
		if !awaitCertificate(ctx, files.CertFile, files.KeyFile) {
			return nil
		}
		return serve(ctx)
	})
	return group.Wait()
}

// awaitCertificate waits until the files are a certificate and its key. It returns
// false if ctx ends before.
func awaitCertificate(ctx context.Context, certFile, keyFile string) bool {
	for said := false; ; said = true {
		_, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err == nil {
			return true
		}
		if !said {
			klog.FromContext(ctx).Info("Waiting for the certificate, which kubelet writes a minute or so after it is in the Secret", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
		}
	}
}
