// Package chart holds the tests of the Helm chart: with default values it makes the same objects as
// config/default, its values reach the objects, wrong values are refused by its schema, and a real API server takes what it
// installs, upgrades and leaves behind.
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
	return run(t, "HELM", append([]string{"template", "refinery-operator", chartPath, "--namespace", "refinery-system", "--skip-tests"}, arguments...)...)
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

// nameTheRelease writes what a chart knows and a manifest has the cluster fill in, since kustomize may rename it.
func nameTheRelease(t *testing.T, deployment map[string]any) {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(deployment, "spec", "template", "spec", "containers")
	if err != nil {
		t.Fatal(err)
	}
	operator := containers[0].(map[string]any)
	delete(operator, "env")
	for i, argument := range operator["args"].([]any) {
		operator["args"].([]any)[i] = strings.Replace(argument.(string), "$(NAMESPACE)/$(NAME)", "refinery-system/refinery-operator", 1)
	}
	if err := unstructured.SetNestedSlice(deployment, containers, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
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
	nameTheRelease(t, want["Deployment refinery-operator"])
	for _, all := range []map[string]map[string]any{want, got} {
		for _, o := range all {
			dropReleaseLabels(o)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-config/default +chart):\n%s", diff)
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
		"log.level=loud", "log.format=xml", "extraArgs={start}", "extraEnv[0].value=a", "podLabels.team=a b", "commonLabels.team=a b", "strategy.type=Slow", "strategy.rollingUpdate.maxSurge=x",
		"podDisruptionBudget.maxUnavailable=0", "podDisruptionBudget.minAvailable=1", "topologySpreadConstraints[0].maxSkew=1", "rbac.created=true", "serviceAccount.named=a", "serviceAccount.name=A",
		"nameOverride=A", "fullnameOverride=a.b", "extraObjects[0].kind=ConfigMap", "resources.limit.memory=1Gi", "tolerations[0].keys=a", "affinity.node=a", "networkPolicy.apiServerPort=70000", "networkPolicy.metrics={all}",
		"monitoring.serviceMonitors.enabled=true", "monitoring.podMonitor.interval=often", "monitoring.prometheusRule.certificateDays=30", "monitoring.prometheusRule.runbookURL=docs", "monitoring.serviceMonitor.enabled=true,metrics.enabled=false",
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			_, err := template(t, "--set", value)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), strings.FieldsFunc(value, func(r rune) bool { return r == '.' || r == '[' })[0]) && !strings.Contains(err.Error(), strings.Split(value, "=")[0]) {
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
