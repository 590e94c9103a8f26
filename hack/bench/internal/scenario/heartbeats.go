package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	heartbeatSessions = 1_000
	heartbeatWarmUp   = 500 * time.Millisecond
	heartbeatWindow   = 3 * time.Second

	heartbeatsText = `Heartbeats answered a second over 1,000 sessions on %s, each of which sends
the next as soon as the last is answered. The floor echoes what it reads. nats-server answers PING with PONG, mochi-mqtt PINGREQ with PINGRESP.`
)

func runHeartbeats(ctx context.Context, b *Bench) ([]report.Comparison, error) {
	own := string(subject.Refinery)
	var contests []contest
	for _, variant := range []struct {
		name, title string
		transport   subject.Transport
		subjects    []subject.Name
	}{
		{"heartbeats-plain", "Heartbeats, plain", subject.Plaintext, []subject.Name{subject.Refinery, subject.Floor, subject.NATS, subject.Mochi}},
		{"heartbeats-mtls", "Heartbeats, mutual TLS", subject.MutualTLS, []subject.Name{subject.Refinery, subject.Floor, subject.NATS}},
	} {
		setting := subject.Setting{Transport: variant.transport, Credentials: b.Credentials}
		goals := []report.Goal{ratio(own, string(subject.Floor), "heartbeats", 0.90, true)}
		for _, peer := range variant.subjects[2:] {
			goals = append(goals, ratio(own, string(peer), "heartbeats", 1, true))
		}
		contests = append(contests, contest{
			Comparison: report.Comparison{
				Name: variant.name, Title: variant.title, Text: fmt.Sprintf(heartbeatsText, carried(setting)), Goals: goals,
				Metrics: []report.Metric{
					{Name: "heartbeats", Unit: "1/s"}, {Name: "server CPU", Unit: "µs each", Digits: 1},
					{Name: "load CPU", Unit: "µs each", Digits: 1}, {Name: "server resident", Unit: "MB", Digits: 1},
				},
				Steady: report.Value{Subject: string(subject.Floor), Metric: "heartbeats"},
			},
			contenders: names(variant.subjects...),
			measure: func(ctx context.Context, contender string) ([]float64, error) {
				return b.withPair(ctx, subject.Name(contender), setting, b.measureHeartbeats)
			},
		})
	}
	return b.holdAll(ctx, contests)
}

func (b *Bench) measureHeartbeats(p *pair) ([]float64, error) {
	if err := p.open(b.sessions(heartbeatSessions)); err != nil {
		return nil, err
	}
	var done load.Beaten
	if err := p.load.Call("load.Beat", b.window(heartbeatWarmUp), &done); err != nil {
		return nil, err
	}
	spent, err := p.spent(func() error { return p.load.Call("load.Beat", b.window(heartbeatWindow), &done) })
	if err != nil {
		return nil, err
	}
	used, err := p.usage(false)
	return []float64{
		perSecond(done.Count, done.Elapsed), each(spent.server, done.Count), each(spent.load, done.Count), megabytes(used.Resident),
	}, err
}
