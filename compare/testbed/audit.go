package testbed

import (
	"context"
	"fmt"
)

// AuditLog returns what the kube-apiserver has written into its audit log so far, an entry
// of audit.k8s.io/v1 as JSON on each line. The last line may be cut off. It is an error if
// the control plane was started without an audit log, or by somebody else.
func (t *Testbed) AuditLog(ctx context.Context) ([]byte, error) {
	logger, ok := t.provider.(interface {
		AuditLog(ctx context.Context) ([]byte, error)
	})
	if !ok {
		return nil, fmt.Errorf("the audit log of a cluster of kind %q is its administrators'", t.provider.Kind())
	}
	return logger.AuditLog(ctx)
}
