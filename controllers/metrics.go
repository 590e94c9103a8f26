package controllers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// Metrics are what the operator tells of conditions and certificates: by ClusterMaster and Refinery, never by node.
type Metrics struct {
	*prometheus.Registry

	expiry, authorityExpiry, rotation *prometheus.GaugeVec
	renewals                          *prometheus.CounterVec
	active                            *prometheus.GaugeVec
	conditions                        *conditionMetrics
}

// NewMetrics returns metrics of nothing yet, in a registry of their own.
func NewMetrics() *Metrics {
	object := []string{"kind", "namespace", "name"}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_operator_certificate_expiry_timestamp_seconds",
			Help: "End of validity of the certificate in use, in Unix time."}, object),
		authorityExpiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_operator_authority_expiry_timestamp_seconds",
			Help: "End of validity of the certificate authority of a ClusterMaster, in Unix time."}, object[1:]),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refinery_operator_certificate_renewals_total",
			Help: "Certificates that replaced another, whoever issued them, since this operator started."}, object),
		rotation: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_operator_authority_rotation_phase",
			Help: "1 for the phase that the rotation of a ClusterMaster's authority is in, Preparing or Activating; none while there is no rotation."},
			[]string{"namespace", "name", "phase"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_operator_master_active",
			Help: "1 while a ClusterMaster has an active master, 0 while it has none."}, object[1:]),
		conditions: newConditionMetrics(),
	}
	m.MustRegister(m.expiry, m.authorityExpiry, m.renewals, m.rotation, m.active, m.conditions)
	return m
}

// Renewed counts a certificate that replaced another.
func (m *Metrics) Renewed(object client.Object) {
	m.renewals.WithLabelValues(kindOf(object), object.GetNamespace(), object.GetName()).Inc()
}

// Forget drops an object that is gone.
func (m *Metrics) Forget(object client.Object, key client.ObjectKey) {
	kind := kindOf(object)
	m.expiry.DeleteLabelValues(kind, key.Namespace, key.Name)
	m.renewals.DeleteLabelValues(kind, key.Namespace, key.Name)
	m.conditions.Forget(kind, key)
	if kind == KindMaster {
		m.authorityExpiry.DeleteLabelValues(key.Namespace, key.Name)
		m.active.DeleteLabelValues(key.Namespace, key.Name)
		m.rotation.DeletePartialMatch(prometheus.Labels{"namespace": key.Namespace, "name": key.Name})
	}
}

// ShowMaster records the status that a pass over a ClusterMaster leaves. Where no pods are wanted, none can be active.
func (m *Metrics) ShowMaster(key client.ObjectKey, status *v1alpha1.ClusterMasterStatus, wanted int32) {
	m.conditions.Set(KindMaster, key, status.Conditions)
	if wanted == 0 {
		m.active.DeleteLabelValues(key.Namespace, key.Name)
		return
	}
	active := 0.0
	if status.Active != nil && status.Active.Pod != "" {
		active = 1
	}
	m.active.WithLabelValues(key.Namespace, key.Name).Set(active)
}

// ShowRefinery records the status that a pass over a Refinery leaves.
func (m *Metrics) ShowRefinery(key client.ObjectKey, status *v1alpha1.RefineryStatus) {
	m.conditions.Set(KindRefinery, key, status.Conditions)
}

// ObserveRefinery records what a pass found about the certificate of a Refinery.
func (m *Metrics) ObserveRefinery(key client.ObjectKey, certificate *certificates.Finding) {
	m.observe(KindRefinery, key, certificate)
}

// observe records when the certificate that a pass found expires. The metric keeps its value if the pass did not look
// at the certificate, and if the certificate is missing or does not parse, so that an alert continues. The metric is
// deleted if no certificate is needed.
func (m *Metrics) observe(kind string, key client.ObjectKey, found *certificates.Finding) {
	m.renewals.WithLabelValues(kind, key.Namespace, key.Name) // 0 is shown, too
	switch {
	case found == nil:
	case found.Leaf != nil:
		m.expiry.WithLabelValues(kind, key.Namespace, key.Name).Set(float64(found.First().NotAfter.Unix()))
	case found.Condition.Status == metav1.ConditionTrue:
		m.expiry.DeleteLabelValues(kind, key.Namespace, key.Name)
	}
}

// ObserveMaster records what a pass found about a ClusterMaster. authorityEnd is zero if the pass did not look at the
// authority.
func (m *Metrics) ObserveMaster(key client.ObjectKey, found *rotation.Rotation, authorityEnd time.Time, certificate *certificates.Finding) {
	m.observe(KindMaster, key, certificate)
	if !authorityEnd.IsZero() {
		m.authorityExpiry.WithLabelValues(key.Namespace, key.Name).Set(float64(authorityEnd.Unix()))
	}
	if found == nil {
		return
	}
	for _, phase := range []pki.RotationPhase{pki.RotationPreparing, pki.RotationActivating} {
		if phase == found.Phase {
			m.rotation.WithLabelValues(key.Namespace, key.Name, string(phase)).Set(1)
		} else {
			m.rotation.DeleteLabelValues(key.Namespace, key.Name, string(phase))
		}
	}
}
