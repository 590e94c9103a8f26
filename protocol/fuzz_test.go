package protocol

import (
	"bytes"
	"slices"
	"testing"
	"testing/iotest"
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
