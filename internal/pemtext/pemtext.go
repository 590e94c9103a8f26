// Package pemtext reads PEM text: the values of kubernetes.io/tls Secrets and the files that they are mounted as.
package pemtext

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"

	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// ErrNoCertificate is wrapped by the error of Certificates for text without a single CERTIFICATE block.
var ErrNoCertificate = errors.New("holds no certificate")

// Certificates returns the certificates of all CERTIFICATE blocks in order, at least one; what stands between them is
// skipped. It never returns a part: one certificate that does not parse is an error. Errors begin with name, which is what
// people call the text, such as ca.crt, and show nothing of what is in it.
func Certificates(name string, text []byte) ([]*x509.Certificate, error) {
	if len(text) > secretfiles.MaxBytes {
		return nil, fmt.Errorf("%s is larger than %d KiB", name, secretfiles.MaxBytes>>10)
	}
	var found []*x509.Certificate
	for block := range Blocks(text) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d does not parse: %w", name, len(found)+1, err)
		}
		found = append(found, certificate)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s %w", name, ErrNoCertificate)
	}
	return found, nil
}

// Blocks returns the PEM blocks of text in order.
func Blocks(text []byte) iter.Seq[*pem.Block] {
	return func(yield func(*pem.Block) bool) {
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if !yield(block) {
				return
			}
		}
	}
}
