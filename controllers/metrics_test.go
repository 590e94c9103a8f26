package controllers_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

func TestMetricsTellOfEachCertificateUntilItsObjectIsGone(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(passtest.Now)
	m := controllers.NewMetrics(clk)
	master, refinery := &v1alpha1.ClusterMaster{}, &v1alpha1.Refinery{}
	master.Namespace, master.Name = "plant", "alpha"
	refinery.Namespace, refinery.Name = "plant", "press"
	leaf := passtest.Lasting(90*passtest.Day, 90*passtest.Day)
	phase, authorityEnd, served := pki.RotationActivating, passtest.Now.Add(3650*passtest.Day), &certificates.Finding{Leaf: leaf}
	observeMaster := func() {
		m.ObserveMaster(client.ObjectKeyFromObject(master), &rotation.Rotation{State: rotation.State{Phase: phase}}, authorityEnd, served)
	}
	observeRefinery := func(found *certificates.Finding) { m.ObserveRefinery(client.ObjectKeyFromObject(refinery), found) }
	observeMaster()
	observeRefinery(&certificates.Finding{Leaf: leaf})
	m.Renewed(refinery)
	m.Renewed(refinery)
	registry := prometheus.NewRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	shows := func(when string, want ...string) {
		t.Helper()
		page := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		var got []string
		for line := range strings.Lines(page.Body.String()) {
			if !strings.HasPrefix(line, "#") {
				got = append(got, strings.TrimSpace(strings.TrimPrefix(line, "refinery_operator_")))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	shows("at first",
		`authority_expiry_seconds{name="alpha",namespace="plant"} 3.1536e+08`,
		`authority_rotation_phase{name="alpha",namespace="plant",phase="Activating"} 1`,
		`certificate_expiry_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} 7.776e+06`,
		`certificate_expiry_seconds{kind="Refinery",name="press",namespace="plant"} 7.776e+06`,
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	clk.SetTime(leaf.NotAfter.Add(time.Minute))
	phase = pki.RotationIdle
	observeRefinery(nil) // a pass that did not come to the certificate
	observeMaster()
	shows("later",
		`authority_expiry_seconds{name="alpha",namespace="plant"} 3.0758394e+08`,
		`certificate_expiry_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} -60`,
		`certificate_expiry_seconds{kind="Refinery",name="press",namespace="plant"} -60`,
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	served, authorityEnd = &certificates.Finding{}, time.Time{} // no longer there, or no good
	observeRefinery(&certificates.Finding{Condition: certificates.NotReady(v1alpha1.ReasonNotPEM, "garbage")})
	observeMaster()
	shows("expired, and unreadable",
		`authority_expiry_seconds{name="alpha",namespace="plant"} 3.0758394e+08`,
		`certificate_expiry_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} -60`,
		`certificate_expiry_seconds{kind="Refinery",name="press",namespace="plant"} -60`,
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	observeRefinery(&certificates.Finding{Condition: certificates.Ready(v1alpha1.ReasonNotRequired, "transport Plaintext has no certificates")})
	m.Forget(&v1alpha1.ClusterMaster{}, client.ObjectKeyFromObject(master))
	shows("no certificate is needed, no master", `certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)
	m.Forget(&v1alpha1.Refinery{}, client.ObjectKeyFromObject(refinery))
	shows("all gone")
}
