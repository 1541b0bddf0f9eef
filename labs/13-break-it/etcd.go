package breakit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"portrule.example/lab/labs/lab"
)

// freezer stops a process until its standard input ends: whatever becomes of the check, the
// process goes on.
const freezer = `trap '' INT TERM HUP
kill -STOP "$1" || exit 1
trap 'kill -CONT "$1"' EXIT
echo stopped
read -r released || :`

// tryEtcd stops the etcd of the control plane for as long as it takes to be answered from
// the kube-apiserver's cache, and sees who else is answered meanwhile.
func (l *live) tryEtcd(ctx context.Context, seen *answers) error {
	where, err := l.Cluster()
	if err != nil {
		return err
	}
	pid, err := os.ReadFile(filepath.Join(where.Dir, "etcd.pid"))
	if err != nil {
		return fmt.Errorf("look for the etcd of the control plane: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", freezer, "freezer", strings.TrimSpace(string(pid)))
	release, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("stop etcd: %w", err)
	}
	thaw := func() error { return errors.Join(release.Close(), cmd.Wait()) }
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		return errors.Join(fmt.Errorf("stop etcd: %w", err), thaw())
	}

	path, name := configMaps(l.Lab.Namespace()), lab.Scratch()
	l.Cleanup(func() error {
		_, err := lab.Send(context.Background(), l.admin, http.MethodDelete, path+"/"+name, "", "")
		return err
	})
	var listed, written atomic.Bool
	ended := make(chan error, 2)
	go func() {
		_, err := lab.Send(ctx, l.admin, http.MethodGet, path, "", "")
		listed.Store(err == nil)
		ended <- err
	}()
	go func() {
		_, err := lab.Send(ctx, l.admin, http.MethodPost, path, "application/json", configMap(name, "80"))
		written.Store(err == nil)
		ended <- err
	}()
	// what is answered without etcd is answered soon, and nothing else ever
	const times = 5
	cached := true
	for range times {
		var reply *lab.Reply
		if reply, err = lab.Send(ctx, l.admin, http.MethodGet, path+"?resourceVersion=0&timeout=5s", "", ""); err != nil {
			break
		}
		cached = cached && reply.Status == http.StatusOK
	}
	seen.Etcd.Cached, seen.Etcd.List, seen.Etcd.Write = waitsIf(!cached), waitsIf(!listed.Load()), waitsIf(!written.Load())
	// both go on once etcd does
	return errors.Join(err, thaw(), <-ended, <-ended)
}
