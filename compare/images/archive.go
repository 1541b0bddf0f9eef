package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// WriteArchive writes the image, tagged with its [Image.Reference], as the archive
// that docker load, ctr images import and kind load image-archive take.
//
// The layer is not compressed: that saves more time here than it costs to move the
// bytes into a node on the same machine.
func (i *Image) WriteArchive(w io.Writer) error {
	tag, err := name.NewTag(i.Reference())
	if err != nil {
		return fmt.Errorf("write the archive of %s: %w", i.Reference(), err)
	}
	if err := tarball.Write(tag, i.plain, w); err != nil {
		return fmt.Errorf("write the archive of %s: %w", i.Reference(), err)
	}
	return nil
}

// WriteOCI writes the image to a file, as a tar archive of an OCI image layout with
// a compressed layer, for podman load, skopeo and ctr images import. Like those of
// docker save it also has a manifest.json, for docker load. The OCI manifest in it is
// the one that [Image.Push] pushes. The file is there when it is complete.
//
// Equal programs give equal files from one version of Go: compress/gzip may compress
// otherwise in the next. The ID stays what it is.
func (i *Image) WriteOCI(path string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write the OCI archive of %s: %w", i.Reference(), err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the OCI archive of %s: %w", i.Reference(), errors.Join(err, os.Remove(file.Name())))
		}
	}()
	// CreateTemp makes it for its owner alone
	if err := errors.Join(i.writeLayout(file), file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// writeLayout writes the OCI image layout as a tar stream.
func (i *Image) writeLayout(w io.Writer) error {
	image, err := i.compressed()
	if err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	rawManifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	index, err := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: image,
		Descriptor: v1.Descriptor{
			Platform: &i.platform,
			Annotations: map[string]string{
				"org.opencontainers.image.ref.name": i.tag(),
				// what a kubelet means by the reference
				"io.containerd.image.name": "docker.io/library/" + i.Reference(),
			},
		},
	}).RawManifest()
	if err != nil {
		return err
	}
	docker := tarball.Descriptor{Config: blob(i.id), RepoTags: []string{i.Reference()}}
	for _, layer := range manifest.Layers {
		docker.Layers = append(docker.Layers, blob(layer.Digest))
	}
	dockerManifest, err := json.Marshal(tarball.Manifest{docker})
	if err != nil {
		return err
	}

	out := tar.NewWriter(w)
	for _, file := range []struct {
		name string
		data []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{"manifest.json", dockerManifest},
		{blob(digest), rawManifest},
		{blob(i.id), config},
	} {
		if err := addFile(out, file.name, int64(len(file.data)), bytes.NewReader(file.data)); err != nil {
			return err
		}
	}
	for _, layer := range manifest.Layers {
		if err := addLayer(out, image, layer); err != nil {
			return err
		}
	}
	return out.Close()
}

// blob is the path of a blob in an image layout.
func blob(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

func addLayer(out *tar.Writer, image v1.Image, descriptor v1.Descriptor) error {
	layer, err := image.LayerByDigest(descriptor.Digest)
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	return addFile(out, blob(descriptor.Digest), descriptor.Size, content)
}

func addFile(out *tar.Writer, name string, size int64, content io.Reader) error {
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}
