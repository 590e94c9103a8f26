package scenario

import (
	"context"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	idleSessions = 15_000
	idleInterval = 10 * time.Second
	idleWindow   = 12 * time.Second

	idleText = `What a full master does all day: 15,000 plain sessions, each with a heartbeat every 10 s, evenly spread, so 1,500 a second. The rate is given; what
counts is the server's CPU time for each heartbeat, everything included that goes on beside it. The floor echoes the same messages.`
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
		contenders: names(subject.Refinery, subject.Floor, subject.NATS, subject.Mochi),
		measure: func(ctx context.Context, contender string) ([]float64, error) {
			return b.withPair(ctx, subject.Name(contender), setting, b.measureIdle)
		},
	}})
}

func (b *Bench) measureIdle(p *pair) ([]float64, error) {
	if err := p.open(b.sessions(idleSessions)); err != nil {
		return nil, err
	}
	// The garbage of opening is collected now, not while heartbeats are measured.
	if _, err := p.usage(true); err != nil {
		return nil, err
	}
	pace := load.Pace{Interval: b.window(idleInterval), For: b.window(idleWindow)}
	var done load.Beaten
	spent, err := p.spent(func() error { return p.load.Call("load.Pace", pace, &done) })
	if err != nil {
		return nil, err
	}
	used, err := p.usage(false)
	return []float64{
		each(spent.server, done.Count), 100 * spent.server.Seconds() / done.Elapsed.Seconds(),
		each(spent.load, done.Count), perSecond(done.Count, done.Elapsed), megabytes(used.Resident),
	}, err
}
