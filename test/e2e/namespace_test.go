package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// suiteLabel marks the namespaces of this suite.
const suiteLabel = "e2e.cluster.refinery.dev/suite"

// newNamespace makes a namespace that enforces Pod Security "restricted", for one spec. It is shown when the
// spec fails, and removed afterwards in the background.
func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-",
		Labels: map[string]string{
			suiteLabel:                           "true",
			"pod-security.kubernetes.io/enforce": "restricted",
		},
	}}
	Expect(k8s.Create(ctx, ns)).To(Succeed())
	removeAfterwards(ns.Name)
	return ns.Name
}

// removeAfterwards shows the namespace if the spec fails, and deletes it when the spec is over.
func removeAfterwards(namespace string) {
	DeferOnFailure(func(ctx context.Context) { diagnose(ctx, namespace) })
	DeferCleanup(func(ctx context.Context) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, ns))).To(Succeed())
	})
}

// expectRemoval deletes a namespace with all that is in it, and waits until it is gone. How long that took is in the report.
func expectRemoval(ctx context.Context, namespace string) {
	GinkgoHelper()
	begin := time.Now()
	Expect(k8s.Delete(ctx, &corev1.Namespace{ObjectMeta: objectMeta("", namespace)})).To(Succeed())
	Eventually(ctx, func(ctx context.Context) ([]corev1.NamespaceCondition, error) {
		var ns corev1.Namespace
		err := k8s.Get(ctx, client.ObjectKey{Name: namespace}, &ns)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		// What holds it is in a condition; without one it is still being looked at.
		return append(ns.Status.Conditions, corev1.NamespaceCondition{Type: "Present"}), err
	}).WithTimeout(removalTimeout).Should(BeEmpty())
	AddReportEntry("the namespace was gone after", time.Since(begin).Round(time.Second).String())
}

// waitForRemovals waits until no namespace of the suite is left, the named one apart.
func waitForRemovals(ctx context.Context, except string) {
	GinkgoHelper()
	Eventually(ctx, func(ctx context.Context) ([]string, error) {
		var list corev1.NamespaceList
		if err := k8s.List(ctx, &list, client.HasLabels{suiteLabel}); err != nil {
			return nil, err
		}
		var left []string
		for _, ns := range list.Items {
			if ns.Name != except {
				left = append(left, ns.Name)
			}
		}
		return left, nil
	}).WithTimeout(removalTimeout).Should(BeEmpty(), "namespaces of earlier specs")
}

// diagnose prints what a person would look at first. Every part is bounded, and no Secret is shown.
func diagnose(ctx context.Context, namespace string) {
	const part = 20_000
	manager := managerOf(managerManifest(ctx))
	for _, args := range [][]string{
		{"get", "clustermasters,refineries", "-n", namespace, "-o", "wide"},
		{"get", "clustermasters,refineries", "-n", namespace, "-o", "yaml"},
		{"get", "deployments,replicasets,pods,services,leases", "-n", namespace, "-o", "wide"},
		{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", namespace, "-l", "app.kubernetes.io/component in (master,operator)", "--tail=60", "--prefix", "--ignore-errors"},
		{"logs", "-n", namespace, "-l", "app.kubernetes.io/component=refinery", "--tail=30", "--prefix", "--all-containers", "--ignore-errors", "--max-log-requests=20"},
		{"logs", "-n", manager.Namespace, "deployment/" + manager.Name, "--tail=80"},
	} {
		out, err := tryKubectl(ctx, "", args...)
		if err != nil {
			out += "\n" + err.Error()
		}
		if len(out) > part {
			out = out[:part] + fmt.Sprintf("\n… (%d bytes more)", len(out)-part)
		}
		GinkgoWriter.Printf("\n$ kubectl %v\n%s\n", args, out)
	}
}
