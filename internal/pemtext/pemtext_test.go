package pemtext

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

func selfSigned(t *testing.T, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCertificatesReturnsAllOrSaysWhichIsWrong(t *testing.T) {
	first, second := selfSigned(t, 1), selfSigned(t, 2)
	other := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte("x")})
	bad := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("secret")})
	for _, test := range []struct {
		name    string
		parts   [][]byte
		serials []int64
		want    string
	}{
		{"one", [][]byte{first}, []int64{1}, ""},
		{"in order", [][]byte{second, first}, []int64{2, 1}, ""},
		{"with comments and other blocks", [][]byte{[]byte("# plant\n"), first, other, []byte("\n\n"), second}, []int64{1, 2}, ""},
		{"at the bound", [][]byte{first, bytes.Repeat([]byte("\n"), secretfiles.MaxBytes-len(first))}, []int64{1}, ""},
		{"over the bound", [][]byte{first, bytes.Repeat([]byte("\n"), secretfiles.MaxBytes-len(first)+1)}, nil, "ca.crt is larger than 256 KiB"},
		{"nothing", nil, nil, "ca.crt holds no certificate"},
		{"other blocks only", [][]byte{other}, nil, "ca.crt holds no certificate"},
		{"the second does not parse", [][]byte{first, bad, second}, nil, "ca.crt: certificate 2 does not parse: x509: malformed certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := Certificates("ca.crt", bytes.Join(test.parts, nil))
			if (err == nil) != (test.want == "") || (err != nil && err.Error() != test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if got := errors.Is(err, ErrNoCertificate); got != strings.HasSuffix(test.want, "holds no certificate") {
				t.Errorf("ErrNoCertificate: %v", got)
			}
			if len(found) != len(test.serials) {
				t.Fatalf("%d certificates, want %d", len(found), len(test.serials))
			}
			for i, serial := range test.serials {
				if found[i].SerialNumber.Int64() != serial {
					t.Errorf("certificate %d has serial %v, want %d", i+1, found[i].SerialNumber, serial)
				}
			}
		})
	}
}
