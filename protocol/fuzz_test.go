package protocol

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// FuzzDecode: the same bytes give the same messages or break the same rule however they are split, and what was read
// can be written and read again.
//
//fuzz:floor 20/s
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		testEstablish + testAuthStart + "auth:ack;;<EOF>conn:alive;;<EOF>conn:close;;<EOF>",
		`conn:establish;;"{id":"a","version":"1","type":"t"}"<EOF>`,
		`conn:alive;;{"status":"\ud83d\ude00\u003cEOF>","load":"0.5","x":["a"],"y":{"z":"\\"}}<EOF>`,
		`auth:ack;;{"upstream":"a;;b<E","upstream":""}<EOF>`,
		`auth:start;;{"cert":1}<EOF>`,
		"conn:alive<EOF>;;", "GET / HTTP/1.1\r\n\r\n", "conn:alive;;{\"\xc3\":\"\xa9\"}<EOF>", "conn:alive;;<EOF",
	} {
		f.Add([]byte(s), uint8(3))
	}
	const limit = 256
	f.Fuzz(func(t *testing.T, b []byte, split uint8) {
		whole, rule := readAll(bytes.NewReader(b), limit)
		same := func(name string, at int, r io.Reader) {
			if got, gotRule := readAll(r, limit); !slices.Equal(got, whole) || gotRule != rule {
				t.Fatalf("%s, %d: %q %q; whole: %q %q", name, at, got, gotRule, whole, rule)
			}
		}
		same("byte by byte", 1, iotest.OneByteReader(bytes.NewReader(b)))
		same("in pieces", int(split)+2, &splitReader{b: b, first: int(split) + 2, then: int(split) + 2})
		// In two, wherever they are divided; of what is long, only around the bound and where the fuzzer has it.
		for at := 1; at < min(len(b), limit+len(eof)); at++ {
			if len(b) <= 128 || at >= limit-len(eof) || at == int(split) {
				same("in two", at, &splitReader{b: b, first: at, then: len(b)})
			}
		}
		for _, s := range whole {
			again, rule := readAll(bytes.NewReader([]byte(s)), 16*limit)
			if rule != "" || len(again) != 1 || again[0] != s {
				t.Fatalf("%q was read and written as %q, %q", s, again, rule)
			}
		}
	})
}

// splitReader returns so many bytes with the first read, and with each that follows.
type splitReader struct {
	b           []byte
	first, then int
}

func (r *splitReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b[:min(r.first, len(r.b))])
	if r.b = r.b[n:]; n == r.first {
		r.first = r.then
	} else {
		r.first -= n
	}
	return n, nil
}

// FuzzCertificateField: a certificate that may be sent arrives as it is, whatever it holds, and no mark stands in the
// message; one that is not valid UTF-8 is refused before anything is sent. A string as a peer may write it means
// what encoding/json says it means, or is refused.
//
//fuzz:floor 20/s
func FuzzCertificateField(f *testing.F) {
	for _, s := range []string{
		"", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "<EOF>", ";;;", `\u003b\/"`, "\xff", "é\u2028😀", "\x00\x1f\x7f",
		`\ud83d\ude00`, `\ud83d`, `\u12`, `a","cert":"b`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkCertificateArrives(t, string(b))
		checkStringIsRead(t, b)
	})
}

func checkCertificateArrives(t *testing.T, certificate string) {
	t.Helper()
	o := DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = "a", "1", "t", certificate
	valid := utf8.ValidString(certificate)
	if err := o.Validate(); (err == nil) != valid {
		t.Errorf("%q: Validate returned %v", certificate, err)
	}
	wire := appendAuthStart(nil, certificate)
	if bytes.Count(wire, []byte(separator)) != 1 || bytes.Count(wire, []byte(eof)) != 1 {
		t.Errorf("a mark stands in the payload of %q", wire)
	}
	payload := bytes.TrimSuffix(bytes.TrimPrefix(wire, []byte("auth:start;;")), []byte(eof))
	want := string([]rune(certificate)) // Each byte that is not UTF-8 becomes U+FFFD.
	if got, ok := stringsOf(payload)["cert"]; !ok || got != want {
		t.Errorf("encoding/json reads %q, %v; want %q", got, ok, want)
	}
	var m message
	if n, err := decode(&m, wire, 0, len(wire)); err != nil || n != len(wire) || m.checkAuthStart() != nil {
		t.Fatalf("%q: %d, %v", wire, n, err)
	}
	if got := string(m.values[fieldCert]); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// checkStringIsRead reads b as what stands between the quotes of a JSON string.
func checkStringIsRead(t *testing.T, b []byte) {
	t.Helper()
	if bytes.Contains(b, []byte(eof)) {
		return
	}
	payload := `{"cert":"` + string(b) + `"}`
	wire := []byte("auth:start;;" + payload + eof)
	var m message
	_, err := decode(&m, wire, 0, len(wire))
	values := stringsOf([]byte(payload))
	want, readable := values["cert"]
	switch {
	case err == nil && !readable:
		t.Errorf("%q is taken, and is not JSON", payload)
	case err == nil && string(m.values[fieldCert]) != want:
		t.Errorf("%q is read as %q, want %q", payload, m.values[fieldCert], want)
	case err != nil && json.Valid([]byte(`"`+string(b)+`"`)) && utf8.Valid(b) && !strings.Contains(want, "\ufffd"):
		t.Errorf("%q is refused: %v", payload, err)
	}
}
