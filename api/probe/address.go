package probe

import (
	"fmt"
	"net/netip"
)

// Rules say which addresses may be dialled. The zero value refuses whatever would
// lead a user to the server's loopback, its link, its cloud's metadata, or around
// these rules. Private addresses (10.0.0.0/8, fc00::/7 and the like) are let through:
// they are what a firewall opens its ports towards.
//
// Three ways around are beyond a list of addresses, and a network policy has to close
// them where they matter: the addresses of the server's own interfaces, a NAT64 prefix
// of the network's own (RFC 6052 section 2.2), and a host that forwards what it
// receives.
type Rules struct {
	// Allow lists prefixes whose addresses may be dialled although they would be
	// refused: every one of them, a cloud's metadata within 0.0.0.0/0 too. It has no
	// effect on addresses that are invalid, zoned or IPv4-mapped. [ParseAllow] makes
	// it from text.
	Allow []netip.Prefix
}

// RefusedError says that an address must not be dialled.
type RefusedError struct {
	Addr netip.Addr
	// Reason is what the address is, such as "loopback".
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("address %s must not be probed: %s", e.Addr, e.Reason)
}

// What no prefix in Allow makes good.
const (
	reasonInvalid = "not an IP address"
	reasonZoned   = "an address with a zone names an interface of the server"
	reasonMapped  = "IPv4-mapped, write the IPv4 address"
)

// refused are the addresses that must not be dialled, each with what it is. The
// first that matches is the reason.
var refused = []struct {
	prefix netip.Prefix
	reason string
}{
	// Linux connects to its own machine when told to connect to either.
	{netip.MustParsePrefix("0.0.0.0/8"), `unspecified ("this network")`}, // RFC 6890 table 1
	{netip.MustParsePrefix("::/128"), "unspecified"},                     // RFC 4291 section 2.5.2

	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"}, // RFC 1122 section 3.2.1.3
	{netip.MustParsePrefix("::1/128"), "loopback"},     // RFC 4291 section 2.5.3

	// The metadata of most clouds is here: 169.254.169.254, and fe80::a9fe:a9fe of
	// OpenStack.
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"}, // RFC 3927
	{netip.MustParsePrefix("fe80::/10"), "link-local"},      // RFC 4291 section 2.5.6

	// Interface-local and link-local multicast included.
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"}, // RFC 5771
	{netip.MustParsePrefix("ff00::/8"), "multicast"},    // RFC 4291 section 2.7

	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"}, // RFC 919
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},         // RFC 1112 section 4

	// A translator or a tunnel on the way makes these the IPv4 address in them, which
	// was not judged.
	{netip.MustParsePrefix("::/96"), "IPv4-compatible, embeds an IPv4 address"},           // RFC 4291 section 2.5.5.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "IPv4-translated, embeds an IPv4 address"}, // RFC 2765 section 2.1
	{netip.MustParsePrefix("64:ff9b::/96"), "NAT64, embeds an IPv4 address"},              // RFC 6052 section 2.1
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local NAT64, embeds an IPv4 address"},      // RFC 8215
	{netip.MustParsePrefix("2002::/16"), "6to4, embeds an IPv4 address"},                  // RFC 3056 section 2
	{netip.MustParsePrefix("2001::/32"), "Teredo, embeds an IPv4 address"},                // RFC 4380 section 4

	// Metadata and credentials that clouds serve outside the link-local ranges.
	{netip.MustParsePrefix("fd00:ec2::254/128"), "metadata of AWS"},                 // AWS SDKs reference, "IMDS client"
	{netip.MustParsePrefix("fd00:ec2::23/128"), "credentials of AWS"},               // EKS user guide, "Set up the EKS Pod Identity Agent"
	{netip.MustParsePrefix("fd20:ce::254/128"), "metadata of Google Cloud"},         // Compute Engine, "Query VM metadata"
	{netip.MustParsePrefix("168.63.129.16/32"), "WireServer of Azure"},              // Azure, "What is IP address 168.63.129.16?"
	{netip.MustParsePrefix("100.100.100.200/32"), "metadata of Alibaba Cloud"},      // cloud-init reference, AliYun
	{netip.MustParsePrefix("fd00:100::100:200/128"), "metadata of Alibaba Cloud"},   // cloud-init issue 6892
	{netip.MustParsePrefix("192.0.0.192/32"), "metadata of Oracle Cloud"},           // Compute Classic REST API, "Create an Image List Entry"
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), "metadata of Oracle Cloud"},   // oci-python-sdk, instance principals signer
	{netip.MustParsePrefix("fd00:42::42/128"), "metadata of Scaleway"},              // cloud-init reference, Scaleway
	{netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"), "metadata of Akamai (Linode)"}, // cloud-init, DataSourceAkamai.py
}

// Check returns a [*RefusedError] if the address must not be dialled.
func (r Rules) Check(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return &RefusedError{Addr: addr, Reason: reasonInvalid}
	case addr.Zone() != "":
		return &RefusedError{Addr: addr, Reason: reasonZoned}
	case addr.Is4In6():
		return &RefusedError{Addr: addr, Reason: reasonMapped}
	}
	for _, prefix := range r.Allow {
		if prefix.Contains(addr) {
			return nil
		}
	}
	for _, entry := range refused {
		if entry.prefix.Contains(addr) {
			return &RefusedError{Addr: addr, Reason: entry.reason}
		}
	}
	return nil
}

// ParseAllow reads the prefixes of [Rules]. Each must be written as it takes effect,
// with no bits set beyond its length: whoever writes 127.0.0.1/8 may mean one address
// or 16 million.
func ParseAllow(cidrs []string) ([]netip.Prefix, error) {
	var allow []netip.Prefix
	for _, cidr := range cidrs {
		prefix, err := parsePrefix(cidr)
		if err != nil {
			return nil, err
		}
		allow = append(allow, prefix)
	}
	return allow, nil
}

func parsePrefix(cidr string) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(cidr)
	switch {
	case err == nil && addr.Zone() != "":
		return netip.Prefix{}, fmt.Errorf("allowed prefix %q has a zone and would have no effect: leave it out", cidr)
	case err == nil:
		return netip.Prefix{}, fmt.Errorf("allowed prefix %q has no length: write %s for this address alone", cidr, alone(addr.Unmap()))
	}
	prefix, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("allowed prefix %q is not a CIDR such as 10.0.0.0/8 or fd00::/8: %w", cidr, err)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("allowed prefix %q is IPv4-mapped and would have no effect: write the IPv4 prefix", cidr)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("allowed prefix %q has bits set beyond its length: write %s for the whole network, or %s for this address alone",
			cidr, prefix.Masked(), alone(prefix.Addr()))
	}
	return prefix, nil
}

// alone is the prefix of one address.
func alone(addr netip.Addr) netip.Prefix {
	return netip.PrefixFrom(addr, addr.BitLen())
}
