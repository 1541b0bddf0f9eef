package e2e

import (
	"context"
	"strings"
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
)

// article is the manifest that people know, of a group.
func article(group string) string {
	return "apiVersion: " + group + "/v1\nkind: PortRule\nmetadata: {name: portrule-example}\n" +
		"spec: {name: nginx, host: 10.0.0.3, port: 80, isPremanent: true}\n"
}

// The manifest that people know, misspelling included, works on both groups.
func TestArticle(t *testing.T) {
	var all []features.Feature
	for impl, group := range groups {
		var namespace string
		manifest := article(group)
		all = append(all, features.New("the article's manifest").WithLabel("area", "contract").WithLabel("impl", impl).
			WithSetup("namespace", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
				namespace = newNamespace(t)
				return ctx
			}).
			Assess("is created", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
				want := "portrule." + group + "/portrule-example created"
				if got := mustKubectl(t, manifest, "apply", "-n", namespace, "-f", "-"); got != want {
					t.Errorf("kubectl apply says %q, want %q", got, want)
				}
				return ctx
			}).
			Assess("is listed", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
				if got := mustKubectl(t, "", "get", "-n", namespace, "portrules."+group); !strings.Contains(got, "portrule-example") || !strings.Contains(got, "10.0.0.3") {
					t.Errorf("kubectl get says\n%s", got)
				}
				return ctx
			}).
			Assess("a port that does not exist is refused", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
				got, err := kubectl(t, strings.NewReplacer("port: 80", "port: 70000", "portrule-example", "bad").Replace(manifest), "apply", "-n", namespace, "-f", "-")
				if err == nil || !strings.Contains(got, "spec.port") {
					t.Errorf("kubectl apply says %q (%v), want that spec.port is invalid", got, err)
				}
				return ctx
			}).
			Feature())
	}
	environment.Test(t, all...)
}
