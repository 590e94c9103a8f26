// Package chart holds the tests of the Helm chart: with default values it makes the same objects as
// config/default, its values reach the objects, and wrong values are refused by its schema.
package chart

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

var digest = "sha256:" + strings.Repeat("0a", 32)

const (
	chartPath  = "../../charts/refinery-operator"
	configPath = "../../config/default"
)

// run runs a tool named by an environment variable and gives its output.
func run(t *testing.T, variable string, arguments ...string) (string, error) {
	t.Helper()
	tool := os.Getenv(variable)
	if tool == "" {
		t.Fatalf("%s is not set; make test-chart sets it", variable)
	}
	var stderr bytes.Buffer
	command := exec.Command(tool, arguments...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", errors.New(strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

func template(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	return run(t, "HELM", append([]string{"template", "refinery-operator", chartPath, "--namespace", "refinery-system"}, arguments...)...)
}

// objects reads a stream of manifests into a map by kind and name.
func objects(t *testing.T, manifests string) map[string]map[string]any {
	t.Helper()
	byName := map[string]map[string]any{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		o := unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return byName
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			byName[o.GetKind()+" "+o.GetName()] = o.Object
		}
	}
}

// dropReleaseLabels removes what distinguishes a Helm release from plain manifests: everything else has to be equal.
func dropReleaseLabels(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, label := range []string{
			"helm.sh/chart", "helm.sh/resource-policy", "app.kubernetes.io/managed-by",
			"app.kubernetes.io/instance", "app.kubernetes.io/version",
		} {
			delete(v, label)
		}
		for _, inner := range v {
			dropReleaseLabels(inner)
		}
	case []any:
		for _, inner := range v {
			dropReleaseLabels(inner)
		}
	}
}

func TestChartMakesTheSameObjectsAsConfigDefault(t *testing.T) {
	rendered, err := template(t)
	if err != nil {
		t.Fatal(err)
	}
	kustomized, err := run(t, "KUBECTL", "kustomize", configPath)
	if err != nil {
		t.Fatal(err)
	}
	want, got := objects(t, kustomized), objects(t, rendered)
	delete(want, "Namespace refinery-system") // helm install makes it: --create-namespace
	for _, all := range []map[string]map[string]any{want, got} {
		for _, o := range all {
			dropReleaseLabels(o)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-config/default +chart):\n%s", diff)
	}
}

func TestChartValuesReachTheObjects(t *testing.T) {
	for _, row := range []struct {
		name      string
		values    []string
		contains  string
		leavesOut string
	}{
		{"image tag", []string{"image.tag=1.2.3", "image.repository=example.com/r"}, "--master-image=example.com/r/master:1.2.3", ":0.1.0\n"},
		{"namespaces", []string{"watchNamespaces={a,b}"}, "--watch-namespaces=a,b", ""},
		{"rights in the namespaces only", []string{"watchNamespaces={a,b}"}, "kind: RoleBinding\nmetadata:\n  name: refinery-operator\n  namespace: a\n", "kind: ClusterRoleBinding\nmetadata:\n  name: refinery-operator\n"},
		{"issuers", []string{"allowedIssuers={Issuer/*,ClusterIssuer/plant}"}, "--allowed-issuers=Issuer/*,ClusterIssuer/plant\n", ""},
		{"cluster domain", []string{"clusterDomain=plant.test"}, "--cluster-domain=plant.test\n", "cluster.local"},
		{"annotations of Secrets", []string{"secretAnnotations={example.com/team}"}, "--secret-annotations=example.com/team\n", ""},
		{"no CRDs", []string{"crds.enabled=false"}, "kind: Deployment", "kind: CustomResourceDefinition"},
		{"CRDs are kept", nil, "helm.sh/resource-policy: keep", ""},
		{"CRDs go with the release", []string{"crds.keep=false"}, "kind: CustomResourceDefinition", "resource-policy"},
		{"no admission policy", []string{"admissionPolicy.enabled=false"}, "kind: Deployment", "ValidatingAdmissionPolicy"},
		{"deletion refused", nil, "name: refinery-operator-master-deletion", ""},
		{"deletion not refused", []string{"admissionPolicy.refuseDeletion=false"}, "refinery-operator-master-status", "master-deletion"},
		{"pull secrets", []string{"imagePullSecrets[0].name=pull"}, "imagePullSecrets:\n        - name: pull", ""},
		{"pull secrets of masters and agents", []string{"imagePullSecrets[0].name=pull", "global.imagePullSecrets={all,pull}"}, "--image-pull-secrets=pull,all\n", ""},
		{"pull secrets of all charts", []string{"global.imagePullSecrets[0].name=all"}, "imagePullSecrets:\n        - name: all", ""},
		{"no pull secrets", nil, "--image-pull-policy", "pull-secrets"},
		{"registry", []string{"image.registry=example.com:5000"}, "image: example.com:5000/refinery-operator/operator:", ""},
		{"registry of all charts", []string{"global.imageRegistry=mirror.example.com", "image.registry=example.com"}, "--refinery-image=mirror.example.com/refinery-operator/refinery:", "=example.com"},
		{"digest of the operator", []string{"image.digests.operator=" + digest}, "image: refinery-operator/operator@" + digest + "\n", "/operator:"},
		{"digest of the masters", []string{"image.digests.master=" + digest}, "--master-image=refinery-operator/master@" + digest + "\n", "/master:"},
		{"digest of the agents", []string{"image.digests.refinery=" + digest}, "--refinery-image=refinery-operator/refinery@" + digest + "\n", "/refinery:"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var arguments []string
			for _, value := range row.values {
				arguments = append(arguments, "--set", value)
			}
			rendered, err := template(t, arguments...)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(rendered, row.contains) {
				t.Errorf("%q is not in the output", row.contains)
			}
			if row.leavesOut != "" && strings.Contains(rendered, row.leavesOut) {
				t.Errorf("%q is in the output", row.leavesOut)
			}
		})
	}
}

func TestTwoReleasesInOneNamespaceShareNothing(t *testing.T) {
	byRelease := map[string]map[string]map[string]any{}
	for _, release := range []string{"east", "west"} {
		rendered, err := run(t, "HELM", "template", release, chartPath, "--namespace", "refinery-system", "--set", "crds.enabled=false,watchNamespaces={"+release+"}")
		if err != nil {
			t.Fatal(err)
		}
		if lease := "resourceNames: [" + release + "-refinery-operator.operator.cluster.refinery.dev]"; !strings.Contains(rendered, lease) {
			t.Errorf("%q is not in the output", lease)
		}
		byRelease[release] = objects(t, rendered)
	}
	for name := range byRelease["east"] {
		if _, both := byRelease["west"][name]; both {
			t.Errorf("both have a %s", name)
		}
	}
}

func TestChartRefusesWrongValues(t *testing.T) {
	for _, value := range []string{
		"image.pullPolicy=Sometimes", "replicas=-1", "replicas=many", "watchNamespaces=plant", "crd.enabled=true", "allowedIssuers={plant}", "clusterDomain=", "image.repository=example.com/", "image.registry=example.com/", "image.digests.master=1.2.3", "global.imageRegistry=/",
	} {
		t.Run(value, func(t *testing.T) {
			_, err := template(t, "--set", value)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), strings.Split(value, ".")[0]) && !strings.Contains(err.Error(), strings.Split(value, "=")[0]) {
				t.Errorf("the message does not name the value: %v", err)
			}
		})
	}
}

func TestChartPassesItsOwnLint(t *testing.T) {
	if out, err := run(t, "HELM", "lint", "--strict", filepath.Clean(chartPath)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
