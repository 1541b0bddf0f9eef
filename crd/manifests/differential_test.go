package manifests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured/unstructuredscheme"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/crd/manifests"
)

// FuzzAgreement: the Go code of the contract and the schema of the CRD, which state R1
// to R3 twice, accept and refuse the same objects and changes, name the same fields, and
// fill in the same. The CRD's side is the code that the kube-apiserver runs.
//
// The first argument is a manifest in JSON, of any kind of damage; the second is what
// objects and changes are made of that are nearly right. Where the two cannot agree is
// said in compare.
func FuzzAgreement(f *testing.F) {
	all, err := api.Manifests()
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range all {
		if data, err := yaml.YAMLToJSON(m.InGroup(api.CRDGroup)); err == nil {
			f.Add(data, []byte(nil))
		}
	}
	for _, spec := range []string{
		`{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80.0}}`,
		`{"service":"nginx","endpoint":{"host":"10.0.0.3","port":8e1},"timeoutSeconds":1e1}`,
		`{"service":"nginx","endpoint":{"host":"10.0.0.3"},"endpoint":{"port":80}}`,
		`{"service":"nginx","endpoint":{"host":"10.0.0.3","port":80,"protocol":""},"status":{"replicas":1e400}}`,
		`{"service":"nginx","endpoint":{"host":"10.0.0.3","port":1e400}}`,
	} {
		f.Add([]byte(`{"apiVersion":"`+api.CRDGroup+`/v2","kind":"PortRule","metadata":{"name":"rule"},"spec":`+spec+`}`), []byte(nil))
	}
	random := rand.NewChaCha8([32]byte{})
	for range 200 {
		data := make([]byte, 64)
		if _, err := random.Read(data); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(nil), data)
	}
	crd, typed := newCRDJudge(f), newGoJudge(f)
	f.Fuzz(func(t *testing.T, manifest, data []byte) {
		if version := versionOf(manifest); version != "" {
			compare(t, crd, typed, version, manifest, nil)
			base := spec{"service": `"nginx"`, "host": `"10.0.0.3"`, "port": `80`}
			compare(t, crd, typed, version, with(manifest, "metadata", json.RawMessage(fixedMetadata)), objectOf(version, base))
		}
		if len(data) > 0 {
			c := choices(data)
			version := []string{v2.Version, v1.Version}[c.next(2)]
			s := c.spec()
			compare(t, crd, typed, version, objectOf(version, s), nil)
			compare(t, crd, typed, version, objectOf(version, c.change(s)), objectOf(version, s))
		}
	})
}

// versionOf is the version of a manifest that says it is a PortRule; what the path of a
// request has to do with that is no matter of either side.
func versionOf(manifest []byte) string {
	var object map[string]any
	if err := utiljson.Unmarshal(manifest, &object); err != nil || object["kind"] != api.Kind {
		return ""
	}
	for _, version := range []string{v1.Version, v2.Version} {
		if object["apiVersion"] == api.CRDGroup+"/"+version {
			return version
		}
	}
	return ""
}

// opinion is what one side says about an object.
type opinion struct {
	err    error    // it cannot be decoded, and nothing else is known
	strict []string // what strict decoding says
	errs   field.ErrorList
	// partial is whether rules were not looked at, for other errors.
	partial bool
	spec    any
}

func (o opinion) valid() bool { return o.err == nil && len(o.errs) == 0 }

func (o opinion) String() string {
	return fmt.Sprintf("decoding: %v, strictly: %v, invalid: %v, partial: %t, spec: %v", o.err, o.strict, o.errs, o.partial, o.spec)
}

// fields are the paths of what is refused.
func (o opinion) fields() []string {
	var fields []string
	for _, err := range o.errs {
		fields = append(fields, strings.TrimPrefix(err.Field, ".")) // the scale's paths have a dot
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// compare fails the test where the two sides disagree about object, which replaces old
// if there is one.
func compare(t *testing.T, crd *crdJudge, typed *goJudge, version string, object, old []byte) {
	t.Helper()
	if old != nil && !storable(crd, typed, version, old) {
		return
	}
	c, g := crd.judge(version, object, old), typed.judge(version, object, old)
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s\nobject: %s\nold: %s\nCRD: %v\nGo: %v", what, object, old, c, g)
	}
	if c.err == nil && g.err == nil && (len(c.strict) > 0) != (len(g.strict) > 0) {
		fail("one is strict about it, the other is not")
	}
	if without := withoutReason(object, version, c, g); without != nil {
		compare(t, crd, typed, version, without, old)
		return
	}
	if c.valid() != g.valid() {
		fail("one accepts it, the other does not")
	}
	if c.valid() {
		if !reflect.DeepEqual(c.spec, g.spec) {
			fail("they store another spec")
		}
		return
	}
	if c.err != nil || g.err != nil {
		// Go names the first field of a wrong type, a schema all of them
		if found := mistyped.FindStringSubmatch(fmt.Sprint(g.err)); c.err == nil && found != nil && !covered(found[1], c.fields()) {
			fail("they refuse other fields")
		}
		return
	}
	for _, path := range c.fields() {
		if !slices.ContainsFunc(g.fields(), func(other string) bool { return covered(other, []string{path}) }) {
			fail("the CRD refuses " + path)
		}
	}
	for _, path := range g.fields() {
		if !c.partial && !covered(path, c.fields()) {
			fail("Go refuses " + path)
		}
	}
}

// storable is whether an object can have been stored by either side, be it before a
// rule was tightened. The two judge changes of others in their own ways: to Go what is
// missing is zero, which is a value that changes.
func storable(crd *crdJudge, typed *goJudge, version string, old []byte) bool {
	c, g := crd.judge(version, old, nil), typed.judge(version, old, nil)
	return c.err == nil && g.err == nil && withoutReason(old, version, c, g) == nil && !slices.ContainsFunc(c.errs, func(err *field.Error) bool {
		return err.Type == field.ErrorTypeRequired
	})
}

// withoutReason returns an object without the reason for which the two sides cannot
// agree about it, nil if there is none.
//
//   - A status of a wrong type: the CRD drops it, Go decodes it first. It names no field
//     if it is a time.
//   - A number such as 80.0 or 8e1: JSON does not tell it from 80, and neither does a
//     schema, but Go's decoder does. So do a CRD's transition rules and its scale: the
//     port 80.0 can be created, and not be written again.
//   - A field that is there twice: Go fills in a struct from both, an object of a CRD is
//     the later one. Both say so if they are asked to be strict.
//   - An empty protocol: to Go it is none, and so the default.
func withoutReason(object []byte, version string, c, g opinion) []byte {
	if found := mistyped.FindStringSubmatch(fmt.Sprint(g.err)); g.err != nil && (found == nil || covered(found[1], []string{"status"})) {
		if without := with(object, "status", nil); without != nil {
			return without
		}
	}
	if found := fraction.FindStringSubmatch(fmt.Sprint(g.err)); found != nil {
		if number, err := strconv.ParseFloat(found[1], 64); err == nil && number == math.Trunc(number) && math.Abs(number) < 1e15 {
			return with(object, "", nil)
		}
	}
	if slices.ContainsFunc(c.strict, func(text string) bool { return strings.HasPrefix(text, "duplicate field ") }) {
		return with(object, "", nil)
	}
	path := []string{"endpoint", "protocol"}
	if version == v1.Version {
		path = path[1:]
	}
	if content, ok := c.spec.(map[string]any); ok {
		if protocol, ok, _ := unstructured.NestedString(content, path...); ok && protocol == "" {
			content = runtime.DeepCopyJSON(content)
			unstructured.RemoveNestedField(content, path...)
			return with(object, "spec", content)
		}
	}
	return nil
}

// fraction is what Go says about an integer that is written as if it were none.
var fraction = regexp.MustCompile(`cannot unmarshal number (-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?) into `)

// with returns an object with another value of a field, or without it; nil if that is no
// change. What is there twice is there once afterwards, and 80.0 is 80.
func with(object []byte, name string, value any) []byte {
	var content map[string]any
	if err := utiljson.Unmarshal(object, &content); err != nil {
		return nil
	}
	switch _, ok := content[name]; {
	case value != nil:
		content[name] = value
	case ok:
		delete(content, name)
	case name != "":
		return nil
	}
	encoded, err := json.Marshal(content)
	if err != nil || string(encoded) == string(object) {
		return nil
	}
	return encoded
}

// covered is whether a path is one of others or below one: where an object is missing, a
// schema names it, and Go, which cannot tell a missing struct from an empty one, what it
// should have.
func covered(path string, others []string) bool {
	return slices.ContainsFunc(others, func(other string) bool { return path == other || strings.HasPrefix(path, other+".") })
}

// mistyped is what Go says about a value of the wrong type. It finds the field.
var mistyped = regexp.MustCompile(`cannot unmarshal .* into Go struct field \w+\.([\w.]+) of type `)

// crdJudge is the CRD: a schema and CEL rules.
type crdJudge struct {
	decoder  runtime.Decoder
	schemas  map[string]*structuralschema.Structural
	versions map[string]strategy
}

type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

func newCRDJudge(f *testing.F) *crdJudge {
	f.Helper()
	crd, err := manifests.CustomResourceDefinition(api.CRDGroup)
	if err != nil {
		f.Fatal(err)
	}
	typer := unstructuredscheme.NewUnstructuredObjectTyper()
	judge := &crdJudge{
		decoder: serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, unstructuredscheme.NewUnstructuredCreator(), typer,
			serializer.SerializerOptions{Strict: true}),
		schemas:  map[string]*structuralschema.Structural{},
		versions: map[string]strategy{},
	}
	for _, v := range crd.Spec.Versions {
		var internal apiextensions.CustomResourceDefinitionVersion
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinitionVersion_To_apiextensions_CustomResourceDefinitionVersion(&v, &internal, nil); err != nil {
			f.Fatal(err)
		}
		structural, err := structuralschema.NewStructural(internal.Schema.OpenAPIV3Schema)
		if err != nil {
			f.Fatal(err)
		}
		if err := defaulting.PruneDefaults(structural); err != nil {
			f.Fatal(err)
		}
		validator, _, err := validation.NewSchemaValidator(internal.Schema.OpenAPIV3Schema)
		if err != nil {
			f.Fatal(err)
		}
		judge.schemas[v.Name] = structural
		judge.versions[v.Name] = customresource.NewStrategy(typer, true,
			schema.GroupVersionKind{Group: api.CRDGroup, Version: v.Name, Kind: api.Kind},
			validator, nil, structural, internal.Subresources.Status, internal.Subresources.Scale, v.SelectableFields)
	}
	return judge
}

func (j *crdJudge) judge(version string, data, old []byte) opinion {
	var o opinion
	object, err := j.decode(version, data, &o.strict)
	if err != nil {
		return opinion{err: err}
	}
	strategy := j.versions[version]
	if old == nil {
		strategy.PrepareForCreate(context.Background(), object)
		o.errs = strategy.Validate(context.Background(), object)
	} else {
		before, err := j.decode(version, old, new([]string))
		if err != nil {
			return opinion{err: err}
		}
		strategy.PrepareForUpdate(context.Background(), object, before)
		o.errs = strategy.ValidateUpdate(context.Background(), object, before)
	}
	o.errs = slices.DeleteFunc(o.errs, func(err *field.Error) bool {
		// The scale subresource wants no negative replicas either. It alone goes on to
		// refuse those that were stored before there was a minimum.
		if old != nil && err.Field == ".spec.replicas" {
			return true
		}
		partial := strings.HasPrefix(err.Detail, "some validation rules were not checked")
		o.partial = o.partial || partial
		return partial
	})
	o.spec = object.Object["spec"]
	return o
}

// decode does what the kube-apiserver does with the body of a request for a CRD: see
// schemaCoercingDecoder, unstructuredSchemaCoercer and unstructuredDefaulter in package
// apiserver of apiextensions.
func (j *crdJudge) decode(version string, data []byte, strict *[]string) (*unstructured.Unstructured, error) {
	decoded, _, err := j.decoder.Decode(data, nil, nil)
	if err := notStrict(err, strict); err != nil {
		return nil, err
	}
	object := decoded.(*unstructured.Unstructured)
	apiVersion, kind := object.GetAPIVersion(), object.GetKind()
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(object.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, err
	}
	unknown = append(unknown, pruning.PruneWithOptions(object.Object, j.schemas[version], true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, j.schemas[version])
	fieldErr, paths := objectmeta.CoerceWithOptions(nil, object.Object, j.schemas[version], false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if fieldErr != nil {
		return nil, fieldErr
	}
	for _, path := range append(unknown, paths...) {
		*strict = append(*strict, fmt.Sprintf("unknown field %q", path))
	}
	object.SetKind(kind)
	object.SetAPIVersion(apiVersion)
	if found {
		if err := objectmeta.SetObjectMeta(object.Object, meta); err != nil {
			return nil, err
		}
	}
	defaulting.Default(object.Object, j.schemas[version])
	object.SetNamespace("default") // that of the path
	return object, nil
}

// notStrict takes what strict decoding says out of an error.
func notStrict(err error, strict *[]string) error {
	decoding, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return err
	}
	for _, err := range decoding.Errors() {
		*strict = append(*strict, err.Error())
	}
	return nil
}

// goJudge is the Go code, of which the aggregated server and the webhooks are made.
type goJudge struct{ decoder runtime.Decoder }

func newGoJudge(f *testing.F) *goJudge {
	f.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme, string) error{v1.AddToScheme, v2.AddToScheme} {
		if err := add(scheme, api.CRDGroup); err != nil {
			f.Fatal(err)
		}
	}
	return &goJudge{decoder: serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme, serializer.SerializerOptions{Strict: true})}
}

func (j *goJudge) judge(version string, data, old []byte) opinion {
	var o opinion
	object, hub, err := j.decode(data, &o.strict)
	if err != nil {
		return opinion{err: err}
	}
	o.errs = v2.Validate(hub)
	if old != nil {
		_, before, err := j.decode(old, new([]string))
		if err != nil {
			return opinion{err: err}
		}
		o.errs = append(v2.Ratchet(o.errs, v2.Validate(before)), v2.ValidateUpdate(hub, before)...)
	}
	if version == v1.Version {
		o.errs = v1.Translate(o.errs)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return opinion{err: err}
	}
	o.spec = content["spec"]
	return o
}

// decode returns the object as it is and as the hub.
func (j *goJudge) decode(data []byte, strict *[]string) (runtime.Object, *v2.PortRule, error) {
	decoded, _, err := j.decoder.Decode(data, nil, nil)
	if err := notStrict(err, strict); err != nil {
		return nil, nil, err
	}
	decoded.(metav1.Object).SetNamespace("default") // that of the path
	switch rule := decoded.(type) {
	case *v1.PortRule:
		v1.Default(rule)
		hub := &v2.PortRule{}
		v1.ToHub(rule, hub)
		return rule, hub, nil
	case *v2.PortRule:
		v2.Default(rule)
		return rule, rule, nil
	default:
		return nil, nil, fmt.Errorf("it is a %T", decoded)
	}
}

// choices are bytes that decide, for ever 0 once they are used up.
type choices []byte

func (c *choices) next(n int) int {
	if len(*c) == 0 {
		return 0
	}
	choice := int((*c)[0]) % n
	*c = (*c)[1:]
	return choice
}

// spec is a spec: a text of JSON for each field that it has, by its name in v2.
type spec map[string]string

// values are those of a field that are worth a try, the likely ones first.
var values = map[string][]string{
	"service":        {`"nginx"`, `"web"`, `"a"`, `""`, `"Nginx"`, `"a.b"`, `"-a"`, `"a-"`, `"80"`, `"é"`, `null`, `80`, `true`, `[]`, `{}`},
	"host":           {`"10.0.0.3"`, `"10.0.0.4"`, `"web.example.com"`, `"2001:db8::1"`, `""`, `"10.0.0.300"`, `"010.0.0.3"`, `"2001:DB8::1"`, `"::ffff:10.0.0.3"`, `"fe80::1%eth0"`, `"Web"`, `null`, `10`, `[]`, `{}`},
	"port":           {`80`, `81`, `443`, `1`, `65535`, `0`, `65536`, `-1`, `2147483648`, `4294967376`, `80.0`, `8e1`, `80.5`, `1e400`, `"80"`, `null`, `true`, `[]`, `{}`},
	"protocol":       {`"tcp"`, `"udp"`, `"sctp"`, `"dccp"`, `""`, `"TCP"`, `"icmp"`, `null`, `6`, `[]`, `{}`},
	"permanent":      {`true`, `false`, `null`, `"true"`, `1`, `[]`, `{}`},
	"timeoutSeconds": {`60`, `1`, `2147483647`, `0`, `-1`, `2147483648`, `60.0`, `0.5`, `null`, `"60"`, `true`, `[]`, `{}`},
	"replicas":       {`1`, `0`, `100`, `101`, `-1`, `2147483648`, `1.0`, `1.5`, `null`, `"1"`, `true`, `[]`, `{}`},
	"unknown":        {`null`, `1`, `"a"`, `{}`},
}

// fields are the names of a spec's fields, and whether it must have them.
var fields = []struct {
	v1, v2   string
	required bool
}{
	{"name", "service", true}, {"host", "host", true}, {"port", "port", true}, {"protocol", "protocol", false},
	{"isPremanent", "permanent", false}, {"timeoutSeconds", "timeoutSeconds", false}, {"replicas", "replicas", false}, {"unknown", "unknown", false},
}

// pieces are what texts are made of that are nearly hosts.
var pieces = []string{"0", "1", "10", "255", "256", "01", ".", ":", "::", "ffff", "db8", "a", "web", "-", "_", "%", "/", "[", "]", "A", " ", "\n", "é", "xn--", "x", "e", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}

// value is a value of a field, in two cases of three one that is likely to be right.
func (c *choices) value(name string) string {
	likely := values[name]
	switch c.next(6) {
	case 4:
		return likely[c.next(len(likely))]
	case 5:
		switch name {
		case "service", "host", "protocol":
			var text string
			for range c.next(12) {
				text += pieces[c.next(len(pieces))]
			}
			encoded, _ := json.Marshal(text)
			return string(encoded)
		case "port", "timeoutSeconds", "replicas":
			return fmt.Sprint(int64(c.next(256))<<c.next(40) - int64(c.next(256)))
		default:
			return likely[c.next(len(likely))]
		}
	default:
		return likely[c.next(3)]
	}
}

// spec makes a spec.
func (c *choices) spec() spec {
	s := spec{}
	for _, field := range fields {
		if there := c.next(16); field.required && there < 15 || !field.required && there < 6 {
			s[field.v2] = c.value(field.v2)
		}
	}
	return s
}

// change is another spec that differs in a few fields, if at all.
func (c *choices) change(s spec) spec {
	changed := spec{}
	for _, field := range fields {
		value, ok := s[field.v2]
		switch c.next(6) {
		case 4:
			value, ok = c.value(field.v2), true
		case 5:
			ok = ok && field.required
		}
		if ok {
			changed[field.v2] = value
		}
	}
	return changed
}

// fixedMetadata are those of every object that is made of choices.
const fixedMetadata = `{"name":"rule","namespace":"default","uid":"1","resourceVersion":"1","generation":1}`

func objectOf(version string, s spec) []byte {
	var outer, inner []string
	for _, field := range fields {
		value, ok := s[field.v2]
		switch {
		case !ok:
		case version == v1.Version:
			outer = append(outer, fmt.Sprintf("%q:%s", field.v1, value))
		case field.v2 == "host" || field.v2 == "port" || field.v2 == "protocol":
			inner = append(inner, fmt.Sprintf("%q:%s", field.v2, value))
		default:
			outer = append(outer, fmt.Sprintf("%q:%s", field.v2, value))
		}
	}
	if version == v2.Version {
		outer = append(outer, fmt.Sprintf(`"endpoint":{%s}`, strings.Join(inner, ",")))
	}
	return fmt.Appendf(nil, `{"apiVersion":"%s/%s","kind":"PortRule","metadata":%s,"spec":{%s}}`, api.CRDGroup, version, fixedMetadata, strings.Join(outer, ","))
}
