package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// maxMembers bounds the keys of one object, so that looking for duplicates stays cheap.
const maxMembers = 32

// plain is true for the ASCII bytes that need no escape in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// decoder reads the few shapes that a payload may have. It unescapes strings in place, which only ever shortens
// them, and so allocates nothing.
type decoder struct {
	b   []byte
	pos int
}

// decodePayload reads a payload that is not empty into m.
func decodePayload(m *Message, b []byte) error {
	d := decoder{b: b}
	d.space()
	literal := d.take('"')
	if !d.take('{') {
		return violation(ruleObject, "payload is not an object")
	}
	if err := d.members(m, literal); err != nil {
		return err
	}
	if literal {
		d.take('"')
	}
	d.space()
	if d.pos != len(b) {
		return violation(ruleTrailing, "bytes follow the payload's object")
	}
	return nil
}

// members reads an object after its opening brace. In the literal form the opening quote of the first key may have
// come before the brace.
func (d *decoder) members(m *Message, literal bool) error {
	var keys keySet
	bare := literal && d.pos < len(d.b) && !isSpace(d.b[d.pos]) && d.b[d.pos] != '"' && d.b[d.pos] != '}'
	if !bare {
		d.space()
		if d.take('}') {
			return nil
		}
	}
	for {
		key, err := d.key(&keys, bare)
		if err != nil {
			return err
		}
		bare = false
		if f, known := fieldOf(m.Code, key); known {
			if !d.take('"') {
				return violation(ruleKeys, "value of a known key is not a string")
			}
			if m.Values[f], err = d.text(); err != nil {
				return err
			}
		} else if err := d.value(); err != nil {
			return err
		}
		if done, err := d.more('}'); done || err != nil {
			return err
		}
	}
}

// value skips the value of an unknown key: a string, an array of strings, or an object of strings.
func (d *decoder) value() error {
	switch {
	case d.take('"'):
		_, err := d.text()
		return err
	case d.take('['):
		return d.strings()
	case d.take('{'):
		return d.pairs()
	}
	return violation(ruleObject, "value is not a string, an array of strings or an object of strings")
}

func (d *decoder) strings() error {
	d.space()
	if d.take(']') {
		return nil
	}
	for {
		if !d.take('"') {
			return violation(ruleObject, "element of an array is not a string")
		}
		if _, err := d.text(); err != nil {
			return err
		}
		if done, err := d.more(']'); done || err != nil {
			return err
		}
	}
}

func (d *decoder) pairs() error {
	var keys keySet
	d.space()
	if d.take('}') {
		return nil
	}
	for {
		if _, err := d.key(&keys, false); err != nil {
			return err
		}
		if !d.take('"') {
			return violation(ruleObject, "value in an inner object is not a string")
		}
		if _, err := d.text(); err != nil {
			return err
		}
		if done, err := d.more('}'); done || err != nil {
			return err
		}
	}
}

// key reads a key and its colon. If bare, the opening quote of the key is read already.
func (d *decoder) key(keys *keySet, bare bool) ([]byte, error) {
	if !bare && !d.take('"') {
		return nil, violation(ruleObject, "key is not a string")
	}
	start := d.pos
	key, err := d.text()
	if err != nil {
		return nil, err
	}
	if err := keys.add(d.b, start, len(key)); err != nil {
		return nil, err
	}
	d.space()
	if !d.take(':') {
		return nil, violation(ruleObject, "no colon after a key")
	}
	d.space()
	return key, nil
}

// more reads the comma between two members or elements, or the closing bracket: then done is true.
func (d *decoder) more(closing byte) (done bool, err error) {
	d.space()
	if d.take(closing) {
		return true, nil
	}
	if !d.take(',') {
		return false, violation(ruleObject, "no comma and no closing bracket after a value")
	}
	d.space()
	return false, nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (d *decoder) space() {
	for d.pos < len(d.b) && isSpace(d.b[d.pos]) {
		d.pos++
	}
}

func (d *decoder) take(c byte) bool {
	if d.pos < len(d.b) && d.b[d.pos] == c {
		d.pos++
		return true
	}
	return false
}

// text reads a string after its opening quote and returns it unescaped, in the same bytes.
func (d *decoder) text() ([]byte, error) {
	b, start := d.b, d.pos
	w := start // where the next unescaped byte goes
	ascii := true
	for i := start; ; {
		from := i
		for i < len(b) && plain[b[i]] {
			i++
		}
		if w != from {
			copy(b[w:], b[from:i])
		}
		w += i - from
		if i == len(b) {
			return nil, violation(ruleString, "string has no closing quote")
		}
		switch c := b[i]; {
		case c == '"':
			d.pos = i + 1
			if s := b[start:w:w]; ascii || utf8.Valid(s) {
				return s, nil
			}
			return nil, violation(ruleString, "string is not valid UTF-8")
		case c == '\\':
			r, size := unescape(b[i:])
			if size == 0 {
				return nil, violation(ruleString, "string has an unknown escape")
			}
			w += utf8.EncodeRune(b[w:], r)
			ascii = ascii && r < utf8.RuneSelf
			i += size
		case c < ' ':
			return nil, violation(ruleString, "string has a control character")
		default:
			ascii = false
			b[w] = c
			w++
			i++
		}
	}
}

// unescape returns the rune of the escape that b begins with, and the length of the escape: 0 if it is not a valid one. A
// surrogate without its other half is not.
func unescape(b []byte) (r rune, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'u':
		r, ok := hex4(b[2:])
		if !ok {
			return 0, 0
		}
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
			return 0, 0
		}
		low, ok := hex4(b[8:])
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return 0, 0
		}
		return r, 12
	}
	return 0, 0
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// keySet remembers where the unescaped keys of one object are.
type keySet struct {
	n    int
	span [maxMembers]struct{ start, length uint32 }
}

func (k *keySet) add(b []byte, start, length int) error {
	key := b[start : start+length]
	for _, s := range k.span[:k.n] {
		if bytes.Equal(key, b[s.start:s.start+s.length]) {
			return violation(ruleDuplicate, "key appears twice in one object")
		}
	}
	if k.n == maxMembers {
		return violation(ruleDuplicate, "object has too many keys")
	}
	k.span[k.n].start, k.span[k.n].length = uint32(start), uint32(length)
	k.n++
	return nil
}
