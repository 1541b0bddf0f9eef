package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portrule.example/lab/labs/readme"
)

// mark stands before a block of commands that works on "make up CLUSTER=embedded".
const mark = "<!-- run -->"

// marked returns a page with nothing but its marked blocks and what they print, each where
// it was.
func marked(text string) string {
	var out []string
	run, fence, commands, was := false, false, false, false
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		begins := strings.HasPrefix(trimmed, "```") && !fence
		switch {
		case begins:
			fence, commands = true, trimmed == "```sh"
			// output belongs to the block right before it
			run = run && commands || was && trimmed == "```text"
			was = false
		case fence && trimmed == "```":
			if run {
				out = append(out, line)
			} else {
				out = append(out, "")
			}
			fence, was, run = false, run && commands, false
			continue
		case fence:
		case trimmed == mark:
			run = true
		case trimmed != "":
			run, was = false, false
		}
		if fence && run {
			out = append(out, line)
		} else {
			out = append(out, "")
		}
	}
	return strings.Join(out, "\n")
}

func TestMarked(t *testing.T) {
	text := "# A\n\n```sh\nno\n```\n\n" + mark + "\n```sh\nyes\n```\n\n```text\nprinted\n```\n\n```text\nno\n```\n\n" + mark + "\n```sh\nagain\n```\n\nwords\n\n```text\nno\n```\n"
	want := "\n\n\n\n\n\n\n```sh\nyes\n```\n\n```text\nprinted\n```\n\n\n\n\n\n\n```sh\nagain\n```\n\n\n\n\n\n\n"
	if got := marked(text); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The commands of the pages work on the control plane that they speak of, and print what
// the pages say.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	d, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "lab")
	compare := func(args ...string) {
		cmd := exec.Command(filepath.Join(root, "bin", "compare"), append(args, "--dir", dir)...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("compare %s: %v; make build makes it\n%s", strings.Join(args, " "), err, out)
		}
	}
	compare("up", "--cluster", "embedded")
	defer compare("down")
	environment := append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	ran := 0
	for _, page := range d.pages {
		blocks, err := readme.Blocks(marked(d.files[page]))
		if err != nil {
			t.Errorf("%s: %v", page, err)
			continue
		}
		if len(blocks) == 0 {
			continue
		}
		shell, err := readme.NewShell(root, t.TempDir(), environment)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks {
			if tool := lacking(block.Commands); tool != "" {
				t.Logf("%s:%d was not run: there is no %s on this machine", page, block.Line, tool)
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			output, status, err := shell.Run(ctx, block.Commands)
			cancel()
			switch {
			case err != nil:
				t.Fatalf("%s:%d: %v\n%s", page, block.Line, err, output)
			case status != 0:
				t.Errorf("%s:%d: a command ends with status %d:\n%s", page, block.Line, status, output)
			case block.Output != nil:
				if err := readme.Match(*block.Output, output); err != nil {
					t.Errorf("%s:%d: %v", page, block.Line, err)
				}
			default:
				t.Errorf("%s:%d prints, and the page does not say what:\n%s", page, block.Line, output)
			}
			ran++
		}
		if err := shell.Close(); err != nil {
			t.Error(err)
		}
	}
	if ran < 8 {
		t.Errorf("%d blocks were run, want 8 at least: is the mark %s still understood?", ran, mark)
	}
}

// lacking is a program that commands need and this machine has not: Go, git and make are
// all that a test may count on.
func lacking(commands string) string {
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil && strings.Contains(commands, tool+" ") {
			return tool
		}
	}
	return ""
}
