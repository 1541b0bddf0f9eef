package contract

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// concurrentCases are about several clients at once. How often R4 lets duplicates
// through is a figure, not a case: see [CountDuplicates].
var concurrentCases = []Case{
	{
		ID: "concurrent/creates-of-one-name", Ask: "8 clients create a rule of one name at the same time",
		Do: func(s *Side) string {
			codes := s.atOnce(8, func(one *Side, i int) string {
				return one.Create("one", fmt.Sprintf(`{endpoint: {host: a%d.example.com, port: 80}}`, i)).Outcome()
			})
			return tally(codes)
		},
		Want: Both(`1 of 201; 7 of 409 AlreadyExists: portrules.GROUP "one" already exists`),
		Rows: []string{"CRUD"},
	},
	{
		ID: "concurrent/updates", Ask: "6 clients add one to a field 5 times each, reading again after each conflict",
		Do: func(s *Side) string {
			s.Make("one", `{timeoutSeconds: 1}`)
			lost := s.atOnce(6, func(one *Side, _ int) string {
				for done := 0; done < 5 && one.err == nil; {
					object := one.Must(one.Get("one")).Object()
					seconds, _, err := unstructured.NestedInt64(object.Object, "spec", "timeoutSeconds")
					one.Fail(err)
					one.Fail(unstructured.SetNestedField(object.Object, seconds+1, "spec", "timeoutSeconds"))
					body, err := object.MarshalJSON()
					one.Fail(err)
					switch answer := one.Put("one", string(body)); answer.Code {
					case http.StatusOK:
						done++
					case http.StatusConflict:
					default:
						return answer.Outcome()
					}
				}
				return "done"
			})
			return tally(lost) + "; the field is " + s.Get("one").Field("spec.timeoutSeconds")
		},
		Want: Both("6 of done; the field is 31"),
	},
	{
		ID: "concurrent/watch", Ask: "a watch goes on while 4 clients create, change twice and delete 5 rules each",
		Do: func(s *Side) string {
			version := s.Must(s.Do(Request{Path: s.Path("v2")})).Object().GetResourceVersion()
			watch := s.Watch("resourceVersion=" + version)
			defer watch.Stop()
			s.atOnce(4, func(one *Side, client int) string {
				for i := range 5 {
					name := fmt.Sprintf("rule-%d-%d", client, i)
					one.Make(name, `{timeoutSeconds: 1}`)
					one.Must(one.Patch(MergePatch, name, `{"spec":{"timeoutSeconds":2}}`))
					one.Must(one.Patch(MergePatch, name, `{"spec":{"timeoutSeconds":3}}`))
					one.Must(one.Delete(name, ""))
				}
				return ""
			})
			seen := map[string]string{}
			for range 4 * 5 * 4 {
				event := watch.Next()
				seconds, _, _ := unstructured.NestedInt64(event.Object.Object, "spec", "timeoutSeconds")
				seen[event.Object.GetName()] += fmt.Sprintf(" %s %d", event.Type, seconds)
			}
			var courses []string
			for _, course := range seen {
				courses = append(courses, strings.TrimSpace(course))
			}
			return tally(courses)
		},
		Want: Both("20 of ADDED 1 MODIFIED 2 MODIFIED 3 DELETED 3"),
		Rows: []string{"Watch"},
	},
	{
		ID: "concurrent/deletes", Ask: "8 clients delete a rule at the same time",
		Do: func(s *Side) string {
			s.Make("one", "{}")
			return tally(s.atOnce(8, func(one *Side, _ int) string { return one.Delete("one", "").Outcome() }))
		},
		Want: Both(`1 of 200; 7 of 404 NotFound: portrules.GROUP "one" not found`),
	},
}

// atOnce asks n times at the same time, each by a Side of its own, and returns what came
// of each.
func (s *Side) atOnce(n int, ask func(one *Side, i int) string) []string {
	outcomes, errs := make([]string, n), make([]error, n)
	var over sync.WaitGroup
	for i := range n {
		over.Go(func() {
			one := *s
			outcomes[i] = ask(&one, i)
			errs[i] = one.err
		})
	}
	over.Wait()
	for _, err := range errs {
		s.Fail(err)
	}
	return outcomes
}
