package master

import (
	"testing"

	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/metricstest"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestThePageOfMetricsHasThoseOfAMaster(t *testing.T) {
	l, d, m := newLedger(t, 2), newDirectory(clock.RealClock{}), newMetrics()
	d.SetRefinery(admittest.Refinery("press", func(*v1alpha1.Refinery) {}))
	m.registry.MustRegister(&refineryMetrics{directory: d, registry: l.registry})
	m.lead(1, l.registry)
	c, _ := l.enter("press/a")
	l.Reported(c, said{Load: 0.5, Loaded: true})
	l.refuse("press/b")
	m.handshakes.WithLabelValues(v1alpha1.ReasonAuthenticated)
	m.ended.WithLabelValues(v1alpha1.ReasonSilent)
	m.observe(protocol.Stats{})
	m.refusal(nil, protocol.ErrTLS)
	m.wrote("Refinery", "ok", 0)
	m.tookOver(0, move{})
	metricstest.Check(t, m.registry, "refinery_master_")
}
