package conformance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// credentials are what the files of the flags hold.
type credentials struct {
	authCertificate, deniedCertificate string // what auth:start sends, or must send
	own, denied                        *tls.Certificate
	authorities                        *x509.CertPool
}

// load reads the files. An error names the flag and never what the file holds.
func (o *Options) load() (err error) {
	if o.CertFile != "" {
		if o.own, err = loadPair("cert", o.CertFile, "key", o.KeyFile); err != nil {
			return err
		}
	}
	if o.CAFile != "" {
		b, err := readFile("ca", o.CAFile)
		if err != nil {
			return err
		}
		authorities, err := pemtext.Certificates("--ca="+o.CAFile, b)
		if err != nil {
			return err
		}
		o.authorities = x509.NewCertPool()
		for _, authority := range authorities {
			o.authorities.AddCert(authority)
		}
	}
	if o.AuthCertFile != "" {
		if o.authCertificate, err = loadText("auth-cert", o.AuthCertFile); err != nil {
			return err
		}
	} else if o.peer == master && o.own != nil {
		o.authCertificate = leafPEM(o.own)
	}
	switch {
	case o.DeniedKeyFile != "":
		if o.denied, err = loadPair("denied-cert", o.DeniedCertFile, "denied-key", o.DeniedKeyFile); err != nil {
			return err
		}
		o.deniedCertificate = leafPEM(o.denied)
	case o.DeniedCertFile != "":
		if o.deniedCertificate, err = loadText("denied-cert", o.DeniedCertFile); err != nil {
			return err
		}
	}
	for _, c := range [...]string{o.authCertificate, o.deniedCertificate} {
		if size := len(compose(authStart, `{"cert":`+quote(c)+`,"padding":""}`)); o.peer == master && size > o.AuthStartBytes {
			return fmt.Errorf("auth:start with this certificate has %d bytes, more than --auth-start-bytes", size)
		}
	}
	return nil
}

func readFile(flag, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	if !info.Mode().IsRegular() || info.Size() > secretfiles.MaxBytes {
		return nil, fmt.Errorf("--%s=%s is not a file of at most %d bytes", flag, path, secretfiles.MaxBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return b, nil
}

func loadText(flag, path string) (string, error) {
	b, err := readFile(flag, path)
	if err != nil {
		return "", err
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 || !utf8.Valid(b) {
		return "", fmt.Errorf("--%s=%s is empty or not UTF-8 text", flag, path)
	}
	return string(b), nil
}

func loadPair(certFlag, certPath, keyFlag, keyPath string) (*tls.Certificate, error) {
	cert, err := readFile(certFlag, certPath)
	if err != nil {
		return nil, err
	}
	key, err := readFile(keyFlag, keyPath)
	if err != nil {
		return nil, err
	}
	return pemtext.KeyPair("--"+certFlag+"="+certPath, cert, "--"+keyFlag+"="+keyPath, key)
}

func leafPEM(c *tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

// helloBytes is at least what the kit's hello has by itself, with a key share of a post-quantum curve.
const helloBytes = 2 << 10

// clientConfig is the kit's TLS against a master; nil for none.
func (o *Options) clientConfig(how via) (*tls.Config, error) {
	if o.Transport == Plaintext || how == withoutTLS {
		return nil, nil
	}
	name := o.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(o.Address) // It was validated.
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.authorities, ServerName: name}
	own := o.own
	switch how {
	case withTLS12:
		c.MaxVersion = tls.VersionTLS12
	case withDeniedCertificate:
		own = o.denied
	case withoutCertificate:
		own = nil
	case withUnknownAuthority:
		var err error
		if own, err = selfSigned(o.own); err != nil {
			return nil, err
		}
	case withLongHello:
		for size := 0; size < o.TLSFlightBytes*3/4-helloBytes; size += 201 {
			c.NextProtos = append(c.NextProtos, strings.Repeat("x", 200)) // A master that knows no such protocol goes on.
		}
	case withLongChain:
		long := *own
		long.Certificate = slices.Clone(own.Certificate)
		for size := 0; size <= o.TLSFlightBytes; size += len(own.Certificate[0]) {
			long.Certificate = append(long.Certificate, own.Certificate[0])
		}
		own = &long
	}
	if own != nil {
		// Whatever authorities the master names: the case says which certificate to show.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return c, nil
}

// serverConfig is the kit's TLS against a refinery; nil for none.
func (o *Options) serverConfig(how via) (*tls.Config, error) {
	if o.Transport == Plaintext || how == withoutTLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*o.own}, SessionTicketsDisabled: true}
	if o.Transport == MutualTLS {
		c.MinVersion, c.ClientAuth, c.ClientCAs = tls.VersionTLS13, tls.RequireAndVerifyClientCert, o.authorities
	}
	switch how {
	case withTLS12:
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	case withUnknownAuthority:
		stranger, err := selfSigned(o.own)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{*stranger}
	}
	return c, nil
}

// selfSigned copies the names of a certificate into one that nobody has issued.
func selfSigned(like *tls.Certificate) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(like.Certificate[0])
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: leaf.Subject, DNSNames: leaf.DNSNames, IPAddresses: leaf.IPAddresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: leaf.ExtKeyUsage,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

var errNotTLS = errors.New("the TLS handshake failed")
