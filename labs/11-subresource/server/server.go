// Package server is an aggregated API server in which only one thing is missing: a
// subresource of portrules, which is what lab 11 is about.
//
// It is made of the same parts as the project's own, package aggregated, and of as few
// of them as possible: delegated authentication and authorization, the types of api/v2,
// and a storage in memory (storage.go), so that it needs no etcd and forgets everything.
// [Run] starts it and registers it with the aggregator. [Serve] does so with other
// resources, for other labs.
package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	endpointsopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/util/compatibility"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	basecompatibility "k8s.io/component-base/compatibility"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/utils/ptr"

	"portrule.example/lab/aggregated/openapi"
	"portrule.example/lab/api"
	"portrule.example/lab/api/callerreview"
	v2 "portrule.example/lab/api/v2"
	"portrule.example/lab/compare/certs"
)

// Rules finds PortRules, in the namespace of the request that ctx belongs to. A rule
// that does not exist is an error that clients get as 404.
type Rules interface {
	Rule(ctx context.Context, name string) (*v2.PortRule, error)
}

// Group is what the server serves, unless --group says otherwise.
const Group = "command.firewalld.fedoraproject.org"

// Options are what a server is made of.
type Options struct {
	Group, Version string
	// Namespace and Service name the Service that leads to the server, Host is how the
	// kube-apiserver reaches this host, a name or an address.
	Namespace, Service, Host string
	// Kubeconfig is where the cluster is.
	Kubeconfig string
	// Scheme has the kinds, which Definitions describe.
	Scheme      *runtime.Scheme
	Definitions common.GetOpenAPIDefinitions
	// Resources returns what is served, by resource, and the admission of writes, nil if
	// there is none. It gets the configuration of a client of the cluster.
	Resources func(*clientrest.Config) (map[string]rest.Storage, admission.Interface, error)
}

// AddFlags adds the flags that all these servers have. What is in the options already is
// their default.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.Group, "group", o.Group, "the API group to serve")
	flags.StringVar(&o.Service, "service", o.Service, "the Service that leads to the server, in the namespace "+o.Namespace)
	flags.StringVar(&o.Host, "host", cmp.Or(os.Getenv("LAB_HOST"), "localhost"), "the name or the address by which the kube-apiserver reaches this host")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster; the server asks it as whom the kubeconfig names")
}

// Parse reads the arguments of a command line that has no other flags, of a server of
// PortRules, which it adds to the options.
func (o *Options) Parse(args []string) (err error) {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Version, o.Definitions = v2.Version, openapi.Definitions
	o.Scheme, err = newScheme(o.Group)
	return err
}

// ready is printed when the aggregator has been told.
const ready = "serving"

// Main is the program: Run with the arguments of the command line, until it is
// interrupted.
func Main(subresource string, storage func(Rules) rest.Storage) {
	if err := Run(genericapiserver.SetupSignalContext(), os.Args[1:], os.Stdout, subresource, storage); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Run serves portrules and a subresource of it, and registers both with the aggregator,
// until ctx ends.
func Run(ctx context.Context, args []string, stdout io.Writer, subresource string, storage func(Rules) rest.Storage) error {
	o := Options{Namespace: "lab-11", Group: Group, Service: "command"}
	if err := o.Parse(args); err != nil {
		return err
	}
	o.Resources = func(*clientrest.Config) (map[string]rest.Storage, admission.Interface, error) {
		rules := NewMemory(o.Group)
		return map[string]rest.Storage{api.Resource: rules, api.Resource + "/" + subresource: storage(rules)}, nil, nil
	}
	return Serve(ctx, stdout, o)
}

// Serve serves a group and registers it with the aggregator, until ctx ends.
func Serve(ctx context.Context, stdout io.Writer, o Options) (err error) {
	if o.Kubeconfig == "" {
		return errors.New("which cluster? Set KUBECONFIG: eval \"$(lab env)\"")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return err
	}
	registration, err := newRegistration(client, o)
	if err != nil {
		return err
	}
	config, port, err := configure(ctx, client, o, registration.pair)
	if err != nil {
		return err
	}
	generic, err := install(config, client, o)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- generic.PrepareRun().RunWithContext(ctx) }()
	if err := registration.register(ctx, int32(port)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registration.remove()) }()
	fmt.Fprintln(stdout, ready, o.Group)
	return <-ended
}

// newScheme registers PortRules, and CallerReviews, under a group.
func newScheme(group string) (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v2.AddToScheme(scheme, group), callerreview.AddToScheme(scheme, group)); err != nil {
		return nil, err
	}
	// the hub is v2 itself, registered a second time as the internal version
	scheme.AddKnownTypes(schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}, &v2.PortRule{}, &v2.PortRuleList{}, &callerreview.CallerReview{})
	AddMetaTypes(scheme)
	return scheme, nil
}

// AddMetaTypes adds what every server answers with beside its own kinds.
func AddMetaTypes(scheme *runtime.Scheme) {
	core := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, core)
	scheme.AddUnversionedTypes(core, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
}

// configure makes the configuration of a server that listens on a free port of this host.
func configure(ctx context.Context, client *clientrest.Config, o Options, pair *certs.Pair) (*genericapiserver.RecommendedConfig, int, error) {
	config := genericapiserver.NewRecommendedConfig(serializer.NewCodecFactory(o.Scheme))
	config.EffectiveVersion = compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)
	namer := endpointsopenapi.NewDefinitionNamer(o.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(o.Definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(o.Definitions, namer)
	config.LoopbackClientConfig = &clientrest.Config{} // for hooks that it has not

	bind := "127.0.0.1:0"
	if net.ParseIP(o.Host) != nil {
		bind = net.JoinHostPort(o.Host, "0") // reached from a container
	}
	listener, err := net.Listen("tcp", bind)
	if err != nil {
		return nil, 0, err
	}
	config.SecureServing = &genericapiserver.SecureServingInfo{Listener: listener}
	if config.SecureServing.Cert, err = dynamiccertificates.NewStaticCertKeyContent("serving", pair.Cert, pair.Key); err != nil {
		return nil, 0, err
	}
	if err := delegate(ctx, client, config); err != nil {
		return nil, 0, err
	}
	return config, listener.Addr().(*net.TCPAddr).Port, nil
}

// delegate makes the server leave to the kube-apiserver who callers are and what they may
// do. It is what the flags of other servers amount to (DelegatingAuthenticationOptions,
// DelegatingAuthorizationOptions in k8s.io/apiserver), less what keeps up with changes.
func delegate(ctx context.Context, client *clientrest.Config, config *genericapiserver.RecommendedConfig) error {
	const published = "extension-apiserver-authentication"
	// reviews are many, and client-go sends five a second unless it is told otherwise
	client = clientrest.CopyConfig(client)
	client.QPS, client.Burst = 200, 400
	// not the clientset of all groups: a small program is linked in less time
	core, err := corev1client.NewForConfig(client)
	if err != nil {
		return err
	}
	reviews, err := authenticationv1.NewForConfig(client)
	if err != nil {
		return err
	}
	accessReviews, err := authorizationv1.NewForConfig(client)
	if err != nil {
		return err
	}
	found, err := core.ConfigMaps(metav1.NamespaceSystem).Get(ctx, published, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read how the kube-apiserver is to be recognised: %w", err)
	}
	list := func(key string) headerrequest.StringSliceProvider {
		var names []string
		err = errors.Join(err, json.Unmarshal([]byte(found.Data[key]), &names))
		return headerrequest.StaticStringSlice(names)
	}
	headers := &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     list("requestheader-username-headers"),
		GroupHeaders:        list("requestheader-group-headers"),
		ExtraHeaderPrefixes: list("requestheader-extra-headers-prefix"),
		AllowedClientNames:  list("requestheader-allowed-names"),
		UIDHeaders:          headerrequest.StaticStringSlice{},
	}
	if err != nil {
		return fmt.Errorf("read the ConfigMap %s: %w; is the aggregation layer on?", published, err)
	}
	if headers.CAContentProvider, err = dynamiccertificates.NewStaticCAContent("front-proxy", []byte(found.Data["requestheader-client-ca-file"])); err != nil {
		return fmt.Errorf("read the CA of the front proxy: %w", err)
	}
	clientCA, err := dynamiccertificates.NewStaticCAContent("client", []byte(found.Data["client-ca-file"]))
	if err != nil {
		return fmt.Errorf("read the CA of clients: %w", err)
	}
	config.SecureServing.ClientCA = dynamiccertificates.NewUnionCAContentProvider(clientCA, headers.CAContentProvider)

	// as the options have it
	const timeout, ttl = 10 * time.Second, 10 * time.Second
	retry := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	config.Authentication.RequestHeaderConfig = headers
	config.Authentication.Authenticator, _, err = authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                          &apiserver.AnonymousAuthConfig{Enabled: true},
		TokenAccessReviewClient:            reviews,
		TokenAccessReviewTimeout:           timeout,
		WebhookRetryBackoff:                retry,
		CacheTTL:                           ttl,
		ClientCertificateCAContentProvider: clientCA,
		RequestHeaderConfig:                headers,
	}.New()
	if err != nil {
		return err
	}
	config.Authorization.Authorizer, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: accessReviews,
		AllowCacheTTL:             ttl,
		DenyCacheTTL:              ttl,
		WebhookRetryBackoff:       retry,
	}.New()
	return err
}

// install makes the server and installs the resources.
func install(config *genericapiserver.RecommendedConfig, client *clientrest.Config, o Options) (*genericapiserver.GenericAPIServer, error) {
	resources, plugins, err := o.Resources(client)
	if err != nil {
		return nil, err
	}
	config.AdmissionControl = plugins
	generic, err := config.Complete().New("lab-server", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(o.Group, o.Scheme, runtime.NewParameterCodec(o.Scheme), serializer.NewCodecFactory(o.Scheme))
	info.VersionedResourcesStorageMap[o.Version] = resources
	return generic, generic.InstallAPIGroup(&info)
}

// registration is how the aggregator finds the server: a Service that leads to this host,
// and an APIService with the CA of the serving certificate.
type registration struct {
	service *corev1.Service
	// slice has the address to which the Service leads, if it is one. It goes with the
	// Service, which a name stands in itself.
	slice      *discoveryv1.EndpointSlice
	apiService *apiregistrationv1.APIService
	pair       *certs.Pair

	core       corev1client.ServicesGetter
	discovery  discoveryv1client.EndpointSlicesGetter
	aggregator apiregistrationclient.APIServicesGetter
}

func newRegistration(client *clientrest.Config, o Options) (*registration, error) {
	r, namespace, name, host := &registration{}, o.Namespace, o.Service, o.Host
	var err error
	if r.core, err = corev1client.NewForConfig(client); err != nil {
		return nil, err
	}
	if r.discovery, err = discoveryv1client.NewForConfig(client); err != nil {
		return nil, err
	}
	if r.aggregator, err = apiregistrationclient.NewForConfig(client); err != nil {
		return nil, err
	}
	ca, err := certs.NewCA(name + "-ca")
	if err != nil {
		return nil, err
	}
	if r.pair, err = ca.Serving(name + "." + namespace + ".svc"); err != nil {
		return nil, err
	}
	r.service = &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: host},
	}
	if net.ParseIP(host) != nil {
		r.service.Spec = corev1.ServiceSpec{} // without a selector: nobody but the slice says where it leads
		r.slice = &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}}},
		}
	}
	r.apiService = &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: o.Version + "." + o.Group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: o.Group, Version: o.Version, GroupPriorityMinimum: 1000, VersionPriority: 10, CABundle: ca.PEM(),
			Service: &apiregistrationv1.ServiceReference{Namespace: namespace, Name: name},
		},
	}
	return r, nil
}

// register tells the aggregator of a server that listens on a port, in place of one that
// was there before.
func (r *registration) register(ctx context.Context, port int32) error {
	if err := r.remove(); err != nil {
		return err
	}
	r.service.Spec.Ports = []corev1.ServicePort{{Name: "https", Port: port}}
	if _, err := r.core.Services(r.service.Namespace).Create(ctx, r.service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the Service: %w; has the lab been started?", err)
	}
	if r.slice != nil {
		r.slice.Ports = []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: &port}}
		if _, err := r.discovery.EndpointSlices(r.service.Namespace).Create(ctx, r.slice, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make the EndpointSlice: %w", err)
		}
	}
	r.apiService.Spec.Service.Port = ptr.To(port)
	if _, err := r.aggregator.APIServices().Create(ctx, r.apiService, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the APIService: %w", err)
	}
	return nil
}

// remove takes it back, also when the program is about to end.
func (r *registration) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	for _, err := range []error{
		r.aggregator.APIServices().Delete(ctx, r.apiService.Name, metav1.DeleteOptions{}),
		r.core.Services(r.service.Namespace).Delete(ctx, r.service.Name, metav1.DeleteOptions{}),
		r.discovery.EndpointSlices(r.service.Namespace).Delete(ctx, r.service.Name, metav1.DeleteOptions{}),
	} {
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
