package readme

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
)

const example = `# Lab

Text.

~~~sh
echo one
~~~

~~~text
one
~~~

<!-- lab: solve a.yaml b.yaml -->

1. In a list:

   ~~~sh
   if true; then
     echo two
   fi
   ~~~

<!-- lab: fails -->
~~~sh
false
~~~

Words in between.

~~~text
not an output
~~~

~~~yaml
a: b
~~~

<!-- lab: skip -->
~~~sh
lab watch 2
~~~

<!-- lab: fails -->
<!-- lab: embedded -->
~~~sh
false
~~~
`

func fences(text string) string { return strings.ReplaceAll(text, "~~~", "```") }

func TestBlocks(t *testing.T) {
	got, err := Blocks(fences(example))
	if err != nil {
		t.Fatal(err)
	}
	one := "one\n"
	want := []Block{
		{Line: 5, Commands: "echo one\n", Output: &one},
		{Line: 17, Commands: "if true; then\n  echo two\nfi\n", Solve: true, Solves: []string{"a.yaml", "b.yaml"}},
		{Line: 24, Commands: "false\n", Fails: true},
		{Line: 39, Commands: "lab watch 2\n", Skip: true},
		{Line: 45, Commands: "false\n", Fails: true, Embedded: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestBlocksRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no end":              {"~~~sh\necho", "line 1: the block does not end"},
		"unknown instruction": {"<!-- lab: sovle -->\n~~~sh\n~~~", `no instruction "sovle"`},
		"nothing instructed":  {"text\n<!-- lab: fails -->\nend", "line 2: no block follows"},
		"console":             {"~~~console\n$ echo\n~~~", "blocks of sh"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Blocks(fences(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	for name, test := range map[string]struct {
		want, got string
		differs   string // in the error, empty if they match
	}{
		"same":                     {"a\nb", "a\nb\n", ""},
		"blanks at the ends":       {"a \nb", "a\nb   \n\n", ""},
		"within a line":            {"age … ago, port …", "age 5s ago, port 80", ""},
		"nothing stands there":     {"a…", "a", ""},
		"lines":                    {"a\n…\nz", "a\nb\nc\nz", ""},
		"no lines":                 {"a\n…\nz", "a\nz", ""},
		"signs of expressions":     {"a.b (c)", "a.b (c)", ""},
		"a sign is itself":         {"a.b", "axb", "README: a.b"},
		"another line":             {"a\nb\nc", "a\nx\nc", "line 2\n  README: b\n  output: x"},
		"too short":                {"a\nb", "a", "line 2\n  README: b\n  output: nothing more"},
		"too long":                 {"a", "a\nb", "goes on"},
		"nothing":                  {"", "", ""},
		"a placeholder in between": {"a\n…\nz", "a\nb", "README: z"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Match(test.want, test.got)
			if test.differs == "" && err != nil || test.differs != "" && (err == nil || !strings.Contains(err.Error(), test.differs)) {
				t.Errorf("got %v, want %q", err, test.differs)
			}
		})
	}
}

func TestCount(t *testing.T) {
	for _, test := range []struct {
		text, value string
		want        int
	}{
		{"port 80, 8080, 80.", "80", 2},
		{"lab-02 lab-021 xlab-02", "lab-02", 1},
		{"`a.example` and v1.a.example", "a.example", 2},
		{"", "a", 0},
		{"port: 0 and 10", "port: 0", 1},
	} {
		if got := Count(test.text, test.value); got != test.want {
			t.Errorf("Count(%q, %q) = %d, want %d", test.text, test.value, got, test.want)
		}
	}
}

func TestHeadings(t *testing.T) {
	got := Headings(fences("# A\n~~~sh\n# a comment\n~~~\n## B\n"))
	if want := []string{"# A", "## B"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestShell(t *testing.T) {
	shell, err := NewShell(t.TempDir(), t.TempDir(), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		commands, output string
		status           int
	}{
		{"export GREETING=hello\necho one", "one\n", 0},
		{"echo $GREETING\necho to stderr >&2", "hello\nto stderr\n", 0},
		{"echo before\nfalse\necho after", "before\n", 1},
		{"(exit 7)", "", 7},
		{"false | true", "", 1},
		{"f() { return 3; }\nf\necho after", "", 3},
		{"if false; then echo x; fi\nfalse || echo or", "or\n", 0},
		{"cat", "", 0}, // has no input to wait for
		{"printf 'no end of line'", "no end of line", 0},
		{"sleep 1000 &\necho in the background", "in the background\n", 0},
		{"echo $GREETING", "hello\n", 0},
	} {
		output, status, err := shell.Run(context.Background(), test.commands)
		if err != nil || output != test.output || status != test.status {
			t.Errorf("%q: %q, status %d, %v; want %q, status %d", test.commands, output, status, err, test.output, test.status)
		}
	}
	if _, _, err := shell.Run(context.Background(), "exit 1"); err == nil || !strings.Contains(err.Error(), "the shell has ended") {
		t.Errorf("exit: %v", err)
	}
	if err := shell.Close(); err != nil {
		t.Error(err)
	}
}

func TestShellEndsWithItsContext(t *testing.T) {
	shell, err := NewShell(t.TempDir(), t.TempDir(), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := shell.Run(ctx, "sleep 1000"); err == nil {
		t.Error("it does not say that it was interrupted")
	}
	if err := shell.Close(); err != nil {
		t.Error(err)
	}
}
