package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

var (
	now      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	identity = v1alpha1.RefineryIdentity("alpha", "plant", "press")
	names    = []string{"alpha", "alpha.plant.svc"}
)

func newAuthority(t *testing.T, name string) *Authority {
	t.Helper()
	pair, err := NewAuthority(name, v1alpha1.DefaultCADuration, now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseAuthority(pair.Certificate, pair.Key, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func client(t *testing.T, a *Authority) (PEMPair, []*x509.Certificate) {
	t.Helper()
	pair, err := a.IssueClient("press", identity, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair, parse(t, pair)
}

func parse(t *testing.T, pair PEMPair) []*x509.Certificate {
	t.Helper()
	chain, err := ParseCertificates("tls.crt", pair.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// reasonOf is the reason of a Problem, "" for none, and the error itself for any other.
func reasonOf(err error) string {
	if p := AsProblem(err); p != nil {
		return p.Reason
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestIssuedCertificatesCarryWhatTheProtocolAsksFor(t *testing.T) {
	a := newAuthority(t, "plant/alpha")
	_, chain := client(t, a)
	leaf := chain[0]
	got := map[string]any{
		"URIs": leaf.URIs, "DNS": leaf.DNSNames, "usage": leaf.ExtKeyUsage, "key usage": leaf.KeyUsage, "CA": leaf.IsCA,
		"from": leaf.NotBefore, "to": leaf.NotAfter, "curve": leaf.PublicKey.(*ecdsa.PublicKey).Curve == elliptic.P256(),
		"long serial": leaf.SerialNumber.BitLen() > 64, "short enough": leaf.SerialNumber.BitLen() <= 129,
	}
	want := map[string]any{
		"URIs": []*url.URL{identity}, "DNS": []string(nil), "usage": []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		"key usage": x509.KeyUsageDigitalSignature, "CA": false,
		"from": now.Add(-Backdating), "to": now.Add(v1alpha1.DefaultCertificateDuration), "curve": true, "long serial": true, "short enough": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("client certificate (-want +got):\n%s", diff)
	}
	server, err := a.IssueServer("alpha", names, now)
	if err != nil {
		t.Fatal(err)
	}
	leaf = parse(t, server)[0]
	if diff := cmp.Diff([]any{names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, 0},
		[]any{leaf.DNSNames, leaf.ExtKeyUsage, len(leaf.URIs)}); diff != "" {
		t.Errorf("server certificate (-want +got):\n%s", diff)
	}
}

func TestLeafDoesNotOutliveItsAuthority(t *testing.T) {
	a := newAuthority(t, "plant/alpha")
	late := now.Add(v1alpha1.DefaultCADuration - 24*time.Hour)
	pair, err := a.IssueClient("press", identity, late)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := parse(t, pair)[0].NotAfter, a.Certificates[0].NotAfter; !got.Equal(want) {
		t.Errorf("valid until %v, the authority until %v", got, want)
	}
}

func TestRenewalIsDueBeforeTheEndAndNeverIfThatIsTheAuthoritysToo(t *testing.T) {
	const (
		before = 30 * 24 * time.Hour
		ca     = v1alpha1.DefaultCADuration
		leaf   = v1alpha1.DefaultCertificateDuration
	)
	for name, test := range map[string]struct {
		issued   time.Time
		duration time.Duration
		want     time.Time
	}{
		"long before the end":     {now, leaf, now.Add(leaf - before)},
		"duration made shorter":   {now, 40 * 24 * time.Hour, now.Add(10 * 24 * time.Hour)},
		"duration made longer":    {now, 2 * leaf, now.Add(leaf - before)},
		"cut short":               {now.Add(ca - leaf + time.Second), leaf, time.Time{}},
		"cut short, now no more":  {now.Add(ca - leaf + time.Second), 40 * 24 * time.Hour, now.Add(ca - leaf + time.Second + 10*24*time.Hour)},
		"in the last two minutes": {now.Add(ca - 2*time.Minute), leaf, time.Time{}},
		"just not cut short":      {now.Add(ca - leaf - time.Second), leaf, now.Add(ca - time.Second - before)},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, "plant/alpha")
			pair, err := a.IssueClient("press", identity, test.issued)
			if err != nil {
				t.Fatal(err)
			}
			a.LeafDuration = test.duration
			if got := a.RenewAt(parse(t, pair)[0], before); !got.Equal(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAuthorityWithoutKeyVerifiesAndDoesNotIssue(t *testing.T) {
	pair, err := NewAuthority("plant/alpha", v1alpha1.DefaultCADuration, now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseAuthority(pair.Certificate, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.IssueClient("press", identity, now); !errors.Is(err, ErrWithoutKey) {
		t.Errorf("got %v, want ErrWithoutKey", err)
	}
}

func TestParseAuthorityTellsWhatIsWrong(t *testing.T) {
	good, err := NewAuthority("plant/alpha", v1alpha1.DefaultCADuration, now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := client(t, newAuthority(t, "other"))
	tests := map[string]struct {
		certificate, key []byte
		now              time.Time
		reason           string
	}{
		"good":                  {good.Certificate, good.Key, now, ""},
		"good without key":      {good.Certificate, nil, now, ""},
		"missing":               {nil, nil, now, v1alpha1.ReasonSecretKeyMissing},
		"no authority":          {leaf.Certificate, leaf.Key, now, v1alpha1.ReasonWrongUsage},
		"another's key":         {good.Certificate, leaf.Key, now, v1alpha1.ReasonKeyMismatch},
		"key is no PEM":         {good.Certificate, []byte("x"), now, v1alpha1.ReasonNotPEM},
		"certificate is no PEM": {[]byte("x"), good.Key, now, v1alpha1.ReasonNotPEM},
		"over":                  {good.Certificate, good.Key, now.Add(v1alpha1.DefaultCADuration + time.Second), v1alpha1.ReasonExpired},
		"not begun":             {good.Certificate, good.Key, now.Add(-time.Hour), v1alpha1.ReasonNotYetValid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseAuthority(test.certificate, test.key, test.now)
			if got := reasonOf(err); got != test.reason {
				t.Errorf("got %q (%v), want %q", got, err, test.reason)
			}
		})
	}
}

func TestParseCertificatesAndKeyAreBounded(t *testing.T) {
	a := newAuthority(t, "plant/alpha")
	pair, chain := client(t, a)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	tests := map[string]struct {
		parse  func([]byte) error
		value  []byte
		reason string
		words  string
	}{
		"certificate at the bound": {certificates, pad(pair.Certificate, secretfiles.MaxBytes), "", ""},
		"certificate over it":      {certificates, pad(pair.Certificate, secretfiles.MaxBytes+1), v1alpha1.ReasonTooLarge, "tls.crt: it has 262145 bytes"},
		"certificate with prose":   {certificates, append([]byte("Bag Attributes\n"), pair.Certificate...), "", ""},
		"key where it should be":   {certificates, pair.Key, v1alpha1.ReasonNotPEM, "tls.crt, block 1 of 1 (private key, line 1): it is not a certificate; leave it out"},
		"broken DER":               {certificates, pemOf("CERTIFICATE", []byte{1, 2}), v1alpha1.ReasonNotPEM, "tls.crt, block 1 of 1 (CERTIFICATE, line 1): it does not parse"},
		"key":                      {keyFor(chain[0]), pair.Key, "", ""},
		"key over the bound":       {keyFor(chain[0]), pad(pair.Key, secretfiles.MaxBytes+1), v1alpha1.ReasonTooLarge, "tls.key: it has 262145 bytes"},
		"certificate as the key":   {keyFor(chain[0]), pair.Certificate, v1alpha1.ReasonNotPEM, "tls.key, block 1 of 1 (CERTIFICATE, line 1): it is not a private key"},
		"broken key":               {keyFor(chain[0]), pemOf("PRIVATE KEY", []byte("secret")), v1alpha1.ReasonNotPEM, "does not parse"},
		"key of another kind":      {keyFor(chain[0]), pkcs1, v1alpha1.ReasonKeyMismatch, "is not the key of the first certificate"},
		"no key":                   {keyFor(chain[0]), nil, v1alpha1.ReasonSecretKeyMissing, "tls.key is missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.parse(test.value)
			if got := reasonOf(err); got != test.reason {
				t.Fatalf("got %q (%v), want %q", got, err, test.reason)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), test.words) {
				t.Errorf("%q does not say %q", err, test.words)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q tells of the key", err)
			}
		})
	}
}

func certificates(value []byte) error { _, err := ParseCertificates("tls.crt", value); return err }

func keyFor(leaf *x509.Certificate) func([]byte) error {
	return func(value []byte) error { _, err := ParseKey("tls.key", value, leaf); return err }
}

func pad(value []byte, size int) []byte {
	return append(bytes.Clone(value), bytes.Repeat([]byte("\n"), size-len(value))...)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// sign issues what the package itself would not.
func sign(t *testing.T, a *Authority, template x509.Certificate) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(1), pkix.Name{CommonName: "press"}
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, a.Certificates[0], key.Public(), a.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}

func TestVerifyClientTellsWhatIsWrong(t *testing.T) {
	a, other := newAuthority(t, "plant/alpha"), newAuthority(t, "plant/beta")
	_, good := client(t, a)
	_, stranger := client(t, other)
	mill := v1alpha1.RefineryIdentity("alpha", "plant", "mill")
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	tests := map[string]struct {
		chain         []*x509.Certificate
		now           time.Time
		reason, words string
	}{
		"good":              {good, now, "", ""},
		"another authority": {stranger, now, v1alpha1.ReasonWrongAuthority, `issued by "CN=plant/beta" and is not signed by the authority that the master trusts, "CN=plant/alpha"`},
		"expired":           {good, now.Add(v1alpha1.DefaultCertificateDuration + time.Second), v1alpha1.ReasonExpired, "expired on 2026-05-30"},
		"not yet valid":     {good, now.Add(-time.Hour), v1alpha1.ReasonNotYetValid, "not valid before 2026-03-01T11:55:00Z"},
		"server usage": {sign(t, a, x509.Certificate{URIs: []*url.URL{identity}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), now,
			v1alpha1.ReasonWrongUsage, "TLS client authentication"},
		"another name": {sign(t, a, x509.Certificate{URIs: []*url.URL{mill}, ExtKeyUsage: usage}), now,
			v1alpha1.ReasonWrongIdentity, fmt.Sprintf("exactly one URI SAN, %q, and has %q; put in", identity.String(), mill.String())},
		"two names": {sign(t, a, x509.Certificate{URIs: []*url.URL{identity, mill}, ExtKeyUsage: usage}), now,
			v1alpha1.ReasonWrongIdentity, fmt.Sprintf("%q, %q", identity.String(), mill.String())},
		"no name": {sign(t, a, x509.Certificate{ExtKeyUsage: usage}), now, v1alpha1.ReasonWrongIdentity, "and has none"},
		"many names": {sign(t, a, x509.Certificate{URIs: []*url.URL{mill, mill, mill, mill, mill}, ExtKeyUsage: usage}), now,
			v1alpha1.ReasonWrongIdentity, "and 2 more"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := a.VerifyClient(test.chain, identity, test.now)
			if got := reasonOf(err); got != test.reason {
				t.Fatalf("got %q (%v), want %q", got, err, test.reason)
			}
			if err != nil && !strings.Contains(err.Error(), test.words) {
				t.Errorf("%q does not say %q", err, test.words)
			}
		})
	}
}

func TestVerifyServerNamesTheMissingDNSNames(t *testing.T) {
	a := newAuthority(t, "plant/alpha")
	pair, err := a.IssueServer("alpha", names[:1], now)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.VerifyServer(parse(t, pair), names[:1], now); err != nil {
		t.Error(err)
	}
	want := &Problem{Reason: v1alpha1.ReasonWrongIdentity, Message: `the certificate "CN=alpha" is not valid for alpha.plant.svc, by which nodes verify the master; its names are "alpha"; put in one that is`}
	if diff := cmp.Diff(want, AsProblem(a.VerifyServer(parse(t, pair), names, now))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryCertificateOfTheBundleIsTrusted(t *testing.T) {
	a, b := newAuthority(t, "plant/alpha"), newAuthority(t, "plant/beta")
	both, err := ParseAuthority(append(a.BundlePEM(), b.BundlePEM()...), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, issuer := range []*Authority{a, b} {
		_, chain := client(t, issuer)
		if err := both.VerifyClient(chain, identity, now); err != nil {
			t.Error(err)
		}
	}
}
