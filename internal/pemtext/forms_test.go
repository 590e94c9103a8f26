package pemtext

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// kinds of certificates that a text may hold, in DER form.
var kindsOfCertificates = func() (all [][]byte) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	for _, a := range append(slices.Clone(authorities), pkitest.NewAuthorityWithKey("four", edwards), pkitest.NewAuthorityWithKey("five", long),
		authorities[0].Intermediate("six")) {
		all = append(all, a.Certificate.Raw)
	}
	return all
}()

// remarks may stand on the lines before, between and after blocks.
var remarks = []string{"", "# plant", "subject=CN = one, O = \"Müller & Söhne\"", "localKeyID: 01 02 03", "---", " \t", "-- BEGIN of what follows --", "ends here"}

// drawText writes certificates in any of the forgiven ways.
func drawText(t *rapid.T, certificates [][]byte) string {
	lineEnd := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end")
	blank := func() string { return rapid.SampledFrom([]string{"", "", " ", "\t "}).Draw(t, "blank") }
	var b strings.Builder
	line := func(text string) { b.WriteString(blank() + text + blank() + lineEnd) }
	fresh := true // nothing stands on the current line
	for _, der := range certificates {
		if fresh {
			for range rapid.IntRange(0, 2).Draw(t, "remarks") {
				line(rapid.SampledFrom(remarks).Draw(t, "remark"))
			}
			b.WriteString(rapid.SampledFrom([]string{"", "\ufeff"}).Draw(t, "mark"))
		}
		line("-----BEGIN CERTIFICATE-----")
		width := rapid.IntRange(1, 80).Draw(t, "width")
		for part := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(der)), width) {
			line(string(part))
		}
		b.WriteString("-----END CERTIFICATE-----" + blank())
		if fresh = !rapid.Bool().Draw(t, "joined"); fresh {
			b.WriteString(lineEnd)
		}
	}
	if fresh {
		b.WriteString(rapid.SampledFrom(remarks).Draw(t, "last remark"))
	}
	return b.String()
}

func TestAnyListOfCertificatesIsReadBackComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.SampledFrom(kindsOfCertificates), 1, 8).Draw(t, "certificates")
		text := drawText(t, want)
		got, err := Certificates("ca.crt", []byte(text))
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if !slices.EqualFunc(want, got, func(der []byte, c *x509.Certificate) bool { return bytes.Equal(der, c.Raw) }) {
			t.Fatalf("%d certificates of %d, or others, in %q", len(got), len(want), text)
		}
	})
}

// FuzzCertificates checks of any text that it is refused, with an *Error that may be shown, or read whole: every block of
// it is a certificate that was read, and so is every one that encoding/pem finds.
//
//fuzz:floor 100/s
func FuzzCertificates(f *testing.F) {
	for _, damage := range damages() {
		if len(damage.text) < 8<<10 {
			f.Add([]byte(damage.text))
		}
	}
	for _, end := range []string{"\n", "\r\n", "\r"} {
		f.Add([]byte("\ufeffplant\n" + strings.ReplaceAll(text(authorities[:2]...), "\n", end)))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := Certificates("ca.crt", value)
		if err != nil {
			refused, ok := errors.AsType[*Error](err)
			printable := !strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) })
			if !ok || refused.Name != "ca.crt" || got != nil || !printable || len(err.Error()) > 4<<10 {
				t.Fatalf("%d certificates, and the error %q", len(got), err)
			}
			return
		}
		if begun := bytes.Count(value, []byte("-----BEGIN")); len(got) != begun {
			t.Fatalf("%d certificates of %d blocks", len(got), begun)
		}
		rest, at := value, 0
		for {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			for at < len(got) && !bytes.Equal(got[at].Raw, b.Bytes) {
				at++
			}
			if at == len(got) {
				t.Fatalf("encoding/pem finds a %s that was not read", b.Type)
			}
		}
	})
}
