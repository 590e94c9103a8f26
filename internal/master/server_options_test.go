package master

import (
	"testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestTheBoundPerSourceIsThatOfTheSpecAndElseThatOfTheProtocol(t *testing.T) {
	for chosen, want := range map[int32]int{0: protocol.DefaultMaxHandshakesPerSource, 5000: 5000} {
		m := &v1alpha1.ClusterMaster{}
		m.Spec.Protocol.MaxHandshakesPerSource = chosen
		term := &activeTerm{master: &Master{certificates: &certificates{}}, permit: &permit{}}
		if o := term.serverOptions(admit.NewPolicy(m)); o.MaxHandshakesPerSource != want {
			t.Errorf("with %d in the spec: %d, want %d", chosen, o.MaxHandshakesPerSource, want)
		}
	}
}
