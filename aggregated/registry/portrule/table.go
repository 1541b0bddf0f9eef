package portrule

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v2 "portrule.example/lab/api/v2"
)

// columns are those of the CRD's printcolumn markers. Priority 1 shows with
// kubectl get -o wide only.
var columns = []metav1.TableColumnDefinition{
	nameColumn,
	{Name: "Service", Type: "string", Description: "The service that the port belongs to"},
	{Name: "Host", Type: "string", Description: "The host of the endpoint"},
	{Name: "Port", Type: "integer", Description: "The port of the endpoint"},
	{Name: "Protocol", Type: "string", Description: "The transport protocol of the endpoint", Priority: 1},
	{Name: "Ready", Type: "string", Description: "Whether the rule is in force", Priority: 1},
	ageColumn,
}

var (
	nameColumn = metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
	ageColumn  = metav1.TableColumnDefinition{Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}
)

type tableConvertor struct{}

// ConvertToTable renders a PortRule or a list of them.
func (tableConvertor) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return newTable(obj, options, columns, func(obj runtime.Object, name, age string) []any {
		rule := obj.(*v2.PortRule)
		return []any{name, rule.Spec.Service, rule.Spec.Endpoint.Host,
			int64(rule.Spec.Endpoint.Port), string(rule.Spec.Endpoint.Protocol), ready(rule), age}
	})
}

// newTable renders an object or a list of them, a row for each.
func newTable(obj, options runtime.Object, columns []metav1.TableColumnDefinition,
	cells func(obj runtime.Object, name, age string) []any,
) (*metav1.Table, error) {
	t := &metav1.Table{}
	if opts, ok := options.(*metav1.TableOptions); !ok || !opts.NoHeaders {
		t.ColumnDefinitions = columns
	}
	if list, err := meta.ListAccessor(obj); err == nil {
		t.ResourceVersion = list.GetResourceVersion()
		t.Continue = list.GetContinue()
		t.RemainingItemCount = list.GetRemainingItemCount()
	} else if object, err := meta.CommonAccessor(obj); err == nil {
		t.ResourceVersion = object.GetResourceVersion()
	}
	var err error
	t.Rows, err = table.MetaToTableRow(obj, func(obj runtime.Object, _ metav1.Object, name, age string) ([]any, error) {
		return cells(obj, name, age), nil
	})
	return t, err
}

// ready is the status of the condition Ready, nothing if there is none.
func ready(rule *v2.PortRule) string {
	condition := meta.FindStatusCondition(rule.Status.Conditions, "Ready")
	if condition == nil {
		return ""
	}
	return string(condition.Status)
}
