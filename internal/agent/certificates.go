package agent

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/masterfile"
	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// Names of the files in --certificate-dir: those of a kubernetes.io/tls Secret with a trust bundle.
const (
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
	authorityFile   = "ca.crt"
)

// sharedFile stands for --shared-certificate-file, whatever its name is.
const sharedFile = "shared certificate"

// credentials are one consistent reading of the files: what a session is made with.
type credentials struct {
	// master is where to connect, and how often to be heard there.
	master masterfile.Settings
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

// masterFile stands for --master-file, whatever its name is.
const masterFile = "master file"

// credentialFiles are the files that a config names.
type credentialFiles struct{ Config }

// directories hold the files.
func (f credentialFiles) directories() []string {
	var all []string
	if f.Transport != Plaintext {
		all = append(all, f.CertificateDir)
	}
	for _, path := range []string{f.SharedCertificateFile, f.MasterFile} {
		if path != "" {
			all = append(all, filepath.Dir(path))
		}
	}
	return all
}

// read returns the files that the transport needs, and those that have names of their own as sharedFile and masterFile.
func (f credentialFiles) read() (secretfiles.Files, error) {
	var names []string
	switch f.Transport {
	case MutualTLS:
		names = []string{authorityFile, certificateFile, keyFile}
	case ServerTLS:
		names = []string{authorityFile}
	}
	files, err := secretfiles.Read(f.CertificateDir, names...)
	if err != nil {
		return nil, fmt.Errorf("--certificate-dir=%s: %w", f.CertificateDir, err)
	}
	for _, named := range []struct{ flag, path, as string }{
		{"shared-certificate-file", f.SharedCertificateFile, sharedFile}, {"master-file", f.MasterFile, masterFile},
	} {
		if named.path == "" {
			continue
		}
		name := filepath.Base(named.path)
		read, err := secretfiles.Read(filepath.Dir(named.path), name)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", named.flag, err)
		}
		files[named.as] = read[name]
	}
	return files, nil
}

// parse checks that the files are usable together. Whether the master trusts them, it decides itself.
func (f credentialFiles) parse(files secretfiles.Files) (*credentials, error) {
	parsed := &credentials{master: f.Settings}
	if f.MasterFile != "" {
		var err error
		if parsed.master, err = f.settingsIn(files[masterFile]); err != nil {
			return nil, err
		}
	}
	if f.Transport != Plaintext {
		authorities, err := pemtext.Certificates(authorityFile, files[authorityFile])
		if err != nil {
			return nil, fmt.Errorf("--certificate-dir=%s: %w", f.CertificateDir, err)
		}
		parsed.roots = x509.NewCertPool()
		for _, authority := range authorities {
			parsed.roots.AddCert(authority)
		}
	}
	if f.Transport == MutualTLS {
		pair, err := pemtext.KeyPair(certificateFile, files[certificateFile], keyFile, files[keyFile])
		if err != nil {
			return nil, fmt.Errorf("--certificate-dir=%s: %w", f.CertificateDir, err)
		}
		sum := sha256.Sum256(pair.Leaf.Raw)
		parsed.certificate, parsed.notAfter, parsed.fingerprint = pair, pair.Leaf.NotAfter, hex.EncodeToString(sum[:])
		parsed.proof = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}))
	}
	if f.SharedCertificateFile != "" {
		shared, err := secretfiles.Shared(files[sharedFile])
		if err != nil {
			return nil, fmt.Errorf("--shared-certificate-file: the file %w", err)
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
