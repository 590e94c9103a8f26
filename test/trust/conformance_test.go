package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/kit"
)

// The master as it is delivered, with what the operator made for it, passes every case of the conformance kit.
func TestMastersPassTheConformanceKit(t *testing.T) {
	p := newPlant(t)
	protocol := v1alpha1.ProtocolSpec{AcceptedVersions: ">=0.1.0", AliveIntervalSeconds: 1, AliveTimeoutSeconds: 3, HandshakeTimeoutSeconds: 3}
	shared := func(transport v1alpha1.Transport) v1alpha1.SecuritySpec {
		return v1alpha1.SecuritySpec{Transport: transport, Authentication: v1alpha1.AuthenticationSharedCertificate}
	}
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{Protocol: protocol})
	p.createMaster("open", v1alpha1.ClusterMasterSpec{Protocol: protocol, Security: shared(v1alpha1.TransportServerTLS)})
	p.createMaster("bare", v1alpha1.ClusterMasterSpec{Protocol: protocol, Security: shared(v1alpha1.TransportPlaintext)})
	for refinery, master := range map[string]string{"press": "alpha", "mill": "open", "kiln": "bare"} {
		p.must(api.Create(t.Context(), p.refinery(refinery, master)))
	}
	p.conditionIs("press", v1alpha1.ConditionCertificateReady, metav1.ConditionTrue)
	authority := p.authority("alpha")
	unlisted, err := authority.IssueClient("press", v1alpha1.RefineryIdentity("alpha", p.namespace, "press"), time.Now())
	p.must(err)
	for name, content := range map[string][]byte{
		"unlisted.crt": unlisted.Certificate, "unlisted.key": unlisted.Key, "another": []byte("another certificate")} {
		p.must(os.WriteFile(filepath.Join(p.directory, name), content, 0o600))
	}
	node := p.mount("press-tls")
	open := filepath.Join(p.mount("open-shared"), v1alpha1.SharedCertificateKey)
	bare := filepath.Join(p.mount("bare-shared"), v1alpha1.SharedCertificateKey)
	another := "--denied-cert=" + filepath.Join(p.directory, "another")
	for _, tc := range []struct{ id, master, address, transport, flags string }{
		{"press/kit", "alpha", p.master("alpha"), "MutualTLS", "--cert=" + node + "/tls.crt --key=" + node + "/tls.key --ca=" + node + "/ca.crt " +
			"--denied-cert=" + p.directory + "/unlisted.crt --denied-key=" + p.directory + "/unlisted.key"},
		{"mill/kit", "open", p.master("open", "--shared-certificate-file="+open), "ServerTLS",
			"--ca=" + p.mount("open-tls") + "/ca.crt --auth-cert=" + open + " " + another},
		{"kiln/kit", "bare", p.master("bare", "--shared-certificate-file="+bare), "Plaintext",
			"--auth-cert=" + bare + " " + another},
	} {
		t.Run(tc.transport, func(t *testing.T) {
			t.Parallel()
			args := append(strings.Fields(tc.flags), "--address="+tc.address, "--transport="+tc.transport, "--server-name="+p.serverName(tc.master), "--id="+tc.id,
				"--refused-version=0.0.1", "--alive-timeout=3s", "--handshake-timeout=3s", "--write-timeout=5s")
			if skipped := kit.Run(t.Context(), t, nil, append([]string{"master"}, args...)...); len(skipped) > 0 {
				t.Errorf("skipped: %q", skipped)
			}
		})
	}
}
