package controller

import (
	"crypto/sha256"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	v2 "portrule.example/lab/api/v2"
)

// ScriptKey is the key of the ConfigMap that has the script.
const ScriptKey = "rules.nft"

// RuleLabel is the label that status.selector selects by. Its value is the rule's
// name, or for a name of more than 63 characters the start of it, an underscore and
// a hash. The rule's ConfigMap has it.
const RuleLabel = "firewalld.fedoraproject.org/rule"

const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	managedByLabel = "app.kubernetes.io/managed-by"

	maxNameLength = validation.DNS1123SubdomainMaxLength
)

func configMapName(rule *v2.PortRule) string { return rule.Name + "-nftables" }

// applyConfiguration is all of the ConfigMap that is the controller's to say.
func (r *reconciler) applyConfiguration(rule *v2.PortRule, script string) *corev1ac.ConfigMapApplyConfiguration {
	owner := r.ownerReference(rule)
	return corev1ac.ConfigMap(configMapName(rule), rule.Namespace).
		WithLabels(configMapLabels(rule)).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(owner.APIVersion).
			WithKind(owner.Kind).
			WithName(owner.Name).
			WithUID(owner.UID).
			WithController(*owner.Controller).
			WithBlockOwnerDeletion(*owner.BlockOwnerDeletion)).
		WithData(map[string]string{ScriptKey: script})
}

// upToDate is whether an apply of the same would change nothing.
func (r *reconciler) upToDate(existing *corev1.ConfigMap, rule *v2.PortRule, script string) bool {
	for key, value := range configMapLabels(rule) {
		if existing.Labels[key] != value {
			return false
		}
	}
	want, got := r.ownerReference(rule), metav1.GetControllerOf(existing)
	return existing.Data[ScriptKey] == script &&
		got.APIVersion == want.APIVersion && got.UID == want.UID &&
		got.BlockOwnerDeletion != nil && *got.BlockOwnerDeletion == *want.BlockOwnerDeletion
}

// ownerReference makes the garbage collector delete the ConfigMap after the rule. It
// does not block the rule's own deletion: nobody has to wait until the ConfigMap is
// gone, and to block would take the right to update portrules/finalizers where the
// admission plugin OwnerReferencesPermissionEnforcement is on.
func (r *reconciler) ownerReference(rule *v2.PortRule) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion:         r.gvk.GroupVersion().String(),
		Kind:               r.gvk.Kind,
		Name:               rule.Name,
		UID:                rule.UID,
		Controller:         new(true),
		BlockOwnerDeletion: new(false),
	}
}

// owns is whether the ConfigMap is that of the rule, or of a deleted one by the same
// name whose ConfigMap the garbage collector has not come to yet: it passes to its
// successor.
func (r *reconciler) owns(rule *v2.PortRule, existing *corev1.ConfigMap) bool {
	owner := metav1.GetControllerOf(existing)
	if owner == nil {
		return false
	}
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && gv.Group == r.gvk.Group && owner.Kind == r.gvk.Kind && owner.Name == rule.Name
}

// configMapLabels has no app.kubernetes.io/instance: a rule's name may be too long
// for a label, and RuleLabel is there already.
func configMapLabels(rule *v2.PortRule) map[string]string {
	return map[string]string{
		nameLabel:      "portrule",
		componentLabel: "nftables",
		managedByLabel: Name,
		RuleLabel:      ruleLabelValue(rule.Name),
	}
}

// selector is the rule's status.selector.
func selector(rule *v2.PortRule) string {
	return labels.Set{RuleLabel: ruleLabelValue(rule.Name)}.String()
}

// ruleLabelValue shortens what a label cannot hold. An underscore is in no name, so
// what is shortened is never another rule's name.
func ruleLabelValue(name string) string {
	if len(name) <= validation.LabelValueMaxLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := fmt.Sprintf("_%x", sum[:16])
	return name[:validation.LabelValueMaxLength-len(hash)] + hash
}
