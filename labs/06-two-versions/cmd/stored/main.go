// Command stored prints the PortRules of lab 6 as etcd has them: name, version, spec.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"portrule.example/lab/labs/06-two-versions/stored"
)

const group, resource = "versions.firewalld.fedoraproject.org", "portrules"

// clusterFile, beside the labs' kubeconfig, says where their etcd is.
const clusterFile = "cluster.json"

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer) error {
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		return errors.New("which cluster? Set KUBECONFIG: eval \"$(lab env)\"")
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(kubeconfig), clusterFile))
	if err != nil {
		return fmt.Errorf("only of the labs' own cluster the etcd can be read: %w", err)
	}
	var cluster struct {
		Etcd []string `json:"etcd"`
	}
	if err := json.Unmarshal(data, &cluster); err != nil {
		return fmt.Errorf("read where the cluster is: %w", err)
	}
	objects, err := stored.Read(ctx, cluster.Etcd, group, resource)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, object := range objects {
		fmt.Fprintf(table, "%s\t%s\t%s\n", object.Name, object.Version(), object.Spec)
	}
	return table.Flush()
}
