package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// otherHTTPPort and otherHealthPort are an agent's, in place of 8081 and 8082.
	otherHTTPPort, otherHealthPort = 9081, 9082
	// otherPort is that of a master's Service, in place of 34308.
	otherPort = 34400
)

var _ = Describe("Pods as platforms want them", func() {
	It("have tokens, ports and names as asked for, are evicted one at a time, follow a master to another port, and are replaced where two have no room", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		kubectl(ctx, "label", "--overwrite", "namespace", ns, "pod-security.kubernetes.io/enforce=privileged") // any lower level refuses host ports
		Expect(k8s.Create(ctx, &corev1.ServiceAccount{ObjectMeta: objectMeta(ns, "app")})).To(Succeed())
		master := newReadyMaster(ctx, ns, masterReplicas(2))
		press := newRefinery(ctx, master, "press", replicas(2), otherwise(pauseImage(ctx)))
		hosted := newRefinery(ctx, master, "hosted", app(pauseImage(ctx), `"ports": [{"containerPort": 9000, "hostPort": 39000}]`))
		alone := newRefinery(ctx, master, "alone", template(`{"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
			{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "alone"}}}]}}}}`))
		all := map[*v1alpha1.Refinery]int{press: 2, hosted: 1, alone: 1}
		expectAuthenticated := func() {
			GinkgoHelper()
			for r, n := range all {
				Eventually(ctx, columnsOf(r)).WithTimeout(startTimeout).Should(Equal(authenticated(n)), r.Name)
			}
			waitForMasterPods(ctx, master, 2)
		}
		expectAuthenticated()
		expectAsAsked(ctx, press)

		By("changing port and alive times of the master")
		before := map[*v1alpha1.Refinery][]pod{}
		for r := range all {
			before[r] = refineryPods(ctx, r)
		}
		former := endpoint(ctx, master)
		change(ctx, master, func(m *v1alpha1.ClusterMaster) { m.Spec.Service.Port = otherPort })
		change(ctx, master, aliveSeconds(2, 6))
		Eventually(ctx, func() string { return endpoint(ctx, master) }).Should(HaveSuffix(fmt.Sprintf(":%d", otherPort)))
		Eventually(ctx, func(ctx context.Context) error { return tryConnect(ctx, former) }).Should(HaveOccurred())

		By("evicting both masters, so that all nodes have to connect again")
		expectEvictedInTurn(ctx, podsOf(ctx, ns, master.Name, "master"))
		waitForActive(ctx, master)
		for r := range all {
			expectConnectedAgain(ctx, r)
		}
		expectAuthenticated()
		for r := range all {
			Expect(refineryPods(ctx, r)).To(Equal(before[r]), "no pod was restarted or replaced")
		}

		By("evicting nodes")
		expectEvictedInTurn(ctx, podsOf(ctx, ns, press.Name, "refinery"))
		expectEvictedInTurn(ctx, podsOf(ctx, ns, hosted.Name, "refinery"))
		expectAuthenticated()

		By("replacing pods that cannot be beside each other")
		for _, r := range []*v1alpha1.Refinery{hosted, alone} {
			old := refineryPods(ctx, r)
			change(ctx, r, func(r *v1alpha1.Refinery) { r.Spec.Agent.LogLevel = "debug" })
			Eventually(ctx, func() []pod { return refineryPods(ctx, r) }).WithTimeout(startTimeout).Should(And(HaveLen(1), Not(ContainElement(old[0]))), r.Name)
		}
		expectAuthenticated()
	}, SpecTimeout(specTimeout))
})

// otherwise is much that a Refinery with a StatefulSet can have otherwise.
func otherwise(image string) func(*v1alpha1.Refinery) {
	return func(r *v1alpha1.Refinery) {
		template(fmt.Sprintf(`{"spec": {"serviceAccountName": "app", "securityContext": {"runAsUser": 65532}, "containers": [{"name": "app", "image": %q}]}}`, image))(r)
		r.Spec.StatefulSet = &v1alpha1.RefineryStatefulSet{}
		r.Spec.Agent.HTTPPort, r.Spec.Agent.HealthPort = ptr.To[int32](otherHTTPPort), ptr.To[int32](otherHealthPort)
		r.Spec.Ports, r.Spec.Service.Headless = []v1alpha1.Port{{Name: "http", ContainerPort: 8081}}, true
	}
}

// expectAsAsked shows that the pods of a Refinery are so.
func expectAsAsked(ctx context.Context, r *v1alpha1.Refinery) {
	GinkgoHelper()
	pods := podsOf(ctx, r.Namespace, r.Name, "refinery")
	Expect(pods).To(HaveLen(2))
	names := resolver(ctx)
	for i := range pods {
		var withToken []string
		for _, c := range append(pods[i].Spec.InitContainers, pods[i].Spec.Containers...) {
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, "kube-api-access-") }) {
				withToken = append(withToken, c.Name)
			}
		}
		Expect(withToken).To(ConsistOf("app"))
		address := pods[i].Status.PodIP
		Expect(reaches(address, "127.0.0.1", otherHTTPPort)(ctx)).To(BeTrue())
		Expect(reaches(address, "127.0.0.1", 8081)(ctx)).To(BeFalse(), "it is free for the workload")
		response, err := http.Get(fmt.Sprintf("http://%s:%d/readyz", address, otherHealthPort))
		Expect(err).NotTo(HaveOccurred())
		Expect(response.Body.Close()).To(Succeed())
		Expect(response.StatusCode).To(Equal(http.StatusOK))
		Eventually(ctx, func(ctx context.Context) ([]string, error) {
			return names.LookupHost(ctx, fmt.Sprintf("%s.%s.%s.svc.cluster.local.", pods[i].Name, r.Name, r.Namespace))
		}).Should(ConsistOf(address))
	}
	Eventually(ctx, func(ctx context.Context) ([]string, error) {
		return names.LookupHost(ctx, fmt.Sprintf("%s.%s.svc.cluster.local.", r.Name, r.Namespace))
	}).Should(ConsistOf(addressesOf(pods)))
}

// expectConnectedAgain waits until each node of a Refinery that has run all the while has lost its session, and has another one.
func expectConnectedAgain(ctx context.Context, r *v1alpha1.Refinery) {
	GinkgoHelper()
	for _, p := range podsOf(ctx, r.Namespace, r.Name, "refinery") {
		read := func(metric string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				return metricOf(ctx, p.Status.PodIP, int(ptr.Deref(r.Spec.Agent.HealthPort, 8082)), metric)
			}
		}
		Eventually(ctx, read("refinery_agent_reconnects_total")).ShouldNot(Equal("0"), p.Name)
		Eventually(ctx, read("refinery_agent_authenticated")).WithTimeout(propagationTimeout).Should(Equal("1"), p.Name)
	}
}

// resolver asks the cluster's DNS.
func resolver(ctx context.Context) *net.Resolver {
	GinkgoHelper()
	dns := &corev1.Service{ObjectMeta: objectMeta("kube-system", "kube-dns")}
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(dns), dns)).To(Succeed())
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(dns.Spec.ClusterIP, "53"))
	}}
}

// expectEvictedInTurn evicts pods as `kubectl drain` does: at once all but the first are refused, and each is let go
// when those before it have been replaced.
func expectEvictedInTurn(ctx context.Context, pods []corev1.Pod) {
	GinkgoHelper()
	evict := func(p *corev1.Pod) error { return k8s.SubResource("eviction").Create(ctx, p, &policyv1.Eviction{}) }
	for i := range pods {
		Eventually(ctx, func() error { return evict(&pods[i]) }).WithTimeout(startTimeout).Should(Succeed(), pods[i].Name)
		for j := i + 1; j < len(pods); j++ {
			Expect(evict(&pods[j])).To(Satisfy(apierrors.IsTooManyRequests), pods[j].Name)
		}
	}
}
