package aggregated

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
)

func openCA(t *testing.T, dir string) *localCA {
	t.Helper()
	ca, err := openLocalCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// start does with the directory of a local CA what a start of the server does.
func start(t *testing.T, dir string) *localCA {
	t.Helper()
	ca := openCA(t, dir)
	if _, err := ca.sign("serving", &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		t.Fatal(err)
	}
	client, err := ca.sign("client", &x509.Certificate{Subject: pkix.Name{CommonName: localUser}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.writeKubeconfig("https://127.0.0.1:8443", ca.path("ca.crt"), client); err != nil {
		t.Fatal(err)
	}
	return ca
}

// contents returns the files in dir by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			data = []byte(err.Error())
		}
		files[entry.Name()] = string(data)
	}
	return files
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// All files are the owner's alone, and are all that there is.
func TestLocalCAFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "with", "its", "parents")
	start(t, dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("the directory has mode %o, want 700", got)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != 0o600 {
			t.Errorf("%s has mode %s, want 600", entry.Name(), got)
		}
	}
	if want := slices.Sorted(slices.Values(localFiles)); !slices.Equal(names, want) {
		t.Errorf("there is %v, want %v", names, want)
	}
}

// A client's kubeconfig is good for the server that is started again, and what the
// client has put into it stays.
func TestLocalCASurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	before := start(t, dir)
	config, err := clientcmd.LoadFromFile(before.path("kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := cert.ParseCertsPEM(config.AuthInfos[localUser].ClientCertificateData)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts[localContext].Namespace = "mine"
	if err := clientcmd.WriteToFile(*config, before.path("kubeconfig")); err != nil {
		t.Fatal(err)
	}

	after := start(t, dir)
	if !bytes.Equal(before.cert.Raw, after.cert.Raw) {
		t.Error("there is another CA")
	}
	roots := x509.NewCertPool()
	roots.AddCert(after.cert)
	if _, err := certificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	config, err = clientcmd.LoadFromFile(after.path("kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Contexts[localContext].Namespace; got != "mine" {
		t.Errorf("the namespace in the kubeconfig is %q, want mine", got)
	}
}

// What a start leaves behind that was ended between two files, the next one completes.
func TestLocalCACompletes(t *testing.T) {
	for name, missing := range map[string][]string{
		"the kubeconfig":                   {"kubeconfig"},
		"the client's key":                 {"client.key"},
		"the client's certificate":         {"client.crt", "client.key"},
		"the serving key and what follows": {"serving.key", "client.crt", "client.key", "kubeconfig"},
		"all but the CA":                   {"serving.crt", "serving.key", "client.crt", "client.key", "kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ca")
			start(t, dir)
			for _, file := range missing {
				if err := os.Remove(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			start(t, dir)
			if got := len(contents(t, dir)); got != len(localFiles) {
				t.Errorf("there are %d files, want %d", got, len(localFiles))
			}
		})
	}
}

// What no local CA has made, or what is broken, is left as it is, and the error says
// what to do.
func TestLocalCARefuses(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign")
	start(t, foreign)
	others := contents(t, foreign)
	for name, test := range map[string]struct {
		empty  bool // no CA has been made before
		change func(t *testing.T, dir string)
		want   string
	}{
		"another file": {change: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "notes.txt"), "x") }, want: "notes.txt is not a file of portrule-apiserver"},
		"another file alone": {empty: true, want: "id_rsa is not a file of portrule-apiserver",
			change: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "id_rsa"), "x") }},
		"a directory": {want: "kubeconfig is not a file", change: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "kubeconfig")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dir, "kubeconfig"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		"a link": {empty: true, want: "ca.crt is not a file", change: func(t *testing.T, dir string) {
			if err := os.Symlink(filepath.Join(foreign, "ca.crt"), filepath.Join(dir, "ca.crt")); err != nil {
				t.Fatal(err)
			}
		}},
		"half a CA certificate":         {change: truncate("ca.crt"), want: "ca.crt and ca.key are half-written"},
		"half a CA key":                 {change: truncate("ca.key"), want: "ca.crt and ca.key are half-written"},
		"no CA key":                     {change: remove("ca.key"), want: "ca.crt and ca.key are half-written"},
		"no CA":                         {change: remove("ca.crt", "ca.key"), want: "ca.crt and ca.key are half-written"},
		"half a client certificate":     {change: truncate("client.crt"), want: "client.crt is half-written or another's"},
		"half a serving key":            {change: truncate("serving.key"), want: "serving.key is half-written or another's"},
		"half a kubeconfig":             {change: truncate("kubeconfig"), want: "kubeconfig is half-written or another's"},
		"an empty kubeconfig":           {change: replace("kubeconfig", ""), want: "kubeconfig is half-written or another's"},
		"another's CA key":              {change: replace("ca.key", others["ca.key"]), want: "ca.crt and ca.key are half-written"},
		"another's serving certificate": {change: replace("serving.crt", others["serving.crt"]), want: "serving.crt is half-written or another's"},
		"another's client key":          {change: replace("client.key", others["client.key"]), want: "client.key is half-written or another's"},
		"another's key alone": {want: "client.key is half-written or another's", change: func(t *testing.T, dir string) {
			remove("client.crt")(t, dir)
		}},
		"another's kubeconfig": {change: replace("kubeconfig", others["kubeconfig"]), want: "kubeconfig is half-written or another's"},
		"another's CA": {empty: true, want: `is the certificate of "corporate"`, change: func(t *testing.T, dir string) {
			writeCA(t, dir, "corporate", time.Now().Add(10*localCertificateLifetime))
		}},
		"open to others": {want: "chmod 700", change: func(t *testing.T, dir string) {
			if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // that is what is refused
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ca")
			if test.empty {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			} else {
				start(t, dir)
			}
			test.change(t, dir)
			before := contents(t, dir)
			_, err := openLocalCA(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "name another directory with --cert-dir") {
				t.Errorf("got %v, want %q and what to do", err, test.want)
			}
			if after := contents(t, dir); !maps.Equal(before, after) {
				t.Errorf("there was %v, now there is %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
		})
	}
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write(t, path, "x")
		if _, err := openLocalCA(path); err == nil || !strings.Contains(err.Error(), "--cert-dir") {
			t.Errorf("got %v, want an error about --cert-dir", err)
		}
	})
}

func truncate(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(data[:len(data)/2]))
	}
}

func replace(name, data string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), data) }
}

func remove(names ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, name := range names {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A CA that would end before what it signs is replaced, with all that it has signed.
func TestLocalCAIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	old := writeCA(t, dir, localCAName, time.Now().Add(localCertificateLifetime-time.Hour))
	client, err := old.sign("client", &x509.Certificate{Subject: pkix.Name{CommonName: localUser}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.writeKubeconfig("https://127.0.0.1:8443", old.path("ca.crt"), client); err != nil {
		t.Fatal(err)
	}
	ca := openCA(t, dir)
	if bytes.Equal(ca.cert.Raw, old.cert.Raw) || !ca.cert.NotAfter.After(time.Now().Add(localCertificateLifetime)) {
		t.Errorf("the CA ends at %s", ca.cert.NotAfter)
	}
	for _, name := range []string{"client.crt", "client.key", "kubeconfig"} {
		if _, err := os.Stat(ca.path(name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// writeCA writes a CA of the given name and end into dir.
func writeCA(t *testing.T, dir, commonName string, end time.Time) *localCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now(), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca := &localCA{dir: dir, cert: certificate, key: key}
	if err := ca.writePair("ca", der, key); err != nil {
		t.Fatal(err)
	}
	return ca
}

// A file that cannot be written is not left behind in part, and none is written over.
func TestLocalCAWrite(t *testing.T) {
	ca := &localCA{dir: t.TempDir()}
	if err := ca.write("client.crt", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := ca.write("client.crt", []byte("two")); !os.IsExist(err) {
		t.Errorf("a second write: got %v, want that it exists", err)
	}
	if got := contents(t, ca.dir)["client.crt"]; got != "one" {
		t.Errorf("the file holds %q, want one", got)
	}
	if _, err := ca.writeKubeconfig("https://127.0.0.1:8443", "absent", genericoptions.CertKey{}); !os.IsNotExist(err) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}
