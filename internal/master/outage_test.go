package master

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// line is a way to the API server that can be cut.
type line struct {
	mu   sync.Mutex
	down bool
	open []net.Conn
}

func (l *line) through(_ *Options, c *rest.Config) {
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.down {
			return nil, errors.New("the line is cut")
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			l.open = append(l.open, conn)
		}
		return conn, err
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.open {
		_ = conn.Close()
	}
	l.open = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// linked gives masters a link to each other; each call is for one more master.
func (p *plant) linked(masters int) func(*Options, *rest.Config) {
	pair := mounted(p.T, pkitest.NewAuthority("peers"))
	addresses := make([]string, masters)
	for i := range addresses {
		addresses[i] = loopback.Reserve(p.T)
	}
	next := 0
	return func(o *Options, _ *rest.Config) {
		o.Peers, o.PeerListen, o.PeerCertificateDirectory = addresses, addresses[next], pair
		next++
	}
}

// outlast waits until the Lease that a master renewed last before the call has ended, and a bit.
func (p *plant) outlast(m *process) {
	p.Helper()
	from := m.clock.Now()
	p.until("the Lease over", func() bool { return m.clock.Since(from) > p.lease+2*time.Second })
}

func (m *process) count() int {
	t := m.activeTerm()
	if t == nil {
		return -1
	}
	return t.registry.Count()
}

func TestAMasterServesOnWhileTheAPIServerIsAway(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Replicas: ptr.To[int32](1)})
	p.lease = 2 * time.Second
	press, pump := p.refinery("press", 2), p.refinery("pump", 1)
	var line line
	m := p.start("alpha-0", line.through)
	p.node(m, "press/a", press)
	p.node(m, "pump/a", pump)
	p.eventually("press", "authenticated", shows("1/2", v1alpha1.ReasonPartiallyAuthenticated))
	p.eventually("pump", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	term := m.activeTerm()

	line.cut()
	p.outlast(m)
	p.list("pump") // which this master cannot know
	p.node(m, "press/b", press)
	p.until("a node let in meanwhile", func() bool { return m.count() == 3 })
	if !m.isReady() {
		t.Error("it is not ready")
	}
	pumps := p.get("pump")

	line.mend()
	p.until("the revoked certificate noticed", func() bool { return m.count() == 2 })
	p.eventually("press", "both", shows("2/2", v1alpha1.ReasonAuthenticated))
	p.eventually("pump", "out", func(r *v1alpha1.Refinery) bool {
		return r.ResourceVersion != pumps.ResourceVersion && r.Status.Authenticated.Nodes == 0
	})
	if m.activeTerm() != term {
		t.Error("it is another term")
	}
}

func TestAMasterThatMayNotServeWithoutTheAPIServerSendsItsNodesAway(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Replicas: ptr.To[int32](1), APIServerOutageSeconds: ptr.To[int32](0)})
	p.lease = 2 * time.Second
	press := p.refinery("press", 1)
	var line line
	m := p.start("alpha-0", line.through)
	p.node(m, "press/a", press)
	p.until("in session", func() bool { return m.count() == 1 })
	line.cut()
	p.until("standing by", func() bool { return m.activeTerm() == nil && !listens(m.address) })
	line.mend()
	p.until("serving again", func() bool { return m.count() == 1 })
}

func TestMastersThatBothLostTheAPIServerLeaveTheNodesWhereTheyAre(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.lease = 2 * time.Second
	press := p.refinery("press", 2)
	var line line
	link := p.linked(2)
	m := p.start("alpha-0", line.through, link)
	p.node(m, "press/a", press)
	p.until("in session", func() bool { return m.count() == 1 })
	standby := p.start("alpha-1", line.through, link)
	p.until("the standby is ready", func() bool { return standby.ready() == nil })
	term := m.activeTerm()

	line.cut()
	p.outlast(m)
	p.node(m, "press/b", press)
	p.until("a node let in meanwhile", func() bool { return m.count() == 2 })
	line.mend()
	p.eventually("press", "both", shows("2/2", v1alpha1.ReasonAuthenticated))
	p.outlast(m) // in which a standby would take over
	if m.activeTerm() != term || standby.activeTerm() != nil {
		t.Error("the standby took over from a master that waited for the same API server")
	}
}

func TestAMasterThatAloneLostTheAPIServerLetsNobodyInAndIsTold(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.lease = 2 * time.Second
	press := p.refinery("press", 1)
	var line line
	link := p.linked(2)
	m := p.start("alpha-0", line.through, link)
	p.node(m, "press/a", press)
	p.until("in session", func() bool { return m.count() == 1 })
	term := m.activeTerm()
	standby := p.start("alpha-1", link)
	p.until("the standby is ready", func() bool { return standby.ready() == nil })

	line.cut()
	p.until("the standby active", func() bool { return standby.activeTerm() != nil })
	p.until("the former master told", func() bool { return m.activeTerm() == nil })
	select {
	case <-term.superseded:
	default:
		t.Error("the former master ended its term by itself")
	}
	if term.permit.MayAdmit() && listens(m.address) {
		t.Error("two masters let nodes in")
	}
}

func TestAMasterThatCannotAskTheOthersLetsNobodyInAndThenSendsItsNodesAway(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.lease = 2 * time.Second
	press := p.refinery("press", 1)
	var line line
	m := p.start("alpha-0", line.through, p.linked(2)) // the other one never answers
	p.node(m, "press/a", press)
	p.until("in session", func() bool { return m.count() == 1 })
	term := m.activeTerm()
	line.cut()
	p.until("nobody let in", func() bool { return !term.permit.MayAdmit() })
	if m.activeTerm() == nil {
		t.Error("the sessions ended with the Lease")
	}
	p.until("the sessions ended", func() bool { return m.activeTerm() == nil && !listens(m.address) })
	line.mend()
	p.until("serving again", func() bool { return m.count() == 1 })
}
