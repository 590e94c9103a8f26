package e2e

import (
	"context"
	"crypto/tls"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// intrusion is one try to get in as the Refinery "victim".
type intrusion struct {
	name string
	// presented is what TLS proves; none: no client certificate.
	presented []credentials
	// id and sent are what the intruder says.
	id   string
	sent []byte
}

var _ = Describe("An intruder", func() {
	It("with a stolen or forged certificate never gets auth:ack, and the status of its victim does not move", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		thief := newRefinery(ctx, master, "thief", external)
		victim := newRefinery(ctx, master, "victim", external)
		for _, r := range []*v1alpha1.Refinery{thief, victim} {
			Eventually(ctx, columnsOf(r)).Should(Equal(columns{Auth: v1alpha1.ReasonConnecting, Nodes: "0/1"}))
		}
		stolen := credentialsIn(secret(ctx, ns, thief.CertificateSecretName()))
		genuine := credentialsIn(secret(ctx, ns, victim.CertificateSecretName()))
		served := credentialsIn(secret(ctx, ns, master.CertificateSecretName()))
		ca := authorityOf(ctx, master)

		// None of these proves to be the victim, so that even a victim that nobody stands for is left alone.
		strangers := []intrusion{
			{"the thief's certificate, claiming the victim's id", []credentials{stolen}, "victim", stolen.certificate},
			{"the thief's certificate, claiming the id of a node of the victim", []credentials{stolen}, "victim/victim-1", stolen.certificate},
			{"the thief's TLS session, the victim's certificate in auth:start", []credentials{stolen}, "victim", genuine.certificate},
			{"no client certificate", nil, "victim", genuine.certificate},
			{"the victim's identity, signed by another authority of the same name", []credentials{strangeAuthority(ca).sign(identity(master, "victim"))}, "victim", nil},
			{"two URI SANs, the victim's first", []credentials{ca.sign(identity(master, "victim"), identity(master, "thief"))}, "victim", nil},
			{"two URI SANs, the victim's last", []credentials{ca.sign(identity(master, "thief"), identity(master, "victim"))}, "victim", nil},
			{"no URI SAN", []credentials{ca.sign()}, "victim", nil},
			{"the identity of another namespace's victim", []credentials{ca.sign(v1alpha1.RefineryIdentity(master.Name, "elsewhere", "victim"))}, "victim", nil},
			{"the identity of another master's victim", []credentials{ca.sign(v1alpha1.RefineryIdentity("beta", ns, "victim"))}, "victim", nil},
			{"the certificate that the master serves", []credentials{served}, "victim", nil},
		}
		// These carry the victim's name with the trusted authority's signature, or its real certificate.
		impostors := []intrusion{
			{"the victim's TLS session, the thief's certificate in auth:start", []credentials{genuine}, "victim", stolen.certificate},
			{"the victim's identity in a certificate that is not listed", []credentials{ca.sign(identity(master, "victim"))}, "victim", nil},
			{"the victim's certificate, with nothing in auth:start", []credentials{genuine}, "victim", []byte("")},
		}

		By("while nobody stands for the victim")
		expectNoneGetsIn(ctx, master, victim, strangers)

		By("while the victim is authenticated")
		node, err := dialTLS(ctx, master, genuine.pair())
		Expect(err).NotTo(HaveOccurred())
		node.open("victim", genuine.certificate)
		Eventually(ctx, columnsOf(victim)).Should(Equal(authenticated(1)))
		expectNoneGetsIn(ctx, master, victim, append(strangers, impostors...))
		node.expectAlive()
	}, SpecTimeout(specTimeout))

	It("with a certificate that is no longer listed is cut off, and does not come in again", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		ca := authorityOf(ctx, master)
		first, second := ca.sign(identity(master, "press")), ca.sign(identity(master, "press"))
		own := providedSecret(master, "press-own", first, ca.pem)
		Expect(k8s.Create(ctx, own)).To(Succeed())
		press := newRefinery(ctx, master, "press", external, provided(own.Name))
		Eventually(ctx, listedFingerprints(press)).Should(ConsistOf(first.fingerprint()))

		session, err := dialTLS(ctx, master, first.pair())
		Expect(err).NotTo(HaveOccurred())
		session.open("press/old", first.certificate)
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(1)))

		By("taking the certificate off the list: no Secret, nothing is let in")
		Expect(k8s.Delete(ctx, own)).To(Succeed())
		Expect(session.closed()).To(Succeed())
		Eventually(ctx, listedFingerprints(press)).Should(BeEmpty())
		Expect(k8s.Create(ctx, providedSecret(master, own.Name, second, ca.pem))).To(Succeed())
		Eventually(ctx, listedFingerprints(press)).Should(ConsistOf(second.fingerprint()))

		By("letting in the certificate that took its place")
		successor, err := dialTLS(ctx, master, second.pair())
		Expect(err).NotTo(HaveOccurred())
		successor.open("press/new", second.certificate)
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(1)))
		expectNoneGetsIn(ctx, master, press, []intrusion{
			{"the certificate that was listed", []credentials{first}, "press/old", nil},
			{"the certificate that was listed, with the present one in auth:start", []credentials{first}, "press/old", second.certificate},
		})
		successor.expectAlive()
	}, SpecTimeout(specTimeout))

	It("with two identities in a certificate that a user provided is not let in", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		ca := authorityOf(ctx, master)
		double := ca.sign(identity(master, "press"), identity(master, "still"))
		Expect(k8s.Create(ctx, providedSecret(master, "press-own", double, ca.pem))).To(Succeed())
		press := newRefinery(ctx, master, "press", external, provided("press-own"))
		expectBadCertificate(ctx, press, "press-own", v1alpha1.ReasonWrongIdentity)
		Eventually(ctx, columnsOf(press)).Should(Equal(columns{Auth: v1alpha1.ReasonConnecting, Nodes: "0/1"}))

		codes := intrude(ctx, master, intrusion{"", []credentials{double}, "press", double.certificate})
		Expect(codes).NotTo(ContainElement("auth:ack"))
		Expect(codes).To(ContainElement("auth:dec"))
		Eventually(ctx, columnsOf(press)).Should(Equal(columns{Auth: v1alpha1.ReasonDenied, Nodes: "0/1"}))
		Expect(nodesOf(press)(ctx)).To(ConsistOf(And(
			HaveField("State", v1alpha1.NodeDenied),
			HaveField("Reason", v1alpha1.ReasonWrongIdentity),
			HaveField("Message", ContainSubstring("2 URI SANs")),
		)))
	}, SpecTimeout(specTimeout))
})

// expectNoneGetsIn makes every try, and shows that the victim's object was not written to meanwhile.
func expectNoneGetsIn(ctx context.Context, m *v1alpha1.ClusterMaster, victim *v1alpha1.Refinery, tries []intrusion) {
	GinkgoHelper()
	before := settledVersion(ctx, victim)
	for _, try := range tries {
		codes := intrude(ctx, m, try)
		Expect(codes).NotTo(ContainElement("auth:ack"), try.name)
		if len(try.presented) > 0 {
			Expect(codes).To(Equal([]string{"conn:startAuth", "auth:dec"}), try.name)
		}
	}
	Consistently(ctx, resourceVersionOf(victim)).WithTimeout(2*moment).Should(Equal(before),
		"the victim's status moved")
}

// intrude makes one try, with an eager auth:ack of its own at the end, and returns what the master said.
func intrude(ctx context.Context, m *v1alpha1.ClusterMaster, try intrusion) []string {
	GinkgoHelper()
	var certificates []tls.Certificate
	for _, c := range try.presented {
		certificates = append(certificates, c.pair())
		if try.sent == nil {
			try.sent = c.certificate
		}
	}
	c, err := dialTLS(ctx, m, certificates...)
	if err != nil {
		return []string{"closed"}
	}
	defer c.close()
	codes := c.attempt(try.id, try.sent)
	if slices.Contains(codes, "closed") {
		return codes
	}
	if answer, err := c.exchange("auth:ack;;" + endMark + "conn:alive;;" + endMark); err == nil && answer.Code != "conn:close" {
		codes = append(codes, answer.Code)
	}
	return codes
}

// settledVersion is the resource version of an object that nobody has written to for a while.
func settledVersion[T client.Object](ctx context.Context, obj T) string {
	GinkgoHelper()
	var version string
	Eventually(ctx, func(g Gomega, ctx context.Context) {
		var err error
		version, err = resourceVersionOf(obj)(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Consistently(ctx, resourceVersionOf(obj)).WithTimeout(moment).Should(Equal(version))
	}).Should(Succeed())
	return version
}

// listedFingerprints reads the certificates that the master lets in, for Eventually.
func listedFingerprints(r *v1alpha1.Refinery) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var now v1alpha1.Refinery
		if err := k8s.Get(ctx, client.ObjectKeyFromObject(r), &now); err != nil {
			return nil, err
		}
		var listed []string
		for _, c := range now.Status.Certificates {
			listed = append(listed, c.Fingerprint)
		}
		return listed, nil
	}
}
