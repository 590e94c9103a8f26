package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/masterfields"
)

var (
	byPlaintext = v1alpha1.SecurityMode{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate}
	byServerTLS = v1alpha1.SecurityMode{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
	byMutualTLS = v1alpha1.SecurityMode{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationIssuedCertificate}
)

// securing is a ClusterMaster with an active master, and a Refinery with two nodes, while spec.security changes.
type securing struct {
	fixture
	master   *v1alpha1.ClusterMaster
	refinery *v1alpha1.Refinery
}

// securedBy starts with a choice of spec.security by which both nodes are connected.
func securedBy(ctx SpecContext, mode v1alpha1.SecurityMode) *securing {
	GinkgoHelper()
	f := newFixture(ctx)
	s := &securing{f, f.master("alpha", fmt.Sprintf(`{security: {transport: %s, authentication: %s}}`, mode.Transport, mode.Authentication)), f.refinery("press", `{replicas: 2}`)}
	f.create(s.master, s.refinery)
	Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
	f.becomeActive(s.master)
	Eventually(s.transport).Should(Equal(string(mode.Transport)))
	Eventually(func() *v1alpha1.SecurityStatus { must(f.get(s.master, "alpha")); return s.master.Status.Security }).ShouldNot(BeNil())
	s.loads(mode.Authentication == v1alpha1.AuthenticationSharedCertificate)
	s.connected(map[v1alpha1.SecurityMode]int32{})
	return s
}

// connected is what the active master reports of the two nodes: how many connected in which way.
func (s *securing) connected(by map[v1alpha1.SecurityMode]int32) {
	GinkgoHelper()
	must(s.get(s.refinery, "press"))
	status := s.refinery.Status.DeepCopy()
	status.Reporter = &v1alpha1.Reporter{Pod: "alpha-0", Epoch: 1}
	status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAuthenticated,
		LastTransitionTime: metav1.NewTime(time.Now())}}
	status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 2, Wanted: 2, Summary: "2/2"}
	for mode, nodes := range by {
		status.Authenticated.Security = append(status.Authenticated.Security, v1alpha1.NodesOfMode{SecurityMode: mode, Nodes: nodes})
	}
	Expect(api.Status().Apply(s.ctx, masterfields.OfRefinery(s.refinery.Namespace, "press", status),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

func (s *securing) secure(mode v1alpha1.SecurityMode, overlap string) {
	GinkgoHelper()
	change(s.fixture, s.master, func(m *v1alpha1.ClusterMaster) {
		m.Spec.Security = v1alpha1.SecuritySpec{Transport: mode.Transport, Authentication: mode.Authentication, Overlap: overlap}
	})
}

// loaded is what the active master reports when it has the shared certificate too.
func (s *securing) loaded() {
	GinkgoHelper()
	s.loads(true)
}

// loads is what the active master reports of what it has loaded.
func (s *securing) loads(shared bool) {
	GinkgoHelper()
	must(s.get(s.master, "alpha"))
	status := s.master.Status.DeepCopy()
	status.Active.Certificate = status.Certificate.Fingerprint
	if shared {
		status.Active.SharedGeneration = v1alpha1.SharedGeneration(s.secret("alpha-shared").Data)
	}
	Expect(api.Status().Apply(s.ctx, masterfields.OfClusterMaster(s.master.Namespace, "alpha", status),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

// shared is what the Secret of the shared certificate holds.
func (s *securing) shared() string {
	data := s.secret("alpha-shared").Data
	text := string(data["certificate"])
	for _, key := range []string{"next", "former"} {
		if value, exists := data[key]; exists {
			text += ", " + key + " " + string(value)
		}
	}
	return text
}

func (s *securing) opaque(name, shared string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Data: map[string][]byte{"certificate": []byte(shared)}}
}

func (s *securing) provideShared(name string) {
	GinkgoHelper()
	change(s.fixture, s.master, func(m *v1alpha1.ClusterMaster) {
		m.Spec.Certificates.Shared = &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: name}}
	})
}

// transport is the one that the pods of the Refinery are started with, "" while there is no Deployment.
func (s *securing) transport() string {
	deployment := &appsv1.Deployment{}
	if s.get(deployment, "press") != nil {
		return ""
	}
	pod := deployment.Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, arg := range c.Args {
			if transport, ok := strings.CutPrefix(arg, "--transport="); ok {
				return transport
			}
		}
	}
	return ""
}

func (s *securing) masterMounts() (secrets []string) {
	deployment := &appsv1.Deployment{}
	must(s.get(deployment, "alpha"))
	for _, v := range deployment.Spec.Template.Spec.Volumes {
		if v.Secret != nil {
			secrets = append(secrets, v.Secret.SecretName)
		}
	}
	return secrets
}

func (s *securing) former() (former []v1alpha1.SecurityMode) {
	must(s.get(s.master, "alpha"))
	for _, f := range s.master.Status.Security.Former {
		former = append(former, f.SecurityMode)
	}
	return former
}

func (s *securing) movedTo() *v1alpha1.SecurityMode {
	must(s.get(s.refinery, "press"))
	return s.refinery.Status.Security
}

var _ = Describe("A change of spec.security", func() {
	It("lets nodes in as before until all have moved, and no longer", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.secure(byMutualTLS, "1h")
		changing := condition(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)
		Eventually(changing).Should(Equal("True/Moving"))
		Expect(message(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)()).To(HavePrefix(
			"spec.security changes from Plaintext to MutualTLS with IssuedCertificate: 0 of 1 Refineries have moved; waiting for press (0 of 2 nodes); nodes that connect as before are refused from "))
		Expect(condition(s.fixture, s.master, v1alpha1.ConditionTransportSecure)()).To(Equal("False/Plaintext"))
		Eventually(s.events(s.master)).Should(ContainElement(HavePrefix("Normal/SecurityChanging: spec.security changes from Plaintext")))
		Eventually(s.transport).Should(Equal("MutualTLS"))
		Expect(s.former()).To(Equal([]v1alpha1.SecurityMode{byPlaintext}))
		Expect(s.masterMounts()).To(ContainElement("alpha-shared"))
		Expect(s.secret("alpha-shared").Data).NotTo(BeEmpty())

		s.connected(map[v1alpha1.SecurityMode]int32{byPlaintext: 1, byMutualTLS: 1})
		Eventually(message(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(ContainSubstring("waiting for press (1 of 2 nodes)"))
		Expect(s.movedTo()).To(BeNil())

		s.connected(map[v1alpha1.SecurityMode]int32{byMutualTLS: 2})
		Eventually(changing).Should(BeEmpty())
		Expect(s.movedTo()).To(Equal(&byMutualTLS))
		Expect(s.former()).To(BeEmpty())
		Expect(condition(s.fixture, s.master, v1alpha1.ConditionTransportSecure)()).To(Equal("True/MutualTLS"))
		Eventually(s.events(s.master)).Should(ContainElement("Normal/SecurityChanged: nodes are let in by MutualTLS with IssuedCertificate alone, and with no former shared certificate"))
		Eventually(s.masterMounts).ShouldNot(ContainElement("alpha-shared"))
		Eventually(gone(s.fixture, &corev1.Secret{}, "alpha-shared")).Should(BeTrue())
	})

	It("keeps the certificates of the nodes until these need none, and revokes none then", func(ctx SpecContext) {
		s := securedBy(ctx, byMutualTLS)
		Eventually(condition(s.fixture, s.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		s.secure(byPlaintext, "1h")
		Eventually(condition(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(Equal("True/Moving"))
		s.loaded()
		Eventually(s.transport).Should(Equal("Plaintext"))
		settled()
		must(s.get(s.refinery, "press"))
		Expect(s.refinery.Status.Certificates).To(HaveLen(1))
		s.connected(map[v1alpha1.SecurityMode]int32{byPlaintext: 2})
		Eventually(gone(s.fixture, &corev1.Secret{}, "press-tls")).Should(BeTrue())
		must(s.get(s.refinery, "press"))
		Expect(s.refinery.Status.Certificates).To(BeEmpty())
		Expect(s.refinery.Status.Revoked).To(BeEmpty())
	})

	It("starts nodes anew only when the active master can let them in", func(ctx SpecContext) {
		s := securedBy(ctx, byMutualTLS)
		s.secure(byServerTLS, "1h")
		Eventually(s.masterMounts).Should(ContainElement("alpha-shared"))
		Eventually(message(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(Equal(
			"spec.security changes from MutualTLS with IssuedCertificate to ServerTLS when the active master has loaded the shared certificate; until then nodes connect as before"))
		Consistently(s.transport).Should(Equal("MutualTLS"))
		operatorClock.Step(61 * time.Minute) // the time for moving has not begun
		wake(s.fixture, s.master)
		settled()
		Expect(s.master.FormerModes()).To(HaveExactElements(HaveField("Transport", v1alpha1.TransportMutualTLS)))
		s.loaded()
		Eventually(s.transport).Should(Equal("ServerTLS"))
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byMutualTLS}))
	})

	It("is over when its time is, and says who had not moved", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.secure(byMutualTLS, "1h")
		Eventually(condition(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(Equal("True/Moving"))
		operatorClock.Step(59 * time.Minute)
		wake(s.fixture, s.master)
		settled()
		Expect(s.former()).NotTo(BeEmpty())
		operatorClock.Step(time.Minute)
		wake(s.fixture, s.master)
		Eventually(s.events(s.master)).Should(ContainElement(HavePrefix("Warning/SecurityOverlapEnded: ")))
		Expect(s.events(s.master)()).To(ContainElement(HaveSuffix("these Refineries have not moved: press (0 of 2 nodes)")))
		Expect(condition(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)()).To(BeEmpty())
		Expect(s.former()).To(BeEmpty())
	})

	It("takes effect at once with an overlap of 0s", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.secure(byMutualTLS, "0s")
		Eventually(condition(s.fixture, s.master, v1alpha1.ConditionTransportSecure)).Should(Equal("True/MutualTLS"))
		Expect(s.former()).To(BeEmpty())
		Expect(condition(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)()).To(BeEmpty())
	})

	It("that is taken back lets in who had moved already, and one after another keeps both", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.secure(byServerTLS, "1h")
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byPlaintext}))
		s.secure(byMutualTLS, "1h")
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byServerTLS, byPlaintext}))
		s.secure(byPlaintext, "1h")
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byMutualTLS, byServerTLS}))
		Expect(s.movedTo()).To(BeNil())
	})

	It("in several steps keeps closed what a Refinery has left at an earlier one", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.create(s.fixture.refinery("late", `{placement: External}`))
		s.secure(byServerTLS, "1h")
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byPlaintext}))
		s.connected(map[v1alpha1.SecurityMode]int32{byServerTLS: 2})
		Eventually(s.movedTo).Should(Equal(&byServerTLS))
		s.secure(byMutualTLS, "1h")
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byServerTLS, byPlaintext}))
		settled()
		Expect(s.movedTo()).To(Equal(&byServerTLS))
		s.connected(map[v1alpha1.SecurityMode]int32{byMutualTLS: 2})
		Eventually(s.movedTo).Should(Equal(&byMutualTLS))
	})

	It("to what a Refinery had moved to long ago, does not count as moved", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.secure(byServerTLS, "1h")
		Eventually(s.former).ShouldNot(BeEmpty())
		s.connected(map[v1alpha1.SecurityMode]int32{byServerTLS: 2})
		Eventually(s.movedTo).Should(Equal(&byServerTLS))
		Eventually(s.former).Should(BeEmpty())
		s.secure(byPlaintext, "1h")
		Eventually(s.movedTo).Should(BeNil())
		Eventually(s.former).Should(Equal([]v1alpha1.SecurityMode{byServerTLS}))
	})

	It("of the shared certificate gives masters the new one first, then nodes, and lets the former one in for the overlap", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.loaded()
		own := s.shared()
		s.create(s.opaque("plant-shared", "one that is long enough"))
		s.provideShared("plant-shared")
		Eventually(s.shared).Should(Equal(own + ", next one that is long enough"))
		Eventually(message(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(ContainSubstring("nodes get the new one when the active master has loaded it"))
		settled()
		Expect(s.shared()).To(Equal(own + ", next one that is long enough"))
		s.loaded()
		Eventually(s.shared).Should(Equal("one that is long enough, former " + own))
		Eventually(message(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(ContainSubstring("the former shared certificate is let in until "))
		operatorClock.Step(61 * time.Minute)
		wake(s.fixture, s.master)
		Eventually(s.shared).Should(Equal("one that is long enough"))
		Eventually(condition(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(BeEmpty())
	})

	DescribeTable("of the shared certificate keeps the one in use while what is provided is not good",
		func(ctx SpecContext, slip func(*securing), reason string) {
			s := securedBy(ctx, byPlaintext)
			s.loaded()
			s.create(s.opaque("plant-shared", "one that is long enough"))
			s.provideShared("plant-shared")
			Eventually(s.shared).Should(ContainSubstring(", next one"))
			s.loaded()
			Eventually(s.shared).Should(HavePrefix("one that is long enough, former "))
			mounts := s.masterMounts()
			slip(s)
			Eventually(condition(s.fixture, s.master, v1alpha1.ConditionCertificateReady)).Should(Equal("False/" + reason))
			settled()
			Expect(s.shared()).To(HavePrefix("one that is long enough, former "))
			Expect(s.masterMounts()).To(Equal(mounts))
		},
		Entry("as its Secret is deleted", func(s *securing) { Expect(api.Delete(s.ctx, s.secret("plant-shared"))).To(Succeed()) }, "SecretNotFound"),
		Entry("as its Secret is misspelt", func(s *securing) { s.provideShared("plant-shraed") }, "SecretNotFound"),
		Entry("as its Secret is emptied", func(s *securing) {
			change(s.fixture, s.secret("plant-shared"), func(c *corev1.Secret) { c.Data = nil })
		}, "SecretKeyMissing"),
		Entry("as it is too short", func(s *securing) {
			change(s.fixture, s.secret("plant-shared"), func(c *corev1.Secret) { c.Data["certificate"] = []byte("guess me") })
		}, "TooShort"),
	)

	It("of the shared certificate takes effect at once with an overlap of 0s", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.secure(byPlaintext, "0s")
		s.create(s.opaque("plant-shared", "one that is long enough"))
		s.provideShared("plant-shared")
		Eventually(s.shared).Should(Equal("one that is long enough"))
	})

	It("waits for no Refinery that wants no nodes", func(ctx SpecContext) {
		s := securedBy(ctx, byPlaintext)
		s.create(s.fixture.refinery("none", `{replicas: 0}`))
		s.secure(byMutualTLS, "1h")
		Eventually(message(s.fixture, s.master, v1alpha1.ConditionSecurityChanging)).Should(ContainSubstring("1 of 2 Refineries have moved"))
	})
})
