package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// claim is a file that says whose a kind cluster is. It is written before the cluster
// is created and removed after it is gone, so a cluster that an interrupted run has
// left, be it half-created, has one, and a cluster of somebody else has none. While a
// process creates, uses or deletes the cluster, it holds a lock on the file.
type claim struct {
	file *os.File

	// ID is in a label of the cluster's nodes too: if somebody has deleted the cluster
	// and made another one of its name, that one is not ours.
	ID string `json:"id"`
	// Dir is the directory of the lab that keeps the cluster, empty if it belongs to
	// the process that holds the lock.
	Dir string `json:"dir,omitempty"`
	// Engine is the container engine that runs the nodes.
	Engine engine `json:"engine"`
	// Complete is whether the cluster was created to the end.
	Complete bool `json:"complete"`
	// Features are the options of the kube-apiserver that cannot be changed later.
	Features features `json:"features"`
}

// claimsDir is where the claims of this user are.
func claimsDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find where to note which kind clusters are the lab's: %w; set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(cache, "portrule-lab", "kind"), nil
}

// lockClaim locks the claim for the cluster of that name, which is a new, empty one if
// there was none.
func lockClaim(name string) (*claim, error) {
	dir, err := claimsDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".json")
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("note which kind clusters are the lab's: %w", err)
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // another process has removed the directory in between
		}
		if err != nil {
			return nil, fmt.Errorf("note which kind clusters are the lab's: %w", err)
		}
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("the kind cluster %q is in use by another run: wait for its end, or name another one with --name", name)
		}
		// the file may have been removed before it was locked
		here, err := file.Stat()
		if err != nil {
			return nil, err
		}
		if there, err := os.Stat(path); err != nil || !os.SameFile(here, there) {
			_ = file.Close()
			continue
		}
		c := &claim{file: file}
		if err := json.NewDecoder(file).Decode(c); err != nil && here.Size() > 0 {
			_ = file.Close()
			return nil, fmt.Errorf("%s says whose the kind cluster %q is, and cannot be read: %w; if the cluster is the lab's, remove it (\"kind delete cluster --name %s\") and the file", path, name, err, name)
		}
		return c, nil
	}
}

// made is whether the claim says that the cluster is ours.
func (c *claim) made() bool { return c.ID != "" }

// write stores the claim.
func (c *claim) write() error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := c.file.Truncate(0); err != nil {
		return err
	}
	_, err = c.file.WriteAt(append(data, '\n'), 0)
	return err
}

// filesDir is the directory of the files that the cluster's node mounts.
func (c *claim) filesDir() string { return strings.TrimSuffix(c.file.Name(), ".json") }

// remove gives the claim up, once the cluster is gone.
func (c *claim) remove() error {
	err := errors.Join(os.RemoveAll(c.filesDir()), os.Remove(c.file.Name()))
	// the directories go with the last claim
	dir := filepath.Dir(c.file.Name())
	if os.Remove(dir) == nil {
		_ = os.Remove(filepath.Dir(dir))
	}
	return errors.Join(err, c.file.Close())
}

// unlock lets go of the claim, which stays. One that says nothing does not.
func (c *claim) unlock() error {
	if !c.made() {
		return c.remove()
	}
	return c.file.Close()
}

// KeptBy returns the name of the kind cluster that the lab in dir keeps, empty if it
// keeps none.
func KeptBy(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	claims, err := claimsDir()
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(claims, "*.json"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var c claim
		if json.Unmarshal(data, &c) == nil && c.Dir == dir {
			return strings.TrimSuffix(filepath.Base(file), ".json"), nil
		}
	}
	return "", nil
}
