package refinery

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

func TestASecretWhoseCertificateCannotBeReadIsKeptFromOthers(t *testing.T) {
	now := time.Now()
	pair, err := pki.NewAuthority("plant", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.ParseAuthority(pair.Certificate, pair.Key, now)
	if err != nil {
		t.Fatal(err)
	}
	press := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"}}
	press.Spec.MasterRef.Name = "alpha"
	node, err := authority.IssueClient("press", press.Identity(), now)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificate             []byte
		isAuthority, identifies bool
	}{
		"an authority":                   {pair.Certificate, true, false},
		"an authority, and half a block": {append([]byte("-----BEGIN X\n"), pair.Certificate...), true, true},
		"a node's":                       {node.Certificate, false, true},
		"a node's, cut off":              {node.Certificate[:len(node.Certificate)/2], true, true},
		"nothing":                        {nil, false, false},
		"blanks":                         {[]byte(" \n"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			secret := &corev1.Secret{Data: map[string][]byte{corev1.TLSCertKey: test.certificate}}
			if got := isAuthority(secret); got != test.isAuthority {
				t.Errorf("may be an authority: %v", got)
			}
			if got := identifies(secret, press); got != test.identifies {
				t.Errorf("may be of press: %v", got)
			}
		})
	}
}
