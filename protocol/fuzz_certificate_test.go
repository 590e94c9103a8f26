package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

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
	text := wire.AppendAuthStart(nil, certificate)
	if bytes.Count(text, []byte(wire.Separator)) != 1 || bytes.Count(text, []byte(wire.EOF)) != 1 {
		t.Errorf("a mark stands in the payload of %q", text)
	}
	payload := bytes.TrimSuffix(bytes.TrimPrefix(text, []byte("auth:start;;")), []byte(wire.EOF))
	want := string([]rune(certificate)) // Each byte that is not UTF-8 becomes U+FFFD.
	if got, ok := stringsOf(payload)["cert"]; !ok || got != want {
		t.Errorf("encoding/json reads %q, %v; want %q", got, ok, want)
	}
	var m wire.Message
	if n, err := wire.Decode(&m, text, 0, len(text)); err != nil || n != len(text) || m.CheckAuthStart() != nil {
		t.Fatalf("%q: %d, %v", text, n, err)
	}
	if got := string(m.Values[wire.FieldCert]); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// checkStringIsRead reads b as what stands between the quotes of a JSON string.
func checkStringIsRead(t *testing.T, b []byte) {
	t.Helper()
	if bytes.Contains(b, []byte(wire.EOF)) {
		return
	}
	payload := `{"cert":"` + string(b) + `"}`
	text := []byte("auth:start;;" + payload + wire.EOF)
	var m wire.Message
	_, err := wire.Decode(&m, text, 0, len(text))
	values := stringsOf([]byte(payload))
	want, readable := values["cert"]
	switch {
	case err == nil && !readable:
		t.Errorf("%q is taken, and is not JSON", payload)
	case err == nil && string(m.Values[wire.FieldCert]) != want:
		t.Errorf("%q is read as %q, want %q", payload, m.Values[wire.FieldCert], want)
	case err != nil && json.Valid([]byte(`"`+string(b)+`"`)) && utf8.Valid(b) && !strings.Contains(want, "\ufffd"):
		t.Errorf("%q is refused: %v", payload, err)
	}
}
