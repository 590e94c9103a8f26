package refinery

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

func TestWhenACertificateIsWarnedOf(t *testing.T) {
	const provided = "the certificate in Secret press-own expires in %s, at %s; put a new one into the Secret before then"
	const issued = "the certificate in Secret press-tls expires in %s, at %s; it expires with the certificate authority of ClusterMaster alpha, which must be replaced before then"
	const hindered = "the certificate in Secret press-tls expires in %s, at %s; it was not renewed: AuthorityWithoutKey: provide one"
	tests := map[string]struct {
		life, left time.Duration
		message    string // without the end
		days       string
		again      time.Duration // until it is looked at again
	}{
		"more than 14 days left":                {90 * passtest.Day, 14*passtest.Day + time.Second, provided, "", time.Second},
		"14 days left":                          {90 * passtest.Day, 14 * passtest.Day, provided, "14 days", time.Second},
		"a day and a bit left":                  {90 * passtest.Day, passtest.Day + time.Hour, provided, "1 day", time.Hour + time.Second},
		"an hour left":                          {90 * passtest.Day, time.Hour, provided, "less than a day", time.Hour + time.Second},
		"expired":                               {90 * passtest.Day, -time.Second, provided, "", 0},
		"30 days, more than 14 left":            {30 * passtest.Day, 14*passtest.Day + time.Second, provided, "", time.Second},
		"30 days, 14 left":                      {30 * passtest.Day, 14 * passtest.Day, provided, "14 days", time.Second},
		"27 days, more than a third left":       {27 * passtest.Day, 9*passtest.Day + time.Second, provided, "", time.Second},
		"27 days, a third left":                 {27 * passtest.Day, 9 * passtest.Day, provided, "9 days", time.Second},
		"short, more than a third left":         {passtest.Day, 8*time.Hour + time.Second, provided, "", time.Second},
		"short, a third left":                   {passtest.Day, 8 * time.Hour, provided, "less than a day", 8*time.Hour + time.Second},
		"issued, renewal has time":              {90 * passtest.Day, 15 * passtest.Day, issued, "", passtest.Day},
		"issued, renewal is late":               {90 * passtest.Day, 14 * passtest.Day, issued, "14 days", time.Second},
		"issued, renewed late by the spec":      {100 * passtest.Day, 5*passtest.Day + time.Second, issued, "", time.Second},
		"issued, short, renewal has time":       {2 * time.Minute, 21 * time.Second, issued, "", time.Second},
		"issued, short, renewal is late":        {2 * time.Minute, 20 * time.Second, issued, "less than a day", 21 * time.Second},
		"issued, and what keeps it from a next": {90 * passtest.Day, 2 * passtest.Day, hindered, "2 days", time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := passOf(func(s *pass) {
				s.certificate.Leaf = passtest.Lasting(test.life, test.left)
				if test.life == 100*passtest.Day {
					s.master.Spec.Certificates = &v1alpha1.CertificatesSpec{RenewBefore: "240h"}
				}
				switch test.message {
				case provided:
					s.refinery.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: "press-own"}
					s.certificate.Secret = "press-own"
				case hindered:
					s.certificate.Condition = certificates.NotReady(v1alpha1.ReasonAuthorityWithoutKey, "provide one")
				}
			})
			want := ""
			if test.days != "" {
				want = "True/Expiring: " + fmt.Sprintf(test.message, test.days, passtest.Now.Add(test.left).Format(time.RFC3339))
			}
			status, agenda := statusOf(&s.scope, s.findings, reconcile.Outcome{})
			if diff := cmp.Diff(want, passtest.Told(status.Conditions, v1alpha1.ConditionCertificateExpiring)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := agenda.After(passtest.Now); got != test.again {
				t.Errorf("looked at again after %s, want %s", got, test.again)
			}
		})
	}
}

func TestAWarningGoesWhenItIsOver(t *testing.T) {
	s := passOf(func(s *pass) { s.certificate.Leaf = passtest.Lasting(90*passtest.Day, passtest.Day) })
	s.refinery.Status = s.status(reconcile.Outcome{})
	if passtest.Told(s.refinery.Status.Conditions, v1alpha1.ConditionCertificateExpiring) == "" {
		t.Fatal("no warning: the test shows nothing")
	}
	s.certificate.Leaf = passtest.Lasting(90*passtest.Day, 90*passtest.Day)
	status := s.status(reconcile.Outcome{})
	if got := passtest.Told(status.Conditions, v1alpha1.ConditionCertificateExpiring); got != "" {
		t.Error(got)
	}
}

// nodes adds nodes that present a certificate; those above 100 are counted only.
func nodes(count int32, certificate string) func(*v1alpha1.RefineryStatus) {
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

func TestWhoPresentsAnotherCertificateThanTheCurrentOne(t *testing.T) {
	leaf := passtest.Lasting(90*passtest.Day, 80*passtest.Day)
	current := v1alpha1.Fingerprint(leaf)
	short := current[:12] + "…"
	const kubelet = "; they switch when the kubelet has updated the Secret in their pods, usually within two minutes"
	tests := map[string]struct {
		status []func(*v1alpha1.RefineryStatus)
		change func(*pass)
		want   string
	}{
		"nobody yet": {nil, nil, "True/InSync: every authenticated node presents the current certificate"},
		"everybody":  {[]func(*v1alpha1.RefineryStatus){nodes(3, current)}, nil, "True/InSync: every authenticated node presents the current certificate"},
		"one other": {[]func(*v1alpha1.RefineryStatus){nodes(2, current), nodes(1, "old")}, nil,
			"False/OutdatedCertificate: 1 of 3 authenticated nodes present another certificate than the current one (" + short + ", Secret press-tls): press/old000" + kubelet},
		"outside": {[]func(*v1alpha1.RefineryStatus){nodes(1, "old")}, func(s *pass) { s.refinery.Spec.Placement = v1alpha1.PlacementExternal },
			"False/OutdatedCertificate: 1 of 1 authenticated nodes present another certificate than the current one (" + short + ", Secret press-tls): press/old000; give them the new files of the Secret"},
		"ten are named": {[]func(*v1alpha1.RefineryStatus){nodes(12, "old"), nodes(1, "older")}, nil,
			"False/OutdatedCertificate: 13 of 13 authenticated nodes present another certificate than the current one (" + short +
				", Secret press-tls): press/old000, press/old001, press/old002, press/old003, press/old004, press/old005, press/old006, press/old007, press/old008, press/old009 and 3 more" + kubelet},
		"more than status.nodes lists": {[]func(*v1alpha1.RefineryStatus){nodes(150, current), nodes(30, "old")}, nil,
			"False/OutdatedCertificate: 30 of 180 authenticated nodes present another certificate than the current one (" + short +
				", Secret press-tls): none of them among those that status.nodes lists" + kubelet},
		"what is about to be current is not older": {[]func(*v1alpha1.RefineryStatus){nodes(1, current), nodes(1, "next"), func(status *v1alpha1.RefineryStatus) {
			status.Certificates = []v1alpha1.ListedCertificate{{Fingerprint: "next", NotAfter: metav1.NewTime(passtest.Now.Add(passtest.Day)), Use: v1alpha1.CertificateNext}}
		}}, func(s *pass) {
			s.certificate = nil
			s.refinery.Status.Certificates = append(s.refinery.Status.Certificates, v1alpha1.ListedCertificate{Fingerprint: current, Use: v1alpha1.CertificateCurrent})
		},
			"True/InSync: every authenticated node presents the current certificate"},
		"a refused one counts for nothing": {[]func(*v1alpha1.RefineryStatus){nodes(1, current), func(status *v1alpha1.RefineryStatus) {
			status.Nodes = append(status.Nodes, v1alpha1.NodeStatus{ID: "press/x", State: v1alpha1.NodeDenied, Certificate: "old"})
		}}, nil, "True/InSync: every authenticated node presents the current certificate"},
		"no certificate of the nodes' own": {[]func(*v1alpha1.RefineryStatus){nodes(1, "any")}, func(s *pass) {
			s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
		}, ""},
		"with a shared certificate over mutual TLS": {[]func(*v1alpha1.RefineryStatus){nodes(2, current), nodes(1, "old")}, func(s *pass) {
			s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
		}, "False/OutdatedCertificate: 1 of 3 authenticated nodes present another certificate than the current one (" + short + ", Secret press-tls): press/old000" + kubelet},
		"none that is current": {nil, func(s *pass) { s.certificate.Leaf = nil }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := passOf(func(s *pass) {
				s.certificate.Leaf = leaf
				for _, f := range test.status {
					f(&s.refinery.Status)
				}
				if test.change != nil {
					test.change(s)
				}
			})
			status := s.status(reconcile.Outcome{})
			if diff := cmp.Diff(test.want, passtest.Told(status.Conditions, v1alpha1.ConditionCertificateInSync)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
