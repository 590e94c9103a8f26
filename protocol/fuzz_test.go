package protocol

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// FuzzDecode: the same bytes give the same messages or break the same rule however they are split, and what was read
// can be written and read again.
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
		at := min(int(split), len(b))
		for name, r := range map[string]func() ([]string, string){
			"byte by byte": func() ([]string, string) { return readAll(iotest.OneByteReader(bytes.NewReader(b)), limit) },
			"in two":       func() ([]string, string) { return readAll(&twoReads{b[:at], b[at:]}, limit) },
		} {
			if got, gotRule := r(); !slices.Equal(got, whole) || gotRule != rule {
				t.Fatalf("%s: %q %q; whole: %q %q", name, got, gotRule, whole, rule)
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

type twoReads [2][]byte

func (r *twoReads) Read(p []byte) (int, error) {
	for i := range r {
		if len(r[i]) > 0 {
			n := copy(p, r[i])
			r[i] = r[i][n:]
			return n, nil
		}
	}
	return bytes.NewReader(nil).Read(p)
}

// FuzzCertificateField: a certificate that may be sent arrives as it is, whatever it holds, and no mark stands in the
// message; one that is not valid UTF-8 is refused before anything is sent. A string as a peer may write it means
// what encoding/json says it means, or is refused.
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
