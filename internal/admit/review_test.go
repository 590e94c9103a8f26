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

//
func TestSharedCertificate(t *testing.T) {
	const secret = "open sesame"
	tests := []struct {
		name      string
		transport v1alpha1.Transport
		try       func(s *scene) attempt
		want      verdict
	}{
		{"is let in over plaintext", v1alpha1.TransportPlaintext, func(*scene) attempt { return bare("press/a", secret) }, verdict{Refinery: "press"}},
		{"white space around it is nothing", v1alpha1.TransportPlaintext, func(*scene) attempt { return bare("press", " "+secret+"\n") }, verdict{Refinery: "press"}},
		{"another one", v1alpha1.TransportPlaintext, func(*scene) attempt { return bare("press", "open sesam") },
			verdict{v1alpha1.NodeDenied, v1alpha1.ReasonSharedCertificateMismatch, ""}},
		{"none", v1alpha1.TransportServerTLS, func(*scene) attempt { return bare("press", "") },
			verdict{v1alpha1.NodeDenied, v1alpha1.ReasonSharedCertificateMismatch, ""}},
		{"none is loaded and none is sent", v1alpha1.TransportPlaintext, func(s *scene) attempt {
			s.trust = trusting(s.authority)
			return bare("press", "")
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonSharedCertificateMismatch, ""}},
		{"a name that does not exist", v1alpha1.TransportPlaintext, func(*scene) attempt { return bare("nobody/a", secret) },
			verdict{v1alpha1.NodeDenied, v1alpha1.ReasonIDMismatch, ""}},
		{"a path behind the name", v1alpha1.TransportPlaintext, func(*scene) attempt { return bare("press/../pump", secret) },
			verdict{v1alpha1.NodeDenied, v1alpha1.ReasonIDMismatch, "press"}},
		{"suspended", v1alpha1.TransportPlaintext, func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended })
			return bare("press", secret)
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonSuspended, "press"}},
		{"under mutual TLS a certificate of the authority is needed too", v1alpha1.TransportMutualTLS, func(s *scene) attempt {
			a := with(admittest.Issue(pkitest.NewAuthority("x"), "press"), "press")
			a.presented = secret
			return a
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonWrongAuthority, ""}},
		{"under mutual TLS a certificate that is no longer listed", v1alpha1.TransportMutualTLS, func(s *scene) attempt {
			s.setRefinery("press", func(*v1alpha1.Refinery) {})
			a := with(s.press, "press")
			a.presented = secret
			return a
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonCertificateNotListed, "press"}},
		{"under mutual TLS a previous certificate after its overlap", v1alpha1.TransportMutualTLS, func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Status.Certificates[0].Until = &metav1.Time{Time: s.clock.Now().Add(-time.Second)}
			}, s.press)
			a := with(s.press, "press")
			a.presented = secret
			return a
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonCertificateNotListed, "press"}},
		{"under mutual TLS the certificate of another Refinery", v1alpha1.TransportMutualTLS, func(s *scene) attempt {
			a := with(s.press, "pump")
			a.presented = secret
			return a
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonCertificateNotListed, "pump"}},
		{"under mutual TLS one certificate that several Refineries list", v1alpha1.TransportMutualTLS, func(s *scene) attempt {
			s.setRefinery("pump", func(*v1alpha1.Refinery) {}, s.press)
			a := with(s.press, "pump/a")
			a.presented = secret
			return a
		}, verdict{Refinery: "pump"}},
		{"under mutual TLS", v1alpha1.TransportMutualTLS, func(s *scene) attempt {
			a := with(s.press, "press")
			a.presented = secret
			return a
		}, verdict{Refinery: "press"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			s.share(secret)
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security = v1alpha1.SecuritySpec{Transport: test.transport, Authentication: v1alpha1.AuthenticationSharedCertificate}
			})
			grant, denial := s.try(test.try(s))
			check(t, grant, denial, test.want, "")
		})
	}
}

func bare(id, presented string) attempt {
	return attempt{id: id, version: "0.1.0", kind: "refinery", presented: presented}
}

func TestWhatEndsALiveSession(t *testing.T) {
	issued := v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationIssuedCertificate}
	shared := v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
	bare := v1alpha1.SecuritySpec{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate}
	tests := []struct {
		name     string
		security []v1alpha1.SecuritySpec // each of them
		change   func(s *scene)
		want     string
	}{
		{"nothing", all(issued, shared, bare), func(*scene) {}, ""},
		{"another label on the Refinery", all(issued, shared, bare), func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Labels = map[string]string{"a": "b"} }, s.press)
		}, ""},
		{"narrower versions do not", all(issued, shared, bare), func(s *scene) {
			was := s.directory.policy
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security = v1alpha1.SecuritySpec{Transport: was.Transport, Authentication: was.Authentication}
				m.Spec.Protocol.AcceptedVersions = ">=5.0.0"
			})
		}, ""},
		{"suspended", all(issued, shared, bare), func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, s.press)
		}, v1alpha1.ReasonSuspended},
		{"deleted", all(issued, shared, bare), func(s *scene) { delete(s.directory.refineries, "press") }, v1alpha1.ReasonDenied},
		{"its fingerprint is gone", all(issued, shared), func(s *scene) { s.setRefinery("press", func(*v1alpha1.Refinery) {}, s.pump) }, v1alpha1.ReasonCertificateNotListed},
		{"no fingerprint is needed without TLS", all(bare), func(s *scene) { s.setRefinery("press", func(*v1alpha1.Refinery) {}) }, ""},
		{"its certificate expired", all(issued, shared), func(s *scene) { s.clock.SetTime(s.press.Leaf.NotAfter.Add(time.Second)) }, v1alpha1.ReasonExpired},
		{"its authority is gone", all(issued, shared), func(s *scene) { s.retrust(pkitest.NewAuthority("new")) }, v1alpha1.ReasonWrongAuthority},
		{"its authority stays beside a new one", all(issued, shared), func(s *scene) { s.retrust(pkitest.NewAuthority("new"), s.authority) }, ""},
		{"the transport changed", all(issued, shared, bare), func(s *scene) {
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
			})
		}, v1alpha1.ReasonDenied},
		{"another shared certificate", all(shared, bare), func(s *scene) { s.share("two") }, v1alpha1.ReasonSharedCertificateMismatch},
		{"the ClusterMaster is gone", all(issued, shared, bare), func(s *scene) { s.directory.policy = nil }, v1alpha1.ReasonDenied},
	}
	for _, test := range tests {
		for _, security := range test.security {
			t.Run(fmt.Sprintf("%s/%s/%s", test.name, security.Transport, security.Authentication), func(t *testing.T) {
				s := newScene(t)
				s.share("one")
				s.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Security = security })
				at := with(s.press, "press/a")
				if security != issued {
					at.presented = "one"
				}
				if security == bare {
					at.peer, at.bare = nil, true
				}
				grant, denial := s.try(at)
				if denial != nil {
					t.Fatal(denial)
				}
				test.change(s)
				got := ""
				if denial := s.authenticator().Review(grant); denial != nil {
					got = denial.Reason
					if denial.State != v1alpha1.NodeClosed || denial.Refinery != "press" {
						t.Errorf("denial = %+v", denial)
					}
				}
				if got != test.want {
					t.Errorf("reviewed: %q, want %q", got, test.want)
				}
			})
		}
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
		for _, authentication := range []v1alpha1.Authentication{v1alpha1.AuthenticationIssuedCertificate, v1alpha1.AuthenticationSharedCertificate} {
			t.Run(fmt.Sprintf("%s, %s", name, authentication), func(t *testing.T) {
				s := newScene(t)
				s.share("one")
				s.setMaster(func(m *v1alpha1.ClusterMaster) {
					m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: authentication}
				})
				at := s.chain(test.chain)
				if authentication == v1alpha1.AuthenticationSharedCertificate {
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
	at := with(leaf, "press/a")
	at.peer = append(at.peer, middle.Certificate)
	return at
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
