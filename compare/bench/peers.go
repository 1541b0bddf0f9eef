package bench

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// Peers compares the aggregated server with the best-known one, k8s.io/sample-apiserver
// at the version of its own libraries, by an object of equal size. Both have their
// objects in the same etcd, and neither keeps anything unique.
var Peers = Suite{
	Name:     "peers",
	About:    "the aggregated server beside k8s.io/sample-apiserver",
	Optional: true,
	Impls:    []string{Sample, Aggregated, NameFree},
	Pairs:    [][2]string{{Aggregated, Sample}, {NameFree, Sample}},
	Others: []Case{
		{Name: "start", About: "from starting the process until the aggregation layer calls it available and a list is answered"},
		{Name: "memory", About: "resident memory of the process then, with none of its objects in etcd"},
	},
	Cases: []Case{
		{Name: "get", About: "GET of the same object each time", Cache: "warm", Loaded: true, New: newGet},
		{Name: "get-new", About: "GET of another existing object each time, each read once", Cache: "cold", New: newGetNew},
		{Name: "create", About: "POST of a new object", Cache: "warm", Loaded: true, New: newCreate},
		{Name: "list", About: fmt.Sprintf("GET of a collection of %d objects, as JSON", ListSize), Cache: "warm", Loaded: true, New: newList},
		{Name: "list-best", About: fmt.Sprintf("GET of a collection of %d objects in the fastest encoding that the server has: protobuf, JSON for sample-apiserver", ListSize),
			Cache: "warm", New: newListBest},
	},
}

// newListBest lists what newList has created.
func newListBest(_ context.Context, s *Session, _ int) (Requests, error) {
	return Requests{Send: func(ctx context.Context, _ int) (time.Duration, error) {
		request := s.request("GET", s.ListNamespace, "").SetHeader("Accept", "application/vnd.kubernetes.protobuf,application/json")
		if s.Subject.Impl == Sample {
			// it has no protobuf, and refuses who prefers it
			request = request.SetHeader("Accept", "application/json")
		}
		elapsed, body, err := timed(ctx, request)
		if err != nil {
			return 0, err
		}
		if protobuf := bytes.HasPrefix(body, []byte("k8s\x00")); protobuf == (s.Subject.Impl == Sample) {
			return 0, fmt.Errorf("the encoding is not the one that was expected: %.40q", body)
		}
		return elapsed, nil
	}}, nil
}
