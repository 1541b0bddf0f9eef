package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"
)

// DefaultNodeImage is the node image of kind v0.33.0 whose Kubernetes has the minor
// version of this module's libraries.
const DefaultNodeImage = "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed"

// engineTimeout is how long a container engine or a registry may take to say whether
// it is there.
const engineTimeout = 10 * time.Second

// engine is a container engine, by the name of its command: docker, nerdctl or podman.
type engine string

// engines are those that kind can use, in the order in which kind looks for them.
var engines = []engine{"docker", "nerdctl", "podman"}

// findEngine returns the first engine that answers, or the one that
// KIND_EXPERIMENTAL_PROVIDER names, as kind has it. The error is about the first one
// that is installed.
func findEngine(ctx context.Context) (engine, error) {
	candidates := engines
	if chosen := engine(os.Getenv("KIND_EXPERIMENTAL_PROVIDER")); chosen != "" {
		if !slices.Contains(engines, chosen) {
			return "", fmt.Errorf("KIND_EXPERIMENTAL_PROVIDER is %q: use docker, nerdctl or podman", chosen)
		}
		candidates = []engine{chosen}
	}
	var first error
	for _, candidate := range candidates {
		if _, err := exec.LookPath(string(candidate)); err != nil {
			continue
		}
		err := candidate.answers(ctx)
		if err == nil {
			return candidate, nil
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return "", first
	}
	return "", fmt.Errorf("there is no container engine: install docker, podman or nerdctl, or choose --cluster %s", KindEmbedded)
}

// answers asks the engine for its containers.
func (e engine) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	err := e.run(ctx, "ps", "--quiet")
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s does not answer within %s: restart it, or choose --cluster %s", e, engineTimeout, KindEmbedded)
	case strings.Contains(strings.ToLower(err.Error()), "permission denied"):
		return fmt.Errorf("%w\nyou may not use %s: join its group (\"sudo usermod -aG docker $USER\", then log in again), run it rootless, or choose --cluster %s", err, e, KindEmbedded)
	default:
		return fmt.Errorf("%w\nstart it (\"sudo systemctl start %s\"), or choose --cluster %s", err, e, KindEmbedded)
	}
}

// run runs the engine's command. The error holds what it wrote to standard error.
func (e engine) run(ctx context.Context, args ...string) error {
	_, err := e.output(ctx, args...)
	return err
}

// output is run, and returns what the command wrote to standard output, without the space
// around it.
func (e engine) output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, string(e), args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil && stderr.Len() > 0 {
		err = errors.New(strings.TrimSpace(stderr.String()))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", e, args[0], err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// has is whether the engine has the image.
func (e engine) has(ctx context.Context, image string) bool {
	return e.run(ctx, "image", "inspect", image) == nil
}

// reachable is whether the image can be had from its registry.
func reachable(ctx context.Context, image string) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	reference, err := name.ParseReference(image)
	if err != nil {
		return fmt.Errorf("%q is not the name of an image: %w", image, err)
	}
	if _, err := remote.Head(reference, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("the node image %s is not here, and its registry does not give it: %w", image, err)
	}
	return nil
}

// errNoImage tells a user what to do about a node image that cannot be had.
func errNoImage(err error, e engine) error {
	return fmt.Errorf("%w\nname an image that %s has with KIND_IMAGE (\"%s images kindest/node\" lists them), or choose --cluster %s", err, e, e, KindEmbedded)
}

// pull makes the engine have the image.
func (e engine) pull(ctx context.Context, image string, say func(string)) error {
	if e.has(ctx, image) {
		return nil
	}
	if err := reachable(ctx, image); err != nil {
		return errNoImage(err, e)
	}
	say("pulling the node image " + image)
	if err := e.run(ctx, "pull", "--quiet", image); err != nil {
		return errNoImage(err, e)
	}
	return nil
}

// option makes kind use the engine.
func (e engine) option() kindcluster.ProviderOption {
	switch e {
	case "podman":
		return kindcluster.ProviderWithPodman()
	case "nerdctl":
		return kindcluster.ProviderWithNerdctl("")
	default:
		return kindcluster.ProviderWithDocker()
	}
}

// NodeImage is the image that KIND_IMAGE names, else [DefaultNodeImage].
func NodeImage() string {
	if image := os.Getenv("KIND_IMAGE"); image != "" {
		return image
	}
	return DefaultNodeImage
}

// Choose returns the word of the provider that suits this host, and why: kind where a
// container engine answers and the node image is there or can be had, else embedded.
func Choose(ctx context.Context) (kind, why string) {
	e, err := findEngine(ctx)
	if err != nil {
		return KindEmbedded, firstLine(err)
	}
	image := NodeImage()
	if e.has(ctx, image) {
		return KindKind, fmt.Sprintf("%s answers and has the node image %s", e, image)
	}
	if err := reachable(ctx, image); err != nil {
		return KindEmbedded, fmt.Sprintf("%s answers, but %s", e, firstLine(err))
	}
	return KindKind, fmt.Sprintf("%s answers and the node image %s can be had", e, image)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
