// Package allowedports is the admission plugin for R5: a namespace whose annotation
// firewalld.fedoraproject.org/allowed-ports says which ports its PortRules may have
// admits no others.
//
// [Register] makes it known to the admission chain, under [PluginName]; what it checks
// is v2.ValidateAllowedPort, which the CRD's webhook calls too.
//
// It asks an informer of namespaces, so it costs no round trip, and a change of the
// annotation takes effect when the watch event has arrived. Only a namespace that the
// informer has not seen is asked for, since it may have been made a moment ago. Rules
// that are there already stay: the check is made when one is created, and the port is
// immutable.
//
// The other way to the same rule, without a line of Go, is the ValidatingAdmissionPolicy
// in crd/manifests/policy.
package allowedports

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// PluginName is the name of the plugin in --enable-admission-plugins and its like.
const PluginName = "PortRuleAllowedPorts"

// Register makes the plugin known.
func Register(plugins *admission.Plugins) {
	plugins.Register(PluginName, func(io.Reader) (admission.Interface, error) { return newPlugin(), nil })
}

// plugin needs a client and the informers, which the generic server's initializer
// gives it.
type plugin struct {
	*admission.Handler
	namespaces corev1listers.NamespaceLister
	client     kubernetes.Interface
}

var (
	_ admission.ValidationInterface                = &plugin{}
	_ initializer.WantsExternalKubeInformerFactory = &plugin{}
	_ initializer.WantsExternalKubeClientSet       = &plugin{}
)

func newPlugin() *plugin {
	return &plugin{Handler: admission.NewHandler(admission.Create)}
}

// SetExternalKubeInformerFactory takes the informer of namespaces, without which
// the plugin is not ready.
func (p *plugin) SetExternalKubeInformerFactory(factory informers.SharedInformerFactory) {
	namespaces := factory.Core().V1().Namespaces()
	p.namespaces = namespaces.Lister()
	p.SetReadyFunc(namespaces.Informer().HasSynced)
}

// SetExternalKubeClientSet takes a client of the control plane.
func (p *plugin) SetExternalKubeClientSet(client kubernetes.Interface) { p.client = client }

// ValidateInitialization returns an error if the plugin was not given what it needs.
func (p *plugin) ValidateInitialization() error {
	if p.namespaces == nil || p.client == nil {
		return errors.New(PluginName + " needs a client and informers of the control plane")
	}
	return nil
}

// Validate refuses a PortRule whose port its namespace does not allow.
func (p *plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource().Resource != api.Resource || a.GetSubresource() != "" {
		return nil
	}
	rule, ok := a.GetObject().(*v2.PortRule)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("%s was given a %T", PluginName, a.GetObject()))
	}
	if !p.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request: the namespaces are not known yet"))
	}
	namespace, err := p.namespace(ctx, a.GetNamespace())
	if err != nil {
		return err
	}
	errs := v2.ValidateAllowedPort(rule, namespace)
	if len(errs) == 0 {
		return nil
	}
	if a.GetKind().Version == v1.Version {
		errs = v1.Translate(errs)
	}
	return apierrors.NewInvalid(a.GetKind().GroupKind(), rule.Name, errs)
}

// namespace returns a namespace, from the control plane if the informer has not seen
// it yet: it may have been made a moment ago.
func (p *plugin) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	namespace, err := p.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		namespace, err = p.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		err = apierrors.NewInternalError(fmt.Errorf("read which ports namespace %q allows: %w", name, err))
	}
	return namespace, err
}
