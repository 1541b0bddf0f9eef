package probe

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// forbidden are addresses that must not be dialled: the first and the last of each
// range, and what people write.
var forbidden = []struct{ addr, reason string }{
	{"0.0.0.0", `unspecified ("this network")`},
	{"0.0.0.1", `unspecified ("this network")`},
	{"0.255.255.255", `unspecified ("this network")`},
	{"::", "unspecified"},
	{"127.0.0.0", "loopback"},
	{"127.0.0.1", "loopback"},
	{"127.0.0.53", "loopback"},
	{"127.255.255.255", "loopback"},
	{"::1", "loopback"},
	{"169.254.0.0", "link-local"},
	{"169.254.169.254", "link-local"},
	{"169.254.170.2", "link-local"},
	{"169.254.255.255", "link-local"},
	{"fe80::", "link-local"},
	{"fe80::a9fe:a9fe", "link-local"},
	{"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"},
	{"224.0.0.0", "multicast"},
	{"224.0.0.1", "multicast"},
	{"239.255.255.255", "multicast"},
	{"ff00::", "multicast"},
	{"ff01::1", "multicast"},
	{"ff02::1", "multicast"},
	{"ff05::2", "multicast"},
	{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
	{"240.0.0.0", "reserved"},
	{"255.255.255.254", "reserved"},
	{"255.255.255.255", "broadcast"},

	{"::2", "IPv4-compatible, embeds an IPv4 address"},
	{"::127.0.0.1", "IPv4-compatible, embeds an IPv4 address"},
	{"::192.0.2.1", "IPv4-compatible, embeds an IPv4 address"},
	{"::ffff:ffff", "IPv4-compatible, embeds an IPv4 address"},
	{"::ffff:0:127.0.0.1", "IPv4-translated, embeds an IPv4 address"},
	{"64:ff9b::", "NAT64, embeds an IPv4 address"},
	{"64:ff9b::127.0.0.1", "NAT64, embeds an IPv4 address"},
	{"64:ff9b::a9fe:a9fe", "NAT64, embeds an IPv4 address"},
	{"64:ff9b::255.255.255.255", "NAT64, embeds an IPv4 address"},
	{"64:ff9b:1::", "local NAT64, embeds an IPv4 address"},
	{"64:ff9b:1::127.0.0.1", "local NAT64, embeds an IPv4 address"},
	{"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local NAT64, embeds an IPv4 address"},
	{"2002::", "6to4, embeds an IPv4 address"},
	{"2002:7f00:1::1", "6to4, embeds an IPv4 address"},
	{"2002:a9fe:a9fe::", "6to4, embeds an IPv4 address"},
	{"2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4, embeds an IPv4 address"},
	{"2001::", "Teredo, embeds an IPv4 address"},
	{"2001:0:4136:e378:8000:63bf:80ff:fffe", "Teredo, embeds an IPv4 address"},
	{"2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo, embeds an IPv4 address"},

	{"fd00:ec2::254", "metadata of AWS"},
	{"FD00:0EC2:0:0::0254", "metadata of AWS"},
	{"fd00:ec2::23", "credentials of AWS"},
	{"fd20:ce::254", "metadata of Google Cloud"},
	{"168.63.129.16", "WireServer of Azure"},
	{"100.100.100.200", "metadata of Alibaba Cloud"},
	{"fd00:100::100:200", "metadata of Alibaba Cloud"},
	{"192.0.0.192", "metadata of Oracle Cloud"},
	{"fd00:c1::a9fe:a9fe", "metadata of Oracle Cloud"},
	{"fd00:42::42", "metadata of Scaleway"},
	{"fd00:a9fe:a9fe::1", "metadata of Akamai (Linode)"},
}

// hopeless are refused whatever is allowed.
var hopeless = []struct{ addr, reason string }{
	{"", reasonInvalid},
	{"::ffff:0.0.0.0", reasonMapped},
	{"::ffff:127.0.0.1", reasonMapped},
	{"::ffff:7f00:1", reasonMapped},
	{"::ffff:169.254.169.254", reasonMapped},
	{"::ffff:10.0.0.1", reasonMapped},
	{"::ffff:192.0.2.1", reasonMapped},
	{"::ffff:255.255.255.255", reasonMapped},
	{"fe80::1%eth0", reasonZoned},
	{"::1%lo", reasonZoned},
	{"fd00::1%1", reasonZoned},
	{"2001:db8::1%eth0", reasonZoned},
	{"::ffff:127.0.0.1%lo", reasonZoned},
}

// harmless are the neighbours of what is forbidden, and what endpoints have.
var harmless = []string{
	"1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255",
	"168.63.129.15", "168.63.129.17", "100.100.100.199", "100.100.100.201", "192.0.0.191", "192.0.0.193",
	"10.0.0.3", "10.96.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.2.1", "198.51.100.7",
	"fc00::1", "fd00::1", "fd00:ec2::253", "fd00:ec2::255", "fd20:ce::253", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"64:ff9b:0:0:0:1::", "64:ff9b:2::", "2001:1::", "2001:db8::1", "2001:ffff::1",
	"2003::", "2606:4700:4700::1111",
}

// parse makes the invalid address of an empty text.
func parse(t *testing.T, text string) netip.Addr {
	t.Helper()
	if text == "" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// everything allows whatever can be allowed.
var everything = Rules{Allow: []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"),
	netip.MustParsePrefix("::/0"),
	netip.MustParsePrefix("::ffff:0:0/96"),
}}

func TestCheck(t *testing.T) {
	check := func(t *testing.T, rules Rules, text, reason string) {
		t.Helper()
		addr := parse(t, text)
		err := rules.Check(addr)
		if reason == "" {
			if err != nil {
				t.Errorf("%s: %v, want it let through", text, err)
			}
			return
		}
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: got %v, want it refused: %s", text, err, reason)
			return
		}
		if refused.Addr != addr || refused.Reason != reason {
			t.Errorf("%s: refused %s as %s, want %s", text, refused.Addr, refused.Reason, reason)
		}
		if !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("%s: %q names neither the address nor the reason", text, err)
		}
	}

	for _, c := range forbidden {
		check(t, Rules{}, c.addr, c.reason)
		check(t, everything, c.addr, "")
		addr := parse(t, c.addr)
		check(t, Rules{Allow: []netip.Prefix{alone(addr)}}, c.addr, "")
		for _, neighbour := range []netip.Addr{addr.Next(), addr.Prev()} {
			if neighbour.IsValid() {
				check(t, Rules{Allow: []netip.Prefix{alone(neighbour)}}, c.addr, c.reason)
			}
		}
	}
	for _, c := range hopeless {
		check(t, Rules{}, c.addr, c.reason)
		check(t, everything, c.addr, c.reason)
	}
	for _, addr := range harmless {
		check(t, Rules{}, addr, "")
		check(t, everything, addr, "")
	}
}

// The zero Prefix matches nothing: a slot of Allow that was left empty is harmless.
func TestCheckInvalidPrefix(t *testing.T) {
	rules := Rules{Allow: []netip.Prefix{{}}}
	for _, c := range forbidden {
		if rules.Check(parse(t, c.addr)) == nil {
			t.Errorf("%s is let through", c.addr)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, c := range forbidden {
		f.Add(c.addr)
	}
	for _, c := range hopeless {
		f.Add(c.addr)
	}
	for _, addr := range harmless {
		f.Add(addr)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			addr = netip.Addr{}
		}
		refused := (Rules{}).Check(addr)
		if refused == nil {
			for _, a := range []netip.Addr{addr, addr.Unmap(), embedded(addr)} {
				if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() ||
					a.IsMulticast() || a.IsUnspecified() {
					t.Errorf("%s, which is %s, is let through", text, a)
				}
			}
			if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() {
				t.Errorf("%q is let through", text)
			}
		}
		allowed := everything.Check(addr)
		if allowed != nil && refused == nil {
			t.Errorf("%s is refused only if everything is allowed: %v", text, allowed)
		}
		if (allowed != nil) != (!addr.IsValid() || addr.Zone() != "" || addr.Is4In6()) {
			t.Errorf("%q where everything is allowed: %v", text, allowed)
		}
		for _, err := range []error{refused, allowed} {
			var as *RefusedError
			if err != nil && (!errors.As(err, &as) || as.Addr != addr || as.Reason == "") {
				t.Errorf("%q: the error %v does not say what is refused and why", text, err)
			}
		}
	})
}

// embedded is the IPv4 address that an IPv6 address carries where translators and
// tunnels look for one, or the address itself.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case b[0] == 0x20 && b[1] == 0x02:
		return v4(2)
	case [4]byte(b[:4]) == [4]byte{0, 0x64, 0xff, 0x9b} && [8]byte(b[4:12]) == [8]byte{}:
		return v4(12)
	case [8]byte(b[:8]) == [8]byte{} && (b[8] == 0 && b[9] == 0 || b[8] == 0xff && b[9] == 0xff) && b[10] == 0 && b[11] == 0:
		return v4(12)
	}
	return addr
}

func TestParseAllow(t *testing.T) {
	allow, err := ParseAllow([]string{"127.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, prefix := range allow {
		got = append(got, prefix.String())
	}
	if got, want := strings.Join(got, " "), "127.0.0.1/32 10.0.0.0/8 0.0.0.0/0 fd00::/8 ::1/128"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if allow, err := ParseAllow(nil); len(allow) != 0 || err != nil {
		t.Errorf("of nothing: got %v and %v", allow, err)
	}

	for _, c := range []struct{ cidr, hint string }{
		{"10.0.0.1/8", "write 10.0.0.0/8 for the whole network, or 10.0.0.1/32"},
		{"127.0.0.1/8", "write 127.0.0.0/8 for the whole network, or 127.0.0.1/32"},
		{"fd00::1/8", "write fd00::/8 for the whole network, or fd00::1/128"},
		{"10.0.0.1", "write 10.0.0.1/32"},
		{"::1", "write ::1/128"},
		{"fe80::1%eth0", "has a zone"},
		{"fe80::%eth0/64", "has a zone"},
		{"::ffff:10.0.0.1", "write 10.0.0.1/32"},
		{"::ffff:10.0.0.0/104", "write the IPv4 prefix"},
		{"::ffff:0:0/96", "write the IPv4 prefix"},
		{"10.0.0.0/33", "not a CIDR"},
		{"10.0.0.0/08", "not a CIDR"},
		{"10.0.0.0/-1", "not a CIDR"},
		{"10/8", "not a CIDR"},
		{"010.0.0.0/8", "not a CIDR"},
		{" 10.0.0.0/8", "not a CIDR"},
		{"10.0.0.0/255.0.0.0", "not a CIDR"},
		{"10.0.0.0/8,fd00::/8", "not a CIDR"},
		{"localhost", "not a CIDR"},
		{"", "not a CIDR"},
	} {
		allow, err := ParseAllow([]string{"192.168.0.0/16", c.cidr})
		if err == nil || !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), c.cidr) {
			t.Errorf("%q: got %v and %v, want an error that has %q", c.cidr, allow, err, c.hint)
		}
	}
}
