package scenario

import (
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const handshakesText = `Sessions opened and closed a second, by 32 workers: connect over %s,
exchange the five messages of the opening, close, wait for the server to close. The floor awaits and sends the same bytes and understands none of them. nats-server (INFO, CONNECT and PING, PONG) and mochi-mqtt (CONNECT, CONNACK)
need one round trip less, so the second column counts round trips: three of the refinery's, the TCP connection included, two of theirs.`

func handshakeContests(b *Bench) []*contest {
	work := worker{
		ready: b.warmUpHandshakes, leadIn: handshake, lead: 100 * time.Millisecond,
		work: handshake, window: 500 * time.Millisecond, count: 200 * time.Millisecond,
		values: func(r *rig, done load.Done, spent cost, memory process.Memory) []float64 {
			rate := perSecond(done)
			return []float64{
				rate, rate * float64(r.dialect.RoundTrips), each(spent.server, done.Count), each(spent.load, done.Count), megabytes(memory.Resident),
			}
		},
	}
	var contests []*contest
	for _, variant := range []struct {
		name, title string
		setting     subject.Setting
		bound       float64
		share       time.Duration
	}{
		{"handshakes-plain", "Handshakes, plain", subject.Setting{Transport: subject.Plaintext}, 0.85, 55 * time.Second},
		{"handshakes-mtls", "Handshakes, mutual TLS, default curves", subject.Setting{Transport: subject.MutualTLS}, 0.92, 45 * time.Second},
		{"handshakes-mtls-x25519", "Handshakes, mutual TLS, X25519 only", subject.Setting{Transport: subject.MutualTLS, X25519Only: true}, 0.92, 45 * time.Second},
	} {
		variant.setting.Credentials = b.Credentials
		goals := []report.Goal{ratio(subject.Refinery, subject.Floor, "handshakes", variant.bound, true)}
		if variant.setting.Transport == subject.Plaintext {
			for _, peer := range []string{subject.NATS, subject.Mochi} {
				goals = append(goals, ratio(subject.Refinery, peer, "round trips", 1, true))
			}
		}
		contests = append(contests, b.contest(variant.setting, work, variant.share, report.Comparison{
			Name: variant.name, Title: variant.title, Text: fmt.Sprintf(handshakesText, carried(variant.setting)), Goals: goals,
			Metrics: []report.Metric{
				{Name: "handshakes", Unit: "1/s"}, {Name: "round trips", Unit: "1/s"}, {Name: "server CPU", Unit: "µs each"},
				{Name: "load CPU", Unit: "µs each"}, {Name: "server resident", Unit: "MB", Digits: 1},
			},
		}))
	}
	return contests
}

func (b *Bench) warmUpHandshakes(r *rig) error {
	_, err := handshake(r, b.window(300*time.Millisecond))
	return err
}

func handshake(r *rig, duration time.Duration) (done load.Done, err error) {
	err = r.load.Call("load.Handshakes", load.Handshakes{Workers: load.OpenWorkers, For: duration}, &done)
	return done, err
}
