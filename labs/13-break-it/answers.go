package breakit

import (
	"fmt"
	"slices"
	"strings"

	"portrule.example/lab/labs/lab"
)

// answers is what the learner expects, and what the check has seen. Numbers, and yes and no,
// are as YAML reads them.
type answers struct {
	Server struct {
		Rules        any    `json:"rules"`
		ConfigMaps   string `json:"configMaps"`
		APIResources string `json:"apiResources"`
		Namespace    string `json:"namespace"`
	} `json:"server"`
	Webhook struct {
		Create string `json:"create"`
		Get    string `json:"get"`
		Delete string `json:"delete"`
		Frozen any    `json:"frozen"`
	} `json:"webhook"`
	Certificate struct {
		Noticed string `json:"noticed"`
		Restart any    `json:"restart"`
	} `json:"certificate"`
	Etcd struct {
		List   string `json:"list"`
		Cached string `json:"cached"`
		Write  string `json:"write"`
	} `json:"etcd"`
}

// The words of the answers.
const (
	works    = "works"
	fails    = "fails"
	waits    = "waits"
	complete = "complete"
	shorter  = "shorter"
	fault    = "error"
	atOnce   = "at-once"
	later    = "later"
	yes      = "yes"
	no       = "no"
)

// word is an answer as text.
func word(answer any) string {
	switch answer {
	case nil:
		return ""
	case true:
		return yes
	case false:
		return no
	}
	return strings.TrimSpace(fmt.Sprint(answer))
}

// worksIf is the word for whether something works.
func worksIf(it bool) string {
	if it {
		return works
	}
	return fails
}

// waitsIf is the word for whether something has to wait.
func waitsIf(it bool) string {
	if it {
		return waits
	}
	return works
}

// compare returns the first answer that is not what was seen.
func (given *answers) compare(s *lab.Session, seen *answers) *lab.Finding {
	either := func(words ...string) []string { return words }
	for _, asked := range []struct {
		id, where string
		got, want any
		// words are those that there are, none if the answer is something else
		words []string
		shown string
	}{
		{"answer-rules", "server.rules", given.Server.Rules, seen.Server.Rules, nil, "the check has tried a request for a group whose server has ended"},
		{"answer-config-maps", "server.configMaps", given.Server.ConfigMaps, seen.Server.ConfigMaps, either(works, fails), "the check has tried a list of ConfigMaps meanwhile"},
		{"answer-api-resources", "server.apiResources", given.Server.APIResources, seen.Server.APIResources, either(complete, shorter, fault), "the check has tried kubectl api-resources meanwhile"},
		{"answer-namespace", "server.namespace", given.Server.Namespace, seen.Server.Namespace, nil, "kubectl describe namespace says it, while one hangs"},
		{"answer-webhook", "webhook.create", given.Webhook.Create, seen.Webhook.Create, either(works, fails), "the check has tried to create a ConfigMap when nobody answers for the webhook"},
		{"answer-webhook", "webhook.get", given.Webhook.Get, seen.Webhook.Get, either(works, fails), "the check has tried to read one"},
		{"answer-webhook", "webhook.delete", given.Webhook.Delete, seen.Webhook.Delete, either(works, fails), "the check has tried to delete one"},
		{"answer-frozen", "webhook.frozen", given.Webhook.Frozen, seen.Webhook.Frozen, nil, "the check has tried a webhook that takes the connection and says nothing"},
		{"answer-noticed", "certificate.noticed", given.Certificate.Noticed, seen.Certificate.Noticed, either(atOnce, later), "the check has tried a request after the certificate had ended"},
		{"answer-restart", "certificate.restart", given.Certificate.Restart, seen.Certificate.Restart, either(yes, no), "step 5 shows it"},
		{"answer-list", "etcd.list", given.Etcd.List, seen.Etcd.List, either(works, waits), "the check has tried it, with etcd stopped for a moment"},
		{"answer-cached", "etcd.cached", given.Etcd.Cached, seen.Etcd.Cached, either(works, waits), "the check has tried it, with etcd stopped for a moment"},
		{"answer-write", "etcd.write", given.Etcd.Write, seen.Etcd.Write, either(works, waits), "the check has tried it, with etcd stopped for a moment"},
	} {
		where, got, want := s.Where(answersFile)+": "+asked.where, word(asked.got), word(asked.want)
		switch {
		case got == "":
			return &lab.Finding{ID: "not-answered", Where: where, Found: "nothing", Expected: "what you expect"}
		case len(asked.words) > 0 && !slices.Contains(asked.words, got):
			return &lab.Finding{ID: "unknown-word", Where: where, Found: got, Expected: "one of " + strings.Join(asked.words, ", ")}
		case got != want:
			return &lab.Finding{ID: asked.id, Where: where, Found: got, Expected: "another answer: " + asked.shown}
		}
	}
	s.Verified("what you expected of a server, a webhook, a certificate and an etcd that fail is what the check saw")
	return nil
}
