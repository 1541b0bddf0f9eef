package images

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// target is how an ELF file says what it runs on.
type target struct {
	machine elf.Machine
	class   elf.Class
	data    elf.Data
}

// architectures are those of Go's Linux ports that Kubernetes is built for.
var architectures = map[target]string{
	{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB}:  "amd64",
	{elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB}: "arm64",
	{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB}:     "arm",
	{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB}:   "ppc64le",
	{elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB}:   "riscv64",
	{elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB}:    "s390x",
}

// inspect returns the platform of a program, or why no image can be made of it.
func inspect(program string) (v1.Platform, error) {
	architecture, err := architecture(program)
	var pathErr *os.PathError
	switch {
	case errors.As(err, &pathErr):
		return v1.Platform{}, fmt.Errorf("%w: build it with \"make build\"", err)
	case err != nil:
		return v1.Platform{}, fmt.Errorf("%s is not a static Linux program: %w; images are made of those: build with \"make build\" on Linux", program, err)
	}
	return v1.Platform{OS: "linux", Architecture: architecture}, nil
}

// architecture returns a static Linux program's, as Go calls it.
func architecture(program string) (string, error) {
	// opening a named pipe would wait for somebody to write
	info, err := os.Stat(program)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	in, err := os.Open(program)
	if err != nil {
		return "", err
	}
	defer in.Close()
	file, err := elf.NewFile(in)
	if err != nil {
		return "", fmt.Errorf("it is not an ELF file (%w)", err)
	}
	// a position-independent executable is of the type of shared libraries
	if file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return "", fmt.Errorf("its ELF type is %s", file.Type)
	}
	if file.OSABI != elf.ELFOSABI_NONE && file.OSABI != elf.ELFOSABI_LINUX {
		return "", fmt.Errorf("its ABI is %s", file.OSABI)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", errors.New("it is linked dynamically")
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return "", fmt.Errorf("its dynamic section cannot be read (%w)", err)
	}
	if len(libraries) > 0 {
		return "", fmt.Errorf("it needs %s", strings.Join(libraries, ", "))
	}
	name, ok := architectures[target{file.Machine, file.Class, file.Data}]
	if !ok {
		return "", fmt.Errorf("there are no images for %s %s %s", file.Machine, file.Class, file.Data)
	}
	return name, nil
}
