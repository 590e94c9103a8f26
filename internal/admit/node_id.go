package admit

import (
	"regexp"
	"strings"
)

// MaxIDBytes is the length of the longest node id.
const MaxIDBytes = 253

// nodePattern is what may follow "<refinery>/" in an id: one name, no path.
var nodePattern = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)

// OwnsID reports whether a node id is one of a Refinery's: "<refinery>" or "<refinery>/<node>".
func OwnsID(refinery, id string) bool {
	if len(id) > MaxIDBytes {
		return false
	}
	name, node, hasNode := strings.Cut(id, "/")
	return name == refinery && (!hasNode || nodePattern.MatchString(node))
}

// Truncate cuts what a peer sent after at most n bytes, at the end of a character.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
