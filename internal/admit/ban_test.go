package admit

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
)

func (s *scene) ban(bans ...v1alpha1.NodeBan) {
	s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Banned = bans }, s.press)
}

func TestABannedNodeIsDeniedAndItsSessionEnds(t *testing.T) {
	const stolen = "spec.banned of the Refinery names it: stolen"
	until := func(s *scene, d time.Duration) *metav1.Time { return &metav1.Time{Time: s.clock.Now().Add(d)} }
	for name, test := range map[string]struct {
		ban    func(s *scene) v1alpha1.NodeBan
		banned bool
	}{
		"by its id": {func(*scene) v1alpha1.NodeBan { return v1alpha1.NodeBan{ID: "press/a", Reason: "stolen"} }, true},
		"by its certificate": {func(s *scene) v1alpha1.NodeBan {
			return v1alpha1.NodeBan{Certificate: v1alpha1.Fingerprint(s.press.Leaf), Reason: "stolen"}
		}, true},
		"for a time": {func(s *scene) v1alpha1.NodeBan {
			return v1alpha1.NodeBan{ID: "press/a", Reason: "stolen", Until: until(s, time.Hour)}
		}, true},
		"for a time that is over": {func(s *scene) v1alpha1.NodeBan {
			return v1alpha1.NodeBan{ID: "press/a", Reason: "stolen", Until: until(s, 0)}
		}, false},
		"another id": {func(*scene) v1alpha1.NodeBan { return v1alpha1.NodeBan{ID: "press/ab", Reason: "stolen"} }, false},
		"another certificate": {func(s *scene) v1alpha1.NodeBan {
			return v1alpha1.NodeBan{Certificate: v1alpha1.Fingerprint(s.pump.Leaf), Reason: "stolen"}
		}, false},
	} {
		for _, security := range all(issuedMutualTLS, sharedMutualTLS) {
			t.Run(name+"/"+string(security.Authentication), func(t *testing.T) {
				s := newScene(t)
				s.share(secret)
				s.secure(security)
				at := with(s.press, "press/a")
				if security == sharedMutualTLS {
					at.presented = secret
				}
				live, denial := s.try(at)
				check(t, live, denial, granted("press"), "")
				s.ban(test.ban(s))
				grant, denial := s.try(at)
				ended := s.authenticator().Review(live)
				if !test.banned {
					check(t, grant, denial, granted("press"), "")
					check(t, live, ended, granted("press"), "")
					return
				}
				check(t, grant, denial, denied(v1alpha1.ReasonBanned, "press"), stolen)
				check(t, nil, ended, verdict{v1alpha1.NodeClosed, v1alpha1.ReasonBanned, "press"}, stolen)
			})
		}
	}
}

func TestABanOfOneRefineryDoesNotConcernANodeOfTheSameIDOfAnother(t *testing.T) {
	s := newScene(t)
	s.ban(v1alpha1.NodeBan{ID: "uuid", Reason: "stolen"})
	grant, denial := s.try(with(s.pump, "uuid"))
	check(t, grant, denial, granted("pump"), "")
	grant, denial = s.try(with(s.press, "uuid"))
	check(t, grant, denial, denied(v1alpha1.ReasonBanned, "press"), "")
	grant, denial = s.try(with(admittest.Issue(s.authority, "press"), "uuid")) // not listed: the ban says more
	check(t, grant, denial, denied(v1alpha1.ReasonBanned, "press"), "")
}

func TestWhileSecurityChangesABanByCertificateIsNotPassedByAsBefore(t *testing.T) {
	for _, from := range all(sharedServerTLS, sharedPlain) {
		for _, to := range all(issuedMutualTLS, sharedMutualTLS) {
			t.Run(from.Mode().String()+" to "+to.Mode().String(), func(t *testing.T) {
				s := newScene(t)
				s.change(from, to)
				live, denial := s.try(s.connecting(from))
				check(t, live, denial, granted("press"), "")
				ends := metav1.NewTime(s.clock.Now().Add(time.Second))
				s.ban(v1alpha1.NodeBan{Certificate: v1alpha1.Fingerprint(s.press.Leaf), Reason: "stolen", Until: &ends})
				check(t, nil, s.authenticator().Review(live), verdict{v1alpha1.NodeClosed, v1alpha1.ReasonSecurityChanged, "press"}, "names a certificate")
				grant, denial := s.try(s.connecting(from))
				check(t, grant, denial, denied(v1alpha1.ReasonSecurityChanged, "press"), "names a certificate")
				grant, denial = s.try(s.connecting(to))
				if denial == nil {
					t.Errorf("let in by %s", grant.Mode)
				}
				s.clock.SetTime(ends.Time)
				grant, denial = s.try(s.connecting(from))
				check(t, grant, denial, granted("press"), "")
			})
		}
	}
}
