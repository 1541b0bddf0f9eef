package mayi

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"portrule.example/lab/labs/lab"
)

// The kinds of roles, as bindings name them.
const roleKind, clusterRoleKind = "Role", "ClusterRole"

// readRoles reads the learner's roles and bindings.
func readRoles(s *lab.Session) ([]client.Object, *lab.Finding) {
	data, finding := s.Read(rolesFile)
	if finding != nil {
		return nil, finding
	}
	objects, err := decodeRoles(string(data))
	var kind kindError
	var broken *brokenError
	switch {
	case errors.As(err, &kind):
		return nil, &lab.Finding{ID: "rbac-kind", Where: s.Where(rolesFile), Found: "a " + string(kind), Expected: "Roles, RoleBindings, ClusterRoles and ClusterRoleBindings"}
	case errors.As(err, &broken):
		return nil, &lab.Finding{ID: lab.YAMLBroken, Where: fmt.Sprintf("%s:%d", s.Where(rolesFile), broken.line), Found: broken.found, Expected: "roles and bindings with the fields that they have"}
	}
	return objects, nil
}

// kindError is a kind that has no place among roles.
type kindError string

func (k kindError) Error() string { return "a " + string(k) + " is no role" }

// brokenError is what cannot be read.
type brokenError struct {
	// line is where, or where the document begins.
	line  int
	found string
}

func (b *brokenError) Error() string { return fmt.Sprintf("line %d: %s", b.line, b.found) }

var (
	separator = regexp.MustCompile(`(?m)^---.*$`)
	yamlError = regexp.MustCompile(`^(?:.*: )?(?:yaml|json): (?:unmarshal errors:\s+)?(?:line (\d+): )?(?s:(.*))$`)
)

// decodeRoles reads roles and bindings of all four kinds.
func decodeRoles(data string) ([]client.Object, error) {
	var objects []client.Object
	before := 0 // lines
	for _, document := range separator.Split(data, -1) {
		object, err := decodeRole([]byte(document))
		if kind := kindError(""); errors.As(err, &kind) {
			return nil, err
		}
		if err != nil {
			broken := &brokenError{line: before + 1, found: err.Error()}
			if match := yamlError.FindStringSubmatch(broken.found); match != nil {
				if line, err := strconv.Atoi(match[1]); err == nil {
					broken.line = before + line
				}
				broken.found = match[2]
			}
			return nil, broken
		}
		if object != nil {
			objects = append(objects, object)
		}
		before += strings.Count(document, "\n")
	}
	return objects, nil
}

// decodeRole reads one document. It returns nil if there is nothing but comments in it.
func decodeRole(document []byte) (client.Object, error) {
	var fields map[string]any
	if err := yaml.Unmarshal(document, &fields); err != nil || len(fields) == 0 {
		return nil, err
	}
	var object client.Object
	switch kind, _ := fields["kind"].(string); kind {
	case roleKind:
		object = &rbacv1.Role{}
	case "RoleBinding":
		object = &rbacv1.RoleBinding{}
	case clusterRoleKind:
		object = &rbacv1.ClusterRole{}
	case "ClusterRoleBinding":
		object = &rbacv1.ClusterRoleBinding{}
	case "":
		return nil, errors.New("an object without kind")
	default:
		return nil, kindError(kind)
	}
	return object, yaml.UnmarshalStrict(document, object)
}

// binding is what bindings of both kinds have.
type binding struct {
	kind     string
	ref      *rbacv1.RoleRef
	subjects []rbacv1.Subject
}

// bindingOf returns that of an object, nil for a role.
func bindingOf(object client.Object) *binding {
	switch object := object.(type) {
	case *rbacv1.RoleBinding:
		return &binding{"RoleBinding", &object.RoleRef, object.Subjects}
	case *rbacv1.ClusterRoleBinding:
		return &binding{"ClusterRoleBinding", &object.RoleRef, object.Subjects}
	}
	return nil
}

// role returns the key of what a binding refers to, as an object of its kind.
func (b *binding) role(object client.Object) client.Object {
	if b.ref.Kind == clusterRoleKind {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: b.ref.Name}}
	}
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: object.GetNamespace(), Name: b.ref.Name}}
}

// refers is whether an object is a binding to a role.
func refers(object, role client.Object) bool {
	binding := bindingOf(object)
	if binding == nil || bindingOf(role) != nil {
		return false
	}
	wanted := binding.role(object)
	return reflect.TypeOf(wanted) == reflect.TypeOf(role) && wanted.GetName() == role.GetName() && wanted.GetNamespace() == role.GetNamespace()
}

// isAccount is whether a subject is a service account, in either way to name it.
func isAccount(subject rbacv1.Subject, namespace, name string) bool {
	switch subject.Kind {
	case rbacv1.ServiceAccountKind:
		return subject.Namespace == namespace && subject.Name == name
	case rbacv1.UserKind:
		return subject.Name == accountUser(namespace, name)
	}
	return false
}

// includesAccount is whether a subject is a service account, or a group that it is in.
func includesAccount(subject rbacv1.Subject, namespace, name string) bool {
	return isAccount(subject, namespace, name) || subject.Kind == rbacv1.GroupKind && slices.Contains(groups(namespace), subject.Name)
}

// groups are those that the service accounts of a namespace are in.
func groups(namespace string) []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
}

// accountUser is the name of a service account as a user.
func accountUser(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// copies returns copies of roles and bindings in which another service account of the
// namespace takes the place of one, and whose names begin with its name.
func copies(objects []client.Object, namespace, account, other string) []client.Object {
	named := func(name string) string { return other + "-" + name }
	var all []client.Object
	for _, object := range objects {
		object = object.DeepCopyObject().(client.Object)
		if binding := bindingOf(object); binding != nil {
			if slices.ContainsFunc(objects, func(role client.Object) bool { return refers(object, role) }) {
				binding.ref.Name = named(binding.ref.Name)
			}
			for i, subject := range binding.subjects {
				if isAccount(subject, namespace, account) {
					binding.subjects[i] = rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: other}
				}
			}
		}
		name := named(object.GetName())
		// of an object that was read from the cluster: it is to be another
		object.SetResourceVersion("")
		object.SetName(name)
		all = append(all, object)
	}
	return all
}

// markerGroup is a group that nobody serves, for markers of a namespace or of none.
func markerGroup(namespace string) string {
	if namespace == "" {
		return "cluster.marker"
	}
	return "namespace.marker"
}

// markers are a role and a binding of either kind, by which a user of that name may get
// nothing.
func markers(namespace, name string) []client.Object {
	rules := func(namespace string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{markerGroup(namespace)}, Resources: []string{"nothing"}, Verbs: []string{"get"}}}
	}
	ref := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}}
	local, global := metav1.ObjectMeta{Namespace: namespace, Name: name}, metav1.ObjectMeta{Name: name}
	return []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: global, Rules: rules("")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: global, RoleRef: ref(clusterRoleKind), Subjects: subjects},
		&rbacv1.Role{ObjectMeta: local, Rules: rules(namespace)},
		&rbacv1.RoleBinding{ObjectMeta: local, RoleRef: ref(roleKind), Subjects: subjects},
	}
}

// homeless is whether a Role or a RoleBinding has no namespace, which kubectl would give it.
func homeless(object client.Object) bool {
	switch object.(type) {
	case *rbacv1.Role, *rbacv1.RoleBinding:
		return object.GetNamespace() == ""
	}
	return false
}

// isRefusal is whether an error is about what the object says.
func isRefusal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// remove deletes objects. It is no error if they are not there.
func remove(ctx context.Context, c client.Client, objects ...client.Object) error {
	var errs []error
	for _, object := range objects {
		errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, object)))
	}
	return errors.Join(errs...)
}

// learners returns what is in the cluster for a service account: the bindings that name
// it, and the roles whose names begin with its namespace.
func learners(ctx context.Context, c client.Client, namespace, account string) ([]client.Object, error) {
	var clusterBindings rbacv1.ClusterRoleBindingList
	var bindings rbacv1.RoleBindingList
	var clusterRoles rbacv1.ClusterRoleList
	var roles rbacv1.RoleList
	for _, list := range []client.ObjectList{&clusterBindings, &bindings, &clusterRoles, &roles} {
		if err := c.List(ctx, list); err != nil {
			return nil, err
		}
	}
	var all []client.Object
	add := func(object client.Object) {
		binding := bindingOf(object)
		switch {
		case binding == nil && strings.HasPrefix(object.GetName(), namespace+":"),
			binding != nil && slices.ContainsFunc(binding.subjects, func(subject rbacv1.Subject) bool { return isAccount(subject, namespace, account) }):
			all = append(all, object)
		}
	}
	for i := range clusterBindings.Items {
		add(&clusterBindings.Items[i])
	}
	for i := range bindings.Items {
		add(&bindings.Items[i])
	}
	for i := range clusterRoles.Items {
		add(&clusterRoles.Items[i])
	}
	for i := range roles.Items {
		add(&roles.Items[i])
	}
	return all, nil
}
