package clustermaster

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

func TestWhatAClusterMasterWarnsOf(t *testing.T) {
	authority := func(s *pass, left time.Duration, key bool) {
		s.authority = goodAuthority(&pki.Authority{Certificates: []*x509.Certificate{passtest.Lasting(3650*passtest.Day, left)}})
		if key {
			s.authority.authority.Key = testAuthority(t).Key
		}
	}
	tests := map[string]struct {
		change func(*pass)
		want   string
	}{
		"all is well": {func(s *pass) {
			authority(s, 1000*passtest.Day, true)
			s.certificate.Leaf = passtest.Lasting(90*passtest.Day, 80*passtest.Day)
		}, ""},
		"its own authority": {func(s *pass) {
			authority(s, 10*passtest.Day, true)
			s.certificate.Leaf = passtest.Lasting(20*passtest.Day, 10*passtest.Day)
		}, "True/Expiring: the certificate authority in Secret alpha-ca expires in 10 days, at 2026-03-11T12:00:00Z; every certificate that it signed expires with it; condition CertificateAuthorityRotating says what blocks its replacement"},
		"both, provided": {func(s *pass) {
			s.master.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
			authority(s, 10*passtest.Day, false)
			s.certificate.Leaf = passtest.Lasting(90*passtest.Day, 5*passtest.Day)
		}, "True/Expiring: the certificate authority in Secret plant-ca expires in 10 days, at 2026-03-11T12:00:00Z; before then put the new authority first in tls.crt, " +
			"with its key in tls.key if you provide the key, and keep the old one after it until every node presents a certificate that the new one signed; " +
			"the certificate that the master serves, in Secret alpha-tls, expires in 5 days, at 2026-03-06T12:00:00Z; put a new one into the Secret before then"},
		"renewal is late": {func(s *pass) {
			authority(s, 1000*passtest.Day, true)
			s.certificate.Leaf = passtest.Lasting(90*passtest.Day, 5*passtest.Day)
			s.foundWrong(v1alpha1.ReasonNameConflict, "taken")
		}, "True/Expiring: the certificate that the master serves, in Secret alpha-tls, expires in 5 days, at 2026-03-06T12:00:00Z; it was not renewed: NameConflict: taken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := passOf(test.change).status(reconcile.Outcome{})
			if diff := cmp.Diff(test.want, passtest.Told(status.Conditions, v1alpha1.ConditionCertificateExpiring)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
