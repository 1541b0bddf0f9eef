package compare

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"portrule.example/lab/compare/images"
)

// fakePrograms makes the command find programs that are nothing but an ELF header.
func fakePrograms(t *testing.T) {
	t.Helper()
	var program bytes.Buffer
	if err := binary.Write(&program, binary.LittleEndian, elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F',
			elf.EI_CLASS: byte(elf.ELFCLASS64), elf.EI_DATA: byte(elf.ELFDATA2LSB), elf.EI_VERSION: byte(elf.EV_CURRENT),
		},
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_AARCH64), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	for _, image := range images.Programs {
		if err := os.WriteFile(filepath.Join(dir, image.Program), program.Bytes(), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func runImagesCommand(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := imagesCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&said)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), said.String(), err
}

func TestImages(t *testing.T) {
	fakePrograms(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no credentials of the user's
	server := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // TLS is tried first
	server.Start()
	defer server.Close()
	host := server.Listener.Addr().String()

	for _, pushing := range []bool{false, true} {
		out := filepath.Join(t.TempDir(), "a", "b")
		args := []string{"--out", out}
		if pushing {
			args = append(args, "--registry", host+"/labs")
		}
		stdout, stderr, err := runImagesCommand(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
		if len(lines) != len(images.Programs) {
			t.Fatalf("it wrote %d lines, want one for each image:\n%s", len(lines), stdout)
		}
		for i, image := range images.Programs {
			path := filepath.Join(out, image.Name+".tar")
			wants := []string{image.Name + ":", "linux/arm64", "MiB", path}
			if pushing {
				wants = append(wants, host+"/labs/"+image.Name+"@sha256:")
			}
			for _, want := range wants {
				if !strings.Contains(lines[i], want) {
					t.Errorf("the line %q does not have %q", lines[i], want)
				}
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
			if !strings.Contains(stderr, "write "+image.Name) || strings.Contains(stderr, "push "+image.Name) != pushing {
				t.Errorf("the progress is:\n%s", stderr)
			}
		}
	}
}

func TestImagesRefuses(t *testing.T) {
	fakePrograms(t)
	for _, args := range [][]string{{"--registry", "https://ghcr.io/me"}, {"--registry", "me"}, {"portrule-etcd"}} {
		out := filepath.Join(t.TempDir(), "images")
		_, _, err := runImagesCommand(t, append(args, "--out", out)...)
		if !errors.As(err, &UsageError{}) {
			t.Errorf("%q: the error is %v, want a usage error", args, err)
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %s was made (%v)", args, out, err)
		}
	}
}
