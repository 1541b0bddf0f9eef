package aggregated

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
)

// withoutParameters is the factory of the server's informers, without those of the
// parameters of admission policies.
//
// Every policy in the cluster with a paramKind, be it about PortRules or not, makes the
// server look for an informer of that kind, and if the factory has one, as it has of all
// built-in kinds, it is started there. The server is ready only if all informers of the
// factory have synced. This one never does where RBAC does not let the server list the
// kind, and it stays after the policy has gone: one policy with a ConfigMap, and no replica
// is ready until it is restarted. Without an informer here, policies make one of their own,
// as for custom resources, and remove it.
type withoutParameters struct {
	informers.SharedInformerFactory
}

// ForResource has none. Only policies ask for informers in this way.
func (withoutParameters) ForResource(resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	return nil, fmt.Errorf("no shared informer for %s", resource)
}

// keepParametersOut is for ExtraAdmissionInitializers, which are made after the factory and
// before admission gets it.
func keepParametersOut(config *genericapiserver.RecommendedConfig) ([]admission.PluginInitializer, error) {
	config.SharedInformerFactory = withoutParameters{config.SharedInformerFactory}
	return nil, nil
}
