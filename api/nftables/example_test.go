package nftables_test

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"portrule.example/lab/api/nftables"
	v2 "portrule.example/lab/api/v2"
)

// Each rule has a table of its own, which the script replaces as a whole. What is not
// shown are the chains of the hooks, which jump to allow.
func ExampleRender() {
	rule := &v2.PortRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}},
	}
	v2.Default(rule)
	script, err := nftables.Render(rule)
	if err != nil {
		panic(err)
	}
	shown, _, _ := strings.Cut(script, "    chain input")
	fmt.Print(shown)
	// Output:
	// # PortRule shop/web: service nginx, endpoint tcp/10.0.0.3/80
	// table inet portrule_shop_web
	// delete table inet portrule_shop_web
	// table inet portrule_shop_web {
	//     chain allow {
	//         ip daddr 10.0.0.3 tcp dport 80 counter accept comment "nginx"
	//     }
}
