package breakit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"portrule.example/lab/labs/lab"
)

// The files of the learner's that renew.sh is about.
const (
	certFile, keyFile = "server.crt", "server.key"
	caFile            = "ca.crt"
)

// renewTimeout bounds renew.sh.
const renewTimeout = 5 * time.Second

// tryRenewal runs copies of the learner's scripts where a certificate has ended, and looks at
// what renew.sh makes.
func (l *live) tryRenewal(ctx context.Context) (*lab.Finding, error) {
	group, err := l.Group()
	if err != nil {
		return nil, err
	}
	dir := group.Path("renewal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{"certs.sh", "server.ext", "hook.ext", renewFile} {
		data, finding := l.Read(name)
		if finding != nil {
			return finding, nil
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	read := func(name string) []byte { data, _ := os.ReadFile(filepath.Join(dir, name)); return data } // empty if it is not there
	found := func(id, found, expected string) (*lab.Finding, error) {
		return &lab.Finding{ID: id, Where: l.Where(renewFile), Found: found, Expected: expected}, nil
	}
	if said, err := script(ctx, dir, "certs.sh"); err != nil {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("certs.sh, as you have it, makes no certificates: %w: %s", err, said))
	}
	ca, before := read(caFile), read(certFile)
	said, err := script(ctx, dir, renewFile)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return found("renewal-fails", fmt.Sprintf("%v: %s", err, said), "commands that succeed, after certs.sh has been run")
	}
	pair, err := tls.X509KeyPair(read(certFile), read(keyFile))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	switch {
	case string(read(certFile)) == string(before):
		return found("not-renewed", certFile+" is what it was", "a new one")
	case err != nil:
		return found("other-key", err.Error(), certFile+" and "+keyFile+" that belong together")
	}
	name := lab.Registration{Service: l.Constant("service")}.ServerName(l.Lab)
	var unknown x509.UnknownAuthorityError
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: time.Now().Add(time.Minute)})
	switch {
	case errors.As(err, &unknown) || err == nil && string(read(caFile)) != string(ca):
		return found("other-ca", "a certificate by another CA than that of the APIService: "+fmt.Sprint(err), "one by the CA that is there, so that nobody need be told")
	case err != nil && time.Now().After(pair.Leaf.NotAfter.Add(-time.Minute)):
		return found("not-renewed", err.Error(), "one that is valid for some time")
	case err != nil:
		return found("other-name", err.Error(), "a certificate for "+name)
	}
	l.Verified("renew.sh makes a certificate by the same CA for the same name")
	return nil, nil
}

// script runs a script in a directory and returns what it said last.
func script(ctx context.Context, dir, name string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	cmd := exec.CommandContext(bounded, "bash", name)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if bounded.Err() != nil {
		err = fmt.Errorf("it has not ended after %s", renewTimeout)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], err
}
