package image

import (
	"regexp"
	"strings"
)

// Names are the commands that have an image, each built from cmd/<name>.
var Names = []string{"operator", "master", "refinery"}

// Prefix is what the images' names begin with unless told otherwise, as in config/manager and the chart.
const Prefix = "refinery-operator"

const versionVariable = "github.com/refinery-operator/refinery-operator/internal/version.Version"

// released matches the versions that are written into the binaries: those without a leading v, as in internal/version.
var released = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// Reference is the full name of an image, as containerd stores it. A prefix without a host has the host that container engines assume.
func Reference(prefix, name, version string) string {
	if host, _, _ := strings.Cut(prefix, "/"); !strings.ContainsAny(host, ".:") {
		prefix = "docker.io/" + prefix
	}
	return prefix + "/" + name + ":" + version
}

// Labels are those of an image; commit may be "".
func Labels(name, version, commit string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "refinery-operator/" + name,
		"org.opencontainers.image.source":   "https://github.com/refinery-operator/refinery-operator",
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.revision": commit,
	}
}

// LDFlags are the linker's flags for the binaries. A version that is not a valid semantic version is the image's tag only: the
// binaries keep the one in their source.
func LDFlags(version string) string {
	flags := "-s -w"
	if released.MatchString(version) {
		flags += " -X " + versionVariable + "=" + version
	}
	return flags
}
