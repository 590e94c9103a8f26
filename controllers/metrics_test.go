package controllers_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// linesOf are the metrics as they are scraped, without the prefix that all have.
func linesOf(m *controllers.Metrics) (lines []string) {
	page := httptest.NewRecorder()
	promhttp.HandlerFor(m, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "refinery_operator_")))
		}
	}
	return lines
}

func TestMetricsTellOfEachCertificateUntilItsObjectIsGone(t *testing.T) {
	m := controllers.NewMetrics()
	master, refinery := &v1alpha1.ClusterMaster{}, &v1alpha1.Refinery{}
	master.Namespace, master.Name = "plant", "alpha"
	refinery.Namespace, refinery.Name = "plant", "press"
	leaf := passtest.Lasting(90*passtest.Day, 90*passtest.Day)
	authorityEnd := passtest.Now.Add(3650 * passtest.Day)
	phase, end, served := pki.RotationActivating, authorityEnd, &certificates.Finding{Leaf: leaf}
	observeMaster := func() {
		m.ObserveMaster(client.ObjectKeyFromObject(master), &rotation.Rotation{State: rotation.State{Phase: phase}}, end, served)
	}
	observeRefinery := func(found *certificates.Finding) { m.ObserveRefinery(client.ObjectKeyFromObject(refinery), found) }
	observeMaster()
	observeRefinery(&certificates.Finding{Leaf: leaf})
	m.Renewed(refinery)
	m.Renewed(refinery)
	unix := func(t time.Time) string { return strconv.FormatFloat(float64(t.Unix()), 'g', -1, 64) }
	shows := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, linesOf(m)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	shows("at first",
		`authority_expiry_timestamp_seconds{name="alpha",namespace="plant"} `+unix(authorityEnd),
		`authority_rotation_phase{name="alpha",namespace="plant",phase="Activating"} 1`,
		`certificate_expiry_timestamp_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} `+unix(leaf.NotAfter),
		`certificate_expiry_timestamp_seconds{kind="Refinery",name="press",namespace="plant"} `+unix(leaf.NotAfter),
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	renewed := &x509.Certificate{NotAfter: leaf.NotAfter.Add(time.Hour)}
	phase, served = pki.RotationIdle, &certificates.Finding{Leaf: renewed}
	observeRefinery(nil) // a pass that did not come to the certificate
	observeMaster()
	shows("later",
		`authority_expiry_timestamp_seconds{name="alpha",namespace="plant"} `+unix(authorityEnd),
		`certificate_expiry_timestamp_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} `+unix(renewed.NotAfter),
		`certificate_expiry_timestamp_seconds{kind="Refinery",name="press",namespace="plant"} `+unix(leaf.NotAfter),
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	served, end = &certificates.Finding{}, time.Time{} // no longer there, or no good
	observeRefinery(&certificates.Finding{Condition: certificates.NotReady(v1alpha1.ReasonNotPEM, "garbage")})
	observeMaster()
	shows("gone, and unreadable",
		`authority_expiry_timestamp_seconds{name="alpha",namespace="plant"} `+unix(authorityEnd),
		`certificate_expiry_timestamp_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} `+unix(renewed.NotAfter),
		`certificate_expiry_timestamp_seconds{kind="Refinery",name="press",namespace="plant"} `+unix(leaf.NotAfter),
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	phase = pki.RotationPreparing
	observeMaster()
	observeRefinery(&certificates.Finding{Condition: certificates.Ready(v1alpha1.ReasonNotRequired, "transport Plaintext has no certificates")})
	m.Forget(&v1alpha1.ClusterMaster{}, client.ObjectKeyFromObject(master))
	shows("no certificate is needed, no master", `certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)
	m.Forget(&v1alpha1.Refinery{}, client.ObjectKeyFromObject(refinery))
	shows("all gone")
}
