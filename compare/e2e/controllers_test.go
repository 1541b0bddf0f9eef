package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// holdFinalizer keeps an object that is being deleted until the test lets it go.
const holdFinalizer = "e2e.firewalld.fedoraproject.org/hold"

// The garbage collector treats the rules of a server that it reaches by way of the
// kube-apiserver as it treats custom resources.
func TestGarbageCollection(t *testing.T) {
	needs(t, "garbage collector")
	var all []features.Feature
	for impl, group := range groups {
		var namespace string
		// what a step is about, if it has failed
		tell := func(t *testing.T) {
			if t.Failed() {
				out, _ := kubectl(t, "", "get", "-n", namespace, "portrules."+group+",configmaps", "-o", "yaml")
				t.Logf("what there is:\n%s", out)
			}
		}
		configMap := func(ctx context.Context, name string) (*corev1.ConfigMap, error) {
			return clientset.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		}
		all = append(all, features.New("garbage collection").WithLabel("area", "controllers").WithLabel("impl", impl).
			WithSetup("rules and their ConfigMaps", step(func(t *testing.T) {
				namespace = discovered(t)
				for i, name := range []string{"owner", "background", "orphan", "foreground", "blocked"} {
					mustKubectl(t, ruleManifest(group, name, 8001+i), "create", "-n", namespace, "-f", "-")
				}
				defer tell(t)
				for _, name := range []string{"owner", "background", "orphan", "foreground", "blocked"} {
					eventually(t, "the rule "+name+" has a ConfigMap", func(ctx context.Context) error {
						_, err := configMap(ctx, name+"-nftables")
						return err
					})
				}
			})).
			Assess("discovery says that the rules can be watched and deleted", step(func(t *testing.T) {
				lists, err := clientset.Discovery().ServerPreferredResources()
				if err != nil {
					t.Fatalf("discovery is not complete, and the garbage collector leaves the rest alone: %v", err)
				}
				// these are the verbs that it asks for
				found, err := discovery.GroupVersionResources(discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"delete", "list", "watch"}}, lists))
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := found[rulesOf(group)]; !ok {
					t.Errorf("the garbage collector does not see %s", rulesOf(group))
				}
			})).
			Assess("a ConfigMap names the rule as its owner", step(func(t *testing.T) {
				defer tell(t)
				rule, err := ruleMetadata(t.Context(), t, group, namespace, "owner")
				if err != nil {
					t.Fatal(err)
				}
				owned, err := configMap(t.Context(), "owner-nftables")
				if err != nil {
					t.Fatal(err)
				}
				want := []metav1.OwnerReference{{
					APIVersion: group + "/" + v2.Version, Kind: api.Kind, Name: "owner", UID: rule.UID,
					Controller: new(true), BlockOwnerDeletion: new(false),
				}}
				if !reflect.DeepEqual(owned.OwnerReferences, want) {
					t.Errorf("the owners are\n%+v\nwant\n%+v", owned.OwnerReferences, want)
				}
			})).
			Assess("the ConfigMap goes after its rule", step(func(t *testing.T) {
				defer tell(t)
				mustKubectl(t, "", "delete", "-n", namespace, "portrules."+group, "background")
				begin := time.Now()
				eventually(t, "the ConfigMap is deleted", func(ctx context.Context) error {
					_, err := configMap(ctx, "background-nftables")
					return gone(err)
				})
				t.Logf("%s: the ConfigMap was gone %.2f s after its rule", impl, time.Since(begin).Seconds())
			})).
			Assess("--cascade=orphan leaves the ConfigMap without an owner", step(func(t *testing.T) {
				defer tell(t)
				mustKubectl(t, "", "delete", "-n", namespace, "portrules."+group, "orphan", "--cascade=orphan", "--timeout=2m")
				orphan, err := configMap(t.Context(), "orphan-nftables")
				if err != nil {
					t.Fatal(err)
				}
				if len(orphan.OwnerReferences) > 0 || orphan.DeletionTimestamp != nil {
					t.Errorf("it has the owners %+v and is being deleted since %v, want neither", orphan.OwnerReferences, orphan.DeletionTimestamp)
				}
			})).
			Assess("--cascade=foreground does not wait for the ConfigMap, which asks for no wait", step(func(t *testing.T) {
				defer tell(t)
				setFinalizers(t, namespace, "foreground-nftables", holdFinalizer)
				mustKubectl(t, "", "delete", "-n", namespace, "portrules."+group, "foreground", "--cascade=foreground", "--timeout=2m")
				eventually(t, "the ConfigMap is being deleted", func(ctx context.Context) error {
					held, err := configMap(ctx, "foreground-nftables")
					if err == nil && held.DeletionTimestamp == nil {
						err = fmt.Errorf("the ConfigMap has no deletionTimestamp")
					}
					return err
				})
				setFinalizers(t, namespace, "foreground-nftables")
			})).
			Assess("an owner that the group does not have is no owner", step(func(t *testing.T) {
				defer tell(t)
				rule, err := ruleMetadata(t.Context(), t, group, namespace, "blocked")
				if err != nil {
					t.Fatal(err)
				}
				owner := metav1.OwnerReference{APIVersion: group + "/" + v2.Version, Kind: api.Kind, Name: rule.Name, UID: rule.UID, BlockOwnerDeletion: new(true)}
				makeDependent(t, namespace, "blocker", holdFinalizer, owner, nobody(group))
				// the garbage collector asks the group for both, and strikes out the one
				eventually(t, "the ConfigMap blocker has the one owner that there is", func(ctx context.Context) error {
					blocker, err := configMap(ctx, "blocker")
					if err == nil && !reflect.DeepEqual(blocker.OwnerReferences, []metav1.OwnerReference{owner}) {
						err = fmt.Errorf("the owners are %+v", blocker.OwnerReferences)
					}
					return err
				})
			})).
			Assess("--cascade=foreground keeps the rule until what blocks it is gone", step(func(t *testing.T) {
				defer tell(t)
				mustKubectl(t, "", "delete", "-n", namespace, "portrules."+group, "blocked", "--cascade=foreground", "--wait=false")
				eventually(t, "what blocks is being deleted", func(ctx context.Context) error {
					blocker, err := configMap(ctx, "blocker")
					if err == nil && blocker.DeletionTimestamp == nil {
						err = fmt.Errorf("the ConfigMap has no deletionTimestamp")
					}
					return err
				})
				rule, err := ruleMetadata(t.Context(), t, group, namespace, "blocked")
				if err != nil {
					t.Fatalf("the rule did not wait: %v", err)
				}
				if rule.DeletionTimestamp == nil || !slices.Equal(rule.Finalizers, []string{metav1.FinalizerDeleteDependents}) {
					t.Errorf("the rule is being deleted since %v, with the finalizers %q, want %q", rule.DeletionTimestamp, rule.Finalizers, metav1.FinalizerDeleteDependents)
				}
				setFinalizers(t, namespace, "blocker")
				eventually(t, "the rule is gone", func(ctx context.Context) error {
					_, err := ruleMetadata(ctx, t, group, namespace, "blocked")
					return gone(err)
				})
				if _, err := configMap(t.Context(), "blocker"); !apierrors.IsNotFound(err) {
					t.Errorf("the rule went before the ConfigMap that blocks it (%v)", err)
				}
			})).
			Feature())
	}
	environment.Test(t, all...)
}

// A namespace goes with the rules of both groups in it.
func TestNamespaceDeletion(t *testing.T) {
	needs(t, "namespace controller")
	var namespace string
	environment.Test(t, features.New("deletion of a namespace").WithLabel("area", "controllers").
		WithSetup("a namespace with rules of both groups", step(func(t *testing.T) {
			namespace = discovered(t)
			populate(t, namespace)
		})).
		Assess("takes the rules of both groups along", step(func(t *testing.T) {
			defer tellNamespace(t, namespace)
			begin := time.Now()
			mustKubectl(t, "", "delete", "namespace", namespace, "--timeout=2m")
			t.Logf("the namespace was gone after %.1f s", time.Since(begin).Seconds())
			for impl, group := range groups {
				if code := status(t, http.MethodGet, rulePath(group, v2.Version, namespace, impl)); code != http.StatusNotFound {
					t.Errorf("a get of the rule of %s is answered %d, want 404", group, code)
				}
			}
		})).
		Feature())
}

// A quota on the number of rules binds the CRD alone: the admission plugin ResourceQuota
// is in the kube-apiserver, which hands requests for the aggregated group on before
// admission. The quota controller counts both, but what it does when an object comes is
// nothing, for that is the plugin's to count: the number is wrong until a rule is
// deleted, the quota is changed, or five minutes have passed.
func TestResourceQuota(t *testing.T) {
	needs(t, "quota controller")
	var all []features.Feature
	for impl, group := range groups {
		var namespace string
		bound := impl == "crd"
		constraint := corev1.ResourceName("count/" + api.Resource + "." + group)
		quota := func(t *testing.T) *corev1.ResourceQuota {
			t.Helper()
			found, err := clientset.CoreV1().ResourceQuotas(namespace).Get(t.Context(), "rules", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		used := func(t *testing.T) string {
			t.Helper()
			if value, ok := quota(t).Status.Used[constraint]; ok {
				return value.String()
			}
			return "nothing"
		}
		eventuallyUsed := func(t *testing.T, want string) {
			t.Helper()
			eventually(t, "the quota counts "+want, func(context.Context) error {
				found := quota(t)
				value, counted := found.Status.Used[constraint]
				if counted && value.String() == want {
					return nil
				}
				// It looks for new kinds each half minute, but not for the quotas that name one.
				if !counted && equality.Semantic.DeepEqual(found.Spec.Hard, found.Status.Hard) {
					other := found.Spec.Hard[corev1.ResourcePods]
					mustKubectl(t, "", "patch", "-n", namespace, "quota", "rules", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"hard":{"pods":"%d"}}}`, other.Value()+1))
				}
				return fmt.Errorf("status is %+v", found.Status)
			})
		}
		create := func(t *testing.T, name string, port int) (string, error) {
			t.Helper()
			return kubectl(t, ruleManifest(group, name, port), "create", "-n", namespace, "-f", "-")
		}
		all = append(all, features.New("quota").WithLabel("area", "controllers").WithLabel("impl", impl).
			WithSetup("a rule and a quota of two", step(func(t *testing.T) {
				namespace = discovered(t)
				if out, err := create(t, "first", 8001); err != nil {
					t.Fatal(out)
				}
				mustKubectl(t, "", "create", "quota", "rules", "-n", namespace, "--hard="+string(constraint)+"=2")
			})).
			Assess("the rule that is there is counted", step(func(t *testing.T) {
				eventuallyUsed(t, "1")
			})).
			Assess("a second rule is created", step(func(t *testing.T) {
				if out, err := create(t, "second", 8002); err != nil {
					t.Fatal(out)
				}
				if got := used(t); bound && got != "2" {
					t.Errorf("the quota has %s used, want 2 as soon as the rule is there", got)
				}
			})).
			Assess("a third is refused, if the kube-apiserver admits it", step(func(t *testing.T) {
				out, err := create(t, "third", 8003)
				refusal := fmt.Sprintf(`"third" is forbidden: exceeded quota: rules, requested: %[1]s=1, used: %[1]s=2, limited: %[1]s=2`, constraint)
				switch {
				case bound && (err == nil || !strings.Contains(out, refusal)):
					t.Errorf("kubectl create says %q, want %q", out, refusal)
				case !bound && err != nil:
					t.Errorf("kubectl create says %q, want that the rule is created, since nothing there knows the quota", out)
				}
				t.Logf("%s: a rule beyond a quota of 2: %q; used: %s", impl, out, used(t))
			})).
			Assess("a deletion has the rules counted anew", step(func(t *testing.T) {
				if !bound {
					if out, err := create(t, "fourth", 8004); err != nil {
						t.Fatal(out)
					}
				}
				mustKubectl(t, "", "delete", "-n", namespace, "portrules."+group, "first")
				want := "1"
				if !bound {
					want = "3" // of 2
				}
				eventuallyUsed(t, want)
				if out, err := create(t, "fifth", 8005); err != nil {
					t.Errorf("kubectl create says %q, want that the rule is created", out)
				}
			})).
			Feature())
	}
	environment.Test(t, all...)
}

// discovered makes a namespace once discovery is complete, which is what the controllers
// and kubectl go by. An APIService may be available before.
func discovered(t *testing.T) string {
	t.Helper()
	eventually(t, "discovery is complete", served)
	return newNamespace(t)
}

// step is a step that needs the test alone.
func step(do func(t *testing.T)) features.Func {
	return func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		t.Helper()
		do(t)
		return ctx
	}
}

// ruleManifest is a rule of v2 on a port of its own.
func ruleManifest(group, name string, port int) string {
	return fmt.Sprintf("apiVersion: %s/%s\nkind: PortRule\nmetadata: {name: %s}\nspec: {service: nginx, endpoint: {host: 10.0.0.3, port: %d}}\n", group, v2.Version, name, port)
}

func rulesOf(group string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: v2.Version, Resource: api.Resource}
}

// rulePath is that of a rule, or of all rules of the namespace.
func rulePath(group, version, namespace string, name ...string) string {
	return strings.Join(append([]string{"/apis", group, version, "namespaces", namespace, api.Resource}, name...), "/")
}

// ruleMetadata is what the controllers of the cluster see of a rule.
func ruleMetadata(ctx context.Context, t *testing.T, group, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	t.Helper()
	client, err := metadata.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(rulesOf(group)).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// gone is nil if a get was answered that there is none.
func gone(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("it is there still")
	}
}

// populate makes a rule of each group, which has the name of the implementation, and
// waits for their ConfigMaps.
func populate(t *testing.T, namespace string) {
	t.Helper()
	for impl, group := range groups {
		mustKubectl(t, ruleManifest(group, impl, 8000), "create", "-n", namespace, "-f", "-")
		eventually(t, "the rule of "+group+" has a ConfigMap", func(ctx context.Context) error {
			_, err := clientset.CoreV1().ConfigMaps(namespace).Get(ctx, impl+"-nftables", metav1.GetOptions{})
			return err
		})
	}
}

// tellNamespace logs the state of a namespace if the test has failed.
func tellNamespace(t *testing.T, namespace string) {
	t.Helper()
	if t.Failed() {
		out, _ := kubectl(t, "", "get", "namespace", namespace, "-o", "yaml")
		t.Logf("the namespace:\n%s", out)
	}
}

// nobody is a reference to a rule that never was.
func nobody(group string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: group + "/" + v2.Version, Kind: api.Kind, Name: "nobody", UID: uuid.NewUUID()}
}

// makeDependent makes a ConfigMap with owners, and a finalizer unless that is empty.
func makeDependent(t *testing.T, namespace, name, finalizer string, owners ...metav1.OwnerReference) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name, OwnerReferences: owners}
	if finalizer != "" {
		meta.Finalizers = []string{finalizer}
	}
	if _, err := clientset.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// setFinalizers sets the finalizers of a ConfigMap.
func setFinalizers(t *testing.T, namespace, name string, finalizers ...string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": finalizers}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientset.CoreV1().ConfigMaps(namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
