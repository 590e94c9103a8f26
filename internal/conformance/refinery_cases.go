package conformance

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

const upstreamMembers = `"upstream":"conformance.invalid:34307"`

// refineryCases plays masters against a refinery, which connects again and again.
type refineryCases struct {
	o   *Options
	all []*testCase
}

func newRefineryCases(o *Options) []*testCase {
	r := &refineryCases{o: o}
	r.paths()
	r.order()
	r.division()
	r.codes()
	r.payloads()
	r.bounds()
	r.session()
	r.timers()
	r.transport()
	return r.all
}

func (r *refineryCases) add(rule, words string, steps ...any) *testCase {
	c := &testCase{rule: rule, words: words, steps: then(steps...), takes: r.o.ConnectTimeout}
	r.all = append(r.all, c)
	return c
}

// grant is a master's auth:ack.
var grant = compose(authAck, object(upstreamMembers))

// fromMaster returns a valid message with this code, as a master sends it.
func fromMaster(code string) string {
	switch code {
	case authAck:
		return grant
	case establish:
		return compose(establish, `{"id":"a","version":"0.1.0","type":"refinery"}`)
	case authStart:
		return compose(authStart, `{"cert":"a"}`)
	}
	return compose(code, "")
}

// Steps that lead to a state of table 4.2.

func (r *refineryCases) establishing() []step { return then(r.announces) }

// announces expects conn:establish with what the options say that the refinery announces.
func (r *refineryCases) announces(x *exchange) error {
	m, err := x.message(establish)
	if err != nil {
		return err
	}
	for _, want := range [...]struct{ key, value string }{{"id", r.o.ID}, {"version", r.o.Version}, {"type", r.o.Type}} {
		if got := m.text(want.key); want.value != "" && got != want.value {
			x.expecting("%s with %s %q", establish, want.key, want.value)
			return x.fails("%q", got)
		}
	}
	return nil
}

func (r *refineryCases) verifying() []step {
	return then(r.establishing(), send(fromMaster(startAuth)), r.proves)
}

// proves expects auth:start, with the certificate of the TLS session if there is one, or that of the options.
func (r *refineryCases) proves(x *exchange) error {
	m, err := x.message(authStart)
	if err != nil {
		return err
	}
	cert := m.text("cert")
	if r.o.authCertificate != "" && strings.TrimSpace(cert) != r.o.authCertificate {
		x.expecting("%s with the certificate of --auth-cert", authStart)
		return x.fails("another one, of %d bytes", len(cert))
	}
	if proven := peerCertificate(x.conn); proven != nil && !slices.Equal(derOf(cert), proven.Raw) {
		x.expecting("%s with the certificate that TLS has proven, as PEM (R-8.1)", authStart)
		return x.fails("another one, of %d bytes", len(cert))
	}
	return nil
}

func derOf(text string) []byte {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return block.Bytes
	}
	return nil
}

func (r *refineryCases) authenticated() []step {
	return then(r.verifying(), send(grant), expect(authAck))
}

// acknowledges expects auth:ack; heartbeats that come meanwhile are answered.
func acknowledges(x *exchange) error {
	for {
		m, err := x.message(authAck, alive)
		if err != nil || m.code == authAck {
			return err
		}
		x.write(fromMaster(alive))
	}
}

// lively sends conn:alive n times and expects as many at least: a heartbeat that crosses one of them takes its place.
func lively(n int, message string) []step {
	steps := then(send(strings.Repeat(message, n)))
	for range n {
		steps = append(steps, expect(alive))
	}
	return steps
}

func (r *refineryCases) paths() {
	r.add("R-4.1", "the refinery sends conn:establish first", r.establishing())
	r.add("R-4.2", "the refinery waits for conn:startAuth", r.establishing(), quiet)
	r.add("R-4.1", "the refinery sends auth:start after conn:startAuth", r.verifying())
	r.add("R-4.2", "the refinery waits for auth:ack", r.verifying(), quiet)
	r.add("R-4.1", "the refinery acknowledges auth:ack", r.authenticated())
	r.add("R-3.8", "no mark stands in the refinery's messages", r.authenticated())
	denied := then(r.verifying(), send(fromMaster(authDec)), expect(closing))
	r.add("R-4.1", "conn:close after auth:dec, and nothing more", denied, ended())
	r.add("R-7.2", "conn:close after auth:dec gives no reason", denied)
	farewells(r.add, r.o.Transport, denied, fromMaster(alive))
	r.add("R-4.4", "conn:close instead of conn:startAuth", r.establishing(), send(fromMaster(closing)), ended())
	r.add("R-5.7", "conn:close instead of auth:ack", r.verifying(), send(fromMaster(closing)), ended())
	r.add("R-5.7", "conn:close in a session", r.authenticated(), send(fromMaster(closing)), ended(alive))
	r.add("R-1.1", "the next session has a connection of its own, from the start", r.authenticated(),
		send(fromMaster(closing)), ended(alive), (*exchange).reconnect, r.authenticated()).takes *= 2
	r.add("R-7.1", "what comes with a violation is not taken", r.authenticated(),
		send(compose("conn:hello", "")+grant), ended(alive))
	r.add("R-2.6", "the end of the stream instead of conn:startAuth", r.establishing(), hangUp, ended())
	r.add("R-2.6", "the end of the stream in a session", r.authenticated(), hangUp, ended(alive))
	r.add("R-9.1", "a master of a later version, with keys of its own in every message", r.establishing(),
		send(compose(startAuth, `{"later":"1"}`)), step(r.proves),
		send(compose(authAck, object(upstreamMembers+`,"more":["2"],"most":{"k":"3"}`))), expect(authAck),
		lively(1, compose(alive, `{"later":"1"}`)))
	r.add("R-2.1", "a further ;; is part of the payload", r.verifying(),
		send(compose(authAck, object(upstreamMembers+`,"x":"a;;b;;"`))), expect(authAck))
	r.add("R-2.1", "the first <EOF> ends the message, within a string too", r.verifying(),
		send(compose(authAck, object(`"x":"a<EOF>",`+upstreamMembers))), ended())
	r.unusable()
}

// unusable grants what the refinery cannot use.
func (r *refineryCases) unusable() {
	bad := compose(authAck, `{"upstream":`+quote(r.o.UnusableUpstream)+`}`)
	for _, c := range []*testCase{
		r.add("R-4.6", "an upstream that the refinery cannot use gets conn:close instead of auth:ack", r.verifying(), send(bad), expect(closing)),
		r.add("R-4.6", "a new upstream that it cannot use gets the same", r.authenticated(), send(bad), closes),
	} {
		if r.o.UnusableUpstream == "" {
			c.skip = "needs --unusable-upstream"
		}
	}
}

// closes expects conn:close; heartbeats may come before it.
func closes(x *exchange) error {
	for {
		m, err := x.message(closing, alive)
		if err != nil || m.code == closing {
			return err
		}
	}
}

// order sends every message that a state does not expect, and what would be right before its turn.
func (r *refineryCases) order() {
	for _, at := range []struct {
		name     string
		steps    []step
		expects  []string
		possible []string
	}{
		{"Establishing", r.establishing(), []string{startAuth}, nil},
		{"Verifying", r.verifying(), []string{authAck, authDec}, nil},
		{"Authenticated", r.authenticated(), []string{authAck, alive}, []string{alive}},
	} {
		for _, code := range codes {
			if code != closing && !slices.Contains(at.expects, code) {
				r.add("R-4.1", code+" in state "+at.name, at.steps, send(fromMaster(code)), ended(at.possible...))
			}
		}
	}
	start := fromMaster(startAuth)
	r.add("R-4.2", "conn:startAuth twice in one write", r.establishing(), send(start+start), ended())
	r.add("R-4.2", "auth:ack in one write with conn:startAuth", r.establishing(), send(start+grant), ended())
	r.add("R-4.2", "one byte behind conn:startAuth", r.establishing(), send(start+"a"), ended())
	if r.o.Transport != Plaintext {
		r.add("R-4.2", "auth:ack in one write with conn:startAuth, in a record of its own", r.establishing(), sendRecords(start, grant), ended())
		r.add("R-4.2", "one byte behind auth:ack, in a record of its own", r.verifying(), sendRecords(grant, "a"), ended())
	}
	r.add("R-4.2", "conn:alive in one write with auth:ack", r.verifying(), send(grant+fromMaster(alive)), ended())
}

func (r *refineryCases) division() {
	r.add("R-2.4", "the whole opening byte by byte", r.establishing(), sendBytewise(fromMaster(startAuth)), step(r.proves),
		sendBytewise(grant), expect(authAck))
	r.add("R-2.4", "packets that cut every mark", r.verifying(), sendPieces("auth:", "ac", "k;", ";{"+upstreamMembers+"}<E", "OF", ">"), expect(authAck))
	r.add("R-2.4", "three messages in one write", r.authenticated(), lively(3, fromMaster(alive)))
}

func (r *refineryCases) codes() {
	for _, c := range [...]struct{ words, text string }{
		{"an unknown code", compose("conn:hello", "")},
		{"a code in other letters", compose("CONN:startAuth", "")},
		{"no separator", startAuth + eof},
		{"one semicolon", startAuth + ";" + eof},
		{"white space ahead of the code", " " + fromMaster(startAuth)},
		{"another protocol, noticed before <EOF>", "HTTP/1.1 400 Bad Request\r\n\r\n"},
		{"16 bytes that hold no code", "conn:startAuthxx"},
	} {
		r.add("R-2.2", c.words, r.establishing(), send(c.text), ended())
	}
}

func (r *refineryCases) payloads() {
	for _, v := range variants(1) {
		then := ended()
		if v.accepted {
			then = expect(authAck)
		}
		r.add(v.rule, v.words, r.verifying(), send(compose(authAck, v.payload(upstreamMembers))), then)
	}
	for _, c := range [...]struct{ rule, words, payload string }{
		{"R-3.7", "upstream missing", "{}"},
		{"R-3.7", "no payload of auth:ack", ""},
		{"R-3.7", "an array for upstream", `{"upstream":["a"]}`},
		{"R-3.9", "a line break in upstream", `{"upstream":"a\n"}`},
		{"R-3.9", "a mark of direction in upstream", `{"upstream":"a\u202e"}`},
		{"R-3.9", "upstream of 1025 bytes", `{"upstream":"` + strings.Repeat("a", 1025) + `"}`},
	} {
		r.add(c.rule, c.words, r.verifying(), send(compose(authAck, c.payload)), ended())
	}
	// Whether a refinery can use these is its decision; that they are well-formed is not.
	for _, c := range [...]struct{ words, upstream string }{
		{"an empty upstream", ""},
		{"upstream of 1024 bytes", strings.Repeat("a", 1024)},
	} {
		r.add("R-3.9", c.words, r.verifying(), send(compose(authAck, `{"upstream":"`+c.upstream+`"}`)), expect(authAck, closing))
	}
	r.add("R-3.6", "an unknown key in conn:startAuth", r.establishing(), send(compose(startAuth, `{"x":["1"]}`)), step(r.proves))
}

func (r *refineryCases) session() {
	interval := r.o.AliveInterval
	r.add("R-5.2", "conn:alive each interval, 10 % earlier or later", r.authenticated(), beats(interval)).takes += 3 * interval
	r.add("R-5.5", "the master's own conn:alive is answered", r.authenticated(), lively(1, fromMaster(alive)))
	r.add("R-5.5", "an answer is never answered", r.authenticated(), answeredOnce(interval)).takes += 2 * interval
	r.add("R-3.6", "conn:alive with an unknown key", r.authenticated(), lively(1, compose(alive, `{"x":"1"}`)))
	r.add("R-5.6", "a new upstream is acknowledged", r.authenticated(),
		send(compose(authAck, `{"upstream":"conformance.invalid:1"}`)), acknowledges,
		send(compose(authAck, `{"upstream":"conformance.invalid:2"}`)), acknowledges)
	r.add("R-3.7", "a new auth:ack without upstream", r.authenticated(), send(compose(authAck, "")), ended(alive))
}

// beats measures the time to the first heartbeat and from it to the second; each is answered.
func beats(interval time.Duration) step {
	jitter := interval / 10
	return func(x *exchange) error {
		last := time.Now()
		x.tolerance = timerTolerance
		for range 2 {
			x.expecting("%s %v to %v after the last message", alive, interval-jitter, interval+jitter)
			m, err := x.next(last.Add(interval + jitter + lateness))
			if err != nil {
				return x.fails("%v", err)
			}
			if err := x.check(m, alive); err != nil {
				return err
			}
			took := time.Since(last)
			if took < interval-jitter-min(lateness, jitter) {
				x.tolerance = min(lateness, jitter)
				return x.fails("%s after %v", x.show(m.raw), took.Round(time.Millisecond))
			}
			last = last.Add(took)
			x.write(fromMaster(alive))
		}
		return nil
	}
}

// answeredOnce answers a heartbeat and expects nothing until the next is due.
func answeredOnce(interval time.Duration) step {
	return func(x *exchange) error {
		x.tolerance = timerTolerance
		x.expecting("%s within %v", alive, interval+interval/10)
		m, err := x.next(time.Now().Add(interval + interval/10 + lateness))
		if err != nil {
			return x.fails("%v", err)
		}
		if err := x.check(m, alive); err != nil {
			return err
		}
		x.write(fromMaster(alive))
		due := min(x.patience, interval/2)
		x.expecting("nothing for %v, for an answer is never answered", due)
		if m, err := x.next(time.Now().Add(due)); err == nil {
			return x.fails("%s", x.show(m.raw))
		} else if x.ended {
			return x.fails("%v", err)
		}
		return nil
	}
}

// peerCertificate returns what TLS has proven, or nil.
func peerCertificate(conn any) *x509.Certificate {
	if c, ok := conn.(certified); ok {
		if all := c.ConnectionState().PeerCertificates; len(all) > 0 {
			return all[0]
		}
	}
	return nil
}
