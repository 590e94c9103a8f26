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
	if !validID(id) {
		return invalidID(refinery)
	}
	if name := NamedIn(id); name != refinery && a.Directory.Refinery(name) != nil {
		return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonIDMismatch, Message: fmt.Sprintf(
			"announces id %q, which is an id of Refinery %s; announce %s, or %s/ and a name of the node, or an id of its own such as a UUID",
			Truncate(id, 64), name, refinery, refinery)}
	}
	return nil
}

// checkStillOf reports that a node that was let in is not of its Refinery any more by what it announced.
func (a *Authenticator) checkStillOf(g *Grant) *Denial {
	if g.Mode.Authentication != v1alpha1.AuthenticationSharedCertificate {
		return a.checkID(g.Refinery, g.ID)
	}
	switch of := a.Directory.Membership().Of(g.ID, g.Type); of {
	case g.Refinery:
		return nil
	case "":
		return ofNone()
	default:
		return &Denial{Reason: v1alpha1.ReasonIDMismatch, Message: fmt.Sprintf("the node is of Refinery %s now", of)}
	}
}

func invalidID(refinery string) *Denial {
	return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonIDMismatch,
		Message: fmt.Sprintf("announces an id that is not of 1 to %d printable bytes", MaxIDBytes)}
}

func ofNone() *Denial {
	return &Denial{Reason: v1alpha1.ReasonIDMismatch, Stranger: true,
		Message: "is of no Refinery of this master by its id and type; announce <refinery>/<node>, or select the node by spec.nodes of a Refinery"}
}

// Truncate cuts what a peer sent after at most n bytes, at the end of a character.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
