// Package twoversions checks lab 6: a kind in two versions, the conversion between them
// that the learner has written, and the change of the version that is stored.
//
// The learner's webhook is built and run, and converts for a copy of the learner's CRD under
// a group of its own, by what the kube-apiserver is asked to read and write there (trial.go).
// The same copy shows how often it is asked to convert (count.go). The learner's own CRD and
// objects are only read, through the kube-apiserver and in etcd.
package twoversions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"portrule.example/lab/labs/06-two-versions/stored"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 6.
var Exercise = lab.Exercise{Check: check, Clean: clean}

const crdFile, conversionFile, mainFile, answersFile = "crd.yaml", "conversion.yaml", "main.go", "answers.yaml"

// ruleFiles are the rules that the cluster is to have in the end, as people have written them.
var ruleFiles = []string{"web.yaml", "ssh.yaml", "dns.yaml"}

const v1, v2 = "v1", "v2"

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	l := &look{Session: s, crd: &apiextensionsv1.CustomResourceDefinition{}}
	if finding := s.YAML(crdFile, l.crd); finding != nil {
		return finding, nil
	}
	if finding := s.YAML(conversionFile, &l.patch); finding != nil {
		return finding, nil
	}
	var given answers
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	for _, name := range ruleFiles {
		rule := &unstructured.Unstructured{}
		if finding := s.YAML(name, &rule.Object); finding != nil {
			return finding, nil
		}
		if finding := l.ruleRight(name, rule); finding != nil {
			return finding, nil
		}
		l.rules = append(l.rules, rule)
	}
	if finding := l.named(); finding != nil {
		return finding, nil
	}
	var err error
	if l.admin, err = s.Admin(); err != nil {
		return nil, err
	}
	if l.crds, err = crdClient(l.admin); err != nil {
		return nil, err
	}
	program, finding, err := s.Build(ctx, mainFile)
	if finding != nil || err != nil {
		return finding, err
	}
	s.Verified("%s compiles", mainFile)
	t := &trial{look: l}
	if finding, err := t.convert(ctx, program); finding != nil || err != nil {
		return finding, err
	}
	for _, step := range []func(context.Context) (*lab.Finding, error){
		l.registered, l.applied, l.converts, l.switched, l.migrated, l.forgotten,
	} {
		if finding, err := step(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return t.count(ctx, given)
}

// crdClient returns a client for CRDs.
func crdClient(config *rest.Config) (apiextensionsclient.CustomResourceDefinitionInterface, error) {
	client, err := apiextensions.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return client.ApiextensionsV1().CustomResourceDefinitions(), nil
}

// conversionPatch is what conversion.yaml says of the CRD.
type conversionPatch struct {
	Spec struct {
		Conversion *apiextensionsv1.CustomResourceConversion `json:"conversion"`
	} `json:"spec"`
}

// look looks at what the learner has, in files and in the cluster.
type look struct {
	*lab.Session
	crd   *apiextensionsv1.CustomResourceDefinition
	patch conversionPatch
	rules []*unstructured.Unstructured
	admin *rest.Config
	crds  apiextensionsclient.CustomResourceDefinitionInterface
	// live is the CRD in the cluster.
	live *apiextensionsv1.CustomResourceDefinition
}

// name is that of the learner's CRD.
func (l *look) name() string { return l.Constant("resource") + "." + l.Constant("group") }

// about is a finding about what a file says.
func (l *look) about(id, file, where, found, expected string) (*lab.Finding, error) {
	return &lab.Finding{ID: id, Where: l.Where(file) + ": " + where, Found: found, Expected: expected}, nil
}

// inCluster is a finding about what the cluster has.
func (l *look) inCluster(id, where, found, expected string) (*lab.Finding, error) {
	return &lab.Finding{ID: id, Where: "the cluster: " + where, Found: found, Expected: expected}, nil
}

// ruleRight makes sure that a file has a rule of the lab's kind.
func (l *look) ruleRight(name string, rule *unstructured.Unstructured) *lab.Finding {
	version, err := versionOf(rule, l.Constant("group"))
	if err == nil && (rule.GetKind() != l.Constant("kind") || rule.GetName() == "" || rule.GetNamespace() == "") {
		err = errors.New("another kind, or no name or namespace")
	}
	if err != nil {
		return &lab.Finding{ID: lab.YAMLBroken, Where: l.Where(name), Found: err.Error(), Expected: "the rule as it is in start/"}
	}
	if _, ok := rule.Object["spec"].(map[string]any); !ok {
		return &lab.Finding{ID: lab.YAMLBroken, Where: l.Where(name), Found: "no spec", Expected: "the rule as it is in start/, of " + version}
	}
	return nil
}

// versionOf returns the version of an object of the group.
func versionOf(object *unstructured.Unstructured, group string) (string, error) {
	for _, version := range []string{v1, v2} {
		if object.GetAPIVersion() == group+"/"+version {
			return version, nil
		}
	}
	return "", fmt.Errorf("apiVersion %q", object.GetAPIVersion())
}

// named looks at what of the CRD has nothing to do with the task.
func (l *look) named() *lab.Finding {
	spec := l.crd.Spec
	for _, name := range []struct{ where, got, want string }{
		{"kind", l.crd.Kind, "CustomResourceDefinition"},
		{"metadata.name", l.crd.Name, l.name()},
		{"spec.group", spec.Group, l.Constant("group")},
		{"spec.names.kind", spec.Names.Kind, l.Constant("kind")},
		{"spec.names.plural", spec.Names.Plural, l.Constant("resource")},
		{"spec.scope", string(spec.Scope), string(apiextensionsv1.NamespaceScoped)},
	} {
		if name.got != name.want {
			finding, _ := l.about("names", crdFile, name.where, fmt.Sprintf("%q", name.got), name.want)
			return finding
		}
	}
	served, storage := []string{}, []string{}
	for _, version := range spec.Versions {
		if version.Served {
			served = append(served, version.Name)
		}
		if version.Storage {
			storage = append(storage, version.Name)
		}
	}
	slices.Sort(served)
	if !slices.Equal(served, []string{v1, v2}) {
		finding, _ := l.about("versions", crdFile, "spec.versions", "served are "+list(served), "v1 and v2, both served: people have manifests of v1")
		return finding
	}
	if len(storage) != 1 {
		finding, _ := l.about("versions", crdFile, "spec.versions", "storage: true in "+list(storage), "storage: true in one version")
		return finding
	}
	return nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " and ")
}

// url is where the learner's webhook is to be.
func (l *look) url() string {
	// on another cluster the kube-apiserver reaches this host by another name
	where, err := url.Parse(l.Constant("url"))
	if err != nil {
		return l.Constant("url")
	}
	where.Host = net.JoinHostPort(l.Host(), where.Port())
	return where.String()
}

// registered looks at conversion.yaml.
func (l *look) registered(context.Context) (*lab.Finding, error) {
	const at = "spec.conversion"
	conversion := l.patch.Spec.Conversion
	switch {
	case conversion == nil:
		return l.about("strategy", conversionFile, at, "nothing, which means strategy: None", "strategy: Webhook")
	case conversion.Strategy != apiextensionsv1.WebhookConverter:
		return l.about("strategy", conversionFile, at+".strategy", fmt.Sprintf("%q", conversion.Strategy), "Webhook")
	case conversion.Webhook == nil:
		return l.about("url", conversionFile, at+".webhook", "nothing", "clientConfig and conversionReviewVersions")
	case !slices.Contains(conversion.Webhook.ConversionReviewVersions, v1):
		return l.about("review-versions", conversionFile, at+".webhook.conversionReviewVersions", fmt.Sprintf("%q", conversion.Webhook.ConversionReviewVersions),
			"v1: the version of ConversionReview that the webhook understands, which has nothing to do with those of the kind")
	case conversion.Webhook.ClientConfig == nil || conversion.Webhook.ClientConfig.URL == nil:
		return l.about("url", conversionFile, at+".webhook.clientConfig", "no url", "url: "+l.url())
	case *conversion.Webhook.ClientConfig.URL != l.url():
		return l.about("url", conversionFile, at+".webhook.clientConfig.url", *conversion.Webhook.ClientConfig.URL, l.url())
	}
	l.Verified("%s asks the webhook at %s", conversionFile, l.url())
	return nil, nil
}

// applied makes sure that the cluster has what the file says.
func (l *look) applied(ctx context.Context) (*lab.Finding, error) {
	var err error
	l.live, err = l.crds.Get(ctx, l.name(), metav1.GetOptions{})
	const expected = "what the file says: kubectl apply -f " + crdFile
	const patched = "what the file says: kubectl patch -f " + crdFile + " --type=merge --patch-file " + conversionFile
	if apierrors.IsNotFound(err) {
		return l.inCluster("not-applied", "CustomResourceDefinition", "none of the name "+l.name(), expected)
	}
	if err != nil {
		return nil, err
	}
	where := "CustomResourceDefinition " + l.name() + ": spec."
	if !sameVersions(l.live.Spec.Versions, l.crd.Spec.Versions) {
		return l.inCluster("not-applied", where+"versions", "others than in "+l.Where(crdFile), expected)
	}
	webhook := l.live.Spec.Conversion.Webhook
	if l.live.Spec.Conversion.Strategy != apiextensionsv1.WebhookConverter || webhook == nil || webhook.ClientConfig == nil ||
		webhook.ClientConfig.URL == nil || *webhook.ClientConfig.URL != l.url() {
		return l.inCluster("not-applied", where+"conversion", "another than in "+l.Where(conversionFile), patched)
	}
	if len(webhook.ClientConfig.CABundle) == 0 {
		return l.inCluster("ca-bundle", where+"conversion.webhook.clientConfig.caBundle", "nothing", "the CA of your webhook, in certs/ca.crt")
	}
	l.Verified("the cluster has what %s and %s say, and a caBundle", crdFile, conversionFile)
	return nil, nil
}

// sameVersions is whether two CRDs have the same versions, in whatever order.
func sameVersions(a, b []apiextensionsv1.CustomResourceDefinitionVersion) bool {
	if len(a) != len(b) {
		return false
	}
	for _, version := range a {
		if !slices.ContainsFunc(b, func(other apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return version.Name == other.Name && version.Served == other.Served && version.Storage == other.Storage &&
				equality.Semantic.DeepEqual(version.Schema, other.Schema)
		}) {
			return false
		}
	}
	return true
}

// converts reads the learner's rules in both versions, through the learner's own webhook.
func (l *look) converts(ctx context.Context) (*lab.Finding, error) {
	for i, rule := range l.rules {
		written, err := versionOf(rule, l.Constant("group"))
		if err != nil {
			return nil, err
		}
		for _, version := range []string{v1, v2} {
			where := fmt.Sprintf("PortRule %s/%s, read as %s", rule.GetNamespace(), rule.GetName(), version)
			reply, err := lab.Send(ctx, l.admin, http.MethodGet,
				fmt.Sprintf("/apis/%s/%s/namespaces/%s/%s/%s", l.Constant("group"), version, rule.GetNamespace(), l.Constant("resource"), rule.GetName()), "", "")
			if err != nil {
				return nil, err
			}
			message := reply.Message()
			switch {
			case reply.Status == http.StatusOK:
			case reply.Status == http.StatusNotFound:
				return l.inCluster("rule-missing", where, message, "the rule of "+l.Where(ruleFiles[i]))
			case strings.Contains(message, "x509: "):
				return l.inCluster("ca-bundle", where, message, "a caBundle by which the certificate of your webhook can be verified")
			case strings.Contains(message, "connection refused") || strings.Contains(message, "no such host"):
				return l.inCluster("webhook-down", where, message, "your webhook, which listens there")
			default:
				return l.inCluster("webhook-fails", where, fmt.Sprintf("status %d: %s", reply.Status, message), "the rule")
			}
			var got unstructured.Unstructured
			if err := json.Unmarshal(reply.Body, &got.Object); err != nil {
				return nil, fmt.Errorf("read what the kube-apiserver says: %w", err)
			}
			if version != written {
				continue
			}
			for _, field := range flatten("spec", rule.Object["spec"]) {
				if value := at(got.Object, field.path); value != field.value {
					return l.inCluster("rule-differs", where+": "+field.path, value, field.value+", as in "+l.Where(ruleFiles[i]))
				}
			}
		}
	}
	l.Verified("the rules of %s are there, and can be read in both versions", strings.Join(ruleFiles, ", "))
	return nil, nil
}

// switched makes sure that v2 is the storage version.
func (l *look) switched(context.Context) (*lab.Finding, error) {
	for _, version := range l.crd.Spec.Versions {
		if version.Storage && version.Name != v2 {
			return l.about("storage", crdFile, "spec.versions", "storage: true in "+version.Name, "storage: true in "+v2)
		}
	}
	l.Verified("what is written now is stored as %s", v2)
	return nil, nil
}

// migrated looks at what etcd has.
func (l *look) migrated(ctx context.Context) (*lab.Finding, error) {
	cluster, err := l.Cluster()
	if err != nil {
		return nil, err
	}
	if len(cluster.Etcd) == 0 {
		l.Verified("which version each object has in etcd cannot be seen here: the etcd is not the labs'")
		return nil, nil
	}
	objects, err := stored.Read(ctx, cluster.Etcd, l.Constant("group"), l.Constant("resource"))
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if object.Version() != v2 {
			return &lab.Finding{ID: "not-migrated", Where: "etcd: PortRule " + object.Name, Found: "stored as " + object.APIVersion, Expected: "stored as " + l.Constant("group") + "/" + v2}, nil
		}
	}
	l.Verified("etcd has %d objects, all of them as %s", len(objects), v2)
	return nil, nil
}

// forgotten makes sure that nobody says any more that v1 is stored.
func (l *look) forgotten(context.Context) (*lab.Finding, error) {
	if !slices.Equal(l.live.Status.StoredVersions, []string{v2}) {
		return l.inCluster("stored-versions", "CustomResourceDefinition "+l.name()+": status.storedVersions", list(l.live.Status.StoredVersions), v2+" alone")
	}
	l.Verified("status.storedVersions is %s alone, so that v1 could be removed some day", v2)
	return nil, nil
}

// clean removes the learner's CRD, and with it every rule.
func clean(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	crds, err := crdClient(admin)
	if err != nil {
		return err
	}
	return remove(ctx, crds, s.Constant("resource")+"."+s.Constant("group"))
}
