// Package rollout waits until Deployments and StatefulSets are rolled out, and if
// they are not, says why, as far as the cluster knows: what one would look for with
// kubectl describe, get events and logs.
//
// [Wait] is the entry, for one [Workload] or several. [Explain] is its diagnosis alone,
// for whoever has waited for something else that a workload provides, an APIService for
// example.
//
// It only reads, and asks again and again: no watch, no informer. rollout.go decides
// when waiting is over, and what no waiting can help, which is said before the time is
// up. explain.go looks for the cause, from the nodes over the workload to its Pods
// and their logs, and keeps it short enough for an error message.
//
// The tests work on a fake clientset, and say what each cause looks like.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const (
	pollInterval = 250 * time.Millisecond
	// lookInterval is how often failures are looked for. It takes more requests than
	// the status of the workloads, and failures last.
	lookInterval = time.Second
	// grace is how long a failure must last to be final. What is missing may come
	// right after the workload, and the kubelet tries again after 10 to 15 s.
	grace = 20 * time.Second
	// crashLoop is how many restarts make a crash loop final.
	crashLoop = 3
	// requestsTimeout limits a round of requests if the API server does not answer. A
	// round begun in time may end later: what a request cut short says is no cause.
	requestsTimeout = 10 * time.Second
)

// The kinds of workloads.
const (
	deployment  = "Deployment"
	statefulSet = "StatefulSet"
)

// Workload names what is waited for.
type Workload struct {
	// Kind is "Deployment" or "StatefulSet".
	Kind string
	// Namespace and Name are its own; both are required.
	Namespace, Name string
}

func (w Workload) String() string { return w.Kind + " " + w.Namespace + "/" + w.Name }

func (w Workload) check() error {
	if w.Kind != deployment && w.Kind != statefulSet {
		return fmt.Errorf("%s is neither a %s nor a %s", w, deployment, statefulSet)
	}
	return nil
}

// Wait returns nil when all workloads are rolled out at the same time: each replica
// is of the latest revision and available, and no other is left.
//
// If they are not after timeout, the error has a sentence for each that is not, and
// lines below it, indented, with the causes. It comes earlier if waiting cannot
// help: a container's image is missing and may not be pulled or has no valid name, a
// container cannot be created, or no Pod can, each for 20 s; or a container is in a
// crash loop, had 3 restarts and at least one of them during the wait, while no other
// workload still starts containers that it may need.
//
// A workload that does not exist is an error at once, and so is a request that is
// refused; an API server that does not answer is not. It can make the last look and
// the diagnosis of each workload last 10 s beyond timeout. If ctx ends first, the error
// wraps that of ctx, without a diagnosis.
func Wait(ctx context.Context, client kubernetes.Interface, timeout time.Duration, workloads ...Workload) error {
	w := &waiter{client: client, since: map[string]time.Time{}, restarts: map[string]int32{}}
	for _, workload := range workloads {
		if err := workload.check(); err != nil {
			return fmt.Errorf("wait for a rollout: %w", err)
		}
		w.rollouts = append(w.rollouts, rollout{Workload: workload})
	}
	err := wait.PollUntilContextTimeout(ctx, pollInterval, timeout, true, func(context.Context) (bool, error) {
		return w.poll(ctx)
	})
	verdict := "cannot be rolled out"
	switch {
	case err == nil && len(w.failed) == 0:
		return nil
	case wait.Interrupted(err):
		verdict = fmt.Sprintf("is not rolled out after %s", timeout)
		w.failed = w.unfinished()
	case err != nil:
		return err
	}
	var messages []string
	for _, r := range w.failed {
		if ctx.Err() == nil {
			messages = append(messages, fmt.Sprintf("%s %s: %s", r.Workload, verdict, explain(ctx, client, r)))
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait until the workloads are rolled out: %w", ctx.Err())
	}
	return errors.New(strings.Join(messages, "\n"))
}

// waiter is what one call of Wait knows.
type waiter struct {
	client   kubernetes.Interface
	rollouts []rollout
	failed   []rollout // those that waiting cannot help
	looked   time.Time
	since    map[string]time.Time // when a failure that lasts was first seen
	restarts map[string]int32     // of each container when it was first seen
}

// poll reports whether the wait is over, be it for failures.
func (w *waiter) poll(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestsTimeout)
	defer cancel()
	for i, r := range w.rollouts {
		read, err := read(ctx, w.client, r.Workload)
		if err != nil && !transient(err) {
			return false, fmt.Errorf("wait for %s: %w", r.Workload, err)
		}
		if err == nil {
			w.rollouts[i] = read
		}
		w.rollouts[i].err = err
	}
	if len(w.unfinished()) == 0 {
		return true, nil
	}
	if time.Since(w.looked) >= lookInterval {
		w.looked = time.Now()
		w.failed = w.look(ctx)
	}
	return len(w.failed) > 0, nil
}

func (w *waiter) unfinished() []rollout {
	var unfinished []rollout
	for _, r := range w.rollouts {
		if r.err != nil || !r.done() {
			unfinished = append(unfinished, r)
		}
	}
	return unfinished
}

// prospect is what can be expected of a workload or container, the worst last.
type prospect int

const (
	running  prospect = iota // or it did, or nothing bad is known
	starting                 // it has not run yet
	crashing                 // in a loop: it may be for want of what is starting
	hopeless
)

// look returns the workloads that waiting cannot help.
func (w *waiter) look(ctx context.Context) []rollout {
	found := map[prospect]int{}
	var failed []rollout
	for _, r := range w.unfinished() {
		p := w.prospect(ctx, r)
		found[p]++
		if p >= crashing {
			failed = append(failed, r)
		}
	}
	if found[hopeless] == 0 && found[starting] > 0 {
		return nil
	}
	return failed
}

func (w *waiter) prospect(ctx context.Context, r rollout) prospect {
	if r.err != nil || !r.observed {
		return starting // what is there may be of an earlier generation
	}
	failure := r.condition(appsv1.DeploymentReplicaFailure)
	if w.lasts(string(r.object.GetUID()), failure != nil && failure.Status == corev1.ConditionTrue) {
		return hopeless
	}
	owned, err := r.owns(ctx, w.client)
	if err != nil || len(owned.pods) == 0 {
		return starting
	}
	worst := running
	for _, pod := range owned.pods {
		statuses := containers(&pod)
		if len(statuses) == 0 {
			worst = max(worst, starting)
		}
		for _, status := range statuses {
			if pod.DeletionTimestamp == nil {
				worst = max(worst, w.container(string(pod.UID)+"/"+status.Name, status.ContainerStatus))
			}
		}
	}
	return worst
}

func (w *waiter) container(key string, status corev1.ContainerStatus) prospect {
	// a crash loop from before the wait may have been cured since
	first, ok := w.restarts[key]
	if !ok {
		first = status.RestartCount
		w.restarts[key] = first
	}
	waiting := ptr.Deref(status.State.Waiting, corev1.ContainerStateWaiting{})
	switch {
	case w.lasts(key, final(waiting.Reason)):
		return hopeless
	case waiting.Reason == "CrashLoopBackOff" && status.RestartCount >= crashLoop && status.RestartCount > first:
		return crashing
	case !started(status):
		return starting
	}
	return running
}

// lasts reports whether something has failed at every look for as long as grace.
func (w *waiter) lasts(key string, failing bool) bool {
	if !failing {
		delete(w.since, key)
		return false
	}
	first, ok := w.since[key]
	if !ok {
		first = time.Now()
		w.since[key] = first
	}
	return time.Since(first) >= grace
}

// final reports whether a container that waits for this reason goes on waiting until
// somebody changes its Pod or what the Pod names.
func final(reason string) bool {
	switch reason {
	case "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError":
		return true
	}
	return false
}

// transient reports whether a request that failed so may succeed later, unchanged.
func transient(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true // there was no answer
	}
	return status.Status().Code >= 500 || apierrors.IsTooManyRequests(err)
}

// rollout is a workload as it was last read.
type rollout struct {
	Workload
	err error // of the last attempt to read it

	object   metav1.Object // nil if it was never read
	selector *metav1.LabelSelector
	revision string // the latest
	observed bool   // its controller knows the latest generation, so that what follows is about it

	want, replicas, updated, available int32
	conditions                         []appsv1.DeploymentCondition
}

func read(ctx context.Context, client kubernetes.Interface, workload Workload) (rollout, error) {
	r := rollout{Workload: workload}
	switch workload.Kind {
	case deployment:
		d, err := client.AppsV1().Deployments(workload.Namespace).Get(ctx, workload.Name, metav1.GetOptions{})
		if err != nil {
			return r, err
		}
		r.object, r.selector, r.revision = d, d.Spec.Selector, d.Annotations[revisionAnnotation]
		r.observed = d.Status.ObservedGeneration >= d.Generation
		r.want, r.replicas = ptr.Deref(d.Spec.Replicas, 1), d.Status.Replicas
		r.updated, r.available = d.Status.UpdatedReplicas, d.Status.AvailableReplicas
		r.conditions = d.Status.Conditions
	case statefulSet:
		s, err := client.AppsV1().StatefulSets(workload.Namespace).Get(ctx, workload.Name, metav1.GetOptions{})
		if err != nil {
			return r, err
		}
		r.object, r.selector, r.revision = s, s.Spec.Selector, s.Status.UpdateRevision
		r.observed = s.Status.ObservedGeneration >= s.Generation
		r.want, r.replicas = ptr.Deref(s.Spec.Replicas, 1), s.Status.Replicas
		r.updated, r.available = s.Status.UpdatedReplicas, s.Status.AvailableReplicas
	}
	return r, workload.check()
}

func (r rollout) done() bool {
	return r.observed && r.updated == r.want && r.replicas == r.want && r.available == r.want
}

// progress says how far it is.
func (r rollout) progress() string {
	if !r.observed {
		return fmt.Sprintf("its controller has not seen generation %d (does the kube-controller-manager run?)", r.object.GetGeneration())
	}
	text := fmt.Sprintf("%d of %d replicas are available", min(r.available, r.want), r.want)
	switch {
	case r.available > 0 && r.updated < r.want:
		text += fmt.Sprintf(", %d updated", r.updated)
	case r.replicas > r.updated:
		text += ", old ones are left"
	}
	return text
}

func (r rollout) condition(kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range r.conditions {
		if r.conditions[i].Type == kind {
			return &r.conditions[i]
		}
	}
	return nil
}

// revisionAnnotation ties a Deployment to the newest of its ReplicaSets.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// owned is what belongs to a workload.
type owned struct {
	pods, old   []corev1.Pod // of the latest revision, and of others
	controllers []types.UID  // the workload and, for a Deployment, its newest ReplicaSet
}

func (r rollout) owns(ctx context.Context, client kubernetes.Interface) (owned, error) {
	selector, err := metav1.LabelSelectorAsSelector(r.selector)
	if err != nil {
		return owned{}, err
	}
	options := metav1.ListOptions{LabelSelector: selector.String()}
	o := owned{controllers: []types.UID{r.object.GetUID()}}

	revisions := map[types.UID]string{} // of the ReplicaSets
	if r.Kind == deployment {
		sets, err := client.AppsV1().ReplicaSets(r.Namespace).List(ctx, options)
		if err != nil {
			return owned{}, fmt.Errorf("list the ReplicaSets: %w", err)
		}
		for _, set := range sets.Items {
			if !metav1.IsControlledBy(&set, r.object) {
				continue
			}
			revisions[set.UID] = set.Annotations[revisionAnnotation]
			if revisions[set.UID] == r.revision {
				o.controllers = append(o.controllers, set.UID)
			}
		}
	}
	pods, err := client.CoreV1().Pods(r.Namespace).List(ctx, options)
	if err != nil {
		return owned{}, fmt.Errorf("list the Pods: %w", err)
	}
	for _, pod := range pods.Items {
		controller := metav1.GetControllerOfNoCopy(&pod)
		if controller == nil {
			continue
		}
		revision, ok := revisions[controller.UID]
		if controller.UID == r.object.GetUID() {
			revision, ok = pod.Labels[appsv1.ControllerRevisionHashLabelKey]
		}
		switch {
		case !ok:
		case revision == r.revision:
			o.pods = append(o.pods, pod)
		default:
			o.old = append(o.old, pod)
		}
	}
	return o, nil
}
