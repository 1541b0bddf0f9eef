package testbed

import (
	"net"
	"net/netip"
)

// target is something that listens, for portrules/probe to dial. The server may dial
// its address and no other of this host: what else listens on loopback, etcd among
// it, is on 127.0.0.1.
type target struct{ net.Listener }

func listenTarget() (*target, error) {
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed
			}
			_ = connection.Close()
		}
	}()
	return &target{listener}, nil
}

func (t *target) address() netip.Addr {
	return netip.MustParseAddrPort(t.Addr().String()).Addr()
}

// Target is the address of something that portrules/probe may dial, invalid if
// there is nothing.
func (t *Testbed) Target() netip.AddrPort {
	if t.target == nil {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(t.target.Addr().String())
}
