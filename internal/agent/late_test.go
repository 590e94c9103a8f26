package agent

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
)

func TestANodeWhoseMasterDoesNotAnswerMovesToAnotherWithoutANotReadyMoment(t *testing.T) {
	t.Parallel()
	first := newSite(t)
	second := newMaster(t, first.ca)
	second.accept(first.pair.certificate)
	service := atomic.Pointer[string]{}
	service.Store(&first.address)
	n := startNodeWith(t, first.config, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, *service.Load())
	})
	n.awaitReady(t)
	_, _, since := n.loop.readiness.get()

	first.freeze(t)
	eventually(t, "the node has dialed again and not come through", func() bool { return n.log.count("no new session yet; keeping the one there is") == 1 })
	service.Store(&second.address)
	second.await(t, first.config.ID)
	if ready, detail, now := n.loop.readiness.get(); !ready || !now.Equal(since) {
		t.Errorf("readiness changed meanwhile: ready=%v since %v, not %v: %s", ready, now, since, detail)
	}
	if !n.metric(t, "refinery_agent_reconnects_total 0") {
		t.Error("a session was lost meanwhile")
	}
}
