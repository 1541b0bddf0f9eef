// Package nftables writes a PortRule as the script that a node would load with
// nft -f.
//
// Each rule has a table of its own, so that loading, replacing and removing one
// never touches another, nor what anybody else keeps in the firewall. The text
// depends on the rule's name and spec alone: equal rules give equal text.
//
// nft resolves a host name when it loads a script and never again, so a name is not
// written where nft would take it for an address. It becomes two named sets,
// endpoint and endpoint6, that are empty at first; whoever follows the name's
// addresses fills them:
//
//	nft add element inet portrule_shop_web endpoint '{ 192.0.2.7 }'
//
// The text is indented by spaces: YAML would quote tabs, and kubectl get -o yaml
// would show a ConfigMap's script on one unreadable line.
//
// What nftables has no word for, permanent and timeoutSeconds, stands in comments:
// both are firewalld's.
package nftables

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"

	v2 "portrule.example/lab/api/v2"
)

// The limits of nft, found with nft 1.0.6: an identifier has at most 255 bytes
// (the kernel's NFT_NAME_MAXLEN less its final zero), a comment 128.
const (
	maxIdentifier = 255
	maxComment    = 128
)

// hooks are where a packet towards the endpoint passes: the node may have the
// endpoint's address, route to it, or be the one who talks to it.
var hooks = []string{"input", "forward", "output"}

// Render returns the script of a defaulted rule, ending in a newline. Loading it
// replaces what an earlier version of the rule left, in one transaction; the sets
// of a host name are empty again after that.
//
// As ever in nftables, accept ends the table's own chain only: a packet that
// another table drops stays dropped.
//
// A rule that [v2.Validate] refuses is an error. So nothing but what its checks let
// through is ever written, none of which means anything to nft: no quotes, no line
// breaks, no braces.
func Render(rule *v2.PortRule) (string, error) {
	if errs := v2.Validate(rule); len(errs) > 0 {
		return "", fmt.Errorf("render the rule: %w", errs.ToAggregate())
	}
	endpoint := rule.Spec.Endpoint
	table := table(rule.Namespace, rule.Name)

	var b strings.Builder
	fmt.Fprintf(&b, "# PortRule %s/%s: service %s, endpoint %s\n", rule.Namespace, rule.Name, rule.Spec.Service, endpoint)
	if permanent := rule.Spec.Permanent; permanent != nil {
		fmt.Fprintf(&b, "# permanent: %t\n", *permanent)
	}
	if timeout := rule.Spec.TimeoutSeconds; timeout != nil {
		fmt.Fprintf(&b, "# timeoutSeconds: %d\n", *timeout)
	}
	// named first, or deleting it would fail where it does not exist
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n", table, table, table)

	daddr, err := destinations(endpoint.Host)
	if err != nil {
		return "", err
	}
	for _, d := range daddr {
		if d.set != "" {
			fmt.Fprintf(&b, "    set %s { type %s; comment \"%s\"; }\n", d.set, d.setType, comment(endpoint.Host))
		}
	}
	b.WriteString("    chain allow {\n")
	for _, d := range daddr {
		fmt.Fprintf(&b, "        %s daddr %s %s dport %d counter accept comment \"%s\"\n",
			d.family, d.address, endpoint.Protocol, endpoint.Port, comment(rule.Spec.Service))
	}
	b.WriteString("    }\n")
	for _, hook := range hooks {
		fmt.Fprintf(&b, "    chain %s {\n        type filter hook %s priority filter; policy accept;\n        jump allow\n    }\n", hook, hook)
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// destination is what a packet's destination address is compared with.
type destination struct {
	// family is ip or ip6.
	family string
	// address is a literal, or a reference to set.
	address string
	// set and setType are empty for a literal.
	set, setType string
}

// destinations of a host: one literal, or a set for each family.
func destinations(host string) ([]destination, error) {
	if !strings.Contains(host, ":") && strings.Trim(host, "0123456789.") != "" {
		return []destination{
			{family: "ip", address: "@endpoint", set: "endpoint", setType: "ipv4_addr"},
			{family: "ip6", address: "@endpoint6", set: "endpoint6", setType: "ipv6_addr"},
		}, nil
	}
	// v2.Validate has a parser of its own: what it takes for an address must be one
	// here too, and its text is written anew
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return nil, fmt.Errorf("render the rule: %w", err)
	case addr.Is4():
		return []destination{{family: "ip", address: addr.String()}}, nil
	case addr.Is4In6(), addr.Zone() != "":
		return nil, fmt.Errorf("render the rule: %q is not an address that packets are sent to", host)
	}
	return []destination{{family: "ip6", address: addr.String()}}, nil
}

// table names the table of a rule. An identifier of nft starts with a letter and
// goes on with letters, digits and any of "/-_.", so that a namespace and a name fit
// in as they are. Neither may hold an underscore: the two that separate them keep
// two rules apart. What would be too long is cut and ends in a third underscore and
// the hash of the whole.
func table(namespace, name string) string {
	id := "portrule_" + namespace + "_" + name
	if len(id) <= maxIdentifier {
		return id
	}
	sum := fmt.Sprintf("_%x", sha256.Sum256([]byte(id)))
	return id[:maxIdentifier-len(sum)] + sum
}

// comment cuts text to what nft takes for a comment. Neither a DNS name nor a label
// ends in a dot, so what is cut can be told from what is whole; the script's first
// line has the whole.
func comment(text string) string {
	if len(text) <= maxComment {
		return text
	}
	return text[:maxComment-len("...")] + "..."
}
