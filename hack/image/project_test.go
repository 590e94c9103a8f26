package image

import "testing"

func TestAPrefixWithoutAHostHasTheUsualOne(t *testing.T) {
	for prefix, want := range map[string]string{
		"refinery-operator":         "docker.io/refinery-operator/master:1.2.3",
		"example.com/team":          "example.com/team/master:1.2.3",
		"registry:5000/mirror/team": "registry:5000/mirror/team/master:1.2.3",
	} {
		if got := Reference(prefix, "master", "1.2.3"); got != want {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
	}
}

func TestOnlyASemanticVersionGoesIntoTheBinaries(t *testing.T) {
	const written = " -X github.com/refinery-operator/refinery-operator/internal/version.Version="
	for version, want := range map[string]string{
		"0.2.0":        "-s -w" + written + "0.2.0",
		"1.0.0-rc.1":   "-s -w" + written + "1.0.0-rc.1",
		"dev":          "-s -w",
		"v0.2.0":       "-s -w",
		"dev-0a1b2c3d": "-s -w",
	} {
		if got := LDFlags(version); got != want {
			t.Errorf("%s: flags %q, want %q", version, got, want)
		}
	}
}
