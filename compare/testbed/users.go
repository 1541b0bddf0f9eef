package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/relay"
)

// portRules are PortRules and their subresources, of which probe and nftables exist
// on the aggregated server alone.
var portRules = []string{api.Resource, api.Resource + "/status", api.Resource + "/scale", api.Resource + "/probe", api.Resource + "/nftables"}

// serviceAccount writes the kubeconfig of a service account for a process of this host,
// and returns its path.
func (t *Testbed) serviceAccount(ctx context.Context, namespace, name, process string) (string, error) {
	config, err := cluster.ServiceAccount(ctx, t.clientset, t.Admin, namespace, name)
	if err != nil {
		return "", err
	}
	if process != processController {
		if config.Host, err = t.throughURL(relay.Reviews, config.Host); err != nil {
			return "", err
		}
	}
	path := t.group.Path(process + ".kubeconfig")
	return path, cluster.WriteKubeconfig(path, cluster.Context{Name: name, Config: config})
}

// allow lets users that are made afterwards do everything with the resources of a
// group. Once is enough: a role's rules are gone through for each request.
func (t *Testbed) allow(group string, resources ...string) {
	if slices.ContainsFunc(t.rules, func(rule rbacv1.PolicyRule) bool { return rule.APIGroups[0] == group }) {
		return
	}
	t.rules = append(t.rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: []string{rbacv1.VerbAll}})
}

// User returns the client configuration of an ordinary user, and how that user is
// authenticated. In the given namespaces the user may do everything with ConfigMaps and
// with the PortRules, and their like, that have been served until then; else nothing.
//
// Measurements are made as such a user: an administrator of the group
// system:masters is never asked about, by neither server.
func (t *Testbed) User(ctx context.Context, name string, namespaces ...string) (*rest.Config, cluster.Credential, error) {
	config, credential, err := t.provider.User(ctx, name)
	if err != nil {
		return nil, "", err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, "", err
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("ask the cluster who %s is: %w", name, err)
	}
	for _, namespace := range namespaces {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: "portrule-" + name}
		role := &rbacv1.Role{
			ObjectMeta: meta,
			Rules:      t.rules,
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: review.Status.UserInfo.Username}},
		}
		if err := t.install(ctx, role, binding); err != nil {
			return nil, "", err
		}
	}
	if err := t.waitForRoles(ctx, client, name, namespaces); err != nil {
		return nil, "", err
	}
	config.Host, err = t.throughURL(relay.Client, config.Host)
	return config, credential, err
}

// waitForRoles waits until the kube-apiserver, which watches roles as everybody else
// does, knows those of a user.
func (t *Testbed) waitForRoles(ctx context.Context, user kubernetes.Interface, name string, namespaces []string) error {
	for _, namespace := range namespaces {
		last := errors.New("it is not known yet")
		err := poll(ctx, func(ctx context.Context) (bool, error) {
			// the last rule stands for all
			rule := t.rules[len(t.rules)-1]
			review, err := user.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Verb: "list", Group: rule.APIGroups[0], Resource: rule.Resources[0],
				}},
			}, metav1.CreateOptions{})
			return err == nil && review.Status.Allowed, err
		})
		if err := explain(err, last, "the role of "+name+" in "+namespace); err != nil {
			return err
		}
	}
	return nil
}
