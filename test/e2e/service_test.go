package e2e

import (
	"context"
	"fmt"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// connects is how often a spec connects: half of so many do not all find the active one of two masters by chance.
const connects = 400

var _ = Describe("The Service of a ClusterMaster", func() {
	It("leads every connect to the active master, also after a failover", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, masterReplicas(2))
		waitForMasterPods(ctx, master, 2)
		Expect(refusedConnects(ctx, endpoint(ctx, master))).To(BeEmpty())

		Expect(k8s.Delete(ctx, &corev1.Pod{ObjectMeta: objectMeta(ns, master.Status.Active.Pod)})).To(Succeed())
		deposed := master.Status.Active.Epoch
		Eventually(ctx, func(ctx context.Context) (*v1alpha1.ActiveMaster, error) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(master), master)
			return master.Status.Active, err
		}).WithTimeout(startTimeout).Should(HaveField("Epoch", BeNumerically(">", deposed)))
		waitForActive(ctx, master)
		waitForMasterPods(ctx, master, 2)
		Expect(refusedConnects(ctx, endpoint(ctx, master))).To(BeEmpty())
	}, SpecTimeout(specTimeout))

	It("leads to it with externalTrafficPolicy Local", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, masterReplicas(2), func(m *v1alpha1.ClusterMaster) { m.Spec.Service.Type = corev1.ServiceTypeNodePort })
		waitForMasterPods(ctx, master, 2)
		service := &corev1.Service{ObjectMeta: objectMeta(ns, master.Name)}
		change(ctx, service, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
		var pod corev1.Pod
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: ns, Name: master.Status.Active.Pod}, &pod)).To(Succeed())
		address := fmt.Sprintf("%s:%d", pod.Status.HostIP, service.Spec.Ports[0].NodePort)
		Eventually(ctx, func(ctx context.Context) error { return tryConnect(ctx, address) }).Should(Succeed())
		Expect(refusedConnects(ctx, address)).To(BeEmpty())
	}, SpecTimeout(specTimeout))

	It("leads to it alone after a release in which the Service selected all master pods", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newMaster(ctx, ns, masterReplicas(2), func(m *v1alpha1.ClusterMaster) { m.Spec.Paused = true })
		former := resource.MasterService(master)
		former.Spec.WithSelector(resource.MasterSelector(master))
		Expect(k8s.Apply(ctx, former, client.FieldOwner(v1alpha1.OperatorFieldOwner))).To(Succeed())
		Eventually(ctx, slicesOf(master)).Should(HaveLen(1), "that of the selector")
		change(ctx, master, func(m *v1alpha1.ClusterMaster) { m.Spec.Paused = false })
		waitForActive(ctx, master)
		waitForMasterPods(ctx, master, 2)
		Eventually(ctx, slicesOf(master)).Should(Equal([]string{master.EndpointSliceName()}))
		Eventually(ctx, func(ctx context.Context) bool {
			endpoints := &unstructured.Unstructured{}
			endpoints.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Endpoints"))
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(master), endpoints))
		}).Should(BeTrue(), "Endpoints are gone")
		Eventually(ctx, func() []error { return refusedConnects(ctx, endpoint(ctx, master)) }).Should(BeEmpty())
		Consistently(ctx, slicesOf(master)).WithTimeout(5 * time.Second).Should(Equal([]string{master.EndpointSliceName()}))
	}, SpecTimeout(specTimeout))
})

// waitForMasterPods waits until so many pods of a master are ready, and no other is left.
func waitForMasterPods(ctx context.Context, m *v1alpha1.ClusterMaster, pods int) {
	GinkgoHelper()
	Eventually(ctx, func(ctx context.Context) (appsv1.DeploymentStatus, error) {
		var d appsv1.Deployment
		err := k8s.Get(ctx, client.ObjectKeyFromObject(m), &d)
		return d.Status, err
	}).WithTimeout(startTimeout).Should(And(
		HaveField("ReadyReplicas", BeEquivalentTo(pods)), HaveField("Replicas", BeEquivalentTo(pods))))
}

func tryConnect(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// refusedConnects connects one time after the other, and returns the errors.
func refusedConnects(ctx context.Context, address string) (refused []error) {
	for range connects {
		if err := tryConnect(ctx, address); err != nil {
			refused = append(refused, err)
		}
	}
	return refused
}

// slicesOf are the names of the EndpointSlices of a master's Service.
func slicesOf(m *v1alpha1.ClusterMaster) func(context.Context) ([]string, error) {
	return func(ctx context.Context) (names []string, err error) {
		var list discoveryv1.EndpointSliceList
		err = k8s.List(ctx, &list, client.InNamespace(m.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: m.Name})
		for _, slice := range list.Items {
			names = append(names, slice.Name)
		}
		return names, err
	}
}
