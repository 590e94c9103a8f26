package agent

import (
	"testing"

	"github.com/refinery-operator/refinery-operator/internal/metricstest"
	"github.com/refinery-operator/refinery-operator/internal/relay"
)

func TestThePageOfMetricsHasThoseOfAnAgent(t *testing.T) {
	m := newMetrics()
	m.addRelay(&relay.New(relay.Options{}).Counters) // as with --relay-address
	metricstest.Check(t, m.registry, "refinery_agent_")
}
