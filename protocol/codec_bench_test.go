package protocol

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// The floor of a codec: looking for a byte, and copying as many bytes as there are.
func benchmarkBare(b *testing.B, message []byte, mark byte) {
	target := make([]byte, len(message))
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if bytes.IndexByte(message, mark) < 0 || copy(target, message) != len(message) {
			b.Fatal("not copied")
		}
	}
}

func BenchmarkAliveBare(b *testing.B) { benchmarkBare(b, []byte("conn:alive;;<EOF>"), '>') }

func BenchmarkAliveEncode(b *testing.B) {
	target := make([]byte, 0, idleBytes)
	b.SetBytes(int64(len(aliveBytes)))
	b.ReportAllocs()
	for b.Loop() {
		if len(append(target[:0], aliveBytes...)) == 0 {
			b.Fatal("not encoded")
		}
	}
}

func BenchmarkAliveDecode(b *testing.B) {
	var m message
	b.SetBytes(int64(len(aliveBytes)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := decode(&m, aliveBytes, 0, DefaultSessionBytes); n != len(aliveBytes) || err != nil || m.code != codeAlive {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkAuthStartBare(b *testing.B) {
	benchmarkBare(b, appendAuthStart(nil, benchmarkCertificate(b)), '>')
}

func BenchmarkAuthStartEncode(b *testing.B) {
	certificate := benchmarkCertificate(b)
	target := appendAuthStart(nil, certificate)
	b.SetBytes(int64(len(target)))
	b.ReportAllocs()
	for b.Loop() {
		target = appendAuthStart(target[:0], certificate)
	}
}

// BenchmarkAuthStartDecode ends where a Handler has the certificate. Decoding overwrites what it decodes, so it begins with a copy, as a
// read from a socket does.
func BenchmarkAuthStartDecode(b *testing.B) {
	certificate := benchmarkCertificate(b)
	encoded := appendAuthStart(nil, certificate)
	received := make([]byte, len(encoded))
	var m message
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	var decoded string
	for b.Loop() {
		copy(received, encoded)
		if _, err := decode(&m, received, 0, DefaultAuthStartBytes); err != nil {
			b.Fatal(err)
		}
		decoded = string(m.values[fieldCert])
	}
	if decoded != certificate {
		b.Fatalf("decoded %q", decoded)
	}
}

// BenchmarkAuthStartJSON is what one would write first: encoding/json reads the payload into a struct. It is given the payload alone.
func BenchmarkAuthStartJSON(b *testing.B) {
	certificate := benchmarkCertificate(b)
	payload := appendAuthStart(nil, certificate)
	payload = payload[len("auth:start;;") : len(payload)-len(eof)]
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	var decoded struct {
		Cert string `json:"cert"`
	}
	for b.Loop() {
		if err := json.Unmarshal(payload, &decoded); err != nil {
			b.Fatal(err)
		}
	}
	if decoded.Cert != certificate {
		b.Fatalf("decoded %q", decoded.Cert)
	}
}

// benchmarkCertificate is a certificate whose PEM has about 1.2 KB.
func benchmarkCertificate(b *testing.B) string {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{strings.Repeat("a", 60) + ".example", strings.Repeat("b", 60) + ".example", strings.Repeat("c", 60) + ".example",
			strings.Repeat("d", 60) + ".example", strings.Repeat("e", 60) + ".example", strings.Repeat("f", 60) + ".example",
			strings.Repeat("g", 60) + ".example", strings.Repeat("h", 60) + ".example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if len(certificate) < 1100 || len(certificate) > 1300 {
		b.Fatalf("the certificate has %d bytes", len(certificate))
	}
	return certificate
}
