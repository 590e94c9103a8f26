package pemtext

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// three authorities, and each of them as PEM text.
var authorities = []*pkitest.Authority{pkitest.NewAuthority("one"), pkitest.NewAuthority("two"), pkitest.NewAuthority("three")}

func text(a ...*pkitest.Authority) string { return string(pkitest.Bundle(a...)) }

// bodyLine is the first line of the content of the second of two blocks, and where it stands.
func bodyLine(two string) (line string, number int) {
	lines := strings.Split(two, "\n")
	for i, l := range lines {
		if i > 0 && strings.HasPrefix(l, "-----BEGIN") {
			return lines[i+1], i + 2
		}
	}
	panic("there is no second block")
}

func TestCertificatesAreReadInEveryForgivenForm(t *testing.T) {
	one, two, three := text(authorities[0]), text(authorities[1]), text(authorities[2])
	all := one + two + three
	padding := strings.Repeat("\n", secretfiles.MaxBytes-len(all))
	for name, text := range map[string]string{
		"as they are written":                 all,
		"line ends of Windows":                strings.ReplaceAll(all, "\n", "\r\n"),
		"line ends of old Macs":               strings.ReplaceAll(all, "\n", "\r"),
		"no line end at the end":              strings.TrimSuffix(all, "\n"),
		"blanks at the end of lines":          strings.ReplaceAll(all, "\n", " \t\n"),
		"indented":                            "  " + strings.ReplaceAll(all, "\n", "\n  "),
		"empty lines":                         "\n\n" + one + "\n\r\n" + two + " \n" + three + "\n\n",
		"a byte order mark":                   "\ufeff" + all,
		"joined files with byte order marks":  "\ufeff" + one + "\ufeff" + two + "\ufeff" + three,
		"joined without a line end":           strings.TrimSuffix(one, "\n") + strings.TrimSuffix(two, "\n") + three,
		"joined with a blank and a mark":      strings.TrimSuffix(one, "\n") + " \ufeff" + two + three,
		"text before, between and after":      "# plant\nsubject=CN=one\n" + one + "issuer: CN=two -- and more\n" + two + "\n---\n" + three + "the end",
		"what openssl writes before them":     "Bag Attributes\n    localKeyID: 01 02 03\nKey Attributes: <No Attributes>\n" + all,
		"a fingerprint before them":           strings.Repeat("0123456789abcdef", 4) + "\n" + all,
		"lines of another length":             strings.ReplaceAll(strings.ReplaceAll(all, "\n", ""), "CERTIFICATE-----M", "CERTIFICATE-----\nM"),
		"as many bytes as are read":           all + padding,
		"the words of a boundary in a remark": "# what stands between BEGIN and END\n" + all,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Certificates("ca.crt", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range got {
				names = append(names, c.Subject.CommonName)
			}
			if diff := cmp.Diff([]string{"one", "two", "three"}, names); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// damages are texts that must be refused as a whole, each with the error that it is to give.
func damages() map[string]struct{ text, says string } {
	const again = "; put in the whole block again"
	one, two, three := text(authorities[0]), text(authorities[1]), text(authorities[2])
	line, number := bodyLine(one + two)
	second := "ca.crt, block 2 of 3 (CERTIFICATE, line " + strconv.Itoa(number-1) + "): "
	certificate := "-----BEGIN CERTIFICATE-----\n"
	end := "-----END CERTIFICATE-----\n"
	in := func(was, is string) string { return one + strings.Replace(two, was, is, 1) + three }
	_, key := authorities[0].PEM()
	return map[string]struct{ text, says string }{
		"nothing":            {"", "ca.crt: it is empty; put in certificates as PEM text"},
		"blanks":             {" \n\t", "ca.crt: it is empty; put in certificates as PEM text"},
		"text alone":         {"none yet\n", "ca.crt: it holds no certificate; put in certificates as PEM text"},
		"too much":           {one + strings.Repeat("\n", secretfiles.MaxBytes-len(one)+1), "ca.crt: it has 262145 bytes, more than the 262144 that are read; leave out what is not needed"},
		"DER":                {string(authorities[0].Certificate.Raw), "ca.crt: it is binary, DER or PKCS #12, and not PEM text; put in certificates as PEM text"},
		"UTF-16":             {"\xff\xfe-\x00-\x00", "ca.crt: it is UTF-16 text; save it as UTF-8"},
		"a private key":      {one + string(key), "ca.crt, block 2 of 2 (private key, line " + strconv.Itoa(number-1) + "): it is not a certificate; leave it out"},
		"another kind":       {strings.ReplaceAll(one, "CERTIFICATE", "TRUSTED CERTIFICATE"), "ca.crt, block 1 of 1 (TRUSTED CERTIFICATE, line 1): it is not a certificate; leave it out"},
		"no certificate":     {one + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("secret")})), "ca.crt, block 2 of 2 (CERTIFICATE, line " + strconv.Itoa(number-1) + "): it does not parse: x509: malformed certificate" + again},
		"more behind it":     {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(bytes.Clone(authorities[0].Certificate.Raw), 0)})), "ca.crt, block 1 of 1 (CERTIFICATE, line 1): it does not parse: x509: trailing data" + again},
		"a line is gone":     {in(line+"\n", ""), second + "it does not parse: x509: malformed certificate" + again},
		"another character":  {in(line, "*"+line[1:]), second + "line " + strconv.Itoa(number) + " has a character that is not base64" + again},
		"half a line":        {in(line, line[:63]), second + "its base64 is not complete, so a part of it is missing or was changed" + again},
		"padding in between": {in(line, line[:62]+"=="), second + "its base64 is not complete, so a part of it is missing or was changed" + again},
		"no content":         {one + certificate + end + three, second + "it is empty" + again},
		"a word processor":   {in("-----BEGIN", "—–BEGIN"), "ca.crt, line " + strconv.Itoa(number-1) + ": it looks like the begin or the end of a block, and is not" + again},
		"small letters":      {one + strings.ToLower(two) + three, "ca.crt, line " + strconv.Itoa(number-1) + ": it looks like the begin or the end of a block, and is not" + again},
		"no BEGIN line":      {in(certificate, ""), "ca.crt, line " + strconv.Itoa(number-1) + ": it looks like the content of a block that has no BEGIN line" + again},
		"neither of both":    {in(certificate, "") + strings.Replace(three, end, "", 1), "ca.crt, line " + strconv.Itoa(number-1) + ": it looks like the content of a block that has no BEGIN line" + again},
		"a dash too few":     {in("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE----"), "ca.crt, block 2 of 3 (line " + strconv.Itoa(number-1) + "): its BEGIN line is damaged" + again},
		"a dash too few before": {in("-----BEGIN", "----BEGIN"), "ca.crt, line " + strconv.Itoa(number-1) + ": it looks like the begin or the end of a block, and is not" +
			again},
		"a dash too few at the end": {in("-----END", "----END"), second + "line " + strconv.Itoa(len(strings.Split(one+two, "\n"))-1) + " has to be its END line" + again},
		"no END line":               {in(end, ""), second + "it has no END line before the next block begins at line " + strconv.Itoa(len(strings.Split(one+two, "\n"))-1) + again},
		"no END line of the last":   {strings.TrimSuffix(one, end), "ca.crt, block 1 of 1 (CERTIFICATE, line 1): it has no END line" + again},
		"an END line too many":      {one + end, "ca.crt, line " + strconv.Itoa(len(strings.Split(one, "\n"))) + ": it looks like the begin or the end of a block, and is not" + again},
		"another END line":          {in("END CERTIFICATE", "END PRIVATE KEY"), second + "line " + strconv.Itoa(len(strings.Split(one+two, "\n"))-1) + " has to be its END line" + again},
		"a label in small letters":  {strings.ReplaceAll(one, "CERTIFICATE", "Certificate"), "ca.crt, block 1 of 1 (line 1): its BEGIN line is damaged" + again},
		"on one line":               {strings.ReplaceAll(one, "\n", " "), "ca.crt, block 1 of 1 (CERTIFICATE, line 1): there is text after its BEGIN line, which has to be a line of its own" + again},
		"text before BEGIN":         {"# " + one, "ca.crt, line 1: there is text before the BEGIN line of a block; put it on a line of its own"},
		"text after END":            {strings.TrimSuffix(one, "\n") + "#\n" + two, "ca.crt, block 1 of 2 (CERTIFICATE, line 1): there is text after its END line at line " + strconv.Itoa(number-2) + ", which has to be a line of its own" + again},
		"headers":                   {strings.Replace(one, certificate, certificate+"Comment: mine\n\n", 1), "ca.crt, block 1 of 1 (CERTIFICATE, line 1): it has headers before its content; leave them out"},
	}
}

func TestNoDamagedTextIsReadInPart(t *testing.T) {
	for name, test := range damages() {
		t.Run(name, func(t *testing.T) {
			got, err := Certificates("ca.crt", []byte(test.text))
			if err == nil || got != nil {
				t.Fatalf("%d certificates were read", len(got))
			}
			if diff := cmp.Diff(test.says, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if is := errors.Is(err, ErrEmpty); is != strings.Contains(test.says, "is empty; put in certificates") {
				t.Errorf("ErrEmpty: %v", is)
			}
			if is := errors.Is(err, ErrTooLarge); is != strings.Contains(test.says, "that are read") {
				t.Errorf("ErrTooLarge: %v", is)
			}
		})
	}
}

// Whichever line of a text is lost, the rest of it is not taken for the whole.
func TestNoTextIsReadOfWhichALineIsLost(t *testing.T) {
	lines := strings.SplitAfter(text(authorities...), "\n")
	for i := range lines[:len(lines)-1] {
		if got, err := Certificates("ca.crt", []byte(strings.Join(append(lines[:i:i], lines[i+1:]...), ""))); err == nil {
			t.Errorf("without line %d (%q): %d certificates", i+1, lines[i], len(got))
		}
	}
}

func TestPrivateKeyIsTheOneKeyOfAText(t *testing.T) {
	leaf := authorities[0].Issue(pkitest.Client("spiffe://plant/press"))
	certificate, pkcs8 := pkitest.PEM(leaf)
	_, another := pkitest.PEM(authorities[1].Issue())
	sec1DER, err := x509.MarshalECPrivateKey(pkitest.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	sec1 := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1DER}))
	parameters := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchangeDER, err := x509.MarshalPKCS8PrivateKey(exchange)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ text, says string }{
		"PKCS #8":               {string(pkcs8), ""},
		"SEC 1":                 {sec1, ""},
		"behind its parameters": {parameters + sec1, ""},
		"line ends of Windows":  {"\ufeff" + strings.ReplaceAll(string(pkcs8), "\n", "\r\n"), ""},
		"none":                  {"", "tls.key: it is empty; put in the private key as PEM text"},
		"parameters alone":      {parameters, "tls.key: it holds no private key; put in the private key as PEM text"},
		"two": {string(pkcs8) + string(another),
			"tls.key, block 2 of 2 (private key, line 6): it is a second private key; leave out the one that does not belong to the certificate"},
		"a certificate": {string(certificate), "tls.key, block 1 of 1 (CERTIFICATE, line 1): it is not a private key; leave it out"},
		"encrypted": {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")})),
			"tls.key, block 1 of 1 (encrypted private key, line 1): it is encrypted; put in the key without its passphrase, as openssl pkey writes it"},
		"encrypted in the old way": {string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "x"}, Bytes: []byte("secret")})),
			"tls.key, block 1 of 1 (ec private key, line 1): it is encrypted; put in the key without its passphrase, as openssl pkey writes it"},
		"damaged": {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})),
			"tls.key, block 1 of 1 (private key, line 1): the private key does not parse; put in a key in PKCS #8, PKCS #1 or SEC 1, not encrypted"},
		"for another use": {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: exchangeDER})),
			"tls.key, block 1 of 1 (private key, line 1): the private key does not parse; put in a key in PKCS #8, PKCS #1 or SEC 1, not encrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := PrivateKey("tls.key", []byte(test.text))
			if (err == nil) != (test.says == "") || (err == nil) != (key != nil) || (err != nil && err.Error() != test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

func TestAKeyPairIsTheWholeChainWithItsOwnKey(t *testing.T) {
	issued := authorities[0].Intermediate("line 1").Issue(pkitest.Server("localhost"))
	certificate, key := pkitest.PEM(issued)
	pair, err := KeyPair("tls.crt", certificate, "tls.key", key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(issued.Certificate, pair.Certificate); diff != "" || !pair.Leaf.Equal(issued.Leaf) {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, other := pkitest.PEM(authorities[0].Issue())
	const says = "tls.key: it is not the key of the first certificate in tls.crt; put in the key that belongs to it"
	if _, err := KeyPair("tls.crt", certificate, "tls.key", other); err == nil || err.Error() != says {
		t.Errorf("with another key: %v", err)
	}
}

func TestPrintableIsEscapedAndBounded(t *testing.T) {
	for text, want := range map[string]string{
		`valid for "a", not ü\`:                           `valid for "a", not ü\\`,
		"\x1b[2J\r\n\u202e\xff":                           `\x1b[2J\r\n\u202e�`,
		strings.Repeat("x", 20<<10) + ", not alpha.plant": strings.Repeat("x", maxHead) + " … " + strings.Repeat("x", maxTail-17) + ", not alpha.plant",
	} {
		if diff := cmp.Diff(want, Printable(text)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
