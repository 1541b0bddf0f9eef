package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// BuildEnvironment is how make builds. Whoever builds otherwise compiles everything anew.
var BuildEnvironment = []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath"}

// builtPackage is the directory, in a lab's folder, that learners' files are built as. It
// does not exist: the compiler is told to see the files there, so that they may be
// anywhere and be part of this module all the same.
const builtPackage = "answer"

// compilerLine is the first thing that a compiler complains about.
var compilerLine = regexp.MustCompile(`(?m)^(?:vet: )?(\S+\.go):(\d+)(?::\d+)?: (.*)$`)

// noMain is what the linker complains about without a file.
const noMain = "function main is undeclared in the main package"

// Build compiles files of the learner's, of package main, into a program, and returns
// its path. Unchanged files are not built again.
func (s *Session) Build(ctx context.Context, files ...string) (string, *Finding, error) {
	seen := s.Lab.Dir(builtPackage)
	replace := map[string]string{}
	for _, name := range files {
		source, finding := s.Read(name)
		if finding != nil {
			return "", finding, nil
		}
		// a package of another name compiles too, to something that does not run
		parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.PackageClauseOnly)
		if err == nil && parsed.Name.Name != "main" {
			return "", &Finding{ID: GoBroken, Where: s.Where(name), Found: "package " + parsed.Name.Name, Expected: "package main"}, nil
		}
		replace[filepath.Join(seen, name)] = s.Path(name)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(s.State, 0o755); err != nil {
		return "", nil, err
	}
	overlayFile, program := filepath.Join(s.State, "overlay.json"), filepath.Join(s.State, "program")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return "", nil, err
	}
	path, err := exec.LookPath("go")
	if err != nil {
		return "", nil, errors.New("there is no program go in the PATH: install Go, see https://go.dev/doc/install")
	}
	build := exec.CommandContext(ctx, path, "build", "-buildvcs=false", "-ldflags=-s -w", "-overlay", overlayFile, "-o", program, "./"+filepath.Join("labs", s.Lab.Name(), builtPackage))
	build.Dir = s.Root
	build.Env = append(os.Environ(), BuildEnvironment...)
	build.Env = append(build.Env, "GOGC=400") // the learner waits for the linker
	out, err := build.CombinedOutput()
	if ctx.Err() != nil {
		return "", nil, ctx.Err()
	}
	if err == nil {
		return program, nil, nil
	}
	if match := compilerLine.FindStringSubmatch(string(out)); match != nil {
		return "", &Finding{
			ID: GoBroken, Where: s.Where(filepath.Base(match[1])) + ":" + match[2],
			Found: match[3], Expected: "Go that compiles",
		}, nil
	}
	if strings.Contains(string(out), noMain) {
		return "", &Finding{ID: GoBroken, Where: s.Where(files[0]), Found: noMain, Expected: "func main() as it is in start/"}, nil
	}
	return "", nil, fmt.Errorf("go build: %w:\n%s", err, strings.TrimSpace(string(out)))
}
