package wire

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// FuzzDecode: the same bytes give the same messages or break the same rule however they are split, and what was read
// can be written and read again.
//
//fuzz:floor 20/s
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`conn:establish;;{"id":"a","version":"0.1.0","type":"refinery"}<EOF>auth:start;;{"cert":"PEM"}<EOF>auth:ack;;<EOF>conn:alive;;<EOF>conn:close;;<EOF>`,
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
		for at := 1; at < min(len(b), limit+len(EOF)); at++ {
			if len(b) <= 128 || at >= limit-len(EOF) || at == int(split) {
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
