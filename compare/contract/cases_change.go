package contract

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"portrule.example/lab/api"
)

// changeCases are about what a write may change and who may: subresources, patches,
// server-side apply, concurrency, deletion, and what metadata may say.
var changeCases = slices.Concat(
	statusCases, scaleCases, subresourceCases, patchCases, applyCases, concurrencyCases,
	lifecycleCases, dryRunCases, namesCases, limitsCases, labelsCases,
)

// What several cases are answered.
const (
	modified      = `Operation cannot be fulfilled on portrules.GROUP "one": the object has been modified; please apply your changes to the latest version and try again`
	absent        = `404 NotFound: portrules.GROUP "one" not found`
	noMethod      = "405 MethodNotAllowed: the server does not allow this method on the requested resource"
	notPatches    = "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
	unchecked     = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
	notAName      = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
	notASubdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
)

// say joins what several requests came to.
func say(parts ...string) string { return strings.Join(parts, "; ") }

// shows is the status code and some fields, or the outcome of what has failed.
func shows(a *Answer, paths ...string) string {
	if a.Code >= 400 {
		return a.Outcome()
	}
	text := strconv.Itoa(a.Code)
	for _, path := range paths {
		text += " " + path + "=" + a.Field(path)
	}
	return text
}

// refusal is the status code and the reason, without the message.
func refusal(a *Answer) string {
	text, _, _ := strings.Cut(a.Outcome(), ":")
	return text
}

// one is a rule of v2 named one, as YAML; fields are what it has beside its metadata,
// in the flow style. With spec: it need not be whole.
func one(fields string) string {
	return "{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one}, " + fields + "}"
}

// whole is the spec of one, with room for further fields.
func whole(fields string) string {
	return one("spec: {service: nginx, endpoint: {host: one.example.com, port: 80}, " + fields + "}")
}

// edited is the object of an answer with other values at some paths in dots; nil takes
// what is there away.
func edited(a *Answer, changes ...any) string {
	object := a.Object()
	if object.Object == nil {
		return "" // there was no answer, and the side knows
	}
	for i := 0; i < len(changes); i += 2 {
		path := strings.Split(changes[i].(string), ".")
		if changes[i+1] == nil {
			unstructured.RemoveNestedField(object.Object, path...)
			continue
		}
		a.side.Fail(unstructured.SetNestedField(object.Object, changes[i+1], path...))
	}
	data, err := object.MarshalJSON()
	a.side.Fail(err)
	return string(data)
}

// made creates the rule one as the manager maker.
func made(s *Side) *Answer {
	return s.Must(s.Do(Request{Method: "POST", Path: s.Path("v2") + "?fieldManager=maker", Body: whole("")}))
}

// apply is server-side apply of YAML to the rule one, by a manager; options are those
// of the query, such as &force=true.
func apply(s *Side, manager, options, body string) *Answer {
	return s.Patch(ApplyPatch, "one?fieldManager="+manager+options, body)
}

// owners says which manager owns which fields of an object's part, .spec or such.
func owners(a *Answer, part string) string {
	var all []string
	for _, entry := range a.Object().GetManagedFields() {
		set := &fieldpath.Set{}
		a.side.Fail(set.FromJSON(strings.NewReader(entry.FieldsV1.GetRawString())))
		var fields []string
		set.Leaves().Iterate(func(path fieldpath.Path) {
			if text := path.String(); strings.HasPrefix(text, part) {
				fields = append(fields, text)
			}
		})
		if len(fields) == 0 {
			continue
		}
		_, version, _ := strings.Cut(entry.APIVersion, "/")
		who := fmt.Sprintf("%s %s %s", entry.Manager, entry.Operation, version)
		if entry.Subresource != "" {
			who += " " + entry.Subresource
		}
		slices.Sort(fields)
		all = append(all, fmt.Sprintf("%s: %s", who, strings.Join(fields, " ")))
	}
	slices.Sort(all)
	return a.side.Normal(strings.Join(all, ", "))
}

const readyCondition = `{type: Ready, status: "True", reason: Applied, message: "", lastTransitionTime: "2024-01-01T00:00:00Z"}`

// patchStatus is a merge patch of the status of the rule one, in YAML.
func patchStatus(s *Side, body string) *Answer {
	return s.Patch(MergePatch, "one/status", body)
}

var statusCases = []Case{
	{
		ID: "status/create-drops-status", Ask: "a rule is created with a status in it",
		Do: func(s *Side) string {
			return shows(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: one("spec: {service: nginx, endpoint: {host: a.example.com, port: 80}}, status: {replicas: 3}")}), "status")
		},
		Want: Both("201 status=absent"),
		Rows: []string{"Status Subresource"},
	},
	{
		ID: "status/put-of-the-rule-keeps-status", Ask: "a rule is replaced by one with another status and another spec",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			a := s.Must(patchStatus(s, `{status: {replicas: 2}}`))
			return shows(s.Put("one", edited(a, "status.replicas", int64(9), "spec.replicas", int64(5))), "spec.replicas", "status.replicas", "metadata.generation")
		},
		Want: Both("200 spec.replicas=5 status.replicas=2 metadata.generation=2"),
		Rows: []string{"Status Subresource", "article: subresource"},
	},
	{
		ID: "status/put-of-status-keeps-the-rest", Ask: "the status is replaced by an object with another spec and other labels, annotations and finalizers",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			body := edited(a, "status.replicas", int64(2), "spec.replicas", int64(5), "metadata.labels", map[string]any{"a": "b"},
				"metadata.annotations.note", "changed", "metadata.finalizers", []any{"example.com/hold"})
			s.Must(s.Do(Request{Method: "PUT", Path: s.Path("v2", "one", "status"), Body: body}))
			return shows(s.Get("one"), "status.replicas", "spec.replicas", "metadata.labels", "metadata.annotations.note", "metadata.finalizers", "metadata.generation")
		},
		Want: Both("200 status.replicas=2 spec.replicas=1 metadata.labels=absent metadata.annotations.note=absent metadata.finalizers=absent metadata.generation=1"),
		Rows: []string{"Status Subresource", "article: subresource"},
	},
	{
		ID: "status/patch", Ask: "the status and the spec are patched through the status subresource",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return shows(patchStatus(s, `{spec: {replicas: 5}, status: {observedGeneration: 1, conditions: [`+readyCondition+`]}}`),
				"spec.replicas", "status.observedGeneration", "status.conditions.0.type")
		},
		Want:    Both(`200 spec.replicas=1 status.observedGeneration=1 status.conditions.0.type="Ready"`),
		Rows:    []string{"Status Subresource"},
		Kubectl: `kubectl patch portrules.GROUP one --subresource=status --type=merge -p '{"spec":{"replicas":5},"status":{"observedGeneration":1}}'`,
	},
	{
		ID: "status/generation", Ask: "a rule's status, its labels and then its spec are changed",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(
				"status: "+patchStatus(s, `{status: {replicas: 1}}`).Field("metadata.generation"),
				"labels: "+s.Patch(MergePatch, "one", `{metadata: {labels: {a: b}}}`).Field("metadata.generation"),
				"spec: "+s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`).Field("metadata.generation"),
			)
		},
		Want: Both("status: 1; labels: 1; spec: 2"),
		Rows: []string{"Status Subresource"},
	},
	{
		ID: "status/condition-fields", Ask: "a condition without a reason, one whose status is Maybe, and one without a time are written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			condition := func(from, to string) string {
				return patchStatus(s, `{status: {conditions: [`+strings.Replace(readyCondition, from, to, 1)+`]}}`).Outcome()
			}
			return say(condition("reason: Applied, ", ""), condition(`"True"`, "Maybe"), condition(`, lastTransitionTime: "2024-01-01T00:00:00Z"`, ""))
		},
		Want: Differ(
			"422 Invalid: "+unchecked+"; status.conditions[0].reason: Required value; "+
				"422 Invalid: "+unchecked+`; status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown"; `+
				"422 Invalid: "+unchecked+"; status.conditions[0].lastTransitionTime: Required value",
			"422 Invalid: status.conditions[0].reason: Required value; "+
				`422 Invalid: status.conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"; `+
				"422 Invalid: status.conditions[0].lastTransitionTime: Required value",
			"The same rules in two statements: the CRD's is its schema, after whose errors CEL rules are not tried; the server's is the function that the Kubernetes libraries have for conditions."),
		Rows: []string{"Status Subresource", "Validation"},
	},
	{
		ID: "status/condition-twice", Ask: "a status with two conditions of one type is written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return patchStatus(s, `{status: {conditions: [`+readyCondition+`, `+readyCondition+`]}}`).Outcome()
		},
		Want: Differ(`422 Invalid: status.conditions[1]: Duplicate value: {"type":"Ready"}`, `422 Invalid: status.conditions[1].type: Duplicate value: "Ready"`,
			"The CRD knows that it is a list whose key is the type (x-kubernetes-list-type: map), and names the item; the server uses the libraries' function for conditions, which names the field."),
		Rows: []string{"Status Subresource", "Validation"},
	},
	{
		ID: "status/negative-replicas", Ask: "a status with -1 replicas is written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return patchStatus(s, `{status: {replicas: -1}}`).Outcome()
		},
		Want: Differ("422 Invalid: .status.replicas: Invalid value: -1: should be a non-negative integer", "422 Invalid: status.replicas: Invalid value: -1: must be greater than or equal to 0",
			"The CRD's schema has no minimum for it: the handler checks what a scale is made of, and names the field as the CRD does, dot included. The server has a check of its own."),
		Rows: []string{"Status Subresource", "Validation"},
	},
	{
		ID: "status/versions", Ask: "the status is written in v1 and read in v2",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Must(s.Do(Request{Method: "PATCH", Path: s.Path("v1", "one", "status"), Type: MergePatch, Body: `{status: {replicas: 2, selector: "zone=a", conditions: [` + readyCondition + `]}}`}))
			return shows(s.Get("one"), "status")
		},
		Want: Both(`200 status={"conditions":[{"lastTransitionTime":"TIME","message":"","reason":"Applied","status":"True","type":"Ready"}],"replicas":2,"selector":"zone=a"}`),
		Rows: []string{"Status Subresource", "Multi-versioning"},
	},
	{
		ID: "status/apply", Ask: "the status and the spec are applied through the status subresource",
		Do: func(s *Side) string {
			made(s)
			a := s.Patch(ApplyPatch, "one/status?fieldManager=agent", one("spec: {replicas: 5}, status: {conditions: ["+readyCondition+"]}"))
			return say(shows(a, "spec.replicas", "status.conditions.0.status"), owners(a, ""))
		},
		Want: Both(`200 spec.replicas=1 status.conditions.0.status="True"; agent Apply v2 status: .status.conditions[type="Ready"].lastTransitionTime ` +
			`.status.conditions[type="Ready"].message .status.conditions[type="Ready"].reason .status.conditions[type="Ready"].status .status.conditions[type="Ready"].type, ` +
			"maker Update v2: .spec.endpoint.host .spec.endpoint.port .spec.endpoint.protocol .spec.replicas .spec.service"),
		Rows: []string{"Status Subresource"},
	},
	{
		ID: "status/apply-to-the-rule", Ask: "a rule is applied with a status in it",
		Do: func(s *Side) string {
			a := apply(s, "maker", "", one("spec: {service: nginx, endpoint: {host: one.example.com, port: 80}}, status: {replicas: 3}"))
			return say(shows(a, "status"), owners(a, ""))
		},
		Want: Both("201 status=absent; maker Apply v2: .spec.endpoint.host .spec.endpoint.port .spec.service"),
		Rows: []string{"Status Subresource"},
	},
	{
		ID: "status/permission", Ask: "a user who may patch rules patches the status, and one who may patch their status patches the rule",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			user, agent := s.NewUser(), s.NewUser()
			s.Allow(user, []string{"patch"}, []string{api.Resource})
			s.Allow(agent, []string{"patch"}, []string{api.Resource + "/status"})
			patch := func(user, body string, path ...string) string {
				return strconv.Itoa(s.Do(Request{Method: "PATCH", Path: s.Path("v2", path...), Type: MergePatch, User: user, Body: body}).Code)
			}
			return say(
				"user: "+patch(user, `{spec: {replicas: 2}}`, "one")+", the status "+patch(user, `{status: {replicas: 2}}`, "one", "status"),
				"agent: "+patch(agent, `{spec: {replicas: 3}}`, "one")+", the status "+patch(agent, `{status: {replicas: 3}}`, "one", "status"),
			)
		},
		Want: Both("user: 200, the status 403; agent: 403, the status 200"),
		Rows: []string{"Status Subresource", "Built-in Authorization"},
	},
}

// scale asks for the scale of the rule one.
func scale(s *Side, method, version, body string) *Answer {
	r := Request{Method: method, Path: s.Path(version, "one", "scale"), Body: body}
	if method == "PATCH" {
		r.Type = MergePatch
	}
	return s.Do(r)
}

var scaleCases = []Case{
	{
		ID: "scale/get", Ask: "the scale of a rule is read in v1 and in v2",
		Do: func(s *Side) string {
			s.Make("one", `{replicas: 3}`)
			s.Must(patchStatus(s, `{status: {replicas: 2, selector: "zone=a"}}`))
			read := func(version string) string {
				return shows(scale(s, "GET", version, ""), "apiVersion", "kind", "metadata.name", "spec", "status")
			}
			return say(read("v1"), read("v2"))
		},
		Want: Both(`200 apiVersion="autoscaling/v1" kind="Scale" metadata.name="one" spec={"replicas":3} status={"replicas":2,"selector":"zone=a"}; ` +
			`200 apiVersion="autoscaling/v1" kind="Scale" metadata.name="one" spec={"replicas":3} status={"replicas":2,"selector":"zone=a"}`),
		Rows:    []string{"Scale Subresource", "article: subresource"},
		Kubectl: "kubectl get portrules.GROUP one --subresource=scale -o yaml",
	},
	{
		ID: "scale/put", Ask: "a scale with other replicas, another status and other labels is put",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			a := scale(s, "GET", "v2", "")
			put := scale(s, "PUT", "v2", edited(a, "spec.replicas", int64(5), "status.replicas", int64(7), "metadata.labels", map[string]any{"a": "b"}))
			return say(shows(put, "kind", "spec.replicas", "status.replicas"), shows(s.Get("one"), "spec.replicas", "status", "metadata.labels", "metadata.generation"))
		},
		Want: Both(`200 kind="Scale" spec.replicas=5 status.replicas=0; 200 spec.replicas=5 status=absent metadata.labels=absent metadata.generation=2`),
		Rows: []string{"Scale Subresource", "article: subresource"},
	},
	{
		ID: "scale/patch", Ask: "a rule is scaled as kubectl scale does, in v1 and in v2",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			patch := func(version string, replicas int) string {
				return shows(scale(s, "PATCH", version, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)), "spec")
			}
			return say(patch("v1", 0), patch("v2", 4), shows(s.Get("one"), "spec.replicas", "metadata.generation"))
		},
		Want:    Both(`200 spec={}; 200 spec={"replicas":4}; 200 spec.replicas=4 metadata.generation=3`),
		Rows:    []string{"Scale Subresource"},
		Kubectl: "kubectl scale portrules.GROUP one --replicas=4",
	},
	{
		ID: "scale/discovery", Ask: "discovery is asked for the kind of the scale, as kubectl scale does",
		Do: func(s *Side) string {
			for _, resource := range discovered(s) {
				if resource.Name == api.Resource+"/scale" {
					return fmt.Sprintf("%s/%s %s %s", resource.Group, resource.Version, resource.Kind, resource.Verbs)
				}
			}
			return "there is none"
		},
		Want:    Both("autoscaling/v1 Scale [get patch update]"),
		Rows:    []string{"Scale Subresource", "Discovery"},
		Kubectl: "kubectl get --raw /apis/GROUP/v2",
	},
	{
		ID: "scale/bounds", Ask: "a rule is scaled to 101 and to -1, which R1 does not allow",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(scale(s, "PATCH", "v2", `{spec: {replicas: 101}}`).Outcome(), scale(s, "PATCH", "v2", `{spec: {replicas: -1}}`).Outcome(),
				s.Get("one").Field("spec.replicas"))
		},
		Want: Differ(
			"422 Invalid: spec.replicas: Invalid value: 101: spec.replicas in body should be less than or equal to 100; "+
				"422 Invalid: .spec.replicas: Invalid value: -1: should be a non-negative integer; spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0; 1",
			"422 Invalid: spec.replicas: Invalid value: 101: must be between 0 and 100, inclusive; 422 Invalid: spec.replicas: Invalid value: -1: must be between 0 and 100, inclusive; 1",
			"Both hold a scale to the rules of the object, each in its own words. The CRD's handler also checks by itself that replicas are not negative, and names the field as the CRD does, dot included."),
		Rows:    []string{"Scale Subresource", "Validation"},
		Kubectl: "kubectl scale portrules.GROUP one --replicas=101",
	},
	{
		ID: "scale/stale", Ask: "a scale is put that was read before another has changed it, and one without a resourceVersion",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			a := scale(s, "GET", "v2", "")
			s.Must(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`))
			return say(scale(s, "PUT", "v2", edited(a, "spec.replicas", int64(5))).Outcome(),
				shows(scale(s, "PUT", "v2", edited(a, "spec.replicas", int64(6), "metadata.resourceVersion", nil)), "spec.replicas"))
		},
		Want:    Both("409 Conflict: " + modified + "; 200 spec.replicas=6"),
		Rows:    []string{"Scale Subresource"},
		Kubectl: "kubectl scale portrules.GROUP one --replicas=5 --resource-version=1",
	},
	{
		ID: "scale/owners", Ask: "a rule that somebody applied is scaled by another, applied again with its old replicas, and scaled again in v1",
		Do: func(s *Side) string {
			s.Must(apply(s, "maker", "", whole("replicas: 2")))
			scale := func(version string, replicas int) {
				s.Must(s.Do(Request{Method: "PATCH", Path: s.Path(version, "one", "scale?fieldManager=autoscaler"), Type: MergePatch, Body: fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)}))
			}
			scale("v2", 5)
			refused := apply(s, "maker", "", whole("replicas: 2"))
			scale("v1", 6)
			return say(refused.Outcome(), owners(s.Get("one"), ".spec.replicas"))
		},
		Want: Both(`409 Conflict: .spec.replicas: conflict with "autoscaler" with subresource "scale" using GROUP/v2; autoscaler Update v1 scale: .spec.replicas`),
		Rows: []string{"Scale Subresource"},
	},
	{
		ID: "scale/apply", Ask: "a scale is applied in v1 and then in v2",
		Do: func(s *Side) string {
			made(s)
			apply := func(version string, replicas int) string {
				body := fmt.Sprintf("{apiVersion: autoscaling/v1, kind: Scale, metadata: {name: one}, spec: {replicas: %d}}", replicas)
				return shows(s.Do(Request{Method: "PATCH", Path: s.Path(version, "one", "scale?fieldManager=autoscaler&force=true"), Type: ApplyPatch, Body: body}), "spec.replicas")
			}
			return say(apply("v1", 3), owners(s.Get("one"), ".spec.replicas"), apply("v2", 4), owners(s.Get("one"), ".spec.replicas"))
		},
		Want: OnlyAggregated(
			"500: failed to convert new object (/one; autoscaling/v1, Kind=Scale) to proper version: request to convert CR to an invalid group/version: autoscaling/v1; maker Update v2: .spec.replicas; "+
				"500: failed to convert new object (/one; autoscaling/v1, Kind=Scale) to proper version: request to convert CR to an invalid group/version: autoscaling/v1; maker Update v2: .spec.replicas",
			"200 spec.replicas=3; autoscaler Apply v1 scale: .spec.replicas; 200 spec.replicas=4; autoscaler Apply v1 scale: .spec.replicas",
			"Kubernetes lacks it for custom resources: apply makes an untyped object of the Scale, and the CRD's converter, which lets only a typed Scale pass, takes it for a custom resource of a version that the CRD does not have."),
		Rows: []string{"Scale Subresource"},
	},
}

var subresourceCases = []Case{
	{
		ID: "subresources/nftables", Ask: "the script of a rule is read, the rule is changed, and the script is read again",
		Do: func(s *Side) string {
			s.Make("one", `{service: web, endpoint: {host: 10.0.0.3, port: 8080}}`)
			get := func() string {
				a := s.Do(Request{Path: s.Path("v2", "one", "nftables")})
				if a.Code != 200 {
					return a.Outcome()
				}
				for line := range strings.Lines(string(a.Body)) {
					if strings.Contains(line, "dport") {
						return a.Header.Get("Content-Type") + ", " + strings.TrimSpace(line)
					}
				}
				return "a script without a port"
			}
			before := get()
			s.Must(s.Patch(MergePatch, "one", `{spec: {service: shop}}`))
			return say(before, get())
		},
		Want: OnlyAggregated(absent+"; "+absent,
			`text/plain; charset=utf-8, ip daddr 10.0.0.3 tcp dport 8080 counter accept comment "web"; text/plain; charset=utf-8, ip daddr 10.0.0.3 tcp dport 8080 counter accept comment "shop"`,
			"A CRD has the subresources status and scale and no others (kubernetes#72637); the nearest is a controller that writes the script to another object. A server connects a subresource to any code, and this one renders the rule when it is read."),
		Rows:    []string{"Other Subresources", "Custom Business Logic", "article: subresource"},
		Kubectl: "kubectl get --raw /apis/GROUP/v2/namespaces/default/portrules/one/nftables",
	},
	{
		ID: "subresources/probe", Ask: "the endpoint of a rule is probed twice",
		Do: func(s *Side) string {
			target := probed(s)
			s.Make("one", fmt.Sprintf(`{endpoint: {host: %q, port: %d}}`, target.Addr(), target.Port()))
			a := s.Do(Request{Path: s.Path("v2", "one", "probe?count=2&intervalSeconds=0")})
			if a.Code != 200 {
				return a.Outcome()
			}
			text := a.Header.Get("Content-Type")
			for line := range strings.Lines(string(a.Body)) {
				attempt := &Answer{side: s, Body: []byte(line)}
				text += " " + attempt.Field("attempt") + " " + attempt.Field("result")
			}
			return text
		},
		Want: OnlyAggregated(absent, `application/jsonl 1 "connected" 2 "connected"`,
			"A CRD has the subresources status and scale and no others (kubernetes#72637). A server connects a subresource to any code, and this one dials the endpoint and answers in a stream."),
		Rows:    []string{"Other Subresources", "Custom Business Logic", "article: subresource"},
		Kubectl: "kubectl get --raw '/apis/GROUP/v2/namespaces/default/portrules/one/probe?count=2'",
	},
	{
		ID: "subresources/probe-refused", Ask: "a loopback address is probed, and a rule is probed 31 times",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: 127.0.0.1, port: 2379}}`)
			return say(s.Do(Request{Path: s.Path("v2", "one", "probe")}).Outcome(), s.Do(Request{Path: s.Path("v2", "one", "probe?count=31")}).Outcome())
		},
		Want: OnlyAggregated(absent+"; "+absent,
			`403 Forbidden: portrules/probe.GROUP "one" is forbidden: address 127.0.0.1 must not be probed: loopback; 422 Invalid: count: Invalid value: 31: must be between 1 and 30, inclusive`,
			"A CRD has the subresources status and scale and no others (kubernetes#72637). What a subresource of a server may be asked is checked by the server, in its own words."),
		Rows: []string{"Other Subresources", "Custom Business Logic"},
	},
	{
		ID: "subresources/callerreviews", Ask: "a CallerReview is created, which says who the caller is, and then all are listed",
		Do: func(s *Side) string {
			path := s.GroupPath("v2", "callerreviews")
			a := s.Do(Request{Method: "POST", Path: path, Body: `{apiVersion: GROUP/v2, kind: CallerReview}`})
			list := s.Do(Request{Path: path}).Outcome()
			if a.Code != 201 {
				return say(a.Outcome(), list)
			}
			self, err := s.Clientset.AuthenticationV1().SelfSubjectReviews().Create(s.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			s.Fail(err)
			who := a.Field("status.userInfo.username")
			if who == strconv.Quote(self.Status.UserInfo.Username) {
				who = "the caller"
			}
			return say("201 "+who+" by "+a.Field("status.authenticator"), list)
		},
		Want: OnlyAggregated("404; 404", `201 the caller by "RequestHeader"; `+noMethod,
			"What a CRD defines is stored, and has every verb. The storage of a server's resource may be any code: this one answers a creation and keeps nothing, so that there is nothing to list."),
		Rows:    []string{"Custom Storage", "Custom Business Logic"},
		Kubectl: "kubectl create --raw /apis/GROUP/v2/callerreviews -f - <<< '{\"apiVersion\":\"GROUP/v2\",\"kind\":\"CallerReview\"}'",
	},
	{
		ID: "subresources/unknown", Ask: "a subresource that nobody knows is read, and written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			path := s.Path("v2", "one", "nothing")
			return say(s.Do(Request{Path: path}).Outcome(), s.Do(Request{Method: "PUT", Path: path, Body: whole("")}).Outcome())
		},
		Want: Differ(absent+"; "+absent, "404 NotFound: the server could not find the requested resource; 404 NotFound: the server could not find the requested resource",
			"One handler serves all paths of CRDs, and for a subresource that a CRD does not have it says that the object is not found, although it is there. The server has a route for each path that it serves, and this is none of them."),
		Rows: []string{"Other Subresources"},
	},
	{
		ID: "subresources/methods", Ask: "the status is deleted, the scale is posted to, and a script is written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(
				s.Do(Request{Method: "DELETE", Path: s.Path("v2", "one", "status")}).Outcome(),
				s.Do(Request{Method: "POST", Path: s.Path("v2", "one", "scale"), Body: `{}`}).Outcome(),
				s.Do(Request{Method: "PUT", Path: s.Path("v2", "one", "nftables"), Body: `{}`}).Outcome(),
			)
		},
		Want: Differ(
			`405 MethodNotAllowed: delete is not supported on resources of kind "portrules.GROUP"; 405 MethodNotAllowed: create is not supported on resources of kind "portrules.GROUP"; `+absent,
			noMethod+"; "+noMethod+"; "+noMethod,
			"The handler of CRDs looks at the verb itself, and names it; the server's router answers for a path that has no such method. The CRD has no nftables at all."),
		Rows: []string{"Other Subresources"},
	},
	{
		ID: "subresources/discovery", Ask: "discovery is asked which resources there are beside portrules",
		Do: func(s *Side) string {
			var names []string
			for _, resource := range discovered(s) {
				if resource.Name != api.Resource {
					names = append(names, resource.Name)
				}
			}
			slices.Sort(names)
			return strings.Join(names, " ")
		},
		Want: OnlyAggregated("portrules/scale portrules/status", "callerreviews portrules/nftables portrules/probe portrules/scale portrules/status",
			"A CRD defines one resource, which has the subresources status and scale and no others. A server installs what it likes."),
		Rows:    []string{"Other Subresources", "Discovery", "article: subresource"},
		Kubectl: "kubectl get --raw /apis/GROUP/v2",
	},
	{
		ID: "subresources/permission", Ask: "a user who may do all with rules, and nothing with their subresources, reads the script and the scale",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			user := s.NewUser()
			s.Allow(user, []string{"*"}, []string{api.Resource})
			read := func(parts ...string) string {
				return strconv.Itoa(s.Do(Request{Path: s.Path("v2", parts...), User: user}).Code)
			}
			return say("the rule: "+read("one"), "nftables: "+read("one", "nftables"), "scale: "+read("one", "scale"))
		},
		Want:    Both("the rule: 200; nftables: 403; scale: 403"),
		Rows:    []string{"Other Subresources", "Built-in Authorization"},
		Kubectl: "kubectl auth can-i get portrules.GROUP --subresource=nftables",
	},
}

// discovered are the resources of v2.
func discovered(s *Side) []metav1.APIResource {
	var list metav1.APIResourceList
	s.Fail(json.Unmarshal(s.Must(s.Do(Request{Path: s.GroupPath("v2")})).Body, &list))
	return list.APIResources
}

// probed is an address that portrules/probe may dial: what the testbed offers, or the
// Service of the kube-apiserver.
func probed(s *Side) netip.AddrPort {
	if target := s.Bed.Target(); target.IsValid() {
		return target
	}
	service, err := s.Clientset.CoreV1().Services("default").Get(s.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		s.Fail(err)
		return netip.AddrPort{}
	}
	address, err := netip.ParseAddr(service.Spec.ClusterIP)
	s.Fail(err)
	return netip.AddrPortFrom(address, uint16(service.Spec.Ports[0].Port))
}

var patchCases = []Case{
	{
		ID: "patch/json", Ask: "a JSON patch tests, adds, replaces and removes",
		Do: func(s *Side) string {
			s.Make("one", `{timeoutSeconds: 60}`)
			return shows(s.Patch(JSONPatch, "one", `[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":2},
				{"op":"remove","path":"/spec/timeoutSeconds"},{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`), "spec.replicas", "spec.timeoutSeconds", "metadata.labels")
		},
		Want:    Both("200 spec.replicas=2 spec.timeoutSeconds=absent metadata.labels={\"a\":\"b\"}"),
		Rows:    []string{"json-patch"},
		Kubectl: `kubectl patch portrules.GROUP one --type=json -p '[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":2}]'`,
	},
	{
		ID: "patch/json-refused", Ask: "JSON patches come whose test fails, that remove what is not there, and that are no list",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(
				s.Patch(JSONPatch, "one", `[{"op":"replace","path":"/spec/replicas","value":3},{"op":"test","path":"/spec/service","value":"apache"}]`).Outcome(),
				s.Patch(JSONPatch, "one", `[{"op":"remove","path":"/spec/timeoutSeconds"}]`).Outcome(),
				s.Patch(JSONPatch, "one", `{"op":"remove"}`).Outcome(),
				s.Get("one").Field("spec.replicas"),
			)
		},
		Want: Both("422 Invalid: the server rejected our request due to an error in our request; 422 Invalid: the server rejected our request due to an error in our request; " +
			"400 BadRequest: error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp; 1"),
		Rows: []string{"json-patch"},
	},
	{
		ID: "patch/merge-null", Ask: "a merge patch sets an optional field, one with a default, and a label to null",
		Do: func(s *Side) string {
			s.Must(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: `{apiVersion: GROUP/v2, kind: PortRule, metadata: {name: one, labels: {a: b, c: d}},
				spec: {service: nginx, endpoint: {host: a.example.com, port: 80}, timeoutSeconds: 60, replicas: 5}}`}))
			return shows(s.Patch(MergePatch, "one", `{"metadata":{"labels":{"a":null}},"spec":{"timeoutSeconds":null,"replicas":null}}`),
				"metadata.labels", "spec.timeoutSeconds", "spec.replicas")
		},
		Want:    Both(`200 metadata.labels={"c":"d"} spec.timeoutSeconds=absent spec.replicas=1`),
		Rows:    []string{"merge-patch", "Defaulting", "Unset versus Empty"},
		Kubectl: `kubectl patch portrules.GROUP one --type=merge -p '{"spec":{"timeoutSeconds":null,"replicas":null}}'`,
	},
	{
		ID: "patch/merge-list", Ask: "a merge patch of a status with a condition names another condition",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Must(patchStatus(s, `{status: {conditions: [`+readyCondition+`]}}`))
			return shows(patchStatus(s, `{status: {conditions: [`+strings.Replace(readyCondition, "Ready", "Seen", 1)+`]}}`), "status.conditions.0.type", "status.conditions.1.type")
		},
		Want: Both(`200 status.conditions.0.type="Seen" status.conditions.1.type=absent`),
		Rows: []string{"merge-patch"},
	},
	{
		ID: "patch/strategic", Ask: "a strategic merge patch of a status with a condition names another condition",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Must(patchStatus(s, `{status: {conditions: [`+readyCondition+`]}}`))
			a := s.Patch(StrategicPatch, "one/status", `{status: {conditions: [`+strings.Replace(readyCondition, "Ready", "Seen", 1)+`]}}`)
			if a.Code != 200 {
				return a.Outcome()
			}
			types := []string{a.Field("status.conditions.0.type"), a.Field("status.conditions.1.type")}
			slices.Sort(types)
			return strings.Join(types, " ")
		},
		Want: OnlyAggregated(notPatches, `"Ready" "Seen"`,
			"A strategic merge patch is merged by the tags of Go types, patchMergeKey among them, and a CRD has no Go types. Server-side apply does the same for both."),
		Rows:    []string{"strategic-merge-patch"},
		Kubectl: `kubectl patch portrules.GROUP one --subresource=status --type=strategic -p '{"status":{"conditions":[{"type":"Seen","status":"True","reason":"Seen","message":"","lastTransitionTime":"2024-01-01T00:00:00Z"}]}}'`,
	},
	{
		ID: "patch/apply-list", Ask: "two managers apply a condition each",
		Do: func(s *Side) string {
			made(s)
			s.Must(s.Patch(ApplyPatch, "one/status?fieldManager=first", one("status: {conditions: ["+readyCondition+"]}")))
			a := s.Patch(ApplyPatch, "one/status?fieldManager=second", one("status: {conditions: ["+strings.Replace(readyCondition, "Ready", "Seen", 1)+"]}"))
			gone := s.Patch(ApplyPatch, "one/status?fieldManager=first", one("status: {}"))
			return say(shows(a, "status.conditions.0.type", "status.conditions.1.type"), shows(gone, "status.conditions.0.type", "status.conditions.1.type"))
		},
		Want: Both(`200 status.conditions.0.type="Ready" status.conditions.1.type="Seen"; 200 status.conditions.0.type="Seen" status.conditions.1.type=absent`),
		Rows: []string{"Status Subresource"},
	},
	{
		ID: "patch/invalid", Ask: "a patch leads to a rule with 101 replicas, and one to another port",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(s.Patch(MergePatch, "one", `{spec: {replicas: 101}}`).Fields(), s.Patch(JSONPatch, "one", `[{"op":"replace","path":"/spec/endpoint/port","value":81}]`).Fields())
		},
		Want: Both("422 spec.replicas; 422 spec.endpoint.port"),
		Rows: []string{"merge-patch", "json-patch", "Validation"},
	},
	{
		ID: "patch/absent", Ask: "a rule that is not there is patched in each of the ways",
		Do: func(s *Side) string {
			return say(
				s.Patch(JSONPatch, "one", `[{"op":"add","path":"/spec/replicas","value":2}]`).Outcome(),
				s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`).Outcome(),
				shows(apply(s, "maker", "", whole("replicas: 2")), "spec.replicas"),
			)
		},
		Want: Both(`404 NotFound: portrules.GROUP "one" not found; 404 NotFound: portrules.GROUP "one" not found; 201 spec.replicas=2`),
		Rows: []string{"merge-patch", "json-patch"},
	},
	{
		ID: "patch/content-type", Ask: "a patch comes as application/json",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return s.Patch("application/json", "one", `{"spec":{"replicas":2}}`).Outcome()
		},
		Want: Differ(notPatches, "415 UnsupportedMediaType: 415: Unsupported Media Type",
			"The CRD is answered for by the handler of patches, which lists what it takes. The server has a router before that handler: it knows the types too, and refuses in fewer words."),
		Rows: []string{"merge-patch", "json-patch", "strategic-merge-patch"},
	},
	{
		ID: "patch/resource-version", Ask: "patches with the present resourceVersion and with one that is over are sent",
		Do: func(s *Side) string {
			version := s.Make("one", `{}`).Field("metadata.resourceVersion")
			patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%s},"spec":{"replicas":%%d}}`, version)
			return say(shows(s.Patch(MergePatch, "one", fmt.Sprintf(patch, 2)), "spec.replicas"), s.Patch(MergePatch, "one", fmt.Sprintf(patch, 3)).Outcome())
		},
		Want: Both("200 spec.replicas=2; 409 Conflict: " + modified),
		Rows: []string{"merge-patch"},
	},
	{
		ID: "patch/identity", Ask: "a patch gives a rule another name, another uid, another namespace, and another kind",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return say(
				s.Patch(MergePatch, "one", `{metadata: {name: two}}`).Outcome(),
				s.Patch(MergePatch, "one", `{metadata: {uid: "11111111-1111-1111-1111-111111111111"}}`).Outcome(),
				s.Patch(MergePatch, "one", `{metadata: {namespace: elsewhere}}`).Outcome(),
				refusal(s.Patch(MergePatch, "one", `{kind: Pod}`)),
			)
		},
		Want: Differ(
			`400 BadRequest: the name of the object (two) does not match the name on the URL (one); 422 Invalid: metadata.uid: Invalid value: "UID": field is immutable; 400 BadRequest: the namespace of the provided object does not match the namespace sent on the request; 200`,
			`400 BadRequest: the name of the object (two) does not match the name on the URL (one); 422 Invalid: metadata.uid: Invalid value: "UID": field is immutable; 400 BadRequest: the namespace of the provided object does not match the namespace sent on the request; 422 Invalid`,
			"Before a policy or webhook may mutate a custom resource, it is converted to the kind that they match, which sets its kind: what validation would refuse is put right. The server decodes what the patch leads to by its kind, and has no such kind."),
		Rows: []string{"merge-patch"},
	},
}

var applyCases = []Case{
	{
		ID: "apply/create", Ask: "a rule that is not there is applied, and the same is applied again",
		Do: func(s *Side) string {
			first := apply(s, "maker", "", whole("replicas: 2"))
			again := apply(s, "maker", "", whole("replicas: 2"))
			same := "another resourceVersion"
			if first.Field("metadata.resourceVersion") == again.Field("metadata.resourceVersion") {
				same = "the same resourceVersion"
			}
			return say(shows(first), shows(again)+" "+same, owners(again, ".spec"))
		},
		Want:    Both("201; 200 the same resourceVersion; maker Apply v2: .spec.endpoint.host .spec.endpoint.port .spec.replicas .spec.service"),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl apply --server-side -f one.yaml",
	},
	{
		ID: "apply/conflict", Ask: "a second manager applies another value, and then by force",
		Do: func(s *Side) string {
			s.Must(apply(s, "first", "", whole("replicas: 2, timeoutSeconds: 60")))
			refused := apply(s, "second", "", one("spec: {replicas: 3, timeoutSeconds: 30}"))
			forced := apply(s, "second", "&force=true", one("spec: {replicas: 3, timeoutSeconds: 30}"))
			return say(refused.Outcome(), shows(forced, "spec.replicas"), owners(forced, ".spec"))
		},
		Want: Both(`409 Conflict: .spec.replicas: conflict with "first"; .spec.timeoutSeconds: conflict with "first"; 200 spec.replicas=3; ` +
			"first Apply v2: .spec.endpoint.host .spec.endpoint.port .spec.service, second Apply v2: .spec.replicas .spec.timeoutSeconds"),
		Kubectl: "kubectl apply --server-side --field-manager=second --force-conflicts -f one.yaml",
	},
	{
		ID: "apply/conflict-with-update", Ask: "a manager applies another value than a PUT has set, and than a patch has set in v1",
		Do: func(s *Side) string {
			a := made(s)
			s.Must(s.Put("one?fieldManager=editor", edited(a, "spec.timeoutSeconds", int64(60))))
			s.Must(s.Do(Request{Method: "PATCH", Path: s.Path("v1", "one?fieldManager=old"), Type: MergePatch, Body: `{spec: {replicas: 2}}`}))
			return apply(s, "second", "", one("spec: {replicas: 3, timeoutSeconds: 30, service: apache}")).Outcome()
		},
		Want: Both(`409 Conflict: .spec.replicas: conflict with "old" using GROUP/v1; .spec.service: conflict with "maker" using GROUP/v2; .spec.timeoutSeconds: conflict with "editor" using GROUP/v2`),
		Rows: []string{"CRUD", "Multi-versioning"},
	},
	{
		ID: "apply/shared", Ask: "two managers apply the same value, and one after the other leaves it out",
		Do: func(s *Side) string {
			s.Must(apply(s, "first", "", whole("timeoutSeconds: 60")))
			s.Must(apply(s, "second", "", one("spec: {timeoutSeconds: 60}")))
			return say(shows(apply(s, "first", "", whole("")), "spec.timeoutSeconds"), shows(apply(s, "second", "", one("spec: {}")), "spec.timeoutSeconds"))
		},
		Want: Both("200 spec.timeoutSeconds=60; 200 spec.timeoutSeconds=absent"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "apply/defaults", Ask: "a rule is applied with replicas and without: what is left out has a default",
		Do: func(s *Side) string {
			s.Must(apply(s, "maker", "", whole("replicas: 5")))
			a := apply(s, "maker", "", whole(""))
			return say(shows(a, "spec.replicas", "spec.endpoint.protocol"), owners(a, ".spec"))
		},
		Want: Both(`200 spec.replicas=1 spec.endpoint.protocol="tcp"; maker Apply v2: .spec.endpoint.host .spec.endpoint.port .spec.service`),
		Rows: []string{"Defaulting"},
	},
	{
		ID: "apply/versions", Ask: "a manager applies in v1, and another gives other values in v2",
		Do: func(s *Side) string {
			v1 := func(options, fields string) *Answer {
				return s.Do(Request{Method: "PATCH", Path: s.Path("v1", "one?fieldManager=first"+options), Type: ApplyPatch,
					Body: "{apiVersion: GROUP/v1, kind: PortRule, metadata: {name: one}, spec: {name: nginx, host: one.example.com, port: 80, " + fields + "}}"})
			}
			s.Must(v1("", "isPremanent: true, replicas: 2"))
			refused := apply(s, "second", "", one("spec: {permanent: false, service: apache}"))
			forced := apply(s, "second", "&force=true", one("spec: {permanent: false}"))
			left := v1("", "replicas: 2")
			return say(refused.Outcome(), owners(forced, ".spec"), shows(left, "spec.isPremanent"))
		},
		Want: Both(`409 Conflict: .spec.isPremanent: conflict with "first"; .spec.name: conflict with "first"; ` +
			"first Apply v1: .spec.host .spec.name .spec.port .spec.replicas, second Apply v2: .spec.permanent; 200 spec.isPremanent=false"),
		Rows: []string{"Multi-versioning", "article: conversion"},
	},
	{
		ID: "apply/managed-fields", Ask: "a rule is created, applied, put, and its status is patched, by four managers",
		Do: func(s *Side) string {
			made(s)
			a := s.Must(apply(s, "applier", "", one("spec: {replicas: 1, timeoutSeconds: 60}")))
			s.Must(s.Put("one?fieldManager=editor", edited(a, "spec.replicas", int64(4))))
			return owners(s.Patch(MergePatch, "one/status?fieldManager=agent", `{status: {replicas: 4}}`), "")
		},
		Want: Both("agent Update v2 status: .status.replicas, applier Apply v2: .spec.timeoutSeconds, editor Update v2: .spec.replicas, " +
			"maker Update v2: .spec.endpoint.host .spec.endpoint.port .spec.endpoint.protocol .spec.service"),
		Kubectl: "kubectl get portrules.GROUP one -o yaml --show-managed-fields",
	},
	{
		ID: "apply/requested-by", Ask: "the annotation of R6 is applied with two names by two managers, and then left out",
		Do: func(s *Side) string {
			forged := func(user string) string {
				return strings.Replace(whole(""), "name: one", "name: one, annotations: {"+api.RequestedBy+": "+user+"}", 1)
			}
			there := func(a *Answer) string {
				if a.Code >= 400 {
					return refusal(a)
				}
				by := a.Object().GetAnnotations()[api.RequestedBy]
				if by != "" && by != "mallory" && by != "trudy" {
					by = "the creator"
				}
				return fmt.Sprintf("%d requested by %s", a.Code, by)
			}
			first := apply(s, "first", "", forged("mallory"))
			owned := "owned by nobody"
			if strings.Contains(owners(first, ".metadata.annotations"), "requested-by") {
				owned = "owned by the first"
			}
			return say(there(first), owned, there(apply(s, "second", "", forged("trudy"))), there(apply(s, "first", "", whole(""))))
		},
		Want: Differ(
			"201 requested by the creator; owned by the first; 409 Conflict; 200 requested by the creator",
			"201 requested by the creator; owned by nobody; 200 requested by the creator; 200 requested by the creator",
			"Who owns what is noted before admission, where the CRD's policy puts the name right: the first has the field, and the second a conflict. A server's strategy says which fields it sets itself (GetResetFields), and of them nobody is the owner; a CRD can say so of its status alone."),
		Rows: []string{"Custom Business Logic"},
	},
	{
		ID: "apply/manager", Ask: "a rule is applied by nobody, by a manager of 129 characters, and by one with a line break",
		Do: func(s *Side) string {
			return say(
				s.Patch(ApplyPatch, "one", whole("")).Outcome(),
				apply(s, strings.Repeat("a", 129), "", whole("")).Fields(),
				apply(s, "a%0Ab", "", whole("")).Outcome(),
			)
		},
		Want: Both(`422 Invalid: fieldManager: Required value: is required for apply patch; 422 fieldManager; 422 Invalid: fieldManager: Invalid value: "a\nb": invalid character U+000A (at position 1)`),
	},
	{
		ID: "apply/refused", Ask: "an object with managedFields, one of another kind, one of another name, and one with a field that there is not are applied",
		Do: func(s *Side) string {
			change := func(from, to string) string {
				return apply(s, "maker", "", strings.Replace(whole("replicas: 1"), from, to, 1)).Outcome()
			}
			return say(
				change("name: one", "name: one, managedFields: [{manager: other, operation: Apply, apiVersion: GROUP/v2, fieldsType: FieldsV1, fieldsV1: {}}]"),
				change("PortRule", "Pod"), change("name: one", "name: two"), change("replicas: 1", "replica: 1"),
			)
		},
		Want: Both("400 BadRequest: metadata.managedFields must be nil; 400 BadRequest: invalid object type: GROUP/v2, Kind=Pod; " +
			"400 BadRequest: the name of the object (two) does not match the name on the URL (one); " +
			"500: failed to create typed patch object (/one; GROUP/v2, Kind=PortRule): .spec.replica: field not declared in schema"),
	},
}

var concurrencyCases = []Case{
	{
		ID: "concurrency/stale-put", Ask: "a rule is put that was read before another has changed it",
		Do: func(s *Side) string {
			old := s.Make("one", `{}`)
			s.Must(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`))
			return say(s.Put("one", edited(old, "spec.replicas", int64(3))).Outcome(), s.Get("one").Field("spec.replicas"))
		},
		Want:    Both("409 Conflict: " + modified + "; 2"),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl replace -f one.yaml",
	},
	{
		ID: "concurrency/unconditional-put", Ask: "a rule is put without a resourceVersion, where there is one and where there is none",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			return say(s.Put("one", edited(a, "metadata.resourceVersion", nil, "spec.replicas", int64(3))).Outcome(), s.Put("two", s.Rule("two", `{}`)).Outcome())
		},
		Want: Both(`422 Invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update; 404 NotFound: portrules.GROUP "two" not found`),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrency/put-another-uid", Ask: "a rule is put over one of the same name that was made anew",
		Do: func(s *Side) string {
			old := s.Make("one", `{}`)
			s.Must(s.Delete("one", ""))
			s.Make("one", `{}`)
			code, text, _ := strings.Cut(s.Put("one", edited(old)).Outcome(), ":")
			_, text, _ = strings.Cut(text, "AdditionalErrorMsg: ") // the rest is about etcd
			return code + ": " + text
		},
		Want: Both("409 Conflict: Precondition failed: UID in precondition: UID, UID in object meta: UID"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrency/delete-preconditions", Ask: "a rule is deleted on condition of another uid, of an old resourceVersion, and of what it has",
		Do: func(s *Side) string {
			old := s.Make("one", `{}`)
			now := s.Must(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`))
			remove := func(precondition string) string {
				return s.Delete("one", `{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{`+precondition+`}}`).Outcome()
			}
			stale := strings.ReplaceAll(remove(`"resourceVersion":`+old.Field("metadata.resourceVersion")), old.Object().GetResourceVersion(), "OLD")
			stale = strings.ReplaceAll(stale, now.Object().GetResourceVersion(), "NEW")
			return say(
				remove(`"uid":"11111111-1111-1111-1111-111111111111"`), stale,
				remove(`"uid":"`+string(now.Object().GetUID())+`","resourceVersion":`+now.Field("metadata.resourceVersion")),
			)
		},
		Want: Both(`409 Conflict: Operation cannot be fulfilled on PortRule.GROUP "one": the UID in the precondition (UID) does not match the UID in record (UID). The object might have been deleted and then recreated; ` +
			`409 Conflict: Operation cannot be fulfilled on PortRule.GROUP "one": the ResourceVersion in the precondition (OLD) does not match the ResourceVersion in record (NEW). The object might have been modified; 200`),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrency/no-op", Ask: "a rule is put as it is, patched to what it is, and changed",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			version := func(b *Answer) string {
				if b.Field("metadata.resourceVersion") == a.Field("metadata.resourceVersion") {
					return shows(b, "metadata.generation") + " and the same resourceVersion"
				}
				return shows(b, "metadata.generation") + " and another resourceVersion"
			}
			return say(version(s.Put("one", edited(a))), version(s.Patch(MergePatch, "one", `{spec: {replicas: 1}}`)), version(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`)))
		},
		Want: Both("200 metadata.generation=1 and the same resourceVersion; 200 metadata.generation=1 and the same resourceVersion; 200 metadata.generation=2 and another resourceVersion"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrency/create-with-resource-version", Ask: "a rule is created with a resourceVersion, and applied with one where there is none",
		Do: func(s *Side) string {
			body := strings.Replace(whole(""), "name: one", `name: one, resourceVersion: "1"`, 1)
			return say(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: body}).Outcome(), apply(s, "maker", "", body).Outcome())
		},
		Want: Both("500: resourceVersion should not be set on objects to be created; 201"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrency/puts-at-once", Ask: "four clients put a change of the same state of a rule at once",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			bodies := make([]string, 4)
			for i := range bodies {
				bodies[i] = edited(a, "spec.replicas", int64(i+2))
			}
			return say(tally(s.atOnce(4, func(s *Side, i int) string { return refusal(s.Put("one", bodies[i])) })), "generation "+s.Get("one").Field("metadata.generation"))
		},
		Want: Both("1 of 200; 3 of 409 Conflict; generation 2"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrency/patches-at-once", Ask: "four clients patch a label each at once",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			codes := s.atOnce(4, func(s *Side, i int) string {
				return s.Patch(MergePatch, "one", fmt.Sprintf(`{"metadata":{"labels":{"l%d":"x"}}}`, i)).Outcome()
			})
			return say(tally(codes), s.Get("one").Field("metadata.labels"))
		},
		Want: Both(`4 of 200; {"l0":"x","l1":"x","l2":"x","l3":"x"}`),
		Rows: []string{"CRUD", "merge-patch"},
	},
}

// held creates the rule one with finalizers.
func held(s *Side, finalizers string) *Answer {
	return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: strings.Replace(whole(""), "name: one", "name: one, finalizers: ["+finalizers+"]", 1)})
}

var lifecycleCases = []Case{
	{
		ID: "lifecycle/finalizer", Ask: "a rule with a finalizer is deleted, and the finalizer is taken away",
		Do: func(s *Side) string {
			s.Must(held(s, "example.com/hold"))
			deleted := s.Delete("one", "")
			there := s.Get("one")
			released := s.Patch(MergePatch, "one", `{"metadata":{"finalizers":null}}`)
			return say(
				shows(deleted, "kind", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds", "metadata.generation"),
				shows(there, "metadata.finalizers"), shows(released), s.Get("one").Outcome(),
			)
		},
		Want: Both(`200 kind="PortRule" metadata.deletionTimestamp="TIME" metadata.deletionGracePeriodSeconds=0 metadata.generation=2; ` +
			`200 metadata.finalizers=["example.com/hold"]; 200; ` + absent),
		Rows:    []string{"Finalizers"},
		Kubectl: "kubectl delete portrules.GROUP one --wait=false",
	},
	{
		ID: "lifecycle/change-while-deleting", Ask: "a rule that is being deleted is changed, deleted again, given another finalizer, and asked not to be deleted",
		Do: func(s *Side) string {
			s.Must(held(s, "example.com/hold"))
			first := s.Must(s.Delete("one", ""))
			again := s.Delete("one", "")
			same := "at another time"
			if first.Object().GetDeletionTimestamp().Equal(again.Object().GetDeletionTimestamp()) {
				same = "deleted at the same time"
			}
			return say(
				shows(s.Patch(MergePatch, "one", `{spec: {replicas: 2}}`), "spec.replicas"), strconv.Itoa(again.Code)+" "+same,
				s.Patch(MergePatch, "one", `{metadata: {finalizers: [example.com/hold, example.com/more]}}`).Outcome(),
				shows(s.Patch(MergePatch, "one", `{"metadata":{"deletionTimestamp":null}}`), "metadata.deletionTimestamp"),
				shows(s.Patch(MergePatch, "one", `{"metadata":{"finalizers":null}}`)),
			)
		},
		Want: Both("200 spec.replicas=2; 200 deleted at the same time; " +
			`422 Invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/more"}; ` +
			`200 metadata.deletionTimestamp="TIME"; 200`),
		Rows: []string{"Finalizers"},
	},
	{
		ID: "lifecycle/finalizer-holds-endpoint", Ask: "another rule with the endpoint of a rule that is being deleted is created",
		Do: func(s *Side) string {
			s.Must(held(s, "example.com/hold"))
			s.Must(s.Delete("one", ""))
			before := s.Create("two", `{endpoint: {host: one.example.com, port: 80}}`)
			s.Must(s.Patch(MergePatch, "one", `{"metadata":{"finalizers":null}}`))
			after := s.Create("two", `{endpoint: {host: one.example.com, port: 80}}`)
			return say(before.Outcome(), after.Outcome())
		},
		Want: Both(`422 Invalid: spec.endpoint: Duplicate value: "tcp/one.example.com/80": held by PortRule "one", which is being deleted: try again once it is gone; 201`),
		Rows: []string{"Finalizers", "Custom Business Logic"},
	},
	{
		ID: "lifecycle/finalizer-names", Ask: "rules are created with finalizers called hold, example.com, and not valid!",
		Do: func(s *Side) string {
			outcome := func(finalizer string) string {
				a := held(s, finalizer)
				text := a.Outcome()
				if warnings := a.Warnings(); warnings != "" {
					text += ", warning " + warnings
				}
				if a.Code == 201 {
					s.Must(s.Patch(MergePatch, "one", `{"metadata":{"finalizers":null}}`))
					s.Must(s.Delete("one", ""))
				}
				return text
			}
			return say(outcome("hold"), outcome("example.com"), outcome(`"not valid!"`))
		},
		Want: Differ(
			`201, warning metadata.finalizers: "hold": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers; `+
				`201, warning metadata.finalizers: "example.com": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers; `+
				`422 Invalid: metadata.finalizers: Invalid value: "not valid!": `+notAName,
			`201; 201; 422 Invalid: metadata.finalizers: Invalid value: "not valid!": `+notAName,
			"What is allowed is the same. To warn is the strategy's, and that of CRDs warns of a finalizer without a domain; ours does not."),
		Rows: []string{"Finalizers"},
	},
	{
		ID: "lifecycle/propagation", Ask: "rules are deleted with propagationPolicy Orphan, Foreground and Some",
		Do: func(s *Side) string {
			remove := func(name, policy string) string {
				s.Make(name, `{}`)
				return shows(s.Delete(name+"?propagationPolicy="+policy, ""), "metadata.finalizers")
			}
			return say(remove("a", "Orphan"), remove("b", "Foreground"), remove("c", "Some"))
		},
		Want:    Both(`200 metadata.finalizers=["orphan"]; 200 metadata.finalizers=["foregroundDeletion"]; 422 Invalid: propagationPolicy: Unsupported value: "Some": supported values: "Foreground", "Background", "Orphan", "nil"`),
		Rows:    []string{"Finalizers"},
		Kubectl: "kubectl delete portrules.GROUP one --cascade=foreground --wait=false",
	},
	{
		ID: "lifecycle/delete", Ask: "a rule is deleted with a grace period of 30 seconds, read, and deleted again",
		Do: func(s *Side) string {
			uid := s.Make("one", `{}`).Object().GetUID()
			deleted := s.Delete("one?gracePeriodSeconds=30", "")
			status := &metav1.Status{Details: &metav1.StatusDetails{}}
			s.Fail(json.Unmarshal(deleted.Body, status))
			return say(fmt.Sprintf("%s with the uid %t", shows(deleted, "kind", "status", "details.kind", "details.name"), status.Details.UID == uid),
				s.Get("one").Outcome(), s.Delete("one", "").Outcome())
		},
		Want:    Both(`200 kind="Status" status="Success" details.kind="portrules" details.name="one" with the uid true; ` + absent + "; " + absent),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete portrules.GROUP one --grace-period=30",
	},
	{
		ID: "lifecycle/delete-collection", Ask: "of four rules those are deleted that a label selector selects, and then a field selector",
		Do: func(s *Side) string {
			for i, labels := range []string{`{"a":"1"}`, `{"a":"1"}`, `{"a":"2"}`, `{}`} {
				name := fmt.Sprintf("r%d", i)
				s.Make(name, `{}`)
				s.Must(s.Patch(MergePatch, name, `{"metadata":{"labels":`+labels+`}}`))
			}
			remove := func(query string) string {
				a := s.Do(Request{Method: "DELETE", Path: s.Path("v2") + "?" + query})
				return fmt.Sprintf("%d %s, left %s", a.Code, a.Field("kind"), s.Do(Request{Path: s.Path("v2")}).Names())
			}
			return say(remove("labelSelector="+Escape("a=1")), remove("fieldSelector="+Escape("spec.endpoint.host=r3.example.com")), remove("labelSelector="+Escape("a=9")), remove(""))
		},
		Want: Both(`200 "PortRuleList", left r2 r3; 200 "PortRuleList", left r2; 200 "PortRuleList", left r2; 200 "PortRuleList", left `),
		Rows: []string{"CRUD", "Labels and annotations"},
	},
	{
		ID: "lifecycle/generate-name", Ask: "rules are created with the generateName web-, twice, with one of 70 characters, and with a name beside it",
		Do: func(s *Side) string {
			create := func(i int, metadata string) string {
				a := s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: fmt.Sprintf(`{apiVersion: GROUP/v2, kind: PortRule, metadata: %s, spec: {service: nginx, endpoint: {host: h%d.example.com, port: 80}}}`, metadata, i)})
				name := a.Object().GetName()
				if prefix := strings.TrimRight(name, "bcdfghjklmnpqrstvwxz2456789"); prefix != "" && len(name)-len(prefix) == 5 {
					name = strings.ReplaceAll(prefix, strings.Repeat("a", 58), "58 x a") + " and 5 more"
				}
				return fmt.Sprintf("%d %s", a.Code, name)
			}
			return say(create(1, "{generateName: web-}"), create(2, "{generateName: web-}"), create(3, "{generateName: "+strings.Repeat("a", 70)+"}"), create(4, "{generateName: web-, name: aaa}"))
		},
		Want:    Both("201 web- and 5 more; 201 web- and 5 more; 201 58 x a and 5 more; 201 aaa"),
		Rows:    []string{"CRUD", "Instance Name"},
		Kubectl: "kubectl create -f generated.yaml",
	},
	{
		ID: "lifecycle/owner-references", Ask: "rules are created whose owner has no uid, and which have two controllers",
		Do: func(s *Side) string {
			create := func(owners string) string {
				return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: strings.Replace(whole(""), "name: one", "name: one, ownerReferences: ["+owners+"]", 1)}).Outcome()
			}
			const owner = `{apiVersion: v1, kind: ConfigMap, name: a, controller: true, uid: 11111111-1111-1111-1111-111111111111}`
			return say(create(`{apiVersion: v1, kind: ConfigMap, name: a}`), create(owner+`, `+strings.Replace(owner, "name: a", "name: b", 1)))
		},
		Want: Both(`422 Invalid: metadata.ownerReferences.uid: Invalid value: "": must not be empty; ` +
			`422 Invalid: metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"ConfigMap","name":"a","uid":"UID","controller":true},{"apiVersion":"v1","kind":"ConfigMap","name":"b","uid":"UID","controller":true}]: ` +
			`Only one reference can have Controller set to true. Found "true" in references for ConfigMap/a and ConfigMap/b`),
	},
	{
		ID: "lifecycle/server-fields", Ask: "a rule is created with a uid, a creationTimestamp, a deletionTimestamp and a generation",
		Do: func(s *Side) string {
			a := s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: strings.Replace(whole(""), "name: one", `name: one, generation: 7,
				uid: 11111111-1111-1111-1111-111111111111, creationTimestamp: "2001-01-01T00:00:00Z", deletionTimestamp: "2001-01-01T00:00:00Z", deletionGracePeriodSeconds: 30`, 1)})
			object := a.Object()
			return fmt.Sprintf("%s uid kept %t, creationTimestamp kept %t", shows(a, "metadata.generation", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds"),
				strings.HasPrefix(string(object.GetUID()), "1111"), object.GetCreationTimestamp().Year() == 2001)
		},
		Want: Both("201 metadata.generation=1 metadata.deletionTimestamp=absent metadata.deletionGracePeriodSeconds=absent uid kept false, creationTimestamp kept false"),
		Rows: []string{"CRUD"},
	},
}

var dryRunCases = []Case{
	{
		ID: "dry-run/create", Ask: "a rule is created as a dry run, and then another with its endpoint",
		Do: func(s *Side) string {
			a := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: whole("")})
			return say(shows(a, "spec.endpoint.protocol", "metadata.generation"), s.Get("one").Outcome(), s.Create("two", `{endpoint: {host: one.example.com, port: 80}}`).Outcome())
		},
		Want:    Both(`201 spec.endpoint.protocol="tcp" metadata.generation=1; ` + absent + "; 201"),
		Rows:    []string{"CRUD", "Custom Business Logic"},
		Kubectl: "kubectl create --dry-run=server -f one.yaml",
	},
	{
		ID: "dry-run/create-refused", Ask: "rules with a name that is taken, and with an endpoint that is taken, are created as a dry run",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			create := func(name, spec string) string {
				return s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule(name, spec)}).Outcome()
			}
			return say(create("one", `{endpoint: {host: two.example.com, port: 80}}`),
				create("two", `{endpoint: {host: one.example.com, port: 80}}`))
		},
		Want:    Both(`409 AlreadyExists: portrules.GROUP "one" already exists; 422 Invalid: spec.endpoint: Duplicate value: "tcp/one.example.com/80": held by PortRule "one"`),
		Rows:    []string{"Custom Business Logic"},
		Kubectl: "kubectl create --dry-run=server -f two.yaml",
	},
	{
		ID: "dry-run/change", Ask: "a rule is put, patched, applied and scaled, and its status is patched, as a dry run",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			answers := say(
				shows(s.Put("one?dryRun=All", edited(a, "spec.replicas", int64(2))), "spec.replicas", "metadata.generation"),
				shows(s.Patch(MergePatch, "one?dryRun=All", `{spec: {replicas: 3}}`), "spec.replicas"),
				shows(apply(s, "applier", "&force=true&dryRun=All", one("spec: {replicas: 4}")), "spec.replicas"),
				shows(s.Patch(MergePatch, "one/scale?dryRun=All", `{spec: {replicas: 5}}`), "spec.replicas"),
				shows(s.Patch(MergePatch, "one/status?dryRun=All", `{status: {replicas: 6}}`), "status.replicas"),
			)
			after := "it has changed"
			if Compact(s.Get("one").Body) == Compact(a.Body) {
				after = "nothing has changed"
			}
			return say(answers, after)
		},
		Want:    Both("200 spec.replicas=2 metadata.generation=2; 200 spec.replicas=3; 200 spec.replicas=4; 200 spec.replicas=5; 200 status.replicas=6; nothing has changed"),
		Rows:    []string{"CRUD", "Scale Subresource", "Status Subresource"},
		Kubectl: `kubectl patch portrules.GROUP one --dry-run=server --type=merge -p '{"spec":{"replicas":3}}'`,
	},
	{
		ID: "dry-run/delete", Ask: "a rule is deleted as a dry run, alone and in a collection, and then another with its endpoint is created",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			deleted, all := s.Delete("one?dryRun=All", ""), s.Do(Request{Method: "DELETE", Path: s.Path("v2") + "?dryRun=All"})
			after := "it has changed"
			if Compact(s.Get("one").Body) == Compact(a.Body) {
				after = "nothing has changed"
			}
			return say(deleted.Outcome(), all.Outcome(), after, s.Create("two", `{endpoint: {host: one.example.com, port: 80}}`).Fields())
		},
		Want:    Both("200; 200; nothing has changed; 422 spec.endpoint"),
		Rows:    []string{"CRUD", "Custom Business Logic"},
		Kubectl: "kubectl delete --dry-run=server portrules.GROUP one",
	},
}

var namesCases = []Case{
	{
		ID: "names/subdomain", Ask: "rules are created with names that are DNS subdomains, and with names that are none",
		Do: func(s *Side) string {
			var parts []string
			for i, name := range []string{"a.b", "0", "status", "Upper", "under_score", "a..b", "-a", "a-", "a/b", "..", "a b", "ü", ""} {
				a := s.Create(name, fmt.Sprintf(`{endpoint: {host: h%d.example.com, port: 80}}`, i))
				parts = append(parts, fmt.Sprintf("%q %d", name, a.Code))
			}
			return say(strings.Join(parts, ", "), s.Create("Upper", `{endpoint: {host: a.example.com, port: 80}}`).Outcome())
		},
		Want: Both(`"a.b" 201, "0" 201, "status" 201, "Upper" 422, "under_score" 422, "a..b" 422, "-a" 422, "a-" 422, "a/b" 422, ".." 422, "a b" 422, "ü" 422, "" 422; ` +
			`422 Invalid: metadata.name: Invalid value: "Upper": ` + notASubdomain),
		Rows: []string{"Instance Name"},
	},
	{
		ID: "names/length", Ask: "rules are created with names of 253 and of 254 characters",
		Do: func(s *Side) string {
			create := func(length int) string {
				return s.Create(strings.Repeat("a", length), `{endpoint: {host: a.example.com, port: 80}}`).Fields()
			}
			return say(create(253), create(254))
		},
		Want: Both("201; 422 metadata.name"),
		Rows: []string{"Instance Name"},
	},
	{
		ID: "names/other-rules", Ask: "a CallerReview is created whose name is Not a/name",
		Do: func(s *Side) string {
			return s.Do(Request{Method: "POST", Path: s.GroupPath("v2", "callerreviews"), Body: `{apiVersion: GROUP/v2, kind: CallerReview, metadata: {name: Not a/name}}`}).Outcome()
		},
		Want: OnlyAggregated("404", "201",
			"The name of a custom resource is a DNS subdomain: a CRD can narrow that by its rules, and never widen it. In a server each storage decides: that of PortRules asks for the same, that of CallerReviews, which keeps nothing, for nothing."),
		Rows: []string{"Instance Name"},
	},
	{
		ID: "names/taken", Ask: "a rule is created with a name that is taken, and with one that was",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			taken := s.Create("one", `{endpoint: {host: other.example.com, port: 80}}`).Outcome()
			s.Must(s.Delete("one", ""))
			return say(taken, s.Create("one", `{endpoint: {host: other.example.com, port: 80}}`).Outcome())
		},
		Want:    Both(`409 AlreadyExists: portrules.GROUP "one" already exists; 201`),
		Rows:    []string{"CRUD", "Instance Name"},
		Kubectl: "kubectl create -f one.yaml",
	},
	{
		ID: "names/put-of-another", Ask: "a rule is put under the name of another, and without a name",
		Do: func(s *Side) string {
			a := s.Make("one", `{}`)
			return say(s.Put("one", edited(a, "metadata.name", "two")).Outcome(), s.Put("one", edited(a, "metadata.name", nil, "spec.replicas", int64(2))).Outcome())
		},
		Want: Both("400 BadRequest: the name of the object (two) does not match the name on the URL (one); 400 BadRequest: the name of the object (one based on URL) was undeterminable: name must be provided"),
		Rows: []string{"Instance Name"},
	},
	{
		ID: "names/post-to-a-name", Ask: "a rule is posted to its own name",
		Do: func(s *Side) string {
			return say(s.Do(Request{Method: "POST", Path: s.Path("v2", "one"), Body: whole("")}).Outcome(),
				s.Do(Request{Method: "POST", Path: s.Path("v2", "three"), Body: s.Rule("two", `{}`)}).Outcome(), s.Do(Request{Path: s.Path("v2")}).Names())
		},
		Want: Differ("201; 201; one two", noMethod+"; "+noMethod+"; ",
			"The handler of CRDs takes each POST for a creation, and the name from the body alone; the server has no POST at the path of an object."),
		Rows: []string{"CRUD"},
	},
	{
		ID: "names/write-of-all", Ask: "all rules are put, and patched",
		Do: func(s *Side) string {
			return say(s.Do(Request{Method: "PUT", Path: s.Path("v2"), Body: whole("")}).Outcome(),
				s.Do(Request{Method: "PATCH", Path: s.Path("v2"), Type: MergePatch, Body: `{spec: {replicas: 2}}`}).Outcome())
		},
		Want: Differ("400 BadRequest: name must be provided; 400 BadRequest: name must be provided", noMethod+"; "+noMethod,
			"The handler of CRDs goes by the method, and then misses the name in the path; the server has neither PUT nor PATCH at the path of all objects."),
		Rows: []string{"CRUD"},
	},
	{
		ID: "names/namespace-of-another", Ask: "a rule of another namespace is posted, and one for a namespace that is not there",
		Do: func(s *Side) string {
			return say(
				s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: strings.Replace(whole(""), "name: one", "name: one, namespace: elsewhere", 1)}).Outcome(),
				s.Do(Request{Method: "POST", Path: s.GroupPath("v2", "namespaces", s.Namespace+"-absent", api.Resource), Body: whole("")}).Outcome(),
			)
		},
		Want: Both(`400 BadRequest: the namespace of the provided object does not match the namespace sent on the request; 404 NotFound: namespaces "NAMESPACE-absent" not found`),
		Rows: []string{"CRUD"},
	},
	{
		ID: "names/kind", Ask: "an object of another kind is posted, one of the other version, one of another group, and one without a kind",
		Do: func(s *Side) string {
			post := func(from, to string) string {
				a := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: strings.Replace(whole(""), from, to, 1)})
				if a.Code >= 400 {
					return refusal(a)
				}
				return shows(a, "kind")
			}
			return say(post("kind: PortRule", "kind: Pod"), post("GROUP/v2", "GROUP/v1"), post("GROUP/v2", "example.com/v2"), post("kind: PortRule, ", ""))
		},
		Want: Differ(`201 kind="PortRule"; 400 BadRequest; 400 BadRequest; 400 BadRequest`, `400 BadRequest; 400 BadRequest; 400 BadRequest; 201 kind="PortRule"`,
			"Before a policy or webhook may mutate a custom resource, it is converted to the kind that they match, which sets its kind; without them it is refused with 422, kind: must be PortRule. The server finds the type to decode by the kind, and takes that of the path if there is none."),
		Rows: []string{"CRUD"},
	},
}

var limitsCases = []Case{
	{
		ID: "limits/body", Ask: "a body of 3.5 MB is posted",
		Do: func(s *Side) string {
			return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Rule("one", `{"unknown": "`+strings.Repeat("a", 3_500_000)+`"}`)}).Outcome()
		},
		Want: Both("413 RequestEntityTooLarge: Request entity too large: limit is 3145728"),
	},
	{
		ID: "limits/annotations", Ask: "rules are created with annotations of 255 KiB and of 256 KiB",
		Do: func(s *Side) string {
			create := func(name string, size int) string {
				return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Object("v2", name, map[string]any{
					"metadata": map[string]any{"annotations": map[string]any{"a": strings.Repeat("a", size)}},
					"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": name + ".example.com", "port": 80}},
				})}).Outcome()
			}
			return say(create("a", 255<<10), create("b", 256<<10))
		},
		Want: Differ("201; 422 Invalid: "+unchecked+"; metadata.annotations: Too long: may not be more than 262144 bytes", "201; 422 Invalid: metadata.annotations: Too long: may not be more than 262144 bytes",
			"The limit is the same. The CRD adds that its CEL rules were not tried: they are not, once something is too long."),
		Rows: []string{"Labels and annotations"},
	},
	{
		ID: "limits/many-labels", Ask: "a rule is created with 10,000 labels, and read",
		Do: func(s *Side) string {
			s.Must(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: labelled(s, 10_000)}))
			object := s.Get("one").Object()
			return fmt.Sprintf("%d labels, %d entry of managedFields", len(object.GetLabels()), len(object.GetManagedFields()))
		},
		Want: Both("10000 labels, 1 entry of managedFields"),
		Rows: []string{"Labels and annotations"},
	},
	{
		ID: "limits/large", Ask: "statuses of 1 MiB and of more than etcd takes are written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			write := func(conditions int) string {
				list := make([]string, conditions)
				for i := range list {
					list[i] = strings.NewReplacer("Ready", fmt.Sprintf("C%d", i), `message: ""`, "message: "+strings.Repeat("a", 32<<10)).Replace(readyCondition)
				}
				return patchStatus(s, `{status: {conditions: [`+strings.Join(list, ", ")+`]}}`).Outcome()
			}
			return say(write(32), write(50))
		},
		Want: Both("200; 500: etcdserver: request is too large"),
	},
	{
		ID: "limits/depth", Ask: "an object nested 20,000 deep is posted",
		Do: func(s *Side) string {
			deep := `{"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"name":"one"},"spec":` + strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat(`}`, 20_000) + `}`
			a := s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: deep})
			return fmt.Sprintf("%s, exceeded max depth: %t", refusal(a), strings.Contains(a.Outcome(), "exceeded max depth"))
		},
		Want: Both("400 BadRequest, exceeded max depth: true"),
		Rows: []string{"Validation"},
	},
	{
		ID: "limits/many-managers", Ask: "a rule is changed by 14 managers, one after the other",
		Do: func(s *Side) string {
			made(s)
			var a *Answer
			for i := range 14 {
				a = s.Must(s.Patch(MergePatch, fmt.Sprintf("one?fieldManager=m%d", i), fmt.Sprintf(`{"metadata":{"labels":{"l%d":"x"}}}`, i)))
			}
			entries := a.Object().GetManagedFields()
			ancient := slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "ancient-changes" })
			return fmt.Sprintf("%d entries, ancient-changes among them: %t", len(entries), ancient)
		},
		Want: Both("10 entries, ancient-changes among them: true"),
	},
}

// labelled is the rule one with many labels.
func labelled(s *Side, n int) string {
	labels := make(map[string]any, n)
	for i := range n {
		labels[fmt.Sprintf("l%d", i)] = ""
	}
	return s.Object("v2", "one", map[string]any{
		"metadata": map[string]any{"labels": labels},
		"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": "one.example.com", "port": 80}},
	})
}

var labelsCases = []Case{
	{
		ID: "labels/invalid", Ask: "rules are created with labels whose key, whose value, and whose length is not allowed",
		Do: func(s *Side) string {
			create := func(labels string) string {
				return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: strings.Replace(whole(""), "name: one", "name: one, labels: "+labels, 1)}).Outcome()
			}
			return say(create(`{"not valid": x}`), create(`{a: "not valid"}`), create(`{Example.com/a: x}`), create(`{a: `+strings.Repeat("a", 64)+`}`))
		},
		Want: Both(`422 Invalid: metadata.labels: Invalid value: "not valid": ` + notAName + `; 422 Invalid: metadata.labels: Invalid value: "not valid": ` +
			"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " +
			"(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'); " +
			`422 Invalid: metadata.labels: Invalid value: "Example.com/a": prefix part ` + notASubdomain + "; " +
			`422 Invalid: metadata.labels: Invalid value: "` + strings.Repeat("a", 64) + `": must be no more than 63 bytes`),
		Rows:    []string{"Labels and annotations", "Validation"},
		Kubectl: "kubectl label portrules.GROUP one 'a=not valid'",
	},
	{
		ID: "labels/annotations", Ask: "annotations with any text as value, with a key in capitals, and with a key that is not allowed are written",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			annotate := func(body string) *Answer {
				return s.Patch(MergePatch, "one", `{"metadata":{"annotations":`+body+`}}`)
			}
			return say(shows(annotate(`{"a":"any ünicode\n{}"}`), "metadata.annotations.a"), annotate(`{"Example.com/A":"x"}`).Outcome(), annotate(`{"not valid":"x"}`).Outcome())
		},
		Want:    Both(`200 metadata.annotations.a="any ünicode\n{}"; 200; 422 Invalid: metadata.annotations: Invalid value: "not valid": ` + notAName),
		Rows:    []string{"Labels and annotations"},
		Kubectl: "kubectl annotate portrules.GROUP one 'a=any text'",
	},
	{
		ID: "labels/types", Ask: "rules are created with a label that is a number, with one that is null, and with labels that are empty",
		Do: func(s *Side) string {
			create := func(name, labels string) string {
				a := s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: `{"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"name":"` + name + `","labels":` + labels +
					`},"spec":{"service":"nginx","endpoint":{"host":"` + name + `.example.com","port":80}}}`})
				if a.Code >= 400 {
					return refusal(a)
				}
				return shows(a, "metadata.labels")
			}
			return say(create("a", `{"n":1}`), create("b", `{"n":null}`), create("c", `{}`))
		},
		Want: Both(`400 BadRequest; 201 metadata.labels={"n":""}; 201 metadata.labels=absent`),
		Rows: []string{"Labels and annotations", "Unset versus Empty"},
	},
	{
		ID: "labels/selector", Ask: "rules are listed by labels: equal, unequal, in a set, present, and absent",
		Do: func(s *Side) string {
			for name, labels := range map[string]string{"a": `{"tier":"web","env":"prod"}`, "b": `{"tier":"web"}`, "c": `{"tier":"db","env":"test"}`, "d": `{}`} {
				s.Make(name, `{}`)
				s.Must(s.Patch(MergePatch, name, `{"metadata":{"labels":`+labels+`}}`))
			}
			list := func(selector string) string {
				return selector + ": " + s.Do(Request{Path: s.Path("v2") + "?labelSelector=" + Escape(selector)}).Names()
			}
			return say(list("tier=web"), list("tier!=web"), list("env in (prod,test)"), list("env"), list("!env"), list("tier=web,env"), list("=x"))
		},
		Want: Both("tier=web: a b; tier!=web: c d; env in (prod,test): a c; env: a c; !env: b d; tier=web,env: a; " +
			"=x: 400 BadRequest: found '=', expected: !, identifier, or 'end of string'"),
		Rows:    []string{"Labels and annotations"},
		Kubectl: "kubectl get portrules.GROUP -l 'env in (prod,test)'",
	},
}
