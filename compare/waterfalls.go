package compare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/progress"
	"portrule.example/lab/compare/testbed"
	"portrule.example/lab/compare/trace"
)

// traced are the requests that a full run draws for its report.
var traced = []struct {
	name, impl string
	crd        testbed.CRDSetup
}{
	{"get-new-name", bench.Aggregated, testbed.CRDSetup{}},
	{"create", bench.CRD, testbed.CRDSetup{Webhooks: true}},
	{"create", bench.Aggregated, testbed.CRDSetup{}},
}

// drawWaterfalls traces requests on control planes of their own, since tracing costs time
// too, and returns the drawings by the names of their files.
func drawWaterfalls(ctx context.Context, show *progress.Progress) (map[string][]byte, error) {
	drawings := map[string][]byte{}
	for i, t := range traced {
		show.Update(i, len(traced), "tracing "+t.name+", "+t.impl)
		c, known := trace.Find(t.name)
		if !known {
			return drawings, fmt.Errorf("there is no request %q to trace", t.name)
		}
		waterfall, err := trace.Run(ctx, trace.Options{Case: c, Impl: t.impl, CRD: t.crd, Say: func(string) {}})
		if err != nil {
			return drawings, fmt.Errorf("trace %s, %s: %w", t.name, t.impl, err)
		}
		var svg bytes.Buffer
		if err := waterfall.SVG(&svg); err != nil {
			return drawings, err
		}
		drawings["trace-"+t.name+"-"+t.impl+".svg"] = svg.Bytes()
	}
	show.Finish()
	return drawings, nil
}

// writeDrawings writes them into the directory of a run, before its report, which shows
// them.
func writeDrawings(dir string, drawings map[string][]byte) error {
	for name, svg := range drawings {
		if err := os.WriteFile(filepath.Join(dir, name), svg, 0o644); err != nil {
			return fmt.Errorf("write a drawing: %w", err)
		}
	}
	return nil
}
