package admit

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// change brings spec.security from one choice to another, as a master sees it after the operator: for a minute both hold.
func (s *scene) change(from, to v1alpha1.SecuritySpec) (until time.Time) {
	until = s.clock.Now().Add(time.Minute)
	s.share("open sesame, please")
	s.setMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Security = to
		m.Status.Security = &v1alpha1.SecurityStatus{SecurityMode: to.Mode(),
			Former: []v1alpha1.FormerSecurity{{SecurityMode: from.Mode(), Until: metav1.NewTime(until)}}}
	})
	return until
}

// connecting is press/a as a choice of spec.security has it connect.
func (s *scene) connecting(security v1alpha1.SecuritySpec) attempt {
	at := with(s.press, "press/a")
	if security.Authentication == v1alpha1.AuthenticationSharedCertificate {
		at.presented = "open sesame, please"
	}
	if security.Transport != v1alpha1.TransportMutualTLS {
		at.peer = nil
	}
	at.bare = security.Transport == v1alpha1.TransportPlaintext
	return at
}

func (s *scene) moved(to v1alpha1.SecuritySpec) {
	s.setRefinery("press", func(r *v1alpha1.Refinery) {
		mode := to.Mode()
		r.Status.Security = &mode
	}, s.press)
}

var everySecurity = all(issuedMutualTLS, sharedMutualTLS, sharedServerTLS, sharedPlain)

// eachChange runs a test for every change from one choice to another.
func eachChange(t *testing.T, test func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec)) {
	t.Helper()
	for _, from := range everySecurity {
		for _, to := range everySecurity {
			if from != to {
				t.Run(from.Mode().String()+" to "+to.Mode().String(), func(t *testing.T) { test(t, newScene(t), from, to) })
			}
		}
	}
}

func TestWhileSecurityChangesNodesAreLetInAsBeforeAndAsItIsNow(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		until := s.change(from, to)
		for _, by := range all(from, to) {
			grant, denial := s.try(s.connecting(by))
			check(t, grant, denial, granted("press"), "")
			if grant == nil {
				continue
			}
			if grant.Mode != by.Mode() {
				t.Errorf("a node that connected by %s counts as by %s", by.Mode(), grant.Mode)
			}
			if denial := s.authenticator().Review(grant); denial != nil {
				t.Errorf("a session by %s may not stay: %s", by.Mode(), denial.Message)
			}
			if end := s.authenticator().Until(grant); by == from && !end.Equal(until) {
				t.Errorf("a session by %s is looked at again at %s, want %s", by.Mode(), end, until)
			}
		}
	})
}

func TestNobodyIsLetInByAnotherModeThanTheseTwo(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		if from == sharedPlain || to == sharedPlain {
			t.Skip("plaintext takes a node by any transport")
		}
		s.change(from, to)
		grant, denial := s.try(s.connecting(sharedPlain))
		check(t, grant, denial, denied(v1alpha1.ReasonSecurityChanged, ""), "connect again with TLS")
	})
}

// closes has something end the former mode while a node of press is connected by it.
func closes(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec, end func(until time.Time), says string) {
	t.Helper()
	until := s.change(from, to)
	grant, denial := s.try(s.connecting(from))
	check(t, grant, denial, granted("press"), "")
	end(until)
	check(t, nil, s.authenticator().Review(grant), verdict{v1alpha1.NodeClosed, v1alpha1.ReasonSecurityChanged, "press"}, says)
	if grant, denial := s.try(s.connecting(from)); denial == nil && grant.Mode == from.Mode() {
		t.Error("let in as before")
	}
	grant, denial = s.try(s.connecting(to))
	check(t, grant, denial, granted("press"), "")
}

func TestAfterItsTimeNobodyIsLetInAsBefore(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		closes(t, s, from, to, func(until time.Time) { s.clock.SetTime(until.Add(time.Millisecond)) }, "the time for moving ended")
	})
}

func TestARefineryThatHasMovedIsNotLetInAsBefore(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		closes(t, s, from, to, func(time.Time) { s.moved(to) }, "none may go back")
	})
}

// Another Refinery of the same master still moves, and one that moved in an earlier change may move back.
func TestMovingIsARefinerysOwn(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		s.change(from, to)
		s.setRefinery("pump", func(r *v1alpha1.Refinery) {
			mode := to.Mode()
			r.Status.Security = &mode
		}, s.pump)
		s.moved(from)
		grant, denial := s.try(s.connecting(from))
		check(t, grant, denial, granted("press"), "")
	})
}

func TestWhileSecurityChangesSuspendedAndRevokedOnesAreLetInByNeither(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		s.change(from, to)
		s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, s.press)
		for _, by := range all(from, to) {
			if grant, denial := s.try(s.connecting(by)); denial == nil {
				t.Errorf("a suspended Refinery is let in by %s", grant.Mode)
			}
		}
		s.setRefinery("press", func(r *v1alpha1.Refinery) {
			r.Status.Revoked = []v1alpha1.RevokedCertificate{{Fingerprint: v1alpha1.Fingerprint(s.press.Leaf), Secret: "press-tls"}}
		}, s.press)
		if !to.Mode().ChecksCertificates() {
			return // by then nobody's certificate counts
		}
		for _, by := range all(from, to) {
			if grant, denial := s.try(s.connecting(by)); denial == nil {
				t.Errorf("a Refinery with a revoked certificate is let in by %s", grant.Mode)
			}
		}
	})
}

// Until the operator has looked, a master holds on to what it knows: it may see the spec first.
func TestBeforeTheOperatorHasLookedNodesAreLetInAsBefore(t *testing.T) {
	eachChange(t, func(t *testing.T, s *scene, from, to v1alpha1.SecuritySpec) {
		s.share("open sesame, please")
		before := func(overlap string) {
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security, m.Spec.Security.Overlap = to, overlap
				m.Status.Security = &v1alpha1.SecurityStatus{SecurityMode: from.Mode()}
			})
		}
		before("1h")
		grant, denial := s.try(s.connecting(from))
		check(t, grant, denial, granted("press"), "")
		before("0s")
		if denial := s.authenticator().Review(grant); denial == nil {
			t.Error("with an overlap of 0s the session stays")
		}
	})
}

func TestARefineryDoesNotGoBackToWhatItLeftAtAnEarlierStep(t *testing.T) {
	s := newScene(t)
	s.change(sharedServerTLS, issuedMutualTLS)
	s.setMaster(func(m *v1alpha1.ClusterMaster) {
		until := metav1.NewTime(s.clock.Now().Add(time.Minute))
		m.Spec.Security = issuedMutualTLS
		m.Status.Security = &v1alpha1.SecurityStatus{SecurityMode: issuedMutualTLS.Mode(),
			Former: []v1alpha1.FormerSecurity{
				{SecurityMode: sharedServerTLS.Mode(), Until: until},
				{SecurityMode: sharedPlain.Mode(), Until: until}}}
	})
	s.moved(sharedServerTLS)
	grant, denial := s.try(s.connecting(sharedServerTLS))
	check(t, grant, denial, granted("press"), "")
	grant, denial = s.try(s.connecting(sharedPlain))
	check(t, grant, denial, denied(v1alpha1.ReasonSecurityChanged, "press"), "had connected by ServerTLS, and none may go back")
}

func TestWhoProvesToBeOfOneRefineryIsNotLetInAsAnother(t *testing.T) {
	for _, to := range all(sharedServerTLS, sharedPlain) {
		s := newScene(t)
		s.change(issuedMutualTLS, to)
		at := s.connecting(issuedMutualTLS)
		at.id, at.presented = "pump/a", "open sesame, please"
		grant, denial := s.try(at)
		if denial == nil {
			t.Errorf("let in as %s by %s", grant.Refinery, grant.Mode)
		}
	}
}

func TestTheFormerSharedCertificateIsLetInUntilItsEnd(t *testing.T) {
	s := newScene(t)
	s.secure(sharedServerTLS)
	until := s.clock.Now().Add(time.Minute)
	s.trust = s.trust.WithShared([]byte("the new one, long enough"), []byte("the next, long enough too")).AndShared([]byte("open sesame, please"), until)
	grant, denial := s.try(s.connecting(sharedServerTLS))
	check(t, grant, denial, granted("press"), "")
	if end := s.authenticator().Until(grant); !end.Equal(until) {
		t.Errorf("looked at again at %s, want %s", end, until)
	}
	for _, shared := range []string{"the new one, long enough", "the next, long enough too"} {
		at := s.connecting(sharedServerTLS)
		at.presented = shared
		current, denial := s.try(at)
		check(t, current, denial, granted("press"), "")
		if end := s.authenticator().Until(current); !end.IsZero() {
			t.Errorf("a session with %q ends at %s", shared, end)
		}
	}
	s.clock.SetTime(until.Add(time.Millisecond))
	check(t, nil, s.authenticator().Review(grant), verdict{v1alpha1.NodeClosed, v1alpha1.ReasonSharedCertificateMismatch, "press"}, "")
	grant, denial = s.try(s.connecting(sharedServerTLS))
	check(t, grant, denial, denied(v1alpha1.ReasonSharedCertificateMismatch, ""), "")
}
