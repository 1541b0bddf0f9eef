package contract_test

import (
	"testing"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/contract"
	"portrule.example/lab/compare/process"
	"portrule.example/lab/compare/testbed"
)

// start starts a testbed on an embedded control plane, with an audit log, for a test.
func start(t *testing.T, setup testbed.Setup) *testbed.Testbed {
	t.Helper()
	group, err := process.NewTemporaryGroup("portrule-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	bed, err := testbed.Start(t.Context(), cluster.NewEmbedded(group, cluster.EmbeddedOptions{AuditLog: true}), group, setup, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Stop(); err != nil {
			t.Error(err)
		}
	})
	return bed
}

// Every case comes out as the table says, also on a CRD under the aggregated server's own
// group.
func TestParity(t *testing.T) {
	setup := testbed.Setup{CRD: testbed.CRDSetup{Policies: true, Webhooks: true}}
	bed := start(t, setup)
	setup.CRDGroup = api.Group
	sameGroup := start(t, setup)

	options := contract.Options{Cases: contract.Cases()}
	options.CRD, options.Aggregated = contract.Places(bed, contract.HostHas...)
	options.SameGroup = &contract.Place{Bed: sameGroup, Group: api.Group, Has: contract.HostHas}
	rows, err := contract.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, row := range rows {
		switch row.Verdict {
		case contract.Unexpected:
			t.Errorf("%s: %s: got %q, %q and %q (%s), want %q and %q", row.ID, row.Ask, row.CRD, row.Aggregated, row.SameGroup, row.Because, row.Want.CRD, row.Want.Aggregated)
			ran++
		case contract.NotRun:
		default:
			ran++
		}
	}
	if 100*ran < 95*len(options.Cases) {
		t.Errorf("%d of %d cases ran, want 95%%", ran, len(options.Cases))
	}
}

// Where the webhook only checks, two rules get one endpoint sooner or later; the server
// never lets them.
func TestDuplicates(t *testing.T) {
	bed := start(t, testbed.Setup{CRD: testbed.CRDSetup{Reservation: true}})
	crd, aggregated := contract.Places(bed)
	for impl, place := range map[string]contract.Place{"crd+reservation": crd, "aggregated": aggregated} {
		duplicates, err := contract.CountDuplicates(t.Context(), place, impl, 10, 8, nil)
		if err != nil {
			t.Fatal(err)
		}
		if duplicates.Attempts != 10 || duplicates.Admitted != 0 {
			t.Errorf("%s", duplicates)
		}
	}
}
