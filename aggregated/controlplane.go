package aggregated

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// controlPlaneTimeout bounds the wait for the control plane at start.
const controlPlaneTimeout = 10 * time.Second

// kubeconfigs returns the flags that lead to the control plane, with the files that
// they name. No file means the service account of the Pod that the server runs in.
func (o *Options) kubeconfigs() (flags, files []string) {
	return []string{"--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"},
		[]string{
			o.Recommended.CoreAPI.CoreAPIKubeconfigPath,
			o.Recommended.Authentication.RemoteKubeConfigFile,
			o.Recommended.Authorization.RemoteKubeConfigFile,
		}
}

// validateControlPlane returns an error if a flag that leads to the control plane is
// missing and the server does not run in a Pod.
func (o *Options) validateControlPlane() error {
	var missing []string
	flags, files := o.kubeconfigs()
	for i, file := range files {
		if file == "" {
			missing = append(missing, flags[i])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		// its text is about environment variables that nobody sets by hand
		err = errors.New("this is not a Pod of a cluster, where KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT would lead to one")
	}
	if err != nil {
		return fmt.Errorf("there is no control plane: %w; name a kubeconfig with %s, or serve without a cluster, for development, with --standalone",
			err, strings.Join(missing, ", "))
	}
	return nil
}

// reachControlPlane returns an error unless what each flag leads to can be read and
// answers, be it with a refusal.
//
// k8s.io/apiserver asks only where --authentication-kubeconfig leads, for the ConfigMap
// extension-apiserver-authentication: once, without a time limit, and by then it has
// opened the port and dialled etcd.
func (o *Options) reachControlPlane(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controlPlaneTimeout)
	defer cancel()
	flags, files := o.kubeconfigs()
	for i, file := range files {
		if slices.Contains(files[:i], file) {
			continue
		}
		what := flags[i] + "=" + file
		if file == "" {
			what = "the Pod's service account"
		}
		config, err := clientConfig(file)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if o.Recommended.Authentication.TolerateInClusterLookupFailure {
			continue // who says so wants to start without an answer
		}
		client, err := discovery.NewDiscoveryClientForConfig(config)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		err = client.RESTClient().Get().AbsPath("/version").Do(ctx).Error()
		if status := apierrors.APIStatus(nil); err != nil && !errors.As(err, &status) {
			return fmt.Errorf("%s: the control plane at %s does not answer: %w", what, config.Host, err)
		}
	}
	return nil
}

// clientConfig reads a kubeconfig as k8s.io/apiserver does.
func clientConfig(file string) (*rest.Config, error) {
	if file == "" {
		return rest.InClusterConfig()
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file}, &clientcmd.ConfigOverrides{}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		// its text recommends an environment variable that is not read here
		err = errors.New("it names no cluster: is there a current-context?")
	}
	return config, err
}
