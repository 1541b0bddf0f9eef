package testbed

import (
	"cmp"
	"fmt"
	"strings"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/relay"
)

// Setup says what the implementations do beyond the rules that a schema can state.
type Setup struct {
	CRD CRDSetup
	// CRDGroup is the group that the CRD is served under; empty means api.CRDGroup. Under
	// api.Group there is no place for the aggregated server, and none is started. It is
	// for clusters whose servers are processes of this host.
	CRDGroup string
	// SharedEndpoints turns R4 off in the aggregated server, which costs it a second
	// write for each rule that comes or goes: to compare it with a CRD that has no R4
	// either.
	SharedEndpoints bool
	// GuardLater has the CRD's webhooks served, so that [Testbed.Guard] can put them into
	// force. It is for clusters whose servers are processes of this host.
	GuardLater bool
	// Outside runs the servers as processes of this host in clusters that run Pods too.
	Outside bool
	// Links, unless it is nil, gets relays on the links between the programs, those of
	// [Testbed.User] included. It is for clusters whose servers are processes of this host;
	// the link of the kube-apiserver to etcd is the provider's. Stop closes it.
	Links *relay.Links
	// Controller runs portrule-controller against both groups, in clusters that run Pods.
	Controller bool
}

// crdGroup is the group that the CRD is served under.
func (s Setup) crdGroup() string { return cmp.Or(s.CRDGroup, api.CRDGroup) }

// Alike returns the set-up in which the aggregated server has R4 if and only if the
// CRD in the given set-up has it.
func Alike(crd CRDSetup) Setup {
	return Setup{CRD: crd, SharedEndpoints: !crd.Webhooks && !crd.Reservation}
}

// AggregatedSuffix is "+unique-endpoints" where the server has R4, else empty.
func (s Setup) AggregatedSuffix() string {
	if s.SharedEndpoints {
		return ""
	}
	return "+unique-endpoints"
}

// CRDSetup says by what the CRD states the rules of the contract. The schema is
// always there, with R1 to R3, and so is the conversion webhook, which requests of
// the storage version do not call.
type CRDSetup struct {
	// Policies adds R5 and R6 as admission policies.
	Policies bool
	// Webhooks adds R1 to R6 as validating and mutating webhooks; R4 is check-then-act.
	Webhooks bool
	// Reservation adds R4 as a webhook that reserves endpoints.
	Reservation bool
}

// ParseCRDSetup reads the words policies, webhooks and reservation; schema, and no
// word at all, mean neither.
func ParseCRDSetup(words []string) (CRDSetup, error) {
	var setup CRDSetup
	for _, word := range words {
		switch word {
		case "schema":
		case "policies":
			setup.Policies = true
		case "webhooks":
			setup.Webhooks = true
		case "reservation":
			setup.Reservation = true
		default:
			return setup, fmt.Errorf("there is no CRD set-up %q: use schema, policies, webhooks or reservation", word)
		}
	}
	return setup, nil
}

// Suffix is empty for the schema alone, and otherwise names what comes on top,
// such as "+policies+webhooks".
func (s CRDSetup) Suffix() string {
	var suffix strings.Builder
	for _, part := range []struct {
		on   bool
		name string
	}{{s.Policies, "policies"}, {s.Webhooks, "webhooks"}, {s.Reservation, "reservation"}} {
		if part.on {
			suffix.WriteString("+" + part.name)
		}
	}
	return suffix.String()
}

// webhooks are the names by which portrule-controller knows those of the set-up.
func (s CRDSetup) webhooks() []string {
	names := []string{"conversion"}
	if s.Webhooks {
		names = append(names, "validating", "mutating")
	}
	if s.Reservation {
		names = append(names, "reservation")
	}
	return names
}
