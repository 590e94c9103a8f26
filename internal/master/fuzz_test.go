package master

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

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// exactlyRight tells, without any of the master's code, whether a certificate is one of the Refinery's own, given that
// the authority signed it and nothing was sent beside it.
func exactlyRight(m *mint, c *x509.Certificate) bool {
	now := time.Now()
	sum := sha256.Sum256(c.RawTBSCertificate)
	key, _ := m.trusted.certificate.PublicKey.(*ecdsa.PublicKey)
	one := "\x86" + string(rune(len(m.identity))) + m.identity // [6] IA5String, RFC 5280, section 4.2.1.6
	san := ""
	for _, e := range c.Extensions {
		if e.Id.String() == "2.5.29.17" {
			san = string(e.Value)
		}
	}
	usable := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	_, taken := c.PublicKey.(*ecdsa.PublicKey) // changing bytes makes a key of no other kind that TLS takes
	return taken && ecdsa.VerifyASN1(key, sum[:], c.Signature) && bytes.Equal(c.RawIssuer, m.trusted.certificate.RawSubject) &&
		len(c.URIs) == 1 && strings.Contains(san, one) && usable && !c.IsCA && c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) == 0 &&
		len(c.UnhandledCriticalExtensions) == 0 && !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// FuzzAuthenticator changes bytes of the exactly right certificate, which are then signed by the authority, by another of
// its name, or not at all. What is let in is the right one, or, were it listed, one of the Refinery's own.
func FuzzAuthenticator(f *testing.F) {
	m := newMint(f)
	right := m.leaf(m.trusted)
	right.Leaf = m.parsed(right.Certificate[0])
	tbs := right.Leaf.RawTBSCertificate
	f.Add(byte(0), []byte{})
	for _, part := range []string{m.identity, "press", "\x55\x1d\x11", "\x55\x1d\x25", "\x55\x1d\x0f"} {
		at := bytes.Index(tbs, []byte(part))
		f.Add(byte(0), []byte{byte(at >> 8), byte(at), 'P'})
		f.Add(byte(1), []byte{byte(at >> 8), byte(at + 1), 0xff, byte(at >> 8), byte(at), 'x'})
	}
	f.Fuzz(func(t *testing.T, by byte, edits []byte) {
		m := &mint{t, m.trusted, m.stranger, m.identity, m.key}
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
			der = m.resigned(der, m.trusted.key, edit)
		case 1:
			der = m.resigned(der, m.stranger.key, edit)
		case 2:
			der = m.resigned(der, nil, edit)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		s := &scene{T: t, directory: NewDirectory(), clock: clocktesting.NewFakeClock(time.Now()), trust: m.trust()}
		s.setMaster(func(*v1alpha1.ClusterMaster) {})
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
