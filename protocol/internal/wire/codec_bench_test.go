package wire

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
	target := make([]byte, 0, IdleBytes)
	b.SetBytes(int64(len(Alive)))
	b.ReportAllocs()
	for b.Loop() {
		if len(append(target[:0], Alive...)) == 0 {
			b.Fatal("not encoded")
		}
	}
}

func BenchmarkAliveDecode(b *testing.B) {
	var m Message
	b.SetBytes(int64(len(Alive)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := Decode(&m, Alive, 0, 4<<10); n != len(Alive) || err != nil || m.Code != CodeAlive {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkAuthStartBare(b *testing.B) {
	benchmarkBare(b, AppendAuthStart(nil, benchmarkCertificate(b)), '>')
}

func BenchmarkAuthStartEncode(b *testing.B) {
	certificate := benchmarkCertificate(b)
	target := AppendAuthStart(nil, certificate)
	b.SetBytes(int64(len(target)))
	b.ReportAllocs()
	for b.Loop() {
		target = AppendAuthStart(target[:0], certificate)
	}
}

// BenchmarkAuthStartDecode ends where a Handler has the certificate. Decoding overwrites what it decodes, so it begins with a copy, as a
// read from a socket does.
func BenchmarkAuthStartDecode(b *testing.B) {
	certificate := benchmarkCertificate(b)
	encoded := AppendAuthStart(nil, certificate)
	received := make([]byte, len(encoded))
	var m Message
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	var decoded string
	for b.Loop() {
		copy(received, encoded)
		if _, err := Decode(&m, received, 0, 64<<10); err != nil {
			b.Fatal(err)
		}
		decoded = string(m.Values[FieldCert])
	}
	if decoded != certificate {
		b.Fatalf("decoded %q", decoded)
	}
}

// BenchmarkAuthStartJSON is what one would write first: encoding/json reads the payload into a struct. It is given the payload alone.
func BenchmarkAuthStartJSON(b *testing.B) {
	certificate := benchmarkCertificate(b)
	payload := AppendAuthStart(nil, certificate)
	payload = payload[len("auth:start;;") : len(payload)-len(EOF)]
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
