package admittest

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
	"fmt"
	"io"
	"math/big"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// Mutation is a certificate, with its chain, that is not the exactly right one, but for the first.
type Mutation struct {
	Name string
	Make func(m *Mint) tls.Certificate
	// Harmless reports whether it is one of the Refinery's own, would the Refinery list it: it differs in what nobody reads.
	Harmless bool
}

const (
	wrong    = false
	harmless = true
)

// Mutations are all of them, the right one first.
func Mutations() []Mutation {
	leaf := func(edits ...pkitest.Edit) func(m *Mint) tls.Certificate {
		return func(m *Mint) tls.Certificate { return m.Leaf(m.Trusted, edits...) }
	}
	all := []Mutation{{"the right one", leaf(), harmless}}
	all = append(all, otherNames(leaf)...)
	all = append(all, otherFields(leaf)...)
	all = append(all, fullOfThings()...)
	all = append(all, forgedChains()...)
	all = append(all, longChains()...)
	return append(all, otherKeys()...)
}

func otherNames(leaf func(...pkitest.Edit) func(*Mint) tls.Certificate) (all []Mutation) {
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
		all = append(all, Mutation{fmt.Sprintf("the name %q", name), leaf(named(pkitest.URISAN(name))), wrong})
	}
	also := func(others ...asn1.RawValue) func(m *Mint) tls.Certificate {
		return func(m *Mint) tls.Certificate { return m.Leaf(m.Trusted, m.also(others...)) }
	}
	identity := "spiffe://" + host + path
	return append(all,
		Mutation{"its name twice", also(pkitest.URISAN(identity)), wrong},
		Mutation{"another name beside it", also(pkitest.URISAN("spiffe://" + host + "/refinery/pump")), wrong},
		Mutation{"a URL beside it", also(pkitest.URISAN("https://example.com")), wrong},
		Mutation{"a DNS name beside it", also(pkitest.DNSSAN("pump")), harmless},
		Mutation{"an email address beside it", also(pkitest.EmailSAN("pump@example.com")), harmless},
		Mutation{"an IP address beside it", also(pkitest.IPSAN("\x7f\x00\x00\x01")), harmless},
		Mutation{"a directory name beside it", also(pkitest.DirectoryNameSAN("pump")), harmless},
		Mutation{"a registered id beside it", also(pkitest.SAN(8, "\x2a\x03")), harmless},
		Mutation{"its name as a DNS name", leaf(named(pkitest.DNSSAN(identity))), wrong},
		Mutation{"its name as an email address", leaf(named(pkitest.EmailSAN("press@" + host))), wrong},
		Mutation{"its name as a directory name", leaf(named(pkitest.DirectoryNameSAN(identity))), wrong},
		Mutation{"its name as the common name only", leaf(func(c *x509.Certificate) { c.ExtraExtensions, c.Subject.CommonName = nil, identity }), wrong},
		Mutation{"another's name as the common name", leaf(func(c *x509.Certificate) { c.Subject.CommonName = "spiffe://" + host + "/refinery/pump" }), harmless},
		Mutation{"no common name", leaf(func(c *x509.Certificate) { c.Subject = pkix.Name{} }), harmless},
		Mutation{"many common names", leaf(func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "pump"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "press"}}
		}), harmless},
		Mutation{"SANs twice", leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkitest.SANExtension(pkitest.URISAN(identity)))
		}), wrong},
		Mutation{"10,000 DNS names", also(many(10000, pkitest.DNSSAN, "n%d.example.com")...), wrong},
		Mutation{"10,000 URIs", also(many(10000, pkitest.URISAN, "spiffe://x/%d")...), wrong},
	)
}

func otherFields(leaf func(...pkitest.Edit) func(*Mint) tls.Certificate) []Mutation {
	extension := func(critical bool) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 55555, 1}, Critical: critical, Value: []byte{5, 0}})
		}
	}
	usage := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	rewritten := func(rewrite func(tbs []byte), edits ...pkitest.Edit) func(m *Mint) tls.Certificate {
		return func(m *Mint) tls.Certificate {
			c := m.Leaf(m.Trusted, edits...)
			c.Certificate[0] = pkitest.Rewrite(c.Certificate[0], m.Trusted.Key, rewrite)
			return c
		}
	}
	flip := func(tbs []byte) { tbs[serialIn(tbs)+1] ^= 1 }
	serialOne := func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }
	return []Mutation{
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
		{"a negative serial", rewritten(func(tbs []byte) { tbs[serialIn(tbs)] |= 0x80 }), wrong},
		{"a changed serial", rewritten(flip), harmless},
		{"the serial 0", rewritten(func(tbs []byte) { tbs[serialIn(tbs)] = 0 }, serialOne), harmless},
		{"a bit flipped in what is signed", func(m *Mint) tls.Certificate {
			c := m.Leaf(m.Trusted)
			c.Certificate[0] = pkitest.Rewrite(c.Certificate[0], nil, flip)
			return c
		}, wrong},
		{"a bit flipped in the signature", func(m *Mint) tls.Certificate {
			c := m.Leaf(m.Trusted)
			c.Certificate[0][len(c.Certificate[0])-1] ^= 1
			return c
		}, wrong},
	}
}

// policies edits a certificate to have so many.
func policies(n int) pkitest.Edit {
	return func(c *x509.Certificate) {
		for i := range n {
			c.Policies = append(c.Policies, must(x509.OIDFromInts([]uint64{1, uint64(i / 128), uint64(i % 128)}))) //nolint:gosec // not negative
		}
	}
}

// fullOfThings are certificates with as much of one thing as one may have bytes, and as TLS reads.
func fullOfThings() (all []Mutation) {
	for _, thing := range []struct {
		name     string
		fill     func(m *Mint, c *x509.Certificate, count int)
		harmless bool
	}{
		{"URIs", func(m *Mint, c *x509.Certificate, n int) { m.also(many(n, pkitest.URISAN, "a")...)(c) }, wrong},
		{"email addresses", func(m *Mint, c *x509.Certificate, n int) { m.also(many(n, pkitest.EmailSAN, "a@b")...)(c) }, harmless},
		{"DNS names", func(m *Mint, c *x509.Certificate, n int) { m.also(many(n, pkitest.DNSSAN, "a")...)(c) }, harmless},
		{"IP addresses", func(m *Mint, c *x509.Certificate, n int) { m.also(many(n, pkitest.IPSAN, "\x7f\x00\x00\x01")...)(c) }, harmless},
		{"directory names", func(m *Mint, c *x509.Certificate, n int) { m.also(many(n, pkitest.DirectoryNameSAN, "a")...)(c) }, harmless},
		{"extensions", func(_ *Mint, c *x509.Certificate, n int) {
			for i := range n {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, i}, Value: []byte{5, 0}})
			}
		}, harmless},
		{"usages", func(_ *Mint, c *x509.Certificate, n int) {
			c.UnknownExtKeyUsage = slices.Repeat([]asn1.ObjectIdentifier{{1, 2, 3}}, n)
		}, harmless},
		{"policies", func(_ *Mint, c *x509.Certificate, n int) { policies(n)(c) }, harmless},
		{"words of the subject", func(_ *Mint, c *x509.Certificate, n int) {
			c.Subject.ExtraNames = slices.Repeat([]pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "a"}}, n)
		}, harmless},
		{"constraints", func(_ *Mint, c *x509.Certificate, n int) { c.PermittedDNSDomains = slices.Repeat([]string{"a"}, n) }, harmless},
		{"places of revocation lists", func(_ *Mint, c *x509.Certificate, n int) { c.CRLDistributionPoints = slices.Repeat([]string{"a"}, n) }, harmless},
		{"places of issuers", func(_ *Mint, c *x509.Certificate, n int) { c.IssuingCertificateURL = slices.Repeat([]string{"a"}, n) }, harmless},
	} {
		fill := func(limit int) func(m *Mint) tls.Certificate {
			return func(m *Mint) tls.Certificate {
				of := func(n int) tls.Certificate {
					return m.Leaf(m.Trusted, func(c *x509.Certificate) { thing.fill(m, c, n) })
				}
				tooMany := sort.Search(limit, func(n int) bool { return len(of(n).Certificate[0]) > limit-4 }) // signatures differ by as much
				return of(tooMany - 1)
			}
		}
		const besides = 230 // of what TLS reads: the proof that it holds the key, and frames
		all = append(all,
			Mutation{"as many " + thing.name + " as are looked at", fill(pki.MaxCertificateBytes), thing.harmless},
			Mutation{"as many " + thing.name + " as TLS reads", fill(protocol.DefaultTLSFlightBytes - besides), wrong})
	}
	return all
}

// serialIn is where the serial number's first byte stands in a TBSCertificate of version 3.
func serialIn(tbs []byte) int {
	const version = "\xa0\x03\x02\x01\x02\x02"
	return strings.Index(string(tbs), version) + len(version) + 1
}

func forgedChains() []Mutation {
	// with lets others stand behind a certificate.
	with := func(c tls.Certificate, others ...*x509.Certificate) tls.Certificate {
		for _, other := range others {
			c.Certificate = append(c.Certificate, other.Raw)
		}
		return c
	}
	return []Mutation{
		{"another authority of the same name and key id", func(m *Mint) tls.Certificate { return m.Leaf(m.Stranger) }, wrong},
		{"the same with that authority behind it", func(m *Mint) tls.Certificate { return with(m.Leaf(m.Stranger), m.Stranger.Certificate) }, wrong},
		{"the same with the trusted authority behind it", func(m *Mint) tls.Certificate { return with(m.Leaf(m.Stranger), m.Trusted.Certificate) }, wrong},
		{"the same with both behind it", func(m *Mint) tls.Certificate {
			return with(m.Leaf(m.Stranger), m.Stranger.Certificate, m.Trusted.Certificate)
		}, wrong},
		{"self-signed", func(m *Mint) tls.Certificate {
			self := &pkitest.Authority{Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "plant/alpha"}, SubjectKeyId: m.Trusted.Certificate.SubjectKeyId}, Key: m.Key}
			return m.Leaf(self, func(c *x509.Certificate) { c.Subject.CommonName = "plant/alpha" })
		}, wrong},
		{"the authority itself", func(m *Mint) tls.Certificate {
			return tls.Certificate{Certificate: [][]byte{m.Trusted.Certificate.Raw}, PrivateKey: m.Trusted.Key}
		}, wrong},
		{"signed by a node's certificate", func(m *Mint) tls.Certificate {
			return m.leafFor(pkitest.AuthorityOf(m.Leaf(m.Trusted)), pkitest.NewKey())
		}, wrong},
		{"signed by a node's certificate that claims to be an authority's", func(m *Mint) tls.Certificate {
			node := m.Leaf(m.Stranger, func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			})
			return m.leafFor(pkitest.AuthorityOf(node), pkitest.NewKey())
		}, wrong},
		{"the right one with its authority behind it", func(m *Mint) tls.Certificate { return with(m.Leaf(m.Trusted), m.Trusted.Certificate) }, harmless},
		{"the right one with strangers behind it", func(m *Mint) tls.Certificate {
			return with(m.Leaf(m.Trusted), m.Stranger.Certificate, m.Stranger.Certificate)
		}, harmless},
		{"the right one, not first", func(m *Mint) tls.Certificate { return with(m.Leaf(m.Stranger), m.Leaf(m.Trusted).Leaf) }, wrong},
	}
}

func longChains() []Mutation {
	// below is a chain of intermediates under an issuer, made with new keys.
	below := func(above *pkitest.Authority, length int, edit ...pkitest.Edit) *pkitest.Authority {
		for i := range length {
			above = intermediate(above, fmt.Sprintf("middle %d", i), pkitest.NewKey(), edit...)
		}
		return above
	}
	return []Mutation{
		{"a chain of 5", func(m *Mint) tls.Certificate { return m.Leaf(below(m.Trusted, 4)) }, harmless},
		{"a chain of 5 in another order", func(m *Mint) tls.Certificate {
			c := m.Leaf(below(m.Trusted, 4))
			slices.Reverse(c.Certificate[1:])
			return c
		}, wrong},
		{"a chain as full of policies as is looked at", func(m *Mint) tls.Certificate {
			const each, besides = 7, 520 // bytes: a policy, and all else in a certificate
			return m.Leaf(below(m.Trusted, 1, policies((pki.MaxChainBytes-pki.MaxCertificateBytes-besides)/each)), policies((pki.MaxCertificateBytes-besides)/each))
		}, harmless},
		{"a chain of 6", func(m *Mint) tls.Certificate { return m.Leaf(below(m.Trusted, 5)) }, wrong},
		{"a chain of 10", func(m *Mint) tls.Certificate { return m.Leaf(below(m.Trusted, 9)) }, wrong},
		{"a chain of 10 to a stranger", func(m *Mint) tls.Certificate { return m.Leaf(below(m.Stranger, 9)) }, wrong},
		{"constraints above it that it keeps", func(m *Mint) tls.Certificate {
			return m.Leaf(below(m.Trusted, 1, func(c *x509.Certificate) { c.PermittedURIDomains = []string{".cluster.refinery.dev"} }))
		}, harmless},
		{"constraints above it that it breaks", func(m *Mint) tls.Certificate {
			return m.Leaf(below(m.Trusted, 1, func(c *x509.Certificate) { c.ExcludedURIDomains = []string{".cluster.refinery.dev"} }))
		}, wrong},
		{"a path length above it that it breaks", func(m *Mint) tls.Certificate {
			return m.Leaf(below(m.Trusted, 2, func(c *x509.Certificate) { c.MaxPathLenZero = true }))
		}, wrong},
		{"many ways to nowhere, all of them dear", func(m *Mint) tls.Certificate {
			evil := pkitest.NewAuthorityWithKey("plant/alpha", pkitest.NewKeyOn(elliptic.P521()), sameKeyID)
			for range 4 {
				evil.Chain = append(evil.Chain, intermediate(evil, "plant/alpha", pkitest.NewKeyOn(elliptic.P521())).Chain[0])
			}
			return m.leafFor(evil, pkitest.NewKeyOn(elliptic.P521()))
		}, wrong},
	}
}

func otherKeys() []Mutation {
	of := func(key func() crypto.Signer) func(m *Mint) tls.Certificate {
		return func(m *Mint) tls.Certificate { return m.leafFor(m.Trusted, key()) }
	}
	on := func(curve elliptic.Curve) func() crypto.Signer {
		return func() crypto.Signer { return pkitest.NewKeyOn(curve) }
	}
	rsaOf := func(bits int) func() crypto.Signer {
		return func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, bits)) }
	}
	return []Mutation{
		{"RSA-1024", of(rsaOf(1024)), wrong},
		{"RSA-2048", of(rsaOf(2048)), harmless},
		{"RSA-4096", of(rsaOf(4096)), harmless},
		{"RSA of 8192 bits and a large exponent", of(func() crypto.Signer { return madeUp{} }), wrong},
		{"P-224", of(on(elliptic.P224())), wrong},
		{"P-384", of(on(elliptic.P384())), harmless},
		{"P-521", of(on(elliptic.P521())), harmless},
		{"Ed25519", of(func() crypto.Signer {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return must(key, err)
		}), harmless},
		{"below RSA-1024", func(m *Mint) tls.Certificate { return m.Leaf(intermediate(m.Trusted, "weak", rsaOf(1024)())) }, wrong},
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// madeUp is an RSA key of 8192 bits that is none: what is verified with it costs the same.
type madeUp struct{}

// Public implements crypto.Signer.
func (madeUp) Public() crypto.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), 8191)
	return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 1<<31 - 1}
}

// Sign implements crypto.Signer.
func (madeUp) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	signature := make([]byte, 1024)
	signature[1023] = 3
	return signature, nil
}

// many makes a number of SANs.
func many(count int, of func(string) asn1.RawValue, form string) []asn1.RawValue {
	all := make([]asn1.RawValue, count)
	for i := range all {
		name := form
		if strings.Contains(form, "%") {
			name = fmt.Sprintf(form, i)
		}
		all[i] = of(name)
	}
	return all
}
