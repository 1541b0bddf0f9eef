package aggregated

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	"k8s.io/apiserver/pkg/authorization/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/klog/v2"
)

// What flags that are not given mean with --standalone.
const (
	standalonePort    = 8443 // the default of k8s.io/apiserver is root's
	standaloneCertDir = "portrule-apiserver.local"
)

// The user of the client certificate. The group is not system:masters, which would make
// the certificate one of an administrator wherever somebody came to trust its CA.
const (
	localUser  = "portrule-admin"
	localGroup = "portrule-admins"
)

// standaloneWarnings say what a server without a cluster does not do.
var standaloneWarnings = []string{
	"--standalone is for development: there is no cluster behind this server",
	"--standalone: who holds a client certificate that is signed by its client CA may do everything",
	"--standalone: namespaces are not checked, any name will do; which ports they allow (R5) is not enforced",
	"--standalone: the cluster's admission policies, webhooks and quotas are not asked",
}

// clusterFlagSets are the sets of flags about what a server without a cluster does not
// have, and standaloneFlags those in them that it has.
var (
	clusterFlagSets = []string{"authentication", "authorization", "control plane", "admission"}
	standaloneFlags = []string{"client-ca-file", "authorization-always-allow-paths"}
)

// validateStandalone says what is wrong with the flags of a server without a cluster.
func (o *Options) validateStandalone() []error {
	var errs []error
	var refused []string
	for _, name := range clusterFlagSets {
		o.flags.FlagSet(name).VisitAll(func(flag *pflag.Flag) {
			if flag.Changed && !slices.Contains(standaloneFlags, flag.Name) {
				refused = append(refused, "--"+flag.Name)
			}
		})
	}
	if o.given("enable-priority-and-fairness") && o.Recommended.Features.EnablePriorityAndFairness {
		refused = append(refused, "--enable-priority-and-fairness")
	}
	if o.given("rotate-certificates") {
		refused = append(refused, "--rotate-certificates")
	}
	if len(refused) > 0 {
		errs = append(errs, fmt.Errorf("a server with --standalone has no cluster: leave out %s, or --standalone", strings.Join(refused, ", ")))
	}
	if address := o.standaloneAddress(); !address.IsLoopback() {
		errs = append(errs, fmt.Errorf("--bind-address %s: with --standalone it must be a loopback address, such as 127.0.0.1 or ::1: "+
			"who reaches the server and holds the client certificate may do everything", address))
	}
	if cert := o.Recommended.SecureServing.ServerCert.CertKey; (cert.CertFile == "") != (cert.KeyFile == "") {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file go together: give both, or with --standalone neither"))
	}
	return errs
}

// given is whether a flag is on the command line.
func (o *Options) given(name string) bool {
	for _, flags := range o.flags.FlagSets {
		if flag := flags.Lookup(name); flag != nil {
			return flag.Changed
		}
	}
	return false
}

// standaloneAddress is where a server without a cluster listens.
func (o *Options) standaloneAddress() net.IP {
	address := o.Recommended.SecureServing.BindAddress
	if address.IsUnspecified() && !o.given("bind-address") {
		return net.IPv4(127, 0, 0, 1)
	}
	return address
}

// applyStandalone applies the options of a server without a cluster: the recommended
// ones less those that ask a control plane, which are nil, and in their place a client
// CA of its own. The control plane is not asked in a Pod either, where there is one.
func (o *Options) applyStandalone(generic *genericapiserver.RecommendedConfig) error {
	serving := *o.Recommended.SecureServing.SecureServingOptions
	serving.BindAddress = o.standaloneAddress()
	if serving.BindPort == genericoptions.NewSecureServingOptions().BindPort && !o.given("secure-port") {
		serving.BindPort = standalonePort
	}
	clientCert := o.Recommended.Authentication.ClientCert
	var ca *localCA
	if serving.ServerCert.CertKey.CertFile == "" || clientCert.ClientCA == "" {
		dir := serving.ServerCert.CertDirectory
		if dir == "" {
			dir = standaloneCertDir
		}
		var err error
		if ca, err = openLocalCA(dir); err != nil {
			return err
		}
	}
	serverCA := serving.ServerCert.CertKey.CertFile // who trusts that very certificate needs no CA
	if serverCA == "" {
		serverCA = ca.path("ca.crt")
		var err error
		serving.ServerCert.CertKey, err = ca.sign("serving", &x509.Certificate{
			Subject:     pkix.Name{CommonName: "localhost"},
			DNSNames:    []string{"localhost"},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, serving.BindAddress},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return err
		}
	}
	var client genericoptions.CertKey
	if clientCert.ClientCA == "" {
		clientCert.ClientCA = ca.path("ca.crt")
		var err error
		client, err = ca.sign("client", &x509.Certificate{
			Subject:     pkix.Name{CommonName: localUser, Organization: []string{localGroup}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return err
		}
	}

	recommended, err := o.applyTracing(generic)
	if err != nil {
		return err
	}
	recommended.SecureServing = serving.WithLoopback()
	recommended.Authentication, recommended.Authorization, recommended.CoreAPI, recommended.Admission = nil, nil, nil, nil
	features := *recommended.Features
	features.EnablePriorityAndFairness = false // its configuration is in the cluster: --max-requests-inflight counts
	recommended.Features = &features
	if err := recommended.ApplyTo(generic); err != nil {
		return fmt.Errorf("configure the server: %w", err)
	}
	if err := o.admitHolders(generic, clientCert); err != nil {
		return err
	}

	for _, warning := range standaloneWarnings {
		klog.Warning(warning)
	}
	host, port, err := generic.SecureServing.HostPort()
	if err != nil {
		return err
	}
	server := "https://" + net.JoinHostPort(host, strconv.Itoa(port))
	if client.CertFile == "" {
		klog.Warningf("To use it: kubectl --server=%s --certificate-authority=%s --client-certificate=... --client-key=..., signed by a CA in %s",
			server, serverCA, clientCert.ClientCA)
		return nil
	}
	kubeconfig, err := ca.writeKubeconfig(server, serverCA, client)
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	klog.Warningf("To use it: kubectl --kubeconfig=%s get portrules", kubeconfig)
	return nil
}

// admitHolders lets those who hold a certificate of the client CA do everything, and
// nobody else anything but ask for the server's health.
func (o *Options) admitHolders(generic *genericapiserver.RecommendedConfig, clientCert genericoptions.ClientCertAuthenticationOptions) error {
	clientCA, err := clientCert.GetClientCAContentProvider()
	if err != nil {
		return fmt.Errorf("--client-ca-file: %w", err)
	}
	if err := generic.Authentication.ApplyClientCert(clientCA, generic.SecureServing); err != nil {
		return err
	}
	generic.Authentication.Authenticator, generic.OpenAPIConfig.SecurityDefinitions, err = authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                          &apiserver.AnonymousAuthConfig{Enabled: true}, // to the open paths: see recognise
		ClientCertificateCAContentProvider: clientCA,
	}.New()
	if err != nil {
		return err
	}
	openPaths := o.Recommended.Authorization.AlwaysAllowPaths
	recognise(&generic.Authentication, false, openPaths)
	open, err := path.NewAuthorizer(openPaths)
	if err != nil {
		return fmt.Errorf("--authorization-always-allow-paths: %w", err)
	}
	// there is one way to be authenticated
	generic.Authorization.Authorizer = union.New(authorizerfactory.NewPrivilegedGroups(user.AllAuthenticated), open)
	return nil
}
