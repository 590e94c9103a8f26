// Package wire reads and writes the messages of the Cluster Protocol: sections 2 and 3 of spec.md. Which message may
// come when, and what follows from it, is for package protocol.
package wire

import (
	"unicode"
	"unicode/utf8"
)

// Code is the kind of a message. The zero Code is not one of them.
type Code uint8

// The codes; CodeCount is how many there are, CodeNone included.
const (
	CodeNone Code = iota
	CodeEstablish
	CodeStartAuth
	CodeAuthStart
	CodeAuthAck
	CodeAuthDec
	CodeClose
	CodeAlive

	CodeCount
)

var codeNames = [CodeCount]string{
	"unknown code", "conn:establish", "conn:startAuth", "auth:start", "auth:ack", "auth:dec", "conn:close", "conn:alive",
}

func (c Code) String() string { return codeNames[c] }

// ParseCode returns CodeNone for anything but the seven codes. It does not allocate.
func ParseCode(b []byte) Code {
	switch string(b) {
	case "conn:alive":
		return CodeAlive
	case "conn:establish":
		return CodeEstablish
	case "conn:startAuth":
		return CodeStartAuth
	case "auth:start":
		return CodeAuthStart
	case "auth:ack":
		return CodeAuthAck
	case "auth:dec":
		return CodeAuthDec
	case "conn:close":
		return CodeClose
	}
	return CodeNone
}

// Field is the index in Message.Values of a payload key that its code defines. Every session keeps a message, so keys that
// are never in the same message share an index.
type Field uint8

// The fields, by their key.
const (
	FieldID       Field = 0
	FieldCert     Field = 0
	FieldUpstream Field = 0
	FieldStatus   Field = 0
	FieldVersion  Field = 1
	FieldLoad     Field = 1
	FieldType     Field = 2

	fieldCount = 3
)

// Message is one decoded message. A value that was not sent is nil; one that was sent empty is not. The values are slices of
// the buffer that the message was decoded from.
type Message struct {
	Code   Code
	Size   uint32 // bytes on the wire, <EOF> included
	Values [fieldCount][]byte
}

// fieldOf returns the field of a key that the code defines, whichever side sends it, and false for a key to ignore
// such as one of a later version.
func fieldOf(c Code, key []byte) (Field, bool) {
	switch c {
	case CodeEstablish:
		switch string(key) {
		case "id":
			return FieldID, true
		case "version":
			return FieldVersion, true
		case "type":
			return FieldType, true
		}
	case CodeAuthStart:
		if string(key) == "cert" {
			return FieldCert, true
		}
	case CodeAuthAck:
		if string(key) == "upstream" {
			return FieldUpstream, true
		}
	case CodeAlive:
		switch string(key) {
		case "status":
			return FieldStatus, true
		case "load":
			return FieldLoad, true
		}
	}
	return 0, false
}

// Bounds of single values, in bytes.
const (
	MaxIDBytes       = 253
	MaxVersionBytes  = 64
	MaxTypeBytes     = 64
	maxUpstreamBytes = 1024
	maxStatusBytes   = 256
	maxLoadBytes     = 16
)

// Printable reports whether b is valid UTF-8 and every rune of it is a graphic character or a space, so that it
// is safe to log.
func Printable[T string | []byte](b T) bool {
	for i := 0; i < len(b); {
		if c := b[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return false
			}
			i++
			continue
		}
		// A rune has at most four bytes, so the conversion stays on the stack.
		r, size := utf8.DecodeRuneInString(string(b[i:min(i+utf8.UTFMax, len(b))]))
		if (r == utf8.RuneError && size == 1) || !unicode.IsPrint(r) {
			return false
		}
		i += size
	}
	return true
}

// ValidLoad reports whether b is a decimal number from 0 to 1, or empty.
func ValidLoad[T string | []byte](b T) bool {
	if len(b) == 0 {
		return true
	}
	if len(b) > maxLoadBytes || (b[0] != '0' && b[0] != '1') {
		return false
	}
	if len(b) == 1 {
		return true
	}
	if len(b) == 2 || b[1] != '.' {
		return false
	}
	for i := 2; i < len(b); i++ {
		if b[i] < '0' || b[i] > '9' || (b[0] == '1' && b[i] != '0') {
			return false
		}
	}
	return true
}

// ValidStatus reports whether b may be reported as a status.
func ValidStatus[T string | []byte](b T) bool { return len(b) <= maxStatusBytes && Printable(b) }

// ValidUpstream reports whether b may be granted as an upstream.
func ValidUpstream[T string | []byte](b T) bool { return len(b) <= maxUpstreamBytes && Printable(b) }

// CheckEstablish checks what conn:establish must carry.
func (m *Message) CheckEstablish() error {
	for _, v := range [...]struct {
		field   Field
		name    string
		maximum int
	}{
		{FieldID, "id", MaxIDBytes},
		{FieldVersion, "version", MaxVersionBytes},
		{FieldType, "type", MaxTypeBytes},
	} {
		switch b := m.Values[v.field]; {
		case b == nil:
			return violation(ruleKeys, v.name+" is missing")
		case len(b) == 0:
			return violation(ruleValues, v.name+" is empty")
		case len(b) > v.maximum:
			return violation(ruleValues, v.name+" is too long")
		case !Printable(b):
			return violation(ruleValues, v.name+" has a character that is not printable")
		}
	}
	return nil
}

// CheckAuthStart checks what auth:start must carry. The Handler judges the certificate.
func (m *Message) CheckAuthStart() error {
	if m.Values[FieldCert] == nil {
		return violation(ruleKeys, "cert is missing")
	}
	return nil
}

// CheckGrant checks what a master's auth:ack must carry.
func (m *Message) CheckGrant() error {
	switch b := m.Values[FieldUpstream]; {
	case b == nil:
		return violation(ruleKeys, "upstream is missing")
	case !ValidUpstream(b):
		return violation(ruleValues, "upstream is too long or not printable")
	}
	return nil
}
