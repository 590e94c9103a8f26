package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// kinds are all that the CRD accepts, by what they make.
var kinds = map[string]v1alpha1.PrivateKeySpec{
	"ECDSA 256": {}, "ECDSA 384": {Size: 384}, "Ed25519": {Algorithm: v1alpha1.KeyEd25519},
	"RSA 2048": {Algorithm: v1alpha1.KeyRSA, Size: 2048}, "RSA 3072": {Algorithm: v1alpha1.KeyRSA}, "RSA 4096": {Algorithm: v1alpha1.KeyRSA, Size: 4096},
}

func kindOf(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA %d", key.Curve.Params().BitSize)
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return fmt.Sprintf("%T", key)
	}
}

func TestKeysAreOfTheKindThatIsAskedForAndAreLetIn(t *testing.T) {
	for want, kind := range kinds {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			pair, err := NewAuthorityWithKey("plant/alpha", kind, v1alpha1.DefaultCADuration, now)
			if err != nil {
				t.Fatal(err)
			}
			a, err := ParseAuthority(pair.Certificate, pair.Key, now)
			if err != nil {
				t.Fatal(err)
			}
			a.LeafKey = kind
			server, err := a.IssueServer("alpha", names, now)
			if err != nil {
				t.Fatal(err)
			}
			client, err := a.IssueClient("press", identity, now)
			if err != nil {
				t.Fatal(err)
			}
			node := parse(t, client)
			got := []string{kindOf(a.Certificates[0]), kindOf(parse(t, server)[0]), kindOf(node[0])}
			if diff := cmp.Diff([]string{want, want, want}, got); diff != "" {
				t.Errorf("authority, server, client (-want +got):\n%s", diff)
			}
			if err := CheckClient(node); err != nil {
				t.Errorf("refused: %v", err)
			}
			if _, err := ParseKey("tls.key", client.Key, node[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeysOfAnUnknownKindAreNotMade(t *testing.T) {
	for _, kind := range []v1alpha1.PrivateKeySpec{{Size: 521}, {Algorithm: v1alpha1.KeyRSA, Size: 1024}, {Algorithm: "DSA"}} {
		if _, err := NewAuthorityWithKey("plant/alpha", kind, v1alpha1.DefaultCADuration, now); err == nil {
			t.Errorf("%+v: made", kind)
		}
	}
}
