// Package pemtext is the one reader of PEM text, for operator, master, agent and conformance kit: of the values of
// kubernetes.io/tls Secrets, and of the files that they are mounted as.
//
// It forgives what cannot be mistaken: line ends of every system, blanks around lines, a byte order mark, text before, between
// and after blocks, and blocks that were joined without a line end. It never reads a part: whatever begins as a block has to be one,
// has to be complete, and has to belong there. Otherwise the whole text is refused, with the place and what to do.
package pemtext

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// Kinds of what is wrong, which an *Error wraps. All else is text that is not PEM, or not of what is asked for.
var (
	ErrEmpty    = errors.New("it is empty")
	ErrTooLarge = fmt.Errorf("it has more than %d bytes", secretfiles.MaxBytes)
)

// Error says what is wrong with a text, and what to do. It shows nothing of a private key.
type Error struct {
	// Name is what people call the text, such as ca.crt.
	Name string
	// Place is where in the text it is wrong; "" for the text as a whole.
	Place string
	// What is wrong, and what to do about it.
	What, Remedy string
	kind         error
}

// Error returns a sentence without its end: "ca.crt, block 2 of 3 (CERTIFICATE, line 24): it has no END line; put in the whole block again".
func (e *Error) Error() string {
	where := e.Name
	if e.Place != "" {
		where += ", " + e.Place
	}
	return fmt.Sprintf("%s: %s; %s", where, e.What, e.Remedy)
}

// Unwrap returns ErrEmpty, ErrTooLarge or nil.
func (e *Error) Unwrap() error { return e.kind }

// Remedies say what to put in for a text that is not there, or is something else.
const (
	certificatesRemedy = "put in certificates as PEM text"
	keyRemedy          = "put in the private key as PEM text"
)

const certificateLabel = "CERTIFICATE"

// Certificates returns the certificates of a text in order, at least one. It holds nothing but certificates. An error is
// an *Error about the text of this name.
func Certificates(name string, text []byte) ([]*x509.Certificate, error) {
	all, err := read(name, text, certificatesRemedy)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, &Error{Name: name, What: "it holds no certificate", Remedy: certificatesRemedy}
	}
	found := make([]*x509.Certificate, 0, len(all))
	for _, b := range all {
		if b.label != certificateLabel {
			return nil, &Error{Name: name, Place: b.place, What: "it is not a certificate", Remedy: "leave it out"}
		}
		certificate, err := x509.ParseCertificate(b.content)
		if err != nil {
			return nil, &Error{Name: name, Place: b.place, What: "it does not parse: " + Printable(err.Error()), Remedy: "put in the whole block again"}
		}
		found = append(found, certificate)
	}
	return found, nil
}

// PrivateKey returns the one private key of a text: PKCS #8, PKCS #1 or SEC 1. Parameters of its curve may stand beside it.
// An error is an *Error about the text of this name.
func PrivateKey(name string, text []byte) (crypto.Signer, error) {
	all, err := read(name, text, keyRemedy)
	if err != nil {
		return nil, err
	}
	var key *block
	for i, b := range all {
		switch {
		case b.label == "ENCRYPTED PRIVATE KEY":
			return nil, encrypted(name, b.place)
		case b.label == "EC PARAMETERS": // openssl ecparam -genkey puts them before the key, which holds them too
		case b.label != "PRIVATE KEY" && b.label != "EC PRIVATE KEY" && b.label != "RSA PRIVATE KEY":
			return nil, &Error{Name: name, Place: b.place, What: "it is not a private key", Remedy: "leave it out"}
		case key != nil:
			return nil, &Error{Name: name, Place: b.place, What: "it is a second private key", Remedy: "leave out the one that does not belong to the certificate"}
		default:
			key = &all[i]
		}
	}
	if key == nil {
		return nil, &Error{Name: name, What: "it holds no private key", Remedy: keyRemedy}
	}
	if signer := parseKey(key.content); signer != nil {
		return signer, nil
	}
	return nil, &Error{Name: name, Place: key.place, What: "the private key does not parse", Remedy: "put in a key in PKCS #8, PKCS #1 or SEC 1, not encrypted"}
}

// KeyPair returns a certificate chain with its key, as TLS presents it: leaf first, whole.
func KeyPair(certificateName string, certificate []byte, keyName string, key []byte) (*tls.Certificate, error) {
	chain, err := Certificates(certificateName, certificate)
	if err != nil {
		return nil, err
	}
	signer, err := PrivateKey(keyName, key)
	if err != nil {
		return nil, err
	}
	if !Belongs(signer, chain[0]) {
		return nil, &Error{Name: keyName, What: "it is not the key of the first certificate in " + certificateName, Remedy: "put in the key that belongs to it"}
	}
	pair := &tls.Certificate{PrivateKey: signer, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// Belongs reports whether a private key is that of a certificate.
func Belongs(key crypto.Signer, leaf *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(leaf.PublicKey)
}

// read returns the blocks of a text that is there, within the bound, and text at all.
func read(name string, text []byte, remedy string) ([]block, error) {
	wrong := func(what string) error { return &Error{Name: name, What: what, Remedy: remedy} }
	switch {
	case len(text) > secretfiles.MaxBytes:
		return nil, &Error{Name: name, What: fmt.Sprintf("it has %d bytes, more than the %d that are read", len(text), secretfiles.MaxBytes),
			Remedy: "leave out what is not needed", kind: ErrTooLarge}
	case len(bytes.TrimSpace(text)) == 0:
		return nil, &Error{Name: name, What: ErrEmpty.Error(), Remedy: remedy, kind: ErrEmpty}
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return nil, &Error{Name: name, What: "it is UTF-16 text", Remedy: "save it as UTF-8"}
	case text[0] == 0x30 && len(text) > 1 && text[1] >= 0x80: // a sequence (X.690) of more than 127 bytes
		return nil, wrong("it is binary, DER or PKCS #12, and not PEM text")
	}
	return blocks(name, text)
}

func encrypted(name, place string) error {
	return &Error{Name: name, Place: place, What: "it is encrypted", Remedy: "put in the key without its passphrase, as openssl pkey writes it"}
}

// parseKey returns nil if no parser accepts the key. The parsers' errors are dropped: they do not help a user.
func parseKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	return nil
}
