package admit

import (
	"crypto/tls"
	"testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

func TestAStrangerIsWhoProvesThatItMayTakePartAndIsOfNoRefinery(t *testing.T) {
	ghost := func(s *scene) tls.Certificate { return admittest.Issue(s.authority, "ghost") }
	for name, test := range map[string]struct {
		security v1alpha1.SecuritySpec
		try      func(s *scene) attempt
		want     bool
	}{
		"the shared certificate, and an id of nobody": {sharedPlain, func(*scene) attempt { return bare("uuid", secret) }, true},
		"another shared certificate":                  {sharedPlain, func(*scene) attempt { return bare("uuid", "no") }, false},
		"the shared certificate, suspended": {sharedPlain, func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended })
			return bare("press/a", secret)
		}, false},
		"a certificate of a Refinery that does not exist": {issuedMutualTLS, func(s *scene) attempt { return with(ghost(s), "ghost/a") }, true},
		"the same, which a Refinery lists": {issuedMutualTLS, func(s *scene) attempt {
			c := ghost(s)
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, c)
			return with(c, "ghost/a")
		}, false},
		"the same of another authority": {issuedMutualTLS, func(*scene) attempt {
			return with(admittest.Issue(pkitest.NewAuthority("plant"), "ghost"), "ghost/a")
		}, false},
		"a certificate of a Refinery": {issuedMutualTLS, func(s *scene) attempt { return with(admittest.Issue(s.authority, "press"), "press/a") }, false},
		"no certificate":              {issuedMutualTLS, func(*scene) attempt { return bare("press/a", "") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			sharing(test.security)(s)
			if _, denial := s.try(test.try(s)); denial == nil || denial.Stranger != test.want {
				t.Errorf("denial %+v", denial)
			}
		})
	}
}
