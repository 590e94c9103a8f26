package controllers_test

import (
	"errors"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// gone polls until an object of a name does not exist, or is being deleted.
func gone(f fixture, object client.Object, name string) func() bool {
	return func() bool {
		err := f.get(object, name)
		return apierrors.IsNotFound(err) || (err == nil && object.GetDeletionTimestamp() != nil)
	}
}

func exists(f fixture, object client.Object, name string) func() error {
	return func() error { return f.get(object, name) }
}

// wake makes the operator look at an object.
func wake(f fixture, object client.Object) {
	GinkgoHelper()
	change(f, object, func(o client.Object) { o.SetAnnotations(map[string]string{"wake": o.GetResourceVersion()}) })
}

var _ = Describe("A Refinery", func() {
	It("waits for its ClusterMaster and goes on when that exists", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		f.create(r)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/MasterNotFound"))
		Expect(message(f, r, v1alpha1.ConditionReady)()).To(ContainSubstring("ClusterMaster alpha does not exist"))
		Expect(condition(f, r, v1alpha1.ConditionAuthenticated)()).To(Equal("Unknown/MasterUnavailable"))
		Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(BeEmpty())
		f.create(f.master("alpha", `{}`))
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
	})

	It("scales through its scale subresource", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		f.create(f.master("alpha", `{}`), r)
		deployment := &appsv1.Deployment{}
		Eventually(exists(f, deployment, "press")).Should(Succeed())
		scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 5}}
		Expect(api.SubResource("scale").Update(ctx, r, client.WithSubResourceBody(scale))).To(Succeed())
		Eventually(func() int32 { must(f.get(deployment, "press")); return *deployment.Spec.Replicas }).Should(Equal(int32(5)))
		f.deploy(r, 5)
		Eventually(func() autoscalingv1.ScaleStatus {
			must(api.SubResource("scale").Get(ctx, r, scale))
			return scale.Status
		}).Should(Equal(autoscalingv1.ScaleStatus{Replicas: 5,
			Selector: "app.kubernetes.io/component=refinery,app.kubernetes.io/instance=press,app.kubernetes.io/name=refinery"}))
	})

	It("keeps its Secret alone with placement External", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{ports: [{name: http, containerPort: 8080}]}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Eventually(exists(f, &corev1.Service{}, "press")).Should(Succeed())
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Placement, r.Spec.Ports = v1alpha1.PlacementExternal, nil })
		Eventually(gone(f, &appsv1.Deployment{}, "press")).Should(BeTrue())
		Eventually(gone(f, &corev1.Service{}, "press")).Should(BeTrue())
		Eventually(gone(f, &corev1.ServiceAccount{}, "press-refinery")).Should(BeTrue())
		Eventually(condition(f, r, v1alpha1.ConditionAvailable)).Should(Equal("True/External"))
		Expect(f.get(&corev1.Secret{}, "press-tls")).To(Succeed())
	})

	It("leaves a foreign Deployment and Service alone with placement External", func(ctx SpecContext) {
		f := newFixture(ctx)
		deployment, service := labelled(foreignDeployment(f, "press")), labelled(foreignService(f, "press"))
		r := f.refinery("press", `{placement: External}`)
		f.create(deployment, service, f.master("alpha", `{}`), r)
		Eventually(func() int64 { must(f.get(r, "press")); return r.Status.ReconciledGeneration }).Should(Equal(int64(1)))
		Expect(f.get(deployment, "press")).To(Succeed())
		Expect(f.get(service, "press")).To(Succeed())
	})

	It("loses its Service with its ports", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{ports: [{name: http, containerPort: 8080}]}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(exists(f, &corev1.Service{}, "press")).Should(Succeed())
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Ports = nil })
		Eventually(gone(f, &corev1.Service{}, "press")).Should(BeTrue())
	})

	It("is left as it is while paused", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		f.create(f.master("alpha", `{}`), r)
		deployment := &appsv1.Deployment{}
		Eventually(exists(f, deployment, "press")).Should(Succeed())
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused, r.Spec.Replicas = true, ptr.To[int32](4) })
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("Unknown/Paused"))
		Expect(r.Status.ObservedGeneration).To(Equal(r.Generation))
		Expect(r.Status.ReconciledGeneration).To(BeNumerically("<", r.Generation))
		Consistently(func() int32 { must(f.get(deployment, "press")); return *deployment.Spec.Replicas }).Should(Equal(int32(1)))
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused = false })
		Eventually(func() int32 { must(f.get(deployment, "press")); return *deployment.Spec.Replicas }).Should(Equal(int32(4)))
	})

	It("tells the API server's words about a template that it refuses, and writes nothing but its next try", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		r.Spec.Template = &runtime.RawExtension{Raw: []byte(`{"spec":{"containers":[{"name":"app","image":"example.com/app","ports":[{"containerPort":99999}]}]}}`)}
		f.create(f.master("alpha", `{}`), r)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/Rejected"))
		Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(Equal("True/Rejected"))
		Expect(message(f, r, v1alpha1.ConditionReady)()).To(ContainSubstring("spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999"))
		Eventually(f.events(r)).Should(ContainElement(HavePrefix("Warning/Rejected: ")))
		settled()
		before := operatorWrites.total()
		Consistently(func() []string {
			return slices.DeleteFunc(operatorWrites.since(before), func(write string) bool { return write == "apply Deployment press" })
		}).Should(BeEmpty())
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Template = nil })
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(BeEmpty())
	})

	It("writes nothing for a template that is none", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		r.Spec.Template = &runtime.RawExtension{Raw: []byte(`{"spec":{"contaners":[]}}`)}
		f.create(f.master("alpha", `{}`), r)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/InvalidTemplate"))
		Expect(message(f, r, v1alpha1.ConditionReady)()).To(Equal(`spec.template is not a valid PodTemplateSpec: unknown field "contaners"`))
		Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
	})

	It("gets a new certificate at two thirds of the old one's life, which stays listed for the overlap", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		old := r.Status.Certificates[0].Fingerprint
		operatorClock.Step(61 * 24 * time.Hour)
		change(f, r, func(r *v1alpha1.Refinery) { r.Annotations = map[string]string{"wake": "up"} })
		Eventually(func() []v1alpha1.ListedCertificate { must(f.get(r, "press")); return r.Status.Certificates }).Should(HaveExactElements(
			And(HaveField("Fingerprint", Not(Equal(old))), HaveField("Use", v1alpha1.CertificateCurrent)),
			And(HaveField("Fingerprint", old), HaveField("Use", v1alpha1.CertificatePrevious)),
		))
	})

	It("gets certificates of the duration, the time before their end, and the overlap that its ClusterMaster says", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {duration: 10m, renewBefore: 4m, overlap: 2m, caDuration: 1h}}`)
		r := f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		first := r.Status.Certificates[0]
		Expect(first.NotAfter.Time).To(BeTemporally("~", operatorClock.Now().Add(10*time.Minute), 5*time.Second))
		Expect(f.authority("alpha").Certificates[0].NotAfter).To(BeTemporally("~", operatorClock.Now().Add(time.Hour), 5*time.Second))
		listed := func() []v1alpha1.ListedCertificate { must(f.get(r, "press")); return r.Status.Certificates }

		operatorClock.Step(4 * time.Minute)
		wake(f, r)
		Consistently(listed).Should(HaveLen(1))
		operatorClock.Step(2*time.Minute + 5*time.Second)
		wake(f, r)
		Eventually(listed).Should(HaveExactElements(
			HaveField("Use", v1alpha1.CertificateCurrent),
			And(HaveField("Fingerprint", first.Fingerprint), HaveField("Use", v1alpha1.CertificatePrevious)),
		))
		Expect(r.Status.Certificates[1].Until.Time).To(BeTemporally("~", operatorClock.Now().Add(2*time.Minute), 5*time.Second))
	})

	It("revokes the certificate of a Secret that is deleted, and gets a new one", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		must(f.get(r, "press"))
		old := r.Status.Certificates[0].Fingerprint
		Expect(api.Delete(ctx, f.secret("press-tls"))).To(Succeed())
		Eventually(func() []v1alpha1.ListedCertificate { must(f.get(r, "press")); return r.Status.Certificates }).Should(
			HaveExactElements(HaveField("Fingerprint", Not(Equal(old)))))
		Expect(r.Status.Certificates[0].Fingerprint).To(Equal(v1alpha1.Fingerprint(leafOf(pki.PEMPair{Certificate: f.secret("press-tls").Data["tls.crt"]}))))
	})
})

var _ = Describe("A ClusterMaster", func() {
	It("with SharedCertificate makes the shared Secret, says that it is less secure, and takes it away again", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{security: {transport: Plaintext, authentication: SharedCertificate}}`)
		r := f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, m, v1alpha1.ConditionTransportSecure)).Should(Equal("False/Plaintext"))
		Eventually(f.events(m)).Should(ContainElement(HavePrefix("Warning/Plaintext: TransportSecure: ")))
		secret := f.secret("alpha-shared")
		Expect(len(secret.Data[v1alpha1.SharedCertificateKey])).To(BeNumerically(">=", 52))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/NotRequired"))
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Expect(f.get(&corev1.Secret{}, "press-tls")).NotTo(Succeed())

		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Security = v1alpha1.SecuritySpec{Overlap: "0s"} })
		Eventually(gone(f, &corev1.Secret{}, "alpha-shared")).Should(BeTrue())
		Eventually(condition(f, m, v1alpha1.ConditionTransportSecure)).Should(Equal("True/MutualTLS"))
		Eventually(exists(f, &corev1.Secret{}, "press-tls")).Should(Succeed())
	})

	It("refuses accepted versions that are no constraint, in the parser's words", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{protocol: {acceptedVersions: ">=>1"}}`)
		f.create(m)
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("False/InvalidVersions"))
		Expect(condition(f, m, v1alpha1.ConditionStalled)()).To(Equal("True/InvalidVersions"))
		Expect(message(f, m, v1alpha1.ConditionReady)()).To(ContainSubstring(`is not a valid semver constraint: improper constraint`))
	})

	It("gets back what someone took from its objects", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		f.create(m)
		deployment, secret := &appsv1.Deployment{}, &corev1.Secret{}
		Eventually(exists(f, deployment, "alpha")).Should(Succeed())
		change(f, deployment, func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Image = "example.com/tampered"
			d.Labels = nil
		})
		Eventually(func() string {
			must(f.get(deployment, "alpha"))
			return deployment.Spec.Template.Spec.Containers[0].Image
		}).Should(Equal(images.Master))
		Expect(deployment.Labels).NotTo(BeEmpty())
		Eventually(exists(f, secret, "alpha-tls")).Should(Succeed())
		change(f, secret, func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("garbage") })
		Eventually(func() string { must(f.get(secret, "alpha-tls")); return string(secret.Data["tls.crt"]) }).Should(HavePrefix("-----BEGIN"))
	})

	It("whose authority is deleted gets a new one, and with it, step by step, all certificates", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		old := f.secret("alpha-ca")
		Expect(api.Delete(ctx, old)).To(Succeed())
		bundle := func(name string) func() string {
			return func() string { return string(f.secret(name).Data[v1alpha1.AuthorityKey]) }
		}
		Eventually(f.anchors("alpha-tls")).Should(Equal(2)) // nobody is cut off meanwhile
		Eventually(func() int {
			operatorClock.Step(time.Minute)
			wake(f, m)
			return f.anchors("alpha-tls")()
		}).WithPolling(200 * time.Millisecond).Should(Equal(1))
		Expect(bundle("alpha-tls")()).NotTo(Equal(string(old.Data[corev1.TLSCertKey])))
		Eventually(bundle("press-tls")).Should(Equal(bundle("alpha-tls")()))
		Eventually(func() error {
			must(f.get(r, "press"))
			secret := f.secret("press-tls")
			chain, err := pki.ParseCertificates("tls.crt", secret.Data[corev1.TLSCertKey])
			must(err)
			if r.Status.Certificates[0].Fingerprint != v1alpha1.Fingerprint(chain[0]) {
				return errors.New("not listed")
			}
			return f.authority("alpha").VerifyClient(chain, r.Identity(), operatorClock.Now())
		}).Should(Succeed())
	})

	It("takes back from its objects what its spec no longer says, and leaves what others put there", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{service: {annotations: {ours: "1"}}}`)
		f.create(m)
		service := &corev1.Service{}
		Eventually(exists(f, service, "alpha")).Should(Succeed())
		change(f, service, func(s *corev1.Service) { s.Annotations["theirs"] = "2" })
		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Service.Annotations = nil })
		Eventually(func() map[string]string { must(f.get(service, "alpha")); return service.Annotations }).Should(
			And(Not(HaveKey("ours")), HaveKeyWithValue("theirs", "2")))
	})

	// pass lets time pass on the operator's clock in steps that are shorter than its patience with a Lease. after each, it looks.
	pass := func(f fixture, m *v1alpha1.ClusterMaster, steps int, after func()) {
		GinkgoHelper()
		for range steps {
			operatorClock.Step(9 * time.Second)
			after()
			looked := operatorLeases.reads(f.namespace)
			wake(f, m)
			Eventually(func() int { return operatorLeases.reads(f.namespace) }).Should(BeNumerically(">", looked))
			settled()
		}
	}

	It("whose master falls silent shows none after its alive timeout, nor do its Refineries, until a master reports again", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{replicas: 2}`)
		f.create(m, r)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		f.becomeActive(m)
		f.total(m)
		f.presents(r, map[string]string{"press/a": "1", "press/b": "1"})
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		f.deploy(m, 0) // the pods look gone, and yet one renews
		settled()
		before := operatorWrites.total()
		pass(f, m, 5, func() { f.hold(m) })
		Expect(operatorWrites.since(before)).To(BeEmpty())
		Expect(f.shown(m, r)).To(Equal("alpha-0 1/1 2 2/2 Authenticated"))

		pass(f, m, 3, func() {})
		Expect(f.shown(m, r)).To(Equal("alpha-0 1/1 2 2/2 Authenticated"))
		pass(f, m, 1, func() {})
		Eventually(func() string { return f.shown(m, r) }).Should(Equal(" 0/1 0 0/2 MasterUnavailable"))
		Expect(r.Status.Nodes).To(BeEmpty())
		Expect(m.Status.Active.Epoch).To(Equal(int64(1)))

		f.becomeActive(m)
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		f.presents(r, map[string]string{"press/a": "1", "press/b": "1"})
		settled()
		Expect(f.shown(m, r)).To(Equal("alpha-0  0 2/2 Authenticated"))
	})

	It("shows none as soon as it is scaled to nothing and the last pod has ended", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{replicas: 2}`)
		f.create(m, r)
		deployment := &appsv1.Deployment{}
		Eventually(exists(f, deployment, "alpha")).Should(Succeed())
		f.becomeActive(m)
		f.total(m)
		f.presents(r, map[string]string{"press/a": "1", "press/b": "1"})
		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Replicas = ptr.To[int32](0) })
		Eventually(func() int32 { must(f.get(deployment, "alpha")); return *deployment.Spec.Replicas }).Should(BeZero())
		f.deploy(m, 0)
		Consistently(func() string { return f.shown(m, r) }).Should(Equal("alpha-0 1/1 2 2/2 Authenticated")) // it sends nodes away
		changeStatus(f, deployment, func(d *appsv1.Deployment) { d.Status.TerminatingReplicas = ptr.To[int32](0) })
		Eventually(func() string { return f.shown(m, r) }).Should(Equal(" 0/1 0 0/2 MasterUnavailable"))
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/NotAuthenticated"))
	})

	It("is not fought with by a master whose clock is a minute behind", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{replicas: 2}`)
		f.create(m, r)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		f.becomeActive(m)
		f.total(m)
		f.presents(r, map[string]string{"press/a": "1", "press/b": "1"})
		settled()
		before := operatorWrites.total()
		pass(f, m, 6, func() { f.holdAt(m, operatorClock.Now().Add(-time.Minute)) })
		Expect(operatorWrites.since(before)).To(BeEmpty())
		Expect(f.shown(m, r)).To(Equal("alpha-0 1/1 2 2/2 Authenticated"))
	})

	It("takes back an epoch that no master had", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{replicas: 2}`)
		f.create(m, r)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		f.becomeActive(m)
		changeStatus(f, r, func(r *v1alpha1.Refinery) { r.Status.Reporter = &v1alpha1.Reporter{Pod: "forged", Epoch: 2} })
		Eventually(func() v1alpha1.Reporter { must(f.get(r, "press")); return *r.Status.Reporter }).Should(BeZero())
		f.report(r, metav1.ConditionTrue, v1alpha1.ReasonAuthenticated)
		settled()
		must(f.get(r, "press"))
		Expect(r.Status.Reporter.Epoch).To(Equal(int64(1)))
	})
})
