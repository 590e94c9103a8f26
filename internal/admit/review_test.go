package admit

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

const secret = "open sesame"

// sharing has the master know the secret.
func sharing(security v1alpha1.SecuritySpec) func(*scene) {
	return func(s *scene) {
		s.share(secret)
		s.secure(security)
	}
}

func bare(id, presented string) attempt {
	return attempt{id: id, version: "0.1.0", kind: "refinery", presented: presented}
}

//
func TestSharedCertificateLetsInUnderTheRefineryThatTheIDNames(t *testing.T) {
	run(t, []trial{
		{"is let in", func(*scene) attempt { return bare("press/a", secret) }, granted("press"), ""},
		{"white space around it is nothing", func(*scene) attempt { return bare("press", " "+secret+"\n") }, granted("press"), ""},
		{"another one", func(*scene) attempt { return bare("press", "open sesam") }, denied(v1alpha1.ReasonSharedCertificateMismatch, ""), ""},
		{"none over TLS", func(s *scene) attempt {
			s.secure(sharedServerTLS)
			return bare("press", "")
		}, denied(v1alpha1.ReasonSharedCertificateMismatch, ""), ""},
		{"none is loaded and none is sent", func(s *scene) attempt {
			s.trust = trusting(s.authority)
			return bare("press", "")
		}, denied(v1alpha1.ReasonSharedCertificateMismatch, ""), ""},
		{"a name that does not exist", func(*scene) attempt { return bare("nobody/a", secret) }, denied(v1alpha1.ReasonIDMismatch, ""), ""},
		{"not printable", func(*scene) attempt { return bare("press/\x07", secret) }, denied(v1alpha1.ReasonIDMismatch, ""), ""},
		{"suspended", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended })
			return bare("press", secret)
		}, denied(v1alpha1.ReasonSuspended, "press"), ""},
	}, sharing(sharedPlain))
}

func TestUnderMutualTLSASharedCertificateNeedsOneThatTheRefineryLists(t *testing.T) {
	run(t, []trial{
		{"of another authority", func(*scene) attempt {
			return with(admittest.Issue(pkitest.NewAuthority("x"), "press"), "press").presenting(secret)
		}, denied(v1alpha1.ReasonWrongAuthority, ""), ""},
		{"no longer listed", func(s *scene) attempt {
			s.setRefinery("press", func(*v1alpha1.Refinery) {})
			return with(s.press, "press").presenting(secret)
		}, denied(v1alpha1.ReasonCertificateNotListed, "press"), ""},
		{"a previous one after its overlap", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Status.Certificates[0].Until = &metav1.Time{Time: s.clock.Now().Add(-time.Second)}
			}, s.press)
			return with(s.press, "press").presenting(secret)
		}, denied(v1alpha1.ReasonCertificateNotListed, "press"), ""},
		{"of another Refinery", func(s *scene) attempt { return with(s.press, "pump").presenting(secret) },
			denied(v1alpha1.ReasonCertificateNotListed, "pump"), ""},
		{"one that several Refineries list", func(s *scene) attempt {
			s.setRefinery("pump", func(*v1alpha1.Refinery) {}, s.press)
			return with(s.press, "pump/a").presenting(secret)
		}, granted("pump"), ""},
		{"its own", func(s *scene) attempt { return with(s.press, "press").presenting(secret) }, granted("press"), ""},
	}, sharing(sharedMutualTLS))
}

// reviewed returns why press/a is no longer let in after a change; "" if it is.
func reviewed(t *testing.T, security v1alpha1.SecuritySpec, change func(s *scene)) string {
	t.Helper()
	s := newScene(t)
	s.share("one")
	s.secure(security)
	at := with(s.press, "press/a")
	if security != issuedMutualTLS {
		at.presented = "one"
	}
	if security == sharedPlain {
		at.peer, at.bare = nil, true
	}
	grant, denial := s.try(at)
	if denial != nil {
		t.Fatal(denial)
	}
	change(s)
	if denial = s.authenticator().Review(grant); denial == nil {
		return ""
	}
	if denial.State != v1alpha1.NodeClosed || denial.Refinery != "press" {
		t.Errorf("denial = %+v", denial)
	}
	return denial.Reason
}

func TestWhatEndsALiveSession(t *testing.T) {
	every, mutual := all(issuedMutualTLS, sharedMutualTLS, sharedPlain), all(issuedMutualTLS, sharedMutualTLS)
	tests := []struct {
		name     string
		security []v1alpha1.SecuritySpec // each of them
		change   func(s *scene)
		want     string
	}{
		{"nothing", every, func(*scene) {}, ""},
		{"another label on the Refinery", every, func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Labels = map[string]string{"a": "b"} }, s.press)
		}, ""},
		{"narrower versions do not", every, func(s *scene) {
			was := s.directory.policy
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security = v1alpha1.SecuritySpec{Transport: was.Mode().Transport, Authentication: was.Mode().Authentication}
				m.Spec.Protocol.AcceptedVersions = ">=5.0.0"
			})
		}, ""},
		{"suspended", every, func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, s.press)
		}, v1alpha1.ReasonSuspended},
		{"deleted", every, func(s *scene) { delete(s.directory.refineries, "press") }, v1alpha1.ReasonDenied},
		{"its fingerprint is gone", mutual, func(s *scene) { s.setRefinery("press", func(*v1alpha1.Refinery) {}, s.pump) }, v1alpha1.ReasonCertificateNotListed},
		{"it is revoked", mutual, func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Status.Revoked = []v1alpha1.RevokedCertificate{{Fingerprint: v1alpha1.Fingerprint(s.press.Leaf), Secret: "press-tls"}}
			}, s.press)
		}, v1alpha1.ReasonRevoked},
		{"no fingerprint is needed without TLS", all(sharedPlain), func(s *scene) { s.setRefinery("press", func(*v1alpha1.Refinery) {}) }, ""},
		{"its certificate expired", mutual, func(s *scene) { s.clock.SetTime(s.press.Leaf.NotAfter.Add(time.Second)) }, v1alpha1.ReasonExpired},
		{"its authority is gone", mutual, func(s *scene) { s.retrust(pkitest.NewAuthority("new")) }, v1alpha1.ReasonWrongAuthority},
		{"its authority stays beside a new one", mutual, func(s *scene) { s.retrust(pkitest.NewAuthority("new"), s.authority) }, ""},
		{"the transport changed", every, func(s *scene) { s.secure(sharedServerTLS) }, v1alpha1.ReasonSecurityChanged},
		{"another shared certificate", all(sharedMutualTLS, sharedPlain), func(s *scene) { s.share("two") }, v1alpha1.ReasonSharedCertificateMismatch},
		{"the ClusterMaster is gone", every, func(s *scene) { s.directory.policy = nil }, v1alpha1.ReasonDenied},
	}
	for _, test := range tests {
		for _, security := range test.security {
			t.Run(fmt.Sprintf("%s/%s/%s", test.name, security.Transport, security.Authentication), func(t *testing.T) {
				if got := reviewed(t, security, test.change); got != test.want {
					t.Errorf("reviewed: %q, want %q", got, test.want)
				}
			})
		}
	}
}

func TestASessionEndsWhenARefineryIsCreatedWhoseNameItsIDBears(t *testing.T) {
	s := newScene(t)
	grant, denial := s.try(with(s.press, "mill/1"))
	check(t, grant, denial, granted("press"), "")
	s.setRefinery("mill", func(*v1alpha1.Refinery) {})
	if denial := s.authenticator().Review(grant); denial == nil || denial.Reason != v1alpha1.ReasonIDMismatch {
		t.Errorf("reviewed: %v", denial)
	}
}

func all(s ...v1alpha1.SecuritySpec) []v1alpha1.SecuritySpec { return s }

// retrust has the master trust other authorities, and leaves the shared certificate alone.
func (s *scene) retrust(authorities ...*pkitest.Authority) {
	s.trust = s.trust.WithAnchors(anchors(authorities...))
}

// chained is a certificate of press with its intermediate, of which one, or the authority, ends before the others.
type chained struct {
	leaf, middle, authority time.Duration // from now
}

func TestASessionEndsWithTheFirstOfItsChain(t *testing.T) {
	const long = 10 * time.Hour
	for name, test := range map[string]struct {
		chain chained
		says  string
	}{
		"the leaf":         {chained{time.Hour, long, long}, "put in a new one"},
		"the intermediate": {chained{long, time.Hour, long}, "put in a chain that is valid now"},
		"the authority":    {chained{long, long, time.Hour}, "put in a chain that is valid now"},
	} {
		for _, security := range all(issuedMutualTLS, sharedMutualTLS) {
			t.Run(fmt.Sprintf("%s, %s", name, security.Authentication), func(t *testing.T) {
				s := newScene(t)
				s.share("one")
				s.secure(security)
				at := s.chain(test.chain)
				if security == sharedMutualTLS {
					at.presented = "one"
				}
				grant, denial := s.try(at)
				if denial != nil {
					t.Fatal(denial)
				}
				end := s.authenticator().Until(grant)
				if left := end.Sub(s.clock.Now()); left > time.Hour || left < time.Hour-2*time.Second {
					t.Errorf("it ends in %s, want an hour", left)
				}
				s.clock.SetTime(end)
				if denial := s.authenticator().Review(grant); denial != nil {
					t.Errorf("ended early: %v", denial)
				}
				s.clock.SetTime(end.Add(time.Millisecond))
				check(t, nil, s.authenticator().Review(grant), verdict{v1alpha1.NodeClosed, v1alpha1.ReasonExpired, "press"}, test.says)
				grant, denial = s.try(at)
				check(t, grant, denial, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonExpired, "press"}, test.says)
			})
		}
	}
}

// chain has press present an intermediate too, and lists it.
func (s *scene) chain(lives chained) attempt {
	s.Helper()
	ends := func(in time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = s.clock.Now().Add(in) }
	}
	top := pkitest.NewAuthority("plant", ends(lives.authority))
	middle := top.Intermediate("middle", ends(lives.middle))
	leaf := admittest.Issue(middle, "press", ends(lives.leaf))
	s.retrust(top)
	s.setRefinery("press", func(*v1alpha1.Refinery) {}, leaf)
	return with(leaf, "press/a", middle.Certificate)
}

// An authority that was prolonged with the same key vouches for what it signed before, in either form.
func TestASessionLastsAsLongAsTheBestChainThatLetsItIn(t *testing.T) {
	s := newScene(t)
	lasting := func(d time.Duration) *pkitest.Authority {
		return pkitest.NewAuthorityWithKey("plant", s.authority.Key, pkitest.Valid(s.clock.Now().Add(-time.Hour), s.clock.Now().Add(d)))
	}
	newer, older := lasting(100*time.Hour), lasting(time.Minute)
	for name, bundle := range map[string][]*pkitest.Authority{"older first": {older, newer}, "newer first": {newer, older}} {
		t.Run(name, func(t *testing.T) {
			s.retrust(bundle...)
			grant, denial := s.try(with(s.press, "press/a"))
			if denial != nil {
				t.Fatal(denial)
			}
			if end := s.authenticator().Until(grant); !end.Equal(s.press.Leaf.NotAfter) {
				t.Errorf("it ends at %s, and its certificate at %s", end, s.press.Leaf.NotAfter)
			}
			s.retrust(newer)
			if denial := s.authenticator().Review(grant); denial != nil {
				t.Error(denial)
			}
		})
	}
}
