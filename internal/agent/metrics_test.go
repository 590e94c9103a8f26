package agent

import (
	"testing"

	"github.com/refinery-operator/refinery-operator/internal/metricstest"
)

func TestThePageOfMetricsHasThoseOfAnAgent(t *testing.T) {
	metricstest.Check(t, newMetrics().registry, "refinery_agent_")
}
