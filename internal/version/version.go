// Package version holds the version that all binaries of the project share.
package version

// Version is a semantic version without a leading v. Release builds set it with
// -ldflags "-X github.com/refinery-operator/refinery-operator/internal/version.Version=1.2.3".
var Version = "0.1.0"

// SpeakProtocol are the versions of nodes that speak the Cluster Protocol, as a semver constraint: all from the first one on, with
// pre-releases (section 9 of its specification). It has no upper end, so that a master lets in the nodes of later releases too.
const SpeakProtocol = ">=0.0.1-0"
