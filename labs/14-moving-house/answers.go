package movinghouse

import (
	"slices"
	"strings"

	"portrule.example/lab/labs/lab"
)

// answers is what the learner expects, and what a trial has shown.
type answers struct {
	Watch         string `json:"watch"`
	Version       string `json:"version"`
	OldVersion    string `json:"oldVersion"`
	SameEndpoint  string `json:"sameEndpoint"`
	LaterEndpoint string `json:"laterEndpoint"`
	Apply         string `json:"apply"`
}

// The words of the answers.
const (
	ends     = "ends"
	deaf     = "deaf"
	goesOn   = "goes-on"
	anew     = "anew"
	refused  = "refused"
	created  = "created"
	nothing  = "nothing"
	rewrites = "rewrites"
)

// compare returns the first answer that is not what was shown.
func (given answers) compare(s *lab.Session, shown answers) *lab.Finding {
	for _, asked := range []struct {
		id, where  string
		got, want  string
		words      []string
		tellsAbout string
	}{
		{"answer-watch", "watch", given.Watch, shown.Watch, []string{ends, deaf, goesOn}, "a watch that was open when the group was handed over"},
		{"answer-version", "version", given.Version, shown.Version, []string{goesOn, anew}, "a watch at the server from a resourceVersion that the CRD had given"},
		{"answer-old-version", "oldVersion", given.OldVersion, shown.OldVersion, []string{goesOn, anew}, "the same from one that is older than the server's start"},
		{"answer-same-endpoint", "sameEndpoint", given.SameEndpoint, shown.SameEndpoint, []string{refused, created}, "a rule with the endpoint of one that was there when the server started"},
		{"answer-later-endpoint", "laterEndpoint", given.LaterEndpoint, shown.LaterEndpoint, []string{refused, created}, "a rule with the endpoint of one that was made after that, by the CRD"},
		{"answer-apply", "apply", given.Apply, shown.Apply, []string{nothing, rewrites}, "a server-side apply of what is there"},
	} {
		where, got := s.Where(answersFile)+": "+asked.where, strings.TrimSpace(asked.got)
		switch {
		case got == "":
			return &lab.Finding{ID: "not-answered", Where: where, Found: "nothing", Expected: "what you expect: one of " + strings.Join(asked.words, ", ")}
		case !slices.Contains(asked.words, got):
			return &lab.Finding{ID: "unknown-word", Where: where, Found: got, Expected: "one of " + strings.Join(asked.words, ", ")}
		case got != asked.want:
			return &lab.Finding{ID: asked.id, Where: where, Found: got, Expected: "another answer: the check has tried " + asked.tellsAbout}
		}
	}
	s.Verified("what you expected of watches, reservations and apply is what the check saw")
	return nil
}
