// Package version holds the version that all binaries of the project share.
package version

// Version is a semantic version without a leading v. Release builds set it with
// -ldflags "-X github.com/refinery-operator/refinery-operator/internal/version.Version=1.2.3".
var Version = "0.1.0"
