package relay_test

import (
	"fmt"
	"net"
	"time"

	"portrule.example/lab/compare/relay"
)

// Whoever is told an address asks for the way over its link first. A link that gets no
// relay is reached as before, and cannot be delayed.
func ExampleLinks() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer server.Close()
	links := &relay.Links{Only: []string{relay.Server}}
	defer links.Close()
	for _, link := range []string{relay.Server, relay.Etcd} {
		address, err := links.Through(link, "127.0.0.1", server.Addr().String())
		fmt.Println(link, "leads over a relay:", address != server.Addr().String(), err)
	}
	fmt.Println("crossed:", links.Crossed())
	fmt.Println(links.Delay(relay.Server, 5*time.Millisecond))
	fmt.Println(links.Delay(relay.Etcd, 5*time.Millisecond))
	// Output:
	// apiserver-server leads over a relay: true <nil>
	// to-etcd leads over a relay: false <nil>
	// crossed: [apiserver-server]
	// <nil>
	// nothing crosses the link to-etcd
}
