package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// validPath is the path of repositories in a registry.
var validPath = regexp.MustCompile(`^` + component + `(/` + component + `)*$`)

// CheckRegistry says what is wrong with the name of a registry, which is
// host[:port][/path]. It does not connect to it.
//
// The host has a dot or a port: anything else is a user at Docker Hub to everybody
// who reads a reference, and must be written docker.io/<user>.
func CheckRegistry(registry string) error {
	host, path, hasPath := strings.Cut(registry, "/")
	_, err := name.NewRegistry(host)
	switch {
	case strings.Contains(registry, "://"):
		err = errors.New("leave out the scheme")
	case err == nil && !strings.ContainsAny(host, ".:"):
		err = fmt.Errorf("%q is no host: it has no dot and no port", host)
	case err == nil && hasPath && !validPath.MatchString(path):
		err = fmt.Errorf("the path %q has other than lower-case letters, digits, and . _ - / between them", path)
	}
	if err != nil {
		return fmt.Errorf("%q names no registry: %w; it is host[:port][/path], such as ghcr.io/me or localhost:5000", registry, err)
	}
	return nil
}

// Push pushes the image to <registry>/<[Image.Reference]>, with a compressed layer,
// and returns <registry>/<name>@<the digest of its manifest>. See [CheckRegistry]
// for what a registry is.
//
// It logs in as docker does, with what docker login has stored, and connects with
// TLS. Plain HTTP is tried as well on the machine itself and in private networks:
// localhost, 127.0.0.1, *.local, and the addresses of RFC 1918.
func (i *Image) Push(ctx context.Context, registry string) (string, error) {
	if err := CheckRegistry(registry); err != nil {
		return "", err
	}
	repository, err := name.NewRepository(registry + "/" + i.name)
	if err != nil {
		return "", err
	}
	image, err := i.compressed()
	if err != nil {
		return "", fmt.Errorf("push %s: %w", i.Reference(), err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("push %s: %w", i.Reference(), err)
	}
	err = remote.Write(repository.Tag(i.tag()), image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	var refusal *transport.Error
	switch {
	case err == nil:
		return fmt.Sprintf("%s/%s@%s", registry, i.name, digest), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("push %s to %s: %w", i.Reference(), registry, context.Cause(ctx))
	case errors.As(err, &refusal) && (refusal.StatusCode == http.StatusUnauthorized || refusal.StatusCode == http.StatusForbidden):
		host, _, _ := strings.Cut(registry, "/")
		return "", fmt.Errorf("push %s to %s: %w: log in with \"docker login %s\" as somebody who may push there", i.Reference(), registry, err, host)
	default:
		return "", fmt.Errorf("push %s to %s: %w: is that the registry, and does it answer?", i.Reference(), registry, err)
	}
}
