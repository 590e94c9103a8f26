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
	handshakeWarmUp = 500 * time.Millisecond
	handshakeWindow = 3 * time.Second
)

const handshakesText = `Sessions opened and closed a second, by 32 workers: connect over %s,
exchange the five messages of the opening, close, wait for the server to close. The floor awaits and sends the same bytes and understands none of them. nats-server (INFO, CONNECT and PING, PONG) and mochi-mqtt (CONNECT, CONNACK)
need one round trip less, so the second column counts round trips: three of the refinery's, the TCP connection included, two of theirs.`

func runHandshakes(ctx context.Context, b *Bench) ([]report.Comparison, error) {
	var contests []contest
	for _, variant := range []struct {
		name, title string
		setting     subject.Setting
		subjects    []subject.Name
		bound       float64
	}{
		{"handshakes-plain", "Handshakes, plain", subject.Setting{Transport: subject.Plaintext},
			[]subject.Name{subject.Refinery, subject.Floor, subject.NATS, subject.Mochi}, 0.85},
		{"handshakes-mtls", "Handshakes, mutual TLS, default curves", subject.Setting{Transport: subject.MutualTLS},
			[]subject.Name{subject.Refinery, subject.Floor, subject.NATS}, 0.92},
		{"handshakes-mtls-x25519", "Handshakes, mutual TLS, X25519 only", subject.Setting{Transport: subject.MutualTLS, X25519Only: true},
			[]subject.Name{subject.Refinery, subject.Floor, subject.NATS}, 0.92},
	} {
		variant.setting.Credentials = b.Credentials
		own := string(subject.Refinery)
		goals := []report.Goal{ratio(own, string(subject.Floor), "handshakes", variant.bound, true)}
		if variant.setting.Transport == subject.Plaintext {
			goals = append(goals, ratio(own, string(subject.NATS), "round trips", 1, true), ratio(own, string(subject.Mochi), "round trips", 1, true))
		}
		contests = append(contests, contest{
			Comparison: report.Comparison{
				Name: variant.name, Title: variant.title, Text: fmt.Sprintf(handshakesText, carried(variant.setting)), Goals: goals,
				Steady: report.Value{Subject: string(subject.Floor), Metric: "handshakes"},
				Metrics: []report.Metric{
					{Name: "handshakes", Unit: "1/s"}, {Name: "round trips", Unit: "1/s"}, {Name: "server CPU", Unit: "µs each"},
					{Name: "load CPU", Unit: "µs each"}, {Name: "server resident", Unit: "MB", Digits: 1},
				},
			},
			contenders: names(variant.subjects...),
			measure: func(ctx context.Context, contender string) ([]float64, error) {
				return b.withPair(ctx, subject.Name(contender), variant.setting, b.measureHandshakes)
			},
		})
	}
	return b.holdAll(ctx, contests)
}

func (b *Bench) measureHandshakes(p *pair) ([]float64, error) {
	dialect, err := subject.DialectOf(p.subject, p.setting)
	if err != nil {
		return nil, err
	}
	if _, err := p.handshakes(b.window(handshakeWarmUp)); err != nil {
		return nil, err
	}
	var done load.Handshaken
	spent, err := p.spent(func() (err error) {
		done, err = p.handshakes(b.window(handshakeWindow))
		return err
	})
	if err != nil {
		return nil, err
	}
	used, err := p.usage(false)
	rate := perSecond(done.Count, done.Elapsed)
	return []float64{rate, rate * float64(dialect.RoundTrips()), each(spent.server, done.Count), each(spent.load, done.Count), megabytes(used.Resident)}, err
}

func (p *pair) handshakes(duration time.Duration) (done load.Handshaken, err error) {
	err = p.load.Call("load.Handshakes", load.Handshakes{Workers: load.OpenWorkers, For: duration}, &done)
	return done, err
}
