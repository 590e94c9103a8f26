package operator

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// home is a namespace where a release may hold the Lease of its operators: with the permissions that come with the release.
func (s *site) home(releases ...string) string {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "home-"}}
	s.Expect(s.api.Create(s.t.Context(), namespace)).To(Succeed())
	for _, release := range releases {
		s.letElect(namespace.Name, release)
		s.letMark(namespace.Name, release)
	}
	return namespace.Name
}

func (s *site) letElect(namespace, release string) {
	s.t.Helper()
	s.grant(namespace, release, "leader_election_role.yaml", leaseSuffix)
}

func (s *site) letMark(namespace, release string) {
	s.t.Helper()
	s.grant(namespace, release, "mark_key_role.yaml", markKeySuffix)
}

// grant gives the user a Role that comes with a release, for the object of the release that has the suffix.
func (s *site) grant(namespace, release, file, suffix string) {
	s.t.Helper()
	manifest, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", file))
	s.Expect(err).NotTo(HaveOccurred())
	role := &rbacv1.Role{}
	s.Expect(yaml.UnmarshalStrict(manifest, role)).To(Succeed())
	role.Namespace, role.Name = namespace, release+suffix
	s.Expect(role.Rules[1].ResourceNames).To(Equal([]string{"refinery-operator" + suffix}))
	role.Rules[1].ResourceNames = []string{release + suffix}
	s.Expect(s.api.Create(s.t.Context(), role)).To(Succeed())
	binding := s.binding(namespace)
	binding.Name, binding.RoleRef.Kind, binding.RoleRef.Name = role.Name, "Role", role.Name
	s.Expect(s.api.Create(s.t.Context(), binding)).To(Succeed())
}

// everywhere gives the user the operator's role in all namespaces.
func (s *site) everywhere() {
	s.t.Helper()
	namespaced := s.binding("")
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: s.name}, RoleRef: namespaced.RoleRef, Subjects: namespaced.Subjects}
	s.Expect(s.api.Create(s.t.Context(), binding)).To(Succeed())
	s.t.Cleanup(func() {
		_ = s.api.Delete(context.Background(), binding)
		_ = s.api.Delete(context.Background(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: clusterClaim.Namespace, Name: clusterClaim.Name}})
	})
}

// release starts an operator of a release. Masters that it works on have its name as their image.
func (s *site) release(namespace, name string, watched ...string) *running {
	s.t.Helper()
	return s.startWith(s.user, Options{Release: Release{Namespace: namespace, Name: name}, Images: resource.Images{Master: name}, WatchNamespaces: watched})
}

// claims makes only the claims of a release: no operator runs.
func (s *site) claims(release string, clk clock.WithTicker, watched ...string) *claims {
	c := newClaims(release, nil, clk, logr.Discard())
	c.Use(s.api, s.api, watched)
	return c
}

// worksOn returns the image that the pods of a ClusterMaster have, which is the name of the release that works on it.
func (s *site) worksOn(namespace, master string) func() string {
	return func() string {
		d := &appsv1.Deployment{}
		if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: master}, d); err != nil {
			return err.Error()
		}
		return d.Spec.Template.Spec.Containers[0].Image
	}
}

const claimed = "refinery_operator_namespace_claimed"

func TestTwoReleasesInOneNamespaceWorkOnNamespacesOfTheirOwn(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	s.Expect(s.api.Create(t.Context(), s.binding(s.b))).To(Succeed())
	home := s.home("first", "second")
	first, second := s.release(home, "first", s.a), s.release(home, "second", s.b)
	s.works(s.a, "alpha")
	s.works(s.b, "alpha")
	s.Eventually(s.worksOn(s.a, "alpha")).Should(Equal("first"))
	s.Eventually(s.worksOn(s.b, "alpha")).Should(Equal("second"))
	for _, operator := range []*running{first, second} {
		s.Eventually(operator.probe("/readyz")).Should(HavePrefix("200"))
	}
}

func TestAReleaseIsRefusedTheNamespacesOfAnotherUntilThatEnds(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	s.Expect(s.api.Create(t.Context(), s.binding(s.b))).To(Succeed())
	home, away := s.home("first"), s.home("second")
	first := s.release(home, "first", s.a)
	s.works(s.a, "alpha")
	s.Eventually(first.probe("/readyz")).Should(HavePrefix("200"))

	second := s.release(away, "second", s.a, s.b)
	s.works(s.b, "alpha")
	s.Eventually(s.worksOn(s.b, "alpha")).Should(Equal("second"))
	s.Eventually(second.probe("/readyz")).Should(Equal("503 release " + home + "/first of the operator works in namespace " + s.a + ", so this one, " +
		away + "/second, does not: uninstall one of them, or take the namespace out of its watchNamespaces\n"))
	s.Expect(second.gauge(claimed, s.a)()).To(BeZero())
	s.Expect(second.gauge(claimed, s.b)()).To(Equal(1.))
	s.works(s.a, "beta")
	s.Eventually(s.worksOn(s.a, "beta")).Should(Equal("first"))
	s.Consistently(s.worksOn(s.a, "alpha"), "6s").Should(Equal("first"), "for longer than a claim lasts that is not renewed")
	s.Expect(first.probe("/readyz")()).To(HavePrefix("200"))

	first.stop()
	s.Eventually(s.worksOn(s.a, "alpha")).Should(Equal("second"))
	s.Eventually(s.worksOn(s.a, "beta")).Should(Equal("second"))
	s.Eventually(second.probe("/readyz")).Should(HavePrefix("200"))
	s.Expect(second.gauge(claimed, s.a)()).To(Equal(1.))
}

func TestOfTwoReleasesForAllNamespacesOneIsRefused(t *testing.T) {
	s := newSite(t)
	s.everywhere()
	home, away := s.home("first"), s.home("second")
	first := s.release(home, "first")
	s.Eventually(first.probe("/readyz")).Should(HavePrefix("200"))
	second := s.release(away, "second")
	s.Eventually(second.probe("/readyz")).Should(Equal("503 release " + home + "/first of the operator works in all namespaces, so this one, " +
		away + "/second, works in none: uninstall one of them, or set watchNamespaces of both\n"))
	s.Expect(second.gauge(claimed, "")()).To(BeZero())
	s.works(s.a, "alpha")
	s.Eventually(s.worksOn(s.a, "alpha")).Should(Equal("first"))

	// One that watches a namespace where the first works is refused that, and gets one where it does not.
	third := s.release(s.home("third"), "third", s.a, s.b)
	s.Eventually(third.probe("/readyz")).Should(And(HavePrefix("503"), ContainSubstring("first of the operator works in namespace "+s.a),
		Not(ContainSubstring(s.b))))
	s.works(s.b, "alpha")
	s.Eventually(s.worksOn(s.b, "alpha")).Should(Equal("third"))
	s.Eventually(first.gauge(claimed, s.b)).Should(BeZero())
	s.Expect(first.probe("/readyz")()).To(HavePrefix("200"), "it works where no other release does")
	third.stop()
	s.Eventually(s.worksOn(s.b, "alpha")).Should(Equal("first"))

	first.stop()
	s.Eventually(s.worksOn(s.a, "alpha")).Should(Equal("second"))
	s.Eventually(s.worksOn(s.b, "alpha")).Should(Equal("second"))
	s.Eventually(second.probe("/readyz")).Should(HavePrefix("200"))
}

func TestAReleaseThatIsRefusedTheClusterTakesNoNamespaceBeforeTheOther(t *testing.T) {
	s := newSite(t)
	s.everywhere()
	clk := clocktesting.NewFakeClock(time.Now())
	first, second := s.claims("x/first", clk), s.claims("x/second", clk)
	s.Expect(first.Holds(t.Context(), s.a)).To(BeZero())
	s.Expect(second.Holds(t.Context(), s.b)).NotTo(BeZero(), "although nobody works there")
}

func TestAReleaseForAllNamespacesThatWorksInNoneIsNotReady(t *testing.T) {
	s := newSite(t)
	s.everywhere()
	first := s.release(s.home("first"), "first", s.a)
	s.Eventually(first.gauge(claimed, s.a)).Should(BeEquivalentTo(1))
	s.works(s.a, "alpha")
	second := s.release(s.home("second"), "second")
	s.Eventually(second.probe("/readyz")).Should(ContainSubstring("first of the operator works in namespace " + s.a))
	s.works(s.b, "alpha")
	s.Eventually(second.probe("/readyz")).Should(HavePrefix("200"))
}

func TestAStandbyOfTheSameReleaseIsReadyAndGoesOnWhereTheFormerEnded(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	home := s.home("one")
	first := s.release(home, "one", s.a)
	s.Eventually(first.probe("/readyz")).Should(HavePrefix("200"))
	second := s.release(home, "one", s.a)
	s.Eventually(second.probe("/readyz")).Should(HavePrefix("200"))
	s.Expect(second.gauge(claimed, s.a)()).To(Equal(-1.), "it claims nothing")
	first.stop()
	s.works(s.a, "alpha")
	s.Eventually(second.gauge(claimed, s.a)).Should(Equal(1.))
	s.Expect(second.probe("/readyz")()).To(HavePrefix("200"))
}

func TestAnOperatorThatCannotBeElectedSaysSo(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	home := s.home()
	operator := s.release(home, "one", s.a)
	s.Eventually(operator.probe("/readyz")).Should(And(HavePrefix("503 the leader election fails, Lease "+home+"/one"+leaseSuffix), ContainSubstring("forbidden")))
	s.Expect(operator.gauge("refinery_operator_leader_election_failing", "")()).To(Equal(1.))
	s.letElect(home, "one")
	s.letMark(home, "one")
	s.Eventually(operator.probe("/readyz")).Should(HavePrefix("200"))
	s.Expect(operator.gauge("refinery_operator_leader_election_failing", "")()).To(BeZero())
	s.works(s.a, "alpha")
}

func TestAClaimIsTakenOnlyWhenItWasWatchedForLongEnough(t *testing.T) {
	s := newSite(t)
	clk := clocktesting.NewFakeClock(time.Now())
	first, second := s.claims("x/first", clk, s.a), s.claims("x/second", clk, s.a)
	holds := func(c *claims) bool {
		c.round(t.Context())
		return c.Holds(t.Context(), s.a) == 0
	}
	s.Expect(holds(first)).To(BeTrue())
	s.Expect(holds(second)).To(BeFalse())
	clk.Step(claimDuration)
	s.Expect(holds(second)).To(BeFalse(), "the API server may have been away meanwhile")
	s.Expect(holds(first)).To(BeTrue(), "nobody has taken it")
	for range 8 {
		clk.Step(claimInterval)
		s.Expect(holds(second)).To(BeFalse())
		s.Expect(holds(first)).To(BeTrue())
	}
	for range 3 {
		clk.Step(claimInterval)
		s.Expect(holds(second)).To(BeFalse())
	}
	s.Expect(first.Holds(t.Context(), s.a)).NotTo(BeZero(), "it gives up before another takes it")
	clk.Step(2 * claimInterval)
	s.Expect(holds(second)).To(BeTrue())
	s.Expect(holds(first)).To(BeFalse())
	s.Expect(first.Why()).To(MatchError(ContainSubstring("release x/second of the operator works in namespace " + s.a)))
}

func TestAReleaseForAllNamespacesRenewsTheirClaimsSeldom(t *testing.T) {
	s := newSite(t)
	s.everywhere()
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: s.a, Name: "alpha"}}
	s.Expect(s.api.Create(t.Context(), m)).To(Succeed())
	t.Cleanup(func() { _ = s.api.Delete(context.Background(), m) })
	clk := clocktesting.NewFakeClock(time.Now())
	c := s.claims("x/first", clk)
	s.Expect(c.Holds(t.Context(), s.a)).To(BeZero())
	writes, before := 0, ""
	for range 20 { // five minutes
		clk.Step(claimInterval)
		c.round(t.Context())
		lease := &coordinationv1.Lease{}
		s.Expect(s.api.Get(t.Context(), client.ObjectKey{Namespace: s.a, Name: namespaceClaim}, lease)).To(Succeed())
		if lease.ResourceVersion != before {
			writes, before = writes+1, lease.ResourceVersion
		}
		s.Expect(c.Holds(t.Context(), s.a)).To(BeZero())
	}
	s.Expect(writes).To(BeNumerically("<=", 5))
}

func TestAnOperatorIsNoStandbyOfOneThatIsGone(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	home := s.home("one")
	s.Expect(s.api.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "one" + leaseSuffix},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("gone"), LeaseDurationSeconds: ptr.To[int32](5), RenewTime: ptr.To(metav1.NowMicro())}})).To(Succeed())
	operator := s.release(home, "one", s.a)
	s.Eventually(operator.probe("/readyz")).Should(HavePrefix("503 no operator of this release is elected yet"))
	s.Eventually(operator.probe("/readyz")).Should(HavePrefix("200"))
	s.works(s.a, "alpha")
}

func TestTheLeasesOfTheOperatorHaveTheLabelsThatItIsGiven(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	home := s.home("first")
	s.Expect(s.api.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.a, Name: namespaceClaim}})).To(Succeed(),
		"one of an operator that was given none")
	s.startWith(s.user, Options{Release: Release{Namespace: home, Name: "first"}, Images: resource.Images{Master: "first"}, WatchNamespaces: []string{s.a},
		Labels: map[string]string{"team": "red"}})
	s.works(s.a, "alpha")
	s.Eventually(s.worksOn(s.a, "alpha")).Should(Equal("first"))
	for _, key := range []client.ObjectKey{{Namespace: s.a, Name: namespaceClaim}, {Namespace: home, Name: "first" + leaseSuffix}} {
		lease := &coordinationv1.Lease{}
		s.Expect(s.api.Get(t.Context(), key, lease)).To(Succeed())
		s.Expect(lease.Labels).To(HaveKeyWithValue("team", "red"), key.Name)
	}
}
