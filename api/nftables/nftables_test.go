package nftables

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v2 "portrule.example/lab/api/v2"
)

var update = flag.Bool("update", false, "write the golden files")

// rule is a valid one, changed by edit.
func rule(edit func(*v2.PortRule)) *v2.PortRule {
	r := &v2.PortRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80}},
	}
	if edit != nil {
		edit(r)
	}
	v2.Default(r)
	return r
}

func endpoint(host string, port int32, protocol v2.Protocol) func(*v2.PortRule) {
	return func(r *v2.PortRule) { r.Spec.Endpoint = v2.Endpoint{Host: host, Port: port, Protocol: protocol} }
}

// longHost is a DNS name of 253 characters.
var longHost = strings.Repeat(strings.Repeat("a", 62)+".", 3) + strings.Repeat("b", 62) + ".c"

// goldens maps a file of testdata to the rule that it is the script of.
var goldens = map[string]*v2.PortRule{
	"ipv4-tcp":      rule(nil),
	"ipv4-udp":      rule(endpoint("10.0.0.3", 53, v2.ProtocolUDP)),
	"ipv4-sctp":     rule(endpoint("255.255.255.255", 65535, v2.ProtocolSCTP)),
	"ipv4-dccp":     rule(endpoint("0.0.0.0", 1, v2.ProtocolDCCP)),
	"ipv6-tcp":      rule(endpoint("2001:db8::1", 443, v2.ProtocolTCP)),
	"ipv6-udp":      rule(endpoint("::", 53, v2.ProtocolUDP)),
	"dns-tcp":       rule(endpoint("web.example.com", 443, v2.ProtocolTCP)),
	"dns-label":     rule(endpoint("accept", 5004, v2.ProtocolDCCP)), // a word of nft's own
	"dns-like-ipv4": rule(endpoint("10.0.0.3.example.com", 80, v2.ProtocolSCTP)),
	"dns-long":      rule(endpoint(longHost, 80, v2.ProtocolTCP)),
	"permanent":     rule(func(r *v2.PortRule) { r.Spec.Permanent = new(true) }),
	"timeout": rule(func(r *v2.PortRule) {
		r.Spec.Permanent, r.Spec.TimeoutSeconds = new(false), new(int32(60))
	}),
	"names": rule(func(r *v2.PortRule) {
		r.Namespace, r.Name, r.Spec.Service = "0-table", "1.table.inet-x", "9-table"
	}),
	"names-long": rule(func(r *v2.PortRule) {
		r.Namespace, r.Name, r.Spec.Service = strings.Repeat("n", 63), longHost, strings.Repeat("s", 63)
	}),
}

func goldenPath(name string) string { return filepath.Join("testdata", name+".nft") }

func TestRender(t *testing.T) {
	for name, r := range goldens {
		t.Run(name, func(t *testing.T) {
			before := r.DeepCopy()
			got := render(t, r)
			if again := render(t, before); again != got {
				t.Errorf("a second time it is different:\n%s", again)
			}
			if *update {
				if err := os.WriteFile(goldenPath(name), []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(goldenPath(name))
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s\n(go test -update writes the files)", got, want)
			}
			checkLines(t, r, got)
		})
	}
	files, err := filepath.Glob(goldenPath("*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(goldens) {
		t.Errorf("testdata has %d scripts for %d rules", len(files), len(goldens))
	}
}

func render(t *testing.T, r *v2.PortRule) string {
	t.Helper()
	script, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	return script
}

// What nodes carry is not the script's matter, so scaling a rule leaves it as it is.
func TestRenderIgnoresReplicas(t *testing.T) {
	if a, b := render(t, rule(nil)), render(t, rule(func(r *v2.PortRule) { r.Spec.Replicas = new(int32(7)) })); a != b {
		t.Errorf("got\n%s\nand\n%s", a, b)
	}
}

// Hostile strings are refused wherever they stand.
func TestRenderRefuses(t *testing.T) {
	hostile := []string{
		"", "\"", "a\"; }", "a\n\t\ttcp dport 22 accept", "a\r", "a\x00", "a b", "a;b", "a{b}", "$a", "@a", "a#b", "a\\", "ä", "A", "a_b", "-a", "a-",
		strings.Repeat("a", 300),
	}
	fields := map[string]func(*v2.PortRule, string){
		"namespace": func(r *v2.PortRule, s string) { r.Namespace = s },
		"name":      func(r *v2.PortRule, s string) { r.Name = s },
		"service":   func(r *v2.PortRule, s string) { r.Spec.Service = s },
		"host":      func(r *v2.PortRule, s string) { r.Spec.Endpoint.Host = s },
	}
	for field, set := range fields {
		for _, s := range hostile {
			r := rule(nil)
			set(r, s)
			if script, err := Render(r); err == nil {
				t.Errorf("%s %q became\n%s", field, s, script)
			}
		}
	}
	for _, s := range append(hostile, "icmp", "TCP") {
		r := rule(nil)
		r.Spec.Endpoint.Protocol = v2.Protocol(s)
		if script, err := Render(r); err == nil {
			t.Errorf("protocol %q became\n%s", s, script)
		}
	}
	for _, host := range []string{"10.0.0.300", "010.0.0.3", "1.2.3", "::ffff:10.0.0.3", "fe80::1%eth0", "2001:DB8::1", "[::1]", "10.0.0.0/8"} {
		if script, err := Render(rule(endpoint(host, 80, v2.ProtocolTCP))); err == nil {
			t.Errorf("host %s became\n%s", host, script)
		}
	}
	for _, port := range []int32{-1, 0, 65536} {
		if script, err := Render(rule(endpoint("10.0.0.3", port, v2.ProtocolTCP))); err == nil {
			t.Errorf("port %d became\n%s", port, script)
		}
	}
}

// Two rules never share a table, and each table has a name that nft accepts.
func TestTable(t *testing.T) {
	type key struct{ namespace, name string }
	keys := []key{
		{"a", "b"}, {"a-b", "c"}, {"a", "b-c"}, {"a", "b.c"}, {"ab", "c"}, {"a", "bc"},
		{strings.Repeat("n", 63), longHost},
		{strings.Repeat("n", 63), longHost[:252] + "d"},
		{strings.Repeat("n", 62), longHost},
		{"a", longHost},
	}
	seen := map[string]key{}
	for n := range 260 { // around the length at which names are cut
		keys = append(keys, key{strings.Repeat("m", 1+n/9), strings.Repeat("x", 1+n%253)})
	}
	for _, k := range keys {
		id := table(k.namespace, k.name)
		if other, ok := seen[id]; ok && other != k {
			t.Errorf("%v and %v share the table %s", k, other, id)
		}
		seen[id] = k
		if len(id) > maxIdentifier || !regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`).MatchString(id) {
			t.Errorf("%v has the table %q, which is not an identifier of nft", k, id)
		}
	}
}

// lines is all that a script may consist of.
var lines = []*regexp.Regexp{
	regexp.MustCompile(`^# PortRule [a-z0-9-]+/[a-z0-9.-]+: service [a-z0-9-]+, endpoint (tcp|udp|sctp|dccp)/[a-z0-9.:-]+/[0-9]+$`),
	regexp.MustCompile(`^# permanent: (true|false)$`),
	regexp.MustCompile(`^# timeoutSeconds: [0-9]+$`),
	regexp.MustCompile(`^table inet portrule_[a-z0-9-]+_[a-z0-9._-]+$`),
	regexp.MustCompile(`^delete table inet portrule_[a-z0-9-]+_[a-z0-9._-]+$`),
	regexp.MustCompile(`^table inet portrule_[a-z0-9-]+_[a-z0-9._-]+ \{$`),
	regexp.MustCompile(`^    set endpoint \{ type ipv4_addr; comment "[a-z0-9.-]+"; \}$`),
	regexp.MustCompile(`^    set endpoint6 \{ type ipv6_addr; comment "[a-z0-9.-]+"; \}$`),
	regexp.MustCompile(`^    chain (allow|input|forward|output) \{$`),
	regexp.MustCompile(`^        ip daddr ([0-9.]+|@endpoint) (tcp|udp|sctp|dccp) dport [0-9]+ counter accept comment "[a-z0-9-]+"$`),
	regexp.MustCompile(`^        ip6 daddr ([0-9a-f:]+|@endpoint6) (tcp|udp|sctp|dccp) dport [0-9]+ counter accept comment "[a-z0-9-]+"$`),
	regexp.MustCompile(`^        type filter hook (input|forward|output) priority filter; policy accept;$`),
	regexp.MustCompile(`^        jump allow$`),
	regexp.MustCompile(`^    \}$`),
	regexp.MustCompile(`^\}$`),
}

// checkLines fails unless the script is made of lines and has as many of them as
// the rule calls for.
func checkLines(t *testing.T, r *v2.PortRule, script string) {
	t.Helper()
	body, ok := strings.CutSuffix(script, "\n")
	if !ok {
		t.Errorf("the script does not end in a newline: %q", script)
	}
	got := strings.Split(body, "\n")
	for _, line := range got {
		if !slices.ContainsFunc(lines, func(re *regexp.Regexp) bool { return re.MatchString(line) }) {
			t.Errorf("%q is not a line of a script", line)
		}
	}
	// header, 3 times the table, the chain of the rule, 3 hooks of 4 lines, the end
	want := 1 + 3 + 3 + 3*4 + 1
	if strings.Contains(script, "@endpoint") {
		want += 2 + 1
	}
	if r.Spec.Permanent != nil {
		want++
	}
	if r.Spec.TimeoutSeconds != nil {
		want++
	}
	if len(got) != want {
		t.Errorf("the script has %d lines, want %d:\n%s", len(got), want, script)
	}
	if n := strings.Count(script, " accept comment "); n != 1 && n != 2 {
		t.Errorf("%d rules accept:\n%s", n, script)
	}
}

// Whatever the fields hold, Render refuses it or writes the lines of one rule.
func FuzzRender(f *testing.F) {
	for _, name := range []string{"ipv4-tcp", "ipv6-udp", "dns-long", "names-long", "timeout"} {
		r := goldens[name]
		f.Add(r.Namespace, r.Name, r.Spec.Service, r.Spec.Endpoint.Host, r.Spec.Endpoint.Port, string(r.Spec.Endpoint.Protocol), true, false, int32(0))
	}
	f.Add("a", "b", "c\" }\n\tchain x { }", "h", int32(80), "tcp", true, true, int32(60))
	f.Add("a", "b", "c", "h\"; }\ndelete table inet x", int32(80), "udp", false, true, int32(1))
	f.Add("a\n", "b {", "c", "fe80::1%a\nflush ruleset", int32(80), "dccp\n", false, false, int32(-1))
	f.Add("a_b", "c", "d", "1.2.3.4, 5.6.7.8", int32(-80), "sctp", false, false, int32(1))
	f.Add("a", "b_c", "include", "$host", int32(70000), "th", true, true, int32(1))
	f.Fuzz(func(t *testing.T, namespace, name, service, host string, port int32, protocol string, permanent, hasTimeout bool, timeout int32) {
		r := rule(func(r *v2.PortRule) {
			r.Namespace, r.Name, r.Spec.Service = namespace, name, service
			r.Spec.Endpoint = v2.Endpoint{Host: host, Port: port, Protocol: v2.Protocol(protocol)}
			if permanent {
				r.Spec.Permanent = &permanent
			}
			if hasTimeout {
				r.Spec.TimeoutSeconds = &timeout
			}
		})
		if script, err := Render(r); err == nil {
			checkLines(t, r, script)
		} else if script != "" {
			t.Errorf("a script beside the error %v:\n%s", err, script)
		}
	})
}

// nft itself accepts every golden script.
func TestNFT(t *testing.T) {
	check := nft(t)
	for name := range goldens {
		t.Run(name, func(t *testing.T) {
			script, err := os.ReadFile(goldenPath(name))
			if err != nil {
				t.Fatal(err)
			}
			if err := check(script); err != nil {
				t.Errorf("%v\n%s", err, script)
			}
		})
	}
	// a check that accepts anything would prove nothing
	for _, broken := range []string{"table inet x {", "table inet x {\n\tchain y {\n\t\ttcp dport 0-x accept\n\t}\n}\n"} {
		if err := check([]byte(broken)); err == nil {
			t.Errorf("nft accepts %q", broken)
		}
	}
}

// Loading a script twice leaves what loading it once leaves, and loading a rule that
// has changed leaves nothing of the earlier one.
func TestReload(t *testing.T) {
	nft(t)
	dir := t.TempDir()
	write := func(name string, r *v2.PortRule) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(render(t, r)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := func(names ...string) string {
		t.Helper()
		script := "nft -f " + strings.Join(names, " && nft -f ") + " && nft list ruleset"
		cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "sh", "-c", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Skipf("no network namespace to load the scripts in: %v: %s", err, out)
		}
		return string(out)
	}
	write("old", goldens["dns-tcp"])
	write("new", goldens["ipv4-udp"])
	once := list("new")
	if strings.Count(once, " accept comment ") != 1 || !strings.Contains(once, "udp dport 53") {
		t.Fatalf("loaded once:\n%s", once)
	}
	for _, names := range [][]string{{"new", "new"}, {"old", "new"}} {
		if got := list(names...); got != once {
			t.Errorf("loaded %v:\n%s\nwant\n%s", names, got, once)
		}
	}
}

// nft returns a function that has nft check a script without loading it. Even for
// that nft asks the kernel, which takes CAP_NET_ADMIN: where it is missing, a user
// and network namespace of its own may still give it.
func nft(t *testing.T) func(script []byte) error {
	t.Helper()
	program, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("nft is not installed: apt-get install nftables, or the like")
	}
	run := func(command ...string) func([]byte) error {
		return func(script []byte) error {
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Stdin = bytes.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
			}
			return nil
		}
	}
	probe := []byte("table inet portrule_probe {\n}\n")
	direct := run(program, "-c", "-f", "-")
	if err = direct(probe); err == nil {
		return direct
	}
	unshared := run("unshare", "--user", "--map-root-user", "--net", program, "-c", "-f", "-")
	if unshared(probe) == nil {
		return unshared
	}
	t.Skipf("nft cannot run here: %v", err)
	return nil
}
