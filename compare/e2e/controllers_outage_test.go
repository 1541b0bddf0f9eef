package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/rollout"
	"portrule.example/lab/crd/manifests"
)

// What the rest of the cluster suffers while the aggregated server is down, and that it
// recovers by itself. At first the kube-apiserver goes on telling what it knows of the
// group; it finds out within a minute or two, and calls the group's discovery stale.
func TestServerUnavailable(t *testing.T) {
	needs(t, "Deployments, namespace controller or garbage collector")
	var (
		namespace, doomed string
		began, back       time.Time
		// one kubectl that looks for the first time while the server is down
		cache string
	)
	environment.Test(t, features.New("the server is unavailable").WithLabel("area", "controllers").WithLabel("impl", "aggregated").
		WithSetup("namespaces with rules of both groups, and then no server", step(func(t *testing.T) {
			namespace, doomed, cache = discovered(t), newNamespace(t), t.TempDir()
			populate(t, namespace)
			populate(t, doomed)
			began = time.Now()
			stopped(t, aggregatedmanifests.Name, served)
		})).
		Assess("its APIServices say so", step(func(t *testing.T) {
			eventually(t, "the APIServices are unavailable", func(context.Context) error {
				out := mustKubectl(t, "", "get", "apiservices", "--no-headers", v1.Version+"."+api.Group, v2.Version+"."+api.Group)
				if strings.Count(out, "False (MissingEndpoints)") != 2 {
					return fmt.Errorf("kubectl get apiservices says\n%s", out)
				}
				return nil
			})
			t.Logf("the APIServices were unavailable %.1f s after the Deployment was scaled down", time.Since(began).Seconds())
		})).
		Assess("requests to the group are answered 503", step(func(t *testing.T) {
			for _, version := range []string{v1.Version, v2.Version} {
				for method, path := range map[string]string{
					http.MethodGet:    rulePath(api.Group, version, namespace, "aggregated"),
					http.MethodPost:   rulePath(api.Group, version, namespace),
					http.MethodDelete: rulePath(api.Group, version, namespace, "nosuch"),
				} {
					eventually(t, method+" "+path, func(context.Context) error {
						if code := status(t, method, path); code != http.StatusServiceUnavailable {
							return fmt.Errorf("it is answered %d, want 503", code)
						}
						return nil
					})
				}
			}
			const want = "Error from server (ServiceUnavailable): the server is currently unable to handle the request"
			if out, err := kubectl(t, "", "get", "--raw", rulePath(api.Group, v2.Version, namespace)); err == nil || !strings.Contains(out, want) {
				t.Errorf("kubectl get --raw says %q (%v), want %q", out, err, want)
			}
		})).
		Assess("all else is served", step(func(t *testing.T) {
			if out := mustKubectl(t, "", "get", "configmaps", "-n", namespace, "-o", "name"); !strings.Contains(out, "configmap/aggregated-nftables") {
				t.Errorf("kubectl get configmaps says\n%s", out)
			}
			mustKubectl(t, ruleManifest(api.CRDGroup, "meanwhile", 8001), "apply", "-n", namespace, "-f", "-")
			mustKubectl(t, "", "delete", "-n", namespace, "portrules."+api.CRDGroup, "meanwhile")
		})).
		Assess("a namespace that is deleted is emptied of all else, and stays", step(func(t *testing.T) {
			defer tellNamespace(t, doomed)
			mustKubectl(t, "", "delete", "namespace", doomed, "--wait=false")
			eventually(t, "the namespace says why it stays", func(ctx context.Context) error {
				conditions, err := conditionsOf(ctx, doomed)
				if err != nil {
					return err
				}
				// the one while discovery is as it was, the other afterwards
				for _, kind := range []corev1.NamespaceConditionType{corev1.NamespaceDeletionContentFailure, corev1.NamespaceDeletionDiscoveryFailure} {
					if condition := conditions[kind]; condition.Status == corev1.ConditionTrue {
						t.Logf("at first the namespace says %s, %s: %s", condition.Type, condition.Reason, condition.Message)
						return nil
					}
				}
				return fmt.Errorf("its conditions are %+v", conditions)
			})
			if code := status(t, http.MethodGet, rulePath(api.CRDGroup, v2.Version, doomed, "crd")); code != http.StatusNotFound {
				t.Errorf("a get of the CRD's rule in the namespace is answered %d, want 404", code)
			}
		})).
		Assess("its discovery turns stale", step(func(t *testing.T) {
			eventually(t, "a version is stale", func(context.Context) error { return staleVersions(1) })
			t.Logf("discovery of one version was stale %.1f s after the Deployment was scaled down", time.Since(began).Seconds())
		})).
		Assess("the namespace names the group", step(func(t *testing.T) {
			defer tellNamespace(t, doomed)
			eventually(t, "the condition names the group", func(ctx context.Context) error {
				conditions, err := conditionsOf(ctx, doomed)
				if err != nil {
					return err
				}
				condition, want := conditions[corev1.NamespaceDeletionDiscoveryFailure], "stale GroupVersion discovery: "+api.Group+"/"
				if condition.Status != corev1.ConditionTrue || condition.Reason != "DiscoveryFailed" || !strings.Contains(condition.Message, want) {
					return fmt.Errorf("the condition is %+v, want that the message says %q", condition, want)
				}
				t.Logf("%.1f s after the Deployment was scaled down it says %s, %s: %s", time.Since(began).Seconds(), condition.Type, condition.Reason, condition.Message)
				return nil
			})
		})).
		Assess("the discovery of its other version turns stale too", step(func(t *testing.T) {
			// The kube-apiserver asks for each once a minute. But the two share the answer: if the
			// second got one while the server still gave it, the first makes do with that once.
			eventually(t, "both versions are stale", func(context.Context) error { return staleVersions(2) })
			t.Logf("discovery of both versions was stale %.1f s after the Deployment was scaled down", time.Since(began).Seconds())
		})).
		Assess("kubectl has never heard of the group, and takes the other's rules for its", step(func(t *testing.T) {
			// A complaint would say "unable to retrieve the complete list of server APIs". But
			// what is stale is left out of the groups that kubectl then asks about.
			out, err := kubectl(t, "", "--cache-dir", cache, "api-resources", "--no-headers", "-o", "name")
			if err != nil || strings.Contains("\n"+out, "\n"+api.Resource+"."+api.Group) || strings.Contains(out, "unable to retrieve") {
				t.Errorf("kubectl api-resources says (%v), and should neither list %s nor complain:\n%s", err, api.Group, out)
			}
			const want = `error: the server doesn't have a resource type "portrules"`
			if out, err := kubectl(t, "", "--cache-dir", cache, "get", "-n", namespace, "portrules."+api.Group); err == nil || out != want {
				t.Errorf("kubectl get portrules.%s says %q, want %q", api.Group, out, want)
			}
			if out := mustKubectl(t, "", "--cache-dir", cache, "get", "-n", namespace, "portrules", "-o", "name"); out != "portrule."+api.CRDGroup+"/crd" {
				t.Errorf("kubectl get portrules says %q, want the rule of the CRD's group", out)
			}
		})).
		Assess("the garbage collector spares what is owned by a rule that it cannot ask for", step(func(t *testing.T) {
			makeDependent(t, namespace, "of-nobody-aggregated", "", nobody(api.Group))
			makeDependent(t, namespace, "of-nobody-crd", "", nobody(api.CRDGroup))
			eventually(t, "a ConfigMap of no rule of the CRD's is deleted", func(ctx context.Context) error {
				_, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, "of-nobody-crd", metav1.GetOptions{})
				return gone(err)
			})
			if spared, err := clientset.CoreV1().ConfigMaps(namespace).Get(t.Context(), "of-nobody-aggregated", metav1.GetOptions{}); err != nil || spared.DeletionTimestamp != nil {
				t.Errorf("the ConfigMap of no rule of the server's is %v (%v), want that it is spared", spared.DeletionTimestamp, err)
			}
		})).
		Assess("the group is served again", step(func(t *testing.T) {
			back = time.Now()
			if err := scaleTo(t.Context(), aggregatedmanifests.Name, 2); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the group is served", served)
			t.Logf("the group was served %.1f s after the Deployment was scaled up", time.Since(back).Seconds())
			if code := status(t, http.MethodGet, rulePath(api.Group, v2.Version, namespace, "aggregated")); code != http.StatusOK {
				t.Errorf("a get of the rule is answered %d, want 200", code)
			}
		})).
		Assess("the garbage collector catches up", step(func(t *testing.T) {
			eventually(t, "the ConfigMap of no rule is deleted", func(ctx context.Context) error {
				_, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, "of-nobody-aggregated", metav1.GetOptions{})
				return gone(err)
			})
			t.Logf("the ConfigMap was gone %.1f s after the Deployment was scaled up", time.Since(back).Seconds())
		})).
		Assess("the namespace goes", step(func(t *testing.T) {
			defer tellNamespace(t, doomed)
			// the namespace controller tries again after a minute at most
			eventually(t, "the namespace is gone", func(ctx context.Context) error {
				_, err := clientset.CoreV1().Namespaces().Get(ctx, doomed, metav1.GetOptions{})
				return gone(err)
			})
			t.Logf("the namespace was gone %.1f s after the Deployment was scaled up", time.Since(back).Seconds())
			if code := status(t, http.MethodGet, rulePath(api.Group, v2.Version, doomed, "aggregated")); code != http.StatusNotFound {
				t.Errorf("a get of the rule in the namespace is answered %d, want 404", code)
			}
		})).
		Assess("kubectl means the server's rules again, once it looks anew", step(func(t *testing.T) {
			if out := mustKubectl(t, "", "--cache-dir", t.TempDir(), "get", "-n", namespace, "portrules", "-o", "name"); out != "portrule."+api.Group+"/aggregated" {
				t.Errorf("kubectl get portrules says %q, want the rule of the server's group", out)
			}
			// it has written down which groups there are, for six hours
			if out := mustKubectl(t, "", "--cache-dir", cache, "get", "-n", namespace, "portrules", "-o", "name"); out != "portrule."+api.CRDGroup+"/crd" {
				t.Errorf("a kubectl that has looked meanwhile says %q, want the rule of the CRD's group", out)
			}
			mustKubectl(t, "", "--cache-dir", cache, "get", "-n", namespace, "portrules."+api.Group)
			if out := mustKubectl(t, "", "--cache-dir", cache, "get", "-n", namespace, "portrules", "-o", "name"); out != "portrule."+api.Group+"/aggregated" {
				t.Errorf("after it was asked for portrules.%s it says %q, want the rule of the server's group", api.Group, out)
			}
		})).
		Feature())
}

// What the CRD suffers while its webhooks are down: what is served as it is stored is
// read and deleted, by people and by the controllers of the cluster, which use the
// preferred version. Nothing is created, and the other version is not served.
func TestWebhooksUnavailable(t *testing.T) {
	needs(t, "Deployments, namespace controller or garbage collector")
	var namespace, doomed string
	const conversion = "conversion webhook for " + api.CRDGroup + "/" + v2.Version + ", Kind=PortRule failed"
	environment.Test(t, features.New("the CRD's webhooks are unavailable").WithLabel("area", "controllers").WithLabel("impl", "crd").
		WithSetup("namespaces with rules of both groups, and then no webhooks", step(func(t *testing.T) {
			namespace, doomed = discovered(t), newNamespace(t)
			populate(t, namespace)
			populate(t, doomed)
			stopped(t, manifests.Name, converts)
			// they answer until they end
			eventually(t, "the Pods have ended", func(ctx context.Context) error {
				pods, err := clientset.CoreV1().Pods(manifests.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + manifests.Name})
				if err == nil && len(pods.Items) > 0 {
					err = fmt.Errorf("there are %d", len(pods.Items))
				}
				return err
			})
		})).
		Assess("the version that is not stored is not served", step(func(t *testing.T) {
			for _, verb := range []string{"get", "delete"} {
				if out, err := kubectl(t, "", verb, "--raw", rulePath(api.CRDGroup, v1.Version, namespace, "crd")); err == nil || !strings.Contains(out, conversion) {
					t.Errorf("kubectl %s --raw of v1 says %q (%v), want %q", verb, out, err, conversion)
				}
			}
			if code := status(t, http.MethodGet, rulePath(api.CRDGroup, v2.Version, namespace, "crd")); code != http.StatusOK {
				t.Errorf("a get of v2 is answered %d, want 200: v1 was not deleted", code)
			}
		})).
		Assess("no rule is created", step(func(t *testing.T) {
			const want = `failed calling webhook "mutate.portrules.crd.firewalld.fedoraproject.org"`
			if out, err := kubectl(t, ruleManifest(api.CRDGroup, "meanwhile", 8001), "create", "-n", namespace, "-f", "-"); err == nil || !strings.Contains(out, want) {
				t.Errorf("kubectl create says %q (%v), want %q", out, err, want)
			}
			if out, err := kubectl(t, article(api.CRDGroup), "create", "-n", namespace, "-f", "-"); err == nil || !strings.Contains(out, "conversion webhook for") {
				t.Errorf("kubectl create of v1 says %q (%v), want that it is not converted", out, err)
			}
		})).
		Assess("the group is available all the same", step(func(t *testing.T) {
			// its APIServices lead to the kube-apiserver
			for _, version := range []string{v1.Version, v2.Version} {
				if condition, err := availability(t.Context(), version+"."+api.CRDGroup); err != nil || condition.Status != apiregistrationv1.ConditionTrue {
					t.Errorf("the APIService of %s is %+v (%v), want that it is available", version, condition, err)
				}
			}
			if _, _, err := clientset.Discovery().ServerGroupsAndResources(); err != nil {
				t.Errorf("discovery is not complete: %v", err)
			}
		})).
		Assess("the version that is stored is read, labelled and deleted, and its ConfigMap collected", step(func(t *testing.T) {
			mustKubectl(t, "", "get", "-n", namespace, "portrules.v2."+api.CRDGroup, "crd")
			mustKubectl(t, "", "label", "-n", namespace, "portrules.v2."+api.CRDGroup, "crd", "e2e=true")
			mustKubectl(t, "", "delete", "-n", namespace, "portrules.v2."+api.CRDGroup, "crd")
			eventually(t, "the ConfigMap is deleted", func(ctx context.Context) error {
				_, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, "crd-nftables", metav1.GetOptions{})
				return gone(err)
			})
		})).
		Assess("a namespace with a rule in it goes, since the preferred version is the stored one", step(func(t *testing.T) {
			defer tellNamespace(t, doomed)
			stored := mustKubectl(t, "", "get", "crd", api.Resource+"."+api.CRDGroup, "-o", `jsonpath={.spec.versions[?(@.storage==true)].name}`)
			preferred := mustKubectl(t, "", "get", "--raw", "/apis/"+api.CRDGroup)
			if want := fmt.Sprintf(`"preferredVersion":{"groupVersion":"%s/%s"`, api.CRDGroup, stored); !strings.Contains(preferred, want) {
				t.Errorf("the CRD stores %s, and discovery says %s: a namespace is emptied by the preferred version", stored, preferred)
			}
			begin := time.Now()
			mustKubectl(t, "", "delete", "namespace", doomed, "--timeout=2m")
			t.Logf("the namespace was gone after %.1f s", time.Since(begin).Seconds())
		})).
		Assess("both versions are served again", step(func(t *testing.T) {
			begin := time.Now()
			if err := scaleTo(t.Context(), manifests.Name, 2); err != nil {
				t.Fatal(err)
			}
			eventually(t, "v1 is served", converts)
			t.Logf("v1 was served %.1f s after the Deployment was scaled up", time.Since(begin).Seconds())
			mustKubectl(t, article(api.CRDGroup), "create", "-n", namespace, "-f", "-")
			eventually(t, "the rule has a ConfigMap", func(ctx context.Context) error {
				_, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, "portrule-example-nftables", metav1.GetOptions{})
				return err
			})
			t.Logf("a new rule had its ConfigMap %.1f s after the Deployment was scaled up", time.Since(begin).Seconds())
		})).
		Feature())
}

// stopped leaves a Deployment of the lab without Pods until the end of the feature, whose
// test t must be, and then waits for its Pods and for what they serve.
func stopped(t *testing.T, deployment string, serves func(ctx context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		// the test's own context has ended
		ctx := context.WithoutCancel(t.Context())
		if err := scaleTo(ctx, deployment, 2); err != nil {
			t.Error(err)
			return
		}
		if err := rollout.Wait(ctx, clientset, 2*time.Minute, rollout.Workload{Kind: "Deployment", Namespace: aggregatedmanifests.Namespace, Name: deployment}); err != nil {
			t.Error(err)
		}
		var last error
		if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
			last = serves(ctx)
			return last == nil, nil
		}); err != nil {
			t.Errorf("after the Deployment %s was put back: %v", deployment, last)
		}
	})
	if err := scaleTo(t.Context(), deployment, 0); err != nil {
		t.Fatal(err)
	}
}

// scaleTo sets the number of replicas of a Deployment of the lab.
func scaleTo(ctx context.Context, deployment string, replicas int) error {
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	_, err := clientset.AppsV1().Deployments(aggregatedmanifests.Namespace).Patch(ctx, deployment, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("scale the Deployment %s to %d: %w", deployment, replicas, err)
	}
	return nil
}

// served is whether the aggregated group is, with complete discovery. For a moment an
// available APIService leads nowhere still.
func served(ctx context.Context) error {
	for _, version := range []string{v1.Version, v2.Version} {
		condition, err := availability(ctx, version+"."+api.Group)
		if err != nil {
			return err
		}
		if condition.Status != apiregistrationv1.ConditionTrue {
			return fmt.Errorf("the APIService of %s is not available: %s: %s", version, condition.Reason, condition.Message)
		}
		if err := clientset.Discovery().RESTClient().Get().AbsPath(rulePath(api.Group, version, metav1.NamespaceDefault)).Do(ctx).Error(); err != nil {
			return fmt.Errorf("list the rules of %s: %w", version, err)
		}
	}
	_, _, err := clientset.Discovery().ServerGroupsAndResources()
	return err
}

// converts is whether a rule of the CRD can be created in v1, which takes all webhooks.
func converts(ctx context.Context) error {
	return clientset.Discovery().RESTClient().Post().AbsPath(rulePath(api.CRDGroup, v1.Version, metav1.NamespaceDefault)).
		Param("dryRun", metav1.DryRunAll).SetHeader("Content-Type", "application/yaml").Body([]byte(article(api.CRDGroup))).
		Do(ctx).Error()
}

// availability is the condition Available of an APIService.
func availability(ctx context.Context, name string) (apiregistrationv1.APIServiceCondition, error) {
	body, err := clientset.Discovery().RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices", name).DoRaw(ctx)
	if err != nil {
		return apiregistrationv1.APIServiceCondition{}, err
	}
	var found apiregistrationv1.APIService
	if err := json.Unmarshal(body, &found); err != nil {
		return apiregistrationv1.APIServiceCondition{}, err
	}
	for _, condition := range found.Status.Conditions {
		if condition.Type == apiregistrationv1.Available {
			return condition, nil
		}
	}
	return apiregistrationv1.APIServiceCondition{}, nil
}

// staleVersions is whether discovery knows nothing new of so many versions of the
// aggregated group, and everything of all others.
func staleVersions(want int) error {
	_, _, err := clientset.Discovery().ServerGroupsAndResources()
	if err == nil {
		return errors.New("discovery is complete")
	}
	var failed *discovery.ErrGroupDiscoveryFailed
	if !errors.As(err, &failed) {
		return err
	}
	for version, why := range failed.Groups {
		var stale discovery.StaleGroupVersionError
		if version.Group != api.Group || !errors.As(why, &stale) {
			return err
		}
	}
	if len(failed.Groups) < want {
		return fmt.Errorf("%w: these are %d versions, want %d", err, len(failed.Groups), want)
	}
	return nil
}

// conditionsOf has the conditions of a namespace.
func conditionsOf(ctx context.Context, namespace string) (map[corev1.NamespaceConditionType]corev1.NamespaceCondition, error) {
	found, err := clientset.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	conditions := map[corev1.NamespaceConditionType]corev1.NamespaceCondition{}
	for _, condition := range found.Status.Conditions {
		conditions[condition.Type] = condition
	}
	return conditions, nil
}
