package cluster

import (
	"net"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ServiceTo returns what leads from a Service to host:port, outside of the cluster.
//
// A DNS name, localhost among them, becomes a Service of type ExternalName. An
// address becomes a Service without selector and an EndpointSlice, which the
// aggregation layer follows with --enable-aggregator-routing too; the API forbids
// loopback addresses there.
func ServiceTo(namespace, name, host string, port int) []client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	service := &corev1.Service{
		ObjectMeta: meta,
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: int32(port)}}},
	}
	ip := net.ParseIP(host)
	if ip == nil {
		service.Spec.Type, service.Spec.ExternalName = corev1.ServiceTypeExternalName, host
		return []client.Object{service}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta,
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(port))}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	if ip.To4() == nil {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	return []client.Object{service, slice}
}
