package cluster

import (
	"fmt"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Context is an entry of a kubeconfig: a cluster and who to be there. The context,
// the cluster and the user get its name.
type Context struct {
	Name   string
	Config *rest.Config
}

// WriteKubeconfig writes contexts to path, readable by the owner alone. The first
// is the current one.
func WriteKubeconfig(path string, contexts ...Context) error {
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.CurrentContext = contexts[0].Name
	for _, c := range contexts {
		kubeconfig.Clusters[c.Name] = &clientcmdapi.Cluster{
			Server:                   c.Config.Host,
			CertificateAuthority:     c.Config.CAFile,
			CertificateAuthorityData: c.Config.CAData,
		}
		kubeconfig.AuthInfos[c.Name] = &clientcmdapi.AuthInfo{
			ClientCertificate:     c.Config.CertFile,
			ClientCertificateData: c.Config.CertData,
			ClientKey:             c.Config.KeyFile,
			ClientKeyData:         c.Config.KeyData,
			Token:                 c.Config.BearerToken,
			TokenFile:             c.Config.BearerTokenFile,
			Exec:                  c.Config.ExecProvider,
		}
		kubeconfig.Contexts[c.Name] = &clientcmdapi.Context{Cluster: c.Name, AuthInfo: c.Name}
	}
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

// checkVersion says whether the control plane has the version that is asked for.
func checkVersion(config *rest.Config, want string) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	got, err := client.ServerVersion()
	if err != nil {
		return err
	}
	if got.GitVersion != want {
		return fmt.Errorf("the control plane is %s, not %s as asked", got.GitVersion, want)
	}
	return nil
}
