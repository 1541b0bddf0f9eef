// Package trace draws one request as a waterfall: which program works on it when, and who
// waits for whom.
//
// A [Receiver] collects the spans that the programs send. [Join] makes a tree of those of
// one request, and says what is still to come; arrange.go brings the tree into the form in
// which it is drawn. A [Waterfall] is drawn for a terminal or as SVG, and says in words who
// waits for whom. [Run] does all of it on a control plane of its own, for one of [Cases].
//
// The kube-apiserver and the aggregated server are both made of k8s.io/apiserver, and trace
// alike. portrule-controller does so where an environment variable tells it to. etcd is not
// traced: what is known of it are the calls to it, as its callers see them.
//
// Read join.go first: by what a span is put where in the tree is not obvious, since the
// servers do not always trust one another with a trace. Then arrange.go and waterfall.go;
// terminal.go and svg.go draw, cases.go has the requests, run.go sends them.
package trace

import "time"

// Span is a piece of work of one program, as OpenTelemetry has it.
type Span struct {
	// Trace and ID are hexadecimal. Parent is the ID of the span of the same trace that
	// this one is a part of, empty for none.
	Trace  string `json:"trace"`
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"`
	// Links are spans of other traces that this one belongs to.
	Links []Link `json:"links,omitempty"`
	// Program is who did the work.
	Program string `json:"program"`
	Name    string `json:"name"`
	Kind    Kind   `json:"kind,omitempty"`
	// Start and End are by the clock of the program's host.
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Link names a span of another trace.
type Link struct {
	Trace string `json:"trace"`
	ID    string `json:"id"`
}

// Kind says on which side of a call a span is.
type Kind string

// The kinds that matter: Client is the caller's side, Server that of the called. Empty
// means work within a program.
const (
	Client Kind = "client"
	Server Kind = "server"
)

// The programs whose spans are collected.
const (
	ProgramClient     = "client"
	ProgramAPIServer  = "kube-apiserver"
	ProgramServer     = "portrule-apiserver"
	ProgramController = "portrule-controller"
)

// programEtcd is not traced itself: what is known of it are the calls to it.
const programEtcd = "etcd"
