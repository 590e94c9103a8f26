package pemtext

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

const (
	beginMark = "-----BEGIN "
	endMark   = "-----END "
	dashes    = "-----"
	// blanks may stand at both ends of a line. The last one is a byte order mark, which is left where files were joined.
	blanks = " \t\v\f\ufeff"
)

// block is one PEM block of a text, decoded.
type block struct {
	label   string
	content []byte
	// place is how people find it, as in "block 2 of 3 (CERTIFICATE, line 24)".
	place string
}

// scanner goes through a text once. It never goes back, so it takes time in proportion to the text.
type scanner struct {
	name  string
	text  []byte
	at    int // everything before it is read
	lines int // the number of the line that at is in, from 0
	found []block
	of    int // how many blocks begin in the text
}

// blocks returns all PEM blocks of text in order, or an *Error about the first thing in it that can only be a part of a
// block, and is none: what is not understood is never skipped.
func blocks(name string, text []byte) ([]block, error) {
	s := &scanner{name: name, text: text, of: bytes.Count(text, []byte(beginMark))}
	for {
		next := bytes.Index(s.text[s.at:], []byte(beginMark))
		if next < 0 {
			return s.found, s.outside(s.text[s.at:])
		}
		if err := s.outside(s.text[s.at : s.at+next]); err != nil {
			return nil, err
		}
		if err := s.block(); err != nil {
			return nil, err
		}
	}
}

// advance moves to a place further on.
func (s *scanner) advance(by int) {
	passed := s.text[s.at : s.at+by]
	s.at += by
	s.lines += bytes.Count(passed, []byte("\n")) + bytes.Count(passed, []byte("\r")) - bytes.Count(passed, []byte("\r\n"))
}

// line returns what is left of the current line, without its end.
func (s *scanner) line() []byte {
	rest := s.text[s.at:]
	if end := bytes.IndexAny(rest, "\r\n"); end >= 0 {
		return rest[:end]
	}
	return rest
}

// label is what RFC 7468, section 3, allows, in capital letters.
var label = regexp.MustCompile(`^[A-Z0-9]+( [A-Z0-9]+)*$`)

// block reads the block that begins here, up to the end of its last line or the beginning of a block that was joined to it.
func (s *scanner) block() error {
	b := block{place: fmt.Sprintf("block %d of %d (line %d)", len(s.found)+1, s.of, s.lines+1)}
	damaged := func(what string, args ...any) error {
		return &Error{Name: s.name, Place: b.place, What: fmt.Sprintf(what, args...), Remedy: "put in the whole block again"}
	}
	first := s.line()
	name, after, ok := bytes.Cut(first[len(beginMark):], []byte(dashes))
	if !ok || !label.Match(name) {
		return damaged("its BEGIN line is damaged")
	}
	b.label = string(name)
	shown := b.label
	if strings.HasSuffix(shown, "PRIVATE KEY") { // who searches logs for the begin of a key finds none
		shown = strings.ToLower(shown)
	}
	b.place = fmt.Sprintf("block %d of %d (%.40s, line %d)", len(s.found)+1, s.of, shown, s.lines+1)
	if len(bytes.Trim(after, blanks)) > 0 {
		return damaged("there is text after its BEGIN line, which has to be a line of its own")
	}
	s.advance(len(first))
	length := bytes.Index(s.text[s.at:], []byte(dashes))
	if length < 0 {
		return damaged("it has no END line")
	}
	body, begin := s.text[s.at:s.at+length], s.lines
	s.advance(length)
	last := endMark + b.label + dashes
	switch rest := s.text[s.at:]; {
	case bytes.HasPrefix(rest, []byte(beginMark)):
		return damaged("it has no END line before the next block begins at line %d", s.lines+1)
	case !bytes.HasPrefix(rest, []byte(last)):
		return damaged("line %d has to be its END line", s.lines+1)
	}
	s.advance(len(last))
	tail := s.line()
	joined := bytes.Trim(tail, blanks)
	if len(joined) > 0 && !bytes.HasPrefix(joined, []byte(beginMark)) {
		return damaged("there is text after its END line at line %d, which has to be a line of its own", s.lines+1)
	}
	s.advance(len(tail) - len(bytes.TrimLeft(tail, blanks)))
	what := ""
	switch b.content, what = decode(body, begin); {
	case headers.Match(body) && bytes.Contains(body, []byte("ENCRYPTED")):
		return encrypted(s.name, b.place)
	case headers.Match(body):
		return &Error{Name: s.name, Place: b.place, What: "it has headers before its content", Remedy: "leave them out"}
	case what != "":
		return damaged("%s", what)
	}
	s.found = append(s.found, b)
	return nil
}

// headers are what RFC 1421 puts before the content. Many programs skip a block with headers without a word.
var headers = regexp.MustCompile(`^\s*[A-Za-z][A-Za-z0-9-]*:`)

// decode returns what the lines of a block hold, or what is wrong with them. line is the number of the first one, from 0.
func decode(body []byte, line int) (content []byte, what string) {
	compact := make([]byte, 0, len(body))
	for i, c := range body {
		switch {
		case c == '\n' || (c == '\r' && (i+1 == len(body) || body[i+1] != '\n')):
			line++
		case bytes.IndexByte([]byte(" \t\v\f\r"), c) >= 0:
		case c == '+' || c == '/' || c == '=' || ('0' <= c && c <= '9') || ('A' <= c && c <= 'Z') || ('a' <= c && c <= 'z'):
			compact = append(compact, c)
		default:
			return nil, fmt.Sprintf("line %d has a character that is not base64", line+1)
		}
	}
	if len(compact) == 0 {
		return nil, "it is empty"
	}
	content = make([]byte, base64.StdEncoding.DecodedLen(len(compact)))
	n, err := base64.StdEncoding.Decode(content, compact)
	if err != nil {
		return nil, "its base64 is not complete, so a part of it is missing or was changed"
	}
	return content[:n], ""
}

const (
	// dash is the sign itself, or one that word processors put in its place.
	dash = `[-\x{2010}-\x{2015}\x{2212}]`
	// kinds end the labels that matter.
	kinds = `[ \t]+([A-Z0-9]+[ \t]+)*(CERTIFICATE|KEY|PARAMETERS|CRL|PKCS7)`
)

// boundary is a line that was meant to begin or to end a block.
var boundary = regexp.MustCompile(`(?i)` + dash + `[ \t]*(BEGIN|END)` + kinds + `|(BEGIN|END)` + kinds + `[ \t]*` + dash + `|-----(BEGIN|END)`)

// outside advances over text that is before, between or after blocks. It may be anything but what is left of a block.
func (s *scanner) outside(text []byte) error {
	end := s.at + len(text)
	for s.at < end {
		line := s.line()
		line = line[:min(len(line), end-s.at)]
		switch {
		case boundary.Match(line):
			return &Error{Name: s.name, Place: fmt.Sprintf("line %d", s.lines+1), What: "it looks like the begin or the end of a block, and is not",
				Remedy: "put in the whole block again"}
		case isContent(bytes.Trim(line, blanks)):
			return &Error{Name: s.name, Place: fmt.Sprintf("line %d", s.lines+1), What: "it looks like the content of a block that has no BEGIN line",
				Remedy: "put in the whole block again"}
		case s.at+len(line) == end && len(bytes.Trim(line, blanks)) > 0 && end < len(s.text):
			return &Error{Name: s.name, Place: fmt.Sprintf("line %d", s.lines+1), What: "there is text before the BEGIN line of a block",
				Remedy: "put it on a line of its own"}
		}
		switch s.advance(len(line)); {
		case bytes.HasPrefix(s.text[s.at:end], []byte("\r\n")):
			s.advance(2)
		case s.at < end:
			s.advance(1)
		}
	}
	return nil
}

// isContent reports whether a line is base64 as blocks hold it, rather than prose or a fingerprint in hexadecimal digits.
func isContent(line []byte) bool {
	const least = 60
	capital, small, digit := false, false, false
	for _, c := range line {
		switch {
		case 'G' <= c && c <= 'Z':
			capital = true
		case 'g' <= c && c <= 'z':
			small = true
		case '0' <= c && c <= '9':
			digit = true
		case c != '+' && c != '/' && c != '=' && (c < 'A' || c > 'F') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return len(line) >= least && capital && small && digit
}
