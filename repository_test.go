// Package lab_test holds the tests about the repository as a whole: which way
// imports run, and that both modules pin the same Kubernetes.
package lab_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "portrule.example/lab"

// trees may import what is named here and themselves, nothing else of this module.
var trees = map[string][]string{
	"api":        {},
	"crd":        {"api"},
	"aggregated": {"api"},
	"compare":    {"api", "crd", "aggregated"},
	"labs":       {"api", "crd", "aggregated", "compare"},
	"docs":       {"compare", "labs"},
}

// apiMayImport is what api may import from elsewhere, so that whoever wants the
// types gets nothing with them. Its tests may import more.
var apiMayImport = regexp.MustCompile(`^(k8s\.io/apimachinery/|[a-z0-9/]+$)`)

func TestImportsRunOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from, ok := tree(pkg.ImportPath)
		if !ok {
			continue
		}
		checked++
		for _, imported := range slices.Concat(pkg.Imports, pkg.TestImports, pkg.XTestImports) {
			if to, ok := tree(imported); ok {
				if to != from && !slices.Contains(trees[from], to) {
					t.Errorf("%s imports %s: %s may import %v of this module", pkg.ImportPath, imported, from, trees[from])
				}
			} else if from == "api" && slices.Contains(pkg.Imports, imported) && !apiMayImport.MatchString(imported) {
				t.Errorf("%s imports %s: api imports nothing beyond apimachinery", pkg.ImportPath, imported)
			}
		}
	}
	if checked == 0 {
		t.Error("no package was checked")
	}
}

// tree returns the top-level directory of a package of this module.
func tree(importPath string) (string, bool) {
	rest, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return "", false
	}
	top, _, _ := strings.Cut(rest, "/")
	return top, true
}

// One version on both sides keeps the comparison fair: what the aggregated server
// is built from is what the kube-apiserver is built from.
func TestModulesPinTheSameKubernetes(t *testing.T) {
	controlPlane := versions(t, "compare/controlplane/go.mod")
	if controlPlane["k8s.io/kubernetes"] == "" || controlPlane["go.etcd.io/etcd/server/v3"] == "" {
		t.Fatal("compare/controlplane does not pin Kubernetes and etcd")
	}
	root := versions(t, "go.mod")
	if _, ok := root["k8s.io/kubernetes"]; ok {
		t.Error("the root module requires k8s.io/kubernetes")
	}
	// besides Kubernetes itself, what carries requests: HTTP/2, gRPC, etcd's client
	same := regexp.MustCompile(`^(k8s\.io/|sigs\.k8s\.io/(structured-merge-diff|json|apiserver-network-proxy)|golang\.org/x/net$|google\.golang\.org/(grpc|protobuf)$|go\.etcd\.io/etcd/)`)
	compared := 0
	for path, version := range root {
		if want, ok := controlPlane[path]; ok && same.MatchString(path) {
			compared++
			if version != want {
				t.Errorf("%s is %s here and %s in compare/controlplane", path, version, want)
			}
		}
	}
	if compared < 10 {
		t.Errorf("only %d modules were compared", compared)
	}
}

// versions returns what a go.mod selects, replacements applied.
func versions(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse(path, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	selected := map[string]string{}
	for _, require := range file.Require {
		selected[require.Mod.Path] = require.Mod.Version
	}
	for _, replace := range file.Replace {
		selected[replace.Old.Path] = replace.New.Version
	}
	return selected
}
