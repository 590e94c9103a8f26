package controllers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

func TestMetricsTellOfEachCertificateUntilItsObjectIsGone(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(statusTime)
	m := NewMetrics(clk)
	authority := testAuthority(t)
	leaf := testLeaf(t, authority)
	master := masterPassOf(func(s *masterPass) {
		s.authority = goodAuthority(authority)
		s.certificate.Leaf = leaf.Certificate
		s.rotation = &rotation.Rotation{State: rotation.State{Phase: pki.RotationActivating}}
	})
	refinery := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"}}
	observeMaster := func() {
		m.observeMaster(client.ObjectKeyFromObject(master.master), master.rotation, master.authority, master.servedCertificate())
	}
	observeRefinery := func(found *certificates.Finding) { m.observeRefinery(client.ObjectKeyFromObject(refinery), found) }
	observeMaster()
	observeRefinery(&certificates.Finding{Leaf: leaf.Certificate})
	m.renewed(refinery)
	m.renewed(refinery)
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
	master.rotation = &rotation.Rotation{}
	observeRefinery(nil) // a pass that did not come to the certificate
	observeMaster()
	shows("later",
		`authority_expiry_seconds{name="alpha",namespace="plant"} 3.0758394e+08`,
		`certificate_expiry_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} -60`,
		`certificate_expiry_seconds{kind="Refinery",name="press",namespace="plant"} -60`,
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	master.certificate = &certificates.Finding{} // no longer there, or no good
	master.authority = &authorityFound{problem: &pki.Problem{Reason: v1alpha1.ReasonAuthorityNotReady, Message: "expired"}}
	observeRefinery(&certificates.Finding{Condition: certificates.NotReady(v1alpha1.ReasonNotPEM, "garbage")})
	observeMaster()
	shows("expired, and unreadable",
		`authority_expiry_seconds{name="alpha",namespace="plant"} 3.0758394e+08`,
		`certificate_expiry_seconds{kind="ClusterMaster",name="alpha",namespace="plant"} -60`,
		`certificate_expiry_seconds{kind="Refinery",name="press",namespace="plant"} -60`,
		`certificate_renewals_total{kind="ClusterMaster",name="alpha",namespace="plant"} 0`,
		`certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)

	observeRefinery(&certificates.Finding{Condition: certificates.Ready(v1alpha1.ReasonNotRequired, "transport Plaintext has no certificates")})
	m.forget(&v1alpha1.ClusterMaster{}, client.ObjectKeyFromObject(master.master))
	shows("no certificate is needed, no master", `certificate_renewals_total{kind="Refinery",name="press",namespace="plant"} 2`)
	m.forget(&v1alpha1.Refinery{}, client.ObjectKeyFromObject(refinery))
	shows("all gone")
}
