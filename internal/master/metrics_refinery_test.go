package master

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func TestMetricsOfARefineryLastAsLongAsIt(t *testing.T) {
	f := newFloor(t)
	m := f.sessions.metrics
	m.registry.MustRegister(&refineryMetrics{directory: f.directory, registry: f.registry})
	expect := func(when string, want ...string) {
		t.Helper()
		shown := slices.DeleteFunc(scraped(m), func(line string) bool { return !strings.Contains(line, "refinery=") })
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	f.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Replicas = ptr.To[int32](3) }, f.press)
	f.setRefinery("pump", func(r *v1alpha1.Refinery) { r.Spec.Replicas = ptr.To[int32](2) }, f.pump)
	f.joined(f.press, "press/a")
	if f.refusal(f.press, "pump/x") == nil {
		t.Fatal("let in")
	}
	expect("one authenticated, one denied",
		`denied_handshakes_total{reason="IDMismatch",refinery="press"} 1`,
		`nodes_authenticated{refinery="press"} 1`, `nodes_authenticated{refinery="pump"} 0`,
		`nodes_wanted{refinery="press"} 3`, `nodes_wanted{refinery="pump"} 2`)
	opening := &dto.Metric{}
	if err := m.opening.Write(opening); err != nil {
		t.Fatal(err)
	}
	if count := opening.GetHistogram().GetSampleCount(); count != 1 {
		t.Errorf("the time of %d openings was observed, want that of the one that let a node in", count)
	}

	f.setRefinery("pump", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, f.pump)
	f.directory.DeleteRefinery("press")
	expect("one suspended, one deleted", `nodes_authenticated{refinery="pump"} 0`, `nodes_wanted{refinery="pump"} 0`)
}
