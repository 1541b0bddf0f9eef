package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// APIServerEndpoint is the address at which the kube-apiserver is reached from Pods and, on
// kind, from this host.
func (t *Testbed) APIServerEndpoint(ctx context.Context) (netip.AddrPort, error) {
	slice, err := t.clientset.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("look for the address of the kube-apiserver: %w", err)
	}
	if len(slice.Endpoints) == 0 || len(slice.Endpoints[0].Addresses) == 0 || len(slice.Ports) == 0 || slice.Ports[0].Port == nil {
		return netip.AddrPort{}, errors.New("the EndpointSlice default/kubernetes has no address")
	}
	address, err := netip.ParseAddr(slice.Endpoints[0].Addresses[0])
	return netip.AddrPortFrom(address, uint16(*slice.Ports[0].Port)), err
}
