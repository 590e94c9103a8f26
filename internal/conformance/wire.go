package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The codes of section 2. The kit has its own codec, made of encoding/json, so that a mistake of package protocol's does
// not pass because it is made on both sides.
const (
	establish = "conn:establish"
	startAuth = "conn:startAuth"
	authStart = "auth:start"
	authAck   = "auth:ack"
	authDec   = "auth:dec"
	closing   = "conn:close"
	alive     = "conn:alive"

	separator = ";;"
	eof       = "<EOF>"

	maxKeys = 32
)

var codes = []string{establish, startAuth, authStart, authAck, authDec, closing, alive}

// compose writes a message as it stands: what is wrong with the payload stays wrong.
func compose(code, payload string) string { return code + separator + payload + eof }

// quote writes a JSON string in which no mark can stand.
func quote(s string) string {
	b, err := json.Marshal(s) // Escapes < by itself.
	if err != nil {
		panic(err) // A string can always be marshalled.
	}
	return strings.ReplaceAll(string(b), ";", `\u003b`)
}

// broken is a rule that a message breaks, and how.
type broken struct{ rule, words string }

func (b broken) String() string { return b.rule + ": " + b.words }

// message is one message of the peer's. Values are strings, []string or map[string]string.
type message struct {
	code   string
	raw    string
	values map[string]any
	broken []broken
}

// text returns the value of a key if it is a string.
func (m *message) text(key string) string {
	s, _ := m.values[key].(string)
	return s
}

// cut takes the first message off b; ok is false if b does not hold all of it.
func cut(b []byte) (raw string, rest []byte, ok bool) {
	i := bytes.Index(b, []byte(eof))
	if i < 0 {
		return "", b, false
	}
	return string(b[:i+len(eof)]), b[i+len(eof):], true
}

// parse reads a message, <EOF> included, and collects the rules that it breaks whoever sends it.
func parse(raw string) message {
	m := message{raw: raw}
	code, payload, ok := strings.Cut(strings.TrimSuffix(raw, eof), separator)
	if !ok || !slices.Contains(codes, code) {
		m.broken = []broken{{"R-2.2", "no code with its separator"}}
		return m
	}
	m.code = code
	if payload != "" {
		var p payloadReader
		m.values = p.read([]byte(payload))
		m.broken = p.broken
	}
	return m
}

// payloadReader collects what is wrong with one payload.
type payloadReader struct {
	dec    *json.Decoder
	broken []broken
}

func (p *payloadReader) breaks(rule, format string, args ...any) {
	p.broken = append(p.broken, broken{rule, fmt.Sprintf(format, args...)})
}

// surrogate is an escape of half a pair, with the other half if it is there.
var surrogate = regexp.MustCompile(`\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)

func (p *payloadReader) read(b []byte) map[string]any {
	if !utf8.Valid(b) {
		p.breaks("R-3.2", "not valid UTF-8")
	}
	for _, escape := range surrogate.FindAll(b, -1) {
		if len(escape) == len(`\ud800`) {
			p.breaks("R-3.2", "half a surrogate pair")
		}
	}
	if bytes.Contains(b, []byte("<")) || bytes.Contains(b, []byte(separator)) {
		p.breaks("R-3.8", "< or ;; stands in the payload")
	}
	var object json.RawMessage
	whole := json.NewDecoder(bytes.NewReader(b))
	if err := whole.Decode(&object); err != nil {
		rule := "R-3.1"
		if strings.Contains(err.Error(), "in string") {
			rule = "R-3.2"
		}
		p.breaks(rule, "not JSON: %v", err)
		return nil
	}
	if rest := bytes.Trim(b[whole.InputOffset():], " \t\r\n"); len(rest) > 0 {
		p.breaks("R-3.5", "bytes after the object")
	}
	p.dec = json.NewDecoder(bytes.NewReader(object))
	if t, err := p.dec.Token(); err != nil || t != json.Delim('{') {
		p.breaks("R-3.1", "not an object")
		return nil
	}
	values := map[string]any{}
	p.members(func(key string) { values[key] = p.value(true) }, func(key string) bool { _, twice := values[key]; return twice })
	return values
}

// members reads an object behind its brace. It is known to be JSON.
func (p *payloadReader) members(value func(key string), seen func(key string) bool) {
	count := 0
	for p.dec.More() {
		t, err := p.dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			p.breaks("R-3.1", "key is not a string")
			return
		}
		if seen(key) {
			p.breaks("R-3.3", "a key stands twice")
		}
		if count++; count == maxKeys+1 {
			p.breaks("R-3.3", "more than %d keys", maxKeys)
		}
		value(key)
	}
	_, _ = p.dec.Token() // The closing brace: the syntax was checked before.
}

// value reads a value; containers only where they may stand.
func (p *payloadReader) value(outer bool) any {
	t, err := p.dec.Token()
	if err != nil {
		p.breaks("R-3.1", "%v", err)
		return nil
	}
	if s, ok := t.(string); ok {
		return s
	}
	if !outer {
		p.breaks("R-3.1", "a value in an array or inner object is not a string")
	}
	switch t {
	case json.Delim('['):
		list := []string{}
		for p.dec.More() {
			s, _ := p.value(false).(string)
			list = append(list, s)
		}
		_, _ = p.dec.Token() // The closing bracket.
		return list
	case json.Delim('{'):
		pairs := map[string]string{}
		p.members(func(key string) {
			s, _ := p.value(false).(string)
			pairs[key] = s
		}, func(key string) bool { _, twice := pairs[key]; return twice })
		return pairs
	}
	if outer {
		p.breaks("R-3.1", "a value is not a string, an array or an object")
	}
	return nil
}

// field is a key of section 3's table.
type field struct {
	key      string
	required bool
	least    int
	most     int
}

// side says who sends, for what a code means.
type side string

const (
	master   side = "master"
	refinery side = "refinery"
)

// fields is the table of section 3 with; conn:alive's keys are never a violation but for their type.
var fields = map[side]map[string][]field{
	refinery: {
		establish: {{"id", true, 1, 253}, {"version", true, 1, 64}, {"type", true, 1, 64}},
		authStart: {{"cert", true, 0, 1 << 30}},
		alive:     {{"status", false, 0, 1 << 30}, {"load", false, 0, 1 << 30}},
	},
	master: {authAck: {{"upstream", true, 0, 1024}}},
}

// checkKeys collects what is wrong with the keys that the table names for the code.
func checkKeys(from side, m *message) (all []broken) {
	for _, f := range fields[from][m.code] {
		v, there := m.values[f.key]
		s, isText := v.(string)
		switch {
		case !there && f.required:
			all = append(all, broken{"R-3.7", f.key + " is missing"})
		case there && !isText:
			all = append(all, broken{"R-3.7", f.key + " is not a string"})
		case there && (len(s) < f.least || len(s) > f.most):
			all = append(all, broken{"R-3.9", fmt.Sprintf("%s has %d bytes", f.key, len(s))})
		case there && f.most < 1<<30 && strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
			all = append(all, broken{"R-3.9", f.key + " is not printable"})
		}
	}
	return all
}

// checkReason finds a reason where none may be given.
func checkReason(m *message) []broken {
	if (m.code == closing || m.code == authDec) && len(m.values) > 0 {
		return []broken{{"R-7.2", m.code + " with a reason"}}
	}
	return nil
}
