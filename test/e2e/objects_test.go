package e2e

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// acceptedVersions is what masters of this suite accept, unless a spec is about versions.
	acceptedVersions = ">=0.1.0 <1.0.0"
	// acceptedVersion is what raw clients announce.
	acceptedVersion = "0.1.0"
	// foreignVersion is outside of acceptedVersions.
	foreignVersion = "9.9.9"
)

// newMaster makes a ClusterMaster with one pod, so that a spec starts no more than it needs.
func newMaster(ctx context.Context, namespace string, change ...func(*v1alpha1.ClusterMaster)) *v1alpha1.ClusterMaster {
	GinkgoHelper()
	m := &v1alpha1.ClusterMaster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alpha"},
		Spec: v1alpha1.ClusterMasterSpec{
			Replicas: ptr.To[int32](1),
			Protocol: v1alpha1.ProtocolSpec{AcceptedVersions: acceptedVersions},
		},
	}
	for _, c := range change {
		c(m)
	}
	Expect(k8s.Create(ctx, m)).To(Succeed())
	return m
}

// newReadyMaster is newMaster, once its pod is active.
func newReadyMaster(ctx context.Context, namespace string, change ...func(*v1alpha1.ClusterMaster)) *v1alpha1.ClusterMaster {
	GinkgoHelper()
	m := newMaster(ctx, namespace, change...)
	waitForActive(ctx, m)
	return m
}

// newRefinery makes a Refinery of one node at the master.
func newRefinery(ctx context.Context, master *v1alpha1.ClusterMaster, name string, change ...func(*v1alpha1.Refinery)) *v1alpha1.Refinery {
	GinkgoHelper()
	r := &v1alpha1.Refinery{
		ObjectMeta: metav1.ObjectMeta{Namespace: master.Namespace, Name: name},
		Spec: v1alpha1.RefinerySpec{
			MasterRef: v1alpha1.LocalReference{Name: master.Name},
			Replicas:  ptr.To[int32](1),
		},
	}
	for _, c := range change {
		c(r)
	}
	Expect(k8s.Create(ctx, r)).To(Succeed())
	return r
}

func replicas(n int32) func(*v1alpha1.Refinery) {
	return func(r *v1alpha1.Refinery) { r.Spec.Replicas = ptr.To(n) }
}

func external(r *v1alpha1.Refinery) { r.Spec.Placement = v1alpha1.PlacementExternal }

func provided(secret string) func(*v1alpha1.Refinery) {
	return func(r *v1alpha1.Refinery) { r.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: secret} }
}

func masterReplicas(n int32) func(*v1alpha1.ClusterMaster) {
	return func(m *v1alpha1.ClusterMaster) { m.Spec.Replicas = ptr.To(n) }
}

func aliveSeconds(interval, timeout int32) func(*v1alpha1.ClusterMaster) {
	return func(m *v1alpha1.ClusterMaster) {
		m.Spec.Protocol.AliveIntervalSeconds, m.Spec.Protocol.AliveTimeoutSeconds = interval, timeout
	}
}

func upstreams(list ...v1alpha1.Upstream) func(*v1alpha1.ClusterMaster) {
	return func(m *v1alpha1.ClusterMaster) { m.Spec.Upstreams = list }
}

func upstream(name string) v1alpha1.Upstream {
	return v1alpha1.Upstream{Name: name, Address: name + ".example.com:34307"}
}

// barePlaintext is the author's protocol and nothing more.
func barePlaintext(m *v1alpha1.ClusterMaster) {
	m.Spec.Security = v1alpha1.SecuritySpec{
		Transport:      v1alpha1.TransportPlaintext,
		Authentication: v1alpha1.AuthenticationSharedCertificate,
	}
}

// change sends the difference that edit makes as a merge patch.
func change[T client.Object](ctx context.Context, obj T, edit func(T)) {
	GinkgoHelper()
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	before := obj.DeepCopyObject().(client.Object)
	edit(obj)
	Expect(k8s.Patch(ctx, obj, client.MergeFrom(before))).To(Succeed())
}

// waitForActive waits until a pod of the master is active and its certificate is there, and until its Service
// leads to it: kube-proxy follows a moment later.
func waitForActive(ctx context.Context, m *v1alpha1.ClusterMaster) {
	GinkgoHelper()
	Eventually(ctx, conditionOf(m, v1alpha1.ConditionReady)).WithTimeout(startTimeout).
		Should(HaveField("Status", metav1.ConditionTrue))
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(m), m)).To(Succeed())
	Expect(m.Status.Active).NotTo(BeNil())
	address := endpoint(ctx, m)
	Eventually(ctx, func(ctx context.Context) error { return tryConnect(ctx, address) }).Should(Succeed())
}

// secret reads a Secret, waiting for it to appear.
func secret(ctx context.Context, namespace, name string) *corev1.Secret {
	GinkgoHelper()
	s := &corev1.Secret{}
	Eventually(ctx, func(ctx context.Context) error {
		return k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s)
	}).Should(Succeed(), "Secret %s", name)
	return s
}

// endpoint is the address of the master's Service, as host:port, for clients outside of pods.
func endpoint(ctx context.Context, m *v1alpha1.ClusterMaster) string {
	GinkgoHelper()
	var service corev1.Service
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(m), &service)).To(Succeed())
	return fmt.Sprintf("%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port)
}

// serverName is what the master's certificate is checked against.
func serverName(m *v1alpha1.ClusterMaster) string { return m.Name + "." + m.Namespace + ".svc" }

func objectMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
