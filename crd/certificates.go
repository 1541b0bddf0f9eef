package crd

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"portrule.example/lab/api"
	"portrule.example/lab/crd/manifests"
)

// secretName is the Secret that holds the webhooks' certificate, mounted at
// --cert-dir, and the CA that signed it.
const secretName = manifests.Name + "-certs"

// rotate makes the manager keep the webhooks' certificate valid: 90 days before it
// ends there is a new one in the Secret, and its CA where the kube-apiserver reads
// it, in the webhook configurations and in the CRD. kubelet then writes the files,
// a minute or more later, and the webhook server takes them up.
//
// The returned channel is closed when the certificate is there.
func rotate(mgr manager.Manager, group, certDir string) (<-chan struct{}, error) {
	name := api.Resource + "." + group // of all three
	ready := make(chan struct{})
	err := rotator.AddRotator(mgr, &rotator.CertRotator{
		SecretKey:      types.NamespacedName{Namespace: manifests.SystemNamespace, Name: secretName},
		CertDir:        certDir,
		CAName:         manifests.Name + "-ca",
		CAOrganization: manifests.Name,
		DNSName:        manifests.Name + "." + manifests.SystemNamespace + ".svc",
		FieldOwner:     manifests.Name,
		IsReady:        ready,
		Webhooks: []rotator.WebhookInfo{
			{Name: name, Type: rotator.Validating},
			{Name: name, Type: rotator.Mutating},
			{Name: name, Type: rotator.CRDConversion},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("add the rotation of certificates: %w", err)
	}
	return ready, nil
}

// readyServer is a webhook server that starts when ready is closed.
type readyServer struct {
	ctrlwebhook.Server
	ready <-chan struct{}
}

// Start serves until ctx ends.
func (s readyServer) Start(ctx context.Context) error {
	select {
	case <-s.ready:
		return s.Server.Start(ctx)
	case <-ctx.Done():
		return nil
	}
}
