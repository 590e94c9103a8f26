package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

// fakeRefinery connects again and again until ctx ends.
func fakeRefinery(ctx context.Context, o *Options, m mutation, config *tls.Config, connections chan<- net.Conn) {
	resumes := false
	for {
		kit, own, gone := newDuplex()
		select {
		case connections <- kit:
		case <-ctx.Done():
			return
		}
		f := &fakePeer{mutation: m, side: refinery, conn: own, gone: gone, state: "Establishing", writes: o.WriteTimeout}
		f.resumes = resumes
		f.refine(o, config)
		resumes = f.again && f.state == "Authenticated" && f.closed
		_ = own.Close()
		if m.vanishes {
			return
		}
	}
}

func (f *fakePeer) refine(o *Options, config *tls.Config) {
	deadline := f.handshakeDeadline(o.HandshakeTimeout)
	limit := f.limit(authAck, o.MaxMessageBytes)
	certificate := o.authCertificate
	if config != nil {
		if f.tls != nil {
			config = config.Clone()
			f.tls(config)
		}
		secure := tls.Client(f.conn, config)
		if !f.slowTLS {
			_ = f.conn.SetDeadline(deadline())
		}
		if err := secure.Handshake(); err != nil {
			return
		}
		_ = f.conn.SetDeadline(time.Time{})
		if f.conn = secure; f.slowTLS {
			deadline = f.handshakeDeadline(o.HandshakeTimeout)
		}
		if len(config.Certificates) > 0 {
			certificate = leafPEM(&config.Certificates[0])
		}
	}
	if f.resumes {
		f.send(alive, "")
		return
	}
	f.send(establish, `{"id":"a","version":"0.1.0","type":"refinery"}`)
	if _, err := f.take(limit, deadline, startAuth); err != nil || f.ahead() {
		return
	}
	f.state = "Verifying"
	f.send(authStart, object(`"cert":`+quote(certificate)))
	m, err := f.take(limit, deadline, authAck, authDec)
	if err != nil {
		return
	}
	if m.code == authDec {
		if !f.hasty {
			f.farewell()
		}
		return
	}
	if !f.usable(m) {
		f.farewell()
		return
	}
	if f.ahead() {
		return
	}
	f.state = "Authenticated"
	f.send(authAck, "")
	f.stay(o, limit)
}

// unusable is an upstream that the fake refinery cannot use.
const unusable = "unusable"

func (f *fakePeer) usable(m *message) bool { return f.content || m.text("upstream") != unusable }

// stay is the refinery's session.
func (f *fakePeer) stay(o *Options, limit int) {
	pace := f.pace
	if pace == 0 {
		pace = 1
	}
	if pace < 0 {
		pace = 1e6
	}
	pause := time.Duration(pace * float64(o.AliveInterval))
	seen, beat, unanswered := time.Now(), time.Now().Add(pause), 0
	f.began = seen
	for {
		silence := f.aliveDeadline(o.AliveTimeout, &seen)
		m, err := f.take(limit, func() time.Time {
			if beat.Before(silence) {
				return beat
			}
			return silence
		}, alive, authAck)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(silence):
			f.send(alive, "")
			unanswered++
			beat = beat.Add(pause)
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) && f.lastWord:
			f.send(closing, "")
			return
		case err != nil:
			return
		case m.code == authAck && !f.usable(m):
			f.farewell()
			return
		}
		seen = time.Now()
		f.reply(m, &unanswered)
	}
}

func (f *fakePeer) reply(m *message, unanswered *int) {
	switch {
	case m.code == authAck && !f.stubborn:
		f.send(authAck, "")
	case m.code == authAck:
	case *unanswered > 0 && !f.chatty:
		*unanswered--
	case !f.deaf:
		f.send(alive, "")
	}
}
