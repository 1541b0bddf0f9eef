package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// What keeps a diagnosis short.
const (
	maxNodes    = 3
	maxPods     = 3
	maxWarnings = 3 // of one object
	maxLog      = 5 // lines
	maxLine     = 400
)

// Explain says how far a workload is and, in indented lines below, why it is no
// further: what its nodes, its controller, its Pods and their events tell, the worst
// first. Replicas that fail alike are told once. What the client may not read or does
// not get within 10 s is left out.
func Explain(ctx context.Context, client kubernetes.Interface, workload Workload) string {
	readCtx, cancel := context.WithTimeout(ctx, requestsTimeout)
	defer cancel()
	r, err := read(readCtx, client, workload)
	if err != nil {
		r = rollout{Workload: workload, err: err}
	}
	return explain(ctx, client, r)
}

func explain(ctx context.Context, client kubernetes.Interface, r rollout) string {
	ctx, cancel := context.WithTimeout(ctx, requestsTimeout)
	defer cancel()
	if r.object == nil {
		return fmt.Sprintf("it cannot be read: %v", r.err)
	}
	lines := []string{r.progress()}
	if r.err != nil {
		return fmt.Sprintf("%s\n  it cannot be read any more: %v", lines[0], r.err)
	}
	if r.done() {
		return lines[0]
	}
	owned, err := r.owns(ctx, client)
	if err != nil {
		return lines[0] + "\n  " + err.Error()
	}
	pods := notReady(owned.pods)
	if len(pods) == 0 {
		pods = notReady(owned.old) // an update may wait for them
	}
	events := eventsByObject(ctx, client, r.Namespace)

	lines = append(lines, nodeCauses(ctx, client, pods)...)
	lines = append(lines, r.controllerCauses(owned, events)...)
	lines = append(lines, podLines(ctx, client, pods, events)...)
	if progressing := r.condition(appsv1.DeploymentProgressing); len(lines) == 1 && progressing != nil && progressing.Status != corev1.ConditionTrue {
		lines = append(lines, statement(progressing.Reason, progressing.Message))
	}
	if len(lines) == 1 {
		lines = append(lines, fmt.Sprintf("the cluster tells no cause; see kubectl -n %s describe %s %s", r.Namespace, strings.ToLower(r.Kind), r.Name))
	}
	return strings.Join(lines, "\n  ")
}

func notReady(pods []corev1.Pod) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(pod corev1.Pod) bool {
		condition := podCondition(&pod, corev1.PodReady)
		return condition != nil && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
	})
}

// nodeCauses names the nodes that are not ready and have one of the Pods; if one has
// no node yet, each could be it.
func nodeCauses(ctx context.Context, client kubernetes.Interface, pods []corev1.Pod) []string {
	if len(pods) == 0 {
		return nil
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var lines []string
	for _, node := range nodes.Items {
		concerns := slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			return pod.Spec.NodeName == node.Name || pod.Spec.NodeName == ""
		})
		for _, condition := range node.Status.Conditions {
			if concerns && condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				lines = append(lines, fmt.Sprintf("node %s is not ready: %s", node.Name, statement(condition.Reason, condition.Message)))
			}
		}
	}
	return lines[:min(len(lines), maxNodes)]
}

// controllerCauses says why there are fewer Pods than there should be. A StatefulSet
// has no condition for that, so its events must do.
func (r rollout) controllerCauses(owned owned, events map[types.UID][]corev1.Event) []string {
	if failure := r.condition(appsv1.DeploymentReplicaFailure); failure != nil && failure.Status == corev1.ConditionTrue {
		return []string{statement(failure.Reason, failure.Message)}
	}
	if int32(len(owned.pods)) >= r.want {
		return nil
	}
	var lines []string
	for _, uid := range owned.controllers {
		lines = append(lines, warnings(events[uid], nil)...)
	}
	return lines
}

// podLines are the causes that the Pods have, the worst Pod first.
func podLines(ctx context.Context, client kubernetes.Interface, pods []corev1.Pod, events map[types.UID][]corev1.Event) []string {
	type failure struct {
		pod    *corev1.Pod
		causes []cause
	}
	var failures []failure
	for i := range pods {
		failures = append(failures, failure{&pods[i], podCauses(&pods[i], events[pods[i].UID])})
	}
	slices.SortStableFunc(failures, func(a, b failure) int {
		return cmp.Compare(a.causes[0].severity, b.causes[0].severity)
	})

	var lines []string
	told := map[string]bool{}
	for _, f := range failures {
		// replicas have the same causes but for addresses and times
		if first := f.causes[0].text; told[first] || len(told) == maxPods {
			continue
		}
		told[f.causes[0].text] = true
		for _, cause := range f.causes {
			lines = append(lines, f.pod.Name+": "+cause.text)
			for _, line := range cause.tail(ctx, client, f.pod) {
				lines = append(lines, "  | "+line)
			}
		}
	}
	if more := len(pods) - len(told); more > 0 {
		lines = append(lines, fmt.Sprintf("more Pods that are not ready: %d", more))
	}
	return lines
}

// severity orders causes, the worst first.
type severity int

const (
	stuck   severity = iota // until somebody acts
	crashed                 // and will be started again
	blocked                 // until the cluster has room, or an image
	unready
)

type cause struct {
	severity severity
	text     string
	log      *corev1.PodLogOptions // what ends with more about it; nil if nothing does
	message  string                // says what the log would, if there is one
}

// tail returns the last lines of the log, as far as it can be had.
func (c cause) tail(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) []string {
	text := c.message
	if text == "" && c.log != nil {
		log, err := client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, c.log).DoRaw(ctx)
		if err != nil {
			return nil
		}
		text = string(log)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = printable(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-maxLog):]
}

// podCauses returns at least one cause, the worst first.
func podCauses(pod *corev1.Pod, events []corev1.Event) []cause {
	if pod.DeletionTimestamp != nil {
		return []cause{{severity: unready, text: "is being deleted"}}
	}
	var causes []cause
	if pod.Status.Reason != "" { // Evicted, for example
		causes = append(causes, cause{severity: blocked, text: statement(pod.Status.Reason, pod.Status.Message)})
	}
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		causes = append(causes, cause{severity: blocked, text: statement(c.Reason, c.Message)})
	}
	anyStarted := false
	for _, status := range containers(pod) {
		anyStarted = anyStarted || started(status.ContainerStatus)
		if c, ok := status.cause(); ok {
			causes = append(causes, c)
		}
	}
	explained := len(causes) > 0
	for _, warning := range warnings(events, func(reason string) bool {
		switch reason {
		case "FailedScheduling":
			return explained || pod.Spec.NodeName != ""
		case "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "NetworkNotReady":
			return anyStarted // so they are over
		case "BackOff", "Failed", "InspectFailed", "ErrImageNeverPull":
			return explained // by the status, which has the same
		}
		return false
	}) {
		causes = append(causes, cause{severity: unready, text: warning})
	}
	slices.SortStableFunc(causes, func(a, b cause) int { return cmp.Compare(a.severity, b.severity) })
	if len(causes) == 0 {
		causes = []cause{{severity: unready, text: quiet(pod)}}
	}
	return causes
}

// quiet describes a Pod that is not ready and has nothing to complain about.
func quiet(pod *corev1.Pod) string {
	for _, status := range containers(pod) {
		if waiting := status.State.Waiting; waiting != nil && waiting.Reason != "" {
			return fmt.Sprintf("%s: %s", status.title(), waiting.Reason)
		}
	}
	if c := podCondition(pod, corev1.PodReady); c != nil && c.Reason != "" {
		return statement(c.Reason, c.Message)
	}
	return "is not ready, its phase is " + cmp.Or(string(pod.Status.Phase), "unknown")
}

// container is the status of a container or init container.
type container struct {
	corev1.ContainerStatus
	init bool
}

func containers(pod *corev1.Pod) []container {
	var all []container
	for _, status := range pod.Status.InitContainerStatuses {
		all = append(all, container{status, true})
	}
	for _, status := range pod.Status.ContainerStatuses {
		all = append(all, container{status, false})
	}
	return all
}

// started reports whether a container has ever run.
func started(status corev1.ContainerStatus) bool {
	return status.State.Running != nil || status.State.Terminated != nil || status.LastTerminationState.Terminated != nil
}

func (c container) title() string {
	if c.init {
		return "init container " + c.Name
	}
	return "container " + c.Name
}

// cause returns what the container is to blame for, if it is.
func (c container) cause() (cause, bool) {
	found := cause{severity: unready}
	text := []string{c.title()}
	ended := cmp.Or(c.State.Terminated, c.LastTerminationState.Terminated)
	switch waiting := c.State.Waiting; {
	case c.Ready:
		return cause{}, false // an init container is when it is done
	case waiting != nil && waiting.Reason == "CrashLoopBackOff":
		// the message is about the next restart only
		found.severity = crashed
		text = append(text, waiting.Reason)
	case waiting != nil && waiting.Reason != "" && waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing":
		found.severity = blocked
		if final(waiting.Reason) {
			found.severity = stuck
		}
		text = append(text, statement(waiting.Reason, waiting.Message))
	case c.State.Terminated != nil:
		found.severity = crashed
	case c.State.Running != nil && c.init:
		text = append(text, "is still running")
	case c.State.Running != nil:
		text = append(text, "is running but not ready")
	case ended == nil:
		return cause{}, false
	}
	if ended != nil {
		exited := "exited"
		if c.State.Running != nil {
			exited = "exited before"
		}
		text = append(text, fmt.Sprintf("%s with code %d (%s)", exited, ended.ExitCode, cmp.Or(ended.Reason, "no reason")))
		found.message = ended.Message
	}
	if ended != nil || c.State.Running != nil {
		found.log = &corev1.PodLogOptions{
			Container:  c.Name,
			Previous:   c.State.Terminated == nil && ended != nil,
			TailLines:  ptr.To[int64](maxLog),
			LimitBytes: ptr.To[int64](maxLog * maxLine * 4),
		}
	}
	found.text = strings.Join(text, ": ")
	return found, true
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// eventsByObject returns the events of a namespace, the newest first. There are none
// if they cannot be had: they only add to a diagnosis.
func eventsByObject(ctx context.Context, client kubernetes.Interface, namespace string) map[types.UID][]corev1.Event {
	list, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int {
		return cmp.Or(last(&b).Compare(last(&a)), cmp.Compare(b.Name, a.Name)) // names end with the time
	})
	events := map[types.UID][]corev1.Event{}
	for _, event := range list.Items {
		uid := event.InvolvedObject.UID
		events[uid] = append(events[uid], event)
	}
	return events
}

// last is when an event was last seen; which field says so depends on its source.
func last(event *corev1.Event) time.Time {
	switch {
	case event.Series != nil:
		return event.Series.LastObservedTime.Time
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp.Time
	}
	return event.EventTime.Time
}

// warnings returns the latest warnings among the events of one object, each once,
// except those whose reason is to be left out. The pull of an image counts if nothing
// has happened since: it is what most often takes long.
func warnings(events []corev1.Event, leaveOut func(reason string) bool) []string {
	var texts []string
	for i, event := range events {
		if event.Type != corev1.EventTypeWarning && (i > 0 || event.Reason != "Pulling") {
			continue
		}
		text := statement(event.Reason, event.Message)
		if len(texts) == maxWarnings || slices.Contains(texts, text) || leaveOut != nil && leaveOut(event.Reason) {
			continue
		}
		texts = append(texts, text)
	}
	return texts
}

// statement joins a reason and its message, either of which may be missing.
func statement(reason, message string) string {
	message = strings.TrimSpace(printable(message))
	if reason == "" || message == "" {
		return reason + message
	}
	return reason + ": " + message
}

// printable makes one line of text, without what would move a terminal's cursor.
func printable(text string) string {
	text = strings.TrimRightFunc(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text), unicode.IsSpace)
	if runes := []rune(text); len(runes) > maxLine {
		return string(runes[:maxLine]) + "…"
	}
	return text
}
