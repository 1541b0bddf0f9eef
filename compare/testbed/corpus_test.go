package testbed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/testbed"
)

// inFlight is how many manifests are judged at a time.
const inFlight = 4

// specs are those that were stored, by manifest: each implementation stores the same.
type specs struct {
	mu   sync.Mutex
	of   map[string]any
	from map[string]string
}

// same compares what an implementation has stored for a manifest with what another did.
func (s *specs) same(t *testing.T, m api.Manifest, setup string, spec any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of, s.from = map[string]any{}, map[string]string{}
	}
	other, ok := s.of[m.Name]
	if !ok {
		s.of[m.Name], s.from[m.Name] = spec, setup
	} else if !reflect.DeepEqual(other, spec) {
		t.Errorf("%s: %s stores %v, and %s stores %v", m.Name, setup, spec, s.from[m.Name], other)
	}
}

// judgeManifests gives every manifest of the contract to an implementation, as a dry run.
// What it accepts, and which fields it refuses, is what the manifest says.
func judgeManifests(t *testing.T, bed *testbed.Testbed, setup, group string, stored *specs) {
	t.Helper()
	manifests, err := api.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	makeNamespaces(t, bed, group)
	config := rest.CopyConfig(bed.Admin)
	config.WarningHandler = rest.NoWarnings{} // judge reads them
	client := raw(t, config)
	var judges errgroup.Group
	judges.SetLimit(inFlight)
	for _, m := range manifests {
		judges.Go(func() error {
			judge(t, client, m, setup, group, stored)
			return nil
		})
	}
	_ = judges.Wait()
}

// manifestNamespace is where the manifests go that name no namespace.
const manifestNamespace = "manifests"

// makeNamespaces makes the namespaces that manifests need, and the rule in one of them.
func makeNamespaces(t *testing.T, bed *testbed.Testbed, group string) {
	t.Helper()
	admin, err := kubernetes.NewForConfig(bed.Admin)
	if err != nil {
		t.Fatal(err)
	}
	namespaces := maps.Clone(api.ManifestNamespaces)
	namespaces[manifestNamespace] = nil
	for name, annotations := range namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
		if _, err := admin.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	gvr := schema.GroupVersionResource{Group: group, Version: v2.Version, Resource: api.Resource}
	_, err = clientIn(t, bed.Admin, gvr, api.Occupied).Create(t.Context(), portRule(gvr, "occupant", nginx(gvr)), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// judge gives a manifest to an implementation. What is fine is so to kubectl as well,
// which asks to be strict.
func judge(t *testing.T, client rest.Interface, m api.Manifest, setup, group string, stored *specs) {
	t.Helper()
	want := m.For(setup)
	validation := metav1.FieldValidationWarn
	if want.Valid && len(m.Strict) == 0 {
		validation = metav1.FieldValidationStrict
	}
	got := create(t.Context(), client, m, group, validation)
	if !got.is(want) && !got.unconverted(m, want) {
		t.Errorf("%s: %s says %d about %v, want %s: %s", m.Name, setup, got.code, got.fields, wanted(want), got.message)
	}
	if got.spec != nil {
		stored.same(t, m, setup, got.spec)
	}
	if len(m.Strict) == 0 {
		return
	}
	strict := create(t.Context(), client, m, group, metav1.FieldValidationStrict)
	for _, text := range m.Strict {
		if want.Valid && !slices.ContainsFunc(got.warnings, func(warning string) bool { return strings.Contains(warning, text) }) {
			t.Errorf("%s: %s warns of %q, want %q", m.Name, setup, got.warnings, text)
		}
		if strict.code != http.StatusBadRequest || !strings.Contains(strict.message, text) {
			t.Errorf("%s: %s asked to be strict says %d %s, want %q", m.Name, setup, strict.code, strict.message, text)
		}
	}
}

// verdict is what came of a manifest.
type verdict struct {
	code     int
	message  string
	fields   []string
	warnings []string
	spec     any // nil if it was refused
}

func create(ctx context.Context, client rest.Interface, m api.Manifest, group, validation string) verdict {
	namespace := m.Namespace
	if namespace == "" {
		namespace = manifestNamespace
	}
	result := client.Post().AbsPath("/apis", group, m.Version, "namespaces", namespace, api.Resource).
		Param("dryRun", metav1.DryRunAll).Param("fieldValidation", validation).
		SetHeader("Content-Type", "application/yaml").SetHeader("Accept", "application/json").
		Body(m.InGroup(group)).Do(ctx)
	var v verdict
	result.StatusCode(&v.code)
	for _, warning := range result.Warnings() {
		v.warnings = append(v.warnings, warning.Text)
	}
	body, err := result.Raw()
	if err != nil {
		v.message = err.Error()
		var status metav1.Status
		if err := json.Unmarshal(body, &status); err == nil {
			v.message, v.fields = status.Message, refusedFields(&apierrors.StatusError{ErrStatus: status})
		}
		return v
	}
	var object map[string]any
	if err := utiljson.Unmarshal(body, &object); err != nil {
		v.message = err.Error()
		return v
	}
	v.spec = object["spec"]
	return v
}

func (v verdict) is(want api.Verdict) bool {
	codes := []int{http.StatusBadRequest, http.StatusUnprocessableEntity}
	if want.Valid {
		codes = []int{http.StatusCreated}
	}
	return slices.Contains(codes, v.code) && slices.Equal(v.fields, want.Invalid)
}

// unconverted is whether a rule of v1 is refused because it cannot be made v2. Policies
// and webhooks are asked about v2, before the schema is: what is wrong with a type is
// then an error of the conversion, and comes as 403 or 500.
func (v verdict) unconverted(m api.Manifest, want api.Verdict) bool {
	return !want.Valid && m.Version == v1.Version && slices.Contains([]int{http.StatusForbidden, http.StatusInternalServerError}, v.code) &&
		strings.Contains(v.message, "conversion webhook for ") && slices.Equal(v.fields, want.Invalid)
}

func wanted(v api.Verdict) string {
	if v.Valid {
		return "that it is accepted"
	}
	return fmt.Sprintf("that %v is refused", v.Invalid)
}

// mistyped is what a decoder says about a value of the wrong type. It finds the field,
// and ObjectMeta if it is one of the metadata, which are decoded alone in a CRD.
var mistyped = regexp.MustCompile(`cannot unmarshal .* into Go (?:struct field (\w+)\.([\w.]+)|value of type v1\.(ObjectMeta)\b)`)

// refusedFields are the fields that an error names; "." if it is about the whole object.
func refusedFields(err error) []string {
	if apierrors.IsInvalid(err) {
		return slices.DeleteFunc(refused(err), func(field string) bool { return field == "" }) // a policy names none
	}
	found := mistyped.FindStringSubmatch(err.Error())
	switch {
	case found == nil:
		return []string{"."}
	case found[3] != "":
		return []string{"metadata"}
	case found[1] == "ObjectMeta" && !strings.HasPrefix(found[2], "metadata."):
		return []string{"metadata." + found[2]}
	default:
		return []string{found[2]}
	}
}
