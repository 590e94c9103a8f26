package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// chartRelease is the name under which the chart is installed.
const chartRelease = "refinery-operator"

// release is an installation by Helm that was there before the suite, such as that of `make demo`. The suite
// takes its place, and puts it back at the end.
type release struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// values is a file with those that were given.
	values string
}

// setAside uninstalls the operator's release, if there is one. Its CRDs, and with them what people made, stay.
func setAside(ctx context.Context) *release {
	GinkgoHelper()
	var found []release
	Expect(json.Unmarshal([]byte(helm(ctx, "list", "--all-namespaces", "--output=json", "--filter=^"+chartRelease+"$")), &found)).To(Succeed())
	if len(found) == 0 {
		return nil
	}
	r := found[0]
	r.values = filepath.Join(suiteFolder, "values.yaml")
	Expect(os.WriteFile(r.values, []byte(helm(ctx, "get", "values", r.Name, "--namespace="+r.Namespace, "--output=yaml")), 0o600)).To(Succeed())
	helm(ctx, "uninstall", r.Name, "--namespace="+r.Namespace, "--wait", "--timeout=1m")
	handOver(ctx)
	return &r
}

// putBack installs what setAside took away.
func (r *release) putBack(ctx context.Context) {
	GinkgoHelper()
	if r == nil {
		return
	}
	installChart(ctx, r.Namespace, "--values="+r.values, "--take-ownership")
}

func installChart(ctx context.Context, namespace string, args ...string) {
	GinkgoHelper()
	installFrom(ctx, path("charts", "refinery-operator"), namespace, args...)
}

// installFrom installs a chart in a folder.
func installFrom(ctx context.Context, chart, namespace string, args ...string) {
	GinkgoHelper()
	helm(ctx, append([]string{"install", chartRelease, chart,
		"--namespace=" + namespace, "--create-namespace", "--wait", "--timeout=2m"}, args...)...)
}

func uninstallChart(ctx context.Context, namespace string) {
	GinkgoHelper()
	helm(ctx, "uninstall", chartRelease, "--namespace="+namespace, "--wait", "--timeout=1m")
	handOver(ctx)
}

// handOver deletes what a release that was uninstalled still holds, so that the next one does not wait until it is taken for gone.
func handOver(ctx context.Context) {
	GinkgoHelper()
	kubectl(ctx, "delete", "leases", "--all-namespaces", "--field-selector=metadata.name=release.cluster.refinery.dev")
	kubectl(ctx, "delete", "lease", "cluster.refinery.dev", "--namespace=kube-system", "--ignore-not-found")
}

// managerManifest is what config/default installs: CRDs, roles and the operator.
func managerManifest(ctx context.Context) string {
	GinkgoHelper()
	return kubectl(ctx, "kustomize", path("config", "default"))
}

// applyManager installs the operator as a person does without Helm, and waits for it.
func applyManager(ctx context.Context) {
	GinkgoHelper()
	manifest := managerManifest(ctx)
	kubectlApply(ctx, manifest)
	waitForRollout(ctx, managerOf(manifest))
}

// removeManager takes away what applyManager or the chart installed: the CRDs too, unless that would take
// resources with them which are not the suite's. It reports whether the CRDs are gone.
func removeManager(ctx context.Context) bool {
	GinkgoHelper()
	folders := []string{"manager", "rbac", "admission"}
	all := !othersHaveResources(ctx)
	if all {
		folders = append(folders, "crd")
	}
	manager := managerOf(managerManifest(ctx))
	for _, folder := range folders {
		kubectl(ctx, "delete", "-k", path("config", folder), "--ignore-not-found", "--wait=true", "--timeout=120s")
	}
	Eventually(ctx, func(ctx context.Context) bool {
		return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: manager.Namespace}, &corev1.Namespace{}))
	}).WithTimeout(removalTimeout).WithPolling(time.Second).Should(BeTrue())
	handOver(ctx)
	return all
}

// othersHaveResources reports whether there are ClusterMasters that are not of this suite.
func othersHaveResources(ctx context.Context) bool {
	GinkgoHelper()
	var masters v1alpha1.ClusterMasterList
	Expect(k8s.List(ctx, &masters)).To(Succeed())
	for _, m := range masters.Items {
		var ns corev1.Namespace
		Expect(k8s.Get(ctx, client.ObjectKey{Name: m.Namespace}, &ns)).To(Succeed())
		if ns.Labels[suiteLabel] == "" {
			return true
		}
	}
	return false
}

// managerOf is the name of the operator's Deployment in a manifest.
func managerOf(manifest string) types.NamespacedName {
	GinkgoHelper()
	documents := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		var d appsv1.Deployment
		err := documents.Decode(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		// Other kinds decode into a Deployment as far as they go; only the kind is read of them.
		if err == nil && d.Kind == "Deployment" {
			return client.ObjectKeyFromObject(&d)
		}
	}
	Fail("the manifest holds no Deployment")
	return types.NamespacedName{}
}

func waitForRollout(ctx context.Context, deployment types.NamespacedName) {
	GinkgoHelper()
	kubectl(ctx, "rollout", "status", "deployment/"+deployment.Name, "--namespace="+deployment.Namespace,
		fmt.Sprintf("--timeout=%ds", int(installTimeout/time.Second)))
}
