package controller

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"portrule.example/lab/api"
	"portrule.example/lab/api/probe"
	v2 "portrule.example/lab/api/v2"
)

// A request is answered once, in a condition of its own, by what came of dialling; nobody
// is dialled without a request, nor where the rules of the probe forbid it.
func TestProbeRequests(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialled := make(chan struct{}, 10)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_ = connection.Close()
			dialled <- struct{}{}
		}
	}()
	defer listener.Close()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	answered := metav1.Condition{Type: ConditionProbed, Status: metav1.ConditionTrue, Reason: "Connected", Message: "again: connected after 0.1 s"}

	for name, c := range map[string]struct {
		request string
		allow   []netip.Prefix
		had     []metav1.Condition
		want    metav1.ConditionStatus
		message string // begins so; empty means that there is no answer
		dials   int
	}{
		"connected":         {request: "first", allow: loopback, want: metav1.ConditionTrue, message: "first: connected after ", dials: 1},
		"forbidden":         {request: "first", want: metav1.ConditionFalse, message: "first: forbidden after "},
		"no request":        {allow: loopback},
		"answered before":   {request: "again", allow: loopback, had: []metav1.Condition{answered}, want: metav1.ConditionTrue, message: answered.Message},
		"another request":   {request: "other", allow: loopback, had: []metav1.Condition{answered}, want: metav1.ConditionTrue, message: "other: connected after ", dials: 1},
		"beginning like it": {request: "aga", allow: loopback, had: []metav1.Condition{answered}, want: metav1.ConditionTrue, message: "aga: connected after ", dials: 1},
		"a long request":    {request: strings.Repeat("é", 100), allow: loopback, want: metav1.ConditionTrue, message: strings.Repeat("é", 32) + ": connected after ", dials: 1},
	} {
		t.Run(name, func(t *testing.T) {
			scheme, err := NewScheme(api.CRDGroup)
			if err != nil {
				t.Fatal(err)
			}
			rule := webRule(func(rule *v2.PortRule) {
				rule.Spec.Endpoint.Host, rule.Spec.Endpoint.Port = "127.0.0.1", int32(listener.Addr().(*net.TCPAddr).Port)
				rule.Status.Conditions = c.had
				if c.request != "" {
					rule.Annotations = map[string]string{ProbeRequest: c.request}
				}
			})
			client0 := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v2.PortRule{}).WithObjects(rule).Build()
			p := &prober{
				client: client0, prober: &probe.Prober{Rules: probe.Rules{Allow: c.allow}},
				gvk: schema.GroupVersionKind{Group: api.CRDGroup, Version: v2.Version, Kind: api.Kind},
			}
			key := client.ObjectKeyFromObject(rule)
			for range 2 { // the second has nothing to do
				if _, err := p.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
					t.Fatal(err)
				}
			}
			got := &v2.PortRule{}
			if err := client0.Get(t.Context(), key, got); err != nil {
				t.Fatal(err)
			}
			answer := meta.FindStatusCondition(got.Status.Conditions, ConditionProbed)
			switch {
			case c.message == "" && answer != nil:
				t.Errorf("got the answer %+v without a request", answer)
			case c.message == "":
			case answer == nil:
				t.Error("there is no answer")
			case answer.Status != c.want || !strings.HasPrefix(answer.Message, c.message):
				t.Errorf("got %s %q, want %s and a message that begins with %q", answer.Status, answer.Message, c.want, c.message)
			}
			for range c.dials {
				<-dialled
			}
			if n := len(dialled); n > 0 {
				t.Errorf("dialled %d times more than asked", n)
			}
		})
	}
}
