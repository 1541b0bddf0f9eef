package contract

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	"portrule.example/lab/compare/cluster"
)

// clusterCases are about what surrounds an API in a cluster: how it is found and
// described, who may do what, what looks at a write, and what controllers make of it.
var clusterCases = slices.Concat(
	discoveryCases, multiVersionCases, openapiCases, explainCases, authorizationCases, impersonationCases,
	authenticationCases, admissionCases, quotaCases, garbageCases, namespaceCases, auditCases, customCases,
)

var discoveryCases = []Case{
	{
		ID: "discovery/verbs", Ask: "which verbs the resource has",
		Do:      func(s *Side) string { return spaced(s.resources("v2")[api.Resource].Verbs) },
		Want:    Both("create delete deletecollection get list patch update watch"),
		Rows:    []string{"Discovery", "CRUD", "Watch"},
		Kubectl: "kubectl get --raw /apis/GROUP/v2",
	},
	{
		ID: "discovery/names", Ask: "by which names the resource is known",
		Do: func(s *Side) string {
			r := s.resources("v2")[api.Resource]
			return fmt.Sprintf("kind %s, singular %s, short %s, categories %s, namespaced %t", r.Kind, r.SingularName, spaced(r.ShortNames), spaced(r.Categories), r.Namespaced)
		},
		Want:    Both("kind PortRule, singular portrule, short pr, categories firewalld, namespaced true"),
		Rows:    []string{"Discovery", "UI/CLI Display"},
		Kubectl: "kubectl api-resources --api-group=GROUP -o wide",
	},
	{
		ID: "discovery/subresources", Ask: "which subresources the resource has, of which kind and with which verbs",
		Do: func(s *Side) string {
			var found []string
			for name, r := range s.resources("v2") {
				if _, subresource, ok := strings.Cut(name, "/"); ok {
					kind := strings.Trim(r.Group+"/"+r.Version+" "+r.Kind, "/ ")
					found = append(found, fmt.Sprintf("%s: %s, %s", subresource, kind, spaced(r.Verbs)))
				}
			}
			return itemized(found)
		},
		Want: OnlyAggregated(
			"scale: autoscaling/v1 Scale, get patch update; status: PortRule, get patch update",
			"nftables: PortRule, get; probe: PortRule, get; scale: autoscaling/v1 Scale, get patch update; status: PortRule, get patch update",
			"a CRD can switch on status and scale, whose handlers are in the kube-apiserver; a server has a handler for whatever it likes"),
		Rows:    []string{"Discovery", "Other Subresources", "article: subresource"},
		Kubectl: "kubectl get --raw /apis/GROUP/v2",
	},
	{
		ID: "discovery/storage-version-hash", Ask: "which version the storage version hash of each version stands for",
		Do: func(s *Side) string {
			var found []string
			for _, version := range []string{"v1", "v2"} {
				hash := s.resources(version)[api.Resource].StorageVersionHash
				stands := "neither"
				for _, candidate := range []string{"v1", "v2"} {
					sum := sha256.Sum256([]byte(s.Group + "/" + candidate + "/" + api.Kind))
					if hash == base64.StdEncoding.EncodeToString(sum[:8]) {
						stands = candidate
					}
				}
				found = append(found, version+": "+stands)
			}
			return itemized(found)
		},
		Want:    Both("v1: v2; v2: v2"),
		Rows:    []string{"Discovery", "Multi-versioning"},
		Kubectl: "kubectl get --raw /apis/GROUP/v1",
	},
	{
		ID: "discovery/aggregated", Ask: "the one document of all groups is asked about this one",
		Do: func(s *Side) string {
			var found []string
			for _, version := range s.discovered().Versions {
				var names []string
				for _, r := range version.Resources {
					names = append(names, fmt.Sprintf("%s (%s)", r.Resource, r.Scope))
				}
				found = append(found, fmt.Sprintf("%s %s: %s", version.Version, version.Freshness, strings.Join(names, ", ")))
			}
			return strings.Join(found, "; ")
		},
		Want: OnlyAggregated(
			"v2 Current: portrules (Namespaced); v1 Current: portrules (Namespaced)",
			"v2 Current: callerreviews (Cluster), portrules (Namespaced); v1 Current: portrules (Namespaced)",
			"the document is the kube-apiserver's, since 1.26: what CRDs say it knows, what a server says it asks for; callerreviews, a resource without storage, a CRD cannot be"),
		Rows:    []string{"Discovery", "Multi-versioning"},
		Kubectl: "kubectl api-resources --api-group=GROUP",
	},
	{
		ID: "discovery/aggregated-agrees", Ask: "whether the one document says the same as the one of each version",
		Do: func(s *Side) string {
			var found []string
			for _, version := range s.discovered().Versions {
				var one, other []string
				for name, r := range s.resources(version.Version) {
					one = append(one, fmt.Sprint(name, r.SingularName, r.ShortNames, r.Categories, inOrder(r.Verbs)))
				}
				for _, r := range version.Resources {
					other = append(other, fmt.Sprint(r.Resource, r.SingularResource, r.ShortNames, r.Categories, inOrder(r.Verbs)))
					for _, sub := range r.Subresources {
						other = append(other, fmt.Sprint(r.Resource+"/"+sub.Subresource, "", []string(nil), []string(nil), inOrder(sub.Verbs)))
					}
				}
				found = append(found, fmt.Sprintf("%s: %t", version.Version, slices.Equal(inOrder(one), inOrder(other))))
			}
			return strings.Join(found, "; ")
		},
		Want: Both("v2: true; v1: true"),
		Rows: []string{"Discovery"},
	},
	{
		ID: "discovery/response-kind", Ask: "which kind the one document says that the resource answers with",
		Do: func(s *Side) string {
			var found []string
			for _, version := range s.discovered().Versions {
				for _, r := range version.Resources {
					if r.Resource == api.Resource {
						found = append(found, s.Normal(strings.Trim(r.ResponseKind.Group+"/"+r.ResponseKind.Version+" "+r.ResponseKind.Kind, "/ ")))
					}
				}
			}
			return strings.Join(found, "; ")
		},
		Want: Differ("GROUP/v2 PortRule; GROUP/v1 PortRule", "PortRule; PortRule",
			"the discovery of CRDs fills group and version in, that of k8s.io/apiserver leaves them empty where they are those of the resource, as of every built-in kind: a client must read empty as the same"),
		Rows: []string{"Discovery"},
	},
	{
		ID: "discovery/apiservice", Ask: "who serves the version, and who made the registration",
		Do: func(s *Side) string {
			registration := s.registration("v2")
			where := "the kube-apiserver"
			if service := registration.Spec.Service; service != nil {
				where = service.Namespace + "/" + service.Name
			}
			made := registration.Labels["kube-aggregator.kubernetes.io/automanaged"]
			if made == "" {
				made = "no"
			}
			return fmt.Sprintf("%s, managed: %s, caBundle: %t, %s", where, made, len(registration.Spec.CABundle) > 0, available(registration))
		},
		Want: Differ("the kube-apiserver, managed: true, caBundle: false, Available True Local",
			"portrule-system/portrule-apiserver, managed: no, caBundle: true, Available True Passed",
			"for each version of a CRD the kube-apiserver registers an APIService that leads to itself; that of a server is installed with it, and is available only if its discovery answers"),
		Rows:    []string{"Discovery", "HTTPS"},
		Kubectl: "kubectl get apiservice v2.GROUP",
	},
	{
		ID: "discovery/priority", Ask: "how the group is ordered among others, and its versions among themselves",
		Do: func(s *Side) string {
			v1, v2 := s.registration("v1").Spec, s.registration("v2").Spec
			return fmt.Sprintf("group %d, v2 %d, v1 %d", v2.GroupPriorityMinimum, v2.VersionPriority, v1.VersionPriority)
		},
		Want: Differ("group 1000, v2 100, v1 100", "group 2000, v2 200, v1 100",
			"every CRD gets 1000 and 100, and the order of its versions is that of their names; a server's APIService may say what it likes, so that a bare kubectl get portrules means the higher one"),
		Rows:    []string{"Discovery"},
		Kubectl: "kubectl get apiservice v2.GROUP -o jsonpath={.spec.groupPriorityMinimum}",
	},
}

var multiVersionCases = []Case{
	{
		ID: "multi-version/served", Ask: "which versions are served, and which one is preferred",
		Do: func(s *Side) string {
			group := decodeAnswer[metav1.APIGroup](s, s.Do(Request{Path: "/apis/" + s.Group}))
			var names []string
			for _, version := range group.Versions {
				names = append(names, version.Version)
			}
			return strings.Join(names, " ") + ", preferred " + group.PreferredVersion.Version
		},
		Want:    Both("v2 v1, preferred v2"),
		Rows:    []string{"Multi-versioning", "Discovery"},
		Kubectl: "kubectl get --raw /apis/GROUP",
	},
	{
		ID: "multi-version/one-object", Ask: "a rule that was created in v1 is read, listed and watched in v2",
		Do: func(s *Side) string {
			s.Must(s.Do(Request{Method: "POST", Path: s.Path("v1"), Body: s.Object("v1", "one", map[string]any{
				"spec": map[string]any{"name": "nginx", "host": "a.example.com", "port": 80},
			})}))
			watch := s.Watch("resourceVersion=0")
			defer watch.Stop()
			event := watch.Next()
			return strings.Join([]string{
				s.Get("one").Field("spec.endpoint.host"),
				s.Do(Request{Path: s.Path("v2")}).Field("items.0.spec.endpoint.host"),
				s.Normal(event.Object.GetAPIVersion()), s.Do(Request{Path: s.Path("v1", "one")}).Field("spec.host"),
			}, "; ")
		},
		Want:    Both(`"a.example.com"; "a.example.com"; GROUP/v2; "a.example.com"`),
		Rows:    []string{"Multi-versioning", "article: conversion"},
		Kubectl: "kubectl get portrules.v1.GROUP one -o yaml",
	},
	{
		ID: "multi-version/unserved", Ask: "a version is asked for that is not served",
		Do: func(s *Side) string {
			return s.Do(Request{Path: s.GroupPath("v3")}).status() + "; " + s.Do(Request{Path: s.Path("v3")}).status()
		},
		Want:    Both("404; 404"),
		Rows:    []string{"Multi-versioning"},
		Kubectl: "kubectl get --raw /apis/GROUP/v3",
	},
	{
		ID: "multi-version/wrong-version", Ask: "a rule of v1 is posted to the path of v2",
		Do: func(s *Side) string {
			return s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Object("v1", "one", map[string]any{
				"spec": map[string]any{"name": "nginx", "host": "a.example.com", "port": 80},
			})}).Outcome()
		},
		Want: Both("400 BadRequest: the API version in the data (GROUP/v1) does not match the expected API version (GROUP/v2)"),
		Rows: []string{"Multi-versioning"},
	},
}

var openapiCases = []Case{
	{
		ID: "openapi/types", Ask: "which type each field has in OpenAPI v3",
		Do:      func(s *Side) string { return s.schemas().say("type") },
		Want:    Both("PortRule: object; apiVersion: string; kind: string; metadata: ObjectMeta; spec.endpoint.host: string; spec.endpoint.port: integer; spec.endpoint.protocol: string; spec.endpoint: object; spec.permanent: boolean; spec.replicas: integer; spec.service: string; spec.timeoutSeconds: integer; spec: object; status.conditions: array; status.conditions[].lastTransitionTime: string; status.conditions[].message: string; status.conditions[].observedGeneration: integer; status.conditions[].reason: string; status.conditions[].status: string; status.conditions[].type: string; status.conditions[]: object; status.observedGeneration: integer; status.replicas: integer; status.selector: string; status: object"),
		Rows:    openapiRows,
		Kubectl: "kubectl get --raw /openapi/v3/apis/GROUP/v2",
	},
	{
		ID: "openapi/formats", Ask: "which format each field has",
		Do:      func(s *Side) string { return s.schemas().say("format") },
		Want:    Both("spec.endpoint.port: int32; spec.replicas: int32; spec.timeoutSeconds: int32; status.conditions[].lastTransitionTime: date-time; status.conditions[].observedGeneration: int64; status.observedGeneration: int64; status.replicas: int32"),
		Rows:    openapiRows,
		Kubectl: "kubectl get --raw /openapi/v3/apis/GROUP/v2",
	},
	{
		ID: "openapi/required", Ask: "which fields are required",
		Do:      func(s *Side) string { return s.schemas().say("required") },
		Want:    Both("PortRule: spec; spec.endpoint: host port; spec: endpoint service; status.conditions[]: lastTransitionTime message reason status type"),
		Rows:    openapiRows,
		Kubectl: "kubectl explain --recursive portrules.spec --api-version=GROUP/v2",
	},
	{
		ID: "openapi/defaults", Ask: "which defaults fields have",
		Do: func(s *Side) string { return s.schemas().say("default") },
		Want: Differ("spec.endpoint.protocol: tcp; spec.replicas: 1",
			`metadata: {}; spec.endpoint.host: ""; spec.endpoint.port: 0; spec.endpoint.protocol: tcp; spec.endpoint: {}; spec.replicas: 1; spec.service: ""; spec: {}; status.conditions[].message: ""; status.conditions[].reason: ""; status.conditions[].status: ""; status.conditions[].type: ""; status.conditions[]: {}; status: {}`,
			"openapi-gen states the zero value of every field of Go that is not a pointer as its default, required ones too, although nothing fills it in; the defaults of a CRD are those that are applied"),
		Rows:    append(slices.Clone(openapiRows), "Defaulting"),
		Kubectl: "kubectl get --raw /openapi/v3/apis/GROUP/v2",
	},
	{
		ID: "openapi/enums", Ask: "which fields have only certain values",
		Do: func(s *Side) string { return s.schemas().say("enum") },
		Want: Differ("spec.endpoint.protocol: dccp sctp tcp udp; status.conditions[].status: False True Unknown",
			"spec.endpoint.protocol: dccp sctp tcp udp",
			"openapi-gen makes an enum of a type marked +enum, controller-gen of kubebuilder:validation:Enum: PortRule has both marks, metav1.Condition that of kubebuilder alone"),
		Rows:    append(slices.Clone(openapiRows), "Validation"),
		Kubectl: "kubectl explain portrules.spec.endpoint --api-version=GROUP/v2",
	},
	{
		ID: "openapi/bounds", Ask: "which bounds, lengths and patterns fields have",
		Do: func(s *Side) string {
			return s.schemas().say("minimum", "maximum", "minLength", "maxLength", "pattern")
		},
		Want: Differ(`spec.endpoint.host maxLength: 253; spec.endpoint.port maximum: 65535; spec.endpoint.port minimum: 1; spec.replicas maximum: 100; spec.replicas minimum: 0; spec.service maxLength: 63; spec.timeoutSeconds maximum: 2147483647; spec.timeoutSeconds minimum: 1; status.conditions[].message maxLength: 32768; status.conditions[].observedGeneration minimum: 0; status.conditions[].reason maxLength: 1024; status.conditions[].reason minLength: 1; status.conditions[].reason pattern: ^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$; status.conditions[].type maxLength: 316; status.conditions[].type pattern: ^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`,
			"none",
			"openapi-gen reads +enum, +default and +listType, but not the markers of kubebuilder: what a server checks in Go, its schema says only if somebody states it a second time, as +k8s:validation"),
		Rows:    append(slices.Clone(openapiRows), "Validation"),
		Kubectl: "kubectl get --raw /openapi/v3/apis/GROUP/v2",
	},
	{
		ID: "openapi/rules", Ask: "which fields have rules in CEL",
		Do: func(s *Side) string { return s.schemas().count("x-kubernetes-validations") },
		Want: Differ("spec.endpoint.host: 2; spec.endpoint.port: 1; spec.endpoint.protocol: 1; spec.service: 1; spec: 1",
			"none",
			"the rules are the validation of the CRD itself, which it publishes; what the strategy of a server checks is Go, which no schema shows"),
		Rows:    append(slices.Clone(openapiRows), "Validation"),
		Kubectl: "kubectl get --raw /openapi/v3/apis/GROUP/v2",
	},
	{
		ID: "openapi/lists", Ask: "how lists are merged",
		Do: func(s *Side) string {
			return s.schemas().say("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key")
		},
		Want: Differ("status.conditions list-map-keys: type; status.conditions list-type: map",
			"status.conditions list-map-keys: type; status.conditions list-type: map; status.conditions patch-merge-key: type; status.conditions patch-strategy: merge",
			"a CRD has no strategic merge patch, so its schema may not say how that would merge; server-side apply, which both have, goes by list-type"),
		Rows:    append(slices.Clone(openapiRows), "strategic-merge-patch"),
		Kubectl: "kubectl get --raw /openapi/v3/apis/GROUP/v2",
	},
	{
		ID: "openapi/kind", Ask: "which kind the schema of the object is said to be",
		Do:   func(s *Side) string { return s.Normal(s.schemas().say("x-kubernetes-group-version-kind")) },
		Want: Both(`PortRule: [{"group":"GROUP","kind":"PortRule","version":"v2"}]`),
		Rows: append(slices.Clone(openapiRows), "Client Libraries Generation"),
	},
	{
		ID: "openapi/selectable-fields", Ask: "which fields the document says a selector may name",
		Do: func(s *Side) string { return s.schemas().say("x-kubernetes-selectable-fields") },
		Want: Differ(`PortRule: [{"fieldPath":"spec.endpoint.host"},{"fieldPath":"spec.endpoint.port"}]`,
			"none",
			"since 1.30 a CRD lists its selectable fields and publishes the list; both select by the same fields, but those of a server are a conversion function, about which openapi-gen knows nothing"),
		Rows: openapiRows,
	},
	{
		ID: "openapi/descriptions", Ask: "how fields are described: which are not, and two of the descriptions",
		Do: func(s *Side) string {
			schemas := s.schemas()
			var bare []string
			for path, keywords := range schemas {
				if keywords["description"] == nil {
					bare = append(bare, path)
				}
			}
			return fmt.Sprintf("without: %s; spec.endpoint: %q; spec.endpoint.protocol: %q", itemized(bare), schemas["spec.endpoint"]["description"], schemas["spec.endpoint.protocol"]["description"])
		},
		Want: Differ(`without: none; spec.endpoint: "endpoint that the nodes open the port towards. It cannot be changed: make\nanother rule."; spec.endpoint.protocol: "protocol is tcp, udp, sctp or dccp. Absent means tcp."`,
			"without: metadata; status.conditions[]; spec.endpoint: \"endpoint that the nodes open the port towards. It cannot be changed: make another rule.\"; spec.endpoint.protocol: \"protocol is tcp, udp, sctp or dccp. Absent means tcp.\\n\\n\\nPossible enum values:\\n - `\\\"dccp\\\"`\\n - `\\\"sctp\\\"`\\n - `\\\"tcp\\\"`\\n - `\\\"udp\\\"`\"",
			"both come from the comments in Go: controller-gen keeps their line breaks, openapi-gen joins the lines and lists what +enum has found; the metadata of a CRD the kube-apiserver describes, that of a server its types"),
		Rows:    openapiRows,
		Kubectl: "kubectl explain portrules.spec.endpoint --api-version=GROUP/v2",
	},
	{
		ID: "openapi/description-texts", Ask: "how each field of our own is described, apart from line breaks and the list of an enum's values",
		Do: func(s *Side) string {
			schemas := s.schemas()
			var texts []string
			for path, keywords := range schemas {
				text, _ := keywords["description"].(string)
				text, _, _ = strings.Cut(text, "\n\n\nPossible enum values")
				if text != "" && !strings.HasPrefix(path, "metadata") && !strings.HasPrefix(path, "status.conditions[]") && path != "apiVersion" && path != "kind" {
					texts = append(texts, path+": "+strings.Join(strings.Fields(text), " "))
				}
			}
			slices.Sort(texts)
			return strings.Join(texts, " | ")
		},
		Want: Both(`PortRule: PortRule asks that a number of nodes open one port towards an endpoint.` +
			` | spec.endpoint.host: host is an IPv4 address, an IPv6 address in canonical form, or a DNS-1123 subdomain. Each endpoint has one spelling, so a host of digits and dots alone must be a valid IPv4 address.` +
			` | spec.endpoint.port: port, 1 to 65535.` +
			` | spec.endpoint.protocol: protocol is tcp, udp, sctp or dccp. Absent means tcp.` +
			` | spec.endpoint: endpoint that the nodes open the port towards. It cannot be changed: make another rule.` +
			` | spec.permanent: permanent keeps the rule across reloads of the firewall. Absent means false.` +
			` | spec.replicas: replicas is the number of nodes that should carry the rule, 0 to 100. Absent means 1.` +
			` | spec.service: service that the port belongs to, a DNS-1123 label such as "nginx".` +
			` | spec.timeoutSeconds: timeoutSeconds removes the rule after this many seconds, at least 1. Absent means that the rule stays. A rule with a timeout cannot be permanent.` +
			` | spec: spec is what the nodes should do.` +
			` | status.conditions: conditions of the rule. Ready is true when as many nodes carry the rule as spec.replicas asks for.` +
			` | status.observedGeneration: observedGeneration is the metadata.generation that the rest of the status describes. Absent means that no controller has seen the object yet.` +
			` | status.replicas: replicas is the number of nodes that carry the rule.` +
			` | status.selector: selector selects the nodes that carry the rule, as a label selector in its string form.` +
			` | status: status is what the nodes do. It is written through the status subresource only.`),
		Rows:    openapiRows,
		Kubectl: "kubectl explain portrules --recursive --api-version=GROUP/v2",
	},
	{
		ID: "openapi/models", Ask: "which models of its own the document has, from which clients are generated",
		Do: func(s *Side) string {
			var names []string
			for name := range s.openapi().Components.Schemas {
				if strings.Contains(name, ".firewalld.") {
					names = append(names, name[strings.LastIndex(name, ".")+1:])
				}
			}
			return spaced(inOrder(names))
		},
		Want: Differ("PortRule PortRuleList",
			"CallerReview CallerReviewStatus Endpoint PortRule PortRuleList PortRuleSpec PortRuleStatus UserInfo",
			"the schema of a CRD is one tree, without references: a generated client gets a nameless type for the spec; openapi-gen makes a model of each type of Go"),
		Rows: append(slices.Clone(openapiRows), "Client Libraries Generation"),
	},
	{
		ID: "openapi/operations", Ask: "which operations the document has",
		Do: func(s *Side) string {
			var found []string
			for path, item := range s.openapi().Paths {
				var methods []string
				for method := range item {
					if method != "parameters" {
						methods = append(methods, method)
					}
				}
				path = strings.TrimPrefix(path, s.GroupPath("v2"))
				found = append(found, strings.ReplaceAll(path, "namespaces/{namespace}", "NS")+" "+spaced(inOrder(methods)))
			}
			return itemized(found)
		},
		Want: Differ("/NS/portrules delete get post; /NS/portrules/{name} delete get patch put; /NS/portrules/{name}/scale get patch put; /NS/portrules/{name}/status get patch put; /portrules get",
			"/ get; /NS/portrules delete get post; /NS/portrules/{name} delete get patch put; /NS/portrules/{name}/nftables get; /NS/portrules/{name}/probe get; /NS/portrules/{name}/scale get patch put; /NS/portrules/{name}/status get patch put; /callerreviews post; /portrules get; /watch/NS/portrules get; /watch/NS/portrules/{name} get; /watch/portrules get",
			"k8s.io/apiserver also describes the deprecated paths below /watch and the discovery of the version; the builder for CRDs describes what it has handlers for, apart from those, and nothing else can be there"),
		Rows: append(slices.Clone(openapiRows), "Client Libraries Generation"),
	},
	{
		ID: "openapi/media-types", Ask: "in which formats the document says a rule is read, and patched",
		Do: func(s *Side) string {
			item := s.openapi().Paths[s.GroupPath("v2", "namespaces", "{namespace}", api.Resource, "{name}")]
			var get, patch struct {
				RequestBody struct {
					Content map[string]any `json:"content"`
				} `json:"requestBody"`
				Responses map[string]struct {
					Content map[string]any `json:"content"`
				} `json:"responses"`
			}
			s.Fail(json.Unmarshal(item["get"], &get))
			s.Fail(json.Unmarshal(item["patch"], &patch))
			return "read: " + spaced(slices.Sorted(maps.Keys(get.Responses["200"].Content))) + "; patched: " + spaced(slices.Sorted(maps.Keys(patch.RequestBody.Content)))
		},
		Want: Differ("read: application/json application/yaml; patched: application/apply-patch+yaml application/json-patch+json application/merge-patch+json",
			"read: application/json application/vnd.kubernetes.protobuf application/yaml; patched: application/apply-patch+yaml application/json-patch+json application/merge-patch+json application/strategic-merge-patch+json",
			"protobuf and strategic merge patches need types of Go with numbered fields and patch tags, which the kube-apiserver does not have for a CRD"),
		Rows: append(slices.Clone(openapiRows), "Client Libraries Generation", "Protocol Buffers", "strategic-merge-patch"),
	},
	{
		ID: "openapi/listed", Ask: "which documents /openapi/v3 lists for the group",
		Do: func(s *Side) string {
			var found []string
			for path, url := range s.openapiIndex() {
				if path == "apis/"+s.Group || strings.HasPrefix(path, "apis/"+s.Group+"/") {
					found = append(found, fmt.Sprintf("%s, with hash %t", s.Normal(path), strings.Contains(url, "?hash=")))
				}
			}
			return itemized(found)
		},
		Want: Differ("apis/GROUP/v1, with hash true; apis/GROUP/v2, with hash true",
			"apis/GROUP, with hash true; apis/GROUP/v1, with hash true; apis/GROUP/v2, with hash true",
			"a server also describes its /apis/GROUP, which for a CRD the kube-apiserver answers without a document of its own"),
		Rows:    openapiRows,
		Kubectl: "kubectl get --raw /openapi/v3",
	},
	{
		ID: "openapi/etag", Ask: "the document is asked for by its hash, and again by its etag",
		Do: func(s *Side) string {
			url := s.openapiIndex()["apis/"+s.Group+"/v2"]
			first := s.Must(s.Do(Request{Path: url}))
			_, hash, _ := strings.Cut(url, "?hash=")
			etag := first.Header.Get("Etag")
			again := s.Do(Request{Path: strings.TrimSuffix(url, "?hash="+hash), Header: http.Header{"If-None-Match": {etag}}})
			return fmt.Sprintf("etag is the hash: %t; Cache-Control: %s; again: %d", strings.Trim(etag, `"`) == hash, strings.Join(first.Header.Values("Cache-Control"), ", "), again.Code)
		},
		Want: Differ("etag is the hash: true; Cache-Control: public, immutable; again: 304",
			"etag is the hash: true; Cache-Control: no-cache, private, public, immutable; again: 304",
			"both servers set the header, and the proxy in the kube-apiserver adds the one that it is given to its own, where the handler for CRDs replaces it: clients must believe the stricter one and ask again, which the etag makes cheap"),
		Rows: openapiRows,
	},
	{
		ID: "openapi/swagger", Ask: "which defaults, bounds and rules are left in OpenAPI v2",
		Do: func(s *Side) string {
			schemas := s.swagger("v2")
			return "defaults: " + schemas.say("default") + " | bounds: " + schemas.say("minimum", "maximum", "minLength", "maxLength", "pattern") + " | rules: " + schemas.count("x-kubernetes-validations")
		},
		Want: Differ(`defaults: none | bounds: spec.endpoint.host maxLength: 253; spec.endpoint.port maximum: 65535; spec.endpoint.port minimum: 1; spec.replicas maximum: 100; spec.replicas minimum: 0; spec.service maxLength: 63; spec.timeoutSeconds maximum: 2147483647; spec.timeoutSeconds minimum: 1; status.conditions[].message maxLength: 32768; status.conditions[].observedGeneration minimum: 0; status.conditions[].reason maxLength: 1024; status.conditions[].reason minLength: 1; status.conditions[].reason pattern: ^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$; status.conditions[].type maxLength: 316; status.conditions[].type pattern: ^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$ | rules: spec.endpoint.host: 2; spec.endpoint.port: 1; spec.endpoint.protocol: 1; spec.service: 1; spec: 1`,
			"defaults: none | bounds: none | rules: none",
			"what OpenAPI v3 says of bounds and rules, v2 says too; its defaults every server takes out, its own and those of CRDs"),
		Rows:    openapiRows,
		Kubectl: "kubectl get --raw /openapi/v2",
	},
}

// openapiRows are those of all cases about OpenAPI.
var openapiRows = []string{"OpenAPI Schema", "article: OpenAPI schema"}

var explainCases = []Case{
	{
		ID: "explain/object", Ask: "kubectl explains the kind",
		Do: func(s *Side) string { return s.explain("portrules") },
		Want: Differ("apiVersion <string>; kind <string>; metadata <ObjectMeta>; spec <Object> -required-; status <Object>",
			"apiVersion <string>; kind <string>; metadata <ObjectMeta>; spec <PortRuleSpec> -required-; status <PortRuleStatus>",
			"kubectl prints the name of the model that a field refers to; the schema of a CRD refers to none but those of metav1"),
		Rows:    []string{"OpenAPI Schema", "UI/CLI Display"},
		Kubectl: "kubectl explain portrules --api-version=GROUP/v2",
	},
	{
		ID: "explain/endpoint", Ask: "kubectl explains the endpoint",
		Do: func(s *Side) string { return s.explain("portrules.spec.endpoint") },
		Want: Differ("host <string> -required-; port <integer> -required-; protocol <string> enum: tcp, udp, sctp, dccp",
			"host <string> -required-; port <integer> -required-; protocol <string> enum: dccp, sctp, tcp, udp",
			"openapi-gen sorts the values of an enum, a CRD has them in the order of its author"),
		Rows:    []string{"OpenAPI Schema", "UI/CLI Display"},
		Kubectl: "kubectl explain portrules.spec.endpoint --api-version=GROUP/v2",
	},
	{
		ID: "explain/status", Ask: "kubectl explains the status",
		Do: func(s *Side) string { return s.explain("portrules.status") },
		Want: Differ("conditions <[]Object>; observedGeneration <integer>; replicas <integer>; selector <string>",
			"conditions <[]Condition>; observedGeneration <integer>; replicas <integer>; selector <string>",
			"the schema of a CRD has a copy of metav1.Condition in place of a reference to it"),
		Rows:    []string{"OpenAPI Schema", "UI/CLI Display"},
		Kubectl: "kubectl explain portrules.status --api-version=GROUP/v2",
	},
	{
		ID: "explain/other-version", Ask: "kubectl explains the spec of v1",
		Do: func(s *Side) string {
			out := s.kubectl("", "explain", "portrules.spec", "--api-version", s.Group+"/v1")
			return fieldsOf(out)
		},
		Want: Differ("host <string> -required-; isPremanent <boolean>; name <string> -required-; port <integer> -required-; protocol <string> enum: tcp, udp, sctp, dccp; replicas <integer>; timeoutSeconds <integer>",
			"host <string> -required-; isPremanent <boolean>; name <string> -required-; port <integer> -required-; protocol <string> enum: dccp, sctp, tcp, udp; replicas <integer>; timeoutSeconds <integer>",
			"openapi-gen sorts the values of an enum, a CRD has them in the order of its author"),
		Rows:    []string{"OpenAPI Schema", "Multi-versioning"},
		Kubectl: "kubectl explain portrules.spec --api-version=GROUP/v1",
	},
	{
		ID: "explain/create-by-client", Ask: "kubectl creates a rule with a misspelt field, in a dry run of its own and in one of the server",
		Do: func(s *Side) string {
			rule := s.Rule("one", `{endpoint: {host: a.example.com, prot: 80, port: 80}}`)
			var found []string
			for _, dryRun := range []string{"client", "server"} {
				out := s.kubectl(rule, "create", "--namespace", s.Namespace, "--dry-run="+dryRun, "--validate=strict", "-f", "-")
				found = append(found, dryRun+": "+strings.TrimSpace(s.Normal(out)))
			}
			return strings.Join(found, "; ")
		},
		Want:    Both(`client: portrule.GROUP/one created (dry run); server: Error from server (BadRequest): error when creating "STDIN": PortRule in version "v2" cannot be handled as a PortRule: strict decoding error: unknown field "spec.endpoint.prot"`),
		Rows:    []string{"OpenAPI Schema", "Validation"},
		Kubectl: "kubectl create --dry-run=client --validate=strict -f rule.yaml",
	},
}

var authorizationCases = []Case{
	{
		ID: "authorization/each-verb", Ask: "of two users each may do what the other may not",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			var found []string
			for _, may := range [][]string{{"get", "watch", "update", "deletecollection"}, {"list", "create", "patch", "delete"}} {
				user := s.NewUser()
				s.Allow(user, may, []string{api.Resource})
				var answers []string
				for _, verb := range allVerbs {
					answers = append(answers, verb+" "+s.try(user, verb).status())
				}
				found = append(found, strings.Join(answers, ", "))
			}
			return strings.Join(found, "; ")
		},
		Want: Both("get 200, list 403, watch 200, create 403, update 200, patch 403, delete 403, deletecollection 200; " +
			"get 403, list 200, watch 403, create 201, update 403, patch 200, delete 200, deletecollection 403"),
		Rows:    authorizationRows,
		Kubectl: "kubectl auth can-i list portrules.GROUP",
	},
	{
		ID: "authorization/refusals", Ask: "a user without any rights tries",
		Do: func(s *Side) string {
			user := s.NewUser()
			answers := []*Answer{s.try(user, "get"), s.try(user, "create"), s.Do(Request{User: user, Path: s.GroupPath("v2", api.Resource)})}
			var found []string
			for _, answer := range answers {
				found = append(found, strings.ReplaceAll(answer.Outcome(), user, "USER"))
			}
			return strings.Join(found, "; ")
		},
		Want:    Both(`403 Forbidden: portrules.GROUP "one" is forbidden: User "USER" cannot get resource "portrules" in API group "GROUP" in the namespace "NAMESPACE"; 403 Forbidden: portrules.GROUP is forbidden: User "USER" cannot create resource "portrules" in API group "GROUP" in the namespace "NAMESPACE"; 403 Forbidden: portrules.GROUP is forbidden: User "USER" cannot list resource "portrules" in API group "GROUP" at the cluster scope`),
		Rows:    authorizationRows,
		Kubectl: "kubectl get portrules.GROUP --as=nobody",
	},
	{
		ID: "authorization/subresources", Ask: "which of a rule, its status and its scale a user may get, by the resource in their role",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			var found []string
			for _, resource := range []string{api.Resource, api.Resource + "/status", api.Resource + "/*", "*/scale", "*"} {
				user := s.NewUser()
				s.grant(rbacv1.Subject{Kind: rbacv1.UserKind, Name: user}, false, rbacv1.PolicyRule{APIGroups: []string{s.Group}, Resources: []string{resource}, Verbs: []string{"get"}})
				var allowed []string
				for _, part := range []string{"", "status", "scale"} {
					if s.Do(Request{User: user, Path: strings.TrimSuffix(s.Path("v2", "one", part), "/")}).Code == http.StatusOK {
						allowed = append(allowed, strings.Trim("one/"+part, "/"))
					}
				}
				if allowed == nil {
					allowed = []string{"none"}
				}
				found = append(found, resource+": "+spaced(allowed))
			}
			return strings.Join(found, "; ")
		},
		Want:    Both("portrules: one; portrules/status: one/status; portrules/*: none; */scale: one/scale; *: one one/scale one/status"),
		Rows:    append(slices.Clone(authorizationRows), "Status Subresource", "Scale Subresource"),
		Kubectl: "kubectl auth can-i get portrules.GROUP --subresource=status",
	},
	{
		ID: "authorization/resource-names", Ask: "a user may do everything with the rule one, and with no other",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			s.Make("other", "{}")
			user := s.NewUser()
			s.Allow(user, allVerbs, []string{api.Resource}, "one")
			var found []string
			for _, request := range []struct{ what, method, path, body string }{
				{"get one", "GET", "/one", ""}, {"get other", "GET", "/other", ""},
				{"list", "GET", "", ""}, {"list one", "GET", "?fieldSelector=metadata.name=one", ""},
				{"list other", "GET", "?fieldSelector=metadata.name=other", ""},
				{"watch one", "GET", "?watch=true&timeoutSeconds=1&fieldSelector=metadata.name=one", ""},
				{"create one", "POST", "?dryRun=All", s.Rule("one", "{}")},
				{"delete all that are one", "DELETE", "?dryRun=All&fieldSelector=metadata.name=one", ""},
			} {
				found = append(found, fmt.Sprintf("%s %d", request.what, s.statusCode(Request{User: user, Method: request.method, Path: s.Path("v2") + request.path, Body: request.body})))
			}
			return strings.Join(found, "; ")
		},
		Want:    Both("get one 200; get other 403; list 403; list one 200; list other 403; watch one 200; create one 403; delete all that are one 403"),
		Rows:    authorizationRows,
		Kubectl: "kubectl auth can-i get portrules.GROUP/one",
	},
	{
		ID: "authorization/wildcard", Ask: "a user may do all verbs with all resources of the group in the namespace",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			user, elsewhere := s.NewUser(), s.NewNamespace()
			s.Allow(user, []string{rbacv1.VerbAll}, []string{rbacv1.ResourceAll})
			var found []string
			for _, verb := range allVerbs {
				found = append(found, fmt.Sprintf("%s %d", verb, s.try(user, verb).Code))
			}
			found = append(found,
				fmt.Sprintf("elsewhere %d", s.Do(Request{User: user, Path: s.GroupPath("v2", "namespaces", elsewhere, api.Resource)}).Code),
				fmt.Sprintf("everywhere %d", s.Do(Request{User: user, Path: s.GroupPath("v2", api.Resource)}).Code))
			return strings.Join(found, "; ")
		},
		Want:    Both("get 200; list 200; watch 200; create 201; update 200; patch 200; delete 200; deletecollection 200; elsewhere 403; everywhere 403"),
		Rows:    authorizationRows,
		Kubectl: "kubectl auth can-i '*' portrules.GROUP",
	},
	{
		ID: "authorization/everywhere", Ask: "a user may list rules of all namespaces, by a ClusterRole",
		Do: func(s *Side) string {
			user, elsewhere := s.NewUser(), s.NewNamespace()
			defer s.grant(rbacv1.Subject{Kind: rbacv1.UserKind, Name: user}, true, rbacv1.PolicyRule{APIGroups: []string{s.Group}, Resources: []string{api.Resource}, Verbs: []string{"list"}})()
			return fmt.Sprintf("everywhere %d; in a namespace %d; create %d",
				s.Do(Request{User: user, Path: s.GroupPath("v2", api.Resource) + "?limit=1"}).Code,
				s.Do(Request{User: user, Path: s.GroupPath("v2", "namespaces", elsewhere, api.Resource)}).Code, s.try(user, "create").Code)
		},
		Want:    Both("everywhere 200; in a namespace 200; create 403"),
		Rows:    authorizationRows,
		Kubectl: "kubectl get portrules.GROUP --all-namespaces",
	},
	{
		ID: "authorization/non-resource", Ask: "a user without any rights, and nobody, read what describes the API",
		Do: func(s *Side) string {
			user := s.NewUser()
			nobody := rest.AnonymousClientConfig(s.Bed.Admin)
			var found []string
			for _, path := range []string{"/apis/" + s.Group, s.GroupPath("v2"), "/openapi/v3/apis/" + s.Group + "/v2"} {
				found = append(found, fmt.Sprintf("%s: a user %d, nobody %d", s.Normal(path), s.Do(Request{User: user, Path: path}).Code, s.Do(Request{Config: nobody, Path: path}).Code))
			}
			return strings.Join(found, "; ")
		},
		Want:    Both("/apis/GROUP: a user 200, nobody 403; /apis/GROUP/v2: a user 200, nobody 403; /openapi/v3/apis/GROUP/v2: a user 200, nobody 403"),
		Rows:    append(slices.Clone(authorizationRows), "Discovery"),
		Kubectl: "kubectl get --raw /apis/GROUP/v2 --as=nobody",
	},
	{
		ID: "authorization/escalation", Ask: "a user who may make roles gives a right that they lack, and again when they have it",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.grant(rbacv1.Subject{Kind: rbacv1.UserKind, Name: user}, false, rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"create"}})
			give := func() *Answer {
				return s.Do(Request{User: user, Method: "POST", Path: "/apis/rbac.authorization.k8s.io/v1/namespaces/" + s.Namespace + "/roles?dryRun=All",
					Body: `{metadata: {name: given}, rules: [{apiGroups: [GROUP], resources: [portrules], verbs: [get]}]}`})
			}
			first := give()
			_, refused, _ := strings.Cut(strings.ReplaceAll(strings.ReplaceAll(first.Outcome(), user, "USER"), "\n", " "), "is forbidden: ")
			refused = first.status() + ", " + refused
			s.Allow(user, []string{"get"}, []string{api.Resource})
			return refused + "; then " + give().status()
		},
		Want:    Both(`403, user "USER" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held: {APIGroups:["GROUP"], Resources:["portrules"], Verbs:["get"]}; then 201`),
		Rows:    authorizationRows,
		Kubectl: "kubectl create role given --verb=get --resource=portrules.GROUP --as=alice",
	},
	{
		ID: "authorization/asked", Ask: "a user asks what they may do",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.Allow(user, []string{"get", "update"}, []string{api.Resource + "/status"})
			review := decodeAnswer[authorizationv1.SelfSubjectRulesReview](s, s.Must(s.Do(Request{
				User: user, Method: "POST", Path: "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", Body: `{spec: {namespace: NAMESPACE}}`,
			})))
			var found []string
			for _, rule := range review.Status.ResourceRules {
				if slices.Contains(rule.APIGroups, s.Group) && !slices.Contains(rule.Resources, callerreview.Resource) {
					found = append(found, spaced(rule.Verbs)+" "+spaced(rule.Resources))
				}
			}
			return itemized(found)
		},
		Want:    Both("get update portrules/status"),
		Rows:    authorizationRows,
		Kubectl: "kubectl auth can-i --list --as=alice",
	},
	{
		ID: "authorization/taken-back", Ask: "a right is taken back from a user who has just used it",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			user := s.NewUser()
			revoke := s.grant(rbacv1.Subject{Kind: rbacv1.UserKind, Name: user}, false, rbacv1.PolicyRule{APIGroups: []string{s.Group}, Resources: []string{api.Resource}, Verbs: []string{"get"}})
			before := s.try(user, "get").Code
			revoke()
			// what the kube-apiserver knows, it goes by, whatever the server remembers
			s.Eventually(func() (string, bool) {
				allowed := s.mayDo(authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: s.Namespace, Verb: "get", Group: s.Group, Resource: api.Resource, Name: "one",
				}})
				return "still allowed", !allowed
			})
			return fmt.Sprintf("%d; then %d", before, s.try(user, "get").Code)
		},
		Want: Both("200; then 403"),
		Rows: authorizationRows,
	},
	{
		ID: "authorization/reviews", Ask: "how many SubjectAccessReviews the get of a rule costs: the first, the same again, and that of another name",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.Make("one", "{}")
			s.Make("other", "{}")
			s.Allow(user, []string{"get"}, []string{api.Resource})
			get := func(name string) string {
				return s.reviews("subjectaccessreviews", func() { s.Must(s.Do(Request{User: user, Path: s.Path("v2", name)})) })
			}
			first := get("one")
			// each replica of the server remembers for itself
			again := s.Eventually(func() (string, bool) {
				n := get("one")
				return n, n == "0"
			})
			return strings.Join([]string{first, again, get("other")}, ", ")
		},
		Want: Differ("0, 0, 0", "1, 0, 1",
			"the kube-apiserver authorizes a CRD's request by what it has in memory; a server asks it, once more and over the network, and remembers the answer for 10 s, the object's name being part of the question"),
		Rows:  authorizationRows,
		Needs: []Need{AuditLog},
		Alone: true,
	},
}

// authorizationRows are those of all cases about authorization.
var authorizationRows = []string{"Built-in Authorization", "article: authorization"}

var impersonationCases = []Case{
	{
		ID: "impersonation/user", Ask: "the administrator creates a rule as somebody else",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.Allow(user, []string{"create"}, []string{api.Resource})
			object := s.Must(s.Do(Request{User: user, Method: "POST", Path: s.Path("v2"), Body: s.Rule("one", "{}")})).Object()
			if object.GetAnnotations()[api.RequestedBy] == user {
				return "requested by them"
			}
			return fmt.Sprintf("requested by %q", object.GetAnnotations()[api.RequestedBy])
		},
		Want:    Both("requested by them"),
		Rows:    []string{"Built-in Authentication", "Built-in Authorization"},
		Kubectl: "kubectl create -f rule.yaml --as=alice",
	},
	{
		ID: "impersonation/group", Ask: "a group may create rules: somebody creates one without it, and as one of it",
		Do: func(s *Side) string {
			group := "group-" + utilrand.String(8)
			s.grant(rbacv1.Subject{Kind: rbacv1.GroupKind, Name: group}, false, rbacv1.PolicyRule{APIGroups: []string{s.Group}, Resources: []string{api.Resource}, Verbs: []string{"create"}})
			create := func(groups ...string) string {
				return s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{}"),
					Header: http.Header{"Impersonate-User": {s.NewUser()}, "Impersonate-Group": groups}}).status()
			}
			return create("system:authenticated") + "; " + create("system:authenticated", group)
		},
		Want:    Both("403; 201"),
		Rows:    []string{"Built-in Authentication", "Built-in Authorization"},
		Kubectl: "kubectl create -f rule.yaml --as=alice --as-group=operators",
	},
	{
		ID: "impersonation/extra", Ask: "which user, groups and extra the server that checks the rule is told, of somebody impersonated with all of them",
		Do: func(s *Side) string {
			return s.told(everything, Request{Header: http.Header{
				"Impersonate-User": {"alice"}, "Impersonate-Group": {"system:masters", "operators"}, "Impersonate-Extra-Example.com%2fteam": {"blue", "green"},
			}})
		},
		Want:    Both("alice in system:masters operators system:authenticated, example.com/team=blue,green"),
		Rows:    []string{"Built-in Authentication"},
		Kubectl: "kubectl create -f rule.yaml --as=alice --as-group=operators --as-user-extra=example.com/team=blue",
	},
	{
		ID: "impersonation/service-account", Ask: "which groups a service account has that is impersonated by its name alone",
		Do: func(s *Side) string {
			account := "system:serviceaccount:" + s.Namespace + ":caller"
			s.Allow(account, []string{"create"}, []string{api.Resource})
			return s.told(everything, Request{Header: http.Header{"Impersonate-User": {account}}})
		},
		Want:    Both("system:serviceaccount:NAMESPACE:caller in system:serviceaccounts system:serviceaccounts:NAMESPACE system:authenticated"),
		Rows:    []string{"Built-in Authentication"},
		Kubectl: "kubectl create -f rule.yaml --as=system:serviceaccount:default:caller",
	},
	{
		ID: "impersonation/refused", Ask: "a service account that may do everything with rules acts as somebody else",
		Do: func(s *Side) string {
			account := s.serviceAccount()
			s.Allow(s.accountName(), []string{rbacv1.VerbAll}, []string{rbacv1.ResourceAll})
			return s.Do(Request{Config: account, Path: s.Path("v2"), Header: http.Header{"Impersonate-User": {"alice"}}}).Outcome()
		},
		Want: Both(`403 Forbidden: users.authentication.k8s.io "alice" is forbidden: User "system:serviceaccount:NAMESPACE:caller" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope`),
		Rows: []string{"Built-in Authentication", "Built-in Authorization"},
	},
	{
		ID: "impersonation/allowed", Ask: "a service account that may act as one user acts as that one, and as another",
		Do: func(s *Side) string {
			account, user := s.serviceAccount(), s.NewUser()
			s.Allow(user, []string{"create"}, []string{api.Resource})
			subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: s.Namespace, Name: "caller"}
			defer s.grant(subject, true, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{user}})()
			create := func(as string) *Answer {
				return s.Do(Request{Config: account, Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{}"), Header: http.Header{"Impersonate-User": {as}}})
			}
			as, other := create(user), create(s.NewUser())
			return fmt.Sprintf("%s, as that one %t; %s", as.status(), as.Object().GetAnnotations()[api.RequestedBy] == user, other.status())
		},
		Want: Both("201, as that one true; 403"),
		Rows: []string{"Built-in Authentication", "Built-in Authorization"},
	},
}

var authenticationCases = []Case{
	{
		ID: "authentication/client-certificate", Ask: "who a user with a client certificate is for the server that checks the rule",
		Do: func(s *Side) string {
			name := s.NewUser()
			config := s.certified(name)
			s.Allow(name, []string{"create"}, []string{api.Resource})
			return strings.ReplaceAll(s.told(identity, Request{Config: config}), name, "USER")
		},
		Want: Both("USER in system:authenticated"),
		Rows: authenticationRows,
	},
	{
		ID: "authentication/service-account-token", Ask: "who a service account with a token is for the server that checks the rule",
		Do: func(s *Side) string {
			config := s.serviceAccount()
			s.Allow(s.accountName(), []string{"create"}, []string{api.Resource})
			return s.told(identity, Request{Config: config})
		},
		Want: Both("system:serviceaccount:NAMESPACE:caller in system:serviceaccounts system:serviceaccounts:NAMESPACE system:authenticated"),
		Rows: authenticationRows,
	},
	{
		ID: "authentication/nobody", Ask: "rules are listed without a credential",
		Do: func(s *Side) string {
			return s.Do(Request{Config: rest.AnonymousClientConfig(s.Bed.Admin), Path: s.Path("v2")}).Outcome()
		},
		Want: Both(`403 Forbidden: portrules.GROUP is forbidden: User "system:anonymous" cannot list resource "portrules" in API group "GROUP" in the namespace "NAMESPACE"`),
		Rows: authenticationRows,
	},
	{
		ID: "authentication/invalid-tokens", Ask: "rules are listed with a token that is none, with one for another audience, with one that was bound to a Secret which is gone, and with a valid one, of somebody without rights",
		Do: func(s *Side) string {
			s.serviceAccount()
			list := func(token string) *Answer {
				config := rest.AnonymousClientConfig(s.Bed.Admin)
				config.BearerToken = token
				return s.Do(Request{Config: config, Path: s.Path("v2")})
			}
			secret, err := s.Clientset.CoreV1().Secrets(s.Namespace).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bound"}}, metav1.CreateOptions{})
			s.Fail(err)
			if s.err != nil {
				return ""
			}
			elsewhere := s.accountToken("caller", authenticationv1.TokenRequestSpec{Audiences: []string{"elsewhere"}})
			bound := s.accountToken("caller", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: "bound", UID: secret.UID}})
			s.Fail(s.Clientset.CoreV1().Secrets(s.Namespace).Delete(s.ctx, "bound", metav1.DeleteOptions{}))
			// had it been used before, it would be remembered for 10 s
			gone := s.Eventually(func() (string, bool) {
				answer := list(bound)
				return answer.Outcome(), answer.Code == http.StatusUnauthorized
			})
			valid := s.accountToken("caller", authenticationv1.TokenRequestSpec{})
			return strings.Join([]string{list("nonsense").Outcome(), list(elsewhere).Outcome(), gone, list(valid).status()}, "; ")
		},
		Want: Both("401 Unauthorized: Unauthorized; 401 Unauthorized: Unauthorized; 401 Unauthorized: Unauthorized; 403"),
		Rows: authenticationRows,
	},
	{
		ID: "authentication/forged-headers", Ask: "a service account sends the headers by which a front proxy says who the caller is",
		Do: func(s *Side) string {
			config := s.serviceAccount()
			s.Allow(s.accountName(), []string{"create"}, []string{api.Resource})
			return s.told(identity, Request{Config: config, Header: http.Header{"X-Remote-User": {"forger"}, "X-Remote-Group": {"system:masters"}}})
		},
		Want: Both("system:serviceaccount:NAMESPACE:caller in system:serviceaccounts system:serviceaccounts:NAMESPACE system:authenticated"),
		Rows: authenticationRows,
	},
	{
		ID: "authentication/reviews", Ask: "how many TokenReviews a request with a token costs, that nobody has seen before",
		Do: func(s *Side) string {
			config := s.serviceAccount()
			s.Allow(s.accountName(), []string{"list"}, []string{api.Resource})
			return s.reviews("tokenreviews", func() { s.Must(s.Do(Request{Config: config, Path: s.Path("v2")})) })
		},
		Want:  Both("0"),
		Rows:  authenticationRows,
		Needs: []Need{AuditLog},
		Alone: true,
	},
	{
		ID: "authentication/direct-token", Ask: "a service account with a token asks the server itself who it is, and how many TokenReviews that costs",
		Do: func(s *Side) string {
			account := s.serviceAccount()
			return s.directly(func(direct *rest.Config) string {
				direct.BearerToken = account.BearerToken
				var who string
				reviews := s.reviews("tokenreviews", func() { who = s.callerReview(Request{Config: direct}) })
				return who + ", TokenReviews " + reviews
			})
		},
		Want: OnlyAggregated("there is no other server than the kube-apiserver",
			"system:serviceaccount:NAMESPACE:caller in system:authenticated system:serviceaccounts system:serviceaccounts:NAMESPACE by TokenReview, TokenReviews 1",
			"who reaches a CRD has been authenticated by the kube-apiserver; a server has a port of its own, and the delegated authenticators that k8s.io/apiserver brings: a token it has reviewed by the kube-apiserver, and remembers the answer for 10 s"),
		Rows:  authenticationRows,
		Needs: []Need{AuditLog},
		Alone: true,
	},
	{
		ID: "authentication/direct-certificate", Ask: "a user with a client certificate asks the server itself who they are",
		Do: func(s *Side) string {
			name := s.NewUser()
			user := s.certified(name)
			return s.directly(func(direct *rest.Config) string {
				direct.CertData, direct.KeyData = user.CertData, user.KeyData
				return strings.ReplaceAll(s.callerReview(Request{Config: direct}), name, "USER")
			})
		},
		Want: OnlyAggregated("there is no other server than the kube-apiserver",
			"USER in system:authenticated by ClientCertificate",
			"who reaches a CRD has been authenticated by the kube-apiserver; a server has a port of its own, and the delegated authenticators that k8s.io/apiserver brings: a certificate of the cluster's client CA, which it reads from kube-system/extension-apiserver-authentication"),
		Rows: authenticationRows,
	},
	{
		ID: "authentication/direct-nobody", Ask: "the server itself is asked without a credential, with the headers of a front proxy, and with a token that is none",
		Do: func(s *Side) string {
			return s.directly(func(direct *rest.Config) string {
				nonsense := rest.CopyConfig(direct)
				nonsense.BearerToken = "nonsense"
				return strings.Join([]string{
					s.callerReview(Request{Config: direct}),
					s.callerReview(Request{Config: direct, Header: http.Header{"X-Remote-User": {"forger"}, "X-Remote-Group": {"system:masters"}}}),
					s.callerReview(Request{Config: nonsense}),
				}, "; ")
			})
		},
		Want: OnlyAggregated("there is no other server than the kube-apiserver",
			`403 Forbidden: callerreviews.GROUP is forbidden: User "system:anonymous" cannot create resource "callerreviews" in API group "GROUP" at the cluster scope; 403 Forbidden: callerreviews.GROUP is forbidden: User "system:anonymous" cannot create resource "callerreviews" in API group "GROUP" at the cluster scope; 401 Unauthorized: Unauthorized`,
			"who reaches a CRD has been authenticated by the kube-apiserver; a server has a port of its own, and the delegated authenticators that k8s.io/apiserver brings: the headers of a front proxy it believes only on a connection made with the certificate of one"),
		Rows: authenticationRows,
	},
}

// authenticationRows are those of all cases about authentication.
var authenticationRows = []string{"Built-in Authentication", "article: authentication"}

var admissionCases = []Case{
	{
		ID: "admission/absent-namespace", Ask: "a rule is created in a namespace that does not exist",
		Do: func(s *Side) string {
			return s.Do(Request{Method: "POST", Path: s.GroupPath("v2", "namespaces", s.Namespace+"-absent", api.Resource), Body: s.Rule("one", "{}")}).Outcome()
		},
		Want:    Both(`404 NotFound: namespaces "NAMESPACE-absent" not found`),
		Rows:    admissionRows,
		Kubectl: "kubectl create -f rule.yaml --namespace=absent",
	},
	{
		ID: "admission/terminating-namespace", Ask: "a rule is created in a namespace that is being deleted",
		Do: func(s *Side) string {
			namespace, end := s.heldNamespace()
			defer end()
			s.Fail(s.Clientset.CoreV1().Namespaces().Delete(s.ctx, namespace, metav1.DeleteOptions{}))
			return s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.GroupPath("v2", "namespaces", namespace, api.Resource) + "?dryRun=All", Body: s.Rule("one", "{}")})
				return strings.ReplaceAll(answer.Outcome(), strings.TrimPrefix(namespace, s.Namespace), ""), answer.Code == http.StatusForbidden
			})
		},
		Want: Both("403 Forbidden: metadata.namespace: namespace NAMESPACE is being terminated"),
		Rows: admissionRows,
	},
	{
		ID: "admission/validating-policy", Ask: "a ValidatingAdmissionPolicy refuses a service",
		Do: func(s *Side) string {
			defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{Validations: []admissionregistrationv1.Validation{
				{Expression: "object.spec.service != 'ssh'", Message: "no ssh", Reason: ptr.To(metav1.StatusReasonInvalid)},
			}})()
			refused := s.refused(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{service: ssh}")})
			return refused.Outcome() + "; " + s.Create("one", "{service: http}").Outcome()
		},
		Want: Both("422 Invalid: ValidatingAdmissionPolicy 'NAMESPACE' with binding 'NAMESPACE' denied request: no ssh; 201"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-sees", Ask: "what a ValidatingAdmissionPolicy sees of a request of v1: versions, defaults, the namespace",
		Do: func(s *Side) string {
			expression := "request.kind.version + ' asked in ' + request.requestKind.version + ', protocol ' + object.spec.endpoint.protocol + " +
				"', namespace ' + namespaceObject.metadata.name + ', old ' + string(oldObject == null) + ', resource ' + request.resource.resource + " +
				"', operation ' + request.operation + ', dry run ' + string(request.dryRun)"
			return s.Normal(s.told(expression, Request{Path: s.Path("v1") + "?dryRun=All", Body: s.Object("v1", "one", map[string]any{
				"spec": map[string]any{"name": "nginx", "host": "a.example.com", "port": 80},
			})}))
		},
		Want: Both("v2 asked in v1, protocol tcp, namespace NAMESPACE, old true, resource portrules, operation CREATE, dry run true"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-asks-authorizer", Ask: "a policy lets only those create rules who may also read Secrets",
		Do: func(s *Side) string {
			defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{Validations: []admissionregistrationv1.Validation{
				{Expression: "authorizer.group('').resource('secrets').namespace(request.namespace).check('get').allowed()", Message: "who may not read Secrets may not create rules"},
			}})()
			one, other := s.NewUser(), s.NewUser()
			s.Allow(one, []string{"create"}, []string{api.Resource})
			s.Allow(other, []string{"create"}, []string{api.Resource})
			s.grant(rbacv1.Subject{Kind: rbacv1.UserKind, Name: other}, false, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
			refused := s.refused(Request{User: one, Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{}")})
			return refused.status() + "; " + s.try(other, "create").status()
		},
		Want: Both("422; 201"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-parameters", Ask: "a policy takes the services that it refuses from a ConfigMap",
		Do: func(s *Side) string {
			local := s.registration("v2").Spec.Service == nil
			_, err := s.Clientset.CoreV1().ConfigMaps(s.Namespace).Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "refused"}, Data: map[string]string{"service": "ssh"}}, metav1.CreateOptions{})
			s.Fail(err)
			defer s.policyWith(admissionregistrationv1.ValidatingAdmissionPolicySpec{
				ParamKind:   &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
				Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.service != params.data.service", Message: "it is refused"}},
			}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				ParamRef: &admissionregistrationv1.ParamRef{Name: "refused", ParameterNotFoundAction: ptr.To(admissionregistrationv1.DenyAction)},
			})()
			// a server of its own reads them only if its service account may: else no time helps
			refused := s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{service: ssh}")})
				_, message, ok := strings.Cut(answer.Outcome(), denies)
				return message, ok && (!local || !strings.Contains(message, "not yet synced"))
			})
			http := s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("two", "{service: http}")})
				return answer.status(), local || answer.Code >= 400
			})
			ready := s.Do(Request{Path: "/readyz"})
			if !local {
				s.directly(func(direct *rest.Config) string {
					ready = s.Do(Request{Config: direct, Path: "/readyz"})
					return ""
				})
			}
			return refused + "; http " + http + "; the server is ready: " + ready.status()
		},
		Want: Differ("it is refused; http 201; the server is ready: 200",
			"failed to configure binding: paramKind kind `&ParamKind{APIVersion:v1,Kind:ConfigMap,}` not yet synced to use for admission; http 422; the server is ready: 200",
			"each server that checks reads the parameters itself: the kube-apiserver may read everything, the service account of a server may not list ConfigMaps unless RBAC says so, and until it may, the policy fails and refuses all"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-warns", Ask: "a policy whose action is to warn",
		Do: func(s *Side) string {
			defer s.policyWith(admissionregistrationv1.ValidatingAdmissionPolicySpec{Validations: []admissionregistrationv1.Validation{
				{Expression: "object.spec.service != 'ssh'", Message: "think of ssh"},
			}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn}})()
			return s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{service: ssh}")})
				return answer.Outcome() + " " + answer.Warnings(), answer.Warnings() != ""
			})
		},
		Want: Both("201 Validation failed for ValidatingAdmissionPolicy 'NAMESPACE' with binding 'NAMESPACE': think of ssh"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-conditions", Ask: "a policy that refuses everything matches only some rules, by its matchConditions",
		Do: func(s *Side) string {
			defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "ssh", Expression: "object.spec.service == 'ssh'"}},
				Validations:     []admissionregistrationv1.Validation{{Expression: "false", Message: "no"}},
			})()
			refused := s.refused(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{service: ssh}")})
			return refused.status() + "; " + s.Create("two", "{service: http}").status()
		},
		Want: Both("422; 201"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-on-delete", Ask: "a policy keeps a rule from being deleted",
		Do: func(s *Side) string {
			s.Make("one", "{service: ssh}")
			s.Make("two", "{}")
			defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: s.matching(api.Resource, admissionregistrationv1.Delete),
				Validations:      []admissionregistrationv1.Validation{{Expression: "oldObject.spec.service != 'ssh'", Message: "it stays"}},
			})()
			refused := s.refused(Request{Method: "DELETE", Path: s.Path("v2", "one") + "?dryRun=All"})
			all := s.refused(Request{Method: "DELETE", Path: s.Path("v2") + "?dryRun=All"})
			return refused.Outcome() + "; all " + all.status() + "; two " + s.Delete("two", "").status()
		},
		Want: Both("422 Invalid: ValidatingAdmissionPolicy 'NAMESPACE' with binding 'NAMESPACE' denied request: it stays; all 422; two 200"),
		Rows: admissionRows,
	},
	{
		ID: "admission/policy-on-subresource", Ask: "a policy refuses to scale a rule beyond 5",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: s.matching(api.Resource+"/scale", admissionregistrationv1.Update),
				Validations:      []admissionregistrationv1.Validation{{Expression: "object.spec.replicas <= 5", Message: "at most 5"}},
			})()
			scale := func(replicas string) Request {
				return Request{Method: "PATCH", Path: s.Path("v2", "one", "scale") + "?dryRun=All", Type: MergePatch, Body: `{spec: {replicas: ` + replicas + `}}`}
			}
			return s.refused(scale("6")).Outcome() + "; " + s.Do(scale("5")).Outcome()
		},
		Want: Both("422 Invalid: ValidatingAdmissionPolicy 'NAMESPACE' with binding 'NAMESPACE' denied request: at most 5; 200"),
		Rows: append(slices.Clone(admissionRows), "Scale Subresource"),
	},
	{
		ID: "admission/policy-on-connect", Ask: "a policy refuses to read portrules/nftables",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			before := s.Do(Request{Path: s.Path("v2", "one", "nftables"), Accept: "*/*"}).Code
			defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: s.matching(api.Resource+"/nftables", admissionregistrationv1.Connect),
				Validations:      []admissionregistrationv1.Validation{{Expression: "false", Message: "not to be seen"}},
			})()
			return strconv.Itoa(before) + "; " + s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Path: s.Path("v2", "one", "nftables"), Accept: "*/*"})
				return answer.status(), answer.Code != http.StatusOK
			})
		},
		Want: OnlyAggregated("404; 404",
			"200; 422",
			"a CRD has no subresource that is connected to; where a server has one, admission is asked with the operation CONNECT, although it is a GET"),
		Rows: append(slices.Clone(admissionRows), "Other Subresources"),
	},
	{
		ID: "admission/mutating-policy", Ask: "a MutatingAdmissionPolicy adds a label",
		Do: func(s *Side) string {
			defer s.mutatingPolicy(`Object{metadata: Object.metadata{labels: {"team": "blue"}}, spec: Object.spec{timeoutSeconds: 60}}`)()
			return s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{}")})
				return answer.Outcome() + " " + answer.Field("metadata.labels") + " " + answer.Field("spec.timeoutSeconds"), answer.Code < 300 && answer.Field("metadata.labels") != "absent"
			})
		},
		Want: Both(`201 {"team":"blue"} 60`),
		Rows: admissionRows,
	},
	{
		ID: "admission/mutated-beyond-the-schema", Ask: "a MutatingAdmissionPolicy sets 1000 replicas",
		Do: func(s *Side) string {
			defer s.mutatingPolicy(`Object{spec: Object.spec{replicas: 1000}}`)()
			return s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{}")})
				return answer.Fields(), answer.Code == http.StatusUnprocessableEntity
			})
		},
		Want: Both("422 spec.replicas"),
		Rows: append(slices.Clone(admissionRows), "Validation"),
	},
	{
		ID: "admission/validating-webhook", Ask: "a validating webhook that cannot be reached, and must not fail",
		Do: func(s *Side) string {
			return s.webhook("validating", admissionregistrationv1.Fail)
		},
		Want: Both(`500 InternalError: failed calling webhook "unreachable.portrule.example": failed to call webhook: Post "https://127.0.0.1:1/?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused`),
		Rows: admissionRows,
	},
	{
		ID: "admission/mutating-webhook", Ask: "a mutating webhook that cannot be reached, and must not fail",
		Do: func(s *Side) string {
			return s.webhook("mutating", admissionregistrationv1.Fail)
		},
		Want: Both(`500 InternalError: failed calling webhook "unreachable.portrule.example": failed to call webhook: Post "https://127.0.0.1:1/?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused`),
		Rows: admissionRows,
	},
}

// admissionRows are those of all cases about admission.
var admissionRows = []string{"Admission Webhooks", "article: admission control"}

var quotaCases = []Case{
	{
		ID: "quota/enforced", Ask: "a rule is created where a ResourceQuota allows one and has counted one",
		Do: func(s *Side) string {
			s.quota()
			return s.Create("one", "{}").Outcome()
		},
		Want: OnlyCRD(`403 Forbidden: portrules.GROUP "one" is forbidden: exceeded quota: rules, requested: count/portrules.GROUP=1, used: count/portrules.GROUP=0, limited: count/portrules.GROUP=0`,
			"201",
			"ResourceQuota is an admission plugin of the kube-apiserver, which runs for what it serves itself, CRDs among it, and not for what it proxies; k8s.io/apiserver has its code, but a server that is built of the recommended parts has not registered it"),
		Rows:    []string{"article: admission control"},
		Kubectl: "kubectl create quota rules --hard=count/portrules.GROUP=1",
	},
	{
		ID: "quota/other-version", Ask: "the same by way of v1",
		Do: func(s *Side) string {
			s.quota()
			return s.Do(Request{Method: "POST", Path: s.Path("v1"), Body: s.Object("v1", "one", map[string]any{
				"spec": map[string]any{"name": "nginx", "host": "a.example.com", "port": 80},
			})}).Outcome()
		},
		Want: OnlyCRD(`403 Forbidden: portrules.GROUP "one" is forbidden: exceeded quota: rules, requested: count/portrules.GROUP=1, used: count/portrules.GROUP=0, limited: count/portrules.GROUP=0`,
			"201",
			"the plugin goes by the resource and not by the version, but still runs in the kube-apiserver alone"),
		Rows: []string{"article: admission control", "Multi-versioning"},
	},
	{
		ID: "quota/counted", Ask: "what the controller of ResourceQuotas counts where two rules are, and one of them is deleted",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			s.Make("two", "{}")
			_, err := s.Clientset.CoreV1().ResourceQuotas(s.Namespace).Create(s.ctx, &corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "rules"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{s.counted(): resource.MustParse("10")}},
			}, metav1.CreateOptions{})
			s.Fail(err)
			used := func(want string) string {
				return s.Eventually(func() (string, bool) {
					quota, err := s.Clientset.CoreV1().ResourceQuotas(s.Namespace).Get(s.ctx, "rules", metav1.GetOptions{})
					if err != nil {
						s.Fail(err)
						return err.Error(), true
					}
					used := quota.Status.Used[s.counted()]
					return used.String(), used.String() == want
				})
			}
			before := used("2")
			s.Must(s.Delete("two", ""))
			return before + ", then " + used("1")
		},
		Want:    Both("2, then 1"),
		Needs:   []Need{ControllerManager},
		Rows:    []string{"article: admission control"},
		Kubectl: "kubectl describe quota rules",
	},
}

var garbageCases = []Case{
	{
		ID: "garbage-collection/owner", Ask: "a rule that owns a ConfigMap is deleted",
		Do: func(s *Side) string {
			s.owned()
			s.Must(s.Delete("one", ""))
			return s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Path: "/api/v1/namespaces/" + s.Namespace + "/configmaps/owned"})
				return answer.status(), answer.Code == http.StatusNotFound
			})
		},
		Want:    Both("404"),
		Needs:   []Need{ControllerManager},
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete portrules.GROUP one",
	},
	{
		ID: "garbage-collection/orphan", Ask: "a rule that owns a ConfigMap is deleted, and what it owns is to stay",
		Do: func(s *Side) string {
			s.owned()
			s.Must(s.Delete("one", `{propagationPolicy: Orphan}`))
			return s.Eventually(func() (string, bool) {
				rule := s.Get("one")
				answer := s.Do(Request{Path: "/api/v1/namespaces/" + s.Namespace + "/configmaps/owned"})
				owners := answer.Field("metadata.ownerReferences")
				return rule.status() + ", " + answer.status() + " owners " + owners, rule.Code == http.StatusNotFound && owners == "absent"
			})
		},
		Want:    Both("404, 200 owners absent"),
		Needs:   []Need{ControllerManager},
		Rows:    []string{"CRUD", "Finalizers"},
		Kubectl: "kubectl delete portrules.GROUP one --cascade=orphan",
	},
	{
		ID: "garbage-collection/dependent", Ask: "a ConfigMap that owns a rule is deleted",
		Do: func(s *Side) string {
			owner, err := s.Clientset.CoreV1().ConfigMaps(s.Namespace).Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
			s.Fail(err)
			if s.err != nil {
				return ""
			}
			s.Make("one", "{}")
			s.Must(s.Patch(MergePatch, "one", `{metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: `+string(owner.UID)+`}]}}`))
			s.Fail(s.Clientset.CoreV1().ConfigMaps(s.Namespace).Delete(s.ctx, "owner", metav1.DeleteOptions{}))
			return s.Eventually(func() (string, bool) {
				answer := s.Get("one")
				return answer.status(), answer.Code == http.StatusNotFound
			})
		},
		Want:  Both("404"),
		Needs: []Need{ControllerManager},
		Rows:  []string{"CRUD"},
	},
	{
		ID: "garbage-collection/foreground", Ask: "a rule is deleted after all that it owns",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			answer := s.Must(s.Delete("one", `{propagationPolicy: Foreground}`))
			return answer.Outcome() + " " + answer.Field("metadata.finalizers") + ", deleted " + strconv.FormatBool(answer.Field("metadata.deletionTimestamp") != "absent")
		},
		Want:    Both(`200 ["foregroundDeletion"], deleted true`),
		Rows:    []string{"CRUD", "Finalizers"},
		Kubectl: "kubectl delete portrules.GROUP one --cascade=foreground",
	},
}

var namespaceCases = []Case{
	{
		ID: "namespace-deletion/empties", Ask: "a namespace with rules is deleted",
		Do: func(s *Side) string {
			namespace := s.NewNamespace()
			for _, name := range []string{"one", "two"} {
				s.Must(s.Do(Request{Method: "POST", Path: s.GroupPath("v2", "namespaces", namespace, api.Resource), Body: s.Rule(name, "{}")}))
			}
			s.Fail(s.Clientset.CoreV1().Namespaces().Delete(s.ctx, namespace, metav1.DeleteOptions{}))
			return s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Path: "/api/v1/namespaces/" + namespace})
				return "the namespace: " + answer.status() + ", rules: " + strconv.Itoa(len(strings.Fields(s.Do(Request{Path: s.GroupPath("v2", "namespaces", namespace, api.Resource)}).Names()))), answer.Code == http.StatusNotFound
			})
		},
		Want:    Both("the namespace: 404, rules: 0"),
		Needs:   []Need{ControllerManager},
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete namespace shop",
	},
	{
		ID: "namespace-deletion/held", Ask: "a namespace is deleted in which a rule has a finalizer",
		Do: func(s *Side) string {
			namespace := s.NewNamespace()
			path := s.GroupPath("v2", "namespaces", namespace, api.Resource)
			s.Must(s.Do(Request{Method: "POST", Path: path, Body: s.held()}))
			s.Fail(s.Clientset.CoreV1().Namespaces().Delete(s.ctx, namespace, metav1.DeleteOptions{}))
			says := s.Eventually(func() (string, bool) {
				object, err := s.Clientset.CoreV1().Namespaces().Get(s.ctx, namespace, metav1.GetOptions{})
				if err != nil {
					s.Fail(err)
					return err.Error(), true
				}
				var found []string
				for _, condition := range object.Status.Conditions {
					if condition.Status == corev1.ConditionTrue {
						found = append(found, s.Normal(condition.Message))
					}
				}
				return itemized(found), len(found) == 2
			})
			s.Must(s.Do(Request{Method: "PATCH", Path: path + "/one", Type: MergePatch, Body: `{metadata: {finalizers: null}}`}))
			return says + "; then " + s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Path: "/api/v1/namespaces/" + namespace})
				return answer.status(), answer.Code == http.StatusNotFound
			})
		},
		Want: Both("Some content in the namespace has finalizers remaining: portrule.example/hold in 1 resource instances; " +
			"Some resources are remaining: portrules.GROUP has 1 resource instances; then 404"),
		Needs:   []Need{ControllerManager},
		Rows:    []string{"Finalizers"},
		Kubectl: "kubectl get namespace shop -o yaml",
	},
	{
		ID: "namespace-deletion/finalizer", Ask: "in a namespace that is being deleted, a rule is deleted and its finalizer removed",
		Do: func(s *Side) string {
			namespace, end := s.heldNamespace()
			defer end()
			path := s.GroupPath("v2", "namespaces", namespace, api.Resource)
			s.Must(s.Do(Request{Method: "POST", Path: path, Body: s.held()}))
			s.Fail(s.Clientset.CoreV1().Namespaces().Delete(s.ctx, namespace, metav1.DeleteOptions{}))
			return strings.Join([]string{
				s.Do(Request{Method: "DELETE", Path: path + "/one"}).status(),
				s.Do(Request{Method: "PATCH", Path: path + "/one", Type: MergePatch, Body: `{metadata: {finalizers: null}}`}).status(),
				s.Do(Request{Path: path + "/one"}).status(),
			}, "; ")
		},
		Want: Both("200; 200; 404"),
		Rows: []string{"Finalizers"},
	},
	{
		ID: "namespace-deletion/collection", Ask: "all rules of a namespace are deleted at once, as the controller of namespaces does it",
		Do: func(s *Side) string {
			elsewhere := s.NewNamespace()
			s.Make("one", "{}")
			s.Make("two", "{}")
			s.Must(s.Do(Request{Method: "POST", Path: s.GroupPath("v2", "namespaces", elsewhere, api.Resource), Body: s.Rule("one", "{}")}))
			answer := s.Do(Request{Method: "DELETE", Path: s.Path("v2")})
			return fmt.Sprintf("%s; left here %d, elsewhere %d", answer.Outcome(), len(strings.Fields(s.Do(Request{Path: s.Path("v2")}).Names())),
				len(strings.Fields(s.Do(Request{Path: s.GroupPath("v2", "namespaces", elsewhere, api.Resource)}).Names())))
		},
		Want:    Both("200; left here 0, elsewhere 1"),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete portrules.GROUP --all",
	},
}

var auditCases = []Case{
	{
		ID: "audit/requests", Ask: "what the kube-apiserver notes of a request of each verb: one entry with user, verb, resource and code",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.Make("one", "{}")
			s.Allow(user, []string{rbacv1.VerbAll}, []string{rbacv1.ResourceAll})
			for _, verb := range slices.DeleteFunc(slices.Clone(allVerbs), func(verb string) bool { return verb == "watch" }) {
				s.try(user, verb)
			}
			s.Do(Request{User: user, Path: s.Path("v2", "one", "status")})
			s.Do(Request{User: user, Path: s.Path("v2") + "?watch=true&timeoutSeconds=1"})
			var found []string
			for _, entry := range s.audited(len(allVerbs)+1, func(e auditv1.Event) bool { return e.ImpersonatedUser != nil && e.ImpersonatedUser.Username == user }) {
				what := strings.Trim(entry.ObjectRef.Resource+"/"+entry.ObjectRef.Subresource, "/")
				found = append(found, fmt.Sprintf("%s %s %d", entry.Verb, what, entry.ResponseStatus.Code))
			}
			return strings.Join(found, "; ")
		},
		Want:  Both("get portrules 200; list portrules 200; create portrules 201; update portrules 200; patch portrules 200; delete portrules 200; deletecollection portrules 200; get portrules/status 200; watch portrules 200"),
		Needs: []Need{AuditLog},
		Rows:  []string{"Built-in Authentication"},
	},
	{
		ID: "audit/watch-broken-off", Ask: "what becomes of the entry of a watch that the client breaks off",
		Do: func(s *Side) string {
			s.statusCode(Request{Path: s.Path("v2") + "?watch=true"})
			var found []string
			for _, entry := range s.audited(1, func(e auditv1.Event) bool { return e.Verb == "watch" }) {
				found = append(found, strings.TrimSpace(fmt.Sprintf("%s %d %s", entry.Stage, entry.ResponseStatus.Code, entry.ResponseStatus.Message)))
			}
			return strings.Join(found, "; ")
		},
		Want: Differ("ResponseComplete 200", "Panic 500 APIServer panic'd: net/http: abort Handler",
			"a reverse proxy of Go that can no longer copy to its client gives up by a panic, http.ErrAbortHandler, which the kube-apiserver notes as one; nothing is wrong, and every watch by way of the aggregation layer that a client closes leaves such an entry"),
		Needs: []Need{AuditLog},
		Rows:  []string{"Watch"},
	},
	{
		ID: "audit/name-of-what-is-created", Ask: "which name the entry has of a rule that is created, by name and by generateName",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			s.Must(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.Object("v2", "", map[string]any{
				"metadata": map[string]any{"generateName": "some-"},
				"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": "some.example.com", "port": 80}},
			})}))
			var found []string
			for _, entry := range s.audited(2, func(e auditv1.Event) bool { return e.Verb == "create" }) {
				found = append(found, fmt.Sprintf("%q", entry.ObjectRef.Name))
			}
			return strings.Join(found, "; ")
		},
		Want: Differ(`"one"; ""`,
			`""; ""`,
			"the name is in the body of a create, which the kube-apiserver decodes for a CRD and only hands on for a server; a generated name comes after the entry is filled in, on both sides"),
		Needs: []Need{AuditLog},
	},
	{
		ID: "audit/refused-by-authorization", Ask: "what the entry has of a request that is forbidden",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.try(user, "get")
			var found []string
			for _, entry := range s.audited(1, func(e auditv1.Event) bool { return e.ImpersonatedUser != nil && e.ImpersonatedUser.Username == user }) {
				found = append(found, fmt.Sprintf("%d %s, decision %s", entry.ResponseStatus.Code, entry.ResponseStatus.Reason, entry.Annotations["authorization.k8s.io/decision"]))
			}
			return strings.Join(found, "; ")
		},
		Want:  Both("403 Forbidden, decision forbid"),
		Needs: []Need{AuditLog},
		Rows:  []string{"Built-in Authorization"},
	},
	{
		ID: "audit/refused-by-validation", Ask: "what the entry has of a rule that is invalid",
		Do: func(s *Side) string {
			s.Create("one", `{endpoint: {host: a.example.com, port: 70000}}`)
			var found []string
			for _, entry := range s.audited(1, func(e auditv1.Event) bool { return e.Verb == "create" }) {
				found = append(found, strings.TrimSpace(fmt.Sprintf("%d %s %s", entry.ResponseStatus.Code, entry.ResponseStatus.Reason, s.Normal(entry.ResponseStatus.Message))))
			}
			return strings.Join(found, "; ")
		},
		Want: Differ(`422 Invalid PortRule.GROUP "one" is invalid: spec.endpoint.port: Invalid value: 70000: spec.endpoint.port in body should be less than or equal to 65535`,
			"422",
			"of an answer that it proxies the kube-apiserver knows the status code, for it does not read the body; the server has the rest in an audit log of its own, if one is turned on"),
		Needs: []Need{AuditLog},
		Rows:  []string{"Validation"},
	},
	{
		ID: "audit/policy", Ask: "whether the entry has what a policy wants noted",
		Do: func(s *Side) string {
			defer s.policyWith(admissionregistrationv1.ValidatingAdmissionPolicySpec{
				AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: "service", ValueExpression: "string(object.spec.service)"}},
				Validations:      []admissionregistrationv1.Validation{{Expression: "object.spec.service != 'ssh'", Message: "think of ssh"}},
			}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn},
			})()
			// a warning shows that the policy is in force
			s.Eventually(func() (string, bool) {
				answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{service: ssh}")})
				return answer.Outcome(), answer.Warnings() != ""
			})
			s.Make("two", "{service: ssh}")
			var found []string
			for _, entry := range s.audited(1, func(e auditv1.Event) bool {
				return e.Verb == "create" && !strings.Contains(e.RequestURI, "dryRun")
			}) {
				note := "nothing"
				for key, value := range entry.Annotations {
					if strings.HasSuffix(key, "/service") {
						note = value
					}
				}
				found = append(found, note)
			}
			return strings.Join(found, "; ")
		},
		Want: Differ("ssh",
			"nothing",
			"a policy adds its annotations to the entry of the server that evaluates it: for the aggregated one that is its own audit log, which is off unless it is given --audit-log-path"),
		Needs: []Need{AuditLog},
		Rows:  []string{"Admission Webhooks", "article: admission control"},
	},
}

var customCases = []Case{
	{
		ID: "custom-storage/without", Ask: "a resource that nothing stores is created, and then looked for",
		Do: func(s *Side) string {
			path := s.GroupPath("v2", callerreview.Resource)
			created := s.Do(Request{Method: "POST", Path: path, Body: `{apiVersion: GROUP/v2, kind: CallerReview}`})
			return created.status() + "; list " + s.Do(Request{Path: path}).status() + "; get " + s.Do(Request{Path: path + "/one"}).status() + "; watch " + s.Do(Request{Path: path + "?watch=true"}).status()
		},
		Want: OnlyAggregated("404; list 404; get 404; watch 404", "201; list 405; get 404; watch 405",
			"what a CRD creates is in etcd, and has all verbs; a server's resource is whatever implements them, and callerreviews implements create alone, as subjectaccessreviews does"),
		Rows:    []string{"Custom Storage", "Custom Business Logic"},
		Kubectl: "kubectl create -f review.yaml -o yaml",
	},
	{
		ID: "custom-storage/stored-versions", Ask: "which versions objects may be stored in",
		Do: func(s *Side) string {
			answer := s.Do(Request{Path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/portrules." + s.Group})
			var versions []string
			if text := answer.Field("status.storedVersions"); text != "absent" {
				s.Fail(json.Unmarshal([]byte(text), &versions))
				return answer.status() + " " + spaced(versions)
			}
			return answer.status() + " absent"
		},
		Want: OnlyCRD("200 v2",
			"404 absent",
			"a CRD notes which versions have ever been stored, so that none is dropped too soon; a server has no such object, and its operator must know"),
		Rows:    []string{"Custom Storage", "Multi-versioning"},
		Kubectl: "kubectl get customresourcedefinitions portrules.GROUP -o jsonpath={.status.storedVersions}",
	},
	{
		ID: "custom-storage/reservation", Ask: "of two rules with one endpoint the second is refused, and let in once the first is gone, or has never been there but in a dry run",
		Do: func(s *Side) string {
			const spec = `{endpoint: {host: a.example.com, port: 80}}`
			dry := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("dry", spec)}).status()
			s.Make("one", spec)
			second := s.Create("two", spec).status()
			s.Must(s.Delete("one", ""))
			return fmt.Sprintf("dry run %s, first 201, second %s, after the first %s", dry, second, s.Create("two", spec).status())
		},
		Want: Both("dry run 201, first 201, second 422, after the first 201"),
		Rows: []string{"Custom Storage", "Custom Business Logic"},
	},
	{
		ID: "custom-storage/reservation-outlives", Ask: "whether a rule that is deleted and waits for a finalizer still has its endpoint",
		Do: func(s *Side) string {
			const spec = `{endpoint: {host: one.example.com, port: 80}}`
			s.Must(s.Do(Request{Method: "POST", Path: s.Path("v2"), Body: s.held()}))
			s.Must(s.Delete("one", ""))
			second := s.Create("two", spec).status()
			s.Must(s.Patch(MergePatch, "one", `{metadata: {finalizers: null}}`))
			return second + ", then " + s.Create("two", spec).status()
		},
		Want: Both("422, then 201"),
		Rows: []string{"Custom Storage", "Custom Business Logic", "Finalizers"},
	},
	{
		ID: "custom-logic/who-am-i", Ask: "the caller asks this API who they are, and by whom it was told",
		Do: func(s *Side) string {
			config := s.serviceAccount()
			// the server's own role gives this to everybody
			defer s.grant(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: s.Namespace, Name: "caller"}, true,
				rbacv1.PolicyRule{APIGroups: []string{s.Group}, Resources: []string{callerreview.Resource}, Verbs: []string{"create"}})()
			self := decodeAnswer[authenticationv1.SelfSubjectReview](s, s.Do(Request{
				Config: config, Method: "POST", Path: "/apis/authentication.k8s.io/v1/selfsubjectreviews", Body: `{apiVersion: authentication.k8s.io/v1, kind: SelfSubjectReview}`,
			})).Status.UserInfo
			answer := s.Do(Request{Config: config, Method: "POST", Path: s.GroupPath("v2", callerreview.Resource), Body: `{apiVersion: GROUP/v2, kind: CallerReview}`})
			if answer.Code != http.StatusCreated {
				return answer.status()
			}
			status := decodeAnswer[callerreview.CallerReview](s, answer).Status
			same := status.UserInfo.Username == self.Username && slices.Equal(inOrder(status.UserInfo.Groups), inOrder(self.Groups)) && len(status.UserInfo.Extra) == len(self.Extra)
			return fmt.Sprintf("%s, the same as the kube-apiserver says: %t", status.Authenticator, same)
		},
		Want: OnlyAggregated("404",
			"RequestHeader, the same as the kube-apiserver says: true",
			"the kube-apiserver has authenticated the caller and names them in headers, for which its front-proxy certificate vouches: no TokenReview; a CRD has no code that could answer"),
		Rows: []string{"Custom Business Logic", "Built-in Authentication", "article: authentication"},
	},
	{
		ID: "custom-logic/computed-on-read", Ask: "a rule is read as text for nft, changed, and read again",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			text := func() string {
				answer := s.Do(Request{Path: s.Path("v2", "one", "nftables"), Accept: "*/*"})
				return answer.status() + " " + strconv.FormatBool(bytes.Contains(answer.Body, []byte("# timeoutSeconds: 60\n")))
			}
			before := text()
			s.Must(s.Patch(MergePatch, "one", `{spec: {timeoutSeconds: 60}}`))
			return before + "; " + text()
		},
		Want: OnlyAggregated("404 false; 404 false",
			"200 false; 200 true",
			"a server computes what it answers from what is stored, in the version of that moment; a CRD answers what is stored, and needs a controller that writes a rendering somewhere"),
		Rows:    []string{"Custom Business Logic", "Other Subresources", "article: subresource"},
		Kubectl: "kubectl get --raw /apis/GROUP/v2/namespaces/default/portrules/one/nftables",
	},
	{
		ID: "custom-logic/identity", Ask: "a rule is created whose annotation says that somebody else did",
		Do: func(s *Side) string {
			user := s.NewUser()
			s.Allow(user, []string{"create"}, []string{api.Resource})
			answer := s.Do(Request{User: user, Method: "POST", Path: s.Path("v2"), Body: s.Object("v2", "one", map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{api.RequestedBy: "forger"}},
				"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": "a.example.com", "port": 80}},
			})})
			return answer.status() + ", by them " + strconv.FormatBool(answer.Object().GetAnnotations()[api.RequestedBy] == user)
		},
		Want: Both("201, by them true"),
		Rows: []string{"Custom Business Logic", "Labels and annotations"},
	},
}

// inOrder is a sorted copy.
func inOrder(items []string) []string { return slices.Sorted(slices.Values(items)) }

// spaced are sorted items on one line.
func spaced(items []string) string { return strings.Join(inOrder(items), " ") }

// itemized are sorted items that may have spaces in them; "none" if there are none.
func itemized(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(inOrder(items), "; ")
}

// decodeAnswer decodes the body of an answer that must be there.
func decodeAnswer[T any](s *Side, a *Answer) T {
	var value T
	s.Must(a)
	if s.err == nil {
		s.Fail(json.Unmarshal(a.Body, &value))
	}
	return value
}

// status is the status code alone.
func (a *Answer) status() string { return strconv.Itoa(a.Code) }

// resources are what the discovery of a version has, by name.
func (s *Side) resources(version string) map[string]metav1.APIResource {
	found := map[string]metav1.APIResource{}
	for _, resource := range decodeAnswer[metav1.APIResourceList](s, s.Do(Request{Path: s.GroupPath(version)})).APIResources {
		found[resource.Name] = resource
	}
	return found
}

// discovered is what the document of all groups says of this one.
func (s *Side) discovered() apidiscoveryv2.APIGroupDiscovery {
	all := decodeAnswer[apidiscoveryv2.APIGroupDiscoveryList](s, s.Do(Request{Path: "/apis", Accept: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}))
	for _, group := range all.Items {
		if group.Name == s.Group {
			return group
		}
	}
	s.Fail(fmt.Errorf("the discovery document has no group %s", s.Group))
	return apidiscoveryv2.APIGroupDiscovery{}
}

// registration is the APIService of a version.
func (s *Side) registration(version string) apiregistrationv1.APIService {
	return decodeAnswer[apiregistrationv1.APIService](s, s.Do(Request{Path: "/apis/apiregistration.k8s.io/v1/apiservices/" + version + "." + s.Group}))
}

// available is what an APIService says of its availability.
func available(registration apiregistrationv1.APIService) string {
	for _, condition := range registration.Status.Conditions {
		if condition.Type == apiregistrationv1.Available {
			return fmt.Sprintf("%s %s %s", condition.Type, condition.Status, condition.Reason)
		}
	}
	return "not known"
}

// openapiDocument is as much of an OpenAPI v3 document as the cases look at.
type openapiDocument struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]map[string]any `json:"schemas"`
	} `json:"components"`
}

// openapi is the OpenAPI v3 document of v2. The kube-apiserver learns of it in its
// own time.
func (s *Side) openapi() openapiDocument {
	s.Eventually(func() (string, bool) {
		return "OpenAPI v3 does not list v2", s.openapiIndex()["apis/"+s.Group+"/v2"] != ""
	})
	return decodeAnswer[openapiDocument](s, s.Do(Request{Path: "/openapi/v3/apis/" + s.Group + "/v2"}))
}

// openapiIndex are the URLs of the OpenAPI v3 documents.
func (s *Side) openapiIndex() map[string]string {
	index := decodeAnswer[struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}](s, s.Do(Request{Path: "/openapi/v3"}))
	urls := map[string]string{}
	for path, entry := range index.Paths {
		urls[path] = entry.ServerRelativeURL
	}
	return urls
}

// fieldSchemas are the keywords of each field of a kind, by the field's path. That of
// the object is PortRule, and that of an item ends in [].
type fieldSchemas map[string]map[string]any

// schemas are those of the OpenAPI v3 document of v2.
func (s *Side) schemas() fieldSchemas {
	return s.flatten("v2", s.openapi().Components.Schemas)
}

// swagger are those of the OpenAPI v2 document, which is of all groups together.
func (s *Side) swagger(version string) fieldSchemas {
	var definitions map[string]map[string]any
	s.Eventually(func() (string, bool) {
		definitions = decodeAnswer[struct {
			Definitions map[string]map[string]any `json:"definitions"`
		}](s, s.Do(Request{Path: "/openapi/v2"})).Definitions
		return "OpenAPI v2 does not have the kind", s.modelOf(version, definitions) != nil
	})
	return s.flatten(version, definitions)
}

// modelOf is the model that says that it is the kind PortRule of a version.
func (s *Side) modelOf(version string, models map[string]map[string]any) map[string]any {
	want := map[string]any{"group": s.Group, "version": version, "kind": api.Kind}
	for _, model := range models {
		kinds, _ := model["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			if kind, ok := kind.(map[string]any); ok && maps.Equal(kind, want) {
				return model
			}
		}
	}
	return nil
}

// flatten follows references, apart from that to the metadata.
func (s *Side) flatten(version string, models map[string]map[string]any) fieldSchemas {
	found := fieldSchemas{}
	root := s.modelOf(version, models)
	if root == nil {
		s.Fail(fmt.Errorf("OpenAPI has no model of %s/%s %s", s.Group, version, api.Kind))
		return found
	}
	var walk func(path string, model map[string]any)
	walk = func(path string, model map[string]any) {
		model = maps.Clone(model)
		reference, _ := model["$ref"].(string)
		if all, ok := model["allOf"].([]any); ok && len(all) == 1 {
			reference, _ = all[0].(map[string]any)["$ref"].(string)
		}
		name := reference[strings.LastIndex(reference, "/")+1:]
		for key, value := range models[name] {
			// what a model says of itself is no description of the field
			if _, ok := model[key]; !ok && key != "description" {
				model[key] = value
			}
		}
		found[path] = model
		if strings.HasSuffix(name, ".ObjectMeta") {
			model["type"] = "ObjectMeta"
			return
		}
		properties, _ := model["properties"].(map[string]any)
		for field, value := range properties {
			walk(strings.TrimPrefix(path+"."+field, api.Kind+"."), value.(map[string]any))
		}
		if items, ok := model["items"].(map[string]any); ok {
			walk(path+"[]", items)
		}
	}
	walk(api.Kind, root)
	return found
}

// say lists the fields that have a keyword, and its value; of several keywords also their
// names.
func (f fieldSchemas) say(keywords ...string) string {
	var found []string
	for path, model := range f {
		for _, keyword := range keywords {
			value, ok := model[keyword]
			if !ok {
				continue
			}
			what := path
			if len(keywords) > 1 {
				what += " " + strings.TrimPrefix(keyword, "x-kubernetes-")
			}
			found = append(found, what+": "+plain(value))
		}
	}
	return itemized(found)
}

// plain is a value of a schema: texts as they are, a set of texts in their order.
func plain(value any) string {
	if text, ok := value.(string); ok && text != "" {
		return text
	}
	if items, ok := value.([]any); ok {
		var texts []string
		for _, item := range items {
			if text, ok := item.(string); ok {
				texts = append(texts, text)
			}
		}
		if len(texts) == len(items) {
			return spaced(texts)
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// count lists the fields that have a list as keyword, and how long it is.
func (f fieldSchemas) count(keyword string) string {
	var found []string
	for path, model := range f {
		if items, ok := model[keyword].([]any); ok {
			found = append(found, fmt.Sprintf("%s: %d", path, len(items)))
		}
	}
	return itemized(found)
}

// kubectl runs kubectl as the administrator, with input, and returns what it says on
// either stream.
func (s *Side) kubectl(input string, args ...string) string {
	if s.err != nil {
		return ""
	}
	program, err := cluster.Binary("kubectl")
	if err != nil {
		s.Fail(err)
		return ""
	}
	dir, err := os.MkdirTemp("", "portrule-kubectl-")
	if err != nil {
		s.Fail(err)
		return ""
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	s.Fail(cluster.WriteKubeconfig(kubeconfig, cluster.Context{Name: "parity", Config: s.Bed.Admin}))
	command := exec.CommandContext(s.ctx, program, append([]string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + filepath.Join(dir, "cache")}, args...)...)
	command.Stdin = strings.NewReader(input)
	said, err := command.CombinedOutput()
	if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
		s.Fail(fmt.Errorf("run kubectl: %w", err))
	}
	return string(said)
}

// explain is what kubectl explain says about a field of v2: its fields with their types.
func (s *Side) explain(path string) string {
	out := s.kubectl("", "explain", path, "--api-version", s.Group+"/v2")
	return fieldsOf(out)
}

var explained = regexp.MustCompile(`(?m)^  ([a-zA-Z]+)\t(.*)$(?:\n  (enum: .*)$)?`)

// fieldsOf shortens what kubectl explain says.
func fieldsOf(text string) string {
	var found []string
	for _, match := range explained.FindAllStringSubmatch(text, -1) {
		found = append(found, strings.TrimSpace(match[1]+" "+match[2]+" "+match[3]))
	}
	if len(found) == 0 {
		return strings.TrimSpace(text)
	}
	return strings.Join(found, "; ")
}

// allVerbs are those of a resource.
var allVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// try makes a request of a verb as a user, about the rule one where it is about one rule.
// What it writes is a dry run.
func (s *Side) try(user, verb string) *Answer {
	request := Request{User: user, Path: s.Path("v2")}
	switch verb {
	case "get":
		request.Path += "/one"
	case "watch":
		return &Answer{side: s, Code: s.statusCode(Request{User: user, Path: s.Path("v2") + "?watch=true"})}
	case "create":
		request.Method, request.Path, request.Body = "POST", request.Path+"?dryRun=All", s.Rule("new", "{}")
	case "update":
		request.Method, request.Path, request.Body = "PUT", request.Path+"/one?dryRun=All", string(s.Get("one").Body)
	case "patch":
		request.Method, request.Path, request.Type, request.Body = "PATCH", request.Path+"/one?dryRun=All", MergePatch, "{spec: {replicas: 2}}"
	case "delete":
		request.Method, request.Path = "DELETE", request.Path+"/one?dryRun=All"
	case "deletecollection":
		request.Method, request.Path = "DELETE", request.Path+"?dryRun=All"
	}
	return s.Do(request)
}

// statusCode is the status code of an answer that is not read, as that of a watch.
func (s *Side) statusCode(r Request) int {
	response := s.Open(r)
	if response == nil {
		return 0
	}
	s.Fail(response.Body.Close())
	return response.StatusCode
}

// mayDo asks the kube-apiserver.
func (s *Side) mayDo(spec authorizationv1.SubjectAccessReviewSpec) bool {
	if s.err != nil {
		return false
	}
	review, err := s.Clientset.AuthorizationV1().SubjectAccessReviews().Create(s.ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		s.Fail(err)
		return false
	}
	return review.Status.Allowed
}

// grant is [Side.Allow] for any subject and any rule, in the namespace or everywhere. It
// returns once the rule is in force. revoke takes it back, and need not be called if it is
// in the namespace.
func (s *Side) grant(subject rbacv1.Subject, everywhere bool, rule rbacv1.PolicyRule) (revoke func()) {
	if s.err != nil {
		return func() {}
	}
	if subject.Kind != rbacv1.ServiceAccountKind {
		subject.APIGroup = rbacv1.GroupName
	}
	meta := metav1.ObjectMeta{Name: s.Namespace + "-" + utilrand.String(4)}
	client, rules := s.Clientset.RbacV1(), []rbacv1.PolicyRule{rule}
	ctx := context.WithoutCancel(s.ctx)
	if everywhere {
		_, err := client.ClusterRoles().Create(s.ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		s.Fail(err)
		_, err = client.ClusterRoleBindings().Create(s.ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name}, Subjects: []rbacv1.Subject{subject},
		}, metav1.CreateOptions{})
		s.Fail(err)
		revoke = func() {
			s.Fail(errors.Join(client.ClusterRoleBindings().Delete(ctx, meta.Name, metav1.DeleteOptions{}), client.ClusterRoles().Delete(ctx, meta.Name, metav1.DeleteOptions{})))
		}
	} else {
		_, err := client.Roles(s.Namespace).Create(s.ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		s.Fail(err)
		_, err = client.RoleBindings(s.Namespace).Create(s.ctx, &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name}, Subjects: []rbacv1.Subject{subject},
		}, metav1.CreateOptions{})
		s.Fail(err)
		revoke = func() { s.Fail(client.RoleBindings(s.Namespace).Delete(ctx, meta.Name, metav1.DeleteOptions{})) }
	}
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	attributes := &authorizationv1.ResourceAttributes{Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: subresource}
	if !everywhere {
		attributes.Namespace = s.Namespace
	}
	if len(rule.ResourceNames) > 0 {
		attributes.Name = rule.ResourceNames[0]
	}
	spec := authorizationv1.SubjectAccessReviewSpec{User: subject.Name, ResourceAttributes: attributes}
	switch subject.Kind {
	case rbacv1.GroupKind:
		spec.User, spec.Groups = "somebody", []string{subject.Name}
	case rbacv1.ServiceAccountKind:
		spec.User = "system:serviceaccount:" + subject.Namespace + ":" + subject.Name
	}
	s.Eventually(func() (string, bool) { return "the rule is not in force", s.mayDo(spec) })
	return revoke
}

// certified is the client configuration of an ordinary user with a client certificate.
func (s *Side) certified(name string) *rest.Config {
	if s.err != nil {
		return rest.AnonymousClientConfig(s.Bed.Admin)
	}
	config, credential, err := s.Bed.User(s.ctx, name)
	if err != nil {
		s.Fail(err)
		return rest.AnonymousClientConfig(s.Bed.Admin)
	}
	if credential != cluster.ClientCertificate {
		s.Fail(fmt.Errorf("users of this cluster have a %s, not a client certificate", credential))
	}
	return config
}

// account is the name of the service account that cases use.
const account = "caller"

// serviceAccount is the client configuration of the service account of the namespace, which
// it makes.
func (s *Side) serviceAccount() *rest.Config {
	if s.err != nil {
		return rest.AnonymousClientConfig(s.Bed.Admin)
	}
	config, err := cluster.ServiceAccount(s.ctx, s.Clientset, s.Bed.Admin, s.Namespace, account)
	if err != nil {
		s.Fail(err)
		return rest.AnonymousClientConfig(s.Bed.Admin)
	}
	return config
}

// accountName is the user name of the service account of the namespace.
func (s *Side) accountName() string { return "system:serviceaccount:" + s.Namespace + ":" + account }

// accountToken is one of a service account of the namespace.
func (s *Side) accountToken(account string, spec authenticationv1.TokenRequestSpec) string {
	if s.err != nil {
		return ""
	}
	request, err := s.Clientset.CoreV1().ServiceAccounts(s.Namespace).CreateToken(s.ctx, account, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		s.Fail(err)
		return ""
	}
	return request.Status.Token
}

// matching matches requests for a resource of the group, in every version, in the
// namespace and no other.
func (s *Side) matching(resource string, operation admissionregistrationv1.OperationType) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.Namespace}},
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{operation},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{s.Group}, APIVersions: []string{"v2"}, Resources: []string{resource}},
		}}},
	}
}

// policy makes a ValidatingAdmissionPolicy and binds it, to the creates of the namespace
// unless it says otherwise. remove removes it.
func (s *Side) policy(spec admissionregistrationv1.ValidatingAdmissionPolicySpec) (remove func()) {
	return s.policyWith(spec, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
}

// policyWith is policy with what its binding says; it denies unless that says otherwise.
func (s *Side) policyWith(spec admissionregistrationv1.ValidatingAdmissionPolicySpec, binding admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec) (remove func()) {
	if s.err != nil {
		return func() {}
	}
	if spec.MatchConstraints == nil {
		spec.MatchConstraints = s.matching(api.Resource, admissionregistrationv1.Create)
	}
	if binding.ValidationActions == nil {
		binding.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
	}
	meta := metav1.ObjectMeta{Name: s.Namespace}
	binding.PolicyName = meta.Name
	client := s.Clientset.AdmissionregistrationV1()
	_, err := client.ValidatingAdmissionPolicies().Create(s.ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{})
	s.Fail(err)
	_, err = client.ValidatingAdmissionPolicyBindings().Create(s.ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: binding}, metav1.CreateOptions{})
	s.Fail(err)
	return func() {
		ctx := context.WithoutCancel(s.ctx)
		s.Fail(errors.Join(
			client.ValidatingAdmissionPolicyBindings().Delete(ctx, meta.Name, metav1.DeleteOptions{}),
			client.ValidatingAdmissionPolicies().Delete(ctx, meta.Name, metav1.DeleteOptions{})))
	}
}

// mutatingPolicy makes a MutatingAdmissionPolicy that applies an object, in CEL, to the
// rules that are created in the namespace. remove removes it.
func (s *Side) mutatingPolicy(expression string) (remove func()) {
	if s.err != nil {
		return func() {}
	}
	meta := metav1.ObjectMeta{Name: s.Namespace}
	client := s.Clientset.AdmissionregistrationV1()
	_, err := client.MutatingAdmissionPolicies().Create(s.ctx, &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints:   s.matching(api.Resource, admissionregistrationv1.Create),
		ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		Mutations: []admissionregistrationv1.Mutation{{
			PatchType:          admissionregistrationv1.PatchTypeApplyConfiguration,
			ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: expression},
		}},
	}}, metav1.CreateOptions{})
	s.Fail(err)
	_, err = client.MutatingAdmissionPolicyBindings().Create(s.ctx, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: meta, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: meta.Name},
	}, metav1.CreateOptions{})
	s.Fail(err)
	return func() {
		ctx := context.WithoutCancel(s.ctx)
		s.Fail(errors.Join(
			client.MutatingAdmissionPolicyBindings().Delete(ctx, meta.Name, metav1.DeleteOptions{}),
			client.MutatingAdmissionPolicies().Delete(ctx, meta.Name, metav1.DeleteOptions{})))
	}
}

// refused asks until it is refused, which shows that a policy is in force. What is asked
// afterwards may come to another replica of the server, where it is not yet.
func (s *Side) refused(r Request) *Answer {
	var answer *Answer
	s.Eventually(func() (string, bool) {
		answer = s.Do(r)
		return answer.Outcome(), answer.Code >= 400
	})
	return answer
}

// denies is what stands before the message of a policy in that of the refusal.
const denies = "denied request: "

// What a policy may tell of a caller, for [Side.told].
const (
	identity   = "request.userInfo.username + ' in ' + request.userInfo.groups.join(' ')"
	everything = identity + " + (has(request.userInfo.extra) ? ', ' + request.userInfo.extra.map(key, key + '=' + request.userInfo.extra[key].join(',')).join(' ') : '')"
)

// told creates a rule of v2, unless the request is another, where a policy refuses it and
// says in CEL what it was told about the request: that is what the server knows that
// checks the rule.
func (s *Side) told(expression string, r Request) string {
	defer s.policy(admissionregistrationv1.ValidatingAdmissionPolicySpec{Validations: []admissionregistrationv1.Validation{
		{Expression: "false", MessageExpression: expression},
	}})()
	r.Method = http.MethodPost
	if r.Path == "" {
		r.Path, r.Body = s.Path("v2")+"?dryRun=All", s.Rule("one", "{}")
	}
	return s.Eventually(func() (string, bool) {
		outcome := s.Do(r).Outcome()
		_, message, ok := strings.Cut(outcome, denies)
		if !ok {
			return outcome, false
		}
		return message, true
	})
}

// webhook asks for a rule where a webhook is to be called that nobody answers, until it is
// called.
func (s *Side) webhook(kind string, policy admissionregistrationv1.FailurePolicyType) string {
	if s.err != nil {
		return ""
	}
	meta := metav1.ObjectMeta{Name: s.Namespace}
	const name = "unreachable.portrule.example"
	where := admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")}
	matching := s.matching(api.Resource, admissionregistrationv1.Create)
	rules := []admissionregistrationv1.RuleWithOperations{matching.ResourceRules[0].RuleWithOperations}
	effects, timeout, versions := ptr.To(admissionregistrationv1.SideEffectClassNone), ptr.To(int32(1)), []string{"v1"}
	client, ctx := s.Clientset.AdmissionregistrationV1(), context.WithoutCancel(s.ctx)
	if kind == "mutating" {
		_, err := client.MutatingWebhookConfigurations().Create(s.ctx, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: name, ClientConfig: where, Rules: rules, NamespaceSelector: matching.NamespaceSelector, FailurePolicy: &policy,
			SideEffects: effects, TimeoutSeconds: timeout, AdmissionReviewVersions: versions,
		}}}, metav1.CreateOptions{})
		s.Fail(err)
		defer func() { s.Fail(client.MutatingWebhookConfigurations().Delete(ctx, meta.Name, metav1.DeleteOptions{})) }()
	} else {
		_, err := client.ValidatingWebhookConfigurations().Create(s.ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: name, ClientConfig: where, Rules: rules, NamespaceSelector: matching.NamespaceSelector, FailurePolicy: &policy,
			SideEffects: effects, TimeoutSeconds: timeout, AdmissionReviewVersions: versions,
		}}}, metav1.CreateOptions{})
		s.Fail(err)
		defer func() {
			s.Fail(client.ValidatingWebhookConfigurations().Delete(ctx, meta.Name, metav1.DeleteOptions{}))
		}()
	}
	return s.Eventually(func() (string, bool) {
		answer := s.Do(Request{Method: "POST", Path: s.Path("v2") + "?dryRun=All", Body: s.Rule("one", "{}")})
		return answer.Outcome(), answer.Code >= 400
	})
}

// heldNamespace makes a namespace that stays, once it is deleted, until end.
func (s *Side) heldNamespace() (name string, end func()) {
	name = s.NewNamespace()
	hold := func(ctx context.Context, finalizers string) error {
		_, err := s.Clientset.CoreV1().Namespaces().Patch(ctx, name, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{})
		return err
	}
	if s.err == nil {
		s.Fail(hold(s.ctx, `["portrule.example/hold"]`))
	}
	return name, func() { s.Fail(hold(context.WithoutCancel(s.ctx), "null")) }
}

// held is the rule one, with a finalizer that nobody removes.
func (s *Side) held() string {
	return s.Object("v2", "one", map[string]any{
		"metadata": map[string]any{"finalizers": []string{"portrule.example/hold"}},
		"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": "one.example.com", "port": 80}},
	})
}

// owned makes the rule one, and the ConfigMap owned that it owns, and returns once the
// garbage collector knows that: it sees ConfigMaps in the order in which they come, and
// has collected a later one, of an owner that never was.
func (s *Side) owned() {
	rule := s.Make("one", "{}").Object()
	if s.err != nil {
		return
	}
	for _, owner := range []struct {
		of string
		metav1.OwnerReference
	}{
		{"owned", metav1.OwnerReference{APIVersion: s.Group + "/v2", Kind: api.Kind, Name: "one", UID: rule.GetUID()}},
		{"waif", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "absent", UID: uuid.NewUUID()}},
	} {
		_, err := s.Clientset.CoreV1().ConfigMaps(s.Namespace).Create(s.ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: owner.of, OwnerReferences: []metav1.OwnerReference{owner.OwnerReference}},
		}, metav1.CreateOptions{})
		s.Fail(err)
	}
	s.Eventually(func() (string, bool) {
		return "the garbage collector does not collect", s.Do(Request{Path: "/api/v1/namespaces/" + s.Namespace + "/configmaps/waif"}).Code == http.StatusNotFound
	})
}

// counted is the name by which a ResourceQuota counts rules.
func (s *Side) counted() corev1.ResourceName {
	return corev1.ResourceName("count/" + api.Resource + "." + s.Group)
}

// quota makes a ResourceQuota of one rule, which has been used up, and returns once it is
// in force. Which it is, a Secret shows, of which it allows none.
func (s *Side) quota() {
	if s.err != nil {
		return
	}
	const secrets = corev1.ResourceName("count/secrets")
	hard := corev1.ResourceList{s.counted(): resource.MustParse("0"), secrets: resource.MustParse("0")}
	quotas := s.Clientset.CoreV1().ResourceQuotas(s.Namespace)
	quota, err := quotas.Create(s.ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "rules"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{})
	if err != nil {
		s.Fail(err)
		return
	}
	s.Eventually(func() (string, bool) {
		// where no controller does it, the status is written here
		quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{s.counted(): resource.MustParse("0"), secrets: resource.MustParse("0")}}
		if updated, err := quotas.UpdateStatus(s.ctx, quota, metav1.UpdateOptions{}); err == nil {
			quota = updated
		} else if quota, err = quotas.Get(s.ctx, "rules", metav1.GetOptions{}); err != nil {
			s.Fail(err)
			return err.Error(), true
		}
		answer := s.Do(Request{Method: "POST", Path: "/api/v1/namespaces/" + s.Namespace + "/secrets?dryRun=All", Body: `{metadata: {name: one}}`})
		return answer.Outcome(), strings.Contains(answer.Outcome(), "exceeded quota")
	})
}

// audited are the entries of the audit log about the namespace that are chosen, in the
// order in which the requests came, once there are so many.
func (s *Side) audited(n int, chosen func(auditv1.Event) bool) []auditv1.Event {
	var entries []auditv1.Event
	s.Eventually(func() (string, bool) {
		entries = slices.DeleteFunc(s.auditLog(s.Namespace), func(e auditv1.Event) bool {
			return e.ObjectRef == nil || e.ObjectRef.Resource != api.Resource || e.ObjectRef.Namespace != s.Namespace || e.ResponseStatus == nil || !chosen(e)
		})
		return fmt.Sprintf("the audit log has %d of %d entries", len(entries), n), len(entries) >= n
	})
	slices.SortStableFunc(entries, func(a, b auditv1.Event) int {
		return a.RequestReceivedTimestamp.Compare(b.RequestReceivedTimestamp.Time)
	})
	return entries
}

// auditLog are the entries of requests that have been answered, of the lines in which one
// of the words is.
func (s *Side) auditLog(words ...string) []auditv1.Event {
	if s.err != nil {
		return nil
	}
	log, err := s.Bed.AuditLog(s.ctx)
	if err != nil {
		s.Fail(err)
		return nil
	}
	var entries []auditv1.Event
	for line := range bytes.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return bytes.Contains(line, []byte(word)) }) || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		var entry auditv1.Event
		if err := json.Unmarshal(line, &entry); err != nil {
			s.Fail(fmt.Errorf("read the audit log: %w", err))
			return nil
		}
		if entry.Stage == auditv1.StageResponseComplete || entry.Stage == auditv1.StagePanic {
			entries = append(entries, entry)
		}
	}
	return entries
}

// reviews counts the reviews of a kind that the aggregated server asks for while
// something is done. Nothing else may be done meanwhile.
func (s *Side) reviews(resource string, do func()) string {
	const account = "system:serviceaccount:" + aggregatedmanifests.Namespace + ":" + aggregatedmanifests.Name
	mark := func() string {
		path := "/version?mark=" + utilrand.String(16)
		s.Must(s.Do(Request{Path: path}))
		return path
	}
	begin := mark()
	do()
	end := mark()
	count := ""
	s.Eventually(func() (string, bool) {
		var from, to metav1.MicroTime
		entries := s.auditLog(begin, end, account)
		for _, entry := range entries {
			switch entry.RequestURI {
			case begin:
				from = entry.StageTimestamp
			case end:
				to = entry.RequestReceivedTimestamp
			}
		}
		n := 0
		for _, entry := range entries {
			at := entry.RequestReceivedTimestamp.Time
			if entry.User.Username == account && entry.ObjectRef != nil && entry.ObjectRef.Resource == resource && at.After(from.Time) && at.Before(to.Time) {
				n++
			}
		}
		count = strconv.Itoa(n)
		return "the audit log is not written", !from.IsZero() && !to.IsZero()
	})
	return count
}

// directly asks the server that serves the group, not by way of the kube-apiserver. direct
// is a client of it without a credential. Where the group is the kube-apiserver's own,
// there is nothing to ask.
func (s *Side) directly(ask func(direct *rest.Config) string) string {
	registration := s.registration("v2")
	if s.err != nil || registration.Spec.Service == nil {
		return "there is no other server than the kube-apiserver"
	}
	if server := s.Bed.Server(); server != nil {
		return ask(server.Config(rest.AnonymousClientConfig(s.Bed.Admin)))
	}
	service := registration.Spec.Service
	port, end, err := s.forward(service.Namespace, service.Name)
	if err != nil {
		s.Fail(fmt.Errorf("reach the Pod of the server: %w", err))
		return ""
	}
	defer end()
	return ask(&rest.Config{
		Host:            fmt.Sprintf("https://localhost:%d", port),
		TLSClientConfig: rest.TLSClientConfig{CAData: registration.Spec.CABundle, ServerName: service.Name + "." + service.Namespace + ".svc"},
	})
}

// forward makes a port of this host lead to the first port of a Pod behind a Service.
func (s *Side) forward(namespace, service string) (port uint16, end func(), err error) {
	pods, err := s.Clientset.CoreV1().Pods(namespace).List(s.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + service, FieldSelector: "status.phase=Running"})
	if err != nil {
		return 0, nil, err
	}
	if len(pods.Items) == 0 {
		return 0, nil, fmt.Errorf("no Pod of %s/%s runs", namespace, service)
	}
	pod := pods.Items[0]
	transport, upgrader, err := spdy.RoundTripperFor(s.Bed.Admin)
	if err != nil {
		return 0, nil, err
	}
	url := s.Clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod.Name).SubResource("portforward").URL()
	stop, ready, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url),
		[]string{fmt.Sprintf("0:%d", pod.Spec.Containers[0].Ports[0].ContainerPort)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return 0, nil, err
	}
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-failed:
		return 0, nil, err
	case <-s.ctx.Done():
		close(stop)
		return 0, nil, s.ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		close(stop)
		return 0, nil, err
	}
	return ports[0].Local, func() { close(stop) }, nil
}

// callerReview asks a server who it takes the caller for, and by which authenticator.
func (s *Side) callerReview(r Request) string {
	r.Method, r.Path, r.Body = http.MethodPost, s.GroupPath("v2", callerreview.Resource), `{apiVersion: GROUP/v2, kind: CallerReview}`
	answer := s.Do(r)
	if answer.Code != http.StatusCreated {
		return answer.Outcome()
	}
	status := decodeAnswer[callerreview.CallerReview](s, answer).Status
	return s.Normal(fmt.Sprintf("%s in %s by %s", status.UserInfo.Username, spaced(status.UserInfo.Groups), status.Authenticator))
}
