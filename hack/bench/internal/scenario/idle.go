package scenario

import (
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const idleText = `What a full master does all day: 15,000 plain sessions, each with a heartbeat every 10 s, evenly spread, so 1,500 a second. The rate is given; what
counts is the server's CPU time for each heartbeat, everything included that goes on beside it. The floor echoes the same messages. The sessions of all contenders
are open, and beat for 2 s in turns. Each turn begins with one heartbeat of every session, which is not measured, so that no session is silent for too long.`

func idleContests(b *Bench) []*contest {
	setting := subject.Setting{Transport: subject.Plaintext, Credentials: b.Credentials}
	work := worker{
		ready: func(r *rig) error {
			if err := r.open(b.sessions(15_000)); err != nil {
				return err
			}
			_, err := r.memory(true) // The garbage of opening is collected now, not while heartbeats are measured.
			return err
		},
		leadIn: func(r *rig, duration time.Duration) (load.Done, error) { return pace(r, duration, duration) },
		lead:   250 * time.Millisecond,
		work: func(r *rig, duration time.Duration) (load.Done, error) {
			return pace(r, b.window(10*time.Second), duration)
		},
		window: 2 * time.Second,
		count:  500 * time.Millisecond,
		values: func(_ *rig, done load.Done, spent cost, memory process.Memory) []float64 {
			return []float64{
				each(spent.server, done.Count), 100 * spent.server.Seconds() / done.Elapsed.Seconds(), each(spent.load, done.Count),
				perSecond(done), megabytes(memory.Resident),
			}
		},
	}
	return []*contest{b.contest(setting, work, 180*time.Second, report.Comparison{
		Name: "idle", Title: "15,000 sessions with a heartbeat every 10 s", Text: idleText,
		Metrics: []report.Metric{
			{Name: "server CPU", Unit: "µs each", Digits: 1}, {Name: "server CPU of one core", Unit: "%", Digits: 1},
			{Name: "load CPU", Unit: "µs each", Digits: 1}, {Name: "heartbeats", Unit: "1/s"}, {Name: "server resident", Unit: "MB"},
		},
		Goals: []report.Goal{ratio(subject.Refinery, subject.Floor, "server CPU", 1.15, false)},
	})}
}

func pace(r *rig, interval, duration time.Duration) (done load.Done, err error) {
	err = r.load.Call("load.Pace", load.Pace{Interval: interval, For: duration}, &done)
	return done, err
}
