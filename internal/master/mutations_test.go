package master

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// mutation is a certificate, with its chain, that is not the exactly right one, but for the first.
type mutation struct {
	name string
	make func(m *mint) tls.Certificate
	// harmless reports whether it is one of the Refinery's own, would the Refinery list it: it differs in what nobody reads.
	harmless bool
}

const (
	wrong    = false
	harmless = true
)

// mutations are all of them.
func mutations() []mutation {
	leaf := func(edits ...func(*x509.Certificate)) func(m *mint) tls.Certificate {
		return func(m *mint) tls.Certificate { return m.leaf(m.trusted, edits...) }
	}
	all := []mutation{{"the right one", leaf(), harmless}}
	all = append(all, otherNames(leaf)...)
	all = append(all, otherFields(leaf)...)
	all = append(all, fullOfThings()...)
	all = append(all, otherChains()...)
	return append(all, otherKeys()...)
}

func otherNames(leaf func(...func(*x509.Certificate)) func(*mint) tls.Certificate) (all []mutation) {
	const host, path = "alpha.plant.cluster.refinery.dev", "/refinery/press"
	for _, name := range []string{
		"SPIFFE://" + host + path, "spiffe://ALPHA.plant.cluster.refinery.dev" + path, "spiffe://" + host + "/Refinery/press",
		"spiffe://" + host + "/refinery/PRESS", "spiffe://" + host + path + "/", "spiffe://" + host + path + "#", "spiffe://" + host + path + "?",
		"spiffe://" + host + path + "#x", "spiffe://" + host + path + "?x=y", "spiffe://@" + host + path, "spiffe://" + host + ":" + path,
		"spiffe://" + host + ":443" + path, "spiffe://" + host + "./refinery/press", "spiffe://" + host + "//refinery/press",
		"spiffe://" + host + "/refinery/%70ress", "spiffe://" + host + "/refinery/x/../press", "spiffe://" + host + "/./refinery/press",
		"spiffe:" + path, "spiffe:///refinery/press", "https://" + host + path, "spiffe://" + host + path + "\x00", " spiffe://" + host + path,
		"spiffe://" + host + path + "/press-5f6b-abcde", "spiffe://" + host + "/refinery/", "spiffe://" + host + "/refinery/pres", "spiffe://" + host + path + "s",
		"spiffe://beta.plant.cluster.refinery.dev" + path, "spiffe://alpha.office.cluster.refinery.dev" + path, "", "spiffe://" + host + "/refinery/pump",
	} {
		all = append(all, mutation{fmt.Sprintf("the name %q", name), leaf(named(uri(name))), wrong})
	}
	also := func(others ...asn1.RawValue) func(m *mint) tls.Certificate {
		return func(m *mint) tls.Certificate { return m.leaf(m.trusted, m.also(others...)) }
	}
	identity := "spiffe://" + host + path
	return append(all,
		mutation{"its name twice", also(uri(identity)), wrong},
		mutation{"another name beside it", also(uri("spiffe://" + host + "/refinery/pump")), wrong},
		mutation{"a URL beside it", also(uri("https://example.com")), wrong},
		mutation{"a DNS name beside it", also(dns("pump")), harmless},
		mutation{"an email address beside it", also(email("pump@example.com")), harmless},
		mutation{"an IP address beside it", also(ip("\x7f\x00\x00\x01")), harmless},
		mutation{"a directory name beside it", also(directoryName("pump")), harmless},
		mutation{"a registered id beside it", also(san(8, "\x2a\x03")), harmless},
		mutation{"its name as a DNS name", leaf(named(dns(identity))), wrong},
		mutation{"its name as an email address", leaf(named(email("press@" + host))), wrong},
		mutation{"its name as a directory name", leaf(named(directoryName(identity))), wrong},
		mutation{"its name as the common name only", leaf(func(c *x509.Certificate) { c.ExtraExtensions, c.Subject.CommonName = nil, identity }), wrong},
		mutation{"another's name as the common name", leaf(func(c *x509.Certificate) { c.Subject.CommonName = "spiffe://" + host + "/refinery/pump" }), harmless},
		mutation{"no common name", leaf(func(c *x509.Certificate) { c.Subject = pkix.Name{} }), harmless},
		mutation{"many common names", leaf(func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "pump"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "press"}}
		}), harmless},
		mutation{"SANs twice", leaf(func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, names(uri(identity))) }), wrong},
		mutation{"10,000 DNS names", also(many(10000, dns, "n%d.example.com")...), wrong},
		mutation{"10,000 URIs", also(many(10000, uri, "spiffe://x/%d")...), wrong},
	)
}

func otherFields(leaf func(...func(*x509.Certificate)) func(*mint) tls.Certificate) []mutation {
	extension := func(critical bool) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 55555, 1}, Critical: critical, Value: []byte{5, 0}})
		}
	}
	usage := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	bytes := func(edit func(tbs []byte)) func(m *mint) tls.Certificate {
		return func(m *mint) tls.Certificate {
			c := m.leaf(m.trusted)
			c.Certificate[0] = m.resigned(c.Certificate[0], m.trusted.key, edit)
			return c
		}
	}
	return []mutation{
		{"for servers", leaf(usage(x509.ExtKeyUsageServerAuth)), wrong},
		{"for code signing", leaf(usage(x509.ExtKeyUsageCodeSigning)), wrong},
		{"for clients and servers", leaf(usage(x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)), harmless},
		{"for an unknown use", leaf(usage(), func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }), wrong},
		{"may sign certificates", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), wrong},
		{"an authority's", leaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), wrong},
		{"expired", leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), wrong},
		{"not yet valid", leaf(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), wrong},
		{"an unknown extension", leaf(extension(false)), harmless},
		{"an unknown critical extension", leaf(extension(true)), wrong},
		{"a negative serial", bytes(func(tbs []byte) { tbs[serialIn(tbs)] |= 0x80 }), wrong},
		{"a changed serial", bytes(func(tbs []byte) { tbs[serialIn(tbs)+1] ^= 1 }), harmless},
		{"the serial 0", func(m *mint) tls.Certificate {
			c := m.leaf(m.trusted, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) })
			c.Certificate[0] = m.resigned(c.Certificate[0], m.trusted.key, func(tbs []byte) { tbs[serialIn(tbs)] = 0 })
			return c
		}, harmless},
		{"a bit flipped in what is signed", func(m *mint) tls.Certificate {
			c := m.leaf(m.trusted)
			c.Certificate[0] = m.resigned(c.Certificate[0], nil, func(tbs []byte) { tbs[serialIn(tbs)+1] ^= 1 })
			return c
		}, wrong},
		{"a bit flipped in the signature", func(m *mint) tls.Certificate {
			c := m.leaf(m.trusted)
			c.Certificate[0][len(c.Certificate[0])-1] ^= 1
			return c
		}, wrong},
	}
}

// fullOfThings are certificates with as much of one thing as the chain may have bytes, and as TLS reads.
func fullOfThings() (all []mutation) {
	for _, thing := range []struct {
		name     string
		fill     func(m *mint, c *x509.Certificate, count int)
		harmless bool
	}{
		{"URIs", func(m *mint, c *x509.Certificate, n int) { m.also(many(n, uri, "a")...)(c) }, wrong},
		{"email addresses", func(m *mint, c *x509.Certificate, n int) { m.also(many(n, email, "a@b")...)(c) }, harmless},
		{"DNS names", func(m *mint, c *x509.Certificate, n int) { m.also(many(n, dns, "a")...)(c) }, harmless},
		{"IP addresses", func(m *mint, c *x509.Certificate, n int) { m.also(many(n, ip, "\x7f\x00\x00\x01")...)(c) }, harmless},
		{"directory names", func(m *mint, c *x509.Certificate, n int) { m.also(many(n, directoryName, "a")...)(c) }, harmless},
		{"extensions", func(_ *mint, c *x509.Certificate, n int) {
			for i := range n {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, i}, Value: []byte{5, 0}})
			}
		}, harmless},
		{"usages", func(_ *mint, c *x509.Certificate, n int) {
			c.UnknownExtKeyUsage = slices.Repeat([]asn1.ObjectIdentifier{{1, 2, 3}}, n)
		}, harmless},
		{"policies", func(_ *mint, c *x509.Certificate, n int) {
			for i := range n {
				oid, err := x509.OIDFromInts([]uint64{1, uint64(i / 128), uint64(i % 128)}) //nolint:gosec // not negative
				if err != nil {
					panic(err)
				}
				c.Policies = append(c.Policies, oid)
			}
		}, harmless},
		{"words of the subject", func(_ *mint, c *x509.Certificate, n int) {
			c.Subject.ExtraNames = slices.Repeat([]pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "a"}}, n)
		}, harmless},
		{"constraints", func(_ *mint, c *x509.Certificate, n int) { c.PermittedDNSDomains = slices.Repeat([]string{"a"}, n) }, harmless},
		{"places of revocation lists", func(_ *mint, c *x509.Certificate, n int) {
			c.CRLDistributionPoints = slices.Repeat([]string{"a"}, n)
		}, harmless},
		{"places of issuers", func(_ *mint, c *x509.Certificate, n int) { c.IssuingCertificateURL = slices.Repeat([]string{"a"}, n) }, harmless},
	} {
		fill := func(limit int) func(m *mint) tls.Certificate {
			return func(m *mint) tls.Certificate {
				of := func(n int) tls.Certificate {
					return m.leaf(m.trusted, func(c *x509.Certificate) { thing.fill(m, c, n) })
				}
				tooMany := sort.Search(limit, func(n int) bool { return len(of(n).Certificate[0]) > limit-4 }) // signatures differ by as much
				return of(tooMany - 1)
			}
		}
		const besides = 230 // of what TLS reads: the proof that it holds the key, and frames
		all = append(all,
			mutation{"as many " + thing.name + " as are looked at", fill(pki.MaxChainBytes), thing.harmless},
			mutation{"as many " + thing.name + " as TLS reads", fill(protocol.DefaultTLSFlightBytes - besides), wrong})
	}
	return all
}

// serialIn is where the serial number's first byte stands in a TBSCertificate of version 3.
func serialIn(tbs []byte) int {
	const version = "\xa0\x03\x02\x01\x02\x02"
	return strings.Index(string(tbs), version) + len(version) + 1
}

func otherChains() []mutation {
	// below is a chain of intermediates under an issuer, made with new keys.
	below := func(m *mint, above *issuer, length int, edit ...func(*x509.Certificate)) *issuer {
		for i := range length {
			above = m.middle(above, fmt.Sprintf("middle %d", i), p256(m), edit...)
		}
		return above
	}
	return []mutation{
		{"another authority of the same name and key id", func(m *mint) tls.Certificate { return m.leaf(m.stranger) }, wrong},
		{"the same with that authority behind it", func(m *mint) tls.Certificate {
			c := m.leaf(m.stranger)
			c.Certificate = append(c.Certificate, m.stranger.certificate.Raw)
			return c
		}, wrong},
		{"the same with the trusted authority behind it", func(m *mint) tls.Certificate {
			c := m.leaf(m.stranger)
			c.Certificate = append(c.Certificate, m.trusted.certificate.Raw)
			return c
		}, wrong},
		{"the same with both behind it", func(m *mint) tls.Certificate {
			c := m.leaf(m.stranger)
			c.Certificate = append(c.Certificate, m.stranger.certificate.Raw, m.trusted.certificate.Raw)
			return c
		}, wrong},
		{"self-signed", func(m *mint) tls.Certificate {
			self := &issuer{certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "plant/alpha"}, SubjectKeyId: m.trusted.certificate.SubjectKeyId}, key: m.key}
			return m.leaf(self, func(c *x509.Certificate) { c.Subject.CommonName = "plant/alpha" })
		}, wrong},
		{"the authority itself", func(m *mint) tls.Certificate {
			return tls.Certificate{Certificate: [][]byte{m.trusted.certificate.Raw}, PrivateKey: m.trusted.key}
		}, wrong},
		{"signed by a node's certificate", func(m *mint) tls.Certificate {
			node := m.leaf(m.trusted)
			return m.leafFor(&issuer{m.parsed(node.Certificate[0]), m.key, node.Certificate}, p256(m))
		}, wrong},
		{"signed by a node's certificate that claims to be an authority's", func(m *mint) tls.Certificate {
			node := m.leaf(m.stranger, func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			})
			return m.leafFor(&issuer{m.parsed(node.Certificate[0]), m.key, node.Certificate}, p256(m))
		}, wrong},
		{"the right one with its authority behind it", func(m *mint) tls.Certificate {
			c := m.leaf(m.trusted)
			c.Certificate = append(c.Certificate, m.trusted.certificate.Raw)
			return c
		}, harmless},
		{"the right one with strangers behind it", func(m *mint) tls.Certificate {
			c := m.leaf(m.trusted)
			c.Certificate = append(c.Certificate, m.stranger.certificate.Raw, m.stranger.certificate.Raw)
			return c
		}, harmless},
		{"the right one, not first", func(m *mint) tls.Certificate {
			c := m.leaf(m.stranger)
			c.Certificate = append(c.Certificate, m.leaf(m.trusted).Certificate...)
			return c
		}, wrong},
		{"a chain of 5", func(m *mint) tls.Certificate { return m.leaf(below(m, m.trusted, 4)) }, harmless},
		{"a chain of 5 in another order", func(m *mint) tls.Certificate {
			c := m.leaf(below(m, m.trusted, 4))
			slices.Reverse(c.Certificate[1:])
			return c
		}, wrong},
		{"a chain of 6", func(m *mint) tls.Certificate { return m.leaf(below(m, m.trusted, 5)) }, wrong},
		{"a chain of 10", func(m *mint) tls.Certificate { return m.leaf(below(m, m.trusted, 9)) }, wrong},
		{"a chain of 10 to a stranger", func(m *mint) tls.Certificate { return m.leaf(below(m, m.stranger, 9)) }, wrong},
		{"constraints above it that it keeps", func(m *mint) tls.Certificate {
			return m.leaf(below(m, m.trusted, 1, func(c *x509.Certificate) { c.PermittedURIDomains = []string{".cluster.refinery.dev"} }))
		}, harmless},
		{"constraints above it that it breaks", func(m *mint) tls.Certificate {
			return m.leaf(below(m, m.trusted, 1, func(c *x509.Certificate) { c.ExcludedURIDomains = []string{".cluster.refinery.dev"} }))
		}, wrong},
		{"a path length above it that it breaks", func(m *mint) tls.Certificate {
			return m.leaf(below(m, m.trusted, 2, func(c *x509.Certificate) { c.MaxPathLenZero = true }))
		}, wrong},
		{"many ways to nowhere, all of them dear", func(m *mint) tls.Certificate {
			evil := m.root("plant/alpha", onCurve(m, elliptic.P521()))
			for range 4 {
				evil.chain = append(evil.chain, m.middle(evil, "plant/alpha", onCurve(m, elliptic.P521())).chain[0])
			}
			return m.leafFor(evil, onCurve(m, elliptic.P521()))
		}, wrong},
	}
}

func otherKeys() []mutation {
	on := func(curve elliptic.Curve) func(m *mint) tls.Certificate {
		return func(m *mint) tls.Certificate { return m.leafFor(m.trusted, onCurve(m, curve)) }
	}
	of := func(bits int) func(m *mint) tls.Certificate {
		return func(m *mint) tls.Certificate {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			if err != nil {
				m.Fatal(err)
			}
			return m.leafFor(m.trusted, key)
		}
	}
	return []mutation{
		{"RSA-1024", of(1024), wrong},
		{"RSA-2048", of(2048), harmless},
		{"RSA-4096", of(4096), harmless},
		{"RSA of 8192 bits and a large exponent", func(m *mint) tls.Certificate { return m.leafFor(m.trusted, madeUp{m}) }, wrong},
		{"P-224", on(elliptic.P224()), wrong},
		{"P-384", on(elliptic.P384()), harmless},
		{"P-521", on(elliptic.P521()), harmless},
		{"Ed25519", func(m *mint) tls.Certificate {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				m.Fatal(err)
			}
			return m.leafFor(m.trusted, key)
		}, harmless},
		{"below RSA-1024", func(m *mint) tls.Certificate {
			key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // which is what the row is about
			if err != nil {
				m.Fatal(err)
			}
			return m.leaf(m.middle(m.trusted, "weak", key))
		}, wrong},
	}
}

// decide is what a master answers to a chain, given what the Refinery lists; a reason, or "" for auth:ack.
func decide(s *scene, chain [][]byte) string {
	var peer []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "TLS ends the handshake: " + err.Error()
		}
		peer = append(peer, c)
	}
	presented := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0]}))
	_, denial := s.try(attempt{id: "press/a", version: "0.1.0", kind: "refinery", peer: peer, presented: presented})
	if denial == nil {
		return ""
	}
	return denial.Reason
}

func TestOfAllCertificatesOnlyTheExactlyRightOneIsLetIn(t *testing.T) {
	for _, test := range mutations() {
		t.Run(test.name, func(t *testing.T) {
			m, s := newMint(t), newScene(t)
			right := m.leaf(m.trusted)
			right.Leaf = m.parsed(right.Certificate[0])
			s.clock.SetTime(time.Now())
			s.trust = m.trust()
			mutant := test.make(m)

			s.setRefinery("press", func(*v1alpha1.Refinery) {}, right)
			if got := decide(s, mutant.Certificate); got == "" {
				t.Error("let in, and its fingerprint is not listed")
			}
			if got := decide(s, right.Certificate); got != "" {
				t.Fatalf("the right one is not let in: %s", got)
			}
			// Listed it is let in if it is one of the Refinery's own in all that is read of it, and else not even then.
			listed, err := x509.ParseCertificate(mutant.Certificate[0])
			if err != nil {
				if test.harmless {
					t.Fatal(err)
				}
				return
			}
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, tls.Certificate{Leaf: listed})
			got := decide(s, mutant.Certificate)
			if (got == "") != test.harmless {
				t.Errorf("listed: %q", got)
			}
		})
	}
}

// madeUp is an RSA key of 8192 bits that is none: what is verified with it costs the same.
type madeUp struct{ *mint }

// Public implements crypto.Signer.
func (m madeUp) Public() crypto.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), 8191)
	return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 1<<31 - 1}
}

// Sign implements crypto.Signer.
func (m madeUp) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	signature := make([]byte, 1024)
	signature[1023] = 3
	return signature, nil
}
