package trust

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/kubectl"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// TestAPreviewOfAChangeIsWhatTheMasterWouldDo asks about changes that would refuse a live node, and about some that would
// not, and looks that asking changed nothing.
func TestAPreviewOfAChangeIsWhatTheMasterWouldDo(t *testing.T) {
	p := newPlant(t)
	first, err := pki.NewAuthority("first", v1alpha1.DefaultCADuration, time.Now())
	p.must(err)
	second, err := pki.NewAuthority("second", v1alpha1.DefaultCADuration, time.Now())
	p.must(err)
	both := pki.PEMPair{Certificate: append(bytes.Clone(first.Certificate), second.Certificate...), Key: first.Key}
	p.must(api.Create(t.Context(), p.tlsSecret("plant-ca", both)))
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{Certificates: &v1alpha1.CertificatesSpec{
		Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}})
	p.must(api.Create(t.Context(), p.refinery("press", "alpha")))
	p.node("press", p.master("alpha"))
	p.conditionIs("press", v1alpha1.ConditionAuthenticated, metav1.ConditionTrue)
	before := &v1alpha1.ClusterMaster{}
	p.must(api.Get(t.Context(), p.key("alpha"), before))

	file := func(object any) string {
		content, err := yaml.Marshal(object)
		p.must(err)
		path := filepath.Join(t.TempDir(), "manifest.yaml")
		p.must(os.WriteFile(path, content, 0o600))
		return path
	}
	secret := func(pair pki.PEMPair) string {
		s := p.tlsSecret("plant-ca", pair)
		s.APIVersion, s.Kind = "v1", "Secret"
		return file(s)
	}
	narrower := &v1alpha1.ClusterMaster{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterMaster"},
		ObjectMeta: metav1.ObjectMeta{Name: "alpha"}, Spec: before.Spec}
	narrower.Spec.Protocol.AcceptedVersions = ">=9.0.0"
	fingerprint := func(pair pki.PEMPair) string { return v1alpha1.Fingerprint(leafOf(t, pair)) }

	const header = "REFINERY   NODE      WHEN       REASON            MESSAGE\n"
	const fine = "Every node that is authenticated now would be let in.\n"
	const unsigned = "its certificate was not issued by an authority that this master trusts: x509: certificate signed by unknown authority\n"
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		output string
	}{
		{"the other authority less", []string{"--without-authority", fingerprint(second)[:12]}, 0, fine},
		{"its authority less", []string{"--without-authority", fingerprint(first)[:12]}, 1,
			"REFINERY   NODE      WHEN     REASON           MESSAGE\npress      press/a   AtOnce   WrongAuthority   " + unsigned},
		{"an authority that is not there", []string{"--without-authority", "000000"}, 2,
			fmt.Sprintf("kubectl refinery: no authority in the trust bundle has a fingerprint that begins with 000000; there are %s (\"CN=first\"), %s (\"CN=second\")\n", fingerprint(first), fingerprint(second))},
		{"a Secret that holds one of them", []string{"-f", secret(first)}, 0, fine},
		{"a Secret that holds the other", []string{"-f", secret(second)}, 1,
			"REFINERY   NODE      WHEN     REASON           MESSAGE\npress      press/a   AtOnce   WrongAuthority   " + unsigned},
		{"a manifest with narrower versions", []string{"-f", file(narrower)}, 1, header +
			`press      press/a   OnReturn   VersionMismatch   announces version 0.1.0; this master accepts ">=9.0.0" (spec.protocol.acceptedVersions)` + "\n"},
		{"other types", []string{"--accepted-types=smelter"}, 1, header +
			`press      press/a   OnReturn   TypeNotAccepted   announces type "refinery"; this master accepts "smelter" (spec.protocol.acceptedTypes)` + "\n"},
		{"more types", []string{"--accepted-types=refinery,smelter", "--accepted-versions=>=0.1.0"}, 0, fine},
		{"what the API server would refuse", []string{"--accepted-versions=\x00!"}, 2, "kubectl refinery: the API server would refuse the change: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"preview", "alpha", "--kubeconfig=" + kubeconfig, "-n", p.namespace}, test.args...)
			code := kubectl.Main(t.Context(), args, nil, &stdout, &stderr)
			got := stdout.String() + stderr.String()
			if strings.HasSuffix(test.output, ": ") { // the API server's words follow
				got = got[:min(len(got), len(test.output))]
			}
			if diff := cmp.Diff(fmt.Sprint(test.code, " ", test.output), fmt.Sprint(code, " ", got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	after := &v1alpha1.ClusterMaster{}
	p.must(api.Get(t.Context(), p.key("alpha"), after))
	if diff := cmp.Diff(before.Spec, after.Spec); diff != "" || before.Generation != after.Generation {
		t.Errorf("asking changed the ClusterMaster:\n%s", diff)
	}
}
