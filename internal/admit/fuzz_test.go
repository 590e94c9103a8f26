package admit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// exactlyRight reports, without any of the code that it judges, whether a certificate is one of the Refinery's own, given that
// the authority signed it and nothing was sent beside it.
func exactlyRight(m *admittest.Mint, c *x509.Certificate) bool {
	now := time.Now()
	sum := sha256.Sum256(c.RawTBSCertificate)
	key, _ := m.Trusted.Certificate.PublicKey.(*ecdsa.PublicKey)
	one := "\x86" + string(rune(len(m.Identity))) + m.Identity // [6] IA5String, RFC 5280, section 4.2.1.6
	san := ""
	for _, e := range c.Extensions {
		if e.Id.String() == "2.5.29.17" {
			san = string(e.Value)
		}
	}
	usable := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	_, taken := c.PublicKey.(*ecdsa.PublicKey) // changing bytes makes a key of no other kind that TLS takes
	return taken && ecdsa.VerifyASN1(key, sum[:], c.Signature) && bytes.Equal(c.RawIssuer, m.Trusted.Certificate.RawSubject) &&
		len(c.URIs) == 1 && strings.Contains(san, one) && usable && !c.IsCA && c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) == 0 &&
		len(c.UnhandledCriticalExtensions) == 0 && !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// FuzzAuthenticator changes bytes of the exactly right certificate, which are then signed by the authority, by another of
// its name, or not at all. What is let in is the right one, or, were it listed, one of the Refinery's own.
// It is slow: for each input Go compares the coverage of every package that the test links, Kubernetes' among them.
//
//fuzz:floor 1/s
func FuzzAuthenticator(f *testing.F) {
	m := admittest.NewMint()
	right := m.Leaf(m.Trusted)
	tbs := right.Leaf.RawTBSCertificate
	f.Add(byte(0), []byte{})
	for _, part := range []string{m.Identity, "press", "\x55\x1d\x11", "\x55\x1d\x25", "\x55\x1d\x0f"} {
		at := bytes.Index(tbs, []byte(part))
		f.Add(byte(0), []byte{byte(at >> 8), byte(at), 'P'})
		f.Add(byte(1), []byte{byte(at >> 8), byte(at + 1), 0xff, byte(at >> 8), byte(at), 'x'})
	}
	f.Fuzz(func(t *testing.T, by byte, edits []byte) {
		edit := func(tbs []byte) {
			for e := range slices.Chunk(edits[:min(len(edits), 48)], 3) {
				if len(e) == 3 {
					tbs[int(binary.BigEndian.Uint16(e))%len(tbs)] = e[2]
				}
			}
		}
		der := bytes.Clone(right.Certificate[0])
		switch by % 3 {
		case 0:
			der = pkitest.Rewrite(der, m.Trusted.Key, edit)
		case 1:
			der = pkitest.Rewrite(der, m.Stranger.Key, edit)
		case 2:
			der = pkitest.Rewrite(der, nil, edit)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		s := emptyScene(t, m.Trusted)
		s.setRefinery("press", func(*v1alpha1.Refinery) {}, right)
		if got := decide(s, [][]byte{der}); got == "" && !bytes.Equal(der, right.Certificate[0]) {
			t.Errorf("let in, and not listed: %x", der)
		}
		s.setRefinery("press", func(*v1alpha1.Refinery) {}, tls.Certificate{Leaf: c})
		if got := decide(s, [][]byte{der}); (got == "") != exactlyRight(m, c) {
			t.Errorf("listed: %q, and it is%s the Refinery's own: %x", got, map[bool]string{true: "", false: " not"}[exactlyRight(m, c)], der)
		}
	})
}
