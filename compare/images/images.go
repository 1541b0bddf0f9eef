// Package images makes container images of this repository's programs in process:
// no Docker, no base image, no network.
//
// An image is one static program: no shell, no certificates, no /tmp. Its ID, and
// with it its tag, depends on the program and the two names alone, on every machine:
// Pods change when the program did.
//
// [New] makes an [Image]. [Image.WriteArchive] is the quick way into a kind cluster,
// [Image.WriteOCI] writes a file to carry elsewhere, [Image.Push] brings it to a
// registry. [Programs] are the images that the manifests name.
//
// Read images.go first: what an image consists of. program.go looks whether the program
// can be one, layer.go is the tar with the program in it; archive.go and push.go are the
// ways out. The command that makes them all is compare/images.go.
package images

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Programs are the images that the manifests name, each with the program in bin/
// that it is made of.
var Programs = []struct{ Name, Program string }{
	{"portrule-apiserver", "portrule-apiserver"},
	{"portrule-controller", "portrule-controller"},
	{"portrule-etcd", "etcd"},
}

const (
	// binDir is the directory of the program in the image.
	binDir = "/usr/local/bin"
	// user is what distroless images call nonroot. It is numeric, because Kubernetes
	// cannot tell from a name that it is not root (runAsNonRoot), and because there is
	// no /etc/passwd.
	user = "65532:65532"
	// tagLength is how much of the ID is the tag.
	tagLength = 12
)

// epoch is the date of all that is made here, so that it does not depend on when it
// was made.
var epoch = time.Unix(0, 0).UTC()

// component is one component of a repository's name, as the OCI distribution
// specification has it.
const component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`

var validName = regexp.MustCompile(`^` + component + `$`)

// Image is the image of one program. It reads the program whenever it is written,
// and fails if that has changed since [New].
type Image struct {
	name       string
	id         v1.Hash
	platform   v1.Platform
	entrypoint string
	// plain has the layer as it is, which costs no time. compressed has it compressed,
	// once and in memory, as soon as it is asked for. Both have one configuration.
	plain      v1.Image
	compressed func() (v1.Image, error)
}

// New returns the image of a static Linux program, for the program's architecture.
// The program becomes the entrypoint, under its own base name, and runs as user
// 65532.
func New(name, program string) (*Image, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name for an image: use lower-case letters, digits, and . _ - between them", name)
	}
	platform, err := inspect(program)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	image := &Image{name: name, platform: platform, entrypoint: path.Join(binDir, filepath.Base(program))}
	plain, err := newLayer(program, image.entrypoint)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	if image.plain, err = image.assemble(plain); err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	if image.id, err = image.plain.ConfigName(); err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	image.compressed = sync.OnceValues(func() (v1.Image, error) {
		// at gzip's fastest level: the usual one takes three times as long to save an eighth
		layer, err := tarball.LayerFromOpener(plain.Uncompressed, tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		return image.assemble(layer)
	})
	return image, nil
}

// assemble makes an image of the layer that holds the program.
func (i *Image) assemble(layer v1.Layer) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS:           i.platform.OS,
		Architecture: i.platform.Architecture,
		Created:      v1.Time{Time: epoch},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       user,
			Entrypoint: []string{i.entrypoint},
			Env:        []string{"PATH=" + binDir},
			Labels:     map[string]string{"org.opencontainers.image.title": i.name},
		},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "COPY " + path.Base(i.entrypoint) + " " + i.entrypoint},
	})
}

// ID is the digest of the configuration, sha256:<hex>: what docker images and
// crictl images call the image's ID.
func (i *Image) ID() string { return i.id.String() }

// Reference is <name>:<the first 12 digits of the ID>. Without a registry, it is
// what a node finds that has loaded the image; it must not be told to pull.
func (i *Image) Reference() string { return i.name + ":" + i.tag() }

func (i *Image) tag() string { return i.id.Hex[:tagLength] }

// Platform is what the program runs on, such as linux/amd64.
func (i *Image) Platform() string { return i.platform.String() }
