package controllers

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// Kinds of objects as metrics name them.
const (
	KindMaster   = "ClusterMaster"
	KindRefinery = "Refinery"
)

// Metrics are what the operator tells of certificates: by ClusterMaster and Refinery, never by node. They are a
// prometheus.Collector, since the time that is left runs between two passes.
type Metrics struct {
	clock clock.PassiveClock

	expiry, authorityExpiry, renewals, rotation *prometheus.Desc

	mu      sync.Mutex
	objects map[subject]*measured
}

// subject is an object that is measured.
type subject struct{ kind, namespace, name string }

// measured is what is known of one; zero times are not shown.
type measured struct {
	end, authorityEnd time.Time
	renewals          int
	phase             pki.RotationPhase
}

// NewMetrics returns metrics of nothing yet.
func NewMetrics(c clock.PassiveClock) *Metrics {
	object := []string{"kind", "namespace", "name"}
	return &Metrics{
		clock:   c,
		objects: map[subject]*measured{},
		expiry: prometheus.NewDesc("refinery_operator_certificate_expiry_seconds",
			"Seconds until the certificate in use expires; negative once it has.", object, nil),
		authorityExpiry: prometheus.NewDesc("refinery_operator_authority_expiry_seconds",
			"Seconds until the certificate authority of a ClusterMaster expires; negative once it has.", object[1:], nil),
		renewals: prometheus.NewDesc("refinery_operator_certificate_renewals_total",
			"Certificates that took the place of another, whoever issued them, since this operator has started.", object, nil),
		rotation: prometheus.NewDesc("refinery_operator_authority_rotation_phase",
			"1 for the phase that the rotation of a ClusterMaster's authority is in, Preparing or Activating; none while there is no rotation.",
			[]string{"namespace", "name", "phase"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.expiry, m.authorityExpiry, m.renewals, m.rotation} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	now := m.clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for of, is := range m.objects {
		if !is.end.IsZero() {
			to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, is.end.Sub(now).Seconds(), of.kind, of.namespace, of.name)
		}
		to <- prometheus.MustNewConstMetric(m.renewals, prometheus.CounterValue, float64(is.renewals), of.kind, of.namespace, of.name)
		if !is.authorityEnd.IsZero() {
			to <- prometheus.MustNewConstMetric(m.authorityExpiry, prometheus.GaugeValue, is.authorityEnd.Sub(now).Seconds(), of.namespace, of.name)
		}
		if is.phase != pki.RotationIdle {
			to <- prometheus.MustNewConstMetric(m.rotation, prometheus.GaugeValue, 1, of.namespace, of.name, string(is.phase))
		}
	}
}

// change is called with what is known of an object.
func (m *Metrics) change(kind string, key client.ObjectKey, change func(*measured)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := subject{kind, key.Namespace, key.Name}
	if m.objects[of] == nil {
		m.objects[of] = &measured{}
	}
	change(m.objects[of])
}

// kindOf is the kind of an object as metrics name it.
func kindOf(object client.Object) string {
	if _, ok := object.(*v1alpha1.ClusterMaster); ok {
		return KindMaster
	}
	return KindRefinery
}

// Renewed counts a certificate that took the place of another.
func (m *Metrics) Renewed(object client.Object) {
	m.change(kindOf(object), client.ObjectKeyFromObject(object), func(is *measured) { is.renewals++ })
}

// Forget drops an object that is gone.
func (m *Metrics) Forget(object client.Object, key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, subject{kindOf(object), key.Namespace, key.Name})
}

// inUse takes over the end of what was found. What is missing, or cannot be read, ends when the one before it does: an
// alert goes on. It ends where none is needed.
func (is *measured) inUse(found *certificates.Finding) {
	switch {
	case found.Leaf != nil:
		is.end = found.First().NotAfter
	case found.Condition.Status == metav1.ConditionTrue:
		is.end = time.Time{}
	}
}

// ObserveMaster takes over what a pass has found of a ClusterMaster. What it has not looked at stays as it was.
func (m *Metrics) ObserveMaster(key client.ObjectKey, found *rotation.Rotation, authorityEnd time.Time, certificate *certificates.Finding) {
	m.change(KindMaster, key, func(is *measured) {
		if found != nil {
			is.phase = found.Phase
		}
		if certificate != nil {
			is.inUse(certificate)
		}
		if !authorityEnd.IsZero() {
			is.authorityEnd = authorityEnd
		}
	})
}

// ObserveRefinery is ObserveMaster for a Refinery.
func (m *Metrics) ObserveRefinery(key client.ObjectKey, certificate *certificates.Finding) {
	m.change(KindRefinery, key, func(is *measured) {
		if certificate != nil {
			is.inUse(certificate)
		}
	})
}
