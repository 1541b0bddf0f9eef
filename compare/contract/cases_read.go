package contract

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	v2 "portrule.example/lab/api/v2"
)

// readCases are about what is read, and how: lists, selectors, watches, tables,
// metadata alone, encodings. They begin with the plain verbs.
var readCases = slices.Concat(crudCases, listCases, selectorCases, watchCases, tableCases, metadataCases, encodingCases, eventCases)

// Why the routes differ, in several cases.
const (
	whyRoutes = "the handler of all CRDs goes by the verb that it makes of method and path; a server built on k8s.io/apiserver, " +
		"like the kube-apiserver for its own kinds, has a go-restful route for each method and path, and refuses what has none"
	whyProtobuf = "a CRD's objects have no Go types from which messages could be made, so that it has protobuf for metadata and errors alone; " +
		"the server's types have generated messages"
	whyTyped = "a CRD's objects are maps, which have what is in them; the server's are Go structs, whose fields without omitempty are always there"
)

// What is asked for, in several cases.
const (
	asTable       = ";as=Table;v=v1;g=meta.k8s.io"
	asPartial     = ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	asPartialList = ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	// protobufOrJSON is what typed clients of built-in kinds ask for.
	protobufOrJSON = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	// sendInitial makes a watch begin with what there is, and say when that is all.
	sendInitial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	// farFuture is a resourceVersion that never comes.
	farFuture = "9223372036854775807"
)

const (
	rawList          = "kubectl get --raw '/apis/GROUP/v2/namespaces/default/portrules?"
	labelPatch       = `{"metadata":{"labels":{%q:%q}}}`
	unsupportedField = "400 BadRequest: field label not supported: "
	notAllowed       = "405 MethodNotAllowed: the server does not allow this method on the requested resource"
	unrecognized     = "400 the object provided is unrecognized (must be of type PortRule): "
)

var crudCases = []Case{
	{
		ID: "crud/create", Ask: "a rule is created, and read",
		Do: func(s *Side) string {
			made := s.Create("one", `{endpoint: {host: a.example.com, port: 80}}`)
			object := made.Object()
			return fmt.Sprintf("%d; generation %d; uid, resourceVersion and time are set: %t; it is stored as it was answered: %t", made.Code, object.GetGeneration(),
				object.GetUID() != "" && object.GetResourceVersion() != "" && !object.GetCreationTimestamp().Time.IsZero(), Compact(made.Body) == Compact(s.Get("one").Body))
		},
		Want:    Both("201; generation 1; uid, resourceVersion and time are set: true; it is stored as it was answered: true"),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl create -f rule.yaml -o yaml",
	},
	{
		ID: "crud/life", Ask: "a rule is created, read, replaced, listed, deleted, and read again",
		Do: func(s *Side) string {
			created := s.Create("one", `{}`)
			read := s.Get("one")
			object := read.Object()
			object.SetLabels(map[string]string{"a": "label"})
			replaced := s.Put("one", readJSON(s, object))
			listed := s.readList("")
			deleted := s.Delete("one", "")
			var codes []string
			for _, a := range []*Answer{created, read, replaced, listed, deleted, s.Get("one")} {
				codes = append(codes, strconv.Itoa(a.Code))
			}
			return fmt.Sprintf("%s; replaced with labels %s; listed %s", strings.Join(codes, " "), replaced.Field("metadata.labels"), listed.Names())
		},
		Want:    Both(`201 200 200 200 200 404; replaced with labels {"a":"label"}; listed one`),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete portrules.GROUP one",
	},
	{
		ID: "crud/delete-answer", Ask: "a rule is deleted",
		Do: func(s *Side) string {
			uid := s.Make("one", `{}`).Object().GetUID()
			deleted := s.Delete("one", "")
			named, _, _ := unstructured.NestedString(deleted.Object().Object, "details", "uid")
			return fmt.Sprintf("%d %s %s; its uid: %t", deleted.Code, deleted.Field("status"), deleted.Field("details"), named == string(uid))
		},
		Want:    Both(`200 "Success" {"group":"GROUP","kind":"portrules","name":"one","uid":"UID"}; its uid: true`),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete portrules.GROUP one -v=8",
	},
	{
		ID: "crud/not-found", Ask: "a rule that there is not is read, replaced, patched and deleted",
		Do: func(s *Side) string {
			var outcomes []string
			for _, a := range []*Answer{s.Get("none"), s.Put("none", s.Rule("none", `{}`)), s.Patch(MergePatch, "none", "{}"), s.Delete("none", "")} {
				outcomes = append(outcomes, a.Outcome()+" "+a.Field("details"))
			}
			return strings.Join(slices.Compact(outcomes), "; ")
		},
		Want:    Both(`404 NotFound: portrules.GROUP "none" not found {"group":"GROUP","kind":"portrules","name":"none"}`),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl get portrules.GROUP none",
	},
	{
		ID: "crud/exists", Ask: "a rule is created under the name of another",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: a.example.com, port: 80}}`)
			again := s.Create("one", `{endpoint: {host: b.example.com, port: 80}}`)
			return again.Outcome() + " " + again.Field("details") + "; it has host " + s.Get("one").Field("spec.endpoint.host")
		},
		Want:    Both(`409 AlreadyExists: portrules.GROUP "one" already exists {"group":"GROUP","kind":"portrules","name":"one"}; it has host "a.example.com"`),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl create -f rule.yaml",
	},
	{
		ID: "crud/head", Ask: "HEAD is asked of a rule and of one that there is not",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var codes []string
			for _, name := range []string{"one", "none"} {
				codes = append(codes, strconv.Itoa(s.Do(Request{Method: http.MethodHead, Path: s.Path("v2", name)}).Code))
			}
			return strings.Join(codes, "; ")
		},
		Want: Differ("200; 404", "405; 405", whyRoutes+"; HEAD is the verb get"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "crud/options", Ask: "OPTIONS is asked of a rule",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return s.Do(Request{Method: http.MethodOptions, Path: s.Path("v2", "one")}).Outcome()
		},
		Want: Differ(`405 MethodNotAllowed:  is not supported on resources of kind "portrules.GROUP"`,
			notAllowed, whyRoutes+"; OPTIONS is no verb, which leaves a blank in the CRD's message"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "crud/post-to-a-name", Ask: "a rule named one is posted to the path of a rule named elsewhere",
		Do: func(s *Side) string {
			posted := s.Do(Request{Method: http.MethodPost, Path: s.Path("v2", "elsewhere"), Body: s.Rule("one", `{}`)})
			return fmt.Sprintf("%s; then there is: %s", posted.Outcome(), s.readList("").Names())
		},
		Want: Differ("201; then there is: one", notAllowed+"; then there is: ",
			whyRoutes+"; POST is the verb create, and the name in the path is not looked at"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "crud/put-without-a-name", Ask: "a rule is put to the path of all rules",
		Do: func(s *Side) string {
			return s.Do(Request{Method: http.MethodPut, Path: s.Path("v2"), Body: s.Rule("one", `{}`)}).Outcome()
		},
		Want: Differ("400 BadRequest: name must be provided", notAllowed, whyRoutes),
		Rows: []string{"CRUD"},
	},
	{
		ID: "crud/unknown-paths", Ask: "a version and a resource that there are not are read, and a rule is posted without a namespace",
		Do: func(s *Side) string {
			var outcomes []string
			for _, r := range []Request{
				{Path: s.GroupPath("v3", "portrules")},
				{Path: s.GroupPath("v2", "nothings")},
				{Method: http.MethodPost, Path: s.GroupPath("v2", "portrules"), Body: s.Rule("one", `{}`)},
			} {
				a := s.Do(r)
				outcomes = append(outcomes, strings.TrimSpace(a.Outcome()+" "+strings.SplitN(a.Header.Get("Content-Type"), ";", 2)[0]))
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Differ("404 text/plain; 404 text/plain; 404 text/plain",
			"404 text/plain; 404 NotFound: the server could not find the requested resource application/json; "+
				notAllowed+" application/json",
			"a version that nobody serves ends at the kube-apiserver's own 404, which is plain text, and so does what the handler of CRDs does not take; "+
				"what is below a version of the server's is passed on to it, and its routes answer"),
		Rows: []string{"CRUD"},
	},
	{
		ID: "crud/https", Ask: "rules are listed by HTTPS, and by HTTP",
		Do: func(s *Side) string {
			by := s.readList("")
			if by.TLS == nil {
				return "not encrypted"
			}
			plain := s.Do(Request{
				Path:   s.Path("v2"),
				Config: &rest.Config{Host: strings.Replace(s.Bed.Admin.Host, "https://", "http://", 1)},
			})
			return fmt.Sprintf("%d by %s over %s, its certificate verified: %t; %d %s", by.Code, by.TLS.NegotiatedProtocol, tls.VersionName(by.TLS.Version),
				len(by.TLS.VerifiedChains) > 0, plain.Code, bytes.TrimSpace(plain.Body))
		},
		Want: Both("200 by h2 over TLS 1.3, its certificate verified: true; 400 Client sent an HTTP request to an HTTPS server."),
		Rows: []string{"HTTPS"},
	},
}

var listCases = []Case{
	{
		ID: "list/empty", Ask: "the rules of a namespace without rules are listed",
		Do: func(s *Side) string {
			a := s.readList("")
			return fmt.Sprintf("%d %s; items %s; continue %s; has a resourceVersion: %t", a.Code, a.Field("kind"), a.Field("items"), a.Field("metadata.continue"), readVersion(s, a.Object()) > 0)
		},
		Want: Differ(`200 "PortRuleList"; items []; continue ""; has a resourceVersion: true`, `200 "PortRuleList"; items []; continue absent; has a resourceVersion: true`,
			"a CRD's lists are maps, in which continue is set, be it to nothing; the server's are Go structs, in which it is left out when empty"),
	},
	{
		ID: "list/kind-of-items", Ask: "rules are listed, and one of them is looked at for its kind",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			a := s.readList("")
			return fmt.Sprintf("list: %s %s; item: %s %s", a.Field("apiVersion"), a.Field("kind"), a.Field("items.0.apiVersion"), a.Field("items.0.kind"))
		},
		Want: Differ(`list: "GROUP/v2" "PortRuleList"; item: "GROUP/v2" "PortRule"`, `list: "GROUP/v2" "PortRuleList"; item: absent absent`,
			"a CRD's objects carry apiVersion and kind wherever they are; of Go types they are filled in at the top of a document alone, here as in a list of Pods"),
	},
	{
		ID: "list/order", Ask: "rules that were created in any order are listed",
		Do: func(s *Side) string {
			for _, name := range []string{"two", "a1", "a.1", "a", "a-1"} {
				s.Make(name, `{}`)
			}
			return s.readList("").Names()
		},
		Want:    Both("a a-1 a.1 a1 two"),
		Kubectl: "kubectl get portrules.GROUP",
	},
	{
		ID: "list/all-namespaces", Ask: "rules of two namespaces are listed together",
		Do: func(s *Side) string {
			mine, other := s.Namespace, s.NewNamespace()
			defer func() {
				s.Fail(s.Clientset.CoreV1().Namespaces().Delete(s.Context(), other, metav1.DeleteOptions{}))
			}()
			labels := map[string]string{"of": mine}
			s.readMake("b", labels)
			s.readMake("c", labels)
			s.Must(s.Do(Request{
				Method: http.MethodPost, Path: s.GroupPath("v2", "namespaces", other, "portrules"),
				Body: s.Object("v2", "a", map[string]any{
					"metadata": map[string]any{"labels": labels},
					"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": "b.example.com", "port": 80}},
				}),
			}))
			list := s.Do(Request{Path: s.GroupPath("v2", "portrules?labelSelector=of%3D"+mine)})
			var found []string
			for _, item := range readItems(s, list) {
				where := "here"
				if item.GetNamespace() == other {
					where = "there"
				}
				found = append(found, where+"/"+item.GetName())
			}
			return strings.Join(found, " ")
		},
		// The other namespace is named after this one, with a dash. The order is that of
		// the keys in etcd, where a slash, which is after the dash, ends the name.
		Want:    Both("there/a here/b here/c"),
		Kubectl: "kubectl get portrules.GROUP --all-namespaces",
	},
	{
		ID: "list/pages", Ask: "rules are listed in pages of three, and while they are, one is deleted and one created",
		Do: func(s *Side) string {
			for i := range 7 {
				s.Make(fmt.Sprintf("rule-%d", i), `{}`)
			}
			page := s.readList("limit=3")
			first := page
			s.Must(s.Delete("rule-6", ""))
			s.Make("rule-5-and-a-half", `{}`)
			var pages []string
			for {
				pages = append(pages, fmt.Sprintf("%s, remaining %s", page.Names(), page.Field("metadata.remainingItemCount")))
				token := readContinue(page)
				if token == "" || page.Code != http.StatusOK {
					break
				}
				if page = s.readList("limit=3&continue=" + token); page.Field("metadata.resourceVersion") != first.Field("metadata.resourceVersion") {
					pages = append(pages, "of another moment")
				}
			}
			return strings.Join(pages, "; ")
		},
		Want:    Both("rule-0 rule-1 rule-2, remaining 4; rule-3 rule-4 rule-5, remaining 1; rule-6, remaining absent"),
		Kubectl: "kubectl get portrules.GROUP --chunk-size=3 -v=6",
	},
	{
		ID: "list/page-of-selected", Ask: "rules that a label selects are listed in pages of two",
		Do: func(s *Side) string {
			for _, name := range []string{"a", "b", "c"} {
				s.readMake(name, map[string]string{"a": "label"})
			}
			s.Make("bare", `{}`)
			page := s.readList("limit=2&labelSelector=a")
			next := s.readList("limit=2&labelSelector=a&continue=" + readContinue(page))
			return fmt.Sprintf("%s, remaining %s; %s", page.Names(), page.Field("metadata.remainingItemCount"), next.Names())
		},
		Want:    Both("a b, remaining absent; c"),
		Kubectl: "kubectl get portrules.GROUP -l a --chunk-size=2 -v=6",
	},
	{
		ID: "list/pages-from-the-cache", Ask: "rules are listed in pages of two, at any resourceVersion",
		Do: func(s *Side) string {
			for _, name := range []string{"a", "b", "c"} {
				s.Make(name, `{}`)
			}
			// any resourceVersion may be one before the last write
			return s.Eventually(func() (string, bool) {
				page := s.readList("limit=2&resourceVersion=0")
				token := readContinue(page)
				outcome := fmt.Sprintf("%s; to be continued: %t", page.Names(), token != "")
				return outcome, page.Names() == "a b c" || token != ""
			})
		},
		Want:    Both("a b c; to be continued: false"),
		Kubectl: rawList + "limit=2&resourceVersion=0'",
	},
	{
		ID: "list/continue-refused", Ask: "a list is continued by no token, by a token and a resourceVersion, and by a token and a resourceVersionMatch",
		Do: func(s *Side) string {
			s.Make("a", `{}`)
			s.Make("b", `{}`)
			token := readContinue(s.readList("limit=1"))
			var outcomes []string
			for _, query := range []string{"continue=!", "continue=" + token + "&resourceVersion=1", "continue=" + token + "&resourceVersionMatch=NotOlderThan"} {
				outcomes = append(outcomes, s.readList("limit=1&"+query).Outcome())
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both("400 BadRequest: invalid continue token: continue key is not valid: illegal base64 data at input byte 0; " +
			"400 BadRequest: specifying resource version is not allowed when using continue; " +
			"422 Invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided; " +
			"resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"),
		Kubectl: rawList + "limit=1&continue=!'",
	},
	{
		ID: "list/inconsistent-continue", Ask: "a list is continued by a token of no moment, which comes with the error about an expired one",
		Do: func(s *Side) string {
			for _, name := range []string{"a", "b", "c"} {
				s.Make(name, `{}`)
			}
			first := s.readList("limit=1")
			s.Must(s.Delete("b", ""))
			s.Make("b-and-a-half", `{}`)
			next := s.readList("continue=" + readOfNoMoment(s, readContinue(first)))
			return fmt.Sprintf("%s; of a later moment: %t", next.Names(), readVersion(s, next.Object()) > readVersion(s, first.Object()))
		},
		Want: Both("b-and-a-half c; of a later moment: true"),
	},
	{
		ID: "list/exact", Ask: "rules are listed exactly as they were, no older than that, and as they are",
		Do: func(s *Side) string {
			s.Make("a", `{}`)
			s.Make("b", `{}`)
			then := s.readNow()
			s.Must(s.Delete("a", ""))
			now := s.readNow()
			var outcomes []string
			for _, query := range []string{
				"resourceVersionMatch=Exact&resourceVersion=" + then, "limit=1&resourceVersionMatch=Exact&resourceVersion=" + then, "limit=1&resourceVersion=" + then,
				"resourceVersionMatch=NotOlderThan&resourceVersion=" + now, "resourceVersion=" + now, "",
			} {
				outcomes = append(outcomes, s.readList(query).Names())
			}
			return strings.Join(outcomes, "; ")
		},
		// a limit and a resourceVersion without a match mean Exact
		Want: Both("a b; a; a; b; b; b"),
	},
	{
		ID: "list/read-your-writes", Ask: "rules are listed right after each of ten writes, without a resourceVersion",
		Do: func(s *Side) string {
			for i := range 10 {
				name := fmt.Sprintf("rule-%d", i)
				created := s.Make(name, `{}`)
				list := s.readList("")
				if names := strings.Fields(list.Names()); len(names) != i+1 || readVersion(s, list.Object()) < readVersion(s, created.Object()) {
					return fmt.Sprintf("after %s: %s", name, list.Names())
				}
			}
			return "each list has what was written"
		},
		Want: Both("each list has what was written"),
	},
	{
		ID: "list/future", Ask: "rules are listed of a resourceVersion that is not yet",
		Do: func(s *Side) string {
			a := s.readList("resourceVersion=" + farFuture)
			return fmt.Sprintf("%s; %s; %s; Retry-After %s", a.Outcome(), a.readMessage(), a.Field("details.causes.0.reason"), a.Header.Get("Retry-After"))
		},
		Want:    Both("504 Timeout: Too large resource version; Timeout: Too large resource version: " + farFuture + `, current: N; "ResourceVersionTooLarge"; Retry-After 1`),
		Kubectl: rawList + "resourceVersion=" + farFuture + "'",
	},
	{
		ID: "list/match-refused", Ask: "rules are listed with combinations of resourceVersion, resourceVersionMatch and sendInitialEvents that mean nothing",
		Do: func(s *Side) string {
			var outcomes []string
			for _, query := range []string{"resourceVersionMatch=Exact", "resourceVersionMatch=Exact&resourceVersion=0", "resourceVersionMatch=Newest&resourceVersion=5", "sendInitialEvents=true"} {
				outcomes = append(outcomes, s.readList(query).Outcome())
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both("422 Invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided; " +
			`422 Invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"; ` +
			`422 Invalid: resourceVersionMatch: Unsupported value: "Newest": supported values: "Exact", "NotOlderThan", ""; ` +
			"422 Invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
		Kubectl: rawList + "resourceVersionMatch=Exact'",
	},
	{
		ID: "list/garbage", Ask: "rules are listed, one is read, and they are watched from a resourceVersion that is none, and listed with a limit that is none",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var outcomes []string
			for _, path := range []string{"?resourceVersion=x", "/one?resourceVersion=x", "?watch=true&resourceVersion=x", "?limit=x"} {
				outcomes = append(outcomes, s.Do(Request{Path: s.Path("v2") + path}).Outcome())
			}
			return strings.Join(outcomes, "; ")
		},
		// a get and a watch do not say whose fault it is, for Pods neither
		Want: Both(`400 BadRequest: invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax; ` +
			`500: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax; ` +
			`500: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax; ` +
			`400 BadRequest: strconv.ParseInt: parsing "x": invalid syntax`),
		Kubectl: rawList + "resourceVersion=x'",
	},
}

var selectorCases = []Case{
	{
		ID: "selectors/labels", Ask: "rules are listed by each operator on labels",
		Do: func(s *Side) string {
			readMakeTiers(s)
			return readSelect(s, "labelSelector", "tier=front", "tier==front", "tier!=front", "tier in (front,back)", "tier notin (back)", "tier", "!tier", "tier=front,env!=dev", "tier in (front),env in ()")
		},
		Want: Both("tier=front: dev web; tier==front: dev web; tier!=front: bare db; tier in (front,back): db dev web; tier notin (back): bare dev web; " +
			"tier: db dev web; !tier: bare; tier=front,env!=dev: web; tier in (front),env in (): "),
		Rows:    []string{"Labels and annotations"},
		Kubectl: "kubectl get portrules.GROUP -l 'tier in (front,back),env!=dev'",
	},
	{
		ID: "selectors/numbers", Ask: "rules are listed by labels that are greater and less than a number",
		Do: func(s *Side) string {
			for name, weight := range map[string]string{"a": "9", "b": "10", "c": "11", "d": "heavy"} {
				s.readMake(name, map[string]string{"weight": weight})
			}
			return readSelect(s, "labelSelector", "weight>9", "weight<11")
		},
		Want:    Both("weight>9: b c; weight<11: a b"),
		Rows:    []string{"Labels and annotations"},
		Kubectl: "kubectl get portrules.GROUP -l 'weight>9'",
	},
	{
		ID: "selectors/malformed-labels", Ask: "rules are listed by label selectors that are none",
		Do: func(s *Side) string {
			return readSelect(s, "labelSelector", "tier in front", "a b", "tier=front,", "a=b=c")
		},
		Want: Both("tier in front: 400 BadRequest: unable to parse requirement: found 'front' expected: '('; " +
			"a b: 400 BadRequest: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt; " +
			"tier=front,: 400 BadRequest: found '', expected: identifier after ','; " +
			"a=b=c: 400 BadRequest: found '=', expected: ',' or 'end of string'"),
		Rows:    []string{"Labels and annotations"},
		Kubectl: rawList + "labelSelector=a%20b'",
	},
	{
		ID: "selectors/metadata", Ask: "rules are listed by name and by namespace",
		Do: func(s *Side) string {
			readMakeTiers(s)
			return readSelect(s, "fieldSelector", "metadata.name=web", "metadata.name!=web", "metadata.name=web,metadata.name=db", "metadata.namespace="+s.Namespace, "metadata.namespace=another")
		},
		Want: Both("metadata.name=web: web; metadata.name!=web: bare db dev; metadata.name=web,metadata.name=db: ; " +
			"metadata.namespace=NAMESPACE: bare db dev web; metadata.namespace=another: "),
		Kubectl: "kubectl get portrules.GROUP --field-selector metadata.name!=web",
	},
	{
		ID: "selectors/spec", Ask: "rules are listed by fields of their spec, as each version has them",
		Do: func(s *Side) string {
			s.Make("web", `{endpoint: {host: web.example.com, port: 80}}`)
			s.Make("db", `{endpoint: {host: db.example.com, port: 5432}}`)
			var outcomes []string
			for _, c := range []struct{ version, selector string }{
				{"v2", "spec.endpoint.host=web.example.com"},
				{"v2", "spec.endpoint.port=5432"},
				{"v2", "spec.endpoint.host!=web.example.com,spec.endpoint.port!=80"},
				{"v1", "spec.host=web.example.com"},
				{"v1", "spec.port=5432"},
			} {
				a := s.Do(Request{Path: s.Path(c.version) + "?fieldSelector=" + Escape(c.selector)})
				outcomes = append(outcomes, c.version+" "+c.selector+": "+a.Names())
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both("v2 spec.endpoint.host=web.example.com: web; v2 spec.endpoint.port=5432: db; v2 spec.endpoint.host!=web.example.com,spec.endpoint.port!=80: db; " +
			"v1 spec.host=web.example.com: web; v1 spec.port=5432: db"),
		Kubectl: "kubectl get portrules.v2.GROUP --field-selector spec.endpoint.port=5432",
	},
	{
		ID: "selectors/unsupported", Ask: "rules are listed by fields that nobody has declared, or that are of the other version",
		Do: func(s *Side) string {
			return readSelect(s, "fieldSelector", "spec.service=nginx", "spec.host=a.example.com", "metadata.uid=1", "metadata.labels.tier=front", "metadata.name", "metadata.name in (a)")
		},
		Want: Both("spec.service=nginx: " + unsupportedField + "spec.service; " +
			"spec.host=a.example.com: " + unsupportedField + "spec.host; " +
			"metadata.uid=1: " + unsupportedField + "metadata.uid; " +
			"metadata.labels.tier=front: " + unsupportedField + "metadata.labels.tier; " +
			"metadata.name: 400 BadRequest: invalid selector: 'metadata.name'; can't understand 'metadata.name'; " +
			"metadata.name in (a): 400 BadRequest: invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'"),
		Kubectl: "kubectl get portrules.GROUP --field-selector spec.service=nginx",
	},
	{
		ID: "selectors/combined", Ask: "rules are listed by a label and a field",
		Do: func(s *Side) string {
			readMakeTiers(s)
			const front = "labelSelector=tier%3Dfront&fieldSelector="
			return fmt.Sprintf("%s; %s; %s", s.readList(front+"metadata.name!%3Dweb").Names(), s.readList(front+"spec.endpoint.host%3Dweb.example.com").Names(), s.readList(front+"metadata.name%3Ddb").Names())
		},
		Want:    Both("dev; web; "),
		Kubectl: "kubectl get portrules.GROUP -l tier=front --field-selector metadata.name!=web",
	},
	{
		ID: "selectors/watch-by-field", Ask: "rules are watched by a field of their spec",
		Do: func(s *Side) string {
			w := s.Watch("fieldSelector=" + Escape("spec.endpoint.port=443") + "&resourceVersion=" + s.readNow())
			defer w.Stop()
			s.Make("plain", `{endpoint: {host: a.example.com, port: 80}}`)
			s.Make("secure", `{endpoint: {host: a.example.com, port: 443}}`)
			s.Must(s.Delete("plain", ""))
			s.Must(s.Delete("secure", ""))
			return readUntil(w, "DELETED secure")
		},
		Want:    Both("ADDED secure; DELETED secure"),
		Rows:    []string{"Watch"},
		Kubectl: "kubectl get portrules.v2.GROUP --field-selector spec.endpoint.port=443 --watch",
	},
	{
		ID: "selectors/delete-collection", Ask: "rules are deleted by a label, a dry run first, then by a field, then all",
		Do: func(s *Side) string {
			readMakeTiers(s)
			var steps []string
			for _, query := range []string{"labelSelector=tier%3Dfront&dryRun=All", "labelSelector=tier%3Dfront", "fieldSelector=metadata.name%3Ddb", ""} {
				a := s.Do(Request{Method: http.MethodDelete, Path: s.Path("v2") + "?" + query})
				steps = append(steps, fmt.Sprintf("%d %s: %s, left: %s", a.Code, a.Field("kind"), a.Names(), s.readList("").Names()))
			}
			return strings.Join(steps, "; ")
		},
		Want: Both(`200 "PortRuleList": dev web, left: bare db dev web; 200 "PortRuleList": dev web, left: bare db; ` +
			`200 "PortRuleList": db, left: bare; 200 "PortRuleList": bare, left: `),
		Rows:    []string{"CRUD"},
		Kubectl: "kubectl delete portrules.GROUP -l tier=front",
	},
}

var watchCases = []Case{
	{
		ID: "watch/each-change-once", Ask: "a rule is created, labelled, given a status, scaled and deleted, and watched meanwhile",
		Do: func(s *Side) string {
			w := s.Watch("resourceVersion=" + s.readNow())
			defer w.Stop()
			s.Make("one", `{}`)
			s.readLabel("one", "a", "label")
			s.Must(s.Do(Request{Method: http.MethodPatch, Path: s.Path("v2", "one", "status"), Type: MergePatch, Body: `{"status":{"replicas":1}}`}))
			s.Must(s.Do(Request{Method: http.MethodPatch, Path: s.Path("v2", "one", "scale"), Type: MergePatch, Body: `{"spec":{"replicas":2}}`}))
			s.Must(s.Delete("one", ""))
			s.Make("end", `{}`)
			var seen []string
			var last uint64
			for {
				event := w.Next()
				seen = append(seen, event.String())
				version := readVersion(s, event.Object)
				if version <= last {
					return strings.Join(seen, "; ") + ": out of order"
				}
				if last = version; event.Object.GetName() != "one" {
					return strings.Join(seen, "; ")
				}
			}
		},
		Want:    Both("ADDED one; MODIFIED one; MODIFIED one; MODIFIED one; DELETED one; ADDED end"),
		Rows:    []string{"Watch"},
		Kubectl: "kubectl get portrules.GROUP --watch-only --output-watch-events",
	},
	{
		ID: "watch/resume", Ask: "a watch breaks, rules are written, and it goes on from the last event",
		Do: func(s *Side) string {
			w := s.Watch("resourceVersion=" + s.readNow())
			s.Make("a", `{}`)
			s.Make("b", `{}`)
			event := w.Next()
			w.Stop()
			s.readLabel("a", "a", "label")
			s.Must(s.Delete("b", ""))
			s.Make("c", `{}`)
			w = s.Watch("resourceVersion=" + event.Object.GetResourceVersion())
			defer w.Stop()
			return event.String() + "; then " + readUntil(w, "ADDED c")
		},
		Want: Both("ADDED a; then ADDED b; MODIFIED a; DELETED b; ADDED c"),
		Rows: []string{"Watch"},
	},
	{
		ID: "watch/what-is-there", Ask: "rules are watched from any resourceVersion, and from none",
		Do: func(s *Side) string {
			s.Make("a", `{}`)
			s.Make("b", `{}`)
			cached, newest := s.Watch("resourceVersion=0"), s.Watch("")
			defer cached.Stop()
			defer newest.Stop()
			s.Make("end", `{}`)
			return readUntil(cached, "ADDED end") + "; and " + readUntil(newest, "ADDED end")
		},
		Want:    Both("ADDED a; ADDED b; ADDED end; and ADDED a; ADDED b; ADDED end"),
		Rows:    []string{"Watch"},
		Kubectl: "kubectl get portrules.GROUP --watch --output-watch-events",
	},
	{
		ID: "watch/initial-events-end", Ask: "rules are streamed instead of listed: a watch with sendInitialEvents",
		Do: func(s *Side) string {
			s.Make("a", `{}`)
			created := s.Make("b", `{}`)
			w := s.Watch(sendInitial)
			defer w.Stop()
			initial := []string{w.Next().String(), w.Next().String()}
			mark := w.Next()
			s.Make("c", `{}`)
			annotations, err := json.Marshal(mark.Object.GetAnnotations())
			s.Fail(err)
			return fmt.Sprintf("%s; %s %s of a %s, no older than the last write: %t; %s", strings.Join(initial, "; "), mark.Type, annotations, mark.Object.GetKind(),
				readVersion(s, mark.Object) >= readVersion(s, created.Object()), readChange(w))
		},
		Want: Both(`ADDED a; ADDED b; BOOKMARK {"k8s.io/initial-events-end":"true"} of a PortRule, no older than the last write: true; ADDED c`),
		Rows: []string{"Watch"},
	},
	{
		ID: "watch/bookmark", Ask: "rules that a watch does not select are written, and it comes to its end",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			// a bookmark comes two seconds before the end, if all goes at its usual pace
			return s.Eventually(func() (string, bool) {
				from := s.readNow()
				w := s.Watch("labelSelector=no-such-label&allowWatchBookmarks=true&timeoutSeconds=4&resourceVersion=" + from)
				defer w.Stop()
				written := s.readLabel("one", "from", from)
				mark := w.Next()
				reaches := mark.Type == "BOOKMARK" && readVersion(s, mark.Object) >= readVersion(s, written.Object())
				return fmt.Sprintf("%s of a %s, past the write: %t", mark.Type, mark.Object.GetKind(), reaches), reaches
			})
		},
		Want: Both("BOOKMARK of a PortRule, past the write: true"),
		Rows: []string{"Watch"},
	},
	{
		ID: "watch/bookmark-body", Ask: "a bookmark is looked at for what is in it beside its resourceVersion",
		Do: func(s *Side) string {
			w := s.Watch(sendInitial)
			defer w.Stop()
			mark := w.Next()
			unstructured.RemoveNestedField(mark.Object.Object, "metadata", "resourceVersion")
			return mark.Type + " " + s.Normal(Compact([]byte(readJSON(s, mark.Object))))
		},
		Want: Differ(`BOOKMARK {"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}`,
			`BOOKMARK {"apiVersion":"GROUP/v2","kind":"PortRule","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}},"spec":{"endpoint":{"host":"","port":0},"service":""}}`,
			whyTyped+": a bookmark is an object that has a resourceVersion alone"),
		Rows: []string{"Watch"},
	},
	{
		ID: "watch/expired", Ask: "rules are watched from a resourceVersion of long ago",
		Do: func(s *Side) string {
			// the watch caches begin after etcd's first revision
			w := s.Watch("resourceVersion=1")
			defer w.Stop()
			event := w.Next()
			return fmt.Sprintf("%d; %s; %s", w.Code, readError(s, event), w.Next())
		},
		Want:    Both("200; ERROR 410 Expired: too old resource version: 1 (N); END "),
		Rows:    []string{"Watch"},
		Needs:   []Need{OlderEtcd},
		Kubectl: rawList + "watch=true&resourceVersion=1'",
	},
	{
		ID: "watch/future", Ask: "rules are watched from a resourceVersion that is not yet, with initial events and without",
		Do: func(s *Side) string {
			without := s.Watch("resourceVersion=" + farFuture + "&timeoutSeconds=1")
			defer without.Stop()
			s.Make("one", `{}`)
			with := s.Watch(sendInitial + "&resourceVersion=" + farFuture)
			defer with.Stop()
			return fmt.Sprintf("%d; %s; and %d; %s", with.Code, readError(s, with.Next()), without.Code, without.Next())
		},
		// without initial events it waits for what may never come
		Want: Both("200; ERROR 504 Timeout: Timeout: Too large resource version: " + farFuture + ", current: N; and 200; END "),
		Rows: []string{"Watch"},
	},
	{
		ID: "watch/refused", Ask: "rules are watched with parameters that mean nothing for a watch",
		Do: func(s *Side) string {
			var outcomes []string
			for _, query := range []string{
				"sendInitialEvents=true", "resourceVersion=5&resourceVersionMatch=NotOlderThan", "sendInitialEvents=true&resourceVersion=5&resourceVersionMatch=Exact",
				"timeoutSeconds=soon", "fieldSelector=spec.service%3Dnginx", "labelSelector=a%20b",
			} {
				outcomes = append(outcomes, s.Watch(query).Refused)
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both("422 Invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan; " +
			"422 Invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided; " +
			"422 Invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan; " +
			`resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"; ` +
			`400 BadRequest: strconv.ParseInt: parsing "soon": invalid syntax; ` + unsupportedField + "spec.service; " +
			"400 BadRequest: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
		Rows: []string{"Watch"},
	},
	{
		ID: "watch/one-name", Ask: "one rule of two is watched: by a field selector, by the old path of watches, and by its own path, which only reads it",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			s.Make("two", `{}`)
			selected := s.Watch("fieldSelector=metadata.name%3Done")
			old := s.readWatch(Request{Path: s.GroupPath("v2", "watch", "namespaces", s.Namespace, "portrules", "one")})
			defer selected.Stop()
			defer old.Stop()
			read := s.Do(Request{Path: s.Path("v2", "one?watch=true")})
			s.readLabel("two", "a", "label")
			s.Must(s.Delete("one", ""))
			return fmt.Sprintf("%s; and %s; and %d %s", readUntil(selected, "DELETED one"), readUntil(old, "DELETED one"), read.Code, read.Field("kind"))
		},
		Want:    Both(`ADDED one; DELETED one; and ADDED one; DELETED one; and 200 "PortRule"`),
		Rows:    []string{"Watch"},
		Kubectl: "kubectl get portrules.GROUP one --watch",
	},
	{
		ID: "watch/selector", Ask: "labels of rules change, so that a watch's selector begins and ceases to select them",
		Do: func(s *Side) string {
			s.readMake("db", map[string]string{"tier": "back"})
			s.readMake("web", map[string]string{"tier": "front"})
			w := s.Watch("labelSelector=tier%3Dfront&resourceVersion=" + s.readNow())
			defer w.Stop()
			s.readLabel("db", "tier", "front")
			s.readLabel("web", "env", "test")
			s.readLabel("db", "tier", "back")
			s.readLabel("db", "env", "test")
			s.readLabel("web", "tier", "back")
			return readUntil(w, "DELETED web")
		},
		Want:    Both("ADDED db; MODIFIED web; DELETED db; DELETED web"),
		Rows:    []string{"Watch"},
		Kubectl: "kubectl get portrules.GROUP -l tier=front --watch-only --output-watch-events",
	},
	{
		ID: "watch/deleted-object", Ask: "a rule is deleted under a watch, and the event is looked at",
		Do: func(s *Side) string {
			made := s.readMake("one", map[string]string{"a": "label"}).Object()
			w := s.Watch("resourceVersion=" + made.GetResourceVersion())
			defer w.Stop()
			s.Must(s.Delete("one", ""))
			event := w.Next()
			return fmt.Sprintf("%s with labels %v, the same uid: %t, a new resourceVersion: %t", event, event.Object.GetLabels(),
				event.Object.GetUID() == made.GetUID(), readVersion(s, event.Object) > readVersion(s, made))
		},
		Want:    Both("DELETED one with labels map[a:label], the same uid: true, a new resourceVersion: true"),
		Rows:    []string{"Watch"},
		Kubectl: "kubectl get portrules.GROUP --watch-only --output-watch-events",
	},
	{
		ID: "watch/timeout", Ask: "rules are watched for one second",
		Do: func(s *Side) string {
			w := s.Watch("timeoutSeconds=1")
			s.Make("one", `{}`)
			return w.Next().String() + "; " + w.Next().Type
		},
		Want:    Both("ADDED one; END"),
		Rows:    []string{"Watch"},
		Kubectl: rawList + "watch=true&timeoutSeconds=1'",
	},
	{
		ID: "watch/websocket", Ask: "rules are watched by a web socket, as browsers do",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			code, event := s.readWebSocket(s.Path("v2") + "?watch=true")
			return fmt.Sprintf("%d %s", code, event)
		},
		Want: Both("101 ADDED one"),
		Rows: []string{"Watch", "UI/CLI Display"},
	},
}

var tableCases = []Case{
	{
		ID: "tables/columns", Ask: "kubectl asks for the table of rules: its columns",
		Do: func(s *Side) string {
			var columns []string
			for _, c := range s.readTable("").ColumnDefinitions {
				column := c.Name + " " + c.Type
				if c.Format != "" {
					column += " " + c.Format
				}
				if c.Priority > 0 {
					column += " wide"
				}
				columns = append(columns, column)
			}
			return strings.Join(columns, ", ")
		},
		Want:    Both("Name string name, Service string, Host string, Port integer, Protocol string wide, Ready string wide, Age date"),
		Rows:    []string{"UI/CLI Display"},
		Kubectl: "kubectl get portrules.GROUP -o wide",
	},
	{
		ID: "tables/descriptions", Ask: "kubectl asks for the table of rules: how its columns are described",
		Do: func(s *Side) string {
			var columns []string
			for _, c := range s.readTable("").ColumnDefinitions {
				sentence, _, _ := strings.Cut(c.Description, ". ")
				columns = append(columns, c.Name+": "+sentence)
			}
			return strings.Join(columns, "; ")
		},
		Want: Differ("Name: Name must be unique within a namespace; Service: The service that the port belongs to; Host: The host of the endpoint; "+
			"Port: The port of the endpoint; Protocol: The transport protocol of the endpoint; Ready: Whether the rule is in force; "+
			"Age: Custom resource definition column (in JSONPath format): .metadata.creationTimestamp",
			"Name: Name must be unique within a namespace; Service: The service that the port belongs to; Host: The host of the endpoint; "+
				"Port: The port of the endpoint; Protocol: The transport protocol of the endpoint; Ready: Whether the rule is in force; "+
				"Age: CreationTimestamp is a timestamp representing the server time when this object was created",
			"a column of a CRD that has no description is described by its JSONPath; the server describes Age as the kube-apiserver does for its own kinds"),
		Rows: []string{"UI/CLI Display"},
	},
	{
		ID: "tables/cells", Ask: "kubectl asks for the table of rules in v2 and in v1: its cells",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: a.example.com, port: 80}}`)
			s.Make("two", `{service: dns, endpoint: {host: "2001:db8::1", port: 53, protocol: udp}}`)
			for _, name := range []string{"one", "two"} {
				s.Must(s.Do(Request{
					Method: http.MethodPatch, Path: s.Path("v2", name, "status"), Type: MergePatch,
					Body: `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Carried","message":"","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`,
				}))
			}
			v2, v1 := s.readTable(""), s.readTableOf(s.Path("v1"))
			return readCells(v2) + "; the same in v1: " + strconv.FormatBool(readCells(v2) == readCells(v1))
		},
		Want:    Both(`["one","nginx","a.example.com",80,"tcp","True",AGE] ["two","dns","2001:db8::1",53,"udp","True",AGE]; the same in v1: true`),
		Rows:    []string{"UI/CLI Display"},
		Kubectl: "kubectl get portrules.GROUP -o wide",
	},
	{
		ID: "tables/absent", Ask: "kubectl asks for the table of a rule that has no status",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: a.example.com, port: 80}}`)
			return readCells(s.readTable("/one"))
		},
		Want: Differ(`["one","nginx","a.example.com",80,"tcp",null,AGE]`, `["one","nginx","a.example.com",80,"tcp","",AGE]`,
			"a CRD's cell is null where its JSONPath finds nothing; the server's cell is a Go string; kubectl shows both as blank"),
		Rows:    []string{"UI/CLI Display"},
		Kubectl: "kubectl get portrules.GROUP one -o wide",
	},
	{
		ID: "tables/include-object", Ask: "the table of a rule is asked for with includeObject None, Metadata, Object, nothing, and garbage",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var kinds []string
			for _, include := range []string{"?includeObject=None", "?includeObject=Metadata", "?includeObject=Object", ""} {
				row := s.Do(Request{Path: s.Path("v2", "one"+include), Accept: runtime.ContentTypeJSON + asTable})
				kinds = append(kinds, row.Field("rows.0.object.kind")+" spec.service "+row.Field("rows.0.object.spec.service"))
			}
			return strings.Join(kinds, "; ") + "; " + s.Do(Request{Path: s.Path("v2", "one?includeObject=x"), Accept: runtime.ContentTypeJSON + asTable}).Outcome()
		},
		Want: Both(`absent spec.service absent; "PartialObjectMetadata" spec.service absent; "PortRule" spec.service "nginx"; "PartialObjectMetadata" spec.service absent; ` +
			`400 BadRequest: Unable to convert to Table as requested: includeObject: Invalid value: "x": must be 'Metadata', 'Object', 'None', or empty`),
		Rows: []string{"UI/CLI Display"},
	},
	{
		ID: "tables/page", Ask: "the table of rules is asked for in pages",
		Do: func(s *Side) string {
			for _, name := range []string{"a", "b", "c"} {
				s.Make(name, `{}`)
			}
			first := s.readTable("?limit=2")
			remaining := int64(-1)
			if first.RemainingItemCount != nil {
				remaining = *first.RemainingItemCount
			}
			next := s.readTable("?limit=2&continue=" + first.Continue)
			return fmt.Sprintf("%d rows, remaining %d, columns %d; %d row, columns %d", len(first.Rows), remaining, len(first.ColumnDefinitions), len(next.Rows), len(next.ColumnDefinitions))
		},
		Want:    Both("2 rows, remaining 1, columns 7; 1 row, columns 7"),
		Rows:    []string{"UI/CLI Display"},
		Kubectl: "kubectl get portrules.GROUP --chunk-size=2 -v=8",
	},
	{
		ID: "tables/watch", Ask: "rules are watched as tables",
		Do: func(s *Side) string {
			s.Make("a", `{endpoint: {host: a.example.com, port: 80}}`)
			w := s.readWatch(Request{Path: s.Path("v2") + "?watch=true", Accept: runtime.ContentTypeJSON + asTable})
			defer w.Stop()
			var events []string
			for i := range 2 {
				if i == 1 {
					s.Make("b", `{endpoint: {host: b.example.com, port: 80}}`)
				}
				event := w.Next()
				var table metav1.Table
				s.Fail(runtime.DefaultUnstructuredConverter.FromUnstructured(event.Object.Object, &table))
				cells := 0
				for _, row := range table.Rows {
					cells += len(row.Cells)
				}
				events = append(events, fmt.Sprintf("%s %s with %d columns, %d row of %d cells", event.Type, table.Kind, len(table.ColumnDefinitions), len(table.Rows), cells))
			}
			return strings.Join(events, "; ")
		},
		Want:    Both("ADDED Table with 7 columns, 1 row of 7 cells; ADDED Table with 0 columns, 1 row of 7 cells"),
		Rows:    []string{"UI/CLI Display", "Watch"},
		Kubectl: "kubectl get portrules.GROUP --watch",
	},
	{
		ID: "tables/bookmark", Ask: "a bookmark in a watch of tables is looked at",
		Do: func(s *Side) string {
			w := s.readWatch(Request{Path: s.Path("v2") + "?watch=true&" + sendInitial, Accept: runtime.ContentTypeJSON + asTable})
			defer w.Stop()
			event := w.Next()
			rows, _, err := unstructured.NestedSlice(event.Object.Object, "rows")
			s.Fail(err)
			if len(rows) != 1 {
				return fmt.Sprintf("%s with %d rows", event.Type, len(rows))
			}
			cells, err := json.Marshal(rows[0].(map[string]any)["cells"])
			s.Fail(err)
			return event.Type + " " + strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(cells))
		},
		Want: Differ(`BOOKMARK ["",null,null,null,null,null,null]`, `BOOKMARK ["","","",0,"","","<unknown>"]`, whyTyped+": a bookmark is an object that has a resourceVersion alone"),
		Rows: []string{"UI/CLI Display", "Watch"},
	},
	{
		ID: "tables/scale", Ask: "the table of a rule's scale is asked for",
		Do: func(s *Side) string {
			s.Make("one", `{replicas: 3}`)
			table := s.readTable("/one/scale")
			var columns []string
			for _, c := range table.ColumnDefinitions {
				columns = append(columns, c.Name+" "+c.Type)
			}
			return strings.Join(columns, ", ") + ": " + readCells(table)
		},
		Want:    Both(`Name string, Desired integer, Available integer, Age date: ["one",3,0,AGE]`),
		Rows:    []string{"UI/CLI Display", "Scale Subresource"},
		Kubectl: "kubectl get portrules.GROUP one --subresource=scale",
	},
	{
		ID: "tables/versions", Ask: "a table is asked for in v1beta1, in a version that there is not, and in that or as a plain object",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			const unknown = runtime.ContentTypeJSON + ";as=Table;v=v9;g=meta.k8s.io"
			var outcomes []string
			for _, accept := range []string{runtime.ContentTypeJSON + ";as=Table;v=v1beta1;g=meta.k8s.io", unknown, unknown + "," + runtime.ContentTypeJSON} {
				a := s.Do(Request{Path: s.Path("v2", "one"), Accept: accept})
				outcomes = append(outcomes, fmt.Sprintf("%d %s %s", a.Code, a.Field("apiVersion"), a.Field("kind")))
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both(`200 "meta.k8s.io/v1beta1" "Table"; 406 "v1" "Status"; 200 "GROUP/v2" "PortRule"`),
		Rows: []string{"UI/CLI Display"},
	},
}

var metadataCases = []Case{
	{
		ID: "metadata/object", Ask: "the metadata alone of a rule is read",
		Do: func(s *Side) string {
			whole := s.readMake("one", map[string]string{"a": "label"})
			a := s.Do(Request{Path: s.Path("v2", "one"), Accept: runtime.ContentTypeJSON + asPartial})
			return fmt.Sprintf("%d %s %s, spec %s; the same metadata: %t", a.Code, a.Field("apiVersion"), a.Field("kind"), a.Field("spec"), a.Field("metadata") == whole.Field("metadata"))
		},
		Want: Both(`200 "meta.k8s.io/v1" "PartialObjectMetadata", spec absent; the same metadata: true`),
		Rows: []string{"Labels and annotations"},
	},
	{
		ID: "metadata/list", Ask: "the metadata alone of rules is listed, in a page",
		Do: func(s *Side) string {
			for _, name := range []string{"a", "b", "c"} {
				s.readMake(name, map[string]string{"a": "label"})
			}
			a := s.Do(Request{Path: s.Path("v2") + "?limit=2", Accept: runtime.ContentTypeJSON + asPartialList})
			return fmt.Sprintf("%s of %s, spec %s: %s, remaining %s", a.Field("kind"), a.Field("items.0.kind"), a.Field("items.0.spec"), a.Names(), a.Field("metadata.remainingItemCount"))
		},
		Want: Both(`"PartialObjectMetadataList" of "PartialObjectMetadata", spec absent: a b, remaining 1`),
		Rows: []string{"Labels and annotations"},
	},
	{
		ID: "metadata/watch", Ask: "the metadata alone of rules is watched, as garbage collection does",
		Do: func(s *Side) string {
			w := s.readWatch(Request{Path: s.Path("v2") + "?watch=true&resourceVersion=" + s.readNow(), Accept: runtime.ContentTypeJSON + asPartial})
			defer w.Stop()
			s.Make("one", `{}`)
			s.Must(s.Delete("one", ""))
			var events []string
			for range 2 {
				event := w.Next()
				_, spec := event.Object.Object["spec"]
				events = append(events, fmt.Sprintf("%s, a %s, with spec: %t", event, event.Object.GetKind(), spec))
			}
			return strings.Join(events, "; ")
		},
		Want: Both("ADDED one, a PartialObjectMetadata, with spec: false; DELETED one, a PartialObjectMetadata, with spec: false"),
		Rows: []string{"Watch"},
	},
	{
		ID: "metadata/patch", Ask: "a rule is patched, and its metadata alone is answered",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			a := s.Do(Request{
				Method: http.MethodPatch, Path: s.Path("v2", "one"), Type: MergePatch, Accept: runtime.ContentTypeJSON + asPartial,
				Body: fmt.Sprintf(labelPatch, "a", "label"),
			})
			return fmt.Sprintf("%d %s with labels %s, spec %s; stored labels %s", a.Code, a.Field("kind"), a.Field("metadata.labels"), a.Field("spec"), s.Get("one").Field("metadata.labels"))
		},
		Want: Both(`200 "PartialObjectMetadata" with labels {"a":"label"}, spec absent; stored labels {"a":"label"}`),
		Rows: []string{"Labels and annotations"},
	},
	{
		ID: "metadata/protobuf", Ask: "the metadata alone of a rule and of all is read in protobuf",
		Do: func(s *Side) string {
			s.readMake("one", map[string]string{"a": "label"})
			object := s.Do(Request{Path: s.Path("v2", "one"), Accept: runtime.ContentTypeProtobuf + asPartial})
			list := s.Do(Request{Path: s.Path("v2"), Accept: runtime.ContentTypeProtobuf + asPartialList})
			var partial metav1.PartialObjectMetadata
			var partials metav1.PartialObjectMetadataList
			object.readProtobuf(&partial)
			list.readProtobuf(&partials)
			return fmt.Sprintf("%s: %s with labels %v; %s: %d", object.readKind(), partial.Name, partial.Labels, list.readKind(), len(partials.Items))
		},
		Want: Both("200 application/vnd.kubernetes.protobuf meta.k8s.io/v1 PartialObjectMetadata: one with labels map[a:label]; " +
			"200 application/vnd.kubernetes.protobuf meta.k8s.io/v1 PartialObjectMetadataList: 1"),
		Rows: []string{"Protocol Buffers"},
	},
	{
		ID: "metadata/list-of-an-object", Ask: "an object is asked for as a list of metadata",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return s.Do(Request{Path: s.Path("v2", "one"), Accept: runtime.ContentTypeJSON + asPartialList}).Outcome()
		},
		Want: Differ("500: content is not a list", "406 NotAcceptable: you requested PartialObjectMetadataList, but the requested object is not a list (*v2.PortRule)",
			"k8s.io/apiserver takes for a list whatever has a list's methods, which an unstructured object has, and fails when it looks for the items"),
	},
}

var encodingCases = []Case{
	{
		ID: "encodings/yaml", Ask: "a rule is written and read in YAML",
		Do: func(s *Side) string {
			body, err := yaml.JSONToYAML([]byte(s.Rule("one", `{endpoint: {host: a.example.com, port: 80}}`)))
			s.Fail(err)
			posted := s.Do(Request{Method: http.MethodPost, Path: s.Path("v2"), Type: runtime.ContentTypeYAML, Accept: runtime.ContentTypeYAML, Body: string(body)})
			inYAML := s.Do(Request{Path: s.Path("v2", "one"), Accept: runtime.ContentTypeYAML})
			converted, err := yaml.YAMLToJSON(inYAML.Body)
			s.Fail(err)
			return fmt.Sprintf("%d %s; %d %s, as in JSON: %t", posted.Code, readMediaType(posted), inYAML.Code, readMediaType(inYAML),
				!json.Valid(inYAML.Body) && Compact(converted) == Compact(s.Get("one").Body))
		},
		Want: Both("201 application/yaml; 200 application/yaml, as in JSON: true"),
	},
	{
		ID: "encodings/broken-bodies", Ask: "half a document is posted in JSON and in YAML, then nothing, then a list",
		Do: func(s *Side) string {
			var outcomes []string
			for _, r := range []Request{
				{Body: `{"kind":"PortRule",`},
				{Body: "a: b: c", Type: runtime.ContentTypeYAML},
				{},
				{Body: `["PortRule"]`},
			} {
				r.Method, r.Path = http.MethodPost, s.Path("v2")
				a := s.Do(r)
				// what follows is how the decoder of Go says it
				outcomes = append(outcomes, a.readUpTo("; "))
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both(unrecognized + "couldn't get version/kind; " +
			unrecognized + "yaml: mapping values are not allowed in this context (613a20623a2063); " +
			unrecognized + "couldn't get version/kind; " + unrecognized + "couldn't get version/kind"),
	},
	{
		ID: "encodings/no-kind", Ask: "a rule is posted whose body has neither apiVersion nor kind",
		Do: func(s *Side) string {
			return s.Do(Request{Method: http.MethodPost, Path: s.Path("v2"), Body: `{"metadata":{"name":"one"},"spec":{"service":"nginx","endpoint":{"host":"a.example.com","port":80}}}`}).readUpTo(" in '")
		},
		Want: Differ(unrecognized+"Object 'Kind' is missing", "201",
			"the decoder of Go types takes the kind of the path for one that is missing; the decoder of a CRD's unstructured objects wants the body to say it"),
	},
	{
		ID: "encodings/unknown-bodies", Ask: "a rule is posted in CBOR, in XML, and as text",
		Do: func(s *Side) string {
			var outcomes []string
			for _, contentType := range []string{runtime.ContentTypeCBOR, "application/xml", "text/plain"} {
				outcomes = append(outcomes, s.Do(Request{Method: http.MethodPost, Path: s.Path("v2"), Type: contentType, Body: "body"}).Outcome())
			}
			return strings.Join(slices.Compact(outcomes), "; ")
		},
		Want: Both("415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: " +
			"application/json, application/yaml, application/vnd.kubernetes.protobuf"),
	},
	{
		ID: "encodings/unknown-patch", Ask: "a rule is patched in plain JSON, which says nothing of what sort the patch is",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			return s.Patch(runtime.ContentTypeJSON, "one", `{}`).Outcome()
		},
		Want: Differ("415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: "+
			"application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml", "415 UnsupportedMediaType: 415: Unsupported Media Type",
			"the handler of patches looks at the type and names those that it takes; of the server, as of built-in kinds, go-restful has refused it before by what the route consumes"),
	},
	{
		ID: "encodings/unknown-accept", Ask: "a rule is asked for in HTML alone, and in CBOR alone",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var outcomes []string
			for _, accept := range []string{"text/html", runtime.ContentTypeCBOR} {
				outcomes = append(outcomes, strings.Join(strings.Fields(s.Do(Request{Path: s.Path("v2", "one"), Accept: accept}).Outcome()), " "))
			}
			return strings.Join(slices.Compact(outcomes), "; ")
		},
		Want: Differ("406 NotAcceptable: only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
			"406 NotAcceptable: 406: Not Acceptable Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf",
			"of a CRD the handler negotiates and refuses; of the server, as of built-in kinds, go-restful has refused it before by what the route produces"),
	},
	{
		ID: "encodings/accept-any", Ask: "a rule is asked for in */* and in application/*",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var outcomes []string
			for _, accept := range []string{"*/*", "application/*"} {
				a := s.Do(Request{Path: s.Path("v2", "one"), Accept: accept})
				outcomes = append(outcomes, fmt.Sprintf("%d %s", a.Code, readMediaType(a)))
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Differ("200 application/json; 200 application/json", "200 application/json; 406 application/json",
			"the handler of CRDs knows application/* for a pattern; the go-restful routes of a server built on k8s.io/apiserver, as of built-in kinds, compare the names and know */* alone"),
	},
	{
		ID: "encodings/accept-lists", Ask: "a rule is asked for in lists of encodings, with preferences",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var outcomes []string
			for _, accept := range []string{
				"application/json;q=0.1,application/yaml;q=0.9", "application/yaml;q=0.1,application/json;q=0.9", "text/html,application/yaml;q=0.1",
				runtime.ContentTypeCBOR + ",application/json;q=0.9", "application/xml,*/*;q=0.8",
			} {
				a := s.Do(Request{Path: s.Path("v2", "one"), Accept: accept})
				outcomes = append(outcomes, fmt.Sprintf("%d %s", a.Code, readMediaType(a)))
			}
			return strings.Join(outcomes, "; ")
		},
		Want: Both("200 application/yaml; 200 application/json; 200 application/yaml; 200 application/json; 200 application/json"),
	},
	{
		ID: "encodings/pretty", Ask: "a rule is read with pretty=true, pretty=false, by a browser, and with nothing said",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			var lines []string
			for _, r := range []Request{
				{Path: s.Path("v2", "one?pretty=true")},
				{Path: s.Path("v2", "one?pretty=false"), Header: http.Header{"User-Agent": {"curl/8.0"}}},
				{Path: s.Path("v2", "one"), Header: http.Header{"User-Agent": {"Mozilla/5.0"}}},
				{Path: s.Path("v2", "one")},
			} {
				lines = append(lines, fmt.Sprintf("in lines: %t", bytes.Count(s.Do(r).Body, []byte("\n")) > 1))
			}
			return strings.Join(lines, "; ")
		},
		Want:    Both("in lines: true; in lines: false; in lines: true; in lines: false"),
		Rows:    []string{"UI/CLI Display"},
		Kubectl: "kubectl get --raw '/apis/GROUP/v2/namespaces/default/portrules/one?pretty=true'",
	},
	{
		ID: "encodings/gzip", Ask: "a small rule, a large one and a list of it are read by who takes gzip, and the list by who does not",
		Do: func(s *Side) string {
			s.Make("small", `{}`)
			s.Must(s.Do(Request{Method: http.MethodPost, Path: s.Path("v2"), Body: s.Object("v2", "large", map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{"example.com/ballast": strings.Repeat("x", 150<<10)}},
				"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": "large.example.com", "port": 80}},
			})}))
			var encodings []string
			for _, c := range []struct{ path, takes string }{{"/small", "gzip"}, {"/large", "gzip"}, {"", "gzip"}, {"", "identity"}} {
				a := s.Do(Request{Path: s.Path("v2") + c.path, Header: http.Header{"Accept-Encoding": {c.takes}}})
				encodings = append(encodings, strings.TrimSpace(fmt.Sprintf("%d %s", a.Code, a.Header.Get("Content-Encoding")))+
					fmt.Sprintf(", below 100 KiB: %t", len(a.Body) < 100<<10))
			}
			return strings.Join(encodings, "; ")
		},
		Want: Both("200, below 100 KiB: true; 200 gzip, below 100 KiB: true; 200 gzip, below 100 KiB: true; 200, below 100 KiB: false"),
	},
	{
		ID: "encodings/watch-yaml", Ask: "rules are watched in YAML",
		Do: func(s *Side) string {
			a := s.Do(Request{Path: s.Path("v2") + "?watch=true", Accept: runtime.ContentTypeYAML})
			converted, err := yaml.YAMLToJSON(a.Body)
			s.Fail(err)
			a.Body = converted
			return a.Outcome()
		},
		Want: Both("406 NotAcceptable: only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"),
		Rows: []string{"Watch"},
	},
	{
		ID: "encodings/protobuf", Ask: "a rule and all rules are read in protobuf alone",
		Do: func(s *Side) string {
			s.Make("one", `{endpoint: {host: a.example.com, port: 80}}`)
			object, list := s.Do(Request{Path: s.Path("v2", "one"), Accept: runtime.ContentTypeProtobuf}), s.Do(Request{Path: s.Path("v2"), Accept: runtime.ContentTypeProtobuf})
			outcome := object.readKind() + "; " + list.readKind()
			if object.Code == http.StatusOK {
				var rule v2.PortRule
				var rules v2.PortRuleList
				object.readProtobuf(&rule)
				list.readProtobuf(&rules)
				outcome += fmt.Sprintf("; host %s; %d in the list", rule.Spec.Endpoint.Host, len(rules.Items))
			}
			return outcome
		},
		Want: OnlyAggregated("406 application/vnd.kubernetes.protobuf v1 Status; 406 application/vnd.kubernetes.protobuf v1 Status",
			"200 application/vnd.kubernetes.protobuf GROUP/v2 PortRule; 200 application/vnd.kubernetes.protobuf GROUP/v2 PortRuleList; host a.example.com; 1 in the list", whyProtobuf),
		Rows: []string{"Protocol Buffers"},
	},
	{
		ID: "encodings/protobuf-or-json", Ask: "a rule is asked for in protobuf or JSON, as typed clients do",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			a := s.Do(Request{Path: s.Path("v2", "one"), Accept: protobufOrJSON})
			return fmt.Sprintf("%d %s", a.Code, readMediaType(a))
		},
		Want: OnlyAggregated("200 application/json", "200 application/vnd.kubernetes.protobuf", whyProtobuf),
		Rows: []string{"Protocol Buffers"},
	},
	{
		ID: "encodings/protobuf-body", Ask: "a rule is created in protobuf",
		Do: func(s *Side) string {
			// Without fieldValidation=Ignore the kube-apiserver 1.36 panics on a protobuf
			// body to a CRD: it takes a strict decoder that CRDs do not have.
			a := s.Do(Request{
				Method: http.MethodPost, Path: s.Path("v2") + "?fieldValidation=Ignore", Type: runtime.ContentTypeProtobuf,
				Body: s.readMessageOf("one", "a.example.com"),
			})
			return a.readUpTo(":") + "; host " + s.Get("one").Field("spec.endpoint.host")
		},
		Want: OnlyAggregated(`400 PortRule in version "v2" cannot be handled as a PortRule; host absent`, `201; host "a.example.com"`, whyProtobuf),
		Rows: []string{"Protocol Buffers"},
	},
	{
		ID: "encodings/protobuf-watch", Ask: "rules are watched in protobuf",
		Do: func(s *Side) string {
			s.Make("one", `{}`)
			response := s.Open(Request{Path: s.Path("v2") + "?watch=true", Accept: runtime.ContentTypeProtobuf + ";stream=watch"})
			if response == nil {
				return ""
			}
			defer response.Body.Close()
			outcome := fmt.Sprintf("%d %s", response.StatusCode, response.Header.Get("Content-Type"))
			if response.StatusCode != http.StatusOK {
				return outcome
			}
			frame := make([]byte, 1<<20)
			n, err := protobuf.LengthDelimitedFramer.NewFrameReader(response.Body).Read(frame)
			s.Fail(err)
			var event metav1.WatchEvent
			s.Fail(event.Unmarshal(frame[:n]))
			var rule v2.PortRule
			(&Answer{side: s, Body: event.Object.Raw}).readProtobuf(&rule)
			return outcome + ": " + event.Type + " " + rule.Name
		},
		Want: OnlyAggregated("406 application/vnd.kubernetes.protobuf", "200 application/vnd.kubernetes.protobuf;stream=watch: ADDED one", whyProtobuf),
		Rows: []string{"Protocol Buffers", "Watch"},
	},
	{
		ID: "encodings/protobuf-error", Ask: "a rule that there is not is asked for in protobuf or JSON",
		Do: func(s *Side) string {
			a := s.Do(Request{Path: s.Path("v2", "none"), Accept: protobufOrJSON})
			return a.readKind() + ": " + a.readMessage()
		},
		Want: Both(`404 application/vnd.kubernetes.protobuf v1 Status: portrules.GROUP "none" not found`),
		Rows: []string{"Protocol Buffers"},
	},
}

var eventCases = []Case{
	{
		ID: "events/describe", Ask: "an Event about a rule is created, and found as kubectl describe does",
		Do: func(s *Side) string {
			rule := s.Make("one", `{}`).Object()
			other := s.Make("two", `{}`).Object()
			s.readEvent(rule, "Carried")
			s.readEvent(other, "Refused")
			return s.readEvents("api/v1", "involvedObject.kind=PortRule,involvedObject.name=one,involvedObject.namespace="+s.Namespace+",involvedObject.uid="+string(rule.GetUID()))
		},
		Want:    Both(`Carried about PortRule "GROUP/v2" "one"`),
		Kubectl: "kubectl describe portrules.GROUP one",
	},
	{
		ID: "events/by-group", Ask: "Events about a rule of this group and of another's are created, and found by apiVersion",
		Do: func(s *Side) string {
			rule := s.Make("one", `{}`).Object()
			s.readEvent(rule, "Carried")
			rule.SetAPIVersion("example.com/v2")
			s.readEvent(rule, "Forged")
			return s.readEvents("api/v1", "involvedObject.apiVersion="+s.Group+"/v2")
		},
		Want:    Both(`Carried about PortRule "GROUP/v2" "one"`),
		Kubectl: "kubectl get events --field-selector involvedObject.apiVersion=GROUP/v2",
	},
	{
		ID: "events/new-api", Ask: "an Event about a rule is created in core/v1, and found in events.k8s.io/v1",
		Do: func(s *Side) string {
			s.readEvent(s.Make("one", `{}`).Object(), "Carried")
			return s.readEvents("apis/events.k8s.io/v1", "regarding.name=one")
		},
		Want:    Both(`Carried about PortRule "GROUP/v2" "one"`),
		Kubectl: "kubectl get events.events.k8s.io --field-selector regarding.name=one",
	},
}

// readMake creates a rule with labels.
func (s *Side) readMake(name string, labels map[string]string) *Answer {
	return s.Must(s.Do(Request{Method: http.MethodPost, Path: s.Path("v2"), Body: s.Object("v2", name, map[string]any{
		"metadata": map[string]any{"labels": labels},
		"spec":     map[string]any{"service": "nginx", "endpoint": map[string]any{"host": name + ".example.com", "port": 80}},
	})}))
}

// readMakeTiers creates the rules that selectors choose from.
func readMakeTiers(s *Side) {
	s.readMake("web", map[string]string{"tier": "front", "env": "prod"})
	s.readMake("db", map[string]string{"tier": "back", "env": "prod"})
	s.readMake("dev", map[string]string{"tier": "front", "env": "dev"})
	s.readMake("bare", nil)
}

// readLabel sets a label of a rule.
func (s *Side) readLabel(name, label, value string) *Answer {
	return s.Must(s.Patch(MergePatch, name, fmt.Sprintf(labelPatch, label, value)))
}

// readList lists the rules of the namespace in v2.
func (s *Side) readList(query string) *Answer { return s.Do(Request{Path: s.Path("v2") + "?" + query}) }

// readNow is the resourceVersion of a list of this moment.
func (s *Side) readNow() string { return s.Must(s.readList("limit=1")).Object().GetResourceVersion() }

// readSelect lists by one selector after the other, and says what each selects.
func readSelect(s *Side, parameter string, selectors ...string) string {
	var outcomes []string
	for _, selector := range selectors {
		outcomes = append(outcomes, s.Normal(selector)+": "+s.readList(parameter+"="+Escape(selector)).Names())
	}
	return strings.Join(outcomes, "; ")
}

// readItems are the items of a list.
func readItems(s *Side, a *Answer) []metav1.PartialObjectMetadata {
	var list metav1.PartialObjectMetadataList
	s.Fail(json.Unmarshal(s.Must(a).Body, &list))
	return list.Items
}

// readContinue is the token of a page, empty for the last.
func readContinue(a *Answer) string {
	token, _, _ := unstructured.NestedString(a.Object().Object, "metadata", "continue")
	return token
}

// readOfNoMoment is the token without its moment: with the resourceVersion -1, as it
// comes with the error 410.
func readOfNoMoment(s *Side, token string) string {
	var fields map[string]any
	content, err := base64.RawURLEncoding.DecodeString(token)
	s.Fail(err)
	s.Fail(json.Unmarshal(content, &fields))
	fields["rv"] = -1
	content, err = json.Marshal(fields)
	s.Fail(err)
	return base64.RawURLEncoding.EncodeToString(content)
}

// readVersion is the resourceVersion of an object or a list, in its order.
func readVersion(s *Side, object *unstructured.Unstructured) uint64 {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		s.Fail(fmt.Errorf("%s %q has no resourceVersion: %w", object.GetKind(), object.GetName(), err))
	}
	return version
}

// readJSON is an object as JSON.
func readJSON(s *Side, object *unstructured.Unstructured) string {
	data, err := json.Marshal(object.Object)
	s.Fail(err)
	return string(data)
}

// current matches where messages name the server's resourceVersion.
var current = regexp.MustCompile(`(current: |too old resource version: \d+ \()\d+`)

// readMessage is the message of a Status in JSON or protobuf, empty if the answer is none.
func (a *Answer) readMessage() string {
	var status metav1.Status
	if readMediaType(a) == runtime.ContentTypeProtobuf {
		a.readProtobuf(&status)
	} else if json.Unmarshal(a.Body, &status) != nil {
		return ""
	}
	return current.ReplaceAllString(a.side.Normal(status.Message), "${1}N")
}

// readUpTo is the code and the message up to end.
func (a *Answer) readUpTo(end string) string {
	message, _, _ := strings.Cut(a.readMessage(), end)
	return strings.TrimSpace(strconv.Itoa(a.Code) + " " + message)
}

// readMediaType is that of an answer.
func readMediaType(a *Answer) string { return a.Header.Get("Content-Type") }

// readWatch is [Side.Watch] of any path and encoding of JSON.
func (s *Side) readWatch(r Request) *Watch {
	response := s.Open(r)
	if response == nil {
		return &Watch{side: s}
	}
	if response.StatusCode != http.StatusOK {
		s.Fail(fmt.Errorf("watch %s: %s", r.Path, response.Status))
	}
	context.AfterFunc(s.ctx, func() { _ = response.Body.Close() })
	return &Watch{side: s, Code: response.StatusCode, body: response.Body, decoder: json.NewDecoder(response.Body)}
}

// readUntil reads a watch up to an event, and says what it has shown.
func readUntil(w *Watch, last string) string {
	var seen []string
	for {
		event := w.Next()
		seen = append(seen, event.String())
		if event.String() == last || slices.Contains([]string{"", "END", "ERROR"}, event.Type) {
			return strings.Join(seen, "; ")
		}
	}
}

// readChange is the next event of a watch that is no bookmark: those come when they will.
func readChange(w *Watch) Event {
	for {
		if event := w.Next(); event.Type != "BOOKMARK" {
			return event
		}
	}
}

// readError is the Status that an event of a watch is.
func readError(s *Side, event Event) string {
	status := event.Object.Object
	return current.ReplaceAllString(s.Normal(fmt.Sprintf("%s %v %v: %v", event.Type, status["code"], status["reason"], status["message"])), "${1}N")
}

// readWebSocket opens a watch by a web socket, and returns its code and first event.
func (s *Side) readWebSocket(path string) (int, string) {
	config := rest.CopyConfig(s.Bed.Admin)
	config.NextProtos = []string{"http/1.1"} // HTTP/2 has no upgrades
	response := s.Open(Request{Path: path, Config: config, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Origin": {"https://localhost"},
		"Sec-Websocket-Key": {base64.StdEncoding.EncodeToString(make([]byte, 16))},
	}})
	if response == nil {
		return 0, ""
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return response.StatusCode, ""
	}
	// nothing else ends what is no longer HTTP
	stop := context.AfterFunc(s.Context(), func() { _ = response.Body.Close() })
	defer stop()
	// a server's frame: the opcode, the length, which the length 126 says to follow, the data
	var head [2]byte
	_, err := io.ReadFull(response.Body, head[:])
	s.Fail(err)
	length := uint16(head[1])
	if length == 126 {
		s.Fail(binary.Read(response.Body, binary.BigEndian, &length))
	}
	data := make([]byte, length)
	_, err = io.ReadFull(response.Body, data)
	s.Fail(err)
	var event struct {
		Type   string
		Object metav1.PartialObjectMetadata
	}
	s.Fail(json.Unmarshal(data, &event))
	return response.StatusCode, event.Type + " " + event.Object.Name
}

// readTable reads the table of the rules in v2, or of what path and query say below.
func (s *Side) readTable(below string) *metav1.Table { return s.readTableOf(s.Path("v2") + below) }

// readTableOf reads the table of a path.
func (s *Side) readTableOf(path string) *metav1.Table {
	table := &metav1.Table{}
	a := s.Must(s.Do(Request{Path: path, Accept: runtime.ContentTypeJSON + asTable}))
	s.Fail(json.Unmarshal(a.Body, table))
	return table
}

var age = regexp.MustCompile(`"\d+[sm]"\]`)

// readCells are the cells of a table, without ages.
func readCells(table *metav1.Table) string {
	var rows []string
	for _, row := range table.Rows {
		data, _ := json.Marshal(row.Cells) // they come from JSON
		rows = append(rows, age.ReplaceAllString(string(data), "AGE]"))
	}
	return strings.Join(rows, " ")
}

// protobufMagic is what Kubernetes begins every protobuf message with.
const protobufMagic = "k8s\x00"

// readUnknown is the envelope of a protobuf message.
func (a *Answer) readUnknown() runtime.Unknown {
	var unknown runtime.Unknown
	message, ok := bytes.CutPrefix(a.Body, []byte(protobufMagic))
	if !ok {
		a.side.Fail(fmt.Errorf("no protobuf message: %.80q", a.Body))
	} else {
		a.side.Fail(unknown.Unmarshal(message))
	}
	return unknown
}

// readProtobuf reads a protobuf message.
func (a *Answer) readProtobuf(into interface{ Unmarshal([]byte) error }) {
	a.side.Fail(into.Unmarshal(a.readUnknown().Raw))
}

// readKind is the code, the media type and the kind, in JSON or protobuf.
func (a *Answer) readKind() string {
	kind := runtime.TypeMeta{}
	if readMediaType(a) == runtime.ContentTypeProtobuf {
		kind = a.readUnknown().TypeMeta
	} else {
		a.side.Fail(json.Unmarshal(a.Body, &kind))
	}
	return a.side.Normal(fmt.Sprintf("%d %s %s %s", a.Code, readMediaType(a), kind.APIVersion, kind.Kind))
}

// readMessageOf is a rule as a protobuf message.
func (s *Side) readMessageOf(name, host string) string {
	rule := &v2.PortRule{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: host, Port: 80}}}
	raw, err := rule.Marshal()
	s.Fail(err)
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: s.Group + "/v2", Kind: "PortRule"}, Raw: raw}
	message, err := unknown.Marshal()
	s.Fail(err)
	return protobufMagic + string(message)
}

// readPostEvent creates an Event about a rule in the namespace.
func (s *Side) readPostEvent(rule *unstructured.Unstructured, reason string) *Answer {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"generateName": rule.GetName() + "-"},
		"involvedObject": map[string]any{
			"apiVersion": rule.GetAPIVersion(), "kind": rule.GetKind(), "name": rule.GetName(), "namespace": rule.GetNamespace(), "uid": rule.GetUID(),
		},
		"type": "Normal", "reason": reason, "message": "the rule is in force", "source": map[string]any{"component": "parity"},
	})
	s.Fail(err)
	return s.Do(Request{Method: http.MethodPost, Path: "/api/v1/namespaces/" + s.Namespace + "/events", Body: string(body)})
}

// readEvent is readPostEvent for what has to succeed.
func (s *Side) readEvent(rule *unstructured.Unstructured, reason string) {
	s.Must(s.readPostEvent(rule, reason))
}

// readEvents lists Events by a field selector, and says what they are about.
func (s *Side) readEvents(api, selector string) string {
	a := s.Must(s.Do(Request{Path: "/" + api + "/namespaces/" + s.Namespace + "/events?fieldSelector=" + Escape(selector)}))
	var list struct {
		Items []struct {
			Reason                    string
			InvolvedObject, Regarding struct{ Kind, APIVersion, Name string }
		}
	}
	s.Fail(json.Unmarshal(a.Body, &list))
	var found []string
	for _, event := range list.Items {
		about := event.InvolvedObject
		if about.Kind == "" {
			about = event.Regarding
		}
		found = append(found, fmt.Sprintf("%s about %s %q %q", event.Reason, about.Kind, about.APIVersion, about.Name))
	}
	slices.Sort(found)
	return s.Normal(strings.Join(found, "; "))
}
