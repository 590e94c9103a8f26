package wire

import (
	"bytes"
	"unicode/utf8"
)

// The marks of a message.
const (
	Separator = ";;"
	EOF       = "<EOF>"
	// maxCodeBytes is the longest code, conn:establish, with the separator: where no separator stands in the first
	// maxCodeBytes bytes, no message begins.
	maxCodeBytes = len("conn:establish") + len(Separator)
)

// The messages without a payload.
var (
	StartAuth = []byte("conn:startAuth;;<EOF>")
	AuthAck   = []byte("auth:ack;;<EOF>")
	AuthDec   = []byte("auth:dec;;<EOF>")
	Close     = []byte("conn:close;;<EOF>")
	Alive     = []byte("conn:alive;;<EOF>")
)

// Decode reads the message that b begins with into m and returns its length, <EOF> included; 0 if b does not hold all
// of it yet. The first ;; ends the code and the first <EOF> the message. The first scanned bytes of b are known to
// hold no <EOF>. A message longer than limit is a violation, as soon as that shows. Escapes are resolved in place:
// b is overwritten, and m.Values lie in it.
//
// The result does not depend on how the bytes came in: the same bytes give the same message, or break the same rule
//
func Decode(m *Message, b []byte, scanned, limit int) (int, error) {
	if bytes.HasPrefix(b, Alive) && len(Alive) <= limit {
		*m = Message{Code: CodeAlive, Size: uint32(len(Alive))} // Nearly all that a server reads, so this comes first.
		return len(Alive), nil
	}
	c, start, err := splitCode(b)
	if err != nil || c == CodeNone {
		return 0, err
	}
	end := indexEOF(b, max(start, scanned-len(EOF)+1))
	if end < 0 {
		if len(b) >= limit {
			return 0, violation(ruleBound, "message is too long")
		}
		return 0, nil
	}
	if end+len(EOF) > limit {
		return 0, violation(ruleBound, "message is too long")
	}
	*m = Message{Code: c, Size: uint32(end + len(EOF))}
	if start < end {
		if err := decodePayload(m, b[start:end]); err != nil {
			return 0, err
		}
	}
	return end + len(EOF), nil
}

// CodeOf returns the code of a message that this side wrote.
func CodeOf(message []byte) Code {
	c, _, _ := splitCode(message)
	return c
}

// splitCode returns the code that b begins with and where its payload starts; CodeNone if b is too short to say.
func splitCode(b []byte) (Code, int, error) {
	head := b[:min(len(b), maxCodeBytes)]
	i := bytes.IndexByte(head, Separator[0])
	switch {
	case i >= 0 && i+1 < len(head):
		// No code holds a semicolon, so the first one either begins the separator or shows an unknown code.
		if c := ParseCode(head[:i]); c != CodeNone && head[i+1] == Separator[1] {
			return c, i + len(Separator), nil
		}
	case len(head) < maxCodeBytes && indexEOF(head, 0) < 0:
		return CodeNone, 0, nil
	}
	return CodeNone, 0, violation(ruleCode, CodeNone.String())
}

// indexEOF returns where the first <EOF> at or after from stands in b, or -1.
func indexEOF(b []byte, from int) int {
	for from < len(b) {
		i := bytes.IndexByte(b[from:], EOF[0])
		if i < 0 {
			return -1
		}
		from += i
		if len(b)-from < len(EOF) {
			return -1
		}
		if string(b[from:from+len(EOF)]) == EOF {
			return from
		}
		from++
	}
	return -1
}

// AppendEstablish appends a conn:establish to dst.
func AppendEstablish(dst []byte, id, version, typ string) []byte {
	dst = append(dst, `conn:establish;;{"id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"version":`...)
	dst = appendString(dst, version)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, typ)
	return append(dst, `}<EOF>`...)
}

// AppendAuthStart appends an auth:start to dst.
func AppendAuthStart(dst []byte, certificate string) []byte {
	dst = append(dst, `auth:start;;{"cert":`...)
	dst = appendString(dst, certificate)
	return append(dst, `}<EOF>`...)
}

// AppendGrant appends a master's auth:ack, which names an upstream, to dst.
func AppendGrant(dst []byte, upstream string) []byte {
	return appendGrant(dst, `auth:ack;;{"upstream":`, upstream)
}

// AppendLiteralGrant is AppendGrant in the literal form.
func AppendLiteralGrant(dst []byte, upstream string) []byte {
	return appendGrant(dst, `auth:ack;;"{upstream":`, upstream)
}

func appendGrant(dst []byte, opening, upstream string) []byte {
	dst = append(dst, opening...)
	dst = appendString(dst, upstream)
	return append(dst, `}<EOF>`...)
}

// AppendReport appends a conn:alive with the refinery's status and load to dst.
func AppendReport(dst []byte, status, load string) []byte {
	dst = append(dst, `conn:alive;;{"status":`...)
	dst = appendString(dst, status)
	dst = append(dst, `,"load":`...)
	dst = appendString(dst, load)
	return append(dst, `}<EOF>`...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string in which neither ;; nor <EOF> can stand. Invalid UTF-8 becomes
// U+FFFD, so that what is written is always valid.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[from:i]...), `\ufffd`...)
				from = i + 1
			}
			i += size
			continue
		}
		if plain[c] && c != '<' && (c != ';' || i+1 == len(s) || s[i+1] != ';') {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
