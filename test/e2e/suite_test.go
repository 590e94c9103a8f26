// Package e2e shows on a real Kubernetes cluster what the operator promises. See README.md.
package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gleak/goroutine"
)

// How long a step may take on a busy machine with two cores.
const (
	// installTimeout is for the operator's own rollout.
	installTimeout = 2 * time.Minute
	// startTimeout is for pods to be scheduled, started and authenticated.
	startTimeout = 2 * time.Minute
	// settleTimeout is for a change that needs no new pod to reach status.
	settleTimeout = time.Minute
	// propagationTimeout is for a changed Secret to reach a running pod's files, which the kubelet does in
	// its own time, and for the agent's next attempt after that.
	propagationTimeout = 3 * time.Minute
	// removalTimeout is for a namespace with running pods to be gone.
	removalTimeout = 2 * time.Minute
	// moment is for how long nothing may happen where it would at once.
	moment = 2 * time.Second
	// quietWindow is how long nothing may be written: more than two heartbeats of 10 s, and more than any
	// coalescing or retry.
	quietWindow = 25 * time.Second
	// specTimeout bounds one spec.
	specTimeout = 6 * time.Minute
)

// suiteFolder holds what the suite keeps between specs. It is removed at the end.
var suiteFolder string

func TestEndToEnd(t *testing.T) {
	if kubeconfigPath() == "" {
		t.Fatal("no cluster: E2E_KUBECONFIG and KUBECONFIG are empty; run `make test-e2e`, which starts the local cluster and sets them")
	}
	suiteFolder = t.TempDir()
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(settleTimeout)
	SetDefaultEventuallyPollingInterval(250 * time.Millisecond)
	SetDefaultConsistentlyPollingInterval(250 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "End to end")
	NewWithT(t).Eventually(leftRunning).WithTimeout(settleTimeout).Should(BeEmpty(), "what specs began goes on behind them")
}

// leftRunning are the goroutines that run code of this suite, apart from the test itself.
func leftRunning() (left []goroutine.Goroutine) {
	for _, g := range goroutine.Goroutines() {
		if strings.Contains(g.Backtrace, "/test/e2e.") && g.ID != goroutine.Current().ID {
			left = append(left, g)
		}
	}
	return left
}

func kubeconfigPath() string {
	if path := os.Getenv("E2E_KUBECONFIG"); path != "" {
		return path
	}
	return os.Getenv("KUBECONFIG")
}

// before is the installation that the suite took the place of; nil: none.
var before *release

var _ = SynchronizedBeforeSuite(func(ctx context.Context) {
	connect()
	requireLocalNode(ctx)
	before = setAside(ctx)
	applyManager(ctx)
}, func() {
	connect()
})

// What a spec leaves is removed in the background; here it is shown to be gone, so that a finalizer or a
// pod that hangs fails the suite.
var _ = SynchronizedAfterSuite(func() {}, func(ctx context.Context) {
	waitForRemovals(ctx, "")
	removeManager(ctx)
	before.putBack(ctx)
})
