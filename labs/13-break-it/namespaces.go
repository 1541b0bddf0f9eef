package breakit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"portrule.example/lab/compare/process"
	"portrule.example/lab/labs/lab"
)

// The namespace controller looks for namespaces that are to go this often, and gives up
// what does not answer after that long. That of Kubernetes waits longer and longer between
// two tries, up to a minute.
const (
	round   = 300 * time.Millisecond
	roundIs = 5 * time.Second
)

// serve runs the namespace controller. The embedded control plane has none of the
// controllers of kube-controller-manager, and without this one no namespace ever ends. It
// does what that one does: it asks discovery what there is, deletes it, says in conditions
// what it could not do, and removes the finalizer kubernetes when nothing is left.
func serve(_ context.Context, s *lab.Session, _ *process.Group, say func(string)) (func() error, error) {
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	c, err := newController(admin)
	if err != nil {
		return nil, err
	}
	say("starting a controller for namespaces, which this control plane does not have")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			c.look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(round):
			}
		}
	})
	return func() error { cancel(); running.Wait(); return nil }, nil
}

type controller struct {
	core      kubernetes.Interface
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface
}

func newController(config *rest.Config) (*controller, error) {
	config = rest.CopyConfig(config)
	config.Timeout = roundIs
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	contents, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &controller{core: core, discovery: core.Discovery(), metadata: contents}, nil
}

// look goes through the namespaces that are to go. What fails is tried again in the next
// round, and the conditions say what it was.
func (c *controller) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, roundIs)
	defer cancel()
	list, err := c.core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for i := range list.Items {
		if namespace := &list.Items[i]; namespace.DeletionTimestamp != nil && slices.Contains(namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
			c.empty(ctx, namespace)
		}
	}
}

// empty removes what is in a namespace, and the finalizer if nothing is left.
func (c *controller) empty(ctx context.Context, namespace *corev1.Namespace) {
	resources, undiscovered := c.discovery.ServerPreferredResources()
	remaining, failed := c.remove(ctx, namespace.Name, resources)
	namespace, err := c.core.CoreV1().Namespaces().UpdateStatus(ctx, withConditions(namespace, undiscovered, remaining, failed), metav1.UpdateOptions{})
	if err != nil || undiscovered != nil || len(remaining) > 0 || failed != nil {
		return
	}
	namespace.Spec.Finalizers = slices.DeleteFunc(namespace.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, _ = c.core.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{}) // or in the next round
}

// remove deletes the objects of all resources in a namespace, and says which remain.
func (c *controller) remove(ctx context.Context, namespace string, lists []*metav1.APIResourceList) (remaining []string, err error) {
	var errs []error
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, resource := range list.APIResources {
			if !resource.Namespaced || !slices.Contains(resource.Verbs, "list") || !slices.Contains(resource.Verbs, "deletecollection") {
				continue
			}
			objects := c.metadata.Resource(group.WithResource(resource.Name)).Namespace(namespace)
			left, err := objects.List(ctx, metav1.ListOptions{})
			if err == nil && len(left.Items) > 0 {
				err = objects.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
				remaining = append(remaining, fmt.Sprintf("%s.%s has %d resource instances", resource.Name, group.Group, len(left.Items)))
			}
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
				errs = append(errs, err)
			}
		}
	}
	return remaining, errors.Join(errs...)
}

// withConditions is a namespace with the conditions in which the controller of Kubernetes
// says why a namespace does not go.
func withConditions(namespace *corev1.Namespace, undiscovered error, remaining []string, failed error) *corev1.Namespace {
	namespace = namespace.DeepCopy()
	namespace.Status.Phase = corev1.NamespaceTerminating
	failures := map[corev1.NamespaceConditionType]struct{ reason, message string }{}
	if undiscovered != nil {
		message := undiscovered.Error()
		if groups := (*discovery.ErrGroupDiscoveryFailed)(nil); errors.As(undiscovered, &groups) {
			message = fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups.Groups), undiscovered)
		}
		failures[corev1.NamespaceDeletionDiscoveryFailure] = struct{ reason, message string }{"DiscoveryFailed", message}
	}
	if failed != nil {
		failures[corev1.NamespaceDeletionContentFailure] = struct{ reason, message string }{"ContentDeletionFailed", "Failed to delete all resource types: " + failed.Error()}
	}
	if len(remaining) > 0 {
		failures[corev1.NamespaceContentRemaining] = struct{ reason, message string }{"SomeResourcesRemain", "Some resources are remaining: " + strings.Join(remaining, ", ")}
	}
	for _, known := range []struct {
		kind            corev1.NamespaceConditionType
		reason, message string
	}{
		{corev1.NamespaceDeletionDiscoveryFailure, "ResourcesDiscovered", "All resources successfully discovered"},
		{corev1.NamespaceDeletionContentFailure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"},
		{corev1.NamespaceContentRemaining, "ContentRemoved", "All content successfully removed"},
	} {
		condition := corev1.NamespaceCondition{Type: known.kind, Status: corev1.ConditionFalse, Reason: known.reason, Message: known.message}
		if failure, ok := failures[known.kind]; ok {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionTrue, failure.reason, failure.message
		}
		setCondition(namespace, condition)
	}
	return namespace
}

func setCondition(namespace *corev1.Namespace, condition corev1.NamespaceCondition) {
	condition.LastTransitionTime = metav1.Now()
	at := slices.IndexFunc(namespace.Status.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == condition.Type })
	if at < 0 {
		namespace.Status.Conditions = append(namespace.Status.Conditions, condition)
		return
	}
	conditions := namespace.Status.Conditions
	if conditions[at].Status == condition.Status {
		condition.LastTransitionTime = conditions[at].LastTransitionTime
	}
	conditions[at] = condition
}
