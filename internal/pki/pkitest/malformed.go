package pkitest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// Tags of GeneralName (RFC 5280, section 4.2.1.6).
const (
	tagEmail         = 1
	tagDNS           = 2
	tagDirectoryName = 4
	tagURI           = 6
	tagIP            = 7
)

// SANs gives a certificate exactly these names, in this order: several of a kind, and text that is not a valid name of
// its kind, which the fields of x509.Certificate would not let through.
func SANs(names ...asn1.RawValue) Edit {
	return func(c *x509.Certificate) {
		c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs = nil, nil, nil, nil
		c.ExtraExtensions = append(c.ExtraExtensions, SANExtension(names...))
	}
}

// SANExtension is a subjectAltName extension with any names. SANs adds it once; a certificate with two is malformed.
func SANExtension(names ...asn1.RawValue) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: must(asn1.Marshal(names))}
}

// SAN is a name of any kind, by its tag.
func SAN(tag int, content string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(content)}
}

// EmailSAN is an rfc822Name.
func EmailSAN(address string) asn1.RawValue { return SAN(tagEmail, address) }

// DNSSAN is a dNSName.
func DNSSAN(name string) asn1.RawValue { return SAN(tagDNS, name) }

// URISAN is a uniformResourceIdentifier.
func URISAN(uri string) asn1.RawValue { return SAN(tagURI, uri) }

// IPSAN is an iPAddress, in network byte order: 4 bytes, or 16.
func IPSAN(address string) asn1.RawValue { return SAN(tagIP, address) }

// DirectoryNameSAN is a directoryName with this common name.
func DirectoryNameSAN(commonName string) asn1.RawValue {
	der := must(asn1.Marshal(pkix.Name{CommonName: commonName}.ToRDNSequence()))
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagDirectoryName, IsCompound: true, Bytes: der}
}

// Rewrite returns a certificate in DER form of which edit changed the signed part, byte by byte: what no template lets
// through. by signs the result with ECDSA and SHA-256. Without by the former signature stays, and no longer fits.
func Rewrite(der []byte, by crypto.Signer, edit func(tbs []byte)) []byte {
	var c struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	if _, err := asn1.Unmarshal(bytes.Clone(der), &c); err != nil {
		panic(err)
	}
	edit(c.TBS.FullBytes)
	if by != nil {
		sum := sha256.Sum256(c.TBS.FullBytes)
		signature := must(by.Sign(rand.Reader, sum[:], crypto.SHA256))
		c.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	}
	return must(asn1.Marshal(c))
}
