package master

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

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
			s.trust.Shared, s.trust.HasShared = sha256.Sum256(nil), false
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
			a := with(newAuthority(s.T, "x").forRefinery(s.T, "alpha", "plant", "press"), "press")
			a.presented = secret
			return a
		}, verdict{v1alpha1.NodeDenied, v1alpha1.ReasonWrongAuthority, ""}},
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
	tests := []struct {
		name   string
		change func(s *scene)
		want   string
	}{
		{"nothing", func(*scene) {}, ""},
		{"another label on the Refinery", func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Labels = map[string]string{"a": "b"} }, s.press)
		}, ""},
		{"narrower versions do not", func(s *scene) {
			s.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = ">=5.0.0" })
		}, ""},
		{"suspended", func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, s.press)
		}, v1alpha1.ReasonSuspended},
		{"deleted", func(s *scene) { s.directory.DeleteRefinery("press") }, v1alpha1.ReasonDenied},
		{"its fingerprint is gone", func(s *scene) { s.setRefinery("press", func(*v1alpha1.Refinery) {}, s.pump) }, v1alpha1.ReasonCertificateNotListed},
		{"its certificate expired", func(s *scene) { s.clock.SetTime(s.press.Leaf.NotAfter.Add(time.Second)) }, v1alpha1.ReasonExpired},
		{"its authority is gone", func(s *scene) { s.trust = trusting(newAuthority(s.T, "new")) }, v1alpha1.ReasonWrongAuthority},
		{"its authority stays beside a new one", func(s *scene) { s.trust = trusting(newAuthority(s.T, "new"), s.authority) }, ""},
		{"the transport changed", func(s *scene) {
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
			})
		}, v1alpha1.ReasonDenied},
		{"the ClusterMaster is gone", func(s *scene) { s.directory.SetMaster(nil) }, v1alpha1.ReasonDenied},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			grant, denial := s.try(with(s.press, "press/a"))
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
	t.Run("another shared certificate", func(t *testing.T) {
		s := newScene(t)
		s.share("one")
		s.setMaster(func(m *v1alpha1.ClusterMaster) {
			m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate}
		})
		grant, denial := s.try(bare("press", "one"))
		if denial != nil {
			t.Fatal(denial)
		}
		if denial := s.authenticator().Review(grant); denial != nil {
			t.Error(denial)
		}
		s.share("two")
		if denial := s.authenticator().Review(grant); denial == nil || denial.Reason != v1alpha1.ReasonSharedCertificateMismatch {
			t.Errorf("reviewed: %v", denial)
		}
	})
}
