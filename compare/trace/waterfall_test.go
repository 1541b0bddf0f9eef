package trace

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files")

// The requests whose spans are in testdata, in <name>.json.
var fixtures = []string{"get-new-name", "create-webhooks"}

// load makes the waterfall of spans in testdata.
func load(t *testing.T, name string) *Waterfall {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Title, Subtitle string
		Root            *Span
		Spans           []*Span
	}
	if err := json.Unmarshal(data, &fixture); err != nil {
		t.Fatal(err)
	}
	tree, err := Join(fixture.Root, fixture.Spans)
	if err != nil {
		t.Fatal(err)
	}
	return &Waterfall{Title: fixture.Title, Subtitle: fixture.Subtitle, Tree: tree}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("it differs from %s; got:\n%s", file, got)
	}
}

func drawn(t *testing.T, draw func(io.Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := draw(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTerminal(t *testing.T) {
	for _, name := range fixtures {
		text := drawn(t, func(w io.Writer) error { return load(t, name).Terminal(w, TerminalOptions{}) })
		golden(t, name+".txt", text)
		for _, line := range strings.Split(string(text), "\n") {
			if width := utf8.RuneCountInString(line); width > minWidth || strings.HasSuffix(line, " ") {
				t.Errorf("%s: a line is %d columns wide, or ends in a space: %q", name, width, line)
			}
		}
	}
	golden(t, "get-new-name-132-columns.txt", drawn(t, func(w io.Writer) error {
		return load(t, "get-new-name").Terminal(w, TerminalOptions{Width: 132})
	}))
}

// Colours add nothing but themselves.
func TestTerminalColor(t *testing.T) {
	plain := drawn(t, func(w io.Writer) error { return load(t, "create-webhooks").Terminal(w, TerminalOptions{Width: 100}) })
	coloured := string(drawn(t, func(w io.Writer) error {
		return load(t, "create-webhooks").Terminal(w, TerminalOptions{Width: 100, Color: true})
	}))
	for _, code := range append([]string{"0", "1"}, ansi[ProgramAPIServer], ansi[ProgramController], ansi[programEtcd]) {
		if !strings.Contains(coloured, "\x1b["+code+"m") {
			t.Errorf("colour %s is not used", code)
		}
		coloured = strings.ReplaceAll(coloured, "\x1b["+code+"m", "")
	}
	if coloured != string(plain) {
		t.Errorf("without the colours it is\n%s", coloured)
	}
}

func TestSVG(t *testing.T) {
	for _, name := range fixtures {
		svg := drawn(t, func(w io.Writer) error { return load(t, name).SVG(w) })
		golden(t, name+".svg", svg)
		wellFormed(t, svg)
	}
}

// Whatever the spans are called, the drawing is XML and the text is seen as it is.
func TestSVGEscapes(t *testing.T) {
	const name = `<b a="1">&amp; 'it' ]]>` + "\x00"
	tree := &Node{Span: &Span{Program: ProgramClient, Name: name, Kind: Client}, Role: RoleRequest, Start: at(0), End: at(1), Children: []*Node{
		{Span: &Span{Program: name, Name: name, Attributes: map[string]string{"key": name}}, Role: RoleWork, Start: at(0), End: at(1), request: &Span{}},
	}}
	svg := drawn(t, (&Waterfall{Title: name, Subtitle: name, Tree: tree}).SVG)
	wellFormed(t, svg)
	if strings.Contains(string(svg), "<b a") {
		t.Error("there is a tag that is a name")
	}
}

// A tree that is deeper than there is room for is drawn all the same.
func TestDeep(t *testing.T) {
	deepest := &Node{Span: &Span{Program: ProgramClient, Name: "GET", Kind: Client}, Role: RoleRequest, Start: at(0), End: at(1)}
	w := &Waterfall{Title: "deep", Tree: deepest}
	for i := range 100 {
		role := []Role{RoleWork, RoleRequest}[i%2]
		child := &Node{Span: &Span{Program: ProgramAPIServer, Name: "work"}, Role: role, Start: at(0), End: at(1), request: &Span{}}
		deepest.Children = []*Node{child}
		deepest = child
	}
	for _, line := range strings.Split(string(drawn(t, func(out io.Writer) error { return w.Terminal(out, TerminalOptions{}) })), "\n") {
		if utf8.RuneCountInString(line) > minWidth {
			t.Errorf("a line is too long: %q", line)
		}
	}
	wellFormed(t, drawn(t, w.SVG))
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	for decoder := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaits(t *testing.T) {
	work := func(n *Node, children ...*Node) *Node { n.Children = children; return n }
	request := &Span{Kind: Server}
	node := func(program string, role Role, name string, start, end float64) *Node {
		n := &Node{Span: &Span{Program: program, Name: name}, Role: role, Start: at(start), End: at(end), request: request}
		if role == RoleRequest {
			n.Kind = Server
		}
		return n
	}
	root := func(children ...*Node) *Node {
		return &Node{Span: &Span{Program: ProgramClient, Name: "GET /x", Kind: Client}, Role: RoleRequest, Start: at(0), End: at(10), Children: children}
	}
	for name, test := range map[string]struct {
		tree *Node
		want []string
	}{
		"nobody answers": {root(), []string{"client waits 10.0 ms for another program."}},
		"nothing to wait for": {
			root(node(ProgramAPIServer, RoleRequest, "GET /x", 0, 10)),
			[]string{"client waits 10.0 ms for kube-apiserver.", "kube-apiserver works 10.0 ms on GET x, and waits for nobody."},
		},
		"one after the other": {
			root(work(node(ProgramAPIServer, RoleRequest, "GET /x", 1, 9),
				work(node(ProgramAPIServer, RoleWork, "Get", 2, 8), node(ProgramAPIServer, RoleEtcd, "etcdserverpb.KV/Range", 3, 4), node(ProgramAPIServer, RoleEtcd, "etcdserverpb.KV/Txn", 5, 7)))),
			[]string{
				"client waits 10.0 ms for kube-apiserver (2.00 ms of it on the way).",
				"kube-apiserver takes 8.00 ms for GET x: it works 5.00 ms, and waits 3.00 ms for etcd (Range, Txn).",
			},
		},
		"two at the same time": {
			root(work(node(ProgramAPIServer, RoleRequest, "GET /x", 0, 10),
				work(node(ProgramAPIServer, RoleWebhook, "Call validating webhook", 1, 5), node(ProgramController, RoleRequest, "/validate", 2, 4)),
				work(node(ProgramAPIServer, RoleWebhook, "Call validating webhook", 2, 6), node(ProgramController, RoleRequest, "/reserve", 2, 5.5)),
				node(ProgramAPIServer, RoleEtcd, "etcdserverpb.KV/Txn", 7, 9))),
			[]string{
				"client waits 10.0 ms for kube-apiserver.",
				"kube-apiserver takes 10.0 ms for GET x: it works 3.00 ms, and waits 5.00 ms for portrule-controller (2 × validating webhook) and 2.00 ms for etcd (Txn).",
				"portrule-controller works 2.00 ms on validate, and waits for nobody.",
				"portrule-controller works 3.50 ms on reserve, and waits for nobody.",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := (&Waterfall{Tree: test.tree}).Waits()
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		total time.Duration
		n     int
		want  string
	}{
		{10 * time.Millisecond, 10, "[0s 1ms 2ms 3ms 4ms 5ms 6ms 7ms 8ms 9ms 10ms]"},
		{10 * time.Millisecond, 4, "[0s 5ms 10ms]"},
		{7 * time.Millisecond, 4, "[0s 2ms 4ms 6ms]"},
		{1234 * time.Millisecond, 3, "[0s 500ms 1s]"},
		{900 * time.Microsecond, 5, "[0s 200µs 400µs 600µs 800µs]"},
		{1, 5, "[0s]"},
	} {
		marks := []string{}
		for _, mark := range ticks(test.total, test.n) {
			marks = append(marks, mark.String())
		}
		if got := "[" + strings.Join(marks, " ") + "]"; got != test.want {
			t.Errorf("%s, %d: got %s, want %s", test.total, test.n, got, test.want)
		}
	}
}
