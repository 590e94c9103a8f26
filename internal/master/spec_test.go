package master

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// The rules of the protocol that bind the program around it are kept, and tested, in this package and in internal/admit.
func TestEveryRuleOfTheProgramIsCitedByCodeAndTest(t *testing.T) {
	spec, err := os.ReadFile("../../protocol/spec.md")
	if err != nil {
		t.Fatal(err)
	}
	cited := map[bool]string{}        // by whether it is a test
	files, _ := filepath.Glob("*.go") // The pattern is good.
	admission, _ := filepath.Glob("../admit/*.go")
	for _, name := range append(files, admission...) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		cited[strings.HasSuffix(name, "_test.go")] += string(content)
	}
	rules := regexp.MustCompile(`(?m)^- \*\*(R-\d+\.\d+)\*\* \*\(program\)\*`).FindAllStringSubmatch(string(spec), -1)
	if len(rules) == 0 {
		t.Fatal("spec.md has no rule of the program")
	}
	for _, rule := range rules {
		for test, text := range cited {
			if !regexp.MustCompile(regexp.QuoteMeta(rule[1]) + `\b`).MatchString(text) {
				t.Errorf("%s is not cited; in tests: %v", rule[1], test)
			}
		}
	}
}

// resumption would let a node in without a look at its certificate.
func TestNoSessionOfTLSIsResumed(t *testing.T) {
	for _, transport := range []v1alpha1.Transport{v1alpha1.TransportServerTLS, v1alpha1.TransportMutualTLS} {
		if !new(certificates).ServerConfig(policyOf(transport, v1alpha1.AuthenticationSharedCertificate)).SessionTicketsDisabled {
			t.Errorf("%s hands out session tickets", transport)
		}
	}
}
