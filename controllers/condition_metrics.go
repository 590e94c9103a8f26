package controllers

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// shownConditions are those that alerts are made of.
var shownConditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionCertificateReady, v1alpha1.ConditionCertificateExpiring,
}

var conditionStatus = prometheus.NewDesc("refinery_operator_condition",
	"1 if a condition of a ClusterMaster or Refinery is True, 0 if it is False, Unknown or absent; with its reason, empty if it is absent.",
	[]string{"kind", "namespace", "name", "condition", "reason"}, nil)

// conditionMetrics holds the conditions of each object as the last pass left them. One collector shows all of them, so that no
// scrape finds a condition with two reasons, or with none, while its reason changes.
type conditionMetrics struct {
	mu sync.Mutex
	of map[conditionsOf][]metav1.Condition
}

// conditionsOf names an object.
type conditionsOf struct {
	kind string
	client.ObjectKey
}

func newConditionMetrics() *conditionMetrics {
	return &conditionMetrics{of: map[conditionsOf][]metav1.Condition{}}
}

// Set replaces what an object shows.
func (m *conditionMetrics) Set(kind string, key client.ObjectKey, conditions []metav1.Condition) {
	shown := make([]metav1.Condition, len(shownConditions))
	for i, name := range shownConditions {
		shown[i].Type = name
		if c := meta.FindStatusCondition(conditions, name); c != nil {
			shown[i].Status, shown[i].Reason = c.Status, c.Reason
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of[conditionsOf{kind, key}] = shown
}

// Forget drops an object.
func (m *conditionMetrics) Forget(kind string, key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, conditionsOf{kind, key})
}

// Describe implements prometheus.Collector.
func (m *conditionMetrics) Describe(to chan<- *prometheus.Desc) { to <- conditionStatus }

// Collect implements prometheus.Collector.
func (m *conditionMetrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for object, conditions := range m.of {
		for _, c := range conditions {
			value := 0.0
			if c.Status == metav1.ConditionTrue {
				value = 1
			}
			to <- prometheus.MustNewConstMetric(conditionStatus, prometheus.GaugeValue, value, object.kind, object.Namespace, object.Name, c.Type, c.Reason)
		}
	}
}
