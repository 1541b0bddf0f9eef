package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

const timeout = 2 * time.Minute

var (
	apiserver = Workload{Kind: "Deployment", Namespace: "lab", Name: "apiserver"}
	etcd      = Workload{Kind: "StatefulSet", Namespace: "lab", Name: "etcd"}
)

func TestDiagnosis(t *testing.T) {
	crash := waiting("CrashLoopBackOff", "back-off 40s restarting failed container=server pod=apiserver-6c9-a_lab(apiserver-6c9-a)")
	for _, test := range []struct {
		name     string
		workload Workload
		objects  []runtime.Object
		log      string
		// each look adds a restart to every container that waits
		crashing bool
		after    time.Duration
		want     string
	}{
		{
			name:     "an image that is never pulled",
			workload: apiserver,
			objects: append(apiserverObjects(2),
				neverPulled("apiserver-6c9-a"), neverPulled("apiserver-6c9-b"),
				// of the revision before: it must not be blamed
				pod("apiserver-5d4-a", "apiserver-5d4", crash, restarts(7), exited(1, "Error", "")),
				// the same in other words
				event("apiserver-6c9-a", "ErrImageNeverPull", "Container image \"lab:v1\" is not present with pull policy of Never", 1),
				event("apiserver-6c9-a", "Failed", "Error: ErrImageNeverPull", 2),
			),
			after: grace,
			want: `
Deployment lab/apiserver cannot be rolled out: 0 of 2 replicas are available
  apiserver-6c9-a: container server: ErrImageNeverPull: Container image "lab:v1" is not present with pull policy of Never
  more Pods that are not ready: 1`,
		},
		{
			name:     "a crash loop with a log",
			workload: apiserver,
			objects: append(apiserverObjects(1),
				pod("apiserver-6c9-a", "apiserver-6c9", crash, restarts(2), exited(1, "Error", "")),
				event("apiserver-6c9-a", "BackOff", "Back-off restarting failed container server in pod apiserver-6c9-a", 3),
				event("apiserver-6c9-a", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500", 2),
			),
			log:      "one\ntwo\nthree\n\nfour\n\tfive \x1b[0m\nError: unknown flag: --etcd\n",
			crashing: true,
			after:    lookInterval,
			want: `
Deployment lab/apiserver cannot be rolled out: 0 of 1 replicas are available
  apiserver-6c9-a: container server: CrashLoopBackOff: exited with code 1 (Error)
    | two
    | three
    | four
    |  five [0m
    | Error: unknown flag: --etcd
  apiserver-6c9-a: Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 500`,
		},
		{
			name:     "a crash loop from before the wait",
			workload: apiserver,
			objects: append(apiserverObjects(1),
				pod("apiserver-6c9-a", "apiserver-6c9", crash, restarts(7), exited(128, "StartError", "exec: \"/server\": not found")),
			),
			log:   "not asked for",
			after: timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  apiserver-6c9-a: container server: CrashLoopBackOff: exited with code 128 (StartError)
    | exec: "/server": not found`,
		},
		{
			name:     "a volume that cannot be mounted",
			workload: etcd,
			objects: append(etcdObjects(1),
				etcdPod("etcd-0", "etcd-1", waiting("ContainerCreating", "")),
				event("etcd-0", "FailedMount", `MountVolume.SetUp failed for volume "certs" : secret "etcd-certs" not found`, 1),
				event("etcd-0", "FailedMount", `MountVolume.SetUp failed for volume "certs" : secret "etcd-certs" not found`, 3),
				event("etcd-0", "FailedMount", `MountVolume.SetUp failed for volume "conf" : configmap "etcd" not found`, 2),
			),
			after: timeout,
			want: `
StatefulSet lab/etcd is not rolled out after 2m0s: 0 of 1 replicas are available
  etcd-0: FailedMount: MountVolume.SetUp failed for volume "certs" : secret "etcd-certs" not found
  etcd-0: FailedMount: MountVolume.SetUp failed for volume "conf" : configmap "etcd" not found`,
		},
		{
			name:     "no room on the nodes",
			workload: apiserver,
			objects: append(apiserverObjects(1),
				pod("apiserver-6c9-a", "apiserver-6c9", unscheduled("0/1 nodes are available: 1 Insufficient cpu.")),
				event("apiserver-6c9-a", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", 1),
				node("worker", corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
			),
			after: timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  apiserver-6c9-a: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.`,
		},
		{
			name:     "no room because a node is not ready",
			workload: apiserver,
			objects: append(apiserverObjects(1),
				pod("apiserver-6c9-a", "apiserver-6c9", unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.")),
				node("worker", corev1.ConditionFalse, "KubeletNotReady", "container runtime network not ready: cni plugin not initialized"),
			),
			after: timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  node worker is not ready: KubeletNotReady: container runtime network not ready: cni plugin not initialized
  apiserver-6c9-a: Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.`,
		},
		{
			name:     "the node of a Pod is gone",
			workload: apiserver,
			objects: append(apiserverObjects(1),
				pod("apiserver-6c9-a", "apiserver-6c9", runningUnready),
				node("worker", corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."),
				node("other", corev1.ConditionUnknown, "NodeStatusUnknown", "it has none of the Pods"),
			),
			after: timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  node worker is not ready: NodeStatusUnknown: Kubelet stopped posting node status.
  apiserver-6c9-a: container server: is running but not ready`,
		},
		{
			name:     "running but not ready",
			workload: apiserver,
			objects: append(apiserverObjects(1),
				pod("apiserver-6c9-a", "apiserver-6c9", runningUnready, restarts(1), exited(137, "OOMKilled", "")),
				event("apiserver-6c9-a", "FailedMount", "this is over", 1),
				event("apiserver-6c9-a", "Unhealthy", "Readiness probe failed:\n  connection refused", 2),
				node("worker", corev1.ConditionTrue, "KubeletReady", ""),
			),
			log:   "waiting for etcd\n",
			after: timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  apiserver-6c9-a: container server: is running but not ready: exited before with code 137 (OOMKilled)
    | waiting for etcd
  apiserver-6c9-a: Unhealthy: Readiness probe failed:   connection refused`,
		},
		{
			name:     "Pods that Pod Security refuses",
			workload: apiserver,
			objects: append(withCondition(apiserverObjects(2), appsv1.DeploymentReplicaFailure, corev1.ConditionTrue, "FailedCreate",
				`pods "apiserver-6c9-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true`),
				event("apiserver-6c9", "FailedCreate", `Error creating: pods "apiserver-6c9-y" is forbidden`, 1)),
			after: grace,
			want: `
Deployment lab/apiserver cannot be rolled out: 0 of 2 replicas are available
  FailedCreate: pods "apiserver-6c9-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true`,
		},
		{
			name:     "a StatefulSet's Pods that are refused",
			workload: etcd,
			objects: append(etcdObjects(1),
				event("etcd", "FailedCreate", "create Pod etcd-0 in StatefulSet etcd failed error: exceeded quota: lab", 1)),
			after: timeout,
			want: `
StatefulSet lab/etcd is not rolled out after 2m0s: 0 of 1 replicas are available
  FailedCreate: create Pod etcd-0 in StatefulSet etcd failed error: exceeded quota: lab`,
		},
		{
			name:     "an init container, and the worst Pod first",
			workload: etcd,
			objects: append(etcdObjects(3),
				etcdPod("etcd-0", "etcd-1", waiting("ContainerCreating", "")),
				etcdPod("etcd-1", "etcd-1", waiting("ImagePullBackOff", `Back-off pulling image "etcd:v9"`)),
				etcdPod("etcd-2", "etcd-1", waiting("PodInitializing", ""), failedInit),
				event("etcd-0", "Pulling", `Pulling image "etcd:v9"`, 1),
			),
			log:   "no certificate\n",
			after: timeout,
			want: `
StatefulSet lab/etcd is not rolled out after 2m0s: 0 of 3 replicas are available
  etcd-2: init container setup: exited with code 2 (Error)
    | no certificate
  etcd-1: container server: ImagePullBackOff: Back-off pulling image "etcd:v9"
  etcd-0: Pulling: Pulling image "etcd:v9"`,
		},
		{
			name:     "an update that waits for a Pod of the old revision",
			workload: etcd,
			objects: append(etcdObjects(2),
				etcdPod("etcd-1", "etcd-1", isReady),
				etcdPod("etcd-0", "etcd-0", waiting("CreateContainerError", "no such path")),
			),
			after: timeout,
			want: `
StatefulSet lab/etcd is not rolled out after 2m0s: 0 of 2 replicas are available
  etcd-0: container server: CreateContainerError: no such path`,
		},
		{
			name:     "a Deployment that is paused",
			workload: apiserver,
			objects: withCondition(apiserverObjects(1), appsv1.DeploymentProgressing, corev1.ConditionUnknown,
				"DeploymentPaused", "Deployment is paused"),
			after: timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  DeploymentPaused: Deployment is paused`,
		},
		{
			name:     "nothing that says why",
			workload: apiserver,
			objects:  apiserverObjects(1),
			after:    timeout,
			want: `
Deployment lab/apiserver is not rolled out after 2m0s: 0 of 1 replicas are available
  the cluster tells no cause; see kubectl -n lab describe deployment apiserver`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(test.objects...)
				client.PrependReactor("get", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
					if action.GetSubresource() != "log" {
						return false, nil, nil
					}
					options := action.(clienttesting.GenericAction).GetValue().(*corev1.PodLogOptions)
					if options.TailLines == nil || *options.TailLines != maxLog {
						t.Errorf("the log is read with %v", options)
					}
					if want := options.Container == "server" && strings.Contains(test.want, "exited"); options.Previous != want {
						t.Errorf("the log of container %s: previous is %t, want %t", options.Container, options.Previous, want)
					}
					if test.log == "" {
						return true, nil, apierrors.NewBadRequest("there is no log")
					}
					return true, &runtime.Unknown{Raw: []byte(test.log)}, nil
				})
				if test.crashing {
					client.PrependReactor("list", "pods", addRestart(client))
				}
				start := time.Now()
				err := Wait(t.Context(), client, timeout, test.workload)
				if err == nil {
					t.Fatal("there is no error")
				}
				compare(t, err.Error(), test.want)
				if took := time.Since(start); took != test.after {
					t.Errorf("it took %s, want %s", took, test.after)
				}
			})
		})
	}
}

// What a Pod says without a failure of a container.
func TestPodCauses(t *testing.T) {
	observed := event("p", "Unhealthy", "the newest", 1)
	observed.Series = &corev1.EventSeries{LastObservedTime: metav1.MicroTime{Time: time.Unix(9, 0)}}
	for _, test := range []struct {
		name   string
		option option
		events []runtime.Object
		want   string
	}{
		{name: "nothing", option: func(*corev1.Pod) {}, want: "is not ready, its phase is Pending"},
		{name: "starting", option: waiting("ContainerCreating", ""), want: "container server: ContainerCreating"},
		{
			name: "deleted",
			option: func(p *corev1.Pod) {
				isReady(p)
				p.DeletionTimestamp, p.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{"lab/test"}
			},
			want: "is being deleted",
		},
		{
			name: "evicted",
			option: func(p *corev1.Pod) {
				p.Status.Reason, p.Status.Message = "Evicted", "The node was low on resource: memory."
			},
			want: "Evicted: The node was low on resource: memory.",
		},
		{
			name: "a gate",
			option: func(p *corev1.Pod) {
				isReady(p)
				p.Status.Conditions[0] = corev1.PodCondition{
					Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ReadinessGatesNotReady", Message: "lab/gate is missing",
				}
			},
			want: "ReadinessGatesNotReady: lab/gate is missing",
		},
		{
			name:   "events by time, whichever field has it",
			option: func(*corev1.Pod) {},
			events: []runtime.Object{event("p", "FailedMount", "older", 8), observed, event("p", "FailedMount", "oldest", 7)},
			want:   "Unhealthy: the newest\nFailedMount: older\nFailedMount: oldest",
		},
		{
			name:   "a pull that is over",
			option: func(*corev1.Pod) {},
			events: []runtime.Object{event("p", "Pulling", "over", 1), event("p", "Unhealthy", "later", 2)},
			want:   "Unhealthy: later",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			events := eventsByObject(t.Context(), fake.NewClientset(test.events...), "lab")
			var texts []string
			for _, cause := range podCauses(pod("p", "set", test.option), events["p"]) {
				texts = append(texts, cause.text)
			}
			compare(t, strings.Join(texts, "\n"), test.want)
		})
	}
}

func TestPrintable(t *testing.T) {
	compare(t, printable("  a\tb\x1b\u202e \r\n"), "  a b")
	compare(t, printable(strings.Repeat("ä", maxLine+1)), strings.Repeat("ä", maxLine)+"…")
}

func TestWaitUntilRolledOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(append(apiserverObjects(1), etcdObjects(1)...)...)
		start := time.Now()
		go func() {
			time.Sleep(30 * time.Second)
			d := deploymentOf(1)
			d.Status.UpdatedReplicas, d.Status.Replicas, d.Status.AvailableReplicas = 1, 1, 1
			if _, err := client.AppsV1().Deployments("lab").UpdateStatus(t.Context(), d, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
			time.Sleep(30 * time.Second)
			s := statefulSetOf(1)
			s.Status.UpdatedReplicas, s.Status.Replicas, s.Status.AvailableReplicas = 1, 1, 1
			if _, err := client.AppsV1().StatefulSets("lab").UpdateStatus(t.Context(), s, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}()
		if err := Wait(t.Context(), client, timeout, apiserver, etcd); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < time.Minute || took > time.Minute+pollInterval {
			t.Errorf("it took %s, want what the last took", took)
		}
	})
}

func TestRolledOut(t *testing.T) {
	for _, test := range []struct {
		name    string
		rollout rollout
		done    bool
		want    string
	}{
		{"fresh", rollout{observed: true, want: 2}, false, "0 of 2 replicas are available"},
		{"half", rollout{observed: true, want: 2, replicas: 2, updated: 2, available: 1}, false, "1 of 2 replicas are available"},
		{"update", rollout{observed: true, want: 2, replicas: 3, updated: 1, available: 2}, false, "2 of 2 replicas are available, 1 updated"},
		{"surge", rollout{observed: true, want: 2, replicas: 3, updated: 2, available: 2}, false, "2 of 2 replicas are available, old ones are left"},
		{"none wanted", rollout{observed: true}, true, "0 of 0 replicas are available"},
		{"done", rollout{observed: true, want: 2, replicas: 2, updated: 2, available: 2}, true, "2 of 2 replicas are available"},
		{
			"not observed", rollout{object: &metav1.ObjectMeta{Generation: 3}, want: 2, replicas: 2, updated: 2, available: 2}, false,
			"its controller has not seen generation 3 (does the kube-controller-manager run?)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if done := test.rollout.done(); done != test.done {
				t.Errorf("done is %t, want %t", done, test.done)
			}
			if text := test.rollout.progress(); text != test.want {
				t.Errorf("progress is %q, want %q", text, test.want)
			}
		})
	}
}

// A container may crash for want of a workload whose image is still being pulled.
func TestCrashLoopBesideWhatStarts(t *testing.T) {
	for _, test := range []struct {
		name  string
		etcd  option
		after time.Duration
		want  string
	}{
		{"etcd starts", waiting("ContainerCreating", ""), timeout, "is not rolled out after 2m0s"},
		{"etcd runs", runningUnready, lookInterval, "cannot be rolled out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := append(apiserverObjects(1), etcdObjects(1)...)
				client := fake.NewClientset(append(objects,
					pod("apiserver-6c9-a", "apiserver-6c9", waiting("CrashLoopBackOff", ""), restarts(3), exited(1, "Error", "")),
					etcdPod("etcd-0", "etcd-1", test.etcd),
				)...)
				client.PrependReactor("list", "pods", addRestart(client))
				start := time.Now()
				err := Wait(t.Context(), client, timeout, etcd, apiserver)
				if err == nil || !strings.Contains(err.Error(), "Deployment lab/apiserver "+test.want) {
					t.Errorf("the error is %v, want that it %s", err, test.want)
				}
				if took := time.Since(start); took != test.after {
					t.Errorf("it took %s, want %s", took, test.after)
				}
			})
		})
	}
}

// What fails for less than the grace period is no reason to give up.
func TestFailureThatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(append(apiserverObjects(1), neverPulled("apiserver-6c9-a"))...)
		go func() {
			for _, o := range []option{waiting("ContainerCreating", ""), waiting("ErrImageNeverPull", "")} {
				time.Sleep(grace - time.Second)
				p := pod("apiserver-6c9-a", "apiserver-6c9", o)
				if _, err := client.CoreV1().Pods("lab").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
					t.Error(err)
				}
			}
		}()
		start := time.Now()
		err := Wait(t.Context(), client, timeout, apiserver)
		if err == nil {
			t.Fatal("there is no error")
		}
		if took, want := time.Since(start), 2*(grace-time.Second)+grace; took < want {
			t.Errorf("it gave up after %s, want %s or later: %v", took, want, err)
		}
	})
}

func TestWaitErrors(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "apiserver", errors.New("not yours"))
	for _, test := range []struct {
		name     string
		workload Workload
		err      error // of reading a Deployment
		after    time.Duration
		want     string
	}{
		{
			name:     "not found",
			workload: Workload{Kind: "StatefulSet", Namespace: "lab", Name: "missing"},
			want:     `wait for StatefulSet lab/missing: statefulsets.apps "missing" not found`,
		},
		{
			name:     "unknown kind",
			workload: Workload{Kind: "Job", Namespace: "lab", Name: "apiserver"},
			want:     `wait for a rollout: Job lab/apiserver is neither a Deployment nor a StatefulSet`,
		},
		{
			name:     "forbidden",
			workload: apiserver,
			err:      forbidden,
			want:     `wait for Deployment lab/apiserver: deployments.apps "apiserver" is forbidden: not yours`,
		},
		{
			name:     "no answer",
			workload: apiserver,
			err:      errors.New("connection refused"),
			after:    timeout,
			want:     `Deployment lab/apiserver is not rolled out after 2m0s: it cannot be read: connection refused`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(apiserverObjects(1)...)
				client.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
					return test.err != nil, nil, test.err
				})
				start := time.Now()
				err := Wait(t.Context(), client, timeout, test.workload)
				if err == nil {
					t.Fatal("there is no error")
				}
				compare(t, err.Error(), test.want)
				if took := time.Since(start); took != test.after {
					t.Errorf("it took %s, want %s", took, test.after)
				}
				if test.name == "not found" && !apierrors.IsNotFound(err) {
					t.Error("the error does not wrap the one of the API")
				}
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(append(apiserverObjects(1), neverPulled("apiserver-6c9-a"))...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := Wait(ctx, client, timeout, apiserver)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the error is %v, want that of the context", err)
		}
		compare(t, err.Error(), "wait until the workloads are rolled out: context deadline exceeded")
	})
}

func TestWaitForNothing(t *testing.T) {
	if err := Wait(t.Context(), fake.NewClientset(), timeout); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	client := fake.NewClientset(append(apiserverObjects(1), neverPulled("apiserver-6c9-a"))...)
	compare(t, Explain(t.Context(), client, apiserver), `
0 of 1 replicas are available
  apiserver-6c9-a: container server: ErrImageNeverPull: Container image "lab:v1" is not present with pull policy of Never`)
	compare(t, Explain(t.Context(), client, etcd), `it cannot be read: statefulsets.apps "etcd" not found`)

	// each of these only adds to the diagnosis
	for _, resource := range []string{"nodes", "events"} {
		client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("not yours")
		})
	}
	if text := Explain(t.Context(), client, apiserver); !strings.Contains(text, "ErrImageNeverPull") {
		t.Errorf("without nodes and events it is only %s", text)
	}
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("not yours")
	})
	compare(t, Explain(t.Context(), client, apiserver), "0 of 1 replicas are available\n  list the Pods: not yours")
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
}

// addRestart makes every list of the Pods one restart later than the one before.
func addRestart(client *fake.Clientset) clienttesting.ReactionFunc {
	return func(action clienttesting.Action) (bool, runtime.Object, error) {
		handled, list, err := clienttesting.ObjectReaction(client.Tracker())(action)
		if pods, ok := list.(*corev1.PodList); ok {
			for i := range pods.Items {
				status := &pods.Items[i].Status.ContainerStatuses[0]
				if status.RestartCount == 0 {
					continue
				}
				status.RestartCount++
				if err := client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), &pods.Items[i], "lab"); err != nil {
					return true, nil, err
				}
			}
		}
		return handled, list, err
	}
}

// meta has a UID that is the name, so that events and owners can name it.
func meta(name string, labels ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "lab", Name: name, UID: types.UID(name), Generation: 2, Labels: map[string]string{"app": name}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		m.Labels[key] = value
	}
	return m
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func controlledBy(kind, name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(name), Controller: ptr.To(true)}}
}

// deploymentOf has no replica yet; its ReplicaSet is apiserver-6c9.
func deploymentOf(replicas int32) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: meta("apiserver"),
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector("apiserver")},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 2},
	}
	d.Annotations = map[string]string{revisionAnnotation: "2"}
	return d
}

func apiserverObjects(replicas int32) []runtime.Object {
	objects := []runtime.Object{deploymentOf(replicas)}
	for i, name := range []string{"apiserver-5d4", "apiserver-6c9"} {
		set := &appsv1.ReplicaSet{ObjectMeta: meta(name, "app=apiserver")}
		set.Annotations = map[string]string{revisionAnnotation: fmt.Sprint(i + 1)}
		set.OwnerReferences = controlledBy("Deployment", "apiserver")
		objects = append(objects, set)
	}
	return objects
}

func withCondition(objects []runtime.Object, kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) []runtime.Object {
	objects[0].(*appsv1.Deployment).Status.Conditions = []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse, Reason: "MinimumReplicasUnavailable"},
		{Type: kind, Status: status, Reason: reason, Message: message},
	}
	return objects
}

// statefulSetOf has no replica yet; its revision is etcd-1.
func statefulSetOf(replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: meta("etcd"),
		Spec:       appsv1.StatefulSetSpec{Replicas: &replicas, Selector: selector("etcd")},
		Status:     appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdateRevision: "etcd-1"},
	}
}

func etcdObjects(replicas int32) []runtime.Object {
	return []runtime.Object{statefulSetOf(replicas)}
}

type option func(*corev1.Pod)

func pod(name, replicaSet string, options ...option) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta(name, "app=apiserver")}
	p.OwnerReferences = controlledBy("ReplicaSet", replicaSet)
	return configure(p, options)
}

func etcdPod(name, revision string, options ...option) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta(name, "app=etcd", appsv1.ControllerRevisionHashLabelKey+"="+revision)}
	p.OwnerReferences = controlledBy("StatefulSet", "etcd")
	return configure(p, options)
}

func configure(p *corev1.Pod, options []option) *corev1.Pod {
	p.Spec.NodeName = "worker"
	p.Status.Phase = corev1.PodPending
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "server"}}
	for _, option := range options {
		option(p)
	}
	return p
}

func neverPulled(name string) *corev1.Pod {
	return pod(name, "apiserver-6c9", waiting("ErrImageNeverPull", `Container image "lab:v1" is not present with pull policy of Never`))
}

func waiting(reason, message string) option {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
	}
}

func runningUnready(p *corev1.Pod) {
	p.Status.ContainerStatuses[0].State.Running = &corev1.ContainerStateRunning{}
}

func isReady(p *corev1.Pod) {
	runningUnready(p)
	p.Status.ContainerStatuses[0].Ready = true
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func restarts(n int32) option {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = n }
}

func exited(code int32, reason, message string) option {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}
	}
}

func failedInit(p *corev1.Pod) {
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{{
		Name:  "setup",
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}},
	}}
}

func unscheduled(message string) option {
	return func(p *corev1.Pod) {
		p.Spec.NodeName = ""
		p.Status.ContainerStatuses = nil
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		}}
	}
}

func node(name string, status corev1.ConditionStatus, reason, message string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: reason, Message: message}}
	return n
}

// event is about the object of that name, last seen at that second.
func event(about, reason, message string, second int64) *corev1.Event {
	kind := corev1.EventTypeWarning
	if reason == "Pulling" {
		kind = corev1.EventTypeNormal
	}
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "lab", Name: fmt.Sprintf("%s.%s.%d", about, strings.ToLower(reason), second)},
		InvolvedObject: corev1.ObjectReference{Namespace: "lab", Name: about, UID: types.UID(about)},
		Type:           kind,
		Reason:         reason,
		Message:        message,
		LastTimestamp:  metav1.Unix(second, 0),
	}
}
