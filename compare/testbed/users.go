package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

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
	if !strings.HasPrefix(process, processController) {
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
	if err := t.grant(ctx, name, review.Status.UserInfo, namespaces); err != nil {
		return nil, "", err
	}
	config.Host, err = t.throughURL(relay.Client, config.Host)
	return config, credential, err
}

// TokenUser is a User that is a service account of the first namespace, and has its token.
func (t *Testbed) TokenUser(ctx context.Context, name string, namespaces ...string) (*rest.Config, error) {
	config, err := cluster.ServiceAccount(ctx, t.clientset, t.Admin, namespaces[0], name)
	if err != nil {
		return nil, err
	}
	if err := t.grant(ctx, name, authenticationv1.UserInfo{Username: "system:serviceaccount:" + namespaces[0] + ":" + name}, namespaces); err != nil {
		return nil, err
	}
	config.Host, err = t.throughURL(relay.Client, config.Host)
	return config, err
}

// Anonymous is a User without any credential. The kube-apiserver must admit such.
func (t *Testbed) Anonymous(ctx context.Context, namespaces ...string) (*rest.Config, error) {
	if err := t.grant(ctx, "anonymous", authenticationv1.UserInfo{Username: user.Anonymous}, namespaces); err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(t.Admin)
	var err error
	config.Host, err = t.throughURL(relay.Client, config.Host)
	return config, err
}

// FrontProxy returns the client configuration by which an aggregated server takes its
// client for the kube-apiserver, which says that it asks for a user.
func (t *Testbed) FrontProxy(server *Server, user string) (*rest.Config, error) {
	ca, err := t.provider.CA(cluster.FrontProxyCA)
	if err != nil {
		return nil, err
	}
	pair, err := ca.Client(cluster.FrontProxyName)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(server.Config(t.Admin))
	config.CertData, config.KeyData = pair.Cert, pair.Key
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return transport.NewAuthProxyRoundTripper(user, "", []string{"system:authenticated"}, nil, next)
	})
	return config, nil
}

// Grant gives a user that somebody else vouches for what a User may do.
func (t *Testbed) Grant(ctx context.Context, user string, namespaces ...string) error {
	return t.grant(ctx, user, authenticationv1.UserInfo{Username: user}, namespaces)
}

// grant gives a user the rules of the testbed in namespaces, and waits until the
// kube-apiserver, which watches roles as everybody else does, knows.
func (t *Testbed) grant(ctx context.Context, name string, user authenticationv1.UserInfo, namespaces []string) error {
	for _, namespace := range namespaces {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: "portrule-" + name}
		role := &rbacv1.Role{
			ObjectMeta: meta,
			Rules:      t.rules,
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user.Username}},
		}
		if err := t.install(ctx, role, binding); err != nil {
			return err
		}
	}
	// the last rule stands for all
	rule := t.rules[len(t.rules)-1]
	for _, namespace := range namespaces {
		last := errors.New("it is not known yet")
		err := poll(ctx, func(ctx context.Context) (bool, error) {
			review, err := t.clientset.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{User: user.Username, Groups: user.Groups, ResourceAttributes: &authorizationv1.ResourceAttributes{
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
