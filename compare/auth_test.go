package compare

import (
	"context"
	"errors"
	"testing"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

// What each cell of a quick run costs in reviews, counted by both sides on a real control
// plane.
func TestReviewsOfEachCell(t *testing.T) {
	group, err := process.NewTemporaryGroup("portrule-test")
	if err != nil {
		t.Fatal(err)
	}
	setup := testbed.Alike(testbed.CRDSetup{})
	setup.GuardLater = true
	bed, err := testbed.Start(t.Context(), cluster.NewEmbedded(group, cluster.EmbeddedOptions{}), group, setup, func(string) {})
	if err != nil {
		t.Fatal(errors.Join(err, group.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(bed.Stop(), group.Close()); err != nil {
			t.Error(err)
		}
	})
	cells, _ := bench.AuthCells(true)
	a, err := newAuthBed(t.Context(), bed, cells)
	if err != nil {
		t.Fatal(err)
	}
	if err := bed.Guard(t.Context()); err != nil {
		t.Fatal(err)
	}
	type reviews struct{ tokens, access float64 }
	want := map[bench.Cell]reviews{}
	for _, cell := range cells {
		switch {
		case cell.Cache != bench.Cold:
			want[cell] = reviews{0, 0}
		case cell.Path == bench.Direct && cell.Credential == bench.ByToken:
			want[cell] = reviews{1, 1}
		default:
			// through the kube-apiserver, or with a certificate, nobody is looked up
			want[cell] = reviews{0, 1}
		}
	}
	for _, c := range bench.AuthSuite(cells).Cases {
		for _, session := range c.Of(a.sessions) {
			measurements, warning, err := bench.CountReviews(context.WithoutCancel(t.Context()), c, session, false, a.reviews)
			if err != nil {
				t.Errorf("%s: %v", session.Name, err)
				continue
			}
			if warning != "" {
				t.Error(warning)
			}
			cell := c.Cells[session.Name]
			if got := (reviews{measurements[0].Median, measurements[1].Median}); got != want[cell] {
				t.Errorf("%s: %g TokenReviews and %g SubjectAccessReviews, want %g and %g", cell, got.tokens, got.access, want[cell].tokens, want[cell].access)
			}
		}
	}
}
