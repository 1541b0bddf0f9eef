package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a tar stream with the program and the directories above it. It is not
// compressed, which a v1.Layer may be: its digest is then its diff ID.
type layer struct {
	program string
	// size is that of the program, head and tail are the tar stream around it.
	size       int64
	head, tail []byte
	digest     v1.Hash
}

var _ v1.Layer = (*layer)(nil)

// newLayer returns the layer with a program at an absolute path.
func newLayer(program, at string) (*layer, error) {
	info, err := os.Stat(program)
	if err != nil {
		return nil, err
	}
	l := &layer{program: program, size: info.Size()}

	var head bytes.Buffer
	w := tar.NewWriter(&head)
	at = strings.TrimPrefix(at, "/")
	for end, c := range at {
		if c != '/' {
			continue
		}
		// an absent directory would get the mode that the runtime fancies
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: at[:end+1], Mode: 0o755, ModTime: epoch}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: at, Mode: 0o755, Size: l.size, ModTime: epoch}); err != nil {
		return nil, err
	}
	l.head = head.Bytes()
	// the program fills its last block, two empty ones end the stream
	const block = 512
	l.tail = make([]byte, (block-l.size%block)%block+2*block)

	content, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	digest, n, err := v1.SHA256(content)
	if err != nil {
		return nil, err
	}
	if size, _ := l.Size(); n != size {
		return nil, l.changed()
	}
	l.digest = digest
	return l, nil
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) Compressed() (io.ReadCloser, error)  { return l.Uncompressed() }
func (l *layer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

func (l *layer) Size() (int64, error) {
	return int64(len(l.head)) + l.size + int64(len(l.tail)), nil
}

func (l *layer) changed() error {
	return fmt.Errorf("%s has changed while its image was made: try again", l.program)
}

// Uncompressed streams the layer from the program's file.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	file, err := os.Open(l.program)
	if err != nil {
		return nil, err
	}
	return &content{
		layer:  l,
		sum:    sha256.New(),
		stream: io.MultiReader(bytes.NewReader(l.head), io.LimitReader(file, l.size), bytes.NewReader(l.tail)),
		Closer: file,
	}, nil
}

// content is the tar stream. Its last Read fails if the program has changed since
// the digest was taken, so that nothing is written that is not what its digest says.
type content struct {
	layer  *layer
	sum    hash.Hash
	stream io.Reader
	io.Closer
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF && c.layer.digest.Hex != "" && hex.EncodeToString(c.sum.Sum(nil)) != c.layer.digest.Hex {
		return n, c.layer.changed()
	}
	return n, err
}
