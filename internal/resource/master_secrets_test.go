package resource

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

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

func TestSecretOfAMastersCertificateTellsOfBroughtAuthorities(t *testing.T) {
	plain := func() *v1.SecretApplyConfiguration {
		return MasterCertificateSecret(&v1alpha1.ClusterMaster{}, pki.PEMPair{}, nil)
	}
	for name, test := range map[string]struct {
		written *v1.SecretApplyConfiguration
		want    bool
	}{
		"of the operator's making": {plain(), false},
		"provided":                 {WithProvidedAuthority(plain(), "plant-ca"), true},
		"another takes its place":  {WithPhaseBegan(plain(), time.Unix(1, 0)), true},
	} {
		secret := &corev1.Secret{}
		secret.Annotations = test.written.Annotations
		if got := HasProvidedAuthority(secret); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
