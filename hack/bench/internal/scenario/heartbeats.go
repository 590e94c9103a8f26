package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	heartbeatSessions = 1_000
	heartbeatWarmUp   = 300 * time.Millisecond

	heartbeatsText = `Heartbeats answered a second over 1,000 sessions on %s, each of which sends
the next as soon as the last is answered. The floor echoes what it reads. nats-server answers PING with PONG, mochi-mqtt PINGREQ with PINGRESP.`
)

func heartbeatContests(b *Bench) []*contest {
	timing := timing{leadIn: beat, lead: 50 * time.Millisecond, work: beat, window: 400 * time.Millisecond, count: 200 * time.Millisecond}
	own := string(subject.Refinery)
	var contests []*contest
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
		contests = append(contests, &contest{
			Comparison: report.Comparison{
				Name: variant.name, Title: variant.title, Text: fmt.Sprintf(heartbeatsText, carried(setting)), Goals: goals,
				Floor: string(subject.Floor),
				Metrics: append([]report.Metric{
					{Name: "heartbeats", Unit: "1/s"}, {Name: "server CPU", Unit: "µs each", Digits: 1},
					{Name: "load CPU", Unit: "µs each", Digits: 1}, {Name: "server resident", Unit: "MB", Digits: 1},
				}, b.countMetrics()...),
			},
			contenders: subjects(variant.subjects...), rounds: 2, share: 75 * time.Second,
			start: func(ctx context.Context, name string) (*contender, error) {
				return b.startHeartbeats(ctx, subject.Name(name), setting, timing)
			},
		})
	}
	return contests
}

func (b *Bench) startHeartbeats(ctx context.Context, name subject.Name, setting subject.Setting, t timing) (*contender, error) {
	r, err := b.startRig(ctx, name, setting, "")
	if err != nil {
		return nil, err
	}
	if err := r.open(b.sessions(heartbeatSessions)); err != nil {
		return nil, r.abandon(err)
	}
	if _, err := beat(r, b.window(heartbeatWarmUp)); err != nil {
		return nil, r.abandon(err)
	}
	return b.worker(r, t, func(done load.Done, spent cost, memory process.Memory) []float64 {
		return []float64{perSecond(done), each(spent.server, done.Count), each(spent.load, done.Count), megabytes(memory.Resident)}
	}), nil
}

func beat(r *rig, duration time.Duration) (done load.Done, err error) {
	err = r.load.Call("load.Beat", duration, &done)
	return done, err
}
