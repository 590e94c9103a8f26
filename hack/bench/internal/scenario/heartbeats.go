package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	heartbeatSessions = 1_000
	heartbeatWarmUp   = 500 * time.Millisecond
	heartbeatWindow   = 2 * time.Second // of each turn

	heartbeatsText = `Heartbeats answered a second over 1,000 sessions on %s, each of which sends
the next as soon as the last is answered. The floor echoes what it reads. nats-server answers PING with PONG, mochi-mqtt PINGREQ with PINGRESP.
Each beats for 4 s in all: the refinery and the floor in two turns each, side by side, as the machine's noise is as large as what is between them.`
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
			contenders:  names(variant.subjects...),
			measure:     b.alone(setting, func(pairs []*pair) ([][]float64, error) { return b.measureHeartbeats(pairs, 0, 0) }),
			measureBoth: b.sideBySide(setting, func(pairs []*pair) ([][]float64, error) { return b.measureHeartbeats(pairs, 0, 1, 1, 0) }),
		})
	}
	return b.holdAll(ctx, contests)
}

func (b *Bench) measureHeartbeats(pairs []*pair, turns ...int) ([][]float64, error) {
	values := make([][]float64, len(pairs))
	beat := func(window time.Duration) func(*pair, *load.Beaten) error {
		return func(p *pair, done *load.Beaten) error { return p.load.Call("load.Beat", b.window(window), done) }
	}
	for _, p := range pairs {
		if err := p.open(b.sessions(heartbeatSessions)); err != nil {
			return values, err
		}
		if err := beat(heartbeatWarmUp)(p, &load.Beaten{}); err != nil {
			return values, err
		}
	}
	beaten, spent, err := inTurns(pairs, turns, beat(heartbeatWindow))
	for i, p := range pairs {
		used, failure := p.usage(false)
		err = errors.Join(err, failure)
		values[i] = []float64{
			perSecond(beaten[i].Count, beaten[i].Elapsed), each(spent[i].server, beaten[i].Count), each(spent[i].load, beaten[i].Count),
			megabytes(used.Resident),
		}
	}
	return values, err
}
