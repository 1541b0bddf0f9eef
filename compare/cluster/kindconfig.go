package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kindexec "sigs.k8s.io/kind/pkg/exec"
	"sigs.k8s.io/kind/pkg/log"
	"sigs.k8s.io/yaml"
)

// AuditLogPath is where the kube-apiserver of a kind cluster writes its audit log, in
// its node.
const AuditLogPath = "/var/log/kubernetes/audit.log"

// claimLabel is the label of the nodes that holds the id of their claim.
const claimLabel = "portrule-lab/claim"

// features are the options of a kube-apiserver that cannot be changed while it runs.
type features struct {
	AuditLog          bool   `json:"auditLog,omitempty"`
	AggregatorRouting bool   `json:"aggregatorRouting,omitempty"`
	TracingEndpoint   string `json:"tracingEndpoint,omitempty"`
}

func (o KindOptions) features() features {
	return features{o.AuditLog, o.AggregatorRouting, o.TracingEndpoint}
}

func (f features) String() string {
	var words []string
	if f.AuditLog {
		words = append(words, "audit log")
	}
	if f.AggregatorRouting {
		words = append(words, "aggregator routing")
	}
	if f.TracingEndpoint != "" {
		words = append(words, "tracing to "+f.TracingEndpoint)
	}
	if len(words) == 0 {
		return "nothing special"
	}
	return strings.Join(words, ", ")
}

// Where files for the kube-apiserver are in its node.
const nodeConfigDir = "/etc/portrule-lab"

// argument is a flag of a component, as kubeadm's v1beta4 has them.
type argument struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// volume is a directory of the node that the kube-apiserver's Pod sees.
type volume struct {
	Name      string `json:"name"`
	HostPath  string `json:"hostPath"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly"`
	PathType  string `json:"pathType"`
}

// configure makes the configuration of a cluster of one node, and writes the files
// that its kube-apiserver reads into a directory beside the claim, which the node mounts,
// and again when it is restarted.
func (k *Kind) configure(image string) (*v1alpha4.Cluster, error) {
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	k.claim.ID = hex.EncodeToString(id)
	node := v1alpha4.Node{Role: v1alpha4.ControlPlaneRole, Image: image, Labels: map[string]string{claimLabel: k.claim.ID}}

	var arguments []argument
	var volumes []volume
	files := map[string]string{}
	if k.options.AggregatorRouting {
		arguments = append(arguments, argument{"enable-aggregator-routing", "true"})
	}
	if k.options.AuditLog {
		files["audit-policy.yaml"] = auditPolicy
		arguments = append(arguments,
			argument{"audit-policy-file", nodeConfigDir + "/audit-policy.yaml"},
			argument{"audit-log-path", AuditLogPath})
		volumes = append(volumes, volume{"audit", "/var/log/kubernetes", "/var/log/kubernetes", false, "DirectoryOrCreate"})
	}
	if k.options.TracingEndpoint != "" {
		files["tracing.yaml"] = TracingConfiguration(k.options.TracingEndpoint)
		arguments = append(arguments, argument{"tracing-config-file", nodeConfigDir + "/tracing.yaml"})
	}
	if len(files) > 0 {
		dir := k.claim.filesDir()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		for name, text := range files {
			if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
		node.ExtraMounts = []v1alpha4.Mount{{HostPath: dir, ContainerPath: nodeConfigDir, Readonly: true}}
		volumes = append(volumes, volume{"portrule-lab", nodeConfigDir, nodeConfigDir, true, "Directory"})
	}
	patch, err := yaml.Marshal(map[string]any{
		"kind":      "ClusterConfiguration",
		"apiServer": map[string]any{"extraArgs": arguments, "extraVolumes": volumes},
	})
	if err != nil {
		return nil, err
	}
	cluster := &v1alpha4.Cluster{Nodes: []v1alpha4.Node{node}}
	// since 1.35 kubelet refuses hosts with cgroup v1 unless it is told
	cluster.KubeadmConfigPatches = []string{"kind: KubeletConfiguration\nfailCgroupV1: false\n"}
	if len(arguments) > 0 {
		cluster.KubeadmConfigPatches = append(cluster.KubeadmConfigPatches, string(patch))
	}
	v1alpha4.SetDefaultsCluster(cluster)
	return cluster, nil
}

// stepLogger passes the steps of kind on, and drops the rest: what is wrong comes as
// an error.
type stepLogger struct{ say func(string) }

var _ log.Logger = stepLogger{}

func (stepLogger) Warn(string)           {}
func (stepLogger) Warnf(string, ...any)  {}
func (stepLogger) Error(string)          {}
func (stepLogger) Errorf(string, ...any) {}
func (l stepLogger) Enabled() bool       { return true }
func (l stepLogger) Info(message string) { l.Infof("%s", message) }
func (l stepLogger) V(level log.Level) log.InfoLogger {
	if level > 0 {
		return log.NoopInfoLogger{}
	}
	return l
}

// Infof gets a line such as " • Preparing nodes 📦  ..." for each step that begins.
func (l stepLogger) Infof(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	step, ok := strings.CutPrefix(line, " • ")
	if !ok {
		return
	}
	step = strings.Map(func(r rune) rune {
		if r > '~' {
			return -1
		}
		return r
	}, strings.TrimRight(step, " .\n"))
	l.say("kind: " + strings.ToLower(strings.TrimSpace(step)))
}

// remedies are what a user does about what container engines say.
var remedies = []struct{ says, remedy string }{
	{"no space left on device", "the disk is full: free some space (\"%s system df\" says what takes it) and try again"},
	{"port is already allocated", "another program took the port in that moment: try again"},
	{"address already in use", "another program took the port in that moment: try again"},
	{"permission denied", "you may not use %s: join its group, or run it rootless"},
	{"requires cgroup v2", "see kind.sigs.k8s.io/docs/user/rootless"},
	{"CAP_SYS_RESOURCE", "this host withholds capabilities that kind's nodes need"},
	{"could not find a log line", "the node's systemd did not start: is there enough memory, and are inotify limits high enough (fs.inotify.max_user_instances)?"},
	{"too many open files", "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl"},
}

// explainKind adds to an error of kind the end of what the failing command printed,
// and what to do about it.
func explainKind(err error, e engine) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if failed := kindexec.RunErrorForError(err); failed != nil {
		if output := strings.TrimSpace(string(failed.Output)); output != "" {
			lines := strings.Split(output, "\n")
			text = fmt.Sprintf("%s failed: %s", strings.Join(failed.Command[:min(2, len(failed.Command))], " "), strings.Join(lines[max(0, len(lines)-5):], "\n"))
		}
	}
	for _, known := range remedies {
		if strings.Contains(text, known.says) {
			remedy := known.remedy
			if strings.Contains(remedy, "%s") {
				remedy = fmt.Sprintf(remedy, e)
			}
			return fmt.Errorf("%s\n%s", text, remedy)
		}
	}
	return errors.New(text)
}
