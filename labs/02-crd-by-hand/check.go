// Package crdbyhand checks lab 2: the CustomResourceDefinition that the learner writes
// for the manifest that people know.
//
// The check does not compare texts. It gives the CRD to the kube-apiserver under a group
// of its own and asks it what a user would ask: is this manifest accepted, is that port
// refused, and in which words. At the end it looks whether the learner's own has been
// applied.
package crdbyhand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/labs/lab"
)

// Exercise is lab 2.
var Exercise = lab.Exercise{Check: check, Clean: clean}

const crdFile, manifestFile = "crd.yaml", "http.yaml"

// serveTimeout bounds the wait for what the kube-apiserver does soon after a CRD is
// there.
const serveTimeout = 20 * time.Second

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if finding := s.YAML(crdFile, crd); finding != nil {
		return finding, nil
	}
	if finding := checkNames(s, crd); finding != nil {
		return finding, nil
	}
	s.Verified("%s names the kind, the resource, the version and the short name", crdFile)
	if finding := checkSchema(s, crd); finding != nil {
		return finding, nil
	}
	admin, err := s.Admin()
	if err != nil {
		return nil, err
	}
	client, err := apiextensions.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	t := &trial{Session: s, admin: admin, client: client}
	if finding, err := t.try(ctx, crd); finding != nil || err != nil {
		return finding, err
	}
	return checkApplied(ctx, s, client, crd)
}

// found is a finding about the learner's CRD.
func found(s *lab.Session, id, where, found, expected string) *lab.Finding {
	return &lab.Finding{ID: id, Where: s.Where(crdFile) + ": " + where, Found: found, Expected: expected}
}

// checkNames looks at what has nothing to do with the schema.
func checkNames(s *lab.Session, crd *apiextensionsv1.CustomResourceDefinition) *lab.Finding {
	group, resource := s.Constant("group"), s.Constant("resource")
	for _, name := range []struct{ where, got, want string }{
		{"kind", crd.Kind, "CustomResourceDefinition"},
		{"metadata.name", crd.Name, resource + "." + group},
		{"spec.group", crd.Spec.Group, group},
		{"spec.names.kind", crd.Spec.Names.Kind, s.Constant("kind")},
		{"spec.names.plural", crd.Spec.Names.Plural, resource},
		{"spec.scope", string(crd.Spec.Scope), string(apiextensionsv1.NamespaceScoped)},
	} {
		if name.got != name.want {
			return found(s, "names", name.where, quoted(name.got), name.want)
		}
	}
	if len(crd.Spec.Versions) != 1 || crd.Spec.Versions[0].Name != "v1" || !crd.Spec.Versions[0].Served || !crd.Spec.Versions[0].Storage {
		return found(s, "names", "spec.versions", fmt.Sprintf("%d versions", len(crd.Spec.Versions)), "one, v1, served and stored")
	}
	if names := crd.Spec.Names.ShortNames; len(names) != 1 || names[0] != s.Constant("shortName") {
		return found(s, "short-name", "spec.names.shortNames", fmt.Sprint(names), "["+s.Constant("shortName")+"]")
	}
	return nil
}

// checkSchema looks whether there is a schema at all: without one the kube-apiserver
// refuses the CRD in words that help nobody.
func checkSchema(s *lab.Session, crd *apiextensionsv1.CustomResourceDefinition) *lab.Finding {
	validation := crd.Spec.Versions[0].Schema
	const where = "spec.versions[0].schema.openAPIV3Schema"
	if validation == nil || validation.OpenAPIV3Schema == nil || len(validation.OpenAPIV3Schema.Properties) == 0 {
		return found(s, "no-schema", where, "no properties", "properties, with spec among them")
	}
	if _, ok := validation.OpenAPIV3Schema.Properties["spec"]; !ok {
		return found(s, "no-schema", where+".properties", "no spec", "spec, an object with properties of its own")
	}
	return nil
}

func quoted(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// trial tries the learner's CRD out, under a group that nobody uses.
type trial struct {
	*lab.Session
	admin  *rest.Config
	client apiextensions.Interface
	group  string
}

func (t *trial) try(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (*lab.Finding, error) {
	t.group = lab.Scratch() + "." + t.Constant("group")
	copied := crd.DeepCopy()
	copied.Spec.Group, copied.Name = t.group, t.Constant("resource")+"."+t.group
	// two kinds of one short name are in each other's way
	copied.Spec.Names.ShortNames = nil
	copied.ResourceVersion, copied.UID = "", ""
	crds := t.client.ApiextensionsV1().CustomResourceDefinitions()
	_, err := crds.Create(ctx, copied, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return &lab.Finding{
			ID: "crd-refused", Where: t.Where(crdFile), Expected: "a CustomResourceDefinition that the kube-apiserver accepts",
			Found: strings.ReplaceAll(err.Error(), t.group, t.Constant("group")),
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("try the CRD out: %w", err)
	}
	t.Cleanup(func() error {
		return crds.Delete(context.WithoutCancel(ctx), copied.Name, metav1.DeleteOptions{})
	})
	if err := t.served(ctx); err != nil {
		return nil, err
	}
	for _, ask := range []func(context.Context) (*lab.Finding, error){t.unknown, t.historical, t.ports, t.described} {
		if finding, err := ask(ctx); finding != nil || err != nil {
			return finding, err
		}
	}
	return nil, nil
}

// path is where the objects of the trial are.
func (t *trial) path() string {
	return "/apis/" + t.group + "/v1/namespaces/" + t.Lab.Namespace() + "/" + t.Constant("resource")
}

// served waits until the resource of the trial is.
func (t *trial) served(ctx context.Context) error {
	last := errors.New("not yet")
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, serveTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, t.admin, http.MethodGet, t.path(), "", "")
		if err == nil && reply.Status != http.StatusOK {
			last = fmt.Errorf("status %d", reply.Status)
		}
		return err == nil && reply.Status == http.StatusOK, err
	})
	if wait.Interrupted(err) {
		err = fmt.Errorf("the CRD is accepted and not served after %s: %w", serveTimeout, last)
	}
	return err
}

// create creates an object in a dry run and returns what the kube-apiserver says.
func (t *trial) create(ctx context.Context, edit func(object map[string]any)) (*lab.Reply, map[string]any, *lab.Finding, error) {
	var object map[string]any
	if finding := t.YAML(manifestFile, &object); finding != nil {
		return nil, nil, finding, nil
	}
	object["apiVersion"] = t.group + "/v1"
	spec, _ := object["spec"].(map[string]any)
	if spec == nil {
		return nil, nil, &lab.Finding{ID: lab.YAMLBroken, Where: t.Where(manifestFile), Found: "no spec", Expected: "the manifest as it is in start/"}, nil
	}
	edit(spec)
	body, err := json.Marshal(object)
	if err != nil {
		return nil, nil, nil, err
	}
	reply, err := lab.Send(ctx, t.admin, http.MethodPost, t.path()+"?dryRun=All", "application/json", string(body))
	if err != nil {
		return nil, nil, nil, err
	}
	var answer map[string]any
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		return nil, nil, nil, fmt.Errorf("read what the kube-apiserver says: %w", err)
	}
	return reply, answer, nil, nil
}

func message(answer map[string]any) string { return fmt.Sprint(answer["message"]) }

func spec(answer map[string]any) map[string]any {
	spec, _ := answer["spec"].(map[string]any)
	return spec
}

// unknown asks what becomes of a field that the schema should not have.
func (t *trial) unknown(ctx context.Context) (*lab.Finding, error) {
	field := t.Constant("unknownField")
	reply, answer, finding, err := t.create(ctx, func(spec map[string]any) { spec[field] = "red" })
	if finding != nil || err != nil {
		return finding, err
	}
	if _, kept := spec(answer)[field]; kept && reply.Status == http.StatusCreated {
		return found(t.Session, "anything-goes", "the schema of spec", "a field "+field+", which no schema should have, is stored",
			"a schema that names each field, so that others are dropped"), nil
	}
	t.Verified("a field that is not in the schema is not stored")
	return nil, nil
}

// historical asks for what people know, the misspelling included.
func (t *trial) historical(ctx context.Context) (*lab.Finding, error) {
	misspelt := t.Constant("misspelt")
	for _, test := range []struct {
		edit func(map[string]any)
		what string
	}{
		{func(map[string]any) {}, "the manifest"},
		{func(spec map[string]any) { spec[misspelt] = true }, "the manifest with " + misspelt + ": true"},
	} {
		reply, answer, finding, err := t.create(ctx, test.edit)
		if finding != nil || err != nil {
			return finding, err
		}
		if reply.Status != http.StatusCreated {
			return found(t.Session, "historical-refused", test.what, message(answer), "it is accepted, as it has been since 2022"), nil
		}
		sent := map[string]any{"name": nil, "host": nil, "port": nil}
		test.edit(sent)
		for field := range sent {
			if _, kept := spec(answer)[field]; !kept {
				return found(t.Session, "field-dropped", test.what, "spec."+field+" is dropped", "every field of it is stored"), nil
			}
		}
	}
	t.Verified("%s is accepted, with %s: true and without", manifestFile, misspelt)
	return nil, nil
}

// refused tries a rule that must be refused because of a field of its spec.
func (t *trial) refused(ctx context.Context, id, what, field string, edit func(spec map[string]any)) (*lab.Finding, error) {
	reply, answer, finding, err := t.create(ctx, edit)
	if finding != nil || err != nil {
		return finding, err
	}
	about := "a message about spec." + field
	if reply.Status == http.StatusCreated {
		return found(t.Session, id, what, "accepted", "refused, with "+about), nil
	}
	if !strings.Contains(message(answer), "spec."+field) {
		return found(t.Session, id, what, message(answer), about), nil
	}
	return nil, nil
}

// ports asks for ports that nobody can listen on, and leaves out what must be there.
func (t *trial) ports(ctx context.Context) (*lab.Finding, error) {
	for _, test := range []struct {
		id, port string
	}{
		{"port-not-number", t.Constant("wordPort")},
		{"port-too-low", t.Constant("lowPort")},
		{"port-too-high", t.Constant("highPort")},
	} {
		var port any
		if err := yaml.Unmarshal([]byte(test.port), &port); err != nil {
			return nil, err
		}
		finding, err := t.refused(ctx, test.id, "a rule with port "+test.port, "port", func(spec map[string]any) { spec["port"] = port })
		if finding != nil || err != nil {
			return finding, err
		}
	}
	for _, field := range []string{"port", "name", "host"} {
		finding, err := t.refused(ctx, "field-optional", "a rule without "+field, field, func(spec map[string]any) { delete(spec, field) })
		if finding != nil || err != nil {
			return finding, err
		}
	}
	last, err := strconv.Atoi(t.Constant("maxPort"))
	if err != nil {
		return nil, err
	}
	reply, answer, finding, err := t.create(ctx, func(spec map[string]any) { spec["port"] = last })
	if finding != nil || err != nil {
		return finding, err
	}
	if reply.Status != http.StatusCreated {
		return found(t.Session, "valid-port-refused", fmt.Sprintf("a rule with port %d", last), message(answer), "accepted: it is the last port"), nil
	}
	t.Verified("ports %s, %s and %s are refused, and rules that lack a field", t.Constant("lowPort"), t.Constant("highPort"), t.Constant("wordPort"))
	return nil, nil
}

// described asks for the document from which kubectl explain takes its text.
func (t *trial) described(ctx context.Context) (*lab.Finding, error) {
	var document struct {
		Components struct {
			Schemas map[string]apiextensionsv1.JSONSchemaProps `json:"schemas"`
		} `json:"components"`
	}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, serveTimeout, true, func(ctx context.Context) (bool, error) {
		reply, err := lab.Send(ctx, t.admin, http.MethodGet, "/openapi/v3/apis/"+t.group+"/v1", "", "")
		if err != nil || reply.Status != http.StatusOK {
			return false, err
		}
		return true, json.Unmarshal(reply.Body, &document)
	})
	if wait.Interrupted(err) {
		err = fmt.Errorf("the CRD is served and not described in /openapi/v3 after %s", serveTimeout)
	}
	if err != nil {
		return nil, err
	}
	for name, schema := range document.Components.Schemas {
		if !strings.HasSuffix(name, ".v1."+t.Constant("kind")) {
			continue
		}
		for _, field := range []string{"name", "host", "port", t.Constant("misspelt")} {
			if strings.TrimSpace(schema.Properties["spec"].Properties[field].Description) == "" {
				return found(t.Session, "no-description", "spec."+field, "no description", "a description, which kubectl explain shows"), nil
			}
		}
		t.Verified("kubectl explain has something to say about each field")
		return nil, nil
	}
	return nil, fmt.Errorf("/openapi/v3 of the CRD has no schema of %s", t.Constant("kind"))
}

// checkApplied looks whether the cluster has what the file says.
func checkApplied(ctx context.Context, s *lab.Session, client apiextensions.Interface, crd *apiextensionsv1.CustomResourceDefinition) (*lab.Finding, error) {
	applied, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, crd.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &lab.Finding{
			ID: "not-applied", Where: "the cluster", Found: "no CustomResourceDefinition " + crd.Name, Expected: "the one in " + s.Where(crdFile),
		}, nil
	}
	if err != nil {
		return nil, err
	}
	if !equality.Semantic.DeepEqual(applied.Spec.Versions[0].Schema, crd.Spec.Versions[0].Schema) {
		return &lab.Finding{
			ID: "applied-differs", Where: "the cluster: CustomResourceDefinition " + crd.Name,
			Found: "another schema than in " + s.Where(crdFile), Expected: "the schema of the file",
		}, nil
	}
	s.Verified("the cluster has the CustomResourceDefinition of %s", crdFile)
	return nil, nil
}

// clean removes the learner's CRD, and with it every object of the kind.
func clean(ctx context.Context, s *lab.Session) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	client, err := apiextensions.NewForConfig(admin)
	if err != nil {
		return err
	}
	name := s.Constant("resource") + "." + s.Constant("group")
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	if err := crds.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, serveTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := crds.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}
