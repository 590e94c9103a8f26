package agent

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

func TestADeniedNodeSaysWhenItsCertificateIsValidAndWhatItsClockShows(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	m.accept()
	n := startNode(t, m.config)
	n.awaitReason(t, "denied by the master (auth:dec)")
	_, body := n.get(t, "health-address", "/readyz")
	instant := `20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	if !regexp.MustCompile("the node's certificate is valid from " + instant + " to " + instant + `.*the clock of this machine shows ` + instant).MatchString(body) {
		t.Error(body)
	}
}

func TestANodeSaysThatTheMastersCertificateIsNotValidByItsClock(t *testing.T) {
	t.Parallel()
	from := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	ca := newAuthority(t)
	m := newMasterWith(t, ca, "127.0.0.1:0", pkitest.Valid(from, from.Add(time.Hour)))
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, ca.issue(t).files(ca))
	n := startNode(t, config)
	said := "a certificate of the master is valid from " + from.Format(time.RFC3339) + " to " + from.Add(time.Hour).Format(time.RFC3339) +
		", which is not now by the clock of this machine"
	n.awaitReason(t, said)
	eventually(t, "it tries again", func() bool {
		return !n.metric(t, `refinery_agent_handshakes_total{result="tls_failed"} 0`) && !n.metric(t, `refinery_agent_handshakes_total{result="tls_failed"} 1`)
	})
	if lines := n.log.count(said); lines != 1 {
		t.Errorf("said %d times in the log", lines)
	}
	if status, body := n.get(t, "health-address", "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s", status, body)
	}
}
