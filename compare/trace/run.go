package trace

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

// How many requests are sent to warm up, and how many then, of which the one of median
// duration is drawn. An odd number has one.
const warmUps, samples = 3, 9

// spansTimeout is how long the spans of a request may take to come.
const spansTimeout = 20 * time.Second

// Options say what is traced.
type Options struct {
	Case Case
	// Impl is one of bench.CRD, bench.Aggregated, bench.NameFree and bench.Native.
	Impl string
	// CRD is what guards the CRD. The aggregated server has R4 if the CRD has it.
	CRD testbed.CRDSetup
	// Say is told each step as it begins.
	Say func(step string)
}

// Run sends requests to a control plane of its own, on this host, and returns one of them.
// While it works, the process has the environment variables of OpenTelemetry that its
// children are to have.
func Run(ctx context.Context, options Options) (_ *Waterfall, err error) {
	receiver := NewReceiver()
	defer receiver.Close() // once those who send have ended
	where := map[string]string{}
	for _, program := range []string{ProgramAPIServer, ProgramServer, ProgramController} {
		if where[program], err = receiver.Endpoint(program); err != nil {
			return nil, err
		}
	}
	restore, err := setEnvironment(map[string]string{
		// how the webhooks are told: they have no flag
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://" + where[ProgramController],
		// spans are sent at once, in place of every 5 s, and none is dropped
		"OTEL_BSP_SCHEDULE_DELAY": "100",
		"OTEL_BSP_MAX_QUEUE_SIZE": "65536",
	})
	if err != nil {
		return nil, err
	}
	defer restore()

	group, err := process.NewTemporaryGroup("portrule-trace")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	provider := cluster.NewEmbedded(group, cluster.EmbeddedOptions{TracingEndpoint: where[ProgramAPIServer]})
	bed, err := testbed.Start(ctx, provider, group, testbed.Alike(options.CRD), options.Say)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()

	s := &session{namespace: "portrule-trace"}
	s.implementation(options.Impl)
	if options.Impl == bench.Aggregated || options.Impl == bench.NameFree {
		options.Say("starting an aggregated server that is traced")
		file := group.Path("portrule-apiserver-tracing.yaml")
		if err := os.WriteFile(file, []byte(cluster.TracingConfiguration(where[ProgramServer])), 0o600); err != nil {
			return nil, err
		}
		flags := []string{"--tracing-config-file=" + file}
		if options.Impl == bench.NameFree {
			flags = append(flags, "--authorization-name-free-reviews")
		}
		if _, err := bed.ServePeer(ctx, "portrule-apiserver-traced", groupTraced, flags...); err != nil {
			return nil, err
		}
	}
	if err := bed.Namespaces(ctx, s.namespace); err != nil {
		return nil, err
	}
	user, _, err := bed.User(ctx, "tracer", s.namespace)
	if err != nil {
		return nil, err
	}
	s.host = user.Host
	if s.client, err = rest.HTTPClientFor(user); err != nil {
		return nil, err
	}
	tree, err := take(ctx, receiver, s, options)
	if err != nil {
		return nil, err
	}
	return &Waterfall{
		Title:    fmt.Sprintf("%s, %s: %s", options.Case.Name, options.Impl+options.suffix(), options.Case.About),
		Subtitle: fmt.Sprintf("the median of %d such requests, warmed up; Kubernetes %s, all programs on one host", samples, bed.Kubernetes),
		Tree:     tree,
	}, nil
}

// suffix names what the implementation does beyond the rules that a schema can state.
func (o Options) suffix() string {
	switch o.Impl {
	case bench.CRD:
		return o.CRD.Suffix()
	case bench.Aggregated, bench.NameFree:
		return testbed.Alike(o.CRD).AggregatedSuffix()
	default:
		return ""
	}
}

// setEnvironment sets variables, and returns what takes that back.
func setEnvironment(variables map[string]string) (restore func(), err error) {
	before := map[string]*string{}
	restore = func() {
		for name, value := range before {
			if value == nil {
				_ = os.Unsetenv(name)
			} else {
				_ = os.Setenv(name, *value)
			}
		}
	}
	for name, value := range variables {
		before[name] = nil
		if old, ok := os.LookupEnv(name); ok {
			before[name] = &old
		}
		if err := os.Setenv(name, value); err != nil {
			restore()
			return nil, err
		}
	}
	return restore, nil
}

// take sends the requests and returns the tree of the one of median duration.
func take(ctx context.Context, receiver *Receiver, s *session, options Options) (*Node, error) {
	options.Say("warming up: " + options.Case.Name)
	send, err := options.Case.prepare(ctx, s, warmUps+samples)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", options.Case.Name, err)
	}
	var roots []*Span
	var last []byte
	for i := range warmUps + samples {
		if i == warmUps {
			options.Say(fmt.Sprintf("tracing %d requests", samples))
			// all that was sent before is out of the way
			if _, err := await(ctx, receiver, roots[len(roots)-1:]); err != nil {
				return nil, err
			}
			receiver.Forget()
			roots = nil
		}
		request, err := send(ctx, i, last)
		if err != nil {
			return nil, err
		}
		root := newRoot(request)
		if last, err = s.doTraced(request, root); err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	trees, err := await(ctx, receiver, roots)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(trees, func(a, b *Node) int { return cmp.Compare(a.Duration(), b.Duration()) })
	return trees[len(trees)/2], nil
}

// await waits for the spans of requests, given by their roots, and returns their trees.
func await(ctx context.Context, receiver *Receiver, roots []*Span) (trees []*Node, err error) {
	err = receiver.Wait(ctx, spansTimeout, func(spans []*Span) error {
		trees = nil
		for _, root := range roots {
			tree, err := Join(root, spans)
			if err != nil {
				return err
			}
			trees = append(trees, tree)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("not all spans of the request came within %s: %w; programs that are older than this one may not be traced: run \"make build\"", spansTimeout, err)
	}
	return trees, err
}

// newRoot makes the client's span of a request, and tells the request of it.
func newRoot(request *http.Request) *Span {
	ids := make([]byte, 24)
	_, _ = rand.Read(ids) // it never fails
	root := &Span{
		Trace: hex.EncodeToString(ids[:16]), ID: hex.EncodeToString(ids[16:]), Program: ProgramClient, Kind: Client,
		Name:       request.Method + " " + request.URL.Path,
		Attributes: map[string]string{"http.request.method": request.Method, "url.full": request.URL.String()},
	}
	request.Header.Set("traceparent", "00-"+root.Trace+"-"+root.ID+"-01")
	return root
}

// doTraced sends a request and notes when it began and ended. A watch is at its end once it
// is open.
func (s *session) doTraced(request *http.Request, root *Span) ([]byte, error) {
	root.Start = time.Now().UTC()
	if request.URL.Query().Get("watch") == "" {
		body, err := s.do(request)
		root.End = time.Now().UTC()
		return body, err
	}
	response, err := s.client.Do(request)
	root.End = time.Now().UTC()
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s", request.Method, request.URL.Path, response.Status)
	}
	return nil, nil
}

// do sends a request and reads the answer, which must be a success.
func (s *session) do(request *http.Request) ([]byte, error) {
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, body)
	}
	return body, err
}
