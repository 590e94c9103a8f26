package scenario

import (
	"context"
	"errors"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	idleSessions = 15_000
	idleInterval = 10 * time.Second

	idleText = `What a full master does all day: 15,000 plain sessions, each with a heartbeat every 10 s, evenly spread, so 1,500 a second. The rate is given; what
counts is the server's CPU time for each heartbeat, everything included that goes on beside it. The floor echoes the same messages. What lies between
it and the refinery is less than what lies between two minutes of one machine: so in each repeat the sessions of both are open, and beat for 10 s in
turns, of one, of the other, of the other, of the one.`
)

func runIdle(ctx context.Context, b *Bench) ([]report.Comparison, error) {
	setting := subject.Setting{Transport: subject.Plaintext, Credentials: b.Credentials}
	return b.holdAll(ctx, []contest{{
		Comparison: report.Comparison{
			Name: "idle", Title: "15,000 sessions with a heartbeat every 10 s", Text: idleText,
			Metrics: []report.Metric{
				{Name: "server CPU", Unit: "µs each", Digits: 1}, {Name: "server CPU of one core", Unit: "%", Digits: 1},
				{Name: "load CPU", Unit: "µs each", Digits: 1}, {Name: "heartbeats", Unit: "1/s"}, {Name: "server resident", Unit: "MB"},
			},
			Goals:  []report.Goal{ratio(string(subject.Refinery), string(subject.Floor), "server CPU", 1.15, false)},
			Steady: report.Value{Subject: string(subject.Floor), Metric: "server CPU"},
		},
		contenders:  names(subject.Refinery, subject.Floor, subject.NATS, subject.Mochi),
		measure:     b.alone(setting, func(pairs []*pair) ([][]float64, error) { return b.measureIdle(pairs, 0) }),
		measureBoth: b.sideBySide(setting, func(pairs []*pair) ([][]float64, error) { return b.measureIdle(pairs, 0, 1, 1, 0) }),
	}})
}

// measureIdle lets the sessions of pairs beat in turns. All that a server spends counts, while it idles too.
func (b *Bench) measureIdle(pairs []*pair, turns ...int) ([][]float64, error) {
	values := make([][]float64, len(pairs))
	for _, p := range pairs {
		if err := p.open(b.sessions(idleSessions)); err != nil {
			return values, err
		}
		// The garbage of opening is collected now, not while heartbeats are measured.
		if _, err := p.usage(true); err != nil {
			return values, err
		}
	}
	pace := load.Pace{Interval: b.window(idleInterval), For: b.window(idleInterval)}
	beaten, spent, err := inTurns(pairs, turns, func(p *pair, done *load.Beaten) error { return p.load.Call("load.Pace", pace, done) })
	for i, p := range pairs {
		used, failure := p.usage(false)
		err = errors.Join(err, failure)
		values[i] = []float64{
			each(spent[i].server, beaten[i].Count), 100 * spent[i].server.Seconds() / beaten[i].Elapsed.Seconds(),
			each(spent[i].load, beaten[i].Count), perSecond(beaten[i].Count, beaten[i].Elapsed), megabytes(used.Resident),
		}
	}
	return values, err
}
