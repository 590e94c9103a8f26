// Package imports holds the walls between the packages: who may import whom.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/refinery-operator/refinery-operator/"

// allowed are the packages of this module that each of its packages imports outside of its tests, all of them: an
// import that is new belongs here, with a reason that holds in review, and one that is gone is taken out.
var allowed = map[string][]string{
	"cmd/conformance":             {"internal/cli", "internal/conformance"},
	"cmd/kubectl-refinery":        {"internal/cli", "internal/kubectl"},
	"cmd/master":                  {"internal/cli", "internal/master"},
	"cmd/operator":                {"internal/cli", "internal/operator"},
	"cmd/refinery":                {"internal/agent", "internal/cli"},
	"controllers":                 {"api/v1alpha1", "internal/apply", "internal/certificates", "internal/pki", "internal/podset", "internal/reconcile", "internal/resource", "internal/rotation"},
	"controllers/clustermaster":   {"api/v1alpha1", "controllers", "internal/apply", "internal/certificates", "internal/masterfields", "internal/pemtext", "internal/pki", "internal/podset", "internal/reconcile", "internal/resource", "internal/rotation", "internal/secretfiles", "internal/version"},
	"controllers/refinery":        {"api/v1alpha1", "controllers", "internal/apply", "internal/certificates", "internal/masterfields", "internal/pki", "internal/podset", "internal/reconcile", "internal/resource", "internal/rotation"},
	"internal/admit":              {"api/v1alpha1", "internal/pki", "internal/version"},
	"internal/admit/admittest":    {"api/v1alpha1", "internal/pki", "internal/pki/pkitest", "protocol"},
	"internal/agent":              {"internal/agent/backoff", "internal/cli", "internal/logging", "internal/masterfile", "internal/pemtext", "internal/relay", "internal/secretfiles", "internal/version", "protocol"},
	"internal/agent/backoff":      {"protocol"},
	"internal/apply":              {"api/v1alpha1", "internal/podset"},
	"internal/certificates":       {"api/v1alpha1", "internal/apply", "internal/pki", "internal/reconcile", "internal/resource", "internal/secretfiles"},
	"internal/conformance":        {"internal/cli", "internal/pemtext", "internal/secretfiles"},
	"internal/kubectl":            {"api/v1alpha1", "internal/admit", "internal/pki", "internal/rotation/plan", "internal/version"},
	"internal/logging":            {"internal/cli"},
	"internal/master":             {"api/v1alpha1", "internal/admit", "internal/cli", "internal/eventlog", "internal/health", "internal/logging", "internal/master/peer", "internal/master/proxied", "internal/masterfields", "internal/pemtext", "internal/pki", "internal/secretfiles", "internal/version", "protocol"},
	"internal/master/peer":        {"internal/pemtext", "internal/secretfiles"},
	"internal/master/proxied":     {"protocol"},
	"internal/masterfields":       {"api/v1alpha1"},
	"internal/operator":           {"api/v1alpha1", "controllers", "controllers/clustermaster", "controllers/refinery", "internal/certificates", "internal/cli", "internal/eventlog", "internal/health", "internal/logging", "internal/reconcile", "internal/resource", "internal/version"},
	"internal/pemtext":            {"internal/secretfiles"},
	"internal/pki":                {"api/v1alpha1", "internal/pemtext"},
	"internal/reconcile":          {"api/v1alpha1", "internal/apply", "internal/podset", "internal/resource"},
	"internal/resource":           {"api/v1alpha1", "internal/masterfile", "internal/pki", "internal/podset", "internal/version"},
	"internal/rotation":           {"api/v1alpha1", "internal/apply", "internal/certificates", "internal/pki", "internal/resource", "internal/rotation/plan"},
	"internal/rotation/plan":      {"api/v1alpha1", "internal/pemtext", "internal/pki", "internal/resource"},
	"protocol":                    {"protocol/internal/admission", "protocol/internal/ranking", "protocol/internal/wire"},
	"protocol/internal/admission": {"protocol/internal/ranking"},
	"test/kit":                    {"internal/conformance", "test/late"},
	"test/outage":                 {"api/v1alpha1", "internal/agent", "internal/operator", "internal/resource", "internal/version", "protocol", "test/floor", "test/loopback", "test/programs"},
	"test/programs":               {"internal/agent", "internal/master", "internal/operator"},
}

// neverLinked are the packages that must not be in a program or library, whichever way they would come in.
var neverLinked = []struct {
	what, pattern, why string
}{
	{"protocol", `^[a-z0-9-]+(\.[a-z]+)+/`, "the library is for everyone: the standard library, and nothing else"},
	{"internal/agent", `^(k8s|sigs\.k8s)\.io/`, "a node needs no Kubernetes"},
	{"cmd/refinery", `^(k8s|sigs\.k8s)\.io/`, "a node needs no Kubernetes"},
	{"internal/conformance", `/protocol$`, "the kit shares no code with what it tests"},
	{"internal/master", `/controllers`, "a master is not an operator"},
	{"cmd/kubectl-refinery", `controller-runtime|client-go/tools/leaderelection|/internal/master$|/protocol$|/controllers`, "the plugin asks the rules, and runs no server and no election"},
}

// listed is what `go list` knows of a package.
type listed struct {
	ImportPath    string
	Imports, Deps []string
}

// list asks the go command for packages of this module, each with all it links.
func list(t *testing.T) map[string]listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	command.Dir, command.Stderr = "../..", os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]listed{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

func TestPackagesImportWhatTheTableAllows(t *testing.T) {
	found := map[string][]string{}
	for name, p := range list(t) {
		var own []string
		for _, imported := range p.Imports {
			if inside, ok := strings.CutPrefix(imported, module); ok && !strings.Contains(inside, "/applyconfiguration") {
				own = append(own, inside)
			}
		}
		if len(own) > 0 && !strings.Contains(name, "/applyconfiguration") {
			found[name] = slices.Sorted(slices.Values(own))
		}
	}
	if diff := cmp.Diff(allowed, found); diff != "" {
		t.Errorf("imports between the packages of this module (-allowed +found):\n%s", diff)
	}
}

func TestProgramsLinkNothingThatTheyMustNot(t *testing.T) {
	packages := list(t)
	for _, rule := range neverLinked {
		p, ok := packages[rule.what]
		if !ok {
			t.Errorf("%s does not exist; there are %q", rule.what, slices.Sorted(maps.Keys(packages)))
		}
		forbidden := regexp.MustCompile(rule.pattern)
		for _, linked := range p.Deps {
			inside := rule.what == "protocol" && strings.HasPrefix(linked, module+"protocol/")
			if forbidden.MatchString(linked) && !inside {
				t.Errorf("%s links %s: %s", rule.what, linked, rule.why)
			}
		}
	}
}
