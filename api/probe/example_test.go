package probe_test

import (
	"fmt"
	"net/netip"

	"portrule.example/lab/api/probe"
)

// What a firewall opens its ports towards may be dialled, and what would lead a user to
// the server itself or to its cloud's metadata may not, however it is written. One
// address of loopback is let through by name.
func ExampleRules_Check() {
	allow, err := probe.ParseAllow([]string{"127.0.0.2/32"})
	if err != nil {
		panic(err)
	}
	rules := probe.Rules{Allow: allow}
	for _, text := range []string{"10.0.0.3", "127.0.0.1", "127.0.0.2", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"} {
		if err := rules.Check(netip.MustParseAddr(text)); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("address", text, "may be probed")
	}
	// Output:
	// address 10.0.0.3 may be probed
	// address 127.0.0.1 must not be probed: loopback
	// address 127.0.0.2 may be probed
	// address 169.254.169.254 must not be probed: link-local
	// address ::ffff:127.0.0.1 must not be probed: IPv4-mapped, write the IPv4 address
	// address 64:ff9b::7f00:1 must not be probed: NAT64, embeds an IPv4 address
}
