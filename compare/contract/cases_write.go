package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/endpoints/discovery"

	"portrule.example/lab/api"
)

// writeCases are about what a write must look like: schema, defaults, validation,
// conversion.
var writeCases = slices.Concat(
	schemaCases, pruningCases, defaultingCases, validationCases, fieldValidationCases, conversionCases,
)

// What the answers have in common.
const (
	// notChecked is the entry that the kube-apiserver adds where the schema has found so
	// much that the CEL rules are left out.
	notChecked = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
	// undecoded begins what is said of a body that is not of the Go type, or that strict
	// decoding refuses.
	undecoded = `400 BadRequest: PortRule in version "v2" cannot be handled as a PortRule: `
	strictly  = undecoded + "strict decoding error: "

	labelByCEL = `must be a DNS-1123 label: lower case letters, digits and '-', starting and ending with a letter or digit`
	labelByGo  = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
	hostByCEL  = `must be an IPv4 address, an IPv6 address in canonical form, or a DNS-1123 subdomain`
	hostByGo   = `Required value: an IP address or a DNS-1123 subdomain`
	portByGo   = `must be between 1 and 65535, inclusive`

	requiredByGo = "spec.endpoint.host: " + hostByGo + "; spec.endpoint.port: Required value: " + portByGo + "; spec.service: Required value: the service that the port belongs to"

	ownWords = "The same field is refused, in the words of whoever checks it: the kube-apiserver's validator of OpenAPI schemas and the CEL rules of the CRD there, Go code here."
	goTypes  = "A schema is checked on the document as it came, so it can say of each field what type it should have. The server's Go decoder gives up at the first value that does not fit the type, before anything is validated, which makes it a bad request."
)

// posting completes a case in which a body, as YAML, is posted in a version and nothing
// else happens. paths are the fields that show what came of it.
func posting(version, query, body string, c Case, paths ...string) Case {
	c.Do = func(s *Side) string { return shows(post(s, version, query, body), paths...) }
	if c.Kubectl == "" {
		options := ""
		if len(paths) > 0 {
			options = "-o yaml "
		}
		c.Kubectl = "kubectl create " + options + "-f - <<< '" + body + "'"
	}
	return c
}

// merging completes a case in which the rule one of a spec is there, and a merge patch is
// sent, as JSON, since kubectl takes no YAML that begins with a brace.
func merging(spec, patch string, c Case, paths ...string) Case {
	c.Do = func(s *Side) string {
		s.Make("one", spec)
		return shows(s.Patch(MergePatch, "one", patch), paths...)
	}
	c.Kubectl = "kubectl patch portrules.GROUP one --type=merge -p '" + patch + "'"
	return c
}

// post posts a body, in JSON or in the flow style of YAML.
func post(s *Side, version, query, body string) *Answer {
	return s.Do(Request{Method: "POST", Path: s.Path(version) + query, Body: body})
}

// inV1 is a rule of v1 named one, as YAML; fields are more of its spec.
func inV1(fields string) string {
	return "{apiVersion: GROUP/v1, kind: PortRule, metadata: {name: one}, spec: {name: nginx, host: one.example.com, port: 80, " + fields + "}}"
}

// twin is a rule of v2 with a name and the endpoint of [whole], as YAML.
func twin(name string) string {
	return "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: " + name + "}, spec: {service: web, endpoint: {host: one.example.com, port: 80}}}"
}

// restricted asks in a further namespace whose annotation says which ports are allowed.
// It has it from the beginning, so nobody can have seen it without.
func restricted(s *Side, ports string, ask func() string) string {
	if s.err != nil {
		return ""
	}
	outer, namespaces := s.Namespace, s.Clientset.CoreV1().Namespaces()
	s.Namespace = outer + "-" + utilrand.String(4)
	defer func() { s.Namespace = outer }()
	_, err := namespaces.Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: s.Namespace, Annotations: map[string]string{api.AllowedPorts: ports},
	}}, metav1.CreateOptions{})
	if err != nil {
		s.Fail(err)
		return ""
	}
	outcome := ask()
	s.Fail(namespaces.Delete(context.WithoutCancel(s.ctx), s.Namespace, metav1.DeleteOptions{}))
	// the annotation has its name whatever the group
	return strings.ReplaceAll(outcome, "GROUP/allowed-ports", api.AllowedPorts)
}

// requestedBy says whom the annotation of R6 names, after the code.
func requestedBy(a *Answer, creator string) string {
	if a.Code >= 400 {
		return a.Outcome()
	}
	switch by, ok := a.Object().GetAnnotations()[api.RequestedBy]; {
	case !ok:
		return fmt.Sprintf("%d nobody", a.Code)
	case by == creator:
		return fmt.Sprintf("%d the creator", a.Code)
	default:
		return fmt.Sprintf("%d %s", a.Code, by)
	}
}

// writer returns a user who may do with rules what the cases of R6 do.
func writer(s *Side) string {
	user := s.NewUser()
	s.Allow(user, []string{"create", "get", "update", "patch"}, []string{api.Resource})
	return user
}

// forged is a rule whose annotation of R6 names somebody else.
const forged = "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one, annotations: {" + api.RequestedBy + ": mallory}}, spec: {service: nginx, endpoint: {host: one.example.com, port: 80}}}"

// The whole object is quoted where what a patch led to cannot be decoded.
var patchedObject = regexp.MustCompile(`patch: Invalid value: "(?:[^"\\]|\\.)*"`)

// patchOutcome is the outcome without the object that the patch led to.
func patchOutcome(a *Answer) string {
	return patchedObject.ReplaceAllString(a.Outcome(), "patch: Invalid value: OBJECT")
}

// warned is the code and the warnings.
func warned(a *Answer) string {
	if warnings := a.Warnings(); warnings != "" {
		return a.Outcome() + " with warnings: " + warnings
	}
	return a.Outcome() + " without warnings"
}

var schemaCases = []Case{
	posting("v2", "", one("spec: {}"), Case{
		ID: "schema/required", Ask: "a rule with an empty spec is created",
		Want: Differ("422 Invalid: "+notChecked+"; spec.endpoint: Required value; spec.service: Required value",
			"422 Invalid: "+requiredByGo,
			"The schema misses the endpoint as a whole, and after that evaluates no CEL rule, which the entry about no field says. The server validates a Go struct, in which an endpoint that is missing is an empty one."),
		Rows: []string{"Validation", "article: validating"},
	}),
	posting("v2", "", one("spec: {service: nginx, endpoint: {host: one.example.com, port: eighty}}"), Case{
		ID: "schema/wrong-type", Ask: "a rule whose port is a text is created",
		Want: Differ("422 Invalid: "+notChecked+`; spec.endpoint.port: Invalid value: "string": spec.endpoint.port in body must be of type integer: "string"`,
			undecoded+"json: cannot unmarshal string into Go struct field Endpoint.spec.endpoint.port of type int32", goTypes),
		Rows: []string{"Validation", "article: validating"},
	}),
	posting("v2", "", whole("replicas: 4294967297"), Case{
		ID: "schema/integer-range", Ask: "a rule whose replicas do not fit 32 bits is created",
		Want: Differ(`422 Invalid: .spec.replicas: Invalid value: 4294967297: should be less than or equal to 2147483647; <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.replicas; spec.replicas: Invalid value: 4294967297: spec.replicas in body should be less than or equal to 100`,
			undecoded+"json: cannot unmarshal number 4294967297 into Go struct field PortRuleSpec.spec.replicas of type int32",
			goTypes+" That the CRD has three complaints is because its scale subresource, the format and the maximum are checked each by itself."),
		Rows: []string{"Validation"},
	}),
	{
		ID: "schema/integer-spelling", Ask: "a rule with 2.0 replicas is created",
		Do: func(s *Side) string {
			return shows(post(s, "v2", "", `{"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"name":"one"},"spec":{"service":"nginx","endpoint":{"host":"one.example.com","port":80},"replicas":2.0}}`), "spec.replicas")
		},
		Want: Differ("201 spec.replicas=2", undecoded+"json: cannot unmarshal number 2.0 into Go struct field PortRuleSpec.spec.replicas of type int32",
			"To JSON Schema 2.0 is an integer. Go's decoder wants the digits of one and nothing else, for types of Kubernetes' own too."),
		Rows:    []string{"Validation"},
		Kubectl: `kubectl create --raw /apis/GROUP/v2/namespaces/default/portrules -f - <<< '{"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"name":"one"},"spec":{"service":"nginx","endpoint":{"host":"one.example.com","port":80},"replicas":2.0}}'`,
	},
	{
		ID: "schema/format", Ask: "a condition with a time that is none is written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return patchOutcome(patchStatus(s, `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Applied","message":"","lastTransitionTime":"yesterday"}]}}`))
		},
		Want: Differ("422 Invalid: "+notChecked+`; status.conditions[0].lastTransitionTime: Invalid value: "yesterday": conditions[0].lastTransitionTime in body must be of type date-time: "yesterday"`,
			`422 Invalid: patch: Invalid value: OBJECT: parsing time "yesterday" as "TIME07:00": cannot parse "yesterday" as "2006"`,
			"The schema knows the format date-time. The server finds out when it decodes what the patch led to; it then says no field, and quotes the object as a whole."),
		Rows:    []string{"Validation", "Status Subresource"},
		Kubectl: `kubectl patch portrules.GROUP one --subresource=status --type=merge -p '{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Applied","message":"","lastTransitionTime":"yesterday"}]}}'`,
	},
	posting("v2", "", one("spec: {service: nginx, endpoint: {host: null, port: 80}}"), Case{
		ID: "schema/null-required", Ask: "a rule whose host is null is created",
		Want: Differ("422 Invalid: "+notChecked+"; spec.endpoint.host: Required value",
			"422 Invalid: spec.endpoint.host: "+hostByGo,
			"To both null is absent: a CRD drops a null where the schema does not say nullable, Go's decoder leaves the field as it was. "+ownWords),
		Rows: []string{"Unset versus Empty", "Validation"},
	}),
	posting("v2", "", whole("timeoutSeconds: null, permanent: null"), Case{
		ID: "schema/null-optional", Ask: "a rule with null for optional fields without a default is created",
		Want: Both("201 spec.timeoutSeconds=absent spec.permanent=absent"),
		Rows: []string{"Unset versus Empty"},
	}, "spec.timeoutSeconds", "spec.permanent"),
	posting("v2", "", whole("replicas: 0, permanent: false"), Case{
		ID: "schema/zero-optional", Ask: "a rule with 0 replicas, of which the default is 1, and permanent false is created",
		Want: Both("201 spec.replicas=0 spec.permanent=false"),
		Rows: []string{"Unset versus Empty"},
	}, "spec.replicas", "spec.permanent"),
	posting("v2", "", one(`spec: {service: "", endpoint: {host: "", port: 0}}`), Case{
		ID: "schema/zero-required", Ask: "a rule whose required fields are empty texts and 0 is created",
		Want: Differ(`422 Invalid: spec.endpoint.host: Invalid value: "": `+hostByCEL+`; spec.endpoint.port: Invalid value: 0: spec.endpoint.port in body should be greater than or equal to 1; spec.service: Invalid value: "": `+labelByCEL,
			"422 Invalid: "+requiredByGo,
			"To the schema the fields are there and their values are wrong. In a Go struct without pointers an empty field and an absent one are the same, so the server says that they are missing."),
		Rows: []string{"Unset versus Empty", "Validation"},
	}),
	posting("v2", "", one(`spec: {service: nginx, endpoint: {host: one.example.com, port: 80, protocol: ""}}`), Case{
		ID: "schema/empty-create", Ask: "a rule whose protocol is an empty text is created",
		// the CRD's schema alone would refuse it: the mutating webhook has the Go types
		Want: Both(`201 spec.endpoint.protocol="tcp"`),
		Rows: []string{"Unset versus Empty"},
	}, "spec.endpoint.protocol"),
	merging(`{}`, `{"spec":{"endpoint":{"protocol":""}}}`, Case{
		ID: "schema/empty-update", Ask: "the protocol of a rule is patched to an empty text",
		Want: Differ("422 Invalid: "+notChecked+`; spec.endpoint.protocol: Unsupported value: "": supported values: "tcp", "udp", "sctp", "dccp"`,
			`200 spec.endpoint.protocol="tcp"`,
			"The schema's default is for a field that is absent, and an empty text is a value, none of the enum. In the server's Go type it is the absence, which the default fills. (A create differs not: it comes to the CRD's mutating webhook first, which has the same Go types.)"),
		Rows: []string{"Unset versus Empty", "Defaulting"},
	}, "spec.endpoint.protocol"),
	{
		ID: "schema/empty-status", Ask: "a status of zeros, an empty text and an empty list is written, and then an empty status",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Make("two", `{}`)
			return say(shows(patchStatus(s, `{"status":{"replicas":0,"selector":"","conditions":[]}}`), "status"),
				shows(s.Patch(MergePatch, "two/status", `{status: {}}`), "status"))
		},
		Want: Differ(`200 status={"conditions":[],"replicas":0,"selector":""}; 200 status={}`, "200 status=absent; 200 status=absent",
			"A CRD keeps the document as it is. The server writes Go structs, whose optional fields are left out where they are empty (omitempty, and omitzero for the status): a client cannot tell empty from never written."),
		Rows:    []string{"Unset versus Empty"},
		Kubectl: `kubectl patch portrules.GROUP one --subresource=status --type=merge -o yaml -p '{"status":{"replicas":0,"selector":"","conditions":[]}}'`,
	},
	posting("v2", "", "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one, labels: {}, finalizers: [], ownerReferences: null}, spec: {service: nginx, endpoint: {host: one.example.com, port: 80}}}", Case{
		ID: "schema/empty-metadata", Ask: "a rule with an empty map of labels, an empty list of finalizers and null owners is created",
		// a CRD decodes the metadata by the Go type too
		Want: Both("201 metadata.labels=absent metadata.finalizers=absent metadata.ownerReferences=absent"),
		Rows: []string{"Unset versus Empty", "Labels and annotations"},
	}, "metadata.labels", "metadata.finalizers", "metadata.ownerReferences"),
}

// everywhere is a rule with unknown fields at each level.
const everywhere = "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one, unknown: 1}, unknown: 1, spec: {service: nginx, unknown: {a: b}, endpoint: {host: one.example.com, port: 80, unknown: 1}}}"

var pruningCases = []Case{
	posting("v2", "?fieldValidation=Ignore", everywhere, Case{
		ID: "pruning/create", Ask: "a rule with unknown fields in itself, its metadata, its spec and its endpoint is created, field validation being off",
		Want:    Both(`201 spec={"endpoint":{"host":"one.example.com","port":80,"protocol":"tcp"},"replicas":1,"service":"nginx"} metadata.unknown=absent unknown=absent`),
		Rows:    []string{"Validation"},
		Kubectl: "kubectl create --validate=ignore -o yaml -f - <<< '" + everywhere + "'",
	}, "spec", "metadata.unknown", "unknown"),
	posting("v2", "?fieldValidation=Ignore", whole("Replicas: 5, isPremanent: true, name: web"), Case{
		ID: "pruning/names", Ask: "a rule of v2 with a field in another case and with fields of v1 is created, field validation being off",
		Want:    Both(`201 spec={"endpoint":{"host":"one.example.com","port":80,"protocol":"tcp"},"replicas":1,"service":"nginx"}`),
		Rows:    []string{"Validation"},
		Kubectl: "kubectl create --validate=ignore -o yaml -f - <<< '" + whole("Replicas: 5, isPremanent: true, name: web") + "'",
	}, "spec"),
	{
		ID: "pruning/put", Ask: "a rule is put with another value and an unknown field, field validation being off",
		Do: func(s *Side) string {
			body := edited(s.Make("one", `{}`), "spec.replicas", int64(2), "spec.unknown", int64(1))
			return shows(s.Put("one?fieldValidation=Ignore", body), "spec.replicas", "spec.unknown")
		},
		Want: Both("200 spec.replicas=2 spec.unknown=absent"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "pruning/patch", Ask: "a patch adds an unknown field and nothing else, field validation being off",
		Do: func(s *Side) string {
			before := s.Make("one", `{}`)
			after := s.Patch(MergePatch, "one?fieldValidation=Ignore", `{"spec":{"unknown":1}}`)
			changed := "not written"
			if before.Object().GetResourceVersion() != after.Object().GetResourceVersion() {
				changed = "written"
			}
			return say(shows(after, "spec.unknown", "metadata.generation"), changed)
		},
		Want:    Both("200 spec.unknown=absent metadata.generation=1; not written"),
		Rows:    []string{"merge-patch"},
		Kubectl: `kubectl patch portrules.GROUP one --type=merge -p '{"spec":{"unknown":1}}'`,
	},
	{
		ID: "pruning/json-patch", Ask: "a JSON patch adds an unknown field, and tests that it is there, field validation being off",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return shows(s.Patch(JSONPatch, "one?fieldValidation=Ignore", `[{"op":"add","path":"/spec/unknown","value":1},{"op":"test","path":"/spec/unknown","value":1}]`), "spec.unknown")
		},
		// the patch is worked on the document; what it led to is pruned
		Want:    Both("200 spec.unknown=absent"),
		Rows:    []string{"json-patch"},
		Kubectl: `kubectl patch portrules.GROUP one --type=json -p '[{"op":"add","path":"/spec/unknown","value":1},{"op":"test","path":"/spec/unknown","value":1}]'`,
	},
	{
		ID: "pruning/status", Ask: "a status with an unknown field is written, field validation being off",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return shows(s.Patch(MergePatch, "one/status?fieldValidation=Ignore", `{"status":{"replicas":1,"unknown":1}}`), "status")
		},
		Want:    Both(`200 status={"replicas":1}`),
		Rows:    []string{"Status Subresource"},
		Kubectl: `kubectl patch portrules.GROUP one --subresource=status --type=merge -p '{"status":{"replicas":1,"unknown":1}}'`,
	},
	{
		ID: "pruning/apply", Ask: "rules with an unknown field in the spec, and in the metadata, are applied, field validation being off",
		Do: func(s *Side) string {
			const metadata = "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one, unknown: 1}}"
			return say(apply(s, "test", "&fieldValidation=Ignore", whole("unknown: 1")).Outcome(),
				apply(s, "test", "&fieldValidation=Ignore", metadata).Outcome())
		},
		// what is unknown cannot be owned, so apply prunes nothing
		Want: Both("500: failed to create typed patch object (/one; GROUP/v2, Kind=PortRule): .spec.unknown: field not declared in schema; " +
			"500: failed to create typed patch object (/one; GROUP/v2, Kind=PortRule): .metadata.unknown: field not declared in schema"),
		Rows:    []string{"Validation", "OpenAPI Schema"},
		Kubectl: "kubectl apply --server-side --validate=ignore -f - <<< '" + whole("unknown: 1") + "'",
	},
}

var defaultingCases = []Case{
	{
		ID: "defaulting/protocol", Ask: "a rule without protocol is created",
		Do: func(s *Side) string {
			return s.Make("one", `{endpoint: {host: a.example.com, port: 80}}`).Field("spec.endpoint.protocol")
		},
		Want:    Both(`"tcp"`),
		Rows:    []string{"Defaulting"},
		Kubectl: "kubectl get portrules.GROUP one -o jsonpath={.spec.endpoint.protocol}",
	},
	posting("v2", "", whole(""), Case{
		ID: "defaulting/spec", Ask: "a rule with the required fields is created",
		Want: Both(`201 spec={"endpoint":{"host":"one.example.com","port":80,"protocol":"tcp"},"replicas":1,"service":"nginx"} status=absent`),
		Rows: []string{"Defaulting"},
	}, "spec", "status"),
	posting("v1", "", inV1(""), Case{
		ID: "defaulting/v1", Ask: "a rule with the required fields is created in v1",
		Want: Both(`201 spec={"host":"one.example.com","name":"nginx","port":80,"protocol":"tcp","replicas":1}`),
		Rows: []string{"Defaulting", "Multi-versioning"},
	}, "spec"),
	{
		ID: "defaulting/null", Ask: "rules with null for the fields that have a default are created, in v2 and in v1",
		Do: func(s *Side) string {
			return say(shows(post(s, "v2", "", one(`spec: {service: nginx, endpoint: {host: two.example.com, port: 80, protocol: null}, replicas: null}`)), "spec.endpoint.protocol", "spec.replicas"),
				shows(post(s, "v1", "", strings.Replace(inV1("protocol: null, replicas: null"), "{name: one}", "{name: two}", 1)), "spec.protocol", "spec.replicas"))
		},
		Want:    Both(`201 spec.endpoint.protocol="tcp" spec.replicas=1; 201 spec.protocol="tcp" spec.replicas=1`),
		Rows:    []string{"Defaulting", "Unset versus Empty"},
		Kubectl: "kubectl create -o yaml -f - <<< '" + whole("replicas: null") + "'",
	},
	{
		ID: "defaulting/put", Ask: "a rule of 5 replicas is put without replicas, in v2 and in v1",
		Do: func(s *Side) string {
			inV2 := s.Put("one", edited(s.Make("one", `{replicas: 5}`), "spec.replicas", nil))
			s.Make("two", `{replicas: 5}`)
			body := edited(s.Do(Request{Path: s.Path("v1", "two")}), "spec.replicas", nil)
			return say(shows(inV2, "spec.replicas", "metadata.generation"),
				shows(s.Do(Request{Method: "PUT", Path: s.Path("v1", "two"), Body: body}), "spec.replicas", "metadata.generation"))
		},
		Want: Both("200 spec.replicas=1 metadata.generation=2; 200 spec.replicas=1 metadata.generation=2"),
		Rows: []string{"Defaulting"},
	},
	{
		ID: "defaulting/immutable", Ask: "the protocol udp, which cannot be changed, is taken away",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: one.example.com, port: 80, protocol: udp}}`)
			return s.Patch(JSONPatch, "one", `[{"op":"remove","path":"/spec/endpoint/protocol"}]`).Outcome()
		},
		// the default is filled in before validation compares
		Want:    Both(`422 Invalid: spec.endpoint.protocol: Invalid value: "tcp": is immutable`),
		Rows:    []string{"Defaulting", "Validation"},
		Kubectl: `kubectl patch portrules.GROUP one --type=json -p '[{"op":"remove","path":"/spec/endpoint/protocol"}]'`,
	},
	{
		ID: "defaulting/cross-object", Ask: "rules of one host and port are created, one for tcp and one for the default protocol",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: one.example.com, port: 80, protocol: tcp}}`)
			return post(s, "v2", "", twin("two")).Outcome()
		},
		Want: Both(`422 Invalid: spec.endpoint: Duplicate value: "tcp/one.example.com/80": held by PortRule "one"`),
		Rows: []string{"Defaulting", "Custom Business Logic"},
	},
	{
		ID: "defaulting/owner", Ask: "a rule is posted and another applied, both without replicas: who owns them",
		Do: func(s *Side) string {
			owned := func(a *Answer) string {
				if strings.Contains(owners(s.Must(a), ".spec"), ".spec.replicas") {
					return "replicas=" + a.Field("spec.replicas") + ", owned"
				}
				return "replicas=" + a.Field("spec.replicas") + ", not owned"
			}
			s.Make("two", `{}`)
			return say("posted: "+owned(s.Get("two")), "applied: "+owned(apply(s, "test", "", whole(""))))
		},
		// apply owns what is in the request, the other verbs what they have changed
		Want:    Both("posted: replicas=1, owned; applied: replicas=1, not owned"),
		Rows:    []string{"Defaulting"},
		Kubectl: "kubectl get portrules.GROUP one -o yaml --show-managed-fields",
	},
}

var validationCases = []Case{
	{
		ID: "validation/corpus", Ask: "each spec of the project's corpus is created, or an older one is changed to it",
		Do:   judgeCorpus,
		Want: Both("accepted and refused as the corpus says, naming the same fields"),
		Rows: []string{"Validation", "article: validating"},
	},
	{
		ID: "validation/port-range", Ask: "a rule with port 70000 is created",
		Do: func(s *Side) string {
			return s.Create("one", `{endpoint: {host: a.example.com, port: 70000}}`).Fields()
		},
		Want: Both("422 spec.endpoint.port"),
		Rows: []string{"Validation", "article: validating"},
	},
	posting("v2", "", one("spec: {service: Nginx, endpoint: {host: one.example.com, port: 80}}"), Case{
		ID: "validation/service", Ask: "a rule whose service has a capital is created",
		Want: Differ(`422 Invalid: spec.service: Invalid value: "Nginx": `+labelByCEL, `422 Invalid: spec.service: Invalid value: "Nginx": `+labelByGo, ownWords),
		Rows: []string{"Validation", "article: validating"},
	}),
	posting("v2", "", one("spec: {service: nginx, endpoint: {host: 10.0.0.300, port: 80}}"), Case{
		ID: "validation/host", Ask: "a rule whose host is 10.0.0.300 is created",
		Want: Differ(`422 Invalid: spec.endpoint.host: Invalid value: "10.0.0.300": `+hostByCEL,
			`422 Invalid: spec.endpoint.host: Invalid value: "10.0.0.300": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`, ownWords),
		Rows: []string{"Validation", "article: validating"},
	}),
	posting("v2", "", one(`spec: {service: nginx, endpoint: {host: "2001:DB8::1", port: 80}}`), Case{
		ID: "validation/host-spelling", Ask: "a rule whose host is an IPv6 address in capitals is created",
		Want: Differ(`422 Invalid: spec.endpoint.host: Invalid value: "2001:DB8::1": `+hostByCEL,
			`422 Invalid: spec.endpoint.host: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")`,
			"A CEL rule of a schema has one message for whatever is wrong, unless it builds it by messageExpression. Go code says what it has found, and what would be right."),
		Rows: []string{"Validation", "article: validating"},
	}),
	posting("v2", "", one("spec: {service: nginx, endpoint: {host: one.example.com, port: 80, protocol: icmp}}"), Case{
		ID: "validation/protocol", Ask: "a rule whose protocol is icmp is created",
		Want: Differ("422 Invalid: "+notChecked+`; spec.endpoint.protocol: Unsupported value: "icmp": supported values: "tcp", "udp", "sctp", "dccp"`,
			`422 Invalid: spec.endpoint.protocol: Unsupported value: "icmp": supported values: "tcp", "udp", "sctp", "dccp"`,
			"The messages are the same, but a value outside an enum keeps the kube-apiserver from evaluating the CEL rules, and it says so."),
		Rows: []string{"Validation", "article: validating"},
	}),
	posting("v2", "", whole("timeoutSeconds: 0, replicas: 101"), Case{
		ID: "validation/bounds", Ask: "a rule with a timeout of 0 seconds and 101 replicas is created",
		Want: Differ("422 Invalid: spec.replicas: Invalid value: 101: spec.replicas in body should be less than or equal to 100; spec.timeoutSeconds: Invalid value: 0: spec.timeoutSeconds in body should be greater than or equal to 1",
			"422 Invalid: spec.replicas: Invalid value: 101: must be between 0 and 100, inclusive; spec.timeoutSeconds: Invalid value: 0: must be greater than or equal to 1", ownWords),
		Rows: []string{"Validation", "article: validating"},
	}),
	{
		ID: "validation/all-at-once", Ask: "a rule whose host and service break a rule and whose protocol is not of the enum is created",
		Do: func(s *Side) string {
			return s.Create("one", `{service: Nginx, endpoint: {host: 10.0.0.300, port: 80, protocol: icmp}}`).Fields()
		},
		Want: Differ("422 <nil>, spec.endpoint.protocol", "422 spec.endpoint.host, spec.endpoint.protocol, spec.service",
			"The kube-apiserver evaluates CEL rules once the schema is content: after a wrong type, a missing field, a length or an enum it stops, so a user corrects the protocol and is then told of the rest. Go code says all that it finds."),
		Rows:    []string{"Validation", "article: validating"},
		Kubectl: "kubectl create -f - <<< '" + one("spec: {service: Nginx, endpoint: {host: 10.0.0.300, port: 80, protocol: icmp}}") + "'",
	},
	posting("v2", "", whole("timeoutSeconds: 60, permanent: true"), Case{
		ID: "validation/cross-field", Ask: "a permanent rule with a timeout is created",
		Want: Both("422 Invalid: spec.timeoutSeconds: Forbidden: may not be set together with permanent"),
		Rows: []string{"Validation", "article: validating"},
	}),
	merging(`{timeoutSeconds: 60}`, `{"spec":{"permanent":true}}`, Case{
		ID: "validation/cross-field-patch", Ask: "a rule with a timeout is patched to be permanent",
		Want: Both("422 Invalid: spec.timeoutSeconds: Forbidden: may not be set together with permanent"),
		Rows: []string{"Validation", "merge-patch"},
	}),
	{
		ID: "validation/transition-put", Ask: "a rule is put with another port",
		Do: func(s *Side) string {
			return s.Put("one", edited(s.Make("one", `{}`), "spec.endpoint.port", int64(81))).Outcome()
		},
		Want: Both("422 Invalid: spec.endpoint.port: Invalid value: 81: is immutable"),
		Rows: []string{"Validation", "Custom Business Logic"},
	},
	merging(`{}`, `{"spec":{"endpoint":{"host":"b.example.com","protocol":"udp"}}}`, Case{
		ID: "validation/transition-patch", Ask: "the host and the protocol of a rule are patched",
		Want: Both(`422 Invalid: spec.endpoint.host: Invalid value: "b.example.com": is immutable; spec.endpoint.protocol: Invalid value: "udp": is immutable`),
		Rows: []string{"Validation", "merge-patch"},
	}),
	{
		ID: "validation/transition-status", Ask: "another port and 101 replicas are sent to the status subresource",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return shows(patchStatus(s, `{"spec":{"endpoint":{"port":81},"replicas":101},"status":{"replicas":1}}`), "spec.endpoint.port", "spec.replicas", "status.replicas")
		},
		// what is dropped is not validated
		Want:    Both("200 spec.endpoint.port=80 spec.replicas=1 status.replicas=1"),
		Rows:    []string{"Validation", "Status Subresource"},
		Kubectl: `kubectl patch portrules.GROUP one --subresource=status --type=merge -p '{"spec":{"endpoint":{"port":81},"replicas":101},"status":{"replicas":1}}'`,
	},
	{
		ID: "validation/duplicate", Ask: "a second rule of the same endpoint is created, in v2 and in v1",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(post(s, "v2", "", twin("two")).Outcome(), post(s, "v1", "", strings.Replace(inV1(""), "{name: one}", "{name: three}", 1)).Outcome())
		},
		Want: Both(`422 Invalid: spec.endpoint: Duplicate value: "tcp/one.example.com/80": held by PortRule "one"; ` +
			`422 Invalid: spec: Duplicate value: "tcp/one.example.com/80": held by PortRule "one"`),
		Rows:    []string{"Custom Business Logic", "Validation", "article: validating"},
		Kubectl: "kubectl create -f - <<< '" + twin("two") + "'",
	},
	{
		ID: "validation/duplicate-name", Ask: "a second rule of the same endpoint and the same name is created",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return post(s, "v2", "", twin("one")).Outcome()
		},
		Want:    Both(`409 AlreadyExists: portrules.GROUP "one" already exists`),
		Rows:    []string{"Custom Business Logic", "CRUD"},
		Kubectl: "kubectl create -f - <<< '" + twin("one") + "'",
	},
	{
		ID: "validation/duplicate-not", Ask: "rules that share host and port are created with another protocol, and in another namespace",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(s.Create("two", `{endpoint: {host: one.example.com, port: 80, protocol: udp}}`).Outcome(),
				restricted(s, "80", func() string { return post(s, "v2", "", twin("two")).Outcome() }))
		},
		Want: Both("201; 201"),
		Rows: []string{"Custom Business Logic"},
	},
	{
		ID: "validation/duplicate-dry-run", Ask: "a second rule of an endpoint is created as a dry run, as is a rule of a free endpoint, which is then created by another name",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			free := strings.Replace(twin("two"), "one.example.com", "two.example.com", 1)
			return say(post(s, "v2", "?dryRun=All", twin("two")).Fields(), post(s, "v2", "?dryRun=All", free).Fields(),
				s.Create("three", `{endpoint: {host: two.example.com, port: 80}}`).Fields())
		},
		Want:    Both("422 spec.endpoint; 201; 201"),
		Rows:    []string{"Custom Business Logic"},
		Kubectl: "kubectl create --dry-run=server -f - <<< '" + twin("two") + "'",
	},
	{
		ID: "validation/duplicate-deleted", Ask: "a second rule of an endpoint is created while the first is being deleted, and once it is gone",
		Do: func(s *Side) string {
			s.Must(post(s, "v2", "", strings.Replace(whole(""), "{name: one}", "{name: one, finalizers: [example.com/hold]}", 1)))
			s.Must(s.Delete("one", ""))
			held := post(s, "v2", "", twin("two")).Outcome()
			s.Must(s.Patch(MergePatch, "one", `{metadata: {finalizers: null}}`))
			return say(held, post(s, "v2", "", twin("two")).Outcome())
		},
		Want:    Both(`422 Invalid: spec.endpoint: Duplicate value: "tcp/one.example.com/80": held by PortRule "one", which is being deleted: try again once it is gone; 201`),
		Rows:    []string{"Custom Business Logic", "Finalizers"},
		Kubectl: `kubectl patch portrules.GROUP one --type=merge -p '{"metadata":{"finalizers":["example.com/hold"]}}' && kubectl delete portrules.GROUP one --wait=false && kubectl create -f - <<< '` + twin("two") + "'",
	},
	{
		ID: "validation/policy", Ask: "in a namespace that allows the ports 8000-9000 and 443, rules with port 8080 and 80 are created, the latter in v1 too",
		Do: func(s *Side) string {
			return restricted(s, "8000-9000,443", func() string {
				return say(s.Create("one", `{endpoint: {host: one.example.com, port: 8080}}`).Outcome(), s.Create("two", `{}`).Outcome(), post(s, "v1", "", inV1("")).Outcome())
			})
		},
		Want: Differ("201; 422 Invalid: ValidatingAdmissionPolicy 'portrule-allowed-ports' with binding 'portrule-allowed-ports' denied request: spec.endpoint.port: port 80 is not among the ports that the namespace allows: 8000-9000,443; "+
			"422 Invalid: ValidatingAdmissionPolicy 'portrule-allowed-ports' with binding 'portrule-allowed-ports' denied request: spec.port: port 80 is not among the ports that the namespace allows: 8000-9000,443",
			`201; 422 Invalid: spec.endpoint.port: Forbidden: port 80 is not among those that namespace "NAMESPACE" allows: 8000-9000,443; `+
				`422 Invalid: spec.port: Forbidden: port 80 is not among those that namespace "NAMESPACE" allows: 8000-9000,443`,
			"A ValidatingAdmissionPolicy says no in a sentence: it has no means to name a field, so the message does, and names the policy. The server's admission plugin answers with the Status of its choice."),
		Rows:    []string{"Custom Business Logic", "article: admission control", "article: validating"},
		Kubectl: "kubectl annotate namespace default " + api.AllowedPorts + "=8000-9000,443 && kubectl create -f - <<< '" + whole("") + "'",
	},
	{
		ID: "validation/policy-malformed", Ask: "a rule is created in a namespace whose annotation of allowed ports is no list of ports",
		Do: func(s *Side) string {
			return restricted(s, "http", func() string { return s.Create("one", `{}`).Outcome() })
		},
		Want: Differ("422 Invalid: ValidatingAdmissionPolicy 'portrule-allowed-ports' with binding 'portrule-allowed-ports' denied request: the namespace's annotation firewalld.fedoraproject.org/allowed-ports is malformed: \"http\" is not a list of ports and ranges like \"8000-9000,443\"",
			`422 Invalid: spec.endpoint.port: Forbidden: the annotation firewalld.fedoraproject.org/allowed-ports of namespace "NAMESPACE" is malformed: "http" is not a port or a range of ports: write it like "8000-9000,443"`,
			"Both refuse for want of knowing what was meant. The CEL expression sees that the text as a whole does not match; the server's parser says which part it could not read."),
		Rows:    []string{"Custom Business Logic", "article: admission control"},
		Kubectl: "kubectl annotate namespace default " + api.AllowedPorts + "=http && kubectl create -f - <<< '" + whole("") + "'",
	},
	{
		ID: "validation/policy-later", Ask: "a namespace forbids the port of a rule that is there, which is then changed elsewhere",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Annotate(api.AllowedPorts, "443", func() bool {
				return post(s, "v2", "?dryRun=All", `{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: two}, spec: {service: nginx, endpoint: {host: two.example.com, port: 80}}}`).Code == 422
			})
			return shows(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`), "spec.replicas")
		},
		Want: Both("200 spec.replicas=2"),
		Rows: []string{"Custom Business Logic", "article: admission control"},
	},
	{
		ID: "validation/requested-by", Ask: "a user creates a rule, and another says in the annotation of R6 that somebody else has",
		Do: func(s *Side) string {
			user := writer(s)
			plain := s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Rule("two", `{}`), User: user})
			return say(requestedBy(plain, user), requestedBy(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: forged, User: user}), user))
		},
		Want:    Both("201 the creator; 201 the creator"),
		Rows:    []string{"Custom Business Logic", "article: admission control"},
		Kubectl: "kubectl create -o yaml -f - <<< '" + forged + "'",
	},
	{
		ID: "validation/requested-by-changed", Ask: "another user changes the annotation of R6 by a patch, a PUT and through the status, and takes it away by each way of patching",
		Do: func(s *Side) string {
			creator, other := writer(s), writer(s)
			s.Allow(other, []string{"patch"}, []string{api.Resource + "/status"})
			s.Must(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Rule("one", `{}`), User: creator}))
			ask := func(method, contentType, path, body string) string {
				return requestedBy(s.Do(Request{Method: method, Path: s.Path("v2", path), Type: contentType, Body: body, User: other}), creator)
			}
			const forge, remove = `{metadata: {annotations: {` + api.RequestedBy + `: mallory}}}`, `{metadata: {annotations: {` + api.RequestedBy + `: null}}}`
			return say(ask("PATCH", MergePatch, "one", forge), ask("PATCH", MergePatch, "one/status", forge), ask("PATCH", MergePatch, "one", remove),
				ask("PATCH", MergePatch, "one", `{metadata: {annotations: null}}`), ask("PATCH", JSONPatch, "one", `[{"op":"remove","path":"/metadata/annotations"}]`),
				ask("PUT", "", "one", edited(s.Get("one"), "metadata.annotations", map[string]any{api.RequestedBy: "mallory"})))
		},
		Want:    Both(strings.Repeat("200 the creator; ", 4) + "200 the creator; 200 the creator"),
		Rows:    []string{"Custom Business Logic", "article: admission control"},
		Kubectl: "kubectl annotate portrules.GROUP one --overwrite " + api.RequestedBy + "=mallory",
	},
	{
		ID: "validation/requested-by-owner", Ask: "a patch changes the annotation of R6 and nothing else: is the rule written, and who owns the annotation",
		Do: func(s *Side) string {
			before := s.Make("one", `{}`)
			after := s.Must(s.Patch(MergePatch, "one?fieldManager=forger", `{metadata: {annotations: {`+api.RequestedBy+`: mallory}}}`))
			outcome := "not written, "
			if before.Object().GetResourceVersion() != after.Object().GetResourceVersion() {
				outcome = "written, "
			}
			for _, entry := range after.Object().GetManagedFields() {
				if strings.Contains(entry.FieldsV1.GetRawString(), api.RequestedBy) {
					return outcome + "owned by the " + entry.Manager
				}
			}
			return outcome + "owned by nobody"
		},
		Want: Differ("written, owned by the forger", "not written, owned by nobody",
			"Who owns which field is noted before admission, so whoever sends the annotation owns it, and that is written, although the policy puts the old value back. The server's strategy says by GetResetFields that nobody can set it; a CRD has no such list but for its status."),
		Rows:    []string{"Custom Business Logic"},
		Kubectl: "kubectl annotate portrules.GROUP one --overwrite " + api.RequestedBy + "=mallory && kubectl get portrules.GROUP one -o yaml --show-managed-fields",
	},
}

// judgeCorpus puts the specs of the corpus to a side, and says where it disagrees.
func judgeCorpus(s *Side) string {
	rules, err := api.Rules()
	s.Fail(err)
	var wrong []string
	for i, rule := range rules {
		c, name := rule.V2(), fmt.Sprintf("rule-%d", i)
		var answer *Answer
		if c.Old == nil {
			answer = post(s, "v2", "?dryRun=All", s.Object("v2", name, map[string]any{"spec": c.Spec}))
		} else {
			old := s.Must(post(s, "v2", "", s.Object("v2", name, map[string]any{"spec": c.Old})))
			answer = s.Put(name, s.Object("v2", name, map[string]any{
				"metadata": map[string]any{"resourceVersion": old.Object().GetResourceVersion()}, "spec": c.Spec,
			}))
			s.Must(s.Delete(name, "")) // another has its endpoint
		}
		if refused := refusedFields(answer); !slices.Equal(refused, c.Invalid) {
			wrong = append(wrong, fmt.Sprintf("%s: %d %v, want %v", c.Name, answer.Code, refused, c.Invalid))
		}
	}
	if len(rules) == 0 || len(wrong) > 0 {
		return strings.Join(wrong, "; ")
	}
	return "accepted and refused as the corpus says, naming the same fields"
}

// refusedFields are those of an invalid object, nil of what was accepted. A CRD adds an
// entry without a field, and says of its scale subresource what it has said of the field.
func refusedFields(a *Answer) []string {
	var status metav1.Status
	if a.Code < 400 || json.Unmarshal(a.Body, &status) != nil {
		return nil
	}
	if status.Details == nil || a.Code != 422 {
		return []string{a.Outcome()}
	}
	var fields []string
	for _, cause := range status.Details.Causes {
		if cause.Field != "<nil>" {
			fields = append(fields, strings.TrimPrefix(cause.Field, "."))
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// The bodies of field validation: unknown fields at two levels, and duplicates, which
// JSON text and YAML text can have.
const (
	unknownFields  = "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one, unknown: 1}, spec: {service: nginx, endpoint: {host: one.example.com, port: 80, unknown: 1}}}"
	duplicateField = `{"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"name":"one"},"spec":{"service":"nginx","endpoint":{"host":"one.example.com","port":80},"replicas":1,"replicas":2}}`
	duplicateYAML  = `apiVersion: GROUP/v2
kind: PortRule
metadata: {name: one}
spec:
  service: nginx
  endpoint: {host: one.example.com, port: 80}
  replicas: 1
  replicas: 2
`
)

var fieldValidationCases = []Case{
	posting("v2", "?fieldValidation=Strict", unknownFields, Case{
		ID: "field-validation/strict-unknown", Ask: "a rule with unknown fields in its metadata and its endpoint is created under fieldValidation=Strict",
		Want:    Both(strictly + `unknown field "metadata.unknown", unknown field "spec.endpoint.unknown"`),
		Rows:    []string{"Validation"},
		Kubectl: "kubectl create --validate=strict -f - <<< '" + unknownFields + "'",
	}),
	posting("v2", "?fieldValidation=Strict", duplicateField, Case{
		ID: "field-validation/strict-duplicate", Ask: "a rule with a field twice is created under fieldValidation=Strict",
		Want:    Both(strictly + `duplicate field "spec.replicas"`),
		Rows:    []string{"Validation"},
		Kubectl: "kubectl create --raw '/apis/GROUP/v2/namespaces/default/portrules?fieldValidation=Strict' -f - <<< '" + duplicateField + "'",
	}),
	{
		ID: "field-validation/modes", Ask: "a rule with a field twice is created without fieldValidation, which means Warn, with Warn, and with Ignore",
		Do: func(s *Side) string {
			none, warn := post(s, "v2", "?dryRun=All", duplicateField), post(s, "v2", "?dryRun=All&fieldValidation=Warn", duplicateField)
			ignore := post(s, "v2", "?dryRun=All&fieldValidation=Ignore", duplicateField)
			return say(warned(none), warned(warn), warned(ignore), shows(ignore, "spec.replicas"))
		},
		Want: Both(`201 with warnings: duplicate field "spec.replicas"; 201 with warnings: duplicate field "spec.replicas"; 201 without warnings; 201 spec.replicas=2`),
		Rows: []string{"Validation"},
	},
	{
		ID: "field-validation/warn", Ask: "a rule with unknown fields is created under fieldValidation=Warn",
		Do: func(s *Side) string {
			return warned(post(s, "v2", "?fieldValidation=Warn", unknownFields))
		},
		Want:    Both(`201 with warnings: unknown field "metadata.unknown"; unknown field "spec.endpoint.unknown"`),
		Rows:    []string{"Validation"},
		Kubectl: "kubectl create --validate=warn -f - <<< '" + unknownFields + "'",
	},
	{
		ID: "field-validation/unknown-mode", Ask: "a rule is created under fieldValidation=Loose",
		Do:   func(s *Side) string { return post(s, "v2", "?fieldValidation=Loose", whole("")).Outcome() },
		Want: Both(`422 Invalid: fieldValidation: Unsupported value: "Loose": supported values: "", "Ignore", "Strict", "Warn"`),
		Rows: []string{"Validation"},
	},
	posting("v1", "?fieldValidation=Strict", inV1("isPermanent: true"), Case{
		ID: "field-validation/v1", Ask: "a rule of v1 that spells isPremanent correctly is created under fieldValidation=Strict",
		Want: Both(`400 BadRequest: PortRule in version "v1" cannot be handled as a PortRule: strict decoding error: unknown field "spec.isPermanent"`),
		Rows: []string{"Validation", "Multi-versioning"},
	}),
	{
		ID: "field-validation/yaml", Ask: "a rule in YAML with a field twice is created under fieldValidation=Strict, Warn and Ignore",
		Do: func(s *Side) string {
			ask := func(mode string) *Answer {
				return s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All&fieldValidation=" + mode, Type: "application/yaml", Body: duplicateYAML})
			}
			ignore := ask("Ignore")
			return say(ask("Strict").Outcome(), warned(ask("Warn")), warned(ignore), shows(ignore, "spec.replicas"))
		},
		Want: Both(strictly + "yaml: unmarshal errors:\n  line 8: key \"replicas\" already set in map; " +
			`201 with warnings: line 8: key "replicas" already set in map; 201 without warnings; 201 spec.replicas=2`),
		Rows: []string{"Validation"},
	},
	{
		ID: "field-validation/put", Ask: "a rule is put with an unknown field under fieldValidation=Strict and Warn",
		Do: func(s *Side) string {
			body := edited(s.Make("one", `{}`), "spec.unknown", int64(1))
			return say(s.Put("one?fieldValidation=Strict", body).Outcome(), warned(s.Put("one?fieldValidation=Warn", body)))
		},
		Want: Both(strictly + `unknown field "spec.unknown"; 200 with warnings: unknown field "spec.unknown"`),
		Rows: []string{"Validation"},
	},
	{
		ID: "field-validation/merge-patch", Ask: "merge patches with an unknown field, and with a field twice, are sent under fieldValidation=Strict and Warn",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			const unknown, twice = `{"spec":{"unknown":1}}`, `{"spec":{"replicas":1,"replicas":2}}`
			return say(patchOutcome(s.Patch(MergePatch, "one?fieldValidation=Strict", unknown)), patchOutcome(s.Patch(MergePatch, "one?fieldValidation=Strict", twice)),
				warned(s.Patch(MergePatch, "one?fieldValidation=Warn", unknown)), warned(s.Patch(MergePatch, "one?fieldValidation=Warn", twice)))
		},
		Want: Both(`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: unknown field "spec.unknown"; ` +
			`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: duplicate field "spec.replicas"; ` +
			`200 with warnings: unknown field "spec.unknown"; 200 with warnings: duplicate field "spec.replicas"`),
		Rows:    []string{"Validation", "merge-patch"},
		Kubectl: `kubectl patch portrules.GROUP one --type=merge -p '{"spec":{"unknown":1}}'`,
	},
	{
		ID: "field-validation/json-patch", Ask: "JSON patches that add an unknown field, and whose operation has an unknown field and a field twice, are sent under fieldValidation=Strict",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			ask := func(body string) string {
				return patchOutcome(s.Patch(JSONPatch, "one?fieldValidation=Strict", body))
			}
			return say(ask(`[{"op":"add","path":"/spec/unknown","value":1}]`), ask(`[{"op":"add","path":"/spec/replicas","value":1,"unknown":1}]`),
				ask(`[{"op":"add","path":"/spec/replicas","value":1,"value":2}]`))
		},
		Want: Both(`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: unknown field "spec.unknown"; ` +
			`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: json patch unknown field "[0].unknown"; ` +
			`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: json patch duplicate field "[0].value"`),
		Rows: []string{"Validation", "json-patch"},
	},
	{
		ID: "field-validation/apply", Ask: "a rule with a field twice is applied under fieldValidation=Strict, Warn and Ignore",
		Do: func(s *Side) string {
			return say(apply(s, "test", "&fieldValidation=Strict", duplicateYAML).Outcome(), warned(apply(s, "test", "&fieldValidation=Warn", duplicateYAML)),
				warned(apply(s, "test", "&fieldValidation=Ignore", duplicateYAML)))
		},
		Want: Both("400 BadRequest: error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 8: key \"replicas\" already set in map; " +
			`201 with warnings: line 8: key "replicas" already set in map; 200 without warnings`),
		Rows: []string{"Validation"},
	},
	{
		ID: "field-validation/subresources", Ask: "a status and a scale with an unknown field are written under fieldValidation=Strict",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(patchOutcome(s.Patch(MergePatch, "one/status?fieldValidation=Strict", `{status: {unknown: 1}}`)),
				patchOutcome(s.Patch(MergePatch, "one/scale?fieldValidation=Strict", `{"spec":{"unknown":1}}`)))
		},
		Want: Both(`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: unknown field "status.unknown"; ` +
			`422 Invalid: patch: Invalid value: OBJECT: strict decoding error: unknown field "spec.unknown"`),
		Rows: []string{"Validation", "Status Subresource", "Scale Subresource"},
	},
}

var conversionCases = []Case{
	{
		ID: "conversion/round-trip", Ask: "a rule with all of v1's fields, isPremanent among them, is created in v1, and read in v2 and in v1",
		Do: func(s *Side) string {
			return say(shows(post(s, "v1", "", inV1("protocol: sctp, isPremanent: true, replicas: 3")), "apiVersion", "spec"), shows(s.Get("one"), "apiVersion", "spec"),
				shows(s.Do(Request{Path: s.Path("v1", "one")}), "apiVersion", "spec"))
		},
		Want: Both(`201 apiVersion="GROUP/v1" spec={"host":"one.example.com","isPremanent":true,"name":"nginx","port":80,"protocol":"sctp","replicas":3}; ` +
			`200 apiVersion="GROUP/v2" spec={"endpoint":{"host":"one.example.com","port":80,"protocol":"sctp"},"permanent":true,"replicas":3,"service":"nginx"}; ` +
			`200 apiVersion="GROUP/v1" spec={"host":"one.example.com","isPremanent":true,"name":"nginx","port":80,"protocol":"sctp","replicas":3}`),
		Rows:    []string{"Multi-versioning", "article: conversion"},
		Kubectl: "kubectl get portrules.v1.GROUP one -o yaml",
	},
	{
		ID: "conversion/list", Ask: "rules that were created in v1 and in v2 are listed in v1 and in v2",
		Do: func(s *Side) string {
			s.Must(post(s, "v1", "", inV1("timeoutSeconds: 60")))
			s.Make("two", `{permanent: true}`)
			return say(shows(s.Do(Request{Path: s.Path("v1")}), "apiVersion", "items.0.spec", "items.1.spec"),
				shows(s.Do(Request{Path: s.Path("v2")}), "apiVersion", "items.0.spec", "items.1.spec"))
		},
		Want: Both(`200 apiVersion="GROUP/v1" items.0.spec={"host":"one.example.com","name":"nginx","port":80,"protocol":"tcp","replicas":1,"timeoutSeconds":60} ` +
			`items.1.spec={"host":"two.example.com","isPremanent":true,"name":"nginx","port":80,"protocol":"tcp","replicas":1}; ` +
			`200 apiVersion="GROUP/v2" items.0.spec={"endpoint":{"host":"one.example.com","port":80,"protocol":"tcp"},"replicas":1,"service":"nginx","timeoutSeconds":60} ` +
			`items.1.spec={"endpoint":{"host":"two.example.com","port":80,"protocol":"tcp"},"permanent":true,"replicas":1,"service":"nginx"}`),
		Rows:    []string{"Multi-versioning", "article: conversion"},
		Kubectl: "kubectl get portrules.v1.GROUP -o yaml",
	},
	{
		ID: "conversion/metadata", Ask: "a rule is read in both versions, its metadata is compared, and what was read in v1 is put",
		Do: func(s *Side) string {
			s.Must(post(s, "v2", "", strings.Replace(whole("permanent: false, timeoutSeconds: 60"), "{name: one}", "{name: one, labels: {a: b}, annotations: {c: d}, finalizers: [example.com/hold]}", 1)))
			v2, v1 := s.Get("one"), s.Do(Request{Path: s.Path("v1", "one")})
			same := "the same metadata"
			if v2.Field("metadata") != v1.Field("metadata") {
				same = "v2 has " + v2.Field("metadata") + ", v1 has " + v1.Field("metadata")
			}
			put, written := s.Must(s.Do(Request{Method: "PUT", Path: s.Path("v1", "one"), Body: string(v1.Body)})), "not written"
			if put.Object().GetResourceVersion() != v2.Object().GetResourceVersion() || s.Get("one").Field("spec") != v2.Field("spec") {
				written = "written"
			}
			s.Must(s.Patch(MergePatch, "one", `{metadata: {finalizers: null}}`))
			return say(same, shows(put, "metadata.generation"), written)
		},
		// what comes back equal is no change
		Want: Both("the same metadata; 200 metadata.generation=1; not written"),
		Rows: []string{"Multi-versioning", "article: conversion"},
	},
	{
		ID: "conversion/patch", Ask: "a rule that was created in v2 is patched in v1",
		Do: func(s *Side) string {
			s.Make("one", `{replicas: 3}`)
			patched := s.Do(Request{Method: "PATCH", Path: s.Path("v1", "one"), Type: MergePatch, Body: `{"spec":{"name":"web","isPremanent":true}}`})
			return say(shows(patched, "spec"), shows(s.Get("one"), "spec", "metadata.generation"))
		},
		Want: Both(`200 spec={"host":"one.example.com","isPremanent":true,"name":"web","port":80,"protocol":"tcp","replicas":3}; ` +
			`200 spec={"endpoint":{"host":"one.example.com","port":80,"protocol":"tcp"},"permanent":true,"replicas":3,"service":"web"} metadata.generation=2`),
		Rows:    []string{"Multi-versioning", "merge-patch", "article: conversion"},
		Kubectl: `kubectl patch portrules.v1.GROUP one --type=merge -p '{"spec":{"name":"web","isPremanent":true}}'`,
	},
	{
		ID: "conversion/patch-to-other", Ask: "a merge patch in v2 is a whole object of v1, field validation being off",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return shows(s.Patch(MergePatch, "one?fieldValidation=Ignore", strings.Replace(inV1(""), "nginx", "web", 1)), "apiVersion", "spec.service")
		},
		Want: Differ("422 Invalid: apiVersion: Invalid value: \"GROUP/v1\": must be GROUP/v2", `200 apiVersion="GROUP/v2" spec.service="web"`,
			"The server decodes what the patch led to in the version that it names, and converts it. A path of a CRD serves one version, and its objects must say that one."),
		Rows: []string{"Multi-versioning", "merge-patch"},
	},
	{
		ID: "conversion/managed-fields", Ask: "a rule is created in v1 by one manager, patched in v2 by another, and read in both versions",
		Do: func(s *Side) string {
			s.Must(post(s, "v1", "?fieldManager=old", inV1("")))
			s.Must(s.Patch(MergePatch, "one?fieldManager=new", `{"spec":{"permanent":true}}`))
			inV2, inV1 := owners(s.Get("one"), ".spec"), owners(s.Do(Request{Path: s.Path("v1", "one")}), ".spec")
			if inV1 != inV2 {
				return say(inV2, inV1)
			}
			return inV2
		},
		// each entry keeps the version, and the names, of the request that made it
		Want:    Both("new Update v2: .spec.permanent, old Update v1: .spec.host .spec.name .spec.port .spec.protocol .spec.replicas"),
		Rows:    []string{"Multi-versioning"},
		Kubectl: "kubectl get portrules.GROUP one -o yaml --show-managed-fields",
	},
	{
		ID: "conversion/status", Ask: "a rule with a status is put in v1 with another spec, and read in v2",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Must(patchStatus(s, `{status: {observedGeneration: 1, replicas: 3, selector: "a=b", conditions: [`+readyCondition+`]}}`))
			read := s.Do(Request{Path: s.Path("v1", "one")})
			s.Must(s.Do(Request{Method: "PUT", Path: s.Path("v1", "one"), Body: edited(read, "spec.replicas", int64(2), "status", nil)}))
			after := s.Get("one")
			if read.Field("status") != after.Field("status") {
				return "v1: " + read.Field("status") + ", v2 afterwards: " + after.Field("status")
			}
			return shows(after, "spec.replicas", "status")
		},
		Want: Both(`200 spec.replicas=2 status={"conditions":[{"lastTransitionTime":"TIME","message":"","reason":"Applied","status":"True","type":"Ready"}],"observedGeneration":1,"replicas":3,"selector":"a=b"}`),
		Rows: []string{"Multi-versioning", "Status Subresource"},
	},
	{
		ID: "conversion/stale", Ask: "a rule is put in v1 that was read before somebody has changed it in v2",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			read := s.Do(Request{Path: s.Path("v1", "one")})
			s.Must(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`))
			return s.Do(Request{Method: "PUT", Path: s.Path("v1", "one"), Body: string(read.Body)}).Outcome()
		},
		Want: Both(`409 Conflict: Operation cannot be fulfilled on portrules.GROUP "one": the object has been modified; please apply your changes to the latest version and try again`),
		Rows: []string{"Multi-versioning", "CRUD"},
	},
	{
		ID: "conversion/storage", Ask: "discovery is asked which version is preferred and which is stored",
		Do: func(s *Side) string {
			hashes := map[string]string{}
			for _, version := range []string{"v1", "v2"} {
				hashes[discovery.StorageVersionHash(s.Group, version, api.Kind)] = version
			}
			text := "preferred: " + s.Do(Request{Path: s.GroupPath("")}).Field("preferredVersion.version")
			for _, version := range []string{"v1", "v2"} {
				var list metav1.APIResourceList
				s.Fail(json.Unmarshal(s.Do(Request{Path: s.GroupPath(version)}).Body, &list))
				for _, resource := range list.APIResources {
					if resource.Name == api.Resource {
						text += fmt.Sprintf("; %s is stored as %s", version, hashes[resource.StorageVersionHash])
					}
				}
			}
			return text
		},
		Want:    Both(`preferred: "v2"; v1 is stored as v2; v2 is stored as v2`),
		Rows:    []string{"Multi-versioning", "Discovery"},
		Kubectl: "kubectl get --raw /apis/GROUP/v1",
	},
	{
		ID: "conversion/errors", Ask: "a rule with a wrong name, host and port is created in v1",
		Do: func(s *Side) string {
			return post(s, "v1", "", "{apiVersion: GROUP/v1, kind: PortRule, metadata: {name: one}, spec: {name: Nginx, host: 10.0.0.300, port: 70000}}").Fields()
		},
		Want:    Both("422 spec.host, spec.name, spec.port"),
		Rows:    []string{"Multi-versioning", "Validation"},
		Kubectl: "kubectl create -f - <<< '{apiVersion: GROUP/v1, kind: PortRule, metadata: {name: one}, spec: {name: Nginx, host: 10.0.0.300, port: 70000}}'",
	},
	posting("v1", "", "{apiVersion: GROUP/v1, kind: PortRule, metadata: {name: one}, spec: {}}", Case{
		ID: "conversion/required", Ask: "a rule with an empty spec is created in v1",
		Want: Differ(`422 Invalid: spec.host: Invalid value: "": `+hostByCEL+`; spec.name: Invalid value: "": `+labelByCEL+"; spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1",
			"422 Invalid: spec.host: "+hostByGo+"; spec.name: Required value: the service that the port belongs to; spec.port: Required value: "+portByGo,
			"In v2 the CRD says that the fields are missing. Policies and webhooks match v2, so a request in v1 is converted for them, by a webhook with Go types, and back, before the schema is asked: what was absent comes back empty."),
		Rows: []string{"Multi-versioning", "Unset versus Empty", "article: conversion"},
	}),
	posting("v1", "", "{apiVersion: GROUP/v1, kind: PortRule, metadata: {name: one}, spec: {name: nginx, host: one.example.com, port: eighty}}", Case{
		ID: "conversion/wrong-type", Ask: "a rule whose port is a text is created in v1",
		Want: Differ(`403 Forbidden: policy "portrule-requested-by" denied request: failed to configure policy: conversion webhook for GROUP/v1, Kind=PortRule failed: json: cannot unmarshal string into Go struct field PortRuleSpec.spec.port of type int32`,
			`400 BadRequest: PortRule in version "v1" cannot be handled as a PortRule: json: cannot unmarshal string into Go struct field PortRuleSpec.spec.port of type int32`,
			"Admission comes before the schema, and the policies match v2, so the object is converted first; the conversion webhook cannot read it, and to the policy that is a failure of its configuration, which failurePolicy Fail turns into Forbidden. In v2 the schema says what is wrong."),
		Rows: []string{"Multi-versioning", "Validation", "article: conversion"},
	}),
}
