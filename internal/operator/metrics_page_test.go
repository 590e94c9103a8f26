package operator

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/metricstest"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

func TestThePageOfMetricsHasThoseOfTheOperator(t *testing.T) {
	p, err := newProcess(Options{Release: Release{Namespace: "refinery-system", Name: "refinery-operator"}}, &rest.Config{}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	m := controllers.NewMetrics()
	registry := prometheus.NewRegistry()
	registry.MustRegister(append(p.collectors(), m)...)
	p.namespaces.watched.WithLabelValues("plant")
	p.claims.held.WithLabelValues("plant")
	alpha := client.ObjectKey{Namespace: "plant", Name: "alpha"}
	m.ObserveMaster(alpha, &rotation.Rotation{State: rotation.State{Phase: pki.RotationPreparing}}, time.Now(), &certificates.Finding{Leaf: &x509.Certificate{}})
	m.ShowMaster(alpha, &v1alpha1.ClusterMasterStatus{}, 1)
	metricstest.Check(t, registry, "refinery_operator_")
}
