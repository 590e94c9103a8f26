package master

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	ac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// statusWrites is an API server that takes status writes, and notes when each came and what it says.
type statusWrites struct {
	client.Client
	begin time.Time
	mu    sync.Mutex
	all   []string
}

func (w *statusWrites) Status() client.SubResourceWriter { return statusWriter{statusWrites: w} }

type statusWriter struct {
	client.SubResourceWriter
	*statusWrites
}

func (w statusWriter) Apply(_ context.Context, applied runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch a := applied.(type) {
	case *ac.RefineryApplyConfiguration:
		w.all = append(w.all, fmt.Sprintf("%s %s after %v", *a.Name, *a.Status.Authenticated.Summary, time.Since(w.begin)))
	case *ac.ClusterMasterApplyConfiguration:
		w.all = append(w.all, fmt.Sprintf("totals %s after %v", *a.Status.Refineries.Summary, time.Since(w.begin)))
	}
	return nil
}

// Transitions of one Refinery are gathered for 100 ms, totals for a second, and what is written is the latest.
func TestTransitionsAreGatheredIntoOneWrite(t *testing.T) {
	const moment = time.Millisecond
	for _, test := range []struct {
		name    string
		entered []time.Duration // when each node was authenticated
		want    []string
	}{
		{"one", []time.Duration{0}, []string{"press 1/3 after 100ms", "totals 0/1 after 1s"}},
		{"the last just in time", []time.Duration{0, 50 * moment, 99 * moment}, []string{"press 3/3 after 100ms", "totals 1/1 after 1s"}},
		{"the last just too late", []time.Duration{0, 50 * moment, 101 * moment},
			[]string{"press 2/3 after 100ms", "press 3/3 after 201ms", "totals 1/1 after 1s"}},
		{"after the totals were written", []time.Duration{0, 50 * moment, 1001 * moment},
			[]string{"press 2/3 after 100ms", "totals 0/1 after 1s", "press 3/3 after 1.101s", "totals 1/1 after 2.001s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				writes := &statusWrites{begin: time.Now()}
				directory := newDirectory(clocktesting.NewFakeClock(late.Time))
				directory.SetMaster(&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}})
				directory.SetRefinery(refineryOf(3))
				var reporter *reporter
				ledger := &ledger{T: t, registry: newRegistry(clock.RealClock{}, func(name string, after time.Duration) { reporter.Changed(name, after) })}
				reporter = newReporter(writes, directory, ledger.registry, func() reportedCertificates { return reportedCertificates{} }, tenure{Pod: "alpha-0", Epoch: 1}, nil,
					newMetrics(), clock.RealClock{}, logr.Discard(), permitted(clock.RealClock{}), func() { t.Error("deposed") })
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { reporter.Run(ctx) })
				for i, at := range test.entered {
					time.Sleep(time.Until(writes.begin.Add(at)))
					ledger.enter(fmt.Sprintf("press/%d", i))
				}
				time.Sleep(time.Minute) // With nothing more to write.
				cancel()
				running.Wait()
				if diff := gocmp.Diff(test.want, writes.all); diff != "" {
					t.Errorf("status writes (-want +got):\n%s", diff)
				}
			})
		})
	}
}
