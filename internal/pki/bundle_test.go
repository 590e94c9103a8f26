package pki

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

func TestBundleHoldsAuthoritiesOnly(t *testing.T) {
	one, other := newAuthority(t, "one"), newAuthority(t, "other")
	leaf, _ := client(t, one)
	tests := map[string]struct {
		bundle []byte
		when   time.Time
		reason string
	}{
		"one":                     {one.BundlePEM(), now, ""},
		"two":                     {append(one.BundlePEM(), other.BundlePEM()...), now, ""},
		"none":                    {nil, now, v1alpha1.ReasonSecretKeyMissing},
		"garbage":                 {[]byte("garbage"), now, v1alpha1.ReasonNotPEM},
		"a leaf":                  {leaf.Certificate, now, v1alpha1.ReasonWrongUsage},
		"a leaf after an anchor":  {append(one.BundlePEM(), leaf.Certificate...), now, v1alpha1.ReasonWrongUsage},
		"expired":                 {one.BundlePEM(), one.Certificates[0].NotAfter.Add(time.Second), v1alpha1.ReasonExpired},
		"more than is ever read":  {bytes.Repeat(one.BundlePEM(), secretfiles.MaxBytes/len(one.BundlePEM())+1), now, v1alpha1.ReasonTooLarge},
		"not yet valid":           {one.BundlePEM(), one.Certificates[0].NotBefore.Add(-time.Second), v1alpha1.ReasonNotYetValid},
		"white space around them": {append([]byte("\n\n"), one.BundlePEM()...), now, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := ParseBundle("ca.crt", test.bundle, test.when)
			if p := AsProblem(err); (p == nil) != (test.reason == "") || (p != nil && p.Reason != test.reason) {
				t.Fatalf("got %v, want reason %q", err, test.reason)
			}
			if err == nil && a.Key != nil {
				t.Error("a bundle has no key")
			}
		})
	}
}

func TestWhatIsWrongWithTheSizeOfAValueSaysWhatToPutIn(t *testing.T) {
	for _, field := range []string{"tls.crt", "tls.key", "ca.crt", "next.crt", "previous.crt"} {
		for _, value := range [][]byte{nil, make([]byte, secretfiles.MaxBytes+1)} {
			_, err := ParseCertificates(field, value)
			if err == nil || !strings.Contains(err.Error(), "; put in ") && !strings.HasSuffix(err.Error(), "; leave out what is not needed") {
				t.Errorf("%s of %d bytes: %v", field, len(value), err)
			}
		}
	}
}
