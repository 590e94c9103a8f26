package protocol

import (
	"unicode"
	"unicode/utf8"
)

// code says what a message is. The zero code is none of them.
type code uint8

const (
	codeNone code = iota
	codeEstablish
	codeStartAuth
	codeAuthStart
	codeAuthAck
	codeAuthDec
	codeClose
	codeAlive

	codeCount
)

var codeNames = [codeCount]string{
	"unknown code", "conn:establish", "conn:startAuth", "auth:start", "auth:ack", "auth:dec", "conn:close", "conn:alive",
}

func (c code) String() string { return codeNames[c] }

// parseCode returns codeNone for anything but the seven codes. It does not allocate.
func parseCode(b []byte) code {
	switch string(b) {
	case "conn:alive":
		return codeAlive
	case "conn:establish":
		return codeEstablish
	case "conn:startAuth":
		return codeStartAuth
	case "auth:start":
		return codeAuthStart
	case "auth:ack":
		return codeAuthAck
	case "auth:dec":
		return codeAuthDec
	case "conn:close":
		return codeClose
	}
	return codeNone
}

// field is where a message holds the value of a payload key that means something for its code. Every session keeps a
// message, so keys that never stand in the same one share a place.
type field uint8

const (
	fieldID, fieldCert, fieldUpstream, fieldStatus field = 0, 0, 0, 0

	fieldVersion, fieldLoad field = 1, 1

	fieldType field = 2

	fieldCount = 3
)

// message is one decoded message. A value that was not sent is nil; one that was sent empty is not. The values lie in
// the buffer that the message was decoded from.
type message struct {
	code   code
	size   uint32 // bytes on the wire, <EOF> included
	values [fieldCount][]byte
}

// fieldOf returns which field the key is for the code, whichever side sends it, and false for a key that is to be
// ignored, as one of a later version is.
func fieldOf(c code, key []byte) (field, bool) {
	switch c {
	case codeEstablish:
		switch string(key) {
		case "id":
			return fieldID, true
		case "version":
			return fieldVersion, true
		case "type":
			return fieldType, true
		}
	case codeAuthStart:
		if string(key) == "cert" {
			return fieldCert, true
		}
	case codeAuthAck:
		if string(key) == "upstream" {
			return fieldUpstream, true
		}
	case codeAlive:
		switch string(key) {
		case "status":
			return fieldStatus, true
		case "load":
			return fieldLoad, true
		}
	}
	return 0, false
}

// Bounds of single values, in bytes.
const (
	maxIDBytes       = 253
	maxVersionBytes  = 64
	maxTypeBytes     = 64
	maxUpstreamBytes = 1024
	maxStatusBytes   = 256
	maxLoadBytes     = 16
)

// printable reports whether b is valid UTF-8 and every rune of it is a graphic character or a space, so that it
// can be logged as it is.
func printable[T string | []byte](b T) bool {
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

// validLoad reports whether b is a decimal number from 0 to 1.
func validLoad[T string | []byte](b T) bool {
	if len(b) == 0 || len(b) > maxLoadBytes || (b[0] != '0' && b[0] != '1') {
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

func validStatus[T string | []byte](b T) bool { return len(b) <= maxStatusBytes && printable(b) }

func validUpstream[T string | []byte](b T) bool { return len(b) <= maxUpstreamBytes && printable(b) }

// checkEstablish checks what conn:establish must carry.
func (m *message) checkEstablish() error {
	for _, v := range [...]struct {
		field   field
		name    string
		maximum int
	}{
		{fieldID, "id", maxIDBytes},
		{fieldVersion, "version", maxVersionBytes},
		{fieldType, "type", maxTypeBytes},
	} {
		switch b := m.values[v.field]; {
		case b == nil:
			return violation(ruleKeys, v.name+" is missing")
		case len(b) == 0:
			return violation(ruleValues, v.name+" is empty")
		case len(b) > v.maximum:
			return violation(ruleValues, v.name+" is too long")
		case !printable(b):
			return violation(ruleValues, v.name+" holds a character that is not printable")
		}
	}
	return nil
}

// checkAuthStart checks what auth:start must carry. The certificate's content is the Handler's to judge.
func (m *message) checkAuthStart() error {
	if m.values[fieldCert] == nil {
		return violation(ruleKeys, "cert is missing")
	}
	return nil
}

// checkGrant checks what a master's auth:ack must carry.
func (m *message) checkGrant() error {
	switch b := m.values[fieldUpstream]; {
	case b == nil:
		return violation(ruleKeys, "upstream is missing")
	case !validUpstream(b):
		return violation(ruleValues, "upstream is too long or not printable")
	}
	return nil
}
