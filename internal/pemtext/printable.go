package pemtext

import "strconv"

// The most bytes of a stranger's text that are shown: from its beginning, and, if it has more, from its end, where errors of
// crypto/x509 say what was expected.
const (
	maxHead = 384
	maxTail = 128
)

// Printable returns what may be shown of a text that a stranger may have had a part in, such as an error about a certificate:
// escaped and bounded.
func Printable(text string) string {
	if len(text) <= maxHead+maxTail {
		return escape(text)
	}
	return escape(text[:maxHead]) + " … " + escape(text[len(text)-maxTail:])
}

// escape writes what is not printable as Go does, and leaves quotation marks as they are.
func escape(text string) string {
	escaped := make([]byte, 0, len(text))
	for _, r := range text {
		if r == '"' {
			escaped = append(escaped, '"')
			continue
		}
		quoted := strconv.AppendQuote(nil, string(r))
		escaped = append(escaped, quoted[1:len(quoted)-1]...)
	}
	return string(escaped)
}
