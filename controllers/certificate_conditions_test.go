package controllers

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

const day = 24 * time.Hour

// lasting is a certificate of some life with some of it left at statusTime.
func lasting(life, left time.Duration) *x509.Certificate {
	return &x509.Certificate{NotBefore: statusTime.Add(left - life), NotAfter: statusTime.Add(left)}
}

// told is a condition as "status/reason: message", or nothing.
func told(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s: %s", c.Status, c.Reason, c.Message)
}

func TestWhenACertificateIsWarnedOf(t *testing.T) {
	const brought = "the certificate in Secret press-own expires in %s, at %s; put a new one into the Secret before then"
	const issued = "the certificate in Secret press-tls expires in %s, at %s; it expires with the certificate authority of ClusterMaster alpha, which must be replaced before then"
	const hindered = "the certificate in Secret press-tls expires in %s, at %s; it was not renewed: AuthorityWithoutKey: bring one"
	tests := map[string]struct {
		life, left time.Duration
		message    string // without the end
		days       string
		again      time.Duration // until it is looked at again
	}{
		"more than 14 days left":                {90 * day, 14*day + time.Second, brought, "", time.Second},
		"14 days left":                          {90 * day, 14 * day, brought, "14 days", time.Second},
		"a day and a bit left":                  {90 * day, day + time.Hour, brought, "1 day", time.Hour + time.Second},
		"an hour left":                          {90 * day, time.Hour, brought, "less than a day", time.Hour + time.Second},
		"expired":                               {90 * day, -time.Second, brought, "", 0},
		"30 days, more than 14 left":            {30 * day, 14*day + time.Second, brought, "", time.Second},
		"30 days, 14 left":                      {30 * day, 14 * day, brought, "14 days", time.Second},
		"27 days, more than a third left":       {27 * day, 9*day + time.Second, brought, "", time.Second},
		"27 days, a third left":                 {27 * day, 9 * day, brought, "9 days", time.Second},
		"short, more than a third left":         {day, 8*time.Hour + time.Second, brought, "", time.Second},
		"short, a third left":                   {day, 8 * time.Hour, brought, "less than a day", 8*time.Hour + time.Second},
		"issued, renewal has time":              {90 * day, 15 * day, issued, "", day},
		"issued, renewal is late":               {90 * day, 14 * day, issued, "14 days", time.Second},
		"issued, renewed late by the spec":      {100 * day, 5*day + time.Second, issued, "", time.Second},
		"issued, short, renewal has time":       {2 * time.Minute, 21 * time.Second, issued, "", time.Second},
		"issued, short, renewal is late":        {2 * time.Minute, 20 * time.Second, issued, "less than a day", 21 * time.Second},
		"issued, and what keeps it from a next": {90 * day, 2 * day, hindered, "2 days", time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := refineryPassOf(func(s *refineryPass) {
				s.certificate.Leaf = lasting(test.life, test.left)
				if test.life == 100*day {
					s.master.Spec.Certificates = &v1alpha1.CertificatesSpec{RenewBefore: "240h"}
				}
				switch test.message {
				case brought:
					s.refinery.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: "press-own"}
					s.certificate.Secret = "press-own"
				case hindered:
					s.certificate.Condition = certificates.NotReady(v1alpha1.ReasonAuthorityWithoutKey, "bring one")
				}
			})
			want := ""
			if test.days != "" {
				want = "True/Expiring: " + fmt.Sprintf(test.message, test.days, statusTime.Add(test.left).Format(time.RFC3339))
			}
			status, agenda := refineryStatus(&s.refineryScope, s.refineryFindings, reconcile.Outcome{})
			if diff := cmp.Diff(want, told(status.Conditions, v1alpha1.ConditionCertificateExpiring)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := agenda.After(statusTime); got != test.again {
				t.Errorf("looked at again after %s, want %s", got, test.again)
			}
		})
	}
}

func TestWhatAClusterMasterWarnsOf(t *testing.T) {
	authority := func(s *masterPass, left time.Duration, key bool) {
		s.authority = goodAuthority(&pki.Authority{Certificates: []*x509.Certificate{lasting(3650*day, left)}})
		if key {
			s.authority.authority.Key = testAuthority(t).Key
		}
	}
	tests := map[string]struct {
		change func(*masterPass)
		want   string
	}{
		"all is well": {func(s *masterPass) {
			authority(s, 1000*day, true)
			s.certificate.Leaf = lasting(90*day, 80*day)
		}, ""},
		"its own authority": {func(s *masterPass) {
			authority(s, 10*day, true)
			s.certificate.Leaf = lasting(20*day, 10*day)
		}, "True/Expiring: the certificate authority in Secret alpha-ca expires in 10 days, at 2026-03-11T12:00:00Z; every certificate that it signed expires with it; condition CertificateAuthorityRotating says what blocks its replacement"},
		"both, brought": {func(s *masterPass) {
			s.master.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
			authority(s, 10*day, false)
			s.certificate.Leaf = lasting(90*day, 5*day)
		}, "True/Expiring: the certificate authority in Secret plant-ca expires in 10 days, at 2026-03-11T12:00:00Z; before then put the new authority first in tls.crt, " +
			"with its key in tls.key if you provide the key, and keep the old one after it until every node presents a certificate that the new one signed; " +
			"the certificate that the master serves, in Secret alpha-tls, expires in 5 days, at 2026-03-06T12:00:00Z; put a new one into the Secret before then"},
		"renewal is late": {func(s *masterPass) {
			authority(s, 1000*day, true)
			s.certificate.Leaf = lasting(90*day, 5*day)
			s.foundWrong(v1alpha1.ReasonNameConflict, "taken")
		}, "True/Expiring: the certificate that the master serves, in Secret alpha-tls, expires in 5 days, at 2026-03-06T12:00:00Z; it was not renewed: NameConflict: taken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := masterPassOf(test.change).status(reconcile.Outcome{})
			if diff := cmp.Diff(test.want, told(status.Conditions, v1alpha1.ConditionCertificateExpiring)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAWarningGoesWhenItIsOver(t *testing.T) {
	s := refineryPassOf(func(s *refineryPass) { s.certificate.Leaf = lasting(90*day, day) })
	s.refinery.Status = s.status(reconcile.Outcome{})
	if told(s.refinery.Status.Conditions, v1alpha1.ConditionCertificateExpiring) == "" {
		t.Fatal("no warning: the test shows nothing")
	}
	s.certificate.Leaf = lasting(90*day, 90*day)
	status := s.status(reconcile.Outcome{})
	if got := told(status.Conditions, v1alpha1.ConditionCertificateExpiring); got != "" {
		t.Error(got)
	}
}

func TestWhoPresentsAnotherCertificateThanTheCurrentOne(t *testing.T) {
	leaf := lasting(90*day, 80*day)
	current := v1alpha1.Fingerprint(leaf)
	short := current[:12] + "…"
	// nodes adds nodes that present a certificate; those above 100 are counted only.
	nodes := func(count int32, certificate string) func(*v1alpha1.RefineryStatus) {
		return func(status *v1alpha1.RefineryStatus) {
			if status.Authenticated == nil {
				status.Authenticated = &v1alpha1.AuthenticatedNodes{}
			}
			status.Authenticated.Nodes += count
			status.Authenticated.Certificates = append(status.Authenticated.Certificates, v1alpha1.PresentedCertificate{Fingerprint: certificate, Nodes: count})
			for i := range min(count, 100-int32(len(status.Nodes))) {
				status.Nodes = append(status.Nodes, v1alpha1.NodeStatus{ID: fmt.Sprintf("press/%.3s%03d", certificate, i), State: v1alpha1.NodeAuthenticated, Certificate: certificate})
			}
		}
	}
	const kubelet = "; they switch when the kubelet has updated the Secret in their pods, usually within two minutes"
	tests := map[string]struct {
		status []func(*v1alpha1.RefineryStatus)
		change func(*refineryPass)
		want   string
	}{
		"nobody yet": {nil, nil, "True/InSync: every authenticated node presents the current certificate"},
		"everybody":  {[]func(*v1alpha1.RefineryStatus){nodes(3, current)}, nil, "True/InSync: every authenticated node presents the current certificate"},
		"one other": {[]func(*v1alpha1.RefineryStatus){nodes(2, current), nodes(1, "old")}, nil,
			"False/OutdatedCertificate: 1 of 3 authenticated nodes present another certificate than the current one (" + short + ", Secret press-tls): press/old000" + kubelet},
		"outside": {[]func(*v1alpha1.RefineryStatus){nodes(1, "old")}, func(s *refineryPass) { s.refinery.Spec.Placement = v1alpha1.PlacementExternal },
			"False/OutdatedCertificate: 1 of 1 authenticated nodes present another certificate than the current one (" + short + ", Secret press-tls): press/old000; give them the new files of the Secret"},
		"ten are named": {[]func(*v1alpha1.RefineryStatus){nodes(12, "old"), nodes(1, "older")}, nil,
			"False/OutdatedCertificate: 13 of 13 authenticated nodes present another certificate than the current one (" + short +
				", Secret press-tls): press/old000, press/old001, press/old002, press/old003, press/old004, press/old005, press/old006, press/old007, press/old008, press/old009 and 3 more" + kubelet},
		"more than status.nodes lists": {[]func(*v1alpha1.RefineryStatus){nodes(150, current), nodes(30, "old")}, nil,
			"False/OutdatedCertificate: 30 of 180 authenticated nodes present another certificate than the current one (" + short +
				", Secret press-tls): none of them among those that status.nodes lists" + kubelet},
		"what is about to be current is not older": {[]func(*v1alpha1.RefineryStatus){nodes(1, current), nodes(1, "next"), func(status *v1alpha1.RefineryStatus) {
			status.Certificates = []v1alpha1.ListedCertificate{{Fingerprint: "next", NotAfter: metav1.NewTime(statusTime.Add(day)), Use: v1alpha1.CertificateNext}}
		}}, func(s *refineryPass) {
			s.certificate = nil
			s.refinery.Status.Certificates = append(s.refinery.Status.Certificates, v1alpha1.ListedCertificate{Fingerprint: current, Use: v1alpha1.CertificateCurrent})
		},
			"True/InSync: every authenticated node presents the current certificate"},
		"a refused one counts for nothing": {[]func(*v1alpha1.RefineryStatus){nodes(1, current), func(status *v1alpha1.RefineryStatus) {
			status.Nodes = append(status.Nodes, v1alpha1.NodeStatus{ID: "press/x", State: v1alpha1.NodeDenied, Certificate: "old"})
		}}, nil, "True/InSync: every authenticated node presents the current certificate"},
		"no certificate of the nodes' own": {[]func(*v1alpha1.RefineryStatus){nodes(1, "any")}, func(s *refineryPass) {
			s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
		}, ""},
		"with a shared certificate over mutual TLS": {[]func(*v1alpha1.RefineryStatus){nodes(2, current), nodes(1, "old")}, func(s *refineryPass) {
			s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
		}, "False/OutdatedCertificate: 1 of 3 authenticated nodes present another certificate than the current one (" + short + ", Secret press-tls): press/old000" + kubelet},
		"none that is current": {nil, func(s *refineryPass) { s.certificate.Leaf = nil }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := refineryPassOf(func(s *refineryPass) {
				s.certificate.Leaf = leaf
				for _, f := range test.status {
					f(&s.refinery.Status)
				}
				if test.change != nil {
					test.change(s)
				}
			})
			status := s.status(reconcile.Outcome{})
			if diff := cmp.Diff(test.want, told(status.Conditions, v1alpha1.ConditionCertificateInSync)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
