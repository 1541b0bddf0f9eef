package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Scale measures curves: how requests and processes fare as objects, clients, watchers and
// replicas become more.
var Scale = Suite{
	Name:  "scale",
	About: "curves: list, watch, get and create as objects, clients, watchers and replicas become more, and what they project",
	Impls: []string{CRD, Aggregated, Native},
	Pairs: [][2]string{{Aggregated, CRD}, {CRD, Native}, {Aggregated, Native}},
	Others: []Case{
		{Name: "list", About: "GET of a collection, by its number of objects"},
		{Name: "list-protobuf", About: "the same in protobuf, which CRDs do not have"},
		{Name: "watch-start", About: "from opening a watch that begins with all objects of a collection until the last of them is there, by their number"},
		{Name: "get", About: "GET of one object, by how many there are; and in a closed loop, by the number of clients"},
		{Name: "create", About: "POST of a new object, by how many there are"},
		{Name: "heap", About: "live memory, after a garbage collection, of the process that keeps the objects, by their number, in addition to what it was with the first of the sizes; on a control plane where nothing else has run"},
		{Name: "watch", About: "from a patch until the last open watch has its event, by the number of watches"},
		{Name: "replicas", About: "GET in a closed loop behind --enable-aggregator-routing, by the number of replicas of the server"},
	},
}

// GrowObjects makes the collections of sessions have n objects, and gives what the sessions
// make for themselves names that are new.
func GrowObjects(ctx context.Context, sessions []*Session, n int) error {
	for _, s := range sessions {
		if err := s.fill(ctx, n); err != nil {
			return err
		}
		// a consistent list waits for the watch cache to have them all
		got, err := s.count(ctx, s.request("GET", s.ListNamespace, ""))
		if err != nil {
			return err
		}
		if got != n {
			return fmt.Errorf("%s has %d objects, not %d", s.ListNamespace, got, n)
		}
		s.filled, s.prefix = n, fmt.Sprintf("n%d-", n)
	}
	return nil
}

// CollectionCases are those that are measured at each number of objects and take the longer
// the more there are.
func CollectionCases() []Case {
	return []Case{
		{Name: "list", New: newFilledList(false)},
		{Name: "list-protobuf", Impls: []string{Aggregated, Native}, Pairs: [][2]string{{Aggregated, Native}}, New: newProtobufList},
		{Name: "watch-start", New: newWatchStart},
	}
}

// ObjectCases are those that are measured at each number of objects, and are about one.
func ObjectCases() []Case {
	return []Case{{Name: "get", New: newGet}, {Name: "create", New: newCreate}}
}

// ClientCases are those that are measured with each number of clients.
func ClientCases() []Case { return []Case{{Name: "get", Loaded: true, New: newGet}} }

// WatcherCases are those that are measured with n watchers.
func WatcherCases(n int) []Case { return []Case{{Name: "watch", New: newWatch(n)}} }

// ReplicaCases are those that are measured with each number of replicas of the server.
func ReplicaCases() []Case {
	return []Case{{Name: "replicas", Loaded: true, Impls: []string{Aggregated}, Pairs: [][2]string{}, New: newGet}}
}

// Renamed gives what the sessions make from now on names that are new.
func Renamed(sessions []*Session, prefix string) {
	for _, s := range sessions {
		s.prefix = prefix + "-"
	}
}

const protobufType = "application/vnd.kubernetes.protobuf"

// newProtobufList lists in protobuf. Its items are not counted: it must be protobuf, and
// have as many bytes as so many objects have at least.
func newProtobufList(_ context.Context, s *Session, _ int) (Requests, error) {
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		begin := time.Now()
		stream, err := s.request("GET", s.ListNamespace, "").SetHeader("Accept", protobufType).Stream(ctx)
		if err != nil {
			return 0, err
		}
		defer stream.Close()
		magic := make([]byte, 4)
		if _, err := io.ReadFull(stream, magic); err != nil {
			return 0, fmt.Errorf("read a list: %w", err)
		}
		size, err := io.Copy(io.Discard, stream)
		taken := time.Since(begin)
		if err == nil && (!bytes.Equal(magic, []byte("k8s\x00")) || size < int64(fewestProtobufBytes*s.filled)) {
			err = fmt.Errorf("the answer is not protobuf of %d objects: %q and %d bytes", s.filled, magic, size)
		}
		return taken, err
	}}, nil
}

// fewestProtobufBytes is less than an object has in protobuf.
const fewestProtobufBytes = 100

// newWatchStart opens a watch that begins with what is there, as informers do, and ends it
// when all has come.
func newWatchStart(_ context.Context, s *Session, _ int) (Requests, error) {
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		begin := time.Now()
		stream, err := s.request("GET", s.ListNamespace, "").
			Param("watch", "true").
			Param("sendInitialEvents", "true").
			Param("resourceVersionMatch", string(metav1.ResourceVersionMatchNotOlderThan)).
			Param("allowWatchBookmarks", "true").
			Stream(ctx)
		if err != nil {
			return 0, err
		}
		defer stream.Close()
		end := []byte(metav1.InitialEventsAnnotationKey)
		buffer, kept := make([]byte, 64<<10), 0
		for {
			n, err := stream.Read(buffer[kept:])
			have := buffer[:kept+n]
			switch {
			case bytes.Contains(have, end):
				return time.Since(begin), nil
			case errors.Is(err, io.EOF):
				return 0, errors.New("the watch ended before all objects had come")
			case err != nil:
				return 0, fmt.Errorf("read a watch: %w", err)
			}
			kept = copy(buffer, have[max(0, len(have)-len(end)+1):])
		}
	}}, nil
}
