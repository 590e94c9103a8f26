package admit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MaxIDBytes is the length of the longest node id.
const MaxIDBytes = 253

// validID reports whether an id is one by of protocol/spec.md.
func validID(id string) bool {
	return id != "" && len(id) <= MaxIDBytes && utf8.ValidString(id) && strings.IndexFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// NamedIn is the name that an id has if it is that of a Refinery's: the id is it, or begins with it and '/'.
func NamedIn(id string) string {
	name, _, _ := strings.Cut(id, "/")
	return name
}

// checkID is check 5: what a certificate proves is the Refinery, and the id is the node's own. It may be any but one that is,
// or begins with, the name of another Refinery.
func (a *Authenticator) checkID(refinery, id string) *Denial {
	mismatch := func(format string, args ...any) *Denial {
		return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonIDMismatch, Message: fmt.Sprintf(format, args...)}
	}
	if !validID(id) {
		return mismatch("announces an id that is not of 1 to %d printable bytes", MaxIDBytes)
	}
	if name := NamedIn(id); name != refinery && a.Directory.Refinery(name) != nil {
		return mismatch("announces id %q, which is an id of Refinery %s; announce %s, or %s/ and a name of the node, or an id of its own such as a UUID",
			Truncate(id, 64), name, refinery, refinery)
	}
	return nil
}

// Truncate cuts what a peer sent after at most n bytes, at the end of a character.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
