package aggregated

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/compatibility"
	cliflag "k8s.io/component-base/cli/flag"
	basecompatibility "k8s.io/component-base/compatibility"

	"portrule.example/lab/aggregated/admission/allowedports"
	"portrule.example/lab/aggregated/authorizer"
	"portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	"portrule.example/lab/api/probe"
)

// defaultEtcdPrefix is the kube-apiserver's own. An object's key is
// <prefix>/<group>/<resource>/<namespace>/<name> in both servers, so that they
// can share an etcd without meeting.
const defaultEtcdPrefix = "/registry"

// Options are the flags of portrule-apiserver.
type Options struct {
	// Recommended are the options that k8s.io/apiserver recommends for an
	// aggregated server: etcd, serving certificate, delegated authentication and
	// authorization, audit, admission, tracing.
	Recommended *genericoptions.RecommendedOptions
	// Globals holds the effective version and the feature gates of this process.
	Globals basecompatibility.ComponentGlobalsRegistry
	// Group is the API group that is served. Another than the usual one lets two
	// servers that differ be compared in one cluster.
	Group string
	// ServerRun are the limits of all requests, and how the server ends.
	ServerRun *genericoptions.ServerRunOptions
	// Anonymous is whether a caller who shows nothing is let through as
	// system:anonymous, to be authorized. Otherwise it is unauthorized.
	Anonymous bool
	// NameFreeReviews is whether the kube-apiserver is first asked about all names at
	// once: see authorizer.NameFree, and its precondition.
	NameFreeReviews bool
	// SharedReviews is whether requests that come while a review of the same is under way
	// wait for its answer instead of asking too.
	SharedReviews bool
	// UniqueEndpoints is R4: in one namespace no two PortRules share an endpoint. All
	// replicas must agree on it.
	UniqueEndpoints bool
	// RotateCertificates is whether the server keeps its own certificate valid: see
	// certificates.go.
	RotateCertificates bool
	// ProbeAllow are the CIDRs that the subresource probe dials although they are
	// loopback, link-local or otherwise refused.
	ProbeAllow []string
	// Standalone is whether the server runs without a cluster, for development: see
	// standalone.go.
	Standalone bool

	// flags are those that Flags has returned. Some mean something else, or nothing, with
	// Standalone, unless they are given.
	flags cliflag.NamedFlagSets
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	o := &Options{
		// the codec is made once the flags have said which: see Config
		Recommended:     genericoptions.NewRecommendedOptions(defaultEtcdPrefix, nil),
		Globals:         compatibility.DefaultComponentGlobalsRegistry,
		Group:           api.Group,
		ServerRun:       genericoptions.NewServerRunOptions(),
		Anonymous:       true,
		SharedReviews:   true,
		UniqueEndpoints: true,
	}
	o.Recommended.Etcd.DefaultStorageMediaType = runtime.ContentTypeProtobuf
	allowedports.Register(o.Recommended.Admission.Plugins)
	o.Recommended.Admission.RecommendedPluginOrder = append(o.Recommended.Admission.RecommendedPluginOrder, allowedports.PluginName)
	// No certificate is made up: see Validate.
	o.Recommended.SecureServing.ServerCert.CertDirectory = ""
	// a server that does not serve HTTPS serves nothing
	o.Recommended.SecureServing.Required = true
	return o
}

// Flags returns the flags by topic, as they appear in the help.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	r := o.Recommended
	fss.FlagSet("standalone").BoolVar(&o.Standalone, "standalone", o.Standalone, fmt.Sprintf(
		"Serve without a cluster, for development. Client certificates of a CA that is made in --cert-dir (%s, unless given), or of --client-ca-file, "+
			"may do everything, and nobody else anything. Namespaces are not checked, nor are the ports that they allow. "+
			"--bind-address is 127.0.0.1 and must be a loopback address, --secure-port is %d unless given.", standaloneCertDir, standalonePort))
	o.ServerRun.AddUniversalFlags(fss.FlagSet("requests"))
	r.Etcd.AddFlags(fss.FlagSet("etcd"))
	r.SecureServing.AddFlags(fss.FlagSet("secure serving"))
	fss.FlagSet("secure serving").BoolVar(&o.RotateCertificates, "rotate-certificates", o.RotateCertificates,
		"Keep the certificate in the Secret "+manifests.Secret+" valid, which is mounted where --tls-cert-file says, and its CA in the APIServices.")
	r.Authentication.AddFlags(fss.FlagSet("authentication"))
	fss.FlagSet("authentication").BoolVar(&o.Anonymous, "anonymous-auth", o.Anonymous,
		"Let callers who show no credential through as system:anonymous, to be authorized. "+
			"The paths of --authorization-always-allow-paths are open to them in any case.")
	r.Authorization.AddFlags(fss.FlagSet("authorization"))
	fss.FlagSet("authorization").BoolVar(&o.SharedReviews, "authorization-shared-reviews", o.SharedReviews,
		"Requests that come while a SubjectAccessReview of the same is under way wait for its answer instead of sending another.")
	fss.FlagSet("authorization").BoolVar(&o.NameFreeReviews, "authorization-name-free-reviews", o.NameFreeReviews,
		"Ask the control plane first whether the user may do the verb to every name, and only if not, to the one that is meant: "+
			"one SubjectAccessReview in place of one for each name. Only where the control plane authorizes by RBAC, "+
			"or by nothing that denies single names.")
	r.CoreAPI.AddFlags(fss.FlagSet("control plane"))
	r.Admission.AddFlags(fss.FlagSet("admission"))
	r.Audit.AddFlags(fss.FlagSet("audit"))
	r.Features.AddFlags(fss.FlagSet("features"))
	r.EgressSelector.AddFlags(fss.FlagSet("egress selector"))
	r.Traces.AddFlags(fss.FlagSet("tracing"))
	o.Globals.AddFlags(fss.FlagSet("versions and feature gates"))
	fs := fss.FlagSet("portrules")
	fs.StringVar(&o.Group, "group", o.Group, "The API group that is served.")
	fs.BoolVar(&o.UniqueEndpoints, "unique-endpoints", o.UniqueEndpoints,
		"Refuse a PortRule whose endpoint another one in its namespace has. All replicas must agree on it.")
	fs.StringSliceVar(&o.ProbeAllow, "probe-allow-cidr", o.ProbeAllow,
		"Addresses, such as 127.0.0.2/32, that portrules/probe dials although it would refuse them: "+
			"loopback, link-local, multicast and cloud metadata.")
	o.flags = fss
	return fss
}

// Validate says everything that is wrong with the flags.
func (o *Options) Validate() error {
	errs := o.Recommended.Validate()
	errs = append(errs, o.Globals.Validate()...)
	errs = append(errs, o.ServerRun.Validate()...)
	for _, msg := range validation.IsDNS1123Subdomain(o.Group) {
		errs = append(errs, fmt.Errorf("--group %q: %s", o.Group, msg))
	}
	if _, err := probe.ParseAllow(o.ProbeAllow); err != nil {
		errs = append(errs, fmt.Errorf("--probe-allow-cidr: %w", err))
	}
	if o.Standalone {
		return utilerrors.NewAggregate(append(errs, o.validateStandalone()...))
	}
	if err := o.validateControlPlane(); err != nil {
		errs = append(errs, err)
	}
	// k8s.io/apiserver would make a self-signed certificate. The kube-apiserver
	// verifies this server against its APIService's caBundle, which cannot hold
	// what each start makes anew.
	cert := o.Recommended.SecureServing.ServerCert.CertKey
	if cert.CertFile == "" || cert.KeyFile == "" {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file must be specified: "+
			"a serving certificate for <service>.<namespace>.svc, signed by the CA in the APIService's caBundle"))
	}
	return utilerrors.NewAggregate(errs)
}

// Config makes the configuration of a server from validated options. It reads
// the certificate files and the kubeconfigs that the options name, and asks the
// control plane for extension-apiserver-authentication. With Standalone it makes the
// certificates instead.
func (o *Options) Config(ctx context.Context) (*Config, error) {
	types := register(o.Group)
	generic := genericapiserver.NewRecommendedConfig(types.codecs)
	generic.EffectiveVersion = o.Globals.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)
	generic.FeatureGate = o.Globals.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	etcd := o.Recommended.Etcd
	var err error
	etcd.StorageConfig.Codec, etcd.StorageConfig.EncodeVersioner, err = serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
		StorageMediaType:  etcd.DefaultStorageMediaType,
		StorageSerializer: types.codecs,
		StorageVersion:    types.storageVersion,
		MemoryVersion:     types.hub,
	})
	if err != nil {
		return nil, fmt.Errorf("--storage-media-type: %w", err)
	}
	// before ApplyTo: the authentication options add their security definitions
	types.describe(generic)
	if err := o.ServerRun.ApplyTo(&generic.Config); err != nil {
		return nil, err
	}
	if o.Standalone {
		err = o.applyStandalone(generic)
	} else {
		err = o.applyDelegated(ctx, generic)
	}
	if err != nil {
		return nil, err
	}
	allow, err := probe.ParseAllow(o.ProbeAllow)
	if err != nil {
		return nil, err
	}
	return &Config{Generic: generic, types: types, UniqueEndpoints: o.UniqueEndpoints, ProbeAllow: allow}, nil
}

// applyDelegated applies the options of a server that asks a control plane who a caller
// is and what they may do.
func (o *Options) applyDelegated(ctx context.Context, generic *genericapiserver.RecommendedConfig) error {
	if err := o.reachControlPlane(ctx); err != nil {
		return err
	}
	recommended, err := o.applyTracing(generic)
	if err != nil {
		return err
	}
	recommended.ExtraAdmissionInitializers = keepParametersOut
	if err := recommended.ApplyTo(generic); err != nil {
		return fmt.Errorf("configure the server: %w", err)
	}
	recognise(&generic.Authentication, o.Anonymous, o.Recommended.Authorization.AlwaysAllowPaths)
	if o.SharedReviews {
		generic.Authorization.Authorizer = authorizer.Shared(generic.Authorization.Authorizer, o.Recommended.Authorization.ClientTimeout)
	}
	if o.NameFreeReviews {
		generic.Authorization.Authorizer = authorizer.NameFree(generic.Authorization.Authorizer)
	}
	return generic.AddPostStartHook("client-ca", awaitClientCA(generic))
}
