package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/floor"
)

var _ = Describe("Access", func() {
	It("that is suspended soon closes the session and denies new ones, and is given back", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		press := newRefinery(ctx, master, "press", external)
		pods := newRefinery(ctx, master, "pods")
		own := credentialsIn(secret(ctx, ns, press.CertificateSecretName()))
		Eventually(ctx, columnsOf(press)).Should(HaveField("Auth", v1alpha1.ReasonConnecting))

		session, err := dialTLS(ctx, master, own.pair())
		Expect(err).NotTo(HaveOccurred())
		session.open("press", own.certificate)
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(1)))
		Eventually(ctx, columnsOf(pods)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		before, soon := refineryPods(ctx, pods), soonAfterAWrite(ctx, ns)

		By("suspending it")
		begin := time.Now()
		change(ctx, press, func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended })
		Expect(session.closed()).To(Succeed())
		closed := time.Since(begin)
		denied, err := dialTLS(ctx, master, own.pair())
		Expect(err).NotTo(HaveOccurred())
		Expect(denied.attempt("press", own.certificate)).To(Equal([]string{"conn:startAuth", "auth:dec"}))
		total := time.Since(begin)
		AddReportEntry("suspended", fmt.Sprintf("session closed after %s, new one denied after %s; promised are 2 s, and %s here",
			closed.Round(time.Millisecond), total.Round(time.Millisecond), soon.Round(time.Millisecond)))
		Expect(closed).To(BeNumerically("<", soon))
		Expect(total).To(BeNumerically("<", soon))
		Eventually(ctx, columnsOf(press)).Should(Equal(columns{Auth: v1alpha1.ReasonSuspended, Nodes: "0/1"}))

		change(ctx, pods, func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended })
		Eventually(ctx, columnsOf(pods)).Should(Equal(columns{Auth: v1alpha1.ReasonSuspended, Nodes: "0/1"}))
		Eventually(ctx, func() int { return readyPods(ctx, pods) }).Should(BeZero())

		By("allowing it again")
		change(ctx, press, func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessAllowed })
		Eventually(ctx, func(ctx context.Context) ([]string, error) {
			again, err := dialTLS(ctx, master, own.pair())
			if err != nil {
				return nil, err
			}
			codes := again.attempt("press", own.certificate)
			return codes, again.send("auth:ack;;" + endMark)
		}).Should(Equal([]string{"conn:startAuth", "auth:ack"}))
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(1)))

		change(ctx, pods, func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessAllowed })
		Eventually(ctx, columnsOf(pods)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		Expect(refineryPods(ctx, pods)).To(Equal(before), "no pod restarted or replaced")
	}, SpecTimeout(specTimeout))

	It("ends with the Refinery: its session is closed, its objects are gone, and nothing is left", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		press := newRefinery(ctx, master, "press", external)
		pods := newRefinery(ctx, master, "pods", func(r *v1alpha1.Refinery) {
			r.Spec.Ports = []v1alpha1.Port{{Name: "http", ContainerPort: 8080}}
		})
		own := credentialsIn(secret(ctx, ns, press.CertificateSecretName()))
		Eventually(ctx, columnsOf(press)).Should(HaveField("Auth", v1alpha1.ReasonConnecting))
		session, err := dialTLS(ctx, master, own.pair())
		Expect(err).NotTo(HaveOccurred())
		session.open("press", own.certificate)
		Eventually(ctx, columnsOf(pods)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		Expect(objectsOf(ns, pods.Name)(ctx)).To(ContainElements(
			"Deployment/pods", "Service/pods", "Secret/pods-tls", "ServiceAccount/pods-refinery"))

		By("deleting both")
		soon := soonAfterAWrite(ctx, ns)
		begin := time.Now()
		Expect(k8s.Delete(ctx, press)).To(Succeed())
		Expect(session.closed()).To(Succeed())
		Expect(time.Since(begin)).To(BeNumerically("<", soon))
		kubectl(ctx, "delete", "refinery", pods.Name, "--namespace="+ns, "--wait=true", "--timeout=60s")

		for _, r := range []*v1alpha1.Refinery{press, pods} {
			Eventually(ctx, objectsOf(ns, r.Name)).WithTimeout(removalTimeout).Should(BeEmpty())
		}
		Eventually(ctx, func(ctx context.Context) (*v1alpha1.RefineryTotals, error) {
			var m v1alpha1.ClusterMaster
			err := k8s.Get(ctx, client.ObjectKeyFromObject(master), &m)
			return m.Status.Refineries, err
		}).Should(HaveField("Total", BeZero()), "the master forgot them")

		By("denying whoever still has the certificate")
		late, err := dialTLS(ctx, master, own.pair())
		Expect(err).NotTo(HaveOccurred())
		Expect(late.attempt("press", own.certificate)).To(Equal([]string{"conn:startAuth", "auth:dec"}))
	}, SpecTimeout(specTimeout))
})

// soonAfterAWrite is the time by which a session has to end that a write to the API ends: a multiple of what a write, a
// watch and a closed socket take at the same time.
func soonAfterAWrite(ctx context.Context, namespace string) time.Duration {
	GinkgoHelper()
	slowest, err := floor.Slowest(ctx, k8s, namespace, 10)
	Expect(err).NotTo(HaveOccurred())
	return floor.MaxTimes * slowest
}

// objectsOf lists what the operator and Kubernetes made for one ClusterMaster or Refinery, as Kind/name, for
// Eventually.
func objectsOf(namespace, instance string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var found []string
		for kind, list := range map[string]client.ObjectList{
			"Deployment":     &appsv1.DeploymentList{},
			"ReplicaSet":     &appsv1.ReplicaSetList{},
			"Pod":            &corev1.PodList{},
			"Service":        &corev1.ServiceList{},
			"Secret":         &corev1.SecretList{},
			"ServiceAccount": &corev1.ServiceAccountList{},
		} {
			if err := k8s.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/instance": instance}); err != nil {
				return nil, err
			}
			if err := meta.EachListItem(list, func(item runtime.Object) error {
				found = append(found, kind+"/"+item.(client.Object).GetName())
				return nil
			}); err != nil {
				return nil, err
			}
		}
		return found, nil
	}
}
