package agent

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

const (
	maxFileBytes = 64 << 10 // of each certificate file; a chain of four ECDSA certificates has about 4 KiB

	// names of the files in --certificate-dir, those of a kubernetes.io/tls Secret with a trust bundle
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
	authorityFile   = "ca.crt"
)

// credentials are one consistent reading of the certificate files.
type credentials struct {
	// certificate is presented in TLS; nil unless the transport is MutualTLS.
	certificate *tls.Certificate
	// roots verify the master; nil with Plaintext.
	roots *x509.CertPool
	// proof is what auth:start sends: the PEM of the leaf, or the shared certificate. With the latter it is a secret.
	proof string
	// notAfter and fingerprint (SHA-256 of the DER form, hexadecimal) are those of certificate; zero without one.
	notAfter    time.Time
	fingerprint string
}

// credentialFiles says which files a transport needs.
type credentialFiles struct {
	transport Transport
	directory string
	shared    string
}

// directories hold the files.
func (f credentialFiles) directories() []string {
	var all []string
	if f.transport != Plaintext {
		all = append(all, f.directory)
	}
	if f.shared != "" {
		all = append(all, filepath.Dir(f.shared))
	}
	return all
}

// fileContents are the raw files; nil for those that are not needed.
type fileContents struct{ certificate, key, authority, shared []byte }

// sum tells one reading from another without keeping the key.
func (c fileContents) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range [][]byte{c.certificate, c.key, c.authority, c.shared} {
		partSum := sha256.Sum256(part) // so that no byte can move from one file to the next unnoticed
		h.Write(partSum[:])
	}
	h.Sum(sum[:0])
	return sum
}

// read returns the files of one version of a mounted Secret: the kubelet switches all of them at once by renaming the
// link ..data, so it is followed once and not for each file. It then removes the old version, perhaps while that is being read.
func (f credentialFiles) read() (c fileContents, err error) {
	directory := mounted(f.directory)
	for {
		if c, err = f.readFrom(directory); err == nil {
			return c, nil
		}
		now := mounted(f.directory)
		if now == directory {
			return c, err
		}
		directory = now
	}
}

func (f credentialFiles) readFrom(directory string) (c fileContents, err error) {
	if f.transport != Plaintext {
		c.authority, err = readBounded(filepath.Join(directory, authorityFile))
		if f.transport == MutualTLS && err == nil {
			if c.certificate, err = readBounded(filepath.Join(directory, certificateFile)); err == nil {
				c.key, err = readBounded(filepath.Join(directory, keyFile))
			}
		}
		if err != nil {
			return fileContents{}, fmt.Errorf("--certificate-dir=%s: %w", f.directory, err)
		}
	}
	if f.shared != "" {
		if c.shared, err = readBounded(f.shared); err != nil {
			return fileContents{}, fmt.Errorf("--shared-certificate-file: %w", err)
		}
	}
	return c, nil
}

// mounted is the version that the kubelet's link points to, whether or not it still exists; without a link the directory.
func mounted(directory string) string {
	target, err := os.Readlink(filepath.Join(directory, "..data"))
	switch {
	case err != nil:
		return directory
	case filepath.IsAbs(target):
		return target
	}
	return filepath.Join(directory, target)
}

// readBounded names the file in its errors and never shows what is in it.
func readBounded(path string) ([]byte, error) {
	name := filepath.Base(path)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be opened: %w", name, errors.Unwrap(err))
	}
	defer func() { _ = f.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", name, errors.Unwrap(err))
	case len(content) > maxFileBytes:
		return nil, fmt.Errorf("%s is larger than %d KiB", name, maxFileBytes>>10)
	}
	return content, nil
}

// parse says whether the files are any good together. Whether anybody trusts them, the master decides.
func (f credentialFiles) parse(c fileContents) (*credentials, error) {
	parsed := &credentials{}
	if f.transport != Plaintext {
		parsed.roots = x509.NewCertPool()
		if !parsed.roots.AppendCertsFromPEM(c.authority) {
			return nil, fmt.Errorf("--certificate-dir=%s: %s holds no certificate in PEM", f.directory, authorityFile)
		}
	}
	if f.transport == MutualTLS {
		pair, err := tls.X509KeyPair(c.certificate, c.key)
		if err != nil {
			return nil, fmt.Errorf("--certificate-dir=%s: %s and %s are no pair: %w", f.directory, certificateFile, keyFile, err)
		}
		sum := sha256.Sum256(pair.Leaf.Raw)
		parsed.certificate, parsed.notAfter, parsed.fingerprint = &pair, pair.Leaf.NotAfter, hex.EncodeToString(sum[:])
		parsed.proof = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}))
	}
	if f.shared != "" {
		shared := bytes.TrimSpace(c.shared)
		if len(shared) == 0 || !utf8.Valid(shared) {
			return nil, errors.New("--shared-certificate-file: the file is empty or not UTF-8 text")
		}
		parsed.proof = string(shared)
	}
	return parsed, nil
}

// tlsConfig is nil with Plaintext.
func (c *credentials) tlsConfig(serverName string) *tls.Config {
	if c.roots == nil {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.roots, ServerName: serverName}
	if c.certificate != nil {
		// Not Certificates: those are held back when the server hints at other authorities, and the master should
		// see the certificate to be able to say what is wrong with it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate, nil }
	}
	return config
}
