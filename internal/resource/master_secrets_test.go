package resource

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

func TestAuthoritySecretHoldsTheWholeStateOfARotation(t *testing.T) {
	pair := func(name string) pki.PEMPair {
		return pki.PEMPair{Certificate: []byte(name), Key: []byte(name + " key")}
	}
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	idle := pki.AuthorityFiles{Current: pair("current")}
	type state struct {
		Files  pki.AuthorityFiles
		Record AuthorityRecord
	}
	for name, want := range map[string]state{
		"new":                  {idle, AuthorityRecord{}},
		"rotated before":       {idle, AuthorityRecord{Asked: "monday"}},
		"preparing, requested": {idle.Prepare(pair("next")), AuthorityRecord{"monday", true, began}},
		"preparing, due":       {idle.Prepare(pair("next")), AuthorityRecord{"monday", false, began}},
		"activating":           {idle.Prepare(pair("next")).Activate(), AuthorityRecord{"monday", true, began}},
	} {
		written := MasterAuthoritySecret(&v1alpha1.ClusterMaster{}, want.Files, want.Record)
		secret := &corev1.Secret{Data: written.Data}
		secret.Annotations = written.Annotations
		files, record := ReadMasterAuthority(secret)
		if diff := cmp.Diff(want, state{files, record}); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
	}
}
