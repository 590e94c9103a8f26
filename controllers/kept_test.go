package controllers_test

import (
	"crypto/x509"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// inUse is a Refinery whose certificate is in use, and what a person does to that.
type inUse struct {
	*provided
	fingerprint string
	secret      string
	uid         types.UID
}

// using starts a Refinery with the certificate of a Secret, or the operator's own.
func using(ctx SpecContext, secret string) *inUse {
	GinkgoHelper()
	f := newFixture(ctx)
	u := &inUse{provided: &provided{fixture: f, refinery: f.refinery("press", `{}`)}, secret: "press-tls"}
	f.create(f.master("alpha", `{}`))
	u.authority = f.authority("alpha")
	if secret != "" {
		u.secret = secret
		u.refinery.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: secret}
		f.create(f.tlsSecret(secret, client0(u.authority, u.refinery)))
	}
	f.create(u.refinery)
	Eventually(u.mounted).Should(Equal(u.secret))
	inUse := f.secret(u.secret)
	u.fingerprint, u.uid = v1alpha1.Fingerprint(leafOf(pki.PEMPair{Certificate: inUse.Data[corev1.TLSCertKey]})), inUse.UID
	Eventually(u.listed).Should(Equal([]string{u.current()}))
	return u
}

func (u *inUse) current() string { return "Current " + u.fingerprint }

// mounted is the Secret that the pods of the Refinery read, or "".
func (u *inUse) mounted() string {
	deployment := &appsv1.Deployment{}
	if u.get(deployment, "press") != nil {
		return ""
	}
	for _, name := range resource.PodSecrets(&deployment.Spec.Template.Spec) {
		if name != "alpha-tls" {
			return name
		}
	}
	return ""
}

// listed are the certificates that the status lists.
func (u *inUse) listed() (listed []string) {
	must(u.get(u.refinery, "press"))
	for _, c := range u.refinery.Status.Certificates {
		listed = append(listed, fmt.Sprintf("%s %s", c.Use, c.Fingerprint))
	}
	return listed
}

// revoked are those that it refuses, whatever holds them.
func (u *inUse) revoked() (revoked []string) {
	must(u.get(u.refinery, "press"))
	for _, c := range u.refinery.Status.Revoked {
		revoked = append(revoked, c.Fingerprint+" of "+c.Secret)
	}
	return revoked
}

func (u *inUse) name(secret string) {
	GinkgoHelper()
	change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) { r.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: secret} })
}

func (u *inUse) fill(secret string, pair pki.PEMPair) {
	GinkgoHelper()
	change(u.fixture, u.fixture.secret(secret), func(s *corev1.Secret) {
		s.Data = map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key}
	})
}

func (u *inUse) delete(secret string) {
	GinkgoHelper()
	Expect(api.Delete(u.ctx, u.fixture.secret(secret))).To(Succeed())
}

var _ = Describe("A certificate that is in use", func() {
	expired := func(u *inUse) pki.PEMPair {
		u.issue(func(c *x509.Certificate) { c.NotAfter = operatorClock.Now().Add(-time.Minute) })
		return u.pair
	}
	mixed := func(u *inUse) pki.PEMPair {
		return pki.PEMPair{Certificate: client0(u.authority, u.refinery).Certificate, Key: client0(u.authority, u.refinery).Key}
	}
	foreign := func(u *inUse) pki.PEMPair { return client0(otherAuthority(), u.refinery) }
	other := func(u *inUse) pki.PEMPair { return client0(u.authority, u.fixture.refinery("other", `{}`)) }
	none := func(*inUse) pki.PEMPair { return pki.PEMPair{} }
	half := func(u *inUse) pki.PEMPair {
		return pki.PEMPair{Certificate: client0(u.authority, u.refinery).Certificate}
	}
	garbage := func(*inUse) pki.PEMPair { return pki.PEMPair{Certificate: []byte("oops"), Key: []byte("oops")} }

	// slip makes the Refinery ask for something that is not good; mend puts it right.
	DescribeTable("stays in use while what is to replace it is not good, and is replaced as soon as that is",
		func(ctx SpecContext, own string, slip, mend func(*inUse), reason string) {
			u := using(ctx, own)
			slip(u)
			Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("False/" + reason))
			Expect(message(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)()).To(ContainSubstring("until then "))
			change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) { r.Labels = map[string]string{"looked": "at"} })
			settled()
			Expect(u.listed()).To(Equal([]string{u.current()}))
			Expect(u.revoked()).To(BeEmpty())
			Expect(u.fixture.secret(u.secret).UID).To(Equal(u.uid))
			Expect(u.mounted()).To(Equal(u.secret))

			mend(u)
			Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(HavePrefix("True/"))
			Eventually(u.listed).Should(ConsistOf(HavePrefix("Current "), "Previous "+u.fingerprint))
			Eventually(u.mounted).Should(Equal(u.refinery.CertificateSecretName()))
			operatorClock.Step(61 * time.Minute)
			wake(u.fixture, u.refinery)
			Eventually(u.listed).Should(HaveLen(1))
			settled()
			Expect(u.revoked()).To(BeEmpty())
			if u.refinery.CertificateSecretName() != "press-tls" {
				Expect(gone(u.fixture, &corev1.Secret{}, "press-tls")()).To(BeTrue())
			}
		},
		Entry("issued, and a Secret is named that does not exist", "", asks("press-own", nil), makes("press-own"), "SecretNotFound"),
		Entry("issued, and a Secret is named that is empty", "", asks("press-own", none), fills("press-own"), "SecretKeyMissing"),
		Entry("issued, and a Secret is named that is half written", "", asks("press-own", half), fills("press-own"), "SecretKeyMissing"),
		Entry("issued, and a Secret is named that holds no PEM", "", asks("press-own", garbage), fills("press-own"), "NotPEM"),
		Entry("issued, and a Secret is named of another authority", "", asks("press-own", foreign), fills("press-own"), "WrongAuthority"),
		Entry("issued, and a Secret is named that has expired", "", asks("press-own", expired), fills("press-own"), "Expired"),
		Entry("issued, and a Secret is named of another identity", "", asks("press-own", other), fills("press-own"), "WrongIdentity"),
		Entry("provided, and another is named that does not exist", "press-own", asks("press-next", nil), makes("press-next"), "SecretNotFound"),
		Entry("provided, and another is named that has expired", "press-own", asks("press-next", expired), fills("press-next"), "Expired"),
		Entry("provided, and its Secret is emptied", "press-own", holds(none), fills("press-own"), "SecretKeyMissing"),
		Entry("provided, and its Secret is half written", "press-own", holds(half), fills("press-own"), "SecretKeyMissing"),
		Entry("provided, and its Secret holds no PEM", "press-own", holds(garbage), fills("press-own"), "NotPEM"),
		Entry("provided, and its Secret holds another's key", "press-own", holds(mixed), fills("press-own"), "KeyMismatch"),
		Entry("provided, and its Secret is of another authority", "press-own", holds(foreign), fills("press-own"), "WrongAuthority"),
		Entry("provided, and its Secret has expired", "press-own", holds(expired), fills("press-own"), "Expired"),
	)

	It("stays in use while a Secret is named that nodes must not read, and is renewed meanwhile", func(ctx SpecContext) {
		u := using(ctx, "")
		u.name("alpha-ca")
		Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		operatorClock.Step(70 * 24 * time.Hour)
		wake(u.fixture, u.refinery)
		Eventually(u.listed).Should(ConsistOf(HavePrefix("Current "), "Previous "+u.fingerprint))
		Expect(u.mounted()).To(Equal("press-tls"))
		Expect(u.fixture.secret("press-tls").UID).To(Equal(u.uid))
	})

	It("stays in use while the operator is to issue the next, and cannot", func(ctx SpecContext) {
		f := newFixture(ctx)
		authority := otherAuthority()
		u := &inUse{provided: &provided{fixture: f, authority: authority, refinery: f.refinery("press", `{certificateSecretRef: {name: press-own}}`)}}
		pair := client0(authority, u.refinery)
		f.create(f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`),
			f.tlsSecret("plant-ca", pki.PEMPair{Certificate: authority.BundlePEM()}), f.tlsSecret("press-own", pair), u.refinery)
		u.fingerprint = v1alpha1.Fingerprint(leafOf(pair))
		Eventually(u.mounted).Should(Equal("press-own"))
		change(f, u.refinery, func(r *v1alpha1.Refinery) { r.Spec.CertificateSecretRef = nil })
		Eventually(condition(f, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("False/AuthorityWithoutKey"))
		Expect(message(f, u.refinery, v1alpha1.ConditionCertificateReady)()).To(HaveSuffix("until then the certificate in Secret press-own stays in use"))
		settled()
		Expect(u.listed()).To(Equal([]string{u.current()}))
		Expect(u.mounted()).To(Equal("press-own"))
	})
})

// asks is a slip: a Secret is named, which does not exist or holds what is given.
func asks(secret string, holding func(*inUse) pki.PEMPair) func(*inUse) {
	return func(u *inUse) {
		GinkgoHelper()
		if holding != nil {
			u.create(u.tlsSecret(secret, holding(u)))
		}
		u.name(secret)
	}
}

// holds is a slip: the Secret in use is changed to hold what is given.
func holds(pair func(*inUse) pki.PEMPair) func(*inUse) {
	return func(u *inUse) { u.fill(u.secret, pair(u)) }
}

func makes(secret string) func(*inUse) {
	return func(u *inUse) { u.create(u.tlsSecret(secret, client0(u.authority, u.refinery))) }
}

func fills(secret string) func(*inUse) {
	return func(u *inUse) { u.fill(secret, client0(u.authority, u.refinery)) }
}

var _ = Describe("The deletion of the Secret of a certificate", func() {
	const own = "press-own"

	// restored is the Secret as a backup brings it back.
	restored := func(u *inUse, secret *corev1.Secret) {
		GinkgoHelper()
		back := u.tlsSecret(secret.Name, pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]})
		u.create(back)
	}

	DescribeTable("revokes it, whatever else is the matter with the Refinery, and for good",
		func(ctx SpecContext, trouble func(*inUse), state string) {
			u := using(ctx, own)
			trouble(u)
			Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionReady)).Should(Equal(state))
			Expect(u.listed()).To(Equal([]string{u.current()}))
			before := u.fixture.secret(own)
			u.delete(own)
			Eventually(u.revoked).Should(Equal([]string{u.fingerprint + " of " + own}))
			Expect(u.listed()).To(BeEmpty())
			Eventually(u.events(u.refinery)).Should(ContainElement(
				"Warning/CertificateRevoked: the certificate with fingerprint " + u.fingerprint + " is revoked: Secret press-own was deleted"))
			restored(u, before)
			change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) { // all trouble is over
				r.Spec.Paused, r.Spec.Template, r.Spec.CertificateSecretRef = false, nil, &v1alpha1.LocalReference{Name: own}
			})
			Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("False/Revoked"))
			settled()
			Expect(u.listed()).To(BeEmpty())

			change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) {
				r.Annotations = map[string]string{v1alpha1.ReadmitAnnotation: u.fingerprint}
			})
			Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
			Expect(u.listed()).To(Equal([]string{u.current()}))
			Expect(u.revoked()).To(BeEmpty())
		},
		Entry("nothing", func(*inUse) {}, "False/NotAuthenticated"),
		Entry("it is paused", func(u *inUse) {
			change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) { r.Spec.Paused = true })
		}, "Unknown/Paused"),
		Entry("it names a Secret that it must not", func(u *inUse) { u.name("alpha-ca") }, "False/InvalidReference"),
		Entry("it names a Secret that does not exist", func(u *inUse) { u.name("press-next") }, "False/CertificateNotReady"),
	)

	It("revokes it while its ClusterMaster does not exist", func(ctx SpecContext) {
		u := using(ctx, own)
		Expect(api.Delete(u.ctx, u.master("alpha", `{}`))).To(Succeed())
		Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionReady)).Should(Equal("False/MasterNotFound"))
		u.delete(own)
		Eventually(u.revoked).Should(Equal([]string{u.fingerprint + " of " + own}))
		Expect(u.listed()).To(BeEmpty())
	})

	It("is seen by another UID, when another has taken its name before anybody looked", func(ctx SpecContext) {
		u := using(ctx, own)
		before := u.fixture.secret(own)
		u.delete(own)
		restored(u, before)
		Eventually(u.revoked).Should(Equal([]string{u.fingerprint + " of " + own}))
		Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("False/Revoked"))
		Expect(u.listed()).To(BeEmpty())
		u.fill(own, client0(u.authority, u.refinery))
		Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
		Expect(u.listed()).To(HaveLen(1))
		Expect(u.revoked()).To(HaveLen(1))
	})

	It("revokes what the operator issued, and what is put back into the Secret is replaced", func(ctx SpecContext) {
		u := using(ctx, "")
		before := u.fixture.secret("press-tls")
		u.delete("press-tls")
		Eventually(u.listed).Should(And(HaveLen(1), Not(ContainElement(u.current()))))
		Expect(u.revoked()).To(Equal([]string{u.fingerprint + " of press-tls"}))
		second := u.listed()[0]
		change(u.fixture, u.fixture.secret("press-tls"), func(s *corev1.Secret) { s.Data = before.Data })
		Eventually(u.listed).Should(ContainElement(And(HavePrefix("Current "), Not(Equal(second)), Not(Equal(u.current())))))
		Consistently(u.listed).ShouldNot(ContainElement(HaveSuffix(u.fingerprint)))
	})

	It("revokes what was replaced by another Secret and is still let in", func(ctx SpecContext) {
		u := using(ctx, own)
		makes("press-next")(u)
		u.name("press-next")
		Eventually(u.listed).Should(ContainElement("Previous " + u.fingerprint))
		u.delete(own)
		Eventually(u.revoked).Should(Equal([]string{u.fingerprint + " of " + own}))
		Expect(u.listed()).To(ConsistOf(HavePrefix("Current ")))
		Expect(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)()).To(Equal("True/Provided"))
	})

	It("is never forgotten: without room for another the Refinery is stalled, and nothing else is listed", func(ctx SpecContext) {
		u := using(ctx, own)
		changeStatus(u.fixture, u.refinery, func(r *v1alpha1.Refinery) {
			for n := range v1alpha1.MaxRevokedCertificates {
				r.Status.Revoked = append(r.Status.Revoked, v1alpha1.RevokedCertificate{Fingerprint: fmt.Sprintf("%064d", n), Secret: own,
					NotAfter: r.Status.Certificates[0].NotAfter, Since: r.Status.Certificates[0].NotAfter})
			}
		})
		// What was written into the status is the operator's: it has to have seen it, as it has what it wrote itself.
		change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) { r.Spec.ReadinessGraceSeconds = ptr.To[int32](7) })
		Eventually(func() bool {
			must(u.get(u.refinery, "press"))
			return u.refinery.Status.ObservedGeneration == u.refinery.Generation
		}).Should(BeTrue())
		before := u.fixture.secret(own)
		u.delete(own)
		Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionStalled)).Should(Equal("True/TooManyRevoked"))
		restored(u, before)
		settled()
		Expect(u.refinery.Status.Certificates).To(HaveExactElements(And(HaveField("Fingerprint", u.fingerprint),
			HaveField("Until.Time", BeTemporally("<=", operatorClock.Now())))))
		change(u.fixture, u.refinery, func(r *v1alpha1.Refinery) {
			r.Annotations = map[string]string{v1alpha1.ReadmitAnnotation: fmt.Sprintf("%064d,%064d", 0, 1)}
		})
		Eventually(condition(u.fixture, u.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("False/Revoked"))
		Expect(u.revoked()).To(ContainElement(u.fingerprint + " of " + own))
		Expect(u.listed()).To(BeEmpty())
	})
})
