package scenario

import (
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const heartbeatsText = `Heartbeats answered a second over 1,000 sessions on %s, each of which sends
the next as soon as the last is answered. The floor echoes what it reads. nats-server answers PING with PONG, mochi-mqtt PINGREQ with PINGRESP.`

func heartbeatContests(b *Bench) []*contest {
	work := worker{
		ready: func(r *rig) error {
			if err := r.open(b.sessions(1_000)); err != nil {
				return err
			}
			_, err := beat(r, b.window(300*time.Millisecond))
			return err
		},
		leadIn: beat, lead: 50 * time.Millisecond,
		work: beat, window: 400 * time.Millisecond, count: 200 * time.Millisecond,
		values: func(_ *rig, done load.Done, spent cost, memory process.Memory) []float64 {
			return []float64{perSecond(done), each(spent.server, done.Count), each(spent.load, done.Count), megabytes(memory.Resident)}
		},
	}
	var contests []*contest
	for _, variant := range []struct {
		name, title string
		transport   subject.Transport
	}{
		{"heartbeats-plain", "Heartbeats, plain", subject.Plaintext},
		{"heartbeats-mtls", "Heartbeats, mutual TLS", subject.MutualTLS},
	} {
		setting := subject.Setting{Transport: variant.transport, Credentials: b.Credentials}
		goals := []report.Goal{ratio(subject.Refinery, subject.Floor, "heartbeats", 0.90, true)}
		for _, peer := range contenders(setting)[2:] {
			goals = append(goals, ratio(subject.Refinery, peer, "heartbeats", 1, true))
		}
		contests = append(contests, b.contest(setting, work, 75*time.Second, report.Comparison{
			Name: variant.name, Title: variant.title, Text: fmt.Sprintf(heartbeatsText, carried(setting)), Goals: goals,
			Metrics: []report.Metric{
				{Name: "heartbeats", Unit: "1/s"}, {Name: "server CPU", Unit: "µs each", Digits: 1},
				{Name: "load CPU", Unit: "µs each", Digits: 1}, {Name: "server resident", Unit: "MB", Digits: 1},
			},
		}))
	}
	return contests
}

func beat(r *rig, duration time.Duration) (done load.Done, err error) {
	err = r.load.Call("load.Beat", duration, &done)
	return done, err
}
