// Package breakit checks lab 13: a server, a webhook, a certificate and an etcd that fail.
//
// The check breaks things of its own, under scratch names, and sees what clients see: an
// aggregated server (aggregated.go), a webhook registered by a copy of the learner's
// configuration (webhook.go), and the etcd of the control plane, which it stops for an
// instant (etcd.go). What the learner expects is compared with that (answers.go). It looks
// at what the learner has broken, too, and whether that is whole again (live.go).
//
// The embedded control plane has no namespace controller: namespaces.go is one.
package breakit

import (
	"context"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 13.
var Exercise = lab.Exercise{Check: check, Serve: serve, Clean: clean}

// The learner's files.
const (
	webhookFile = "webhook.yaml"
	renewFile   = "renew.sh"
	answersFile = "answers.yaml"
)

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	where, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	woken, err := where.Wake()
	if err != nil {
		return nil, err
	}
	if len(woken) > 0 {
		s.Verified("what was stopped runs again, the check has seen to that: %s", strings.Join(woken, ", "))
	}
	config, given := &admissionv1.ValidatingWebhookConfiguration{}, &answers{}
	if finding := s.YAML(webhookFile, config); finding != nil {
		return finding, nil
	}
	if finding := s.YAML(answersFile, given); finding != nil {
		return finding, nil
	}
	if _, finding := s.Read(renewFile); finding != nil {
		return finding, nil
	}
	l, err := newLive(s)
	if err != nil {
		return nil, err
	}
	seen := &answers{}
	// what no trial of a moment shows: that of Kubernetes says so, and so does namespaces.go
	seen.Server.Namespace = string(corev1.NamespaceDeletionDiscoveryFailure)
	// an API server reads its certificate anew when the file changes
	seen.Certificate.Restart = no
	for _, step := range []func(context.Context) (*lab.Finding, error){
		l.webhookAnswers,
		func(ctx context.Context) (*lab.Finding, error) { return l.tryWebhook(ctx, config, seen) },
		l.tryRenewal,
		func(ctx context.Context) (*lab.Finding, error) { return nil, l.tryServer(ctx, seen) },
		func(ctx context.Context) (*lab.Finding, error) { return nil, l.tryEtcd(ctx, seen) },
		func(context.Context) (*lab.Finding, error) { return given.compare(s, seen), nil },
		l.serverAnswers,
		l.tenantHasGone,
	} {
		if finding, err := step(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}
