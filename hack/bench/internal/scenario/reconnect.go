package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	reconnectSessions = 10_000
	reconnectRate     = 2 * time.Second // how long the handshake rate is measured
	reconnectPatience = time.Minute

	// reconnectSlack: allowed are 1.25 times what the handshakes take one after the other, and a window of jitter.
	reconnectSlack = 1.25
	// reconnectWindow is the window that a fleet of known size needs, so that the server is half loaded: sessions ÷ half the handshake rate.
	reconnectWindow = 2.0

	reconnectText = `10,000 sessions over mutual TLS with the default curves are open when the master is killed (SIGKILL) and started again at once on the same port. Every node is protocol.Client and
comes back by the schedule of the agent (internal/agent/backoff): 500 ms of full jitter, doubled with each failure up to 30 s. Counted from the kill. The handshake rate is measured on the
same server just before. Allowed are 1.25 × (sessions ÷ handshake rate) and one jitter window for a fleet of that size, sessions ÷ (half the handshake rate).
Attempts for each node are more than one as the first finds no server, and some a line that is full.`
)

func reconnectContests(b *Bench) []*contest {
	setting := subject.Setting{Transport: subject.MutualTLS, Credentials: b.Credentials}
	return []*contest{{
		Comparison: report.Comparison{
			Name: "reconnect", Title: "Reconnecting after the master was killed", Text: reconnectText,
			Metrics: []report.Metric{
				{Name: "99 % back", Unit: "s", Digits: 1}, {Name: "allowed", Unit: "s", Digits: 1},
				{Name: "of it without the window", Unit: "s", Digits: 1}, {Name: "half back", Unit: "s", Digits: 1},
				{Name: "all back", Unit: "s", Digits: 1}, {Name: "handshakes", Unit: "1/s"}, {Name: "attempts", Unit: "each", Digits: 1},
				{Name: "server CPU", Unit: "s", Digits: 1}, {Name: "server resident", Unit: "MB"},
			},
			Goals: []report.Goal{{
				Of: report.Value{Subject: subject.Refinery, Metric: "99 % back"}, To: report.Value{Subject: subject.Refinery, Metric: "allowed"}, Bound: 1,
			}},
		},
		contenders: []string{subject.Refinery}, rounds: 1, share: 105 * time.Second,
		start: func(ctx context.Context, name string) (*contender, error) {
			address, err := fixedAddress()
			if err != nil {
				return nil, err
			}
			r, err := b.startRig(ctx, name, setting, address, b.warmUpHandshakes)
			if err != nil {
				return nil, err
			}
			return &contender{turn: func() ([]float64, error) { return b.measureReconnect(ctx, r) }, close: r.close}, nil
		},
	}}
}

func (b *Bench) measureReconnect(ctx context.Context, r *rig) ([]float64, error) {
	nodes := b.sessions(reconnectSessions)
	done, err := handshake(r, b.window(reconnectRate))
	if err != nil {
		return nil, err
	}
	rate := perSecond(done)
	if err := r.load.Call("load.Fleet", nodes, nil); err != nil {
		return nil, err
	}
	if err := r.load.Call("load.Kill", struct{}{}, nil); err != nil {
		return nil, err
	}
	killed := time.Now()
	r.profile = "" // It is killed with the server.
	if err := errors.Join(r.server.Kill(), r.startServer(ctx, r.address)); err != nil {
		return nil, fmt.Errorf("restart: %w", err)
	}
	var returned load.Returned
	if err := r.load.Call("load.Await", load.Await{Since: killed, For: reconnectPatience}, &returned); err != nil {
		return nil, err
	}
	used, err := r.used()
	if err != nil {
		return nil, err
	}
	memory, err := r.memory(false)
	back := func(part float64) float64 { return returned.After[min(int(part*float64(nodes)), nodes-1)].Seconds() }
	oneByOne := float64(nodes) / rate
	return []float64{
		back(0.99), (reconnectSlack + reconnectWindow) * oneByOne, reconnectSlack * oneByOne, back(0.5), back(1), rate,
		float64(returned.Attempts) / float64(nodes), used.server.Seconds(), megabytes(memory.Resident),
	}, err
}

// fixedAddress is a loopback address that is free, with a port that no dialing socket is given while the server is away.
func fixedAddress() (string, error) {
	var err error
	for range 20 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
}
