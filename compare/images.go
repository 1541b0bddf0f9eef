package compare

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/images"
	"portrule.example/lab/compare/progress"
)

type imagesFlags struct {
	out      string
	registry string
}

func imagesCommand() *cobra.Command {
	var flags imagesFlags
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Writes the images of the programs as OCI archives, and pushes them if asked",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.registry != "" {
				if err := images.CheckRegistry(flags.registry); err != nil {
					return usagef("--registry: %w", err)
				}
			}
			return runImages(cmd.Context(), flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&flags.out, "out", filepath.Join("bin", "images"), "the directory for the archives")
	cmd.Flags().StringVar(&flags.registry, "registry", "", "push to this registry as well: host[:port][/path], after \"docker login\"")
	return cmd
}

// runImages makes one image after the other, and prints a line for each that is
// complete.
func runImages(ctx context.Context, flags imagesFlags, stdout, stderr io.Writer) error {
	var programs []string
	for _, image := range images.Programs {
		program, err := cluster.Binary(image.Program)
		if err != nil {
			return err
		}
		programs = append(programs, program)
	}
	if err := os.MkdirAll(flags.out, 0o755); err != nil {
		return fmt.Errorf("make the directory for the images: %w", err)
	}
	show := progress.New(stderr)
	defer show.Finish()

	done, total := 0, len(programs)
	if flags.registry != "" {
		total *= 2
	}
	step := func(verb, name string) {
		show.Update(done, total, verb+" "+name)
		done++
	}
	for i, program := range programs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := images.Programs[i].Name
		step("write", name)
		image, err := images.New(name, program)
		if err != nil {
			return err
		}
		path := filepath.Join(flags.out, name+".tar")
		if err := image.WriteOCI(path); err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%-32s  %s  %5.1f MiB  %s", image.Reference(), image.Platform(), float64(info.Size())/(1<<20), path)
		if flags.registry != "" {
			step("push", name)
			pushed, err := image.Push(ctx, flags.registry)
			if err != nil {
				return err
			}
			line += "  " + pushed
		}
		show.Finish() // the line is not to end up behind a bar
		fmt.Fprintln(stdout, line)
	}
	return nil
}
