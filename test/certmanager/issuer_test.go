package certmanager

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

const fromIssuer = `{issuerRef: {name: plant}}`

var _ = Describe("spec.certificates.issuerRef", Ordered, func() {
	stopOperator, stopCertManager := func() {}, func() {}
	BeforeAll(func() { stopOperator = startOperator() })
	AfterAll(func() {
		stopOperator()
		stopCertManager()
	})

	It("says what is missing while cert-manager is, without a storm, and has everything issued once it is installed", func(ctx SpecContext) {
		begin := len(operatorLog.lines(0))
		p := newPlant(ctx, fromIssuer).ca("plant-ca").start()
		Eventually(p.ready(p.master)).Should(Equal("False/IssuerNotInstalled"))
		Expect(p.words(p.master)()).To(Equal("spec.certificates.issuerRef of the ClusterMaster names Issuer plant, and this cluster has no kind Certificate " +
			"of cert-manager.io/v1: install cert-manager or remove issuerRef; reconciliation then resumes"))
		Eventually(p.ready(p.refinery)).Should(Equal("False/IssuerNotInstalled"))
		for _, object := range []client.Object{p.master, p.refinery} {
			Eventually(func() []string { return p.events(object) }).Should(ContainElement(HavePrefix("Warning/IssuerNotInstalled: CertificateReady: ")))
		}
		// The last that is made for a Refinery.
		Eventually(func() []string { return operatorLog.lines(begin) }).Should(ContainElement(ContainSubstring("PodDisruptionBudget/press")))
		must(p.get(p.master, "alpha"))
		before := p.master.ResourceVersion
		settled := len(operatorLog.lines(0))
		Consistently(func() string { must(p.get(p.master, "alpha")); return p.master.ResourceVersion }, 3*time.Second).Should(Equal(before))
		Expect(operatorLog.lines(settled)).To(BeEmpty(), "at rest nothing is logged")
		Expect(operatorLog.errors(begin)).To(BeEmpty())
		Expect(p.events(p.master)).To(HaveLen(1))

		installed := time.Now()
		stopCertManager = installCertManager()
		p.certificate("alpha-tls")
		p.certificate("press-tls")
		GinkgoWriter.Printf("noticed %v after the CRDs were asked for\n", time.Since(installed).Round(time.Millisecond))
		Eventually(p.ready(p.refinery)).Should(Equal("False/IssuerNotReady"))
		p.issuer("plant", "plant-ca")
		leaf := p.issued()
		Expect(p.words(p.refinery)()).To(Equal("Secret press-tls holds a certificate issued by Issuer plant"))

		Expect(leaf.URIs).To(HaveExactElements(HaveField("String()", p.refinery.Identity().String())))
		Expect(leaf.DNSNames).To(BeEmpty())
		Expect(leaf.ExtKeyUsage).To(HaveExactElements(x509.ExtKeyUsageClientAuth))
		Expect(leaf.PublicKey.(*ecdsa.PublicKey).Curve).To(Equal(elliptic.P256()))
		Expect(p.listed()).To(HaveExactElements("Current " + v1alpha1.Fingerprint(leaf)))
		served := leafOf(p.secret("alpha-tls"))
		Expect(served.DNSNames).To(ConsistOf(resource.MasterDNSNames(p.master, "")))
		Expect(served.URIs).To(BeEmpty())
		Expect(served.ExtKeyUsage).To(HaveExactElements(x509.ExtKeyUsageServerAuth))
		Expect(p.master.Status.Certificate.Fingerprint).To(Equal(v1alpha1.Fingerprint(served)))
		Expect(p.get(&corev1.Secret{}, "alpha-ca")).NotTo(Succeed(), "the operator needs no authority of its own")
		Eventually(func() error { return p.get(&appsv1.Deployment{}, "press") }).Should(Succeed())
		Expect(metav1.IsControlledBy(p.secret("press-tls"), p.refinery)).To(BeTrue(), "the Secret goes with the Refinery")
		Expect(metav1.IsControlledBy(p.secret("alpha-tls"), p.master)).To(BeTrue())

		atRest()
		lines := len(operatorLog.lines(0))
		for _, object := range []client.Object{p.master, p.refinery} {
			change(p, object, func(o client.Object) { o.SetAnnotations(map[string]string{"wake": "up"}) })
		}
		Consistently(func() []string { return operatorLog.lines(lines) }).Should(BeEmpty(), "what is as it should be is not written again")
	})

	It("works as docs/certificates/cert-manager.md says", func(ctx SpecContext) {
		Expect(runDocs(ctx)).To(And(MatchRegexp(`alpha-tls +True +alpha-tls`), MatchRegexp(`press-tls +True +press-tls`)))
	})

	It("carries what cert-manager says of an issuer that is missing, and heals when it is made", func(ctx SpecContext) {
		p := newPlant(ctx, `{issuerRef: {name: typo}}`).ca("plant-ca").start()
		Eventually(p.words(p.master)).Should(And(
			HavePrefix("Issuer typo has not issued Secret alpha-tls yet: Issuing certificate as Secret does not exist"),
			HaveSuffix(`CertificateRequest alpha-tls-1: Referenced "Issuer" not found: issuer.cert-manager.io "typo" not found`)))
		Expect(p.ready(p.master)()).To(Equal("False/IssuerNotReady"))
		Eventually(p.words(p.refinery)).Should(ContainSubstring(`Referenced "Issuer" not found`))
		p.issuer("typo", "plant-ca").issued()
	})

	It("lists what cert-manager replaced for the overlap, and no pod is restarted", func(ctx SpecContext) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		first := p.issued()
		deployment := &appsv1.Deployment{}
		Eventually(func() error { return p.get(deployment, "press") }).Should(Succeed())
		generation := deployment.Generation
		before := time.Now().Truncate(time.Second) // as in status
		p.renew("press-tls")
		Eventually(p.listed).Should(HaveLen(2))
		second := leafOf(p.secret("press-tls"))
		Expect(p.listed()).To(HaveExactElements("Current "+v1alpha1.Fingerprint(second), "Previous "+v1alpha1.Fingerprint(first)))
		Expect(p.refinery.Status.Certificates[1].Until.Time).To(And(
			BeTemporally(">=", before.Add(time.Hour)), BeTemporally("<=", time.Now().Add(time.Hour))))
		Expect(second.PublicKey).NotTo(Equal(first.PublicKey), "each has a key of its own")
		must(p.get(deployment, "press"))
		Expect(deployment.Generation).To(Equal(generation))

		served := p.master.Status.Certificate.Fingerprint
		p.renew("alpha-tls")
		Eventually(func() string { must(p.get(p.master, "alpha")); return p.master.Status.Certificate.Fingerprint }).ShouldNot(Equal(served))
		Consistently(p.ready(p.refinery)).Should(Equal("True/Issued"))
	})

	It("is refused if the operator is not set up to use that issuer, before a Certificate is written, and what was issued stays in use", func(ctx SpecContext) {
		other := newPlant(ctx, `{issuerRef: {kind: ClusterIssuer, name: corp}}`).start()
		Eventually(other.ready(other.refinery)).Should(Equal("False/IssuerNotAllowed"))
		Eventually(other.words(other.master)).Should(Equal("spec.certificates.issuerRef of the ClusterMaster names ClusterIssuer/corp, and this operator is set up to use " +
			"none but Issuer/*,Signer.example.com/*: name one of these, or have whoever installed the operator allow it (--allowed-issuers); what was issued before stays in use"))

		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		leaf, served := p.issued(), p.secret("alpha-tls").Data
		change(p, p.master, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates = parse(`{issuerRef: {kind: ClusterIssuer, name: corp}}`)
		})
		Eventually(p.ready(p.master)).Should(Equal("False/IssuerNotAllowed"))
		Eventually(p.ready(p.refinery)).Should(Equal("False/IssuerNotAllowed"))
		Consistently(p.listed).Should(HaveExactElements("Current " + v1alpha1.Fingerprint(leaf)))
		Expect(p.secret("alpha-tls").Data).To(Equal(served))
		for _, name := range []string{"alpha-tls", "press-tls"} {
			Expect(p.certificate(name).Object["spec"]).To(HaveKeyWithValue("issuerRef", HaveKeyWithValue("kind", "Issuer")))
			Expect(other.get(certManagerObject("Certificate", name, nil), name)).NotTo(Succeed())
		}
		p.renew("press-tls") // cert-manager goes on with the Certificates that there are, and nodes present what it renewed
		renewed := func() *x509.Certificate { return leafOf(p.secret("press-tls")) }
		Eventually(renewed).ShouldNot(Equal(leaf))
		Eventually(p.listed).Should(HaveExactElements("Current "+v1alpha1.Fingerprint(renewed()), "Previous "+v1alpha1.Fingerprint(leaf)))
		change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = parse(fromIssuer) })
		Expect(p.issued()).To(Equal(renewed()))
	})

	It("has the names and the kind of key that the spec asks for, also when they change", func(ctx SpecContext) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		first := p.issued()
		service := resource.MasterServerName(p.master)
		Expect(leafOf(p.secret("alpha-tls")).DNSNames).To(ConsistOf(service, service+".cluster.local"))
		change(p, p.master, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates = parse(`{issuerRef: {name: plant}, dnsNames: ['*.example.com'], ipAddresses: ['2001:db8::10'], privateKey: {algorithm: RSA, size: 2048}}`)
		})
		served := func() *x509.Certificate { return leafOf(p.secret("alpha-tls")) }
		Eventually(served).Should(And(HaveField("PublicKey", BeAssignableToTypeOf(&rsa.PublicKey{})),
			HaveField("DNSNames", ConsistOf(service, service+".cluster.local", "*.example.com")),
			HaveField("IPAddresses", HaveExactElements(WithTransform(net.IP.String, Equal("2001:db8::10"))))))
		Eventually(p.listed).Should(And(HaveLen(2), ContainElement("Previous "+v1alpha1.Fingerprint(first))))
		Expect(p.issued().PublicKey).To(BeAssignableToTypeOf(&rsa.PublicKey{}))
	})

	It("revokes the certificate of a Secret that is deleted, and has a new one issued", func(ctx SpecContext) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		first := p.issued()
		Expect(api.Delete(ctx, p.secret("press-tls"))).To(Succeed())
		Eventually(p.listed).Should(And(HaveLen(1), Not(ContainElement("Current "+v1alpha1.Fingerprint(first)))))
		Eventually(func() bool { return metav1.IsControlledBy(p.secret("press-tls"), p.refinery) }).Should(BeTrue())
	})

	It("may be set and taken away on a live ClusterMaster: in the same Secrets, with the overlap, and no Certificate is left", func(ctx SpecContext) {
		p := newPlant(ctx, `{}`).ca("plant-ca").issuer("plant", "plant-ca").start()
		first := p.issued()
		uid := p.secret("press-tls").UID

		change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = parse(fromIssuer) })
		Eventually(p.words(p.refinery)).Should(Equal("Secret press-tls holds a certificate issued by Issuer plant"))
		second := p.issued()
		Expect(p.listed()).To(HaveExactElements("Current "+v1alpha1.Fingerprint(second), "Previous "+v1alpha1.Fingerprint(first)))

		change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil })
		Eventually(p.words(p.refinery)).Should(Equal("Secret press-tls holds a certificate issued by the operator"))
		third := p.issued()
		Expect(p.listed()).To(HaveExactElements("Current "+v1alpha1.Fingerprint(third),
			"Previous "+v1alpha1.Fingerprint(second), "Previous "+v1alpha1.Fingerprint(first)))
		for _, name := range []string{"alpha-tls", "press-tls"} {
			Eventually(p.gone(certManagerObject("Certificate", name, nil), name)).Should(BeTrue())
		}
		Expect(p.secret("press-tls").UID).To(Equal(uid))
		Expect(p.secret("press-tls").Data[v1alpha1.AuthorityKey]).To(Equal(p.secret("alpha-ca").Data[corev1.TLSCertKey]))

		// What the garbage collector does, which does not run here.
		Expect(api.DeleteAllOf(ctx, certManagerObject("CertificateRequest", "", nil), client.InNamespace(p.namespace))).To(Succeed())
		change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = parse(fromIssuer) })
		Eventually(p.words(p.refinery)).Should(Equal("Secret press-tls holds a certificate issued by Issuer plant"))
		Expect(v1alpha1.Fingerprint(p.issued())).NotTo(Equal(v1alpha1.Fingerprint(third)), "what the operator issued is not taken for the issuer's")
	})

	It("changes no trust with an issuer over the authority that the operator made", func(ctx SpecContext) {
		p := newPlant(ctx, `{}`).start()
		p.issued()
		bundle := string(p.secret("press-tls").Data[v1alpha1.AuthorityKey])
		p.issuer("plant", "alpha-ca")
		for _, step := range []struct{ certificates, words string }{
			{fromIssuer, "issued by Issuer plant"},
			{`{authority: {secretRef: {name: alpha-ca}}}`, "issued by the operator"},
			{fromIssuer, "issued by Issuer plant"},
			{`{}`, "issued by the operator"},
		} {
			change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = parse(step.certificates) })
			for _, object := range []client.Object{p.master, p.refinery} {
				Eventually(p.words(object)).Should(HaveSuffix(step.words))
			}
			for _, name := range []string{"alpha-tls", "press-tls"} {
				Expect(string(p.secret(name).Data[v1alpha1.AuthorityKey])).To(Equal(bundle), name)
			}
			if step.certificates != fromIssuer { // what the garbage collector does, which does not run here
				Expect(api.DeleteAllOf(ctx, certManagerObject("CertificateRequest", "", nil), client.InNamespace(p.namespace))).To(Succeed())
			}
		}
	})

	It("has certificates of the old authority issued anew when the master has one of the new", func(ctx SpecContext) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		first := p.issued()
		change(p, p.secret("plant-ca"), func(s *corev1.Secret) { s.Data = authorityData("plant-ca of tomorrow") })
		Consistently(p.ready(p.refinery)).Should(Equal("True/Issued"))
		Eventually(time.Now).Should(BeTemporally(">=", first.NotBefore.Add(time.Second))) // validity has whole seconds
		p.renew("alpha-tls")
		Eventually(func() string { return v1alpha1.Fingerprint(leafOf(p.secret("press-tls"))) }).ShouldNot(Equal(v1alpha1.Fingerprint(first)))
		second := p.issued()
		Expect(second.Issuer.CommonName).To(Equal("plant-ca of tomorrow"))
		Consistently(func() string { return v1alpha1.Fingerprint(leafOf(p.secret("press-tls"))) }, time.Second).Should(Equal(v1alpha1.Fingerprint(second)))
	})

	DescribeTable("touches nothing of someone else's", func(ctx SpecContext, object func() client.Object, words string) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca")
		foreign := object()
		p.create(foreign).start()
		stalled := func() string {
			must(p.get(p.refinery, "press"))
			for _, c := range p.refinery.Status.Conditions {
				if c.Type == v1alpha1.ConditionStalled {
					return c.Reason + ": " + c.Message
				}
			}
			return ""
		}
		Eventually(stalled).Should(Equal("NameConflict: " + words))
		writers := func() []metav1.ManagedFieldsEntry {
			must(p.get(foreign, "press-tls"))
			return foreign.GetManagedFields()
		}
		Consistently(writers).ShouldNot(ContainElement(HaveField("Manager", v1alpha1.OperatorFieldOwner)))

		change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil })
		Eventually(p.words(p.master)).Should(HaveSuffix("issued by the operator"))
		Consistently(writers).ShouldNot(ContainElement(HaveField("Manager", v1alpha1.OperatorFieldOwner)), "and it is not deleted either")
	},
		Entry("a Certificate", func() client.Object {
			return certManagerObject("Certificate", "press-tls", map[string]any{
				"secretName": "another", "dnsNames": []any{"example.com"}, "issuerRef": map[string]any{"name": "none"},
			})
		}, "Certificate press-tls is needed and belongs to someone else (it has no controlling owner); it is left as it is: delete or rename one of the two"),
		Entry("a Secret, which cert-manager would fill", func() client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "press-tls"}, Data: map[string][]byte{"password": []byte("precious")}}
		}, "Secret press-tls is needed and belongs to someone else (it has no controlling owner); it is left as it is: delete or rename one of the two"),
	)

	It("needs an issuer that fills in ca.crt, and says so of one that does not", func(ctx SpecContext) {
		p := newPlant(ctx, `{issuerRef: {name: public, kind: Signer, group: example.com}}`).ca("plant-ca").start()
		p.sign("alpha-tls-1", pkitest.NewAuthority("public"), nil)
		Eventually(p.ready(p.master)).Should(Equal("False/SecretKeyMissing"))
		Expect(p.words(p.master)()).To(Equal("Secret alpha-tls: key ca.crt is missing or empty: the issuer has to fill it in, as those of kind CA do"))
		Eventually(p.ready(p.refinery)).Should(HavePrefix("False/"))
	})

	DescribeTable("says what an issuer did otherwise than it was asked to", func(ctx SpecContext, constrain, sign pkitest.Edit, state, words string) {
		p := newPlant(ctx, `{issuerRef: {name: public, kind: Signer, group: example.com}}`).start()
		lasting := pkitest.Valid(time.Now().Add(-time.Hour), time.Now().Add(1000*24*time.Hour))
		authority := pkitest.NewAuthority("public", lasting, constrain)
		p.sign("alpha-tls-1", authority, pkitest.Bundle(authority), sign)
		Eventually(p.ready(p.master)).Should(Equal(state))
		Expect(p.words(p.master)()).To(ContainSubstring(words))
		atRest()
		Expect(p.get(certManagerObject("CertificateRequest", "", nil), "alpha-tls-2")).NotTo(Succeed(), "nothing is asked for again and again")
	},
		Entry("a shorter validity", free, pkitest.Valid(time.Now(), time.Now().Add(48*time.Hour)), "True/Issued",
			"issued by Signer public; it is valid for 48h0m0s, and not for the 2160h0m0s of spec.certificates.duration"),
		Entry("fewer names", free, func(c *x509.Certificate) { c.DNSNames = c.DNSNames[:1] }, "True/Issued", ".svc.cluster.local"),
		Entry("another usage", free, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "False/WrongUsage",
			"may not be used for TLS server authentication"),
		Entry("names that its authority may not sign", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"corp.example"} }, free,
			"False/AuthorityConstrained", "is not permitted by any constraint"),
		Entry("below an authority for clients", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, free,
			"False/AuthorityConstrained", `"CN=public" does not allow TLS server authentication`),
	)

	It("removes Certificates that were left while the operator did not run", func(ctx SpecContext) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		p.issued()
		stopOperator()
		change(p, p.master, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil })
		stopOperator = startOperator()
		for _, name := range []string{"alpha-tls", "press-tls"} {
			Eventually(p.gone(certManagerObject("Certificate", name, nil), name)).Should(BeTrue())
		}
		Eventually(p.words(p.refinery)).Should(HaveSuffix("issued by the operator"))
	})

	It("keeps what is in use while cert-manager is taken away, without a storm, and goes on when it is back", func(ctx SpecContext) {
		p := newPlant(ctx, fromIssuer).ca("plant-ca").issuer("plant", "plant-ca").start()
		leaf := p.issued()
		stopCertManager()
		definitions := &metav1.PartialObjectMetadataList{}
		definitions.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
		begin := len(operatorLog.lines(0))
		Expect(envtest.UninstallCRDs(restConfig, crds())).To(Succeed())
		Eventually(p.ready(p.master)).Should(Equal("False/IssuerNotInstalled"))
		Eventually(p.ready(p.refinery)).Should(Equal("False/IssuerNotInstalled"))
		Expect(p.listed()).To(HaveExactElements("Current " + v1alpha1.Fingerprint(leaf)))
		settled := len(operatorLog.lines(0))
		Consistently(func() []string { return operatorLog.lines(settled) }, 4*time.Second).Should(BeEmpty())
		Expect(operatorLog.errors(begin)).To(BeEmpty())

		Eventually(func() []metav1.PartialObjectMetadata {
			must(api.List(ctx, definitions))
			return definitions.Items
		}).ShouldNot(ContainElement(HaveField("Name", HaveSuffix("cert-manager.io"))))
		stopCertManager = installCertManager()
		p.issuer("plant", "plant-ca")
		Expect(p.issued()).To(Equal(leaf), "what is good is not issued anew")
		p.certificate("press-tls")
	})
})

// free changes nothing.
func free(*x509.Certificate) {}

// atRest waits until the operator has said nothing for a while.
func atRest() {
	GinkgoHelper()
	before := -1
	Eventually(func() bool {
		now := len(operatorLog.lines(0))
		quiet := now == before
		before = now
		return quiet
	}).WithPolling(time.Second).Should(BeTrue())
}

// sign does what an external issuer does to a CertificateRequest: it signs, in its own way, and fills in ca, or not.
func (p *plant) sign(request string, by *pkitest.Authority, ca []byte, edits ...pkitest.Edit) {
	GinkgoHelper()
	r := certManagerObject("CertificateRequest", request, nil)
	Eventually(func() error {
		if err := p.get(r, request); err != nil {
			return err
		}
		status := map[string]any{
			"certificate": signed(r, by, edits...),
			"conditions": []any{
				map[string]any{"type": "Approved", "status": "True", "reason": "Approved", "message": "", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)},
				map[string]any{"type": "Ready", "status": "True", "reason": "Issued", "message": "", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)},
			},
		}
		if ca != nil {
			status["ca"] = base64.StdEncoding.EncodeToString(ca)
		}
		must(unstructured.SetNestedMap(r.Object, status, "status"))
		return api.Status().Update(p.ctx, r)
	}).Should(Succeed())
}
