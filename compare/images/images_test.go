package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// elfFile is the smallest static Linux program for amd64 that debug/elf reads,
// changed by edit, and followed by more segments.
func elfFile(edit func(*elf.Header64), segments ...elf.ProgType) []byte {
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F',
			elf.EI_CLASS: byte(elf.ELFCLASS64), elf.EI_DATA: byte(elf.ELFDATA2LSB), elf.EI_VERSION: byte(elf.EV_CURRENT),
		},
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Ehsize: 64, Phoff: 64, Phentsize: 56, Phnum: uint16(1 + len(segments)), Shentsize: 64,
	}
	if edit != nil {
		edit(&header)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if header.Ident[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	var file bytes.Buffer
	_ = binary.Write(&file, order, header) // a Buffer takes all
	for _, segment := range append([]elf.ProgType{elf.PT_LOAD}, segments...) {
		_ = binary.Write(&file, order, elf.Prog64{Type: uint32(segment)})
	}
	return file.Bytes()
}

// sharedLibrary is a file without interpreter that needs a library.
func sharedLibrary() []byte {
	const offset = 64 + 56
	names := []byte("\x00libc.so.6\x00")
	dynamic := []elf.Dyn64{{Tag: int64(elf.DT_NEEDED), Val: 1}, {Tag: int64(elf.DT_NULL)}}
	dynamicSize := uint64(binary.Size(dynamic))
	file := bytes.NewBuffer(elfFile(func(h *elf.Header64) {
		h.Type = uint16(elf.ET_DYN)
		h.Shoff, h.Shnum, h.Shstrndx = offset+dynamicSize+uint64(len(names)), 3, 1
	}))
	_ = binary.Write(file, binary.LittleEndian, dynamic)
	file.Write(names)
	_ = binary.Write(file, binary.LittleEndian, []elf.Section64{
		{},
		{Type: uint32(elf.SHT_STRTAB), Off: offset + dynamicSize, Size: uint64(len(names))},
		{Type: uint32(elf.SHT_DYNAMIC), Off: offset, Size: dynamicSize, Link: 1, Entsize: 16},
	})
	return file.Bytes()
}

// write makes a file with the base name "program" in a directory of its own.
func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// newImage returns an image of a program that ends in the given bytes.
func newImage(t *testing.T, ending ...byte) *Image {
	t.Helper()
	image, err := New("portrule-test", write(t, append(elfFile(nil), ending...)))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestPlatform(t *testing.T) {
	machine := func(m elf.Machine, data elf.Data) func(*elf.Header64) {
		return func(h *elf.Header64) {
			h.Machine = uint16(m)
			h.Ident[elf.EI_DATA] = byte(data)
		}
	}
	for _, test := range []struct {
		edit func(*elf.Header64)
		want string
	}{
		{machine(elf.EM_X86_64, elf.ELFDATA2LSB), "linux/amd64"},
		{machine(elf.EM_AARCH64, elf.ELFDATA2LSB), "linux/arm64"},
		{machine(elf.EM_PPC64, elf.ELFDATA2LSB), "linux/ppc64le"},
		{machine(elf.EM_S390, elf.ELFDATA2MSB), "linux/s390x"},
		{machine(elf.EM_RISCV, elf.ELFDATA2LSB), "linux/riscv64"},
		{func(h *elf.Header64) { h.Type = uint16(elf.ET_DYN) }, "linux/amd64"},
		{func(h *elf.Header64) { h.Ident[elf.EI_OSABI] = byte(elf.ELFOSABI_LINUX) }, "linux/amd64"},
	} {
		image, err := New("portrule-test", write(t, elfFile(test.edit)))
		if err != nil {
			t.Errorf("%s: %v", test.want, err)
		} else if image.Platform() != test.want {
			t.Errorf("the platform is %s, want %s", image.Platform(), test.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	build := `build with "make build" on Linux`
	for _, test := range []struct {
		what    string
		program string
		wants   []string
	}{
		{"missing file", filepath.Join(t.TempDir(), "absent"), []string{"absent", "no such file", "make build"}},
		{"directory", t.TempDir(), []string{"not a static Linux program", "not a regular file", build}},
		{"script", write(t, []byte("#!/bin/sh\n")), []string{"not a static Linux program", "not an ELF file", build}},
		{"empty file", write(t, nil), []string{"not an ELF file", build}},
		{"interpreter", write(t, elfFile(nil, elf.PT_INTERP)), []string{"not a static Linux program", "linked dynamically", build}},
		{"library", write(t, sharedLibrary()), []string{"needs libc.so.6", build}},
		{"object", write(t, elfFile(func(h *elf.Header64) { h.Type = uint16(elf.ET_REL) })), []string{"ET_REL", build}},
		{"FreeBSD", write(t, elfFile(func(h *elf.Header64) { h.Ident[elf.EI_OSABI] = byte(elf.ELFOSABI_FREEBSD) })), []string{"FREEBSD", build}},
		{"machine", write(t, elfFile(func(h *elf.Header64) { h.Machine = uint16(elf.EM_VAX) })), []string{"EM_VAX", build}},
	} {
		_, err := New("portrule-test", test.program)
		if err == nil {
			t.Errorf("%s: it was taken", test.what)
			continue
		}
		for _, want := range test.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", test.what, want, err)
			}
		}
	}

	program := write(t, elfFile(nil))
	for _, name := range []string{"", "Portrule", "a/b", "a:b", "-a", "a b", "a..b"} {
		if _, err := New(name, program); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

// What is made of equal programs is equal, and what is made of others is not.
func TestReproducible(t *testing.T) {
	type made struct {
		id, reference string
		archive, oci  []byte
	}
	build := func(ending ...byte) made {
		image := newImage(t, ending...)
		var archive bytes.Buffer
		if err := image.WriteArchive(&archive); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "oci.tar")
		if err := image.WriteOCI(path); err != nil {
			t.Fatal(err)
		}
		oci, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return made{image.ID(), image.Reference(), archive.Bytes(), oci}
	}
	first, second, other := build(1), build(1), build(2)
	if first.id != second.id || first.reference != second.reference {
		t.Errorf("equal programs have the images %s and %s", first.id, second.id)
	}
	if !bytes.Equal(first.archive, second.archive) {
		t.Error("the archives of equal programs differ")
	}
	if !bytes.Equal(first.oci, second.oci) {
		t.Error("the OCI archives of equal programs differ")
	}
	if first.id == other.id || first.reference == other.reference {
		t.Error("different programs have one image")
	}
	// the same on every machine and with every version of Go
	if want := "portrule-test:914d0b8cfee7"; first.reference != want {
		t.Errorf("the image is %s, want %s: Pods change with it", first.reference, want)
	}
}

// checkImage says what differs in an image that was read back.
func checkImage(t *testing.T, image *Image, got v1.Image, program []byte) {
	t.Helper()
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	if id, err := got.ConfigName(); err != nil || id.String() != image.ID() {
		t.Errorf("its ID is %s (%v), want %s", id, err, image.ID())
	}
	config, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/program"}) ||
		!slices.Equal(c.Env, []string{"PATH=/usr/local/bin"}) || c.Labels["org.opencontainers.image.title"] != "portrule-test" {
		t.Errorf("its configuration is %+v", c)
	}
	if config.Platform().String() != "linux/amd64" || !config.Created.Equal(epoch) || len(config.History) != 1 || !config.History[0].Created.Equal(epoch) {
		t.Errorf("it is for %s, of %s, with the history %+v", config.Platform(), config.Created, config.History)
	}

	layers, err := got.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("it has %d layers (%v), want 1", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var names []string
	for in := tar.NewReader(content); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Mode != 0o755 || header.Uid != 0 || header.Gid != 0 || header.Uname+header.Gname != "" || !header.ModTime.Equal(epoch) {
			t.Errorf("the header of %s is %+v", header.Name, header)
		}
		if data, err := io.ReadAll(in); err != nil {
			t.Error(err)
		} else if header.Typeflag == tar.TypeReg && !bytes.Equal(data, program) {
			t.Error("the program is not what it was")
		}
	}
	if want := []string{"usr/", "usr/local/", "usr/local/bin/", "usr/local/bin/program"}; !slices.Equal(names, want) {
		t.Errorf("the layer has %q, want %q", names, want)
	}
}

func TestArchives(t *testing.T) {
	// around the size of a tar stream's block
	for _, size := range []int{511, 512, 513, 100_000} {
		program := append(elfFile(nil), make([]byte, size-len(elfFile(nil)))...)
		image, err := New("portrule-test", write(t, program))
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(image.Reference())
		if err != nil {
			t.Fatal(err)
		}

		path := filepath.Join(t.TempDir(), "archive.tar")
		var archive bytes.Buffer
		if err := errors.Join(image.WriteArchive(&archive), os.WriteFile(path, archive.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		got, err := tarball.ImageFromPath(path, &tag)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, image, got, program)

		path = filepath.Join(t.TempDir(), "oci.tar")
		if err := image.WriteOCI(path); err != nil {
			t.Fatal(err)
		}
		if got, err = tarball.ImageFromPath(path, &tag); err != nil {
			t.Fatal(err)
		}
		checkImage(t, image, got, program)
		checkImage(t, image, fromLayout(t, image, path), program)
	}
}

// fromLayout reads an OCI archive as the image layout that it is.
func fromLayout(t *testing.T, image *Image, path string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(untar(t, path))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the index has %d manifests, want 1", len(manifest.Manifests))
	}
	descriptor := manifest.Manifests[0]
	for key, want := range map[string]string{
		"org.opencontainers.image.ref.name": strings.TrimPrefix(image.Reference(), "portrule-test:"),
		"io.containerd.image.name":          "docker.io/library/" + image.Reference(),
	} {
		if got := descriptor.Annotations[key]; got != want {
			t.Errorf("the annotation %s is %q, want %q", key, got, want)
		}
	}
	if descriptor.Platform == nil || descriptor.Platform.String() != "linux/amd64" || descriptor.MediaType != types.OCIManifestSchema1 {
		t.Errorf("the index has %+v", descriptor)
	}
	got, err := index.Image(descriptor.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func untar(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir := t.TempDir()
	for in := tar.NewReader(file); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return dir
		} else if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if digest, ok := strings.CutPrefix(header.Name, "blobs/sha256/"); ok {
			if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
				t.Errorf("the blob %s has the digest %x", header.Name, sum)
			}
		}
		to := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteOCIReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oci.tar")
	if err := os.WriteFile(path, []byte("what was there"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := newImage(t)
	if err := image.WriteOCI(path); err != nil {
		t.Fatal(err)
	}
	fromLayout(t, image, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the archive's mode is %v (%v), want 0644", info.Mode(), err)
	}
	if left := entries(t, filepath.Dir(path)); !slices.Equal(left, []string{"oci.tar"}) {
		t.Errorf("the directory has %q", left)
	}
}

func TestWriteOCIFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := newImage(t)
	for _, path := range []string{filepath.Join(dir, "taken"), filepath.Join(dir, "absent", "oci.tar")} {
		if err := image.WriteOCI(path); err == nil || !strings.Contains(err.Error(), image.Reference()) {
			t.Errorf("%s: the error is %v", path, err)
		}
	}
	if left := entries(t, dir); !slices.Equal(left, []string{"taken"}) {
		t.Errorf("the directory has %q", left)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}

// A program that is built anew meanwhile is not written under the old digest.
func TestProgramChanges(t *testing.T) {
	program := elfFile(nil)
	for _, test := range []struct {
		what string
		now  []byte
	}{
		{"other", append(slices.Clone(program[:len(program)-1]), 1)},
		{"shorter", program[:len(program)-1]},
		{"absent", nil},
	} {
		path := write(t, program)
		image, err := New("portrule-test", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		want := "no such file"
		if test.now != nil {
			want = "has changed"
			if err := os.WriteFile(path, test.now, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := image.WriteArchive(io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the archive's error is %v", test.what, err)
		}
		out := t.TempDir()
		if err := image.WriteOCI(filepath.Join(out, "oci.tar")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the OCI archive's error is %v", test.what, err)
		}
		if left := entries(t, out); len(left) > 0 {
			t.Errorf("%s: left behind: %q", test.what, left)
		}
	}
}

func TestCheckRegistry(t *testing.T) {
	for _, test := range []struct{ registry, want string }{
		{"ghcr.io", ""},
		{"ghcr.io/me/labs", ""},
		{"localhost:5000", ""},
		{"[::1]:5000/labs", ""},
		{"docker.io/me", ""},
		{"", "no host"},
		{"me", "no host"},
		{"me/labs", "no host"},
		{"localhost", "no host"},
		{"https://ghcr.io/me", "scheme"},
		{"ghcr.io/", "path"},
		{"ghcr.io/Me", "path"},
		{"ghcr.io/me/", "path"},
		{"ghcr.io//me", "path"},
		{"ghcr.io/me:latest", "path"},
		{"me@ghcr.io", "registries must be"},
		{"ghcr io", "registries must be"},
		{"ghcr.io:port", "registries must be"},
	} {
		err := CheckRegistry(test.registry)
		switch {
		case test.want == "" && err != nil:
			t.Error(err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q: the error is %v, want one with %q", test.registry, err, test.want)
		}
	}
}

// serve returns the address of an HTTP server on this host, and makes sure that no
// credentials of the user's are sent to it.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // TLS is tried first
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestPush(t *testing.T) {
	host := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	program := elfFile(nil)
	image := newImage(t)
	path := filepath.Join(t.TempDir(), "oci.tar")
	if err := image.WriteOCI(path); err != nil {
		t.Fatal(err)
	}
	digest, err := fromLayout(t, image, path).Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{host, host + "/me/labs", host /* again */} {
		pushed, err := image.Push(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		if want := to + "/portrule-test@" + digest.String(); pushed != want {
			t.Errorf("%s was pushed, want %s", pushed, want)
		}
		for _, reference := range []string{pushed, to + "/" + image.Reference()} {
			parsed, err := name.ParseReference(reference)
			if err != nil {
				t.Fatal(err)
			}
			got, err := remote.Image(parsed)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, image, got, program)
		}
	}
}

func TestPushFails(t *testing.T) {
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(code)
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	image := newImage(t)
	unauthorized, forbidden, notFound := serve(t, status(http.StatusUnauthorized)), serve(t, status(http.StatusForbidden)), serve(t, status(http.StatusNotFound))
	for _, test := range []struct{ registry, want string }{
		{closed, "is that the registry"},
		{closed, "connection refused"},
		{notFound, "is that the registry"},
		{unauthorized + "/me", `log in with "docker login ` + unauthorized + `"`},
		{forbidden, `log in with "docker login ` + forbidden + `"`},
		{"me", "names no registry"},
	} {
		_, err := image.Push(t.Context(), test.registry)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want one with %q", test.registry, err, test.want)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := image.Push(ctx, closed); !errors.Is(err, context.Canceled) {
		t.Errorf("the error of an interrupted push is %v", err)
	}
}
