package admit

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// directory is a Directory of what a test puts into it.
type directory struct {
	policy     *Policy
	refineries map[string]*v1alpha1.Refinery
}

func (d *directory) Policy() *Policy                         { return d.policy }
func (d *directory) Refinery(name string) *v1alpha1.Refinery { return d.refineries[name] }

func (d *directory) Membership() *Membership {
	return NewMembership(slices.Collect(maps.Values(d.refineries)))
}

func (d *directory) Listing(fingerprint string) (names []string) {
	for name, r := range d.refineries {
		if slices.ContainsFunc(r.Status.Certificates, func(c v1alpha1.ListedCertificate) bool { return c.Fingerprint == fingerprint }) {
			names = append(names, name)
		}
	}
	return names
}

// scene is an Authenticator's world: the ClusterMaster plant/alpha, and whom it trusts.
type scene struct {
	*testing.T
	directory *directory
	trust     *Trust
	clock     *clocktesting.FakeClock
	authority *pkitest.Authority
	// press and pump are certificates of the Refineries of these names.
	press, pump tls.Certificate
}

// emptyScene has no Refinery.
func emptyScene(t *testing.T, authority *pkitest.Authority) *scene {
	t.Helper()
	s := &scene{T: t, directory: &directory{refineries: map[string]*v1alpha1.Refinery{}}, trust: trusting(authority),
		clock: clocktesting.NewFakeClock(time.Now()), authority: authority}
	s.setMaster(func(*v1alpha1.ClusterMaster) {})
	return s
}

// newScene has the Refineries press and pump, each of which lists its certificate.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := emptyScene(t, pkitest.NewAuthority("plant"))
	s.press, s.pump = admittest.Issue(s.authority, "press"), admittest.Issue(s.authority, "pump")
	s.setRefinery("press", func(*v1alpha1.Refinery) {}, s.press)
	s.setRefinery("pump", func(*v1alpha1.Refinery) {}, s.pump)
	return s
}

func trusting(authorities ...*pkitest.Authority) *Trust {
	return new(Trust).WithAnchors(anchors(authorities...))
}

func anchors(authorities ...*pkitest.Authority) (anchors []*x509.Certificate) {
	for _, a := range authorities {
		anchors = append(anchors, a.Certificate)
	}
	return anchors
}

func (s *scene) share(secret string) { s.trust = s.trust.WithShared([]byte(secret)) }

func (s *scene) setMaster(edit func(*v1alpha1.ClusterMaster)) {
	s.directory.policy = NewPolicy(admittest.ClusterMaster(edit))
}

// What spec.security may be.
var (
	issuedMutualTLS = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationIssuedCertificate}
	sharedMutualTLS = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
	sharedServerTLS = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
	sharedPlain     = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate}
)

func (s *scene) secure(security v1alpha1.SecuritySpec) {
	s.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Security = security })
}

func (s *scene) setRefinery(name string, edit func(*v1alpha1.Refinery), listed ...tls.Certificate) {
	s.directory.refineries[name] = admittest.Refinery(name, edit, listed...)
}

func (s *scene) authenticator() *Authenticator {
	return &Authenticator{Directory: s.directory, Trust: func() *Trust { return s.trust }, Clock: s.clock}
}
