package trust

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/kubectl"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// TestAPreviewShowsWhatAChangeWouldDoAndChangesNothing asks about changes that would refuse a live node, and about some
// that would not.
func TestAPreviewShowsWhatAChangeWouldDoAndChangesNothing(t *testing.T) {
	p := newPlant(t)
	first, second, third := p.newAuthority("first"), p.newAuthority("second"), p.newAuthority("third")
	both := pki.PEMPair{Certificate: append(bytes.Clone(first.Certificate), second.Certificate...), Key: first.Key}
	p.must(api.Create(t.Context(), p.tlsSecret("plant-ca", both)))
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{Certificates: &v1alpha1.CertificatesSpec{
		Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}})
	p.must(api.Create(t.Context(), p.refinery("press", "alpha")))
	p.node("press", p.master("alpha"))
	p.conditionIs("press", v1alpha1.ConditionAuthenticated, metav1.ConditionTrue)
	before := &v1alpha1.ClusterMaster{}
	p.must(api.Get(t.Context(), p.key("alpha"), before))
	for _, test := range p.questions(before, first, second, third) {
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

// question is what a preview is asked, and the exit code and the text that it answers with.
type question struct {
	name   string
	args   []string
	code   int
	output string
}

// What previews say in more than one answer.
const (
	header   = "REFINERY   NODE      WHEN       REASON            MESSAGE\n"
	fine     = "Every node that is authenticated now would be let in.\n"
	old      = `press      press/a   OnReturn   VersionMismatch   announces version 0.1.0; this master accepts ">=9.0.0" (spec.protocol.acceptedVersions)` + "\n"
	stepwise = "The authority is replaced step by step: those that are trusted now stay so until nobody needs them (condition CertificateAuthorityRotating).\n"
	unsigned = `the certificate "CN=press" was issued by "CN=first" and is not signed by the authority that the master trusts, ` +
		`"CN=second"; put in one that is, followed by its intermediates in order if it has any` + "\n"
)

// questions are about a ClusterMaster that trusts the first two authorities.
func (p *plant) questions(before *v1alpha1.ClusterMaster, first, second, third pki.PEMPair) []question {
	elsewhere, bundle := p.tlsSecret("plant-ca", first), p.tlsSecret("alpha-tls", first)
	elsewhere.Namespace = "elsewhere"
	secret := func(pair pki.PEMPair) string { return p.manifest(p.tlsSecret("plant-ca", pair)) }
	spec := func(edit func(*v1alpha1.ClusterMaster)) string {
		m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: "alpha"}, Spec: *before.Spec.DeepCopy()}
		edit(m)
		return p.manifest(m)
	}
	narrower := func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = ">=9.0.0" }
	issued := func(m *v1alpha1.ClusterMaster) {
		m.Spec.Certificates = &v1alpha1.CertificatesSpec{IssuerRef: &v1alpha1.IssuerReference{Name: "plant"}}
	}
	return []question{
		{"the other authority less", []string{"--without-authority", p.fingerprint(second)[:12]}, 0, fine},
		{"its authority less", []string{"--without-authority", p.fingerprint(first)[:12]}, 1,
			"REFINERY   NODE      WHEN     REASON           MESSAGE\npress      press/a   AtOnce   WrongAuthority   " + unsigned},
		{"an authority that is not there", []string{"--without-authority", "000000"}, 2,
			fmt.Sprintf("kubectl refinery: no authority in the trust bundle has a fingerprint that begins with 000000; there are %s (\"CN=first\"), %s (\"CN=second\")\n", p.fingerprint(first), p.fingerprint(second))},
		{"a Secret that holds one of them", []string{"-f", secret(first)}, 0, fine},
		{"a Secret that holds the other", []string{"-f", secret(second)}, 0, fine},
		{"a Secret that holds a third one", []string{"-f", secret(third)}, 0, fine + stepwise},
		{"a Secret without its key", []string{"-f", secret(pki.PEMPair{Certificate: second.Certificate})}, 0, fine +
			"The authority is provided without its key, so the operator issues nothing: Secret alpha-tls stays as it is until you replace it; to preview that too, give -f the new Secret.\n"},
		{"a Secret with a key that is another's", []string{"-f", secret(pki.PEMPair{Certificate: third.Certificate, Key: first.Key})}, 2,
			"kubectl refinery: the operator would refuse Secret plant-ca: "},
		{"a Secret of no use", []string{"-f", p.manifest(p.tlsSecret("other", first))}, 2,
			"kubectl refinery: ClusterMaster alpha does not use Secret other: not as its authority (spec.certificates.authority.secretRef), not for what it serves, and not as the shared certificate\n"},
		{"a Secret elsewhere", []string{"-f", p.manifest(elsewhere)}, 2,
			fmt.Sprintf("kubectl refinery: the file holds Secret elsewhere/plant-ca, and ClusterMaster alpha is in namespace %s\n", p.namespace)},
		{"a bundle that is the operator's", []string{"-f", p.manifest(bundle)}, 2,
			"kubectl refinery: the operator writes Secret alpha-tls and would undo this change: you provide that Secret only if the authority is provided without its key\n"},
		{"another Secret, which does not exist", []string{"-f", spec(func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates.Authority.SecretRef.Name = "nowhere" })}, 2,
			"kubectl refinery: read Secret nowhere: "},
		{"the operator's own authority", []string{"-f", spec(func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil })}, 0, fine + stepwise},
		{"an issuer of cert-manager", []string{"-f", spec(issued)}, 1, "REFINERY   NODE      WHEN      REASON   MESSAGE\n" +
			"press      press/a   Unknown   -        spec.certificates.issuerRef changes, and with it, at once, who signs and which trust bundle applies: whether nodes and master then have the same authority cannot be determined from here\n"},
		{"an issuer and narrower versions", []string{"-f", spec(issued), "--accepted-versions=>=9.0.0"}, 1, header + old},
		{"a replacement that is forced", []string{"-f", secret(third), "-f", spec(func(m *v1alpha1.ClusterMaster) {
			m.Annotations = map[string]string{v1alpha1.ForceCARotationAnnotation: "Activating"}
		})}, 1, "REFINERY   NODE      WHEN      REASON   MESSAGE\n" +
			"press      press/a   Unknown   -        annotation cluster.refinery.dev/force-ca-rotation: Activating replaces the authority without waiting for any node: it cuts off every node that has not loaded the new files by then\n" + stepwise},
		{"a manifest with narrower versions", []string{"-f", spec(narrower)}, 1, header + old},
		{"the same, and a third authority", []string{"-f", spec(narrower), "-f", secret(third)}, 1, header + old + stepwise},
		{"other types", []string{"--accepted-types=smelter"}, 1, header +
			`press      press/a   OnReturn   TypeNotAccepted   announces type "refinery"; this master accepts "smelter" (spec.protocol.acceptedTypes)` + "\n"},
		{"more types", []string{"--accepted-types=refinery,smelter", "--accepted-versions=>=0.1.0"}, 0, fine},
		{"what the API server would refuse", []string{"--accepted-versions=\x00!"}, 2, "kubectl refinery: the API server would refuse the change: "},
	}
}

// TestAPreviewShowsWhatAnotherSharedCertificateDoesToEverySession needs no master: it goes by what one wrote.
func TestAPreviewShowsThatAnotherSharedCertificateEndsEverySession(t *testing.T) {
	p := newPlant(t)
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{Security: v1alpha1.SecuritySpec{
		Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}})
	p.reportedLive("press", "alpha")
	own := p.secret("alpha-shared").Data[v1alpha1.SharedCertificateKey]
	shared := func(name string, content []byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name}, Data: map[string][]byte{v1alpha1.SharedCertificateKey: content}}
	}
	p.must(api.Create(t.Context(), shared("same", append(own, '\n'))))
	named := func(name string) string {
		return p.edited("alpha", func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates = &v1alpha1.CertificatesSpec{Shared: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: name}}}
		})
	}
	ended := map[string]admit.When{"press/a": admit.AtOnce}
	for name, test := range map[string]struct {
		args []string
		want map[string]admit.When
	}{
		"another name, the same content": {[]string{"-f", named("same")}, nil},
		"another name and content":       {[]string{"-f", named("other"), "-f", p.manifest(shared("other", []byte("x")))}, map[string]admit.When{"press/a": admit.Later}},
		"another content":                {[]string{"-f", p.manifest(shared("alpha-shared", []byte("x")))}, ended},
		"the same content":               {[]string{"-f", p.manifest(shared("alpha-shared", own))}, nil},
		"something else":                 {[]string{"--accepted-versions=>=0.1.0"}, nil},
	} {
		if diff := cmp.Diff(test.want, p.predicted("alpha", test.args...), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestAPreviewDoesNotKnowABundleThatNoProvidedAuthoritySigned goes from the operator's own authority to one without its
// key, which leaves the bundle to whoever provides it, and asks for the way back.
func TestAPreviewDoesNotKnowABundleThatNoProvidedAuthoritySigned(t *testing.T) {
	p := newPlant(t)
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{})
	p.reportedLive("press", "alpha")
	p.secret("alpha-tls")
	p.must(api.Create(t.Context(), p.tlsSecret("plant-ca", pki.PEMPair{Certificate: p.newAuthority("first").Certificate})))
	p.edit("alpha", func(m *v1alpha1.ClusterMaster) {
		m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
	})
	predicted := p.predicted("alpha", "-f", p.edited("alpha", func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil }))
	if diff := cmp.Diff(map[string]admit.When{"press/a": admit.Unknown}, predicted); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// reportedLive makes a Refinery with a node that a master is said to have let in.
func (p *plant) reportedLive(name, clusterMaster string) {
	p.Helper()
	r := p.refinery(name, clusterMaster)
	p.must(api.Create(p.Context(), r))
	p.must(api.Status().Patch(p.Context(), r, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status": {"nodes": [{"id": "%s/a", "state": "Authenticated",
		"reason": "Authenticated", "version": "0.1.0", "type": "refinery", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}`, name))))
}

// manifest is a file that holds an object.
func (p *plant) manifest(object client.Object) string {
	p.Helper()
	kind, err := api.GroupVersionKindFor(object)
	p.must(err)
	object.GetObjectKind().SetGroupVersionKind(kind)
	content, err := yaml.Marshal(object)
	p.must(err)
	path := filepath.Join(p.TempDir(), "manifest.yaml")
	p.must(os.WriteFile(path, content, 0o600))
	return path
}
