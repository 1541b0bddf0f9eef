package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// Binary returns the path of one of the programs that make builds into bin/.
//
// It looks in the directory that KUBEBUILDER_ASSETS names, if it is set, so that
// downloaded control-plane binaries serve as well; then beside the running
// program; then in the bin/ of the working directory and of those above it.
func Binary(name string) (string, error) {
	var dirs []string
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		dirs = append(dirs, assets)
	}
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			dirs = append(dirs, filepath.Join(dir, "bin"))
		}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in %s: run \"make build\"", name, dirs[0])
}
